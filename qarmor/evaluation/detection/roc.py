"""How well a score tells attacked images from clean ones, whatever the threshold: the ROC curve and the area under it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import rankdata
from torch import Tensor

Floats = NDArray[np.float64]
_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Area:
    """Area under the ROC curve.

    Attributes:
        value: probability that an attacked image scores above a clean one, ties counting half; NaN where one of the sets is empty.
        low, high: 95 % interval; [0, 1] where one of the sets is empty.
        wins, pairs: ``value`` as a fraction: pairs of a clean and an attacked image, each counted twice, so that a tie is one win of two.
    """

    value: float
    low: float
    high: float
    wins: int
    pairs: int


@dataclass(frozen=True, eq=False)
class Roc:
    """A ROC curve: at ``thresholds[i]`` an alarm is a score above it.

    Attributes:
        thresholds: float64 ``(P,)``, falling from the largest score; the last is -inf.
        false_positive_rate, true_positive_rate: float64 ``(P,)``, rising from 0 to 1.
        area: the area under it.
    """

    thresholds: Floats
    false_positive_rate: Floats
    true_positive_rate: Floats
    area: Area


def _scores(scores: Tensor, argument: str) -> Floats:
    values: Floats = scores.detach().cpu().double().numpy()
    if values.ndim != 1 or np.isnan(values).any():
        raise ValueError(f"{argument} must be (n,) without NaN, got shape {tuple(scores.shape)}; pass one score an image")
    return values


def auc(clean: Tensor, attacked: Tensor, clean_index: Tensor | None = None, attacked_index: Tensor | None = None) -> Area:
    """Area under the ROC curve of a score that should be higher on attacked images, with a 95 % interval.

    The interval is DeLong's, on the logit scale; where it has no width (all pairs on one side, or all tied) Newcombe's stands in. Images that occur
    both clean and attacked are correlated, which the indices make known.

    Args:
        clean, attacked: scores ``(m,)`` and ``(n,)``.
        clean_index, attacked_index: int64 ``(m,)`` and ``(n,)``, which image each score is of; without them all are different images.

    Raises:
        ValueError: scores of another shape or NaN, one index without the other, or of another length.

    Source: E. R. DeLong, D. M. DeLong and D. L. Clarke-Pearson, Biometrics 44, 837 (1988); with images in both sets N. A. Obuchowski, Biometrics 53,
    567 (1997); R. G. Newcombe, Statistics in Medicine 25, 559 (2006), method 5.
    """
    low, high = _scores(clean, "clean"), _scores(attacked, "attacked")
    m, n = len(low), len(high)
    if (clean_index is None) != (attacked_index is None):
        raise ValueError("clean_index and attacked_index go together; pass both or none")
    if clean_index is None or attacked_index is None:
        images = np.arange(m + n)
    else:
        images = np.concatenate([clean_index.cpu().numpy(), attacked_index.cpu().numpy()])
        if len(clean_index) != m or len(attacked_index) != n:
            raise ValueError(f"there must be one index a score, got {len(clean_index)} of {m} clean and {len(attacked_index)} of {n} attacked")
    if not m or not n:
        return Area(math.nan, 0.0, 1.0, 0, 0)
    ranks = rankdata(np.concatenate([low, high]))
    below = (ranks[m:] - rankdata(high)) / m  # share of clean scores below each attacked one, ties half
    above = 1 - (ranks[:m] - rankdata(low)) / n  # share of attacked scores above each clean one
    wins = round(2 * float((ranks[m:] - rankdata(high)).sum()))
    value = wins / (2 * m * n)
    bounds = _delong(value, above, below, images) or _newcombe(value, m, n)
    return Area(value, *bounds, wins, 2 * m * n)


def _delong(value: float, above: Floats, below: Floats, images: NDArray[np.int64]) -> tuple[float, float] | None:
    m, n = len(above), len(below)
    if m < 2 or n < 2 or not 0 < value < 1:
        return None
    influence = np.concatenate([(above - value) / math.sqrt(m * (m - 1)), (below - value) / math.sqrt(n * (n - 1))])
    _, which = np.unique(images, return_inverse=True)
    variance = float((np.bincount(which, influence) ** 2).sum())
    if variance <= 1e-18:  # no spread but that of rounding
        return None
    centre, spread = math.log(value / (1 - value)), _Z * math.sqrt(variance) / (value * (1 - value))
    return _sigmoid(centre - spread), _sigmoid(centre + spread)


def _sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


def _newcombe(value: float, m: int, n: int) -> tuple[float, float]:
    """The areas from which ``value`` is 1.96 standard errors away, where the error is that of exponential scores with these areas."""
    more = (m + n) / 2 - 1

    def excess(area: float) -> float:
        variance = area * (1 - area) / (m * n) * (1 + more * ((1 - area) / (2 - area) + area / (1 + area)))
        return (value - area) ** 2 - _Z * _Z * variance

    nudge = 1e-12  # the error is 0 at the ends, so the root is looked for next to them
    low = float(brentq(excess, 0, value - nudge)) if value > 0 else 0.0
    high = float(brentq(excess, value + nudge, 1)) if value < 1 else 1.0
    return low, high


def roc(clean: Tensor, attacked: Tensor, clean_index: Tensor | None = None, attacked_index: Tensor | None = None) -> Roc:
    """The ROC curve of a score, a point for each value that occurs. Arguments and errors as of ``auc``; neither set may be empty."""
    from sklearn.metrics import roc_curve  # takes a second to import

    area = auc(clean, attacked, clean_index, attacked_index)
    if not area.pairs:
        raise ValueError(f"a ROC curve needs clean and attacked scores, got {len(clean)} and {len(attacked)}")
    scores = np.concatenate([_scores(clean, "clean"), _scores(attacked, "attacked")])
    labels = np.arange(len(scores)) >= len(clean)
    false, true, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    # scikit-learn's alarm is a score at or above the threshold: above the next lower one
    return Roc(np.append(thresholds[1:], -np.inf), false, true, area)
