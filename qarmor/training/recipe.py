"""How networks are trained, as frozen data."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from qarmor.types import Attack


@dataclass(frozen=True)
class Adversarial:
    """Adversarial training: part of every batch is replaced by attacks on the network as it is (Madry et al. 2018).

    Attributes:
        attack: meets the ``Attack`` protocol.
        eps: l_inf radius in units of the pixel range [0, 1].
        fraction: part of each batch that is attacked, in (0, 1].
    """

    attack: Attack
    eps: float
    fraction: float = 0.5

    def __post_init__(self) -> None:
        if not (math.isfinite(self.eps) and self.eps >= 0):
            raise ValueError(f"adversarial: eps must be finite and not negative, got {self.eps!r}")
        if not 0 < self.fraction <= 1:
            raise ValueError(f"adversarial: fraction must be in (0, 1], got {self.fraction!r}")


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: Adam on the cross-entropy.

    Attributes:
        epochs: passes over the training images, 1 or more.
        batch_size: images a step; a last batch of one is joined to the one before.
        lr: Adam's learning rate at the start.
        schedule: ``"constant"``, or ``"cosine"``: to zero at the last step.
        network: constructor options of the network that belong to the recipe, for ``models.build``.
        adversarial: adversarial training, if any.
        name: for the record; it changes nothing.

    Raises:
        ValueError: a value out of range.
    """

    epochs: int = 1
    batch_size: int = 64
    lr: float = 1e-3
    schedule: Literal["constant", "cosine"] = "constant"
    network: Mapping[str, Any] = field(default_factory=dict)
    adversarial: Adversarial | None = None
    name: str = ""

    def __post_init__(self) -> None:
        for what in ("epochs", "batch_size"):
            value = getattr(self, what)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"recipe: {what} must be a whole number, 1 or more, got {value!r}")
        if not (isinstance(self.lr, int | float) and math.isfinite(self.lr) and self.lr > 0):
            raise ValueError(f"recipe: lr must be positive and finite, got {self.lr!r}")
        if self.schedule not in ("constant", "cosine"):
            raise ValueError(f"recipe: schedule must be 'constant' or 'cosine', got {self.schedule!r}")

    def record(self) -> dict[str, Any]:
        """The recipe as JSON values."""
        entries = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "adversarial"}
        entries["network"] = dict(self.network)
        entries["adversarial"] = None
        if self.adversarial is not None:
            attack = {"name": self.adversarial.attack.name, **self.adversarial.attack.parameters}
            entries["adversarial"] = {"attack": attack, "eps": self.adversarial.eps, "fraction": self.adversarial.fraction}
        return entries
