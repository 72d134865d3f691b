"""Dask workers as a backend: processes of this machine, a running scheduler, or jobs of a queue. Only tasks travel, results are in the store."""

from __future__ import annotations

import logging
import os
import queue
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import dask
import distributed
from distributed.comm.addressing import get_address_host_port
from distributed.scheduler import KilledWorker

from qarmor.studies.engine import EngineError
from qarmor.studies.spec import Cluster
from qarmor.studies.task import Task
from qarmor.studies.tasks.execute import Outcome, execute

_RETRIES = 2  # times that a task is tried again when its worker died
_ANY_PORT = "127.0.0.1:0"  # the usual one is taken when two studies run on a machine
_REPLACE_EVERY = 3.0  # a worker that dies while its guardian starts it anew is given up by Dask, so it is asked for again
_NO_WORKERS = 600.0  # seconds without any worker until a run gives up
_LOST = "the connection to Dask's scheduler is lost; what was finished is kept, run the same command again to go on"
_SYSTEMS = {"slurm": "SLURM", "pbs": "PBS", "sge": "SGE", "lsf": "LSF", "htcondor": "HTCondor", "oar": "OAR", "moab": "Moab"}


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def local_workers(threads: int, memory: int) -> int:
    """How many workers of ``threads`` threads and ``memory`` bytes each fit on this machine, at least one."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    return max(1, min(cores() // threads, int(there // max(memory, 1))))


def dask_setup(worker: Any) -> None:
    """Called by Dask in each worker process of this machine: Ctrl-C is for the runner, which ends the workers in order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class Workers:
    """Tasks on the workers of a Dask client."""

    def __init__(self, client: distributed.Client, root: Path, replace: Callable[[], object] | None = None, number: int = 0) -> None:
        """``replace`` is called now and then while there are fewer than ``number`` workers."""
        self._client, self._root, self._replace, self._wanted = client, root.resolve(), replace, number
        self._finished: queue.SimpleQueue[tuple[Task, Any]] = queue.SimpleQueue()
        self._futures: dict[str, Any] = {}
        self._number, self._seen, self._replaced = 0, time.monotonic(), time.monotonic()

    @property
    def slots(self) -> int:
        """One task a worker, however many threads Dask gives it: a task has the process for itself."""
        workers = self._client.scheduler_info(n_workers=-1).get("workers", {})
        now = time.monotonic()
        if workers:
            self._seen = now
        if self._replace is not None and len(workers) < self._wanted and now > self._replaced + _REPLACE_EVERY:
            self._replaced = now
            self._replace()
        return len(workers)

    def submit(self, task: Task) -> None:
        """Hand a task to the scheduler."""
        if self._client.status != "running":
            raise EngineError(_LOST)
        self._number += 1
        name = f"{task.kind}-{task.key[:12]}-{self._number}"
        future = self._client.submit(execute, str(self._root), task, key=name, pure=False, retries=0, allow_other_workers=False)
        self._futures[task.key] = future
        future.add_done_callback(lambda done: self._finished.put((task, done)))

    def collect(self, timeout: float) -> list[Outcome]:
        """What has finished."""
        outcomes: list[Outcome] = []
        try:
            while True:
                outcomes.append(self._outcome(*self._finished.get(timeout=0 if outcomes else timeout)))
        except queue.Empty:
            pass
        if not outcomes and self._client.status != "running":
            raise EngineError(_LOST)
        if not outcomes and time.monotonic() - self._seen > _NO_WORKERS:
            raise EngineError(f"no worker for {_NO_WORKERS:.0f} s; look at the cluster's queue, then run the same command again to go on")
        return outcomes

    def _outcome(self, task: Task, future: Any) -> Outcome:
        self._futures.pop(task.key, None)
        if future.status == "cancelled" or future.status == "lost":
            return Outcome(task.key, "busy")  # asked again later, or the lost connection is noticed
        error = future.exception()
        if error is None:
            return future.result()  # type: ignore[no-any-return]
        if isinstance(error, KilledWorker):
            text = f"its worker died {_RETRIES + 1} times (out of memory? look at the system's log)"
            return Outcome(task.key, "failed", error=text, log=f"{type(error).__name__}: {error}")
        return Outcome(task.key, "failed", error=f"{type(error).__name__}: {error}", log=repr(error))


@contextmanager
def workers(
    root: Path, *, threads: int, memory: int, number: int | None = None, scheduler: str | None = None, cluster: Cluster | None = None
) -> Iterator[Workers]:
    """Workers for tasks of ``threads`` threads and ``memory`` bytes: at ``scheduler``, of ``cluster``, or ``number`` processes of this machine.

    Raises:
        EngineError: there is no scheduler at the address, or the cluster refuses its options.
    """
    for name in (
        "tornado.application",
        "distributed",
        "distributed.client",
        "distributed.core",
        "distributed.comm",
        "distributed.scheduler",
        "distributed.nanny",
    ):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters of it comes as an EngineError or a failed task
    settings = {
        "distributed.scheduler.allowed-failures": _RETRIES,
        "distributed.comm.timeouts.connect": "30s",
        "distributed.worker.daemon": True,
        "distributed.deploy.lost-worker-timeout": "2s",
        "distributed.admin.tick.limit": "1h",
    }
    with dask.config.set(settings):
        if scheduler is not None:
            try:
                host, _ = get_address_host_port(scheduler)
                socket.getaddrinfo(host, None)
                client = distributed.Client(scheduler, timeout=10, set_as_default=False)
            except (OSError, ValueError) as error:
                raise EngineError(f"--scheduler {scheduler}: no Dask scheduler answers there ({str(error).splitlines()[0]})") from error
            with client:
                yield Workers(client, root)
            return
        wanted = cluster.workers if cluster is not None else number or local_workers(threads, memory)
        made = _queued(cluster, threads, root.parent / "logs") if cluster is not None else _local(threads, wanted)
        with made, distributed.Client(made, set_as_default=False) as client:
            yield Workers(client, root, None if cluster is not None else partial(made.scale, wanted), wanted)


def environment(threads: int) -> dict[str, str]:
    """Variables that keep every library in a worker to its share of the cores."""
    return {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")}


def _local(threads: int, number: int) -> distributed.LocalCluster:
    return distributed.LocalCluster(
        n_workers=number,
        threads_per_worker=1,
        processes=True,
        dashboard_address=_ANY_PORT,
        memory_limit=None,
        silence_logs=logging.CRITICAL,
        env=environment(threads),
        preload=["qarmor.studies.cluster"],
    )


def _queued(cluster: Cluster, threads: int, logs: Path) -> Any:
    logs.mkdir(parents=True, exist_ok=True)
    defaults = {"cores": 1, "processes": 1, "job_cpu": threads, "log_directory": str(logs), "scheduler_options": {"dashboard_address": _ANY_PORT}}
    options: Mapping[str, Any] = {**defaults, **cluster.options}
    if cluster.kind != "slurm":
        options = {k: v for k, v in options.items() if k != "job_cpu"}
    lines = [f"export {name}={value}" for name, value in environment(threads).items()]
    try:
        import dask_jobqueue
    except ImportError as error:
        raise EngineError(f"cluster.kind = {cluster.kind!r} needs dask-jobqueue, which is not installed: pip install 'qarmor[cluster]'") from error
    try:
        chosen = getattr(dask_jobqueue, f"{_SYSTEMS[cluster.kind]}Cluster")
        command = chosen.job_cls.submit_command.split()[0]
        if shutil.which(command) is None:
            raise EngineError(f"cluster.kind = {cluster.kind!r}: there is no {command} on this machine; start the study where jobs can be submitted")
        made = chosen(**{**options, "job_script_prologue": [*lines, *options.get("job_script_prologue", [])]})
    except (TypeError, ValueError) as error:
        raise EngineError(f"cluster.options: {cluster.kind} refuses them: {error}") from error
    made.adapt(minimum_jobs=cluster.workers, maximum_jobs=cluster.workers)
    return made
