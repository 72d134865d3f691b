"""Networks are judged, on clean and on adversarial images."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from qarmor.evaluation.flags import flag
from qarmor.evaluation.predict import Network, prepare
from qarmor.evaluation.score import clean_rows, judge
from qarmor.studies.tasks.common import Job, dataset_for, read_network, read_tensors, test_images, write_tensors
from qarmor.studies.tasks.craft import read_adversarials
from qarmor.types import Images, Rows

if TYPE_CHECKING:
    from qarmor.studies.store import Store


def judge_clean(job: Job) -> dict[str, Any]:
    """Rows of a ``clean`` task, and what the network said of every image."""
    spec = job.spec
    module = read_network(job.store, job.task.inputs["target"], job.task.context["source"]).to(torch.device(spec["device"]))
    images = test_images(dataset_for(job), spec["images"], spec["dataset"])
    network = prepare(spec["target"], module, images)
    _write(job, flag(clean_rows([network], images)), images, network.clean_predictions, network.classes)
    return {}


def judge_attacked(job: Job) -> dict[str, Any]:
    """Rows of a ``score`` task, and what the network said of every image."""
    spec, inputs = job.spec, job.task.inputs
    module = read_network(job.store, inputs["target"], job.task.context["source"]).to(torch.device(spec["device"]))
    adversarials = read_adversarials(job.store, inputs["adversarials"], spec["source"], spec["dataset"], job.task.context["source"])
    job.store.check(inputs["clean"])
    clean = read_tensors(job.store.folder(inputs["clean"]) / "predictions.safetensors")
    network = Network(spec["target"], module, int(clean["classes"]), clean["predictions"].to(torch.int64))
    rows, predictions = judge(network, adversarials)
    _write(job, rows, adversarials.images, predictions, network.classes)
    return {}


def _write(job: Job, rows: Rows, images: Images, predictions: torch.Tensor, classes: int) -> None:
    write_rows(job, rows)
    tensors = {
        "index": images.index.to(torch.int32),
        "right": predictions.cpu() == images.y.cpu(),
        "predictions": predictions.to(torch.int16),
        "classes": torch.tensor(classes, dtype=torch.int16),
    }
    write_tensors(job.folder / "predictions.safetensors", tensors)


def write_rows(job: Job, rows: Rows) -> None:
    """The rows of a task, with its key."""
    keyed = Rows(replace(row, key=job.task.key) for row in rows)
    (job.folder / "rows.json").write_text(keyed.to_json(), encoding="utf-8")


def read_rows(store: Store, key: str) -> Rows:
    """The rows that ``write_rows`` wrote."""
    return Rows.from_json((store.folder(key) / "rows.json").read_text(encoding="utf-8"))
