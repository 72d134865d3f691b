"""Pictures and architectures, made again from what is stored."""

from __future__ import annotations

import tempfile
from pathlib import Path

from qarmor.studies.folder import Folder
from qarmor.studies.task import Task
from qarmor.studies.tasks import overview
from qarmor.studies.tasks.common import Job


def made_again(folder: Folder, task: Task) -> tuple[int, list[str]]:
    """No rows, and which of the files come out otherwise."""
    with tempfile.TemporaryDirectory() as name:
        job = Job(task, folder.store, Path(name), lambda text, fraction: None)
        (overview.pictures if task.kind == "pictures" else overview.architecture)(job)
        at = folder.store.folder(task.key)
        differ = [path.name for path in sorted(Path(name).iterdir()) if path.read_bytes() != (at / path.name).read_bytes()]
    return 0, [f"{task.label}: {name} comes out otherwise than stored" for name in differ]
