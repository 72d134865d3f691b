"""The benchmarks' own arithmetic, and that each script runs and leaves a JSON and a figure."""

import importlib
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
import torch

FOLDER = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = {
    "roofline": "--qubits 4 5 --layers 3 --batch 1 3 --readouts 2 all --seconds 0.1",
    "scaling": "--qubits 4 5 --layers 1 2 --batch 1 2 --threads 1 --at 4 2 2 --start-qubits --seconds 0.1",
    "studies": "--short --only clean --layers 2 --images 32 --steps 2 --rounds 1",
}


@pytest.fixture
def script(monkeypatch):
    """Imports a benchmark, as a script in its folder would be."""
    monkeypatch.syspath_prepend(str(FOLDER))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_leaves_a_json_and_a_figure(name, tmp_path):
    command = [sys.executable, str(FOLDER / f"{name}.py"), *SCRIPTS[name].split(), "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / f"{name}.svg").read_text().count("<path") > 10

    def refuse(constant: str):
        raise ValueError(f"{constant} is no JSON")

    written = json.loads((tmp_path / f"{name}.json").read_text(), parse_constant=refuse)
    assert written["benchmark"] == name
    assert written["machine"]["versions"].keys() >= {"python", "torch", "numba", "numpy"}
    assert written["machine"]["processor"]
    assert written["machine"]["date"].startswith("20")
    assert written["rows"]
    assert str(tmp_path / f"{name}.json") in done.stdout


def test_a_row_of_the_roofline_agrees_with_itself(script):
    roofline = script("roofline")
    budget = roofline.Budget(0.1, 1)
    frozen, made = roofline.build(4, 3, 2, budget)
    row = roofline.cell(4, 3, 5, 2, frozen, budget)
    assert made["pixels"] == row["pixels"] == 12
    assert row["forward_gflops"] == pytest.approx(6 * 5 * 16 * 2 / row["forward_ms"] / 1e6)
    assert row["frozen_gflops"] == pytest.approx((2 * 12 * 32 + 2 * 32 * 3) / row["frozen_ms"] / 1e6)
    assert row["gradient_gflops"] == pytest.approx(2 * (2 * 12 * 32 + 2 * 32 * 3) / row["gradient_ms"] / 1e6)
    assert row["forward_share"] == pytest.approx(row["forward_gflops"] / row["sgemm_gflops"])
    assert row["kron_ratio"] == pytest.approx(row["kron_ms"] / row["step_ms"])


def test_operations(script):
    roofline = script("roofline")
    assert roofline.sgemm_flops() == 2 * 1024**3
    assert roofline.circuit_flops(10, 200, 64) == 6 * 11 * 1024 * 200 * 64
    assert roofline.kron_flops(5, 3, 2) == 3 * 2 * (8 * 32 * 4 + 8 * 32 * 8)  # factors of 4 x 4 and 8 x 8
    assert roofline.frozen_flops(10, 768, 10, 3) == 3 * (2 * 768 * 2 * 1024 + 2 * 2 * 1024 * 10)


def test_a_budget_takes_layers_and_samples_away_but_not_all(script):
    roofline = script("roofline")
    whole = roofline.Budget(roofline.SECONDS, 10)
    assert whole.layers(8, 200, 64) == 200
    assert 10 <= whole.layers(13, 200, 10_000) < 200
    assert whole.layers(14, 200, 10_000) == 10
    assert whole.layers(14, 5, 10_000) == 5
    assert whole.kron(8, 200, 33) == (200, 33)
    layers, samples = whole.kron(14, 200, 64)
    assert samples == 8
    assert 10 <= layers < 200
    assert whole.kron(14, 200, 1)[1] == 1
    assert whole.frozen(10, 768, 10, 33) == 33
    assert 8 <= whole.frozen(14, 12288, 10, 10_000) < 200


def test_the_slope_of_a_power_law(script):
    measure = script("measure")
    x = [1, 3, 10, 50]
    assert measure.slope(x, [7 * v**1.5 for v in x]) == pytest.approx(1.5)
    assert measure.slope(x, [4, 4, 4, 4]) == pytest.approx(0)
    assert math.isnan(measure.slope([2], [3]))


def test_fits_count_qubits_as_dimension_and_samples_from_a_vector_on(script):
    scaling = script("scaling")

    def line(against, values, of):
        return [{"what": "step", "against": against, "at": v, "value": of(v), "unit": "s"} for v in values]

    rows = line("qubits", [4, 6, 8, 10], lambda n: 3.0 * 4**n) + line("batch", [1, 4, 16, 64, 256], lambda b: max(b, 8) / 10)
    rows += line("layers", [10, 20, 40, 80], lambda v: 5 + 2.0 * v) + line("threads", [1], lambda t: 1.0)
    found = {row["against"]: row for row in scaling.fits(rows, 8)}
    assert found["qubits"]["exponent"] == pytest.approx(2)
    assert found["batch"]["exponent"] == pytest.approx(1)
    assert found["batch"]["from"] == 16
    assert found["layers"]["for_one_more"] == pytest.approx(2)
    assert found["layers"]["upper_half"] == pytest.approx(math.log(165 / 85) / math.log(2))
    assert math.isnan(found["threads"]["exponent"])


def test_memory_of_a_step():
    code = "import scaling; print(scaling.growth('step', scaling.Size(8, 2, 4096)))"  # a process of its own: this one reuses what it has freed
    grown = int(subprocess.run([sys.executable, "-c", code], cwd=FOLDER, capture_output=True, text=True, check=True).stdout)
    kept = 4096 * 256 * 8
    assert 0.9 * kept < grown < 4 * kept  # the system counts pages in lots, and a little of what was freed is used again


@pytest.mark.slow
def test_a_first_start_compiles_and_a_second_does_not(script):
    first, second = script("scaling").starts(4)
    assert (first["start"], second["start"]) == ("first", "second")
    assert first["first_call"] > 5 * second["first_call"]


def test_turns_calls_what_is_quick_more_often(script):
    measure = script("measure")
    called = {"quick": 0, "slow": 0}

    def run(name: str, seconds: float):
        called[name] += 1
        time.sleep(seconds)

    found = measure.turns({"quick": lambda: run("quick", 0.0001), "slow": lambda: run("slow", 0.02)}, 0.0, least=3)
    assert called["slow"] == 5  # twice to warm up
    assert called["quick"] > 5
    assert found["slow"] >= 0.02


def test_a_clock_gives_every_moment_one_name(script):
    studies = script("studies")
    began = time.perf_counter()
    clock = studies.Clock()
    with clock.span("outer"):
        time.sleep(0.02)
        with clock.span("inner"):
            time.sleep(0.05)
        with pytest.raises(ZeroDivisionError), clock.span("inner"):
            raise ZeroDivisionError
    clock.stop()
    whole = time.perf_counter() - began
    assert clock.names == [studies.OTHER]
    assert clock.times == {"outer": 1, "inner": 2}
    assert clock.seconds["inner"] >= 0.05
    assert 0.02 <= clock.seconds["outer"] <= whole - 0.05
    assert 0.07 <= sum(clock.seconds.values()) <= whole


@pytest.mark.parametrize("case", ["fit, 3 layers", "craft", "score"])
def test_watching_changes_no_result_sees_kernels_and_puts_everything_back(script, case):
    studies = script("studies")
    from qarmor.circuits import dense
    from qarmor.circuits.cpu import kernel

    before = kernel.forward, dense.expectations, torch.autograd.grad, studies.Store.lock
    clock = studies.profiled(studies.cases(3, 16, 2)[case], 1)
    assert (kernel.forward, dense.expectations, torch.autograd.grad, studies.Store.lock) == before
    expected = studies.CIRCUIT if case.startswith("fit") else studies.FROZEN
    assert clock.seconds[expected] > 0
    assert clock.names == [studies.OTHER]
    rows = studies.in_rows(case, clock)
    assert sum(row["share"] for row in rows if row["part"]) == pytest.approx(1)
    assert rows[-1]["kernels"] + rows[-1]["not_kernels"] == pytest.approx(1)


def test_a_backward_pass_belongs_to_its_network(script):
    studies = script("studies")
    clock = studies.Clock()

    class Slow(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        def backward(ctx, grad):
            time.sleep(0.05)
            return 2 * grad

    timed = studies._with_backward(clock, Slow.apply, studies.CLASSICAL)
    x = torch.ones(3, requires_grad=True)
    with clock.span("call"):
        (grad,) = torch.autograd.grad(timed(x + 1).sum(), x)
    assert grad.tolist() == [2, 2, 2]
    assert clock.names == [studies.OTHER]
    assert clock.seconds[studies.CLASSICAL] >= 0.05
    assert clock.seconds["call"] < 0.05
