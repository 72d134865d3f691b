"""Attack detection by the disagreement of two networks."""

from __future__ import annotations

from typing import Any

import torch

from qarmor.evaluation.detection.measure import CLEAN, HELD_OUT, measure
from qarmor.evaluation.detection.roc import roc
from qarmor.studies.tasks.common import Job, build_attack, dataset_for, read_network, write_json, write_tensors
from qarmor.studies.tasks.score import write_rows
from qarmor.types import Images


def detect(job: Job) -> dict[str, Any]:
    """Clean, held-out and attacked images as both networks see them, and every rate: a ``detect`` task.

    The images are attacked on the first network, on the second, and by an attacker who knows of both.
    """
    spec = job.spec
    device = torch.device(spec["device"])
    place = job.task.context["source"]
    networks = {spec[which]: read_network(job.store, job.task.inputs[which], place).to(device) for which in ("first", "second")}
    test = dataset_for(job).test
    named = Images(test.x, test.y, test.index, f"{job.task.dataset}/test")
    attacks, adaptive = ({name: build_attack(entry) for name, entry in spec[which].items()} for which in ("attacks", "adaptive"))
    found = measure(
        networks,
        named,
        attacks,
        adaptive,
        spec["n"],
        spec["seed"],
        image_seed=spec["image_seed"],
        sources=list(networks),
        eps_range=(spec["eps"][0], spec["eps"][1]),
        false_positive_rate=spec["false_positive_rate"],
    )
    write_rows(job, found.rows)
    attacked = {name: observations for name, observations in found.seen.items() if observations.attacked}
    files = {CLEAN: CLEAN, HELD_OUT: HELD_OUT} | {name: f"attacked-{number}" for number, name in enumerate(attacked)}
    for name, observations in found.seen.items():
        write_tensors(job.folder / f"{files[name]}.safetensors", {**observations.tensors(), "x": found.x[name]})
    clean, curves = found.seen[CLEAN], []
    for name, observations in attacked.items():
        curve = roc(clean.score, observations.score, clean.index, observations.index)
        points = list(zip(curve.false_positive_rate.tolist(), curve.true_positive_rate.tolist(), strict=True))
        curves.append({"source": name, "points": points[:: max(1, len(points) // 200)] + points[-1:]})
    write_json(job.folder / "roc.json", curves)
    return {}
