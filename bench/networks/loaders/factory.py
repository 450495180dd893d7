"""MODULE:FUNCTION or path/net.py:FUNCTION, called with the arguments after ?, returns a torch module.

The function is found as `python -m` would, in installed packages and below the current folder. Weights after @ are loaded
into what it returns. Random initial weights are drawn from one seed, so that the same text names the same network.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from lcrbench import registry
from lcrbench.bench.networks.loaded import Loaded
from lcrbench.bench.networks.name import Name
from lcrbench.bench.networks.weights import load_into
from lcrbench.bench.records import source
from lcrbench.errors import UserError
from lcrbench.untrusted import bytes_of, check_regular

FORM = "MODULE:FUNCTION or path/net.py:FUNCTION names a function that returns a torch module"


def load_network(name: Name) -> Loaded:
    """Return what the function makes, with the weights of a file. Raises `UserError` with what its code raised."""
    module, colon, function = name.what.rpartition(":")
    if not (module and colon and function):
        raise UserError(f"{FORM}, not '{name.what}'")
    where = f"{Path(module).name if module.endswith('.py') else module}:{function}"
    with _found_here(Path(module) if module.endswith(".py") else None):
        try:
            found = _file(Path(module)) if module.endswith(".py") else registry.imported(module)
            made = called(getattr(found, function), name, where)
        except UserError:
            raise
        except (Exception, SystemExit) as error:  # their code may raise anything
            missing = isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}.")
            hint = ": modules of the current folder and of PYTHONPATH are found" if missing else ""
            first = str(error).partition("\n")[0]
            raise UserError(f"{where}: {type(error).__name__}: {first}{hint}") from error
    if not isinstance(made, nn.Module):
        raise UserError(f"{FORM}; '{where}' returns {type(made).__name__}")
    if name.weights:
        load_into(made, name.weights)
    by_file = module.endswith(".py")
    return Loaded(
        made,
        function,
        modules=() if by_file or source.is_installed(module) else (module,),
        code_sha256=hashlib.sha256(bytes_of(module)).hexdigest() if by_file else "",
    )


def called(make: Any, name: Name, where: str) -> Any:
    """Return what a function makes of the arguments, random weights drawn from one seed.

    Raises `UserError` for what is no function, or needs other arguments.
    """
    if isinstance(make, nn.Module):
        raise UserError(f"{FORM}; '{where}' is the module itself")
    if not callable(make):
        raise UserError(f"{FORM}; '{where}' is no function")
    if lacking := [k for k in _needs(make) if k not in name.arguments]:
        raise UserError(f"{FORM}; '{where}' needs arguments: {', '.join(lacking)}: write {where}?{lacking[0]}=...")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make(**name.arguments)


def _needs(make: Callable[..., Any]) -> list[str]:
    """Return the arguments without which a function cannot be called."""
    try:
        given = inspect.signature(make).parameters.values()
    except ValueError:  # some functions of C tell nothing about theirs
        return []
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in given if p.default is p.empty and p.kind not in optional]


def _file(path: Path) -> ModuleType:
    """Import a file by a name of its own, which no other module has."""
    if not path.is_file():
        raise UserError(f"there is no file '{path}'")
    check_regular(path)
    known = f"_lcrbench_{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(known, path)
    assert spec is not None
    assert spec.loader is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[known] = module  # dataclasses and pickles look for their module by name
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[known]
        raise
    return module


@contextmanager
def _found_here(file: Path | None) -> Iterator[None]:
    """Let modules of the current folder, or of a file's own folder, be imported; the latter for this call only."""
    if file is None:
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
            importlib.invalidate_caches()
        yield
        return
    before = list(sys.path)
    sys.path.insert(0, str(file.resolve().parent))
    try:
        yield
    finally:
        sys.path[:] = before
