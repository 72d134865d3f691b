"""The table that all circuit tests cross: implementation x circuit x dtype, with the tolerances of each precision."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from qarmor.circuits import expectations


@dataclass(frozen=True)
class Case:
    implementation: str
    qubits: int
    layers: int
    batch: int | None
    dtype: torch.dtype

    @property
    def real(self) -> torch.dtype:
        return torch.empty(0, dtype=self.dtype).real.dtype

    def __str__(self) -> str:
        return f"{self.implementation}-{self.qubits}q{self.layers}l-b{self.batch}-{str(self.dtype).removeprefix('torch.')}"


# Largest error of an expectation or of a gradient's element, for normalised states and up to a few dozen layers.
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-11}
DTYPES = {
    "cpu": (torch.float32, torch.complex64),
    "kron": (torch.float32, torch.complex64, torch.float64, torch.complex128),
}
# qubits, layers, batch: none, one, empty; multiples and no multiples of the lanes; no layers
CIRCUITS = [
    (1, 1, None),
    (1, 5, 3),
    (2, 3, 17),
    (3, 4, 16),
    (4, 0, 3),
    (4, 6, 9),
    (5, 2, None),
    (6, 5, 33),
    (7, 3, 1),
    (8, 4, 8),
    (9, 2, 2),
    (10, 7, 37),
    (10, 40, 5),
    (11, 2, 3),
    (12, 3, 2),
]
SLOW_CIRCUITS = [(13, 2, 3), (14, 2, 3), (12, 30, 33), (8, 300, 130)]
CASES = [Case(name, *circuit, dtype) for name, dtypes in DTYPES.items() for circuit in CIRCUITS for dtype in dtypes]
SLOW = [Case(name, *circuit, dtype) for name, dtypes in DTYPES.items() for circuit in SLOW_CIRCUITS for dtype in dtypes]


@pytest.fixture(params=[*CASES, *(pytest.param(case, marks=pytest.mark.slow) for case in SLOW)], ids=str)
def case(request) -> Case:
    return request.param


@pytest.fixture
def problem(case: Case, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """States, weights (angles over several turns, some exactly at multiples of pi/2), and a random cotangent."""
    shape = (1 << case.qubits,) if case.batch is None else (case.batch, 1 << case.qubits)
    states = torch.randn(shape, dtype=case.dtype)
    states = states / torch.linalg.vector_norm(states, dim=-1, keepdim=True)
    weights = torch.randn(case.layers, case.qubits, 3, dtype=case.real) * 6
    special = torch.rand(weights.shape) < 0.2
    weights[special] = (torch.randint(-6, 7, weights.shape, dtype=case.real) * (torch.pi / 2))[special]
    cotangent = torch.randn(*shape[:-1], case.qubits, dtype=case.real)
    return states.requires_grad_(), weights.requires_grad_(), cotangent


@pytest.fixture
def compare(case: Case):
    def check(got: Tensor | None, wanted: Tensor, what: str) -> None:
        """Fails on a missing gradient, another shape or dtype, or an error beyond the precision's tolerance; names the largest."""
        assert got is not None, f"{what}: missing"
        assert got.shape == wanted.shape, f"{what}: shape {tuple(got.shape)}, wanted {tuple(wanted.shape)}"
        error = (got.to(wanted.dtype) - wanted).abs().max().item() if wanted.numel() else 0.0
        assert error <= TOLERANCE[case.real], f"{what}: largest error {error:.3g}, tolerance {TOLERANCE[case.real]:.3g}"

    return check


@pytest.fixture
def from_reference(problem) -> tuple[Tensor, Tensor, Tensor]:
    """Expectations and gradients for states and weights, by autograd through the gate-by-gate reference in double precision."""
    states, weights, cotangent = problem
    wide = torch.complex128 if states.is_complex() else torch.float64
    x, w = states.detach().to(wide).requires_grad_(), weights.detach().double().requires_grad_()
    out = expectations(x, w, implementation="reference")
    assert out.dtype == torch.float64
    grads = torch.autograd.grad((out * cotangent).sum(), (x, w), allow_unused=True)
    return out.detach(), grads[0], torch.zeros_like(w) if grads[1] is None else grads[1]
