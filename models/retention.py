"""Retention matrices of consecutive activations and their spectral norms (LCR-BNN, arXiv 2207.06540).

For two consecutive activations of one image, A_in (C_in, H, W) and A_out (C_out, H', W') with H' <= H,

    R = pool(A_in) A_out^T / (H' W')          (C_in, C_out),

where pool averages A_in down to H' x W' and the last product runs over positions. Its largest singular value is taken as
a cheap stand-in for the spectral norm of the map between the two. It is a proxy, and no bound of a Lipschitz constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


class _Product(torch.autograd.Function):
    """x^T y of (N, positions, C_in) and (N, positions, C_out), whose gradients have the operands' own layout.

    Those of `bmm` do not, and a batch norm's backward pass takes several times as long for a gradient of another layout.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(x, y)
        return torch.bmm(x.transpose(1, 2), y)

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


def retained(chains: Sequence[Sequence[Tensor]], iterations: int = 5) -> list[list[Tensor]]:
    """Return for each chain of activations the largest singular value (N,) of each consecutive pair's retention matrix.

    The value and its gradient are those of `top_singular_value` of the matrices, u^T R v with u and v held fixed. The
    gradient is written as the mean over positions of (pool(A_in)^T u) (A_out^T v) has it, so that it passes through no
    matrix product of full size: each activation is projected once, on the vectors of both of its pairs. In float32 at
    least, under autocast as well.
    """
    with torch.autocast(chains[0][0].device.type, enabled=False):
        wide = [a if a.dtype == torch.float64 else a.float() for chain in chains for a in chain]
        values = iter(_Retained.apply(iterations, [len(chain) for chain in chains], *wide).unbind())
    return [[next(values) for _ in pairwise(chain)] for chain in chains]


class _Retained(torch.autograd.Function):
    """All chains' activations, one after another, to the singular values (pairs, N)."""

    @staticmethod
    def forward(ctx: Any, iterations: int, lengths: list[int], *activations: Tensor) -> Tensor:
        chains = _parted(activations, lengths)
        values, u, v = _tops([pair for chain in chains for pair in pairwise(chain)], iterations)
        ctx.lengths, ctx.pairs = lengths, [n - 1 for n in lengths]
        ctx.save_for_backward(*activations, *u, *v)
        return torch.stack(values)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        n, m = sum(ctx.lengths), sum(ctx.pairs)
        saved = ctx.saved_tensors
        parts = (saved[:n], ctx.lengths), (saved[n : n + m], ctx.pairs), (saved[n + m :], ctx.pairs), (grad, ctx.pairs)
        chains = zip(*(_parted(*part) for part in parts), strict=True)
        return None, None, *(of_a for chain in chains for of_a in _of_chain(*chain))


def _parted(items: Any, lengths: Sequence[int]) -> list[Any]:
    ends = list(accumulate(lengths))
    return [items[end - n : end] for n, end in zip(lengths, ends, strict=True)]


def _of_chain(chain: Sequence[Tensor], u: Sequence[Tensor], v: Sequence[Tensor], grad: Tensor) -> list[Tensor]:
    """Return the gradients of a chain's activations: for each pair p_out u^T + p_in v^T of the other one's projections."""
    # Of each activation the rows (N, 1 or 2, C): v of the pair that it ends, u of the pair that it begins.
    rows = _by_activation(v, u)
    maps = [torch.bmm(r, _by_position(a).transpose(1, 2)) for r, a in zip(rows, chain, strict=True)]
    sizes = [a.shape[-2:] for a in chain]
    into, out = [], []
    for k, (large, small) in enumerate(pairwise(sizes)):
        into.append(_pooled(maps[k][:, -1:].unflatten(2, large), small).flatten(2))
        out.append(_spread(maps[k + 1][:, :1].unflatten(2, small), large).flatten(2))
    weights = [(g / size.numel()).view(-1, 1, 1) for g, size in zip(grad, sizes[1:], strict=True)]
    weighted = [[w * x for w, x in zip(weights, vectors, strict=True)] for vectors in (v, u)]
    return list(map(_outer, _by_activation(into, out), _by_activation(*weighted), chain))


def _by_activation(ends: Sequence[Tensor], begins: Sequence[Tensor]) -> list[Tensor]:
    """Return, for each activation of a chain, what the pairs have for it that it ends and begins, one below the other."""
    return [torch.cat([*ends[max(k - 1, 0) : k], *begins[k : k + 1]], dim=1) for k in range(len(ends) + 1)]


def _spread(a: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return what `_pooled` from `size` passes a gradient to."""
    if a.shape[-2:] == size:
        return a
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        large = a.new_zeros((*a.shape[:2], *size), requires_grad=True)
        (found,) = torch.autograd.grad(_pooled(large, a.shape[-2:]), large, a, create_graph=again)
    return found


def _outer(shares: Tensor, rows: Tensor, like: Tensor) -> Tensor:
    """Return (N, C, H, W), in the layout of an activation, the sum of products of shares (N, m, H W) and rows (N, m, C)."""
    if torch.is_grad_enabled() or not like.is_contiguous(memory_format=torch.channels_last):
        return torch.bmm(rows.transpose(1, 2), shares).unflatten(2, like.shape[2:])
    # No view: to what is one, autograd adds the other gradients of an activation out of place.
    found = torch.empty_like(like)
    torch.bmm(shares.transpose(1, 2), rows, out=_by_position(found))
    return found


def _tops(pairs: Sequence[tuple[Tensor, Tensor]], iterations: int) -> tuple[list[Tensor], ...]:
    """Return values, u and v of each pair's retention matrix; matrices of one shape go through one iteration."""
    groups: dict[tuple[int, int], list[int]] = {}
    for k, (a, b) in enumerate(pairs):
        groups.setdefault((a.shape[1], b.shape[1]), []).append(k)
    found: dict[int, tuple[Tensor, ...]] = {}
    for shape, indices in groups.items():
        n = len(pairs[0][0])
        products = pairs[0][0].new_empty((len(indices), n, *shape))
        for product, k in zip(products, indices, strict=True):
            a, b = pairs[k]
            torch.bmm(_by_position(_pooled(a, b.shape[-2:])).transpose(1, 2), _by_position(b), out=product)
        for k, *top in zip(indices, *(t.split(n) for t in _top(products.flatten(0, 1), iterations)), strict=True):
            positions = pairs[k][1].shape[2] * pairs[k][1].shape[3]  # on which no singular vector depends
            found[k] = (top[0] / positions, *top[1:])
    values, u, v = zip(*(found[k] for k in range(len(pairs))), strict=True)
    return list(values), list(u), list(v)


AT_ONCE = 2**20
"""Numbers of the matrices that are iterated together: few enough to stay in a processor's cache."""


@torch.no_grad()
def _top(matrices: Tensor, iterations: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return u^T R v (N), u (N, 1, p) and v (N, 1, q), by power iteration from each matrix's longest row."""
    parts = matrices.split(max(AT_ONCE // matrices[0].numel(), 1))
    value, u, v = zip(*(_iterated(part, iterations) for part in parts), strict=True)
    return torch.cat(value), torch.cat(u), torch.cat(v)


def _iterated(matrices: Tensor, iterations: int) -> tuple[Tensor, Tensor, Tensor]:
    # Vectors are rows: a product of a row takes a fraction of the time of one with a column, and gives the same bits.
    longest = torch.linalg.vector_norm(matrices, dim=2).argmax(1)
    v = _unit(matrices[torch.arange(len(matrices), device=matrices.device), longest].unsqueeze(1))
    transposed = matrices.transpose(1, 2)
    for _ in range(iterations):
        u = _unit(torch.bmm(v, transposed))
        v = _unit(torch.bmm(u, matrices))
    last = torch.bmm(v, transposed)
    return torch.linalg.vector_norm(last, dim=(1, 2)), _unit(last), v


def _unit(rows: Tensor) -> Tensor:
    return F.normalize(rows, dim=2, eps=1e-30)


def top_singular_value(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Return the largest singular value of each matrix, (N, p, q) to (N,), by normalized power iteration.

    The iteration starts from each matrix's longest row, which turns with it under any permutation or change of signs of
    its channels, and is the exact singular vector at rank one. It runs outside the graph; the value u^T R v is
    differentiated with u and v held fixed, which is the exact gradient at convergence. The value never exceeds the true
    one (beyond rounding).
    """
    _, u, v = _top(matrices, iterations)
    return torch.bmm(u, torch.bmm(matrices, v.transpose(1, 2))).flatten()
