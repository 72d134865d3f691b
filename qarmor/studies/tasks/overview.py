"""What an overview shows: test images of a data set with an attacked one, and what a network is made of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from qarmor import models
from qarmor.studies.architecture import describe
from qarmor.studies.choice import in_turn
from qarmor.studies.tasks.common import Job, write_json, write_tensors
from qarmor.studies.tasks.craft import read_adversarials
from qarmor.types import Dataset, Images


def pictures(job: Job) -> dict[str, Any]:
    """Images of every class in turn, and the first whose attack works: an image that the source gets right when clean, and wrong after."""
    made = read_adversarials(job.store, job.task.inputs["adversarials"], "", job.task.dataset, job.task.context["source"])
    y, before, after = made.images.y, made.source_clean_predictions, made.source_adversarial_predictions
    shown = in_turn(y, job.spec["shown"])
    example = telling(y, before, after)[None]
    tensors = {
        "images": made.images.x[shown],
        "labels": y[shown],
        "index": made.images.index[shown],
        "clean": made.images.x[example],
        "adversarial": made.x[example],
        "example": torch.stack([made.images.index[example], y[example], before[example], after[example]], 1)[0],
    }
    write_tensors(job.folder / "pictures.safetensors", tensors)
    return {}


def telling(y: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Position of the first image that is right before and wrong after; if there is none, of the first that is right, else 0."""
    right = before == y
    works = right & (after != y)
    return (works if works.any() else right).to(torch.int8).argmax()


def architecture(job: Job) -> dict[str, Any]:
    """What a network is made of."""
    spec = job.spec
    shape, classes = tuple(spec["shape"]), tuple(spec["classes"])
    one = Images(torch.zeros(1, *shape), torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64), "")
    model = models.build(spec["network"], Dataset("", one, one, classes), **spec["options"])
    write_json(job.folder / "architecture.json", describe(model, shape, len(classes)))
    return {}
