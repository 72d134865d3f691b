"""The gallery, made again from stored images and networks."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from qarmor.studies.folder import Folder
from qarmor.studies.task import Task
from qarmor.studies.tasks import gallery
from qarmor.studies.tasks.common import Job, read_tensors
from qarmor.studies.verify_hardware import Found

_CLOSE = 1e-5  # probabilities of the same network on the same image, by another processor


def looks(folder: Folder, task: Task) -> Found:
    """Every network looks at the images again, and the pictures are drawn again. There are no rows."""
    with tempfile.TemporaryDirectory() as name:
        gallery.show(Job(task, folder.store, Path(name), lambda text, fraction: None))
        made = read_tensors(Path(name) / gallery.FILE)
    stored, wrong = read_tensors(folder.store.folder(task.key) / gallery.FILE), []
    for what, new in made.items():
        old = stored[what]
        if old.shape != new.shape or old.dtype != new.dtype:
            wrong.append(f"{task.label}: {what} is stored as {old.dtype} {tuple(old.shape)}, and comes out as {new.dtype} {tuple(new.shape)}")
        elif not torch.allclose(new, old, rtol=0, atol=_CLOSE if what == "probabilities" else 0):
            worst = float((new.double() - old.double()).abs().max())
            wrong.append(f"{task.label}: {what} comes out otherwise than stored, by up to {worst:.3g}")
    return 0, wrong
