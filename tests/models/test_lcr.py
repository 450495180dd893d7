"""The LCR term against the formula written out with dense singular values, and its place in training."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lcrbench.errors import UserError
from lcrbench.models import api
from lcrbench.models import network as networks
from lcrbench.models.binary import binary_layers
from lcrbench.models.regularizers.lcr import Regularizer
from lcrbench.models.retention import retained


def make(method: str = "irnet", backbone: str = "vgg_tiny") -> networks.Network:
    def generator(name: str) -> torch.Generator:
        return torch.Generator().manual_seed(sum(map(ord, name)))

    return networks.build(networks.choose(method), backbone, 10, 32, [0.3] * 3, [0.4] * 3, generator)


def images(n: int = 6) -> torch.Tensor:
    return torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def seen(net: nn.Module, term: api.Term, x: Tensor | None = None, measure: bool = False) -> api.Context:
    x = images() if x is None else x
    return api.observe(net, [term], x, torch.arange(len(x)), measure)


@pytest.mark.parametrize("backbone", ["vgg_tiny", "resnet20"])
def test_value_against_the_formula(backbone: str) -> None:
    net = make(backbone=backbone)
    entering = []
    for layer in binary_layers(net).values():
        layer.sign.register_forward_hook(lambda m, i, o: entering.append(i[0].detach().double()))
    net.body.head.register_forward_pre_hook(lambda m, i: entering.append(i[0].detach().double()))
    options = Regularizer(weight=0.5, beta=3.0, iterations=200)
    term = options.attach(net)
    loss = term.loss(seen(net, term))
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


def reference(entering: list[Tensor], gradient: str, normalize: str, beta: float) -> Tensor:
    """Compute the loss from what enters each sign, for BNN's clipped estimator, by dense and differentiable SVD."""

    def binarized(a: Tensor) -> Tensor:
        # Its value is the sign and its derivative that of hardtanh.
        return torch.where(a >= 0, 1.0, -1.0).to(a) + F.hardtanh(a) - F.hardtanh(a).detach()

    def sigma(a_in: Tensor, a_out: Tensor) -> Tensor:
        n = a_in.shape[-1] // a_out.shape[-1]
        pooled = a_in.unfold(2, n, n).unfold(3, n, n).mean((-1, -2))
        return torch.linalg.svdvals(torch.einsum("nihw,nohw->nio", pooled, a_out) / a_out[0, 0].numel())[:, 0]

    total = torch.zeros((), dtype=torch.float64)
    layers = len(entering) - 1
    for k in range(layers):
        pair = entering[k], entering[k + 1]
        real = [a / (a * a).flatten(1).mean(1).sqrt().view(-1, 1, 1, 1) for a in pair] if normalize == "rms" else pair
        full, sign = sigma(*real), sigma(*(binarized(a) for a in pair))
        full = full.detach() if gradient == "sign" else full
        total = total + beta ** (k + 1 - layers) * ((sign / full - 1) ** 2).mean()
    return total


@pytest.mark.parametrize("normalize", ["none", "rms"])
@pytest.mark.parametrize("gradient", ["both", "sign"])
def test_options_against_a_differentiated_svd(gradient: str, normalize: str) -> None:
    """Value, and the gradient of every parameter: it flows through the sides that the option names, and no other."""
    found = {}
    for which in ("term", "formula"):
        net = make("bnn").double()
        entering: list[Tensor] = []
        for layer in binary_layers(net).values():
            layer.sign.register_forward_hook(lambda m, i, o, to=entering: to.append(i[0]))
        net.body.head.register_forward_pre_hook(lambda m, i, to=entering: to.append(i[0]))
        term = Regularizer(1.0, 3.0, 1000, gradient, normalize).attach(net)
        context = seen(net, term, images(3).double())
        loss = term.loss(context) if which == "term" else reference(entering, gradient, normalize, 3.0)
        loss.backward()
        grads = {k: p.grad for k, p in net.named_parameters() if p.grad is not None}
        found[which] = float(loss.detach()), grads
    assert found["term"][0] == pytest.approx(found["formula"][0], rel=1e-9)
    assert found["term"][1].keys() == found["formula"][1].keys()
    for name, grad in found["formula"][1].items():
        torch.testing.assert_close(found["term"][1][name], grad, rtol=1e-5, atol=1e-9 * float(grad.abs().max()))


class Tiny(nn.Module):
    """One binary convolution of one channel, one weight of +1, and a learnable factor after it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = networks.choose("bnn").method.conv(1, 1, 1, 1, 0)
        nn.init.ones_(self.conv.weight)
        self.factor = nn.Parameter(torch.tensor(3.0))
        self.head = nn.Flatten()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.factor * self.conv(x))
        return y


@pytest.mark.parametrize(
    ("gradient", "normalize", "loss", "slope"),
    [
        # A^0 = (2, -1) and A^1 = 3 (1, -1): R_F = (2 * 3 + 1 * 3) / 2 = 4.5, R_B = (1 + 1) / 2 = 1, r = 1 / 4.5.
        # R_F = 1.5 c for a factor c, and |A^1| > 1 lets nothing through its sign: dr/dc = -1 / (1.5 c^2) = -2 / 27.
        ("both", "none", (1 / 4.5 - 1) ** 2, 2 * (1 / 4.5 - 1) * (-2 / 27)),
        ("sign", "none", (1 / 4.5 - 1) ** 2, 0.0),
        # Root mean squares sqrt(2.5) and 3: R_F = 3 / (2 sqrt(2.5)), which the factor does not move.
        ("both", "rms", (2 * 2.5**0.5 / 3 - 1) ** 2, 0.0),
        ("sign", "rms", (2 * 2.5**0.5 / 3 - 1) ** 2, 0.0),
    ],
)
def test_options_by_hand(gradient: str, normalize: str, loss: float, slope: float) -> None:
    net = Tiny()
    term = Regularizer(0.5, 2.0, 1, gradient, normalize).attach(net)
    found = term.loss(seen(net, term, torch.tensor([2.0, -1.0]).view(1, 1, 1, 2)))
    assert float(found.detach()) == pytest.approx(0.5 * loss, rel=1e-5)
    found.backward()
    assert float(net.factor.grad) == pytest.approx(0.5 * slope, rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("method", ["irnet", "bnn"])
def test_autocast_computes_the_loss_in_float32(method: str) -> None:
    """On the activations as they are under bf16, the loss is that of float32, and not of bf16's products."""
    net = make(method)
    term = Regularizer(weight=1.0).attach(net)
    kept: list[tuple[Tensor, ...]] = []
    with torch.autocast("cpu", torch.bfloat16):
        context = seen(net, term)
        full, signs = [context.inputs[n] for n in term.watch], [*(context.outputs[n] for n in term.signs), term.last]
        assert any(a.dtype == torch.bfloat16 for a in full)
        kept = [tuple(a.detach().double() for a in chain) for chain in (full, signs)]
        loss = term.loss(context)
    loss.backward()
    full, sign = retained(kept, 5)
    last = len(full)
    expected = sum(
        2.0 ** (k - last) * (s / f - 1).square().mean() for k, (f, s) in enumerate(zip(full, sign, strict=True), 1)
    )
    assert loss.dtype == torch.float32
    assert float(loss.detach()) == pytest.approx(float(expected), rel=1e-4)
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


def test_gradient_reaches_every_latent_weight_through_both_sides() -> None:
    net = make()
    term = Regularizer(weight=1.0).attach(net)
    term.loss(seen(net, term)).backward()
    for layer in binary_layers(net).values():
        assert float(layer.weight.grad.abs().sum()) > 0


def test_weight_zero_adds_nothing_and_measures_when_asked() -> None:
    net = make()
    term = Regularizer(weight=0.0).attach(net)
    assert term.loss(seen(net, term)) is None
    assert term.figures() == {}
    assert term.loss(seen(net, term, measure=True)) is None
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
        context = seen(net, term, measure=measure)
        loss = F.cross_entropy(context.logits, torch.arange(6))
        assert term.loss(context) is None
        assert bool(term.figures()) == measure
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
    loss = term.loss(seen(net, term, measure=True))
    assert torch.isfinite(loss)
    loss.backward()
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    assert gradients
    assert all(torch.isfinite(g).all() for g in gradients)
