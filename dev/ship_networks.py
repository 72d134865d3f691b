"""Put the networks of a study into the package: weights, and the index with what was measured of them.

    qarmor export runs/west2023-quick docs/results/west2023-quick
    QARMOR_DATA=... python dev/ship_networks.py docs/results/west2023-quick runs/west2023-quick

RESULTS says which networks there are, how they were trained, and how accurate they are; the study's store has them: both must be of the same run.
Not all of them were attacked in the study, so each is attacked here, all in the same way. What is written for a data set takes the place of what was
shipped of it before. Larger files than ``--largest`` are left out, and said so.
"""

import argparse
import csv
import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from qarmor import attacks, data, evaluation, models
from qarmor.models.shipped import FOLDER, Measured, Shipped
from qarmor.studies import folder as folders
from qarmor.studies.store import Manifest, Store
from qarmor.types import Dataset

ATTACK: dict[str, Any] = {"build": "pgd", "options": {"steps": 40, "loss": "margin"}, "images": {"n": 250, "seed": 0}, "seed": 0}
RADII = (0.05, 0.1)
LARGEST = 1_000_000


def main(arguments: list[str] | None = None) -> None:
    """Parse the arguments, ship, and print what was done and what was left out."""
    parser = argparse.ArgumentParser(description="Put the networks of a study into the package.")
    parser.add_argument("results", type=Path, help="folder that `qarmor export` wrote")
    parser.add_argument("study", type=Path, help="folder of the study, with its store")
    parser.add_argument("--to", type=Path, default=FOLDER, help="folder to write into; that of the package by default")
    parser.add_argument("--largest", type=int, default=LARGEST, help="bytes of the largest network that is shipped")
    given = parser.parse_args(arguments)
    ship(given.results, given.study, given.to, given.largest)


def ship(results: Path, study: Path, to: Path, largest: int = LARGEST) -> None:
    """Write the networks of ``results`` that lie in the store of ``study`` into ``to``, and ``to/index.json``.

    Raises:
        ValueError: no networks in ``results``, or one whose artefacts are not in the store.
        OSError: a folder cannot be read or written.
    """
    opened = folders.read(study)
    files = sorted(results.glob("networks-*.csv"))
    if not files:
        raise ValueError(f"{results} holds no networks-*.csv: give a folder that `qarmor export` wrote")
    made: dict[str, list[dict[str, Any]]] = {}
    for dataset in sorted((path.stem.removeprefix("networks-") for path in files), key=_order(opened)):
        loaded = data.load(opened.study.datasets[dataset].source or dataset)
        found = [_shipped(opened, dataset, loaded, entry, to, largest) for entry in _read(results / f"networks-{dataset}.csv")]
        made[dataset] = [asdict(network) for network in found if network is not None]
    index = to / "index.json"
    before = json.loads(index.read_text(encoding="utf-8")) if index.exists() else []
    kept = [entry for entry in before if entry["name"].split("/")[0] not in made]
    entries = kept + [entry for each in made.values() for entry in each]
    index.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    for path in sorted(to.rglob("*.safetensors")):
        if path.relative_to(to).as_posix().removesuffix(".safetensors") not in {entry["name"] for entry in entries}:
            path.unlink()
    print(f"{to}: {len(entries)} networks, {sum(p.stat().st_size for p in to.rglob('*.safetensors')) / 1e6:.2f} MB")


def _order(opened: folders.Folder) -> Any:
    names = list(opened.study.datasets)
    return lambda name: names.index(name) if name in names else len(names)


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _shipped(opened: folders.Folder, name: str, dataset: Dataset, entry: dict[str, str], to: Path, largest: int) -> Shipped | None:
    """Write one network of data set ``name``; None, with a line that says why, if it is left out."""
    name = f"{name}/{entry['name']}"
    if not entry["clean"]:
        print(f"{name}: left out, its clean accuracy was not measured")
        return None
    manifest = _manifest(opened.store, entry["key"])
    weights = opened.store.folder(manifest.key) / "network.safetensors"
    if manifest.kind != "train" or not weights.exists():
        print(f"{name}: left out, it is ready-made or someone else's")
        return None
    if (size := weights.stat().st_size) > largest:
        print(f"{name}: left out, {size / 1e6:.1f} MB")
        return None
    spec = manifest.spec
    n = int(entry["clean_n"])
    clean = Measured(0.0, round(float(entry["clean"]) * n), n, float(entry["clean_low"]), float(entry["clean_high"]))
    path = to / f"{name}.safetensors"
    recipe = {**spec["recipe"], "name": entry["recipe_name"], "network": spec["options"]}
    about = {"dataset": name.split("/")[0], "seed": spec["seed"], "accuracy": clean.value, "threads": spec["threads"]}
    models.save(models.load(weights), path, recipe=recipe, **about)
    path.chmod(0o644)  # a temporary file, which it was, is its owner's only
    preset = f" --preset {opened.asked.preset}" if opened.asked.preset else ""
    network = Shipped(
        name=name,
        architecture=entry["architecture"],
        parameters=int(entry["parameters"]),
        recipe=f"{entry['recipe_name']}: {entry['recipe']}",
        clean=clean,
        robust=tuple(attacked(models.load(path), dataset, eps) for eps in RADII),
        attack=ATTACK,
        command=f"qarmor run {opened.asked.name}{preset} --only {name.split('/')[0]}",
        made=manifest.made["started"][:10],
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )
    print(f"{name}: clean {clean.value:.4f}, attacked {', '.join(f'{each.value:.3f} at eps {each.eps:g}' for each in network.robust)}")
    return network


def attacked(model: nn.Module, dataset: Dataset, eps: float) -> Measured:
    """Accuracy of a network under ``ATTACK`` on itself; of all test images, if they are fewer than it asks for."""
    images = dataset.test.subset(min(ATTACK["images"]["n"], len(dataset.test)), ATTACK["images"]["seed"])
    made = evaluation.craft({"network": model}, images, attacks.build(ATTACK["build"], **ATTACK["options"]), eps, ATTACK["seed"])
    row = evaluation.score({"network": model}, made).where(metric="accuracy")[0]
    return Measured(eps, row.successes, row.n, row.low, row.high)


def _manifest(store: Store, start: str) -> Manifest:
    """The checked manifest of the artefact whose key starts so: exported keys are cut to 12 characters."""
    found = list((store.root / "objects" / start[:2]).glob(f"{start}*"))
    if len(found) != 1:
        raise ValueError(f"the store {store.root} has no artefact {start}: give the study that RESULTS were exported from")
    return store.check(found[0].name)


if __name__ == "__main__":
    main()
