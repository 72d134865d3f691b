"""FAB: walks along the decision boundary to the smallest perturbation, by any class (FAB) or class by class (FAB-T)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from qarmor.attacks import checks
from qarmor.attacks.base import Ball, BaseAttack, Best, Oracle, per_image
from qarmor.attacks.losses import likeliest_wrong, margin
from qarmor.attacks.projection import step_to_hyperplane
from qarmor.attacks.streams import Streams

_PERIOD = 10  # steps between looks at who has fallen: a look waits for the device


@dataclass(frozen=True, kw_only=True, repr=False)
class _Boundary(BaseAttack):
    """What FAB and FAB-T share: the walk.

    It follows the iterates of the authors' code, which have no radius. An iterate is a candidate where it lies in the ball, as there; ours
    differs where that changes no verdict:

    - An image that fell leaves (every ten steps), since a smaller perturbation than eps is no gain.
    - For an image that resists, the nearest adversarial image outside is cut to the ball and judged, since attacks are transferred.
    - An image that is wrong already has no boundary to look for: it is moved by one step of eps on the sign of the margin's gradient.
    """

    steps: int = 100
    restarts: int = 1
    alpha_max: float = 0.1
    eta: float = 1.05
    beta: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.check_count("steps", self.steps)
        checks.check_count("restarts", self.restarts)
        for argument, low, high in (("alpha_max", 0.0, 1.0), ("eta", 1.0, 2.0), ("beta", 0.0, 1.0)):
            value = getattr(self, argument)
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise ValueError(f"{argument} must be a number from {low:g} to {high:g}, got {value!r}")

    def _start(self, oracle: Oracle, x: Tensor, ball: Ball) -> tuple[Best, Tensor]:
        """The clean images judged, those that are wrong moved, and the clean logits."""
        best = Best(x)
        with torch.no_grad():
            logits = oracle.logits(x)
        best.update(x, margin(logits, oracle.y), logits.argmax(dim=1) != oracle.y)
        lost = (best.wrong & _has_room(ball)).nonzero().flatten()
        if len(lost):
            part, within = oracle.subset(lost), ball.subset(lost)
            _, _, grad = part.judge_with_gradient(x[lost], margin)
            z = within.project(x[lost] + within.eps * grad.sign())
            best.put(lost, z, *part.judge(z, margin))
        return best, logits

    def _walk(self, oracle: Oracle, x: Tensor, ball: Ball, best: Best, start: Streams | None, targets: Tensor | None) -> None:
        """One walk for every image that still resists; what it finds goes to ``best``.

        Args:
            oracle, x, ball, best: of the batch ``(B, ...)``.
            start: for a random start, up to eps / 2 away; None to start at the image.
            targets: int64 ``(B,)``, the class whose boundary is looked for; None for the nearest of all.
        """
        who = (~best.wrong & _has_room(ball)).nonzero().flatten()
        if not len(who):
            return
        z = x[who]
        if start is not None:
            z = (z + 0.5 * ball.eps[who] * start.subset(who).surface(*x.shape[1:]).to(x)).clamp(0, 1)
        nearest, distance = z, torch.full((len(who),), torch.inf, dtype=x.dtype, device=x.device)
        for done in range(self.steps):
            if done % _PERIOD == 0:
                stays = (~best.wrong[who]).nonzero().flatten()
                who, z, nearest, distance = who[stays], z[stays], nearest[stays], distance[stays]
                if not len(who):
                    return
                part, within, origin = oracle.subset(who), ball.subset(who), x[who]
                to = None if targets is None else targets[who]
            z = self._step(z, origin, *_nearest_boundary(part, z, to))
            loss, wrong = part.judge(z, margin)
            inside = ((z >= within.low) & (z <= within.high)).flatten(1).all(1)
            best.put(who, z, loss.where(inside, -torch.inf), wrong & inside)
            away = (z - origin).flatten(1).abs().amax(1)
            closer = wrong & (away < distance)
            nearest, distance = torch.where(per_image(closer, x), z, nearest), torch.where(closer, away, distance)
            z = torch.where(per_image(wrong, x), origin + (z - origin) * self.beta, z)
        found = within.project(torch.where(per_image(distance.isfinite(), x), nearest, z))
        best.put(who, found, *part.judge(found, margin))

    def _step(self, z: Tensor, origin: Tensor, value: Tensor, normal: Tensor) -> Tensor:
        """From ``z`` over the boundary ``value + normal (. - z) = 0``, drawn towards the point of it that is nearest to the image."""
        flat, home, normal = z.flatten(1), origin.flatten(1), normal.flatten(1)
        at_home = value + (normal * (home - flat)).sum(1)
        here, there = step_to_hyperplane(torch.cat([flat, home]), torch.cat([normal, normal]), torch.cat([value, at_home])).chunk(2)
        lengths = [step.abs().amax(1, keepdim=True).clamp(min=1e-8) for step in (here, there)]
        alpha = (lengths[0] / (lengths[0] + lengths[1])).clamp(max=self.alpha_max)
        moved = (flat + self.eta * here) * (1 - alpha) + (home + self.eta * there) * alpha
        return moved.clamp(0, 1).reshape(z.shape)


@final
@dataclass(frozen=True, kw_only=True, repr=False)
class FAB(_Boundary):
    """Fast adaptive boundary attack: to the nearest of all linearised boundaries, step after step.

    Croce & Hein 2020, "Minimally distorted adversarial examples with a fast adaptive boundary attack". Looks for the smallest perturbation, and
    needs the gradients of all K logits: a step takes two passes of the model forward and K back for every image that has not fallen.
    Losses are margins: the result doesn't depend on the scale of the logits.

    Attributes:
        steps: at least 1.
        restarts: walks for an image that resists, at least 1: the first starts at the image, the others up to eps / 2 away.
        alpha_max: greatest share of the step towards the image, in [0, 1].
        eta: how far to step over the boundary, in [1, 2]; 1 ends on it.
        beta: where to go on after an adversarial iterate, between the image (0) and it (1).
        batch_size: images per call of the model.

    Raises:
        ValueError: a hyperparameter out of range.
    """

    name: ClassVar[str] = "fab"

    def _perturb(self, oracle: Oracle, x: Tensor, ball: Ball, streams: Streams) -> Tensor:
        best, _ = self._start(oracle, x, ball)
        for restart in range(self.restarts):
            self._walk(oracle, x, ball, best, streams.branch(f"restart {restart}") if restart else None, None)
        return best.x


@final
@dataclass(frozen=True, kw_only=True, repr=False)
class FABTargeted(_Boundary):
    """FAB-T: FAB to the boundary of one class at a time, the most likely wrong classes first.

    As in AutoAttack (Croce & Hein 2020, "Reliable evaluation of adversarial robustness", section 5). A step takes two passes of the model forward
    and one back, whatever the number of classes.

    Attributes:
        steps, restarts, alpha_max, eta, beta, batch_size: as ``FAB``; steps and restarts of each target.
        targets: classes to try, at least 1; the K - 1 wrong ones where there are no more.

    Raises:
        ValueError: a hyperparameter out of range.
    """

    name: ClassVar[str] = "fab-t"

    targets: int = 9

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.check_count("targets", self.targets)

    def _perturb(self, oracle: Oracle, x: Tensor, ball: Ball, streams: Streams) -> Tensor:
        best, logits = self._start(oracle, x, ball)
        for rank, targets in enumerate(likeliest_wrong(logits, oracle.y, self.targets)):
            for restart in range(self.restarts):
                self._walk(oracle, x, ball, best, streams.branch(f"target {rank}, restart {restart}") if restart else None, targets)
        return best.x


def _has_room(ball: Ball) -> Tensor:
    """Whether eps is positive, bool ``(B,)``."""
    return ball.eps.flatten() > 0


def _nearest_boundary(oracle: Oracle, z: Tensor, targets: Tensor | None) -> tuple[Tensor, Tensor]:
    """A wrong logit minus the true one ``(B,)`` and its gradient ``(B, ...)``: of the target, or of the class that seems nearest in l_inf."""
    if targets is not None:
        value, _, gradient = oracle.judge_with_gradient(
            z, lambda logits, y: (logits.gather(1, targets[:, None]) - logits.gather(1, y[:, None])).flatten()
        )
        return value.to(z.dtype), gradient
    logits, gradients = oracle.jacobian(z)
    images = torch.arange(len(z), device=z.device)
    values = logits.to(z.dtype) - logits.to(z.dtype)[images, oracle.y][:, None]
    slopes = gradients - gradients[oracle.y, images]
    distances = values.abs() / (slopes.flatten(2).abs().sum(2).T + 1e-12)
    nearest = distances.scatter(1, oracle.y[:, None], torch.inf).argmin(1)
    return values[images, nearest], slopes[nearest, images]
