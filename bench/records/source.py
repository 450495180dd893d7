"""Source by scope: the code that a number depends on, as the import closure of its roots, each module by a hash.

A training depends on the loop, its method, regularizers, backbone and recipe; a prediction on the network's code and the
inference; a figure on its metric besides. The closure follows the import statements in the files, from the roots on, without
running them; entries that are found by name (a method, a metric) are roots themselves.

- Only code counts: comments, docstrings and layout change no hash.
- Our own modules count, and those of a plug-in: the package that it belongs to, or the modules of its folder if it is a
  single file that is not installed. So do data files and compiled code: those in the folder of a plug-in's package, and
  those beside a module that begin with its name.
- `OUTSIDE` is left out. Data are named by the hash of the images, so their readers do not count; the corruption engine is
  held to its bits by golden tests, and its version is in the provenance; records and errors compute no number.

A record keeps roots and hashes, so that a stale number can be told with the modules that changed, without loading any.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import json
import math
import os
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from lcrbench.bench.records.record import Record, Source, Training
from lcrbench.bench.records.spec import MethodId
from lcrbench.untrusted import FILE_BYTES, bytes_of

OUTSIDE = (
    "lcrbench.corruptions",
    "lcrbench.bench.data",
    "lcrbench.bench.records",
    "lcrbench.bench.progress",
    "lcrbench.bench.remaining",
    "lcrbench.disk",
    "lcrbench.errors",
    "lcrbench.images",
    "lcrbench.registry",
    "lcrbench.versions",
    "lcrbench.testing",
)
"""Modules of ours, with all below them, that change no number, or none that is not named otherwise."""

COUNTED = ("lcrbench.bench.records.budget", "lcrbench.bench.records.predictions", "lcrbench.bench.data.arrays")
"""Exceptions to `OUTSIDE`: how many steps a budget pays for, how predictions are read, how images reach the loop."""


MARGIN = 100
"""Modules that may be new in a closure before it is no longer followed."""


def is_ours(module: str) -> bool:
    """Tell whether a module is one of lcrbench."""
    return module.startswith("lcrbench.")


def closure(roots: Iterable[str]) -> Source:
    """Return the modules that the modules `roots` import, directly or not, each with the hash of its code.

    Modules that are not counted are left out; a root that cannot be found has the hash "".
    """
    return _closed(tuple(dict.fromkeys(roots)), _module)


Module = tuple[dict[str, str], tuple[str, ...]]
"""What a module adds to a closure: hashes by name, its own and its data files'; and the modules that it imports."""


def _closed(roots: tuple[str, ...], read: Callable[[str, str], Module | None], most: float = math.inf) -> Source:
    """Return a closure of `most` modules, or little more; `read` is `_module`, or remembers what that has read."""
    found: dict[str, str] = {}
    waiting = [(name, root) for root in roots for name in _with_parents(root)]
    while waiting and len(found) <= most:
        name, root = waiting.pop()
        if name in found or (name not in roots and not _counts(name, root)):
            continue
        if (module := read(name, root.partition(".")[0])) is not None:
            found |= module[0]
            waiting += [(imported, root) for imported in module[1]]
        elif name in roots:
            found[name] = ""
    return Source(roots=roots, modules=dict(sorted(found.items())))


def _module(name: str, top: str) -> Module | None:
    """Read a module that a root below `top` reaches; None if it has no file of Python code."""
    path = _file(name)
    if path is None:
        return None
    stamp = os.stat(path).st_mtime_ns
    hashes = {name: _hash(path, stamp)}
    hashes |= {f"{name}: {file.name}": _bytes_hash(file) for file in _data_files(name, path)}
    return hashes, _imports(name, top, path, stamp)


def changed(recorded: Source) -> list[str]:
    """Return the names of the modules that differ from what a record has of them, are gone, or are new; empty if none do.

    Roots are what a record states: one that names code which nobody would count (a library of thousands of modules) is
    gone through no further than the record has modules.
    """
    present = _closure(recorded.roots, len(recorded.modules) + MARGIN).modules
    names = sorted({*present, *recorded.modules})
    return [name for name in names if present.get(name) != recorded.modules.get(name)]


def stale(record: Record) -> str:
    """Return why a record's numbers may not be those that the present code gives; "" if nothing they depend on changed."""
    return why_stale(record.sources, record.unscoped)


def why_stale(sources: Iterable[Source], unscoped: Iterable[str] = ()) -> str:
    """Return why numbers are stale that depend on these sources, and on whole versions of the code from before scopes."""
    for whole in unscoped:
        if whole not in equal_bits():
            return (
                f"made before scopes, by a version of the code ({whole[:12] or 'unknown'}) not known to give equal bits"
            )
    names = list(dict.fromkeys(name for source in sources for name in changed(source)))
    return f"{', '.join(names[:3])}{' and others' if len(names) > 3 else ''} changed since" if names else ""


def stale_training(training: Training) -> str:
    """Return why a training's weights may not be those that the present code gives; "" if nothing changed."""
    return why_stale(
        [training.source] if training.source else (), () if training.source else (training.provenance.source,)
    )


def equal_bits() -> frozenset[str]:
    """Return the hashes of whole versions from before scopes whose bits are the present ones (equal_bits.json)."""
    return frozenset(_equal_bits()["versions"])


def other_bits(method: MethodId) -> bool:
    """Tell whether the bits of a method or of one of its regularizers have changed since those versions."""
    return not {method.name, *method.regularizers}.isdisjoint(_equal_bits()["changed"])


def other_numbers(metric: str) -> bool:
    """Tell whether a metric gives other numbers than those versions did."""
    return metric in _equal_bits()["metrics"]


@functools.lru_cache(maxsize=1)
def _equal_bits() -> dict[str, list[str]]:
    found: dict[str, list[str]] = json.loads(
        (files("lcrbench.bench.records") / "equal_bits.json").read_text(encoding="utf-8")
    )
    return found


@functools.lru_cache(maxsize=1)
def whole() -> str:
    """Return a hash of all code of ours, by which two machines tell whether they have the same."""
    found = []
    for package in ("lcrbench", "lcrbench.bench", "lcrbench.models", "lcrbench.corruptions", "lcrbench.reports"):
        spec = importlib.util.find_spec(package)
        for folder in map(Path, (spec and spec.submodule_search_locations) or ()):
            pattern = "*.py" if package == "lcrbench" else "**/*.py"
            found += [(package, str(f.relative_to(folder)), _bytes_hash(f)) for f in folder.glob(pattern)]
    return hashlib.sha256(json.dumps(sorted(found)).encode()).hexdigest()[:16]


def look_again() -> None:
    """Forget which modules there are and what they import: in a session of hours a plug-in is edited between two calls."""
    _closure.cache_clear()
    _known.cache_clear()
    _file.cache_clear()


def is_installed(module: str) -> bool:
    """Tell whether a module belongs to an installed package, or to Python."""
    top = module.partition(".")[0]
    path = _file(top)
    return top in sys.stdlib_module_names or (path is not None and _installed(path))


@functools.lru_cache(maxsize=256)
def _closure(roots: tuple[str, ...], most: int) -> Source:
    """Cached for the life of a process: one that reports or plans asks for the same roots run after run."""
    return _closed(roots, _known, most)


@functools.lru_cache(maxsize=4096)
def _known(name: str, top: str) -> Module | None:
    """The modules of those closures: closures of different roots have most of them in common."""
    return _module(name, top)


def _counts(name: str, root: str) -> bool:
    """Tell whether a module that was reached from a root belongs to its scope."""
    top = name.partition(".")[0]
    if name == "lcrbench":
        return False
    if top == "lcrbench":
        inside = any(name == o or name.startswith(o + ".") for o in OUTSIDE)
        return not inside or any(name == c or name.startswith(c + ".") for c in COUNTED)
    if top in sys.stdlib_module_names:
        return False
    if top == root.partition(".")[0]:
        return True
    # Beside a single file in somebody's folder lie the modules that it was written with.
    path = _file(top)
    return path is not None and not _installed(path)


@functools.lru_cache(maxsize=4096)
def _installed(path: Path) -> bool:
    # Those of another environment too, which this one may see: --system-site-packages, --user, a path in a .pth file.
    if not {"site-packages", "dist-packages"}.isdisjoint(path.parts):
        return True
    places = {sysconfig.get_path(kind) for kind in ("purelib", "platlib", "stdlib", "platstdlib")}
    return any(path.is_relative_to(place) for place in places if place)


@functools.lru_cache(maxsize=4096)
def _file(name: str) -> Path | None:
    """Return the file of a module; None if it has none of Python code. Nothing is imported but `lcrbench` itself."""
    parts = name.split(".")
    known = 2 if parts[0] == "lcrbench" else 1  # its folders may lie apart
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        spec = importlib.util.find_spec(".".join(parts[:known]))
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None:
        return None
    if len(parts) <= known:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    for folder in spec.submodule_search_locations or ():
        place = Path(folder, *parts[known:])
        for path in (place.with_name(place.name + ".py"), place / "__init__.py"):
            if os.path.isfile(path):
                return path
    return None


@functools.lru_cache(maxsize=1024)
def _imports(name: str, top: str, path: Path, stamp: int) -> tuple[str, ...]:
    """Return the modules that a file imports, wherever it does: `from a import b` gives a, and a.b if it is a module."""
    return tuple(dict.fromkeys(_imported(name, top, path, stamp)))


def _imported(name: str, top: str, path: Path, stamp: int) -> Iterator[str]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in _import_statements(path, stamp):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_parents(alias.name)
        else:
            base = node.module or ""
            if node.level:
                above = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package
                base = f"{above}.{base}".rstrip(".")
            yield from _with_parents(base)
            if base.partition(".")[0] == "lcrbench" or _counts(base, top):
                for alias in node.names:
                    if _file(f"{base}.{alias.name}"):
                        yield f"{base}.{alias.name}"


@functools.lru_cache(maxsize=1024)
def _import_statements(path: Path, stamp: int) -> list[ast.Import | ast.ImportFrom]:
    return [node for node in ast.walk(_tree(path, stamp)) if isinstance(node, (ast.Import, ast.ImportFrom))]


def _with_parents(name: str) -> Iterator[str]:
    """Yield a module and the packages above it, which are run first."""
    parts = name.split(".")
    if parts[0] in sys.stdlib_module_names:
        return
    for k in range(1, len(parts) + 1):
        yield ".".join(parts[:k])


@functools.lru_cache(maxsize=1024)
def _tree(path: Path, _stamp: int) -> ast.Module:
    try:
        return ast.parse(bytes_of(path, FILE_BYTES).decode("utf-8"))
    except (OSError, SyntaxError, UnicodeDecodeError):
        return ast.Module(body=[], type_ignores=[])


@functools.lru_cache(maxsize=1024)
def _hash(path: Path, stamp: int) -> str:
    """Return a hash of what a file does: of its syntax tree, without docstrings; of its bytes where it cannot be parsed."""
    tree = _tree(path, stamp)
    if not tree.body:
        return _bytes_hash(path)
    return hashlib.sha256(json.dumps(_plain(tree)).encode()).hexdigest()[:16]


def _plain(node: Any) -> Any:
    """Return a syntax tree as lists, without what is empty: Python's versions differ in which empty fields a node has."""
    if isinstance(node, ast.AST):
        out: list[Any] = [type(node).__name__]
        for field, value in ast.iter_fields(node):
            if field == "body" and isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                value = value[1:] if ast.get_docstring(node, clean=False) is not None else value
            if value is not None and value != []:
                out.append([field, _plain(value)])
        return out
    if isinstance(node, list):
        return [_plain(n) for n in node]
    return f"{type(node).__name__} {node!r}"


def _bytes_hash(path: Path) -> str:
    try:
        return hashlib.sha256(bytes_of(path)).hexdigest()[:16]
    except OSError:
        return ""


def _data_files(name: str, path: Path) -> list[Path]:
    """Return the data files that belong to a module: those of a plug-in's package, or that begin with the module's name.

    A package's are those in its folder and below. A folder without `__init__.py` is a package where its name is part of the
    module's.
    """
    stem, ours = path.stem, name.partition(".")[0] == "lcrbench"
    package = stem == "__init__" or ("." in name and not (path.parent / "__init__.py").exists())
    if package and not ours:
        return sorted(file for file in path.parent.rglob("*") if _is_data(file.relative_to(path.parent), file))
    begins = (f"{stem}.", f"{stem}_")
    named = (path.parent / file for file in os.listdir(path.parent) if file.startswith(begins))
    return sorted(file for file in named if _is_data(Path(file.name), file))


def _is_data(inside: Path, file: Path) -> bool:
    hidden = any(part.startswith(".") or part == "__pycache__" for part in inside.parts)
    return not hidden and file.suffix not in (".py", ".pyc", ".pyi") and file.is_file()
