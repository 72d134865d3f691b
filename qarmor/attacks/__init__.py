"""Attacks in l_inf on any ``torch.nn.Module``: ``attack(model, x, y, eps, seed=0)``."""

from typing import Any

from qarmor.attacks.base import Ball, BaseAttack, Best, Oracle, Streams
from qarmor.attacks.gradient import FGSM, PGD
from qarmor.attacks.losses import LOSSES
from qarmor.types import Attack, named_object

__all__ = ["FGSM", "LOSSES", "PGD", "Ball", "BaseAttack", "Best", "Oracle", "Streams", "build", "names"]

_ATTACKS: dict[str, type[BaseAttack]] = {"pgd": PGD, "fgsm": FGSM}


def names() -> tuple[str, ...]:
    """The names that ``build`` knows."""
    return tuple(_ATTACKS)


def build(name: str, **options: Any) -> Attack:
    """An attack by name, or from ``package.module:factory``, called with the options.

    Raises:
        ValueError: an unknown name (the message lists the known ones), or options that the attack refuses.
    """
    if ":" not in name and name not in _ATTACKS:
        raise ValueError(f"unknown attack {name!r}; there are {', '.join(_ATTACKS)}, and package.module:factory")
    make = _ATTACKS[name] if name in _ATTACKS else named_object(name)
    try:
        attack = make(**options)
    except TypeError as error:
        raise ValueError(f"attack {name!r} does not take these options: {error}") from error
    if not isinstance(attack, Attack):
        raise ValueError(f"attack {name!r} must be a factory of an attack (name, parameters, __call__), it returned {type(attack).__name__}")
    return attack
