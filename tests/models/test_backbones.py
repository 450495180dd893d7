"""Topologies: counts against an independent table, shortcut forms, names that hold, and refusals."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lcrbench import registry
from lcrbench.errors import UserError
from lcrbench.models import network as networks
from lcrbench.models.backbones._resnet import Pad
from lcrbench.models.binary import binary_layers, path_layers

# Real multiply-accumulates, binary ones, their sum with binary ones at 1/64, all; binary weights and real ones without batch
# norm; for convolutions and the linear layer. Counted apart from this code, by formula.
TABLE = {
    ("resnet18:shortcut=real", 224, 1000): (1.378e8, 1.676e9, 1.640e8, 1.814e9, 10_985_472, 694_440),
    ("resnet18:shortcut=pool-real", 224, 1000): (1.378e8, 1.676e9, 1.640e8, 1.814e9, 10_985_472, 694_440),
    ("resnet18:shortcut=binary", 224, 1000): (1.185e8, 1.696e9, 1.450e8, 1.814e9, 11_157_504, 522_408),
    ("resnet34:shortcut=real", 224, 1000): (1.378e8, 3.526e9, 1.929e8, 3.664e9, 21_086_208, 694_440),
    ("resnet18:shortcut=real", 32, 10): (8.07e6, 5.474e8, 1.662e7, 5.554e8, 10_985_472, 178_890),
    ("resnet18:shortcut=real,convs=2", 32, 10): (8.07e6, 5.474e8, 1.662e7, 5.554e8, 10_985_472, 178_890),
    ("resnet18:shortcut=binary", 32, 10): (1.77e6, 5.537e8, 1.043e7, 5.554e8, 11_157_504, 6_858),
    ("resnet18:shortcut=pool-pad", 32, 10): (1.77e6, 5.474e8, 1.033e7, 5.491e8, 10_985_472, 6_858),
    ("resnet20", 32, 10): (4.43e5, 4.011e7, 1.070e6, 4.055e7, 267_264, 1_082),
    ("vgg_small", 32, 10): (3.62e6, 6.040e8, 1.306e7, 6.076e8, 4_571_136, 85_386),
}


def meta(backbone: str, size: int, classes: int, method: str = "bnn") -> networks.Network:
    """Build without memory: shapes alone."""
    with torch.device("meta"):
        body = networks.body(networks.choose(method), backbone, classes, size)
    return networks.Network(body, [0.0] * 3, [1.0] * 3).to("meta")


@pytest.mark.parametrize(("backbone", "size", "classes"), TABLE)
def test_counts(backbone: str, size: int, classes: int) -> None:
    net = meta(backbone, size, classes)
    cost = networks.cost(net, size)
    real, binary, ops, total, bits, floats = TABLE[backbone, size, classes]
    assert cost.macs - cost.binary_macs == pytest.approx(real, rel=3e-3)
    assert cost.binary_macs == pytest.approx(binary, rel=5e-4)
    assert cost.ops == pytest.approx(ops, rel=5e-4)
    assert cost.macs == pytest.approx(total, rel=5e-4)
    assert sum(m.weight.numel() for m in binary_layers(net).values()) == bits
    norms = [m for m in net.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]
    channels = sum(m.num_features for m in norms)
    assert sum(p.numel() for p in net.parameters()) - bits - 2 * channels == floats


def built(method: str, backbone: str) -> networks.Network:
    def generator(name: str) -> torch.Generator:
        return torch.Generator().manual_seed(0)

    return networks.build(networks.choose(method), backbone, 10, 32, [0.3] * 3, [0.4] * 3, generator)


def test_memory() -> None:
    # 19 batch norms of the convolutions (16 + 6 * 112 channels) and one before the linear layer, four numbers a channel.
    assert networks.memory_bits(built("bnn", "resnet20")) == 267_264 + 32 * (1_082 + 4 * (16 + 6 * 112 + 64))


# VGG-tiny's binary layers have 144 input channels and 192 output channels in all, its five activations 208.
NUMBERS = {
    "bnn": 0,
    "xnor_net": 192,
    "dorefa": 4,  # one scale a layer
    "bi_real": 192,
    "irnet": 192,
    "rbnn": 192,
    "reactnet": 192 + 144 + 3 * 208,  # scales, thresholds, RPReLU
    "recu": 192,
    "adabin": 2 * 192 + 2 * 4 + 2 * 208,  # two values a filter and a layer's input, Maxout
    "reste": 4,
    "irnet+lcr": 192,
    "irnet+lcr_released": 192,  # its gammas are used in training only
    "bnn+spectral_norm": 4,  # one divisor a layer
}


@pytest.mark.parametrize("method", NUMBERS)
def test_memory_of_each_method_by_hand(method: str) -> None:
    binary = 9 * (16 * 32 + 32 * 32 + 32 * 64 + 64 * 64)
    real = 27 * 16 + 4 * (16 + 32 + 32 + 64 + 64 + 64) + 64 * 10 + 10
    assert networks.memory_bits(built(method, "vgg_tiny")) == binary + 32 * (real + NUMBERS[method])


def test_an_offset_of_the_weights_costs_one_more_channel() -> None:
    plain, dorefa, adabin = (networks.cost(built(m, "vgg_tiny"), 32) for m in ("bnn", "dorefa", "adabin"))
    # Maps of 16 x 16 for two layers and 8 x 8 for two: 9 C_in binary operations a position more for each.
    more = 9 * (16 + 32) * 16 * 16 + 9 * (32 + 64) * 8 * 8
    assert adabin.binary_macs - plain.binary_macs == more == 165_888
    assert adabin.ops - plain.ops == more / 64
    # The input's levels 0 and 1 add a constant, which no image changes.
    assert dorefa == plain


def test_the_stem_follows_the_size() -> None:
    small, large = meta("resnet18", 32, 10), meta("resnet18", 224, 10)
    assert (small.body.stem[0].kernel_size, large.body.stem[0].kernel_size) == ((3, 3), (7, 7))
    assert meta("resnet18:stem=imagenet", 32, 10).body.stem[0].stride == (2, 2)


@pytest.mark.parametrize("convs", [1, 2])
@pytest.mark.parametrize("shortcut", ["real", "pool-real", "binary", "pool-pad", "pad"])
def test_a_block_is_its_formula(shortcut: str, convs: int) -> None:
    method = networks.choose("full_precision:nonlinearity=hardtanh").method
    net = registry.load("backbone", "resnet20").build(method, 10, 8, shortcut=shortcut, convs=convs).eval()
    block = net.blocks[6 // convs]
    x = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(0))

    def normed(conv: nn.Module, norm: nn.Module, a: torch.Tensor, stride: int, padding: int) -> torch.Tensor:
        return F.conv2d(a, conv.weight, None, stride, padding) / (1 + norm.eps) ** 0.5

    y = normed(block.conv, block.norm, x, 2, 1)
    if convs == 2:
        y = normed(block.second[0], block.second[1], F.hardtanh(y), 1, 1)
    if shortcut.endswith("pad"):
        small = F.avg_pool2d(x, 2) if "pool" in shortcut else x[:, :, ::2, ::2]
        around = torch.cat([torch.zeros(2, 8, 4, 4), small, torch.zeros(2, 8, 4, 4)], 1)
    elif shortcut == "pool-real":
        around = normed(block.shortcut[1], block.shortcut[2], F.avg_pool2d(x, 2), 1, 0)
    else:
        around = normed(block.shortcut[0], block.shortcut[1], x, 2, 0)
    torch.testing.assert_close(block(x), F.hardtanh(y + around), rtol=1e-4, atol=1e-5)


def test_binary_shortcuts_lie_beside_the_path() -> None:
    net = meta("resnet18:shortcut=binary", 32, 10)
    assert len(binary_layers(net)) == 19
    assert len(path_layers(net)) == 16
    assert {m.kernel_size for m in path_layers(net).values()} == {(3, 3)}


@pytest.mark.parametrize("backbone", registry.names("backbone"))
def test_stages_are_used_in_order(backbone: str) -> None:
    net = meta(backbone, 32, 10)
    seen: list[nn.Module] = []
    for stage in net.body.stages():
        stage.register_forward_hook(lambda m, i, o: seen.append(m))
    out = net.eval()(torch.zeros(2, 3, 32, 32, device="meta"))
    assert out.shape == (2, 10)
    assert seen == net.body.stages()


def test_pad_keeps_what_it_takes() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4)
    y = Pad(2, 2)(x)
    assert y.shape == (1, 3, 2, 2)
    assert y[0, 1].tolist() == [[0, 2], [8, 10]]
    assert not y[0, [0, 2]].any()


@pytest.mark.parametrize(
    ("backbone", "says"),
    [
        ("resnet18:shortcut=full", "one of real, pool-real"),
        ("resnet18:shortcuts=real", "did you mean 'shortcut'"),
        ("resnet18:convs=3", "1 or 2"),
        ("resnet18:convs=two", "whole number"),
        ("resnet20:stem=cifar", "unknown option of resnet20"),
        ("resnet34:stem=tiny", "auto, cifar or imagenet"),
        ("resnet19", "did you mean"),
    ],
)
def test_refusals(backbone: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        networks.body(networks.choose("bnn"), backbone, 10, 32)
    assert "\n" not in str(error.value)


def test_sizes_that_do_not_fit_are_refused() -> None:
    for backbone in ("vgg_small", "vgg_tiny"):
        with pytest.raises(UserError, match="8 divides"):
            networks.body(networks.choose("bnn"), backbone, 10, 30)


def test_options_are_written_out() -> None:
    ends = {"stem_activation": True, "head_norm": True}
    assert networks.topology("resnet18:convs=2") == (
        "resnet18",
        {"stem": "auto", "shortcut": "real", "convs": 2} | ends,
    )
    assert networks.topology("vgg_tiny:head_norm=false") == ("vgg_tiny", ends | {"head_norm": False})
    assert networks.topology("vgg_small") == ("vgg_small", {})


@pytest.mark.parametrize("backbone", ["resnet18", "resnet18:stem=imagenet", "resnet20", "resnet34", "vgg_tiny"])
def test_the_ends_are_as_asked_for(backbone: str) -> None:
    """One part goes, and no name of a convolution changes; the default is written as the name alone."""
    default = f"{backbone}{',' if ':' in backbone else ':'}head_norm=true,stem_activation=true"
    assert networks.backbone_text(default) == backbone
    whole = meta(backbone, 32, 10, "reactnet")
    for option, part, gone in (("stem_activation", "stem", "RPReLU"), ("head_norm", "head", "BatchNorm1d")):
        less = meta(f"{backbone}{',' if ':' in backbone else ':'}{option}=false", 32, 10, "reactnet")
        before, after = ([type(m).__name__ for m in net.body.get_submodule(part)] for net in (whole, less))
        assert [kind for kind in before if kind != gone] == after != before
        # The linear layer's place in the head is another one without its batch norm.
        assert [*networks.latent_weights(less)][:-1] == [*networks.latent_weights(whole)][:-1]


@pytest.mark.parametrize("backbone", ["resnet18", "resnet20:convs=2,shortcut=binary", "vgg_small", "vgg_tiny"])
def test_an_order_of_the_method_changes_no_cost_and_no_latent_weight(backbone: str) -> None:
    ours, shared = meta(backbone, 32, 10, "reste"), meta(backbone, 32, 10, "reste:block=shared")
    assert networks.cost(ours, 32) == networks.cost(shared, 32)
    assert [*networks.latent_weights(ours)] == [*networks.latent_weights(shared)]
    assert [*path_layers(ours)] == [*path_layers(shared)]
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in shared.parameters())
    assert not any(isinstance(m, nn.Hardtanh) for m in ours.modules())


@pytest.mark.parametrize("backbone", ["vgg_tiny", "resnet20", "resnet20:shortcut=real", "resnet20:shortcut=pool-pad"])
def test_gradients_keep_channels_last(backbone: str) -> None:
    """A batch norm's backward pass takes several times as long for a gradient of another layout than its input's."""
    net = networks.build(
        networks.choose("irnet"), backbone, 10, 16, [0.3] * 3, [0.4] * 3, lambda name: torch.Generator().manual_seed(0)
    ).to(memory_format=torch.channels_last)
    seen: list[bool] = []

    def watch(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
        output.register_hook(lambda g: seen.append(g.is_contiguous(memory_format=torch.channels_last)))

    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.register_forward_hook(watch)
    x = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    F.cross_entropy(net(x.contiguous(memory_format=torch.channels_last)), torch.arange(4)).backward()
    assert len(seen) == len(norms)
    assert all(seen)
