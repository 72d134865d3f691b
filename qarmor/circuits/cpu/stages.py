"""One stage = one sweep that applies (or undoes) a few single-qubit rotations, with the amplitudes of a block of samples in vectors.

A *row* of memory holds one amplitude of ``LANES`` samples: forward [real, imaginary], backward [psi real, psi imaginary, lambda real,
lambda imaginary]. A stage works on rows ``base + r * stride``, r < 2^bits; RY is real, so it acts on the parts one after the other.
Functions are inlined and their integer arguments are constants by then; ``tangents`` and ``diagonal`` are addresses of float32 tables.
"""

from numba import njit

from qarmor.circuits.cpu.vectors import LANES, VECTOR, add, add_mul, broadcast, fill, load, mul, store, sub, sub_mul

ROW = 2 * VECTOR
ROW_BOTH = 4 * VECTOR


@njit(forceinline=True)
def column_diagonal(rows, column, padded_rows, out):  # type: ignore[no-untyped-def]
    """Write the diagonal of one column: row factors (real, then imaginary, ``padded_rows`` each) times the column's factor."""
    c, s = broadcast(column), broadcast(column + 4)
    for v in range(padded_rows // LANES):
        real, imaginary = load(rows + v * VECTOR), load(rows + 4 * padded_rows + v * VECTOR)
        store(out + v * VECTOR, sub_mul(mul(real, c), imaginary, s))
        store(out + 4 * padded_rows + v * VECTOR, add_mul(mul(real, s), imaginary, c))


@njit(forceinline=True)
def _turned(address, diagonal, padded_rows):  # type: ignore[no-untyped-def]
    """Amplitude at ``address`` times the diagonal's element."""
    x, y = load(address), load(address + VECTOR)
    c, s = broadcast(diagonal), broadcast(diagonal + 4 * padded_rows)
    return sub_mul(mul(c, x), s, y), add_mul(mul(c, y), s, x)


@njit(forceinline=True)
def _rotate4(x0, x1, x2, x3, t0, t1):  # type: ignore[no-untyped-def]
    """RYs in tan form on two bits: t0 on the lower, pairs (0, 1), (2, 3); then t1 on the upper, pairs (0, 2), (1, 3)."""
    y0, y1 = sub_mul(x0, t0, x1), add_mul(x1, t0, x0)
    y2, y3 = sub_mul(x2, t0, x3), add_mul(x3, t0, x2)
    return sub_mul(y0, t1, y2), sub_mul(y1, t1, y3), add_mul(y2, t1, y0), add_mul(y3, t1, y1)


@njit(forceinline=True)
def diagonal_radix4(base, stride, bits, tangents, diagonal, padded_rows):  # type: ignore[no-untyped-def]
    """The layer's diagonal, then RY on the top two bits."""
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
        r0, r1, r2, r3 = _rotate4(r0, r1, r2, r3, t0, t1)
        i0, i1, i2, i3 = _rotate4(i0, i1, i2, i3, t0, t1)
        store(p0, r0)
        store(p0 + VECTOR, i0)
        store(p1, r1)
        store(p1 + VECTOR, i1)
        store(p2, r2)
        store(p2 + VECTOR, i2)
        store(p3, r3)
        store(p3 + VECTOR, i3)


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
    imaginary parts alike), up to the cosines that ``theta_scale`` in plan.py restores.
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
def undo_diagonal(base, stride, rows, diagonal, padded_rows, row_sums, column_sum):  # type: ignore[no-untyped-def]
    """Undo the diagonal of one column on psi and lambda.

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
def signed_sum(values, count, bit):  # type: ignore[no-untyped-def]
    """Sum of the vectors at ``values``, minus where ``bit`` of the position is set."""
    result = fill(0.0)
    for i in range(count):
        result = sub(result, load(values + i * VECTOR)) if (i >> bit) & 1 else add(result, load(values + i * VECTOR))
    return result
