"""How a circuit is laid out in memory and in which order its stages run; shared by blocks and singles.

The bits of an amplitude's index split into low ones, neighbours in memory, and high ones. A layer is two passes over memory: down the columns
(diagonal and high bits), then along the rows (low bits). Within a pass, stages follow each other skewed by one column or row, so that what one
wrote is still in the first-level cache for the next. Rows of the high index are padded by one, against cache-set conflicts. In a single the lowest
``LANE_BITS`` of the low bits lie within a vector.
"""

from numba import njit

from qarmor.circuits.cpu import stages
from qarmor.circuits.cpu.vectors import LANE_BITS, LANES, VECTOR, load, total

ROW, ROW_BOTH = stages.ROW, stages.ROW_BOTH
MIN_QUBITS = 4
_RADIX2, _RADIX4, _RADIX8 = 1, 2, 3


def low_bits(qubits: int) -> int:
    """How many bits are low: all but four, or of few qubits one more than lie in a vector, so that singles have a low bit above the lanes."""
    return max(qubits - 4, min(LANE_BITS + 1, qubits - 2))


def has_singles(qubits: int) -> bool:
    """Whether one sample has amplitudes enough for singles; else it is a block with empty lanes."""
    return low_bits(qubits) > LANE_BITS


def padded_rows(qubits: int) -> int:
    """Length of a row table: a number for every row, in whole vectors."""
    return -(-(1 << (qubits - low_bits(qubits))) // LANES) * LANES


def stage_codes(bits: int) -> tuple[int, int, int, int]:
    """The forward stages of ``bits`` bits, each ``16 * kind + lowest bit``, 0 for none; from the top bit down."""
    codes = []
    left = bits
    while left:
        kind = _RADIX8 if left == 3 or left >= 5 else _RADIX4 if left >= 2 else _RADIX2
        left -= kind
        codes.append(16 * kind + left)
    return (*codes, 0, 0, 0, 0)[:4]  # type: ignore[return-value]


def work_bytes(qubits: int) -> int:
    """Size of the work space of one thread: the amplitudes, then scratch vectors."""
    low = low_bits(qubits)
    rows, columns = 1 << (qubits - low), 1 << low
    return rows * (columns + 1) * ROW_BOTH + (2 * rows + columns + 3 * qubits + 8) * VECTOR


@njit(forceinline=True)
def apply(code, base, stride, bits, tangents):  # type: ignore[no-untyped-def]
    """The forward stage ``code``; nothing if 0."""
    kind, bit = code >> 4, code & 15
    if kind == _RADIX8:
        stages.radix8(base, stride, bits, bit, tangents)
    if kind == _RADIX4:
        stages.radix4(base, stride, bits, bit, tangents)
    if kind == _RADIX2:
        stages.radix2(base, stride, bits, bit, tangents)


@njit(forceinline=True)
def undo(stage, base, stride, bits, tangents, sums):  # type: ignore[no-untyped-def]
    """The backward stage number ``stage`` of ``bits`` bits, two bits a stage from bit 0 up."""
    if bits - 2 * stage >= 2:
        stages.undo_radix4(base, stride, bits, 2 * stage, tangents, sums)
    elif bits - 2 * stage == 1:
        stages.undo_radix2(base, stride, bits, 2 * stage, tangents, sums)


@njit(forceinline=True)
def rows_pass(base, stride, low, high, row, codes, tangents):  # type: ignore[no-untyped-def]
    """Forward, along the rows: the ``low`` bits above the lanes."""
    c0, c1, c2, c3 = codes
    for h in range((1 << high) + 3):
        p = base + h * stride
        if h < 1 << high:
            apply(c0, p, row, low, tangents)
        if c1 and 1 <= h < (1 << high) + 1:
            apply(c1, p - stride, row, low, tangents)
        if c2 and 2 <= h < (1 << high) + 2:
            apply(c2, p - 2 * stride, row, low, tangents)
        if c3 and h >= 3:
            apply(c3, p - 3 * stride, row, low, tangents)


@njit(forceinline=True)
def undo_rows_pass(base, stride, low, high, row, tangents, sums):  # type: ignore[no-untyped-def]
    """Backward, along the rows."""
    for h in range((1 << high) + 4):
        p = base + h * stride
        if h < 1 << high:
            undo(0, p, row, low, tangents, sums)
        if low > 2 and 1 <= h < (1 << high) + 1:
            undo(1, p - stride, row, low, tangents, sums)
        if low > 4 and 2 <= h < (1 << high) + 2:
            undo(2, p - 2 * stride, row, low, tangents, sums)
        if low > 6 and 3 <= h < (1 << high) + 3:
            undo(3, p - 3 * stride, row, low, tangents, sums)
        if low > 8 and h >= 4:
            undo(4, p - 4 * stride, row, low, tangents, sums)


@njit(forceinline=True)
def add_theta_sums(sums, bits, first, together, scale, squared_cosines, out):  # type: ignore[no-untyped-def]
    """Lanes summed, times the squared cosines of what was undone before: undoing in tan form left psi and lambda too large by 1/cos each.

    ``together`` is how many bits a stage undoes. Returns the scale for what is undone next.
    """
    bit = 0
    while bit < bits:
        count = min(together, bits - bit)
        factor = 1.0
        for b in range(first + bit, first + bit + count):
            out[b] += scale * total(load(sums + b * VECTOR))
            factor *= squared_cosines[b]
        scale *= factor
        bit += count
    return scale
