"""One table or figure of a store: reads the runs, chooses the setting, and makes only that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lcrbench import disk
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError, unknown
from lcrbench.reports import comparison, lipschitz
from lcrbench.reports.comparison import COMMON, GROUPS, Comparison
from lcrbench.reports.context import Context, Options
from lcrbench.reports.paper.styles import NEEDS_LIPSCHITZ, STYLES
from lcrbench.reports.significance import Outcomes


def context_of(
    store: Store,
    methods: Sequence[str],
    setting: int,
    *,
    searched: bool,
    options: Options | None = None,
    runs: Sequence[str] | None = None,
) -> Context:
    """Return what a setting's tables and figures are made from, the first setting being 1.

    Lipschitz figures are read only if `searched`. Raises `UserError` if there is no such setting, run or method.
    """
    compared = comparison.read(store, compare=methods or None, runs=runs)
    if not 1 <= setting <= len(compared.settings):
        raise UserError(f"there is no setting {setting}: {told(compared)}")
    chosen = compared.settings[setting - 1]
    found = lipschitz.read(chosen, store) if searched else None
    return Context(chosen, compared, store, Outcomes(store), found, options or Options())


def needs_lipschitz(style: str, columns: Sequence[str]) -> bool:
    """Tell whether a table has a column of Lipschitz figures."""
    return bool(NEEDS_LIPSCHITZ & {*(columns or STYLES.get(style, ()))})


def told(compared: Comparison) -> str:
    """Return the settings of a store in one line, by their numbers."""
    each = "; ".join(f"{s.index + 1}: {s.title}" for s in compared.settings)
    return f"the store has {len(compared.settings)} setting{'s' * (len(compared.settings) > 1)} ({each})"


def keep(text: str, out: str) -> Path:
    """Write text to a file that the user named; raises `UserError` where that cannot be."""
    path = Path(out)
    try:
        with disk.replacing(path) as draft:
            draft.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def corruptions_of(words: str) -> tuple[str, ...]:
    """Return corruptions by the names and groups that were typed, each once; "mean" stands for the mean of the common."""
    from lcrbench.reports.curves import MEAN

    every = (
        {name: (name,) for names in GROUPS.values() for name in names} | GROUPS | {"common": COMMON, "mean": (MEAN,)}
    )
    found: dict[str, None] = {}
    for word in words.replace(",", " ").split():
        if word in every:
            found |= dict.fromkeys(every[word])
        elif "." in word:  # a plug-in's
            found[word] = None
        else:
            raise unknown("corruption or group", word, every)
    return tuple(found)
