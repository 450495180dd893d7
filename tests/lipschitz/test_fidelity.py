"""The proxy's forms, by layer and by stage, the gain it is compared with, and its probes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lcrbench.bench.lipschitz import fidelity, gradients, search
from lcrbench.bench.lipschitz.options import Options
from lcrbench.bench.records.measurement import Part
from lcrbench.errors import UserError
from lcrbench.models.retention import retention_matrix
from lcrbench.models.spectral import conv_bracket

from .nets import Signs, built, grey, subject


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


def test_a_duplicated_channel_moves_p1_alone() -> None:
    """T11: a channel carried by two, each 1/sqrt(2) of it, is an isometry of the features and the same function."""
    first, second = randn(6, 3, 3, 3), randn(5, 6, 3, 3, seed=1)
    twice = torch.eye(6, dtype=torch.float64)[[0, *range(6)]]
    twice[:2] /= 2**0.5
    torch.testing.assert_close(twice.T @ twice, torch.eye(6, dtype=torch.float64))
    wide = torch.einsum("pc,cikl->pikl", twice, first), torch.einsum("ockl,pc->opkl", second, twice)
    x = randn(4, 3, 8, 8, seed=2)
    features = [F.conv2d(x, w, padding=1) for w in (first, wide[0])]
    outputs = [F.conv2d(f, w, padding=1) for f, w in zip(features, (second, wide[1]), strict=True)]
    torch.testing.assert_close(*outputs)
    for before, after in ((first, wide[0]), (second, wide[1])):
        a, b = (conv_bracket(w, 1, 1, (8, 8)) for w in (before, after))
        assert (a.lower, a.upper) == pytest.approx((b.lower, b.upper), rel=1e-8)
    a, b = (retention_matrix(f, y) for f, y in zip(features, outputs, strict=True))
    assert a.shape[1:] == (6, 5)
    assert b.shape[1:] == (7, 5)
    torch.testing.assert_close(fidelity.sigma_1(a), fidelity.sigma_1(b))
    assert (fidelity.p1(b) / fidelity.p1(a) - 1).abs().max() > 0.01


def test_a_duplicated_sign_leaves_the_search_where_it_was() -> None:
    """T11: two equal signs that share their weight in the head are the same function, found alike."""
    rng = np.random.default_rng(0)
    w, out = rng.standard_normal((6, 48)), rng.standard_normal((4, 6))
    bias = -(grey(6).reshape(6, 48) @ w.T).mean(0)
    again = [0, *range(6)]
    half = out[:, again].copy()
    half[:, :2] /= 2
    options = Options(l2=(8, 32), images=6)
    plain = search.modulus(subject(Signs(w, bias, out), grey(6)), options)
    twice = search.modulus(subject(Signs(w[again], bias[again], half), grey(6)), options)
    for a, b in zip(plain.found, twice.found, strict=True):
        assert (a.omega > 0).any()
        np.testing.assert_allclose(b.omega, a.omega, rtol=1e-6)
        np.testing.assert_allclose(b.kappa, a.kappa, rtol=1e-5)


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


def test_a_real_flip_of_signs_leaves_the_network_and_sigma_1() -> None:
    """T11, and the probe's claim on a network: filters and batch norms turned, and the next layer's weights."""
    net = built("bnn", "vgg_tiny")
    points = torch.from_numpy(grey(4, 16, low=0, high=1)).permute(0, 3, 1, 2)
    logits, before = net(points), fidelity.retention(net, points)
    options = Options(l2=(16,), images=2)
    omega = search.modulus(subject(net, grey(4, 16, low=0, high=1)), options).found[0].omega
    conv, norm, _ = net.body.blocks[0]
    following = net.body.blocks[1][0]
    turned = torch.arange(conv.out_channels) % 3 == 0
    with torch.no_grad():
        conv.weight[turned] *= -1
        norm.running_mean[turned] *= -1
        norm.bias[turned] *= -1
        following.weight[:, turned] *= -1
    torch.testing.assert_close(net(points), logits, rtol=1e-5, atol=1e-5)
    again = search.modulus(subject(net, grey(4, 16, low=0, high=1)), options).found[0].omega
    np.testing.assert_allclose(again, omega, rtol=1e-5)
    after = fidelity.retention(net, points)
    name = Part("body.blocks.1.0")
    torch.testing.assert_close(fidelity.sigma_1(after[name]), fidelity.sigma_1(before[name]), rtol=1e-5, atol=1e-6)
    assert (fidelity.p1(after[name]) / fidelity.p1(before[name]) - 1).abs().max() > 0.01


@pytest.mark.parametrize(
    ("method", "backbone", "same"),
    [
        ("bnn", "vgg_tiny", True),
        ("irnet", "vgg_tiny", True),
        ("irnet", "resnet20", True),
        ("recu", "resnet20", True),
        ("bnn", "resnet18", True),
        ("bnn", "resnet20:head_norm=false", True),
        ("irnet", "vgg_tiny:stem_activation=false", True),
        ("reste", "resnet20", True),
        ("reste", "resnet20:convs=2", True),
        ("reste", "vgg_tiny", True),
        ("adabin", "resnet20", False),
        ("dorefa", "vgg_tiny", False),
        ("reactnet", "resnet20", False),
        ("rbnn", "vgg_tiny", False),
    ],
)
def test_channel_sign_flip_is_of_the_network_where_there_is_one(method: str, backbone: str, same: bool) -> None:
    net = built(method, backbone)
    points = torch.from_numpy(grey(4, 16, low=0, high=1)).permute(0, 3, 1, 2)
    other = fidelity.turned(net)
    a, b = fidelity.retention(net, points), fidelity.retention(other, points)
    assert any(not torch.equal(a[k], b[k]) for k in a)
    found = {p.proxy: p for p in fidelity.probes(net, points) if p.name == "channel sign flip"}
    assert bool(found) == same
    if same:
        torch.testing.assert_close(net(points), other(points), rtol=1e-5, atol=1e-5)
        assert found["sigma_1"].passed
        assert not found["p1"].passed


def test_the_sign_flip_can_fail_any_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy is computed anew from the turned network, so one that sees the signs' pattern is caught."""
    monkeypatch.setitem(fidelity.PROXIES, "sigma_1", lambda m: m.sum((1, 2)).abs())
    points = torch.from_numpy(grey(4, 16, low=0, high=1)).permute(0, 3, 1, 2)
    found = {(p.name, p.proxy): p for p in fidelity.probes(built("irnet", "resnet20"), points)}
    assert not found["channel sign flip", "sigma_1"].passed


class TestLocalGains:
    @pytest.mark.parametrize(("method", "backbone"), [("irnet", "resnet20"), ("bnn", "vgg_tiny")])
    def test_against_the_whole_jacobian(self, method: str, backbone: str) -> None:
        net = built(method, backbone).double()
        points = torch.from_numpy(grey(1, 16)).permute(0, 3, 1, 2).double()
        gains = fidelity.local_gains(net, points, iterations=100)
        name, (a, b) = list(fidelity._pairs(net).items())[-1]
        with gradients.derivative(net, "surrogate"), fidelity._features(net) as kept:
            net(points.requires_grad_())
            out = kept[b].flatten()
            rows = [torch.autograd.grad(out[k], kept[a], retain_graph=True)[0].flatten() for k in range(len(out))]
        exact = float(torch.linalg.matrix_norm(torch.stack(rows), ord=2))
        assert gains[name][0] <= exact * (1 + 1e-9)
        assert gains[name][0] == pytest.approx(exact, rel=0.02)

    def test_stays_below_the_product_bound_of_its_block(self) -> None:
        net = built("irnet", "resnet20")
        points = torch.from_numpy(grey(3, 16, low=0, high=1)).permute(0, 3, 1, 2)
        gains = fidelity.local_gains(net, points)
        parts = fidelity.part_bounds(net, (3, 16, 16))
        assert len(parts) == 18
        assert [p.stage for p in parts] == [1] * 6 + [2] * 6 + [3] * 6
        for part in parts[:-1]:
            assert (gains[Part(f"{part.name}.conv")] <= part.bound * (1 + 1e-5)).all(), part.name
        for stage in (2, 3):
            bound = np.prod([p.bound for p in parts if p.stage == stage])
            assert (gains[Part(stage=stage)] <= bound * (1 + 1e-5)).all()


def test_proxy_by_stage_is_that_of_the_stages_outputs() -> None:
    net = built("irnet", "resnet20")
    points = torch.from_numpy(grey(2, 16)).permute(0, 3, 1, 2)
    outputs = []
    for stage in net.body.stages():
        stage.register_forward_hook(lambda m, i, o: outputs.append(o.double()))
    found = fidelity.retention(net, points)
    torch.testing.assert_close(found[Part(stage=2)], retention_matrix(outputs[0], outputs[1]))
    assert [part for part in found if part.stage] == [Part(stage=2), Part(stage=3)]
    assert len(found) == 17 + 2


def test_networks_without_binary_layers_are_refused() -> None:
    with pytest.raises(UserError, match="no two binary layers in a row"):
        fidelity.retention(built("full_precision", "vgg_tiny"), torch.zeros(1, 3, 16, 16))
