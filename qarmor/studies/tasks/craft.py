"""Adversarial images."""

from __future__ import annotations

import json
import shutil
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from qarmor.attacks.journal import CheckpointError, Progress
from qarmor.evaluation.craft import Adversarials, craft
from qarmor.studies.tasks.common import Job, build_attack, dataset_for, dataset_of, read_network, read_tensors, test_images, write_json, write_tensors

if TYPE_CHECKING:
    from qarmor.studies.store import Store

_FIELDS = ("x", "gradient_norms", "source_clean_predictions", "source_adversarial_predictions")


def craft_images(job: Job) -> dict[str, Any]:
    """Attacks the source of a ``craft`` task."""
    spec = job.spec
    source = read_network(job.store, job.task.inputs["source"], job.task.context["source"]).to(torch.device(spec["device"]))
    images = test_images(dataset_for(job), spec["images"], job.task.dataset)

    def told(p: Progress) -> None:
        job.say(f"{p.stage}, {p.robust} images still right, {p.finished} of {p.images} finished", p.fraction)

    checkpoint = job.store.checkpoint(job.task.key)
    arguments: dict[str, Any] = {"checkpoint": checkpoint, "on_progress": told}
    try:
        made = craft(source, images, build_attack(spec["attack"]), spec["eps"], spec["seed"], **arguments)
    except CheckpointError as error:  # damaged, since its name is this task's key
        warnings.warn(f"{error}; the attack begins anew", stacklevel=1)
        shutil.rmtree(checkpoint)
        made = craft(source, images, build_attack(spec["attack"]), spec["eps"], spec["seed"], **arguments)
    tensors: dict[str, Tensor] = {name: getattr(made, name) for name in _FIELDS}
    write_tensors(job.folder / "adversarials.safetensors", {**tensors, "index": images.index, "y": images.y})
    write_json(job.folder / "flags.json", list(made.flags))
    return {}


def read_adversarials(store: Store, key: str, source: str, dataset: str, place: str) -> Adversarials:
    """What a ``craft`` task made, checked; ``source`` and ``dataset`` are names in the study, ``place`` is where the data set is."""
    manifest = store.check(key)
    spec = manifest.spec
    tensors = read_tensors(store.folder(key) / "adversarials.safetensors")
    images = test_images(dataset_of(place, spec["data"]), spec["images"], dataset)
    fields: dict[str, Any] = {name: tensors[name] for name in _FIELDS}
    return Adversarials(
        **fields,
        flags=tuple(json.loads((store.folder(key) / "flags.json").read_text(encoding="utf-8"))),
        images=images,
        source=source,
        attack=build_attack(spec["attack"]).name,
        parameters=spec["attack"]["parameters"],
        eps=spec["eps"],
        seed=spec["seed"],
    )
