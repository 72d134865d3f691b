"""Runs the tasks of a plan: what is ready goes to a backend, which does it in this process or on Dask's workers; results are in the store.

A task that fails does not stop the others; whatever needs it is left out. A task that another runner is doing is asked about again later.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Protocol

from qarmor.studies.store import Store, StoreError
from qarmor.studies.task import Task
from qarmor.studies.tasks.execute import Outcome, execute

log = logging.getLogger("qarmor.engine")
_ASK_AGAIN = 1.0  # seconds until a task that another process is doing is tried again
_REMAKES = 3  # times that a task goes back because an input was damaged meanwhile


class EngineError(RuntimeError):
    """The engine cannot go on; what was finished is in the store."""


class Backend(Protocol):
    """Where tasks are done."""

    @property
    def slots(self) -> int:
        """How many tasks it does at once."""

    def submit(self, task: Task) -> None:
        """Begin a task."""

    def collect(self, timeout: float) -> list[Outcome]:
        """What has finished; waits up to ``timeout`` seconds for something. Raises EngineError if nothing can come any more."""


class Inline:
    """Does tasks in this process, one after the other."""

    slots = 1

    def __init__(self, root: Path) -> None:
        self._root, self._waiting = root, list[Task]()

    def submit(self, task: Task) -> None:
        """Put it in line."""
        self._waiting.append(task)

    def collect(self, timeout: float) -> list[Outcome]:
        """Do what is in line."""
        if not self._waiting:
            time.sleep(timeout)
            return []
        return [execute(str(self._root), self._waiting.pop(0))]


@dataclass
class State:
    """Where a run stands; read by the display from another thread."""

    total: int
    there: int = 0
    done: int = 0
    failed: dict[str, Outcome] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    running: dict[str, Task] = field(default_factory=dict)
    remaining: float = 0.0
    slots: int = 1
    estimated: float = 0.0
    spent: float = 0.0

    @property
    def factor(self) -> float:
        """How much longer tasks take than estimated, from those finished."""
        return (self.spent + 5.0) / (self.estimated + 5.0)


class Run:
    """One run over ``tasks``; all that are in it are made, ``first`` before the others where there is a choice."""

    def __init__(
        self, tasks: Mapping[str, Task], store: Store, logs: Path, *, first: Iterable[str] = (), only_needed: bool = False, noted: Iterable[str] = ()
    ) -> None:
        self.tasks, self.store, self.logs = tasks, store, logs
        self.first = set(first)
        self.goals = set(self.first) if only_needed else set(tasks)
        self.priority = _critical_paths(tasks)
        self.users: dict[str, list[str]] = {key: [] for key in tasks}
        for task in tasks.values():
            for needed in set(task.inputs.values()):
                self.users[needed].append(task.key)
        self.made: set[str] = set()
        self.again: dict[str, float] = {}
        self.remakes: dict[str, int] = {}
        self.noted: set[str] = set(noted)
        self.state = State(len(tasks))

    def look(self) -> None:
        """Find what is in the store already, and compare it with its sums; damaged artefacts are set aside."""
        self.made = {key for key in self.tasks if self.store.sound(key)}
        self.state.there = self.state.done = len(self.made & self.goals)
        self.state.total = len(self.goals)
        self._recount()

    def go(self, backend: Backend) -> State:
        """Do everything.

        Raises:
            EngineError: the workers are gone.
            StoreError: the store cannot be written (any more).
            KeyboardInterrupt: Ctrl-C, or SIGTERM.
        """
        state = self.state
        with _stoppable() as stopped:
            while True:
                self._feed(backend)
                if not state.running and all(self._settled(key) for key in self.goals):
                    return state
                for outcome in backend.collect(0.2):
                    self._settle(outcome)
                if stopped.is_set():
                    raise KeyboardInterrupt

    def _settled(self, key: str) -> bool:
        return key in self.made or key in self.state.failed or key in self.state.left_out

    def _open(self) -> list[str]:
        """Unfinished tasks that are needed for the goals and whose inputs are there, best first."""
        wanted, waiting = set[str](), [key for key in self.goals if not self._settled(key)]
        while waiting:
            key = waiting.pop()
            if key not in wanted and not self._settled(key):
                wanted.add(key)
                waiting += self.tasks[key].inputs.values()
        now = time.monotonic()
        ready = [
            key
            for key in wanted
            if key not in self.state.running and self.again.get(key, 0.0) <= now and all(i in self.made for i in self.tasks[key].inputs.values())
        ]
        return sorted(ready, key=lambda key: (key not in self.first, -self.priority[key], key))

    def _feed(self, backend: Backend) -> None:
        self.state.slots = backend.slots
        free = backend.slots - len(self.state.running)
        if free <= 0:
            return
        for key in self._open()[:free]:
            self.again.pop(key, None)
            self.state.running[key] = self.tasks[key]
            backend.submit(self.tasks[key])

    def _settle(self, outcome: Outcome) -> None:
        state, key = self.state, outcome.key
        task = state.running.pop(key)
        for note in outcome.notes:
            if note not in self.noted:
                self.noted.add(note)
                log.warning("note: %s", note)
        if outcome.status == "busy":
            self.again[key] = time.monotonic() + _ASK_AGAIN
            return
        if outcome.status in ("made", "there"):
            self.made.add(key)
            state.done += key in self.goals
            if outcome.status == "made":
                state.estimated, state.spent = state.estimated + task.seconds, state.spent + outcome.seconds
        elif outcome.fatal:
            raise StoreError(0, outcome.error)
        elif outcome.damaged in self.tasks and self.remakes.get(key, 0) < _REMAKES:
            self.remakes[key] = self.remakes.get(key, 0) + 1
            if not self.store.sound(outcome.damaged) and outcome.damaged in self.made:
                self.made.remove(outcome.damaged)
                state.done -= outcome.damaged in self.goals
        else:
            self._fail(task, outcome)
        self._recount()

    def _fail(self, task: Task, outcome: Outcome) -> None:
        self.state.failed[task.key] = outcome
        self.logs.mkdir(parents=True, exist_ok=True)
        path = self.logs / f"{task.key[:16]}.log"
        path.write_text(f"{task.label}\n{outcome.error}\n\n{outcome.log}", encoding="utf-8")
        log.warning("%s failed: %s (see %s)", task.label, outcome.error, path)
        waiting = list(self.users[task.key])
        while waiting:
            key = waiting.pop()
            if not self._settled(key):
                self.state.left_out[key] = task.key
                waiting += self.users[key]

    def _recount(self) -> None:
        self.state.remaining = sum(self.tasks[key].seconds for key in self.goals if not self._settled(key))


@contextmanager
def _stoppable() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, beside raising: where the exception comes up in someone's callback, Python drops it."""
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _critical_paths(tasks: Mapping[str, Task]) -> dict[str, float]:
    """Seconds of each task and of the longest chain of tasks that waits for it. ``tasks`` has inputs before what needs them."""
    length = {key: task.seconds for key, task in tasks.items()}
    for key in reversed(list(tasks)):
        for needed in tasks[key].inputs.values():
            length[needed] = max(length[needed], tasks[needed].seconds + length[key])
    return length


def shard(tasks: Mapping[str, Task], number: int, of: int) -> list[str]:
    """Keys of the tasks of part ``number`` (from 1) of ``of``: each kind dealt out in turn."""
    dealt: dict[str, int] = {}
    mine = []
    for key, task in tasks.items():
        turn = dealt.get(task.kind, 0)
        dealt[task.kind] = turn + 1
        if turn % of == number - 1:
            mine.append(key)
    return mine
