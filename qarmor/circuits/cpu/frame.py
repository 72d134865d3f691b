"""From angles to the tables that the kernel reads: merged diagonals, tangents, and the Pauli frame that keeps them below 1.

RZ and CZ are diagonal, so a layer is one diagonal D_t = CZ^[t>0] prod_q exp(-i alpha_tq Z_q / 2), with alpha_0 = phi_0 and
alpha_t = omega_{t-1} + phi_t, followed by RY(theta_t) on every wire. RY(theta) = cos(theta/2) [[1, -t], [t, 1]] with t = tan(theta/2):
two fused multiply-adds a pair of amplitudes; the cosines are collected in the diagonal.

The tangent is safe because angles are first brought to |theta'| <= pi/2. Write theta = theta' + k pi: RY(pi) = -iY, and for odd k
the Y is moved to the end of the circuit. On its way through RZ its X part flips the sign of alpha, through RY an X or a Z alone flips the
sign of theta, through CZ_{q,q+1} X_q becomes X_q Z_{q+1}, and before the readout an X flips the sign of <Z>. ``flip_x`` and ``flip_z``
hold, for every wire, whether an X or a Z is on its way.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from qarmor.circuits.cpu.vectors import LANES, aligned


class Tables(NamedTuple):
    """What the kernels read, for ``layers`` layers of n wires whose bits split into high and low ones (bit 0 is wire n-1).

    Attributes:
        tangents: float32 ``(layers, n)``, tan(theta'/2) by bit.
        squared_cosines: float64 ``(layers, n)``, by bit.
        rows: float32 ``(layers, 2, 2, R)``: diagonal over the high bits, without and with the sign of the CZ between the halves; real, imaginary.
            It carries the product of the layer's cosines. R is the number of high rows, padded with zeros to whole vectors.
        columns: float32 ``(layers, 2^low, 2)``: diagonal over the low bits; real, imaginary.
        theta_signs, alpha_signs: float64 ``(layers, n)``, by wire: sign of theta' and alpha' against theta and alpha.
        readout_signs: float32 ``(n,)``, by wire.
    """

    tangents: NDArray[np.float32]
    squared_cosines: NDArray[np.float64]
    rows: NDArray[np.float32]
    columns: NDArray[np.float32]
    theta_signs: NDArray[np.float64]
    alpha_signs: NDArray[np.float64]
    readout_signs: NDArray[np.float32]


def empty_tables(layers: int, qubits: int, low: int) -> Tables:
    """Tables to be filled by ``fill_tables``."""
    padded_rows = -(-(1 << (qubits - low)) // LANES) * LANES
    rows = aligned((layers, 2, 2, padded_rows))
    rows[:] = 0
    return Tables(
        np.empty((layers, qubits), np.float32),
        np.empty((layers, qubits)),
        rows,
        np.empty((layers, 1 << low, 2), np.float32),
        np.empty((layers, qubits)),
        np.empty((layers, qubits)),
        np.empty(qubits, np.float32),
    )


@njit(forceinline=True)
def _phases(alphas, first_wire, wires, cz, scale, real, imaginary):  # type: ignore[no-untyped-def]
    """Diagonal of prod exp(-i alpha Z / 2) over ``wires`` neighbouring wires, by angle doubling, with the CZs among them if ``cz``."""
    start = 0.0
    for q in range(first_wire, first_wire + wires):
        start -= 0.5 * alphas[q]
    real[0] = scale * math.cos(start)
    imaginary[0] = scale * math.sin(start)
    for bit in range(wires):
        alpha = alphas[first_wire + wires - 1 - bit]
        c, s = math.cos(alpha), math.sin(alpha)
        half = 1 << bit
        # a CZ with the next lower bit: of the new half, where that bit is set, too
        flipped = half >> 1 if cz and bit > 0 else half
        for i in range(half):
            sign = -1.0 if i >= flipped else 1.0
            real[half + i] = sign * (real[i] * c - imaginary[i] * s)
            imaginary[half + i] = sign * (real[i] * s + imaginary[i] * c)


@njit(
    "void(float64[:, :, ::1], int64, float32[:, ::1], float64[:, ::1], float32[:, :, :, ::1], float32[:, :, ::1],"
    " float64[:, ::1], float64[:, ::1], float32[::1])",
    cache=True,
    nogil=True,
)
def fill_tables(weights, low, tangents, squared_cosines, rows, columns, theta_signs, alpha_signs, readout_signs):  # type: ignore[no-untyped-def]
    """Fill the tables for ``weights``, float64 ``(layers, n, 3)``."""
    layers, n, _ = weights.shape
    high = n - low
    flip_x = np.zeros(n, np.int64)
    flip_z = np.zeros(n, np.int64)
    alphas = np.empty(n)
    row_real, row_imaginary = np.empty(1 << high), np.empty(1 << high)
    column_real, column_imaginary = np.empty(1 << low), np.empty(1 << low)
    for t in range(layers):
        for q in range(n):
            alpha_signs[t, q] = 1.0 - 2.0 * flip_x[q]
            previous = weights[t - 1, q, 2] if t > 0 else 0.0
            alphas[q] = alpha_signs[t, q] * (weights[t, q, 0] + previous)
        if t > 0:
            for q in range(n - 1):
                flip_z[q + 1] ^= flip_x[q]
                flip_z[q] ^= flip_x[q + 1]
        scale = 1.0
        for q in range(n):
            theta_signs[t, q] = 1.0 - 2.0 * (flip_x[q] ^ flip_z[q])
            theta = theta_signs[t, q] * weights[t, q, 1]
            turns = math.floor(theta / math.pi + 0.5)
            theta -= turns * math.pi
            if turns % 2.0 != 0.0:
                flip_x[q] ^= 1
                flip_z[q] ^= 1
            cosine = math.cos(0.5 * theta)
            tangents[t, n - 1 - q] = math.tan(0.5 * theta)
            squared_cosines[t, n - 1 - q] = cosine * cosine
            scale *= cosine
        _phases(alphas, 0, high, t > 0, scale, row_real, row_imaginary)
        _phases(alphas, high, low, t > 0, 1.0, column_real, column_imaginary)
        for h in range(1 << high):
            crossing = -1.0 if t > 0 and h & 1 else 1.0
            rows[t, 0, 0, h] = row_real[h]
            rows[t, 0, 1, h] = row_imaginary[h]
            rows[t, 1, 0, h] = crossing * row_real[h]
            rows[t, 1, 1, h] = crossing * row_imaginary[h]
        for i in range(1 << low):
            columns[t, i, 0] = column_real[i]
            columns[t, i, 1] = column_imaginary[i]
    for q in range(n):
        readout_signs[q] = 1.0 - 2.0 * flip_x[q]


@njit("void(float64[:, :, ::1], float64[:, :, ::1], float64[:, ::1], float64[:, ::1], float64[:, :, ::1])", cache=True, nogil=True)
def weight_gradient(theta_sums, alpha_sums, theta_signs, alpha_signs, gradient):  # type: ignore[no-untyped-def]
    """Add the slots' sums, ``(slots, layers, n)`` by bit, in order and undo the frame: ``gradient`` is ``(layers, n, 3)`` by wire.

    The last omega stays zero: it does not reach <Z>.
    """
    slots, layers, n = theta_sums.shape
    for t in range(layers):
        for q in range(n):
            theta, alpha = 0.0, 0.0
            for slot in range(slots):
                theta += theta_sums[slot, t, n - 1 - q]
                alpha += alpha_sums[slot, t, n - 1 - q]
            alpha *= alpha_signs[t, q]
            gradient[t, q, 0] = alpha
            gradient[t, q, 1] = theta_signs[t, q] * theta
            if t > 0:
                gradient[t - 1, q, 2] = alpha
