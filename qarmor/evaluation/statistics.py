"""Intervals and tests for rates: one network (Wilson), or two networks on the same images (McNemar, Newcombe)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor


def _quantile(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}; 95 % is 0.95")
    return NormalDist().inv_cdf((1 + confidence) / 2)


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a rate ``successes / n``, without continuity correction.

    Returns:
        ``(low, high)``, in [0, 1]; (0, 1) where n is 0.

    Raises:
        ValueError: not 0 <= successes <= n, or confidence not between 0 and 1.

    Source: E. B. Wilson, J. Am. Stat. Assoc. 22, 209 (1927).
    """
    z = _quantile(confidence)
    if not 0 <= successes <= n:
        raise ValueError(f"successes must be between 0 and n, got {successes} of {n}")
    if n == 0:
        return 0.0, 1.0
    rate = successes / n
    centre = rate + z * z / (2 * n)
    spread = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At the ends the two terms cancel exactly; rounding would leave 1e-17.
    low = 0.0 if successes == 0 else (centre - spread) / scale
    high = 1.0 if successes == n else (centre + spread) / scale
    return low, high


def _paired_counts(a_correct: Tensor, b_correct: Tensor) -> tuple[int, int, int, int]:
    """Images that both, only a, only b, and neither gets right."""
    for name, value in (("a_correct", a_correct), ("b_correct", b_correct)):
        if not isinstance(value, Tensor) or value.dtype != torch.bool or value.ndim != 1:
            got = f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"{name} must be a bool tensor (N,), got {got}; pass predictions == labels")
    if len(a_correct) != len(b_correct) or len(a_correct) == 0:
        raise ValueError(f"a_correct and b_correct must be about the same images, one or more, got {len(a_correct)} and {len(b_correct)}")
    a, b = a_correct.cpu(), b_correct.cpu()
    return int((a & b).sum()), int((a & ~b).sum()), int((~a & b).sum()), int((~a & ~b).sum())


def mcnemar(a_correct: Tensor, b_correct: Tensor) -> float:
    """Exact two-sided p value of McNemar's test that two networks are equally accurate on the same images.

    Given the images on which just one is right, the number on which it is ``a`` is binomial with rate 1/2; p is twice the smaller tail, at most 1,
    and 1 where there is no such image.

    Args:
        a_correct, b_correct: bool ``(N,)``, N > 0, which images each network gets right, in the same order.

    Raises:
        TypeError: not bool tensors ``(N,)``. ValueError: of different lengths, or empty.

    Source: Q. McNemar, Psychometrika 12, 153 (1947); exact form: A. Agresti, Categorical Data Analysis, 2nd ed. (2002), 10.1.
    """
    _, only_a, only_b, _ = _paired_counts(a_correct, b_correct)
    n = only_a + only_b
    term = tail = 1  # integers: C(n, 0), then their sum, exact for any n
    for k in range(min(only_a, only_b)):
        term = term * (n - k) // (k + 1)
        tail += term
    return min(1.0, 2 * tail / (1 << n))


@dataclass(frozen=True)
class PairedDifference:
    """Accuracy of network a minus accuracy of network b on the same images.

    Attributes:
        value: the difference, in [-1, 1].
        low, high: Newcombe's interval, in [-1, 1].
        p_value: exact McNemar p value of no difference.
        n: images.
        only_a, only_b: images that just one of the two gets right.
    """

    value: float
    low: float
    high: float
    p_value: float
    n: int
    only_a: int
    only_b: int


def paired_difference(a_correct: Tensor, b_correct: Tensor, confidence: float = 0.95) -> PairedDifference:
    """Difference of two networks' accuracies on the same images, with a paired interval.

    The interval is Newcombe's square-and-add score interval (his method 10): Wilson intervals of the two rates, combined with their correlation phi,
    which is corrected for continuity. It needs no random numbers, keeps to [-1, 1] and holds its level for few images and for rates near 0 or 1.

    Args:
        a_correct, b_correct: bool ``(N,)``, N > 0, which images each network gets right, in the same order.
        confidence: level of the interval.

    Raises:
        TypeError, ValueError: as ``mcnemar``; ValueError also for a confidence not between 0 and 1.

    Source: R. G. Newcombe, Statistics in Medicine 17, 2635 (1998), recommended by M. W. Fagerland, S. Lydersen and P. Laake,
    Statistics in Medicine 33, 2850 (2014).
    """
    both, only_a, only_b, neither = _paired_counts(a_correct, b_correct)
    n = both + only_a + only_b + neither
    rate_a, rate_b = (both + only_a) / n, (both + only_b) / n
    low_a, high_a = wilson(both + only_a, n, confidence)
    low_b, high_b = wilson(both + only_b, n, confidence)
    phi = _newcombe_phi(both, only_a, only_b, neither)
    down, up = _add(rate_a - low_a, high_b - rate_b, phi), _add(high_a - rate_a, rate_b - low_b, phi)
    value = (only_a - only_b) / n
    return PairedDifference(value, value - down, value + up, mcnemar(a_correct, b_correct), n, only_a, only_b)


def _newcombe_phi(both: int, only_a: int, only_b: int, neither: int) -> float:
    n = both + only_a + only_b + neither
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    if margins == 0:
        return 0.0
    excess: float = both * neither - only_a * only_b
    if excess > 0:
        excess = max(excess - n / 2, 0)
    return excess / math.sqrt(margins)


def _add(one: float, two: float, phi: float) -> float:
    return math.sqrt(max(0.0, one * one - 2 * phi * one * two + two * two))
