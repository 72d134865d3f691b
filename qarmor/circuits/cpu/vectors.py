"""Explicit SIMD for numba: vectors of ``LANES`` float32, loaded from and stored to plain addresses (``intp``).

Hoping for auto-vectorisation costs a factor of two here; LLVM compiles these vectors to AVX-512, AVX2 or NEON by itself.
``VECTOR`` is the size of one vector in bytes; addresses given to ``load`` and ``store`` are multiples of it.
"""

import math
import os
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model
from numpy.typing import NDArray

WIDTHS = (4, 8, 16)


def _choose_lanes() -> int:
    wanted = os.environ.get("QARMOR_LANES")  # so that one machine can test the paths of others
    if wanted is None:
        # Zen 4 executes 512-bit vectors in halves: there the narrower ones are faster (measured 10 to 20 %, dev/LOG.md)
        wide = llvm.get_host_cpu_features().get("avx512f", False) and llvm.get_host_cpu_name() != "znver4"
        return 16 if wide else 8
    if wanted not in map(str, WIDTHS):
        raise ValueError(f"QARMOR_LANES must be one of {', '.join(map(str, WIDTHS))}, got {wanted!r}")
    return int(wanted)


LANES = _choose_lanes()
LANE_BITS = LANES.bit_length() - 1
VECTOR = 4 * LANES
_LLVM_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_ALIGNMENT = 128  # a multiple of every vector's size


def aligned(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Uninitialised float32 array whose address vectors may be loaded from."""
    size = math.prod(shape)
    raw = np.empty(size + _ALIGNMENT // 4, np.float32)
    start = (-raw.ctypes.data % _ALIGNMENT) // 4
    return raw[start : start + size].reshape(shape)


class _Vector(types.Type):
    def __init__(self) -> None:
        super().__init__(name=f"float32x{LANES}")


_vector = _Vector()


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: Any) -> None:
        super().__init__(manager, fe_type, _LLVM_VECTOR)


def _llvm_function(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    function = builder.module.globals.get(name)
    return function if function is not None else ir.Function(builder.module, ir.FunctionType(result, arguments), name)


def _fused(builder: Any, x: Any, y: Any, z: Any) -> Any:
    function = _llvm_function(builder, f"llvm.fma.v{LANES}f32", _LLVM_VECTOR, [_LLVM_VECTOR] * 3)
    return builder.call(function, [x, y, z])


def _splat(builder: Any, scalar: Any) -> Any:
    undefined = ir.Constant(_LLVM_VECTOR, ir.Undefined)
    index = ir.IntType(32)
    first = builder.insert_element(undefined, scalar, ir.Constant(index, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(index, LANES), [0] * LANES))


def _float_at(builder: Any, address: Any) -> Any:
    scalar = builder.load(builder.inttoptr(address, ir.FloatType().as_pointer()))
    scalar.align = 4
    return scalar


def _lanewise(emit: Callable[..., Any], operands: int) -> Any:
    """The code generator of an operation on ``operands`` vectors."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return emit(builder, *arguments)

    return _vector(*[_vector] * operands), generate


@intrinsic
def load(typing, address):  # type: ignore[no-untyped-def]
    """The vector at ``address``."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        vector = builder.load(builder.inttoptr(arguments[0], _LLVM_VECTOR.as_pointer()))
        vector.align = VECTOR
        return vector

    return _vector(types.intp), generate


@intrinsic
def store(typing, address, vector):  # type: ignore[no-untyped-def]
    """Write ``vector`` to ``address``."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        builder.store(arguments[1], builder.inttoptr(arguments[0], _LLVM_VECTOR.as_pointer())).align = VECTOR
        return context.get_dummy_value()

    return types.void(types.intp, _vector), generate


@intrinsic
def broadcast(typing, address):  # type: ignore[no-untyped-def]
    """The float32 at ``address`` in every lane."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return _splat(builder, _float_at(builder, arguments[0]))

    return _vector(types.intp), generate


@intrinsic
def fill(typing, scalar):  # type: ignore[no-untyped-def]
    """A float32 scalar in every lane."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return _splat(builder, arguments[0])

    return _vector(types.float32), generate


@intrinsic
def load_unaligned(typing, address):  # type: ignore[no-untyped-def]
    """The vector at ``address``, a multiple of 4."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        vector = builder.load(builder.inttoptr(arguments[0], _LLVM_VECTOR.as_pointer()))
        vector.align = 4
        return vector

    return _vector(types.intp), generate


@intrinsic
def store_unaligned(typing, address, vector):  # type: ignore[no-untyped-def]
    """Write ``vector`` to ``address``, a multiple of 4."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        builder.store(arguments[1], builder.inttoptr(arguments[0], _LLVM_VECTOR.as_pointer())).align = 4
        return context.get_dummy_value()

    return types.void(types.intp, _vector), generate


@intrinsic
def gather(typing, address, stride, count):  # type: ignore[no-untyped-def]
    """Lane v is the float32 at ``address + v * stride`` for v < count, else 0."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        address, stride, count = arguments
        integer, zero = ir.IntType(64), ir.Constant(ir.FloatType(), 0.0)
        vector = ir.Constant(_LLVM_VECTOR, [0.0] * LANES)
        for lane in range(LANES):
            wanted = builder.icmp_signed("<", ir.Constant(integer, lane), count)
            # an unwanted lane reads the first element, which exists, and drops it
            at = builder.select(wanted, builder.add(address, builder.mul(stride, ir.Constant(integer, lane))), address)
            scalar = builder.select(wanted, _float_at(builder, at), zero)
            vector = builder.insert_element(vector, scalar, ir.Constant(ir.IntType(32), lane))
        return vector

    return _vector(types.intp, types.intp, types.intp), generate


def _shuffle(builder: Any, vector: Any, lanes: list[int]) -> Any:
    return builder.shuffle_vector(vector, ir.Constant(_LLVM_VECTOR, ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), LANES), lanes))


def swap(bit: int) -> Any:
    """The function that exchanges every lane with the one that differs in ``bit``; with fewer lanes than that, the identity."""

    @intrinsic
    def swapped(typing, x):  # type: ignore[no-untyped-def]
        return _lanewise(lambda builder, a: _shuffle(builder, a, [lane ^ (1 << bit) for lane in range(LANES)]) if bit < LANE_BITS else a, 1)

    return swapped


def negated(bit: int) -> Any:
    """The function that flips the sign of the lanes where ``bit`` is clear; with fewer lanes than that, zero."""

    @intrinsic
    def flipped(typing, x):  # type: ignore[no-untyped-def]
        signs = [0.0 if bit >= LANE_BITS else 1.0 if (lane >> bit) & 1 else -1.0 for lane in range(LANES)]
        return _lanewise(lambda builder, a: builder.fmul(a, ir.Constant(_LLVM_VECTOR, signs)), 1)

    return flipped


@intrinsic
def add(typing, x, y):  # type: ignore[no-untyped-def]
    """x + y."""
    return _lanewise(lambda builder, a, b: builder.fadd(a, b), 2)


@intrinsic
def sub(typing, x, y):  # type: ignore[no-untyped-def]
    """x - y."""
    return _lanewise(lambda builder, a, b: builder.fsub(a, b), 2)


@intrinsic
def mul(typing, x, y):  # type: ignore[no-untyped-def]
    """x * y."""
    return _lanewise(lambda builder, a, b: builder.fmul(a, b), 2)


@intrinsic
def add_mul(typing, z, x, y):  # type: ignore[no-untyped-def]
    """z + x * y, rounded once."""
    return _lanewise(lambda builder, a, b, c: _fused(builder, b, c, a), 3)


@intrinsic
def sub_mul(typing, z, x, y):  # type: ignore[no-untyped-def]
    """z - x * y, rounded once."""
    return _lanewise(lambda builder, a, b, c: _fused(builder, builder.fneg(b), c, a), 3)


@intrinsic
def total(typing, x):  # type: ignore[no-untyped-def]
    """Sum of the lanes, as a pairwise tree (so that it is the same on every machine with as many lanes)."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        name = f"llvm.vector.reduce.fadd.v{LANES}f32"
        function = _llvm_function(builder, name, ir.FloatType(), [ir.FloatType(), _LLVM_VECTOR])
        return builder.call(function, [ir.Constant(ir.FloatType(), 0.0), arguments[0]], fastmath=("reassoc",))

    return types.float32(_vector), generate
