"""Operator norms of layers as they are deployed, in brackets, and the product bound of a network's surrogate.

Everything is l2 to l2, in float64, on the real operator: binary weights with their scales, batch norm folded in, stride
and zero padding as they are. The norm of a layer's linear map is given as a bracket:

- below, Golub-Kahan-Lanczos on the operator itself with full reorthogonalization (a Ritz value never exceeds the norm);
- above, the norm of a convolution on a torus that holds the zero-padded one. With stride s, splitting positions
  k = s k' + r (polyphase: C_in s^2 input channels, k' = ceil(k / s) taps) gives a stride-1 correlation; on a torus of
  N >= n_out + k' - 1 positions none of the n_out outputs wraps around, so the operator is P C_N Q with partial isometries
  P and Q, and its norm is at most max ||W^(w)||_2 over the frequencies w = 2 pi j / N (Sedghi, Gupta, Long 2019,
  arXiv 1805.10408, for the torus). Multiplying taps by e^{i t k} multiplies the operator by unitary diagonals on both
  sides, so the grid of frequencies may be shifted by any t: on small maps, where the grid is coarse, the half-step shift
  is tried as well and the smaller bound taken. It misses the mean, at which many kernels peak and where zero padding
  bites. The gap closes as the map grows.

A network of signs has no finite Lipschitz constant. What can be bounded is its *surrogate*: the same weights, with
hardtanh in place of each sign. `product_bound` walks through the network's graph, multiplies norms along chains, adds them
where branches meet, and so bounds the surrogate's Lipschitz constant from above (Szegedy et al. 2013, arXiv 1312.6199).

What can be bounded of the network of signs itself is its range: no two images of the box [0, 1]^d give outputs further
apart than `range_bound`, which carries distances through the same graph, from sqrt(d) at the pixels. n signs are at most
2 sqrt(n) apart whatever came before them, and n numbers in [-1, 1] too. Where a network ends in hardtanh, global average
pooling over C channels and a linear layer W, it is 2 sqrt(C) ||W||_2.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from lcrbench.errors import UserError
from lcrbench.models.api import Estimator
from lcrbench.models.binary import BinaryConv2d, deployed_weight, input_levels

SIGNS = (Estimator,)
SMALL = 20
"""Torus side up to which the shifted grid is tried: above, the gap is below a percent."""

ARGUMENTS = {
    "max_pool2d": ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"),
    "avg_pool2d": (
        "input",
        "kernel_size",
        "stride",
        "padding",
        "ceil_mode",
        "count_include_pad",
        "divisor_override",
    ),
}
"""What the functions of pools take, in order."""

METADATA = {
    *("size", "shape", "dim", "ndim", "ndimension", "numel", "nelement", "stride"),
    *("dtype", "device", "layout", "get_device", "is_contiguous", "is_floating_point"),
}
"""What is asked of a tensor but its numbers: the same for every image, as long as the shape is."""

REMEMBERED = 500
"""How many brackets are remembered: a layer is asked for alone, by its block and by the whole network."""

ROUNDING = 1e-10
"""Relative amount by which an upper bound is raised, for the rounding of its own computation in float64."""


@dataclass(frozen=True)
class Bracket:
    """The norm of a linear map lies in [lower, upper]."""

    lower: float
    upper: float

    @property
    def gap(self) -> float:
        """Return upper / lower - 1."""
        return self.upper / self.lower - 1 if self.lower else 0.0


known_brackets: dict[tuple[object, ...], Bracket] = {}


def lanczos(
    forward: Callable[[Tensor], Tensor], adjoint: Callable[[Tensor], Tensor], start: Tensor, iterations: int = 40
) -> float:
    """Return a lower bound of ||A||_2, the largest Ritz value from `start` (float64); A is given by `forward`, `adjoint`.

    Both bases are kept orthogonal by repeated Gram-Schmidt; without it the value overshoots.
    """
    v = start / start.norm()
    right, left = [v.flatten()], list[Tensor]()
    alphas, betas = list[float](), list[float]()
    u = forward(v)
    for k in range(iterations):
        flat = u.flatten()
        if left:
            basis = torch.stack(left)
            for _ in range(2):
                flat = flat - basis.T @ (basis @ flat)
        alpha = float(flat.norm())
        alphas.append(alpha)
        # A remainder at the level of rounding holds no direction: the Krylov space is exhausted.
        if alpha <= 1e-13 * max(alphas):
            break
        left.append(flat / alpha)
        flat = (adjoint(left[-1].view_as(u)) - alpha * v).flatten()
        basis = torch.stack(right)
        for _ in range(2):
            flat = flat - basis.T @ (basis @ flat)
        beta = float(flat.norm())
        if beta <= 1e-13 * max(alphas) or k + 1 == iterations:
            break
        betas.append(beta)
        right.append(flat / beta)
        v = right[-1].view_as(start)
        u = forward(v) - beta * left[-1].view_as(u)
    bidiagonal = torch.diag(torch.tensor(alphas, dtype=torch.float64))
    for k, beta in enumerate(betas[: len(alphas) - 1]):
        bidiagonal[k, k + 1] = beta
    return float(torch.linalg.matrix_norm(bidiagonal, ord=2))


def conv_lower(weight: Tensor, stride: int, padding: int, size: tuple[int, int], iterations: int = 40) -> float:
    """Return a lower bound of the norm of x -> conv2d(x, weight) on maps (C_in, *size) with zero padding."""
    weight = weight.detach().double().cpu()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, weight.shape[1], *size, generator=generator, dtype=torch.float64)
    out = F.conv2d(x, weight, stride=stride, padding=padding).shape[2:]
    extra = tuple(n - ((m - 1) * stride - 2 * padding + k) for n, m, k in zip(size, out, weight.shape[2:], strict=True))

    def adjoint(y: Tensor) -> Tensor:
        return F.conv_transpose2d(y, weight, stride=stride, padding=padding, output_padding=extra)

    return lanczos(lambda v: F.conv2d(v, weight, stride=stride, padding=padding), adjoint, x, iterations)


def conv_upper(weight: Tensor, stride: int, padding: int, size: tuple[int, int]) -> float:
    """Return an upper bound of the same norm: that of the polyphase kernel on the torus of n_out + k' - 1 positions."""
    weight = weight.detach().double().cpu()
    taps = [-(-k // stride) for k in weight.shape[2:]]
    torus = [(n + 2 * padding - k) // stride + 1 + t - 1 for n, k, t in zip(size, weight.shape[2:], taps, strict=True)]
    kernel = F.pad(weight, (0, taps[1] * stride - weight.shape[3], 0, taps[0] * stride - weight.shape[2]))
    phases = F.pixel_unshuffle(kernel, stride)
    shifts = (0.0, 0.5) if max(torus) <= SMALL else (0.0,)
    return min(_torus_norm(phases, torus, shift) for shift in shifts) * (1 + ROUNDING)


def _torus_norm(kernel: Tensor, torus: list[int], shift: float) -> float:
    """Return max over frequencies 2 pi (j + shift) / N, shift 0 or 1/2, of the norm of the kernel's transform."""
    # Real taps: opposite frequencies give conjugate matrices, and both grids are symmetric, so half of one axis will do.
    rows = (torch.arange(torus[0], dtype=torch.float64) + shift) / torus[0]
    columns = (torch.arange(torus[1] // 2 + 1, dtype=torch.float64) + shift) / torus[1]
    waves = [
        torch.exp(-2j * math.pi * w[:, None] * torch.arange(k, dtype=torch.float64))
        for w, k in ((rows, kernel.shape[2]), (columns, kernel.shape[3]))
    ]
    half = torch.einsum("oikl,wl->oikw", kernel.to(waves[1].dtype), waves[1])
    spectrum = torch.einsum("oikw,vk->vwoi", half, waves[0]).flatten(0, 1)
    if spectrum.shape[1] > spectrum.shape[2]:
        spectrum = spectrum.mT
    top = torch.linalg.eigvalsh(spectrum @ spectrum.mH)[:, -1].max()
    return math.sqrt(max(0.0, float(top)))


def conv_bracket(weight: Tensor, stride: int, padding: int, size: tuple[int, int], groups: int = 1) -> Bracket:
    """Return both bounds; of a grouped convolution, which is block-diagonal, the largest of its groups' bounds."""
    weight = weight.detach().double().cpu().contiguous()
    digest = hashlib.sha256(weight.numpy().tobytes()).digest()
    key = (digest, tuple(weight.shape), stride, padding, size, groups)
    if key not in known_brackets:
        parts = [
            Bracket(conv_lower(w, stride, padding, size), conv_upper(w, stride, padding, size))
            for w in weight.chunk(groups)
        ]
        if len(known_brackets) >= REMEMBERED:
            known_brackets.clear()
        known_brackets[key] = Bracket(max(p.lower for p in parts), max(p.upper for p in parts))
    return known_brackets[key]


def matrix_bracket(weight: Tensor) -> Bracket:
    """Return the norm of a matrix from its singular values: both ends agree to rounding."""
    sigma = float(torch.linalg.matrix_norm(weight.detach().double().cpu(), ord=2))
    return Bracket(sigma * (1 - ROUNDING), sigma * (1 + ROUNDING))


def norm_scale(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> Tensor:
    """Return what a batch norm in evaluation mode multiplies each channel by, gamma / sqrt(var + eps) (C), float64."""
    assert norm.running_var is not None
    gamma = torch.ones_like(norm.running_var) if norm.weight is None else norm.weight
    return (gamma.double() / (norm.running_var.double() + norm.eps).sqrt()).detach().cpu()


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


@dataclass
class _Value:
    """A node: its bound with respect to the input; and while a batch norm may still be folded, its linear layer.

    Then bound = before * norm(diag(scale) layer) * after, and the channels of the value are those of the layer.
    """

    known: float | None
    shape: tuple[int, ...]
    layer: tuple[str, nn.Module, tuple[int, ...]] | None = None
    before: float = 1.0
    after: float = 1.0
    norm: Callable[[], float] = float

    @property
    def bound(self) -> float:
        """Return the bound; the norm of a layer is computed only once it is known that no batch norm follows."""
        if self.known is None:
            self.known = _times(self.before, self.norm(), self.after)
        return self.known

    @property
    def endless(self) -> bool:
        """Return whether the bound is infinite, without the norm of a layer. The shape may then depend on the image."""
        return math.isinf(self.before if self.known is None else self.known)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (BinaryConv2d, nn.AdaptiveAvgPool2d, *SIGNS)) or super().is_leaf_module(
            m, module_qualified_name
        )


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
        try:
            graph = _Tracer().trace(network)
        except Exception as error:  # the tracer passes on whatever the network's own code raises
            raise UserError(f"the network's graph cannot be followed: {str(error).partition(chr(10))[0]}") from error
        super().__init__(fx.GraphModule(network, graph))
        self.network = network
        self.distances = distances
        self.extra_traceback = False
        like = next(network.parameters(), torch.empty(0))
        self.input = torch.zeros(1, *shape, device=like.device)
        self.values: dict[fx.Node, _Value] = {}
        self.versions: dict[fx.Node, int] = {}
        self.used: dict[str, _Value] = {}
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
        own, traced = self.network(image.clone()), self.module(image.clone())
        if isinstance(own, Tensor) and not (isinstance(traced, Tensor) and torch.allclose(own, traced, equal_nan=True)):
            raise UserError("the network's graph cannot be followed: it computes another function than the network")

    def run_node(self, n: fx.Node) -> Any:
        changed = any(self.env[a]._version != self.versions[a] for a in n.all_input_nodes if a in self.versions)
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.versions[n] = result._version
        if n.op == "placeholder" and result is self.input:  # other arguments of the network are at their defaults
            self.values[n] = _Value(_apart(1.0, tuple(result.shape)) if self.distances else 1.0, ())
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

    def _rule(self, n: fx.Node, inputs: list[_Value], result: Any) -> _Value:
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
            return _slope(x, 1.0)
        if any(v.endless for v in inputs):
            return _Value(math.inf, ())
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
            return _Value(sum(v.bound for v in inputs), ()) if len(inputs) > 1 else _slope(x, 1.0)
        if name in ("truediv", "div") and constants and not options and n.args[0] in self.values:
            return _Value(_times(x.bound, float(1 / torch.as_tensor(constants[0]).double().abs().min())), ())
        if name == "mul" and constants:
            return _Value(_times(x.bound, float(torch.as_tensor(constants[0]).double().abs().max())), ())
        if name == "prelu":
            slopes = torch.as_tensor(constants[0]).double().abs()
            return _Value(_times(x.bound, max(1.0, float(slopes.max()))), ())
        if name == "cat":
            return _Value(math.sqrt(sum(v.bound**2 for v in inputs)), ())
        if name in ("hardtanh", "tanh"):
            given = dict(zip(("min_val", "max_val"), args[1:], strict=False)) | options
            return self._between(x, float(given.get("max_val", 1.0)) - float(given.get("min_val", -1.0)))
        if name == "pad" and ({*args[2:], *options.values()} & {"reflect", "replicate", "circular"}):
            raise UserError("no bound is known for padding with anything but a constant")
        if name == "getitem" and not _picks_once(args[1]):
            return self._unbounded(f"{nothing} by anything but numbers and slices")
        if name == "view" and result.dtype != self.env[n.all_input_nodes[0]].dtype:
            return self._unbounded(f"{nothing} as another type")
        if name in ("pad", "getitem", "flatten", "view", "reshape", "permute"):
            return _Value(x.bound, ())
        if name in ("avg_pool2d", "max_pool2d"):
            given = dict(zip(ARGUMENTS[name], args, strict=False)) | options
            given.pop("input")
            return _slope(x, _pool_slope(name, average=name == "avg_pool2d", **given))
        return self._unbounded(nothing)

    def _between(self, x: _Value, width: float) -> _Value:
        """Carry a value through a function of slope 1 whose values span `width`."""
        value = _slope(x, 1.0)
        if not self.distances or x.endless:
            return value
        return _Value(min(value.bound, _apart(width, x.shape)), ())

    def _unbounded(self, reason: str) -> _Value:
        self.reason = self.reason or reason
        return _Value(math.inf, ())

    def _module(self, name: str, module: nn.Module, x: _Value) -> _Value:
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            if isinstance(module, BinaryConv2d) and self.distances:
                before = math.inf if x.endless else _apart(2 * level(module), x.shape)
            else:
                before = x.bound
            if isinstance(module, BinaryConv2d) and not self.distances:
                try:
                    before = _times(before, sign_slope(module))
                except UserError as error:
                    before = self._unbounded(f"the sign of '{name}' has no finite surrogate: {error}").bound
            value = _Value(None, (), (name, module, x.shape), before)
            value.norm = lambda: self._bracket(value, None).upper
            self.used.setdefault(name, value)
            return value
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) and module.running_var is not None:
            scale = norm_scale(module)
            # A linear layer's channels are the last axis, a batch norm's the second.
            if x.layer is None or x.known is not None or (isinstance(x.layer[1], nn.Linear) and len(x.shape) > 2):
                return _Value(_times(x.bound, float(scale.abs().max())), ())
            return _Value(_times(x.before, self._bracket(x, scale).upper, x.after), ())
        if isinstance(module, (nn.Hardtanh, nn.Tanh)):
            return self._between(x, module.max_val - module.min_val if isinstance(module, nn.Hardtanh) else 2.0)
        if isinstance(module, SIGNS):
            return _Value(_apart(2.0, x.shape), ()) if self.distances and not x.endless else _slope(x, 1.0)
        if isinstance(module, (nn.ReLU, nn.Identity, nn.Dropout)):
            return _slope(x, 1.0)
        if isinstance(module, nn.Flatten):
            return _Value(x.bound, ())
        if isinstance(module, nn.PReLU):
            return _Value(_times(x.bound, max(1.0, float(module.weight.detach().abs().max()))), ())
        if isinstance(module, nn.MaxPool2d):
            return _slope(x, _pool_slope(name, module.kernel_size, module.stride, dilation=module.dilation))
        if isinstance(module, nn.AvgPool2d):
            given = {key: getattr(module, key) for key in ARGUMENTS["avg_pool2d"][1:]}
            return _slope(x, _pool_slope(name, average=True, **given))
        if isinstance(module, nn.AdaptiveAvgPool2d):
            side = _one(module.output_size)
            height, width = x.shape[-2:]
            if height % side == 0 and width % side == 0:
                return _slope(x, side / math.sqrt(height * width))
        return self._unbounded(f"no bound is known for the layer '{name}' ({type(module).__name__})")

    def _bracket(self, value: _Value, scale: Tensor | None) -> Bracket:
        """Return the bracket of a value's layer with a batch norm's scale folded in, and enter it in the table."""
        assert value.layer is not None
        name, module, shape = value.layer
        assert isinstance(module, (nn.Conv2d, nn.Linear))
        weight = (deployed_weight(module) if isinstance(module, BinaryConv2d) else module.weight).double().cpu()
        if scale is not None:
            weight = weight * scale.view(-1, *[1] * (weight.ndim - 1))
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


def level(layer: BinaryConv2d) -> float:
    """Return the largest |a| of the values a s + c that a binary layer's input signs s stand for."""
    levels = input_levels(layer)
    return 1.0 if levels is None else float(torch.as_tensor(levels[0]).detach().double().abs().max())


def _apart(width: float, shape: tuple[int, ...]) -> float:
    """Return the largest l2 distance of two arrays of a shape whose numbers lie within `width` of each other."""
    return width * math.sqrt(math.prod(shape))


def _times(*factors: float) -> float:
    """Return a product of bounds and slopes, infinite if one is, also where another is 0."""
    return math.inf if any(map(math.isinf, factors)) else math.prod(factors)


def _picks_once(index: Any) -> bool:
    """Return whether an index takes no number twice: it holds numbers, slices, None and Ellipsis, no list and no tensor."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(part is None or part is ... or isinstance(part, (int, slice)) for part in parts)


def _slope(x: _Value, slope: float) -> _Value:
    """Carry a value through a map that acts on each channel alone with this slope: a batch norm after it still folds."""
    if x.known is None:
        return _Value(None, (), x.layer, x.before, x.after * slope, x.norm)
    return _Value(_times(x.bound, slope), ())


def _pool_slope(
    name: str,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    dilation: Any = 1,
    average: bool = False,
    return_indices: bool = False,
) -> float:
    """Return the Lipschitz constant of a pool, largest or average, from above; refuses those for which that is wrong.

    An input enters ceil(k / s)^2 windows, and an output moves no more than its whole window, or the mean of it.
    """
    if _one(dilation) != 1:
        raise UserError(f"no bound is known for the dilated pool '{name}'")
    if average and (ceil_mode or divisor_override is not None or (_one(padding) and not count_include_pad)):
        raise UserError(f"no bound is known for the average pool '{name}', which does not divide by its whole window")
    kernel = _one(kernel_size)
    return -(-kernel // _one(stride or kernel)) / (kernel if average else 1)


def _one(size: Any) -> int:
    if isinstance(size, (tuple, list)):
        if len(set(size)) != 1:
            raise UserError(f"no bound is known for windows of unequal sides {tuple(size)}")
        size = size[0]
    return int(size)
