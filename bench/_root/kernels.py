"""`of`: compiles an inner loop with numba, once a machine.

Compiled code is kept in the user's cache folder (`$XDG_CACHE_HOME/lcrbench`, or below `$NUMBA_CACHE_DIR` if that is
set), in a subfolder named by a hash of all that the code depends on: every source file of the package that it is a part of,
`lcrbench.vectors`, the version of numba, and the processor.

    FOLDER/<hash of function and signature>.kernel      the sha256 of what follows, and a compiled function as numba packs it

A file is written beside its place and renamed, and what is read is unpacked only if its hash is right: numba's own cache
unpacks whatever lies there, and compiled code that a bad disk or a full one has changed ends the process. Without a file
that is whole, the function is compiled anew; where no file can be written, it is not kept. The folder must be the user's
own, and nobody else may write there, because a file with the right hash is run.

Kernels release the GIL and never use fastmath: sums keep their order and products are not fused, so that the same
numbers come out on every processor.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pickle
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

import llvmlite.binding as llvm  # type: ignore[import-untyped]
import numba
from numba.core import compiler, config, serialize

from lcrbench import untrusted

Function = TypeVar("Function", bound=Callable[..., Any])

OPTIONS = {"nogil": True, "error_model": "numpy"}
NAME, SUFFIX = "kernels-", ".kernel"
_HASH = hashlib.sha256().digest_size


@functools.lru_cache(maxsize=8)
def version(package: Path) -> str:
    """Return a hash of the source files of a package's folder, and of the vectors that kernels are made of."""
    digest = hashlib.sha256(Path(__file__).with_name("vectors.py").read_bytes())
    for source in sorted(package.rglob("*.py")):
        digest.update(source.relative_to(package).as_posix().encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:16]


@functools.lru_cache(maxsize=8)
def cache_folder(package: Path) -> str:
    """Return the folder of a package's compiled kernels, or '' where none can be written (each process compiles anew)."""
    digest = hashlib.sha256(version(package).encode())
    features = llvm.get_host_cpu_features().flatten()
    target = f"{config.CPU_NAME}/{config.CPU_FEATURES}"  # what a user sets to compile for another processor
    digest.update(f"2/{numba.__version__}/{llvm.get_host_cpu_name()}/{features}/{target}".encode())
    for root in roots():
        folder = root / f"{NAME}{digest.hexdigest()[:16]}"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not _is_ours(folder):
                continue
            tempfile.TemporaryFile(dir=folder).close()
        except OSError:
            continue
        return str(folder)
    return ""


def roots() -> Iterator[Path]:
    """Yield the folders in which compiled kernels may be kept, the first that can be written being the one."""
    if config.CACHE_DIR:
        yield Path(config.CACHE_DIR) / "lcrbench"
        return
    if given := os.environ.get("XDG_CACHE_HOME"):
        yield Path(given) / "lcrbench"
    # `Path.home` raises for a user whom the system does not list, as in a container.
    if os.path.isabs(home := os.path.expanduser("~")):
        yield Path(home) / ".cache" / "lcrbench"


def clear() -> list[str]:
    """Delete all compiled kernels, of other versions too; return the folders that are gone."""
    gone = []
    for root in roots():
        for folder in sorted(root.glob(f"{NAME}*")) if root.is_dir() else []:
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                gone.append(str(folder))
    cache_folder.cache_clear()
    return gone


def _is_ours(folder: Path) -> bool:
    """Tell whether a folder is this user's, and nobody else may write there."""
    if not hasattr(os, "geteuid"):
        return True
    status = folder.lstat()
    return (
        stat.S_ISDIR(status.st_mode)
        and status.st_uid == os.geteuid()
        and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )


class _Kept:
    """The compiled forms of one function on the disk, in the place of numba's cache of a dispatcher."""

    cache_path = ""

    def __init__(self, function: Callable[..., Any], folder: Path) -> None:
        self._folder, self._name = folder, f"{function.__module__}.{function.__qualname__}"

    def _place(self, signature: Any, codegen: Any) -> Path:
        key = f"{self._name} {signature} {codegen.magic_tuple()}"
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}{SUFFIX}"

    def load_overload(self, signature: Any, context: Any) -> Any:
        """Return the compiled function of a signature; None unless a whole file holds it."""
        context.refresh()
        try:
            content = untrusted.bytes_of(self._place(signature, context.codegen()))
            body = content[_HASH:]
            if not body or hashlib.sha256(body).digest() != content[:_HASH]:
                return None
            return compiler.CompileResult._rebuild(context, *pickle.loads(body))
        except OSError:
            return None
        except Exception:  # whole, and yet nothing that this numba can read: compiled anew
            return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Keep a compiled function, as far as the disk takes it."""
        if compiled.library.has_dynamic_globals or any(not lifted.can_cache for lifted in compiled.lifted):
            return
        body = serialize.dumps(compiled._reduce())
        place = self._place(signature, compiled.library.codegen)
        draft = ""
        try:
            descriptor, draft = tempfile.mkstemp(dir=self._folder, suffix=".new")
            with os.fdopen(descriptor, "wb") as file:
                file.write(hashlib.sha256(body).digest() + body)
            os.replace(draft, place)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(draft)

    def enable(self) -> None:
        """Do nothing: it is on."""

    def disable(self) -> None:
        """Do nothing: numba turns its own cache off so."""

    def flush(self) -> None:
        """Do nothing: what is kept is named by what it depends on."""


class Compile(Protocol):
    """Compiles functions as they are called for."""

    def __call__(self, function: Function, /) -> Function:
        """Return the function, compiled on its first call, or loaded from the cache."""
        ...


def of(package: Path) -> Compile:
    """Return the decorator of the kernels of a package in this folder; each is called with one signature alone."""

    def kernel(function: Function, /) -> Function:
        dispatcher = numba.njit(**OPTIONS)(function)
        folder = cache_folder(package)
        # The dispatcher is asked for its cache where it compiles; a numba without that place keeps nothing.
        if folder and hasattr(dispatcher, "_cache"):
            dispatcher._cache = _Kept(function, Path(folder))
        return dispatcher  # type: ignore[no-any-return]

    return kernel


def forced(function: Function) -> Function:
    """Compile a helper that LLVM must make a part of its caller, because it returns vectors or takes addresses."""
    return numba.njit(forceinline=True, **OPTIONS)(function)  # type: ignore[no-any-return]
