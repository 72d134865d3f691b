"""Whether a peer computes the same: against the circuit gate by gate in complex128, QArmor's specification."""

import functools

import numpy as np
from numpy.typing import NDArray

from peers._contract import STEPS, problem
from peers._worker import CHECKED

TOLERANCE = 1e-4  # of the largest element of the right answer


@functools.cache
def reference(qubits: int, layers: int, readouts: int) -> dict[str, NDArray[np.float64]]:
    """The right results of all steps on the samples of the check."""
    import torch

    from qarmor.circuits import expectations

    given = problem(qubits, layers, CHECKED, readouts)
    states, weights, cotangents = (torch.from_numpy(a).double() for a in (given.states, given.weights, given.cotangents))
    states.requires_grad_()
    weights.requires_grad_()
    values = expectations(states, weights, readouts, implementation="reference")
    train, attack = torch.autograd.grad((values * cotangents).sum(), (weights, states))
    return dict(zip(STEPS, (values.detach().numpy(), train.numpy(), attack.numpy()), strict=True))


def tangential(gradient: NDArray[np.float64], states: NDArray[np.floating]) -> NDArray[np.float64]:
    """The part along the sphere. Some peers normalise the state and some take it as it is: their gradients differ only across the sphere."""
    return gradient - (gradient * states).sum(1, keepdims=True) * states


def error(step: str, got: NDArray[np.float64], qubits: int, layers: int, readouts: int) -> tuple[float, str]:
    """Largest error of an element as a part of the largest right one, and what is wrong in a few words, empty if it agrees."""
    right = reference(qubits, layers, readouts)[step]
    if got.shape != right.shape:
        return float("inf"), f"shape {got.shape}, not {right.shape}"
    if bad := int((~np.isfinite(got)).sum()):
        return float("inf"), f"{bad} of {got.size} elements are not finite"
    if step == "attack":
        states = problem(qubits, layers, CHECKED, readouts).states.astype(float)
        got, right = tangential(got, states), tangential(right, states)
    largest = float(np.abs(got - right).max() / np.abs(right).max())
    return largest, "" if largest <= TOLERANCE else f"error {largest:.1e} of the largest element"
