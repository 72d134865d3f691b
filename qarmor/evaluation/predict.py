"""Logits in batches: the one way in which the evaluators ask a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qarmor.evaluation.checks import check_labels
from qarmor.types import Images, frozen

BATCH_SIZE = 512


def placement(model: nn.Module, x: Tensor) -> tuple[torch.device, torch.dtype]:
    """Where ``model`` wants its images.

    The device of its first parameter or buffer, else that of ``x``; float64 if every floating parameter and buffer is float64, else float32.
    """
    tensors = list(chain(model.parameters(), model.buffers()))
    floating = [t.dtype for t in tensors if t.is_floating_point()]
    double = bool(floating) and all(dtype == torch.float64 for dtype in floating)
    return (tensors[0].device if tensors else x.device), (torch.float64 if double else torch.float32)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """``model`` in eval mode; afterwards every submodule has its own mode again."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _checked_logits(logits: object, batch: int, name: str) -> Tensor:
    if not isinstance(logits, Tensor):
        raise TypeError(f"network {name!r} must return a tensor of logits (B, K), got {type(logits).__name__}")
    if logits.ndim != 2 or len(logits) != batch:
        raise ValueError(f"network {name!r} must return logits (B, K) for B images: for {batch} images it returned shape {tuple(logits.shape)}")
    if logits.shape[1] < 2:
        raise ValueError(
            f"network {name!r} returns {logits.shape[1]} logit an image, which has no argmax; give it one logit a class, two for two classes"
        )
    if logits.isnan().any():
        raise ValueError(f"network {name!r} returns NaN logits; check its weights and its normalisation")
    return logits


def _batches(model: nn.Module, x: Tensor, batch_size: int) -> Iterator[Tensor]:
    if len(x) == 0:
        raise ValueError("x is empty; pass at least one image")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    device, dtype = placement(model, x)
    for start in range(0, len(x), batch_size):
        yield x[start : start + batch_size].to(device, dtype)


def predict(model: nn.Module, x: Tensor, batch_size: int = BATCH_SIZE, *, name: str = "model") -> Tensor:
    """Logits of ``model`` for images, without gradients, in eval mode; the mode is restored.

    Args:
        model: maps images ``(B, ...)`` in [0, 1] to logits ``(B, K)``. It is asked as it is, not frozen first.
        x: ``(N, ...)``, float32. Each batch is moved to the model's device, and to float64 if the model is float64 throughout.
        batch_size: images a call.
        name: what to call the model in errors.

    Returns:
        Logits ``(N, K)`` on the device of ``x``, in the model's dtype.

    Raises:
        TypeError: the model returns something other than a tensor.
        ValueError: no images, ``batch_size`` below 1, or the model returns NaN, another batch size, or fewer than two logits an image.
    """
    with evaluating(model), torch.no_grad():
        return torch.cat([_checked_logits(model(part), len(part), name).to(x.device) for part in _batches(model, x, batch_size)])


def correct(model: nn.Module, images: Images, batch_size: int = BATCH_SIZE, *, name: str = "model") -> Tensor:
    """Which images ``model`` names rightly: bool ``(N,)``. Raises as ``predict``, and ValueError for labels that the model doesn't have."""
    logits = predict(model, images.x, batch_size, name=name)
    check_labels(images, logits.shape[1], name)
    return logits.argmax(1) == images.y


def majority(y: Tensor) -> float:
    """Accuracy of always naming the commonest of the labels ``y``, int64 ``(N,)``, N > 0."""
    return int(y.bincount().max()) / len(y)


@dataclass(frozen=True, eq=False)
class Network:
    """A named network, frozen, with what it says about the clean images: made once, whatever the number of attacks.

    Attributes:
        name: name in rows.
        model: frozen module.
        classes: number of logits.
        clean_predictions: int64 ``(N,)``, on the device of the images.
    """

    name: str
    model: nn.Module
    classes: int
    clean_predictions: Tensor


def prepare(name: str, module: nn.Module, images: Images, batch_size: int = BATCH_SIZE) -> Network:
    """Freeze ``module`` and predict the clean images. Raises as ``correct``."""
    model = frozen(module)
    logits = predict(model, images.x, batch_size, name=name)
    check_labels(images, logits.shape[1], name)
    return Network(name, model, logits.shape[1], logits.argmax(1))


def gradient_norms(network: Network, images: Images, batch_size: int = BATCH_SIZE) -> Tensor:
    """Largest absolute value of each clean image's cross-entropy gradient: float32 ``(N,)``, NaN where any component is not finite.

    A network that is not differentiable with respect to its images has the gradient 0.
    """
    norms: list[Tensor] = []
    start = 0
    with evaluating(network.model), torch.enable_grad():
        for part in _batches(network.model, images.x, batch_size):
            x, y = part.detach().requires_grad_(), images.y[start : start + len(part)]
            start += len(part)
            logits = network.model(x)
            if not logits.requires_grad:
                norms.append(torch.zeros(len(x)))
                continue
            loss = F.cross_entropy(logits, y.to(logits.device), reduction="sum")
            (gradient,) = torch.autograd.grad(loss, x, allow_unused=True, materialize_grads=True)
            size = gradient.flatten(1).abs().amax(1)  # amax hands a NaN on
            norms.append(size.masked_fill(~size.isfinite(), torch.nan).float().cpu())
    return torch.cat(norms).to(images.x.device)
