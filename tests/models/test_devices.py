"""The same code on every device: no device names in it, and on an accelerator the same signs and sums as on the CPU.

The device is LCRBENCH_TEST_DEVICE, or CUDA's where there is one; without either, what needs it is skipped.
"""

from __future__ import annotations

import ast
import copy
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lcrbench import registry
from lcrbench.models import api, estimators, packed
from lcrbench.models import network as networks
from lcrbench.models.audit import audit
from lcrbench.models.binary import binary_layers

ROOT = Path(__file__).resolve().parents[2]
METHODS = registry.names("method")
BINARY = [m for m in METHODS if registry.load("method", m).Method.weight_bits == 1]
REGULARIZERS = registry.names("regularizer")
DEVICE = os.environ.get("LCRBENCH_TEST_DEVICE") or ("cuda" if torch.cuda.is_available() else "")
needs_device = pytest.mark.skipif(not DEVICE, reason="needs an accelerator, or LCRBENCH_TEST_DEVICE")


def make(text: str, backbone: str = "vgg_tiny", seed: int = 0) -> networks.Network:
    def generator(name: str) -> torch.Generator:
        return torch.Generator().manual_seed(seed + sum(map(ord, name)))

    made = networks.build(networks.choose(text), backbone, 10, 16, [0.3] * 3, [0.4] * 3, generator)
    return made.to(memory_format=torch.channels_last)


BATCH = 8


def images(n: int = BATCH, seed: int = 1) -> Tensor:
    drawn = torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    return drawn.contiguous(memory_format=torch.channels_last)


def set_progress(text: str, net: nn.Module, t: float) -> None:
    networks.choose(text).method.on_progress(net, t)


def gradients(text: str, device: str, seed: int = 0) -> tuple[networks.Network, dict[str, Tensor], float]:
    """Take one training step's forward and backward pass with all of the text's regularizers, in float64.

    A residual network: max pooling would choose between equal sums of signs by rounding.
    """
    net = make(text, "resnet20", seed).double()
    choice = networks.choose(text)
    terms = [
        r.attach(net, make(r.teacher, "resnet20", 3).double().to(device)) if r.teacher else r.attach(net)
        for r in choice.regularizers.values()
    ]
    net.train().to(device)
    set_progress(text, net, 0.3)
    labels = torch.arange(BATCH, device=device)
    context = api.observe(net, terms, images().double().to(device), labels, True)
    loss = F.cross_entropy(context.logits, labels)
    for term in terms:
        if (extra := term.loss(context)) is not None:
            loss = loss + extra
    loss.backward()
    for term in terms:
        assert all(isinstance(v, float) for v in term.figures().values())
        term.detach()
    return net, {k: p.grad.cpu() for k, p in net.named_parameters() if p.grad is not None}, float(loss.detach())


def hangs_on_rounding(text: str, seed: int) -> bool:
    """Tell whether a sign is taken of what is 0, or 1 where slopes end, but for rounding.

    A sum of signs that is its channel's mean gives such a 0, and a channel of two equally frequent sums such a 1.
    """
    nearest = [1.0]

    def watched(x: Tensor, **options: Any) -> Tensor:
        # DoReFa's activations enter as 2 x - 1, whose gradient ends at x = 0.
        edges = (0.0, -1.0) if text.startswith("dorefa") else (0.0,)
        for edge in edges:
            apart = (x.detach() - edge).abs()
            # SiMaN takes the sign of a median less itself, which is 0 everywhere.
            nearest.append(float((apart[apart > 0] if text.startswith("siman") else apart).min()))
        # Some slopes of activations end at 1. A Hardtanh gives 1 itself, and passes no gradient on there.
        apart = (x.detach().abs() - 1).abs()
        if len(x) == BATCH and (apart > 0).any():
            nearest.append(float(apart[apart > 0].min()))
        return plain(x, **options)

    plain = estimators.sign
    with pytest.MonkeyPatch.context() as patch:
        for module in (estimators, *(registry.load("method", name) for name in registry.files("method"))):
            if hasattr(module, "sign"):
                patch.setattr(module, "sign", watched)
        gradients(text, "cpu", seed)
    return min(nearest) < 1e-9


def test_no_device_is_named_in_the_models() -> None:
    """A tensor is made where its operands are: no `.cuda()`, no "cuda", no `device=` given as a string."""
    for path in (ROOT / "models").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("cuda", "mps", "xpu"), f"{path.name}:{node.lineno}"
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert node.value.partition(":")[0] not in ("cuda", "mps", "xpu", "cpu"), f"{path.name}:{node.lineno}"


@needs_device
@pytest.mark.parametrize("text", [*METHODS, *(f"irnet+{r}" for r in REGULARIZERS), "adabin+spectral_norm"])
def test_a_step_is_the_same(text: str) -> None:
    """In float64, loss and gradients agree with the CPU's where no sign hangs on rounding."""
    seed = next(s for s in range(100) if not hangs_on_rounding(text, s))
    _, here, loss = gradients(text, "cpu", seed)
    _, there, other = gradients(text, DEVICE, seed)
    assert other == pytest.approx(loss, rel=1e-9)
    assert here.keys() == there.keys()
    for name, grad in here.items():
        torch.testing.assert_close(there[name], grad, rtol=1e-6, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")


@needs_device
@pytest.mark.parametrize("method", BINARY)
def test_signs_and_sums_are_the_same(method: str) -> None:
    """The signs of weights and of a given input, and the whole numbers that a layer adds up, to the bit."""
    plain = make(method)
    set_progress(method, plain, 0.5)
    moved = copy.deepcopy(plain).to(DEVICE)
    x = torch.randn(2, 32, 8, 8, generator=torch.Generator().manual_seed(2))
    # The second layer and on take 32 channels; exact zeros are among its inputs.
    x[:, 0] = 0
    for a, b in zip(list(binary_layers(plain).values())[1:3], list(binary_layers(moved).values())[1:3], strict=True):
        signs, there = a.eval().sign(x), b.eval().sign(x.to(DEVICE))
        assert there.device.type == torch.device(DEVICE).type
        assert torch.equal(signs, there.cpu())
        (bits, scale), (bits_there, scale_there) = a.binarize(), b.binarize()
        assert torch.equal(bits, bits_there.cpu())
        if scale is not None:
            torch.testing.assert_close(scale_there.cpu(), scale, rtol=1e-6, atol=0)
        sums = F.conv2d(signs, bits, None, a.stride, a.padding)
        assert torch.equal(sums, F.conv2d(there, bits_there, None, b.stride, b.padding).cpu())


@needs_device
@pytest.mark.parametrize("method", BINARY)
def test_the_audit_and_the_export_are_the_same(method: str) -> None:
    net = make(method)
    with torch.no_grad():
        net(images())
    moved = copy.deepcopy(net).to(DEVICE)
    here, there = packed.export(net.eval()), packed.export(moved.eval())
    assert here.keys() == there.keys()
    for name, tensor in here.items():
        if name.endswith(".bits"):
            assert torch.equal(tensor, there[name])
    found = audit(moved, images().to(DEVICE))
    assert found.passed, found.faults
    assert next(moved.parameters()).device.type == torch.device(DEVICE).type
    assert networks.cost(moved, 16) == networks.cost(net, 16)


@needs_device
@pytest.mark.parametrize("method", METHODS)
def test_autocast_on_the_device_changes_no_sign(method: str) -> None:
    net = make(method).to(DEVICE)
    x = images().to(DEVICE)
    for layer in binary_layers(net).values():
        # Numbers around the threshold that bf16 cannot tell apart.
        given = 1e-4 * torch.randn(2, layer.in_channels, 4, 4, generator=torch.Generator().manual_seed(3)).to(DEVICE)
        given = given + (0.5 if method == "dorefa" else 0.0)
        plain = layer.sign(given), layer.binarize()[0]
        with torch.autocast(torch.device(DEVICE).type, torch.bfloat16):
            mixed = layer.sign(given), layer.binarize()[0]
        assert all(torch.equal(p.float(), m.float()) for p, m in zip(plain, mixed, strict=True))
    with torch.autocast(torch.device(DEVICE).type, torch.bfloat16):
        loss = F.cross_entropy(net(x), torch.arange(BATCH, device=DEVICE))
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


@needs_device
def test_a_cache_saved_on_the_cpu_serves_the_device() -> None:
    regularizer = registry.load("regularizer", "lcr_fixed").Regularizer(cache=True)
    net, teacher = make("irnet").to(DEVICE), make("full_precision", seed=3).to(DEVICE)
    x = images().to(DEVICE)

    def value(term) -> float:
        context = api.observe(net.train(), [term], x, torch.arange(len(x), device=DEVICE))
        return float(term.loss(context).detach())

    first = regularizer.attach(net, copy.deepcopy(teacher))
    expected = value(first)
    saved = {k: v.cpu() for k, v in first.state().items()}
    first.detach()
    resumed = regularizer.attach(net, copy.deepcopy(teacher))
    resumed.restore({k: v[:5] for k, v in saved.items()})
    assert value(resumed) == pytest.approx(expected, rel=1e-6)
    assert resumed.passes["teacher"][0] == pytest.approx(3 / 8)
