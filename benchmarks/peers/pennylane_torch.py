"""PennyLane's default.qubit with the PyTorch interface: parameter broadcasting over the batch, gradients by backpropagation."""

import numpy as np
import pennylane as qml
import torch
from numpy.typing import NDArray

from peers._contract import Problem, Steps


def build(problem: Problem) -> Steps:
    """The three steps on one problem."""
    torch.set_num_threads(1)
    wires = range(problem.qubits)

    @qml.qnode(qml.device("default.qubit", wires=problem.qubits), interface="torch", diff_method="backprop")
    def circuit(states: torch.Tensor, weights: torch.Tensor) -> list[qml.measurements.ExpectationMP]:
        qml.StatePrep(states, wires=wires, validate_norm=False)
        for layer in weights:
            for wire in wires:
                qml.Rot(layer[wire, 0], layer[wire, 1], layer[wire, 2], wires=wire)
            for wire in wires[:-1]:
                qml.CZ((wire, wire + 1))
        return [qml.expval(qml.Z(wire)) for wire in wires[: problem.readouts]]

    states, weights, cotangents = (torch.from_numpy(a) for a in (problem.states, problem.weights, problem.cotangents))
    pixels, angles = states.clone().requires_grad_(), weights.clone().requires_grad_()

    def loss(states: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return (torch.stack(circuit(states, weights), 1) * cotangents).sum()

    def forward() -> NDArray[np.floating]:
        with torch.no_grad():
            return torch.stack(circuit(states, weights), 1).numpy()

    def train() -> NDArray[np.floating]:
        return torch.autograd.grad(loss(states, angles), angles)[0].numpy()

    def attack() -> NDArray[np.floating]:
        return torch.autograd.grad(loss(pixels, weights), pixels)[0].numpy()

    return Steps(forward, train, attack)
