"""Distances to the flips of the first signs, against the networks' own signs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lcrbench import registry
from lcrbench.bench.lipschitz.first_layer import distances
from lcrbench.errors import UserError
from lcrbench.models import api
from lcrbench.models import network as networks
from lcrbench.models.binary import binary_layers

from .nets import Function, built, grey, subject


class Signs(api.Sign):
    """A function in the place of a layer's sign."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def draw(*shape: int, seed: int = 0, low: float = 0.0, high: float = 1.0) -> Tensor:
    return low + (high - low) * torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def images(n: int = 2) -> Tensor:
    return torch.from_numpy(grey(n, 16)).permute(0, 3, 1, 2).double()


@torch.no_grad()
def shifted(method: str) -> networks.Network:
    """ResNet-20 in float64 whose first thresholds, where the method has any, are none of them zero."""
    net = built(method, "resnet20:stem_activation=false" if method == "recu" else "resnet20").double()
    sign, activation = net.body.blocks[0].conv.sign, net.body.stem[-1]
    if method == "reactnet":
        sign.shift.copy_(draw(16, seed=1, low=-0.5, high=0.5))
        for k, parameter in enumerate((activation.before, activation.after)):
            parameter.copy_(draw(16, seed=2 + k, low=-0.5, high=0.5))
        activation.slope.copy_(draw(16, seed=4, low=0.1, high=2))
    if method == "adabin":
        sign.shift.fill_(0.3)
        sign.scale.fill_(-0.7)
        activation.positive.copy_(draw(16, seed=1, low=0.5, high=2))
        activation.negative.copy_(draw(16, seed=2, low=0.1, high=2))
    return net


def first_signs(net: nn.Module, x: Tensor) -> Tensor:
    """Return what the first binary layer's sign module gives (n, units)."""
    seen: list[Tensor] = []
    layer = next(iter(binary_layers(net).values()))
    handle = layer.sign.register_forward_hook(lambda module, given, out: seen.append(out.flatten(1)))
    with torch.no_grad():
        net(x)
    handle.remove()
    return seen[0]


def affine(net: Any, x: Tensor) -> Tensor:
    """Return the numbers behind the stem's batch norm, or convolution if that is not next (n, units), with a graph."""
    z: Tensor = net.body.stem[0]((x - net.mean) / net.std)
    z = net.body.stem[1](z) if isinstance(net.body.stem[1], nn.BatchNorm2d) else z
    return z.flatten(1)


@pytest.mark.parametrize("method", ["bnn", "irnet", "bi_real", "recu", "dorefa", "reactnet", "adabin", "reste"])
def test_a_sign_flips_at_the_distance_and_not_before(method: str) -> None:
    """By the network's own signs, on either side: at 0.999 t along neither, at 1.001 t along one."""
    net, x = shifted(method), images()
    found = distances(net, x)
    image = x[:1].clone().requires_grad_()
    z = affine(net, image)
    for unit in [int(found.l2[0].argmin()), *np.random.default_rng(0).integers(0, z.shape[1], 3)]:
        (g,) = torch.autograd.grad(z[0, unit], image, retain_graph=True)
        for t, d in ((found.l2[0, unit], g / g.norm()), (found.linf[0, unit], g.sign())):
            steps = [x[:1]] + [x[:1] + side * float(t) * d for side in (0.999, -0.999, 1.001, -1.001)]
            here, *before, up, down = first_signs(net, torch.cat(steps))[:, unit].tolist()
            assert before == [here, here]
            assert {up, down} == {1.0, -1.0}


def test_thresholds_move_the_distances() -> None:
    """A shift of the thresholds by c is a shift of z by c: of the batch norm's."""
    net, x = built("reactnet", "resnet20").double(), images()
    plain = distances(net, x)
    with torch.no_grad():
        net.body.blocks[0].conv.sign.shift.fill_(0.125)
        net.body.stem[2].slope.fill_(1.0)
        moved = distances(net, x)
        net.body.blocks[0].conv.sign.shift.zero_()
        net.body.stem[1].bias += 0.125
    same = distances(net, x)
    np.testing.assert_allclose(moved.l2, same.l2, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(moved.linf, same.linf, rtol=1e-9, atol=1e-12)
    assert np.abs(moved.l2 - plain.l2).max() > 0.01


@pytest.mark.parametrize("method", ["irnet", "reactnet"])
def test_inside_the_stable_radius_nothing_flips(method: str) -> None:
    net, x = shifted(method), images()
    radius = torch.from_numpy(distances(net, x).l2.min(1)).view(-1, 1, 1, 1)
    here = first_signs(net, x)
    for k in range(10):
        d = draw(*x.shape, seed=k, low=-1)
        d = d / d.flatten(1).norm(dim=1).view(-1, 1, 1, 1) * radius
        assert torch.equal(first_signs(net, x + 0.9999 * d), here)


class Plain(nn.Module):
    """A network without shortcuts from the suite's parts: what the first signs hide, nothing else sees."""

    def __init__(self, method: Any, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), activation or method.activation(8)
        )
        self.block = nn.Sequential(method.conv(8, 8, 3, 1, 1), nn.BatchNorm2d(8), method.activation(8))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.block(self.stem(x)))
        return logits


def plain(method: str = "bnn", activation: nn.Module | None = None) -> Plain:
    torch.manual_seed(0)
    net = Plain(networks.choose(method).method, activation).double().requires_grad_(False)
    net.stem[1].bias.copy_(draw(8, low=-0.5, high=0.5))
    net.stem[1].running_mean.copy_(draw(8, seed=1, low=-0.5, high=0.5))
    return net.eval()


@pytest.mark.parametrize("method", ["bnn", "reactnet", "dorefa"])
def test_a_network_without_shortcuts_is_constant_inside_its_stable_radius(method: str) -> None:
    """omega(x; eps) = 0 for eps < R_stable, to the last bit; and beyond it the nearest flip moves the logits."""
    net, x = plain(method), images(4)
    found = distances(net, x)
    here = net(x)
    for t, linf in ((found.l2, False), (found.linf, True)):
        radius = torch.from_numpy(t.min(1)).view(-1, 1, 1, 1)
        for k in range(10):
            d = draw(*x.shape, seed=k, low=-1)
            d = d.sign() if linf else d / d.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
            assert torch.equal(net(x + 0.9999 * radius * d), here)
    image = x.clone().requires_grad_()
    nearest = torch.from_numpy(found.l2.argmin(1)).view(-1, 1)
    z = net.stem[1](net.stem[0](image)).flatten(1).gather(1, nearest).sum()
    (g,) = torch.autograd.grad(z, image)
    step = 1.001 * torch.from_numpy(found.l2.min(1)).view(-1, 1, 1, 1) * g / g.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    moved = [(net(x + side * step) != here).any(1) for side in (1, -1)]
    assert (moved[0] | moved[1]).all()


def test_a_sign_that_never_turns_has_no_distance() -> None:
    """Behind a hardtanh, thresholds beyond -1 and 1 are never passed; nor is any where the filter is zero."""
    net, x = plain("reactnet", nn.Hardtanh()), images()
    sign = net.block[0].sign
    sign.shift.copy_(torch.tensor([2.0, -2, 0.5, -0.5, 0, 1.5, 0.2, 0.9]))
    net.stem[0].weight[4] = 0
    found = distances(net, x)
    endless = torch.from_numpy(np.isinf(found.l2)).view(2, 8, -1)
    assert endless.all(2).tolist() == [[True, True, False, False, True, True, False, False]] * 2
    assert not endless[:, [2, 3, 6, 7]].any()
    far = first_signs(net, torch.cat([x, x + 1e3, x - 1e3, x + 1e3 * draw(*x.shape, low=-1)]))
    assert (far.view(4, 2, 8, -1)[:, :, [0, 1, 4, 5]].std(0) == 0).all()


def test_metrics_where_distances_are_infinite() -> None:
    layer, flips = (registry.load("metric", f"lipschitz_first_{name}") for name in ("layer", "flips"))
    net = plain("reactnet", nn.Hardtanh()).float()
    sign = net.block[0].sign
    sign.shift.copy_(torch.tensor([2.0, -2, 0.5, -0.5, 0, 1.5, 0.2, 0.9]))
    s = subject(net, grey(8, 16, low=0, high=1), np.arange(8) % 4)
    assert len(list(layer.measure(s, layer.Options(images=8)))) == 6
    shares = [m.value for m in flips.measure(s, flips.Options(images=8))]
    assert 0 < max(shares) <= 5 / 8
    sign.shift.fill_(2)
    s = subject(net, grey(8, 16, low=0, high=1), np.arange(8) % 4)
    assert not list(layer.measure(s, layer.Options(images=8)))
    assert s.left_out["lipschitz_first_layer"] == "no image can turn a sign of 'block.0'"
    assert {m.value for m in flips.measure(s, flips.Options(images=8))} == {0.0}


class TestRefused:
    @staticmethod
    def refused(net: nn.Module, message: str) -> None:
        with pytest.raises(UserError, match=message) as error:
            distances(net, torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)))
        assert "\n" not in str(error.value)

    def test_a_pool_in_the_stem(self) -> None:
        self.refused(built("irnet", "vgg_tiny"), "need a stem of convolution, batch norm and activation")

    def test_no_signs(self) -> None:
        self.refused(built("full_precision", "resnet20"), "no binary layer")

    def test_a_sign_that_centres_by_image(self) -> None:
        self.refused(built("rbnn", "resnet20"), "depends on others .'CentredSign'")

    def test_an_activation_that_turns_back(self) -> None:
        net = built("reactnet", "resnet20")
        with torch.no_grad():
            net.body.stem[2].slope[3] = -0.01
        self.refused(net, "'RPReLU' is not monotone")
        self.refused(plain("bnn", nn.GELU()), "'GELU' is not monotone")

    @pytest.mark.parametrize(
        ("function", "message"),
        [
            (lambda z: (z.abs() - 1).sign(), "turns more than once"),
            (lambda z: (z - z.amax(1, keepdim=True)).ge(0).to(z) * 2 - 1, "depends on others"),
            (lambda z: (z + z.roll(1, 3)).ge(0).to(z) * 2 - 1, "depends on others"),
            (lambda z: (z - z.mean(0, keepdim=True) / 9).ge(0).to(z) * 2 - 1, "depends on others"),
        ],
    )
    def test_another_sign(self, function: Callable[[Tensor], Tensor], message: str) -> None:
        net = plain()
        net.block[0].sign = Signs(function)
        self.refused(net, message)

    def test_something_between_the_stem_and_the_first_signs(self) -> None:
        net = plain()
        net.block = nn.Sequential(Function(lambda x: x * 2 - 0.1), *net.block)
        self.refused(net, "feeds the first binary layer")

    def test_something_before_the_stem(self) -> None:
        net = nn.Sequential(Function(lambda x: 2 * x - 1), plain())
        self.refused(net, "takes the image itself")

    @pytest.mark.parametrize("change", [{"dilation": 2}, {"padding_mode": "reflect"}, {"padding": "same"}])
    def test_another_convolution(self, change: dict[str, Any]) -> None:
        net = built("irnet", "resnet20")
        net.body.stem[0] = nn.Conv2d(3, 16, 3, **({"padding": 1} | change))
        self.refused(net, "zero padding given as numbers")


def test_a_stem_with_a_bias_and_a_norm_without() -> None:
    """The bias is part of what the first signs take; a batch norm may have neither scale nor shift."""
    net = built("irnet", "resnet20").double()
    conv, norm = net.body.stem[0], net.body.stem[1]
    x = images()
    for bare in (False, True):
        conv.bias = nn.Parameter(draw(16, low=-1))
        if bare:
            net.body.stem[1] = nn.BatchNorm2d(16, affine=False).double().eval()
            net.body.stem[1].load_state_dict(norm.state_dict(), strict=False)
        image = x.clone().requires_grad_()
        z = affine(net, image)
        found = distances(net, x)
        for unit in (0, 100, 2000):
            (g,) = torch.autograd.grad(z[0, unit], image, retain_graph=True)
            assert found.l2[0, unit] == pytest.approx(float(z[0, unit].detach().abs() / g[0].norm()), rel=1e-9)


def test_the_network_is_left_as_it_was() -> None:
    net = built("irnet", "resnet20").train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    distances(net, images())
    assert net.training
    assert all(torch.equal(v, before[k]) and v.dtype == before[k].dtype for k, v in net.state_dict().items())
    assert not net.body.stem[1]._forward_hooks
