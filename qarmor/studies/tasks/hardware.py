"""Networks as hardware would run them: under noise, with finite shots; and certificates of what they compute."""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import Tensor, nn

from qarmor import models
from qarmor.circuits.noise import Noise
from qarmor.evaluation.certificates import certified_rows, radii
from qarmor.evaluation.shots import ShotsNeeded, accuracy_against_shots, shots_needed
from qarmor.evaluation.tightness import smallest_successful_attack, tightness
from qarmor.models.quadratic import Quadratic
from qarmor.models.qvc import FrozenQVC
from qarmor.models.shots import Shots
from qarmor.studies.tasks.common import (
    Job,
    build_attack,
    dataset_for,
    load_network,
    read_network,
    save_network,
    test_images,
    write_json,
    write_tensors,
)
from qarmor.studies.tasks.score import write_rows
from qarmor.types import Rows

MOST_SHOTS = 1 << 32


def add_noise(job: Job) -> dict[str, Any]:
    """The quadratic forms of a QVC under noise: a ``noise`` task, whose artefact is a network like any other."""
    key = job.task.inputs["network"]
    job.store.check(key)
    model = load_network(job.store.folder(key), job.task.context["source"])
    if not isinstance(model, models.QVC):
        raise ValueError(f"noise needs a QVC, got {type(model).__name__}: other networks have no circuit")
    # In float64: strong amplitude damping leaves gaps between classes that float32 rounds away, and preflight refuses to attack what is left.
    save_network(model.double().freeze(Noise(**job.spec["noise"])), job)
    return {}


def measure_with_shots(job: Job) -> dict[str, Any]:
    """Accuracy against shots, and the shots for a share of the exact accuracy, of a ``shots`` task."""
    spec = job.spec
    exact = read_network(job.store, job.task.inputs["network"], job.task.context["source"])
    if not isinstance(exact, FrozenQVC | Quadratic):
        raise ValueError(f"shots need a quantum network, got {type(exact).__name__}")
    images = test_images(dataset_for(job), spec["images"], job.task.dataset)

    def with_shots(count: int) -> nn.Module:
        return Shots(exact, count)

    needed = shots_needed(exact, with_shots, images, name=spec["target"], share=spec["share"], most=MOST_SHOTS, seed=spec["seed"])
    rows = needed.rows
    tried = {row.parameters["shots"] for row in rows}
    if asked := [count for count in spec["shots"] if count not in tried]:
        rows = rows + accuracy_against_shots(with_shots, images, asked, name=spec["target"], seed=spec["seed"])
    write_rows(job, rows)
    write_json(job.folder / "shots.json", _shots(needed, rows))
    return {}


def _shots(needed: ShotsNeeded, rows: Rows) -> dict[str, Any]:
    points = {row.parameters["shots"]: row for row in rows}
    return {
        "exact": needed.exact,
        "wanted": needed.wanted,
        "needed": needed.shots,
        "most": MOST_SHOTS,
        "majority": needed.majority,
        "n": needed.n,
        "points": [{"shots": count, "value": row.value, "low": row.low, "high": row.high} for count, row in sorted(points.items())],
    }


def certify(job: Job) -> dict[str, Any]:
    """Certified radii of every image and the smallest attack that succeeds: a ``certify`` task."""
    spec = job.spec
    network = read_network(job.store, job.task.inputs["network"], job.task.context["source"])
    images = test_images(dataset_for(job), spec["images"], job.task.dataset)
    job.say("certified radii", 0.0)
    found = radii(forms_of(network), images.x.flatten(1), images.y)
    job.say("smallest attacks", 0.3)
    smallest = smallest_successful_attack({spec["target"]: network}, images, build_attack(spec["attack"]), seed=spec["seed"])
    rows = Rows()
    for certificate in found.in_linf:
        rows += certified_rows(found, images, spec["target"], spec["eps"], certificate)
    write_rows(job, rows)
    measured = {"smallest": smallest.eps, "x": smallest.x, "correct": found.correct, "index": images.index}
    write_tensors(job.folder / "radii.safetensors", {**found.in_linf, **measured})
    entry = {
        "slack": found.slack,
        "accuracy": float((smallest.eps > 0).double().mean()),
        "certificates": [{"name": name, **dataclasses.asdict(tightness(each, smallest.eps))} for name, each in found.in_linf.items()],
    }
    write_json(job.folder / "certificates.json", entry)
    return {}


def forms_of(network: nn.Module) -> Tensor:
    """The quadratic forms of a frozen network, ``(K, d, d)``. Raises ValueError for one that has none."""
    if isinstance(network, FrozenQVC):
        return network.quadratic().A
    if isinstance(network, Quadratic):
        return network.A.detach()
    raise ValueError(f"certificates are for quadratic forms of the image, got {type(network).__name__}")
