"""The nearest point of a hyperplane within the box of images, in l_inf."""

from __future__ import annotations

import torch
from torch import Tensor


def step_to_hyperplane(x: Tensor, normal: Tensor, value: Tensor) -> Tensor:
    """The shortest step in l_inf from ``x`` to where a linear function vanishes, within [0, 1].

    Every coordinate moves by the same length, or by less to its wall: as a function of that length, what the step gains is piecewise linear,
    increasing and concave, so Newton's method ends at the exact length, from below, after a few rounds. (Sorting the walls, as the authors do,
    takes four times as long.) Where the box has no such point, the step leads to the corner that comes nearest to one.
    Croce & Hein 2020, "Minimally distorted adversarial examples with a fast adaptive boundary attack", section 2.2.

    Args:
        x: float ``(B, d)``, in [0, 1].
        normal: float ``(B, d)``, the function's gradient. Coordinates where it is 0 stay.
        value: float ``(B,)``, the function at ``x``.

    Returns:
        ``(B, d)``, to be added to ``x``.
    """
    way = normal.sign() * -value.sign()[:, None]
    room = torch.where(way > 0, 1 - x, x)
    weight, needed = normal.abs(), value.abs()[:, None]
    at_wall = weight * room
    moving = room > 0
    while True:
        slope = (weight * moving).sum(1, keepdim=True)
        spent = at_wall.masked_fill(moving, 0).sum(1, keepdim=True)  # by those that stand at their wall
        length = torch.where(slope > 0, (needed - spent) / slope, torch.inf)
        still = moving & (room > length)
        if torch.equal(still, moving):
            return way * torch.minimum(room, length)
        moving = still
