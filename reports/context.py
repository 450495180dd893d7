"""What a table or a figure is made from: one setting of a comparison, and what was read of its runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import pandas as pd

from lcrbench.bench.records.record import Record
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError
from lcrbench.reports.comparison import MOST_COLUMNS, Comparison, Row, Setting
from lcrbench.reports.lipschitz import Lipschitz
from lcrbench.reports.significance import (
    Difference,
    Endpoint,
    Outcomes,
    against_base,
    against_reference,
    differences,
)

Family = Literal["reference", "base"]
"""Whom a difference is from: the setting's reference, or the same method without its regularizers."""


@dataclass(frozen=True)
class Options:
    """How much there is room for: whether the setting is drawn, and how many methods have a column of a table.

    `corruptions` are those that a figure was asked for, in their order; without any it draws all.
    """

    drawn: bool = True
    columns: int = MOST_COLUMNS
    corruptions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Context:
    """What a table or a figure may read.

    `outcomes` is None where those of the setting are not read, because the store is very large; `lipschitz` is None where
    nothing of that kind was measured. An entry that needs what is None returns None.
    """

    setting: Setting
    comparison: Comparison = field(default_factory=lambda: Comparison(()))
    store: Store | None = None
    outcomes: Outcomes | None = None
    lipschitz: Lipschitz | None = None
    options: Options = field(default_factory=Options)

    @cached_property
    def differences(self) -> Mapping[tuple[Family, Endpoint], list[Difference]]:
        """Return the differences of each family in each endpoint, with Holm's correction over the pairs of one family."""
        pairs: dict[Family, list[tuple[Row, Row]]] = {
            "reference": against_reference(self.setting),
            "base": against_base(self.setting),
        }
        endpoints: tuple[Endpoint, ...] = ("common", "clean")
        return {(f, e): differences(self.setting, self.outcomes, pairs[f], e) for f in pairs for e in endpoints}

    def log(self, run: Record) -> pd.DataFrame:
        """Return a run's training log, one row a logged step; empty if it has none, or one that cannot be read."""
        if self.store is None:
            return pd.DataFrame()
        try:
            return self.store.log(run.run_id)
        except UserError:
            return (
                pd.DataFrame()
            )  # the page names what is damaged elsewhere; a curve less is no reason to have no report
