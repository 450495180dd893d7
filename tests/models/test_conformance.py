"""What every method and regularizer must say of itself, and what its layers must do, over the registry."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from lcrbench import registry
from lcrbench.models import api, spectral
from lcrbench.models import network as networks
from lcrbench.models.audit import audit
from lcrbench.models.binary import BinaryConv2d, binary_layers, input_levels

METHODS, REGULARIZERS = registry.files("method"), registry.files("regularizer")
BINARY = [m for m in METHODS if registry.load("method", m).Method.weight_bits == 1]
ARXIV = r"arXiv\s+\d{4}\.\d{4,5}"


@pytest.mark.parametrize("name", BINARY)
def test_a_methods_words_hold_what_it_needs(name: str) -> None:
    """Paper with its number, forward formula with scale and shapes, gradient formula, deviations."""
    text = registry.docstring("method", name)
    assert re.search(ARXIV, text), "no arXiv number"
    assert re.search(r"\b(19|20)\d\d\b", text), "no year"
    forward, gradient = text.index("    forward:"), text.index("    gradient:")
    assert forward < gradient
    assert re.search(r"y\s+= .*conv\(", text[forward:gradient]), "no formula for the output"
    assert "x (N, C_in, H, W), w (C_out, C_in, k, k)" in text[forward:gradient], "no shapes"
    assert re.search(r"alpha|\bE\b|2\^s|scale", text[forward:gradient]), "nothing of a scale"
    assert re.search(r"d[Sq]/d", text[gradient:]), "no formula for the gradient"
    assert "Deviations:" in text


@pytest.mark.parametrize("name", REGULARIZERS)
def test_a_regularizers_words_hold_what_it_needs(name: str) -> None:
    text = registry.docstring("regularizer", name)
    assert re.search(ARXIV, text), "no arXiv number"
    assert re.search(r"loss\s+= |W' = ", text), "no formula"
    assert re.search(r"Deviation|Reading of the formula|What differs", text)


# --- layers ----------------------------------------------------------------------------------------------------------


class Given(api.Sign):
    """In the place of a sign: passes on what it is given, and keeps the levels that signs stand for."""

    def __init__(self, sign: api.Sign) -> None:
        super().__init__()
        self.given = sign

    def levels(self) -> tuple[torch.Tensor | float, torch.Tensor | float] | None:
        return self.given.levels()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", BINARY)
def test_the_norm_of_a_deployed_layer_against_a_dense_matrix(name: str, stride: int) -> None:
    """The columns of the matrix are what flipping one sign of the input changes in the layer's own output."""
    layer = registry.load("method", name).Method().conv(3, 4, 3, stride, 1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        layer.weight.normal_(generator=generator)
        layer.binarizer.start(layer.weight)
        for key, p in layer.named_parameters():
            if key != "weight":
                p.add_(0.3 * torch.rand(p.shape, generator=generator))
    norm = nn.BatchNorm2d(4)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2, generator=generator)
        norm.running_var.uniform_(0.5, 2, generator=generator)
    net = nn.Sequential(layer, norm).double().eval()
    bracket = spectral.product_bound(net.float(), (3, 5, 5)).layers[0].bracket

    net.double()
    levels = input_levels(layer)
    a = 1.0 if levels is None else float(torch.as_tensor(levels[0]).detach())
    layer.sign = Given(layer.sign)
    base = torch.where(torch.rand(1, 3, 5, 5, generator=generator) < 0.5, 1.0, -1.0).double().flatten()
    ups = base.repeat(75, 1).fill_diagonal_(1.0).view(75, 3, 5, 5)
    downs = base.repeat(75, 1).fill_diagonal_(-1.0).view(75, 3, 5, 5)
    with torch.no_grad():
        matrix = ((net(ups) - net(downs)) / (2 * a)).flatten(1)
    exact = float(torch.linalg.matrix_norm(matrix, ord=2))
    assert bracket.lower == pytest.approx(exact, rel=1e-6)
    assert exact * (1 - 1e-6) <= bracket.upper <= 1.35 * exact


@pytest.mark.parametrize(("name", "slope"), [("bnn", 1.0), ("dorefa", 1.0), ("adabin", 1.0), ("reactnet", 1.0)])
def test_the_slope_before_the_weights(name: str, slope: float) -> None:
    """DoReFa's 2x - 1 and its level 1/2 cancel, and so do AdaBin's division by a and its level a."""
    layer = registry.load("method", name).Method().conv(3, 4, 3, 1, 1)
    if name == "adabin":
        nn.init.constant_(layer.sign.scale, 0.37)
    assert spectral.sign_slope(layer) == pytest.approx(slope)


def make(text: str, backbone: str, size: int) -> networks.Network:
    def generator(name: str) -> torch.Generator:
        return torch.Generator().manual_seed(sum(map(ord, name)))

    return networks.build(networks.choose(text), backbone, 10, size, [0.3] * 3, [0.4] * 3, generator)


@pytest.mark.parametrize("name", BINARY)
def test_a_resnet_passes_its_audit(name: str) -> None:
    """Binary shortcuts, and the same accumulators and logits from the packed network, for each method."""
    net = make(name, "resnet20:shortcut=binary,convs=2", 8)
    images = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        net.train()(images)
    found = audit(net.eval(), images[:2])
    assert found.passed, found.faults
    assert found.logit_difference <= 1e-9
    assert [layer.name for layer in found.layers] == list(binary_layers(net))
    assert sum("shortcut" in layer.name for layer in found.layers) == 2


@pytest.mark.parametrize("name", BINARY)
def test_what_makes_a_layer_makes_a_binary_one(name: str) -> None:
    method = registry.load("method", name).Method()
    assert (method.weight_bits, method.activation_bits) == (1, 1)
    assert isinstance(method.conv(4, 8, 3, 1, 1), BinaryConv2d)
    assert not any(isinstance(m, nn.ReLU) for m in method.activation(4).modules()), "sign(relu(x)) is +1 everywhere"
