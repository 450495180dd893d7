"""Finds what can be named on the command line: a file is an entry, and the file's name is the entry's name.

Each kind (method, backbone, metric, ...) is a package of `lcrbench`; each module in it whose name does not start with an
underscore is one entry (of the presets, each .toml file). Entries also come from outside, without a fork: through an entry
point of the group `lcrbench.<kind>` that names a module, or by an import path in the place of a name
(`my_package.my_method`), for which the current folder is searched too. A name of our own comes first.

Listing reads files and imports none of the entries, so that it never loads torch.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from lcrbench.errors import UserError, unknown
from lcrbench.untrusted import FILE_BYTES, SPEC_BYTES, bytes_of, check_regular, place, shown, small_file, text_of

PACKAGES = {
    "method": "lcrbench.models.methods",
    "regularizer": "lcrbench.models.regularizers",
    "backbone": "lcrbench.models.backbones",
    "estimator": "lcrbench.models.estimators",
    "metric": "lcrbench.bench.metrics",
    "corruption": "lcrbench.corruptions.functions",
    "source": "lcrbench.bench.data.sources",
    "transform": "lcrbench.bench.training.transforms",
    "optimizer": "lcrbench.bench.training.optimizers",
    "schedule": "lcrbench.bench.training.schedules",
    "table": "lcrbench.reports.tables",
    "figure": "lcrbench.reports.figures",
    "preset": "lcrbench.bench.presets",
    "executor": "lcrbench.bench.executors",
    "loader": "lcrbench.bench.networks.loaders",
}
SUFFIX = {"preset": ".toml"}
# What the module of an entry must define, where that is more than its contract in another place says.
NEEDS = {
    "method": ("Method",),
    "regularizer": ("Regularizer",),
    "backbone": ("build",),
    "estimator": ("Estimator",),
    "metric": ("INFO", "NEEDS", "Options", "measure"),
    "source": ("load",),
    "executor": ("make",),
    "loader": ("load_network",),
}
DASHED = ("optimizer", "schedule", "transform")
"""Kinds whose names are written with dashes, as a recipe has them: `crop-flip` lies in crop_flip.py."""


def files(kind: str) -> dict[str, Path]:
    """Return the file of each entry that lcrbench itself brings, by name in alphabetical order."""
    if kind not in PACKAGES:
        raise unknown("kind", kind, PACKAGES)
    root, part, *inner = PACKAGES[kind].split(".")
    # Only the outermost package is asked for: to find an inner one, Python would import those around it.
    package = importlib.util.find_spec(f"{root}.{part}")
    folders = [Path(f, *inner) for f in (package and package.submodule_search_locations) or ()]
    found = {f.stem: f for folder in folders for f in folder.glob(f"*{SUFFIX.get(kind, '.py')}") if f.stem[0] != "_"}
    return dict(sorted(found.items()))


def names(kind: str) -> list[str]:
    """Return the names of all entries of a kind: our own first, then those of installed entry points."""
    own = list(files(kind))
    return own + sorted({e.name for e in entry_points(group=f"lcrbench.{kind}")} - set(own))


def public(kind: str, name: str) -> str:
    """Return an entry's name as lists show it and records keep it.

    >>> public("transform", "crop_flip"), public("method", "full_precision"), public("transform", "my_pkg.my_crop")
    ('crop-flip', 'full_precision', 'my_pkg.my_crop')
    """
    return name.replace("_", "-") if kind in DASHED and "." not in name else name


def is_outside(kind: str, name: str) -> bool:
    """Tell whether a name is that of an entry from outside: of an installed entry point, or an import path."""
    return _inside(kind, name) not in files(kind) and ("." in name or name in names(kind))


def docstring(kind: str, name: str) -> str:
    """Return the docstring of an entry's module, or the comment that a preset begins with; imports no entry."""
    path = file(kind, name)
    if path.suffix == ".py":
        return docstring_in(path)
    if path.suffix in SUFFIX.values():
        lines = text_of(small_file(path, "spec file", SPEC_BYTES), shown(name)).splitlines()
        first = next((k for k, line in enumerate(lines) if not line.startswith("#")), len(lines))
        return "\n".join(line.lstrip("# ") for line in lines[:first])
    return load(kind, name).__doc__ or ""


def docstring_in(path: str | Path) -> str:
    """Return the docstring of a module's file; empty if it has none, or there is no such file of Python code."""
    try:
        return ast.get_docstring(ast.parse(bytes_of(path, FILE_BYTES))) or ""
    except (OSError, SyntaxError, ValueError):
        return ""


def summary(kind: str, name: str) -> str:
    """Return the first line of an entry's docstring; entries from outside are not opened for it."""
    name = _inside(kind, name)
    if name in files(kind):
        return docstring(kind, name).partition("\n")[0]
    entry = _entry_point(kind, name)
    return f"(from {entry.dist.name})" if entry and entry.dist else "(from outside)"


def file(kind: str, name: str) -> Path:
    """Return the file that holds an entry, found without importing it (packages around it are imported).

    An entry that is no module, such as a preset, may be named by its file too: `my_grid.toml`. Raises `UserError` as
    `load` does.
    """
    if kind in SUFFIX and name.endswith(SUFFIX[kind]):
        if not place(name).is_file():
            raise UserError(f"there is no file '{name}'")
        return place(name)
    name = _inside(kind, name)
    own = files(kind)
    if name in own:
        return own[name]
    target = _target(kind, name)
    try:
        _look(target.rpartition(".")[0] if kind in SUFFIX else target)
        if kind in SUFFIX:
            package = importlib.util.find_spec(target.rpartition(".")[0])
            folders = (package.submodule_search_locations if package else None) or ()
            found = [Path(f) / (target.rpartition(".")[2] + SUFFIX[kind]) for f in folders]
            path: Path | None = next((p for p in found if p.is_file()), None)
        else:
            module = importlib.util.find_spec(target)
            path = Path(module.origin) if module and module.origin else None
    except (Exception, SystemExit) as error:  # code of somebody else may raise anything
        raise _broken(kind, name, target, error) from error
    if path is None:
        raise UserError(
            f"no {kind} at the import path '{target}': installed packages and the current folder are searched"
        )
    return path


def module_name(kind: str, name: str) -> str:
    """Return the dotted name of an entry's module, found without importing it; raises `UserError` if there is none."""
    name = _inside(kind, name)
    return f"{PACKAGES[kind]}.{name}" if name in files(kind) else _target(kind, name)


def load(kind: str, name: str) -> ModuleType:
    """Import the module of an entry by its name, by an entry point's name, or by an import path.

    Raises `UserError` if there is none of that name, if a module from outside does not import, or if it does not define
    what its kind needs. A file of our own that does not import fails loudly with its own exception.
    """
    name = _inside(kind, name)
    if name in files(kind):
        return importlib.import_module(f"{PACKAGES[kind]}.{name}")
    target = _target(kind, name)
    try:
        module = imported(target)
    except (Exception, SystemExit) as error:  # code of somebody else may raise anything
        raise _broken(kind, name, target, error) from error
    for needed in NEEDS.get(kind, ()):
        if not hasattr(module, needed):
            what = "class" if needed.istitle() else "constant" if needed.isupper() else "function"
            raise UserError(f"the {kind} '{name}' defines no {what} '{needed}'")
    return module


def imported(target: str) -> ModuleType:
    """Import a module from outside, by an import path. Raises `OSError` as `_look` does, and whatever its code raises."""
    _look(target)
    return importlib.import_module(target)


def _look(target: str) -> None:
    """Raise `OSError` where the file of a module, or of a package above it, is none that can be read to its end.

    The packages above are imported, as `find_spec` does.
    """
    parts = target.split(".")
    for name in (".".join(parts[:k]) for k in range(1, len(parts) + 1)):
        if name in sys.modules:
            continue
        spec = importlib.util.find_spec(name)
        if spec is None:
            return
        if spec.has_location and spec.origin:
            check_regular(spec.origin)


def _inside(kind: str, name: str) -> str:
    """Return the name of an entry's file; a module's name holds no dash."""
    return name.replace("-", "_") if kind in DASHED and "-" in name and name not in names(kind) else name


def _target(kind: str, name: str) -> str:
    """Return the import path of an entry from outside."""
    if entry := _entry_point(kind, name):
        if entry.attr:
            raise UserError(f"entry point '{name}' of group 'lcrbench.{kind}' must name a module, not '{entry.value}'")
        return entry.module
    if "." not in name or not all(part.isidentifier() for part in name.split(".")):
        raise unknown(kind, name, [public(kind, known) for known in names(kind)])
    # As `python -m` would. A worker process starts in the same folder.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
        importlib.invalidate_caches()
    return name


def _entry_point(kind: str, name: str) -> EntryPoint | None:
    found = list({e.value: e for e in entry_points(group=f"lcrbench.{kind}", name=name)}.values())
    if len(found) > 1:
        raise UserError(f"several installed packages bring the {kind} '{name}': {', '.join(e.value for e in found)}")
    return found[0] if found else None


def _broken(kind: str, name: str, target: str, error: BaseException) -> UserError:
    first = str(error).partition("\n")[0]
    if isinstance(error, ModuleNotFoundError) and error.name and f"{target}.".startswith(f"{error.name}."):
        where = "installed packages and the current folder are searched"
        return UserError(f"no {kind} at the import path '{target}': {first} ({where})")
    return UserError(f"the {kind} '{name}' does not import: {type(error).__name__}: {first}")
