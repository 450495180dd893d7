"""Conformance of every method and backbone in the registry, and each binary method's forward by hand."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest
import torch
from torch.nn import functional as F

from lcrbench import registry
from lcrbench.bench import worker
from lcrbench.bench.planning import plan
from lcrbench.bench.records.grid import make_grid
from lcrbench.errors import UserError
from lcrbench.models import network as networks
from lcrbench.models.binary import BinaryConv2d, binary_layers, deployed_weight, input_levels
from lcrbench.models.estimators import identity

METHODS, BACKBONES = registry.names("method"), registry.names("backbone")
BINARY = [m for m in METHODS if registry.load("method", m).Method.weight_bits == 1]


QUICK = (("irnet", "resnet20"), ("adabin", "vgg_small"), ("reactnet", "resnet18"))


def make(method: str, backbone: str = "vgg_tiny", seed: int = 0, size: int = 32) -> networks.Network:
    def generator(name: str) -> torch.Generator:
        return torch.Generator().manual_seed(seed * 1000 + sum(map(ord, name)))

    return networks.build(networks.choose(method), backbone, 10, size, [0.3] * 3, [0.4] * 3, generator)


def images(n: int = 4, size: int = 32) -> torch.Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", [*registry.PACKAGES])
def test_entries_are_documented(kind: str) -> None:
    for name in registry.names(kind):
        text = registry.docstring(kind, name)
        assert len(text.splitlines()) >= 1, name
        assert 10 < len(registry.summary(kind, name)) < 125, name


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_a_frozen_dataclass(name: str) -> None:
    method = registry.load("method", name).Method()
    assert dataclasses.is_dataclass(method)
    assert type(method).__dataclass_params__.frozen
    assert networks.choose(name).label == name
    assert networks.choose(name).method == method


# Every method on the smallest backbone, every backbone with one method; the rest of the pairs is slow.
PAIRS = [
    pytest.param(m, b, marks=() if b == "vgg_tiny" or (m, b) in QUICK else pytest.mark.slow, id=f"{m}-{b}")
    for b in BACKBONES
    for m in METHODS
]


@pytest.mark.parametrize(("name", "backbone"), PAIRS)
def test_network(name: str, backbone: str) -> None:
    size = 32 if backbone == "vgg_tiny" else 8
    net = make(name, backbone, size=size)
    networks.choose(name).method.on_progress(net, 0.5)
    loss = F.cross_entropy(net(images(4, size)), torch.tensor([0, 1, 2, 3]))
    loss.backward()
    for key, p in net.named_parameters():
        assert p.grad is not None, key
        assert torch.isfinite(p.grad).all(), key
    net.eval()
    before = net(images(4, size))
    assert before.shape == (4, 10)
    again = make(name, backbone, seed=7, size=size)
    again.load_state_dict(net.state_dict())
    for other in (again.eval(), copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(other(images(4, size)), before)


@pytest.mark.parametrize(("name", "backbone"), [p for p in PAIRS if p.values[0] in BINARY])
def test_binary_layers_see_two_values(name: str, backbone: str) -> None:
    size = 32 if backbone == "vgg_tiny" else 8
    net = make(name, backbone, size=size)
    layers = binary_layers(net)
    assert layers
    seen = []
    for layer in layers.values():
        layer.sign.register_forward_hook(lambda m, i, o: seen.append(o.unique().tolist()))
    net.eval()(images(4, size))
    assert len(seen) == len(layers)
    assert all(values in ([-1.0, 1.0], [1.0], [-1.0]) for values in seen)
    for layer in layers.values():
        bits, scale = layer.binarizer(layer.weight)
        assert bits.unique().tolist() == [-1.0, 1.0]
        assert bits.shape == layer.weight.shape
        assert scale is None or scale.shape in ((layer.out_channels,), (1,))


@pytest.mark.parametrize("name", BINARY)
def test_a_layer_is_the_convolution_of_what_its_signs_stand_for(name: str) -> None:
    layer = list(binary_layers(make(name)).values())[1]
    if hasattr(layer.sign, "shift"):
        with torch.no_grad():
            layer.sign.shift.add_(0.3)
            layer.sign.scale.mul_(0.7) if hasattr(layer.sign, "scale") else None
    x = torch.randn(2, layer.in_channels, 8, 8, generator=torch.Generator().manual_seed(3))
    bits, _ = layer.binarizer(layer.weight)
    sums = F.conv2d(layer.sign(x), bits, None, layer.stride, layer.padding)
    assert torch.equal(sums, sums.round())
    a, c = input_levels(layer) or (1.0, 0.0)
    values = (a * layer.sign(x) + c).double()
    expected = F.conv2d(values, deployed_weight(layer).double(), None, layer.stride, layer.padding)
    torch.testing.assert_close(layer(x).double(), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", BINARY)
def test_zero_is_positive_and_inference_agrees_with_training(name: str) -> None:
    layer = next(iter(binary_layers(make(name)).values()))
    zero = torch.zeros(1, layer.in_channels, 4, 4)
    half = 0.5 if name == "dorefa" else 0.0
    assert layer.sign(zero + half).unique().tolist() == [1.0]
    assert layer.sign(zero - 0.0 + half).unique().tolist() == [1.0]
    x = torch.randn(3, layer.in_channels, 8, 8, generator=torch.Generator().manual_seed(3))
    assert torch.equal(layer.train()(x), layer.eval()(x))


@pytest.mark.parametrize("name", BINARY)
def test_autocast_changes_no_sign(name: str) -> None:
    """Under bf16 autocast, weights and a given input have the signs that they have in float32."""
    layer = list(binary_layers(make(name)).values())[1]
    # Numbers close to every threshold that bf16, with 8 bits of mantissa, cannot tell apart.
    threshold = 0.5 if name == "dorefa" else 0.0
    if hasattr(layer.sign, "shift"):
        threshold = 0.3
        with torch.no_grad():
            layer.sign.shift.fill_(-threshold if name == "reactnet" else threshold)
    x = threshold + 1e-4 * torch.randn(2, layer.in_channels, 8, 8, generator=torch.Generator().manual_seed(3))
    plain = layer.sign(x), layer.binarize()[0]
    assert plain[0].unique().tolist() == [-1.0, 1.0], "numbers on both sides of the threshold"
    with torch.autocast("cpu", torch.bfloat16):
        mixed = layer.sign(x), layer.binarize()[0]
    assert all(torch.equal(p.float(), m.float()) for p, m in zip(plain, mixed, strict=True))
    wide = x.bfloat16()
    assert torch.equal(layer.sign(wide).float(), layer.sign(wide.float())), "bf16 inputs compare in float32"


@pytest.mark.parametrize("name", METHODS)
def test_a_step_under_autocast_and_channels_last(name: str) -> None:
    net = make(name).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        loss = F.cross_entropy(net(images().contiguous(memory_format=torch.channels_last)), torch.tensor([0, 1, 2, 3]))
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


@pytest.mark.parametrize("name", METHODS)
def test_memory_layout_changes_no_bit_of_weights(name: str) -> None:
    plain, last = make(name), make(name).to(memory_format=torch.channels_last)
    for a, b in zip(binary_layers(plain).values(), binary_layers(last).values(), strict=True):
        assert torch.equal(a.binarizer(a.weight)[0], b.binarizer(b.weight)[0])


@pytest.mark.parametrize("name", [m if m == "irnet" else pytest.param(m, marks=pytest.mark.slow) for m in METHODS])
def test_compiled(name: str) -> None:
    """One graph without a break, which trains and infers as the network itself does."""
    torch._dynamo.reset()  # without it, the ninth network in a process would not be compiled at all
    net, plain = make(name, size=16), make(name, size=16)
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    for model in (compiled, plain):
        F.cross_entropy(model(images(4, 16)), torch.arange(4)).backward()
    for (key, p), q in zip(net.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-4, atol=1e-6, msg=lambda m, k=key: f"{k}: {m}")
    net.eval(), plain.eval()
    torch.testing.assert_close(compiled(images(4, 16)), plain(images(4, 16)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_schedules_follow_from_progress_alone(name: str) -> None:
    """Two networks that came to the same progress and state by different ways give the same gradients."""
    method = networks.choose(name).method
    there, resumed = make(name), make(name)
    for t in (0.0, 0.31, 0.62):
        method.on_progress(there, t)
    resumed.load_state_dict(there.state_dict())
    method.on_progress(there, 0.64)
    method.on_progress(resumed, 0.64)
    for net in (there, resumed):
        F.cross_entropy(net(images()), torch.tensor([0, 1, 2, 3])).backward()
    pairs = zip(there.parameters(), resumed.parameters(), strict=True)
    assert all(torch.equal(a.grad, b.grad) for a, b in pairs)


def test_methods_start_from_the_same_latent_weights() -> None:
    for backbone in ("vgg_tiny", "resnet20", "resnet20:shortcut=binary"):
        assert len({networks.weights_hash(make(m, backbone)) for m in METHODS}) == 1
        assert networks.weights_hash(make("bnn", backbone)) != networks.weights_hash(make("bnn", backbone, seed=1))


def test_irnet_weights_by_hand() -> None:
    layer = BinaryConv2d(
        1, 2, 2, 1, 0, sign=identity.Estimator(), binarizer=registry.load("method", "irnet").Binarizer(1e-3, 10)
    )
    with torch.no_grad():
        layer.weight[0] = torch.tensor([[[1.0, 2.0], [3.0, 6.0]]])
        layer.weight[1] = torch.tensor([[[0.0, 0.0], [0.0, 4.0]]])
    bits, scale = layer.binarizer(layer.weight)
    # Filter 0: mean 3, unbiased std sqrt(14/3) = 2.160; standardized -.926 -.463 0 1.389; sign(0) = +1;
    # mean |.| = .694, log2 = -.526, rounds to -1. Filter 1: mean 1, std 2; -.5 -.5 -.5 1.5; mean .75, log2 -.415 -> 0.
    assert bits[0].flatten().tolist() == [-1, -1, 1, 1]
    assert bits[1].flatten().tolist() == [-1, -1, -1, 1]
    assert scale.tolist() == [0.5, 1.0]


def test_irnet_differentiates_the_standardization() -> None:
    binarizer = registry.load("method", "irnet").Binarizer(1e-3, 10)
    w = torch.randn(4, 3, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    upstream = torch.randn(4, 3, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (binarizer(w)[0] * upstream).sum().backward()
    v = w.detach().clone().requires_grad_()
    t = binarizer.estimator.t
    # At t = 1e-3, k = 1000: tanh(t z) / t stands for sign(z), and has exactly the estimator's derivative.
    z = (v - v.mean((1, 2, 3), keepdim=True)) / v.std((1, 2, 3), keepdim=True)
    (torch.tanh(t * z) / t * upstream).sum().backward()
    torch.testing.assert_close(w.grad, v.grad)


def test_a_constant_filter_does_not_divide_by_zero() -> None:
    bits, scale = registry.load("method", "irnet").Binarizer(1e-3, 10)(torch.ones(1, 2, 3, 3))
    assert torch.isfinite(scale).all()
    assert bits.unique().tolist() == [1.0]


def test_counted_operations() -> None:
    cost = networks.cost(make("irnet", "resnet20"), 32)
    # Multiply-accumulates of ResNet-20 at 32 px with a parameter-free shortcut, counted independently by hand.
    convs = (
        6 * 9 * 16 * 16 * 32 * 32 + (9 * 16 * 32 + 5 * 9 * 32 * 32) * 16 * 16 + (9 * 32 * 64 + 5 * 9 * 64 * 64) * 8 * 8
    )
    assert cost.binary_macs == convs == 40_108_032
    assert cost.macs - cost.binary_macs == 9 * 3 * 16 * 32 * 32 + 64 * 10
    assert sum(m.weight.numel() for m in binary_layers(make("irnet", "resnet20")).values()) == 267_264


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("irnett", "did you mean 'irnet'"),
        ("irnet+lrc", "did you mean 'lcr'"),
        ("irnet:t_mix=1", "did you mean 't_min'"),
        ("irnet:t_min=x", "is a number"),
        ("irnet:t_min", "has no value"),
        ("irnet:t_min=20", "0 < t_min"),
        ("irnet+lcr:weight=-1", "weight >= 0"),
        ("irnet+lcr+lcr", "twice"),
        ("full_precision:nonlinearity=gelu", "relu"),
        ("no_such.module", "import path"),
        ("lcrbench.models.binary", "defines no class 'Method'"),
        ("irnet+lcr:weight=nan", "is a number"),
        ("irnet+lcr:weight=inf", "is a number"),
        ("rbnn:rotations=2.5", "whole number"),
        ("reactnet:two_step=yes", "true or false"),
        ("irnet+", "is no method"),
        ("+lcr", "is no method"),
        ("irnet+lcr=0.5", "is no method: write METHOD:OPTION=VALUE"),
        ("irnet:lcr", "unknown option of irnet"),
        ("", "is no method"),
    ],
)
def test_bad_choices(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        networks.choose(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "backbone", "size", "says"),
    [
        ("full_precision+lcr", "vgg_tiny", 32, "needs binary convolutions"),
        ("full_precision+spectral_norm", "vgg_tiny", 32, "needs binary convolutions"),
        ("irnet", "vgg_tiny", 30, "8 divides"),
        ("irnet", "resnet20:convs=3", 32, "1 or 2"),
        ("irnet", "resnet18:stem=none", 32, "auto, cifar or imagenet"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(text: str, backbone: str, size: int, says: str) -> None:
    grid = make_grid({"methods": [text], "backbone": backbone, "data": {"size": size, "train": 20, "test": 10}})
    with pytest.raises(UserError, match=says) as error:
        plan(grid, worker.load_data(grid.data))
    assert "\n" not in str(error.value)


def test_labels_name_what_differs_from_the_default() -> None:
    assert networks.choose("lcr").label == "irnet+lcr"
    assert networks.choose("bnn+lcr:beta=2.0,weight=0").label == "bnn+lcr:weight=0.0"


def test_a_method_from_outside(tmp_path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("")
    (tmp_path / "pack" / "other.py").write_text("from lcrbench.models.methods.bnn import Method\n")
    assert networks.choose("pack.other").name == "pack.other"
