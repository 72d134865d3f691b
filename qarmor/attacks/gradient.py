"""Attacks that follow the sign of the input gradient: PGD, and FGSM, which is PGD with one step of length eps."""

import math

from torch import Tensor

from qarmor.attacks.base import Ball, BaseAttack, Best, Oracle, Streams, check_count


class PGD(BaseAttack):
    """Projected gradient descent (Madry et al. 2018, section 2.1).

    Args:
        steps: 1 or more. The paper (Methods) does not give its own; 40 is Madry's for MNIST.
        step_size: length of a step in units of the pixel range; None for 2.5 eps / steps.
        loss: ``"ce"``, ``"margin"`` (does not depend on the scale of the logits) or ``"dlr"``.
        random_start: start anywhere in the ball instead of at the image.
        restarts: independent starts; the best image of all is returned.
        batch_size: images a call of the model.

    Raises:
        ValueError: a hyperparameter out of range.
    """

    name = "pgd"

    def __init__(
        self,
        *,
        steps: int = 40,
        step_size: float | None = None,
        loss: str = "ce",
        random_start: bool = True,
        restarts: int = 1,
        batch_size: int = 256,
    ) -> None:
        super().__init__(loss=loss, batch_size=batch_size)
        self.steps, self.restarts = check_count("steps", steps), check_count("restarts", restarts)
        if step_size is not None and not (isinstance(step_size, int | float) and math.isfinite(step_size) and step_size > 0):
            raise ValueError(f"step_size must be positive and finite, or None for 2.5 eps / steps, got {step_size!r}")
        if restarts > 1 and not random_start:
            raise ValueError(f"restarts={restarts} without random_start would repeat the same attack: set random_start=True")
        self.step_size, self.random_start = step_size, random_start

    def _step_length(self, eps: Tensor) -> Tensor | float:
        return self.step_size if self.step_size is not None else eps * (2.5 / self.steps)

    def _perturb(self, oracle: Oracle, x: Tensor, ball: Ball, streams: Streams) -> Tensor:
        step = self._step_length(ball.eps)
        loss, wrong, grad_at_x = oracle.judge_with_gradient(x)
        best = Best(x, loss, wrong)
        for _ in range(self.restarts):
            if self.random_start:
                z = ball.project(x + ball.eps * (2 * streams.uniform(x) - 1))
                loss, wrong, grad = oracle.judge_with_gradient(z)
                best.update(z, loss, wrong)
            else:
                z, grad = x, grad_at_x
            for _ in range(self.steps - 1):
                z = ball.project(z + step * grad.sign())
                loss, wrong, grad = oracle.judge_with_gradient(z)
                best.update(z, loss, wrong)
            z = ball.project(z + step * grad.sign())
            best.update(z, *oracle.judge(z))
        return best.x


class FGSM(PGD):
    """Fast gradient sign method (Goodfellow et al. 2015, section 4): one step of length eps from the image.

    Args:
        loss: ``"ce"``, ``"margin"`` or ``"dlr"``.
        batch_size: images a call of the model.
    """

    name = "fgsm"

    def __init__(self, *, loss: str = "ce", batch_size: int = 256) -> None:
        super().__init__(steps=1, loss=loss, random_start=False, batch_size=batch_size)

    def _step_length(self, eps: Tensor) -> Tensor | float:
        return eps
