"""Checks of a backbone, with a binary method and a real one."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import torch
from torch import nn

from lcrbench import registry
from lcrbench.errors import UserError
from lcrbench.models import network as networks
from lcrbench.models.activations import recorded
from lcrbench.models.api import Backbone, Order
from lcrbench.models.audit import audit
from lcrbench.models.binary import BinaryConv2d, binary_layers, path_layers
from lcrbench.models.conformance._small import CLASSES, few, images, make, misspelt_hooks, round_trip
from lcrbench.models.methods import irnet

SIZES = (8, 16, 32, 64, 224)
BINARY, REAL = "irnet", "full_precision"


def contract(name: str) -> Iterator[str]:
    """It builds a network for images of some size."""
    parameters = list(inspect.signature(registry.load("backbone", name).build).parameters.values())
    if [p.name for p in parameters[:3]] != ["method", "classes", "size"]:
        yield "build takes (method, classes, size), and options as keywords"
        return
    if wrong := [p.name for p in parameters[3:] if p.kind is not p.KEYWORD_ONLY or p.default is p.empty]:
        yield f"options of build are keywords with defaults, which {few(wrong)} is not"
        return
    yield from misspelt_hooks(registry.load("backbone", name))
    _size(name)


def options(name: str) -> Iterator[str]:
    """Its options are recorded, and read as they are written."""
    yield from round_trip(*networks.topology(name))


def logits(name: str) -> Iterator[str]:
    """It gives logits, by its head, the same for an image in any batch."""
    size = _size(name)
    for method in (BINARY, REAL):
        net = make(method, name, size).double().eval()
        x = images(2, size).double()
        if not hasattr(net.body, "head"):
            yield "its last part is not called 'head'"
            return
        with torch.no_grad(), recorded(net, ["body.head"]) as found:
            out, alone = net(x), net(x[:1])
        if tuple(out.shape) != (2, CLASSES):
            yield f"it gives {tuple(out.shape)} for 2 images and {CLASSES} classes"
        elif not torch.equal(found.outputs.get("body.head", torch.zeros(())), out):
            yield "its logits are not what its head gives"
        elif not torch.allclose(out[:1], alone, rtol=1e-9, atol=1e-9):
            yield "the logits of an image depend on its batch"


def stages(name: str) -> Iterator[str]:
    """Its stages are parts of it that are used one after the other."""
    net = make(BINARY, name, _size(name)).eval()
    body = net.body
    assert isinstance(body, Backbone)
    names = {id(m): k for k, m in body.named_modules()}
    if any(id(stage) not in names for stage in body.stages()):
        yield "stages() returns modules that are no parts of it"
        return
    listed = [names[id(stage)] for stage in body.stages()]
    with torch.no_grad(), recorded(body, listed) as found:
        net(images(2, _size(name)))
    if [*found.outputs] != listed:
        yield f"stages() returns {few(listed)}, and a pass uses {few(found.outputs)}"


def order(name: str) -> Iterator[str]:
    """Batch norm and activation follow a convolution in the method's order, or it refuses the method."""
    for method in IN_ORDER:
        choice = networks.Choice("irnet", method, {})
        try:
            body = networks.body(choice, name, CLASSES, _size(name)).eval()
        except UserError:
            continue
        kinds = (BinaryConv2d, _Marked, nn.BatchNorm2d)
        parts = {k: m for k, m in body.named_modules() if isinstance(m, kinds) and "shortcut" not in k.split(".")}
        with torch.no_grad(), recorded(body, parts) as found:
            body(images(2, _size(name)))
        for k, following in pairwise(found.outputs):
            wrong = nn.BatchNorm2d if method.order == "activation-norm" else _Marked
            if isinstance(parts[k], BinaryConv2d) and isinstance(parts[following], wrong):
                yield (
                    f"'{following}' follows '{k}' for a method whose order is '{method.order}': make blocks by "
                    "lcrbench.models.api.ordered"
                )
                return


class _Marked(nn.ReLU):
    """An activation that can be told from a backbone's own."""


@dataclass(frozen=True)
class _Ordered(irnet.Method):
    """IR-Net with a block of either order."""

    first: str = "norm"

    @property
    def order(self) -> Order:
        return "activation-norm" if self.first == "activation" else "norm-activation"

    def activation(self, channels: int) -> nn.Module:
        return _Marked()


IN_ORDER = (_Ordered(first="norm"), _Ordered(first="activation"))


def bits(name: str) -> Iterator[str]:
    """With a binary method it is binary outside stem, shortcut and head."""
    net = make(BINARY, name, _size(name)).eval()
    if not path_layers(net):
        yield f"with '{BINARY}' it has no binary convolution outside shortcuts ({len(binary_layers(net))} inside)"
        return
    yield from audit(net, images(2, _size(name))).faults


@lru_cache(maxsize=1)
def _size(name: str) -> int:
    """Return the smallest size that it takes; raises the error of the last one if it takes none."""
    refused: Exception | None = None
    for size in SIZES:
        try:
            with torch.no_grad():
                make(BINARY, name, size).eval()(images(1, size))
            return size
        except (UserError, RuntimeError) as error:
            refused = error
    assert refused is not None
    raise refused


CHECKS = (contract, options, logits, stages, order, bits)
