"""DeepQuantum: amplitude encoding as the circuit's state, the whole batch at once, gradients by PyTorch's autograd."""

import deepquantum as dq
import numpy as np
import torch
from numpy.typing import NDArray

from peers._contract import Problem, Steps


def build(problem: Problem) -> Steps:
    """The three steps on one problem."""
    torch.set_num_threads(1)
    n = problem.qubits
    circuit = dq.QubitCircuit(n)
    for _ in range(problem.layers):
        for wire in range(n):
            circuit.u3(wire, encode=True)
        for wire in range(n - 1):
            circuit.cz(wire, wire + 1)
    for wire in range(problem.readouts):
        circuit.observable(wire)

    states, weights, cotangents = (torch.from_numpy(a) for a in (problem.states, problem.weights, problem.cotangents))
    pixels, angles = states.clone().requires_grad_(), weights.clone().requires_grad_()

    def expectations(states: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        # U3(theta, omega, phi) is RZ(omega) RY(theta) RZ(phi) but for a phase
        data = weights[:, :, [1, 2, 0]].flatten()
        circuit(data=data, state=states.to(torch.complex64)[:, :, None])
        return circuit.expectation()

    def forward() -> NDArray[np.floating]:
        with torch.no_grad():
            return expectations(states, weights).numpy()

    def train() -> NDArray[np.floating]:
        return torch.autograd.grad((expectations(states, angles) * cotangents).sum(), angles)[0].numpy()

    def attack() -> NDArray[np.floating]:
        return torch.autograd.grad((expectations(pixels, weights) * cotangents).sum(), pixels)[0].numpy()

    return Steps(forward, train, attack)
