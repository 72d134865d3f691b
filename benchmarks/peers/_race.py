"""The peers in turns, one process each, so that a slow moment of the machine hits all."""

import contextlib
import multiprocessing
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from peers import _check, _worker
from peers._contract import STEPS
from peers._registry import OURS, Peer

PATIENCE = 900.0  # seconds without an answer after which a peer is given up


@dataclass(frozen=True)
class Size:
    """A circuit, and how many samples and seconds a call may take."""

    qubits: int
    layers: int
    batch: int
    seconds: float

    @property
    def readouts(self) -> int:
        """All wires, ten at most, as for ten classes."""
        return min(10, self.qubits)


class Gone(Exception):
    """The peer is not there to answer: not installed, killed, or too slow."""


class Runner:
    """The parent's side: starts a peer's process and asks it."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.gone = ""
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_worker.serve, args=(theirs, peer.module), daemon=True)
        self._process.start()
        theirs.close()
        with contextlib.suppress(Gone):  # said when it is asked
            try:
                self._answer()
            except RuntimeError as why:
                self._give_up(str(why))

    def ask(self, method: str, *arguments: Any) -> Any:
        """The answer of ``Worker.method``; raises RuntimeError if it failed, Gone if nobody answers."""
        if self.gone:
            raise Gone(self.gone)
        self._connection.send((method, arguments))
        return self._answer()

    def _answer(self) -> Any:
        try:
            if not self._connection.poll(PATIENCE):
                self._give_up(f"no answer in {PATIENCE:.0f} s")
            kind, value = self._connection.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            self._give_up(f"its process ended with code {self._process.exitcode}, for want of memory if that is -9")
        if kind == "missing":
            self._give_up(f"not installed ({value} is missing): {self.peer.install}")
        if kind == "failed":
            raise RuntimeError(value)
        return value

    def _give_up(self, why: str) -> None:
        self.gone = why
        self.stop()
        raise Gone(why) from None

    def stop(self) -> None:
        """Ends the process."""
        if self._process.is_alive():
            self._process.terminate()
        self._process.join()


@dataclass
class Cell:
    """One peer, step and size."""

    peer: Peer
    step: str
    size: Size
    note: str = ""
    known: bool = False
    error: float | None = None
    setup: float | None = None
    batch: int | None = None
    times: list[float] = field(default_factory=list)

    @property
    def ms(self) -> float | None:
        """Median milliseconds a sample."""
        return 1e3 * statistics.median(self.times) if self.times else None

    @property
    def timed(self) -> bool:
        """Whether there is something right to time."""
        return not self.note


def check(runners: Sequence[Runner], size: Size) -> list[Cell]:
    """One cell for each peer and step, with its error, or with a note that says why it is not to be timed."""
    cells = []
    for runner in runners:
        mine = [Cell(runner.peer, step, size) for step in STEPS]
        cells += mine
        try:
            answer = runner.ask("check", size.qubits, size.layers, size.readouts)
        except (Gone, RuntimeError) as why:
            for cell in mine:
                cell.note, cell.known = str(why), "not installed" in str(why)
            continue
        for cell in mine:
            cell.setup = answer["setup"]
            if cell.step in answer["unable"]:
                cell.note, cell.known = f"cannot: {answer['unable'][cell.step]}", True
            elif cell.step in answer["failed"]:
                cell.note = answer["failed"][cell.step]
            else:
                cell.error, wrong = _check.error(cell.step, answer["results"][cell.step], size.qubits, size.layers, size.readouts)
                if wrong:
                    why = runner.peer.known.get(cell.step, "")
                    cell.note, cell.known = f"wrong, {wrong}" + (f": {why}" if why else ""), bool(why)
    return cells


def race(runners: Sequence[Runner], cells: Sequence[Cell], repeats: int) -> None:
    """Fills in batch and times of the cells that are to be timed."""
    by_name = {runner.peer.name: runner for runner in runners}
    for cell in cells:
        _asked(by_name[cell.peer.name], cell, "prepare")
    for _ in range(repeats):
        for step in STEPS:
            for cell in cells:
                if cell.step == step:
                    _asked(by_name[cell.peer.name], cell, "measure")


def _asked(runner: Runner, cell: Cell, method: str) -> None:
    if not cell.timed:
        return
    try:
        if method == "prepare":
            cell.batch = runner.ask("prepare", cell.step, cell.size.batch, cell.size.seconds)
        else:
            cell.times.append(runner.ask("measure", cell.step))
    except (Gone, RuntimeError) as why:
        cell.note, cell.times = str(why), []


def rows(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """One object a cell, with its ratio to QArmor's own cell."""
    ours = {(cell.size, cell.step): cell.ms for cell in cells if cell.peer.name == OURS}
    result = []
    for cell in cells:
        own = ours.get((cell.size, cell.step))
        result.append(
            {
                "qubits": cell.size.qubits,
                "layers": cell.size.layers,
                "readouts": cell.size.readouts,
                "peer": cell.peer.name,
                "label": cell.peer.label,
                "mode": cell.peer.mode,
                "step": cell.step,
                "batch": cell.batch,
                "ms_per_sample": cell.ms,
                "ms_all": [1e3 * t for t in cell.times],
                "ratio": cell.ms / own if cell.ms is not None and own else None,
                "setup_s": cell.setup,
                "error": cell.error if cell.error is None or cell.error < float("inf") else None,
                "note": cell.note,
                "expected": cell.known,
            }
        )
    return result
