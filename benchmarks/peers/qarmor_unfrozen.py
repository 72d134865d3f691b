"""QArmor's compiled kernel in all three steps, the attack too: what a gradient for images costs while weights may still change."""

import numpy as np
import torch
from numpy.typing import NDArray

from peers._contract import Problem, Steps
from qarmor.circuits import expectations


def build(problem: Problem, implementation: str = "cpu") -> Steps:
    """The three steps on one problem."""
    torch.set_num_threads(1)
    states, weights, cotangents = (torch.from_numpy(a) for a in (problem.states, problem.weights, problem.cotangents))
    pixels, angles = states.clone().requires_grad_(), weights.clone().requires_grad_()

    def circuit(states: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return expectations(states, weights, problem.readouts, implementation=implementation)

    def forward() -> NDArray[np.floating]:
        with torch.no_grad():
            return circuit(states, weights).numpy()

    def train() -> NDArray[np.floating]:
        return torch.autograd.grad((circuit(states, angles) * cotangents).sum(), angles)[0].numpy()

    def attack() -> NDArray[np.floating]:
        return torch.autograd.grad((circuit(pixels, weights) * cotangents).sum(), pixels)[0].numpy()

    return Steps(forward, train, attack)
