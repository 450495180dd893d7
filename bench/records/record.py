"""Records: typed, versioned, numbers as numbers.

A store keeps two kinds: a `Training` (what was trained, what it cost) and an `Evaluation` (what one network was shown under
protocols of one look, and what was measured, batch by batch). Reports read a `Record`, the two joined under one protocol.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal, NamedTuple

from pydantic import Field, JsonValue

from lcrbench.bench.records.budget import Frozen, Unit
from lcrbench.bench.records.by_image import ImageFigure
from lcrbench.bench.records.external import External
from lcrbench.bench.records.foreign import ForeignSpec
from lcrbench.bench.records.grid import Options, Tuning
from lcrbench.bench.records.ids import canonical
from lcrbench.bench.records.measurement import Measurement, MetricInfo, Phase
from lcrbench.bench.records.spec import Cell, Protocol, RunSpec, Subject, TrainSpec
from lcrbench.errors import UserError

SCHEMA_VERSION = 6


class Seconds(Frozen):
    """What a phase took, by the clock of the process (CPU, all its threads) and by the wall."""

    cpu: float = Field(description="seconds of the processor, of all threads")
    wall: float = Field(description="seconds that passed")


class Stage(Frozen):
    """One of several stages of a training, each with a schedule of its own: its name, and what it was given."""

    name: str = Field(description="what the method calls it")
    images: int = Field(description="images seen in it")
    steps: int = Field(description="optimizer steps in it")


class Taught(Frozen):
    """A teacher that was trained for a run: its method, where the store keeps it, and what its own training was given.

    Runs that need the same teacher share it. Each is charged the whole training, with the seconds that it took when it was
    done, as if it had trained the teacher itself.
    """

    method: str = Field(description="the teacher's method as it is typed")
    id: str = Field(description="where the store keeps it")
    images: int = Field(description="images that its training saw")
    steps: int = Field(description="optimizer steps of its training")
    weights_sha256: str = Field(description="of the file of its weights")
    validation: int = Field(0, description="validation images through it, for selection = 'best'")
    teaches: bool = Field(True, description="whether the run learned from it in its steps")
    starts: bool = Field(False, description="whether the run began with its weights")


class BudgetClass(NamedTuple):
    """What a budget went to. Under equal images, classes do not compare.

    One training in named stages, teachers that it learned from, networks that it started from, the recipe of the method's
    own paper, and the trials of a search for options and recipe before it.
    """

    stages: tuple[str, ...] = ()
    teachers: tuple[str, ...] = ()
    started: tuple[str, ...] = ()
    by_paper: bool = False
    trials: int = 0


class Ledger(Frozen):
    """What was really spent, and the hashes that prove that two runs were given the same.

    `forward` and `backward` count single images through each network in the student's training: "student" for its own
    passes, "validation" for those over validation images, and what the terms declare, such as a "teacher". What the
    training of a teacher took is in `teachers`. `compute` is all that was computed, teachers' own training included: the
    operations of convolutions and matrix products, over those of the plain network's step for one image. The hashes cover
    the indices of every batch, the augmentation drawn for every image, and the latent weights of convolutions and linear
    layers before the first step.
    """

    images: int = Field(description="images that the network saw in its training, with repetition")
    steps: int = Field(description="optimizer steps")
    unit: Unit = Field(description="unit of the budget")
    stages: tuple[Stage, ...] = Field((), description="empty for a training in one stage")
    teachers: tuple[Taught, ...] = Field((), description="teachers that were trained for the run")
    tuning: Tuning | None = Field(
        None,
        description="trainings before this one, by which options and recipe were chosen; in none of the other counts",
    )
    by_paper: bool = Field(False, description="whether the recipe is that of the method's paper")
    forward: dict[str, float] = Field(description="images through forward passes, by network")
    backward: dict[str, float] = Field(description="images through backward passes, by network")
    compute: float | None = Field(
        None,
        description="in training steps of the plain network (the backbone in full precision) for one image",
    )
    evaluation_forward: dict[Phase, int] = Field({}, description="images through the deployed network, by phase")
    data_order_sha256: str = Field(description="of the indices of every batch")
    augmentation_sha256: str = Field(description="of the augmentation drawn for every image")
    initial_weights_sha256: str = Field(description="of the latent weights before the first step")
    selection: str = Field(description="which weights are reported, as the recipe has it")
    selected: int | None = Field(None, description="steps after which the reported weights were taken; None: the last")
    progress: float | None = Field(None, description="how far the last of these steps was in its stage, in [0, 1)")
    seconds: dict[Phase, Seconds] = Field(description="what was spent, by phase")
    data_wait: float | None = Field(
        None, description="share of the training's wall seconds in which a step waited for its images"
    )
    readers: int = Field(
        0,
        description="processes that read images ahead; their CPU seconds are in no other count, and they change no bit",
    )
    processes: int = Field(1, description="that computed the training, or its last part; seconds are sums of theirs")
    clock: str = Field("", description="what the seconds of a budget in seconds are, of the process or of the device")

    @property
    def budget_class(self) -> BudgetClass:
        """Return what the budget went to."""
        return BudgetClass(
            tuple(s.name for s in self.stages),
            tuple(t.method for t in self.teachers if t.teaches),
            tuple(t.method for t in self.teachers if t.starts),
            self.by_paper,
            self.tuning.trials if self.tuning else 0,
        )

    @property
    def taught_images(self) -> int:
        """Return the images that the teachers' own trainings saw, each in a forward and a backward pass."""
        return sum(teacher.images for teacher in self.teachers)


class LayerAudit(Frozen):
    """A layer called binary: what the signs of its input stand for (scale s + offset), and whether zeros pad its input."""

    name: str = Field(description="of the layer")
    input_scale: float = Field(description="what the signs of its input are multiplied by")
    input_offset: float = Field(description="what is added to them then")
    padded: bool = Field(description="whether zeros pad its input")
    padded_taps: float | None = Field(
        None,
        description="share of the taps that fall on zeros of the padding; null in records from before it was counted",
    )


class Audit(Frozen):
    """What the audit of the trained network found: a network with `faults` is not 1/1 bit, whatever its method says."""

    passed: bool = Field(description="whether no fault was found")
    faults: tuple[str, ...] = Field(description="what was found, one line each")
    images: int = Field(description="images that it was run on")
    logit_difference: float | None = Field(
        description="largest difference of the logits of the packed network, computed by exclusive or and population "
        "count, in float64; null if it is no number"
    )
    layers: tuple[LayerAudit, ...] = Field(description="the binary layers")


class ModelInfo(Frozen):
    """The trained network in figures."""

    parameters: int = Field(description="trainable numbers, latent weights of binary layers included")
    binary_weights: int = Field(description="latent weights that are deployed as one bit")
    binary_layers: tuple[str, ...] = Field(description="names of the binary layers")
    macs: int = Field(description="multiply-accumulates of convolutions and linear layers for one image")
    binary_macs: int = Field(description="those of them in binary layers")
    ops: float | None = Field(None, description="real multiply-accumulates plus 1/64 of the binary ones, for one image")
    memory_bits: int | None = Field(
        None, description="one bit a binary weight, 32 any other number that inference needs"
    )
    weight_bits: int | None = Field(None, description="of the method's layers, as audited: 1 only if the audit passed")
    activation_bits: int | None = Field(None, description="of the inputs of these layers, as audited")
    topology: dict[str, JsonValue] = Field({}, description="the backbone's options, every one")
    options: dict[str, Options] = Field({}, description="every option of the method and of each regularizer, by name")
    audit: Audit | None = Field(None, description="of the trained network; null for a method without binary layers")


class Source(Frozen):
    """The code that a number depends on: its roots, and the hash of each module in their import closure (source.py)."""

    roots: tuple[str, ...] = Field(description="modules that the code was followed from")
    modules: dict[str, str] = Field(description="hash of each module's code, by its name")

    @property
    def sha256(self) -> str:
        """Return one hash over all modules."""
        return hashlib.sha256(canonical(self.modules).encode()).hexdigest()


class Provenance(Frozen):
    """Where numbers come from. No host name, user name or absolute path."""

    lcrbench: str = Field(description="version of lcrbench")
    source: str = Field(description="hash over the code that the numbers depend on (`Source.sha256`)")
    commit: str | None = Field(description="of the checkout; null without one")
    dirty: bool | None = Field(description="whether the checkout differed from the commit; null without one")
    command: str = Field(description="as it was typed, each absolute path cut to its last part")
    versions: dict[str, str] = Field(description="of Python and the packages, by name")
    device: str = Field(description="cpu, cuda, ...")
    device_name: str = Field("", description="model of the accelerator, or else of the processor")
    threads: int = Field(description="threads of a process")
    deterministic: bool = Field(description="whether torch was restricted to deterministic operations")
    determinism: dict[str, JsonValue] = Field(
        {}, description="the settings that decide whether a run repeats to the bit"
    )
    corruptions: dict[str, JsonValue] = Field({}, description="the corruption engine; empty for a training")
    engine: str = Field(
        "", description='what computed the logits, which changes none: "packed" and its version, or "torch: " and why'
    )
    created: str = Field(description="time in UTC")


class Failure(Frozen):
    """Why a run did not finish: the kind of failure, where it stood, and one line about it."""

    reason: Literal["diverged", "error", "killed", "stopped"] = Field(description="kind of failure")
    step: int = Field(description="optimizer steps that were done")
    message: str = Field(description="one line about it")


class Normalization(Frozen):
    """Mean and standard deviation of each channel, in [0, 1], by which the network normalizes, and what they are of."""

    mean: tuple[float, ...] = Field(description="of each channel")
    std: tuple[float, ...] = Field(description="of each channel")
    of: str = Field(description="what they are of: a label space, or training images")


class Training(Frozen):
    """A finished training: what was trained, what it cost, and where it comes from. Its folder holds log and weights."""

    schema_version: int = Field(SCHEMA_VERSION, description="version of the form of records")
    train_id: str = Field(description="the training's address, a hash of its spec")
    spec: TrainSpec = Field(description="what was trained")
    model: ModelInfo
    ledger: Ledger
    normalization: Normalization | None = Field(None, description="null in records from before it was written down")
    weights_sha256: str = Field(description="of the file of the weights: evaluations name the weights that they are of")
    files: dict[str, str] = Field({}, description="sha256 of each file beside the record")
    source: Source | None = Field(
        None, description="None in records from before scopes: `provenance.source` is of all code"
    )
    provenance: Provenance


class Measured(Frozen):
    """What one metric found of a network: its numbers, or why it has none, or not all."""

    metric: str = Field(description="name of the metric")
    options: Options = Field(description="all options that it had")
    images: int = Field(description="test images that it was given")
    protocol: str = Field("", description="id of the protocol, for a metric that depends on which cells were shown")
    info: MetricInfo | None = Field(description="what the numbers mean; null: the metric has none here")
    measurements: tuple[Measurement, ...] = Field((), description="its numbers")
    left_out: str = Field("", description="why it has no number, or not all; empty: it has all")
    source: str = Field("", description="key of the evaluation's `sources`")


class Batch(Frozen):
    """What one process evaluated and measured: cells, numbers, and the file of its figures by image."""

    cells: tuple[Cell, ...] = Field((), description="what the network was shown")
    cell_source: str = Field("", description="key of the evaluation's `sources`")
    measured: tuple[Measured, ...] = Field((), description="what each metric found")
    by_image: str = Field("", description="name of the file of figures for single images; empty without any")
    figures: tuple[ImageFigure, ...] = Field(
        (), description="the figures in that file; empty in one of before schema 5"
    )
    forward: dict[Phase, int] = Field({}, description="images through the network, by phase")
    seconds: dict[Phase, Seconds] = Field({}, description="what was spent, by phase")
    provenance: Provenance


class Asked(Frozen):
    """A protocol that was asked for, with its metrics: one run. `failure` says why it has not been answered whole."""

    protocol: Protocol = Field(description="what was asked to be shown")
    metrics: dict[str, Options] = Field(description="options of each metric that was asked for, by name")
    created: str = Field(description="time in UTC")
    failure: Failure | None = Field(None, description="why it was not answered whole; null: it was")
    provenance: Provenance | None = Field(None, description="of a failed attempt")


class Evaluation(Frozen):
    """What one network was shown under protocols of one look. Its folder holds the predictions."""

    schema_version: int = Field(SCHEMA_VERSION, description="version of the form of records")
    evaluation_id: str = Field(description="the evaluation's address, a hash of subject and look")
    subject: Subject = Field(description="what was evaluated")
    training: TrainSpec | None = Field(
        description="the spec of a trained subject, so that a run whose training failed has a name"
    )
    weights_sha256: str = Field("", description="of the weights that were evaluated; empty while there are none")
    cells: tuple[Cell, ...] = Field((), description="of the rows of the predictions")
    asked: tuple[Asked, ...] = Field(description="the protocols that it was asked to answer: its runs")
    batches: tuple[Batch, ...] = Field((), description="what each process evaluated and measured")
    sources: dict[str, Source] = Field({}, description="the code that numbers depend on, by a key")
    replaces: dict[str, str] = Field({}, description="runs of an older schema that were taken over, and their new ids")
    files: dict[str, str] = Field({}, description="sha256 of each file beside the record")


class Record(Frozen):
    """One run as reports read it: a training and its evaluation under one protocol, joined.

    The spec of a network from outside is a `ForeignSpec`: it has no training, no ledger and no figures of a method.
    """

    schema_version: int = Field(SCHEMA_VERSION, description="version of the form of records")
    run_id: str = Field(description="the run's address")
    status: Literal["finished", "failed"] = Field(description="whether all that was asked for was found")
    spec: RunSpec | ForeignSpec = Field(description="what was asked for")
    failure: Failure | None = Field(None, description="why it failed; null: it finished")
    model: ModelInfo | None = None
    ledger: Ledger | None = None
    metrics: dict[str, MetricInfo] = Field({})
    measurements: tuple[Measurement, ...] = ()
    left_out: dict[str, str] = Field({}, description="why a metric, or a part of it, has no number here, by metric")
    sources: tuple[Source, ...] = Field((), description="the code that its parts depend on")
    unscoped: tuple[str, ...] = Field((), description="hashes of the whole source, of parts from before scopes")
    weights_sha256: str = Field("", description="of the file of the trained weights; empty for a run that failed")
    provenance: Provenance

    @property
    def external(self) -> External | None:
        """Return the network from outside; None of one that was trained here."""
        return self.spec.external if isinstance(self.spec, ForeignSpec) else None

    @property
    def trained(self) -> RunSpec:
        """Return the spec of a run whose network was trained here; raises `UserError` for one from outside."""
        if isinstance(self.spec, ForeignSpec):
            raise UserError(
                f"{self.run_id} is of '{self.spec.label}', a network from outside: nothing is known of its training"
            )
        return self.spec

    def lipschitz(self, metric: str) -> bool:
        """Tell whether a metric stands in the Lipschitz part of a report."""
        return metric in self.metrics and self.metrics[metric].lipschitz

    def timeless(self) -> Record:
        """Return the record without its times, which is what two runs of one spec must agree on."""
        how: dict[str, Any] = {"seconds": {}, "data_wait": None, "readers": 0, "processes": 1}
        ledger = self.ledger and self.ledger.model_copy(update=how)
        return self.model_copy(
            update={"ledger": ledger, "provenance": self.provenance.model_copy(update={"created": ""})}
        )
