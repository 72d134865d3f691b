"""What every benchmark shares: one core, medians taken in turns, the machine in words, and a table, a JSON and a figure as output."""

import datetime
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
_SHORTEST = 0.005  # seconds: what is quicker is called so often in a row that it takes about as long


def pin(cores: int = 1) -> list[int]:
    """Bind this process, and what it starts from now on, to the first ``cores`` cores that it may use; best before torch is imported."""
    if "torch" in sys.modules:  # it has read the variables below, but starts its threads at the first sum that needs them
        sys.modules["torch"].set_num_threads(cores)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = str(cores)
    if platform.system() != "Linux":
        return []
    chosen = sorted(os.sched_getaffinity(0))[:cores]
    os.sched_setaffinity(0, chosen)
    return chosen


def once(run: Callable[[], object], calls: int = 1) -> float:
    """Seconds a call."""
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls


def turns(work: Mapping[str, Callable[[], object]], seconds: float, least: int = 3, most: int = 50) -> dict[str, float]:
    """Median seconds of each, warm, taken in turns so that a slow moment hits all: until ``seconds`` are spent, ``least`` to ``most`` times.

    What is quick is called several times in a turn.
    """
    calls = {}
    for name, run in work.items():
        took = once(run)
        if took < 1:  # what takes longer is warm by then, or has compiled
            took = once(run)
        calls[name] = max(1, math.ceil(_SHORTEST / took))
    times: dict[str, list[float]] = {name: [] for name in work}
    began = time.perf_counter()
    for done in range(most):
        if done >= least and time.perf_counter() - began > seconds:
            break
        for name, run in work.items():
            times[name].append(once(run, calls[name]))
    return {name: statistics.median(values) for name, values in times.items()}


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Exponent p of the power law y = c x^p: least squares of the logarithms; NaN for fewer than two different x."""
    logs = [(math.log(a), math.log(b)) for a, b in zip(x, y, strict=True)]
    if len({a for a, _ in logs}) < 2:
        return math.nan
    return statistics.linear_regression(*zip(*logs, strict=True)).slope


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def machine(packages: Sequence[str] = ("torch", "numba", "numpy")) -> dict[str, Any]:
    """Where, when and with what a benchmark ran."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "load": [round(v, 2) for v in os.getloadavg()],
        "commit": _commit(),
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}},
    }


def write(name: str, arguments: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any], folder: Path = RESULTS) -> Path:
    """``folder/name.json``: what was asked, where it ran, one object a row."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    given = {key: str(value) if isinstance(value, Path) else value for key, value in arguments.items()}
    path.write_text(json.dumps({"benchmark": name, "arguments": given, "machine": about, "rows": list(rows)}, indent=1) + "\n")
    return path


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Rows as aligned text; numbers with four significant digits."""
    cells = [list(columns)] + [[f"{row[c]:.4g}" if isinstance(row[c], float) else str(row[c]) for c in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells)
