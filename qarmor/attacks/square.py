"""Square attack: random search over squares at the bounds of the ball; asks the model for logits only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from qarmor.attacks import checks
from qarmor.attacks.base import Ball, BaseAttack, Best, Oracle
from qarmor.attacks.losses import LOSSES
from qarmor.attacks.streams import Streams

# Of 10,000 queries, those from which p is halved once more.
_HALVINGS = (11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001)


@final
@dataclass(frozen=True, kw_only=True, repr=False)
class Square(BaseAttack):
    """Square attack, which needs no gradient.

    Andriushchenko et al. 2020, "Square Attack: a query-efficient black-box adversarial attack via random search", algorithm 2, with the
    schedule of AutoAttack. Starts from vertical stripes of low and high, one width, in each channel; then a query sets a square, at a place
    drawn uniformly, to low or high in each channel, and it stays if the loss rises or the image falls. The squares' share of the image falls
    from ``p_init`` by half, nine times. An image that fell, or was wrong already, leaves: the work falls with the robust accuracy.

    Images ``(N, d)`` have no rows: the start is a sign per value, and the windows are runs of neighbouring values, a share p of d long.

    Unlike the authors' code, which never draws the last place and so never changes the last row and column after the start, squares reach
    every pixel, as in the paper.

    Attributes:
        queries: at least 1, of each restart, besides its start; images that fell take fewer.
        restarts: at least 1; for images that resist.
        p_init: share of the pixels in the first squares, in (0, 1].
        loss: ``"margin"``, ``"ce"`` or ``"dlr"`` (at least 3 classes).
        batch_size: images per call of the model.

    Raises:
        ValueError: a hyperparameter out of range, or images that are neither ``(N, C, H, W)`` nor ``(N, d)``.
    """

    name: ClassVar[str] = "square"
    needs_gradient: ClassVar[bool] = False

    queries: int = 5000
    restarts: int = 1
    p_init: float = 0.8
    loss: str = "margin"

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.check_count("queries", self.queries)
        checks.check_count("restarts", self.restarts)
        p = self.p_init
        if isinstance(p, bool) or not isinstance(p, int | float) or not 0 < p <= 1:
            raise ValueError(f"p_init must be a share of the pixels, more than 0 and at most 1, got {p!r}")
        checks.check_choice("loss", self.loss, LOSSES)

    def _perturb(self, oracle: Oracle, x: Tensor, ball: Ball, streams: Streams) -> Tensor:
        if x.ndim not in (2, 4):
            raise ValueError(f"x must be (N, C, H, W) or (N, d) for attack 'square', got shape {tuple(x.shape)}: reshape it inside the model")
        best = Best(x)
        best.update(x, *oracle.judge(x, LOSSES[self.loss]))
        has_room = ball.eps.flatten() > 0
        for restart in range(self.restarts):
            # Images that are wrong already take the first start: attacks are transferred.
            who = (has_room & ~best.wrong if restart else has_room).nonzero().flatten()
            self._search(oracle, ball, best, who, streams.branch(f"restart {restart}"))
        return best.x

    def _search(self, oracle: Oracle, ball: Ball, best: Best, who: Tensor, streams: Streams) -> None:
        """One random search for the images at positions ``who`` of the batch; what it finds goes to ``best``."""
        if not len(who):
            return
        loss = LOSSES[self.loss]
        shape = ball.low.shape[1:]
        channels, height, width = shape if len(shape) == 3 else (1, 1, *shape)
        low, high = (bound[who].reshape(-1, channels, height, width) for bound in (ball.low, ball.high))
        streams = streams.subset(who)
        part = oracle.subset(who)
        stripes = streams.uniform(channels, 1, width).to(low.device) < 0.5
        low, high, z = (t.flatten(1) for t in (low, high, torch.where(stripes, low, high)))
        value, wrong = part.judge(z.reshape(-1, *shape), loss)
        channel = torch.arange(channels, device=z.device)[:, None] * (height * width)
        done = 0
        while done < self.queries:
            best.put(who, z.reshape(-1, *shape), value, wrong)
            stays = (~best.wrong[who]).nonzero().flatten()
            if not len(stays):
                return
            if len(stays) < len(who):
                who, low, high, z, value, wrong = (t[stays] for t in (who, low, high, z, value, wrong))
                streams, part = streams.subset(stays), oracle.subset(who)
            # Looking who fell waits for the device, and numbers are cheaper by the many; at first most fall, so look often.
            count = min(1 + done // 8, 64, self.queries - done)
            drawn = streams.uniform(count, 2 + channels).to(z.device)
            for query in range(count):
                rows, columns = self._window(done + query, height, width, flat=len(shape) == 1)
                top = (drawn[:, query, 0] * (height - rows + 1)).long()
                left = (drawn[:, query, 1] * (width - columns + 1)).long()
                inside = (torch.arange(rows, device=z.device)[:, None] * width + torch.arange(columns, device=z.device)).flatten()
                pixels = ((top * width + left)[:, None, None] + channel + inside).flatten(1)
                down = (drawn[:, query, 2:] < 0.5).repeat_interleave(rows * columns, dim=1)
                before, after = z.gather(1, pixels), torch.where(down, low.gather(1, pixels), high.gather(1, pixels))
                z.scatter_(1, pixels, after)
                new_value, new_wrong = part.judge(z.reshape(-1, *shape), loss)
                better = (new_wrong & ~wrong) | ((new_wrong == wrong) & (new_value > value))
                z.scatter_(1, pixels, torch.where(better[:, None], after, before))
                value, wrong = torch.where(better, new_value, value), wrong | new_wrong
            done += count
        best.put(who, z.reshape(-1, *shape), value, wrong)

    def _window(self, query: int, height: int, width: int, *, flat: bool) -> tuple[int, int]:
        """Rows and columns of the window of query 0, 1, ...; of ``flat`` images a run of values, else a square that fits."""
        p = self.p_init / 2 ** sum(query * 10_000 // self.queries >= start for start in _HALVINGS)
        if flat:
            return 1, max(round(p * width), 1)
        side = min(max(round(math.sqrt(p * height * width)), 1), height, width)
        return side, side
