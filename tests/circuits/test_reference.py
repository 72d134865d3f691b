"""The reference itself: against matrices written out by hand, finite differences, and PennyLane."""

import math

import pytest
import torch

from qarmor.circuits import expectations, reference


def test_two_qubits_by_hand(seed):
    weights = torch.randn(1, 2, 3, dtype=torch.float64)
    gates = []
    for phi, theta, omega in weights[0].tolist():
        rz = lambda a: torch.tensor([[complex(math.cos(a / 2), -math.sin(a / 2)), 0], [0, complex(math.cos(a / 2), math.sin(a / 2))]])  # noqa: E731
        ry = torch.tensor([[math.cos(theta / 2), -math.sin(theta / 2)], [math.sin(theta / 2), math.cos(theta / 2)]], dtype=torch.complex128)
        gates.append(rz(omega).to(torch.complex128) @ ry @ rz(phi).to(torch.complex128))
    unitary = torch.diag(torch.tensor([1, 1, 1, -1], dtype=torch.complex128)) @ torch.kron(gates[0], gates[1])
    psi = torch.randn(4, dtype=torch.complex128)
    wanted = unitary @ psi
    assert (reference.evolve(psi[None], weights)[0] - wanted).abs().max() < 1e-6  # the gates above passed through complex64
    p = wanted.abs() ** 2
    out = expectations(psi, weights, implementation="reference")
    assert (out - torch.stack([p[0] + p[1] - p[2] - p[3], p[0] - p[1] + p[2] - p[3]])).abs().max() < 1e-6


@pytest.mark.parametrize("implementation", ["reference", "kron"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_finite_differences(implementation, dtype, seed):
    states = torch.randn(2, 8, dtype=dtype, requires_grad=True)
    weights = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, w: expectations(x, w, implementation=implementation), (states, weights))


@pytest.mark.parametrize("qubits", [2, 5, 8])
def test_cpu_kernel_by_finite_differences(qubits, seed):
    states = torch.randn(3, 1 << qubits)
    states /= states.norm(dim=1, keepdim=True)
    weights = torch.randn(4, qubits, 3)
    x, w = states.clone().requires_grad_(), weights.clone().requires_grad_()
    cotangent = torch.randn(3, qubits)
    (expectations(x, w, implementation="cpu") * cotangent).sum().backward()
    for _ in range(5):
        dx, dw = torch.randn_like(states).double(), torch.randn_like(weights).double()
        h = 1e-5
        values = [
            (expectations(states + s * h * dx, weights.double() + s * h * dw, implementation="reference") * cotangent).sum().item() for s in (1, -1)
        ]
        wanted = (values[0] - values[1]) / (2 * h)
        got = ((x.grad * dx).sum() + (w.grad * dw).sum()).item()
        assert abs(got - wanted) < 1e-4 * (1 + abs(wanted)), f"directional derivative {got}, by differences {wanted}"


@pytest.mark.parametrize("implementation", ["reference", "kron", "cpu"])
@pytest.mark.parametrize(("qubits", "layers"), [(1, 3), (2, 4), (3, 2), (5, 3), (8, 2)])
def test_pennylane(implementation, qubits, layers, seed):
    qml = pytest.importorskip("pennylane", reason="PennyLane is not installed (extra: interop)")

    @qml.qnode(qml.device("default.qubit", wires=qubits), interface="torch", diff_method="backprop")
    def circuit(x, w):
        qml.AmplitudeEmbedding(x, wires=range(qubits), normalize=False, validate_norm=False)
        for layer in w:
            for q in range(qubits):
                qml.Rot(layer[q, 0], layer[q, 1], layer[q, 2], wires=q)
            for q in range(qubits - 1):
                qml.CZ(wires=[q, q + 1])
        return [qml.expval(qml.PauliZ(q)) for q in range(qubits)]

    states = torch.randn(4, 1 << qubits, dtype=torch.float64)
    states = (states / states.norm(dim=1, keepdim=True)).requires_grad_()
    weights = (7 * torch.randn(layers, qubits, 3, dtype=torch.float64)).requires_grad_()
    cotangent = torch.randn(4, qubits, dtype=torch.float64)
    wanted = torch.stack([torch.as_tensor(v) for v in circuit(states, weights)], 1)
    wanted_grads = torch.autograd.grad((wanted * cotangent).sum(), (states, weights))
    single = torch.float32 if implementation == "cpu" else torch.float64
    x, w = states.detach().to(single).requires_grad_(), weights.detach().to(single).requires_grad_()
    out = expectations(x, w, implementation=implementation)
    grads = torch.autograd.grad((out * cotangent).sum(), (x, w))
    for got, want in zip((out, *grads), (wanted, *wanted_grads), strict=True):
        assert (got - want).abs().max() < 1e-5
