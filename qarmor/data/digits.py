"""The 8x8 digits that ship with scikit-learn: the embedded default, which needs no download."""

import importlib.util
from pathlib import Path

import numpy as np

from qarmor.data.content import Raw, SourceFile, sha256

_SEED = 0


def folder() -> Path:
    """Where scikit-learn keeps them (found without importing it, which takes seconds)."""
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("digits come with scikit-learn, which is not installed: pip install scikit-learn")
    return Path(spec.origin).parent / "datasets" / "data"


def read() -> Raw:
    """1797 images, float32 ``(N, 8, 8)``, pixels divided by 16; split 80/20 in each class by a fixed permutation (seed 0)."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x, y = (bunch.images / 16).astype(np.float32), bunch.target.astype(np.int64)
    generator = np.random.default_rng(_SEED)
    test = np.zeros(len(y), dtype=bool)
    for label in range(10):
        mine = np.flatnonzero(y == label)
        test[generator.permutation(mine)[: round(0.2 * len(mine))]] = True
    file = SourceFile("sklearn.datasets.load_digits", sha256(x.tobytes() + y.tobytes()), None)
    return Raw(x[~test], y[~test], x[test], y[test], tuple(map(str, range(10))), (file,), np.flatnonzero(~test), np.flatnonzero(test))
