"""Whole networks: every logit equals torch's to the bit, or the network is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import nn

from lcrbench import registry
from lcrbench.models import network as networks
from lcrbench.models.packed.engine import Packed, Refused
from tests.packed.nets import KINDS, METHODS, SHORTCUTS, by_torch, equal, images, make

RESNETS = [f"resnet20:shortcut={s},convs={n}" for s in SHORTCUTS for n in (1, 2)]


def is_equal_or_refused(method: str, backbone: str, size: int, seed: int, kind: str, *, floats: bool = False) -> bool:
    """Return whether the network was not refused; assert that the logits are equal then."""
    shown = images(6, size, seed)
    if floats:
        shown = (shown / np.float32(255) + np.float32(1e-3) * seed).astype(np.float32).clip(0, 1)
    net = make(method, backbone, size, seed, kind)
    try:
        same = equal(net, shown)
    except Refused:
        return False
    assert same, f"{method} {backbone} {size} {seed} {kind}"
    return True


@pytest.mark.parametrize("method", METHODS)
def test_each_method(method: str) -> None:
    k = METHODS.index(method)
    assert is_equal_or_refused(method, "vgg_tiny", 16, k, "tame")
    assert is_equal_or_refused(method, RESNETS[k % len(RESNETS)], 8, k, "negative" if k % 2 else "tame", floats=True)


@pytest.mark.parametrize(
    ("method", "backbone", "size"),
    [
        ("reactnet", "reactnet_a:stem=cifar", 32),
        ("irnet", "vgg_small", 8),
        ("reste", "vgg_small", 8),
        ("recu", "resnet18:shortcut=pool-pad,stem_activation=false", 8),
        ("siman", "resnet18:stem=imagenet,head_norm=false", 60),
        ("reste", "resnet34:stem=imagenet", 28),
    ],
)
def test_each_backbone(method: str, backbone: str, size: int) -> None:
    assert is_equal_or_refused(method, backbone, size, 1, "tame")


CASES = (
    st.sampled_from(METHODS),
    st.sampled_from([*RESNETS, "vgg_tiny", "vgg_tiny:stem_activation=false,head_norm=false"]),
    st.sampled_from([8, 16, 24]),
    st.integers(0, 10_000),
    st.sampled_from(KINDS),
    st.booleans(),
)


@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@example("adabin", RESNETS[0], 8, 5, "negative", True)
@example("rbnn", RESNETS[0], 8, 5, "denormal", False)
@given(*CASES)
def test_awkward_parameters(method: str, backbone: str, size: int, seed: int, kind: str, floats: bool) -> None:
    assert is_equal_or_refused(method, backbone, size, seed, kind, floats=floats) or kind in ("huge", "mixed")


@pytest.mark.slow
@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@given(*CASES)
def test_many_awkward_parameters(method: str, backbone: str, size: int, seed: int, kind: str, floats: bool) -> None:
    assert is_equal_or_refused(method, backbone, size, seed, kind, floats=floats) or kind in ("huge", "mixed")


@pytest.mark.slow
@pytest.mark.parametrize("size", [32, 64, 224])
@pytest.mark.parametrize("backbone", ["resnet18", "resnet34:shortcut=pool-pad", "vgg_small", "reactnet_a"])
def test_large_networks_and_images(backbone: str, size: int) -> None:
    for method in ("irnet", "reactnet", "adabin", "siman"):
        assert is_equal_or_refused(method, backbone, size, 2, "tame")


@pytest.mark.parametrize("method", ["rbnn", "adabin"])
def test_threads_change_no_bit(method: str) -> None:
    net, shown = make(method, "resnet20:shortcut=real", 8), images(7, 8)
    wanted = by_torch(net, shown)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        found = Packed(net, 8, 8).logits(shown)
    finally:
        torch.set_num_threads(before)
    assert found is not None
    np.testing.assert_array_equal(found, wanted)


def test_a_part_of_a_block_and_another_after_it() -> None:
    net, shown = make("reactnet", "resnet20", 8), images(8, 8)
    packed, wanted = Packed(net, 8, 8), by_torch(net, shown)
    first = packed.logits(shown, 3)
    packed.logits(shown[::-1])
    again = packed.logits(shown)
    assert first is not None
    np.testing.assert_array_equal(first, wanted[:3])
    np.testing.assert_array_equal(again, wanted)


class Twice(nn.Hardtanh):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(2 * x)


def put(net: nn.Module, name: str, module: nn.Module) -> nn.Module:
    parent, _, child = name.rpartition(".")
    setattr(net.get_submodule(parent), child, module.eval())
    return net


def poisoned(net: nn.Module) -> nn.Module:
    net.get_parameter("body.blocks.0.norm.weight").data[0] = torch.nan
    return net


REFUSED = {
    "another network": (lambda net: nn.Sequential(net).eval(), "is no network that lcrbench builds"),
    "another activation": (lambda net: put(net, "body.blocks.1.activation", Twice()), "the activation Twice"),
    "training": (lambda net: net.train(), "in training mode"),
    "float64": (lambda net: net.double(), "not float32"),
    "not finite": (poisoned, "is not finite"),
    "real": (lambda net: make("full_precision", "resnet20", 8), "is not binary"),
    "another norm": (lambda net: put(net, "body.blocks.0.norm", nn.GroupNorm(1, 16)), "batch norms follow"),
    "hooks": (lambda net: [net, net.get_submodule("body.blocks.2").register_forward_hook(print)][0], "has hooks"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_known_is_refused_with_the_reason(case: str) -> None:
    change, reason = REFUSED[case]
    with pytest.raises(Refused, match=reason):
        Packed(change(make("irnet", "resnet20", 8)), 8, 8)  # type: ignore[no-untyped-call]


def test_pixels_beyond_the_bounds_are_left_to_torch() -> None:
    packed = Packed(make("irnet", "vgg_tiny", 8), 8, 8)
    for value in (1e3, np.nan, np.inf):
        assert packed.logits(np.full((2, 8, 8, 3), value, np.float32)) is None


def test_a_mean_among_numbers_too_far_apart_is_left_to_torch() -> None:
    """An image less its mean over its deviation may round to -0.0, whose sign is +1."""
    net = make("rbnn", "resnet20", 8)
    with torch.no_grad():
        norm = net.get_submodule("body.stem.1")
        assert isinstance(norm, nn.BatchNorm2d)
        norm.weight.zero_()
        assert norm.bias is not None
        norm.bias.copy_(torch.tensor([1e3, -1e3] * 7 + [1e-44, -1e-44]))
        put(net, "body.stem.2", nn.Identity())
    assert Packed(net, 8, 8).logits(images(3, 8)) is None


@pytest.mark.parametrize("shape", [("vgg_tiny", 16), ("resnet20", 8)])
def test_a_method_that_is_new_is_equal_or_refused(shape: tuple[str, int]) -> None:
    """`METHODS` are those that were packed once, and must stay so."""
    binary = {n for n in registry.files("method") if networks.choose(n).method.weight_bits == 1}
    listed = {m.partition(":")[0] for m in METHODS}
    assert listed <= binary
    for method in sorted(binary - listed):
        is_equal_or_refused(method, *shape, 1, "tame")
