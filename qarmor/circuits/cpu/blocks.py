"""Blocks: ``LANES`` samples at once, one in each lane.

Only integers are frozen into the compiled functions (``qubits`` and what follows from it), which lets numba cache them on disk: one pair of
functions a qubit count, whatever depth and batch.
"""

from typing import Any

import numpy as np
from numba import njit

from qarmor.circuits.cpu import plan, stages
from qarmor.circuits.cpu.stages import ROW, ROW_BOTH
from qarmor.circuits.cpu.vectors import LANES, VECTOR, add, add_mul, fill, gather, load, mul, store, sub, total


@njit(forceinline=True)
def _read_states(states, count, parts, low, high, base):  # type: ignore[no-untyped-def]
    """``count`` samples, first the one at address ``states``, into the work space; missing lanes are zero."""
    size = 4 << (low + high)
    for h in range(1 << high):
        for i in range(1 << low):
            p = base + (h * ((1 << low) + 1) + i) * ROW
            at = states + 4 * ((h << low) + i)
            store(p, gather(at, parts * size, count))
            store(p + VECTOR, gather(at + size, parts * size, count) if parts == 2 else fill(0.0))


@njit(forceinline=True)
def _read_out(base, low, high, keep, kept, scratch):  # type: ignore[no-untyped-def]
    """<Z> of each bit, by bit, to the vectors at ``scratch``; the amplitudes to ``kept`` if ``keep``."""
    rows = scratch + (low + high) * VECTOR
    columns = rows + (VECTOR << high)
    for i in range(1 << low):
        store(columns + i * VECTOR, fill(0.0))
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
            store(columns + i * VECTOR, add(load(columns + i * VECTOR), probability))
        store(rows + h * VECTOR, whole)
    stages.signed_sums(columns, low, scratch)
    stages.signed_sums(rows, high, scratch + low * VECTOR)


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


def compile_forward(qubits: int) -> Any:
    """The forward function of ``qubits`` qubits, 4 or more: ``forward(states, first, last, tangents, rows, columns, keep, kept, out, work)``.

    It treats blocks ``first`` to ``last`` on the calling thread. ``states`` are float32 ``(B, parts, 2^n)``, parts 1 (real) or 2 (real, imaginary),
    ``kept`` ``(blocks, 2 * LANES * 2^n)``.
    """
    low = plan.low_bits(qubits)
    high = qubits - low
    column_code, row_codes = plan.stage_codes(high - 2)[0], plan.stage_codes(low)
    columns_count, rows_count = 1 << low, 1 << high
    padded_rows = plan.padded_rows(qubits)
    stride = (columns_count + 1) * ROW

    @njit(
        "void(float32[:, :, ::1], int64, int64, float32[:, ::1], float32[:, :, :, ::1], float32[:, :, ::1],"
        " boolean, float32[:, ::1], float32[:, ::1], float32[::1])",
        cache=True,
        nogil=True,
    )
    def forward(states, first, last, tangents, rows, columns, keep, kept, out, work):  # type: ignore[no-untyped-def]
        batch, parts, _ = states.shape
        readouts = out.shape[1]
        base = work.ctypes.data
        scratch = base + rows_count * stride
        diagonal = scratch
        results = (rows_count * stride) // 4
        for block in range(first, last):
            count = min(LANES, batch - block * LANES)
            _read_states(states.ctypes.data + (4 * parts << qubits) * LANES * block, count, parts, low, high, base)
            for t in range(tangents.shape[0]):
                low_tangents = tangents.ctypes.data + 4 * qubits * t
                high_tangents = low_tangents + 4 * low
                row_factors = rows.ctypes.data + 16 * padded_rows * t
                column = columns.ctypes.data + 8 * columns_count * t
                for i in range(columns_count + 1):
                    p = base + i * ROW
                    if i < columns_count:
                        of_rows = row_factors + 8 * padded_rows * ((i >> (low - 1)) & 1)
                        stages.column_diagonal(of_rows, column + 4 * i, columns_count, padded_rows, diagonal)
                        stages.diagonal_radix4(p, stride, high, high_tangents, diagonal, padded_rows)
                    if column_code and i >= 1:
                        plan.apply(column_code, p - ROW, stride, high, high_tangents)
                plan.rows_pass(base, stride, low, high, ROW, row_codes, low_tangents)
            _read_out(base, low, high, keep, kept.ctypes.data + block * (ROW << qubits) if keep else base, scratch)
            for lane in range(count):
                for k in range(readouts):
                    out[block * LANES + lane, k] = work[results + (qubits - 1 - k) * LANES + lane]

    return forward


def compile_adjoint(qubits: int) -> Any:
    """The adjoint function of ``qubits`` qubits.

    ``adjoint(kept, grad, first, last, tangents, squared_cosines, rows, columns, want_states, grad_states, theta_sums, alpha_sums, work)`` treats
    blocks ``first`` to ``last`` on the calling thread, and adds to the sums, float64 ``(layers, n)`` by bit.
    """
    low = plan.low_bits(qubits)
    high = qubits - low
    high_stages = (high + 1) // 2
    columns_count, rows_count = 1 << low, 1 << high
    padded_rows = plan.padded_rows(qubits)
    stride = (columns_count + 1) * ROW_BOTH

    @njit(
        "void(float32[:, ::1], float32[:, ::1], int64, int64, float32[:, ::1], float64[:, ::1], float32[:, :, :, ::1], float32[:, :, ::1],"
        " boolean, float32[:, :, ::1], float64[:, ::1], float64[:, ::1], float32[::1])",
        cache=True,
        nogil=True,
    )
    def adjoint(  # type: ignore[no-untyped-def]
        kept, grad, first, last, tangents, squared_cosines, rows, columns, want_states, grad_states, theta_sums, alpha_sums, work
    ):
        batch, readouts = grad.shape
        parts = grad_states.shape[1]
        base = work.ctypes.data
        sums = base + rows_count * stride
        scratch_index = (rows_count * stride) // 4
        alphas = sums + qubits * VECTOR
        row_sums = alphas + qubits * VECTOR
        column_sums = row_sums + rows_count * VECTOR
        diagonal = column_sums + columns_count * VECTOR
        for block in range(first, last):
            count = min(LANES, batch - block * LANES)
            for k in range(readouts):
                for lane in range(LANES):
                    work[scratch_index + k * LANES + lane] = grad[block * LANES + lane, k] if lane < count else np.float32(0.0)
            _start_adjoint(base, kept.ctypes.data + block * (ROW << qubits), low, high, readouts, sums)
            for t in range(tangents.shape[0] - 1, -1, -1):
                low_tangents = tangents.ctypes.data + 4 * qubits * t
                high_tangents = low_tangents + 4 * low
                row_factors = rows.ctypes.data + 16 * padded_rows * t
                column = columns.ctypes.data + 8 * columns_count * t
                for v in range(2 * qubits + rows_count):
                    store(sums + v * VECTOR, fill(0.0))
                plan.undo_rows_pass(base, stride, low, high, ROW_BOTH, low_tangents, sums)
                for i in range(columns_count + high_stages):
                    p = base + i * ROW_BOTH
                    if i < columns_count:
                        plan.undo(0, p, stride, high, high_tangents, sums + low * VECTOR)
                    if high_stages > 1 and 1 <= i < columns_count + 1:
                        plan.undo(1, p - ROW_BOTH, stride, high, high_tangents, sums + low * VECTOR)
                    j = i - high_stages
                    if j >= 0:
                        of_rows = row_factors + 8 * padded_rows * ((j >> (low - 1)) & 1)
                        stages.column_diagonal(of_rows, column + 4 * j, columns_count, padded_rows, diagonal)
                        stages.undo_diagonal(base + j * ROW_BOTH, stride, rows_count, diagonal, padded_rows, row_sums, column_sums + j * VECTOR)
                scale = plan.add_theta_sums(sums, low, 0, 2, 1.0, squared_cosines[t], theta_sums[t])
                plan.add_theta_sums(sums, high, low, 2, scale, squared_cosines[t], theta_sums[t])
                stages.signed_sums(column_sums, low, alphas)
                stages.signed_sums(row_sums, high, alphas + low * VECTOR)
                for bit in range(qubits):
                    alpha_sums[t, bit] += total(load(alphas + bit * VECTOR))
            if want_states:
                for h in range(rows_count):
                    for i in range(columns_count):
                        at = (h * (columns_count + 1) + i) * 4 * LANES + 2 * LANES
                        for lane in range(count):
                            for part in range(parts):
                                grad_states[block * LANES + lane, part, (h << low) + i] = 2 * work[at + part * LANES + lane]

    return adjoint
