"""What the page needs of an overview, gathered from the store."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from qarmor.studies import sections
from qarmor.studies.store import Store
from qarmor.studies.task import Task
from qarmor.studies.tasks.common import read_tensors

Entry = dict[str, Any]
Kept = Callable[[Task, Mapping[str, Tensor]], str]


def entries(store: Store, section: sections.Overview, here: Sequence[tuple[Task, str]], keep: Kept) -> Entry:
    """The section's fields, from its finished tasks and their roles; ``keep`` writes a task's arrays and says where they are."""
    made = [(task, role, store.folder(task.key) / "architecture.json") for task, role in here if task.kind == "architecture"]
    return {
        "source": section.source,
        "attack": section.attack,
        "eps": section.eps,
        "entries": [_pictures(store, task, keep) for task, _ in here if task.kind == "pictures"],
        "architectures": [{"dataset": t.dataset, "network": role, **json.loads(path.read_text(encoding="utf-8"))} for t, role, path in made],
    }


def _pictures(store: Store, task: Task, keep: Kept) -> Entry:
    tensors = read_tensors(store.folder(task.key) / "pictures.safetensors")
    index, label, before, after = tensors["example"].tolist()
    arrays = keep(task, {name: tensors[name] for name in ("images", "clean", "adversarial")})
    example = {"index": index, "label": label, "before": before, "after": after}
    return {"dataset": task.dataset, "labels": tensors["labels"].tolist(), "example": example, "arrays": arrays}
