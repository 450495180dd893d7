"""Checks of a loader: what it refuses, it refuses in one line."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from lcrbench import registry
from lcrbench.bench.networks.name import Name
from lcrbench.errors import UserError


def contract(name: str) -> Iterator[str]:
    """It takes the parts of a network's name."""
    load = registry.load("loader", name).load_network
    if not callable(load) or [*inspect.signature(load).parameters] != ["name"]:
        yield "load_network is a function of (name)"


def refusal(name: str) -> Iterator[str]:
    """What does not exist is refused in one line."""
    missing = "no-such-folder/no-such-network"
    try:
        found = registry.load("loader", name).load_network(Name(name, missing, {}))
    except UserError as error:
        if "\n" in str(error):
            yield f"load_network refuses in more than one line: {str(error)[:60]!r}"
        return
    yield f"load_network gives a {type(found).__name__} for '{missing}', and raises no lcrbench.UserError"


CHECKS = (contract, refusal)
