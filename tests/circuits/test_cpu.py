"""What only the compiled kernel promises: same bits for any threads, safety, caching, refusal of second derivatives."""

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from qarmor.circuits import cpu, expectations
from qarmor.circuits.cpu import frame, kernel
from qarmor.circuits.cpu.compile import cache_folder
from qarmor.circuits.cpu.vectors import LANES


@pytest.fixture
def problem(seed):
    states = torch.randn(203, 256)
    states = (states / states.norm(dim=1, keepdim=True)).requires_grad_()
    weights = torch.randn(6, 8, 3, requires_grad=True)
    return states, weights


def results(states, weights):
    out = expectations(states, weights, implementation="cpu")
    return (out.detach(), *torch.autograd.grad((out * torch.linspace(-1, 1, out.numel()).reshape(out.shape)).sum(), (states, weights)))


def test_bits_do_not_depend_on_threads(problem):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = results(*problem)
        for threads in (2, 3, 7):
            torch.set_num_threads(threads)
            assert all(torch.equal(a, b) for a, b in zip(alone, results(*problem), strict=True)), f"{threads} threads"
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (5, 38), (190, 203)])
def test_samples_do_not_depend_on_their_neighbours(problem, start, stop):
    states, weights = problem
    whole, grads, _ = results(states, weights)
    some = states[start:stop].detach().requires_grad_()
    out = expectations(some, weights, implementation="cpu")
    cotangent = torch.linspace(-1, 1, whole.numel()).reshape(whole.shape)[start:stop]
    (grad,) = torch.autograd.grad((out * cotangent).sum(), some)
    # a sample in a block and the same alone are rounded differently, but in two blocks alike
    assert (out - whole[start:stop]).abs().max() < 1e-5
    assert (grad - grads[start:stop]).abs().max() < 1e-5
    for first in (8, 16):
        moved = expectations(states[first : first + 32].detach(), weights, implementation="cpu")
        assert torch.equal(moved[:16], whole[first : first + 16])


@pytest.mark.parametrize("qubits", range(4, 11))
def test_blocks_and_singles_agree_with_the_reference(qubits, seed):
    weights = torch.randn(5, qubits, 3) * 3
    for batch in (1, LANES - 1, LANES, LANES + 1, 2 * LANES + LANES // 2):
        states = torch.randn(batch, 1 << qubits, dtype=torch.complex64 if batch % 2 else torch.float32)
        states = (states / states.norm(dim=1, keepdim=True)).requires_grad_()
        cotangent = torch.randn(batch, qubits)
        found = []
        for implementation in ("reference", "cpu"):
            angles = weights.clone().requires_grad_()
            out = expectations(states, angles, implementation=implementation)
            found.append((out, *torch.autograd.grad((out * cotangent).sum(), (states, angles))))
        for wanted, got in zip(*found, strict=True):
            assert (wanted - got).abs().max() < 1e-5 * (1 + wanted.abs().max()), f"{qubits} qubits, batch {batch}"


def test_one_sample_is_a_single_and_a_full_block_is_not():
    layouts = [[(part.layout, part.start, part.stop) for part in kernel.parts_of(batch, 10)] for batch in (1, LANES, LANES + 1, 2 * LANES - 1)]
    assert layouts == [
        [(kernel.singles, 0, 1)],
        [(kernel.blocks, 0, LANES)],
        [(kernel.blocks, 0, LANES), (kernel.singles, LANES, LANES + 1)],
        [(kernel.blocks, 0, 2 * LANES - 1)],
    ]


def test_sines_and_cosines_are_exact_to_the_last_bits(seed):
    angles = torch.cat([torch.randn(4000, dtype=torch.float64) * scale for scale in (1e-3, 1, 100, 1e5)])
    weights = torch.zeros(len(angles), 1, 3, dtype=torch.float64)
    weights[:, 0, 0] = angles  # the diagonal of one low bit is exp(i alpha)
    columns = torch.from_numpy(frame.tables(torch.nn.functional.pad(weights, (0, 0, 0, 3)), 3).rows)
    made = torch.complex(columns[:, 0, 0, 1], columns[:, 0, 1, 1])
    wanted = torch.polar(torch.ones_like(angles), angles)
    assert (made - wanted).abs().max() < 1e-7


def test_several_threads_at_once(problem):
    wanted = results(*problem)
    with ThreadPoolExecutor(4) as pool:
        for got in [task.result() for task in [pool.submit(results, *problem) for _ in range(12)]]:
            assert all(torch.equal(a, b) for a, b in zip(wanted, got, strict=True))


def _child(connection, states, weights):
    out = expectations(torch.tensor(states), torch.tensor(weights), implementation="cpu")
    connection.send(out.tolist())


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_after_fork_and_spawn(problem, method):
    states, weights = (t.detach() for t in problem)
    wanted = expectations(states, weights, implementation="cpu")
    context = multiprocessing.get_context(method)
    here, there = context.Pipe()
    child = context.Process(target=_child, args=(there, states.tolist(), weights.tolist()))
    child.start()
    assert torch.equal(torch.tensor(here.recv()), wanted)
    child.join()
    assert child.exitcode == 0


def test_a_second_derivative_is_refused_in_words(problem):
    states, weights = problem
    out = expectations(states, weights, implementation="cpu")
    (grad,) = torch.autograd.grad(out.sum(), states, create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivative: use implementation='kron'"):
        grad.square().sum().backward()


def test_amplitudes_have_the_references_probabilities(seed):
    from qarmor.circuits import reference

    for qubits in (2, 5, 8):
        states = torch.randn(19, 1 << qubits)
        weights = torch.randn(5, qubits, 3) * 5
        wanted = reference.evolve(states, weights).abs() ** 2
        assert (cpu.amplitudes(states, weights).abs() ** 2 - wanted).abs().max() < 1e-4


def test_non_contiguous_and_conjugated_inputs(seed):
    states = torch.randn(8, 6, dtype=torch.complex64).T
    weights = torch.randn(3, 3, 3, 2)[..., 0].permute(2, 1, 0)
    for x in (states, states.conj()):
        wanted = expectations(x, weights, implementation="reference")
        assert (expectations(x, weights, implementation="cpu") - wanted).abs().max() < 1e-4


SCRIPT = """
import torch
from qarmor.circuits import expectations
print(expectations(torch.eye(16), torch.ones(2, 4, 3), implementation="cpu").sum().item())
"""


def run(environment, *flags):
    return subprocess.run([sys.executable, *flags, "-c", SCRIPT], env={**os.environ, **environment}, capture_output=True, text=True)


def test_an_unwritable_home_and_cache_do_no_harm(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    environment = {"HOME": str(blocked), "XDG_CACHE_HOME": str(blocked / "x"), "NUMBA_CACHE_DIR": str(blocked / "y"), "TMPDIR": str(tmp_path)}
    done = run(environment)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("qarmor-*/**/*.nbi")), "the temporary folder was not used"


def test_no_writable_folder_at_all_means_no_cache(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(name, str(blocked))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(blocked))
    assert cache_folder() is None


def test_numba_cache_dir_is_used(tmp_path):
    done = run({"NUMBA_CACHE_DIR": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("**/*.nbi"))


@pytest.mark.parametrize("lanes", ["4", "8", "16"])
def test_every_vector_width(lanes, tmp_path):
    script = """
import torch
from qarmor.circuits import expectations
from qarmor.circuits.cpu.vectors import LANES
torch.manual_seed(0)
x, w = torch.randn(21, 256, requires_grad=True), torch.randn(3, 8, 3, requires_grad=True)  # blocks and singles
for name in ("reference", "cpu"):
    x.grad = w.grad = None
    out = expectations(x, w, implementation=name)
    out.square().sum().backward()
    if name == "cpu":
        errors = [((got - want).abs().max() / want.abs().max()).item() for got, want in zip((out, x.grad, w.grad), wanted)]
        print(LANES, max(errors) < 1e-5)
    wanted = out.detach(), x.grad, w.grad
"""
    done = subprocess.run([sys.executable, "-c", script], env={**os.environ, "QARMOR_LANES": lanes}, capture_output=True, text=True)
    assert done.stdout.split() == [lanes, "True"], done.stdout + done.stderr


def test_a_wrong_vector_width_is_named():
    done = run({"QARMOR_LANES": "5"})
    assert "QARMOR_LANES must be one of 4, 8, 16, got '5'" in done.stderr
