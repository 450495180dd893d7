"""A network as a list of steps between maps: what the plan makes tables of, and the plainest form of a known topology.

Only modules of known types are followed. Anything else is refused with the reason, because no test compares the
kernels with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from torch import nn
from torch.nn.modules import module as every

from lcrbench.models.backbones import _resnet, reactnet_a
from lcrbench.models.backbones._vgg import Vgg
from lcrbench.models.binary import BinaryConv2d
from lcrbench.models.methods.adabin import Maxout
from lcrbench.models.methods.reactnet import RPReLU
from lcrbench.models.network import Network


class Refused(ValueError):
    """Why a network is not evaluated on packed bits."""


ACTIVATIONS = (nn.Identity, nn.Hardtanh, nn.ReLU, nn.PReLU, RPReLU, Maxout)


@dataclass(frozen=True, eq=False)
class Map:
    """A map of one image that a step makes: (height, width, channels)."""

    channels: int
    height: int
    width: int

    @property
    def numbers(self) -> int:
        """Return how many floats it has."""
        return self.channels * self.height * self.width


@dataclass(frozen=True)
class Finish:
    """What follows a convolution: pool "", "first", "last" or "three"; activations before and after the batch norm."""

    norm: nn.BatchNorm2d
    pool: str = ""
    before: nn.Module | None = None
    after: nn.Module | None = None


@dataclass(frozen=True, eq=False)
class Step:
    """`source` to `target`, of which it writes the channels from `channel` on."""

    source: Map
    target: Map
    channel: int = field(default=0, kw_only=True)


@dataclass(frozen=True, eq=False)
class Stem(Step):
    """What follows the first convolution; `source` is what torch computed."""

    finish: Finish


@dataclass(frozen=True, eq=False)
class Convolution(Step):
    """A binary convolution with all that follows it, and the map that is added before the last activation."""

    layer: BinaryConv2d
    finish: Finish
    shortcut: Map | None = None


@dataclass(frozen=True, eq=False)
class Shrink(Step):
    """The mean of 2 x 2 positions, or every `stride`-th position, with zeros for new channels."""

    mean: bool
    stride: int


@dataclass(frozen=True, eq=False)
class Real(Step):
    """A part that torch computes, for all images at once."""

    module: nn.Module


@dataclass
class Graph:
    """A network: the real convolution in front, the steps, and the head that torch computes from `end`."""

    first: nn.Conv2d
    start: Map
    end: Map
    head: nn.Module
    steps: list[Step]


def check(module: nn.Module) -> None:
    """Raise `Refused` for what would make a module compute something else than its class says."""
    if every._global_forward_hooks or every._global_forward_pre_hooks:
        raise Refused("every module has hooks")
    for name, part in module.named_modules():
        where = name or "the network"
        if part.training:
            raise Refused(f"{where} is in training mode")
        if part._forward_hooks or part._forward_pre_hooks or hasattr(part, "parametrizations"):
            raise Refused(f"{where} has hooks")
        if "forward" in vars(part):
            raise Refused(f"{where} has a forward of its own")


def of(network: nn.Module, height: int, width: int) -> Graph:
    """Return the graph of a network for images of a size; raises `Refused` for one that is not known."""
    check(network)
    if type(network) is not Network:
        raise Refused(f"a {type(network).__name__} is no network that lcrbench builds")
    body = network.body
    parts = dict(body.named_children())
    if type(body) not in _KNOWN:
        raise Refused(f"the backbone {type(body).__name__} is not known")
    stem = list(parts["stem"].children()) if type(parts["stem"]) is nn.Sequential else []
    first = stem[0] if stem else None
    if type(first) is not nn.Conv2d or first.bias is not None:
        raise Refused("the stem does not begin with a convolution without bias")
    start = Map(first.out_channels, *(side(n, first, k) for k, n in enumerate((height, width))))
    finish = finish_of(stem[1:])
    steps: list[Step] = [Stem(start, _pooled(start, finish), finish)]
    end = _KNOWN[type(body)](body, steps)
    return Graph(first, start, end, parts["head"], steps)


def side(size: int, conv: nn.Conv2d, axis: int) -> int:
    """Return the length of a side of a convolution's output."""
    if isinstance(conv.padding, str) or conv.padding_mode != "zeros" or conv.dilation != (1, 1) or conv.groups != 1:
        raise Refused("a convolution is dilated, grouped or padded otherwise than with zeros")
    return (size + 2 * conv.padding[axis] - conv.kernel_size[axis]) // conv.stride[axis] + 1


def finish_of(modules: Sequence[nn.Module]) -> Finish:
    """Return what follows a convolution, from the modules in order."""
    norms = [k for k, m in enumerate(modules) if type(m) is nn.BatchNorm2d]
    if len(norms) != 1:
        raise Refused(f"{len(norms)} batch norms follow a convolution, not one")
    norm = modules[norms[0]]
    assert isinstance(norm, nn.BatchNorm2d)
    if norm.running_mean is None or norm.running_var is None:
        raise Refused("a batch norm has no running statistics")
    before, after = list(modules[: norms[0]]), list(modules[norms[0] + 1 :])
    pool = ""
    if before and type(before[0]) is nn.MaxPool2d:
        pool = _pool(before.pop(0), "first")
    if after and type(after[-1]) is nn.MaxPool2d:
        if pool:
            raise Refused("two pools follow one convolution")
        last = after.pop()
        # After an activation a pool of 2 x 2 would need both.
        pool = _pool(last, "three" if last.kernel_size in (3, (3, 3)) else "last")
    if len(before) > 1 or len(after) > 1 or (pool == "first" and before) or (pool == "last" and after):
        raise Refused("what follows a convolution stands in an order that is not known")
    for activation in (*before, *after):
        if type(activation) not in ACTIVATIONS:
            raise Refused(f"the activation {type(activation).__name__} is not known")
    return Finish(norm, pool, before[0] if before else None, after[0] if after else None)


def _pool(module: nn.Module, place: str) -> str:
    assert isinstance(module, nn.MaxPool2d)
    form = (_pair(module.kernel_size), _pair(module.stride), _pair(module.padding), _pair(module.dilation))
    wanted = ((3, 3), (2, 2), (1, 1), (1, 1)) if place == "three" else ((2, 2), (2, 2), (0, 0), (1, 1))
    if form != wanted or module.ceil_mode or module.return_indices:
        raise Refused("a maximum pool has a form that is not known")
    return place


def _pair(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _pooled(x: Map, finish: Finish) -> Map:
    if finish.pool == "three":
        return Map(x.channels, (x.height - 1) // 2 + 1, (x.width - 1) // 2 + 1)
    if finish.pool:
        if x.height % 2 or x.width % 2:
            raise Refused(f"a pool of 2 x 2 takes a map of {x.height} x {x.width}")
        return Map(x.channels, x.height // 2, x.width // 2)
    return x


def convolve(
    steps: list[Step],
    x: Map,
    layer: nn.Module,
    finish: Finish,
    shortcut: Map | None = None,
    into: Map | None = None,
    channel: int = 0,
) -> Map:
    """Add a binary convolution of a map to the steps, and return the map that it makes."""
    if type(layer) is not BinaryConv2d:
        raise Refused(f"the convolution {type(layer).__name__} is not binary")
    kernel, stride, padding = layer.kernel_size, layer.stride, layer.padding
    known = kernel in ((1, 1), (3, 3)) and padding == (kernel[0] // 2,) * 2 and stride in ((1, 1), (2, 2))
    if not known or layer.bias is not None or layer.real_weights:
        raise Refused("a binary convolution has another form than 1 x 1 or 3 x 3 with stride 1 or 2")
    if layer.in_channels != x.channels or x.channels not in (16, *range(32, 1 << 14, 32)) or layer.out_channels % 16:
        raise Refused(f"a binary convolution has {layer.in_channels} to {layer.out_channels} channels")
    made = Map(layer.out_channels, *(side(n, layer, k) for k, n in enumerate((x.height, x.width))))
    target = into or _pooled(made, finish)
    if shortcut is not None and (shortcut.channels, shortcut.height, shortcut.width) != (
        made.channels,
        made.height,
        made.width,
    ):
        raise Refused("a shortcut has another shape than what it is added to")
    steps.append(Convolution(x, target, layer, finish, shortcut, channel=channel))
    return target


def _vgg(body: nn.Module, steps: list[Step]) -> Map:
    assert isinstance(body, Vgg)
    x = steps[-1].target
    for block in body.blocks:
        if type(block) is not nn.Sequential:
            raise Refused(f"the block {type(block).__name__} is not known")
        parts = list(block)
        x = convolve(steps, x, parts[0], finish_of(parts[1:]))
    return x


def _resnet_steps(body: nn.Module, steps: list[Step]) -> Map:
    assert isinstance(body, _resnet.ResNet)
    x = steps[-1].target
    for block in body.blocks:
        if type(block) is not _resnet.Block:
            raise Refused(f"the block {type(block).__name__} is not known")
        beside = _shortcut(block.shortcut, x, steps)
        norm, act, early = block.norm, block.activation, block.activation_first
        if block.second is None:
            ends = [act, norm] if early else [norm, act]
            x = convolve(steps, x, block.conv, finish_of(ends), beside)
            continue
        ends = [act, norm] if early else [norm, block.inner]
        inside = convolve(steps, x, block.conv, finish_of(ends))
        parts = list(block.second.children())
        ends = parts[1:] if early else [*parts[1:], act]
        x = convolve(steps, inside, parts[0], finish_of(ends), beside)
    return x


def _shortcut(module: nn.Module, x: Map, steps: list[Step]) -> Map:
    if type(module) is nn.Identity:
        return x
    parts: list[nn.Module] = list(module.children())
    kinds: list[type] = [type(part) for part in parts]
    pool = parts[0] if kinds[0] is nn.AvgPool2d else None
    if pool is not None and not _halves(pool, x):
        raise Refused("an average pool has another form than 2 x 2 on a map of even sides")
    if kinds[-1] is _resnet.Pad:
        pad = parts[-1]
        assert isinstance(pad, _resnet.Pad)
        stride = 2 if pool is not None else pad.stride
        new = pad.new_channels
        if len(parts) != 1 + (pool is not None) or stride not in (1, 2) or (pool is not None and pad.stride != 1):
            raise Refused("a shortcut without parameters has a form that is not known")
        target = Map(x.channels + new, (x.height - 1) // stride + 1, (x.width - 1) // stride + 1)
        steps.append(Shrink(x, target, pool is not None, stride))
        return target
    if kinds == [BinaryConv2d, nn.BatchNorm2d]:
        return convolve(steps, x, parts[0], finish_of(parts[1:]))
    if kinds[-2:] == [nn.Conv2d, nn.BatchNorm2d] and len(parts) == 2 + (pool is not None):
        conv = parts[-2]
        assert isinstance(conv, nn.Conv2d)
        sides = [n // 2 if pool is not None else n for n in (x.height, x.width)]
        target = Map(conv.out_channels, *(side(n, conv, k) for k, n in enumerate(sides)))
        steps.append(Real(x, target, module))
        return target
    raise Refused("a shortcut has a form that is not known")


def _halves(pool: nn.Module, x: Map) -> bool:
    assert isinstance(pool, nn.AvgPool2d)
    form = _pair(pool.kernel_size), _pair(pool.stride), _pair(pool.padding)
    return form == ((2, 2), (2, 2), (0, 0)) and not x.height % 2 and not x.width % 2


def _mobilenet(body: nn.Module, steps: list[Step]) -> Map:
    assert isinstance(body, reactnet_a.MobileNet)
    x = steps[-1].target
    for block in body.blocks:
        if type(block) is not reactnet_a.Block:
            raise Refused(f"the block {type(block).__name__} is not known")
        beside = x
        if type(block.shortcut) is nn.AvgPool2d:
            if not _halves(block.shortcut, x):
                raise Refused("an average pool has another form than 2 x 2 on a map of even sides")
            beside = Map(x.channels, x.height // 2, x.width // 2)
            steps.append(Shrink(x, beside, True, 2))
        u = convolve(steps, x, block.conv, finish_of([block.norm, block.inner]), beside)
        points: Iterable[nn.Module] = block.points
        x = Map(u.channels * len(block.points), u.height, u.width)
        for k, point in enumerate(points):
            layer, norm = point.children()
            convolve(steps, u, layer, finish_of([norm, block.activation]), u, into=x, channel=k * u.channels)
    return x


_KNOWN: dict[type, Callable[[nn.Module, list[Step]], Map]] = {
    Vgg: _vgg,
    _resnet.ResNet: _resnet_steps,
    reactnet_a.MobileNet: _mobilenet,
}
