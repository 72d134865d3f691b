"""One stage = one sweep that applies (or undoes) a few single-qubit rotations.

A *row* of memory holds vectors: forward [real, imaginary], backward [psi real, psi imaginary, lambda real, lambda imaginary]. What a vector's lanes
are differs: in a *block* one amplitude of ``LANES`` samples, in a *single* ``LANES`` neighbouring amplitudes of one sample. A stage works on rows
``base + r * stride``, r < 2^bits; RY is real, so it acts on the parts one after the other, and on bits above the lanes it is the same for both.
Functions are inlined and their integer arguments are constants by then; ``tangents``, ``rows``, ``column`` and ``diagonal`` are addresses of
float32 tables.
"""

from numba import njit

from qarmor.circuits.cpu.vectors import LANE_BITS, LANES, VECTOR, add, add_mul, broadcast, fill, load, mul, negated, store, sub, sub_mul, swap

ROW = 2 * VECTOR
ROW_BOTH = 4 * VECTOR

_swap0, _swap1, _swap2, _swap3 = swap(0), swap(1), swap(2), swap(3)
_negated0, _negated1, _negated2, _negated3 = negated(0), negated(1), negated(2), negated(3)


@njit(forceinline=True)
def _rotate4(x0, x1, x2, x3, t0, t1):  # type: ignore[no-untyped-def]
    """RYs in tan form on two bits: t0 on the lower, pairs (0, 1), (2, 3); then t1 on the upper, pairs (0, 2), (1, 3)."""
    y0, y1 = sub_mul(x0, t0, x1), add_mul(x1, t0, x0)
    y2, y3 = sub_mul(x2, t0, x3), add_mul(x3, t0, x2)
    return sub_mul(y0, t1, y2), sub_mul(y1, t1, y3), add_mul(y2, t1, y0), add_mul(y3, t1, y1)


@njit(forceinline=True)
def _store4(p0, step, x):  # type: ignore[no-untyped-def]
    store(p0, x[0])
    store(p0 + step, x[1])
    store(p0 + 2 * step, x[2])
    store(p0 + 3 * step, x[3])


@njit(forceinline=True)
def radix8(base, stride, bits, bit, tangents):  # type: ignore[no-untyped-def]
    """RY on ``bit``, ``bit + 1`` and ``bit + 2``."""
    t0, t1, t2 = broadcast(tangents + 4 * bit), broadcast(tangents + 4 * bit + 4), broadcast(tangents + 4 * bit + 8)
    step = stride << bit
    for outer in range(1 << (bits - bit - 3)):
        for inner in range(1 << bit):
            for part in range(2):
                p0 = base + ((outer << (bit + 3)) + inner) * stride + part * VECTOR
                p4 = p0 + 4 * step
                x0, x1, x2, x3 = load(p0), load(p0 + step), load(p0 + 2 * step), load(p0 + 3 * step)
                x4, x5, x6, x7 = load(p4), load(p4 + step), load(p4 + 2 * step), load(p4 + 3 * step)
                x0, x1, x2, x3 = _rotate4(x0, x1, x2, x3, t0, t1)
                x4, x5, x6, x7 = _rotate4(x4, x5, x6, x7, t0, t1)
                store(p0, sub_mul(x0, t2, x4))
                store(p4, add_mul(x4, t2, x0))
                store(p0 + step, sub_mul(x1, t2, x5))
                store(p4 + step, add_mul(x5, t2, x1))
                store(p0 + 2 * step, sub_mul(x2, t2, x6))
                store(p4 + 2 * step, add_mul(x6, t2, x2))
                store(p0 + 3 * step, sub_mul(x3, t2, x7))
                store(p4 + 3 * step, add_mul(x7, t2, x3))


@njit(forceinline=True)
def radix4(base, stride, bits, bit, tangents):  # type: ignore[no-untyped-def]
    """RY on ``bit`` and ``bit + 1``."""
    t0, t1 = broadcast(tangents + 4 * bit), broadcast(tangents + 4 * bit + 4)
    step = stride << bit
    for outer in range(1 << (bits - bit - 2)):
        for inner in range(1 << bit):
            for part in range(2):
                p0 = base + ((outer << (bit + 2)) + inner) * stride + part * VECTOR
                x0, x1, x2, x3 = _rotate4(load(p0), load(p0 + step), load(p0 + 2 * step), load(p0 + 3 * step), t0, t1)
                store(p0, x0)
                store(p0 + step, x1)
                store(p0 + 2 * step, x2)
                store(p0 + 3 * step, x3)


@njit(forceinline=True)
def radix2(base, stride, bits, bit, tangents):  # type: ignore[no-untyped-def]
    """RY on ``bit``."""
    t = broadcast(tangents + 4 * bit)
    step = stride << bit
    for outer in range(1 << (bits - bit - 1)):
        for inner in range(1 << bit):
            for part in range(2):
                p0 = base + ((outer << (bit + 1)) + inner) * stride + part * VECTOR
                x0, x1 = load(p0), load(p0 + step)
                store(p0, sub_mul(x0, t, x1))
                store(p0 + step, add_mul(x1, t, x0))


@njit(forceinline=True)
def _undo4(p0, step, t0, t1):  # type: ignore[no-untyped-def]
    """Inverse RYs, in tan form, on two bits of the four amplitudes at ``p0 + k * step``; returns what stood there."""
    x0, x1, x2, x3 = load(p0), load(p0 + step), load(p0 + 2 * step), load(p0 + 3 * step)
    y0, y1 = add_mul(x0, t0, x1), sub_mul(x1, t0, x0)
    y2, y3 = add_mul(x2, t0, x3), sub_mul(x3, t0, x2)
    store(p0, add_mul(y0, t1, y2))
    store(p0 + step, add_mul(y1, t1, y3))
    store(p0 + 2 * step, sub_mul(y2, t1, y0))
    store(p0 + 3 * step, sub_mul(y3, t1, y1))
    return x0, x1, x2, x3


@njit(forceinline=True)
def undo_radix4(base, stride, bits, bit, tangents, sums):  # type: ignore[no-untyped-def]
    """Undo RY on ``bit`` and ``bit + 1`` of psi and lambda.

    To the vectors at ``sums + bit * VECTOR`` and the next it adds dL/dtheta_q = sum over pairs of lambda_b psi_a - lambda_a psi_b (real and
    imaginary parts alike), up to the cosines that ``add_theta_sums`` in plan.py restores.
    """
    t0, t1 = broadcast(tangents + 4 * bit), broadcast(tangents + 4 * bit + 4)
    sum0, sum1 = load(sums + bit * VECTOR), load(sums + bit * VECTOR + VECTOR)
    step = stride << bit
    for outer in range(1 << (bits - bit - 2)):
        for inner in range(1 << bit):
            for part in range(2):
                p0 = base + ((outer << (bit + 2)) + inner) * stride + part * VECTOR
                x0, x1, x2, x3 = _undo4(p0, step, t0, t1)
                l0, l1, l2, l3 = _undo4(p0 + ROW, step, t0, t1)
                pairs01 = sub_mul(mul(l1, x0), l0, x1)
                sum0 = add(sum0, sub_mul(add_mul(pairs01, l3, x2), l2, x3))
                pairs02 = sub_mul(mul(l2, x0), l0, x2)
                sum1 = add(sum1, sub_mul(add_mul(pairs02, l3, x1), l1, x3))
    store(sums + bit * VECTOR, sum0)
    store(sums + bit * VECTOR + VECTOR, sum1)


@njit(forceinline=True)
def undo_radix2(base, stride, bits, bit, tangents, sums):  # type: ignore[no-untyped-def]
    """As ``undo_radix4``, on ``bit`` alone."""
    t = broadcast(tangents + 4 * bit)
    sum0 = load(sums + bit * VECTOR)
    step = stride << bit
    for outer in range(1 << (bits - bit - 1)):
        for inner in range(1 << bit):
            for part in range(2):
                p0 = base + ((outer << (bit + 1)) + inner) * stride + part * VECTOR
                x0, x1, l0, l1 = load(p0), load(p0 + step), load(p0 + ROW), load(p0 + step + ROW)
                sum0 = add(sum0, sub_mul(mul(l1, x0), l0, x1))
                store(p0, add_mul(x0, t, x1))
                store(p0 + step, sub_mul(x1, t, x0))
                store(p0 + ROW, add_mul(l0, t, l1))
                store(p0 + step + ROW, sub_mul(l1, t, l0))
    store(sums + bit * VECTOR, sum0)


@njit(forceinline=True)
def column_diagonal(rows, column, columns_count, padded_rows, out):  # type: ignore[no-untyped-def]
    """Blocks: write the diagonal of one column to ``out``, row factors (real, then imaginary, ``padded_rows`` each) times the column's."""
    c, s = broadcast(column), broadcast(column + 4 * columns_count)
    for v in range(padded_rows // LANES):
        real, imaginary = load(rows + v * VECTOR), load(rows + 4 * padded_rows + v * VECTOR)
        store(out + v * VECTOR, sub_mul(mul(real, c), imaginary, s))
        store(out + 4 * padded_rows + v * VECTOR, add_mul(mul(real, s), imaginary, c))


@njit(forceinline=True)
def _turned(address, diagonal, padded_rows):  # type: ignore[no-untyped-def]
    """Blocks: amplitudes at ``address`` times the diagonal's element."""
    x, y = load(address), load(address + VECTOR)
    c, s = broadcast(diagonal), broadcast(diagonal + 4 * padded_rows)
    return sub_mul(mul(c, x), s, y), add_mul(mul(c, y), s, x)


@njit(forceinline=True)
def diagonal_radix4(base, stride, bits, tangents, diagonal, padded_rows):  # type: ignore[no-untyped-def]
    """Blocks: the layer's diagonal, then RY on the top two bits."""
    quarter = 1 << (bits - 2)
    step = quarter * stride
    t0, t1 = broadcast(tangents + 4 * (bits - 2)), broadcast(tangents + 4 * (bits - 1))
    for k in range(quarter):
        p0 = base + k * stride
        p1, p2, p3 = p0 + step, p0 + 2 * step, p0 + 3 * step
        d = diagonal + 4 * k
        r0, i0 = _turned(p0, d, padded_rows)
        r1, i1 = _turned(p1, d + 4 * quarter, padded_rows)
        r2, i2 = _turned(p2, d + 8 * quarter, padded_rows)
        r3, i3 = _turned(p3, d + 12 * quarter, padded_rows)
        _store4(p0, step, _rotate4(r0, r1, r2, r3, t0, t1))
        _store4(p0 + VECTOR, step, _rotate4(i0, i1, i2, i3, t0, t1))


@njit(forceinline=True)
def undo_diagonal(base, stride, rows, diagonal, padded_rows, row_sums, column_sum):  # type: ignore[no-untyped-def]
    """Blocks: undo the diagonal of one column on psi and lambda.

    With w = Im(conj(lambda) psi) of each row: adds w to the vectors at ``row_sums`` and writes the column's sum to ``column_sum``; all that
    dL/dalpha_q = sum_i z_q(i) w_i needs.
    """
    whole = fill(0.0)
    for r in range(rows):
        p = base + r * stride
        c, s = broadcast(diagonal + 4 * r), broadcast(diagonal + 4 * (padded_rows + r))
        x, y, a, b = load(p), load(p + VECTOR), load(p + ROW), load(p + ROW + VECTOR)
        x, y = add_mul(mul(c, x), s, y), sub_mul(mul(c, y), s, x)
        a, b = add_mul(mul(c, a), s, b), sub_mul(mul(c, b), s, a)
        store(p, x)
        store(p + VECTOR, y)
        store(p + ROW, a)
        store(p + ROW + VECTOR, b)
        w = sub_mul(mul(a, y), b, x)
        whole = add(whole, w)
        store(row_sums + r * VECTOR, add(load(row_sums + r * VECTOR), w))
    store(column_sum, whole)


@njit(forceinline=True)
def lane_tangents(tangents):  # type: ignore[no-untyped-def]
    """Singles: for every lane bit, its tangent with the sign that RY gives it in each lane: minus where the bit is clear."""
    t0, t1 = _negated0(broadcast(tangents)), _negated1(broadcast(tangents + 4))
    t2 = _negated2(broadcast(tangents + 8)) if LANE_BITS > 2 else fill(0.0)
    t3 = _negated3(broadcast(tangents + 12)) if LANE_BITS > 3 else fill(0.0)
    return t0, t1, t2, t3


@njit(forceinline=True)
def _rotate_lanes(x, lanes):  # type: ignore[no-untyped-def]
    """Singles: RYs in tan form on the lane bits."""
    t0, t1, t2, t3 = lanes
    x = add_mul(x, t0, _swap0(x))
    x = add_mul(x, t1, _swap1(x))
    if LANE_BITS > 2:
        x = add_mul(x, t2, _swap2(x))
    if LANE_BITS > 3:
        x = add_mul(x, t3, _swap3(x))
    return x


@njit(forceinline=True)
def _single_diagonal(row, padded_rows, real, imaginary):  # type: ignore[no-untyped-def]
    """Singles: the factor of the row, at address ``row``, times the column's vectors."""
    c, s = broadcast(row), broadcast(row + 4 * padded_rows)
    return sub_mul(mul(c, real), s, imaginary), add_mul(mul(c, imaginary), s, real)


@njit(forceinline=True)
def _single_turned(address, row, padded_rows, real, imaginary, lanes):  # type: ignore[no-untyped-def]
    """Singles: amplitudes at ``address`` times the diagonal, lane bits rotated."""
    c, s = _single_diagonal(row, padded_rows, real, imaginary)
    x, y = load(address), load(address + VECTOR)
    x, y = sub_mul(mul(c, x), s, y), add_mul(mul(c, y), s, x)
    return _rotate_lanes(x, lanes), _rotate_lanes(y, lanes)


@njit(forceinline=True)
def single_diagonal_radix4(base, stride, bits, tangents, lanes, rows, padded_rows, column, columns_size):  # type: ignore[no-untyped-def]
    """Singles: the layer's diagonal, RY on the lane bits (``lanes``: their tangents), then RY on the top two bits of one column."""
    quarter = 1 << (bits - 2)
    step = quarter * stride
    t0, t1 = broadcast(tangents + 4 * (bits - 2)), broadcast(tangents + 4 * (bits - 1))
    c, s = load(column), load(column + columns_size)
    for k in range(quarter):
        p0 = base + k * stride
        p1, p2, p3 = p0 + step, p0 + 2 * step, p0 + 3 * step
        d = rows + 4 * k
        r0, i0 = _single_turned(p0, d, padded_rows, c, s, lanes)
        r1, i1 = _single_turned(p1, d + 4 * quarter, padded_rows, c, s, lanes)
        r2, i2 = _single_turned(p2, d + 8 * quarter, padded_rows, c, s, lanes)
        r3, i3 = _single_turned(p3, d + 12 * quarter, padded_rows, c, s, lanes)
        _store4(p0, step, _rotate4(r0, r1, r2, r3, t0, t1))
        _store4(p0 + VECTOR, step, _rotate4(i0, i1, i2, i3, t0, t1))


@njit(forceinline=True)
def single_undo_diagonal(base, stride, rows_count, lanes, rows, padded_rows, column, columns_size, lane_sums, row_sums, column_sum):  # type: ignore[no-untyped-def]
    """Singles: undo RY on the lane bits, then the diagonal, of one column of psi and lambda.

    Adds dL/dtheta of the lane bits to the vectors at ``lane_sums`` (their lanes still to be signed and summed). With w = Im(conj(lambda) psi) of
    each row: adds w to the vectors at ``row_sums`` and writes the column's sum to ``column_sum``; all that dL/dalpha_q = sum_i z_q(i) w_i needs.
    """
    t0, t1, t2, t3 = lanes
    real, imaginary = load(column), load(column + columns_size)
    whole = fill(0.0)
    sum0, sum1 = load(lane_sums), load(lane_sums + VECTOR)
    sum2 = load(lane_sums + 2 * VECTOR) if LANE_BITS > 2 else sum0
    sum3 = load(lane_sums + 3 * VECTOR) if LANE_BITS > 3 else sum0
    for r in range(rows_count):
        p = base + r * stride
        x, y, a, b = load(p), load(p + VECTOR), load(p + ROW), load(p + ROW + VECTOR)
        sx, sy, sa, sb = _swap0(x), _swap0(y), _swap0(a), _swap0(b)
        sum0 = add_mul(add_mul(sum0, a, sx), b, sy)
        x, y, a, b = sub_mul(x, t0, sx), sub_mul(y, t0, sy), sub_mul(a, t0, sa), sub_mul(b, t0, sb)
        sx, sy, sa, sb = _swap1(x), _swap1(y), _swap1(a), _swap1(b)
        sum1 = add_mul(add_mul(sum1, a, sx), b, sy)
        x, y, a, b = sub_mul(x, t1, sx), sub_mul(y, t1, sy), sub_mul(a, t1, sa), sub_mul(b, t1, sb)
        if LANE_BITS > 2:
            sx, sy, sa, sb = _swap2(x), _swap2(y), _swap2(a), _swap2(b)
            sum2 = add_mul(add_mul(sum2, a, sx), b, sy)
            x, y, a, b = sub_mul(x, t2, sx), sub_mul(y, t2, sy), sub_mul(a, t2, sa), sub_mul(b, t2, sb)
        if LANE_BITS > 3:
            sx, sy, sa, sb = _swap3(x), _swap3(y), _swap3(a), _swap3(b)
            sum3 = add_mul(add_mul(sum3, a, sx), b, sy)
            x, y, a, b = sub_mul(x, t3, sx), sub_mul(y, t3, sy), sub_mul(a, t3, sa), sub_mul(b, t3, sb)
        c, s = _single_diagonal(rows + 4 * r, padded_rows, real, imaginary)
        x, y = add_mul(mul(c, x), s, y), sub_mul(mul(c, y), s, x)
        a, b = add_mul(mul(c, a), s, b), sub_mul(mul(c, b), s, a)
        store(p, x)
        store(p + VECTOR, y)
        store(p + ROW, a)
        store(p + ROW + VECTOR, b)
        w = sub_mul(mul(a, y), b, x)
        whole = add(whole, w)
        store(row_sums + r * VECTOR, add(load(row_sums + r * VECTOR), w))
    store(column_sum, whole)
    store(lane_sums, sum0)
    store(lane_sums + VECTOR, sum1)
    if LANE_BITS > 2:
        store(lane_sums + 2 * VECTOR, sum2)
    if LANE_BITS > 3:
        store(lane_sums + 3 * VECTOR, sum3)


@njit(forceinline=True)
def signed_sums(values, bits, sums):  # type: ignore[no-untyped-def]
    """To the vectors at ``sums``, one a bit: sum of the 2^bits vectors at ``values``, minus where the bit of the position is set.

    Overwrites ``values``; the plain sum is left in the first.
    """
    for bit in range(bits):
        difference = fill(0.0)
        for i in range(1 << (bits - 1 - bit)):
            even, odd = load(values + 2 * i * VECTOR), load(values + (2 * i + 1) * VECTOR)
            difference = add(difference, sub(even, odd))
            store(values + i * VECTOR, add(even, odd))
        store(sums + bit * VECTOR, difference)


@njit(forceinline=True)
def lane_signed(x, bit):  # type: ignore[no-untyped-def]
    """x with the sign of the lanes flipped where ``bit`` of their position is clear."""
    if bit == 0:
        return _negated0(x)
    if bit == 1:
        return _negated1(x)
    if bit == 2:
        return _negated2(x)
    return _negated3(x)
