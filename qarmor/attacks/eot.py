"""Attacks on models that are random: expectation over transformation (Athalye et al. 2018), around any attack."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self, final

from torch import Tensor, nn

from qarmor.attacks import checks
from qarmor.attacks.base import BaseAttack
from qarmor.attacks.checks import logits_of
from qarmor.attacks.ensemble import is_stochastic
from qarmor.types import Attack, Classifier, frozen


@final
class Expectation(Classifier):
    """A random model's mean logits over ``samples`` calls, each with random numbers of its own. It is random itself, but less so.

    Logits are averaged, not probabilities, for three reasons: the gradient of the mean is then an unbiased estimate of the gradient of the
    expected logits at any number of samples; a margin stays linear, neither damped nor cut off where single samples are confident; and a finite-shot
    circuit, whose logits are linear in the measured frequencies, becomes the same circuit with ``samples`` times as many shots.
    Athalye et al. 2018, "Synthesizing robust adversarial examples", section 2.1.

    The samples of a batch travel in one call of the model, as ``samples`` times as many images.

    Args:
        model: a ``qarmor.types.Classifier`` whose ``stochastic`` is True.
        samples: at least 1.

    Raises:
        TypeError, ValueError: a model that does not declare itself random, or a bad number of samples.
    """

    stochastic = True

    def __init__(self, model: nn.Module, samples: int = 16) -> None:
        super().__init__()
        checks.check_model(model)
        checks.check_count("samples", samples)
        if not is_stochastic(model):
            raise ValueError(
                f"{type(model).__name__} does not declare itself random, so there is nothing to average: attack it directly, "
                "or, if it is random, derive it from qarmor.types.Classifier and set stochastic = True"
            )
        self.model, self.samples = model, samples

    def freeze(self) -> Expectation:
        """The expectation of the frozen model."""
        return Expectation(frozen(self.model), self.samples).eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Mean logits ``(B, K)`` of images ``(B, ...)``."""
        logits = logits_of(self.model, x.repeat_interleave(self.samples, dim=0), type(self.model).__name__)
        return logits.reshape(len(x), self.samples, logits.shape[1]).mean(1)


@dataclass(frozen=True)
class Wrapper(ABC):
    """An attack around another one, which it hands another model. A subclass is a frozen dataclass whose further fields are hyperparameters.

    Attributes:
        attack: the attack inside.
    """

    prefix: ClassVar[str]

    attack: Attack

    def __post_init__(self) -> None:
        if isinstance(self.attack, type) or not isinstance(self.attack, Attack):
            raise TypeError(f"attack must be an attack, as qarmor.attacks.PGD(), got {self.attack!r}")
        if clash := {field.name for field in fields(self)} & set(self.attack.parameters):
            raise ValueError(
                f"attack {self.attack.name!r} has a parameter {min(clash)!r} of its own, which {self.prefix!r} has, too: do not nest them"
            )

    @property
    def name(self) -> str:
        """The inner attack's name after that of the wrapper, e.g. ``"eot-pgd"``."""
        return f"{self.prefix}-{self.attack.name}"

    @property
    def parameters(self) -> dict[str, Any]:
        """Name of the inner attack, the wrapper's hyperparameters, and the inner attack's: what ``built`` takes."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**own, "attack": self.attack.name, **self.attack.parameters}

    def for_classes(self, classes: int) -> Self:
        """The wrapper around what the inner attack is on the model that it is handed, for one of ``classes`` classes."""
        inner = self.attack
        return replace(self, attack=inner.for_classes(self._classes_inside(classes))) if isinstance(inner, BaseAttack | Wrapper) else self

    def _classes_inside(self, classes: int) -> int:
        return classes

    @classmethod
    def built(cls, *, attack: str = "pgd", **options: Any) -> Self:
        """The wrapper around an attack by name, for ``attacks.build`` and TOML: options that it does not know go to the inner attack.

        Raises:
            ValueError: as ``attacks.build``.
        """
        from qarmor.attacks import build  # here, as it knows all attacks, this one included

        if not isinstance(attack, str):
            raise ValueError(f"attack must be the name of the inner attack, got {attack!r}")
        own = {field.name: options.pop(field.name) for field in fields(cls) if field.name in options}
        return cls(build(attack, **options), **own)

    @abstractmethod
    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, eps: float | Tensor, *, seed: int = 0) -> Tensor:
        """Adversarial images, as ``BaseAttack.__call__``."""


@final
@dataclass(frozen=True)
class EOT(Wrapper):
    """An attack on the ``Expectation`` of a random model.

    A call of the model takes ``samples * batch_size`` images, so choose the inner attack's ``batch_size`` by the memory there is. The best iterate is
    chosen by one draw of mean logits each, so what is judged to be fooled was lucky more often than not: score the images with new draws.

    Attributes:
        attack: the attack inside, whose seed also seeds torch's generators, from which the model draws.
        samples: at least 1.

    Raises:
        TypeError, ValueError: no attack, or a bad number of samples.
    """

    prefix: ClassVar[str] = "eot"

    samples: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.check_count("samples", self.samples)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, eps: float | Tensor, *, seed: int = 0) -> Tensor:
        """Adversarial images; arguments, result and errors as of the inner attack.

        Raises:
            ValueError: a model that does not declare itself random.
        """
        return self.attack(Expectation(model, self.samples), x, y, eps, seed=seed)
