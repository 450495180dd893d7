"""BiPer, SiMaN, OvSW, FDA-BNN, ReActNet-A, fine-tuning and CMIM against their released code, written out in float64.

Each oracle is the released forward pass as formulas, with the gradient by autograd or by hand. Layers get the same weights
and inputs as the oracle; compared are the output and the gradients of input, latent weight and scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lcrbench import registry
from lcrbench.errors import UserError
from lcrbench.models import api
from lcrbench.models import network as networks
from lcrbench.models.activations import recorded
from lcrbench.models.audit import audit
from lcrbench.models.binary import BinaryConv2d, binary_layers
from lcrbench.models.regularizers import cmim, finetune

Oracle = Callable[[Tensor, Tensor, Tensor], Tensor]
OF = (1, 2, 3)


class Quadratic(torch.autograd.Function):
    """The sign of Bi-Real Net: max(0, 2 - 2 |x|) for its slope."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.where(x >= 0, 1.0, -1.0).to(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad * (2 - 2 * x.abs()).clamp(min=0)


def straight(value: Tensor, through: Tensor) -> Tensor:
    """Return `value`, with the gradient of `through`."""
    return through + (value - through).detach()


def layer(method: str, **options: Any) -> BinaryConv2d:
    made = registry.load("method", method).Method(**options).conv(6, 4, 3, 1, 1)
    with torch.no_grad():
        made.weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(5))
    made.double()
    made.binarizer.start(made.weight)
    return made


def compare(made: BinaryConv2d, oracle: Oracle, tolerance: float = 1e-12) -> None:
    """Hold a layer's output and gradients against an oracle (x, w, alpha) -> y."""
    generator = torch.Generator().manual_seed(9)
    x = torch.randn(5, 6, 7, 7, generator=generator, dtype=torch.float64)
    alpha = getattr(made.binarizer, "alpha", torch.ones(4))
    leaves = [t.detach().clone().double().requires_grad_() for t in (x, made.weight, alpha)]
    x = x.requires_grad_()
    mine, theirs = made.train()(x), oracle(*leaves)
    upstream = torch.randn(mine.shape, generator=generator, dtype=torch.float64)
    for y in (mine, theirs):
        (y * upstream).sum().backward()
    pairs = {"y": (mine, theirs), "x": (x.grad, leaves[0].grad), "w": (made.weight.grad, leaves[1].grad)}
    if isinstance(alpha, nn.Parameter):
        pairs["alpha"] = (alpha.grad, leaves[2].grad)
    for name, (a, b) in pairs.items():
        assert a is not None, name
        assert b is not None, name
        assert float(b.detach().abs().max()) > 0, f"{name} tells nothing"
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance, msg=lambda m, name=name: f"{name}: {m}")


# --- methods, as their code has them ---------------------------------------------------------------------------------


@pytest.mark.parametrize("smooth", [True, False])
def test_biper(smooth: bool) -> None:
    def oracle(x: Tensor, w: Tensor, alpha: Tensor) -> Tensor:
        a = Quadratic.apply(x / torch.sqrt(x.var(OF, keepdim=True) + 1e-5))
        b = torch.sin(20.0 * w)
        b = b if smooth else straight(torch.sign(b), b)
        return F.conv2d(a, b, None, 1, 1) * alpha.view(-1, 1, 1)

    made = layer("biper")
    made.binarizer.smooth = smooth
    compare(made, oracle)


@pytest.mark.parametrize(("stage", "tau"), [(0, 0.037), (1, 0.0468)])
def test_bipers_penalty_is_part_of_the_gradient(stage: int, tau: float) -> None:
    """The code adds tau mean(1/2 - 1/2 cos(2 f w)) of each layer to the loss."""
    method, net = networks.choose("biper").method, make("biper").double()
    method.on_stage(net, stage)
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    method.on_gradient(net)
    weights = [m.weight.detach().clone().requires_grad_() for m in binary_layers(net).values()]
    sum(tau * torch.mean(0.5 - 0.5 * torch.cos(2 * 20.0 * w)) for w in weights).backward()
    for m, w in zip(binary_layers(net).values(), weights, strict=True):
        torch.testing.assert_close(m.weight.grad, w.grad, rtol=1e-12, atol=1e-15)
    real = [p for k, p in net.named_parameters() if not any(p is m.weight for m in binary_layers(net).values())]
    assert not any(p.grad.any() for p in real)


def clipped(w: Tensor, percent: float) -> Tensor:
    """Return SiMaN's latent weight after the in-place change at the begin of its forward pass."""
    centred = w - w.mean(OF, keepdim=True)
    low, high = (float(np.percentile(centred.abs().numpy().flatten(), q)) for q in (percent, 100 - percent))
    return centred.abs().clamp(min=low, max=high).mul(torch.sign(centred))


@pytest.mark.parametrize("t", [0.0, 0.4, 0.9])
def test_siman(t: float) -> None:
    def oracle(x: Tensor, w: Tensor, alpha: Tensor) -> Tensor:
        with torch.no_grad():
            w.copy_(clipped(w, 15 * (1 - t)))
        w1 = w - w.mean(OF, keepdim=True)
        magnitude = (w1 / torch.sqrt(w1.var(OF, keepdim=True) + 1e-5)).abs()
        median = magnitude.detach().flatten(1).median(dim=1)[0].view(-1, 1, 1, 1)
        x0 = x - x.mean(OF, keepdim=True)
        a = Quadratic.apply(x0 / torch.sqrt(x0.var(OF, keepdim=True) + 1e-5))
        b = straight((magnitude > median).to(w) * 2 - 1, magnitude)
        return F.conv2d(a, b, None, 1, 1) * alpha.view(-1, 1, 1)

    made = layer("siman")
    registry.load("method", "siman").Method().on_progress(made, t)
    compare(made, oracle)
    half = made.binarizer(made.weight)[0].flatten(1).sum(1)
    assert half.tolist() == [0.0] * 4, "half of an even number of weights are above the lower median"


def test_simans_step_acts_on_the_clipped_weights() -> None:
    method, net = networks.choose("siman").method, make("siman").double()
    method.on_progress(net, 0.25)
    before = [m.weight.detach().clone() for m in binary_layers(net).values()]
    method.on_gradient(net)
    for m, w in zip(binary_layers(net).values(), before, strict=True):
        torch.testing.assert_close(m.weight.detach(), clipped(w, 15 * 0.75), rtol=1e-12, atol=1e-15)


def test_siman_takes_its_percentiles_once_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """And anew for a weight that has changed since the pass."""
    made = layer("siman").train()
    taken, quantile = [], torch.quantile
    monkeypatch.setattr(torch, "quantile", lambda *given: taken.append(1) or quantile(*given))
    expected = made.binarizer.clipped(made.weight)
    taken.clear()
    made(torch.ones(1, 6, 7, 7, dtype=torch.float64))
    made.binarizer.clip(made.weight)
    assert len(taken) == 1
    assert torch.equal(made.weight, expected)
    made(torch.ones(1, 6, 7, 7, dtype=torch.float64))
    with torch.no_grad():
        made.weight.mul_(2)
    expected = made.binarizer.clipped(made.weight)
    made.binarizer.clip(made.weight)
    assert torch.equal(made.weight, expected)


def test_ovsw() -> None:
    def oracle(x: Tensor, w: Tensor, alpha: Tensor) -> Tensor:
        a = Quadratic.apply(x / torch.sqrt(x.var(dim=OF, keepdim=True) + 1e-5).detach())
        w0 = w.detach() - w.detach().mean(OF, keepdim=True)
        scale = (w0 / torch.sqrt(w0.var(OF, keepdim=True) + 1e-5)).abs().mean(OF)
        return F.conv2d(a, straight(torch.sign(w), w), None, 1, 1) * scale.view(-1, 1, 1)

    compare(layer("ovsw"), oracle)


def test_ovsws_gradient_of_three_steps() -> None:
    """Adaptive gradient scaling, then silence awareness decaying; signs and counts are kept from step to step."""
    options = {"delta": 0.3, "decay": 0.01, "momentum": 0.9, "threshold": 0.095}
    made = layer("ovsw", **options)
    method = registry.load("method", "ovsw").Method(**options)
    generator = torch.Generator().manual_seed(2)
    tracker, previous = torch.zeros_like(made.weight), made.weight.detach().clone()
    scaled = kept = silent = loud = 0
    for _ in range(3):
        grad = torch.randn(made.weight.shape, generator=generator, dtype=torch.float64)
        grad *= torch.tensor([1.0, 1e-2, 1e-9, 0.5], dtype=torch.float64).view(-1, 1, 1, 1)
        made.weight.grad = grad.clone()
        method.on_gradient(made)
        w = made.weight.detach()
        norm = grad.flatten(1).norm(dim=-1).clamp(min=1e-6).reshape(-1, 1, 1, 1)
        size = w.flatten(1).norm(dim=-1).clamp(min=1e-3).reshape(-1, 1, 1, 1)
        small = norm / size < 0.3
        expected = torch.where(small, 0.3 * size / norm * grad, grad)
        tracker = 0.9 * tracker + 0.1 * torch.not_equal(torch.sign(w), torch.sign(previous))
        expected = expected + 0.01 * w * (tracker < 0.095)
        torch.testing.assert_close(made.weight.grad, expected, rtol=1e-12, atol=1e-15)
        scaled, kept = scaled + int(small.sum()), kept + int((~small).sum())
        silent, loud = silent + int((tracker < 0.095).sum()), loud + int((tracker >= 0.095).sum())
        previous = w.clone()
        with torch.no_grad():
            made.weight.sub_(made.weight.grad)
    assert min(scaled, kept, silent, loud) > 0, "both branches of both"


@pytest.mark.parametrize(("t", "n"), [(0.0, 9), (0.5, 13), (0.99, 17), (1.0, 18)])
def test_fda(t: float, n: int) -> None:
    class Series(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return torch.sign(x)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            (x,) = ctx.saved_tensors
            slope = 4 * 0.1 / math.pi * sum(torch.cos((2 * i + 1) * 0.1 * x) for i in range(n + 1)) * grad
            slope[x.abs() > 1] = 0
            return slope

    def oracle(x: Tensor, w: Tensor, alpha: Tensor) -> Tensor:
        b = Series.apply(w) * w.abs().mean(OF, keepdim=True).detach()
        return F.conv2d(Series.apply(x), b, None, 1, 1)

    made = layer("fda")
    registry.load("method", "fda").Method().on_progress(made, t)
    compare(made, oracle)


def test_fdas_slope_at_and_about_zero() -> None:
    made = registry.load("estimator", "fda").Estimator()
    x = torch.tensor([0.0, 1e-38, -1e-6, 1.0, -1.0, 1.0001], requires_grad=True)
    made(x).sum().backward()
    assert x.grad.tolist()[:3] == pytest.approx([4 / math.pi] * 3, rel=1e-6)
    assert x.grad[3] == x.grad[4] > 0 == x.grad[5]


# --- the hook --------------------------------------------------------------------------------------------------------


def make(method: str, backbone: str = "vgg_tiny", size: int = 16, seed: int = 0) -> networks.Network:
    def generator(name: str) -> torch.Generator:
        return torch.Generator().manual_seed(seed + sum(map(ord, name)))

    return networks.build(networks.choose(method), backbone, 10, size, [0.3] * 3, [0.4] * 3, generator)


@pytest.mark.parametrize("method", ["ovsw", "siman", "biper"])
def test_a_regularizer_that_wraps_the_binarizers_hides_none(method: str) -> None:
    chosen, net = networks.choose(f"{method}+spectral_norm"), make(f"{method}+spectral_norm")
    F.cross_entropy(net(images()), torch.arange(6)).backward()
    before = {k: (m.weight.detach().clone(), m.weight.grad.clone()) for k, m in binary_layers(net).items()}
    chosen.method.on_gradient(net)
    for name, m in binary_layers(net).items():
        weight, grad = before[name]
        assert not (torch.equal(m.weight, weight) and torch.equal(m.weight.grad, grad)), name


NEW = ("biper", "siman", "siman:nonlinearity=hardtanh", "ovsw", "fda", "recu+finetune", "irnet+finetune", "irnet+cmim")
MENDED = ("rbnn", "reste", "irnet+lcr")


def quick(text: str, backbone: str) -> bool:
    """Tell which pairs take about a second; rotations of a large network take most of a minute."""
    small = ("resnet20", "vgg_tiny", *(["vgg_small"] if text not in ("rbnn", "siman:nonlinearity=hardtanh") else []))
    return backbone in small or (text, backbone) == ("fda", "reactnet_a")


@pytest.mark.parametrize(
    ("text", "backbone"),
    [
        pytest.param(m, b, marks=() if quick(m, b) else pytest.mark.slow)
        for b in registry.files("backbone")
        for m in (*NEW, *MENDED)
        if (m, b) != ("reste", "reactnet_a")  # whose blocks have another order: refused, as docs/packed.md lists
    ],
)
def test_a_tiny_training_ends_in_a_binary_network(text: str, backbone: str) -> None:
    """Three steps on every backbone, the last one in the last stage: finite, other weights, and the audit passes."""
    choice = networks.choose(text)
    size = 16 if backbone == "vgg_tiny" else 8
    net = make(text, backbone, size).train()
    teacher = make("full_precision", backbone, size, seed=4)
    terms = []
    for regularizer in choice.regularizers.values():
        regularizer.start(net, teacher)
        terms.append(regularizer.attach(net, teacher))
    before = {k: m.weight.detach().clone() for k, m in binary_layers(net).items()}
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    for k, t in enumerate((0.1, 0.5, 0.9)):
        choice.method.on_stage(net, min(k, max(0, len(choice.method.stages) - 1)))
        choice.method.on_progress(net, t)
        context = api.observe(net, terms, images(4, size), torch.arange(4))
        loss = F.cross_entropy(context.logits, context.labels)
        for term in terms:
            loss = loss if (extra := term.loss(context)) is None else loss + extra
        assert loss.isfinite()
        optimizer.zero_grad()
        loss.backward()
        choice.method.on_gradient(net)
        optimizer.step()
    for name, m in binary_layers(net).items():
        assert m.weight.isfinite().all(), name
        # Nothing reaches RBNN's at its first angle.
        assert torch.equal(m.weight, before[name]) == (text == "rbnn"), name
    for term in terms:
        term.detach()
    found = audit(net.eval(), images(2, size))
    assert found.passed, found.faults


# --- fine-tuning -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["irnet", "recu", "rbnn", "ovsw", "reactnet"])
def test_a_training_starts_from_its_teacher(method: str) -> None:
    net, teacher = make(method), make("full_precision", seed=4)
    with torch.no_grad():
        for value in teacher.state_dict().values():
            value.add_(1)
    assert finetune.Regularizer().start(net, teacher)
    own, given = net.state_dict(), teacher.state_dict()
    assert all(torch.equal(own[k], v) for k, v in given.items()), "every tensor of the real network has its place"
    expected = make(method)
    expected.load_state_dict({**expected.state_dict(), **given})
    for m in binary_layers(expected).values():
        m.binarizer.start(m.weight)
    for key, tensor in expected.state_dict().items():
        assert torch.equal(tensor, own[key]), key


def test_weight_zero_starts_from_nothing() -> None:
    net = make("irnet")
    before = networks.weights_hash(net)
    assert not finetune.Regularizer(weight=0).start(net, make("full_precision", seed=4))
    assert networks.weights_hash(net) == before


# --- CMIM ------------------------------------------------------------------------------------------------------------


def images(n: int = 6, size: int = 16) -> Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(1))


def released(
    student: Tensor, teacher: Tensor, labels: Tensor, n_data: float, mean: float | None
) -> tuple[Tensor, float]:
    """The code's loss with features of unit length, a memory that holds this batch, and n_data training images."""
    out = torch.exp(student @ teacher.T / 0.1)
    apart = labels[:, None] != labels
    rows = [torch.cat([out[i, i : i + 1], out[i][apart[i]]]) for i in range(len(out))]
    z = (float(torch.cat(rows).detach().mean()) if mean is None else mean) * n_data
    total = 0.0
    for row in rows:
        x, share = row / z, (len(row) - 1) / n_data
        total = total - torch.log(x[0] / (x[0] + share)) - torch.log(share / (x[1:] + share)).sum()
    return total / len(rows), z / n_data


def test_cmim() -> None:
    net, teacher = make("irnet").double(), make("full_precision", seed=4).double()
    term = cmim.Regularizer(weight=0.7).attach(net, teacher)
    assert term.passes == {"teacher": (1.0, 0.0)}
    labels = torch.tensor([0, 1, 2, 0, 1, 0])
    mean: float | None = None
    for shift in (0.0, 0.1):  # the second step has the first one's normalization
        context = api.observe(net, [term], images().double() + shift, labels)
        found = term.loss(context)
        (gradient,) = torch.autograd.grad(found, context.inputs[term.last], retain_graph=True)
        mine = context.inputs[term.last].detach().requires_grad_()
        with recorded(teacher, [term.last]) as theirs:
            teacher(images().double() + shift)
        (ws, bs), (wt, bt) = term.maps
        s, t = F.normalize(mine @ ws.T + bs, dim=1), F.normalize(theirs.inputs[term.last] @ wt.T + bt, dim=1)
        expected, mean = released(s, t, labels, 50_000.0, mean)
        torch.testing.assert_close(found, 0.7 * expected, rtol=1e-10, atol=0)
        (other,) = torch.autograd.grad(0.7 * expected, mine)
        torch.testing.assert_close(gradient, other, rtol=1e-9, atol=1e-12)


def test_a_batch_of_one_class_adds_nothing() -> None:
    similarity = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    value = cmim.contrast(similarity, torch.zeros(4, 4, dtype=torch.bool), torch.tensor(1.0))
    value.backward()
    assert value == 0
    assert not similarity.grad.any()


# --- ReActNet-A ------------------------------------------------------------------------------------------------------


def test_reactnet_as_operations() -> None:
    with torch.device("meta"):
        body = networks.body(networks.choose("reactnet"), "reactnet_a", 1000, 224)
    cost = networks.cost(networks.Network(body, [0.0] * 3, [1.0] * 3).to("meta"), 224)
    # By formula: (map's side, widths) of a 3x3 and of the 1x1 convolutions.
    binary, side, widths = 0, 112, (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    for of, to in pairwise(widths):
        side = side // 2 if to > of and of > 32 else side
        binary += side * side * (9 * of * of + of * to)
    real = 112 * 112 * 27 * 32 + 1024 * 1000
    assert (cost.binary_macs, cost.macs - cost.binary_macs) == (binary, real)
    assert cost.ops == pytest.approx(0.87e8, rel=5e-3), "its README"


def test_reactnet_a_is_its_code() -> None:
    """A block that doubles the channels and one that keeps them, as formulas."""
    net = make("reactnet", "reactnet_a").double().eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, p in net.named_parameters():
            if name.split(".")[-1] in ("shift", "before", "after", "slope"):
                p.normal_(0, 0.3, generator=generator)

    def conv(x: Tensor, m: BinaryConv2d, stride: int) -> Tensor:
        signs = torch.sign(x + m.sign.shift.view(1, -1, 1, 1))
        w = torch.sign(m.weight) * m.weight.abs().mean(OF, keepdim=True)
        return F.conv2d(signs, w, None, stride, w.shape[-1] // 2) / math.sqrt(1 + 1e-5)

    def rprelu(x: Tensor, m: Any) -> Tensor:
        x = x - m.before.view(1, -1, 1, 1)
        return torch.where(x > 0, x, m.slope.view(1, -1, 1, 1) * x) + m.after.view(1, -1, 1, 1)

    for index, stride, of in ((0, 1, 32), (1, 2, 64), (2, 1, 128)):
        block = net.body.blocks[index]
        x = torch.randn(2, of, 8, 8, generator=generator, dtype=torch.float64)
        u = rprelu(conv(x, block.conv, stride) + (F.avg_pool2d(x, 2, 2) if stride == 2 else x), block.inner)
        parts = [conv(u, point[0], 1) + u for point in block.points]
        assert len(parts) == (1 if index == 2 else 2)
        torch.testing.assert_close(block(x), rprelu(torch.cat(parts, 1), block.activation), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("method", ["reactnet", "adabin", "ovsw"])
def test_reactnet_a_is_binary(method: str) -> None:
    net = make(method, "reactnet_a").eval()
    found = audit(net, images(2))
    assert found.passed, found.faults
    assert len(found.layers) == 13 + 13 + 5


@pytest.mark.parametrize("size", [7, 12, 32])
def test_reactnet_a_takes_any_size(size: int) -> None:
    small, large = (make("full_precision", f"reactnet_a:stem={stem}", size) for stem in ("auto", "imagenet"))
    assert (small.body.stem[0].stride, large.body.stem[0].stride) == ((1, 1), (2, 2))
    assert small(images(2, size)).shape == large(images(2, size)).shape == (2, 10)
    with pytest.raises(UserError, match="stem is auto"):
        networks.body(networks.choose("bnn"), "reactnet_a:stem=small", 10, 32)
