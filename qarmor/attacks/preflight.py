"""Whether a network can be attacked at all, tried on a few images: a masked gradient must not pass for robustness."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from qarmor.attacks import checks
from qarmor.attacks.base import BaseAttack, Oracle, undisturbed
from qarmor.attacks.ensemble import is_stochastic
from qarmor.attacks.eot import EOT, Wrapper
from qarmor.attacks.findings import CHECKS, Finding
from qarmor.attacks.losses import ce
from qarmor.types import Attack

SAME_CALL = 1e-5
"""Two calls with the same batch may differ by this share of the largest logit: parallel sums."""

SAME_IMAGE = 1e-3
"""An image's logits in two batches may: other kernels for other sizes. QVCs of 500 layers in float32 differ by 1e-5."""

STEPS = (1e-2, 1e-3, 3e-4, 1e-4)
"""Lengths of finite differences in every pixel. Smooth networks want the largest, for float32; networks of many ReLUs the smallest."""

AGREES = 0.15
"""A slope may differ from what the gradient predicts by this share of the gradient's l2 norm, which is the spread of slopes along random signs."""

JITTER = 0.05
"""Share of uniform noise in the images next to which slopes are taken, since at flat parts of an image max pooling has its kinks just there."""

PAIRS = 16
"""Slopes a step, at least."""


def preflight(model: nn.Module, x: Tensor, y: Tensor, *, images: int = 8, gradients: bool = True, seed: int = 0) -> tuple[Finding, ...]:
    """What is wrong with ``model`` for an attacker; nothing, if all is well.

    It is asked about some of the images and about points next to them, by about 200 passes for 8 images, in eval mode; it is left as it was, and so
    are torch's generators. Finite differences are those of the margin, along random signs in all pixels, at several step lengths; they disagree with
    the gradient if at every length at most half of them agree, so that kinks of ReLU and max pooling do no harm. They are not taken of a network
    that is random or depends on the batch.

    Args:
        model: maps ``(B, ...)`` in [0, 1] to logits ``(B, K)``, as an attack will be handed it (``types.frozen``).
        x: float32 or float64 ``(N, ...)`` in [0, 1], N at least 1.
        y: int64 ``(N,)``, true labels, on the device of ``x``.
        images: how many are looked at, at most; they are drawn with ``seed``.
        gradients: also look at what only an attack on gradients needs.
        seed: of the choice of images, of the points next to them and of directions, in [0, 2**63).

    Returns:
        What fired of ``CHECKS``, in their order. What makes others pointless ends the search, as logits that are not finite.

    Raises:
        TypeError, ValueError: a bad argument, or a model that returns something other than logits ``(B, K)`` with K at least 2 and above all labels.
    """
    checks.check_model(model)
    x = checks.check_images(x)
    y = checks.check_labels(y, x)
    checks.check_count("images", images)
    seed = checks.check_seed(seed)
    if not len(x):
        raise ValueError("x is empty: preflight needs at least one image")
    generator = torch.Generator().manual_seed(seed)
    some = torch.randperm(len(x), generator=generator)[:images].to(x.device)
    with undisturbed(model, x.device, seed), _full_precision():
        probe = _Probe(model, x[some].clone(), y[some].clone(), int(y.max()), generator)
        found, usable = _outputs(probe, is_stochastic(model))
        if gradients and usable:
            found += _gradients(probe, steady=not found)
    return tuple(found)


def needs_gradient(attack: Attack) -> bool:
    """Whether ``attack`` follows gradients: what a ``BaseAttack`` says of itself, also inside others; anything else is taken to."""
    while isinstance(attack, Wrapper):
        attack = attack.attack
    return not isinstance(attack, BaseAttack) or attack.needs_gradient


def concerning(attack: Attack, findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Of what ``preflight`` found what matters to ``attack``: no gradients, if it follows none, and no declared randomness, if it averages."""
    follows, averages = needs_gradient(attack), False
    while isinstance(attack, Wrapper):
        averages |= isinstance(attack, EOT)
        attack = attack.attack
    return tuple(one for one in findings if (follows or not one.check.gradients) and not (averages and one.check.code == "stochastic"))


@final
@dataclass(frozen=True, eq=False)
class _Probe:
    """A model, a few images with their labels, and a source of random numbers on the CPU."""

    model: nn.Module
    x: Tensor
    y: Tensor
    top_label: int
    generator: torch.Generator

    def logits(self, x: Tensor, y: Tensor) -> Tensor:
        """Logits ``(B, K)`` of ``x`` ``(B, ...)``, whose labels ``y`` are only counted."""
        return Oracle(self.model, y, self.top_label).logits(x)

    def uniform(self) -> Tensor:
        """Numbers in [0, 1), as the images."""
        return torch.rand(self.x.shape, generator=self.generator, dtype=torch.float64).to(self.x)


@contextmanager
def _full_precision() -> Iterator[None]:
    """Convolutions in float32 on GPUs that would take TF32 for them, whose rounding drowns small differences."""
    now = torch.backends.cudnn
    with now.flags(enabled=now.enabled, benchmark=now.benchmark, deterministic=now.deterministic, allow_tf32=False):
        yield


def _finding(code: str, detail: str) -> Finding:
    return Finding(CHECKS[code], detail)


def _outputs(probe: _Probe, declared: bool) -> tuple[list[Finding], bool]:
    """What is wrong with the logits, and whether gradients are worth a look."""
    n = len(probe.x)
    with torch.no_grad():
        first, again = probe.logits(probe.x, probe.y), probe.logits(probe.x, probe.y)
        if bad := int((~(first.isfinite() & again.isfinite()).all(1)).sum()):
            return [_finding("non-finite-logits", f"the logits of {bad} of {n} images are NaN or infinite")], False
        scale = float(first.abs().max())
        if declared:
            return [_finding("stochastic", "it has stochastic = True")], True
        if (difference := float((first - again).abs().max())) > SAME_CALL * scale:
            return [_finding("random-output", f"asked twice about the same {n} images, its logits differ by up to {difference:.2g}")], True
        if n > 1:
            part = probe.logits(probe.x[: n // 2], probe.y[: n // 2])
            if not (difference := float((first[: n // 2] - part).abs().max())) <= SAME_IMAGE * scale:
                detail = f"logits of {n // 2} images differ by up to {difference:.2g} from those of the same images in a batch of {n}"
                return [_finding("batch-dependent", detail)], True
    return [], True


def _gradients(probe: _Probe, steady: bool) -> list[Finding]:
    """What is wrong with the gradients, at the images and at points next to them; only ``steady`` logits have slopes."""
    top, n = max(STEPS), len(probe.x)
    near = top + (1 - 2 * top) * ((1 - JITTER) * probe.x + JITTER * probe.uniform())  # with room for a step of ``top`` on either side
    points, y = torch.cat([probe.x, near]).requires_grad_(), torch.cat([probe.y, probe.y])
    where = f"of {2 * n} points (the images and points next to them)"
    logits = probe.logits(points, y)
    if bad := int((~logits.detach().isfinite().all(1)).sum()):
        return [_finding("non-finite-logits", f"the logits are NaN or infinite at {bad} {where}")]
    rival = logits.detach().scatter(1, y[:, None], -torch.inf).argmax(1)
    gradient = _gradient(_gap(logits, y, rival), points)
    if gradient is None:
        return [_finding("detached-gradient", "autograd finds no way from the logits back to the images")]
    if bad := int((~gradient.flatten(1).isfinite().all(1)).sum()):
        return [_finding("non-finite-gradient", f"the margin's gradient is NaN or infinite at {bad} {where}")]
    zero = int((gradient == 0).flatten(1).all(1).sum())
    found: list[Finding] = []
    slopes = _Slopes.of(probe, near, rival[n:], gradient[n:]) if steady else None
    if zero > n:
        moves = f"; the margin changes by up to {slopes.moved:.2g} within {top:g} of them" if slopes and slopes.moved else ""
        found.append(_finding("zero-gradient", f"the margin's gradient is exactly zero at {zero} {where}{moves}"))
    elif slopes and 2 * slopes.agreeing <= slopes.taken:
        detail = f"at best {slopes.agreeing} of {slopes.taken} slopes of the margin agree with its gradient, for steps from {min(STEPS):g} to {top:g}"
        found.append(_finding("gradient-mismatch", detail))
    if blind := _blind(_gradient(ce(logits, y), points), gradient):
        found.append(_finding("saturated", f"cross-entropy's gradient is zero where the margin's is not, at {blind} {where}"))
    return found


def _gap(logits: Tensor, y: Tensor, rival: Tensor) -> Tensor:
    """The margin ``(B,)`` against one fixed other class, so that it has no kink where the best wrong class changes."""
    return (logits.gather(1, rival[:, None]) - logits.gather(1, y[:, None])).squeeze(1)


def _gradient(values: Tensor, points: Tensor) -> Tensor | None:
    """The gradient of each value for its point, None where there is no graph."""
    if not values.requires_grad:
        return None
    return torch.autograd.grad(values.sum(), points, retain_graph=True, allow_unused=True)[0]


def _blind(gradient: Tensor | None, margins: Tensor) -> int:
    """At how many points ``gradient`` has lost most of the components that the margin's has."""
    if gradient is None:
        return 0
    alive = (margins != 0).flatten(1)
    lost = (alive & (gradient == 0).flatten(1)).sum(1)
    return int((2 * lost > alive.sum(1)).sum())


@final
@dataclass(frozen=True)
class _Slopes:
    """Finite differences next to a gradient.

    Attributes:
        taken: how many, a step length.
        agreeing: how many agree at the length where most do.
        moved: largest change of the margin over the longest step.
    """

    taken: int
    agreeing: int
    moved: float

    @classmethod
    def of(cls, probe: _Probe, points: Tensor, rival: Tensor, gradient: Tensor) -> _Slopes:
        """Slopes at ``points`` ``(n, ...)``, at least a step away from the ends of [0, 1], of the margin against ``rival``."""
        norm = torch.linalg.vector_norm(gradient.flatten(1).double(), dim=1)
        directions = [2 * probe.uniform().round() - 1 for _ in range(math.ceil(PAIRS / len(points)))]
        agreeing, moved = [], 0.0
        for step in STEPS:
            count = 0
            for signs in directions:
                ahead, behind = (_at(probe, (points + sense * step * signs).clamp(0, 1), rival) for sense in (1, -1))
                slope, predicted = (ahead - behind) / (2 * step), (gradient.double() * signs).flatten(1).sum(1)
                count += int(((slope - predicted).abs() <= AGREES * norm).sum())
                moved = max(moved, float((ahead - behind).abs().max())) if step == max(STEPS) else moved
            agreeing.append(count)
        return cls(len(points) * len(directions), max(agreeing), moved)


def _at(probe: _Probe, points: Tensor, rival: Tensor) -> Tensor:
    with torch.no_grad():
        return _gap(probe.logits(points, probe.y).double(), probe.y, rival)
