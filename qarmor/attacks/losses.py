"""What attacks maximise: losses per image of logits ``(B, K)`` and labels ``(B,)``."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy, ``(B,)``. Its size depends on the scale of the logits (DESIGN 3.6)."""
    return F.cross_entropy(logits, y, reduction="none")


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """Largest wrong logit minus the true one, ``(B,)``; positive where the image is misclassified."""
    true = logits.gather(1, y[:, None]).squeeze(1)
    others = logits.scatter(1, y[:, None], -torch.inf)
    return others.amax(1) - true


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """Difference of logits ratio, ``(B,)``: the margin over the gap from first to third logit (Croce and Hein 2020, eq. 6).

    Raises:
        ValueError: fewer than three classes.
    """
    if logits.shape[1] < 3:
        raise ValueError(f"loss 'dlr' needs at least three classes, the model has {logits.shape[1]}: use loss 'margin'")
    first, _, third = logits.topk(3, dim=1).values.unbind(1)
    return margin(logits, y) / (first - third + 1e-12)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"ce": cross_entropy, "margin": margin, "dlr": dlr}
