"""Singles: one sample at a time, its neighbouring amplitudes in the lanes. For what is left of a batch after the blocks, and for one sample.

Frozen integers as in ``blocks``. ``low`` counts the low bits above the lanes.
"""

from typing import Any

from numba import njit

from qarmor.circuits.cpu import plan, stages
from qarmor.circuits.cpu.stages import ROW, ROW_BOTH
from qarmor.circuits.cpu.vectors import (
    LANE_BITS,
    VECTOR,
    add,
    add_mul,
    broadcast,
    fill,
    load,
    load_unaligned,
    mul,
    store,
    store_unaligned,
    sub,
    total,
)


@njit(forceinline=True)
def _read_state(state, parts, low, high, base):  # type: ignore[no-untyped-def]
    """The sample at address ``state`` into the work space."""
    size = VECTOR << (low + high)
    for h in range(1 << high):
        for i in range(1 << low):
            p = base + (h * ((1 << low) + 1) + i) * ROW
            at = state + VECTOR * ((h << low) + i)
            store(p, load_unaligned(at))
            store(p + VECTOR, load_unaligned(at + size) if parts == 2 else fill(0.0))


@njit(forceinline=True)
def _bit_sums(rows, columns, low, high, sums):  # type: ignore[no-untyped-def]
    """From sums over columns (``rows``) and over rows (``columns``) of some value: to the vectors at ``sums``, one a bit, the value's sum with the
    sign of the bit, its lanes still to be added up; that of a lane bit is negative. Overwrites both."""
    stages.signed_sums(columns, low, sums + LANE_BITS * VECTOR)
    stages.signed_sums(rows, high, sums + (LANE_BITS + low) * VECTOR)
    whole = load(columns)
    for bit in range(LANE_BITS):
        store(sums + bit * VECTOR, stages.lane_signed(whole, bit))


@njit(forceinline=True)
def _read_out(base, low, high, keep, kept, scratch):  # type: ignore[no-untyped-def]
    """<Z> of each bit, as ``_bit_sums``, to the vectors at ``scratch``; the amplitudes to ``kept``, real parts first, if ``keep``."""
    size = VECTOR << (low + high)
    rows = scratch + (LANE_BITS + low + high) * VECTOR
    columns = rows + (VECTOR << high)
    for i in range(1 << low):
        store(columns + i * VECTOR, fill(0.0))
    for h in range(1 << high):
        whole = fill(0.0)
        for i in range(1 << low):
            p = base + (h * ((1 << low) + 1) + i) * ROW
            x, y = load(p), load(p + VECTOR)
            if keep:
                q = kept + VECTOR * ((h << low) + i)
                store(q, x)
                store(q + size, y)
            probability = add_mul(mul(x, x), y, y)
            whole = add(whole, probability)
            store(columns + i * VECTOR, add(load(columns + i * VECTOR), probability))
        store(rows + h * VECTOR, whole)
    _bit_sums(rows, columns, low, high, scratch)


@njit(forceinline=True)
def _start_adjoint(base, kept, low, high, readouts, weights, scratch):  # type: ignore[no-untyped-def]
    """psi from ``kept`` and lambda = (sum_k g_k Z_k) psi into the work space; g_k are the float32 at ``weights``."""
    bits = LANE_BITS + low + high
    size = VECTOR << (low + high)
    for i in range(1 << low):
        of_column = fill(0.0)
        for k in range(high, readouts):
            bit = bits - 1 - k
            g = broadcast(weights + 4 * k)
            if bit < LANE_BITS:
                of_column = sub(of_column, stages.lane_signed(g, bit))
            else:
                of_column = sub(of_column, g) if (i >> (bit - LANE_BITS)) & 1 else add(of_column, g)
        store(scratch + i * VECTOR, of_column)
    for h in range(1 << high):
        of_row = fill(0.0)
        for k in range(min(readouts, high)):
            g = broadcast(weights + 4 * k)
            of_row = sub(of_row, g) if (h >> (high - 1 - k)) & 1 else add(of_row, g)
        for i in range(1 << low):
            weight = add(of_row, load(scratch + i * VECTOR))
            q = kept + VECTOR * ((h << low) + i)
            p = base + (h * ((1 << low) + 1) + i) * ROW_BOTH
            x, y = load(q), load(q + size)
            store(p, x)
            store(p + VECTOR, y)
            store(p + ROW, mul(weight, x))
            store(p + ROW + VECTOR, mul(weight, y))


@njit(forceinline=True)
def _write_state(base, parts, low, high, state):  # type: ignore[no-untyped-def]
    """2 lambda, the gradient for the state, in the order of ``_read_state``."""
    size = VECTOR << (low + high)
    for h in range(1 << high):
        for i in range(1 << low):
            p = base + (h * ((1 << low) + 1) + i) * ROW_BOTH + ROW
            at = state + VECTOR * ((h << low) + i)
            store_unaligned(at, add(load(p), load(p)))
            if parts == 2:
                store_unaligned(at + size, add(load(p + VECTOR), load(p + VECTOR)))


def compile_forward(qubits: int) -> Any:
    """The forward function of ``qubits`` qubits: as of ``blocks``, for samples ``first`` to ``last``; ``kept`` is ``(samples, 2 * 2^n)``."""
    low = plan.low_bits(qubits) - LANE_BITS
    high = qubits - LANE_BITS - low
    column_code, row_codes = plan.stage_codes(high - 2)[0], plan.stage_codes(low)
    columns_count, rows_count = 1 << low, 1 << high
    columns_size = VECTOR << low
    padded_rows = plan.padded_rows(qubits)
    stride = (columns_count + 1) * ROW

    @njit(
        "void(float32[:, :, ::1], int64, int64, float32[:, ::1], float32[:, :, :, ::1], float32[:, :, ::1],"
        " boolean, float32[:, ::1], float32[:, ::1], float32[::1])",
        cache=True,
        nogil=True,
    )
    def forward(states, first, last, tangents, rows, columns, keep, kept, out, work):  # type: ignore[no-untyped-def]
        parts = states.shape[1]
        readouts = out.shape[1]
        base = work.ctypes.data
        scratch = base + rows_count * stride
        for sample in range(first, last):
            _read_state(states.ctypes.data + (4 * parts << qubits) * sample, parts, low, high, base)
            for t in range(tangents.shape[0]):
                lanes = stages.lane_tangents(tangents.ctypes.data + 4 * qubits * t)
                low_tangents = tangents.ctypes.data + 4 * qubits * t + 4 * LANE_BITS
                high_tangents = low_tangents + 4 * low
                row_factors = rows.ctypes.data + 16 * padded_rows * t
                column = columns.ctypes.data + 2 * columns_size * t
                for i in range(columns_count + 1):
                    p = base + i * ROW
                    if i < columns_count:
                        of_rows = row_factors + 8 * padded_rows * ((i >> (low - 1)) & 1)
                        of_column = column + i * VECTOR
                        stages.single_diagonal_radix4(p, stride, high, high_tangents, lanes, of_rows, padded_rows, of_column, columns_size)
                    if column_code and i >= 1:
                        plan.apply(column_code, p - ROW, stride, high, high_tangents)
                plan.rows_pass(base, stride, low, high, ROW, row_codes, low_tangents)
            _read_out(base, low, high, keep, kept.ctypes.data + (8 << qubits) * sample if keep else base, scratch)
            for k in range(readouts):
                bit = qubits - 1 - k
                value = total(load(scratch + bit * VECTOR))
                out[sample, k] = -value if bit < LANE_BITS else value

    return forward


def compile_adjoint(qubits: int) -> Any:
    """The adjoint function of ``qubits`` qubits: as of ``blocks``, for samples ``first`` to ``last``."""
    low = plan.low_bits(qubits) - LANE_BITS
    high = qubits - LANE_BITS - low
    high_stages = (high + 1) // 2
    columns_count, rows_count = 1 << low, 1 << high
    columns_size = VECTOR << low
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
        readouts = grad.shape[1]
        parts = grad_states.shape[1]
        base = work.ctypes.data
        sums = base + rows_count * stride
        low_sums, high_sums = sums + LANE_BITS * VECTOR, sums + (LANE_BITS + low) * VECTOR
        alphas = sums + qubits * VECTOR
        row_sums = alphas + qubits * VECTOR
        column_sums = row_sums + rows_count * VECTOR
        for sample in range(first, last):
            weights = grad.ctypes.data + 4 * readouts * sample
            _start_adjoint(base, kept.ctypes.data + (8 << qubits) * sample, low, high, readouts, weights, column_sums)
            for t in range(tangents.shape[0] - 1, -1, -1):
                lanes = stages.lane_tangents(tangents.ctypes.data + 4 * qubits * t)
                low_tangents = tangents.ctypes.data + 4 * qubits * t + 4 * LANE_BITS
                high_tangents = low_tangents + 4 * low
                row_factors = rows.ctypes.data + 16 * padded_rows * t
                column = columns.ctypes.data + 2 * columns_size * t
                for v in range(2 * qubits + rows_count):
                    store(sums + v * VECTOR, fill(0.0))
                plan.undo_rows_pass(base, stride, low, high, ROW_BOTH, low_tangents, low_sums)
                for i in range(columns_count + high_stages):
                    p = base + i * ROW_BOTH
                    if i < columns_count:
                        plan.undo(0, p, stride, high, high_tangents, high_sums)
                    if high_stages > 1 and 1 <= i < columns_count + 1:
                        plan.undo(1, p - ROW_BOTH, stride, high, high_tangents, high_sums)
                    j = i - high_stages
                    if j >= 0:
                        at = base + j * ROW_BOTH
                        of_rows = row_factors + 8 * padded_rows * ((j >> (low - 1)) & 1)
                        of_column, to = column + j * VECTOR, column_sums + j * VECTOR
                        stages.single_undo_diagonal(at, stride, rows_count, lanes, of_rows, padded_rows, of_column, columns_size, sums, row_sums, to)
                for bit in range(LANE_BITS):
                    store(sums + bit * VECTOR, stages.lane_signed(load(sums + bit * VECTOR), bit))
                scale = plan.add_theta_sums(sums, low, LANE_BITS, 2, 1.0, squared_cosines[t], theta_sums[t])
                scale = plan.add_theta_sums(sums, high, LANE_BITS + low, 2, scale, squared_cosines[t], theta_sums[t])
                plan.add_theta_sums(sums, LANE_BITS, 0, 1, scale, squared_cosines[t], theta_sums[t])
                _bit_sums(row_sums, column_sums, low, high, alphas)
                for bit in range(qubits):
                    value = total(load(alphas + bit * VECTOR))
                    alpha_sums[t, bit] += -value if bit < LANE_BITS else value
            if want_states:
                _write_state(base, parts, low, high, grad_states.ctypes.data + (4 * parts << qubits) * sample)

    return adjoint
