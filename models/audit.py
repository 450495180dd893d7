"""Proves that a trained network is binary where it says so, by watching what its convolutions are really given.

A forward pass of the network with its weights as deployed is watched below the level of modules, where every convolution
and matrix product passes, whatever calls it. For each layer that is called binary, it is checked that

1. it makes convolutions and no other product, and each is given -1 and +1 alone, in its input and in every filter (zeros
   of the padding are apart: `padded` says whether there are any, `padded_taps` how many of the taps fall on them);
2. the values these stand for are an affine image of them, a s + c for the input and alpha b + beta for a filter: two each;
3. exclusive or and population count on the packed export give the same whole numbers, on the same input.

Beside these layers there may be no convolution or other product, but for the first of the pass and those of the parts
called `stem`, `shortcut` and `head`, which a backbone may leave real.

Then the packed network's logits must equal the network's to 1e-9 in float64. In float32 they may differ: rounding differs,
and can flip a sign. A network that fails cannot be reported as 1/1 bit.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lcrbench.models import packed
from lcrbench.models.api import Binarizer
from lcrbench.models.binary import BinaryConv2d, binary_layers, input_levels

TOLERANCE = 1e-9
REAL = {"stem", "shortcut", "head"}
CONVOLUTIONS = ("convolution", "_convolution", "mkldnn_convolution")
PRODUCTS = ("mm", "bmm", "addmm", "baddbmm", "mv", "dot", "linear", "matmul")


@dataclass(frozen=True)
class Layer:
    """One binary layer: what its inputs' signs stand for (scale s + offset), and whether zeros pad its input.

    `padded_taps` is the share of an image's taps, H' W' k k for each channel, that fall on zeros of the padding.
    """

    name: str
    input_scale: float
    input_offset: float
    padded: bool
    padded_taps: float


@dataclass(frozen=True)
class Audit:
    """The outcome: `faults` is empty for a network that is binary in the layers named."""

    layers: tuple[Layer, ...]
    logit_difference: float
    faults: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Tell whether the network may be called binary in these layers."""
        return not self.faults


@torch.no_grad()
def audit(network: nn.Module, images: Tensor) -> Audit:
    """Audit a network, in evaluation mode, on images (N, 3, H, W) in [0, 1]; two or more, so that they differ."""
    network, images = copy.deepcopy(network).cpu().eval(), images.cpu()
    frozen = freeze(network)
    faults = []
    if not torch.equal(frozen(images), network(images)):
        faults.append("the network with its deployed weights gives other logits")
    tensors = packed.export(network)
    watch = _Watch(frozen, tensors)
    with watch:
        frozen(images)
    watch.detach()
    faults += watch.faults
    wide = images.double()
    difference = frozen.double()(wide) - packed.restore(network, tensors).double()(wide)
    distance = float(difference.abs().max())
    # Written so that nan is a fault.
    if not distance <= TOLERANCE:
        faults.append(f"the packed network's logits differ by {distance:.3g} in float64")
    layers = []
    for name, layer in binary_layers(network).items():
        a, c = (float(v) for v in input_levels(layer) or (1.0, 0.0))
        layers.append(Layer(name, a, c, int(layer.padding[0]) > 0, watch.padded_taps.get(name, 0.0)))
        if name not in watch.seen:
            faults.append(f"{name} was never used")
    return Audit(tuple(layers), distance, tuple(faults))


class Frozen(Binarizer):
    """A binarizer that returns constants."""

    def __init__(self, bits: Tensor, scale: Tensor | None, beta: Tensor | None) -> None:
        super().__init__()
        self.bits: Tensor
        self.scale: Tensor | None
        self.beta: Tensor | None
        self.register_buffer("bits", bits)
        self.register_buffer("scale", scale)
        self.register_buffer("beta", beta)

    def forward(self, weight: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the signs and the scale."""
        return self.bits, self.scale

    def offset(self, weight: Tensor) -> Tensor | None:
        """Return beta (C_out), or None."""
        return self.beta


def freeze(network: nn.Module) -> nn.Module:
    """Return a copy of a network whose binary layers have their deployed weights as constants."""
    frozen = copy.deepcopy(network)
    for layer in binary_layers(frozen).values():
        layer.binarizer = Frozen(*packed.deployed(layer))
    return frozen


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records every operation of a forward pass with the binary layer in which it happens."""

    def __init__(self, network: nn.Module, tensors: dict[str, Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tensors = tensors
        self.inside: tuple[str, BinaryConv2d] | None = None
        self.path: list[str] = []  # the modules whose forward pass is under way
        self.started = False
        self.seen: set[str] = set()
        self.padded_taps: dict[str, float] = {}
        self.faults: list[str] = []
        self.handles = []
        for name, module in network.named_modules():
            self.handles.append(module.register_forward_pre_hook(self._push(name)))
            self.handles.append(module.register_forward_hook(self._pop))
        for name, layer in binary_layers(network).items():
            self.handles.append(layer.register_forward_pre_hook(self._enter(name)))
            self.handles.append(layer.register_forward_hook(self._leave))

    def _push(self, name: str) -> Any:
        def push(module: nn.Module, inputs: Any) -> None:
            self.path.append(name)

        return push

    def _pop(self, *_: Any) -> None:
        self.path.pop()

    def _enter(self, name: str) -> Any:
        def enter(layer: nn.Module, inputs: Any) -> None:
            assert isinstance(layer, BinaryConv2d)
            self.inside = name, layer

        return enter

    def _leave(self, *_: Any) -> None:
        self.inside = None

    def detach(self) -> None:
        for handle in self.handles:
            handle.remove()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        kind = func.overloadpacket.__name__
        if kind not in (*CONVOLUTIONS, *PRODUCTS):
            return out
        if self.inside is None:
            where = self.path[-1] if self.path else ""
            if self.started and not REAL.intersection(where.split(".")):
                self.faults.append(
                    f"{where or 'the network'} makes a real product ({kind}) outside stem, shortcut and head"
                )
        elif kind in CONVOLUTIONS:
            self._check(*self.inside, args[0], args[1], out)
        else:
            self.faults.append(f"{self.inside[0]} makes a product of another kind ({kind})")
        self.started = True
        return out

    def _check(self, name: str, layer: BinaryConv2d, inputs: Tensor, weight: Tensor, out: Tensor) -> None:
        for what, tensor in (("input", inputs), ("weight", weight)):
            if not bool((tensor.abs() == 1).all()):
                found = sorted(set(tensor.flatten().tolist()))
                values = ", ".join(f"{v:.4g}" for v in found[:4])
                self.faults.append(f"{name} convolves {what}s of {len(found)} values ({values} ...)")
                return
        ones = len(weight) == 1 and bool((weight == 1).all()) and layer.out_channels > 1
        bits = self.tensors[f"{name}.bits"]
        filters = torch.full_like(bits[:1], 255) if ones else bits
        counted = packed.count(inputs, filters.numpy(), weight.shape[-1], int(layer.stride[0]), int(layer.padding[0]))
        if not torch.equal(counted.to(out.dtype), out):
            self.faults.append(f"{name}: the packed filters give other sums than its convolution")
        window = torch.ones_like(weight[:1, :1])
        inside = torch.conv2d(torch.ones_like(inputs[:1, :1]), window, None, layer.stride, layer.padding)
        self.padded_taps[name] = 1 - float(inside.double().mean()) / window.numel()
        self.seen.add(name)
