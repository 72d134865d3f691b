"""What the page and the claims need of noise, shots, certificates, detection and resources, gathered from the store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from qarmor.evaluation import wilson
from qarmor.evaluation.claims import Measurement
from qarmor.evaluation.detection.for_claims import measurements as detected
from qarmor.evaluation.detection.observations import Observations
from qarmor.evaluation.detection.paper import beside_paper
from qarmor.studies import sections
from qarmor.studies.planner import seed_suffix_of
from qarmor.studies.store import Store
from qarmor.studies.task import Task
from qarmor.studies.tasks.common import read_tensors
from qarmor.studies.tasks.score import read_rows
from qarmor.types import Row

Entry = dict[str, Any]
Use = tuple[Task, str]


def entries(store: Store, section: sections.Section, here: Sequence[Use], finished: Mapping[str, Task]) -> list[Entry]:
    """The section's entries, from its finished tasks and their roles."""
    match section:
        case sections.Noisy():
            return _noise(store, here, finished)
        case sections.FiniteShots():
            return [{"dataset": t.dataset, "network": role, "shots": _json(store, t, "shots.json")} for t, role in here if t.kind == "shots"]
        case sections.Certificates():
            return [_certificate(store, t, *role.split("|")) for t, role in here if t.kind == "certify"]
        case sections.Detection():
            return [_detection(store, t, role.split("|")) for t, role in here if t.kind == "detect"]
    return []


def _json(store: Store, task: Task, name: str) -> Any:
    return json.loads((store.folder(task.key) / name).read_text(encoding="utf-8"))


def _rate(row: Row) -> Entry:
    return {"value": row.value, "low": row.low, "high": row.high, "n": row.n}


def _noise(store: Store, here: Sequence[Use], finished: Mapping[str, Task]) -> list[Entry]:
    """An entry a network and setting: clean on most images, under each attack, and its shots."""
    found: dict[tuple[str, str], Entry] = {}
    for task, role in here:
        made = finished.get(task.inputs.get("network") or task.inputs.get("target", ""))
        if task.kind not in ("shots", "clean", "score") or made is None:
            continue
        noise = made.spec["noise"] if made.kind == "noise" else None
        label = task.spec["target"]
        base = label if noise is None else made.context["base"] + seed_suffix_of(label)
        entry = found.setdefault(
            (task.dataset, label),
            {"dataset": task.dataset, "network": base, "label": label, "noise": noise, "clean": None, "attacked": [], "shots": None},
        )
        if task.kind == "shots":
            entry["shots"] = _json(store, task, "shots.json")
            continue
        row = next(row for row in read_rows(store, task.key) if row.metric == "accuracy")
        if task.kind == "clean" and (entry["clean"] is None or entry["clean"]["n"] < row.n):
            entry["clean"] = _rate(row)
        elif task.kind == "score":
            attack = next(role.split("|")[0] for _, role in finished[task.inputs["adversarials"]].roles)
            entry["attacked"].append({"attack": attack, "eps": row.eps, **_rate(row)})
    return list(found.values())


def _certificate(store: Store, task: Task, attack: str, network: str) -> Entry:
    """Ratios, and certified accuracy beside that under the smallest attack, which stands for every attack that was made."""
    summary = _json(store, task, "certificates.json")
    smallest = read_tensors(store.folder(task.key) / "radii.safetensors")["smallest"]
    n, grid = len(smallest), task.spec["eps"]
    curve: Entry = {"eps": grid, "attacked": []}
    for eps in grid:
        left = int((smallest > eps).sum())
        low, high = wilson(left, n)
        curve["attacked"].append({"value": left / n, "low": low, "high": high})
    for row in read_rows(store, task.key):
        curve.setdefault(f"{row.parameters['certificate']}", []).append({k: v for k, v in _rate(row).items() if k != "n"})
    return {"dataset": task.dataset, "network": network, "attack": attack, "n": n, **summary, "curve": curve}


def _detection(store: Store, task: Task, pair: Sequence[str]) -> Entry:
    rows = read_rows(store, task.key)
    compared = beside_paper(rows, task.dataset, *(name.removesuffix("-paper") for name in pair))
    threshold = next((row.parameters for row in rows if row.metric == "score_false_positive_rate"), {})
    return {
        "dataset": task.dataset,
        "first": pair[0],
        "second": pair[1],
        "n": task.spec["n"],
        "threshold": threshold.get("threshold"),
        "nominal": task.spec["false_positive_rate"],
        "rows": [_detected(row) for row in rows],
        "paper": [{"metric": metric, "successes": one.successes, "n": one.n, "low": one.low, "high": one.high} for metric, one in compared.items()],
        "roc": _json(store, task, "roc.json"),
    }


def _detected(row: Row) -> Entry:
    about = {name: row.parameters.get(name) for name in ("by", "eps_low", "eps_high")}
    return {"metric": row.metric, "source": row.source, "attack": row.attack, **about, **_rate(row), "successes": row.successes}


def noise_of(finished: Mapping[str, Task], task: Task) -> tuple[str, str, float] | None:
    """Network, kind and strength behind a ``clean`` task of a network under noise after every layer; None for all others."""
    made = finished.get(task.inputs["target"])
    if made is None or made.kind != "noise" or made.spec["noise"]["where"] != "layer":
        return None
    noise = made.spec["noise"]
    return made.context["base"] + seed_suffix_of(task.spec["target"]), noise["kind"], noise["rate"]


def measurements(store: Store, task: Task) -> list[Measurement]:
    """What claims are about of a ``resources`` or a ``detect`` task."""
    if task.kind == "resources":
        entry = _json(store, task, "resources.json")
        names = {role for _, role in task.roles}
        counts = [(quantity, float(entry[quantity])) for quantity in ("gates_real", "gates_complex") if quantity in entry]
        return [
            Measurement(task.dataset, quantity, "", name, "", 0.0, torch.tensor([value], dtype=torch.float64), torch.zeros(1, dtype=torch.int64))
            for name in names
            for quantity, value in counts
        ]
    folder = store.folder(task.key)
    clean, attacked = (Observations.from_tensors(_observed(folder / f"{name}.safetensors")) for name in ("clean", "attacked-0"))
    return detected(clean, attacked)


def _observed(path: Any) -> Any:
    return {name: tensor for name, tensor in read_tensors(path).items() if name != "x"}
