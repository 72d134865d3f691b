"""What a study has found so far, gathered from its store into plain files that the report reads: rows.json, results.json, claims.json, arrays/."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qarmor import evaluation
from qarmor.evaluation import claims
from qarmor.evaluation.repeats import over_seeds
from qarmor.studies import collect_hardware, collect_overview, sections
from qarmor.studies.folder import Folder
from qarmor.studies.plan import datasets_of
from qarmor.studies.planner import seed_of, seed_suffix_of
from qarmor.studies.store import Damaged, Store, in_words, replace_text
from qarmor.studies.task import Plan, Task
from qarmor.studies.tasks import gallery
from qarmor.studies.tasks.common import read_tensors
from qarmor.studies.tasks.score import read_rows
from qarmor.types import Row, Rows

log = logging.getLogger("qarmor.studies")
_ROWS = ("clean", "score", "shots", "certify", "detect")
_SHOWN = (*_ROWS, "perturbations", "probabilities", "gallery", "resources", "pictures", "architecture")


def done(folder: Folder) -> dict[str, Task]:
    """The tasks of a study whose artefacts are there and sound, by key. Damaged ones are reported, and left where they are for the next run."""
    store, found = folder.store, {}
    for key, task in ((key, task) for plan in folder.plans for key, task in plan.tasks.items()):
        if store.folder(key).exists():
            try:
                store.check(key)
                found[key] = task
            except Damaged as error:
                log.warning("%s; run the study again to make it again", error.strerror)
    return found


def rows(folder: Folder, finished: Mapping[str, Task]) -> Rows:
    """All rows of a study, flagged, in an order that depends on nothing but themselves."""
    found = Rows()
    for plan in folder.plans:
        one = Rows(row for key in plan.tasks if key in finished and finished[key].kind in _ROWS for row in read_rows(folder.store, key))
        found = found + evaluation.flag(one)
    return Rows(sorted(found, key=_order))


def _order(row: Row) -> tuple[Any, ...]:
    parameters = json.dumps(dict(row.parameters), sort_keys=True)
    return (row.dataset, row.source, row.target, row.attack, parameters, row.eps or 0.0, row.metric, row.n, row.seed, row.key)


def collect(folder: Folder, failed: Mapping[str, str]) -> None:
    """Write everything that is finished into the study's folder; ``failed`` are errors by key of the task.

    Raises:
        StoreError: the folder cannot be written.
    """
    finished = done(folder)
    with in_words(folder.path):
        (folder.path / "arrays").mkdir(exist_ok=True)
        replace_text(folder.path / "rows.json", rows(folder, finished).to_json())
        replace_text(folder.path / "results.json", json.dumps(_results(folder, finished, failed), indent=1))
        if folder.study.claims:
            replace_text(folder.path / "claims.json", _claims(folder, finished))


def _results(folder: Folder, finished: Mapping[str, Task], failed: Mapping[str, str]) -> dict[str, Any]:
    asked, study, store = folder.asked, folder.study, folder.store
    tasks = {key: task for plan in folder.plans for key, task in plan.tasks.items()}
    return {
        "study": asked.name,
        "title": study.title,
        "note": study.note,
        "preset": asked.preset,
        "command": asked.command,
        "machine": asked.machine,
        "versions": asked.versions,
        "task_seconds": round(sum(store.manifest(key).made["seconds"] for key in finished), 1),
        "tasks": {
            "done": len(finished),
            "planned": len(tasks),
            "failed": [{"label": tasks[key].label, "log": error} for key, error in failed.items() if key in tasks],
        },
        "threads": study.threads,
        "seeds": study.seeds,
        "attacks": {name: {**entry, "label": _attack_label(name, entry)} for plan in folder.plans for name, entry in plan.about["attacks"].items()},
        "datasets": {plan.dataset: {k: v for k, v in plan.about.items() if k not in ("networks", "attacks")} for plan in folder.plans},
        "networks": [entry for plan in folder.plans for entry in _networks(plan, store, finished)],
        "sections": [_section(folder, name, section, finished) for name, section in study.sections.items()],
    }


def _attack_label(name: str, entry: Mapping[str, Any]) -> str:
    loss = entry["parameters"].get("loss")
    return f"{entry['name'].upper()} ({loss})" if loss and entry["name"] != "fgsm" else entry["name"].upper() if len(entry["name"]) <= 4 else name


def _networks(plan: Plan, store: Store, finished: Mapping[str, Task]) -> list[dict[str, Any]]:
    entries = []
    clean = _clean_rows(plan, store, finished)
    for name, about in plan.about["networks"].items():
        made = about["key"] in finished
        manifest = store.manifest(about["key"]) if made else None
        history = store.folder(about["key"]) / "history.json"
        largest = max((row for row in clean if row.target == name), key=lambda row: row.n, default=None)
        entries.append(
            {
                "name": name,
                "dataset": plan.dataset,
                **about,
                "clean": largest and largest.value,
                "clean_low": largest and largest.low,
                "clean_high": largest and largest.high,
                "clean_n": largest and largest.n,
                "seconds": manifest and manifest.made["seconds"],
                "sha256": manifest and manifest.files.get("network.safetensors", manifest.files.get("weights.safetensors", "")),
                "history": _history(history) if made and history.exists() else None,
            }
        )
    return entries


def _clean_rows(plan: Plan, store: Store, finished: Mapping[str, Task]) -> Rows:
    return Rows(row for key, task in plan.tasks.items() if key in finished and task.kind == "clean" for row in read_rows(store, key))


def _history(path: Path) -> dict[str, Any]:
    history = json.loads(path.read_text(encoding="utf-8"))
    return {name: history[name] for name in ("steps", "loss", "accuracy_steps", "accuracy")}


def _section(folder: Folder, name: str, section: sections.Section, finished: Mapping[str, Task]) -> dict[str, Any]:
    uses = [(task, role) for plan in folder.plans for task in plan.tasks.values() for where, role in task.roles if where == name]
    shown = ("train", "import") if isinstance(section, sections.Training) else _SHOWN
    keys = dict.fromkeys(task.key for task, _ in uses if task.kind in shown)
    ready = sum(key in finished for key in keys)
    missing = isinstance(section, sections.Missing)
    unplanned = [d for d in datasets_of(folder.study, section) if d not in {plan.dataset for plan in folder.plans}]
    status = "missing" if missing or not ready else "complete" if ready == len(keys) and not unplanned else "partial"
    reason = section.reason if isinstance(section, sections.Missing) else "" if status == "complete" else _reason(ready, len(keys), unplanned)
    entry: dict[str, Any] = {
        "name": name,
        "item": section.item,
        "title": section.title,
        "kind": section.kind,
        "note": section.note,
        "datasets": [plan.dataset for plan in folder.plans if plan.dataset in datasets_of(folder.study, section)],
        "status": status,
        "reason": reason,
        "done": ready,
        "planned": len(keys),
        "paper": [_paper(number) for number in section.paper],
    }
    here = [(task, role) for task, role in uses if task.key in finished]
    store = folder.store
    match section:
        case sections.Transfer():
            keys_of_rows = list(dict.fromkeys(task.key for task, _ in here if task.kind in _ROWS))
            entry |= {"keys": keys_of_rows, "sources": section.sources, "targets": section.targets, "attacks": section.attacks}
        case sections.Repeats():
            entry["entries"] = _repeats(store, [task for task, _ in here], finished)
        case sections.WhiteBox() | sections.Frontier():
            keys_of_rows = list(dict.fromkeys(task.key for task, _ in here if task.kind in _ROWS))
            entry |= {"keys": keys_of_rows, "targets": section.networks, "attacks": section.attacks}
        case sections.Clean():
            entry["keys"] = [task.key for task, _ in here if task.kind == "clean"]
        case sections.Training():
            entry["networks"] = section.networks
        case sections.Resources():
            entry["entries"] = [
                {"dataset": t.dataset, "network": role, **json.loads((store.folder(t.key) / "resources.json").read_text())} for t, role in here
            ]
        case sections.Perturbations():
            entry["entries"] = [_perturbation(folder, t, role) for t, role in here if t.kind == "perturbations"]
        case sections.Probabilities():
            entry["entries"] = [_probability(folder, t, role) for t, role in here if t.kind == "probabilities"]
        case sections.Gallery():
            entry["entries"] = [_attempt(folder, t, role) for t, role in here if t.kind == "gallery"]
        case sections.Noisy() | sections.FiniteShots() | sections.Certificates() | sections.Detection():
            entry["entries"] = collect_hardware.entries(store, section, here, finished)
        case sections.Overview():
            entry |= collect_overview.entries(store, section, here, lambda task, tensors: _arrays(folder, task, tensors))
    return entry


def _reason(ready: int, planned: int, unplanned: list[str]) -> str:
    if not planned and not unplanned:
        return "nothing of it can be made of these data sets and networks"
    if not ready:
        return "not run"
    parts = [f"{planned - ready} of {planned} tasks are not finished"] if ready < planned else []
    return "; ".join([*parts, *([f"not run on {', '.join(unplanned)}"] if unplanned else [])])


def _paper(number: sections.PaperNumber) -> dict[str, Any]:
    entry = number.model_dump()
    entry["low"], entry["high"] = None, None
    if isinstance(number.value, float) and number.n:
        entry["low"], entry["high"] = evaluation.wilson(round(number.value * number.n), number.n)
    return entry


def _perturbation(folder: Folder, task: Task, role: str) -> dict[str, Any]:
    tensors = read_tensors(folder.store.folder(task.key) / "perturbations.safetensors")
    attack, source = role.split("|")
    shares = tensors["shares"][~tensors["shares"].isnan()]
    mean = float(shares.mean()) if len(shares) else None
    error = 1.96 * float(shares.std()) / len(shares) ** 0.5 if len(shares) > 1 else None
    crafted = folder.store.manifest(task.inputs["adversarials"])
    return {
        "dataset": task.dataset,
        "source": source,
        "attack": attack,
        "eps": crafted.spec["eps"],
        "n": len(tensors["shares"]),
        "share": mean,
        "share_low": None if mean is None or error is None else mean - error,
        "share_high": None if mean is None or error is None else mean + error,
        **{name: tensors[name].tolist() for name in ("labels", "clean_predictions", "adversarial_predictions")},
        "arrays": _arrays(folder, task, {name: tensors[name] for name in ("clean", "adversarial", "perturbation")}),
    }


def _probability(folder: Folder, task: Task, role: str) -> dict[str, Any]:
    store = folder.store
    tensors = read_tensors(store.folder(task.key) / "probabilities.safetensors")
    about = json.loads((store.folder(task.key) / "image.json").read_text())
    image = tensors.pop("|image")
    networks = {name: tensors[name].tolist() for name in task.inputs}
    return {
        "dataset": task.dataset,
        "attack": role,
        "eps": task.spec["eps"],
        **about,
        "networks": networks,
        "arrays": _arrays(folder, task, {"image": image}),
    }


def _attempt(folder: Folder, task: Task, role: str) -> dict[str, Any]:
    """One source under one attack; ``flags`` are those of the attack at any eps."""
    store = folder.store
    tensors = read_tensors(store.folder(task.key) / gallery.FILE)
    attack, source = role.split("|")
    crafted = [store.folder(key) / "flags.json" for name, key in task.inputs.items() if name.startswith("adversarials-")]
    return {
        "dataset": task.dataset,
        "source": source,
        "attack": attack,
        "eps": task.spec["eps"],
        "networks": task.spec["networks"],
        "flags": sorted({flag for path in crafted for flag in json.loads(path.read_text(encoding="utf-8"))}),
        **{name: tensors[name].tolist() for name in ("index", "labels")},
        "arrays": _arrays(folder, task, {name: tensors[name] for name in ("clean", "perturbation", "probabilities", "predictions")}),
    }


def _arrays(folder: Folder, task: Task, tensors: Mapping[str, torch.Tensor]) -> str:
    name = f"arrays/{task.kind}-{task.key[:16]}.npz"
    temporary = folder.path / "arrays" / f".{task.key[:16]}.{os.getpid()}.npz"
    np.savez_compressed(temporary, **{k: t.numpy() for k, t in tensors.items()})  # type: ignore[arg-type]
    os.replace(temporary, folder.path / name)
    return name


def _repeats(store: Store, tasks: Sequence[Task], finished: Mapping[str, Task]) -> list[dict[str, Any]]:
    """Accuracies by data set, networks, attack and eps, with their values under each seed."""
    found: dict[tuple[str, str, str, str, float], dict[int, Row]] = {}
    for task in tasks:
        if task.kind not in ("clean", "score"):
            continue
        (row,) = read_rows(store, task.key).where(metric="accuracy")
        end = seed_suffix_of(row.target)
        for attack, eps in _attack_names(finished, task) if task.kind == "score" else {("", 0.0)}:
            address = (task.dataset, row.source.removesuffix(end), row.target.removesuffix(end), attack, eps)
            by_seed = found.setdefault(address, {})
            by_seed[seed_of(end)] = max(row, by_seed.get(seed_of(end), row), key=lambda one: one.n)
    return [_repeated(*address, dict(sorted(rows.items()))) for address, rows in found.items()]


def _repeated(dataset: str, source: str, target: str, attack: str, eps: float, rows: Mapping[int, Row]) -> dict[str, Any]:
    values = [row.value for row in rows.values()]
    mean, low, high = over_seeds(values, [row.low for row in rows.values()], [row.high for row in rows.values()])
    low, high = max(0.0, low), min(1.0, high)  # of two seeds Student's interval can leave what an accuracy can be
    about = {"dataset": dataset, "source": source, "target": target, "attack": attack, "eps": eps}
    return {**about, "seeds": list(rows), "values": values, "mean": mean, "low": low, "high": high, "n": min(row.n for row in rows.values())}


def _claims(folder: Folder, finished: Mapping[str, Task]) -> str:
    text = resources.files("qarmor.studies").joinpath("claims.toml").read_text(encoding="utf-8")
    return claims.verdicts_to_json(
        claims.evaluate(claims.read(text), measurements(folder, finished), {plan.dataset: plan.about["test"] for plan in folder.plans})
    )


def measurements(folder: Folder, finished: Mapping[str, Task]) -> list[claims.Measurement]:
    """What claims are about, one value an image: accuracies, clean and attacked, low-frequency shares, and others; of all seeds."""
    return [_of_its_seed(one) for key, task in finished.items() for one in _measurements(folder.store, key, task, finished)]


def _of_its_seed(measurement: claims.Measurement) -> claims.Measurement:
    """The measurement with the seed apart from the names of its networks."""
    end = seed_suffix_of(measurement.source) or seed_suffix_of(measurement.target)
    source, target = (name.removesuffix(end) for name in (measurement.source, measurement.target))
    return dataclasses.replace(measurement, source=source, target=target, seed=seed_of(end))


def _measurements(store: Store, key: str, task: Task, finished: Mapping[str, Task]) -> Iterator[claims.Measurement]:
    if task.kind in ("resources", "detect"):
        yield from collect_hardware.measurements(store, task)
    elif task.kind == "clean":
        yield _measured(store, key, task, "clean", "right", "", task.spec["target"])
        if noise := collect_hardware.noise_of(finished, task):
            base, kind, rate = noise
            yield _measured(store, key, task, "noisy_accuracy", "right", "", base, kind, rate)
    elif task.kind == "score":
        for attack, eps in _attack_names(finished, task):
            yield _measured(store, key, task, "accuracy", "right", task.spec["source"], task.spec["target"], attack, eps)
    elif task.kind == "perturbations":
        eps = finished[task.inputs["adversarials"]].spec["eps"]
        for attack, source in {tuple(role.split("|")) for _, role in task.roles}:
            yield _measured(store, key, task, "low_frequency_share", "shares", source, "", attack, eps)


def _attack_names(finished: Mapping[str, Task], task: Task) -> set[tuple[str, float]]:
    """The study's names of the attack behind a score, with eps."""
    crafted = finished.get(task.inputs["adversarials"])
    if crafted is None:
        return set()
    return {(role.split("|")[0], crafted.spec["eps"]) for _, role in crafted.roles}


def _measured(store: Store, key: str, task: Task, quantity: str, values: str, source: str, target: str, attack: str = "", eps: float = 0.0) -> Any:
    file = "perturbations.safetensors" if task.kind == "perturbations" else "predictions.safetensors"
    tensors = read_tensors(store.folder(key) / file)
    return claims.Measurement(
        task.dataset, quantity, source, target, attack, eps, tensors[values].to(torch.float64), tensors["index"].to(torch.int64)
    )
