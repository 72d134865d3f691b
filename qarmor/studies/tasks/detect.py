"""Attack detection by the disagreement of two networks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from qarmor.evaluation.detection.mixing import joint_mixture, mixture, split
from qarmor.evaluation.detection.observations import observe, observe_attacked
from qarmor.evaluation.detection.rates import evaluate_detection
from qarmor.evaluation.detection.roc import roc
from qarmor.studies.tasks.common import Job, build_attack, dataset_for, read_network, write_json, write_tensors
from qarmor.types import Images, Rows


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
    clean, target, held_out = split(named, spec["n"], spec["n"], spec["image_seed"])
    attacks = {name: build_attack(entry) for name, entry in spec["attacks"].items()}
    adaptive = {name: build_attack(entry) for name, entry in spec["adaptive"].items()}
    eps = (spec["eps"][0], spec["eps"][1])
    made = {}
    for number, (name, network) in enumerate(networks.items()):
        job.say(f"attacks on {name}", number / 3)
        made[name] = mixture({name: network}, target, attacks, spec["seed"], eps_range=eps)
    job.say("attacks on both", 2 / 3)
    made["+".join(networks)] = joint_mixture(networks, target, adaptive, spec["seed"], eps_range=eps)
    seen = {"clean": observe(networks, clean), "held-out": observe(networks, held_out)}
    attacked = {name: observe_attacked(networks, part) for name, part in made.items()}
    rows = evaluate_detection(seen["clean"], list(attacked.values()), seen["held-out"], false_positive_rate=spec["false_positive_rate"])
    keyed = Rows(replace(row, key=job.task.key) for row in rows)
    (job.folder / "rows.json").write_text(keyed.to_json(), encoding="utf-8")
    x = {name: torch.cat([part.x for part in mixed.values()]) for name, mixed in made.items()} | {"clean": clean.x, "held-out": held_out.x}
    for number, (name, observations) in enumerate({**seen, **attacked}.items()):
        file = name if name in seen else f"attacked-{number - len(seen)}"
        write_tensors(job.folder / f"{file}.safetensors", {**observations.tensors(), "x": x[name]})
    curves = []
    for name, observations in attacked.items():
        curve = roc(seen["clean"].score, observations.score, seen["clean"].index, observations.index)
        points = list(zip(curve.false_positive_rate.tolist(), curve.true_positive_rate.tolist(), strict=True))
        curves.append({"source": name, "points": points[:: max(1, len(points) // 200)] + points[-1:]})
    write_json(job.folder / "roc.json", curves)
    return {}
