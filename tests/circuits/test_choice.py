"""Validation, and the choice of an implementation."""

import os
import subprocess
import sys

import pytest
import torch

from qarmor.circuits import IMPLEMENTATIONS, Ansatz, choose, expectations

X, W = torch.randn(2, 8), torch.randn(2, 3, 3)


@pytest.mark.parametrize(
    ("states", "weights", "readouts", "message"),
    [
        (torch.ones(2, 8, dtype=torch.int64), W, None, "states must be a tensor of floats or complex numbers, got torch.int64"),
        ([1.0], W, None, "states must be a tensor of floats or complex numbers, got list"),
        (X.numpy(), W, None, "got ndarray"),
        (X, W.long(), None, "weights must be a tensor of floats, got torch.int64"),
        (X, W[0], None, r"weights must be \(layers, qubits, 3\), got shape \(3, 3\)"),
        (X, torch.ones(2, 15, 3), None, "qubits must be a whole number from 1 to 14, got 15"),
        (X, torch.ones(2, 0, 3), None, "qubits must be a whole number from 1 to 14, got 0"),
        (X[:, :7], W, None, r"states must be .* = 8 for the 3 qubits of the weights, got shape \(2, 7\)"),
        (X[None], W, None, r"got shape \(1, 2, 8\)"),
        (X, W, 4, "readouts must be a whole number from 1 to the number of qubits, 3, got 4"),
        (X, W, 0, "readouts must be .* got 0"),
        (X, W, True, "readouts must be .* got True"),
        (X.half(), W.half(), None, "must be float32 or float64"),
        (X, W.to("meta"), None, "states are on cpu and weights on meta"),
    ],
)
def test_bad_input_is_named(states, weights, readouts, message):
    with pytest.raises((TypeError, ValueError), match=message):
        expectations(states, weights, readouts)


def test_unknown_and_impossible_implementations_list_what_exists():
    with pytest.raises(ValueError, match="must be 'auto' or one of cpu, kron, reference, got 'gpu'"):
        expectations(X, W, implementation="gpu")
    with pytest.raises(ValueError, match=r"'cpu' cannot be used: .* float32, the tensors are float64; use 'auto' or one of cpu, kron, reference"):
        expectations(X.double(), W.double(), implementation="cpu")


def test_the_choice_says_why():
    assert str(choose(torch.float32, "cpu")).startswith("cpu (auto:")
    assert "tensors are on cuda" in str(choose(torch.float32, "cuda"))
    assert "tensors are float64" in str(choose(torch.float64, "cpu"))
    assert str(choose(torch.float32, "cpu", "kron")) == "kron (asked for)"


def test_without_numba_auto_falls_back_and_cpu_raises():
    script = """
import sys
sys.modules["numba"] = None
import torch
from qarmor.circuits import choose, expectations
print(choose(torch.float32, "cpu"))
expectations(torch.ones(4), torch.ones(1, 2, 3))
try:
    expectations(torch.ones(4), torch.ones(1, 2, 3), implementation="cpu")
except ValueError as error:
    print(error)
"""
    lines = subprocess.run([sys.executable, "-c", script], env=os.environ, capture_output=True, text=True).stdout.splitlines()
    assert lines[0].startswith("kron (auto: numba is needed")
    assert lines[1].startswith("implementation 'cpu' cannot be used: numba is needed")
    assert "cpu, kron, reference" in lines[1]


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_mixed_precisions_promote(implementation):
    if implementation != "cpu":
        assert expectations(X, W.double(), implementation=implementation).dtype == torch.float64
        assert expectations(X.to(torch.complex64), W.double(), implementation=implementation).dtype == torch.float64
    assert expectations(X.to(torch.complex64), W, implementation=implementation).dtype == torch.float32


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_empty_batch(implementation):
    x, w = torch.zeros(0, 8, requires_grad=True), W.clone().requires_grad_()
    out = expectations(x, w, implementation=implementation)
    assert out.shape == (0, 3)
    out.sum().backward()
    assert x.grad.shape == (0, 8)
    assert (w.grad == 0).all()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_nan_stays_nan(implementation):
    weights = W.clone()
    weights[0, 0, 1] = float("nan")
    assert expectations(X, weights, implementation=implementation).isnan().any()


def test_ansatz_counts():
    ten = Ansatz(10, 200)
    assert (ten.gates_per_layer, ten.parameters, sum(ten.gates.values())) == (39, 6000, 7800)
    assert Ansatz(12, 500).parameters == 18000
    assert (Ansatz(1, 1).depth, Ansatz(3, 1).depth, Ansatz(3, 0).depth) == (3, 5, 0)
    with pytest.raises(ValueError, match="layers must be a whole number, 0 or more, got -1"):
        Ansatz(3, -1)
    with pytest.raises(ValueError, match="qubits must be a whole number from 1 to 14, got 60"):
        Ansatz(60, 1)
