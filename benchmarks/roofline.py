"""How near the compiled kernel and the frozen circuit come to the rate at which this machine multiplies matrices, on one core.

    python benchmarks/roofline.py [--qubits 8 10] [--layers 200] [--batch 1 64] [--readouts 2 all] [--seconds 600] [--out FOLDER]

Rates are useful operations a second, beside torch's float32 product of two 1024 x 1024 matrices measured in turns with them. A forward pass counts
6 (n + 1) 2^n operations a layer and sample, a frozen one 2 d 2^(n+1) for the product with its matrix and 2 K 2^(n+1) for the readouts, its gradient
for the image twice that. Frozen images have d = 3/4 2^n pixels, as 28 x 28 of 1024 and 3 x 32 x 32 of 4096. Where a cell would take too long for
``--seconds``, it has fewer layers, or fewer frozen samples: its row says how many.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import measure
import torch
from torch import Tensor

from qarmor import models
from qarmor.circuits import expectations

SGEMM = 1024
SECONDS = 600.0
# Operations of one forward pass at most, in a run of SECONDS.
CIRCUIT, KRON, FROZEN = 1e11, 4e9, 1e11
FEWEST_LAYERS, FEWEST_SAMPLES = 10, 8
COLUMNS = {
    "speed": ("qubits", "readouts", "batch", "layers", "sgemm_gflops", "forward_ms", "forward_share", "step_ms", "kron_ms", "kron_ratio"),
    "frozen": ("qubits", "readouts", "batch", "pixels", "samples", "frozen_ms", "frozen_share", "gradient_ms", "gradient_share"),
    "build": ("qubits", "readouts", "pixels", "build_layers", "build_seconds", "build_share"),
}


def sgemm_flops() -> int:
    """Operations of the product of two square matrices of side ``SGEMM``."""
    return 2 * SGEMM**3


def circuit_flops(qubits: int, layers: int, samples: int) -> int:
    """Operations of a forward pass."""
    return 6 * (qubits + 1) * (1 << qubits) * layers * samples


def kron_flops(qubits: int, layers: int, samples: int) -> int:
    """Operations of ``kron``'s forward pass: two complex products a layer."""
    high = qubits // 2
    return 8 * (1 << qubits) * ((1 << high) + (1 << (qubits - high))) * layers * samples


def frozen_flops(qubits: int, pixels: int, readouts: int, samples: int) -> int:
    """Operations of a frozen forward pass; its gradient for the images has twice as many."""
    return 2 * (2 << qubits) * (pixels + readouts) * samples


def fitting(most: float, cost_of_one: float, wanted: int, least: int) -> int:
    """How many of ``wanted`` layers or samples cost at most ``most``, but no fewer than ``least``."""
    return min(wanted, max(least, int(most / cost_of_one)))


def _states(samples: int, dimension: int) -> Tensor:
    states = torch.rand(samples, dimension, generator=torch.Generator().manual_seed(0))
    return states.div_(states.norm(dim=1, keepdim=True))


def _weights(layers: int, qubits: int) -> Tensor:
    return (torch.rand(layers, qubits, 3, generator=torch.Generator().manual_seed(1)) * 6.3).requires_grad_()


def _step(states: Tensor, weights: Tensor, readouts: int, implementation: str) -> Callable[[], object]:
    return lambda: torch.autograd.grad(expectations(states, weights, readouts, implementation=implementation).sum(), weights)


def _forward(states: Tensor, weights: Tensor, readouts: int) -> Callable[[], object]:
    weights = weights.detach()
    return lambda: expectations(states, weights, readouts, implementation="cpu")


def _sgemm() -> Callable[[], object]:
    matrix = torch.rand(SGEMM, SGEMM, generator=torch.Generator().manual_seed(2))
    return lambda: matrix @ matrix


class Budget:
    """What a cell may cost when the whole run is to take about ``seconds``."""

    def __init__(self, seconds: float, cells: int) -> None:
        self.effort = seconds / SECONDS
        self.cell = seconds / (3 * cells)  # the rest is for the large batches, which are measured as seldom as can be

    def layers(self, qubits: int, wanted: int, samples: int) -> int:
        """Layers of the compiled circuit."""
        return fitting(CIRCUIT * self.effort, circuit_flops(qubits, 1, samples), wanted, FEWEST_LAYERS)

    def kron(self, qubits: int, layers: int, samples: int) -> tuple[int, int]:
        """Layers and samples of ``kron``: fewer samples first, since many are no faster, each, than some."""
        most = KRON * self.effort
        some = fitting(most, kron_flops(qubits, layers, 1), min(samples, 64), min(samples, FEWEST_SAMPLES))
        return fitting(most, kron_flops(qubits, 1, some), layers, FEWEST_LAYERS), some

    def frozen(self, qubits: int, pixels: int, readouts: int, samples: int) -> int:
        """Samples of the frozen circuit."""
        return fitting(FROZEN * self.effort, frozen_flops(qubits, pixels, readouts, 1), samples, FEWEST_SAMPLES)


def build(qubits: int, readouts: int, layers: int, budget: Budget) -> tuple[models.FrozenQVC, dict[str, Any]]:
    """A frozen circuit, and how fast it was made."""
    pixels = 3 << (qubits - 2)
    layers = budget.layers(qubits, layers, pixels)
    qvc = models.QVC(qubits, layers, readouts, shape=(pixels,))
    qvc.freeze()  # compiles
    seconds = measure.turns({"sgemm": _sgemm(), "build": qvc.freeze}, 0.0, least=2)
    rate, sgemm = circuit_flops(qubits, layers, pixels) / seconds["build"], sgemm_flops() / seconds["sgemm"]
    return qvc.freeze(), {"pixels": pixels, "build_layers": layers, "build_seconds": seconds["build"], "build_share": rate / sgemm}


def cell(qubits: int, readouts: int, batch: int, layers: int, frozen: models.FrozenQVC, budget: Budget) -> dict[str, Any]:
    """One row: all that is measured for one number of qubits, readouts and samples."""
    layers = budget.layers(qubits, layers, batch)
    kron_layers, kron_batch = budget.kron(qubits, layers, batch)
    pixels = len(frozen.matrix)
    samples = budget.frozen(qubits, pixels, readouts, batch)
    states, weights = _states(batch, 1 << qubits), _weights(layers, qubits)
    images = _states(samples, pixels)
    attacked = images.clone().requires_grad_()
    work = {
        "sgemm": _sgemm(),
        "forward": _forward(states, weights, readouts),
        "step": _step(states, weights, readouts, "cpu"),
        "kron": _step(_states(kron_batch, 1 << qubits), _weights(kron_layers, qubits), readouts, "kron"),
        "frozen": lambda: frozen(images),
        "gradient": lambda: torch.autograd.grad(frozen(attacked).sum(), attacked),
    }
    t = measure.turns(work, budget.cell)
    sgemm = sgemm_flops() / t["sgemm"]
    rates = {
        "forward": circuit_flops(qubits, layers, batch) / t["forward"],
        "frozen": frozen_flops(qubits, pixels, readouts, samples) / t["frozen"],
        "gradient": 2 * frozen_flops(qubits, pixels, readouts, samples) / t["gradient"],
    }
    ms = {
        "forward": 1e3 * t["forward"] / batch,
        "step": 1e3 * t["step"] / batch,
        "kron": 1e3 * t["kron"] / kron_batch * layers / kron_layers,  # as many layers as the step
        "frozen": 1e3 * t["frozen"] / samples,
        "gradient": 1e3 * t["gradient"] / samples,
    }
    return {
        **{"qubits": qubits, "readouts": readouts, "batch": batch, "layers": layers, "sgemm_gflops": sgemm / 1e9},
        **{f"{name}_ms": value for name, value in ms.items()},
        **{f"{name}_gflops": value / 1e9 for name, value in rates.items()},
        **{f"{name}_share": value / sgemm for name, value in rates.items()},
        **{"kron_ratio": ms["kron"] / ms["step"], "kron_batch": kron_batch, "kron_layers": kron_layers, "pixels": pixels, "samples": samples},
    }


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Rates against qubits, with all readouts; each batch a line. Both axes are logarithmic, as the state has 2^n amplitudes."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    most = {row["qubits"]: max(r["readouts"] for r in rows if r["qubits"] == row["qubits"]) for row in rows}
    shown = [row for row in rows if row["readouts"] == most[row["qubits"]]]
    kinds = {"forward": "circuit, forward", "frozen": "frozen, forward", "gradient": "frozen, gradient for the image"}
    figure, panels = pyplot.subplots(1, 3, figsize=(12, 4), sharey=True, layout="constrained")
    for panel, (kind, title) in zip(panels, kinds.items(), strict=True):
        for batch in sorted({row["batch"] for row in shown}):
            line = [row for row in shown if row["batch"] == batch]
            panel.loglog([1 << r["qubits"] for r in line], [r[f"{kind}_gflops"] for r in line], "o-", markersize=3, label=f"batch {batch:,}")
        wide = [[r["sgemm_gflops"] for r in shown if r["qubits"] == n] for n in sorted(most)]
        panel.loglog([1 << n for n in sorted(most)], [sum(w) / len(w) for w in wide], "k--", label=f"sgemm, {SGEMM} x {SGEMM}")
        panel.set_xticks([1 << n for n in sorted(most)], [str(n) for n in sorted(most)])
        panel.minorticks_off()
        panel.set(title=title, xlabel="qubits")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("GFLOP/s on one core")
    panels[0].legend(fontsize=8)
    figure.savefig(path)
    pyplot.close(figure)


def _readouts(text: str) -> int | None:
    return None if text == "all" else int(text)


def main() -> None:
    """Measure every cell; print three tables, write a JSON and a figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qubits", type=int, nargs="+", default=list(range(8, 15)))
    parser.add_argument("--layers", type=int, default=200)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 33, 64, 10_000])
    parser.add_argument("--readouts", type=_readouts, nargs="+", default=[2, None], help="2 or more, or all")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="about how long the whole run may take")
    parser.add_argument("--out", type=Path, default=measure.RESULTS)
    arguments = parser.parse_args()
    if min(arguments.qubits) < 2 or max(arguments.qubits) > 14:
        parser.error(f"--qubits must be from 2 to 14, got {arguments.qubits}")
    if min((r for r in arguments.readouts if r is not None), default=2) < 2:
        parser.error("--readouts must be 2 or more, or all: a classifier has two classes at least")
    measure.pin()
    about = measure.machine()
    circuits = [(n, k) for n in arguments.qubits for k in sorted({min(n, r or n) for r in arguments.readouts})]
    budget = Budget(arguments.seconds, len(circuits) * len(arguments.batch))
    rows = []
    for qubits, readouts in circuits:
        frozen, made = build(qubits, readouts, arguments.layers, budget)
        for batch in arguments.batch:
            rows.append({**cell(qubits, readouts, batch, arguments.layers, frozen, budget), **made})
            print(measure.table(rows[-1:], COLUMNS["speed"]).splitlines()[-1], flush=True)
    path = measure.write("roofline", vars(arguments), rows, about, arguments.out)
    draw(rows, arguments.out / "roofline.svg")
    print(f"\n{about['processor']}, one core, torch {about['versions']['torch']}; ms a sample, shares of sgemm's rate\n")
    print(measure.table(rows, COLUMNS["speed"]), measure.table(rows, COLUMNS["frozen"]), sep="\n\n", end="\n\n")
    print(measure.table([row for row in rows if row["batch"] == arguments.batch[0]], COLUMNS["build"]), path, sep="\n\n")


if __name__ == "__main__":
    main()
