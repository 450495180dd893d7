"""Retention matrices of consecutive activations and their spectral norms (LCR-BNN, arXiv 2207.06540).

For two consecutive activations of one image, A_in (C_in, H, W) and A_out (C_out, H', W') with H' <= H,

    R = pool(A_in) A_out^T / (H' W')          (C_in, C_out),

where pool averages A_in down to H' x W' and the last product runs over positions. Its largest singular value is taken as
a cheap stand-in for the spectral norm of the map between the two. It is a proxy, and no bound of a Lipschitz constant.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lcrbench.models.compiled import retained as compiled
from lcrbench.models.precision import at_least_float32


class _Product(torch.autograd.Function):
    """x^T y of (N, positions, C_in) and (N, positions, C_out), whose gradients have the operands' own layout.

    Those of `bmm` do not, and a batch norm's backward pass takes several times as long for a gradient of another layout.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(x, y)
        return _matrices(x, y)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, y = ctx.saved_tensors
        return torch.bmm(y, grad.transpose(1, 2)), torch.bmm(x, grad)


def retention_matrix(a_in: Tensor, a_out: Tensor) -> Tensor:
    """Return R for a batch: (N, C_in, H, W) and (N, C_out, H', W') to (N, C_in, C_out).

    Raises `ValueError` if the output's map is larger than the input's.
    """
    size = a_out.shape[-2:]
    product: Tensor = _Product.apply(_by_position(_pooled(a_in, size)), _by_position(a_out))
    return product / (size[0] * size[1])


def _by_position(a: Tensor) -> Tensor:
    """Return (N, H W, C) of (N, C, H, W), a view in either memory layout."""
    if a.is_contiguous(memory_format=torch.channels_last):
        return a.permute(0, 2, 3, 1).flatten(1, 2)
    return a.flatten(2).transpose(1, 2)


def _pooled(a: Tensor, size: tuple[int, ...]) -> Tensor:
    if a.shape[-2:] == size:
        return a
    if a.shape[-2] < size[0] or a.shape[-1] < size[1]:
        raise ValueError(f"activations grow from {tuple(a.shape[-2:])} to {tuple(size)}; a retention matrix pools")
    if a.shape[-2] % size[0] == 0 and a.shape[-1] % size[1] == 0:
        return F.avg_pool2d(a, (a.shape[-2] // size[0], a.shape[-1] // size[1]))
    return F.adaptive_avg_pool2d(a, (size[0], size[1]))


def retained(chains: Sequence[Sequence[Tensor]], iterations: int = 5) -> list[Tensor]:
    """Return for each chain of activations the largest singular values (pairs, N) of consecutive pairs' retention matrices.

    The value and its gradient are those of `top_singular_value` of the matrices, u^T R v with u and v held fixed. They are
    computed as the mean over positions of (pool(A_in)^T u) (A_out^T v), so that no gradient passes through a matrix product
    of full size: each activation is projected once, on the vectors of both of its pairs. In float32 at least, under autocast
    as well.
    """
    with torch.autocast(chains[0][0].device.type, enabled=False):
        wide = [at_least_float32(a) for chain in chains for a in chain]
        lengths = [len(chain) for chain in chains]
        values: Tensor = _Retained.apply(iterations, lengths, *wide)
    return list(torch.split(values, [length - 1 for length in lengths]))


class _Retained(torch.autograd.Function):
    """All chains' activations, one after another, to the singular values (pairs, N)."""

    @staticmethod
    def forward(ctx: Any, iterations: int, lengths: list[int], *activations: Tensor) -> Tensor:
        chains = _parted(activations, lengths)
        columns, maps = _projections(chains, iterations)
        ctx.lengths = lengths
        ctx.save_for_backward(*activations, *columns, *maps)
        parts = zip(chains, _parted(maps, lengths), strict=True)
        return torch.stack([value for part in parts for value in _values(*part)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        n = sum(ctx.lengths)
        activations, columns, maps = (ctx.saved_tensors[k : k + n] for k in (0, n, 2 * n))
        if torch.is_grad_enabled():
            maps = [_projected(_by_position(a), c) for a, c in zip(activations, columns, strict=True)]
        parts = [_parted(part, ctx.lengths) for part in (activations, columns, maps)]
        parts.append(_parted(grad, [length - 1 for length in ctx.lengths]))
        return None, None, *(of_a for chain in zip(*parts, strict=True) for of_a in _of_chain(*chain))


def _parted(items: Any, lengths: Sequence[int]) -> list[Any]:
    return [items[end - n : end] for n, end in zip(lengths, accumulate(lengths), strict=True)]


def _projections(chains: Sequence[Sequence[Tensor]], iterations: int) -> tuple[list[Tensor], list[Tensor]]:
    """Return for each activation two columns (N, C, 2), and its projections (N, 2, H W) on them.

    The columns are v of the pair that it ends and u of the pair that it begins; at an end of a chain, both are of one pair.
    """
    pairs = [(_by_position(_pooled(a, b.shape[-2:])), _by_position(b)) for chain in chains for a, b in pairwise(chain)]
    ends, first = [], 0
    for chain in chains:
        last = first + 2 * len(chain) - 3
        # The places of u and v of all pairs, one after another.
        places = [first, *range(first, last + 1), last]
        ends += [(places[k], places[k + 1]) for k in range(0, 2 * len(chain), 2)]
        first = last + 1
    flat = [_by_position(a) for chain in chains for a in chain]
    if blocks := _blocks(pairs, flat, iterations):
        vectors = [(x.new_empty(len(x), x.shape[2]), y.new_empty(len(y), y.shape[2])) for x, y in pairs]
        maps = compiled.run(pairs, blocks, iterations, vectors, flat, ends)
    else:
        vectors = _vectors_of_pairs(pairs, iterations)
    found = [v for pair in vectors for v in pair]
    columns = [torch.stack([found[i], found[j]], dim=2) for i, j in ends]
    return columns, maps if blocks else [_projected(a, c) for a, c in zip(flat, columns, strict=True)]


def _blocks(pairs: Sequence[tuple[Tensor, Tensor]], flat: Sequence[Tensor], iterations: int) -> list[int]:
    """Return the positions that compiled loops add up at once, for each pair; none where torch does the work."""
    if not compiled.fits(*flat, *(x for x, _ in pairs)) or _has_a_part_of_one(pairs):
        return []
    if not all(compiled.projects(_BY_TORCH, a.shape[2], a.shape[1]) for a in flat):
        return []
    blocks = [compiled.block(_BY_TORCH, iterations, x.shape[2], y.shape[2], x.shape[1]) for x, y in pairs]
    return blocks if all(blocks) else []


def _has_a_part_of_one(pairs: Sequence[tuple[Tensor, Tensor]]) -> bool:
    """Tell whether torch iterates one matrix alone, for which its library adds up in another order than for several."""
    n = len(pairs[0][0])
    sizes = Counter((x.shape[2], y.shape[2]) for x, y in pairs)
    parts = [(n * k, _matrices_at_once(p * q)) for (p, q), k in sizes.items()]
    return any(some == 1 or number % some == 1 for number, some in parts)


def _matrices(x: Tensor, y: Tensor) -> Tensor:
    return torch.bmm(x.transpose(1, 2), y)


def _projected(a: Tensor, columns: Tensor) -> Tensor:
    """Return two maps (N, 2, H W), the products of each position's channels (N, H W, C) with the columns (N, C, 2)."""
    # A product of few rows takes half of the time of one of few columns, and gives the same bits.
    return torch.bmm(columns.transpose(1, 2), a.transpose(1, 2))


def _values(chain: Sequence[Tensor], maps: Sequence[Tensor]) -> list[Tensor]:
    """Return the mean over positions of (pool(A_in)^T u) (A_out^T v) for each pair of a chain."""
    found = []
    for (a, into), (b, out) in pairwise(zip(chain, maps, strict=True)):
        pooled = _pooled(torch.unflatten(into[:, 1:], 2, a.shape[2:]), b.shape[2:]).flatten(1)
        found.append(torch.linalg.vecdot(pooled, out[:, 0]) / pooled.shape[1])
    return found


def _of_chain(chain: Sequence[Tensor], columns: Sequence[Tensor], maps: Sequence[Tensor], grad: Tensor) -> list[Tensor]:
    """Return the gradients of a chain's activations: of a pair, p_out u^T and p_in v^T by the other one's projection p."""
    shares: list[list[Tensor]] = [[] for _ in chain]
    for k, ((a, into), (b, out)) in enumerate(pairwise(zip(chain, maps, strict=True))):
        g = (grad[k] / (b.shape[2] * b.shape[3])).view(-1, 1, 1)
        shares[k].append(_spread(torch.unflatten(g * out[:, :1], 2, b.shape[2:]), a.shape[2:]).flatten(2))
        shares[k + 1].append(g * _pooled(torch.unflatten(into[:, 1:], 2, a.shape[2:]), b.shape[2:]).flatten(2))
    found = []
    for k, (a, c, s) in enumerate(zip(chain, columns, shares, strict=True)):
        own = c[:, :, int(k == 0) : 1 + int(k < len(chain) - 1)]
        found.append(_outer(torch.cat(s, dim=1), own, a))
    return found


def _spread(a: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return what `_pooled` from `size` passes a gradient to."""
    if a.shape[-2:] == size:
        return a
    again = torch.is_grad_enabled()
    rows, columns = (n // m for n, m in zip(size, a.shape[-2:], strict=True))
    if not again and (a.shape[-2] * rows, a.shape[-1] * columns) == tuple(size):
        # As the pool's own gradient, which adds to zeros: 0 and not -0.
        share = (a / (rows * columns)).add_(0.0)
        return share.repeat_interleave(rows, dim=2).repeat_interleave(columns, dim=3)
    with torch.enable_grad():
        large = a.new_zeros((*a.shape[:2], *size), requires_grad=True)
        (found,) = torch.autograd.grad(_pooled(large, a.shape[-2:]), large, a, create_graph=again)
    return found


def _outer(shares: Tensor, columns: Tensor, like: Tensor) -> Tensor:
    """Return (N, C, H, W), in the layout of an activation, the products of columns (N, C, m) and shares (N, m, H W)."""
    if torch.is_grad_enabled() or not like.is_contiguous(memory_format=torch.channels_last):
        return torch.unflatten(torch.bmm(columns, shares), 2, like.shape[2:])
    # No view: to what is one, autograd adds the other gradients of an activation out of place.
    found = torch.empty_like(like)
    rows = _by_position(found)
    order = compiled.projects(_BY_TORCH, rows.shape[2], rows.shape[1]) if compiled.fits(rows) else 0
    if order:
        compiled.outer(shares, columns, rows, order)
    else:
        _gradient(shares, columns, out=rows)
    return found


def _gradient(shares: Tensor, columns: Tensor, out: Tensor | None = None) -> Tensor:
    return torch.bmm(shares.transpose(1, 2), columns.transpose(1, 2), out=out)


def _vectors_of_pairs(pairs: Sequence[tuple[Tensor, Tensor]], iterations: int) -> list[tuple[Tensor, Tensor]]:
    """Return u (N, p) and v (N, q) of each pair's retention matrix; matrices of one shape go through one iteration."""
    groups: dict[tuple[int, int], list[int]] = {}
    for k, (a, b) in enumerate(pairs):
        groups.setdefault((a.shape[2], b.shape[2]), []).append(k)
    found: dict[int, tuple[Tensor, Tensor]] = {}
    for shape, indices in groups.items():
        n = len(pairs[0][0])
        products = pairs[0][0].new_empty((len(indices), n, *shape))
        _multiply([pairs[k] for k in indices], products)
        u, v = _vectors(products.flatten(0, 1), iterations)
        found |= dict(zip(indices, zip(torch.split(u, n), torch.split(v, n), strict=True), strict=True))
    return [found[k] for k in range(len(pairs))]


def _multiply(pairs: Sequence[tuple[Tensor, Tensor]], products: Tensor) -> None:
    """Write the matrices (pairs, N, p, q), without the number of positions, which no singular vector depends on."""
    # Few images at a time: the output of a pair is the input of the next, and still in the cache.
    n = len(products[0])
    some = n if products.is_cuda else max(AT_ONCE // 4 // pairs[0][1][0].numel(), 1)
    for first in range(0, n, some):
        part = slice(first, first + some)
        for (a, b), out in zip(pairs, products, strict=True):
            torch.bmm(a[part].transpose(1, 2), b[part], out=out[part])


AT_ONCE = 2**20
"""Numbers that are worked on together, those of the matrices in an iteration: few enough to stay in a processor's cache.

An accelerator works on all of them at once, because each part would cost it a launch."""


def _matrices_at_once(numbers: int) -> int:
    return max(AT_ONCE // numbers, 1)


@torch.no_grad()
def _vectors(matrices: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """Return u (N, p) and v (N, q), by power iteration from each matrix's longest row."""
    parts = torch.split(matrices, len(matrices) if matrices.is_cuda else _matrices_at_once(matrices[0].numel()))
    u, v = zip(*(_iterated(part, iterations) for part in parts), strict=True)
    return torch.cat(u), torch.cat(v)


def _iterated(matrices: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    longest = torch.linalg.vector_norm(matrices, dim=2).argmax(1)
    v = _unit(matrices[torch.arange(len(matrices), device=matrices.device), longest])
    transposed = matrices.transpose(1, 2)
    for _ in range(iterations):
        u = _unit(_times(v, transposed))
        v = _unit(_times(u, matrices))
    return _unit(_times(v, transposed)), v


def _times(vectors: Tensor, matrices: Tensor) -> Tensor:
    """Return the products (N, q) of vectors (N, p) and matrices (N, p, q).

    As of rows that are transposed columns: several times as fast as those of the transposed matrices and columns, and the
    same bits, which plain rows do not give.
    """
    return torch.bmm(vectors.unsqueeze(2).transpose(1, 2), matrices).flatten(1)


def _unit(vectors: Tensor) -> Tensor:
    return vectors.div_(torch.linalg.vector_norm(vectors, dim=1, keepdim=True).clamp_min_(1e-30))


def top_singular_value(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Return the largest singular value of each matrix, (N, p, q) to (N,), by normalized power iteration.

    The iteration starts from each matrix's longest row, which turns with it under any permutation or change of signs of
    its channels, and is the exact singular vector at rank one. It runs outside the graph; the value u^T R v is
    differentiated with u and v held fixed, which is the exact gradient at convergence. The value never exceeds the true
    one (beyond rounding).
    """
    u, v = _vectors(matrices, iterations)
    return torch.bmm(u.unsqueeze(1), torch.bmm(matrices, v.unsqueeze(2))).flatten()


_BY_TORCH = compiled.ByTorch(_matrices, _vectors, _projected, _gradient)
