"""CIFAR-10, ships and trucks: the binary version, which needs no pickle."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qarmor.data.content import DataError, Raw, SourceFile, read_bytes, sha256

TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST = ("test_batch.bin",)
MANIFEST = "qarmor-verified.json"  # sha256 of the files that came out of the official archive
_RECORD = 1 + 3 * 32 * 32
_KEPT = (8, 9)  # ship, truck


def _batch(content: bytes, path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    if not content or len(content) % _RECORD:
        raise DataError(f"{path} is truncated or no CIFAR-10 binary batch: {len(content)} bytes are no multiple of {_RECORD}")
    records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
    labels = records[:, 0]
    if labels.max() > 9:
        raise DataError(f"{path} has label {labels.max()}; CIFAR-10's are 0 to 9")
    kept = np.isin(labels, _KEPT)
    return records[kept, 1:].reshape(-1, 3, 32, 32), (labels[kept] == _KEPT[1]).astype(np.int64)


def read(folder: Path) -> Raw:
    """Images of ships (0) and trucks (1) in the batches in ``folder``."""
    manifest = folder / MANIFEST
    try:
        verified = json.loads(manifest.read_text()) if manifest.is_file() else {}
    except ValueError as error:
        raise DataError(f"{manifest} is damaged ({error}): delete it") from error
    files, parts = [], {}
    for part, names in (("train", TRAIN), ("test", TEST)):
        batches = []
        for name in names:
            content = read_bytes(folder / name)
            batches.append(_batch(content, folder / name))
            digest = sha256(content)
            files.append(SourceFile(name, digest, True if verified.get(name) == digest else False if name in verified else None))
        parts[part] = [np.concatenate(columns) for columns in zip(*batches, strict=True)]
    (x_train, y_train), (x_test, y_test) = parts["train"], parts["test"]
    return Raw(x_train, y_train, x_test, y_test, ("ship", "truck"), tuple(files))
