"""Write a commented template of a plug-in, with its test."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from string import Template

import click

from lcrbench import registry
from lcrbench.bench.cli import _plugins as plugins
from lcrbench.bench.cli import say
from lcrbench.errors import UserError, unknown

HELP = f"""Write a working entry of a KIND, with comments on its contract, and a test of it.

KIND: {", ".join(registry.PACKAGES)}. NAME is a name such as my_method, for which the folder {plugins.FOLDER} is used, or an
import path such as my_pkg.my_method. Files lie below the current folder, and none is replaced. In `lcrbench run` and every
other command the import path stands for the entry, as long as the current folder stays the same; `lcrbench conform` checks
it."""


@click.command(help=HELP, epilog="Example: lcrbench new method my_method")
@click.argument("kind")
@click.argument("name")
def command(kind: str, name: str) -> None:
    """Write an entry and its test from the templates of the kind."""
    if kind not in registry.PACKAGES:
        raise unknown("kind", kind, registry.PACKAGES)
    path = plugins.path_of(name)
    *folders, last = path.split(".")
    if last in registry.names(kind):
        raise UserError(f"there is a {kind} '{last}' already: choose another name")
    folder = Path(*folders)
    module = folder / f"{last}{registry.SUFFIX.get(kind, '.py')}"
    test = folder / f"test_{last}.py"
    named = str(module) if kind in registry.SUFFIX else path
    for file in (module, test):
        if file.exists():
            raise UserError(f"{file} exists already: choose another name")
    texts = {}
    for file, template in ((module, kind + module.suffix), (test, "test.py")):
        text = (files("lcrbench.bench.templates") / f"{template}.txt").read_text(encoding="utf-8")
        texts[file] = Template(text).substitute(kind=kind, name=last, path=named)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror or error}") from error
    say(f"{module}\n{test}\ncheck it: lcrbench conform {kind} {named}")
