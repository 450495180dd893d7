"""Retention matrices and their top singular value against direct computations."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from lcrbench.models.retention import retained, retention_matrix, top_singular_value


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_matrix_against_sums_written_out() -> None:
    a, b = randn(2, 3, 4, 4), randn(2, 5, 2, 2, seed=1)
    r = retention_matrix(a, b)
    assert r.shape == (2, 3, 5)
    for n in range(2):
        for i in range(3):
            for o in range(5):
                total = sum(
                    float(a[n, i, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean() * b[n, o, y, x])
                    for y in range(2)
                    for x in range(2)
                )
                assert abs(float(r[n, i, o]) - total / 4) < 1e-12


def test_growing_maps_are_refused() -> None:
    with pytest.raises(ValueError, match="grow"):
        retention_matrix(randn(1, 2, 2, 2), randn(1, 2, 4, 4))


def test_top_singular_value_against_svd() -> None:
    m = randn(50, 16, 32)
    exact = torch.linalg.matrix_norm(m, ord=2)
    five, many = top_singular_value(m, 5), top_singular_value(m, 300)
    assert (five <= exact * (1 + 1e-12)).all()
    assert float((1 - five / exact).mean()) < 0.05
    torch.testing.assert_close(many, exact, rtol=1e-6, atol=0)


def test_rank_one_is_exact_at_once() -> None:
    m = randn(4, 6, 1) @ randn(4, 1, 7, seed=2)
    torch.testing.assert_close(top_singular_value(m, 1), torch.linalg.matrix_norm(m, ord=2), rtol=1e-12, atol=0)


def test_gradient_is_that_of_the_spectral_norm() -> None:
    m = randn(3, 5, 8).requires_grad_()
    (ours,) = torch.autograd.grad(top_singular_value(m, 500).sum(), m)
    (theirs,) = torch.autograd.grad(torch.linalg.svdvals(m)[:, 0].sum(), m)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)


def test_channel_signs_and_order_do_not_matter() -> None:
    m = randn(5, 8, 8)
    flips = torch.tensor([1, -1, 1, 1, -1, -1, 1, -1], dtype=torch.float64)
    order = torch.tensor([3, 1, 4, 0, 5, 7, 2, 6])
    expected = top_singular_value(m, 3)
    torch.testing.assert_close(top_singular_value(flips[:, None] * m * flips, 3), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(top_singular_value(m[:, order][:, :, order], 3), expected, rtol=1e-12, atol=0)


def test_zero_matrix_gives_zero() -> None:
    assert top_singular_value(torch.zeros(2, 3, 4)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("channels_last", [False, True])
def test_chains_have_the_values_and_gradients_of_their_matrices(channels_last: bool) -> None:
    """Two chains with maps that shrink, by a whole factor and by none, against the matrices written out."""
    shapes = [(3, 9, 9), (5, 9, 9), (4, 3, 3), (6, 2, 2)]
    chains = [[randn(7, *s, seed=10 * j + i) for i, s in enumerate(shapes)] for j in range(2)]
    if channels_last:
        chains = [[a.contiguous(memory_format=torch.channels_last) for a in chain] for chain in chains]
    for chain in chains:
        for a in chain:
            a.requires_grad_()
    weights = randn(2, 3, 7, seed=99)

    def gradients(sigmas: list[list[torch.Tensor]]) -> list[torch.Tensor]:
        total = sum(
            (w * s).sum() for row, ws in zip(sigmas, weights, strict=True) for s, w in zip(row, ws, strict=True)
        )
        return list(torch.autograd.grad(total, [a for chain in chains for a in chain]))

    ours = retained(chains, 3)
    theirs = [[top_singular_value(retention_matrix(a, b), 3) for a, b in pairwise(chain)] for chain in chains]
    for mine, other in zip(ours, theirs, strict=True):
        for a, b in zip(mine, other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=0)
    for a, b in zip(gradients(ours), gradients(theirs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-14)
        assert not channels_last or a.is_contiguous(memory_format=torch.channels_last)
