"""What is asked for of each run: what is trained, what it is shown, and what is measured.

    TrainSpec     data, model, recipe, budget, seed      what the weights depend on
    Subject       a training of a store, or a network from outside
    Protocol      test images, cells, seed, block        what a subject is shown
    RunSpec       a TrainSpec under a Protocol, and the metrics that are asked for

Each has an id, the hash of these facts and nothing else: data by hash and never by path or name, no number of workers, no
place to store. Options at their default are left out (`ids.py`).
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from lcrbench.bench.records.budget import Budget, Frozen, Recipe
from lcrbench.bench.records.external import External as External
from lcrbench.bench.records.grid import Evaluation, Options, Tuning
from lcrbench.bench.records.ids import content_id, stated
from lcrbench.bench.records.protocol import CLEAN as CLEAN
from lcrbench.bench.records.protocol import Cell as Cell
from lcrbench.bench.records.protocol import HashKind as HashKind
from lcrbench.bench.records.protocol import Preprocessing as Preprocessing
from lcrbench.bench.records.protocol import Protocol as Protocol
from lcrbench.bench.records.protocol import TestSet as TestSet
from lcrbench.models import parse

# ------------------------------------------------------------------------------------------------- what weights depend on


RecipeOf = Literal["comparison", "paper", "tuning"]
"""Whose recipe a training has: that of all methods of a comparison, that of its method's paper, or what a search chose."""


class TrainData(Frozen):
    """The training images: a name for people, and the hash of the decoded images and labels, or of their files."""

    name: str = Field(description="what people call it; identifies nothing")
    sha256: str = Field("", description="of the training split; empty in records of schema 3")
    both_sha256: str = Field("", description="of training and test images together, where `sha256` is not known")
    size: int = Field(description="side of the square images in pixels")
    classes: tuple[str, ...] = Field(description="names of the classes, in the order of the labels")
    images: int = Field(description="number of training images")
    space: str = Field("own", description="label space that the classes are ids of; own: they mean nothing elsewhere")
    layout: str = Field("", description="name of the source that read the files")
    passed_over: dict[str, int] = Field({}, description="files that are no images of the set, by the reason")
    hash_kind: HashKind = Field("pixels", description="what `sha256` is of: decoded images, or the list of their files")

    @property
    def facts(self) -> dict[str, Any]:
        """Return what identifies the images."""
        return {"sha256": self.sha256} if self.sha256 else {"both_sha256": self.both_sha256, "size": self.size}


class MethodId(Frozen):
    """A method and its regularizers in the order they were named, each with the options that differ from their default."""

    name: str = Field(description="as registered, or an import path")
    options: Options = Field({}, description="of the method, where they differ from their default")
    regularizers: dict[str, Options] = Field(
        {}, description="options of each regularizer, by its name, where they differ from their default"
    )

    @property
    def text(self) -> str:
        """Return the method as it is typed, which is also how reports call it: `irnet+lcr:weight=0.5`."""
        parts = [(self.name, self.options), *self.regularizers.items()]
        return parse.write([parse.Part(name, options) for name, options in parts])


class TrainSpec(Frozen):
    """One training: everything its weights depend on."""

    data: TrainData = Field(description="the training images")
    backbone: str = Field(description="with the options that differ from their default: `resnet18:convs=2`")
    method: MethodId = Field(description="the method with its regularizers")
    recipe: Recipe = Recipe()
    recipe_of: RecipeOf = Field("comparison", description="whose recipe it is: of all methods, or of this one alone")
    budget: Budget = Budget()
    tuning: Tuning | None = Field(None, description="how options and recipe were chosen; None: they were given")
    seed: int = Field(ge=0, description="of initial weights, order of the images and augmentation")

    @property
    def train_id(self) -> str:
        """Return the training's address; a tuned one is another, whatever its weights, because it cost more."""
        own: dict[str, Any] = {} if self.recipe_of == "comparison" else {"recipe_of": self.recipe_of}
        if self.tuning:
            own["tuning"] = stated(self.tuning, leave_out=frozenset({"accuracy", "cpu", "wall"}))
        return content_id(
            "training",
            own
            | {
                "data": self.data.facts,
                "backbone": self.backbone,
                # In order: terms are added up in it, which rounds.
                "method": [[self.method.name, self.method.options], *map(list, self.method.regularizers.items())],
                "recipe": stated(self.recipe),
                "budget": stated(self.budget),
                "seed": self.seed,
            },
        )

    @property
    def backbone_name(self) -> str:
        """Return the backbone's name without its options."""
        return parse.read(self.backbone)[0].name

    @property
    def label(self) -> str:
        """Return the method as reports print it, which can be typed."""
        return self.method.text


# ---------------------------------------------------------------------------------------------------- what is looked at


class Subject(Frozen):
    """What is evaluated: a training of a store by its id, or a network from outside. Exactly one is given."""

    training: str = Field("", description="id of a training of the store; empty: the network is from outside")
    external: External | None = Field(None, description="the network from outside; null: it was trained here")

    @model_validator(mode="after")
    def _one(self) -> Subject:
        if bool(self.training) == (self.external is not None):
            raise ValueError("a subject is a training or a network from outside: give one")
        return self

    @property
    def facts(self) -> dict[str, Any]:
        """Return what identifies it."""
        return {"training": self.training} if self.external is None else self.external.facts


def evaluation_id(subject: Subject, protocol: Protocol) -> str:
    """Return the address of the evaluation that holds a subject's predictions under this and kindred protocols."""
    return content_id("evaluation", {"subject": subject.facts, "look": protocol.look})


class DataId(Frozen):
    """The data of a run as reports name it."""

    name: str
    sha256: str
    size: int
    classes: tuple[str, ...]
    train: int
    test: int

    @property
    def text(self) -> str:
        """Return the name with the numbers of images, which tell a subset from the whole."""
        return f"{self.name} ({self.train:,} training and {self.test:,} test images)"


class RunSpec(Frozen):
    """One run of a grid: a training, the protocol that its network is evaluated under, and the metrics asked for."""

    training: TrainSpec
    protocol: Protocol
    metrics: dict[str, Options] = Field({}, description="options of each metric that was asked for, by name")

    @classmethod
    def flat(
        cls,
        data: DataId,
        backbone: str,
        method: MethodId,
        seed: int,
        *,
        budget: Budget | None = None,
        recipe: Recipe | None = None,
        evaluation: Evaluation | None = None,
        metrics: dict[str, Options] | None = None,
        train_sha256: str = "",
    ) -> RunSpec:
        """Return the spec of a run on a whole data set; `train_sha256` is empty where it is not known."""
        common: dict[str, Any] = {"name": data.name, "size": data.size, "classes": data.classes}
        both = "" if train_sha256 else data.sha256
        shown = evaluation or Evaluation()
        return cls(
            training=TrainSpec(
                data=TrainData(sha256=train_sha256, both_sha256=both, images=data.train, **common),
                backbone=backbone,
                method=method,
                recipe=recipe or Recipe(),
                budget=budget or Budget(),
                seed=seed,
            ),
            protocol=Protocol(
                test=TestSet(sha256=data.sha256, images=data.test, **common),
                corruptions=shown.corruptions,
                severities=shown.severities,
                seed=shown.seed,
                block=shown.block,
                stream=shown.stream,
            ),
            metrics=metrics or {},
        )

    @property
    def run_id(self) -> str:
        """Return the run's address. Metrics are added to a run, and are no part of it."""
        return content_id("run", {"training": self.training.train_id, "protocol": self.protocol.protocol_id})

    @property
    def resize(self) -> int | None:
        """Return the shorter side from whose middle the test images are cut; None: they are resized to their size."""
        return self.protocol.preprocessing.resize if self.protocol.preprocessing else None

    @property
    def subject(self) -> Subject:
        """Return what is evaluated."""
        return Subject(training=self.training.train_id)

    @property
    def evaluation_id(self) -> str:
        """Return where the run's predictions lie."""
        return evaluation_id(self.subject, self.protocol)

    @property
    def data(self) -> DataId:
        """Return the data of training and evaluation in one."""
        train, test = self.training.data, self.protocol.test
        return DataId(
            name=test.name,
            sha256=test.sha256,
            size=test.size,
            classes=test.classes,
            train=train.images,
            test=test.count,
        )

    @property
    def evaluation(self) -> Evaluation:
        """Return what is shown, as a grid has it."""
        p = self.protocol
        return Evaluation(
            corruptions=p.corruptions, severities=p.severities, seed=p.seed, block=p.block, stream=p.stream
        )

    @property
    def backbone(self) -> str:
        """Return the topology's name with its options."""
        return self.training.backbone

    @property
    def method(self) -> MethodId:
        """Return the method and its regularizers."""
        return self.training.method

    @property
    def label(self) -> str:
        """Return the method as reports print it."""
        return self.training.label

    @property
    def seed(self) -> int:
        """Return the training's seed."""
        return self.training.seed

    @property
    def budget(self) -> Budget:
        """Return the training's budget."""
        return self.training.budget

    @property
    def recipe(self) -> Recipe:
        """Return the training's recipe."""
        return self.training.recipe
