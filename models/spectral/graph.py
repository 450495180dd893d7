"""Follows a network's graph and carries a bound along it, node by node."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from lcrbench.errors import UserError
from lcrbench.models.binary import BinaryConv2d, deployed_weight
from lcrbench.models.spectral.operators import Bracket, conv_bracket, matrix_bracket, norm_scale
from lcrbench.models.spectral.rules import (
    ARGUMENTS,
    SIGNS,
    Value,
    apart,
    level,
    one,
    picks_once,
    pool_slope,
    through,
    times,
)
from lcrbench.models.spectral.tracing import not_followed, trace

METADATA = {
    *("size", "shape", "dim", "ndim", "ndimension", "numel", "nelement", "stride"),
    *("dtype", "device", "layout", "get_device", "is_contiguous", "is_floating_point"),
}
"""What is asked of a tensor but its numbers: the same for every image, as long as the shape is."""


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer of a network with the batch norm that follows it folded in.

    `bracket` is that of the linear map in between: for a binary layer from the values that the signs stand for.
    """

    name: str
    binary: bool
    bracket: Bracket


@dataclass(frozen=True)
class Bounds:
    """The layers in the order of use, and an upper bound: of the surrogate's Lipschitz constant, or of the range.

    The bound is infinite where an operation has no rule here, or no Lipschitz constant (a sign that standardizes by image,
    a conversion to whole numbers); `reason` then names the first such operation. A product bound comes with all layers, a
    bound of the range with those that it needs.
    """

    layers: tuple[Layer, ...]
    bound: float
    reason: str = ""


@torch.no_grad()
def product_bound(network: nn.Module, shape: tuple[int, ...]) -> Bounds:
    """Return the brackets of a network's layers, and the product bound of its surrogate, for inputs (1, *shape).

    From l2 at the pixels to l2 at the output. Raises `UserError` if the network's graph cannot be followed, because its
    path depends on the image.
    """
    return _Walk(network, shape).run()


@torch.no_grad()
def range_bound(network: nn.Module, shape: tuple[int, ...]) -> Bounds:
    """Return an upper bound of ||f(y) - f(x)||_2 over all images x, y in the box [0, 1], of the network as it is deployed.

    So omega(x; eps) is at most this at every image, norm and radius, for networks of signs too. Raises as `product_bound`.
    """
    return _Walk(network, shape, distances=True).run()


class _Walk(fx.Interpreter):
    """Runs the graph on a black image for the shapes, and carries a bound beside each value.

    The bound is a Lipschitz constant from the pixels to the value; or, with `distances`, how far apart the value can be for
    two images. Distances obey the same rules, but begin at that of a black and a white image and end at bounded functions.
    What is infinite stays so: bounded functions bound by their shape, which a mask may have made depend on the image.
    """

    def __init__(self, network: nn.Module, shape: tuple[int, ...], distances: bool = False) -> None:
        super().__init__(trace(network))
        self.network = network
        self.distances = distances
        self.extra_traceback = False
        like = next(network.parameters(), torch.empty(0))
        self.input = torch.zeros(1, *shape, device=like.device)
        self.values: dict[fx.Node, Value] = {}
        self.versions: dict[fx.Node, int] = {}
        self.used: dict[str, Value] = {}
        self.layers: dict[str, Layer] = {}
        self.reason = ""

    def run(self) -> Bounds:  # type: ignore[override]
        super().run(self.input)
        self._check()
        output = next(n for n in self.graph.nodes if n.op == "output")
        bound = self.values[output].bound if output in self.values else 0.0
        if not self.distances:
            for name, value in self.used.items():
                if name not in self.layers:
                    self._bracket(value, None)
        return Bounds(tuple(self.layers[name] for name in self.used if name in self.layers), bound, self.reason)

    def _check(self) -> None:
        """Refuse a network that is not its graph: tracing draws noise once, and follows no `+=` that has a second name."""
        image = torch.rand(self.input.shape, generator=torch.Generator().manual_seed(0)).to(self.input.device)
        try:
            own, traced = self.network(image.clone()), self.module(image.clone())
        except Exception as error:  # the network's own code may raise anything
            raise not_followed(error) from error
        if isinstance(own, Tensor) and not (isinstance(traced, Tensor) and torch.allclose(own, traced, equal_nan=True)):
            raise UserError("the network's graph cannot be followed: it computes another function than the network")

    def run_node(self, n: fx.Node) -> Any:
        changed = any(self.env[a]._version != self.versions[a] for a in n.all_input_nodes if a in self.versions)
        try:
            result = super().run_node(n)
        except Exception as error:  # likewise, for a graph that left out what the network did apart from it
            raise not_followed(error) from error
        if isinstance(result, Tensor):
            self.versions[n] = result._version
        if n.op == "placeholder" and result is self.input:  # other arguments of the network are at their defaults
            self.values[n] = Value(apart(1.0, tuple(result.shape)) if self.distances else 1.0, ())
        elif changed:
            self.values[n] = self._unbounded(f"no bound is known for '{n.name}', whose input was changed in place")
        elif (known := self._operands(n)) and not self._is_metadata(n, result):
            self.values[n] = self._rule(n, [self.values[a] for a in known], result)
        if n in self.values and n.op != "output":
            self.values[n].shape = tuple(result.shape) if isinstance(result, Tensor) else ()
        return result

    def _is_metadata(self, n: fx.Node, result: Any) -> bool:
        """Return whether a node asks a value for what no image changes."""
        asked = n.op != "call_module" and self._name(n) in METADATA and not isinstance(result, Tensor)
        return asked and not any(self.values[a].endless for a in self._operands(n))

    def _name(self, n: fx.Node) -> str:
        """Return the name of a node's operation; of `getattr`, that of the attribute."""
        name = n.target if isinstance(n.target, str) else getattr(n.target, "__name__", str(n.target))
        return str(n.args[1]) if name == "getattr" else name

    def _operands(self, n: fx.Node) -> list[fx.Node]:
        """Return the arguments of a node that depend on the image, one as often as it is given: x + x has two."""
        given: list[fx.Node] = []
        fx.node.map_arg((n.args, n.kwargs), given.append)
        return [a for a in given if a in self.values]

    def _rule(self, n: fx.Node, inputs: list[Value], result: Any) -> Value:
        """Return the bound of a node from those of the inputs that depend on the image."""
        x, name = inputs[0], self._name(n)
        nothing = f"no bound is known for the operation '{name}'"
        if n.op == "output":
            return x if n.args[0] in self.values else self._unbounded("no bound is known for several outputs")
        if not isinstance(result, Tensor):
            return self._unbounded(nothing)
        if result.dtype not in (torch.float32, torch.float64):
            # A conversion rounds; only that to 32 bits is too fine to count.
            return self._unbounded(f"{nothing} with a result of type {str(result.dtype).removeprefix('torch.')}")
        if n.op == "call_module":
            return self._module(name, self.module.get_submodule(name), x)
        # Other arguments by their values: a window may be the size of a map.
        args: Any
        options: Any
        args, options = fx.node.map_arg((n.args, n.kwargs), lambda a: a if a in self.values else self.env[a])
        if name in ("relu", "neg", "abs", "clamp", "to", "float", "double", "contiguous") and len(inputs) == 1:
            return through(x, 1.0)
        if any(v.endless for v in inputs):
            return Value(math.inf, ())
        constants = [self.env[a] for a in n.all_input_nodes if a not in self.values]
        constants += [a for a in args if isinstance(a, (int, float))]
        # Only sums and concatenations are known for several values: products, say, have no bound.
        if len(inputs) > 1 and name not in ("add", "sub", "iadd", "cat"):
            return self._unbounded(nothing)
        # A map that is spread over positions or channels counts as often as it is repeated.
        if name in ("add", "sub", "iadd", "mul", "truediv", "div", "prelu"):
            if any(v.shape != tuple(result.shape) for v in inputs):
                raise UserError(f"no bound is known for the operation '{name}' that broadcasts its input")
            if "alpha" in options or (name in ("add", "sub") and len(args) > 2):
                raise UserError(f"no bound is known for the operation '{name}' with alpha: multiply before it")
        if name in ("add", "sub", "iadd"):
            return Value(sum(v.bound for v in inputs), ()) if len(inputs) > 1 else through(x, 1.0)
        if name in ("truediv", "div") and constants and not options and n.args[0] in self.values:
            return Value(times(x.bound, float(1 / torch.as_tensor(constants[0]).double().abs().min())), ())
        if name == "mul" and constants:
            return Value(times(x.bound, float(torch.as_tensor(constants[0]).double().abs().max())), ())
        if name == "prelu":
            slopes = torch.as_tensor(constants[0]).double().abs()
            return Value(times(x.bound, max(1.0, float(slopes.max()))), ())
        if name == "cat":
            return Value(math.sqrt(sum(v.bound**2 for v in inputs)), ())
        if name in ("hardtanh", "tanh"):
            given = dict(zip(("min_val", "max_val"), args[1:], strict=False)) | options
            return self._between(x, float(given.get("max_val", 1.0)) - float(given.get("min_val", -1.0)))
        if name == "pad" and ({*args[2:], *options.values()} & {"reflect", "replicate", "circular"}):
            raise UserError("no bound is known for padding with anything but a constant")
        if name == "getitem" and not picks_once(args[1]):
            return self._unbounded(f"{nothing} by anything but numbers and slices")
        if name == "view" and result.dtype != self.env[n.all_input_nodes[0]].dtype:
            return self._unbounded(f"{nothing} as another type")
        if name in ("pad", "getitem", "flatten", "view", "reshape", "permute"):
            return Value(x.bound, ())
        if name in ("avg_pool2d", "max_pool2d"):
            given = dict(zip(ARGUMENTS[name], args, strict=False)) | options
            given.pop("input")
            return through(x, pool_slope(name, average=name == "avg_pool2d", **given))
        return self._unbounded(nothing)

    def _between(self, x: Value, width: float) -> Value:
        """Carry a value through a function of slope 1 whose values span `width`."""
        value = through(x, 1.0)
        if not self.distances or x.endless or value.bound <= apart(width, x.shape):
            return value
        return Value(apart(width, x.shape), ())

    def _unbounded(self, reason: str) -> Value:
        self.reason = self.reason or reason
        return Value(math.inf, ())

    def _module(self, name: str, module: nn.Module, x: Value) -> Value:
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            if isinstance(module, BinaryConv2d) and self.distances:
                before = math.inf if x.endless else apart(2 * level(module), x.shape)
            else:
                before = x.bound
            # A sign has a surrogate that acts on each channel alone where it is a bare estimator.
            bare = not isinstance(module, BinaryConv2d) or (not self.distances and isinstance(module.sign, SIGNS))
            taken = x.scale if bare and self._takes_channels(module, x) else None
            if taken is not None:
                before = x.within
            if isinstance(module, BinaryConv2d) and not self.distances:
                try:
                    before = times(before, sign_slope(module))
                except UserError as error:
                    before = self._unbounded(f"the sign of '{name}' has no finite surrogate: {error}").bound
            value = Value(None, (), (name, module, x.shape), before, taken=taken)
            value.norm = lambda: self._norm(value, None)
            self.used.setdefault(name, value)
            return value
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) and module.running_var is not None:
            scale = norm_scale(module)
            # A linear layer's channels are the last axis, a batch norm's the second.
            if x.layer is None or x.known is not None or (isinstance(x.layer[1], nn.Linear) and len(x.shape) > 2):
                return Value.scaled(x.bound, scale) if x.scale is None else Value.scaled(x.within, x.scale * scale)
            return Value(times(x.before, self._norm(x, scale), x.after), ())
        if isinstance(module, (nn.Hardtanh, nn.Tanh)):
            return self._between(x, module.max_val - module.min_val if isinstance(module, nn.Hardtanh) else 2.0)
        if isinstance(module, SIGNS):
            return Value(apart(2.0, x.shape), ()) if self.distances and not x.endless else through(x, 1.0)
        if isinstance(module, (nn.ReLU, nn.Identity, nn.Dropout)):
            return through(x, 1.0)
        if isinstance(module, nn.Flatten):
            if x.scale is None or (module.start_dim, module.end_dim) != (1, -1):
                return Value(x.bound, ())
            return Value.scaled(x.within, x.scale.repeat_interleave(math.prod(x.shape[2:])))
        if isinstance(module, nn.PReLU):
            return Value(times(x.bound, max(1.0, float(module.weight.detach().abs().max()))), ())
        if isinstance(module, nn.MaxPool2d):
            return through(x, pool_slope(name, module.kernel_size, module.stride, dilation=module.dilation))
        if isinstance(module, nn.AvgPool2d):
            given = {key: getattr(module, key) for key in ARGUMENTS["avg_pool2d"][1:]}
            return through(x, pool_slope(name, average=True, **given))
        if isinstance(module, nn.AdaptiveAvgPool2d):
            side = one(module.output_size)
            height, width = x.shape[-2:]
            if height % side == 0 and width % side == 0:
                return through(x, side / math.sqrt(height * width))
        return self._unbounded(f"no bound is known for the layer '{name}' ({type(module).__name__})")

    def _takes_channels(self, module: nn.Conv2d | nn.Linear, x: Value) -> bool:
        """Tell whether a layer's inputs are the channels of a value with a scale, so that it can be folded in."""
        if x.scale is None:
            return False
        axes = 2 if isinstance(module, nn.Linear) else 4
        return len(x.shape) == axes and x.shape[1] == len(x.scale)

    def _norm(self, value: Value, scale: Tensor | None) -> float:
        """Return the upper bound of the norm of a value's layer, with the batch norms before and behind it folded in.

        The table's layer has that behind it alone, so that its norm is a figure of the layer.
        """
        own = self._bracket(value, scale).upper
        if value.taken is None:
            return own
        # Never above the plain bound, which the gap of the two brackets could make it.
        return min(own * float(value.taken.abs().max()), self._bracket(value, scale, value.taken).upper)

    def _bracket(self, value: Value, scale: Tensor | None, taken: Tensor | None = None) -> Bracket:
        """Return the bracket of a value's layer with scales of its outputs and inputs; without the latter it is entered."""
        assert value.layer is not None
        name, module, shape = value.layer
        assert isinstance(module, (nn.Conv2d, nn.Linear))
        weight = (deployed_weight(module) if isinstance(module, BinaryConv2d) else module.weight).double().cpu()
        if scale is not None:
            weight = weight * scale.view(-1, *[1] * (weight.ndim - 1))
        if taken is not None:
            groups = module.groups if isinstance(module, nn.Conv2d) else 1
            # (groups, inputs of one) against weights (outputs, inputs of one group, ...): each output has its group's.
            own = taken.view(groups, -1).repeat_interleave(len(weight) // groups, 0)
            weight = weight * own.view(*own.shape, *[1] * (weight.ndim - 2))
        if isinstance(module, nn.Conv2d):
            if module.dilation != (1, 1):
                raise UserError(f"no bound is known for the dilated convolution '{name}'")
            if module.padding_mode != "zeros":
                raise UserError(f"no bound is known for the convolution '{name}' with {module.padding_mode} padding")
            if not isinstance(module.padding, tuple):
                raise UserError(f"no bound is known for padding '{module.padding}' of '{name}': give it as a number")
            if len({*module.stride}) > 1 or len({*module.padding}) > 1:
                raise UserError(f"no bound is known for the convolution '{name}' with unequal strides or paddings")
            bracket = conv_bracket(weight, module.stride[0], module.padding[0], (shape[-2], shape[-1]), module.groups)
        else:
            bracket = matrix_bracket(weight)
        if taken is None:
            self.layers[name] = Layer(name, isinstance(module, BinaryConv2d), bracket)
        return bracket


def sign_slope(layer: BinaryConv2d) -> float:
    """Return the Lipschitz constant of what the surrogate puts before a binary layer's weights: hardtanh for the sign.

    Thresholds shift, and cost nothing; a scale inside the sign and the levels that the signs stand for multiply.
    """
    inner: nn.Module = layer.sign
    if isinstance(inner, SIGNS):
        return level(layer)
    # The sign's own graph: slopes of what stands before its estimator. The bound needs only channels and ranks.
    bounds = product_bound(inner, (layer.in_channels, 4, 4))
    if bounds.reason:
        raise UserError(bounds.reason)
    return level(layer) * bounds.bound
