"""Retention matrices of consecutive activations and their spectral norms (LCR-BNN, arXiv 2207.06540).

For two consecutive activations of one image, A_in (C_in, H, W) and A_out (C_out, H', W') with H' <= H,

    R = pool(A_in) A_out^T / (H' W')          (C_in, C_out),

where pool averages A_in down to H' x W' and the last product runs over positions. Its largest singular value is taken as
a cheap stand-in for the spectral norm of the map between the two. It is a proxy, and no bound of a Lipschitz constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
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


class _Projection(torch.autograd.Function):
    """The products (N, m, H W) of rows (N, m, C) with each position of (N, C, H, W), with a gradient for the latter alone.

    A product with few rows takes a fraction of the time of one with few columns.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(a, rows)
        return torch.bmm(rows, _by_position(a).transpose(1, 2))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        a, rows = ctx.saved_tensors
        if torch.is_grad_enabled() or not a.is_contiguous(memory_format=torch.channels_last):
            return torch.bmm(rows.transpose(1, 2), grad).unflatten(2, a.shape[2:]), None
        # No view: to what is one, autograd adds the other gradients of an activation out of place.
        of_a = torch.empty_like(a)
        torch.bmm(grad.transpose(1, 2), rows, out=_by_position(of_a))
        return of_a, None


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

    The value and its gradient are those of `top_singular_value` of the matrices, u^T R v with u and v held fixed. They are
    computed as the mean over positions of (pool(A_in)^T u) (A_out^T v), so that no gradient passes through a matrix product
    of full size: each activation is projected once, on the vectors of both of its pairs. In float32 at least, under autocast
    as well.
    """
    with torch.autocast(chains[0][0].device.type, enabled=False):
        return _retained(
            [[a if a.dtype == torch.float64 else a.float() for a in chain] for chain in chains], iterations
        )


def _retained(chains: Sequence[Sequence[Tensor]], iterations: int) -> list[list[Tensor]]:
    vectors = iter(_vectors_of_pairs([pair for chain in chains for pair in pairwise(chain)], iterations))
    found = []
    for chain in chains:
        pairs = [next(vectors) for _ in pairwise(chain)]
        maps = []
        for k, a in enumerate(chain):
            rows = [v for _, v in pairs[max(k - 1, 0) : k]] + [u for u, _ in pairs[k : k + 1]]
            maps.append(_projected(a, torch.cat(rows, dim=1)))
        sigmas = []
        for into, out in pairwise(maps):
            pooled = _pooled(into[-1].unsqueeze(1), out[0].shape[-2:]).squeeze(1)
            sigmas.append(torch.linalg.vecdot(pooled.flatten(1), out[0].flatten(1)) / out[0][0].numel())
        found.append(sigmas)
    return found


def _projected(a: Tensor, rows: Tensor) -> tuple[Tensor, ...]:
    """Return m maps (N, H, W), the products of each position's channels with the rows (N, m, C)."""
    maps: Tensor = _Projection.apply(a, rows)
    return tuple(m.reshape(len(a), *a.shape[-2:]) for m in maps.unbind(1))


@torch.no_grad()
def _vectors_of_pairs(pairs: Sequence[tuple[Tensor, Tensor]], iterations: int) -> list[tuple[Tensor, Tensor]]:
    """Return the singular vectors of each pair's retention matrix; matrices of one shape go through one iteration."""
    groups: dict[tuple[int, int], list[int]] = {}
    for k, (a, b) in enumerate(pairs):
        groups.setdefault((a.shape[1], b.shape[1]), []).append(k)
    found: dict[int, tuple[Tensor, Tensor]] = {}
    for shape, indices in groups.items():
        n = len(pairs[0][0])
        products = pairs[0][0].new_empty((len(indices), n, *shape))
        for product, k in zip(products, indices, strict=True):
            a, b = pairs[k]
            # Without the number of positions, which no singular vector depends on.
            torch.bmm(_by_position(_pooled(a, b.shape[-2:])).transpose(1, 2), _by_position(b), out=product)
        u, v = _vectors(products.flatten(0, 1), iterations)
        found |= dict(zip(indices, zip(u.chunk(len(indices)), v.chunk(len(indices)), strict=True), strict=True))
    return [found[k] for k in range(len(pairs))]


AT_ONCE = 2**20
"""Numbers of the matrices that are iterated together: few enough to stay in a processor's cache."""


@torch.no_grad()
def _vectors(matrices: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """Return u (N, 1, p) and v (N, 1, q), by power iteration from each matrix's longest row."""
    parts = matrices.split(max(AT_ONCE // matrices[0].numel(), 1))
    u, v = zip(*(_iterated(part, iterations) for part in parts), strict=True)
    return torch.cat(u), torch.cat(v)


def _iterated(matrices: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    # Vectors are rows: a product of a row takes a fraction of the time of one with a column, and gives the same bits.
    longest = torch.linalg.vector_norm(matrices, dim=2).argmax(1)
    v = _unit(matrices[torch.arange(len(matrices), device=matrices.device), longest].unsqueeze(1))
    transposed = matrices.transpose(1, 2)
    for _ in range(iterations):
        u = _unit(torch.bmm(v, transposed))
        v = _unit(torch.bmm(u, matrices))
    return _unit(torch.bmm(v, transposed)), v


def _unit(rows: Tensor) -> Tensor:
    return F.normalize(rows, dim=2, eps=1e-30)


def top_singular_value(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Return the largest singular value of each matrix, (N, p, q) to (N,), by normalized power iteration.

    The iteration starts from each matrix's longest row, which turns with it under any permutation or change of signs of
    its channels, and is the exact singular vector at rank one. It runs outside the graph; the value u^T R v is
    differentiated with u and v held fixed, which is the exact gradient at convergence. The value never exceeds the true
    one (beyond rounding).
    """
    u, v = _vectors(matrices, iterations)
    return torch.bmm(u, torch.bmm(matrices, v.transpose(1, 2))).flatten()
