"""Finds the function behind a corruption's name, ours or from outside, and runs it on a batch."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lcrbench import registry
from lcrbench.corruption_names import GROUP, GROUPS, SETS, SEVERITIES, names
from lcrbench.corruptions.draws import Draws
from lcrbench.errors import UserError, unknown
from lcrbench.versions import installed


class Contract(NamedTuple):
    """What a corruption's module may define, with what stands for what it leaves out."""

    apply: Callable[..., Any] | None = None
    into: Callable[..., None] | None = None
    constants: Sequence[Mapping[str, Any]] | None = None
    variants: tuple[str, ...] = ()
    group: str = "other"
    libraries: tuple[str, ...] = ()

    @classmethod
    def of(cls, module: ModuleType) -> Contract:
        """Return what a module defines."""
        given = vars(module)
        parts = {field: field if field in ("apply", "into") else field.upper() for field in cls._fields}
        return cls(**{field: given[part] for field, part in parts.items() if part in given})


class Entry(NamedTuple):
    """A corruption: its name as it was given, its module, and the part of the name after the colon."""

    name: str
    module: ModuleType
    variant: str
    contract: Contract

    @property
    def threads(self) -> bool:
        """Tell whether several threads may run it at once."""
        return self.contract.into is not None

    def row(self, severity: int) -> dict[str, Any]:
        """Return the constants that the module states for a severity; empty if it states none."""
        rows = self.contract.constants
        return dict(rows[severity - 1]) if rows else {}

    def run(self, images: NDArray[np.uint8], out: NDArray[np.uint8], draws: Draws, severity: int) -> None:
        """Fill `out` with the corrupted images (n, H, W, C). Raises `UserError` if the function returns no such image."""
        also = {"variant": self.variant} if self.variant else {}
        if self.contract.into is not None:
            self.contract.into(images, out, draws, **self.row(severity), **also)
            return
        assert self.contract.apply is not None, "one of the two is defined"
        for k, image in enumerate(images):
            result = self.contract.apply(image.copy(), severity, draws.generator(k), **also)
            if not isinstance(result, np.ndarray) or result.dtype != np.uint8 or result.shape != image.shape:
                found = f"{result.dtype} {result.shape}" if isinstance(result, np.ndarray) else type(result).__name__
                raise UserError(f"corruption '{self.name}' returned {found}: it must return uint8 {image.shape}")
            out[k] = result


def is_ours(name: str) -> bool:
    """Tell whether a name is one of the nineteen or of C-bar, whose constants stand in constants.json."""
    return name in GROUP


class Name(NamedTuple):
    """The name of a corruption as it is typed, MODULE or MODULE:VARIANT; `variant` is None where there is no colon."""

    module: str
    variant: str | None = None

    @classmethod
    def read(cls, text: str) -> Name:
        """Return the parts of a name.

        >>> Name.read("imagecorruptions:fog"), Name.read("fog")
        (Name(module='imagecorruptions', variant='fog'), Name(module='fog', variant=None))
        """
        module, colon, variant = text.partition(":")
        return cls(module, variant if colon else None)


@functools.lru_cache(maxsize=64)  # the registry reads folders and installed packages
def find(name: str) -> Entry:
    """Return the corruption of this name: NAME or NAME:VARIANT.

    NAME is one of the nineteen, a file in `lcrbench.corruptions.functions`, an entry point of the group
    `lcrbench.corruption`, or an import path. Raises `UserError` if there is none, or if it breaks the contract in
    `lcrbench.corruptions.functions`.
    """
    if is_ours(name):
        ours = importlib.import_module(f"lcrbench.corruptions.functions.{name}")
        return Entry(name, ours, "", Contract.of(ours))
    head, variant = Name.read(name)
    if is_ours(head):
        raise UserError(f"corruption '{head}' has no variants: name it without ':{variant}'")
    known = others()
    if head not in known and "." not in head:
        raise unknown("corruption", name, [*GROUP, *known, *SETS])
    module = registry.load("corruption", head)
    contract = Contract.of(module)
    variants = contract.variants
    if variant is not None and variant not in variants:
        raise unknown(f"corruption of {head}", variant, variants)
    if variants and variant is None:
        raise UserError(f"'{head}' stands for {len(variants)} corruptions: name one, such as {head}:{variants[0]}")
    if (contract.apply is None) == (contract.into is None):
        raise UserError(f"corruption '{head}' must define either apply(image, severity, random) or into(...)")
    rows = contract.constants
    if rows is not None and len(rows) != len(SEVERITIES):
        raise UserError(f"corruption '{head}' has {len(rows)} CONSTANTS: it must have 5, one a severity")
    if contract.group in SETS:
        raise UserError(f"corruption '{head}' has the GROUP '{contract.group}', which is one of ours: choose another")
    return Entry(name, module, variant or "", contract)


def others() -> list[str]:
    """Return the registered corruptions beside ours; an import path need not be registered."""
    return [name for name in registry.names("corruption") if name not in GROUP]


def expand(named: Iterable[str]) -> tuple[str, ...]:
    """Return the corruptions that names and groups stand for, each once, in the order given.

    "common", "all" and the paper's groups stand for their members, and the name of a module with variants for all of
    them. Raises `UserError` for what is unknown.
    """
    out: dict[str, None] = {}
    for word in named:
        if word in SETS:
            out |= dict.fromkeys(names(word))
        elif variants := _variants(word):
            out |= dict.fromkeys(f"{word}:{variant}" for variant in variants)
        else:
            if not is_ours(word):
                find(word)
            out[word] = None
    return tuple(out)


def _variants(word: str) -> tuple[str, ...]:
    """Return the variants of a module that is named without one."""
    if is_ours(word) or Name.read(word).variant is not None or (word not in others() and "." not in word):
        return ()
    return tuple(Contract.of(registry.load("corruption", word)).variants)


def groups() -> list[str]:
    """Return the groups of the corruptions that are ours."""
    return list(GROUPS)


def group_of(name: str) -> str:
    """Return the group of a corruption; "other" if its module states none. Raises `UserError` if there is none."""
    return GROUP[name] if is_ours(name) else str(find(name).contract.group)


def origin(name: str) -> dict[str, Any]:
    """Return what a record must say of a corruption from outside: its module, and the versions that its bits depend on."""
    entry = find(name)
    libraries = ("numpy", *entry.contract.libraries)
    return {
        "module": entry.module.__name__,
        "versions": {library: version for library in libraries if (version := installed(library))},
    }
