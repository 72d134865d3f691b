"""A task: one thing that is computed once and kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
