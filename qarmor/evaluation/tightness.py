"""How close attacks come to certified radii: the smallest that succeeds, and the share of the way to it that is certified."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from qarmor.evaluation.checks import check_attack, check_images, check_seed, one_network
from qarmor.evaluation.craft import craft_prepared, look_at
from qarmor.evaluation.predict import prepare
from qarmor.types import Attack, Images


@dataclass(frozen=True, eq=False)
class Smallest:
    """The smallest perturbations found that fool a network.

    Attributes:
        eps: float64 ``(N,)``, their l_inf norms as measured; 0 where the network is wrong anyway, infinite where nothing worked.
        x: float32, shaped as the images: the images that fooled it, the clean ones where none did.
    """

    eps: Tensor
    x: Tensor


def smallest_successful_attack(
    source: nn.Module | Mapping[str, nn.Module], images: Images, attack: Attack, *, largest: float = 0.5, steps: int = 12, seed: int = 0
) -> Smallest:
    """By bisection over eps, image by image: ``steps`` attacks after one at ``largest``, each on all images that it can still say something about.

    An upper bound of each image's true radius. No certificate enters, so that one which is wrong would be found out.

    Raises:
        TypeError, ValueError: as ``evaluation.craft``; also for a ``largest`` outside (0, 1] or ``steps`` below 0.
    """
    name, module = one_network(source, "source")
    check_images(images)
    if isinstance(largest, bool) or not isinstance(largest, int | float) or not 0 < largest <= 1:
        raise ValueError(f"largest must be above 0 and at most 1 (the pixel range), got {largest!r}")
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
        raise ValueError(f"steps must be a whole number, 0 or more, got {steps!r}")
    check_attack(attack)
    check_seed(seed)
    looked = look_at(prepare(name, module, images), images)
    low = torch.zeros(len(images), dtype=torch.float64, device=images.x.device)
    high, x = torch.full_like(low, torch.inf), images.x.clone()
    left, eps = torch.arange(len(images), device=images.x.device), torch.full_like(low, largest)
    for _ in range(steps + 1):
        some = images[left]
        made = craft_prepared(looked.some(left), some, attack, eps[left].float(), seed)
        norm = (made.x.double() - some.x.double()).flatten(1).abs().amax(1)
        fooled, was_wrong = ~made.source_adversarial_correct, ~made.source_clean_correct
        better = fooled & (norm < high[left])
        x[left[better]], high[left[better]] = made.x[better], norm[better]
        low[left[~fooled]] = eps[left[~fooled]]
        high[left[was_wrong]], x[left[was_wrong]] = 0.0, some.x[was_wrong]
        left = left[(fooled | high[left].isfinite()) & ~was_wrong]
        if not len(left):
            break
        eps = torch.where(high.isfinite(), (low + high) / 2, eps)
    return Smallest(high, x)


@dataclass(frozen=True)
class Tightness:
    """Certified radius over smallest successful attack, on the images that were named rightly and then fooled.

    Attributes:
        median: in [0, 1] unless the certificate is wrong; NaN where n is 0.
        low, high: its 95 % interval, between two order statistics, whatever the distribution; the extremes where n is below 6.
        n: images.
        violations: images with a successful attack within the certified radius, among all. 0 unless the certificate is wrong.
    """

    median: float
    low: float
    high: float
    n: int
    violations: int


def tightness(radii: Tensor, smallest: Tensor) -> Tightness:
    """How much of the way to the smallest successful attack is certified.

    Args:
        radii: float64 ``(N,)``, certified l_inf radii.
        smallest: float64 ``(N,)``, ``Smallest.eps`` of the same images.

    Raises:
        ValueError: shapes that differ.
    """
    if radii.shape != smallest.shape or radii.ndim != 1:
        raise ValueError(f"radii and smallest must be (N,) of the same images, got shapes {tuple(radii.shape)} and {tuple(smallest.shape)}")
    fooled = (smallest > 0) & smallest.isfinite()
    ratios = (radii[fooled] / smallest[fooled]).sort().values
    violations = int(((radii > 0) & (radii >= smallest)).sum())
    n = len(ratios)
    if n == 0:
        return Tightness(math.nan, math.nan, math.nan, 0, violations)
    term = tail = 1  # exact integers: of 2^n arrangements, those with at most k ratios below the median
    k = 0
    while 40 * tail <= 1 << n:  # at most 2.5 % on this side
        term = term * (n - k) // (k + 1)
        k, tail = k + 1, tail + term
    low, high = ratios[max(k - 1, 0)], ratios[n - 1 - max(k - 1, 0)]
    return Tightness(float((ratios[(n - 1) // 2] + ratios[n // 2]) / 2), float(low), float(high), n, violations)
