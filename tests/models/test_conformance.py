"""What methods and regularizers must say of themselves, what layers must do, and what the suite finds of a faulty entry."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from lcrbench import registry
from lcrbench.models import api, spectral
from lcrbench.models import network as networks
from lcrbench.models.audit import audit
from lcrbench.models.binary import BinaryConv2d, binary_layers, input_levels
from lcrbench.testing import conform

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


# --- the suite -------------------------------------------------------------------------------------------------------


METHOD = """
'''A method of somebody else.'''
import torch
from dataclasses import dataclass
from torch import nn
from lcrbench.models import api
from lcrbench.models.binary import BinaryConv2d
from lcrbench.models.estimators import clip
from lcrbench.models.methods import bnn

class Sign(api.Sign):
    def __init__(self):
        super().__init__()
        self.estimator, self.calls = clip.Estimator(), 0

    def forward(self, x):
        self.calls += 1
        return {sign}

class Conv(BinaryConv2d):
    def forward(self, x):
        y = super().forward(x)
        return {conv}

@dataclass(frozen=True)
class Method(bnn.Method):
    def conv(self, i, o, k, s, p):
        layer = Conv(i, o, k, s, p, sign=Sign(), binarizer=bnn.Binarizer())
        {made}
        return layer

    {method}
"""
SIGN, CONV, PASS = "self.estimator(x)", "y", "pass"


def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> str:
    """Write a module of somebody else's where import paths are looked for; return its path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    package = f"somebodys{len(sys.modules)}_{abs(hash(text))}"
    (tmp_path / package).mkdir()
    (tmp_path / package / "entry.py").write_text(text)
    return f"{package}.entry"


@pytest.mark.parametrize(
    ("sign", "conv", "made", "method", "says"),
    [
        ("x", CONV, PASS, "", "convolves inputs"),
        ("torch.sign(self.estimator(x) * (x.abs() > 0.1))", CONV, PASS, "", "inputs of 3 values"),
        (SIGN, CONV, "layer = nn.Conv2d(i, o, k, s, p, bias=False)", "", "says weight_bits = 1"),
        (SIGN, CONV, PASS, "weight_bits = 32", "says weight_bits = 32"),
        (SIGN, "y.float()", PASS, "", "under float64|float32|dtype"),
        ("self.estimator(x).float()", CONV, PASS, "", "under float64 the signs of inputs"),
        (SIGN, "2 * y if self.training else y", PASS, "", "other values in training than in evaluation"),
        (SIGN, "y + torch.randn(())", PASS, "", "other values"),
        ("self.estimator(x - x.mean())", CONV, PASS, "", "depend on its batch"),
        ("self.estimator(x + 0.1 * self.calls)", CONV, PASS, "", "a resumed training differs"),
        (SIGN, CONV, "layer.extra = nn.Parameter(torch.ones(2))", "", "no gradient reaches body.blocks.0.0.extra"),
        (SIGN, CONV, "layer.sign.decays = ('theta',)", "", "'decays' names what is no parameter"),
        (SIGN, CONV, PASS, "order = 'norm'", "its order is 'norm', and none of norm-activation, activation-norm"),
        (SIGN, CONV, "layer = layer[0]", "", "TypeError: 'Conv' object is not subscriptable"),
        (SIGN, "y[:, :1]", PASS, "", "maps (2, 3, 8, 8) to (2, 1, 4, 4), not (2, 4, 4, 4)"),
        (SIGN, CONV, PASS, "def on_progress(self, network): pass", "takes 2 positional arguments but 3 were given"),
        (SIGN, CONV, PASS, "def on_progres(self, network, t): pass", "did you mean 'on_progress'"),
    ],
)
def test_a_method_that_does_not_conform(tmp_path, monkeypatch, sign, conv, made, method, says) -> None:
    name = outside(tmp_path, monkeypatch, METHOD.format(sign=sign, conv=conv, made=made, method=method))
    found = conform("method", name)
    assert any(re.search(says, f) or says in f for f in found), found
    assert not any("\n" in f for f in found)


def test_a_method_of_somebody_else_conforms(tmp_path, monkeypatch) -> None:
    name = outside(tmp_path, monkeypatch, METHOD.format(sign=SIGN, conv=CONV, made=PASS, method="size: float = 1e16"))
    assert conform("method", name) == []


REGULARIZER = """
'''A regularizer of somebody else.'''
import torch
from dataclasses import dataclass
from torch import nn
from lcrbench.models import api

class Term(api.Term):
    def __init__(self, weight, network):
        self.weight, self.network, self.value, self.steps = weight, network, None, 0
        {init}

    def loss(self, context):
        self.steps += 1
        self.value = context.logits.square().mean()
        {early}
        return {loss}

    def figures(self):
        return {{"loss": {figure}}}

@dataclass(frozen=True)
class Regularizer(api.Regularizer):
    weight: float = 0.5

    def prepare(self, body):
        {prepare}

    def attach(self, network, teacher=None):
        return {attach}
"""
TERM = {
    "init": "pass",
    "early": "if not self.weight: return None",
    "loss": "self.weight * self.value",
    "figure": "float(self.value.detach())",
    "prepare": "pass",
    "attach": "Term(self.weight, network)",
}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"early": "pass"}, "with weight 0 its loss is a tensor"),
        ({"init": "network.register_forward_hook(lambda *a: None)"}, "after detach hooks are left in the network"),
        ({"loss": "self.value * float('nan')"}, "its loss is not finite"),
        ({"loss": "self.weight * context.logits"}, "the loss of a term is one number, and not of shape (6, 10)"),
        ({"loss": "self.steps * self.value"}, "a resumed training differs"),
        ({"figure": "self.value"}, "its figures are not all finite numbers"),
        ({"prepare": "body.more = nn.Linear(3, 3)"}, "other initial latent weights"),
        ({"prepare": "body.more = nn.Parameter(torch.ones(3))"}, "with weight 0 the network starts with another state"),
        ({"attach": "None"}, "attach returns NoneType"),
        ({"init": "self.replaces = 2"}, "replaces 2 of the cross-entropy"),
        ({"early": "assert len(context.images) > 4, 'a few'"}, "a step of 2 images raises AssertionError: a few"),
        ({"init": "raise KeyError('x')"}, "KeyError: 'x'"),
        ({"init": "network.body.blocks[0][1].eps = 1.0"}, "with weight 0 training differs"),
    ],
)
def test_a_regularizer_that_does_not_conform(tmp_path, monkeypatch, change: dict[str, str], says: str) -> None:
    found = conform("regularizer", outside(tmp_path, monkeypatch, REGULARIZER.format(**TERM | change)))
    assert any(says in f for f in found), found
    assert not any("\n" in f for f in found)


def test_a_regularizer_of_somebody_else_conforms(tmp_path, monkeypatch) -> None:
    assert conform("regularizer", outside(tmp_path, monkeypatch, REGULARIZER.format(**TERM))) == []


BACKBONE = """
'''A backbone of somebody else.'''
from torch import nn
from lcrbench.models.api import Backbone, ordered

class Net(Backbone):
    def __init__(self, method, classes):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 1, 1)
        self.one, self.two = ({block} for _ in range(2))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, {classes}))

    def stages(self):
        return {stages}

    def forward(self, x):
        return {out}

def build(method, classes, size{options}):
    return {net}
"""
NET = {
    "block": "nn.Sequential(*ordered(method, method.conv(4, 4, 3, 1, 1), 4))",
    "classes": "classes",
    "stages": "[self.one, self.two]",
    "out": "self.head(self.two(self.one(self.stem(x))))",
    "options": ", *, depth: int = 1",
    "net": "Net(method, classes)",
}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"block": "nn.Sequential(nn.Conv2d(4, 4, 3, 1, 1), nn.BatchNorm2d(4))"}, "no binary convolution"),
        ({"block": "nn.Sequential(method.conv(4, 4, 3, 1, 1), nn.Conv2d(4, 4, 1))"}, "makes a real product"),
        (
            {"block": "nn.Sequential(method.conv(4, 4, 3, 1, 1), nn.BatchNorm2d(4), method.activation(4))"},
            "'one.1' follows 'one.0' for a method whose order is 'activation-norm'",
        ),
        (
            {"block": "nn.Sequential(method.conv(4, 4, 3, 1, 1), method.activation(4), nn.BatchNorm2d(4))"},
            "'one.1' follows 'one.0' for a method whose order is 'norm-activation'",
        ),
        ({"classes": "3"}, "gives (2, 3) for 2 images and 10 classes"),
        ({"stages": "[self.two, self.one]"}, "stages() returns two, one, and a pass uses one, two"),
        ({"stages": "[nn.Identity(), self.one]"}, "no parts of it"),
        ({"out": "self.head(self.two(self.one(self.stem(x)))) * 2"}, "its logits are not what its head gives"),
        ({"out": "self.head(self.two(self.one(self.stem(x - x.mean()))))"}, "depend on its batch"),
        ({"net": "nn.Identity()"}, "builds no lcrbench.models.api.Backbone, but Identity"),
        ({"options": ", depth=1"}, "options of build are keywords with defaults, which depth is not"),
        ({"net": "1 / 0"}, "ZeroDivisionError: division by zero"),
        ({"out": "x[0, 0, 0, 99]"}, "IndexError"),
    ],
)
def test_a_backbone_that_does_not_conform(tmp_path, monkeypatch, change: dict[str, str], says: str) -> None:
    found = conform("backbone", outside(tmp_path, monkeypatch, BACKBONE.format(**NET | change)))
    assert any(says in f for f in found), found
    assert not any("\n" in f for f in found)


def test_a_backbone_may_refuse_an_order(tmp_path, monkeypatch) -> None:
    block = "nn.Sequential(method.conv(4, 4, 3, 1, 1), nn.BatchNorm2d(4), method.activation(4))"
    refusing = (
        "    if method.order == 'activation-norm':\n        raise ValueError('no')\n    return Net(method, classes)"
    )
    text = BACKBONE.replace("    return {net}", refusing).format(**NET | {"block": block})
    assert conform("backbone", outside(tmp_path, monkeypatch, text)) == []


def test_a_backbone_of_somebody_else_conforms(tmp_path, monkeypatch) -> None:
    assert conform("backbone", outside(tmp_path, monkeypatch, BACKBONE.format(**NET))) == []


ESTIMATOR = """
'''An estimator of somebody else.'''
import torch
from lcrbench.models import api
from lcrbench.models.estimators import clip

class Estimator(api.Estimator):
    def __init__(self, width{default}):
        super().__init__()
        self.inner, self.width, self.p = clip.Estimator(), width, 0.0

    def set_progress(self, progress):
        self.p = {progress}

    def forward(self, x):
        return {out}
"""
SHAPED = {"default": "=1.0", "progress": "progress", "out": "self.inner(x * self.width)"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"out": "torch.sign(x) + 0 * self.inner(x)"}, "not to signs with sign(0) = +1"),
        ({"out": "self.inner(x).float()"}, "it maps torch.float64 of shape (2, 3) to torch.float32"),
        ({"out": "self.inner(x.flatten())"}, "to torch.float32 of shape (6,)"),
        ({"out": "self.inner(x).detach() + 0 * x"}, "its slope is 0 everywhere"),
        ({"out": "self.inner(x.abs().sqrt() * self.inner(x).detach())"}, "its slope is not finite"),
        ({"out": "self.inner(x * (1 + self.p))", "progress": "self.p + progress"}, "depends on the progress before"),
        ({"default": ""}, "its options have defaults, which width has not"),
        ({"out": "missing"}, "NameError: name 'missing' is not defined"),
    ],
)
def test_an_estimator_that_does_not_conform(tmp_path, monkeypatch, change: dict[str, str], says: str) -> None:
    found = conform("estimator", outside(tmp_path, monkeypatch, ESTIMATOR.format(**SHAPED | change)))
    assert any(says in f for f in found), found
    assert not any("\n" in f for f in found)


def test_an_estimator_of_somebody_else_conforms(tmp_path, monkeypatch) -> None:
    assert conform("estimator", outside(tmp_path, monkeypatch, ESTIMATOR.format(**SHAPED))) == []


@pytest.mark.parametrize("kind", [*registry.PACKAGES])
def test_what_is_not_there_is_one_finding(kind: str) -> None:
    assert len(conform(kind, "no_such_thing")) == 1
    assert len(conform(kind, "no_such.thing")) == 1


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
    if method.order == "norm-activation":
        assert not any(isinstance(m, nn.ReLU) for m in method.activation(4).modules()), "sign(relu(x)) is +1 everywhere"
