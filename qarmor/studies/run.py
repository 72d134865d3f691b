"""A study from its spec to its collected results: plan, run, collect."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from qarmor.studies import collect, folder, plan
from qarmor.studies.engine import Backend, Inline, Run, State, shard
from qarmor.studies.folder import Asked
from qarmor.studies.spec import SpecError, Study
from qarmor.studies.store import Store
from qarmor.studies.task import Plan, Task

log = logging.getLogger("qarmor.studies")
Display = Callable[[State, Store], AbstractContextManager[None]]


@dataclass(frozen=True)
class Engine:
    """How tasks are run: on Dask's workers (of this machine, of ``scheduler``, or of the study's cluster) or ``"inline"``.

    ``shard`` (number from 1, of) does a part inline.
    """

    name: str = "dask"
    scheduler: str | None = None
    workers: int | None = None
    shard: tuple[int, int] | None = None


@dataclass(frozen=True)
class Request:
    """A study to be run: resolved, with its name and the sections and data sets that are wanted (empty for all)."""

    name: str
    study: Study
    preset: str | None = None
    only: Sequence[str] = ()
    command: str = ""


def selected(request: Request) -> tuple[list[str], set[str]]:
    """Data sets and sections that are wanted.

    Raises:
        SpecError: ``only`` names neither.
    """
    study = request.study
    for name in request.only:
        if name not in study.datasets and name not in study.sections:
            raise SpecError(
                f"--only {name}: neither a data set ({', '.join(study.datasets)}) nor a section ({', '.join(study.sections)}) of {request.name}"
            )
    datasets = [d for d in study.datasets if d in request.only] or list(study.datasets)
    sections = {s for s in study.sections if s in request.only} or set(study.sections)
    return datasets, sections


def plans(request: Request) -> dict[str, Plan]:
    """The whole plan of each wanted data set."""
    return {name: plan.make(request.study, name, request.name) for name in selected(request)[0]}


def _plans_of_others(request: Request, out: Path, made: dict[str, Plan]) -> dict[str, Plan]:
    """Plans anew of the data sets that were run before in this folder, so that an edited study is not mixed with the old one."""
    found = {}
    for name in request.study.datasets:
        if name not in made and folder.plan_file(out, name).exists():
            try:
                found[name] = plan.make(request.study, name, request.name)
            except (ValueError, OSError) as error:
                log.warning("note: %s is left out of the report: %s", name, error)
                folder.plan_file(out, name).unlink(missing_ok=True)
    return found


def wanted(request: Request, made: dict[str, Plan]) -> dict[str, Task]:
    """The tasks of the wanted sections, with all that they need, inputs before what needs them."""
    sections = selected(request)[1]
    tasks = {key: task for each in made.values() for key, task in each.tasks.items()}
    keep, waiting = set[str](), [key for key, task in tasks.items() if sections & {section for section, _ in task.roles}]
    while waiting:
        key = waiting.pop()
        if key not in keep:
            keep.add(key)
            waiting += tasks[key].inputs.values()
    return {key: task for key, task in tasks.items() if key in keep}


@contextmanager
def _backend(engine: Engine, request: Request, store: Store, tasks: dict[str, Task]) -> Iterator[Backend]:
    if engine.name == "inline" or engine.shard is not None:
        yield Inline(store.root)
        return
    from qarmor.studies import cluster

    memory = max((task.memory for task in tasks.values()), default=0)
    settings = {"threads": request.study.threads, "memory": memory, "number": engine.workers}
    with cluster.workers(store.root, scheduler=engine.scheduler, cluster=request.study.cluster, **settings) as workers:  # type: ignore[arg-type]
        yield workers


def run(request: Request, out: Path, engine: Engine, display: Display, *, store: str = "store") -> State:
    """Make what is missing of a study in the folder ``out``, and collect all that is there.

    Args:
        request: what to run.
        out: folder of the study, made if need be.
        engine: how.
        display: shows a state while its context is entered.
        store: folder of the store, relative to ``out``.

    Raises:
        SpecError, ValueError, OSError: the study, a data set or the folder are not usable.
        EngineError: the workers are gone.
    """
    with warnings.catch_warnings(record=True) as caught:
        made = plans(request)
        others = _plans_of_others(request, out, made)
    noted = dict.fromkeys(" ".join(str(warning.message).split()) for warning in caught)
    for note in noted:
        log.warning("note: %s", note)
    keep = Store(out / store)
    keep.create()
    folder.write(out, Asked(request.name, request.preset, request.command, request.study.model_dump(mode="json"), store), made | others)
    tasks = wanted(request, made)
    mine = shard(tasks, *engine.shard) if engine.shard is not None else ()
    work = Run(tasks, keep, out / "logs", first=mine, only_needed=engine.shard is not None, noted=noted)
    work.look()
    if work.state.done < work.state.total:
        with _backend(engine, request, keep, tasks) as backend, display(work.state, keep):
            work.go(backend)
    collect.collect(folder.read(out), {key: outcome.error for key, outcome in work.state.failed.items()})
    return work.state
