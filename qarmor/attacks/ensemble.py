"""Several models attacked as one: the source of transferred attacks (Liu et al. 2017)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import final

import torch
from torch import Tensor, nn

from qarmor.attacks import checks
from qarmor.attacks.checks import logits_of
from qarmor.types import Classifier, frozen


def is_stochastic(model: nn.Module) -> bool:
    """Whether ``model`` declares itself random: a ``Classifier`` whose ``stochastic`` is True."""
    return isinstance(model, Classifier) and model.stochastic


def same_classes(logits: Sequence[Tensor], names: Sequence[str]) -> None:
    """Raises ValueError unless all have as many classes as the first."""
    for name, other in zip(names, logits, strict=True):
        if other.shape[1] != logits[0].shape[1]:
            raise ValueError(f"{names[0]} has {logits[0].shape[1]} classes and {name} has {other.shape[1]}: models that go together need the same")


@final
class Ensemble(Classifier):
    """One classifier of several: ``log(mean of the members' softmax)``.

    Attack it as a source, and score the networks that were left out: what fools many models fools others more often.
    Liu et al. 2017, "Delving into transferable adversarial examples and black-box attacks", section 5 (with equal weights). Probabilities and
    not logits are averaged, so that a member does not count for more because its logits have a larger scale.

    Args:
        models: at least one, of the same classes; a mapping's names are used in messages.

    Attributes:
        members: the models, in order.
        names: what they are called, ``"0"``, ``"1"``, ... where no names were given.

    Raises:
        TypeError, ValueError: no models, or something else among them.
    """

    def __init__(self, models: Mapping[str, nn.Module] | Sequence[nn.Module]) -> None:
        super().__init__()
        if isinstance(models, nn.Module) or not isinstance(models, Mapping | Sequence):
            raise TypeError(f"models must be a mapping or a sequence of torch.nn.Modules, got {type(models).__name__}")
        named = dict(models) if isinstance(models, Mapping) else {str(i): model for i, model in enumerate(models)}
        if not named:
            raise ValueError("models must hold at least one model, got none")
        for model in named.values():
            checks.check_model(model)
        self.names = tuple(named)
        self.members = nn.ModuleList(named.values())
        self.stochastic = any(map(is_stochastic, named.values()))

    def freeze(self) -> Ensemble:
        """The ensemble of the frozen members."""
        return Ensemble({name: frozen(member) for name, member in zip(self.names, self.members, strict=True)}).eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, K)``, log-probabilities, of images ``(B, ...)``."""
        called = [f"member {name!r} of the ensemble" for name in self.names]
        logits = [logits_of(member, x, name) for member, name in zip(self.members, called, strict=True)]
        same_classes(logits, called)
        # log of a mean of exponentials without ever leaving the logarithm: confident members neither underflow nor lose their gradient
        return torch.stack([z.log_softmax(1) for z in logits]).logsumexp(0) - math.log(len(logits))
