"""Check whether a plug-in keeps the contract of its kind."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import click

from lcrbench import registry
from lcrbench.bench.cli import _plugins as plugins
from lcrbench.bench.cli import say
from lcrbench.errors import UserError, unknown
from lcrbench.testing import conform, raised


@click.command(epilog="Example: lcrbench conform my_pkg.my_method")
@click.argument("words", nargs=-1, required=True, metavar="[KIND] ENTRY")
@click.pass_context
def command(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Check an ENTRY: an import path such as my_pkg.my_method, its file, a preset's .toml file, or a registered name.

    The import path is looked for in the current folder too. Where KIND is not given, it is told from what the module
    defines. The check is that of our own entries: missing parts, wrong types and values, and what differs between two
    calls that must agree. Each finding is one line. Exit code 2 if there is any.
    """
    if len(words) > 2:
        raise UserError(f"unexpected '{words[2]}': write lcrbench conform [KIND] ENTRY")
    *given, text = words
    if given and given[0] not in registry.PACKAGES:
        raise unknown("kind", given[0], registry.PACKAGES)
    is_file = any(text.endswith(suffix) for suffix in registry.SUFFIX.values())
    entry = text if is_file else plugins.entry_of(text)
    kind = given[0] if given else _kind_of_file(text) if is_file else _kind(entry)
    findings = conform(kind, entry)
    for finding in findings:
        say(f"{text}: {finding}")
    if findings:
        ctx.exit(2)
    say(f"{text} is a{'n' * (kind[0] in 'aeiou')} {kind} that keeps its contract")


def _kind_of_file(text: str) -> str:
    return next(kind for kind, suffix in registry.SUFFIX.items() if text.endswith(suffix))


def _kind(entry: str) -> str:
    """Return the kind that has an entry of this name, or that a module's parts tell.

    Raises `UserError` where no kind does, or several do.
    """
    if "." not in entry:
        kinds = [k for k in registry.PACKAGES if any(entry in (n, registry.public(k, n)) for n in registry.names(k))]
        if len(kinds) == 1:
            return kinds[0]
        what = f"there is a {' and a '.join(kinds)} of that name" if kinds else "there is no entry of that name"
        raise UserError(f"'{entry}': {what}; write lcrbench conform KIND {entry}")
    module = _module(entry)
    kinds = [kind for kind, marks in plugins.MARKS.items() if any(_own(module, mark) for mark in marks)]
    if len(kinds) == 1:
        return kinds[0]
    if kinds:
        raise UserError(f"'{entry}' may be a {' or a '.join(kinds)}: write lcrbench conform KIND {entry}")
    marks = ", ".join(f"{' or '.join(marks)} ({kind})" for kind, marks in plugins.MARKS.items())
    raise UserError(f"'{entry}' is of no known kind: it defines none of {marks}")


def _own(module: ModuleType, name: str) -> bool:
    """Return whether a module defines a name itself, and does not import it from elsewhere."""
    return getattr(getattr(module, name, None), "__module__", None) == module.__name__


def _module(path: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        return registry.imported(path)
    except (Exception, SystemExit) as error:  # their code may raise anything
        raise UserError(f"'{path}' cannot be imported: {raised(error)}") from error
