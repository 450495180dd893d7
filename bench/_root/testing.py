"""The conformance suite: what every entry of a kind must do, the same for our own and for a plug-in's.

    from lcrbench.testing import conform
    assert conform("method", "my_package.my_method") == []

A kind's checks lie in a module beside its contract (`SUITES`), as a tuple `CHECKS` of functions from an entry's name to
findings. The first one asks whether the entry can be used at all; the others are made only where it finds nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable

from lcrbench import registry
from lcrbench.errors import UserError

Check = Callable[[str], Iterable[str]]

SUITES = {
    "method": "lcrbench.models.conformance.methods",
    "regularizer": "lcrbench.models.conformance.regularizers",
    "backbone": "lcrbench.models.conformance.backbones",
    "estimator": "lcrbench.models.conformance.estimators",
}


def conform(kind: str, name: str) -> list[str]:
    """Return what an entry does otherwise than its kind has to, one line each; nothing for one that conforms.

    What its code raises is a finding too. Raises `UserError` for an unknown kind.
    """
    registry.files(kind)
    checks: tuple[Check, ...] = (_loads(kind), _is_described(kind))
    if kind in SUITES:
        checks += importlib.import_module(SUITES[kind]).CHECKS
    findings: list[str] = []
    for k, check in enumerate(checks):
        try:
            found = list(check(name))
        except UserError as error:
            found = [str(error)]
        except (Exception, SystemExit) as error:  # code of somebody else may raise anything
            first, claim = (str(text).partition("\n")[0] for text in (error, check.__doc__))
            found = [f"{type(error).__name__}: {first} (where it was checked: {claim.rstrip('.')})"]
        findings += found
        if found and k in (0, 2):
            break
    return list(dict.fromkeys(findings))


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
