"""A network is trained, or taken as it is."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import torch

from qarmor import models
from qarmor.studies.digests import state_digest
from qarmor.studies.tasks.common import Job, build_attack, dataset_for, save_network, write_json
from qarmor.training.checkpoint import CheckpointError
from qarmor.training.fit import Progress, fit
from qarmor.training.recipe import Adversarial, Recipe

_WATCHED = 250  # test images for the curves of Fig S2; they change nothing


def recipe_of(entry: dict[str, Any]) -> Recipe:
    """The recipe that a spec describes."""
    adversarial = entry["adversarial"]
    if adversarial is not None:
        adversarial = Adversarial(build_attack(adversarial["attack"]), adversarial["eps"], adversarial["fraction"])
    return Recipe(entry["epochs"], entry["batch_size"], entry["lr"], entry["schedule"], adversarial=adversarial)


def train(job: Job) -> dict[str, Any]:
    """Trains the network of a ``train`` task; goes on from the checkpoint of a killed one."""
    spec, dataset = job.spec, dataset_for(job)
    images = dataset.train if spec["images"] == len(dataset.train) else dataset.train.subset(spec["images"], 0)
    watched = dataset.test.subset(min(_WATCHED, len(dataset.test)), 0)
    model = models.build(spec["network"], dataset, seed=spec["seed"], **spec["options"]).to(torch.device(spec["device"]))

    def told(p: Progress) -> None:
        job.say(f"epoch {p.epoch}/{p.epochs}, loss {p.loss:.3f}, accuracy {p.accuracy:.3f}", p.step / p.steps)

    checkpoint = job.store.checkpoint(job.task.key)
    arguments: dict[str, Any] = {"validation": watched, "seed": spec["seed"], "checkpoint": checkpoint, "on_progress": told}
    try:
        history = fit(model, images, recipe_of(spec["recipe"]), **arguments)
    except CheckpointError as error:  # damaged, since its name is this task's key
        warnings.warn(f"{error}; the training begins anew", stacklevel=1)
        checkpoint.unlink()
        model = models.build(spec["network"], dataset, seed=spec["seed"], **spec["options"]).to(torch.device(spec["device"]))
        history = fit(model, images, recipe_of(spec["recipe"]), **arguments)
    save_network(model.cpu(), job)
    write_json(job.folder / "history.json", dataclasses.asdict(history))
    return {}


def take(job: Job) -> dict[str, Any]:
    """Keeps a ready-made network: an ``import`` task."""
    model = models.load(job.task.context["model"])
    if state_digest(model) != job.spec["state"]:
        raise ValueError(f"network {job.task.context['model']} has changed since the study was planned; run it again")
    save_network(model, job)
    return {}
