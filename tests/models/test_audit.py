"""The audit passes what is binary and catches what is not; the packed form against sums written out."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch import nn
from torch.nn import functional as F

from lcrbench import registry
from lcrbench.bench import data
from lcrbench.bench.evaluation.describe import describe
from lcrbench.bench.records import spec
from lcrbench.models import api, packed
from lcrbench.models import network as networks
from lcrbench.models.audit import audit, freeze
from lcrbench.models.binary import BinaryConv2d, binary_layers

BINARY = [m for m in registry.names("method") if registry.load("method", m).Method.weight_bits == 1]


def make(method: str, backbone: str = "vgg_tiny", size: int = 16, seed: int = 0) -> networks.Network:
    def generator(name: str) -> torch.Generator:
        return torch.Generator().manual_seed(seed + sum(map(ord, name)))

    net = networks.build(networks.choose(method), backbone, 10, size, [0.3] * 3, [0.4] * 3, generator)
    # Learnt constants that are not at their first values, and batch statistics of real data.
    with torch.no_grad():
        for name, p in net.named_parameters():
            if p.ndim < 2:
                p.add_(0.1 * torch.randn(p.shape, generator=generator(name)))
        for _ in range(3):
            net(images(8, size))
    return net.eval()


def images(n: int = 2, size: int = 16) -> torch.Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("method", BINARY)
def test_every_binary_method_passes(method: str) -> None:
    net = make(method)
    found = audit(net, images())
    assert found.passed, found.faults
    assert [layer.name for layer in found.layers] == list(binary_layers(net))
    assert all(layer.padded for layer in found.layers)
    if method == "dorefa":
        assert {(layer.input_scale, layer.input_offset) for layer in found.layers} == {(0.5, 0.5)}


@pytest.mark.parametrize(
    "backbone",
    ["resnet20", "resnet20:shortcut=binary,convs=2", "resnet20:shortcut=pool-real", "resnet20:shortcut=pool-pad"],
)
def test_every_shortcut_passes(backbone: str) -> None:
    net = make("reactnet", backbone, 8)
    found = audit(net, images(2, 8))
    assert found.passed, found.faults
    assert len(found.layers) == (20 if "binary" in backbone else 18)


def test_the_packed_file_is_the_network() -> None:
    net, other = make("adabin"), make("adabin", seed=5)
    tensors = load(save(packed.export(net)))
    assert not any(k.endswith(".weight") and k.removesuffix(".weight") in binary_layers(net) for k in tensors)
    restored = packed.restore(other, tensors)
    with torch.no_grad():
        difference = freeze(net).double()(images().double()) - restored.double()(images().double())
    assert float(difference.abs().max()) < 1e-9
    bits = sum(v.numel() for k, v in tensors.items() if k.endswith(".bits"))
    assert bits * 8 == sum(m.weight.numel() for m in binary_layers(net).values())


def test_a_file_of_another_network_is_refused() -> None:
    with pytest.raises(ValueError, match="another network"):
        packed.restore(make("bnn"), packed.export(make("reactnet")))


@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "padding"), [(3, 3, 1, 1), (70, 3, 2, 1), (5, 1, 2, 0), (2, 7, 2, 3)]
)
def test_counting_against_a_convolution(channels: int, kernel: int, stride: int, padding: int) -> None:
    generator = torch.Generator().manual_seed(0)
    s = torch.randn(2, channels, 9, 9, generator=generator).sign()
    b = torch.randn(4, channels, kernel, kernel, generator=generator).sign()
    bits = np.packbits((b > 0).flatten(1).numpy(), axis=1)
    counted = packed.count(s, bits, kernel, stride, padding)
    assert torch.equal(counted.float(), F.conv2d(s, b, None, stride, padding))


def test_one_filter_by_hand() -> None:
    s = torch.tensor([[[[1.0, -1.0], [1.0, 1.0]]]])
    # Filter + - / - +: agreeing at 3 of 4 places, 3 - 1 = 2.
    bits = np.packbits(np.array([[True, False, False, True]]), axis=1)
    assert bits.tolist() == [[0b10010000]]
    assert packed.count(s, bits, 2, 1, 0).tolist() == [[[[2]]]]


class Ternary(api.Sign):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sign(torch.where(x.abs() < 0.1, 0.0, x))


class Same(api.Sign):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Leak(BinaryConv2d):
    """A binary layer that lets a real product through beside the binary one."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + 0.01 * F.conv2d(x, self.weight, None, self.stride, self.padding)


class Product(BinaryConv2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + x.mean((2, 3)).matmul(self.weight.mean((2, 3)).T)[:, :, None, None]


class Varying(api.Binarizer):
    """Weights that are not the same twice."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, weight: torch.Tensor) -> tuple[torch.Tensor, None]:
        self.calls += 1
        return torch.where(weight + 0.01 * self.calls >= 0, 1.0, -1.0), None


class Scaled(api.Binarizer):
    """Real weights passed off as signs."""

    def forward(self, weight: torch.Tensor) -> tuple[torch.Tensor, None]:
        return weight, None


def _turn(layer: Any, cls: type) -> None:
    layer.__class__ = cls


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda layer: setattr(layer, "sign", Ternary()), "inputs of 3 values"),
        (lambda layer: setattr(layer, "sign", Same()), "convolves inputs"),
        (lambda layer: setattr(layer, "binarizer", Scaled()), "convolves weights"),
        (lambda layer: setattr(layer, "binarizer", Varying()), "other"),
        (lambda layer: setattr(layer, "real_weights", True), "convolves weights"),
        (lambda layer: _turn(layer, Leak), "convolves inputs"),
        (lambda layer: _turn(layer, Product), "product of another kind"),
    ],
)
def test_what_is_not_binary_fails(change: Any, says: str) -> None:
    net = copy.deepcopy(make("irnet"))
    change(list(binary_layers(net).values())[1])
    found = audit(net, images())
    assert not found.passed
    assert any(says in fault for fault in found.faults), found.faults
    assert not found.faults[0].startswith("blocks.0")


@pytest.mark.parametrize("backbone", [b for b in registry.names("backbone") if b not in ("vgg_tiny", "resnet34")])
def test_every_backbone_passes(backbone: str) -> None:
    assert audit(make("irnet", backbone, 8), images(2, 8)).passed


def test_taps_on_the_padding_by_hand() -> None:
    """A 3x3 window with padding 1 on 8x8 positions: 3 n - 2 of an axis' 3 n taps lie inside; with stride 2 all but one."""
    found = {layer.name: layer.padded_taps for layer in audit(make("adabin"), images()).layers}
    assert list(found.values()) == pytest.approx([1 - (n * 3 - 2) ** 2 / (n * 3) ** 2 for n in (8, 8, 4, 4)])
    found = {x.name: x.padded_taps for x in audit(make("irnet", "resnet20:shortcut=binary", 8), images(2, 8)).layers}
    # The first block that shrinks: 4x4 positions with stride 2 on 8x8, so that only the first tap of an axis is outside.
    assert found["body.blocks.6.conv"] == pytest.approx(1 - 11**2 / 12**2)
    assert all(share == 0 for name, share in found.items() if "shortcut" in name)


@dataclass
class Mixed:
    """A method of somebody else, whose every second convolution is real, or all of them, and which claims one bit."""

    every: int
    weight_bits: ClassVar[int] = 1
    activation_bits: ClassVar[int] = 1

    def __post_init__(self) -> None:
        self.made, self.binary = 0, networks.choose("irnet").method

    def conv(self, *shape: int) -> nn.Module:
        self.made += 1
        return nn.Conv2d(*shape, bias=False) if self.made % self.every == 0 else self.binary.conv(*shape)

    order: ClassVar[str] = "norm-activation"

    def activation(self, channels: int) -> nn.Module:
        return nn.Hardtanh()


def mixed(every: int) -> nn.Module:
    body = registry.load("backbone", "vgg_tiny").build(Mixed(every), 10, 16)
    return networks.Network(body, [0.3] * 3, [0.4] * 3).eval()


def test_a_real_convolution_beside_the_binary_ones_fails() -> None:
    net = mixed(2)
    found = audit(net, images())
    real = [k for k, m in net.named_modules() if type(m) is nn.Conv2d and "stem" not in k]
    assert len(real) == len(binary_layers(net)) == 2
    assert [fault.split()[0] for fault in found.faults] == real


class Behind(nn.Module):
    """A product that no layer shows, after the blocks."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x.transpose(1, 3) @ torch.eye(x.shape[1], dtype=x.dtype)).transpose(1, 3)


def test_a_product_beside_the_binary_layers_fails() -> None:
    net = make("irnet")
    net.body.blocks.append(Behind())
    assert audit(net, images()).faults == ("body.blocks.4 makes a real product (bmm) outside stem, shortcut and head",)


@pytest.mark.parametrize("every", [1, 2])
def test_bits_without_a_passed_audit_are_not_claimed(every: int) -> None:
    """Nothing binary to audit, and every second layer real."""
    planned, test = a_spec()
    found = describe(mixed(every), networks.Choice("mixed", Mixed(every), {}), planned, test)
    assert (found.weight_bits, found.activation_bits) == (32, 32)
    assert (found.audit is None) == (every == 1)


def a_spec() -> tuple[spec.TrainSpec, data.Split]:
    test = data.take(data.load(size=16), 10, 10, seed=0).test
    images = spec.TrainData(name="", size=16, classes=(), images=1)
    method = spec.MethodId(name="irnet", options={})
    return spec.TrainSpec(data=images, backbone="vgg_tiny", method=method, seed=0), test


def test_a_record_of_a_network_that_fails_does_not_call_it_binary() -> None:
    """A real product planted in one layer: the record has 32 bits, and says which layer was at fault."""
    planned, test = a_spec()
    choice = networks.choose("irnet")
    net = make("irnet")
    found = describe(net, choice, planned, test)
    assert (found.weight_bits, found.activation_bits) == (1, 1)
    assert found.audit is not None
    assert found.audit.passed
    name, layer = list(binary_layers(net).items())[2]
    _turn(layer, Leak)
    found = describe(net, choice, planned, test)
    assert (found.weight_bits, found.activation_bits) == (32, 32)
    assert not found.audit.passed
    assert any(name in fault for fault in found.audit.faults)


def test_the_network_is_left_as_it_was() -> None:
    net = make("recu").train()
    state = {k: v.clone() for k, v in net.state_dict().items()}
    audit(net, images())
    assert net.training
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in state.items())
