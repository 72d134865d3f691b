"""A study's results, made again from what is stored: sums of all artefacts, and every row from stored images and weights."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from qarmor.studies import verify_gallery, verify_hardware, verify_overview
from qarmor.studies.folder import Folder
from qarmor.studies.store import Damaged, StoreError
from qarmor.studies.task import Task
from qarmor.studies.tasks import score
from qarmor.studies.tasks.common import Job, read_network
from qarmor.studies.tasks.craft import read_adversarials
from qarmor.studies.threads import pinned
from qarmor.types import Rows

_TOLERANCE = 1e-6  # what stored adversarial images may leave their ball and box by

_AGAIN = {
    "shots": verify_hardware.shots,
    "certify": verify_hardware.certificates,
    "detect": verify_hardware.detection,
    "gallery": verify_gallery.looks,
    "pictures": verify_overview.made_again,
    "architecture": verify_overview.made_again,
}


@dataclass(frozen=True)
class Verified:
    """What was looked at, and what was wrong: one line each."""

    artefacts: int
    unfinished: int
    rows: int
    crafted: int
    problems: tuple[str, ...]


def verify(folder: Folder, on_progress: Callable[[int, int, str], None]) -> Verified:
    """Recompute every row of a study that is there.

    A row is wrong if any count, value or interval differs; adversarial images are wrong if they leave the ball or the box, or if their source
    says something else of them than was stored. On another machine than the one that made them, rounding may flip single images.
    """
    store = folder.store
    problems: list[str] = []
    sound: dict[str, Task] = {}
    tasks = [task for plan in folder.plans for task in plan.tasks.values() if store.folder(task.key).exists()]
    for number, task in enumerate(tasks, start=1):
        try:
            store.check(task.key)
            sound[task.key] = task
        except Damaged as error:
            problems.append(f"{task.label}: {error.strerror}")
        on_progress(number, len(tasks), "artefacts checked")
    again = []
    for task in sound.values():
        if gone := [key for key in task.inputs.values() if key not in sound]:
            problems.append(f"{task.label}: cannot be recomputed, since artefact {gone[0][:12]}, which it was made from, is not there or damaged")
        elif task.kind in ("clean", "score", "craft", *_AGAIN):
            again.append(task)
    rows = crafted = 0
    for number, task in enumerate(again, start=1):
        with pinned(task.spec.get("threads", 1)):
            try:
                if task.kind == "craft":
                    crafted += 1
                    problems += _crafted(folder, task)
                else:
                    found, wrong = _AGAIN.get(task.kind, _judged)(folder, task)
                    rows += found
                    problems += wrong
            except (ValueError, TypeError, OSError, RuntimeError) as error:
                text = error.strerror if isinstance(error, StoreError) else str(error)
                problems.append(f"{task.label}: cannot be recomputed: {text}")
        on_progress(number, len(again), "results recomputed")
    unfinished = sum(len(plan.tasks) for plan in folder.plans) - len(tasks)
    return Verified(len(tasks), unfinished, rows, crafted, tuple(problems))


def _crafted(folder: Folder, task: Task) -> list[str]:
    adversarials = read_adversarials(folder.store, task.key, "source", task.dataset, task.context["source"])
    images, wrong = adversarials.images, []
    excess = float((adversarials.x - images.x).abs().max()) - adversarials.eps
    if not excess <= _TOLERANCE:
        wrong.append(f"{task.label}: stored images leave the ball of eps {adversarials.eps:g} by {excess:.3g}")
    if not (float(adversarials.x.min()) >= 0 and float(adversarials.x.max()) <= 1):
        wrong.append(f"{task.label}: stored images leave the box [0, 1]")
    from qarmor.evaluation.predict import predict

    said = predict(read_network(folder.store, task.inputs["source"], task.context["source"]), adversarials.x).argmax(1)
    if differ := int((said != adversarials.source_adversarial_predictions).sum()):
        wrong.append(f"{task.label}: the source says something else of {differ} of {len(said)} stored images than was written down")
    return wrong


def _judged(folder: Folder, task: Task) -> tuple[int, list[str]]:
    with tempfile.TemporaryDirectory() as name:
        job = Job(task, folder.store, Path(name), lambda text, fraction: None)
        (score.judge_clean if task.kind == "clean" else score.judge_attacked)(job)
        made = Rows.from_json((Path(name) / "rows.json").read_text(encoding="utf-8"))
    return verify_hardware.compared(folder, task, made)
