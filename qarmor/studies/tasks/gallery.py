"""Single images to look at: clean, attacked, and what every network makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from qarmor.evaluation.predict import predict
from qarmor.studies.tasks.common import Job, dataset_for, read_network, write_tensors
from qarmor.studies.tasks.craft import read_adversarials

STEPS = 127  # a perturbation is kept in this many steps up to eps, and as many down
FILE = "gallery.safetensors"


def show(job: Job) -> dict[str, Any]:
    """The images of a ``gallery`` task at every eps, and every network's probabilities of them.

    Pictures are rounded to a byte: ``clean`` to 1/255, ``perturbation`` to eps/127. ``probabilities`` are of the images as they are,
    ``(networks, 1 + eps, images, classes)``, the clean ones first, as in ``predictions``.
    """
    spec, inputs, place = job.spec, job.task.inputs, job.task.context["source"]
    job.say("reading attacked images", 0.0)
    attempts = [read_adversarials(job.store, inputs[f"adversarials-{i}"], "", job.task.dataset, place) for i in range(len(spec["eps"]))]
    at = [_positions(attempt.images.index, spec["index"]) for attempt in attempts]
    images = attempts[0].images[at[0]]
    attacked = torch.stack([attempt.x[which] for attempt, which in zip(attempts, at, strict=True)])
    x = torch.cat([images.x[None], attacked])
    classes, probabilities, predictions = len(dataset_for(job).classes), [], []
    for number, name in enumerate(spec["networks"]):
        job.say(f"asking {name}", number / len(spec["networks"]))
        network = read_network(job.store, inputs[f"network-{number}"], place).to(torch.device(spec["device"]))
        logits = predict(network, x.flatten(0, 1), name=name).cpu()
        if logits.shape[1] != classes:
            raise ValueError(f"network {name!r} has {logits.shape[1]} classes, {job.task.dataset} has {classes}; leave it out of the gallery")
        probabilities.append(logits.double().softmax(1).float().reshape(*x.shape[:2], classes))
        predictions.append(logits.argmax(1).to(torch.int16).reshape(*x.shape[:2]))
    eps = torch.tensor(spec["eps"], dtype=torch.float64).reshape(-1, *[1] * images.x.ndim)
    tensors = {
        "index": images.index,
        "labels": images.y,
        "clean": (255 * images.x.double()).round().to(torch.uint8),
        "perturbation": (STEPS * (attacked.double() - images.x.double()) / eps).round().clamp(-STEPS, STEPS).to(torch.int8),
        "probabilities": torch.stack(probabilities),
        "predictions": torch.stack(predictions),
    }
    write_tensors(job.folder / FILE, tensors)
    return {}


def _positions(index: Tensor, wanted: Sequence[int]) -> Tensor:
    """Where the ``wanted`` stand in ``index``."""
    where = {value: at for at, value in enumerate(index.tolist())}
    return torch.tensor([where[value] for value in wanted])
