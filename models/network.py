"""Composes a method and a backbone into a network, with the normalization of the images inside it."""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from lcrbench import registry
from lcrbench.errors import UserError, unknown
from lcrbench.models.binary import BinaryConv2d, binary_layers
from lcrbench.models.packed import export


class Network(nn.Module):
    """A classifier of images (N, 3, H, W), float32 in [0, 1], to logits (N, classes).

    Normalization by the training data's mean and standard deviation happens inside, so that corruptions, perturbations
    and distances outside are all in pixel space.
    """

    def __init__(self, body: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.body = body
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.body((images - self.mean) / self.std)
        return logits


@dataclass(frozen=True)
class Choice:
    """A method with its regularizers, as parsed from text such as `irnet+lcr:weight=0.5,beta=2`."""

    name: str
    method: Any
    regularizers: dict[str, Any]

    @property
    def label(self) -> str:
        """Return the name with those options that differ from the default: `irnet+lcr:weight=0`."""
        return "+".join(
            name + _changed(instance) for name, instance in [(self.name, self.method), *self.regularizers.items()]
        )


def choose(text: str) -> Choice:
    """Return the method and regularizers that `text` names, each with its options set.

    The form is `METHOD[:OPTION=VALUE,...][+REGULARIZER[:OPTION=VALUE,...]]...`. `lcr` alone is short for `irnet+lcr`.
    Raises `UserError` for an unknown name or option, or a value of the wrong type.
    """
    parts = text.split("+")
    for part in parts:
        if not (name := part.partition(":")[0]) or "=" in name:
            raise UserError(f"'{text}' is no method: write METHOD:OPTION=VALUE,...+REGULARIZER:OPTION=VALUE,...")
    head = parts[0].partition(":")[0]
    if head in registry.files("regularizer"):
        parts.insert(0, "irnet")
    method_name, method = _instance("method", parts[0])
    regularizers = {}
    for part in parts[1:]:
        name, instance = _instance("regularizer", part)
        if name in regularizers:
            raise UserError(f"'{text}' names the regularizer '{name}' twice")
        regularizers[name] = instance
    return Choice(method_name, method, regularizers)


def topology(text: str) -> tuple[str, dict[str, Any]]:
    """Return the name of the backbone that `text` names and all its options: `resnet18:shortcut=binary,convs=2`.

    Raises `UserError` for an unknown backbone or option, or a value of the wrong type.
    """
    name = text.partition(":")[0]
    parameters = inspect.signature(registry.load("backbone", name).build).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    return name, defaults | _options(text, defaults)


def body(choice: Choice, backbone: str, classes: int, size: int) -> nn.Module:
    """Return the bare topology with the method's layers, as changed by regularizers that are part of the network.

    Raises `UserError` if the method, its regularizers and the backbone do not fit one another.
    """
    name, options = topology(backbone)
    try:
        made: nn.Module = registry.load("backbone", name).build(choice.method, classes, size, **options)
        for regularizer in choice.regularizers.values():
            if hasattr(regularizer, "prepare"):
                regularizer.prepare(made)
    except ValueError as error:
        raise UserError(f"'{choice.label}' does not fit the backbone '{backbone}': {error}") from error
    return made


def build(
    choice: Choice,
    backbone: str,
    classes: int,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    generator: Callable[[str], torch.Generator],
) -> Network:
    """Return the network with its initial weights.

    Each latent weight is drawn from `generator(its name)`, so that it depends on the layer and the seed alone: all methods
    of a comparison start from the same ones. Convolutions: normal with variance 2 / (k^2 C_out) (He et al. 2015, arXiv
    1502.01852, fan-out); linear layers: uniform within 1/sqrt(fan-in). Everything else starts at the method's constants.
    """
    network = Network(body(choice, backbone, classes, size), mean, std)
    with torch.no_grad():
        for name, weight in latent_weights(network).items():
            if weight.ndim == 4:
                fan_out = weight.shape[0] * weight.shape[2] * weight.shape[3]
                weight.normal_(0.0, (2.0 / fan_out) ** 0.5, generator=generator(name))
            else:
                bound = weight.shape[1] ** -0.5
                weight.uniform_(-bound, bound, generator=generator(name))
        for module in network.modules():
            if isinstance(module, nn.Linear) and module.bias is not None:
                module.bias.zero_()
    for layer in binary_layers(network).values():
        if hasattr(layer.binarizer, "start"):
            layer.binarizer.start(layer.weight)
    return network


def latent_weights(network: nn.Module) -> dict[str, nn.Parameter]:
    """Return the weights of convolutions and linear layers by name: what is shared at the start, and what decays."""
    found: dict[str, nn.Parameter] = {}
    for name, module in network.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            assert isinstance(module.weight, nn.Parameter)
            found[f"{name}.weight"] = module.weight
    return found


def weights_hash(network: nn.Module) -> str:
    """Return the sha256 over names, shapes and values of the latent weights."""
    digest = hashlib.sha256()
    for name, weight in sorted(latent_weights(network).items()):
        digest.update(f"{name}{tuple(weight.shape)}".encode())
        digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Cost:
    """Multiply-accumulates of convolutions and linear layers for one image, in all and by layers with binary operands.

    Batch norm, activations and scales are not counted, as in the literature's counts. A layer whose weights have an offset
    needs, for each image, the sum of the signs under each window: one more output channel of its convolution. An input's
    offset adds what no image changes, like a bias, and is not counted.
    """

    macs: int
    binary_macs: int

    @property
    def ops(self) -> float:
        """Return real multiply-accumulates plus 1/64 of the binary ones (Liu et al. 2018, arXiv 1808.00278)."""
        return self.macs - self.binary_macs + self.binary_macs / 64


def memory_bits(network: nn.Module) -> int:
    """Return the size of the deployed network: one bit for each binary weight, 32 for each other number of its export.

    These are real weights, biases, the four numbers a channel of batch norm, scales, offsets and thresholds.
    """
    layers = binary_layers(network)
    binary = sum(layer.weight.numel() for layer in layers.values())
    rest = {k: v for k, v in export(network).items() if v.is_floating_point() and k not in ("mean", "std")}
    return binary + 32 * sum(v.numel() for v in rest.values())


def cost(network: nn.Module, size: int) -> Cost:
    """Count the multiply-accumulates of one forward pass on one size x size image."""
    counts = {True: 0, False: 0}

    def count(module: nn.Module, _: Any, output: Tensor) -> None:
        assert isinstance(module, (nn.Conv2d, nn.Linear))
        more = isinstance(module, BinaryConv2d) and hasattr(module.binarizer, "offset")
        channels = output.shape[1] + int(more)
        counts[isinstance(module, BinaryConv2d)] += module.weight[0].numel() * channels * output[0, 0].numel()

    layers = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    handles = [m.register_forward_hook(count) for m in layers]
    training = network.training
    try:
        with torch.no_grad():
            device = next(network.parameters()).device
            network.eval()(torch.zeros(1, 3, size, size, device=device))
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    return Cost(counts[True] + counts[False], counts[True])


def definition(kind: str, name: str) -> Any:
    """Return the class `Method` or `Regularizer` of a method or regularizer; raises `UserError` if there is none."""
    cls = getattr(registry.load(kind, name), kind.capitalize(), None)
    if cls is None:
        raise UserError(f"the {kind} '{name}' defines no class '{kind.capitalize()}'")
    return cls


def _instance(kind: str, text: str) -> tuple[str, Any]:
    name = text.partition(":")[0]
    cls = definition(kind, name)
    options = _options(text, {f.name: f.default for f in fields(cls)})
    try:
        return name, cls(**options)
    except ValueError as error:
        raise UserError(f"{name}: {error}") from error


def _options(text: str, defaults: dict[str, Any]) -> dict[str, Any]:
    """Return the options that `NAME:OPTION=VALUE,...` gives, converted to the types of the defaults."""
    name, _, given = text.partition(":")
    options = {}
    for item in filter(None, given.split(",")):
        key, equals, value = item.partition("=")
        if key not in defaults:
            raise unknown(f"option of {name}", key, defaults)
        if not equals:
            raise UserError(f"option '{key}' of {name} has no value: write {key}={defaults[key]}")
        options[key] = _convert(name, key, value, defaults[key])
    return options


def _convert(name: str, key: str, value: str, default: Any) -> Any:
    if isinstance(default, bool):
        if value.lower() in ("true", "false"):
            return value.lower() == "true"
        raise UserError(f"option '{key}' of {name} is true or false, not '{value}'")
    if isinstance(default, (int, float)):
        what = "a whole number" if isinstance(default, int) else "a number"
        try:
            number = type(default)(value)
        except ValueError as error:
            raise UserError(f"option '{key}' of {name} is {what}, not '{value}'") from error
        if not math.isfinite(number):
            raise UserError(f"option '{key}' of {name} is {what}, not '{value}'")
        return number
    return value


def _changed(instance: Any) -> str:
    """Return the options that differ from the default, as they are typed."""
    changed = [
        f"{f.name}={str(v).lower() if isinstance(v, bool) else v}"
        for f in fields(instance)
        if (v := getattr(instance, f.name)) != f.default
    ]
    return ":" + ",".join(changed) if changed else ""
