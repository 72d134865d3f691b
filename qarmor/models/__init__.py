"""Networks: quantum, classical, and the classical controls. ``build`` makes one by name, ``save`` and ``load`` keep it."""

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from qarmor.models.controls import MLP, Linear
from qarmor.models.convnet import ConvNet
from qarmor.models.io import Record, inspect, load, savable, save
from qarmor.models.network import Network
from qarmor.models.quadratic import Quadratic
from qarmor.models.qvc import QVC, FrozenQVC
from qarmor.models.resnet import ResNet18
from qarmor.models.shots import Shots
from qarmor.types import Dataset, named_object

__all__ = [
    "MLP",
    "QVC",
    "ConvNet",
    "FrozenQVC",
    "Linear",
    "Network",
    "Quadratic",
    "Record",
    "ResNet18",
    "Shots",
    "build",
    "inspect",
    "load",
    "names",
    "savable",
    "save",
]

_CLASSICAL: dict[str, Callable[..., nn.Module]] = {
    "convnet": ConvNet,
    "resnet18": ResNet18,
    "linear": Linear,
    "quadratic": Quadratic.control,
    "mlp": MLP,
}


def names() -> tuple[str, ...]:
    """The names that ``build`` knows; ``qvcN`` stands for any number of layers N."""
    return ("qvcN", *_CLASSICAL)


def build(name: str, dataset: Dataset, *, seed: int = 0, **options: Any) -> nn.Module:
    """A new, untrained network for the images of ``dataset``.

    Args:
        name: ``"qvc200"`` (any number of layers), ``"convnet"``, ``"resnet18"``, ``"linear"``, ``"quadratic"``, ``"mlp"``, or
            ``package.module:factory``, called as ``factory(dataset, **options)``.
        dataset: gives shape and classes.
        seed: of the initial weights. The global random state is left as it was.
        options: of the network's constructor.

    Raises:
        ValueError: an unknown name (the message lists the known ones), or options that the network refuses.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return _construct(name, dataset, options)
        except TypeError as error:
            raise ValueError(f"network {name!r} does not take these options: {error}") from error


def _construct(name: str, dataset: Dataset, options: dict[str, Any]) -> nn.Module:
    if ":" in name:
        module = named_object(name)(dataset, **options)
        if not isinstance(module, nn.Module):
            raise ValueError(f"network {name!r} must be a factory that returns a torch.nn.Module, it returned {type(module).__name__}")
        return module
    if match := re.fullmatch(r"qvc(\d{1,5})", name):
        return QVC.for_dataset(dataset, int(match[1]), **options)
    if name in _CLASSICAL:
        return _CLASSICAL[name](dataset.shape, len(dataset.classes), **options)
    raise ValueError(f"unknown network {name!r}; there are {', '.join(names())} (N layers, e.g. qvc200), and package.module:factory")
