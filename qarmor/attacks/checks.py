"""Checks of what an attack is handed, and the exact bounds it may move in."""

from __future__ import annotations

import math
from collections.abc import Collection
from numbers import Real

import torch
from torch import Tensor, nn


def check_count(argument: str, value: object) -> None:
    """Raises ValueError unless ``value`` is an int of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{argument} must be a whole number, 1 or more, got {value!r}")


def check_flag(argument: str, value: object) -> None:
    """Raises ValueError unless ``value`` is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{argument} must be True or False, got {value!r}")


def check_choice(argument: str, value: object, choices: Collection[str]) -> None:
    """Raises ValueError unless ``value`` is one of ``choices``."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{argument} must be one of {', '.join(choices)}, got {value!r}")


def check_model(model: object) -> None:
    """Raises TypeError unless ``model`` is a torch module."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}: wrap a function in a module with a forward method")


def check_images(x: object) -> Tensor:
    """``x`` if it is float32 or float64 ``(N, ...)`` within [0, 1]; else raises TypeError or ValueError."""
    if not isinstance(x, Tensor):
        raise TypeError(f"x must be a tensor, got {type(x).__name__}: use torch.as_tensor(x)")
    if x.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"x must be float32 or float64 in [0, 1], got {x.dtype}: convert it, bytes as x.float() / 255")
    if x.ndim < 2:
        raise ValueError(f"x must be (N, C, H, W) or (N, d), got shape {tuple(x.shape)}: a single image is x[None]")
    if x.numel():
        low, high = x.detach().aminmax()
        if not (torch.isfinite(low) and torch.isfinite(high)):  # aminmax passes NaN on
            raise ValueError("x has NaN or infinite values: remove those images or fix what made them")
        if low < 0 or high > 1:
            raise ValueError(f"x must lie within [0, 1], got values from {low.item()!r} to {high.item()!r}: rescale or clamp it")
    return x.detach()


def check_labels(y: object, x: Tensor) -> Tensor:
    """``y`` if it is int64 ``(N,)``, not negative, and on the device of ``x``; else raises TypeError or ValueError."""
    n = len(x)
    if not isinstance(y, Tensor):
        raise TypeError(f"y must be a tensor, got {type(y).__name__}: use torch.as_tensor(y)")
    if y.dtype != torch.int64:
        raise TypeError(f"y must be int64 labels, got {y.dtype}: use y.long()")
    if tuple(y.shape) != (n,):
        raise ValueError(f"y must hold one label per image, shape ({n},), got {tuple(y.shape)}")
    if y.device != x.device:
        raise ValueError(f"x is on {x.device} and y on {y.device}: move them to one device")
    if n and int(y.min()) < 0:
        raise ValueError(f"y must hold labels from 0 on, got {int(y.min())}")
    return y


def check_eps(eps: object, n: int) -> Tensor:
    """``eps`` as float64 ``(n,)`` on the CPU; raises TypeError or ValueError unless it is one radius or one per image, finite and not negative."""
    if isinstance(eps, Tensor):
        if eps.dtype == torch.bool or eps.is_complex():
            raise TypeError(f"eps must hold real numbers, got {eps.dtype}")
        if tuple(eps.shape) != (n,):
            raise ValueError(f"eps must be a number or a tensor with one radius per image, shape ({n},), got shape {tuple(eps.shape)}")
        radii = eps.detach().to("cpu", torch.float64)
    elif isinstance(eps, Real) and not isinstance(eps, bool):
        radii = torch.full((n,), float(eps), dtype=torch.float64)
    else:
        raise TypeError(f"eps must be a number or a tensor with one radius per image, got {eps!r}")
    wrong = radii[~(radii.isfinite() & (radii >= 0))]
    if len(wrong):
        raise ValueError(f"eps must be finite and at least 0, got {wrong[0].item()}: it is the l_inf radius in units of the pixel range [0, 1]")
    return radii


def check_seed(seed: object) -> int:
    """``seed`` if it is an int in [0, 2**63); else raises TypeError or ValueError."""
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise TypeError(f"seed must be an int, got {seed!r}")
    if not 0 <= seed < 1 << 63:
        raise ValueError(f"seed must be between 0 and 2**63 - 1, got {seed}")
    return seed


def rounded(value: Tensor, dtype: torch.dtype, towards: float) -> Tensor:
    """float64 ``value`` in ``dtype``, rounded upwards (``towards`` = inf) or downwards (-inf)."""
    near = value.to(dtype)
    back = near.double()
    missed = back < value if towards > 0 else back > value
    return torch.where(missed, torch.nextafter(near, torch.full_like(near, towards)), near)


def _sum(x: Tensor, shift: Tensor, towards: float) -> Tensor:
    """float64 ``x + shift``, rounded upwards or downwards: Knuth's TwoSum tells on which side of the exact sum the nearest number lies."""
    near = x + shift
    part = near - x
    error = (x - (near - part)) + (shift - part)
    missed = error > 0 if towards > 0 else error < 0
    return torch.where(missed, torch.nextafter(near, torch.full_like(near, towards)), near)


def bounds(x: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
    """The smallest and largest images within ``eps`` of ``x`` and within [0, 1], in exact arithmetic.

    Computed in float64 on the CPU and rounded inwards to the dtype of ``x``, so no tolerance is ever needed.

    Args:
        x: float32 or float64 ``(B, ...)``, in [0, 1].
        eps: float64 ``(B,)`` on the CPU, finite, at least 0.

    Returns:
        ``lo <= x <= hi``, shaped, typed and placed as ``x``.
    """
    exact = x.detach().to("cpu", torch.float64)
    radius = eps.reshape(-1, *[1] * (x.ndim - 1))
    lo = rounded(_sum(exact, -radius, math.inf).clamp(min=0), x.dtype, math.inf)
    hi = rounded(_sum(exact, radius, -math.inf).clamp(max=1), x.dtype, -math.inf)
    return lo.to(x.device), hi.to(x.device)


def described(value: object) -> str:
    """Dtype and shape of a tensor, the type of anything else, for messages."""
    return f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


def logits_of(model: nn.Module, x: Tensor, called: str) -> Tensor:
    """Logits ``(B, K)``, at least float32, of ``model``, which is handed a copy of ``x`` and is ``called`` so where it is at fault.

    Raises:
        TypeError, ValueError: the model returned something else.
    """
    logits = model(x.clone())
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        raise TypeError(f"{called} must return a float tensor of logits, it returned {described(logits)}")
    if logits.ndim != 2 or len(logits) != len(x) or logits.shape[1] < 2:
        raise ValueError(f"{called} must return logits ({len(x)}, K) with K at least 2 for {len(x)} images, it returned {described(logits)}")
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
