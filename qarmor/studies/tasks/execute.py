"""One task, done under its lock: in this process, whoever asked."""

from __future__ import annotations

import json
import os
import platform
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from qarmor.studies.store import Damaged, Store, StoreError
from qarmor.studies.task import Task
from qarmor.studies.tasks import craft, detect, gallery, hardware, overview, score, show, train
from qarmor.studies.tasks.common import Job
from qarmor.studies.threads import pinned
from qarmor.types import CODE_VERSION

DO: Mapping[str, Callable[[Job], Mapping[str, Any]]] = {
    "train": train.train,
    "import": train.take,
    "craft": craft.craft_images,
    "score": score.judge_attacked,
    "clean": score.judge_clean,
    "perturbations": show.perturbations,
    "probabilities": show.probabilities,
    "gallery": gallery.show,
    "resources": show.resources,
    "pictures": overview.pictures,
    "architecture": overview.architecture,
    "noise": hardware.add_noise,
    "shots": hardware.measure_with_shots,
    "certify": hardware.certify,
    "detect": detect.detect,
}
_SAY_EVERY = 0.5  # seconds
_one_at_a_time = threading.Lock()  # random generators, numbers of threads and caches belong to the process


@dataclass(frozen=True)
class Outcome:
    """What became of a task. ``busy``: another process is doing it. ``log``: the traceback of a failure; ``error``: its one line.

    ``fatal``: the store cannot be written, so no other task can be done either. ``damaged``: key of an input that has to be made again.
    ``notes``: warnings.
    """

    key: str
    status: Literal["made", "there", "busy", "failed"]
    seconds: float = 0.0
    error: str = ""
    log: str = ""
    fatal: bool = False
    damaged: str = ""
    notes: tuple[str, ...] = ()


def execute(root: str, task: Task, label: str = "") -> Outcome:
    """Do ``task`` unless its artefact is there or another process is doing it; failures are returned, not raised.

    Args:
        root: folder of the store, the same for every process.
        task: its inputs are there.
        label: of the process that does it, for the manifest.
    """
    store = Store(Path(root))
    began = time.monotonic()
    try:
        with store.lock(task.key) as free:
            if not free:
                return Outcome(task.key, "busy")
            if store.has(task.key):
                return Outcome(task.key, "there")
            store.note(task.key, "begun")
            with _one_at_a_time, warnings.catch_warnings(record=True) as caught, pinned(task.spec.get("threads", 1)):
                _write(store, task, label)
            store.note(task.key, "made")
        notes = tuple(dict.fromkeys(" ".join(str(warning.message).split()) for warning in caught))
        return Outcome(task.key, "made", time.monotonic() - began, notes=notes)
    except Exception as error:  # whatever a task raises must not stop the others
        with suppress(OSError):
            store.progress_file(task.key).unlink(missing_ok=True)
        text = " ".join(str(error.strerror if isinstance(error, StoreError) else error).split()) or type(error).__name__
        fatal = isinstance(error, StoreError) and not isinstance(error, Damaged)
        damaged = error.key if isinstance(error, Damaged) else ""
        return Outcome(task.key, "failed", time.monotonic() - began, text, traceback.format_exc(), fatal, damaged)


def _write(store: Store, task: Task, label: str) -> None:
    began, started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    say = _teller(store, task)
    say("starting", 0.0)

    def fill(folder: Path) -> dict[str, Any]:
        extra = DO[task.kind](Job(task, store, folder, say))
        return {
            **extra,
            "label": task.label,
            "started": started,
            "seconds": round(time.monotonic() - began, 3),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
            "by": label or f"{platform.node()}, process {os.getpid()}",
            "versions": {"qarmor": CODE_VERSION, "python": platform.python_version(), **{m: version(m) for m in ("torch", "numpy", "numba")}},
        }

    store.write(task.key, task.kind, task.spec, task.inputs, fill)


def _teller(store: Store, task: Task) -> Callable[[str, float], None]:
    """Writes how far a task is into a small file, now and then, and each new stage (what stands before a comma) into the journal.

    A disk that cannot take it is not this function's business.
    """
    last, stage = -_SAY_EVERY, ""
    path = store.progress_file(task.key)

    def say(text: str, fraction: float) -> None:
        nonlocal last, stage
        if (now := text.partition(",")[0]) != stage:
            stage = now
            store.note(task.key, stage)
        if time.monotonic() - last < _SAY_EVERY:
            return
        last = time.monotonic()
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            temporary.write_text(json.dumps({"label": task.label, "text": text, "fraction": fraction, "at": time.time()}), encoding="utf-8")
            os.replace(temporary, path)
        except OSError:
            temporary.unlink(missing_ok=True)

    return say
