"""What is small enough for version control, or for a paper's supplement: rows, networks, claims, figures, weights of quantum networks."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from qarmor import models
from qarmor.studies import collect
from qarmor.studies.folder import Folder
from qarmor.studies.store import Store, in_words
from qarmor.studies.task import Task
from qarmor.types import Row

_FIELDS = ("source", "target", "attack", "parameters", "eps", "metric", "value", "successes", "n", "low", "high", "majority", "seed", "key", "flags")
_NETWORK_FIELDS = (
    *("name", "dataset", "architecture", "parameters", "recipe_name", "recipe", "epochs", "train_images", "seconds", "key"),
    *("clean", "clean_low", "clean_high", "clean_n"),
)


def export(folder: Folder, target: Path, figures: list[str], *, weights: bool = True) -> None:
    """Write into ``target``: by data set ``rows``, ``networks`` and ``claims``, ``figures/`` that match a pattern (all, if none), and with
    ``weights`` those of the quantum networks.

    The page of the study must have been written. Keys are cut to 12 characters; attacks are named as in the study, and ``parameters`` are what such a
    name doesn't say, as JSON: those of detectors, shots and certificates.

    Raises:
        StoreError: ``target`` cannot be written.
    """
    finished = collect.done(folder)
    results = json.loads((folder.path / "results.json").read_text(encoding="utf-8"))
    with in_words(target):
        (target / "figures").mkdir(parents=True, exist_ok=True)
        labels = _attack_labels(folder)
        rows = collect.rows(folder, finished)
        for plan in folder.plans:
            some = [row for row in rows if row.dataset == f"{plan.dataset}/test"]
            if not some:
                continue
            (target / f"rows-{plan.dataset}.csv").write_text(_csv(some, labels), encoding="utf-8")
            networks = [entry for entry in results["networks"] if entry["dataset"] == plan.dataset]
            (target / f"networks-{plan.dataset}.csv").write_text(_networks(networks), encoding="utf-8")
            if folder.study.claims:
                verdicts = json.loads((folder.path / "claims.json").read_text(encoding="utf-8"))
                about = [verdict for verdict in verdicts if verdict["dataset"] == plan.dataset]
                (target / f"claims-{plan.dataset}.json").write_text(json.dumps(about, indent=0), encoding="utf-8")
        for path in sorted((folder.path / "figures").glob("*.svg")):
            if not figures or any(fnmatch(path.name, pattern) for pattern in figures):
                shutil.copy(path, target / "figures" / path.name)
        for entry in results["networks"]:
            if weights and entry["kind"] == "quantum" and entry["key"] in finished:
                path = target / "weights" / entry["dataset"] / f"{entry['name']}.safetensors"
                save_network(folder.store, finished[entry["key"]], path, dataset=entry["dataset"], accuracy=entry["clean"])


def _attack_labels(folder: Folder) -> dict[str, str]:
    return {
        json.dumps([entry["name"], entry["parameters"]], sort_keys=True): name
        for plan in folder.plans
        for name, entry in plan.about["attacks"].items()
    }


def _csv(rows: list[Row], labels: Mapping[str, str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_FIELDS)
    for row in rows:
        known = labels.get(json.dumps([row.attack, dict(row.parameters)], sort_keys=True))
        parameters = json.dumps(dict(row.parameters), sort_keys=True) if known is None and row.parameters else ""
        shown: dict[str, Any] = {"attack": known or row.attack, "parameters": parameters, "key": row.key[:12], "flags": " ".join(row.flags)}
        values = [shown.get(name, getattr(row, name)) for name in _FIELDS]
        writer.writerow(
            ["" if v is None else f"{v:.4f}" if isinstance(v, float) and name != "eps" else v for name, v in zip(_FIELDS, values, strict=True)]
        )
    return text.getvalue()


def _networks(entries: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_NETWORK_FIELDS)
    for entry in entries:
        shown = {**entry, "key": entry["key"][:12]}
        writer.writerow(["" if shown[name] is None else shown[name] for name in _NETWORK_FIELDS])
    return text.getvalue()


def save_network(store: Store, task: Task, path: Path, *, dataset: str, accuracy: float | None) -> None:
    """Write a made network of ours to ``path``, with a record of its training; a ready-made one as it is."""
    made = store.folder(task.key) / "network.safetensors"
    if task.kind == "import":
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(made, path)
        return
    recipe = {**task.spec["recipe"], "name": task.context["recipe"], "network": task.spec["options"]}
    about = {"dataset": dataset, "seed": task.spec["seed"], "accuracy": accuracy, "threads": task.spec["threads"]}
    models.save(models.load(made), path, recipe=recipe, **about)
