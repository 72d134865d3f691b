"""How costs grow: seconds with qubits, layers, samples and threads, memory with layers and samples, and what a first start costs.

    python benchmarks/scaling.py [--qubits 4 ... 14] [--layers 50 ... 1000] [--batch 1 ... 4096] [--threads 1 2] [--seconds 300] [--out FOLDER]

Each growth is the exponent of a power law, fitted to all points and to the upper half of them: 1 is linear, 0 independent; and the slope of a line:
what one more layer, sample or amplitude costs. Qubits count as the dimension 2^n. Below the width of a vector (8 or 16) samples cost the same
together as one alone: their fit starts there. Memory is how far the peak of a process of its own rises above what it held before the step. A first
start is one in an empty folder for compiled kernels, a second one in the folder that the first left.
"""

import argparse
import json
import math
import multiprocessing
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import measure
import torch
from torch import Tensor

from qarmor import models
from qarmor.circuits import expectations

WORK = {"forward": "forward", "step": "training step", "attack": "frozen attack step"}
GROWTHS = ("what", "against", "from", "to", "exponent", "upper_half", "for_one_more", "unit")
POINTS = ("what", "against", "at", "value", "unit")
STARTS = ("qubits", "start", "import_torch", "import_rest", "first_call", "whole")
_START = """
import time; began = time.perf_counter()
import torch; torched = time.perf_counter()
from qarmor.circuits import expectations
from qarmor.circuits.cpu import kernel; imported = time.perf_counter()
weights = torch.ones(2, {qubits}, 3).requires_grad_()
torch.autograd.grad(expectations(torch.ones(1, 1 << {qubits}), weights, 1, implementation="cpu").sum(), weights)
import json
print(json.dumps([torched - began, imported - torched, time.perf_counter() - imported]))
"""


@dataclass(frozen=True)
class Size:
    """Of a circuit and its batch."""

    qubits: int
    layers: int
    batch: int


def _states(size: Size) -> Tensor:
    return torch.rand(size.batch, 1 << size.qubits, generator=torch.Generator().manual_seed(0))


def _weights(size: Size) -> Tensor:
    return torch.rand(size.layers, size.qubits, 3, generator=torch.Generator().manual_seed(1)) * 6.3


def _readouts(size: Size) -> int:
    return min(10, size.qubits)


def _forward(size: Size) -> Callable[[], object]:
    states, weights = _states(size), _weights(size)
    return lambda: expectations(states, weights, _readouts(size), implementation="cpu")


def _step(size: Size) -> Callable[[], object]:
    states, weights = _states(size), _weights(size).requires_grad_()
    return lambda: torch.autograd.grad(expectations(states, weights, _readouts(size), implementation="cpu").sum(), weights)


def _attack(size: Size) -> Callable[[], object]:
    pixels = 3 << (size.qubits - 2)
    layers = size.layers if size.qubits <= 12 else 1  # depth changes the time to freeze, which grows as 4^n, and not what is measured
    frozen = models.QVC(size.qubits, layers, _readouts(size), shape=(pixels,)).freeze()
    images = _states(size)[:, :pixels].clone().requires_grad_()
    return lambda: torch.autograd.grad(frozen(images).sum(), images)


MAKE: Mapping[str, Callable[[Size], Callable[[], object]]] = {"forward": _forward, "step": _step, "attack": _attack}


def steps(size: Size) -> dict[str, Callable[[], object]]:
    """The steps that are measured, as calls."""
    return {name: make(size) for name, make in MAKE.items()}


def points(against: str, values: Sequence[int], seconds: Mapping[int, Mapping[str, float]]) -> list[dict[str, Any]]:
    """Seconds as rows."""
    return [{"what": what, "against": against, "at": v, "value": seconds[v][what], "unit": "s"} for what in MAKE for v in values]


def sweep(against: str, sizes: Mapping[int, Size], seconds: float) -> list[dict[str, Any]]:
    """Seconds of each step at each size."""
    found = {value: measure.turns(steps(size), seconds / len(sizes), least=2) for value, size in sizes.items()}
    return points(against, list(sizes), found)


def threads_sweep(counts: Sequence[int], size: Size, seconds: float) -> list[dict[str, Any]]:
    """Seconds of each step with each number of threads, in turns."""
    work = {}
    for what, run in steps(size).items():
        for count in counts:
            work[what, count] = _with_threads(run, count)
    found = measure.turns({f"{what} {count}": run for (what, count), run in work.items()}, seconds)
    return points("threads", counts, {count: {what: found[f"{what} {count}"] for what in MAKE} for count in counts})


def _with_threads(run: Callable[[], object], count: int) -> Callable[[], object]:
    def counted() -> object:
        torch.set_num_threads(count)
        return run()

    return counted


def _reset_peak() -> None:
    if platform.system() == "Linux":
        Path("/proc/self/clear_refs").write_text("5")


def _memory(what: str) -> int:
    """``VmHWM`` (the peak) or ``VmRSS`` (now) of this process in bytes; the peak for both where there is no such file."""
    if platform.system() == "Linux":
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
        return 1024 * int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)


def growth(what: str, size: Size) -> int:
    """Bytes by which a step raises this process's peak above what it held before: for a process of its own."""
    torch.set_num_threads(1)
    MAKE[what](Size(size.qubits, 1, 17))()  # loads the kernels: blocks of 16 lanes at most, and a sample that is left
    run = MAKE[what](size)
    _reset_peak()
    before = _memory("VmRSS")
    run()
    return max(0, _memory("VmHWM") - before)


def memory(against: str, sizes: Mapping[int, Size]) -> list[dict[str, Any]]:
    """Growth of memory at each size, in new processes."""
    # forked from a server that has imported what is needed and done nothing else: quick, and with no memory of what was measured before
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["matplotlib", "torch", "qarmor.models", "qarmor.circuits.cpu.kernel"])
    rows = []
    for what in MAKE:
        with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
            grown = list(pool.map(growth, [what] * len(sizes), sizes.values()))
        rows += [{"what": what, "against": against, "at": v, "value": g / 1e6, "unit": "MB"} for v, g in zip(sizes, grown, strict=True)]
    return rows


def starts(qubits: int) -> list[dict[str, Any]]:
    """A first start, which compiles, and a second: seconds of importing and of the first training step."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for start in ("first", "second"):
            said: list[str] = []

            def run(said: list[str] = said) -> None:
                command = [sys.executable, "-c", _START.format(qubits=qubits)]
                done = subprocess.run(command, env={**os.environ, "NUMBA_CACHE_DIR": folder}, capture_output=True, text=True, check=True)
                said.append(done.stdout)

            whole = measure.once(run)
            torched, rest, first_call = json.loads(said[0])
            row = {"qubits": qubits, "start": start, "import_torch": torched, "import_rest": rest, "first_call": first_call, "whole": whole}
            rows.append(row)
    return rows


def fits(rows: Sequence[Mapping[str, Any]], lanes: int) -> list[dict[str, Any]]:
    """Exponents of everything that was measured at two sizes or more."""
    found = []
    for unit, against, what in dict.fromkeys((row["unit"], row["against"], row["what"]) for row in rows):
        line = [row for row in rows if (row["unit"], row["against"], row["what"]) == (unit, against, what) and row["value"] > 0]
        if against == "batch" and sum(row["at"] >= lanes for row in line) > 1:
            line = [row for row in line if row["at"] >= lanes]
        x = [1 << row["at"] if against == "qubits" else row["at"] for row in line]
        y = [row["value"] for row in line]
        half = len(x) // 2
        name = WORK[what] if unit == "s" else f"memory of a {WORK[what]}"
        upper = measure.slope(x[half:], y[half:]) if len(x) > 3 else math.nan
        one = statistics.linear_regression(x, y).slope if len(set(x)) > 1 else math.nan
        ends = {"from": line[0]["at"], "to": line[-1]["at"]} if line else {"from": None, "to": None}
        power = {"exponent": measure.slope(x, y), "upper_half": upper}
        found.append({"what": name, "against": against, **ends, **power, "for_one_more": one, "unit": unit})
    return found


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """One panel a quantity that grows."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = list(dict.fromkeys((row["against"], row["unit"]) for row in rows))
    figure, axes = pyplot.subplots(2, -(-len(panels) // 2), figsize=(12, 7), layout="constrained", squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    for axis, (against, unit) in zip(axes.flat, panels, strict=False):
        for what in MAKE:
            # memory below a page reads 0, which a logarithmic axis has no place for
            line = [row for row in rows if (row["against"], row["unit"], row["what"]) == (against, unit, what) and row["value"] > 0]
            axis.plot(
                [1 << r["at"] if against == "qubits" else r["at"] for r in line], [r["value"] for r in line], "o-", markersize=3, label=WORK[what]
            )
        ticks = sorted({row["at"] for row in rows if (row["against"], row["unit"]) == (against, unit)})
        axis.set_xscale("log", base=2)
        axis.set_yscale("log" if any(row["value"] > 0 for row in rows if (row["against"], row["unit"]) == (against, unit)) else "linear")
        axis.set_xticks([1 << t if against == "qubits" else t for t in ticks], [str(t) for t in ticks], fontsize=8)
        axis.minorticks_off()
        axis.set(xlabel={"batch": "samples"}.get(against, against), ylabel={"s": "seconds", "MB": "MB above what was held"}[unit])
        axis.grid(alpha=0.3)
    axes.flat[0].legend(fontsize=8)
    figure.savefig(path)
    pyplot.close(figure)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cores = len(os.sched_getaffinity(0)) if platform.system() == "Linux" else os.cpu_count() or 1
    powers = [1 << p for p in range(cores.bit_length())]
    parser.add_argument("--qubits", type=int, nargs="+", default=list(range(4, 15)))
    parser.add_argument("--layers", type=int, nargs="+", default=[50, 100, 200, 500, 1000])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4, 16, 64, 256, 1024, 4096])
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({*powers, cores}))
    parser.add_argument("--at", type=int, nargs=3, default=[10, 100, 64], metavar=("QUBITS", "LAYERS", "BATCH"), help="what the others stay at")
    parser.add_argument("--start-qubits", type=int, nargs="*", default=[4, 10, 14], help="circuits that are compiled in an empty folder")
    parser.add_argument("--seconds", type=float, default=300.0, help="of the timings, about; large sizes are measured twice in any case")
    parser.add_argument("--out", type=Path, default=measure.RESULTS)
    return parser


def main() -> None:
    """Measure, fit, print two tables, write a JSON and a figure."""
    arguments = _parser().parse_args()
    base, seconds = Size(*arguments.at), arguments.seconds / 4
    about = measure.machine()
    measure.pin(max(arguments.threads))
    rows = threads_sweep(arguments.threads, Size(base.qubits, base.layers, 16 * base.batch), seconds)
    measure.pin()
    rows += sweep("qubits", {n: Size(n, base.layers, base.batch) for n in arguments.qubits}, seconds)
    by_layers = {layers: Size(base.qubits, layers, base.batch) for layers in arguments.layers}
    by_batch = {batch: Size(base.qubits, base.layers, batch) for batch in arguments.batch}
    rows += sweep("layers", by_layers, seconds) + sweep("batch", by_batch, seconds)
    rows += memory("layers", by_layers) + memory("batch", by_batch)
    begun = [row for qubits in arguments.start_qubits for row in starts(qubits)]

    from qarmor.circuits.cpu.vectors import LANES

    fitted = fits(rows, LANES)
    everything = [{"kind": kind, **row} for kind, some in (("point", rows), ("fit", fitted), ("start", begun)) for row in some]
    for row in everything:
        row.update({key: None for key, value in row.items() if isinstance(value, float) and math.isnan(value)})  # JSON has no NaN
    path = measure.write("scaling", vars(arguments), everything, about, arguments.out)
    draw(rows, arguments.out / "scaling.svg")
    print(f"{about['processor']}, torch {about['versions']['torch']}; else {base.qubits} qubits, {base.layers} layers, {base.batch} samples")
    print(f"(threads: {16 * base.batch} samples); vectors of {LANES}\n")
    print(measure.table(rows, POINTS), measure.table(fitted, GROWTHS), measure.table(begun, STARTS), path, sep="\n\n")


if __name__ == "__main__":
    main()
