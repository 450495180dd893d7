"""Vectors of sixteen 32-bit numbers for numba: LLVM's own vector types, which it lowers to what the processor has.

A vector is one AVX-512 register, two of AVX2 or four of SSE. numba's own vectorizer is left nothing to decide, so a loop
has the same form, and each float operation the same rounding, on every processor. Each function here becomes one
instruction of LLVM. `Ints` holds int32, `Floats` float32.

Memory is given as an address and an index from there, in numbers of the type's size, and nothing checks either: arrays
passed through inlined functions would be counted as references inside the loop, which empties the vector registers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.ir as ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

LANES = 16
INT, FLOAT = ir.IntType(32), ir.FloatType()


class Vector(types.Type):  # type: ignore[misc]
    """The type of sixteen numbers of an LLVM type."""

    def __init__(self, name: str, element: Any) -> None:
        self.vector = ir.VectorType(element, LANES)
        super().__init__(name=name)


@register_model(Vector)
class _Model(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(manager, vector, vector.vector)


Ints, Floats = Vector("int32x16", INT), Vector("float32x16", FLOAT)


def _place(builder: Any, base: Any, index: Any, kind: Any, size: int) -> Any:
    offset = builder.mul(index, ir.Constant(ir.IntType(64), size))
    return builder.inttoptr(builder.add(base, offset), ir.PointerType(kind))


def _load(result: Any, kind: Any, size: int) -> Any:
    @intrinsic  # type: ignore[untyped-decorator]
    def load(context: Any, address: Any, index: Any) -> Any:
        def generate(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            found = builder.load(_place(builder, arguments[0], arguments[1], kind, size))
            found.align = size
            return found

        return result(types.intp, types.intp), generate

    return load


def _store(given: Any, kind: Any, size: int) -> Any:
    @intrinsic  # type: ignore[untyped-decorator]
    def store(context: Any, address: Any, index: Any, value: Any) -> Any:
        def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            done = builder.store(arguments[2], _place(builder, arguments[0], arguments[1], kind, size))
            done.align = size
            return target.get_dummy_value()

        return types.void(types.intp, types.intp, given), generate

    return store


def _everywhere(builder: Any, scalar: Any, kind: Any) -> Any:
    """Return a vector with one number in each place."""
    nothing = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(nothing, scalar, ir.Constant(INT, 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(INT, LANES), [0] * LANES))


def _splat(result: Vector, element: Any, align: int) -> Any:
    @intrinsic  # type: ignore[untyped-decorator]
    def splat(context: Any, address: Any, index: Any) -> Any:
        def generate(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            scalar = builder.load(_place(builder, arguments[0], arguments[1], element, 4))
            scalar.align = align
            return _everywhere(builder, scalar, result.vector)

        return result(types.intp, types.intp), generate

    return splat


def _operation(result: Any, numbers: int, make: Callable[..., Any]) -> Any:
    """Return an operation of 0 to 3 vectors; `make(builder, *values)` writes it."""

    def generate(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return make(builder, *arguments)

    if numbers == 0:

        @intrinsic  # type: ignore[untyped-decorator]
        def operation(context: Any) -> Any:
            return result(), generate
    elif numbers == 1:

        @intrinsic  # type: ignore[untyped-decorator]
        def operation(context: Any, a: Any) -> Any:
            return result(a), generate
    elif numbers == 2:

        @intrinsic  # type: ignore[untyped-decorator]
        def operation(context: Any, a: Any, b: Any) -> Any:
            return result(a, b), generate
    else:

        @intrinsic  # type: ignore[untyped-decorator]
        def operation(context: Any, a: Any, b: Any, c: Any) -> Any:
            return result(a, b, c), generate

    return operation


def _call(name: str, kind: Any, numbers: int) -> Callable[..., Any]:
    """Return what calls a function of LLVM by its name: llvmlite's own way to declare one has no vectors."""

    def make(builder: Any, *values: Any) -> Any:
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * numbers), name)
        return builder.call(function, values)

    return make


def _constant(vector: Vector, value: float) -> Any:
    return _operation(vector, 0, lambda builder: ir.Constant(vector.vector, [value] * LANES))


def _chosen(comparison: str) -> Callable[..., Any]:
    return lambda builder, a, b: builder.select(builder.fcmp_ordered(comparison, a, b), a, b)


def _bits(builder: Any, a: Any, b: Any) -> Any:
    return builder.bitcast(builder.fcmp_ordered(">=", a, b), ir.IntType(16))


def _of_sixteen(builder: Any, bits: Any) -> Any:
    return builder.zext(_call("llvm.ctpop.i16", ir.IntType(16), 1)(builder, bits), ir.IntType(64))


load_ints, load_floats = _load(Ints, Ints.vector, 4), _load(Floats, Floats.vector, 4)
load_16, load_64 = _load(types.uint16, ir.IntType(16), 2), _load(types.uint64, ir.IntType(64), 2)
load_byte = _load(types.uint8, ir.IntType(8), 1)
load_float, store_float = _load(types.float32, FLOAT, 4), _store(types.float32, FLOAT, 4)
store_floats = _store(Floats, Floats.vector, 4)
store_16, store_64 = _store(types.uint16, ir.IntType(16), 2), _store(types.uint64, ir.IntType(64), 2)
splat_int, splat_float = _splat(Ints, INT, 2), _splat(Floats, FLOAT, 4)
"""One number of memory in every place. The ints may lie at any even address."""

zero, zeros, ones = _constant(Ints, 0), _constant(Floats, 0.0), _constant(Floats, 1.0)
fours = _constant(Floats, 4.0)
xor = _operation(Ints, 2, lambda builder, a, b: builder.xor(a, b))
add = _operation(Ints, 2, lambda builder, a, b: builder.add(a, b))
subtract = _operation(Ints, 2, lambda builder, a, b: builder.sub(a, b))
count_ones = _operation(Ints, 1, _call("llvm.ctpop.v16i32", Ints.vector, 1))
to_float = _operation(Floats, 1, lambda builder, a: builder.sitofp(a, Floats.vector))
times = _operation(Floats, 2, lambda builder, a, b: builder.fmul(a, b))
plus = _operation(Floats, 2, lambda builder, a, b: builder.fadd(a, b))
minus = _operation(Floats, 2, lambda builder, a, b: builder.fsub(a, b))
over = _operation(Floats, 2, lambda builder, a, b: builder.fdiv(a, b))
fused = _operation(Floats, 3, _call("llvm.fma.v16f32", Floats.vector, 3))
"""a b + c, rounded once."""
magnitude = _operation(Floats, 1, _call("llvm.fabs.v16f32", Floats.vector, 1))
larger, smaller = _operation(Floats, 2, _chosen(">")), _operation(Floats, 2, _chosen("<"))
leaky = _operation(
    Floats,
    2,
    lambda builder, a, slope: builder.select(
        builder.fcmp_ordered(">", a, ir.Constant(Floats.vector, [0.0] * LANES)), a, builder.fmul(a, slope)
    ),
)
"""a where a > 0, slope a elsewhere."""
at_least = _operation(types.uint16, 2, _bits)
"""The sixteen bits a >= b; the first place is the lowest bit."""
count_16 = _operation(types.intp, 1, _of_sixteen)


@intrinsic  # type: ignore[untyped-decorator]
def everywhere(context: Any, value: Any) -> Any:
    """Return a float32 in every place."""

    def generate(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _everywhere(builder, arguments[0], Floats.vector)

    return Floats(types.float32), generate
