"""Seconds and memory of exact noise: ``QVC.freeze(noise=...)`` for each place where noise can act.

Each row is a process of its own, so that its peak of resident memory is its own: torch, numba and the compiled kernel are part of it. The seconds are
those of one call, after one of a circuit without layers that loads the kernel; ``cpu_seconds`` are those of all threads together, which a busy
machine stretches less.

    python benchmarks/noise.py                       # 10 qubits, 10 classes, 784 pixels and 12 qubits, 2 classes, 3072 pixels; 200 layers
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import measure

SIZES = ((10, 10, 784), (12, 2, 3072))  # qubits, classes, pixels: MNIST, and two classes of CIFAR-10
COLUMNS = ("qubits", "classes", "pixels", "layers", "where", "threads", "seconds", "cpu_seconds", "peak_gib")


def cell(qubits: int, classes: int, pixels: int, layers: int, where: str, kind: str, threads: int) -> dict[str, Any]:
    """One noise setting, in this process."""
    import torch

    from qarmor.circuits.noise import Noise
    from qarmor.models import QVC

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    noise = Noise(kind, 0.001, where)
    QVC(qubits, 0, 2, shape=(4,)).freeze(noise)  # compiles, or reads what was compiled
    qvc = QVC(qubits, layers, classes, shape=(pixels,))
    start, start_cpu = time.perf_counter(), time.process_time()
    qvc.freeze(noise)
    seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 2**30
    row = {"qubits": qubits, "classes": classes, "pixels": pixels, "layers": layers, "where": where, "kind": kind, "threads": threads}
    return {**row, "seconds": seconds, "cpu_seconds": cpu, "peak_gib": peak}


def main() -> None:
    """Measure every size and place; print a table, write a JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qubits", type=int, nargs="+", choices=[size[0] for size in SIZES], default=[size[0] for size in SIZES])
    parser.add_argument("--layers", type=int, default=200)
    parser.add_argument("--where", nargs="+", choices=["end", "layer", "gate"], default=["end", "layer", "gate"])
    parser.add_argument("--kind", default="amplitude-damping", help="any kind takes as long; see qarmor.circuits.noise.Noise")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=measure.RESULTS)
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cell:
        print(json.dumps(cell(**json.loads(arguments.cell))))
        return
    measure.pin(arguments.threads)
    about = measure.machine()
    rows = []
    for qubits, classes, pixels in (size for size in SIZES if size[0] in arguments.qubits):
        for where in arguments.where:
            wanted = {"qubits": qubits, "classes": classes, "pixels": pixels, "layers": arguments.layers, "where": where}
            asked = json.dumps({**wanted, "kind": arguments.kind, "threads": arguments.threads})
            done = subprocess.run([sys.executable, __file__, "--cell", asked], capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"{where} on {qubits} qubits failed:\n{done.stderr}")
            rows.append(json.loads(done.stdout))
            print(measure.table(rows[-1:], COLUMNS).splitlines()[-1], flush=True)
    path = measure.write("noise", {key: value for key, value in vars(arguments).items() if key != "cell"}, rows, about, arguments.out)
    print(f"\n{about['processor']}, torch {about['versions']['torch']}, load {about['load'][0]} before\n")
    print(measure.table(rows, COLUMNS), path, sep="\n\n")


if __name__ == "__main__":
    main()
