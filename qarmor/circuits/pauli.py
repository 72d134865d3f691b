"""Compiled by numba: a Hermitian operator on n qubits as 4^n real Pauli coefficients, carried back through a layered circuit, and as a matrix.

A digit of an index says which Pauli acts on a wire: I, Z, X, Y are 0 to 3, so its low bit is the Pauli's part of Z and its high bit that of X. Wire 0
has the lowest digit, its four coefficients lie in one vector of float64 (LLVM does not find these vectors by itself); after it come wires n-1, n-2,
..., 1. The steps of a layer go from the last wires to the first, depth first over the coefficients, so that most of them find theirs in the caches.
"""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, models, register_model
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_F = TypeVar("_F", bound=Callable[..., object])

_BLOCK = 4096  # coefficients whose lowest digits are treated first, in the nearest cache
_VANISHED = 1e-290  # what is below counts as zero: numbers that float64 holds with fewer bits are slow, and next come zeros anyway


def place(wire: int, qubits: int) -> int:
    """Which digit of an index is the wire's; digit d counts 4^d."""
    return 0 if wire == 0 else qubits - wire


# --- vectors of four float64, at plain addresses ---

_LANES = 4
_SIZE = 8 * _LANES
_LLVM_VECTOR = ir.VectorType(ir.DoubleType(), _LANES)


class _Vector(types.Type):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(name="float64x4")


_vector = _Vector()


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, fe_type: Any) -> None:
        super().__init__(manager, fe_type, _LLVM_VECTOR)


def _operation(emit: Callable[..., Any], result: Any, *operands: Any) -> Any:
    """A function of compiled code, of these types: ``emit(builder, *values)`` writes what it does."""

    def typed(typing, *given):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, values):  # type: ignore[no-untyped-def]
            written = emit(builder, *values)
            return context.get_dummy_value() if result is types.void else written

        return result(*operands), generate

    names = ["typing", *(f"operand_{number}" for number in range(len(operands)))]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    typed.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])  # type: ignore[attr-defined]
    return intrinsic(typed)


def _at(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, _LLVM_VECTOR.as_pointer())


def _emit_load(builder: Any, address: Any) -> Any:
    vector = builder.load(_at(builder, address))
    vector.align = 8
    return vector


def _emit_store(builder: Any, address: Any, vector: Any) -> None:
    builder.store(vector, _at(builder, address)).align = 8


def _emit_vector(builder: Any, *lanes: Any) -> Any:
    vector = ir.Constant(_LLVM_VECTOR, ir.Undefined)
    for lane, value in enumerate(lanes):
        vector = builder.insert_element(vector, value, ir.Constant(ir.IntType(32), lane))
    return vector


def _emit_fused(builder: Any, x: Any, y: Any, z: Any) -> Any:
    name = "llvm.fma.v4f64"
    function = builder.module.globals.get(name)
    if function is None:
        function = ir.Function(builder.module, ir.FunctionType(_LLVM_VECTOR, [_LLVM_VECTOR] * 3), name)
    return builder.call(function, [y, z, x])


def _emit_shuffle(*lanes: int) -> Callable[..., Any]:
    """The lanes of two vectors, 0 to 3 and 4 to 7, in this order."""
    return lambda builder, x, y: builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(ir.IntType(32), _LANES), list(lanes)))


_load = _operation(_emit_load, _vector, types.intp)
_store = _operation(_emit_store, types.void, types.intp, _vector)
_of = _operation(_emit_vector, _vector, *[types.float64] * _LANES)
_add_mul = _operation(_emit_fused, _vector, *[_vector] * 3)  # x + y z
_mul = _operation(lambda builder, x, y: builder.fmul(x, y), _vector, _vector, _vector)
_negative = _operation(lambda builder, x: builder.fneg(x), _vector, _vector)
_spread_z = _operation(_emit_shuffle(1, 1, 1, 1), _vector, _vector, _vector)
_spread_x = _operation(_emit_shuffle(2, 2, 2, 2), _vector, _vector, _vector)
_spread_y = _operation(_emit_shuffle(3, 3, 3, 3), _vector, _vector, _vector)
_low_high = _operation(_emit_shuffle(0, 1, 6, 7), _vector, _vector, _vector)
_swapped_reversed = _operation(_emit_shuffle(1, 0, 7, 6), _vector, _vector, _vector)


def _inlined(function: _F) -> _F:
    compiled: _F = njit(forceinline=True)(function)
    return compiled


def _compiled(signature: str) -> Callable[[_F], _F]:
    decorate: Callable[[_F], _F] = njit(signature, cache=True, nogil=True)
    return decorate


# --- maps on one wire, CZ on two: of four vectors I, Z, X, Y of the second wire, for one Pauli of the first ---

Vector = Any  # as mypy sees a vector of compiled code
Row = tuple[Vector, Vector, Vector, Vector]
Map = tuple[Vector, ...]


@_inlined
def _entries(m: Floats) -> Map:
    """What is not known beforehand of a unital map on (I, Z, X, Y), row by row, each in a vector."""
    return (
        *(_fill(m[0, 1]), _fill(m[0, 2]), _fill(m[0, 3])),
        *(_fill(m[1, 1]), _fill(m[1, 2]), _fill(m[1, 3])),
        *(_fill(m[2, 1]), _fill(m[2, 2]), _fill(m[2, 3])),
        *(_fill(m[3, 1]), _fill(m[3, 2]), _fill(m[3, 3])),
    )


@_inlined
def _fill(value: float) -> Vector:
    return _of(value, value, value, value)


@_inlined
def _mapped(m: Map, row: Row) -> Row:
    """The map on the wire whose Pauli is the vector's place in the row."""
    i, z, x, y = row
    return (
        _add_mul(_add_mul(_add_mul(i, m[0], z), m[1], x), m[2], y),
        _add_mul(_add_mul(_mul(m[3], z), m[4], x), m[5], y),
        _add_mul(_add_mul(_mul(m[6], z), m[7], x), m[8], y),
        _add_mul(_add_mul(_mul(m[9], z), m[10], x), m[11], y),
    )


@_inlined
def _columns(m: Floats) -> tuple[Vector, Vector, Vector, Vector]:
    """The columns of a unital map."""
    return (
        _of(1.0, 0.0, 0.0, 0.0),
        _of(m[0, 1], m[1, 1], m[2, 1], m[3, 1]),
        _of(m[0, 2], m[1, 2], m[2, 2], m[3, 2]),
        _of(m[0, 3], m[1, 3], m[2, 3], m[3, 3]),
    )


@_inlined
def _mapped_within(columns: tuple[Vector, Vector, Vector, Vector], v: Vector) -> Vector:
    """The map on wire 0, whose Pauli is the place in the vector."""
    return _add_mul(_add_mul(_add_mul(_mul(columns[0], v), columns[1], _spread_z(v, v)), columns[2], _spread_x(v, v)), columns[3], _spread_y(v, v))


@_inlined
def _crossed_diagonal(i: Row, z: Row) -> tuple[Row, Row]:
    """CZ on the rows of I and of Z on the first wire: X and Y on the second one gain a Z on the first."""
    return (i[0], i[1], z[2], z[3]), (z[0], z[1], i[2], i[3])


@_inlined
def _crossed_flipping(x: Row, y: Row) -> tuple[Row, Row]:
    """CZ on the rows of X and of Y on the first wire: XI and XZ change places, YI and YZ, XX and YY, XY and -YX."""
    return (x[1], x[0], y[3], _negative(y[2])), (y[1], y[0], _negative(x[3]), x[2])


@_inlined
def _crossed_within(row: Row) -> Row:
    """CZ on wire 0, whose Pauli is the place in the vectors, and wire 1, whose Pauli is the vector's place in the row."""
    i, z, x, y = row
    return (
        _low_high(i, z),
        _low_high(z, i),
        _mul(_swapped_reversed(x, y), _of(1.0, 1.0, 1.0, -1.0)),
        _mul(_swapped_reversed(y, x), _of(1.0, 1.0, -1.0, 1.0)),
    )


@_inlined
def _row(at: int, step: int) -> Row:
    return _load(at), _load(at + step), _load(at + 2 * step), _load(at + 3 * step)


@_inlined
def _put(at: int, step: int, row: Row) -> None:
    _store(at, row[0])
    _store(at + step, row[1])
    _store(at + 2 * step, row[2])
    _store(at + 3 * step, row[3])


@_inlined
def _pair(start: int, stop: int, step: int, between: Map, noisy: bool, after: Map) -> None:
    """A CZ on neighbouring wires, then ``after`` on the second one, whose Paulis are ``step`` bytes apart; before the CZ ``between`` on that wire, if
    ``noisy``. Of the coefficients at addresses ``start`` to ``stop``."""
    for group in range(start, stop, 16 * step):
        for at in range(group, group + step, _SIZE):
            first, second = _row(at, step), _row(at + 4 * step, step)
            if noisy:
                first, second = _mapped(between, first), _mapped(between, second)
            first, second = _crossed_diagonal(first, second)
            _put(at, step, _mapped(after, first))
            _put(at + 4 * step, step, _mapped(after, second))
        for at in range(group + 8 * step, group + 9 * step, _SIZE):
            first, second = _row(at, step), _row(at + 4 * step, step)
            if noisy:
                first, second = _mapped(between, first), _mapped(between, second)
            first, second = _crossed_flipping(first, second)
            _put(at, step, _mapped(after, first))
            _put(at + 4 * step, step, _mapped(after, second))


@_inlined
def _first_pair(start: int, step: int, between: Map, noisy: bool, after_zero: tuple[Vector, Vector, Vector, Vector], after_one: Map) -> None:
    """The same for wires 0 and 1, and ``after_zero`` on wire 0, of all coefficients."""
    for at in range(start, start + step, _SIZE):
        row = _row(at, step)
        if noisy:
            row = _mapped(between, row)
        i, z, x, y = _mapped(after_one, _crossed_within(row))
        _put(
            at,
            step,
            (_mapped_within(after_zero, i), _mapped_within(after_zero, z), _mapped_within(after_zero, x), _mapped_within(after_zero, y)),
        )


@_inlined
def _vanished(v: Floats) -> bool:
    """Whether nothing is left but the identity; mostly the first coefficient that is looked at says no."""
    for p in range(1, len(v)):  # noqa: SIM110
        if abs(v[p]) > _VANISHED:
            return False
    return True


@_compiled("void(float64[::1], float64[:, :, :, ::1], float64[:, ::1], boolean)")
def carry_back(v: Floats, maps: Floats, between: Floats, noisy: bool) -> None:
    """Carry the operator ``v`` back through all layers, the last one first: in a layer through its CZs, then through one map a wire.

    Args:
        v: float64 ``(4^n,)``, changed in place.
        maps: float64 ``(layers, n, 4, 4)``, by wire, on coefficients of (I, Z, X, Y); the column of I is (1, 0, 0, 0).
        between: such a map, ``(4, 4)``, that acts on a wire between its two CZs.
        noisy: whether it does.
    """
    layers, n = maps.shape[:2]
    passing = _entries(between)
    base, length = v.ctypes.data, 8 * len(v)
    block = min(length, 8 * _BLOCK)
    for t in range(layers - 1, -1, -1):
        if _vanished(v):
            v[1:] = 0.0
            return
        if n == 1:
            _store(base, _mapped_within(_columns(maps[t, 0]), _load(base)))
            continue
        for stop in range(block, length + 1, block):
            wire, step = n - 1, _SIZE
            while wire > 1 and stop % (16 * step) == 0:
                start = stop - max(block, 16 * step)
                after = _entries(maps[t, wire])
                if noisy and wire < n - 1:
                    _pair(base + start, base + stop, step, passing, True, after)
                else:
                    _pair(base + start, base + stop, step, passing, False, after)
                wire, step = wire - 1, 4 * step
        if noisy and n > 2:
            _first_pair(base, length // 4, passing, True, _columns(maps[t, 0]), _entries(maps[t, 1]))
        else:
            _first_pair(base, length // 4, passing, False, _columns(maps[t, 0]), _entries(maps[t, 1]))


@_compiled("void(float64[::1], int64[::1], int64[::1], int64[::1], float64[:, ::1])")
def real_part(v: Floats, spread: NDArray[np.int64], positions: NDArray[np.int64], rows: NDArray[np.int64], out: Floats) -> None:
    """Fill ``out`` with rows and columns ``positions`` of the operator's real part: that of the Paulis with an even number of Ys.

    A Pauli is i^|a&b| X^a Z^b with bits a, b by wire, so element (s^a, s) is sum_b c_ab i^|a&b| (-1)^|b&s|: a Walsh-Hadamard transform for each a.

    Args:
        v: float64 ``(4^n,)``.
        spread: int64 ``(2^n,)``, of a basis state's index: the sum of 4^place over the wires that are 1 in it.
        positions: int64 ``(d,)``, basis states.
        rows: int64 ``(2^n,)``, which row of ``out`` a basis state has, -1 for none.
        out: float64 ``(d, d)``.
    """
    dimension = len(spread)
    ys = np.zeros(dimension, np.uint8)
    for s in range(1, dimension):
        ys[s] = ys[s >> 1] + (s & 1)
    values = np.empty(dimension)
    for a in range(dimension):
        for b in range(dimension):
            count = ys[a & b]
            values[b] = 0.0 if count & 1 else v[2 * spread[a] + spread[b]] * (1.0 - (count & 2))
        half = 1
        while half < dimension:
            for start in range(0, dimension, 2 * half):
                for p in range(start, start + half):
                    low, high = values[p], values[p + half]
                    values[p], values[p + half] = low + high, low - high
            half *= 2
        for column in range(len(positions)):
            row = rows[positions[column] ^ a]
            if row >= 0:
                out[row, column] = values[positions[column]]
