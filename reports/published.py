"""Numbers that papers and repositories published, as data (`published.json`): each with its source and how certain it is.

Published top-1 accuracies rest on other budgets (400 to 2000 epochs) and on different topologies under one name, so they are
no baseline for a run of this suite: they say what the authors had. A number may be printed as published only if it was
read in the authors' own repository (certainty "readme"); one read in another work ("secondary") is kept for whoever checks
it, and never printed. A run has a published number beside it only if method, data and topology are the number's:

- the label is the method's name alone: another option or regularizer makes another method;
- the data have the name, the classes, the numbers of images and the size of the published set, whole;
- the record's topology has every option that the source tells, and the source tells at least one where there are any;
- the number has no `note`, which tells of something that no record proves, such as another way of training.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Literal

from pydantic import JsonValue

from lcrbench.bench.records.budget import Frozen
from lcrbench.bench.records.record import Record
from lcrbench.bench.records.spec import DataId
from lcrbench.reports.words import short_name


class Published(Frozen):
    """One accuracy in percent: of a method, on a data set, with a network whose topology is as far as the source tells."""

    method: str
    data: str
    network: str
    topology: dict[str, JsonValue]
    note: str
    top1: float
    top5: float | None
    epochs: int | None
    certainty: Literal["readme", "secondary"]
    source: str

    @property
    def printable(self) -> bool:
        """Tell whether a table may call this number published by the method's authors."""
        return self.certainty == "readme"


class DataSet(Frozen):
    """A data set as publications use it: the names it goes by, and its shape."""

    names: tuple[str, ...]
    classes: int
    train: int
    test: int
    size: int

    def is_that_of(self, data: DataId) -> bool:
        """Tell whether a run's data are this set, whole, by name and shape; another edition or a subset is not."""
        shape = (len(data.classes), data.train, data.test, data.size)
        return short_name(data.name).lower() in self.names and shape == (
            self.classes,
            self.train,
            self.test,
            self.size,
        )


@cache
def numbers() -> tuple[Published, ...]:
    """Return every number, of either certainty."""
    return tuple(Published.model_validate(n) for n in _file()["numbers"])


@cache
def data_sets() -> dict[str, DataSet]:
    """Return the data sets of the numbers, by name."""
    return {name: DataSet.model_validate(d) for name, d in _file()["data"].items()}


@cache
def _file() -> dict[str, dict[str, object]]:
    text = (files("lcrbench.reports") / "published.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def of(run: Record) -> list[Published]:
    """Return the numbers that may be printed as published beside a run; mostly none."""
    model = run.model
    if model is None or (model.binary_weights and not (model.audit and model.audit.passed)):
        return []
    spec, topology = run.spec, model.topology
    return [
        p
        for p in numbers()
        if p.printable
        and not p.note
        and (p.method, p.network) == (spec.label, spec.backbone.partition(":")[0])
        and data_sets()[p.data].is_that_of(spec.data)
        and bool(p.topology) == bool(topology)
        and all(topology.get(name) == value for name, value in p.topology.items())
    ]
