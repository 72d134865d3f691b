"""The circuit in plain torch: each layer is two Kronecker factors and a sign. Runs on any device and in any autograd.

The state is reshaped to a matrix over (high wires, low wires); a layer of single-qubit gates is then ``A psi B^T`` with A, B the
Kronecker products of the gates of each half, and the chain of CZs multiplies by signs.
"""

import torch
from torch import Tensor


def z_signs(qubits: int, readouts: int, *, dtype: torch.dtype = torch.float32, device: torch.device | None = None) -> Tensor:
    """Eigenvalues of Z_0, ..., Z_{readouts-1} on the basis states, ``(2^qubits, readouts)`` of +1 and -1; wire 0 is the top bit."""
    index = torch.arange(1 << qubits, device=device)
    shifts = qubits - 1 - torch.arange(readouts, device=device)
    return (1 - 2 * ((index[:, None] >> shifts) & 1)).to(dtype)


def cz_signs(qubits: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Diagonal of CZ on (0, 1), (1, 2), ..., ``(2^qubits,)`` of +1 and -1."""
    index = torch.arange(1 << qubits, device=device)
    pairs = index & (index >> 1)
    parity = torch.zeros_like(index)
    for bit in range(qubits - 1):
        parity ^= (pairs >> bit) & 1
    return (1 - 2 * parity).to(dtype)


def rotations(weights: Tensor) -> Tensor:
    """RZ(omega) RY(theta) RZ(phi) of every layer and wire, complex ``(layers, n, 2, 2)``."""
    phi, theta, omega = weights.unbind(-1)
    c, s = torch.cos(theta / 2), torch.sin(theta / 2)
    plus = torch.polar(torch.ones_like(phi), -(phi + omega) / 2)
    minus = torch.polar(torch.ones_like(phi), (phi - omega) / 2)
    return torch.stack([torch.stack([plus * c, -minus * s], -1), torch.stack([minus.conj() * s, plus.conj() * c], -1)], -2)


def _kronecker(gates: Tensor) -> Tensor:
    """``(layers, m, 2, 2)`` to ``(layers, 2^m, 2^m)``, the first wire the most significant."""
    layers, wires = gates.shape[:2]
    product = torch.ones(layers, 1, 1, dtype=gates.dtype, device=gates.device)
    for w in range(wires):
        side = 2 * product.shape[1]
        product = torch.einsum("lij,lkm->likjm", product, gates[:, w]).reshape(layers, side, side)
    return product


def evolve(states: Tensor, weights: Tensor) -> Tensor:
    """States after the circuit.

    Args:
        states: ``(B, 2^n)``, float or complex.
        weights: ``(layers, n, 3)``, of the same precision.

    Returns:
        Complex ``(B, 2^n)``.
    """
    n = weights.shape[1]
    high = n // 2
    gates = rotations(weights)
    left, right = _kronecker(gates[:, :high]), _kronecker(gates[:, high:]).transpose(-1, -2)
    signs = cz_signs(n, dtype=weights.dtype, device=weights.device).reshape(1 << high, -1)
    psi = states.to(gates.dtype).reshape(-1, 1 << high, 1 << (n - high))
    for a, b in zip(left, right, strict=True):
        psi = torch.matmul(a, torch.matmul(psi, b)) * signs
    return psi.reshape(states.shape)


def expectations(states: Tensor, weights: Tensor, readouts: int) -> Tensor:
    """<Z_0>, ..., <Z_{readouts-1}> of the evolved states, ``(B, readouts)`` in the precision of ``weights``."""
    psi = evolve(states, weights)
    probabilities = psi.real**2 + psi.imag**2
    return probabilities @ z_signs(weights.shape[1], readouts, dtype=weights.dtype, device=weights.device)
