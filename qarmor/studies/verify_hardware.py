"""Results of shots, certificates and detection, made again from what is stored."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from qarmor.evaluation.certificates import certified_rows, radii
from qarmor.evaluation.detection.detector import probabilities
from qarmor.evaluation.detection.observations import Observations
from qarmor.evaluation.detection.rates import evaluate_detection
from qarmor.evaluation.predict import predict
from qarmor.studies.folder import Folder
from qarmor.studies.task import Task
from qarmor.studies.tasks import hardware, score
from qarmor.studies.tasks.common import Job, dataset_of, read_network, read_tensors, test_images
from qarmor.types import Rows

_CLOSE = 1e-6  # probabilities of the same network on the same image, in another batch or by another processor

Found = tuple[int, list[str]]


def shots(folder: Folder, task: Task) -> Found:
    """Measured again with the same seed."""
    with tempfile.TemporaryDirectory() as name:
        hardware.measure_with_shots(Job(task, folder.store, Path(name), lambda text, fraction: None))
        made = Rows.from_json((Path(name) / "rows.json").read_text(encoding="utf-8"))
    return compared(folder, task, made)


def certificates(folder: Folder, task: Task) -> Found:
    """Radii are computed again; the stored attacks are judged again, and none may lie within a radius."""
    place, spec = task.context["source"], task.spec
    network = read_network(folder.store, task.inputs["network"], place)
    images = test_images(dataset_of(place, spec["data"]), spec["images"], task.dataset)
    stored = read_tensors(folder.store.folder(task.key) / "radii.safetensors")
    found = radii(hardware.forms_of(network), images.x.flatten(1), images.y)
    made = Rows()
    for certificate, each in found.in_linf.items():
        made += certified_rows(found, images, spec["target"], spec["eps"], certificate)
        if not torch.allclose(each, stored[certificate], rtol=1e-6, atol=1e-9):
            return len(made), [f"{task.label}: radii by {certificate} come out otherwise than stored"]
    rows, wrong = compared(folder, task, made)
    attacked = (stored["smallest"] > 0) & stored["smallest"].isfinite()
    norms = (stored["x"].double() - images.x.double()).flatten(1).abs().amax(1)
    right = predict(network, stored["x"]).argmax(1) == images.y
    if bad := int((attacked & (right | ((norms - stored["smallest"]).abs() > _CLOSE))).sum()):
        wrong.append(f"{task.label}: {bad} stored attacks do not fool the network at the eps that was written down")
    if inside := int((attacked & (found.linf_box >= stored["smallest"])).sum()):
        wrong.append(f"{task.label}: {inside} stored attacks lie within a certified radius")
    return rows, wrong


def detection(folder: Folder, task: Task) -> Found:
    """Both networks look at the stored images again, and every rate is computed from what they say."""
    place, at = task.context["source"], folder.store.folder(task.key)
    networks = [read_network(folder.store, task.inputs[which], place) for which in ("first", "second")]
    seen, wrong = {}, []
    for path in sorted(at.glob("*.safetensors")):
        tensors = read_tensors(path)
        x = tensors.pop("x")
        seen[path.stem] = Observations.from_tensors(tensors)
        said: Sequence[Tensor] = [probabilities(network, x) for network in networks]
        pairs = zip(said, (seen[path.stem].first, seen[path.stem].second), strict=True)
        if not all(torch.allclose(again, stored, rtol=0, atol=_CLOSE) for again, stored in pairs):
            wrong.append(f"{task.label}: the networks say something else of the images in {path.name} than was written down")
    attacked = [seen[name] for name in sorted(seen) if name.startswith("attacked-")]
    made = evaluate_detection(seen["clean"], attacked, seen["held-out"], false_positive_rate=task.spec["false_positive_rate"])
    rows, differ = compared(folder, task, made)
    return rows, [*wrong, *differ]


def compared(folder: Folder, task: Task, made: Rows) -> Found:
    """The number of stored rows of a task, and what differs in those that were made again."""
    stored = score.read_rows(folder.store, task.key)
    if len(stored) != len(made):
        return len(stored), [f"{task.label}: {len(stored)} rows are stored, {len(made)} come out"]
    wrong = []
    for old, new in zip(stored, made, strict=True):
        # as JSON, since NaN (no image to judge) equals itself there
        if Rows([replace(old, version="")]).to_json() != Rows([replace(new, version="", key=task.key)]).to_json():
            wrong.append(f"{task.label}: {old.metric} is stored as {old.successes} of {old.n}, and comes out as {new.successes} of {new.n}")
    return len(stored), wrong
