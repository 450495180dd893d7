"""Check whether a plug-in keeps the contract of its kind."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import click

from lcrbench.bench.cli import _plugins as plugins
from lcrbench.errors import UserError, unknown


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
    if given and given[0] not in plugins.KINDS:
        raise unknown("kind", given[0], plugins.KINDS)
    if text.endswith(".toml") or given == ["preset"]:
        kind, findings = "preset", _preset(text)
    else:
        entry = plugins.entry_of(text)
        kind = given[0] if given else _kind(entry)
        findings = _findings(kind, entry)
    for finding in findings:
        click.echo(f"{text}: {' '.join(finding.split())}")
    if findings:
        ctx.exit(2)
    click.echo(f"{text} is a {kind} that keeps its contract")


def _findings(kind: str, entry: str) -> list[str]:
    from lcrbench.testing import conform

    try:
        return conform(kind, entry)
    except UserError as error:
        return [str(error)]
    except (Exception, SystemExit) as error:  # their code may raise anything
        return [_said(error)]


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _kind(entry: str) -> str:
    """Return the kind that a module's parts tell; raises `UserError` where they tell none, or several."""
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


def _module(entry: str) -> ModuleType:
    """Import an entry whose kind is not known: by its import path, or by the one kind that has a name like it."""
    from lcrbench import registry

    if "." not in entry:
        kinds = [kind for kind in plugins.MARKS if kind in registry.PACKAGES and entry in registry.names(kind)]
        if len(kinds) != 1:
            what = f"there is a {' and a '.join(kinds)} of that name" if kinds else "there is no entry of that name"
            raise UserError(f"'{entry}': {what}; write lcrbench conform KIND {entry}")
        return registry.load(kinds[0], entry)
    import importlib

    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(entry)
    except (Exception, SystemExit) as error:  # their code may raise anything
        raise UserError(f"'{entry}' cannot be imported: {_said(error)}") from error


def _preset(text: str) -> list[str]:
    """Return what is wrong with a preset, by its name or its file."""
    from lcrbench.bench.records import grid

    try:
        grid.make_grid(grid.read_grid(text))
    except UserError as error:
        return [str(error)]
    return []
