"""QArmor measures how robust quantum and classical image classifiers are against adversarial attacks.

The public names are resolved when first used (PEP 562), so that importing the package loads no torch.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qarmor import attacks, circuits, data, evaluation, models, report, training, types
    from qarmor.data import load
    from qarmor.evaluation import craft, score, transfer
    from qarmor.models import QVC, ConvNet, ResNet18
    from qarmor.training import Recipe, fit

__version__ = "0.1.0"

_MODULES = ("attacks", "circuits", "data", "evaluation", "models", "report", "training", "types")
_HOMES = {
    "load": "data",
    "QVC": "models",
    "ConvNet": "models",
    "ResNet18": "models",
    "Recipe": "training",
    "fit": "training",
    "craft": "evaluation",
    "score": "evaluation",
    "transfer": "evaluation",
}

__all__ = [
    "QVC",
    "ConvNet",
    "Recipe",
    "ResNet18",
    "attacks",
    "circuits",
    "craft",
    "data",
    "evaluation",
    "fit",
    "load",
    "models",
    "report",
    "score",
    "training",
    "transfer",
    "types",
]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return importlib.import_module(f"qarmor.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(f"qarmor.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'qarmor' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
