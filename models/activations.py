"""Records what enters and leaves named parts of a network in one forward pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Activations:
    """By the name of a part: the tensor that entered it and the one that left it, of its first use."""

    inputs: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)


@contextmanager
def recorded(network: nn.Module, names: Iterable[str]) -> Iterator[Activations]:
    """Record the named parts (as in `named_modules`) of every pass inside the block; hooks are gone after it.

    Raises `AttributeError` if the network has no part of a name.
    """
    found = Activations()

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            found.inputs.setdefault(name, inputs[0])
            found.outputs.setdefault(name, output)

        return hook

    parts = {name: network.get_submodule(name) for name in dict.fromkeys(names)}
    handles = [part.register_forward_hook(keep(name)) for name, part in parts.items()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def named(network: nn.Module, name: str) -> str:
    """Return the full name of the first part whose own name is `name`; raises `ValueError` if there is none."""
    full: str
    for full, _ in network.named_modules():
        if full.rpartition(".")[2] == name:
            return full
    raise ValueError(f"needs a network with a part called '{name}'")
