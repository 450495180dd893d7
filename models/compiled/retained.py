"""The loops of retention matrices: products, power iterations, projections and gradients of a batch, image by image.

They compute what `models/retention.py` computes by torch, with the same bits, because they add up in the same order:

    a matrix x^T y         products added by fused operations, position by position, in blocks of positions
    a vector times one     products rounded and then added, row by row; so are projections
    a norm                 eight sums of every eighth square, then these eight, one after the other
    a gradient             two products; the second is added by a fused operation, or rounded first in small maps

This is the order of one library on one processor. So the loops are compared with torch's operations once for each shape
(`block`, `projects`), and torch does the work where the two differ. Torch goes through all images with one operation before
the next one begins; image by image, an activation is read from memory once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lcrbench.models.compiled import inline, kernel, watched_by_nobody
from lcrbench.vectors import (
    everywhere,
    fused,
    load_float,
    load_floats,
    load_transposed,
    over,
    plus,
    splat_float,
    store_float,
    store_floats,
    times,
    zeros,
)

MOST = 512
"""Channels of the widest activation that the loops take."""
LEAST = np.float32(1e-30)
FUSED, ROUNDED = 1, 2
Pair = tuple[Tensor, Tensor]


class ByTorch(NamedTuple):
    """The operations of torch that the loops stand for."""

    product: Callable[[Tensor, Tensor], Tensor]
    vectors: Callable[[Tensor, int], Pair]
    projected: Callable[[Tensor, Tensor], Tensor]
    outer: Callable[[Tensor, Tensor], Tensor]


def fits(*tensors: Tensor) -> bool:
    """Tell whether the loops take (N, positions, channels): dense, float32 on the processor, channels in sixteens, equal N.

    They take no image alone, for which torch's library adds up in another order than for several. Nor do they where torch's
    operations are counted or traced, or use several threads.
    """
    return (
        watched_by_nobody()
        and torch.get_num_threads() == 1
        and all(
            type(x) is Tensor
            and x.is_cpu
            and x.dtype == torch.float32
            and x.is_contiguous()
            and len(x) == len(tensors[0]) > 1
            and x.shape[2] % 16 == 0
            and x.shape[2] <= MOST
            for x in tensors
        )
    )


def run(
    pairs: Sequence[Pair],
    blocks: Sequence[int],
    iterations: int,
    vectors: Sequence[Pair],
    activations: Sequence[Tensor],
    ends: Sequence[tuple[int, int]],
) -> list[Tensor]:
    """Write u (N, p) and v (N, q) of each pair's matrix to `vectors`; return activations' products with two of them each.

    `pairs` are (N, positions, p) and (N, positions, q), all as `fits` says. The activations (N, positions, C) are multiplied
    with the vectors at two places of u, v, u, v, ... that `ends` names, to (N, 2, positions).
    """
    flat = [t for pair in vectors for t in pair]
    maps = [a.new_empty(len(a), 2, a.shape[1]) for a in activations]
    products = [
        (x.data_ptr(), y.data_ptr(), u.data_ptr(), v.data_ptr(), x.shape[1], x.shape[2], y.shape[2], size)
        for (x, y), (u, v), size in zip(pairs, vectors, blocks, strict=False)
    ]
    projections = [
        (a.data_ptr(), flat[i].data_ptr(), flat[j].data_ptr(), out.data_ptr(), a.shape[1], a.shape[2])
        for a, (i, j), out in zip(activations, ends, maps, strict=True)
    ]
    size = max((x.shape[2] * y.shape[2] for x, y in pairs), default=1)
    scratch = flat[0].new_empty(2, size, dtype=torch.float32)
    rows, columns = (np.array(t, dtype=np.int64).reshape(-1, k) for t, k in ((products, 8), (projections, 6)))
    _images(rows, columns, scratch.data_ptr(), scratch.data_ptr() + 4 * size, len(flat[0]), iterations)
    return maps


def outer(shares: Tensor, columns: Tensor, out: Tensor, order: int) -> None:
    """Write to out (N, positions, C) the sum over one or two shares (N, m, positions) of each times its column (N, C, m).

    The shares and `out` must be dense, in float32 on the processor, and C in sixteens. `order` is what `projects` returns.
    """
    own, (n, m, positions) = columns.transpose(1, 2).contiguous(), shares.shape
    _outer(shares.data_ptr(), own.data_ptr(), out.data_ptr(), n, m, positions, out.shape[2], order == FUSED)


@functools.cache
def block(by: ByTorch, iterations: int, p: int, q: int, positions: int) -> int:
    """Return how many positions are added up at once to have torch's bits of u and v, or 0 where no number has."""
    x, y = _numbers(3, positions, p, seed=0), _numbers(3, positions, q, seed=1)
    product = by.product(x, y)
    # Torch multiplies large maps image by image.
    if not _same(by.product(x[:1], y[:1]), product[:1]):
        return 0
    expected = by.vectors(product, iterations)
    for size in dict.fromkeys((positions, 192, -(-positions // 2), 384, 256, 128)):
        found = (x.new_empty(3, p), y.new_empty(3, q))
        run([(x, y)], [size], iterations, [found], [], [])
        if all(map(_same, found, expected)):
            return size
    return 0


@functools.cache
def projects(by: ByTorch, channels: int, positions: int) -> int:
    """Return how gradients of such activations are added up to have torch's bits: `FUSED`, `ROUNDED` or 0, not at all.

    0 also where projections have other bits.
    """
    a, columns = _numbers(3, positions, channels, seed=0), _numbers(3, channels, 2, seed=1)
    pair = (columns[..., 0].contiguous(), columns[..., 1].contiguous())
    (maps,) = run([], [], 0, [pair], [a], [(0, 1)])
    if not _same(maps, by.projected(a, columns)):
        return 0
    for order in (FUSED, ROUNDED):
        same = []
        for k in (1, 2):
            shares, out = maps[:, :k].contiguous(), torch.empty_like(a)
            outer(shares, columns[..., :k], out, order)
            same.append(_same(out, by.outer(shares, columns[..., :k])))
        if all(same):
            return order
    return 0


def _numbers(*shape: int, seed: int) -> Tensor:
    # Whatever type and device a caller has made the default.
    generator = torch.Generator().manual_seed(seed)
    found = torch.randn(shape, generator=generator, dtype=torch.float32, device=generator.device)
    found[0].mul_(found[0] > 0)  # zeros, of both signs
    return found


def _same(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a.contiguous().view(torch.int32), b.contiguous().view(torch.int32))


@kernel
def _images(products: Any, projections: Any, matrix: Any, turned: Any, n: Any, iterations: Any) -> None:
    for image in range(n):
        for k in range(len(products)):
            positions, p, q, some = products[k, 4], products[k, 5], products[k, 6], products[k, 7]
            x, y = products[k, 0] + image * positions * p * 4, products[k, 1] + image * positions * q * 4
            u, v = products[k, 2] + image * p * 4, products[k, 3] + image * q * 4
            for row in range(0, p, 16):
                for column in range(0, q, 16):
                    out = matrix + (row * q + column) * 4
                    for first in range(0, positions, some):
                        _tile(x + row * 4, y + column * 4, out, first, min(first + some, positions), p, q)
                    t = load_transposed(out, q)
                    to = turned + (column * p + row) * 4
                    for j in range(16):
                        store_floats(to, j * p, t[j])
            _iterate(matrix, turned, u, v, p, q, iterations)
        for k in range(len(projections)):
            positions, c = projections[k, 4], projections[k, 5]
            _project(
                projections[k, 0] + image * positions * c * 4,
                projections[k, 1] + image * c * 4,
                projections[k, 2] + image * c * 4,
                projections[k, 3] + image * positions * 8,
                positions,
                c,
            )


@inline
def _tile(a: Any, b: Any, out: Any, first: Any, end: Any, p: Any, q: Any) -> None:
    """Sixteen rows and columns of one product, of some positions; those before are added."""
    s0, s1, s2, s3, s4, s5, s6, s7 = zeros(), zeros(), zeros(), zeros(), zeros(), zeros(), zeros(), zeros()
    t0, t1, t2, t3, t4, t5, t6, t7 = zeros(), zeros(), zeros(), zeros(), zeros(), zeros(), zeros(), zeros()
    for k in range(first, end):
        v = load_floats(b, k * q)
        i = k * p
        s0 = fused(splat_float(a, i + 0), v, s0)
        s1 = fused(splat_float(a, i + 1), v, s1)
        s2 = fused(splat_float(a, i + 2), v, s2)
        s3 = fused(splat_float(a, i + 3), v, s3)
        s4 = fused(splat_float(a, i + 4), v, s4)
        s5 = fused(splat_float(a, i + 5), v, s5)
        s6 = fused(splat_float(a, i + 6), v, s6)
        s7 = fused(splat_float(a, i + 7), v, s7)
        t0 = fused(splat_float(a, i + 8), v, t0)
        t1 = fused(splat_float(a, i + 9), v, t1)
        t2 = fused(splat_float(a, i + 10), v, t2)
        t3 = fused(splat_float(a, i + 11), v, t3)
        t4 = fused(splat_float(a, i + 12), v, t4)
        t5 = fused(splat_float(a, i + 13), v, t5)
        t6 = fused(splat_float(a, i + 14), v, t6)
        t7 = fused(splat_float(a, i + 15), v, t7)
    if first:
        s0, s1 = plus(load_floats(out, 0 * q), s0), plus(load_floats(out, 1 * q), s1)
        s2, s3 = plus(load_floats(out, 2 * q), s2), plus(load_floats(out, 3 * q), s3)
        s4, s5 = plus(load_floats(out, 4 * q), s4), plus(load_floats(out, 5 * q), s5)
        s6, s7 = plus(load_floats(out, 6 * q), s6), plus(load_floats(out, 7 * q), s7)
        t0, t1 = plus(load_floats(out, 8 * q), t0), plus(load_floats(out, 9 * q), t1)
        t2, t3 = plus(load_floats(out, 10 * q), t2), plus(load_floats(out, 11 * q), t3)
        t4, t5 = plus(load_floats(out, 12 * q), t4), plus(load_floats(out, 13 * q), t5)
        t6, t7 = plus(load_floats(out, 14 * q), t6), plus(load_floats(out, 15 * q), t7)
    store_floats(out, 0 * q, s0)
    store_floats(out, 1 * q, s1)
    store_floats(out, 2 * q, s2)
    store_floats(out, 3 * q, s3)
    store_floats(out, 4 * q, s4)
    store_floats(out, 5 * q, s5)
    store_floats(out, 6 * q, s6)
    store_floats(out, 7 * q, s7)
    store_floats(out, 8 * q, t0)
    store_floats(out, 9 * q, t1)
    store_floats(out, 10 * q, t2)
    store_floats(out, 11 * q, t3)
    store_floats(out, 12 * q, t4)
    store_floats(out, 13 * q, t5)
    store_floats(out, 14 * q, t6)
    store_floats(out, 15 * q, t7)


@inline
def _iterate(matrix: Any, turned: Any, u: Any, v: Any, p: Any, q: Any, iterations: Any) -> None:
    """Write u (p) and v (q) of a matrix (p, q), which is also there turned (q, p)."""
    longest, most = 0, np.float32(-1.0)
    for row in range(p):
        norm = _norm(matrix + row * q * 4, q)
        # As argmax: what is not a number is the largest.
        if not norm <= most and most == most:
            longest, most = row, norm
    for k in range(0, q, 16):
        store_floats(v, k, load_floats(matrix + longest * q * 4, k))
    _unit(v, q)
    for _ in range(iterations):
        _multiply(v, turned, u, q, p)
        _multiply(u, matrix, v, p, q)
    _multiply(v, turned, u, q, p)


@kernel
def _multiply(x: Any, matrix: Any, y: Any, m: Any, n: Any) -> None:
    """Write the product of a vector (m) and a matrix (m, n), of length 1."""
    for k in range(0, n // 32 * 32, 32):
        s, t = zeros(), zeros()
        for i in range(m):
            w = splat_float(x, i)
            s = plus(s, times(w, load_floats(matrix, i * n + k)))
            t = plus(t, times(w, load_floats(matrix, i * n + k + 16)))
        store_floats(y, k, s)
        store_floats(y, k + 16, t)
    for k in range(n // 32 * 32, n, 16):
        s = zeros()
        for i in range(m):
            s = plus(s, times(splat_float(x, i), load_floats(matrix, i * n + k)))
        store_floats(y, k, s)
    _unit(y, n)


@inline
def _unit(x: Any, n: Any) -> None:
    norm = _norm(x, n)
    if norm < LEAST:
        norm = LEAST
    divisor = everywhere(norm)
    for k in range(0, n, 16):
        store_floats(x, k, over(load_floats(x, k), divisor))


@inline
def _norm(x: Any, n: Any) -> Any:
    nothing = np.float32(0.0)
    s0, s1, s2, s3, s4, s5, s6, s7 = nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing
    for k in range(0, n, 8):
        a0, a1, a2, a3 = load_float(x, k), load_float(x, k + 1), load_float(x, k + 2), load_float(x, k + 3)
        a4, a5, a6, a7 = load_float(x, k + 4), load_float(x, k + 5), load_float(x, k + 6), load_float(x, k + 7)
        s0, s1, s2, s3 = s0 + a0 * a0, s1 + a1 * a1, s2 + a2 * a2, s3 + a3 * a3
        s4, s5, s6, s7 = s4 + a4 * a4, s5 + a5 * a5, s6 + a6 * a6, s7 + a7 * a7
    return np.sqrt(s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7)


@inline
def _project(a: Any, first: Any, second: Any, out: Any, positions: Any, c: Any) -> None:
    """Write two maps (2, positions), the products of each position's channels with two vectors."""
    whole = positions // 16 * 16
    for k in range(0, whole, 16):
        s, t = zeros(), zeros()
        for i in range(0, c, 16):
            column = load_transposed(a + (k * c + i) * 4, c)
            for j in range(16):
                s = plus(s, times(splat_float(first, i + j), column[j]))
                t = plus(t, times(splat_float(second, i + j), column[j]))
        store_floats(out, k, s)
        store_floats(out, positions + k, t)
    for k in range(whole, positions):
        s1, t1 = np.float32(0.0), np.float32(0.0)
        for i in range(c):
            x = load_float(a, k * c + i)
            s1 += x * load_float(first, i)
            t1 += x * load_float(second, i)
        store_float(out, k, s1)
        store_float(out, positions + k, t1)


@kernel
def _outer(shares: Any, columns: Any, out: Any, n: Any, m: Any, positions: Any, c: Any, whole: Any) -> None:
    for image in range(n):
        share, column, to = (
            shares + image * m * positions * 4,
            columns + image * m * c * 4,
            out + image * positions * c * 4,
        )
        for i in range(0, c, 16):
            first, second = load_floats(column, i), load_floats(column, (m - 1) * c + i)
            # A product is added to 0, which makes 0 of -0.
            if m == 1:
                for k in range(positions):
                    store_floats(to, k * c + i, fused(splat_float(share, k), first, zeros()))
            elif whole:
                for k in range(positions):
                    one = fused(splat_float(share, k), first, zeros())
                    store_floats(to, k * c + i, fused(splat_float(share, positions + k), second, one))
            else:
                for k in range(positions):
                    one = fused(splat_float(share, k), first, zeros())
                    store_floats(to, k * c + i, plus(one, times(splat_float(share, positions + k), second)))
