"""What tasks share: reading data sets and made networks, kept in memory between the tasks of a process, and writing tensors."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
from torch import Tensor, nn

from qarmor import attacks, data, models
from qarmor.studies.digests import content_digest
from qarmor.types import Attack, Dataset, Images, frozen

if TYPE_CHECKING:  # how tasks are kept and planned doesn't change what they compute, so it is no part of their fingerprint
    from qarmor.studies.store import Store
    from qarmor.studies.task import Task

Say = Callable[[str, float], None]
_KEPT_NETWORKS = 12

_datasets: dict[tuple[str, str], Dataset] = {}
_networks: OrderedDict[tuple[str, str], nn.Module] = OrderedDict()


@dataclass(frozen=True)
class Job:
    """A task that is being done: where its inputs are, where its files go, and whom it tells how far it is."""

    task: Task
    store: Store
    folder: Path
    say: Say

    @property
    def spec(self) -> Mapping[str, Any]:
        """The task's spec."""
        return self.task.spec


def dataset_of(source: str, digest: str) -> Dataset:
    """The data set at ``source``, if it is the one that the task was planned for.

    Raises:
        ValueError: its content is another.
    """
    if (source, digest) not in _datasets:
        dataset = data.load(source)
        if content_digest(dataset) != digest:
            raise ValueError(f"data set {source!r} is not the one that this result was planned for: its content has changed; run the study again")
        _datasets.clear()  # one at a time: they are large
        _datasets[source, digest] = dataset
    return _datasets[source, digest]


def dataset_for(job: Job) -> Dataset:
    """The data set of a task whose spec names its digest."""
    return dataset_of(job.task.context["source"], job.spec["data"])


def test_images(dataset: Dataset, images: Mapping[str, Any], name: str) -> Images:
    """The test images that ``images`` describes, named after the data set's name in the study."""
    test = dataset.test if images["n"] is None else dataset.test.subset(images["n"], images["seed"])
    return Images(test.x, test.y, test.index, f"{name}/test")


def build_attack(entry: Mapping[str, Any]) -> Attack:
    """The attack that a spec describes."""
    return attacks.build(entry["build"], **entry["options"])


def save_network(model: nn.Module, job: Job) -> None:
    """Write a network: ours with its record, other people's as weights for their factory."""
    spec = job.spec
    if isinstance(model, models.Network):
        recipe = {**spec["recipe"], "name": job.task.context.get("recipe", "")} if "recipe" in spec else None
        models.save(model, job.folder / "network.safetensors", recipe=recipe, seed=spec.get("seed"), threads=spec["threads"])
        return
    made = {"model": job.task.context["model"]} if job.task.kind == "import" else {k: spec[k] for k in ("network", "options", "seed")}
    write_json(job.folder / "factory.json", made)
    write_tensors(job.folder / "weights.safetensors", dict(model.state_dict()))


def read_network(store: Store, key: str, place: str) -> nn.Module:
    """A made network, frozen, from the store; ``place`` is where its data set is. The artefact is checked first."""
    at = (str(store.root), key)
    if at not in _networks:
        store.check(key)
        _networks[at] = frozen(load_network(store.folder(key), place))
        while len(_networks) > _KEPT_NETWORKS:
            _networks.popitem(last=False)
    _networks.move_to_end(at)
    return _networks[at]


def load_network(folder: Path, place: str) -> nn.Module:
    """The network of an artefact's folder as it was trained, not frozen; ``place`` is where its data set is."""
    if (folder / "network.safetensors").exists():
        return models.load(folder / "network.safetensors")
    made = json.loads((folder / "factory.json").read_text(encoding="utf-8"))
    ready = "model" in made
    module = models.load(made["model"]) if ready else models.build(made["network"], data.load(place), seed=made["seed"], **made["options"])
    module.load_state_dict(safetensors.torch.load_file(folder / "weights.safetensors"))
    return module.eval()


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Tensors as safetensors, each with memory of its own."""
    plain = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    path.write_bytes(safetensors.torch.save(plain))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """What ``write_tensors`` wrote."""
    return safetensors.torch.load(path.read_bytes())


def write_json(path: Path, value: object) -> None:
    """A value as JSON text."""
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
