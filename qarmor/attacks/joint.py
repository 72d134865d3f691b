"""Attacks on two models at once, for a detector that alarms when they disagree: both must give the same wrong class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from qarmor.attacks import checks
from qarmor.attacks.checks import logits_of
from qarmor.attacks.ensemble import is_stochastic, same_classes
from qarmor.attacks.eot import Wrapper
from qarmor.types import Classifier, frozen

_CALLED = ("the first model of the pair", "the second model of the pair")


@final
class Pair(Classifier):
    """Two models of the same classes, to be attacked together with ``Joint``.

    As a classifier of its own it averages their log-probabilities: a class that either of them rules out is not chosen.

    Args:
        first, second: the models; for one that is random put ``Expectation(model)`` here.

    Raises:
        TypeError: something else than a torch module.
    """

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        checks.check_model(first)
        checks.check_model(second)
        self.first, self.second = first, second
        self.stochastic = is_stochastic(first) or is_stochastic(second)

    def freeze(self) -> Pair:
        """The pair of the frozen models."""
        return Pair(frozen(self.first), frozen(self.second)).eval().requires_grad_(False)

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the first and of the second model, each ``(B, K)``, of images ``(B, ...)``."""
        first, second = (logits_of(model, x, called) for model, called in zip((self.first, self.second), _CALLED, strict=True))
        same_classes((first, second), _CALLED)
        return first, second

    def forward(self, x: Tensor) -> Tensor:
        """Mean log-probabilities ``(B, K)`` of images ``(B, ...)``."""
        first, second = self.both(x)
        return (first.log_softmax(1) + second.log_softmax(1)) / 2


def _lead(logits: Tensor) -> Tensor:
    """Each class's logit minus the largest of the others, ``(B, K)``: positive for the class that is chosen, and for it only.

    With three classes or more in units of their spread, so that the scale of a model's logits does not decide which of two models is attacked first;
    two classes differ by nothing else.
    """
    top = logits.topk(2, dim=1)
    # one class among equals, so that the best of the others differs from the best of all for that class alone
    chosen = torch.arange(logits.shape[1], device=logits.device) == top.indices[:, :1]
    lead = logits - torch.where(chosen, top.values[:, 1:], top.values[:, :1])
    if logits.shape[1] == 2:
        return lead
    return lead / (logits.var(1, keepdim=True) + 1e-24).sqrt()  # equal logits give 0, and a gradient


class _Evasion(nn.Module):
    """Two logits for images whose true class is ``label``: 0, and how close both models are to the same wrong class.

    The second is the largest over the wrong classes of: where both choose the class, the smaller of its leads; else minus the sum of what it lacks
    in each, which pulls on both models at once. (The smaller lead everywhere, which pulls on one only, evades far less often.) It is positive exactly
    where both choose the same wrong class, so any attack on this module's class 0 looks for that.
    """

    def __init__(self, pair: Pair, label: int) -> None:
        super().__init__()
        self.pair, self.label = pair, label

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.pair.both(x)
        if self.label >= first.shape[1]:
            raise ValueError(f"y holds label {self.label}, but the models have only {first.shape[1]} classes, counted from 0")
        leads = torch.stack([_lead(first), _lead(second)])
        least, lacking = leads.amin(0), (-leads).relu().sum(0)
        agreed = torch.where(least > 0, least, -lacking)
        wrong = torch.arange(agreed.shape[1], device=agreed.device) != self.label
        evaded = agreed[:, wrong].max(dim=1).values
        return torch.stack([torch.zeros_like(evaded), evaded], dim=1)


@final
@dataclass(frozen=True)
class Joint(Wrapper):
    """An attack on a ``Pair``: an image counts as fooled where both models give the same wrong class, so that their disagreement gives no alarm.

    The inner attack sees a model of two classes (so ``"dlr"`` is no loss for it). For every image it returns the best one seen: both fooled alike
    before not, then by how close both are to a common wrong class, or how far beyond its border. The nearest common class need not be the one within
    reach, so give the inner attack restarts: five evade about as often as aiming at every class in turn.

    Images are attacked class by class. An image's random numbers belong to the seed and its position among the images of its class, so other
    images in the call change a result by that position, and by rounding, only. Positions in the inner attack's messages count within a class.

    Attributes:
        attack: the attack inside.

    Raises:
        TypeError, ValueError: no attack, or one that is itself wrapped.
    """

    prefix: ClassVar[str] = "joint"

    def _classes_inside(self, classes: int) -> int:
        return 2

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, eps: float | Tensor, *, seed: int = 0) -> Tensor:
        """Adversarial images; arguments, result and errors as of the inner attack.

        Raises:
            TypeError: ``model`` is not a ``Pair``.
        """
        if not isinstance(model, Pair):
            raise TypeError(f"attack {self.name!r} needs a Pair of two models, got {type(model).__name__}: use qarmor.attacks.Pair(first, second)")
        x = checks.check_images(x)
        y = checks.check_labels(y, x)
        radii = checks.check_eps(eps, len(x))
        checks.check_seed(seed)
        found = x.clone()
        for label in sorted(set(y.tolist())):
            mine = y == label
            found[mine] = self.attack(_Evasion(model, label), x[mine], torch.zeros_like(y[mine]), radii[mine.cpu()], seed=seed)
        return found
