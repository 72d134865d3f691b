"""One process a peer: it imports the peer's script, answers one question at a time, and does nothing in between."""

import gc
import importlib
import math
import resource
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import psutil

from peers._contract import STEPS, Problem, Steps, problem

CHECKED = 2  # samples of the check
SHORTEST = 0.02  # seconds: a shorter call is repeated, so that the clock's and Python's grain do not count
SHARE = 0.4  # of the memory that is free now, for one peer's next batch


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _steady(run: Callable[[], object]) -> float:
    """Least seconds of a call, of up to five within a second."""
    times = [_seconds(run)]
    while len(times) < 5 and sum(times) < 1:
        times.append(_seconds(run))
    return min(times)


class Worker:
    """The peer's side of the conversation; every public method is a question."""

    def __init__(self, module: str) -> None:
        self._build: Callable[[Problem], Steps] = importlib.import_module(module).build
        self._start = self.memory()
        self._circuit = (0, 0, 0)
        self._built: dict[int, Steps] = {}
        self._ready: dict[str, tuple[int, Callable[[], Any], int]] = {}

    def check(self, qubits: int, layers: int, readouts: int) -> dict[str, Any]:
        """Results of all steps on two samples, or why there is none; and what was spent before a steady call: building, tracing, compiling."""
        self._ready.clear()
        self._built.clear()
        gc.collect()
        self._circuit = (qubits, layers, readouts)
        given = problem(qubits, layers, CHECKED, readouts)
        start = time.perf_counter()
        steps = self._built[CHECKED] = self._build(given)
        answer: dict[str, Any] = {"setup": time.perf_counter() - start, "results": {}, "seconds": {}, "unable": dict(steps.unable), "failed": {}}
        for name in STEPS:
            run = getattr(steps, name)
            if run is None:
                continue
            try:
                start = time.perf_counter()
                answer["results"][name] = np.array(run(), dtype=np.float64)
                first = time.perf_counter() - start
                answer["seconds"][name] = _seconds(run)
            except Exception as error:
                answer["failed"][name] = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
                continue
            answer["setup"] += max(first - answer["seconds"][name], 0.0)
            self._ready[name] = (CHECKED, run, _calls(answer["seconds"][name]))
        return answer

    def prepare(self, step: str, batch: int, seconds: float) -> int:
        """Settles the batch of a step and returns it: the one with the least time a sample of those tried.

        First as many samples as would take ``seconds`` if time were linear in them, then four times as many as long as that would take less than
        four times ``seconds``: overheads make it take less, and a larger batch may be much better.
        """
        known, run, _ = self._ready[step]
        best, rate = known, _steady(run) / known
        tried = min(batch, max(4 * known, _power(seconds / rate)))
        while known < (tried := min(tried, self._room())) and tried * rate < 4 * seconds:
            run = getattr(self._of(tried), step)
            run()
            now = _steady(run) / tried
            if now < rate:
                best = tried
                self._ready[step] = (tried, run, _calls(now * tried))
            known, rate, tried = tried, min(rate, now), min(batch, 4 * tried)
        return best

    def _room(self) -> int:
        """Samples for which memory should do, from the most that was held for the largest batch: automatic differentiation can take gigabytes."""
        largest = max(self._built)
        held = max(self.memory() - self._start, 1.0)
        free = psutil.virtual_memory().available / 1e6
        return max(largest, _power(largest * (1 + SHARE * free / held)))

    def _of(self, batch: int) -> Steps:
        if batch not in self._built:
            qubits, layers, readouts = self._circuit
            self._built[batch] = self._build(problem(qubits, layers, batch, readouts))
        return self._built[batch]

    def measure(self, step: str) -> float:
        """Seconds a sample."""
        batch, run, calls = self._ready[step]
        start = time.perf_counter()
        for _ in range(calls):
            run()
        return (time.perf_counter() - start) / calls / batch

    def memory(self) -> float:
        """Most MB that this process has held."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def _power(number: float) -> int:
    """Largest power of two that is not larger, 1 at least."""
    return 1 << int(math.log2(max(number, 1)))


def _calls(seconds: float) -> int:
    return max(1, math.ceil(SHORTEST / max(seconds, 1e-6)))


def serve(connection: Connection, module: str) -> None:
    """Answers ``(method, arguments)`` with ``("ok", value)``, ``("missing", module)`` or ``("failed", one line)`` until None comes."""
    try:
        worker = Worker(module)
    except ModuleNotFoundError as error:
        connection.send(("missing", error.name))
        return
    except Exception as error:
        connection.send(("failed", f"{type(error).__name__}: {error}"))
        return
    connection.send(("ok", None))
    while (question := connection.recv()) is not None:
        method, arguments = question
        try:
            connection.send(("ok", getattr(worker, method)(*arguments)))
        except Exception as error:
            connection.send(("failed", f"{type(error).__name__}: {error}"))
