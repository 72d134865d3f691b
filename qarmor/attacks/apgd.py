"""Auto-PGD: gradient ascent with momentum, whose steps are halved where an image stops gaining; untargeted, and target by target.

Croce & Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks", section 3 (arXiv:2003.01690).
Where the authors' code departs from the paper, this follows the code, since published robust accuracies come from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, final

import torch
from torch import Tensor

from qarmor.attacks import checks
from qarmor.attacks.base import Ball, BaseAttack, Best, Oracle, per_image
from qarmor.attacks.losses import LOSSES, Loss, likeliest_wrong
from qarmor.attacks.streams import Streams

_MOMENTUM = 0.75


def targeted_dlr(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """The target's logit minus the true one, over the distance from the largest logit to the mean of the third and fourth largest.

    Invariant under shifting and rescaling the logits. Croce & Hein 2020, eq. 7.

    Args:
        logits: float ``(B, K)``.
        y: int64 ``(B,)``, true labels.
        target: int64 ``(B,)``, wrong classes.

    Returns:
        float ``(B,)``.

    Raises:
        ValueError: with fewer than four classes.
    """
    if logits.shape[1] < 4:
        raise ValueError(f'the targeted DLR loss needs at least 4 classes, the model has {logits.shape[1]}: use APGD with loss="margin"')
    top = logits.topk(4, dim=1).values
    rise = (logits.gather(1, target[:, None]) - logits.gather(1, y[:, None])).squeeze(1)
    return rise / (top[:, 0] - 0.5 * (top[:, 2] + top[:, 3]) + 1e-12)  # as the authors' code: equal logits give 0, not NaN


def checkpoints(steps: int) -> frozenset[int]:
    """After how many steps an attack of ``steps`` looks back: first after 22 %, then ever sooner (3 % less each time, down to 6 %)."""
    length, shrink, least = (max(percent * steps // 100, 1) for percent in (22, 3, 6))
    at, found = length, set()
    while at <= steps:
        found.add(at)
        length = max(length - shrink, least)
        at += length
    return frozenset(found)


def random_start(x: Tensor, ball: Ball, streams: Streams) -> Tensor:
    """A point of the cube's surface, clipped to [0, 1]: some pixel of every image moves by all of eps."""
    return ball.project(x + ball.eps * streams.surface(*x.shape[1:]).to(x.dtype).to(x.device))


def climb(oracle: Oracle, start: Tensor, ball: Ball, loss: Loss, steps: int, rho: float) -> Best:
    """Auto-PGD from ``start`` ``(B, ...)``: ``steps`` steps, ``steps + 1`` passes. Returns the best images on the way.

    At a checkpoint an image halves its step and goes back to its highest point, if no more than ``rho`` of the steps since the last checkpoint
    raised its loss, or if the step was not halved there and the highest loss is no higher since.
    """
    best = Best(start)
    z = before = start
    value, wrong, grad = oracle.judge_with_gradient(z, loss)
    best.update(z, value, wrong)
    # The highest point, fooled or not: where the ascent goes back to.
    top, top_value, top_grad = z, value, grad
    step = 2 * ball.eps
    # As the authors' code: the first step is taken to rise from 0, not from the loss at the start.
    last = torch.zeros_like(value)
    rises = torch.zeros_like(value, dtype=torch.int64)
    top_then, halved = top_value, torch.ones_like(wrong)
    looked, stops = 0, checkpoints(steps)
    for done in range(1, steps + 1):
        moved = ball.project(z + step * grad.sign())
        if done > 1:
            moved = ball.project(z + (moved - z) * _MOMENTUM + (z - before) * (1 - _MOMENTUM))
        before, z = z, moved
        value, wrong, grad = oracle.judge_with_gradient(z, loss)
        best.update(z, value, wrong)
        rises += value > last
        last = value
        higher = value > top_value
        top = torch.where(per_image(higher, z), z, top)
        top_grad = torch.where(per_image(higher, z), grad, top_grad)
        top_value = torch.where(higher, value, top_value)
        if done in stops:
            halved = (rises <= rho * (done - looked)) | (~halved & (top_value <= top_then))
            step = torch.where(per_image(halved, z), step / 2, step)
            # `last` stays the loss of the point that is left, as in the authors' code
            z = torch.where(per_image(halved, z), top, z)
            grad = torch.where(per_image(halved, z), top_grad, grad)
            top_then, looked = top_value, done
            rises.zero_()
    return best


def _climb_often(
    oracle: Oracle, x: Tensor, ball: Ball, best: Best, rounds: Iterable[tuple[Streams, Callable[[Tensor], Loss]]], steps: int, rho: float
) -> Tensor:
    """One ascent a round, of all images in the first and of those not fooled yet in every other; ``best`` keeps the results.

    A round has random numbers for all images, and a function that makes the loss of the images at given positions.
    """
    which = torch.arange(len(x), device=x.device)
    for streams, loss_of in rounds:
        some = ball.subset(which)
        start = random_start(x[which], some, streams.subset(which))
        found = climb(oracle.subset(which), start, some, loss_of(which), steps, rho)
        best.put(which, found.x, found.loss, found.wrong)
        which = (~best.wrong).nonzero().squeeze(1)
        if not len(which):
            break
    return best.x


def _check_rho(rho: object) -> None:
    if isinstance(rho, bool) or not isinstance(rho, int | float) or not 0 < rho < 1:
        raise ValueError(f"rho must be a number between 0 and 1, got {rho!r}")


@final
@dataclass(frozen=True, kw_only=True, repr=False)
class APGD(BaseAttack):
    """Auto-PGD on one loss from random starts, without a step size to choose.

    Croce & Hein 2020, algorithm 1, as in the authors' code. A call takes ``steps + 1`` passes of the model per image, as many again for each
    further restart of the images not fooled yet, and one for the clean image.

    Attributes:
        steps: of each ascent, at least 1. Where to look back is planned for this many.
        restarts: ascents for each image, at least 1; only the first is for all images, the others for those not fooled yet.
        loss: ``"ce"``, ``"margin"`` or ``"dlr"`` (at least 3 classes).
        rho: part of the steps that must raise an image's loss for the step not to be halved, between 0 and 1.
        batch_size: images per call of the model.

    Raises:
        ValueError: a hyperparameter out of range.
    """

    name: ClassVar[str] = "apgd"

    steps: int = 100
    restarts: int = 1
    loss: str = "ce"
    rho: float = 0.75

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.check_count("steps", self.steps)
        checks.check_count("restarts", self.restarts)
        checks.check_choice("loss", self.loss, LOSSES)
        _check_rho(self.rho)

    def _perturb(self, oracle: Oracle, x: Tensor, ball: Ball, streams: Streams) -> Tensor:
        loss = LOSSES[self.loss]
        best = Best(x)
        best.update(x, *oracle.judge(x, loss))
        rounds = ((streams.branch(f"restart {restart}"), lambda which: loss) for restart in range(self.restarts))
        return _climb_often(oracle, x, ball, best, rounds, self.steps, self.rho)


@final
@dataclass(frozen=True, kw_only=True, repr=False)
class APGDTargeted(BaseAttack):
    """Auto-PGD on the targeted DLR loss, towards one wrong class after another, the likeliest on the clean image first.

    Croce & Hein 2020, section 4.1, as in the authors' code; at least 4 classes. A call takes ``steps + 1`` passes of the model per image,
    as many again for each further restart and target of the images not fooled yet, and one for the clean image. "Highest loss" in what it
    returns is over all targets that were tried.

    Attributes:
        steps: of each ascent, at least 1. Where to look back is planned for this many.
        restarts: ascents for each target, at least 1; only the very first is for all images, the others for those not fooled yet.
        targets: wrong classes to try, at least 1; all of them if there are fewer.
        rho: part of the steps that must raise an image's loss for the step not to be halved, between 0 and 1.
        batch_size: images per call of the model.

    Raises:
        ValueError: a hyperparameter out of range; when called, a model with fewer than 4 classes.
    """

    name: ClassVar[str] = "apgd-t"

    steps: int = 100
    restarts: int = 1
    targets: int = 9
    rho: float = 0.75

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.check_count("steps", self.steps)
        checks.check_count("restarts", self.restarts)
        checks.check_count("targets", self.targets)
        _check_rho(self.rho)

    def _perturb(self, oracle: Oracle, x: Tensor, ball: Ball, streams: Streams) -> Tensor:
        with torch.no_grad():
            logits = oracle.logits(x)
        targets = likeliest_wrong(logits, oracle.y, self.targets)
        best = Best(x)
        best.update(x, targeted_dlr(logits, oracle.y, targets[0]), logits.argmax(dim=1) != oracle.y)
        rounds = (
            (streams.branch(f"target {number}, restart {restart}"), partial(_towards, target))
            for number, target in enumerate(targets)
            for restart in range(self.restarts)
        )
        return _climb_often(oracle, x, ball, best, rounds, self.steps, self.rho)


def _towards(target: Tensor, which: Tensor) -> Loss:
    return lambda logits, y: targeted_dlr(logits, y, target[which])
