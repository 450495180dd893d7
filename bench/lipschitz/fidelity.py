"""The retention-matrix proxy, what it is to be compared with, and changes that it should or should not see.

Between features F and G of a network, with the retention matrix R of each image (models/retention.py), two forms of the
proxy:

    p1        sqrt( ||R R^T 1||_2 ): one power step from a vector of ones that is not normalized, as LCR's released code
              has it (42Shawn/LCR_BNN); neither an upper nor a lower bound of sigma_1, at most sigma_1 C^(1/4)
    sigma_1   ||R||_2, exact

F and G are the inputs of consecutive binary layers ("by layer"), or the outputs of consecutive stages ("by stage", as the
released code has it). The same pairs have a local gain,

    gain      ||J||_2, J the Jacobian of F -> G in the surrogate network, with hardtanh in place of each sign, at the image

by power iteration: from below, a lower bound of the norm of what R is taken to stand for.

Neither proxy is a Lipschitz constant: activations are bounded by hardtanh, so sigma_1 saturates, at most sqrt(C_in C_out),
whatever the weights do. The two probes show it, pass or fail:

    batch-norm gain     all layers' scale and shift times 4: the operator norms grow fourfold; a proxy that grows by less
                        than twofold is blind to them
    channel sign flip   the signs of channels turned by their batch norms, with the weights that take them turned too:
                        the network's function and its operator norms are the same; a proxy that moves by more than
                        1 % measures the signs' pattern. Not made where the logits are not the same: with activations
                        that are not odd, shifted signs, or signs that stand for other values than -1 and +1
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lcrbench.bench.lipschitz.foreign import BLIND, differentiated, in_parts, ran
from lcrbench.bench.lipschitz.gradients import derivative
from lcrbench.bench.records.measurement import Part, Probe
from lcrbench.bench.seeds import generator
from lcrbench.errors import NotMeasurable, UserError
from lcrbench.models import api
from lcrbench.models.backbones._resnet import Pad, ResNet
from lcrbench.models.backbones._vgg import Vgg
from lcrbench.models.binary import BinaryConv2d, path_layers
from lcrbench.models.network import Network
from lcrbench.models.retention import retention_matrix
from lcrbench.models.spectral import product_bound

ITERATIONS = 10
"""Steps of power iteration for a local gain."""


def p1(matrices: Tensor) -> Tensor:
    """Return the released form of the proxy of matrices (N, p, q): sqrt of ||R R^T 1||_2 (N)."""
    ones = torch.ones(matrices.shape[1], 1, dtype=matrices.dtype, device=matrices.device)
    found: Tensor = torch.linalg.vector_norm(matrices @ (matrices.mT @ ones), dim=(1, 2)).sqrt()
    return found


def sigma_1(matrices: Tensor) -> Tensor:
    """Return the largest singular value of matrices (N, p, q), exact (N)."""
    top: Tensor = torch.linalg.matrix_norm(matrices, ord=2)
    return top


PROXIES: dict[str, Callable[[Tensor], Tensor]] = {"p1": p1, "sigma_1": sigma_1}
FEWER = "the network has no two binary layers in a row, which the retention proxy is about"


@contextmanager
def _features(network: nn.Module) -> Iterator[dict[Part, Tensor]]:
    """Yield a dictionary that a forward pass inside fills: by layer each binary layer's input, by stage its output.

    Raises `UserError` for a network with fewer than two binary layers in a row.
    """
    layers = path_layers(network)
    if len(layers) < 2:
        raise UserError(FEWER)
    kept: dict[Part, Tensor] = {}
    handles: list[Any] = []

    def keep_input(part: Part) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda module, inputs: kept.__setitem__(part, inputs[0])

    def keep_output(part: Part) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda module, inputs, output: kept.__setitem__(part, output)

    handles += [layer.register_forward_pre_hook(keep_input(Part(name))) for name, layer in layers.items()]
    handles += [stage.register_forward_hook(keep_output(Part(stage=k))) for k, stage in enumerate(_stages(network), 1)]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def _body(network: nn.Module) -> nn.Module:
    """Return the topology inside a network of ours; a module from elsewhere is its own."""
    return network.body if isinstance(network, Network) else network


def _stages(network: nn.Module) -> list[nn.Module]:
    body = _body(network)
    return body.stages() if isinstance(body, api.Backbone) else []


def _pairs(network: nn.Module) -> dict[Part, tuple[Part, Part]]:
    """Return where the features of each map are: a binary layer's to the next one, and a stage's from the one before."""
    stages = [Part(stage=k) for k in range(1, len(_stages(network)) + 1)]
    layers = [Part(name) for name in path_layers(network)]
    return {a: (a, b) for a, b in pairwise(layers)} | {b: (a, b) for a, b in pairwise(stages)}


@torch.no_grad()
def retention(network: nn.Module, points: Tensor) -> dict[Part, Tensor]:
    """Return the retention matrices (N, C_in, C_out), float64, by layer and stage, for points (N, 3, H, W).

    A layer's is from its input to that of the next binary layer, a stage's from the output of the stage before to its own.
    """
    with _features(network) as kept:
        ran(network, points)
    return {part: retention_matrix(kept[a].double(), kept[b].double()) for part, (a, b) in _pairs(network).items()}


def local_gains(network: nn.Module, points: Tensor, iterations: int = ITERATIONS) -> dict[Part, np.ndarray]:
    """Return the gain (N) of the surrogate between the same features, as far as the power iteration got.

    Raises `NotMeasurable` for a network from elsewhere whose features cannot be differentiated.
    """
    parts = in_parts(lambda some: _gains(network, some, iterations), points)
    return {part: np.concatenate([gains[part] for gains in parts]) for part in parts[0]}


def _gains(network: nn.Module, points: Tensor, iterations: int) -> dict[Part, np.ndarray]:
    found = {}
    draw = torch.Generator().manual_seed(0)
    with derivative(network, "surrogate"), torch.enable_grad(), _features(network) as kept:
        differentiated(network, points)
        for part, (a, b) in _pairs(network).items():
            into, out = kept[a], kept[b]
            if not (into.requires_grad and out.requires_grad):
                raise NotMeasurable(BLIND)
            # J^T u is linear in u, so its derivative along u is J.
            u = torch.zeros_like(out).requires_grad_()
            (pulled,) = torch.autograd.grad(out, into, u, create_graph=True)
            v = torch.randn(into.shape, generator=draw).to(into)
            for _ in range(iterations):
                v = v / _lengths(v).clamp_min(1e-30)
                (pushed,) = torch.autograd.grad(pulled, u, v, retain_graph=True)
                gain = _lengths(pushed)
                (v,) = torch.autograd.grad(out, into, pushed, retain_graph=True)
            found[part] = gain.detach().flatten().double().cpu().numpy()
    return found


def _lengths(x: Tensor) -> Tensor:
    length: Tensor = x.flatten(1).norm(dim=1)
    return length.view(-1, 1, 1, 1)


@dataclass(frozen=True)
class PartBound:
    """A part's product bound in the surrogate network, l2 from its input to its output; `name` as the network names it."""

    name: str
    stage: int
    bound: float


@torch.no_grad()
def part_bounds(network: nn.Module, shape: tuple[int, ...]) -> list[PartBound]:
    """Return the bound of each block between stem and head, and of which stage it is part (from 1).

    Blocks lie in a Sequential called `blocks`; empty for a topology without one.
    The bound of a stage is the product of its blocks' bounds. `shape` is that of an image, (3, H, W).
    """
    blocks = dict(_body(network).named_children()).get("blocks")
    if not isinstance(blocks, nn.Sequential):
        return []
    shapes: dict[nn.Module, tuple[int, ...]] = {}

    def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        shapes[module] = tuple(inputs[0].shape[1:])

    handles = [block.register_forward_pre_hook(keep) for block in blocks]
    try:
        device = next((p.device for p in network.parameters()), torch.device("cpu"))
        network(torch.zeros(1, *shape, device=device))
    finally:
        for handle in handles:
            handle.remove()
    names = {module: name for name, module in network.named_modules()}
    ends = _stages(network)
    found, stage = [], 1
    for block in blocks:
        found.append(PartBound(names[block], stage, product_bound(block, shapes[block]).bound))
        stage += block in ends
    return found


class _Turned(api.Binarizer):
    """A binarizer whose signs are turned for some input channels."""

    def __init__(self, binarizer: nn.Module, flips: Tensor) -> None:
        super().__init__()
        self.binarizer, self.flips = binarizer, flips

    def forward(self, weight: Tensor) -> tuple[Tensor, Tensor | None]:
        bits, scale = self.binarizer(weight)
        return bits * self.flips.view(1, -1, 1, 1), scale


@torch.no_grad()
def turned(network: nn.Module) -> nn.Module | None:
    """Return a copy with the signs of random channels turned by the batch norms, and of the weights that take them.

    It computes the same logits if activations and signs are odd, as hardtanh and sign are, and signs stand for -1 and +1:
    the caller checks. None for a network that is not one of models/backbones.
    """
    network = copy.deepcopy(network)
    body: Any = _body(network)
    if not isinstance(body, (ResNet, Vgg)):
        return None
    draw = generator(0, "sign flip")

    def flips(n: int) -> Tensor:
        return torch.from_numpy(draw.choice([-1.0, 1.0], n)).float()

    def give(norm: Any, f: Tensor) -> None:
        norm.weight.mul_(f.to(norm.weight))
        norm.bias.mul_(f.to(norm.bias))

    def take(conv: Any, f: Tensor) -> None:
        if isinstance(conv, BinaryConv2d):
            conv.binarizer = _Turned(conv.binarizer, f.to(conv.weight))
        else:
            conv.weight.mul_(f.to(conv.weight).view(1, -1, 1, 1))

    def through(parts: Any, f: Tensor | None, out: Tensor | None = None) -> Tensor:
        """Turn what a sequence takes by f, and what it gives by `out` or at random; return the latter."""
        for k, part in enumerate(parts):
            if isinstance(part, nn.Conv2d) and f is not None:
                take(part, f)
            elif isinstance(part, nn.BatchNorm2d):
                # The largest of turned numbers is another one: none are turned before a pool.
                pooled = any(isinstance(m, nn.MaxPool2d) for m in parts[k:])
                out = torch.ones(part.num_features) if pooled else flips(part.num_features) if out is None else out
                give(part, out)
            elif isinstance(part, Pad) and f is not None:
                half = part.new_channels // 2
                out = torch.cat([flips(half), f, flips(part.new_channels - half)])
        assert out is not None
        return out

    f = through(body.stem, None)
    block: Any
    for k, block in enumerate(body.blocks):
        if isinstance(block, nn.Sequential):
            last = k + 1 == len(body.blocks)
            norm = next(m for m in block if isinstance(m, nn.BatchNorm2d))
            f = through(block, f, torch.ones(norm.num_features) if last else None)
            continue
        take(block.conv, f)
        out = f if isinstance(block.shortcut, nn.Identity) else through(block.shortcut, f)
        if block.second is None:
            give(block.norm, out)
        else:
            inner = flips(block.norm.num_features)
            give(block.norm, inner)
            through(block.second, inner, out)
        f = out
    for part in body.head.modules():
        if isinstance(part, nn.BatchNorm1d) and part.num_features == len(f):
            assert part.running_mean is not None
            part.running_mean.mul_(f.to(part.running_mean))
            part.weight.mul_(f.to(part.weight))
            break
        if isinstance(part, nn.Linear) and part.in_features == len(f):
            part.weight.mul_(f.to(part.weight))
    return network


def _same(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() <= 1e-5 * a.abs().max())


@dataclass(frozen=True)
class Probed:
    """What a change of the network does to a proxy: the ratio after to before, and the verdict."""

    name: Probe
    proxy: str
    ratio: float
    passed: bool


@torch.no_grad()
def probes(network: nn.Module, points: Tensor, gain: float = 4.0) -> list[Probed]:
    """Return both probes for both proxies, each as the layer that moved least (gain) or most (sign flip).

    The sign flip is not among them where the turned network's logits are not those of the network.
    """
    before = retention(network, points)
    louder = copy.deepcopy(network)
    for module in louder.modules():
        if isinstance(module, nn.BatchNorm2d) and module.weight is not None:
            module.weight.mul_(gain)
            module.bias.mul_(gain)
    after = retention(louder, points)
    found = []
    for name, proxy in PROXIES.items():
        ratios = [float(proxy(after[k]).mean() / proxy(before[k]).mean()) for k in before]
        least = min(ratios)
        found.append(Probed(Probe.GAIN, name, least, least >= gain / 2))
    other = turned(network)
    if other is None or not _same(ran(network, points), ran(other, points)):
        return found
    after = retention(other, points)
    for name, proxy in PROXIES.items():
        ratios = [float(proxy(after[k]).mean() / proxy(before[k]).mean()) for k in before]
        worst = max(ratios, key=lambda r: abs(np.log(r)))
        found.append(Probed(Probe.FLIP, name, worst, abs(worst - 1) <= 0.01))
    return found
