"""Papers and the accuracies that they and their repositories published, as data (`published.json`).

Published top-1 accuracies rest on other budgets (150 to 2000 epochs) and on different topologies under one name, so they are
no baseline for a run of this suite: they say what the authors had. A number may be printed as published only if it was read
in the authors' own repository (certainty "readme"); one that was read elsewhere ("secondary": another work, an abstract) is
kept so that it can be checked. A run has a published number beside it only if all of these are the number's:

- the method with the options of `form`, all others at their default, and no regularizer besides;
- the data, by the hashes of `official`: the whole data set, trained and tested on. A name and a shape prove nothing. Where
  `official` is empty, no number of that data set stands beside a run;
- the backbone, and the value of each of its options: the number's topology was read in the released code;
- the number has no `note`, which tells of something that no record proves, such as training in two steps.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from pydantic import Field, JsonValue

from lcrbench import registry
from lcrbench.bench.records.budget import Frozen
from lcrbench.bench.records.record import Record
from lcrbench.bench.records.spec import MethodId, RunSpec

LATER: dict[str, JsonValue] = {"stem_activation": True, "head_norm": True}
"""Options of backbones that the first records do not have, with the value that their networks have."""


class Paper(Frozen):
    """A publication, the code that its facts were read in, and the entries of the registry that are it."""

    id: str
    title: str
    authors: str
    venue: str
    year: int
    arxiv: str
    repository: str = Field(description="OWNER/NAME on GitHub; empty: no code was read")
    folder: str = ""
    commit: str = Field(description="that was read")
    by_authors: bool = Field(description="whether the code is the authors' own")
    entries: tuple[str, ...]

    @property
    def short(self) -> str:
        """Return the paper as a table has it: authors, venue, year."""
        return f"{self.authors}, {self.venue} {self.year}" if self.venue != "arXiv" else f"{self.authors} {self.year}"

    @property
    def link(self) -> str:
        """Return the paper's address."""
        return f"https://arxiv.org/abs/{self.arxiv}"

    @property
    def code(self) -> str:
        """Return the address of the code; empty if none was read."""
        if not self.repository:
            return ""
        tree = f"/tree/HEAD/{self.folder}" if self.folder else ""
        return f"https://github.com/{self.repository}{tree}"


class Published(Frozen):
    """One accuracy in percent: of a method in one form, on a data set, with a network."""

    method: str
    form: dict[str, JsonValue] = Field(description="the method's options that differ from their default")
    regularizers: dict[str, dict[str, JsonValue]] = Field({}, description="with such options of theirs")
    data: str
    network: str
    topology: dict[str, JsonValue] = Field(
        description="options of the network; a list holds values that are equal here"
    )
    top1: float
    top5: float | None
    epochs: int | None
    epochs_from: Literal["readme", "code"] | None
    certainty: Literal["readme", "secondary"]
    paper: str
    read_in: str = Field(description="empty: in the README of the paper's repository")
    note: str

    @property
    def label(self) -> str:
        """Return the method with its form, as it is typed."""
        return self.method_id.text

    @property
    def method_id(self) -> MethodId:
        """Return the method with its form, as a run's spec has it."""
        return MethodId(name=self.method, options=self.form, regularizers=self.regularizers)

    @property
    def built(self) -> bool:
        """Tell whether the method, its regularizers and the network are entries of the registry."""
        return (
            self.method in registry.files("method")
            and self.network in registry.files("backbone")
            and {*self.regularizers} <= {*registry.files("regularizer")}
        )

    @property
    def source(self) -> str:
        """Return where the number was read."""
        if self.read_in:
            return self.read_in
        paper = papers()[self.paper]
        place = f"{paper.repository}, {paper.folder}" if paper.folder else paper.repository
        return f"README of {place}, commit {paper.commit}"

    @property
    def told_epochs(self) -> str:
        """Return the epochs with where they were read, as a table has them."""
        return f"{self.epochs:,} ({WHERE[self.epochs_from]})" if self.epochs and self.epochs_from else "not told"

    @property
    def network_text(self) -> str:
        """Return the network with its options as it is typed, one value of each."""
        one = {name: value[0] if isinstance(value, list) else value for name, value in self.topology.items()}
        return MethodId(name=self.network, options=one).text

    @property
    def kept_back(self) -> str:
        """Return why the number stands beside no run, whatever the run is; empty if it may."""
        if self.certainty != "readme":
            return "not read in the authors' repository, and not verified"
        if self.note:
            return self.note
        if not self.built:
            return "not built here"
        return "" if data_sets()[self.data].official else "the hash of the official data is not known"

    def is_that_of(self, run: Record) -> bool:
        """Tell whether the number is one of the run's method in this form, data and topology."""
        if run.model is None or run.external is not None:
            return False
        spec = run.trained
        return (
            self.method_id == spec.method
            and self.network == spec.training.backbone_name
            and not self.kept_back  # asks the registry
            and data_sets()[self.data].is_that_of(spec)
            and _equal(self.topology, run.model.topology)
        )


WHERE = {"readme": "README", "code": "code"}
"""How tables name the places that a number of epochs was read in."""


class Official(Frozen):
    """The hashes of an official data set in one layout, as `lcrbench show data` prints them."""

    layout: str
    sha256: str
    train_sha256: str


class DataSet(Frozen):
    """A data set as publications use it, and the hashes that prove it."""

    title: str
    classes: int
    train: int
    test: int
    size: int
    official: tuple[Official, ...]

    def is_that_of(self, spec: RunSpec) -> bool:
        """Tell whether a run was trained and tested on the whole of this set, by the hashes of pixels and labels."""
        train, test = spec.training.data, spec.protocol.test
        return (train.images, test.count) == (self.train, self.test) and any(
            test.sha256 == one.sha256
            and (train.sha256 == one.train_sha256 if train.sha256 else train.both_sha256 == one.sha256)
            for one in self.official
        )


@cache
def numbers() -> tuple[Published, ...]:
    """Return every number, of either certainty."""
    return tuple(Published.model_validate(n) for n in _file()["numbers"])


@cache
def papers() -> dict[str, Paper]:
    """Return the papers by their id, in order of their year."""
    every = [Paper.model_validate(p) for p in _file()["papers"]]
    return {p.id: p for p in sorted(every, key=lambda p: p.year)}


@cache
def data_sets() -> dict[str, DataSet]:
    """Return the data sets of the numbers, by name."""
    return {name: DataSet.model_validate(d) for name, d in _file()["data"].items()}


@cache
def _file() -> dict[str, Any]:
    text = (files("lcrbench.reports") / "published.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def paper_of(entry: str) -> Paper | None:
    """Return the paper of a method or regularizer of the registry; None where none is known."""
    return next((p for p in papers().values() if entry in p.entries), None)


def of_paper(paper: str) -> list[Published]:
    """Return the numbers of a paper; "": those of no paper."""
    return [p for p in numbers() if p.paper == paper]


def of(run: Record) -> list[Published]:
    """Return the numbers that may be printed as published beside a run; mostly none."""
    model = run.model
    if model is None or (model.binary_weights and not (model.audit and model.audit.passed)):
        return []
    return [p for p in numbers() if p.is_that_of(run)]


def _equal(told: dict[str, JsonValue], topology: dict[str, Any]) -> bool:
    """Tell whether a network has the topology that was told, and no option besides."""
    if set(topology) - set(told):
        return False
    for name, value in told.items():
        values = value if isinstance(value, list) else [value]
        if topology.get(name, LATER.get(name)) not in values:
            return False
    return True
