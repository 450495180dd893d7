"""Each method's forward and gradient on cases small enough to compute by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from lcrbench import registry
from lcrbench.models.binary import deployed_weight
from lcrbench.models.estimators import polynomial, power, sign, tent


def layer(method: str, in_channels: int = 1, out_channels: int = 1, kernel: int = 2, **options: Any) -> Any:
    return registry.load("method", method).Method(**options).conv(in_channels, out_channels, kernel, 1, 0)


def filled(method: str, *filters: list[float], **options: Any) -> Any:
    """Return a layer of one input channel whose filters are 2 x 2."""
    made = layer(method, 1, len(filters), **options)
    with torch.no_grad():
        made.weight.copy_(torch.tensor(filters).view(-1, 1, 2, 2))
    return made.double()


def grid(end: float = 3.0) -> Tensor:
    return torch.linspace(-end, end, 601, dtype=torch.float64)


def slope(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    f(x).sum().backward()
    assert x.grad is not None
    return x.grad


def weight_gradient(made: Any, upstream: list[float]) -> list[float]:
    """Return the latent weights' gradient of the sum of upstream times the deployed weights."""
    g = torch.tensor(upstream, dtype=torch.float64).view_as(made.weight)
    (deployed_weight(made) * g).sum().backward()
    return made.weight.grad.flatten().tolist()  # type: ignore[no-any-return]


# --- estimators ------------------------------------------------------------------------------------------------------


def test_polynomial() -> None:
    x = grid()
    assert torch.allclose(slope(polynomial.Estimator(), x), (2 - 2 * x.abs()).clamp_min(0))


@pytest.mark.parametrize("floor", [False, True])
@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
def test_tent(progress: float, floor: bool) -> None:
    estimator = tent.Estimator(1e-2, 10.0, floor=floor)
    estimator.set_progress(progress)
    t = 10 ** (-2 + 3 * progress)
    k = max(1 / t, 1)
    if floor:
        t, k = max(t, 1), 1
    x = grid(20)
    expected = k * (math.sqrt(2) * t - t * t * x.abs()).clamp_min(0)
    torch.testing.assert_close(slope(estimator, x), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("progress", [0.0, 0.4, 1.0])
def test_power(progress: float) -> None:
    estimator = power.Estimator(3.0)
    estimator.set_progress(progress)
    o = 1 + (1 - math.cos(math.pi * progress / 2)) * 2

    def formula(x: float) -> float:
        if abs(x) > 1.5:
            return 0.0
        return 0.1 ** (1 / o) / 0.1 if abs(x) <= 0.1 else abs(x) ** ((1 - o) / o) / o

    xs = [v + 0.003 for v in grid(2).tolist()]
    found = slope(estimator, torch.tensor(xs, dtype=torch.float64))
    assert found.tolist() == pytest.approx([formula(x) for x in xs], rel=1e-9)
    assert progress or set(found.tolist()) == {0.0, 1.0}, "o = 1 is the straight-through estimator"


# --- weights, by hand ------------------------------------------------------------------------------------------------


def test_bnn() -> None:
    made = filled("bnn", [0.0, -0.5, 2.0, -3.0])
    assert deployed_weight(made).flatten().tolist() == [1, -1, 1, -1]
    assert weight_gradient(made, [1, 2, 3, 4]) == [1, 2, 0, 0]


def test_xnor_net() -> None:
    made = layer("xnor_net", 2, 1, 1)
    with torch.no_grad():
        made.weight.copy_(torch.tensor([0.6, 0.2]).view(1, 2, 1, 1))
    made.double()
    # The mean over the input channels is .4: w~ = .2, -.2; alpha = .2.
    assert deployed_weight(made).flatten().tolist() == pytest.approx([0.2, -0.2])
    # alpha g + sign(w~) mean(sign(w~) g), with g = (1, 3): mean(1, -3) = -1, so .2 - 1 and .6 + 1.
    assert weight_gradient(made, [1, 3]) == pytest.approx([-0.8, 1.6])


def test_xnor_net_clips() -> None:
    made = layer("xnor_net", 2, 1, 1)
    with torch.no_grad():
        made.weight.copy_(torch.tensor([5.0, 1.0]).view(1, 2, 1, 1))
    bits, alpha = made.binarize()
    assert bits.flatten().tolist() == [1, -1]
    assert alpha.tolist() == [1.0]


def test_dorefa() -> None:
    made = filled("dorefa", [0.0, -0.5, 2.0, -1.5], [1.0, 1.0, 1.0, 1.0])
    # One scale for the layer: (0 + .5 + 2 + 1.5 + 4) / 8 = 1.
    assert deployed_weight(made).flatten().tolist() == [1, -1, 1, -1, 1, 1, 1, 1]
    assert weight_gradient(made, [1, 2, 3, 4, 5, 6, 7, 8]) == pytest.approx([1, 2, 3, 4, 5, 6, 7, 8])
    x = torch.tensor([-1.0, 0.0, 0.49, 0.5, 1.0, 1.2], dtype=torch.float64)

    def q(v: Tensor) -> Tensor:
        a, c = made.sign.levels()
        return a * made.sign(v) + c

    assert q(x).tolist() == [0, 0, 0, 1, 1, 1]
    assert slope(q, x).tolist() == [0, 1, 1, 1, 1, 0]
    y = made(torch.tensor([[[[0.9, 0.1], [0.6, 0.2]]]], dtype=torch.float64))
    # Inputs 1, 0, 1, 0: filter 0 gives 1 + 1, filter 1 gives 2.
    assert y.flatten().tolist() == [2, 2]


def test_bi_real() -> None:
    made = filled("bi_real", [0.5, -0.5, 1.5, 1.5])
    assert deployed_weight(made).flatten().tolist() == [1, -1, 1, 1]
    assert weight_gradient(made, [1, 2, 3, 4]) == pytest.approx([1, 2, 0, 0]), "a mask, without the scale"
    half = filled("bi_real", [0.25, -0.25, 0.5, 0.0])
    assert deployed_weight(half).flatten().tolist() == [0.25, -0.25, 0.25, 0.25]
    assert weight_gradient(half, [1, 2, 3, 4]) == pytest.approx([1, 2, 3, 4])
    assert registry.load("method", "bi_real").Method().activation(3)(grid()).min() == -3


def test_reactnet() -> None:
    made = filled("reactnet", [0.25, -0.25, 0.5, 0.0])
    assert weight_gradient(made, [1, 2, 3, 4]) == pytest.approx([1, 2, 3, 4])
    with torch.no_grad():
        made.sign.shift.fill_(0.5)
    x = torch.tensor([-0.6, -0.5, -0.1], dtype=torch.float64).view(1, 1, 1, 3)
    assert made.sign(x).flatten().tolist() == [-1, 1, 1]
    assert slope(made.sign, x).flatten().tolist() == pytest.approx([1.8, 2.0, 1.2])
    rprelu = registry.load("method", "reactnet").Method().activation(1)
    with torch.no_grad():
        rprelu.before.fill_(1.0)
        rprelu.after.fill_(0.5)
    # (3 - 1) + .5 and (-1 - 1) / 4 + .5
    assert rprelu(torch.tensor([3.0, -1.0]).view(2, 1, 1, 1)).flatten().tolist() == [2.5, 0.0]


def test_recu() -> None:
    made = filled("recu", [1.0, -1.0, 3.0, -3.0])
    assert made.binarizer.estimator.tau == pytest.approx(0.85)
    # mean 0, unbiased variance 20/3: w1 = w 2 sqrt(2) / sqrt(6.66668), mean|w1| = 2.19089, Q = -2.19089 ln .3 = 2.6378;
    # the third and fourth, at 3.286, are clamped and get no gradient of their own.
    assert deployed_weight(made).flatten().tolist() == [0.5, -0.5, 0.5, -0.5]
    w = made.weight.detach().clone().requires_grad_()
    w1 = (w - w.mean()) / ((w.var() + 1e-5).sqrt() / (2 * math.sqrt(2)))
    assert w1.abs().max().item() == pytest.approx(3.286, abs=1e-3)
    mask = torch.tensor([1.0, 1.0, 0.0, 0.0]).view_as(w)
    (0.5 * w1 * mask * torch.tensor([1.0, 2.0, 3.0, 4.0]).view_as(w)).sum().backward()
    assert weight_gradient(made, [1, 2, 3, 4]) == pytest.approx(w.grad.flatten().tolist())


def test_recu_schedule() -> None:
    estimator = layer("recu").binarizer.estimator
    taus = []
    for p in (0.0, 0.5, 1.0):
        estimator.set_progress(p)
        taus.append(estimator.tau)
    assert taus == pytest.approx([0.85, 0.903, 0.99], abs=5e-4)


def test_recu_scales_its_input_in_training_only() -> None:
    made = layer("recu")
    x = 3 * torch.randn(2, 1, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    v = x.clone().requires_grad_()
    z = v / (v.var(dim=(1, 2, 3), keepdim=True) + 1e-5).sqrt()
    area = torch.where(z.abs() < 1, 2 * z - z * z.abs(), z.sign())  # whose derivative is 2 - 2|z| inside, 0 outside
    area.sum().backward()
    torch.testing.assert_close(slope(made.sign, x), v.grad)
    assert torch.allclose(slope(made.eval().sign, x), (2 - 2 * x.abs()).clamp_min(0))


def test_adabin() -> None:
    made = filled("adabin", [1.0, 2.0, 3.0, 6.0])
    # beta = 3, alpha = sqrt((4 + 1 + 0 + 9) / 4) = 1.8708; signs - - + +.
    alpha = math.sqrt(3.5)
    assert deployed_weight(made).flatten().tolist() == pytest.approx([3 - alpha, 3 - alpha, 3 + alpha, 3 + alpha])
    w = made.weight.detach().clone().requires_grad_()
    beta = w.mean()
    a = (w - beta).square().mean().sqrt()
    t = made.binarizer.estimator.t
    b = torch.tensor([-1.0, -1.0, 1.0, 1.0]).view_as(w)
    soft = torch.tanh(t * (w - beta) / a) / t  # its derivative is the estimator's, its value is replaced by the sign
    g = torch.tensor([1.0, 2.0, 3.0, 4.0]).view_as(w)
    ((a * (b + soft - soft.detach()) + beta) * g).sum().backward()
    assert weight_gradient(made, [1, 2, 3, 4]) == pytest.approx(w.grad.flatten().tolist())


@pytest.mark.parametrize(("levels", "values"), [("released", [-1.0, 3.0]), ("paper", [-1.5, 2.5])])
def test_adabin_activations(levels: str, values: list[float]) -> None:
    made = filled("adabin", [1.0, 2.0, 3.0, 6.0], levels=levels)
    with torch.no_grad():
        made.sign.scale.fill_(2.0)
        made.sign.shift.fill_(0.5)
    a, c = made.sign.levels()
    s = made.sign(torch.tensor([0.49, 0.5], dtype=torch.float64))
    assert s.tolist() == [-1, 1]
    # a (s + b) in the code: 2 (-1 + .5), 2 (1 + .5); a s + b in the paper.
    assert (a * s + c).tolist() == values
    x = torch.tensor([[[[0.4, 0.6], [0.7, 0.1]]]], dtype=torch.float64)
    low, high = values
    alpha = math.sqrt(3.5)
    expected = (3 - alpha) * (low + high) + (3 + alpha) * (high + low)
    assert made(x).item() == pytest.approx(expected)
    # The gradient of a and b, against the layer written out with real values.
    made(x).backward()
    sc, sh = (p.detach().clone().requires_grad_() for p in (made.sign.scale, made.sign.shift))
    z = (x - sh) / sc
    area = torch.where(z.abs() < 1, 2 * z - z * z.abs(), z.sign())
    signs = sign(z).detach() + area - area.detach()
    values_in = sc * (signs + sh) if levels == "released" else sc * signs + sh
    (values_in.flatten() * deployed_weight(made).detach().flatten()).sum().backward()
    assert made.sign.scale.grad.item() == pytest.approx(sc.grad.item())
    assert made.sign.shift.grad.item() == pytest.approx(sh.grad.item())


def test_adabin_maxout() -> None:
    maxout = registry.load("method", "adabin").Method().activation(1)
    assert maxout(torch.tensor([2.0, -2.0]).view(2, 1, 1, 1)).flatten().tolist() == [2.0, -0.5]


def test_reste() -> None:
    made = filled("reste", [0.05, -0.05, 1.0, -2.0])
    made.binarizer.estimator.set_progress(1.0)
    scale = 3.1 / 4
    assert deployed_weight(made).flatten().tolist() == pytest.approx([scale, -scale, scale, -scale])
    # Through the signs: E g times the slope (chord .1^(1/3)/.1 = 4.6416, 1/3 at |w| = 1, 0 beyond 1.5); through E: the mean
    # of sign(w) g = (1 - 2 + 3 - 4) / 4 = -.5, times the sign of each weight.
    through = [scale * g * s for g, s in zip([1, 2, 3, 4], [4.641588834, 4.641588834, 1 / 3, 0], strict=True)]
    expected = [t - 0.5 * s for t, s in zip(through, [1, -1, 1, -1], strict=True)]
    assert weight_gradient(made, [1, 2, 3, 4]) == pytest.approx(expected)


def test_rbnn_without_rotation() -> None:
    made = filled("rbnn", [1.0, 2.0, 3.0, 6.0])
    b = made.binarizer
    with torch.no_grad():
        b.left.copy_(torch.eye(2))
        b.right.copy_(torch.eye(2))
        b.theta.zero_()
        b.start(made.weight)
    assert b.alpha.tolist() == [3.0]
    assert deployed_weight(made).flatten().tolist() == [-3, -3, 3, 3]
    w = made.weight.detach().clone().requires_grad_()
    z = (w - w.mean()) / w.std()
    t, k = b.estimator.t, b.estimator.k
    g = torch.tensor([1.0, 2.0, 3.0, 4.0]).view_as(w)
    (3 * g * k * (math.sqrt(2) * t - t * t * z.detach().abs()) * z).sum().backward()
    assert weight_gradient(made, [1, 2, 3, 4]) == pytest.approx(w.grad.flatten().tolist())


def test_rbnn_rotates_by_a_right_angle() -> None:
    made = filled("rbnn", [1.0, 2.0, 4.0, 6.0])
    with torch.no_grad():
        made.binarizer.left.copy_(torch.tensor([[0.0, -1.0], [1.0, 0.0]]))
        made.binarizer.right.copy_(torch.eye(2))
    # W^ is in proportion to [[-9, -5], [3, 11]]; R1^T W^ to [[3, 11], [9, 5]].
    assert made.binarize()[0].flatten().tolist() == [1, 1, 1, 1]
    with torch.no_grad():
        made.binarizer.theta.zero_()
    assert made.binarize()[0].flatten().tolist() == [-1, -1, 1, 1]


def test_rbnn_rotation_aligns_weights_with_their_signs() -> None:
    made = layer("rbnn", 16, 8, 3)
    torch.nn.init.normal_(made.weight, generator=torch.Generator().manual_seed(0))
    b = made.binarizer

    def aligned() -> float:
        """Return tr(B^T R1^T W R2) summed over the filters: the sum of magnitudes of the rotated weights."""
        w = made.weight.flatten(1)
        w = ((w - w.mean(1, keepdim=True)) / w.std(1, keepdim=True)).unflatten(1, (12, 12))
        return float((b.left.T @ w @ b.right).abs().sum().detach())

    values = [aligned()]
    for _ in range(4):
        b.rotate(made.weight)
        values.append(aligned())
        for r in (b.left, b.right):
            torch.testing.assert_close(r.T @ r, torch.eye(12), rtol=0, atol=1e-5)
    assert values == sorted(values)
    assert values[-1] > 1.05 * values[0]


def test_rbnn_centres_its_input_in_inference_too() -> None:
    made = layer("rbnn").eval()
    x = torch.tensor([[1.0, 2.0], [3.0, 6.0]]).view(1, 1, 2, 2)
    assert made.sign(x).flatten().tolist() == [-1, -1, 1, 1]
    assert made.sign(x + 100).flatten().tolist() == [-1, -1, 1, 1]


def test_rbnn_rotates_as_often_as_asked() -> None:
    method = registry.load("method", "rbnn").Method(rotations=3)
    network = torch.nn.Sequential(method.conv(4, 4, 3, 1, 1))
    counts = []
    for step in range(30):
        method.on_progress(network, (step + 0.5) / 30)
        counts.append(int(network[0].binarizer.done))
    assert [counts.index(k) for k in (1, 2, 3)] == [0, 10, 20]
    assert counts[-1] == 3


def test_reactnet_in_two_steps() -> None:
    method = registry.load("method", "reactnet").Method(two_step=True)
    network = torch.nn.Sequential(method.conv(4, 4, 3, 1, 1))
    x = torch.randn(1, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    assert len(method.stages) == 2
    method.on_stage(network, 0)
    real = torch.nn.functional.conv2d(sign(x), network[0].weight, None, 1, 1)
    assert torch.equal(network(x), real)
    method.on_stage(network, 1)
    assert not torch.equal(network(x), real)
    assert network[0].binarize()[0].unique().tolist() == [-1, 1]
