"""From angles to the tables that the kernel reads: merged diagonals, tangents, and the Pauli frame that keeps them below 1.

RZ and CZ are diagonal, so a layer is one diagonal D_t = CZ^[t>0] prod_q exp(-i alpha_tq Z_q / 2), with alpha_0 = phi_0 and
alpha_t = omega_{t-1} + phi_t, followed by RY(theta_t) on every wire. RY(theta) = cos(theta/2) [[1, -t], [t, 1]] with t = tan(theta/2):
two fused multiply-adds a pair of amplitudes; the cosines are collected in the diagonal, and its phase at |0...0> is dropped: <Z> doesn't see it.

The tangent is safe because angles are first brought to |theta'| <= pi/2. Write theta = theta' + k pi: RY(pi) = -iY, and for odd k
the Y is moved to the end of the circuit. On its way through RZ its X part flips the sign of alpha, through RY an X or a Z alone flips the
sign of theta, through CZ_{q,q+1} X_q becomes X_q Z_{q+1}, and before the readout an X flips the sign of <Z>. ``flip_x`` and ``flip_z``
hold, for every wire, whether an X or a Z is on its way.

k is odd where cos(theta) < 0, and then cos(theta') = -cos(theta), sin(theta') = -sin(theta): so nothing is needed of the angles but their
sines and cosines. For one sample they cost as much as the circuit if libm makes them one by one: ``_sines_and_cosines`` does it in vectors.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from qarmor.circuits.cpu.vectors import LANES, aligned


class Tables(NamedTuple):
    """What the kernels read, for ``layers`` layers of n wires whose bits split into high and low ones (bit 0 is wire n-1).

    Attributes:
        tangents: float32 ``(layers, n)``, tan(theta'/2) by bit.
        squared_cosines: float64 ``(layers, n)``, cos(theta'/2)^2 by bit.
        rows: float32 ``(layers, 2, 2, R)``: diagonal over the high bits, without and with the sign of the CZ between high and low; real, imaginary.
            It carries the product of the layer's cosines. R is 2^high, padded with zeros to whole vectors.
        columns: float32 ``(layers, 2, 2^low)``: diagonal over the low bits; real, imaginary.
        theta_signs, alpha_signs: float64 ``(layers, n)``, by wire: sign of theta' and alpha' against theta and alpha.
        readout_signs: float32 ``(n,)``, by wire: -1 where an X arrives at the readout.
        phase_signs: float32 ``(n,)``, by wire: -1 where a Z does. <Z> doesn't see it, amplitudes do.
    """

    tangents: NDArray[np.float32]
    squared_cosines: NDArray[np.float64]
    rows: NDArray[np.float32]
    columns: NDArray[np.float32]
    theta_signs: NDArray[np.float64]
    alpha_signs: NDArray[np.float64]
    readout_signs: NDArray[np.float32]
    phase_signs: NDArray[np.float32]


def tables(weights: Tensor, low: int) -> Tables:
    """Tables of ``weights``, float64 ``(layers, n, 3)``, with ``low`` low bits."""
    layers, qubits, _ = weights.shape
    angles = weights[:, :, :2].movedim(2, 0).contiguous()
    angles[0, 1:] += weights[:-1, :, 2]
    theta_signs, alpha_signs, squared_cosines = np.empty((3, layers, qubits))
    rows = aligned((layers, 2, 2, -(-(1 << (qubits - low)) // LANES) * LANES))
    rows[:] = 0
    made = Tables(
        np.empty((layers, qubits), np.float32),
        squared_cosines,
        rows,
        aligned((layers, 2, 1 << low)),
        theta_signs,
        alpha_signs,
        np.empty(qubits, np.float32),
        np.empty(qubits, np.float32),
    )
    _fill(angles.numpy(), low, *made)
    return made


_QUARTER_HIGH, _QUARTER_LOW = 1.5707963267341256, 6.077100506506192e-11  # pi/2 in two parts: few bits, and the rest
_SINE = (
    -1.66666666666666324348e-01,
    8.33333333332248946124e-03,
    -1.98412698298579493134e-04,
    2.75573137070700676789e-06,
    -2.50507602534068634195e-08,
    1.58969099521155010221e-10,
)
_COSINE = (
    4.16666666666666019037e-02,
    -1.38888888888741095749e-03,
    2.48015872894767294178e-05,
    -2.75573143513906633035e-07,
    2.08757232129817482790e-09,
    -1.13596475577881948265e-11,
)


@njit(forceinline=True)
def _sines_and_cosines(angles, sines, cosines):  # type: ignore[no-untyped-def]
    """Of float64 angles up to a million radians, to 1e-15: quarter turns off, then fdlibm's polynomials; no branches, so that LLVM makes vectors."""
    for i in range(angles.size):
        turns = math.floor(angles[i] * (2.0 / math.pi) + 0.5)
        x = (angles[i] - turns * _QUARTER_HIGH) - turns * _QUARTER_LOW
        z = x * x
        sine = x + x * z * (_SINE[0] + z * (_SINE[1] + z * (_SINE[2] + z * (_SINE[3] + z * (_SINE[4] + z * _SINE[5])))))
        tail = z * z * (_COSINE[0] + z * (_COSINE[1] + z * (_COSINE[2] + z * (_COSINE[3] + z * (_COSINE[4] + z * _COSINE[5])))))
        cosine = 1.0 - 0.5 * z + tail
        half = math.floor(0.5 * turns)
        odd = turns - 2.0 * half  # a quarter turn: sine and cosine change places
        sign = 1.0 - 2.0 * (half - 2.0 * math.floor(0.5 * half))  # half a turn: both change sign
        sines[i] = sign * (sine + odd * (cosine - sine))
        cosines[i] = sign * (cosine - odd * (cosine + sine))


@njit(forceinline=True)
def _phases(cosines, sines, first_wire, wires, cz, real, imaginary):  # type: ignore[no-untyped-def]
    """Diagonal over ``wires`` neighbouring wires, from the element of |0...0> on, bit by bit; with the CZs among them if ``cz``."""
    for bit in range(wires):
        c, s = cosines[first_wire + wires - 1 - bit], sines[first_wire + wires - 1 - bit]
        half = 1 << bit
        # a CZ with the next lower bit: of the new half, where that bit is set, too
        flipped = half >> 1 if cz and bit > 0 else half
        for i in range(flipped):
            real[half + i] = real[i] * c - imaginary[i] * s
            imaginary[half + i] = real[i] * s + imaginary[i] * c
        for i in range(flipped, half):
            real[half + i] = imaginary[i] * s - real[i] * c
            imaginary[half + i] = -(real[i] * s + imaginary[i] * c)


@njit(
    "void(float64[:, :, ::1], int64, float32[:, ::1], float64[:, ::1], float32[:, :, :, ::1], float32[:, :, ::1],"
    " float64[:, ::1], float64[:, ::1], float32[::1], float32[::1])",
    cache=True,
    nogil=True,
)
def _fill(angles, low, tangents, squared_cosines, rows, columns, theta_signs, alpha_signs, readout_signs, phase_signs):  # type: ignore[no-untyped-def]
    """Fill the tables from the angles (alpha, theta), float64 ``(2, layers, n)``."""
    _, layers, n = angles.shape
    high = n - low
    rows_count, columns_count = 1 << high, 1 << low
    sines, cosines = np.empty(angles.shape), np.empty(angles.shape)
    _sines_and_cosines(angles.reshape(-1), sines.reshape(-1), cosines.reshape(-1))
    flip_x = np.zeros(n, np.int64)
    flip_z = np.zeros(n, np.int64)
    alpha_sines = np.empty(n)
    row_real, row_imaginary = np.empty(rows_count), np.empty(rows_count)
    column_real, column_imaginary = np.empty(columns_count), np.empty(columns_count)
    for t in range(layers):
        for q in range(n):
            alpha_signs[t, q] = 1.0 - 2.0 * flip_x[q]
            alpha_sines[q] = alpha_signs[t, q] * sines[0, t, q]
        if t > 0:
            for q in range(n - 1):
                flip_z[q + 1] ^= flip_x[q]
                flip_z[q] ^= flip_x[q + 1]
        scale = 1.0
        for q in range(n):
            theta_signs[t, q] = 1.0 - 2.0 * (flip_x[q] ^ flip_z[q])
            cosine, sine = cosines[1, t, q], theta_signs[t, q] * sines[1, t, q]
            if cosine < 0.0:
                cosine, sine = -cosine, -sine
                flip_x[q] ^= 1
                flip_z[q] ^= 1
            tangents[t, n - 1 - q] = sine / (1.0 + cosine)
            squared_cosines[t, n - 1 - q] = 0.5 * (1.0 + cosine)
            scale *= 0.5 * (1.0 + cosine)
        row_real[0], row_imaginary[0] = math.sqrt(scale), 0.0
        column_real[0], column_imaginary[0] = 1.0, 0.0
        _phases(cosines[0, t], alpha_sines, 0, high, t > 0, row_real, row_imaginary)
        _phases(cosines[0, t], alpha_sines, high, low, t > 0, column_real, column_imaginary)
        for i in range(columns_count):
            columns[t, 0, i] = column_real[i]
            columns[t, 1, i] = column_imaginary[i]
        for h in range(rows_count):
            crossing = -1.0 if t > 0 and h & 1 else 1.0
            rows[t, 0, 0, h] = row_real[h]
            rows[t, 0, 1, h] = row_imaginary[h]
            rows[t, 1, 0, h] = crossing * row_real[h]
            rows[t, 1, 1, h] = crossing * row_imaginary[h]
    for q in range(n):
        readout_signs[q] = 1.0 - 2.0 * flip_x[q]
        phase_signs[q] = 1.0 - 2.0 * flip_z[q]


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
