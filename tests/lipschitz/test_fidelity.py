"""The proxy's forms, its probes, and correlations that are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn import functional as F

from lcrbench.bench.lipschitz import fidelity
from lcrbench.errors import UserError
from lcrbench.models.retention import retention_matrix

from .nets import built, grey


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_exact_on_whitened_pointwise_convolution() -> None:
    """T12: with F F^T / (HW) = 1, R = W^T, so sigma_1 is the operator norm; p1 is another number."""
    q = torch.linalg.qr(randn(64, 8))[0].T.reshape(1, 8, 8, 8) * 8
    w = randn(12, 8, 1, 1, seed=1)
    r = retention_matrix(q, F.conv2d(q, w))
    sigma = float(torch.linalg.matrix_norm(w.flatten(1), ord=2))
    assert float(fidelity.sigma_1(r)) == pytest.approx(sigma, rel=1e-6)
    assert abs(float(fidelity.p1(r)) / sigma - 1) > 0.02


def test_sign_flip_moves_p1_alone() -> None:
    """T11."""
    m = randn(20, 8, 12)
    flips = torch.tensor([1, -1, 1, 1, -1, -1, 1, -1], dtype=torch.float64)
    torch.testing.assert_close(fidelity.sigma_1(m * flips.view(1, -1, 1)), fidelity.sigma_1(m))
    assert (fidelity.p1(m * flips.view(1, -1, 1)) / fidelity.p1(m) - 1).abs().max() > 0.05
    assert (fidelity.p1(m) <= fidelity.sigma_1(m) * 8**0.25 * (1 + 1e-9)).all()


def test_probes_on_a_network() -> None:
    points = torch.from_numpy(grey(8, 16, low=0, high=1)).permute(0, 3, 1, 2)
    net = built("irnet", "resnet20")
    before = {k: v.clone() for k, v in net.state_dict().items()}
    found = {(p.name, p.proxy): p for p in fidelity.probes(net, points)}
    assert found["channel sign flip", "sigma_1"].passed
    assert not found["channel sign flip", "p1"].passed
    assert not found["batch-norm gain", "p1"].passed
    assert not found["batch-norm gain", "sigma_1"].passed, "hardtanh saturates"
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_correlation_against_scipy_and_its_refusal() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(20)
    y = x + rng.standard_normal(20)
    i = fidelity.correlation(x, y)
    assert i.value == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert i.low is not None
    assert i.high is not None
    assert i.low < i.value < i.high
    with pytest.raises(UserError, match="at least 8 points, not 7"):
        fidelity.correlation(x[:7], y[:7])


def test_networks_without_binary_layers_are_refused() -> None:
    with pytest.raises(UserError, match="consecutive binary layers"):
        fidelity.retention(built("full_precision", "vgg_tiny"), torch.zeros(1, 3, 16, 16))
