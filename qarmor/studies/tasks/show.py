"""What is shown beside numbers: perturbations, class probabilities against eps, resources."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from qarmor import models
from qarmor.evaluation.perturbations import gallery
from qarmor.evaluation.predict import correct
from qarmor.evaluation.probabilities import probabilities_against_eps
from qarmor.evaluation.resources import resources as counted
from qarmor.evaluation.resources import weighted_layers
from qarmor.studies.tasks.common import Job, build_attack, dataset_for, read_network, test_images, write_json, write_tensors
from qarmor.studies.tasks.craft import read_adversarials
from qarmor.types import Dataset, Images

_PER_IMAGE = ("x", "images", "gradient_norms", "source_clean_predictions", "source_adversarial_predictions")


def perturbations(job: Job) -> dict[str, Any]:
    """The first image of each class, attacked, and the low-frequency share of all perturbations."""
    everything = read_adversarials(job.store, job.task.inputs["adversarials"], "", job.task.dataset, job.task.context["source"])
    y = everything.images.y
    firsts = torch.stack([(y == k).nonzero()[0, 0] for k in torch.unique(y)])
    rest = torch.tensor([i for i in range(len(y)) if i not in set(firsts.tolist())], dtype=torch.int64)
    chosen = torch.cat([firsts, rest])[: job.spec["shown"]]
    some = dataclasses.replace(everything, **{name: getattr(everything, name)[chosen] for name in _PER_IMAGE})
    shown, whole = gallery(some, len(chosen)), gallery(everything, 1)
    tensors = {
        "clean": shown.clean,
        "adversarial": shown.adversarial,
        "perturbation": shown.perturbation,
        "labels": shown.labels,
        "clean_predictions": shown.clean_predictions,
        "adversarial_predictions": shown.adversarial_predictions,
        "shares": whole.low_frequency_shares,
        "index": everything.images.index,
    }
    write_tensors(job.folder / "perturbations.safetensors", tensors)
    return {}


def probabilities(job: Job) -> dict[str, Any]:
    """Class probabilities against eps of the first image that all networks get right."""
    spec = job.spec
    device = torch.device(spec["device"])
    networks = {name: read_network(job.store, key, job.task.context["source"]).to(device) for name, key in job.task.inputs.items()}
    images = test_images(dataset_for(job), spec["images"], job.task.dataset)
    right = torch.stack([correct(network, images) for network in networks.values()]).all(0)
    first = int(right.nonzero()[0]) if right.any() else 0
    curves = probabilities_against_eps(networks, images[first : first + 1], build_attack(spec["attack"]), spec["eps"], spec["seed"])
    write_tensors(job.folder / "probabilities.safetensors", {**curves.probabilities, "|image": images.x[first]})
    write_json(job.folder / "image.json", {"index": curves.index, "label": curves.label})
    return {}


def resources(job: Job) -> dict[str, Any]:
    """Qubits, layers, parameters and gates of a network."""
    spec = job.spec
    shape, classes = tuple(spec["shape"]), tuple(spec["classes"])
    one = Images(torch.zeros(1, *shape), torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64), "")
    model = models.build(spec["network"], Dataset("", one, one, classes), **spec["options"])
    if isinstance(model, models.QVC):
        entry = counted(model.ansatz, classes=len(classes)).to_dict()
    else:
        entry = {"parameters": sum(p.numel() for p in model.parameters() if p.requires_grad), "layers": weighted_layers(model)}
    write_json(job.folder / "resources.json", entry)
    return {}
