"""The LCR term against the formula written out with dense singular values, and its place in training."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lcrbench.errors import UserError
from lcrbench.models import network as networks
from lcrbench.models.binary import binary_layers
from lcrbench.models.regularizers.lcr import Regularizer


def make(method: str = "irnet", backbone: str = "vgg_tiny") -> networks.Network:
    def generator(name: str) -> torch.Generator:
        return torch.Generator().manual_seed(sum(map(ord, name)))

    return networks.build(networks.choose(method), backbone, 10, 32, [0.3] * 3, [0.4] * 3, generator)


def images(n: int = 6) -> torch.Tensor:
    return torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("backbone", ["vgg_tiny", "resnet20"])
def test_value_against_the_formula(backbone: str) -> None:
    net = make(backbone=backbone)
    entering = []
    for layer in binary_layers(net).values():
        layer.sign.register_forward_hook(lambda m, i, o: entering.append(i[0].detach().double()))
    net.body.head.register_forward_pre_hook(lambda m, i: entering.append(i[0].detach().double()))
    options = Regularizer(weight=0.5, beta=3.0, iterations=200)
    term = options.attach(net)
    term.begin(False)
    net(images())
    loss = term.loss()
    term.detach()

    layers = len(entering) - 1
    assert layers == len(binary_layers(net))
    expected = 0.0
    for k in range(1, layers + 1):
        ratios = []
        for n in range(len(images())):
            sigma = []
            for convert in (lambda a: torch.where(a >= 0, 1.0, -1.0).double(), lambda a: a):
                a_in, a_out = convert(entering[k - 1][n]), convert(entering[k][n])
                factor = a_in.shape[-1] // a_out.shape[-1]
                pooled = a_in.unfold(1, factor, factor).unfold(2, factor, factor).mean((-1, -2))
                r = torch.einsum("ihw,ohw->io", pooled, a_out) / a_out[0].numel()
                sigma.append(float(torch.linalg.svdvals(r)[0]))
            ratios.append(sigma[0] / sigma[1])
        expected += 3.0 ** (k - layers) * sum((q - 1) ** 2 for q in ratios) / len(ratios)
    assert abs(float(loss.detach()) / (0.5 * expected) - 1) < 2e-3


def test_gradient_reaches_every_latent_weight_through_both_sides() -> None:
    net = make()
    term = Regularizer(weight=1.0).attach(net)
    term.begin(False)
    net(images())
    term.loss().backward()
    for layer in binary_layers(net).values():
        assert float(layer.weight.grad.abs().sum()) > 0


def test_weight_zero_adds_nothing_and_measures_when_asked() -> None:
    net = make()
    term = Regularizer(weight=0.0).attach(net)
    term.begin(False)
    net(images())
    assert term.loss() is None
    assert term.figures() == {}
    term.begin(True)
    net(images())
    assert term.loss() is None
    figures = term.figures()
    assert figures["loss"] > 0
    assert {f"ratio.{k}" for k in range(1, 5)} <= set(figures)
    assert {f"bn_scale.{k}" for k in range(5)} <= set(figures)
    assert all(torch.isfinite(torch.tensor(v)) for v in figures.values())


def test_measuring_changes_no_gradient() -> None:
    grads = []
    for measure in (False, True):
        net = make()
        term = Regularizer(weight=0.0).attach(net)
        term.begin(measure)
        F.cross_entropy(net(images()), torch.arange(6)).backward() if not measure else None
        if measure:
            loss = F.cross_entropy(net(images()), torch.arange(6))
            assert term.loss() is None
            loss.backward()
        grads.append({k: p.grad.clone() for k, p in net.named_parameters()})
    assert all(torch.equal(grads[0][k], grads[1][k]) for k in grads[0])


def test_detach_leaves_no_hook() -> None:
    net = make()
    Regularizer().attach(net).detach()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_a_network_without_signs_is_refused() -> None:
    with pytest.raises(ValueError, match="needs binary"):
        Regularizer().attach(make("full_precision"))


@pytest.mark.parametrize("bad", ["weight=-1", "beta=0", "iterations=0"])
def test_bad_options(bad: str) -> None:
    with pytest.raises(UserError, match="lcr"):
        networks.choose(f"irnet+lcr:{bad}")


def test_dead_activations_give_a_finite_loss() -> None:
    net = make()
    with torch.no_grad():
        for m in net.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.weight.zero_()
    term = Regularizer(weight=1.0).attach(net)
    term.begin(True)
    net(images())
    assert term.loss() is not None
