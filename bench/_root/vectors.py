"""Vectors of sixteen 32-bit numbers for numba: LLVM's own vector types, which it lowers to what the processor has.

A vector is one AVX-512 register, two of AVX2 or four of SSE. numba's own vectorizer is left nothing to decide, so a loop
has the same form, and each float operation the same rounding, on every processor. Each function here becomes one
instruction of LLVM. `Ints` holds int32, `Floats` float32, and `Quads` four float32, one SSE register.

Memory is given as an address and an index from there, in numbers of the type's size, and nothing checks either: arrays
passed through inlined functions would be counted as references inside the loop, which empties the vector registers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm  # type: ignore[import-untyped]
import llvmlite.ir as ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic, models, register_model

LANES = 16
INT, FLOAT = ir.IntType(32), ir.FloatType()


class Vector(types.Type):  # type: ignore[misc]
    """The type of sixteen numbers of an LLVM type, or of as many as `lanes` says."""

    def __init__(self, name: str, element: Any, lanes: int = LANES) -> None:
        self.vector = ir.VectorType(element, lanes)
        super().__init__(name=name)


@register_model(Vector)
class _Model(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(manager, vector, vector.vector)


Ints, Floats, Quads = Vector("int32x16", INT), Vector("float32x16", FLOAT), Vector("float32x4", FLOAT, 4)
BYTES = ir.VectorType(ir.IntType(8), LANES)


def counts_at_once() -> bool:
    """Tell whether the processor that numba compiles for counts the set bits of 32-bit numbers by one instruction."""
    feature = "avx512vpopcntdq"
    if config.CPU_FEATURES is not None:
        return f"+{feature}" in config.CPU_FEATURES.split(",")
    return bool(llvm.get_host_cpu_features().get(feature))


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
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(INT, kind.count), [0] * kind.count))


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
    """Return an operation of 0 to 3 vectors, whose result is like the first where `result` is None.

    `make(builder, *values)` writes it.
    """

    def generate(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return make(builder, *arguments)

    if numbers == 0:

        @intrinsic  # type: ignore[untyped-decorator]
        def operation(context: Any) -> Any:
            return result(), generate
    elif numbers == 1:

        @intrinsic  # type: ignore[untyped-decorator]
        def operation(context: Any, a: Any) -> Any:
            return (result or a)(a), generate
    elif numbers == 2:

        @intrinsic  # type: ignore[untyped-decorator]
        def operation(context: Any, a: Any, b: Any) -> Any:
            return (result or a)(a, b), generate
    else:

        @intrinsic  # type: ignore[untyped-decorator]
        def operation(context: Any, a: Any, b: Any, c: Any) -> Any:
            return (result or a)(a, b, c), generate

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


def _woven(start: int) -> Callable[..., Any]:
    places = [eight + start + k // 2 + LANES * (k % 2) for eight in (0, 8) for k in range(8)]
    mask = ir.Constant(ir.VectorType(INT, LANES), places)
    return lambda builder, a, b: builder.shuffle_vector(a, b, mask)


def _by_byte(builder: Any, a: Any) -> Any:
    eights = ir.VectorType(ir.IntType(8), 4 * LANES)
    return builder.bitcast(_call("llvm.ctpop.v64i8", eights, 1)(builder, builder.bitcast(a, eights)), Ints.vector)


def _four_bytes(builder: Any, a: Any) -> Any:
    def every(value: int) -> Any:
        return ir.Constant(Ints.vector, [value] * LANES)

    pairs = builder.add(builder.and_(a, every(0xFF00FF)), builder.and_(builder.lshr(a, every(8)), every(0xFF00FF)))
    return builder.add(builder.and_(pairs, every(0xFFFF)), builder.lshr(pairs, every(16)))


def _of_sixteen(builder: Any, bits: Any) -> Any:
    return builder.zext(_call("llvm.ctpop.i16", ir.IntType(16), 1)(builder, bits), ir.IntType(64))


load_ints, load_floats = _load(Ints, Ints.vector, 4), _load(Floats, Floats.vector, 4)
load_16, load_64 = _load(types.uint16, ir.IntType(16), 2), _load(types.uint64, ir.IntType(64), 2)
load_byte, store_byte = _load(types.uint8, ir.IntType(8), 1), _store(types.uint8, ir.IntType(8), 1)
load_float, store_float = _load(types.float32, FLOAT, 4), _store(types.float32, FLOAT, 4)
load_four, store_four = _load(types.uint32, INT, 1), _store(types.uint32, INT, 1)
"""Four bytes at a byte's index."""
store_floats = _store(Floats, Floats.vector, 4)
load_place = _load(types.intp, ir.IntType(64), 8)
load_quad, store_quad = _load(Quads, Quads.vector, 4), _store(Quads, Quads.vector, 4)
store_16, store_64 = _store(types.uint16, ir.IntType(16), 2), _store(types.uint64, ir.IntType(64), 2)
splat_int, splat_float = _splat(Ints, INT, 2), _splat(Floats, FLOAT, 4)
"""One number of memory in every place. The ints may lie at any even address."""

zero, zeros, ones = _constant(Ints, 0), _constant(Floats, 0.0), _constant(Floats, 1.0)
fours = _constant(Floats, 4.0)
xor = _operation(Ints, 2, lambda builder, a, b: builder.xor(a, b))
add = _operation(Ints, 2, lambda builder, a, b: builder.add(a, b))
subtract = _operation(Ints, 2, lambda builder, a, b: builder.sub(a, b))
count_ones = _operation(Ints, 1, _call("llvm.ctpop.v16i32", Ints.vector, 1))
count_in_bytes = _operation(Ints, 1, _by_byte)
"""How many bits of each byte are set, in that byte."""
sum_of_bytes = _operation(Ints, 1, _four_bytes)
"""The sum of each int's four bytes, which are 0 to 255."""
to_float = _operation(Floats, 1, lambda builder, a: builder.sitofp(a, Floats.vector))
times = _operation(None, 2, lambda builder, a, b: builder.fmul(a, b))
plus = _operation(None, 2, lambda builder, a, b: builder.fadd(a, b))
minus = _operation(None, 2, lambda builder, a, b: builder.fsub(a, b))
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
to_int = _operation(Ints, 1, lambda builder, a: builder.fptosi(a, Ints.vector))
"""Truncated; what does not fit an int32 has no value."""
times_ints = _operation(Ints, 2, lambda builder, a, b: builder.mul(a, b))
shifted = _operation(Ints, 2, lambda builder, a, b: builder.ashr(a, b))
"""a >> b, with the sign."""
larger_ints = _operation(Ints, 2, lambda builder, a, b: builder.select(builder.icmp_signed(">", a, b), a, b))
smaller_ints = _operation(Ints, 2, lambda builder, a, b: builder.select(builder.icmp_signed("<", a, b), a, b))
weave_first, weave_second = _operation(Ints, 2, _woven(0)), _operation(Ints, 2, _woven(4))
"""Of two vectors of two eights: the first, or the second, four places of each eight, taken in turn."""
at_least = _operation(types.uint16, 2, _bits)
"""The sixteen bits a >= b; the first place is the lowest bit."""
count_16 = _operation(types.intp, 1, _of_sixteen)


@intrinsic  # type: ignore[untyped-decorator]
def load_bytes(context: Any, address: Any, index: Any) -> Any:
    """Return sixteen uint8 as ints."""

    def generate(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        found = builder.load(_place(builder, arguments[0], arguments[1], BYTES, 1))
        found.align = 1
        return builder.zext(found, Ints.vector)

    return Ints(types.intp, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def store_bytes(context: Any, address: Any, index: Any, value: Any) -> Any:
    """Store the lowest eight bits of each int."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits = builder.trunc(arguments[2], BYTES)
        done = builder.store(bits, _place(builder, arguments[0], arguments[1], BYTES, 1))
        done.align = 1
        return target.get_dummy_value()

    return types.void(types.intp, types.intp, Ints), generate


@intrinsic  # type: ignore[untyped-decorator]
def everywhere_int(context: Any, value: Any) -> Any:
    """Return an int32 in every place."""

    def generate(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _everywhere(builder, arguments[0], Ints.vector)

    return Ints(types.int32), generate


@intrinsic  # type: ignore[untyped-decorator]
def quad_everywhere(context: Any, value: Any) -> Any:
    """Return a float32 in each of four places."""

    def generate(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _everywhere(builder, arguments[0], Quads.vector)

    return Quads(types.float32), generate


@intrinsic  # type: ignore[untyped-decorator]
def address(context: Any, array: Any) -> Any:
    """Return where an array's first element lies. Numba does not count it as a use: the caller must hold the array."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        made = target.make_array(signature.args[0])(target, builder, arguments[0])
        return builder.ptrtoint(made.data, ir.IntType(64))

    return types.intp(array), generate


@intrinsic  # type: ignore[untyped-decorator]
def everywhere(context: Any, value: Any) -> Any:
    """Return a float32 in every place."""

    def generate(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _everywhere(builder, arguments[0], Floats.vector)

    return Floats(types.float32), generate


@intrinsic  # type: ignore[untyped-decorator]
def where_equal(context: Any, a: Any, b: Any, equal: Any, other: Any) -> Any:
    """Return in each place `equal` where a = b and `other` elsewhere."""

    def generate(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, b, equal, other = arguments
        return builder.select(builder.fcmp_ordered("==", a, b), equal, other)

    return equal(a, b, equal, other), generate


@intrinsic  # type: ignore[untyped-decorator]
def first_one(context: Any, bits: Any) -> Any:
    """Return the place of the lowest bit that is set, of bits that are not all zero."""

    def generate(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return bits(bits), generate


@intrinsic  # type: ignore[untyped-decorator]
def load_transposed(context: Any, address: Any, stride: Any) -> Any:
    """Return sixteen vectors: the columns of sixteen rows of sixteen floats that lie `stride` floats apart."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place, stride = arguments
        rows = []
        for k in range(LANES):
            found = builder.load(
                _place(builder, place, builder.mul(stride, ir.Constant(ir.IntType(64), k)), Floats.vector, 4)
            )
            found.align = 4
            rows.append(found)
        # Quarters of the square change places, then quarters of those, down to single numbers.
        for half in (8, 4, 2, 1):
            first = [k if not k & half else LANES + k - half for k in range(LANES)]
            second = [k + half if not k & half else LANES + k for k in range(LANES)]
            masks = [ir.Constant(ir.VectorType(INT, LANES), m) for m in (first, second)]
            for k in range(LANES):
                if not k & half:
                    a, b = rows[k], rows[k + half]
                    rows[k], rows[k + half] = (builder.shuffle_vector(a, b, mask) for mask in masks)
        return target.make_tuple(builder, signature.return_type, rows)

    return types.UniTuple(Floats, LANES)(types.intp, types.intp), generate
