"""95 % intervals of rates and means, of their ratios, and of sums of these, by MOVER, without random numbers.

MOVER (method of variance estimates recovery) combines the intervals of single numbers: the distance from each number to its limit stands for its
standard error, upwards and downwards apart. Rates bring Wilson's limits, so that 0 of 250 is not taken for certainty, as a bootstrap would take it.
Numbers measured on the same images are correlated, and the correlation comes from these images; numbers on different sets of images count as
independent. For a difference of two rates on the same images the result is Newcombe's, as in ``paired_difference``.

Sources: G. Y. Zou and A. Donner, Statistics in Medicine 27, 1693 (2008); linear functions of rates: G. Y. Zou, W. Huang and X. Zhang,
Comput. Stat. Data Anal. 53, 1080 (2009); ratios: A. Donner and G. Y. Zou, Stat. Methods Med. Res. 21, 347 (2012), and R. G. Newcombe,
Stat. Methods Med. Res. 25, 1774 (2016); the continuity correction of the correlation: R. G. Newcombe, Statistics in Medicine 17, 2635 (1998).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from scipy.special import stdtrit
from torch import Tensor

from qarmor.evaluation.statistics import wilson


@dataclass(frozen=True, eq=False)
class Estimate:
    """A number with its 95 % interval and what it takes to correlate it with others.

    Attributes:
        value: the number; NaN where it is not defined (a ratio over 0).
        low, high: interval; infinite where there is none.
        influence: for each set of images (by a key that stands for these images in this order) float64 ``(n,)``, how much each image moves the
            number: the squares of all of them sum to its variance.
        is_rate: whether it is a plain rate of 0/1 values.
    """

    value: float
    low: float
    high: float
    influence: Mapping[bytes, Tensor] = field(default_factory=dict)
    is_rate: bool = False


UNDEFINED = Estimate(math.nan, -math.inf, math.inf)


def rate(values: Tensor, images: bytes) -> Estimate:
    """Share of ones among ``values``, float64 ``(n,)`` of 0 and 1, n > 0, measured on the set with key ``images``; Wilson's interval."""
    n, value = len(values), float(values.mean())
    return Estimate(value, *wilson(int(values.sum()), n), {images: (values - value) / n}, is_rate=True)


def mean(values: Tensor, images: bytes) -> Estimate:
    """Mean of ``values``, float64 ``(n,)`` in [0, 1], n > 0, measured on the set with key ``images``; Student's interval, cut to [0, 1].

    Where there is one value, or all are the same, their spread says nothing: then Wilson's interval stands in, which is wider than any such mean
    needs, since no spread in [0, 1] with that mean exceeds that of zeros and ones.
    """
    n, value = len(values), float(values.mean())
    spread = float(values.std()) if n > 1 else 0.0
    if spread > 1e-12:
        half = float(stdtrit(n - 1, 0.975)) * spread / math.sqrt(n)
        low, high = max(0.0, value - half), min(1.0, value + half)
    else:
        low, high = wilson(math.floor(value * n), n)[0], wilson(min(n, math.ceil(value * n)), n)[1]
    return Estimate(value, low, high, {images: (values - value) / n})


def exact(value: float) -> Estimate:
    """A number without error."""
    return Estimate(value, value, value)


def published(successes: int, n: int) -> Estimate:
    """A rate from the literature, of images that nobody has: Wilson's interval, independent of everything."""
    return Estimate(successes / n, *wilson(successes, n))


def _correlation(a: Estimate, b: Estimate) -> float:
    """Correlation of two estimates, in [-1, 1]: the covariance over the images that they share; 0 where one of them does not vary."""
    covariance = 0.0
    for images in a.influence.keys() & b.influence.keys():
        n = len(a.influence[images])
        covariance += float(a.influence[images] @ b.influence[images])
        if a.is_rate and b.is_rate and covariance > 0:  # Newcombe's continuity correction
            covariance = max(0.0, covariance - 1 / (2 * n * n))
    variances = math.prod(sum(float(v @ v) for v in estimate.influence.values()) for estimate in (a, b))
    return max(-1.0, min(1.0, covariance / math.sqrt(variances))) if variances > 0 else 0.0


def _combined(parts: Sequence[tuple[float, Estimate]]) -> dict[bytes, Tensor]:
    """Influence of a weighted sum."""
    combined: dict[bytes, Tensor] = {}
    for weight, estimate in parts:
        for images, values in estimate.influence.items():
            combined[images] = combined[images] + weight * values if images in combined else weight * values
    return combined


def ratio(over: Estimate, under: Estimate) -> Estimate:
    """``over / under``, both of numbers that are not negative; ``UNDEFINED`` where the interval of ``under`` reaches 0.

    The limits are the ratios r for which MOVER's interval of ``over - r * under`` just reaches 0 (as Fieller's theorem has it).
    """
    if not under.low > 0:
        return UNDEFINED
    value, correlation = over.value / under.value, _correlation(over, under)

    def root(over_limit: float, under_limit: float) -> tuple[float, float, float]:
        """Coefficients and root of ``a r^2 - 2 b r + c = 0``."""
        b = over.value * under.value - correlation * abs(over.value - over_limit) * abs(under.value - under_limit)
        a, c = under_limit * (2 * under.value - under_limit), over_limit * (2 * over.value - over_limit)
        return a, c, b + math.sqrt(max(0.0, b * b - a * c))

    _, c, big = root(over.low, under.high)
    low = c / big if c > 0 else 0.0
    a, _, big = root(over.high, under.low)
    influence = _combined([(1 / under.value, over), (-value / under.value, under)])
    return Estimate(value, min(low, value), max(big / a, value), influence)


def total(parts: Sequence[tuple[float, Estimate]]) -> Estimate:
    """Sum of ``coefficient * estimate``; ``UNDEFINED`` where one of them is."""
    if any(math.isnan(estimate.value) for _, estimate in parts):
        return UNDEFINED
    if len(parts) == 1 and parts[0][0] == 1:
        return parts[0][1]
    value = sum(coefficient * estimate.value for coefficient, estimate in parts)
    below = [c * (e.value - (e.low if c > 0 else e.high)) for c, e in parts]  # all >= 0
    above = [c * ((e.high if c > 0 else e.low) - e.value) for c, e in parts]
    squares = {"below": 0.0, "above": 0.0}
    for i, (ci, one) in enumerate(parts):
        for j, (cj, two) in enumerate(parts):
            # Distances are taken without sign, so coefficients of opposite sign turn the correlation round.
            correlation = 1.0 if i == j else math.copysign(1.0, ci * cj) * _correlation(one, two)
            squares["below"] += correlation * below[i] * below[j]
            squares["above"] += correlation * above[i] * above[j]
    influence = _combined(parts)
    return Estimate(value, value - math.sqrt(max(0.0, squares["below"])), value + math.sqrt(max(0.0, squares["above"])), influence)
