"""Quadratic forms of the normalised image: what any amplitude-encoded circuit computes, and its classical control."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from qarmor.models.network import Network, class_count, pixel_count


class _L2Normalised(torch.autograd.Function):
    """x / ||x||, with its gradient in one formula, (g - u <u, g>) / ||x||: half the passes over memory of torch's chain of divisions and choices."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * _inverse_norm(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors  # nothing but the input is kept, so that the gradient has a gradient
        inverse = _inverse_norm(x)
        unit = x * inverse
        grad: Tensor = (grads[0] - unit * (unit * grads[0]).sum(1, keepdim=True)) * inverse
        return grad


def _inverse_norm(x: Tensor) -> Tensor:
    norm = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    inverse: Tensor = torch.where(norm > 0, 1 / torch.where(norm > 0, norm, 1), 0)
    return inverse


def l2_normalised(x: Tensor) -> Tensor:
    """Rows of ``x`` ``(B, d)`` divided by their l2 norm; zero rows stay zero, with zero gradient. Raises TypeError unless they are floats."""
    if not x.is_floating_point():
        raise TypeError(f"images must be floats in [0, 1], got {x.dtype}: divide bytes by 255")
    unit: Tensor = _L2Normalised.apply(x)  # type: ignore[no-untyped-call]
    return unit


class Quadratic(Network):
    """Logits ``scale * x^T A_k x / ||x||^2``; an all-zero image has zero logits.

    One class for four things: the forms of a frozen QVC, a noisy QVC, a trainable classical control, and what certificates are about.

    Args:
        A: float ``(K, d, d)``. Only its symmetric part matters.
        scale: factor of the logits.
        normalise: divide by ``||x||^2``; without it, logits are ``scale * x^T A_k x``.

    Raises:
        ValueError: A of another shape.
    """

    def __init__(self, A: Tensor, scale: float = 1.0, *, normalise: bool = True) -> None:
        super().__init__()
        if A.ndim != 3 or A.shape[1] != A.shape[2]:
            raise ValueError(f"A must be (classes, d, d), got shape {tuple(A.shape)}")
        self.A = nn.Parameter(A)
        self.scale = float(scale)
        self.normalise = normalise

    @classmethod
    def control(cls, shape: Sequence[int], classes: int, *, scale: float = 64.0, normalise: bool = True) -> "Quadratic":
        """The classical control: forms to be trained, from zero (the problem is convex, so there is nothing to break)."""
        pixels = pixel_count(shape)
        return cls(torch.zeros(class_count(classes), pixels, pixels), scale, normalise=normalise)

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Arguments of ``control`` that make an equal architecture."""
        return {"shape": [self.A.shape[1]], "classes": self.A.shape[0], "scale": self.scale, "normalise": self.normalise}

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, K)`` of images ``(B, ...)`` with d values each."""
        x = x.flatten(1)
        self.check_input(x, self.A.shape[1:2])
        if self.normalise:
            x = l2_normalised(x)
        products = torch.matmul(x, self.A)  # (K, B, d)
        return self.scale * (products * x).sum(2).T
