"""Composes a method and a backbone into a network, with the normalization of the images inside it."""

from __future__ import annotations

import copy
import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from lcrbench import registry
from lcrbench.errors import UserError
from lcrbench.models import parse
from lcrbench.models.api import Backbone, Binarizer, Method, Regularizer, Sign, Term
from lcrbench.models.binary import BinaryConv2d, binary_layers, weight_offset
from lcrbench.models.definitions import definition
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
    method: Method
    regularizers: dict[str, Regularizer]

    @property
    def label(self) -> str:
        """Return the text that `choose` reads back, with options that differ from the default: `irnet+lcr:weight=0.0`."""
        return parse.write(
            parse.Part(name, parse.changed(_options(one), _options(type(one))))
            for name, one in [(self.name, self.method), *self.regularizers.items()]
        )


def choose(text: str) -> Choice:
    """Return the method and regularizers that `text` names, each with its options set.

    The form is `METHOD[:OPTION=VALUE,...][+REGULARIZER[:OPTION=VALUE,...]]...` (see `parse`). `lcr` alone is short for
    `irnet+lcr`. Raises `UserError` for an unknown name or option, or a value of the wrong type.
    """
    form = "METHOD:OPTION=VALUE,...+REGULARIZER:OPTION=VALUE,..."
    parts = parse.read(text, "method", form)
    head = parts[0].name
    if "." not in head and head not in registry.files("method") and head in registry.names("regularizer"):
        parts.insert(0, parse.Part("irnet"))
    method = _instance("method", parts[0])
    regularizers = {}
    for part in parts[1:]:
        instance = _instance("regularizer", part)
        if part.name in regularizers:
            raise UserError(f"'{text}' names the regularizer '{part.name}' twice")
        regularizers[part.name] = instance
    return Choice(parts[0].name, method, regularizers)


def backbone_text(text: str) -> str:
    """Return a backbone as `topology` reads it, with those options alone that differ from their default.

    Raises `UserError` as `topology` does.
    """
    name, options = topology(text)
    return parse.write([parse.Part(name, parse.changed(options, _backbone_defaults(name)))])


def _backbone_defaults(name: str) -> dict[str, Any]:
    parameters = inspect.signature(registry.load("backbone", name).build).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def topology(text: str) -> tuple[str, dict[str, Any]]:
    """Return the name of the backbone that `text` names and all its options: `resnet18:shortcut=binary,convs=2`.

    Raises `UserError` for an unknown backbone or option, or a value of the wrong type.
    """
    parts = parse.read(text, "backbone", "BACKBONE:OPTION=VALUE,...")
    if len(parts) > 1:
        raise UserError(f"'{text}' is no backbone: nothing is added to one by '+'")
    (part,) = parts
    defaults = _backbone_defaults(part.name)
    return part.name, defaults | parse.typed(part.name, part.options, defaults)


def body(choice: Choice, backbone: str, classes: int, size: int) -> Backbone:
    """Return the bare topology with the method's layers, as changed by regularizers that are part of the network.

    Raises `UserError` if the method, its regularizers and the backbone do not fit one another.
    """
    name, options = topology(backbone)
    with _told(choice, f"'{choice.label}' does not fit the backbone '{backbone}'", name):
        made = registry.load("backbone", name).build(choice.method, classes, size, **options)
        if not isinstance(made, Backbone):
            raise UserError(f"the backbone '{name}' builds no lcrbench.models.api.Backbone, but {type(made).__name__}")
        for regularizer in choice.regularizers.values():
            regularizer.prepare(made)
    return made


def teachers(choice: Choice) -> list[str]:
    """Return the methods of the teachers that a choice's regularizers need, each once: with weight 0, none."""
    return list(dict.fromkeys(r.teacher for r in choice.regularizers.values() if r.teacher and r.weight > 0))


def attach(choice: Choice, network: nn.Module, teachers: Mapping[str, nn.Module] | None = None) -> dict[str, Term]:
    """Return the terms of a choice's regularizers for a network, by name; `teachers` by method, each copied for its term.

    Without teachers, to find out whether all fits. Raises `UserError` for what does not fit: a network that a regularizer
    refuses, parts that it watches and the network has not, and terms that replace more than the whole cross-entropy.
    """
    terms: dict[str, Term] = {}
    with _told(choice, f"'{choice.label}' does not fit the network"):
        for name, regularizer in choice.regularizers.items():
            teacher = copy.deepcopy((teachers or {}).get(regularizer.teacher))
            terms[name] = term = regularizer.attach(network, teacher)
            if not isinstance(term, Term):
                raise UserError(f"the regularizer '{name}' attaches {type(term).__name__}, no lcrbench.models.api.Term")
            parts = dict(network.named_modules())
            if missing := [part for part in term.watch if part not in parts]:
                raise UserError(f"the regularizer '{name}' watches '{missing[0]}', which the network has not")
        if sum(term.replaces for term in terms.values()) > 1:
            raise UserError(f"'{choice.label}' takes more than the whole of the cross-entropy away: lower a weight")
    return terms


@contextmanager
def _told(choice: Choice, what: str, backbone: str | None = None) -> Iterator[None]:
    """Tell in one line what does not fit, and whatever else code from outside raises; our own code fails loudly."""
    entries = [("method", choice.name), *(("regularizer", name) for name in choice.regularizers)]
    entries += [("backbone", backbone)] if backbone else []
    try:
        yield
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{what}: {error}".partition("\n")[0]) from error
    except Exception as error:
        if all(name in registry.files(kind) for kind, name in entries):
            raise
        raise UserError(f"{what}: {type(error).__name__}: {error}".partition("\n")[0]) from error


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


def must_decay(network: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that the parts of a method declare in `decays`, in the order of their definition."""
    parts = [m for m in network.modules() if isinstance(m, (Sign, Binarizer))]
    return [m.get_parameter(name) for m in parts for name in m.decays]


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
        more = isinstance(module, BinaryConv2d) and weight_offset(module) is not None
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


def _instance(kind: str, part: parse.Part) -> Any:
    cls = definition(kind, part.name)
    options = parse.typed(part.name, part.options, _options(cls))
    try:
        return cls(**options)
    except ValueError as error:
        raise UserError(f"{part.name}: {error}") from error
    except Exception as error:
        if part.name in registry.files(kind):
            raise
        raise UserError(f"{part.name}: {type(error).__name__}: {error}".partition("\n")[0]) from error


def _options(of: Any) -> dict[str, Any]:
    """Return the options of a method or regularizer with their values, or of its class with their defaults."""
    return {f.name: f.default if isinstance(of, type) else getattr(of, f.name) for f in fields(of)}
