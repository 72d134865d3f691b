"""A task: one thing that is computed once and kept; and a plan, the tasks of one data set."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Task:
    """A pure function of ``spec`` and of the artefacts ``inputs``.

    Attributes:
        key: hash of kind, spec, keys of the inputs and fingerprint of the code.
        kind: e.g. ``"train"``.
        label: for people.
        spec: JSON values, all that the result depends on beside the inputs.
        inputs: keys of other tasks, by role.
        context: JSON values that it needs to run and the result does not depend on, e.g. where the data set is.
        dataset: name in the study.
        seconds, memory: estimates, of one core and in bytes.
        roles: where it is used: pairs of section and role.
    """

    key: str
    kind: str
    label: str
    spec: Mapping[str, Any]
    inputs: Mapping[str, str]
    context: Mapping[str, Any]
    dataset: str
    seconds: float
    memory: int
    roles: tuple[tuple[str, str], ...] = ()


@dataclass
class Plan:
    """The tasks of one data set, inputs before what needs them; ``about`` says what the report needs to know of data set and networks."""

    dataset: str
    about: dict[str, Any]
    tasks: dict[str, Task] = field(default_factory=dict)

    def add(self, task: Task, section: str, role: str = "") -> Task:
        """Put a task in, or note a further use of it."""
        kept = self.tasks.get(task.key, task)
        use = (section, role)
        self.tasks[task.key] = kept if use in kept.roles else dataclasses.replace(kept, roles=(*kept.roles, use))
        return self.tasks[task.key]

    def to_json(self) -> str:
        """JSON text."""
        return json.dumps({"dataset": self.dataset, "about": self.about, "tasks": [dataclasses.asdict(t) for t in self.tasks.values()]})

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """What ``to_json`` wrote."""
        value = json.loads(text)
        tasks = [Task(**{**t, "roles": tuple((a, b) for a, b in t["roles"])}) for t in value["tasks"]]
        return cls(value["dataset"], value["about"], {t.key: t for t in tasks})
