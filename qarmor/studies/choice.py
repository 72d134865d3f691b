"""Which images are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from qarmor.studies.tasks.common import test_images
from qarmor.types import Dataset


def balanced(dataset: Dataset, subsets: Sequence[Mapping[str, Any]], shown: int, seed: int) -> list[int]:
    """Positions in the original set of ``shown`` test images, or of all that there are, ordered by class.

    They are drawn with ``seed`` from the images that lie in every subset (``test_images``), one of each class in turn.
    """
    common = set.intersection(*(set(test_images(dataset, images, "").index.tolist()) for images in subsets))
    labels = dict(zip(dataset.test.index.tolist(), dataset.test.y.tolist(), strict=True))
    there = sorted(common)
    if not there:
        return []
    mixed = [there[at] for at in torch.randperm(len(there), generator=torch.Generator().manual_seed(seed)).tolist()]
    drawn = in_turn(torch.tensor([labels[index] for index in mixed]), shown).tolist()
    return sorted((mixed[at] for at in drawn), key=lambda index: labels[index])


def in_turn(y: Tensor, count: int) -> Tensor:
    """Positions of the first ``count``, at most, of the labels ``(N,)``, N > 0, if every class has its turn, classes in order."""
    rank = one_hot(y).cumsum(0).gather(1, y[:, None])[:, 0]  # the how-manieth of its class
    return torch.argsort(rank * (int(y.max()) + 1) + y, stable=True)[:count]
