"""Argument checks that the evaluators share; every error is one line: which argument, what came, what to do."""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from qarmor.types import Attack, Images


def first(mask: Tensor) -> int:
    """Position of the first True in a bool tensor ``(N,)`` that has one."""
    return int(mask.to(torch.uint8).argmax())


def check_images(images: Images) -> None:
    """Refuse images that no network can be judged on.

    Raises:
        TypeError: not ``Images``, pixels not float32, or labels not int64.
        ValueError: no images, or one with NaN, a pixel outside [0, 1], or nothing but zeros. The message names the image by its ``index``.
    """
    if not isinstance(images, Images):
        raise TypeError(f"images must be qarmor.types.Images, got {type(images).__name__}; wrap tensors as Images(x, y, index, name)")
    if len(images) == 0:
        raise ValueError(f"images {images.name!r} is empty; pass at least one image")
    if images.x.dtype != torch.float32 or images.y.dtype != torch.int64:
        raise TypeError(f"images {images.name!r}: x must be float32 and y int64, got {images.x.dtype} and {images.y.dtype}; convert them")
    low, high = images.x.flatten(1).aminmax(dim=1)  # a NaN pixel makes both NaN
    for bad, what in (
        (low.isnan(), "has a NaN pixel; clean the data first"),
        ((low < 0) | (high > 1), "has a pixel outside [0, 1]; rescale the data (uint8 images: divide by 255)"),
        ((low == 0) & (high == 0), "is all zero; amplitude encoding has no state for it, so drop it from the set"),
    ):
        if bad.any():
            raise ValueError(f"images {images.name!r}: image {int(images.index[first(bad)])} {what}")


def check_labels(images: Images, classes: int, network: str) -> None:
    """Raise ValueError unless every label is one of the ``classes`` logits of ``network``."""
    bad = (images.y < 0) | (images.y >= classes)
    if bad.any():
        i = first(bad)
        raise ValueError(
            f"images {images.name!r}: image {int(images.index[i])} has label {int(images.y[i])}, but network {network!r} has {classes} logits "
            f"(labels 0 to {classes - 1}); match the network to the data set"
        )


def check_networks(networks: Mapping[str, nn.Module], argument: str) -> None:
    """Raise unless ``networks`` is a mapping of one or more modules with non-empty names."""
    if not isinstance(networks, Mapping):
        raise TypeError(f"{argument} must map names to modules, got {type(networks).__name__}; pass {{'name': module}}")
    if not networks:
        raise ValueError(f"{argument} is empty; pass at least one network, as {{'name': module}}")
    for name, module in networks.items():
        if not isinstance(name, str) or not name:
            raise ValueError(f"{argument}: a network's name must be a non-empty string, got {name!r}; rows need names")
        if not isinstance(module, nn.Module):
            raise TypeError(f"{argument}: network {name!r} must be a torch.nn.Module, got {type(module).__name__}; wrap it in one")


def one_network(source: nn.Module | Mapping[str, nn.Module], name: str) -> tuple[str, nn.Module]:
    """Name and module of ``source``: a mapping of one entry brings its name, a module takes ``name``."""
    networks = {name: source} if isinstance(source, nn.Module) else source
    check_networks(networks, "source")
    if len(networks) > 1:
        raise ValueError(f"source must be one network, got {len(networks)} ({', '.join(networks)}); call craft once for each, or use transfer")
    return next(iter(networks.items()))


def check_attack(attack: Attack) -> None:
    """Raise TypeError unless ``attack`` is an instance that meets the ``Attack`` protocol and has JSON values as parameters."""
    if isinstance(attack, type):
        raise TypeError(f"attack must be an instance, got the class {attack.__name__}; call it: {attack.__name__}()")
    if not isinstance(attack, Attack):
        raise TypeError(f"attack must have a name, parameters and __call__ (see qarmor.types.Attack), got {type(attack).__name__}")
    try:
        json.dumps(dict(attack.parameters))
    except (TypeError, ValueError) as error:
        raise TypeError(f"attack {attack.name!r}: parameters must be JSON values, to be written into rows: {error}") from error


def _number(value: object, argument: str) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{argument} must be a number, got {type(value).__name__}")
    number = float(value)
    if not (math.isfinite(number) and 0 <= number <= 1):
        raise ValueError(f"{argument} must be between 0 and 1 (the pixel range), got {number:g}; for 8-bit units divide by 255")
    return number


def checked_eps(eps: float | Tensor, images: Images) -> float | Tensor:
    """``eps`` as a float, or as a float32 tensor ``(N,)``, one per image, on the device of the images; each in [0, 1]."""
    if not isinstance(eps, Tensor):
        return _number(eps, "eps")
    if eps.ndim == 0:
        return _number(eps.item(), "eps")
    if tuple(eps.shape) != (len(images),):
        raise ValueError(f"eps must be a number or one per image, shape ({len(images)},), got shape {tuple(eps.shape)}")
    per_image = eps.detach().to(images.x.device, torch.float32)
    bad = ~((per_image >= 0) & (per_image <= 1))
    if bad.any():
        i = first(bad)
        raise ValueError(f"eps of image {int(images.index[i])} must be between 0 and 1 (the pixel range), got {float(per_image[i]):g}")
    return per_image


def checked_grid(eps_grid: Sequence[float]) -> tuple[float, ...]:
    """The grid as floats: one or more, in [0, 1], strictly rising."""
    if isinstance(eps_grid, numbers.Real):
        raise TypeError(f"eps_grid must be a sequence of numbers, got {eps_grid!r}; pass [{eps_grid!r}]")
    grid = tuple(_number(eps, f"eps_grid[{i}]") for i, eps in enumerate(eps_grid))
    if not grid:
        raise ValueError("eps_grid is empty; pass at least one eps")
    for i, (one, two) in enumerate(pairwise(grid)):
        if one >= two:
            problem = "twice" if one == two else f"before {two:g}"
            raise ValueError(f"eps_grid must rise strictly, but has {one:g} {problem} at position {i}; pass sorted(set(eps_grid))")
    return grid


def check_seed(seed: int) -> None:
    """Raise TypeError unless ``seed`` is an integer, ValueError if it is negative."""
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed must be an int, got {type(seed).__name__}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
