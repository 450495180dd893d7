"""Retention matrices and their top singular value against direct computations."""

from __future__ import annotations

import pytest
import torch

from lcrbench.models.retention import retention_matrix, top_singular_value


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
