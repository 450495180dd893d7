"""Every binary method against its released code, written out here as formulas in float64, in values and in gradients.

Nothing below uses the methods' own functions. A surrogate is written as its integral: `through(values, area)` has the given
values, and the derivative of `area`. Compared are a layer (inputs, latent weights and all other parameters), a block that
shrinks the map, and for methods that own more than a layer whole networks, to 1e-12 of the largest number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lcrbench import registry
from lcrbench.models import network as networks

PROGRESS = 0.37
Parameters = Mapping[str, Tensor]


# --- the formulas ----------------------------------------------------------------------------------------------------


def sign(z: Tensor) -> Tensor:
    return torch.where(z >= 0, 1.0, -1.0).to(z)


def through(values: Tensor, area: Tensor) -> Tensor:
    # In this order: the difference is 0 exactly, and the values are what they are.
    return values.detach() + (area - area.detach())


def clipped(z: Tensor) -> Tensor:
    """1 for |z| <= 1, 0 beyond."""
    return through(sign(z), z.clamp(-1, 1))


def quadratic(z: Tensor) -> Tensor:
    """2 - 2|z| for |z| < 1, 0 beyond."""
    return through(sign(z), torch.where(z.abs() < 1, 2 * z - z * z.abs(), sign(z)))


def decaying(z: Tensor, t_min: float = 1e-3, t_max: float = 10.0) -> Tensor:
    """k t (1 - tanh^2(t z)), k = max(1/t, 1)."""
    t = 10 ** (math.log10(t_min) + (math.log10(t_max) - math.log10(t_min)) * PROGRESS)
    return through(sign(z), max(1 / t, 1.0) * torch.tanh(t * z))


def tent(z: Tensor, t: float, k: float) -> Tensor:
    """k max(0, sqrt(2) t - t^2 |z|)."""
    inside = math.sqrt(2) * t * z - t**2 * z * z.abs() / 2
    return through(sign(z), k * torch.where(z.abs() <= math.sqrt(2) / t, inside, sign(z)))


def power(z: Tensor) -> Tensor:
    """|z|^((1 - o) / o) / o for .1 < |z| <= 1.5, the chord of |z|^(1/o) up to .1, 0 beyond 1.5."""
    o = 1 + (1 - math.cos(math.pi * PROGRESS / 2)) * 2
    # Masked before the power, whose derivative at 0 is infinite.
    size = torch.where(z.abs() > 0.1, z.abs(), torch.ones_like(z))
    area = torch.where(z.abs() > 0.1, sign(z) * size ** (1 / o), 0.1 ** (1 / o) / 0.1 * z)
    return through(sign(z), torch.where(z.abs() <= 1.5, area, sign(z)))


def by_filter(w: Tensor) -> Tensor:
    return w.mean((1, 2, 3), keepdim=True)


def conv(x: Tensor, w: Tensor, stride: int = 1) -> Tensor:
    return F.conv2d(x, w, None, stride, w.shape[-1] // 2)


def bnn(x: Tensor, w: Tensor, p: Parameters) -> tuple[Tensor, Tensor]:
    return clipped(x), clipped(w)


def xnor_net(x: Tensor, w: Tensor, p: Parameters) -> tuple[Tensor, Tensor]:
    # The code's update, less its constant step (1 - 1/C_in) n: alpha 1[|w~| <= 1] g + sign(w~) mean(sign(w~) g).
    centred = through((w - w.mean(1, keepdim=True)).clamp(-1, 1), w)
    inside = (centred.abs() <= 1).to(w)
    bits = sign(centred).detach()
    alpha = by_filter(bits * centred)
    return clipped(x), alpha * bits + alpha.detach() * inside * (w - w.detach())


def dorefa(x: Tensor, w: Tensor, p: Parameters) -> tuple[Tensor, Tensor]:
    # Up to 1/2 itself, which has probability 0: round(clip(x, 0, 1)), straight through on [0, 1].
    inputs = through(x.clamp(0, 1).round(), x.clamp(0, 1))
    return inputs, through(sign(w) * w.abs().mean(), w)


def bi_real(x: Tensor, w: Tensor, p: Parameters) -> tuple[Tensor, Tensor]:
    return quadratic(x), through(by_filter(w.abs()) * sign(w), w.clamp(-1, 1))


def reactnet(x: Tensor, w: Tensor, p: Parameters) -> tuple[Tensor, Tensor]:
    return bi_real(x + p["sign.shift"].view(1, -1, 1, 1), w, p)


def irnet(x: Tensor, w: Tensor, p: Parameters) -> tuple[Tensor, Tensor]:
    centred = w - by_filter(w)
    normal = centred / centred.flatten(1).std(1).view(-1, 1, 1, 1)
    scale = 2 ** by_filter(normal.abs()).log2().round()
    return decaying(x), scale.detach() * decaying(normal)


def rbnn(x: Tensor, w: Tensor, p: Parameters) -> tuple[Tensor, ...]:
    """Rweight = R1^T X R2; delta = Rweight.detach() - w2; w3 = w2 + |sin(rotate)| delta; output * alpha."""
    w1 = w - by_filter(w)
    w2 = w1 / w1.flatten(1).std(1).view(-1, 1, 1, 1)
    left, right = p["binarizer.left"], p["binarizer.right"]
    turned = (left.T @ w2.reshape(len(w), len(left), len(right)) @ right).view_as(w)
    delta = turned.detach() - w2
    w3 = w2 + p["binarizer.theta"].view(-1, 1, 1, 1).sin().abs() * delta
    t = 10 ** (-2 + 3 * PROGRESS)
    a1 = x - by_filter(x)
    a2 = a1 / a1.flatten(1).std(1).view(-1, 1, 1, 1)
    return tent(a2, max(t, 1.0), 1.0), tent(w3, t, max(1 / t, 1.0)), p["binarizer.alpha"].view(1, -1, 1, 1)


def recu(x: Tensor, w: Tensor, p: Parameters) -> tuple[Tensor, ...]:
    a = (0.99 - 0.85) / (math.e - 1)
    tau = a * math.exp(PROGRESS) + 0.85 - a
    var = w.flatten(1).var(1).view(-1, 1, 1, 1)
    w1 = (w - by_filter(w)) / (var + 1e-5).sqrt() * (2 * math.sqrt(2))
    q = (-w1.abs().mean() * math.log(2 - 2 * tau)).item()
    x1 = x / (x.flatten(1).var(1).view(-1, 1, 1, 1) + 1e-5).sqrt()
    return quadratic(x1), through(sign(w1), w1.clamp(-q, q)), p["binarizer.alpha"].view(1, -1, 1, 1)


def adabin(x: Tensor, w: Tensor, p: Parameters) -> tuple[Tensor, Tensor]:
    beta = by_filter(w)
    alpha = by_filter((w - beta).square()).sqrt()
    a, b = p["sign.scale"], p["sign.shift"]
    return a * (quadratic((x - b) / a) + b), decaying((w - beta) / alpha) * alpha + beta


def reste(x: Tensor, w: Tensor, p: Parameters) -> tuple[Tensor, ...]:
    return power(x), power(w), w.abs().mean()


def hardtanh(y: Tensor, p: Sequence[Tensor]) -> Tensor:
    return y.clamp(-1, 1)


def rprelu(y: Tensor, p: Sequence[Tensor]) -> Tensor:
    before, slope, after = (v.view(1, -1, 1, 1) for v in p)
    return torch.where(y > before, y - before, slope * (y - before)) + after


def maxout(y: Tensor, p: Sequence[Tensor]) -> Tensor:
    positive, negative = (v.view(1, -1, 1, 1) for v in p)
    return positive * y.clamp_min(0) - negative * (-y).clamp_min(0)


LAYERS: dict[str, Any] = {
    f.__name__: f for f in (adabin, bi_real, bnn, dorefa, irnet, rbnn, reactnet, recu, reste, xnor_net)
}
ACTIVATIONS: dict[str, Callable[[Tensor, Sequence[Tensor]], Tensor]] = dict.fromkeys(LAYERS, hardtanh) | {
    "bi_real": lambda y, p: y,
    "reactnet": rprelu,
    "adabin": maxout,
    "reste": lambda y, p: relu(y),
}
ACTIVATION_FIRST = ("reste",)


def layered(method: str, x: Tensor, w: Tensor, p: Parameters, stride: int = 1) -> Tensor:
    # A scale behind the convolution: the sums are whole numbers, and equal ones stay equal for ReLU and max-pool.
    inputs, weights, *scale = LAYERS[method](x, w, p)
    y = conv(inputs, weights, stride)
    return y * scale[0] if scale else y


def relu(y: Tensor) -> Tensor:
    """max(y, 0), with slope 0 at 0, where the sums of signs often are."""
    return torch.where(y > 0, y, torch.zeros_like(y))


def normed(y: Tensor, norm: Sequence[Tensor]) -> Tensor:
    mean, var = y.mean((0, 2, 3), keepdim=True), y.var((0, 2, 3), keepdim=True, correction=0)
    return (y - mean) / (var + 1e-5).sqrt() * norm[0].view(1, -1, 1, 1) + norm[1].view(1, -1, 1, 1)


def padded(x: Tensor, channels: int) -> Tensor:
    """Option A: every second position, zeros for the new channels."""
    new = channels - x.shape[1]
    return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, new // 2, new - new // 2)) if new else x


# --- layers and blocks -----------------------------------------------------------------------------------------------


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def unlike(module: nn.Module) -> Any:
    """Return a module in float64 whose numbers are none of those that they start from."""
    module = module.double().train()
    for k, (name, p) in enumerate(module.named_parameters()):
        noise = torch.randn(p.shape, generator=drawn(100 + k), dtype=torch.float64)
        # Latent weights on both sides of 1; angles and slopes away from where sin, cos and |.| have their corners.
        p.copy_(0.7 * noise) if p.ndim == 4 else p.add_(-0.6 + 0.2 * noise if name.endswith("theta") else 0.1 * noise)
    for k, (name, b) in enumerate(module.named_buffers()):
        if name.endswith(("binarizer.left", "binarizer.right")):
            b.copy_(torch.linalg.qr(torch.randn(b.shape, generator=drawn(200 + k), dtype=torch.float64))[0])
    return module


def copied(module: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers by name, apart from the module's own; parameters with gradients."""
    found = {k: v.detach().clone() for k, v in module.state_dict().items()}
    for name, _ in module.named_parameters():
        found[name].requires_grad_()
    return found


def same(ours: Tensor, theirs: Tensor, what: str) -> None:
    size = max(1.0, float(theirs.detach().abs().max()))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12 * size, msg=lambda m: f"{what}: {m}")


def compare(module: nn.Module, x: Tensor, oracle: Callable[[Tensor, dict[str, Tensor]], Tensor]) -> None:
    """Check values, and the gradients of the input and of each parameter, of a random combination of the outputs."""
    given, p = x.clone().requires_grad_(), copied(module)
    other = x.clone().requires_grad_()
    y, expected = module(given), oracle(other, p)
    same(y, expected, "values")
    g = torch.randn(y.shape, generator=drawn(7), dtype=torch.float64)
    (y * g).sum().backward()
    (expected * g).sum().backward()
    assert other.grad is not None
    same(given.grad, other.grad, "gradient of the input")
    for name, parameter in module.named_parameters():
        assert p[name].grad is not None, name
        same(parameter.grad, p[name].grad, f"gradient of {name}")


def advanced(method: str) -> tuple[Any, Callable[[nn.Module], Any]]:
    """Return a method, and what makes a module of its own unlike its start and in the midst of a training."""
    chosen = registry.load("method", method).Method()

    def ready(module: nn.Module) -> Any:
        module = unlike(module)
        for part in module.modules():
            if hasattr(part, "set_progress"):
                part.set_progress(PROGRESS)
        return module

    return chosen, ready


def inputs(channels: int, size: int, n: int = 3) -> Tensor:
    return torch.randn(n, channels, size, size, generator=drawn(1), dtype=torch.float64)


def test_each_binary_method_has_its_formula() -> None:
    binary = {m for m in registry.files("method") if registry.load("method", m).Method.weight_bits == 1}
    later = {"biper", "fda", "ovsw", "siman"}  # test_new_methods.py has theirs
    assert set(LAYERS) == binary - later


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (1, 2)])
@pytest.mark.parametrize("method", LAYERS)
def test_a_layer_is_the_released_one(method: str, kernel: int, stride: int) -> None:
    chosen, ready = advanced(method)
    layer = ready(chosen.conv(6, 4, kernel, stride, kernel // 2))
    compare(layer, inputs(6, 7), lambda x, p: layered(method, x, p["weight"], p, stride))


@pytest.mark.parametrize("method", LAYERS)
def test_an_activation_is_the_released_one(method: str) -> None:
    chosen, ready = advanced(method)
    activation = ready(chosen.activation(5))
    compare(activation, inputs(5, 4), lambda x, p: ACTIVATIONS[method](x, [*p.values()]))


def below(p: Parameters, name: str) -> dict[str, Tensor]:
    return {k.removeprefix(f"{name}."): v for k, v in p.items() if k.startswith(f"{name}.")}


@pytest.mark.parametrize("convs", [1, 2])
@pytest.mark.parametrize("method", LAYERS)
def test_a_block_of_a_resnet_is_the_released_one(method: str, convs: int) -> None:
    chosen, ready = advanced(method)
    body = registry.load("backbone", "resnet20").build(chosen, 10, 8, convs=convs)
    block = ready(body.blocks[6 // convs])

    def activated(y: Tensor, p: Parameters, name: str) -> Tensor:
        return ACTIVATIONS[method](y, [*below(p, name).values()])

    def oracle(x: Tensor, p: dict[str, Tensor]) -> Tensor:
        y = layered(method, x, p["conv.weight"], below(p, "conv"), 2)
        norm = [p["norm.weight"], p["norm.bias"]]
        if method in ACTIVATION_FIRST:
            y = normed(activated(y, p, "activation"), norm)
            if convs == 2:
                y = layered(method, y, p["second.0.weight"], below(p, "second.0"))
                y = normed(activated(y, p, "second.1"), [p["second.2.weight"], p["second.2.bias"]])
            return y + padded(x, 32)
        y = normed(y, norm)
        if convs == 2:
            y = layered(method, activated(y, p, "inner"), p["second.0.weight"], below(p, "second.0"))
            y = normed(y, [p["second.1.weight"], p["second.1.bias"]])
        return activated(y + padded(x, 32), p, "activation")

    compare(block, inputs(16, 8), oracle)


# --- whole networks of the two methods that a layer alone does not tell ------------------------------------------------


def in_order(p: Parameters, names: Sequence[str]) -> tuple[list[tuple[Tensor, Parameters]], list[list[Tensor]]]:
    """Return the convolutions, each weight with the layer's other numbers, and the batch norms, in the order of use."""
    layers = [k.removesuffix(".weight") for k in names if k.endswith(".weight")]
    convs = [(p[f"{k}.weight"], below(p, k)) for k in layers if p[f"{k}.weight"].ndim == 4]
    norms = [[p[f"{k}.weight"], p[f"{k}.bias"]] for k in layers if p[f"{k}.weight"].ndim == 1]
    return convs, norms


def vgg_tiny(method: str, x: Tensor, p: dict[str, Tensor], names: Sequence[str]) -> Tensor:
    convs, norms = in_order(p, names)
    for k, pool in enumerate((True, False, True, False, True)):
        w, others = convs[k]
        x = conv(x, w) if k == 0 else layered(method, x, w, others)
        if method in ACTIVATION_FIRST:  # conv -> ReLU -> norm -> pool
            x = normed(relu(x), norms[k])
            x = F.max_pool2d(x, 2) if pool else x
        else:  # conv -> pool -> norm -> Hardtanh
            x = normed(F.max_pool2d(x, 2) if pool else x, norms[k]).clamp(-1, 1)
    return headed(x, norms[-1], p)


def resnet20(method: str, x: Tensor, p: dict[str, Tensor], names: Sequence[str], convs: int) -> Tensor:
    layers, norms = in_order(p, names)
    x = conv(x, layers[0][0])
    first = method in ACTIVATION_FIRST
    x = normed(relu(x), norms[0]) if first else normed(x, norms[0]).clamp(-1, 1)
    for k in range(18 // convs):
        y = x
        for j in range(1 + k * convs, 1 + (k + 1) * convs):
            w, others = layers[j]
            y = y.clamp(-1, 1) if j > 1 + k * convs and not first else y
            y = layered(method, y, w, others, 2 if w.shape[0] > w.shape[1] else 1)
            y = normed(relu(y) if first else y, norms[j])
        y = y + padded(x, y.shape[1])
        x = y if first else y.clamp(-1, 1)
    return headed(x, norms[-1], p)


def headed(x: Tensor, norm: Sequence[Tensor], p: Parameters) -> Tensor:
    pooled = normed(x.mean((2, 3), keepdim=True), norm).flatten(1)
    weight = next(v for v in p.values() if v.ndim == 2 and len(v) == 10)
    bias = next(v for v in p.values() if v.ndim == 1 and len(v) == 10)
    return pooled @ weight.T + bias


@pytest.mark.parametrize("backbone", ["vgg_tiny", "resnet20", "resnet20:convs=2"])
@pytest.mark.parametrize("method", ["reste", "rbnn"])
def test_a_network_is_the_released_one(method: str, backbone: str) -> None:
    _, ready = advanced(method)
    body = ready(networks.body(networks.choose(method), backbone, 10, 16))
    # The order of use is that of definition, since the shortcuts have no parameters.
    names = [k for k, _ in body.named_parameters()]

    def oracle(x: Tensor, p: dict[str, Tensor]) -> Tensor:
        if backbone == "vgg_tiny":
            return vgg_tiny(method, x, p, names)
        return resnet20(method, x, p, names, 2 if "convs" in backbone else 1)

    compare(body, inputs(3, 16), oracle)


# --- the forms that are ours -----------------------------------------------------------------------------------------


def test_rbnns_straight_form_passes_all_of_the_gradient() -> None:
    gradients = {}
    for form in ("released", "straight"):
        method = registry.load("method", "rbnn").Method(gradient=form)
        layer = unlike(method.conv(6, 4, 3, 1, 1))
        y = layer(inputs(6, 7))
        (y * torch.randn(y.shape, generator=drawn(7), dtype=torch.float64)).sum().backward()
        gradients[form] = [layer.weight.grad, layer.binarizer.theta.grad, layer.binarizer.alpha.grad, y]
    share = 1 - layer.binarizer.theta.detach().sin().abs().view(-1, 1, 1, 1)
    released, straight = gradients["released"], gradients["straight"]
    same(released[0], share * straight[0], "1 - |sin theta| of it")
    assert all(torch.equal(a, b) for a, b in zip(released[1:], straight[1:], strict=True))


def test_at_a_right_angle_nothing_reaches_rbnns_latent_weights() -> None:
    layer = registry.load("method", "rbnn").Method().conv(6, 4, 3, 1, 1).double()
    with torch.no_grad():
        layer.binarizer.theta.fill_(math.pi / 2)
    layer(inputs(6, 7)).square().sum().backward()
    assert not layer.weight.grad.any()
    assert layer.binarizer.theta.grad.abs().max() < 1e-9


def test_restes_shared_block_is_that_of_the_other_methods() -> None:
    shared = registry.load("method", "reste").Method(block="shared")
    for backbone in ("vgg_tiny", "resnet20"):
        load = registry.load("backbone", backbone).build
        names = [
            [type(m).__name__ for m in load(m, 10, 16).modules()]
            for m in (shared, registry.load("method", "bnn").Method())
        ]
        ours, theirs = ([n for n in found if n in ("MaxPool2d", "BatchNorm2d", "Hardtanh", "ReLU")] for found in names)
        assert ours == theirs
