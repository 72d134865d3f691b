"""The folder of a study: what was asked for, the plans by data set, and where the store is."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from qarmor.studies.spec import Study
from qarmor.studies.store import Store, digest, in_words, replace_text
from qarmor.studies.task import Plan

_FILE = "study.json"


@dataclass(frozen=True)
class Asked:
    """What was asked for.

    Attributes:
        name: of the study: declared, or of its file without folder and suffix.
        preset: of the study, if any.
        command: that was typed last.
        study: the resolved study, JSON values.
        store: folder of the store, relative to the study's folder.
        machine, versions: of the runner.
    """

    name: str
    preset: str | None
    command: str
    study: dict[str, Any]
    store: str = "store"
    machine: str = field(default_factory=lambda: f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}")
    versions: dict[str, str] = field(
        default_factory=lambda: {"python": platform.python_version(), **{m: version(m) for m in ("qarmor", "torch", "numpy", "numba")}}
    )


@dataclass(frozen=True)
class Folder:
    """A study's folder, opened."""

    path: Path
    asked: Asked
    study: Study
    plans: tuple[Plan, ...]

    @property
    def store(self) -> Store:
        """Its store."""
        return Store(self.path / self.asked.store)


def write(path: Path, asked: Asked, plans: dict[str, Plan]) -> None:
    """Keep what was asked for and the plans; plans of other data sets that are there stay.

    Raises:
        ValueError: the folder holds another study, or this one with another preset.
        StoreError: it cannot be written.
    """
    if (path / _FILE).exists():
        there = _asked(path)
        if (there.name, there.preset) != (asked.name, asked.preset):
            kept = f"study {there.name!r}" + (f" with preset {there.preset}" if there.preset else "")
            raise ValueError(f"--out {path}: it holds {kept}; give another folder to this one")
    with in_words(path):
        (path / "plan").mkdir(parents=True, exist_ok=True)
        for name, plan in plans.items():
            replace_text(plan_file(path, name), _sealed(json.loads(plan.to_json())))
        replace_text(path / _FILE, _sealed(asdict(asked)))


def read(path: Path) -> Folder:
    """Open a study's folder.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it cannot be read.
    """
    if not (path / _FILE).is_file():
        raise FileNotFoundError(f"{path} is not the folder of a study (it has no {_FILE}); give one that `qarmor run` wrote")
    asked = _asked(path)
    try:
        study = Study.model_validate(asked.study)
        order = {name: number for number, name in enumerate(study.datasets)}
        plans = [Plan.from_json(json.dumps(_opened(file))) for file in (path / "plan").glob("*.json")]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: its plan cannot be read ({str(error).splitlines()[0]}); run the study again, results are kept") from error
    here = sorted((p for p in plans if p.dataset in order), key=lambda p: order[p.dataset])
    return Folder(path, asked, study, tuple(here))


def plan_file(path: Path, dataset: str) -> Path:
    """Where the plan of a data set is."""
    return path / "plan" / f"{dataset}.json"


def _sealed(entries: dict[str, Any]) -> str:
    """JSON text with the sum of itself, in the order given: that of a study's sections is the report's."""
    return json.dumps({**entries, "sum": digest(entries)}, indent=1)


def _opened(path: Path) -> dict[str, Any]:
    """What ``_sealed`` wrote there. Raises ValueError if a bit of it was changed."""
    text = path.read_text(encoding="utf-8")
    entries: dict[str, Any] = json.loads(text)
    entries.pop("sum", None)
    if text != _sealed(entries):
        raise ValueError(f"{path.name} was changed after it was written")
    return entries


def _asked(path: Path) -> Asked:
    try:
        return Asked(**_opened(path / _FILE))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path / _FILE} cannot be read ({error}); delete it and run the study again, results are kept") from error
