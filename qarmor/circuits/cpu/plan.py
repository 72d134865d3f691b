"""The order of the stages, and the two compiled functions of a qubit count.

The bits of an amplitude's index split into ``low`` ones, neighbours in memory, and ``high`` ones. A layer is two passes over memory: down the
columns (diagonal and high bits), then along the rows (low bits). Within a pass, stages follow each other skewed by one column or row, so
that what one wrote is still in the first-level cache for the next. Rows of the high index are padded by one, against cache-set conflicts.

Only integers are frozen into the compiled functions (``qubits`` and what follows from it), which lets numba cache them on disk: one pair of
functions a qubit count, whatever depth and batch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from qarmor.circuits.cpu import stages
from qarmor.circuits.cpu.vectors import LANES, VECTOR, add, add_mul, fill, gather, load, mul, store, sub, total

ROW, ROW_BOTH = stages.ROW, stages.ROW_BOTH
MIN_QUBITS = 4
_RADIX2, _RADIX4, _RADIX8, _DIAGONAL4 = 1, 2, 3, 4


def low_bits(qubits: int) -> int:
    """How many bits are low: all but four, or half of a few."""
    return qubits // 2 if qubits < 8 else qubits - 4


def stage_codes(bits: int, diagonal_first: bool) -> tuple[int, int, int, int]:
    """The stages of a forward pass, each ``16 * kind + lowest bit``, 0 for none; from the top bit down."""
    codes = []
    left = bits
    if diagonal_first:
        left -= 2
        codes.append(16 * _DIAGONAL4 + left)
    while left:
        kind = _RADIX8 if left == 3 or left >= 5 else _RADIX4 if left >= 2 else _RADIX2
        left -= kind
        codes.append(16 * kind + left)
    return (*codes, 0, 0, 0, 0)[:4]  # type: ignore[return-value]


def work_bytes(qubits: int) -> int:
    """Size of the work space of one thread: the amplitudes, then scratch vectors."""
    low = low_bits(qubits)
    amplitudes = (1 << (qubits - low)) * ((1 << low) + 1) * ROW_BOTH
    scratch = (1 << low) + 2 * (1 << (qubits - low)) + 3 * qubits + 8
    return amplitudes + scratch * VECTOR


@njit(forceinline=True)
def _apply(code, base, stride, bits, tangents, diagonal, padded_rows):  # type: ignore[no-untyped-def]
    kind, bit = code >> 4, code & 15
    if kind == _RADIX8:
        stages.radix8(base, stride, bits, bit, tangents)
    if kind == _RADIX4:
        stages.radix4(base, stride, bits, bit, tangents)
    if kind == _RADIX2:
        stages.radix2(base, stride, bits, bit, tangents)
    if kind == _DIAGONAL4:
        stages.diagonal_radix4(base, stride, bits, tangents, diagonal, padded_rows)


@njit(forceinline=True)
def _undo(stage, base, stride, bits, tangents, sums):  # type: ignore[no-untyped-def]
    if bits - 2 * stage >= 2:
        stages.undo_radix4(base, stride, bits, 2 * stage, tangents, sums)
    else:
        stages.undo_radix2(base, stride, bits, 2 * stage, tangents, sums)


@njit(forceinline=True)
def _read_states(states, block, count, parts, low, high, base):  # type: ignore[no-untyped-def]
    """Samples of one block, ``parts`` floats an amplitude (1 real, 2 complex), into the work space; missing lanes are zero."""
    sample = 4 * parts << (low + high)
    first = states + block * LANES * sample
    for h in range(1 << high):
        for i in range(1 << low):
            p = base + (h * ((1 << low) + 1) + i) * ROW
            at = first + 4 * parts * ((h << low) + i)
            store(p, gather(at, sample, count))
            if parts == 2:
                store(p + VECTOR, gather(at + 4, sample, count))
            else:
                store(p + VECTOR, fill(0.0))


@njit(forceinline=True)
def _read_out(base, low, high, readouts, keep, kept, scratch):  # type: ignore[no-untyped-def]
    """<Z_k> of a block to the vectors at ``scratch``; the amplitudes to ``kept`` if ``keep``."""
    row_sums = scratch + readouts * VECTOR
    column_sums = row_sums + (VECTOR << high)
    for i in range(1 << low):
        store(column_sums + i * VECTOR, fill(0.0))
    for h in range(1 << high):
        whole = fill(0.0)
        for i in range(1 << low):
            p = base + (h * ((1 << low) + 1) + i) * ROW
            x, y = load(p), load(p + VECTOR)
            if keep:
                q = kept + ((h << low) + i) * ROW
                store(q, x)
                store(q + VECTOR, y)
            probability = add_mul(mul(x, x), y, y)
            whole = add(whole, probability)
            store(column_sums + i * VECTOR, add(load(column_sums + i * VECTOR), probability))
        store(row_sums + h * VECTOR, whole)
    for k in range(readouts):
        bit = low + high - 1 - k
        if bit >= low:
            store(scratch + k * VECTOR, stages.signed_sum(row_sums, 1 << high, bit - low))
        else:
            store(scratch + k * VECTOR, stages.signed_sum(column_sums, 1 << low, bit))


@njit(forceinline=True)
def _start_adjoint(base, kept, low, high, readouts, scratch):  # type: ignore[no-untyped-def]
    """psi from ``kept`` and lambda = (sum_k g_k Z_k) psi into the work space; g_k are the vectors at ``scratch``."""
    for h in range(1 << high):
        of_row = fill(0.0)
        for k in range(min(readouts, high)):
            g = load(scratch + k * VECTOR)
            of_row = sub(of_row, g) if (h >> (high - 1 - k)) & 1 else add(of_row, g)
        for i in range(1 << low):
            weight = of_row
            for k in range(high, readouts):
                g = load(scratch + k * VECTOR)
                weight = sub(weight, g) if (i >> (low + high - 1 - k)) & 1 else add(weight, g)
            q = kept + ((h << low) + i) * ROW
            p = base + (h * ((1 << low) + 1) + i) * ROW_BOTH
            x, y = load(q), load(q + VECTOR)
            store(p, x)
            store(p + VECTOR, y)
            store(p + ROW, mul(weight, x))
            store(p + ROW + VECTOR, mul(weight, y))


@njit(forceinline=True)
def _add_theta_sums(sums, bits, first, scale, squared_cosines, out):  # type: ignore[no-untyped-def]
    """Lanes summed, times the squared cosines of what was undone before: undoing in tan form left psi and lambda too large by 1/cos each."""
    bit = 0
    while bit < bits:
        both = bits - bit >= 2
        out[first + bit] += scale * total(load(sums + (first + bit) * VECTOR))
        factor = squared_cosines[first + bit]
        if both:
            out[first + bit + 1] += scale * total(load(sums + (first + bit + 1) * VECTOR))
            factor *= squared_cosines[first + bit + 1]
        scale *= factor
        bit += 2 if both else 1
    return scale


@njit(forceinline=True)
def _add_alpha_sums(values, bits, first, out):  # type: ignore[no-untyped-def]
    for i in range(1 << bits):
        w = total(load(values + i * VECTOR))
        for bit in range(bits):
            out[first + bit] += -w if (i >> bit) & 1 else w


@dataclass(frozen=True)
class Kernels:
    """The compiled pair of one qubit count, both without the global interpreter lock.

    ``forward(states, first, last, tangents, rows, columns, signs, keep, kept, out, work)`` and ``adjoint(kept, grad, first, last, tangents,
    squared_cosines, rows, columns, signs, want_states, grad_states, theta_sums, alpha_sums, work)`` treat blocks ``first`` to ``last`` (of
    ``LANES`` samples each) on the calling thread. States are float32 ``(B, 2^n, parts)``, parts 1 (real) or 2 (complex).
    """

    qubits: int
    forward: Callable[..., None]
    adjoint: Callable[..., None]


def compile_forward(qubits: int) -> Any:
    """The forward function of ``qubits`` qubits."""
    low = low_bits(qubits)
    high = qubits - low
    h0, h1, h2, h3 = stage_codes(high, True)
    l0, l1, l2, l3 = stage_codes(low, False)
    columns_count, rows_count = 1 << low, 1 << high
    padded_rows = -(-rows_count // LANES) * LANES
    high_stride = (columns_count + 1) * ROW

    @njit(
        "void(float32[:, :, ::1], int64, int64, float32[:, ::1], float32[:, :, :, ::1], float32[:, :, ::1], float32[::1],"
        " boolean, float32[:, ::1], float32[:, ::1], float32[::1])",
        cache=True,
        nogil=True,
    )
    def forward(states, first, last, tangents, rows, columns, signs, keep, kept, out, work):  # type: ignore[no-untyped-def]
        batch, _, parts = states.shape
        readouts = out.shape[1]
        base = work.ctypes.data
        scratch = base + rows_count * high_stride
        diagonal = scratch
        results = (rows_count * high_stride) // 4
        for block in range(first, last):
            count = min(LANES, batch - block * LANES)
            _read_states(states.ctypes.data, block, count, parts, low, high, base)
            for t in range(tangents.shape[0]):
                low_tangents = tangents.ctypes.data + 4 * qubits * t
                high_tangents = low_tangents + 4 * low
                row_factors = rows.ctypes.data + 16 * padded_rows * t
                column_factors = columns.ctypes.data + 8 * columns_count * t
                for i in range(columns_count + 3):
                    p = base + i * ROW
                    if i < columns_count:
                        crossing = (i >> (low - 1)) & 1
                        stages.column_diagonal(row_factors + 8 * padded_rows * crossing, column_factors + 8 * i, padded_rows, diagonal)
                        _apply(h0, p, high_stride, high, high_tangents, diagonal, padded_rows)
                    if h1 and 1 <= i < columns_count + 1:
                        _apply(h1, p - ROW, high_stride, high, high_tangents, diagonal, padded_rows)
                    if h2 and 2 <= i < columns_count + 2:
                        _apply(h2, p - 2 * ROW, high_stride, high, high_tangents, diagonal, padded_rows)
                    if h3 and i >= 3:
                        _apply(h3, p - 3 * ROW, high_stride, high, high_tangents, diagonal, padded_rows)
                for h in range(rows_count + 3):
                    p = base + h * high_stride
                    if h < rows_count:
                        _apply(l0, p, ROW, low, low_tangents, diagonal, padded_rows)
                    if l1 and 1 <= h < rows_count + 1:
                        _apply(l1, p - high_stride, ROW, low, low_tangents, diagonal, padded_rows)
                    if l2 and 2 <= h < rows_count + 2:
                        _apply(l2, p - 2 * high_stride, ROW, low, low_tangents, diagonal, padded_rows)
                    if l3 and h >= 3:
                        _apply(l3, p - 3 * high_stride, ROW, low, low_tangents, diagonal, padded_rows)
            _read_out(base, low, high, readouts, keep, kept.ctypes.data + block * (ROW << qubits) if keep else base, scratch)
            for lane in range(count):
                for k in range(readouts):
                    out[block * LANES + lane, k] = signs[k] * work[results + k * LANES + lane]

    return forward


def compile_adjoint(qubits: int) -> Any:
    """The adjoint function of ``qubits`` qubits."""
    low = low_bits(qubits)
    high = qubits - low
    low_stages, high_stages = (low + 1) // 2, (high + 1) // 2
    columns_count, rows_count = 1 << low, 1 << high
    padded_rows = -(-rows_count // LANES) * LANES
    high_stride = (columns_count + 1) * ROW_BOTH

    @njit(
        "void(float32[:, ::1], float32[:, ::1], int64, int64, float32[:, ::1], float64[:, ::1], float32[:, :, :, ::1], float32[:, :, ::1],"
        " float32[::1], boolean, float32[:, :, ::1], float64[:, ::1], float64[:, ::1], float32[::1])",
        cache=True,
        nogil=True,
    )
    def adjoint(  # type: ignore[no-untyped-def]
        kept, grad, first, last, tangents, squared_cosines, rows, columns, signs, want_states, grad_states, theta_sums, alpha_sums, work
    ):
        batch, readouts = grad.shape
        parts = grad_states.shape[2]
        base = work.ctypes.data
        scratch = base + rows_count * high_stride
        scratch_index = (rows_count * high_stride) // 4
        sums = scratch
        high_sums = sums + low * VECTOR
        row_sums = sums + qubits * VECTOR
        column_sums = row_sums + rows_count * VECTOR
        diagonal = column_sums + columns_count * VECTOR
        for block in range(first, last):
            count = min(LANES, batch - block * LANES)
            for k in range(readouts):
                for lane in range(LANES):
                    given = grad[block * LANES + lane, k] * signs[k] if lane < count else np.float32(0.0)
                    work[scratch_index + k * LANES + lane] = given
            _start_adjoint(base, kept.ctypes.data + block * (ROW << qubits), low, high, readouts, scratch)
            for t in range(tangents.shape[0] - 1, -1, -1):
                low_tangents = tangents.ctypes.data + 4 * qubits * t
                high_tangents = low_tangents + 4 * low
                row_factors = rows.ctypes.data + 16 * padded_rows * t
                column_factors = columns.ctypes.data + 8 * columns_count * t
                for v in range(qubits + rows_count):
                    store(sums + v * VECTOR, fill(0.0))
                for h in range(rows_count + 4):
                    p = base + h * high_stride
                    if h < rows_count:
                        _undo(0, p, ROW_BOTH, low, low_tangents, sums)
                    if low_stages > 1 and 1 <= h < rows_count + 1:
                        _undo(1, p - high_stride, ROW_BOTH, low, low_tangents, sums)
                    if low_stages > 2 and 2 <= h < rows_count + 2:
                        _undo(2, p - 2 * high_stride, ROW_BOTH, low, low_tangents, sums)
                    if low_stages > 3 and 3 <= h < rows_count + 3:
                        _undo(3, p - 3 * high_stride, ROW_BOTH, low, low_tangents, sums)
                    if low_stages > 4 and h >= 4:
                        _undo(4, p - 4 * high_stride, ROW_BOTH, low, low_tangents, sums)
                for i in range(columns_count + high_stages):
                    p = base + i * ROW_BOTH
                    if i < columns_count:
                        _undo(0, p, high_stride, high, high_tangents, high_sums)
                    if high_stages > 1 and 1 <= i < columns_count + 1:
                        _undo(1, p - ROW_BOTH, high_stride, high, high_tangents, high_sums)
                    j = i - high_stages
                    if j >= 0:
                        crossing = (j >> (low - 1)) & 1
                        stages.column_diagonal(row_factors + 8 * padded_rows * crossing, column_factors + 8 * j, padded_rows, diagonal)
                        column = base + j * ROW_BOTH
                        stages.undo_diagonal(column, high_stride, rows_count, diagonal, padded_rows, row_sums, column_sums + j * VECTOR)
                scale = _add_theta_sums(sums, low, 0, 1.0, squared_cosines[t], theta_sums[t])
                _add_theta_sums(sums, high, low, scale, squared_cosines[t], theta_sums[t])
                _add_alpha_sums(column_sums, low, 0, alpha_sums[t])
                _add_alpha_sums(row_sums, high, low, alpha_sums[t])
            if want_states:
                for h in range(rows_count):
                    for i in range(columns_count):
                        at = (h * (columns_count + 1) + i) * 4 * LANES + 2 * LANES
                        for lane in range(count):
                            for part in range(parts):
                                grad_states[block * LANES + lane, (h << low) + i, part] = 2 * work[at + part * LANES + lane]

    return adjoint
