"""The conformance suite: what every entry of a kind must do, the same for our own and for a plug-in's.

    from lcrbench.testing import conform
    assert conform("method", "my_package.my_method") == []

The checks of a kind lie beside its contract, under the name that `SUITES` gives: a tuple of functions from an entry's name
to findings, or one function from an entry's module and its name to findings. The first check of a tuple asks whether the
entry can be used at all; the others are made only where it finds nothing.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

from lcrbench import registry
from lcrbench.errors import UserError

Check = Callable[[str], Iterable[str]]

SUITES = {
    "method": "lcrbench.models.conformance.methods:CHECKS",
    "regularizer": "lcrbench.models.conformance.regularizers:CHECKS",
    "backbone": "lcrbench.models.conformance.backbones:CHECKS",
    "estimator": "lcrbench.models.conformance.estimators:CHECKS",
    "metric": "lcrbench.bench.metrics._conformance:check",
    "corruption": "lcrbench.corruptions.conformance:CHECKS",
    "source": "lcrbench.bench.data.conformance:CHECKS",
    "transform": "lcrbench.bench.training.conformance:check_transform",
    "optimizer": "lcrbench.bench.training.conformance:check_optimizer",
    "schedule": "lcrbench.bench.training.conformance:check_schedule",
    "table": "lcrbench.reports.conformance:check_table",
    "figure": "lcrbench.reports.conformance:check_figure",
    "preset": "lcrbench.bench.presets._conformance:CHECKS",
    "executor": "lcrbench.bench.executors._conformance:CHECKS",
    "loader": "lcrbench.bench.networks.loaders._conformance:CHECKS",
}
"""Where the checks of each kind lie, as MODULE:ATTRIBUTE."""


def conform(kind: str, name: str) -> list[str]:
    """Return what an entry does otherwise than its kind has to, one line each; nothing for one that conforms.

    `name` is a name of the registry, an import path, or the file of a preset. What the entry's code raises is a finding
    too. Raises `UserError` for an unknown kind.
    """
    registry.files(kind)
    findings: list[str] = []
    for k, check in enumerate((_loads(kind), _is_described(kind), *_suite(kind))):
        try:
            found = list(check(name))
        except UserError as error:
            found = [str(error)]
        except (Exception, SystemExit) as error:  # code of somebody else may raise anything
            claim = " ".join((check.__doc__ or "").partition("\n")[0].split()).rstrip(".")
            found = [f"{raised(error)} (where it was checked: {claim})"]
        findings += [" ".join(line.split()) for line in found]
        if found and k in (0, 2):
            break
    return list(dict.fromkeys(findings))


def raised(error: BaseException) -> str:
    """Return an exception in one line: its class, and the first line of its message."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}".removesuffix(": ")


def misspelt(parts: Iterable[str], found: Iterable[str], reader: str = "nothing") -> Iterator[str]:
    """Yield a line for each name in `found` that is nearly one of `parts`, where that part is missing.

    A misspelt optional part would have no effect, and would not be reported. `reader` says what would read the part.

    >>> list(misspelt(["detect", "ORDER"], ["load", "detects", "ORDER"]))
    ['it defines detects, which nothing reads: is detect meant?']
    """
    names = [name for name in found if not name.startswith("_")]
    missing = [part for part in parts if part not in names]
    for name in names:
        if name not in parts and (near := difflib.get_close_matches(name, missing, n=1, cutoff=0.75)):
            yield f"it defines {name}, which {reader} reads: is {near[0]} meant?"


def own_names(module: ModuleType) -> list[str]:
    """Return what a module defines itself: constants, and functions and classes that it does not import."""
    return [n for n, v in vars(module).items() if n.isupper() or getattr(v, "__module__", None) == module.__name__]


def _suite(kind: str) -> tuple[Check, ...]:
    place, _, attribute = SUITES[kind].partition(":")
    suite: Any = getattr(importlib.import_module(place), attribute)
    if isinstance(suite, tuple):
        return suite

    def check(name: str) -> Iterable[str]:
        found: list[str] = suite(registry.load(kind, name), name.rpartition(".")[2])
        return found

    check.__doc__ = suite.__doc__
    return (check,)


def _loads(kind: str) -> Check:
    def check(name: str) -> Iterable[str]:
        """The module imports, and defines what its kind needs."""
        if kind in registry.SUFFIX:
            registry.file(kind, name)
        else:
            registry.load(kind, name)
        return ()

    return check


def _is_described(kind: str) -> Check:
    def check(name: str) -> Iterable[str]:
        """The first line of the module's docstring says what it is."""
        first = registry.docstring(kind, name).partition("\n")[0]
        if not 10 < len(first) < 125:
            yield f"the first line of its docstring has {len(first)} characters, not 11 to 124: lists show it"

    return check
