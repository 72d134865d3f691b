"""The paper's four numbers, beside ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from qarmor.evaluation import mover
from qarmor.types import Row, Rows

PAPER: Mapping[tuple[str, str, str], Mapping[str, tuple[int, int]]] = MappingProxyType(
    {
        ("fashion-mnist", "convnet", "qvc500"): {"false_positive_rate": (227, 1000), "true_positive_rate": (736, 1000)},
        ("fashion-mnist", "resnet18", "qvc500"): {"false_positive_rate": (234, 1000), "true_positive_rate": (795, 1000)},
    }
)
"""Alarms of so many images, by data set, attacked network and its partner, and metric: West et al. (2023), II.E."""


@dataclass(frozen=True)
class Comparison:
    """A rate of ours beside a published one.

    Attributes:
        ours: the row.
        successes, n: the published count.
        low, high: 95 % interval of ours minus theirs.
    """

    ours: Row
    successes: int
    n: int
    low: float
    high: float

    @property
    def agrees(self) -> bool:
        """Whether they differ by no more than chance."""
        return self.low <= 0 <= self.high


def beside(row: Row, successes: int, n: int) -> Comparison:
    """Two rates of different images: the interval of their difference is Newcombe's (his method 10).

    Source: R. G. Newcombe, Statistics in Medicine 17, 873 (1998).
    """
    difference = mover.total([(1.0, mover.published(row.successes, row.n)), (-1.0, mover.published(successes, n))])
    return Comparison(row, successes, n, difference.low, difference.high)


def beside_paper(rows: Rows, dataset: str, first: str, second: str) -> dict[str, Comparison]:
    """Rows of a detector beside the paper's counts, by metric; empty where the paper has none.

    Args:
        rows: of ``evaluate_detection``, attacked on the first network.
        dataset, first, second: what they are, in the words of ``PAPER``.
    """
    published = PAPER.get((dataset, first, second), {})
    source = {"false_positive_rate": "", "true_positive_rate": rows[0].parameters["first"]} if published else {}
    ours = {metric: [row for row in rows.where(metric=metric, source=source[metric]) if row.parameters["by"] == "all"] for metric in published}
    return {metric: beside(ours[metric][0], *published[metric]) for metric in published if ours[metric] and ours[metric][0].n}
