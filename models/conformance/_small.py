"""Small networks, images and training steps for the checks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lcrbench.models import network as networks
from lcrbench.models import parse
from lcrbench.models.api import Backbone, Binarizer, Context, Estimator, Sign, Term, composed, observe
from lcrbench.testing import misspelt

SIZE, CLASSES, IMAGES = 16, 10, 6


def make(text: str, backbone: str = "vgg_tiny", size: int = SIZE, seed: int = 0) -> networks.Network:
    """Return the network of a choice; its initial latent weights depend on the seed and the layer's name."""

    def generator(name: str) -> torch.Generator:
        return torch.Generator().manual_seed(7919 * seed + sum(map(ord, name)))

    return networks.build(networks.choose(text), backbone, CLASSES, size, [0.3] * 3, [0.4] * 3, generator)


def images(n: int = IMAGES, size: int = SIZE) -> Tensor:
    """Return images (n, 3, size, size) in [0, 1]."""
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(1))


def step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    terms: Sequence[Term] = (),
    measure: bool = False,
    on_gradient: Callable[[nn.Module], None] = lambda network: None,
    n: int = IMAGES,
) -> tuple[Context, list[Tensor]]:
    """Take one training step on n images; return its context, and what the terms added to the loss."""
    context = observe(network, terms, images(n), torch.arange(n) % CLASSES, measure)
    loss, added = composed(context, terms, F.cross_entropy(context.logits, context.labels))
    for extra in added:
        if extra.ndim:
            raise ValueError(f"the loss of a term is one number, and not of shape {tuple(extra.shape)}")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    on_gradient(network)
    optimizer.step()
    return context, added


def sgd(network: nn.Module) -> torch.optim.Optimizer:
    """Return an optimizer of the network's parameters without a state of its own."""
    return torch.optim.SGD(network.parameters(), lr=0.05)


def different(a: nn.Module, b: nn.Module) -> list[str]:
    """Return the names of what differs between the states of two networks."""
    one, other = a.state_dict(), b.state_dict()
    names = [*one, *(k for k in other if k not in one)]
    return [k for k in names if k not in one or k not in other or not torch.equal(one[k], other[k])]


def few(names: Iterable[str]) -> str:
    """Return up to three names."""
    found = list(names)
    return ", ".join(found[:3]) + (" ..." if len(found) > 3 else "")


def finite(figures: Mapping[str, Any]) -> bool:
    """Tell whether all figures are finite numbers."""
    return all(isinstance(v, (int, float)) and math.isfinite(v) for v in figures.values())


def misspelt_hooks(module: ModuleType) -> Iterator[str]:
    """Find methods of a module's layers that are nearly those of their contract, and that nothing would call."""
    for cls in vars(module).values():
        if not isinstance(cls, type) or cls.__module__ != module.__name__:
            continue
        for base in (Estimator, Sign, Binarizer, Backbone):  # an estimator is a sign too
            if issubclass(cls, base):
                hooks = {n for b in base.__mro__[: base.__mro__.index(nn.Module)] for n in vars(b) if n[0] != "_"}
                for line in misspelt(sorted(hooks), vars(cls)):
                    yield f"the class '{cls.__name__}': {line}"
                break


def round_trip(name: str, options: Mapping[str, Any]) -> Iterator[str]:
    """Find options that are not read as they are written."""
    try:
        (part,) = parse.read(parse.write([parse.Part(name, options)]))
        again = parse.typed(name, part.options, options)
    except ValueError as error:
        yield f"its options cannot be written as text: {error}"
        return
    if again != dict(options):
        yield f"its options {dict(options)} are read back as {again}"
