"""A circuit as one real matrix, for models whose weights no longer change: cost independent of depth (DESIGN 3.3).

For a real vector x, ``<Z_k> = sum_i S_ik (x M)_i^2`` with ``M = [Re U^T, Im U^T]``, ``(d, 2 * 2^n)``, the rows of it that hold pixels, and S
the table of Z's signs, twice. Building M is one pass of the circuit over d basis vectors.
"""

import torch
from torch import Tensor

from qarmor.circuits import kron

_BATCH = 512


def matrix(weights: Tensor, positions: Tensor, *, implementation: str = "auto") -> Tensor:
    """M for the basis vectors ``positions``, real ``(d, 2 * 2^n)`` in the precision and on the device of ``weights``.

    Args:
        weights: ``(layers, n, 3)``, angles in radians.
        positions: int64 ``(d,)``, which amplitude each pixel becomes.
        implementation: ``"cpu"``, ``"kron"`` or ``"auto"``, as for ``expectations``.
    """
    from qarmor.circuits.choice import choose

    weights = weights.detach()
    dimension = 1 << weights.shape[1]
    chosen = choose(weights.dtype, weights.device, implementation).name
    result = weights.new_empty(len(positions), 2 * dimension)
    for start in range(0, len(positions), _BATCH):
        some = positions[start : start + _BATCH, None]
        stop = start + len(some)
        basis = weights.new_zeros(len(some), dimension).scatter_(1, some, 1.0)
        if chosen == "cpu":
            from qarmor.circuits.cpu import kernel

            psi = kernel.amplitudes(basis, weights)
        else:
            psi = kron.evolve(basis, weights)
        result[start:stop, :dimension] = psi.real
        result[start:stop, dimension:] = psi.imag
    return result


def signs(qubits: int, readouts: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """S, ``(2 * 2^qubits, readouts)``."""
    return kron.z_signs(qubits, readouts, dtype=dtype, device=device).repeat(2, 1)


def expectations(vectors: Tensor, m: Tensor, s: Tensor) -> Tensor:
    """<Z_k> of real ``vectors`` ``(B, d)``, ``(B, readouts)``, with m and s from ``matrix`` and ``signs``."""
    return (vectors @ m).square() @ s


def forms(m: Tensor, readouts: int) -> Tensor:
    """``A_k = M diag(S_k) M^T``, ``(readouts, d, d)``: <Z_k> of x is ``x^T A_k x``."""
    qubits = (m.shape[1] // 2).bit_length() - 1
    s = signs(qubits, readouts, dtype=m.dtype, device=m.device)
    return torch.stack([(m * s[:, k]) @ m.T for k in range(readouts)])
