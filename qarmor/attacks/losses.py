"""What an attack makes large: one number per image from logits ``(B, K)`` and labels ``(B,)``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]


def ce(logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy. Its gradient vanishes on confident logits: it measures their scale as well as robustness.

    Args:
        logits: float ``(B, K)``.
        y: int64 ``(B,)``, true labels.

    Returns:
        float ``(B,)``, at least 0.
    """
    return functional.cross_entropy(logits, y, reduction="none")


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """Largest wrong logit minus the true one: positive where the model is wrong. Rescaling the logits leaves the gradient's sign as it is.

    Args:
        logits: float ``(B, K)``, K at least 2.
        y: int64 ``(B,)``, true labels.

    Returns:
        float ``(B,)``.
    """
    true = y[:, None]
    # One wrong class among equals (max), not their mean (amax): opposite gradients of tied classes would cancel to no move.
    wrong = logits.scatter(1, true, -torch.inf).max(dim=1).values
    return wrong - logits.gather(1, true).squeeze(1)


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """Difference of logits ratio: the margin over the distance from the largest to the third largest logit.

    Invariant under shifting and rescaling the logits; its gradient is zero where the true class ranks third and another one first.
    Croce & Hein 2020, "Reliable evaluation of adversarial robustness", eq. 6.

    Args:
        logits: float ``(B, K)``, K at least 3.
        y: int64 ``(B,)``, true labels.

    Returns:
        float ``(B,)``.

    Raises:
        ValueError: with fewer than three classes.
    """
    if logits.shape[1] < 3:
        raise ValueError(f'loss "dlr" needs at least 3 classes, the model has {logits.shape[1]}: use loss="margin"')
    top = logits.topk(3, dim=1).values
    return margin(logits, y) / (top[:, 0] - top[:, 2] + 1e-12)  # as the authors' code: equal logits give 0, not NaN


def likeliest_wrong(logits: Tensor, y: Tensor, count: int) -> tuple[Tensor, ...]:
    """The ``count`` wrong classes with the largest logits, or all K - 1 if those are fewer: int64 ``(B,)`` each, the likeliest first."""
    ranked = logits.scatter(1, y[:, None], -torch.inf).argsort(dim=1, descending=True, stable=True)
    return ranked[:, : min(count, logits.shape[1] - 1)].unbind(1)


LOSSES: Mapping[str, Loss] = MappingProxyType({"ce": ce, "margin": margin, "dlr": dlr})
