"""Accuracy against the number of shots, and how many shots a network needs to be nearly as accurate as with exact expectations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn

from qarmor.evaluation.checks import check_images, check_seed
from qarmor.evaluation.predict import BATCH_SIZE, majority, prepare
from qarmor.evaluation.statistics import wilson
from qarmor.types import Images, Row, Rows

METRIC = "accuracy_with_shots"

WithShots = Callable[[int], nn.Module]
"""From a number of shots to the network that is measured so often, as ``lambda shots: Shots(frozen, shots)``."""


def accuracy_against_shots(
    with_shots: WithShots, images: Images, shots: Sequence[int], *, name: str, seed: int = 0, batch_size: int = BATCH_SIZE
) -> Rows:
    """Accuracy of a network on clean images for each number of shots, every image measured once.

    Args:
        with_shots: makes the network from a number of shots; see ``WithShots``.
        images: clean images, float32 in [0, 1].
        shots: strictly rising, each 1 or more.
        name: of the network, for rows.
        seed: torch's global generator is seeded with it for each number of shots, and restored afterwards.
        batch_size: images a call.

    Returns:
        One row of metric ``METRIC`` a number of shots: target ``name``, source and attack ``""``, eps 0, parameters ``{"shots": ...}``. The
        interval is about images and draws together.

    Raises:
        TypeError, ValueError: as ``clean`` for its images and networks; also for shots that are empty, fall, repeat or are no whole numbers.
    """
    check_images(images)
    check_seed(seed)
    grid = list(shots)
    for count in grid:
        _check_count(count, "shots")
    if not grid or any(one >= two for one, two in pairwise(grid)):
        raise ValueError(f"shots must be one or more numbers that rise strictly, got {grid}; pass sorted(set(shots))")
    return Rows(_measured(with_shots, images, count, name, seed, batch_size) for count in grid)


@dataclass(frozen=True)
class ShotsNeeded:
    """How many shots an image a network needs for a share of its exact accuracy.

    Attributes:
        dataset, network: names.
        n: images.
        exact: accuracy with exact expectations.
        wanted: the accuracy asked for, ``share * exact``.
        majority: accuracy of always naming the commonest class: where ``wanted`` is no more, the number of shots says nothing about the network.
        shots: the smallest power of two that reached ``wanted`` and whose double did, too, if that was tried; None if there is none.
        rows: what was measured, from one shot on.
    """

    dataset: str
    network: str
    n: int
    exact: float
    wanted: float
    majority: float
    shots: int | None
    rows: Rows


def shots_needed(
    exact: nn.Module,
    with_shots: WithShots,
    images: Images,
    *,
    name: str,
    share: float = 0.95,
    most: int = 1 << 40,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
) -> ShotsNeeded:
    """The shots for ``share`` of the exact accuracy, to a factor of two, by doubling from one shot on.

    Args:
        exact: the network with exact expectations.
        with_shots: the same from a number of shots; see ``WithShots``.
        images: clean images, float32 in [0, 1].
        name: of the network.
        share: in (0, 1].
        most: no more shots than this are tried.
        seed, batch_size: as ``accuracy_against_shots``.

    Raises:
        TypeError, ValueError: as ``accuracy_against_shots``, or a share or ``most`` out of range.
    """
    check_images(images)
    check_seed(seed)
    if isinstance(share, bool) or not isinstance(share, int | float) or not (math.isfinite(share) and 0 < share <= 1):
        raise ValueError(f"share must be above 0 and at most 1, got {share!r}; 95 % is 0.95")
    _check_count(most, "most")
    accuracy = float((prepare(name, exact, images, batch_size).clean_predictions == images.y).double().mean())
    wanted = share * accuracy
    rows, reached = Rows(), 0
    count = 1
    while count <= most and reached < 2:
        rows.append(_measured(with_shots, images, count, name, seed, batch_size))
        reached = reached + 1 if rows[-1].value >= wanted else 0
        count *= 2
    # at the end of the range there is no double to confirm the last one
    shots = int(rows[-reached].parameters["shots"]) if reached else None
    return ShotsNeeded(images.name, name, len(images), accuracy, wanted, majority(images.y), shots, rows)


def _check_count(value: object, argument: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{argument}: a number of shots must be a whole number, 1 or more, got {value!r}")


def _measured(with_shots: WithShots, images: Images, shots: int, name: str, seed: int, batch_size: int) -> Row:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        hits = prepare(name, with_shots(shots), images, batch_size).clean_predictions == images.y
    successes, n = int(hits.sum()), len(hits)
    low, high = wilson(successes, n)
    return Row(
        dataset=images.name,
        source="",
        target=name,
        attack="",
        parameters={"shots": shots},
        eps=0.0,
        metric=METRIC,
        value=successes / n,
        successes=successes,
        n=n,
        low=low,
        high=high,
        majority=majority(images.y),
        seed=seed,
    )
