"""The compiled kernel beside plain torch and sgemm, in one run on one core.

    python benchmarks/circuits.py [--qubits 8 10 12] [--layers 200] [--batch 64]

Prints medians in ms a sample and ratios. Timings on shared cores are noisy: trust the ratios.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch

from qarmor import models
from qarmor.circuits import expectations

SGEMM = 1024


def medians(work: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each, taken in turns so that a slow moment hits all."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for run in work.values():
        run()
    for _ in range(repeats):
        for name, run in work.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def measure(qubits: int, layers: int, batch: int, repeats: int) -> None:
    """One line of the table."""
    readouts = min(10, qubits)
    generator = torch.Generator().manual_seed(0)
    states = torch.rand(batch, 1 << qubits, generator=generator)
    states /= states.norm(dim=1, keepdim=True)
    weights = (torch.rand(layers, qubits, 3, generator=generator) * 6.3).requires_grad_()
    matrix = torch.rand(SGEMM, SGEMM, generator=generator)
    frozen = models.QVC(qubits, layers, readouts).freeze()
    images = states.clone().requires_grad_()

    def forward() -> None:
        with torch.no_grad():
            expectations(states, weights, readouts, implementation="cpu")

    work: dict[str, Callable[[], object]] = {
        "sgemm": lambda: matrix @ matrix,
        "forward": forward,
        "step": lambda: torch.autograd.grad(expectations(states, weights, readouts, implementation="cpu").sum(), weights),
        "kron": lambda: torch.autograd.grad(expectations(states, weights, readouts, implementation="kron").sum(), weights),
        "attack": lambda: torch.autograd.grad(frozen(images).sum(), images),
    }
    t = medians(work, repeats)
    rate = 6 * (qubits + 1) * (1 << qubits) * layers * batch / t["forward"]
    sgemm = 2 * SGEMM**3 / t["sgemm"]
    ms = {name: 1e3 * value / batch for name, value in t.items()}
    print(
        f"{qubits:6d} {ms['forward']:10.4f} {ms['step']:10.4f} {ms['attack']:10.4f} {ms['kron']:10.4f} "
        f"{t['kron'] / t['step']:12.1f} {rate / sgemm:14.2f} {sgemm / 1e9:8.0f}"
    )


def main() -> None:
    """Parse arguments and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qubits", type=int, nargs="+", default=[8, 10, 12])
    parser.add_argument("--layers", type=int, default=200)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.machine()}, torch {torch.__version__}, one core, {arguments.layers} layers, batch {arguments.batch}; ms a sample")
    print("qubits    forward       step     attack  kron step  kron / step  fwd / sgemm   GFLOP/s of sgemm")
    for qubits in arguments.qubits:
        measure(qubits, arguments.layers, arguments.batch, arguments.repeats)


if __name__ == "__main__":
    main()
