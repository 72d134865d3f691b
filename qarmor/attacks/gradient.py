"""Attacks that follow the sign of the input gradient: PGD, and FGSM, which is PGD with one step of length eps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from qarmor.attacks import checks
from qarmor.attacks.base import Ball, BaseAttack, Best, Oracle
from qarmor.attacks.losses import LOSSES
from qarmor.attacks.streams import Streams


@final
@dataclass(frozen=True, kw_only=True, repr=False)
class PGD(BaseAttack):
    """Projected gradient descent on the sign of the gradient.

    Madry et al. 2018, "Towards deep learning models resistant to adversarial attacks", section 2.1.
    A call takes ``restarts * (steps + 1)`` passes of the model per image, and one for the clean image where the start is random.

    Attributes:
        steps: at least 1.
        step_size: length of every step in units of the pixel range, positive; None for steps that fall from eps by eps / steps each, image by
            image: the first crosses the ball, the last refine. (As strong as ten restarts with steps of 2.5 eps / 40: dev/LOG.md.)
        loss: ``"ce"``, ``"margin"`` (does not depend on the scale of the logits) or ``"dlr"`` (nor that, at least 3 classes).
        random_start: start anywhere in the cube of radius eps, clipped to [0, 1], instead of at the image.
        restarts: independent starts for every image, also fooled ones, at least 1; the best image of all is returned.
        batch_size: images per call of the model.

    Raises:
        ValueError: a hyperparameter out of range.
    """

    name: ClassVar[str] = "pgd"

    steps: int = 40
    step_size: float | None = None
    loss: str = "ce"
    random_start: bool = True
    restarts: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.check_count("steps", self.steps)
        checks.check_choice("loss", self.loss, LOSSES)
        checks.check_flag("random_start", self.random_start)
        checks.check_count("restarts", self.restarts)
        size = self.step_size
        if size is not None and (isinstance(size, bool) or not isinstance(size, int | float) or not 0 < size < math.inf):
            raise ValueError(f"step_size must be a positive number, or None for steps that fall from eps, got {size!r}")
        if self.restarts > 1 and not self.random_start:
            raise ValueError(f"restarts={self.restarts} with random_start=False repeats the same attack: use random_start=True or restarts=1")

    def _perturb(self, oracle: Oracle, x: Tensor, ball: Ball, streams: Streams) -> Tensor:
        loss = LOSSES[self.loss]
        fixed = None if self.step_size is None else min(float(self.step_size), 1.0)
        best = Best(x)
        if self.random_start:
            best.update(x, *oracle.judge(x, loss))
        for _ in range(self.restarts):
            z = x
            if self.random_start:
                shift = 2 * streams.uniform(*x.shape[1:]) - 1
                z = ball.project(x + ball.eps * shift.to(x.dtype).to(x.device))
            for done in range(self.steps):
                value, wrong, grad = oracle.judge_with_gradient(z, loss)
                best.update(z, value, wrong)
                step = ball.eps * (1 - done / self.steps) if fixed is None else fixed
                z = ball.project(z + grad.sign().mul_(step))
            best.update(z, *oracle.judge(z, loss))
        return best.x


@final
@dataclass(frozen=True, kw_only=True, repr=False)
class FGSM(BaseAttack):
    """Fast gradient sign method: one step of length eps from the image.

    Goodfellow et al. 2015, "Explaining and harnessing adversarial examples", section 4.
    The clean image remains a candidate, as in every attack here: it is returned where the step lowers the loss.

    Attributes:
        loss: ``"ce"``, ``"margin"`` or ``"dlr"`` (at least 3 classes).
        batch_size: images per call of the model.

    Raises:
        ValueError: a hyperparameter out of range.
    """

    name: ClassVar[str] = "fgsm"

    loss: str = "ce"

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.check_choice("loss", self.loss, LOSSES)

    def _perturb(self, oracle: Oracle, x: Tensor, ball: Ball, streams: Streams) -> Tensor:
        return PGD(steps=1, loss=self.loss, random_start=False)._perturb(oracle, x, ball, streams)
