"""PennyLane's lightning.qubit, complex64, with the PyTorch interface and adjoint differentiation; one sample at a time, as it doesn't batch."""

import numpy as np
import pennylane as qml
import torch
from numpy.typing import NDArray

from peers._contract import Problem, Steps


def build(problem: Problem) -> Steps:
    """The three steps on one problem. The gradient for the states is NaN where a pixel is zero: the table says so after the check."""
    torch.set_num_threads(1)
    wires = range(problem.qubits)

    @qml.qnode(qml.device("lightning.qubit", wires=problem.qubits, c_dtype=np.complex64), interface="torch", diff_method="adjoint")
    def circuit(state: torch.Tensor, weights: torch.Tensor) -> list[qml.measurements.ExpectationMP]:
        qml.StatePrep(state, wires=wires, validate_norm=False)
        for layer in weights:
            for wire in wires:
                qml.Rot(layer[wire, 0], layer[wire, 1], layer[wire, 2], wires=wire)
            for wire in wires[:-1]:
                qml.CZ((wire, wire + 1))
        return [qml.expval(qml.Z(wire)) for wire in wires[: problem.readouts]]

    states, weights, cotangents = (torch.from_numpy(a) for a in (problem.states, problem.weights, problem.cotangents))
    pixels, angles = states.clone().requires_grad_(), weights.clone().requires_grad_()

    def loss(states: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return (torch.stack([torch.stack(circuit(state, weights)) for state in states]) * cotangents).sum()

    def forward() -> NDArray[np.floating]:
        with torch.no_grad():
            return torch.stack([torch.stack(circuit(state, weights)) for state in states]).numpy()

    def train() -> NDArray[np.floating]:
        return torch.autograd.grad(loss(states, angles), angles)[0].numpy()

    def attack() -> NDArray[np.floating]:
        return torch.autograd.grad(loss(pixels, weights), pixels)[0].numpy()

    return Steps(forward, train, attack)
