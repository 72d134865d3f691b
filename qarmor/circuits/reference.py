"""The circuit gate by gate in complex128: obvious, slow, and the specification of every other implementation."""

import torch
from torch import Tensor


def rz(angle: Tensor) -> Tensor:
    """RZ(angle) = diag(exp(-i angle/2), exp(+i angle/2)), ``(2, 2)`` complex128."""
    half = torch.exp(-0.5j * angle.to(torch.complex128))
    return torch.diag(torch.stack([half, half.conj()]))


def ry(angle: Tensor) -> Tensor:
    """RY(angle) = [[cos, -sin], [sin, cos]] of angle/2, ``(2, 2)`` complex128."""
    c, s = torch.cos(angle / 2), torch.sin(angle / 2)
    return torch.stack([torch.stack([c, -s]), torch.stack([s, c])]).to(torch.complex128)


def evolve(states: Tensor, weights: Tensor) -> Tensor:
    """States after the circuit.

    Args:
        states: ``(B, 2^n)``, any floating or complex dtype.
        weights: ``(layers, n, 3)``, (phi, theta, omega) in radians.

    Returns:
        complex128 ``(B, 2^n)``.
    """
    batch, dimension = states.shape
    n = weights.shape[1]
    psi = states.to(torch.complex128).reshape([batch] + [2] * n)
    for angles in weights.double():
        for q in range(n):
            phi, theta, omega = angles[q]
            gate = rz(omega) @ ry(theta) @ rz(phi)
            psi = torch.movedim(torch.tensordot(gate, psi, dims=([1], [q + 1])), 0, q + 1)
        for q in range(n - 1):
            sign = torch.ones([1] + [2] * n, dtype=torch.float64, device=psi.device)
            both_one = [slice(None)] * (n + 1)
            both_one[q + 1] = both_one[q + 2] = slice(1, 2)
            sign[tuple(both_one)] = -1
            psi = psi * sign
    return psi.reshape(batch, dimension)


def expectations(states: Tensor, weights: Tensor, readouts: int) -> Tensor:
    """<Z_0>, ..., <Z_{readouts-1}> of the evolved states, float64 ``(B, readouts)``."""
    psi = evolve(states, weights)
    n = weights.shape[1]
    probabilities = (psi.real**2 + psi.imag**2).reshape([-1] + [2] * n)
    columns = []
    for k in range(readouts):
        zero, one = probabilities.unbind(k + 1)
        columns.append((zero - one).reshape(len(psi), (1 << n) >> 1).sum(1))
    return torch.stack(columns, 1)
