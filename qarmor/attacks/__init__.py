"""Attacks in l_inf on any ``torch.nn.Module``: ``attack(model, x, y, eps, seed=0)``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from qarmor.attacks.apgd import APGD, APGDTargeted
from qarmor.attacks.autoattack import AutoAttack
from qarmor.attacks.base import Ball, BaseAttack, Best, Oracle
from qarmor.attacks.ensemble import Ensemble
from qarmor.attacks.eot import EOT, Expectation, Wrapper
from qarmor.attacks.fab import FAB, FABTargeted
from qarmor.attacks.gradient import FGSM, PGD
from qarmor.attacks.joint import Joint, Pair
from qarmor.attacks.journal import Progress
from qarmor.attacks.losses import LOSSES
from qarmor.attacks.square import Square
from qarmor.attacks.streams import Streams
from qarmor.types import Attack, named_object

__all__ = [
    "APGD",
    "EOT",
    "FAB",
    "FGSM",
    "LOSSES",
    "PGD",
    "APGDTargeted",
    "AutoAttack",
    "Ball",
    "BaseAttack",
    "Best",
    "Ensemble",
    "Expectation",
    "FABTargeted",
    "Joint",
    "Oracle",
    "Pair",
    "Progress",
    "Square",
    "Streams",
    "Wrapper",
    "build",
    "names",
]

_ATTACKS: Mapping[str, Callable[..., Attack]] = MappingProxyType(
    {
        "pgd": PGD,
        "fgsm": FGSM,
        "apgd": APGD,
        "apgd-t": APGDTargeted,
        "fab": FAB,
        "fab-t": FABTargeted,
        "square": Square,
        "autoattack": AutoAttack,
        "eot": EOT.built,
        "joint": Joint.built,
    }
)


def names() -> tuple[str, ...]:
    """The names that ``build`` knows."""
    return tuple(_ATTACKS)


def build(name: str, **options: Any) -> Attack:
    """An attack by name, or what ``package.module:factory`` returns when called with the options.

    Args:
        name: one of ``names()``, or ``package.module:factory``.
        **options: hyperparameters, as the attack's constructor takes them.

    Raises:
        ValueError: an unknown name (the message lists the known ones), options that it does not take or refuses, or a factory of something
            that does not meet ``qarmor.types.Attack``.
    """
    if name not in _ATTACKS and ":" not in name:
        raise ValueError(f"unknown attack {name!r}; there are {', '.join(_ATTACKS)}, and package.module:factory")
    make = _ATTACKS[name] if name in _ATTACKS else named_object(name)
    if not callable(make):
        raise ValueError(f"attack {name!r} must be a factory of an attack, it is of type {type(make).__name__}")
    signature = inspect.signature(make)
    try:
        signature.bind(**options)  # before the call, so that a TypeError inside it is not taken for a wrong option
    except TypeError as error:
        raise ValueError(f"attack {name!r} does not take these options: {error}; it takes {', '.join(signature.parameters) or 'none'}") from error
    attack = make(**options)
    if isinstance(attack, type) or not isinstance(attack, Attack):
        raise ValueError(f"attack {name!r} must return an attack (name, parameters, __call__), it returned {_kind(attack)}")
    return attack


def _kind(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
