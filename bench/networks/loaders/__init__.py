"""Loaders of networks from outside, one file each; the file's name is the scheme of MODEL. Here stands their contract.

A loader's module defines

    load_network(name: lcrbench.bench.networks.name.Name) -> lcrbench.bench.networks.loaded.Loaded

It returns the network on the processor, in evaluation mode where it made it itself, or raises `UserError` in one line: for
what is not there, for weights that do not fit, and for a package that is not installed (`extra`). It imports such packages
when it is called.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from lcrbench.errors import UserError


def extra(module: str, package: str, name: str) -> ModuleType:
    """Import a module that only an extra installs; raises `UserError` that says how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"networks by {name}: need the package {package}, which is not installed: pip install 'lcrbench[{name}]'"
        ) from error
