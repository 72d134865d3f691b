"""Which images are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import torch

from qarmor.studies.tasks.common import test_images
from qarmor.types import Dataset


def balanced(dataset: Dataset, subsets: Sequence[Mapping[str, Any]], shown: int, seed: int) -> list[int]:
    """Positions in the original set of ``shown`` test images, or of all that there are, ordered by class.

    They are drawn with ``seed`` from the images that lie in every subset (``test_images``), one of each class in turn.
    """
    common = set.intersection(*(set(test_images(dataset, images, "").index.tolist()) for images in subsets))
    labels = dict(zip(dataset.test.index.tolist(), dataset.test.y.tolist(), strict=True))
    there = sorted(common)
    by_class: dict[int, list[int]] = {}
    for at in torch.randperm(len(there), generator=torch.Generator().manual_seed(seed)).tolist():
        by_class.setdefault(labels[there[at]], []).append(there[at])
    rounds = zip_longest(*(by_class[label] for label in sorted(by_class)))
    drawn = [index for one in rounds for index in one if index is not None][:shown]
    return sorted(drawn, key=lambda index: labels[index])
