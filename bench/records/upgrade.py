"""Reads records: those of the present schema as they are, older ones upgraded, with weights, outcomes and figures kept.

Schemas 4 and 5 had the same folders, and wrote as text what has fields of its own now (before_5.py, before_6.py).

Until schema 3 a run was one folder, STORE/<run id>, with its training and its evaluation: one hash of the spec named both,
and one hash of the whole source said what had made it ("from before scopes"). `OldRuns` reads such folders as they are.
`split` makes a training and an evaluation of one, which `lcrbench run` writes before it goes on with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from pydantic import ValidationError
from pydantic_core import from_json

from lcrbench.bench.records import before_5, before_6, by_image, predictions, source
from lcrbench.bench.records.budget import Budget, Frozen, Recipe, move_keys
from lcrbench.bench.records.by_image import ByImage
from lcrbench.bench.records.files import unpack
from lcrbench.bench.records.forms import as_made
from lcrbench.bench.records.grid import Evaluation as Shown
from lcrbench.bench.records.grid import Option, Options
from lcrbench.bench.records.measurement import Measurement, Phase
from lcrbench.bench.records.predictions import Predictions
from lcrbench.bench.records.record import SCHEMA_VERSION, Asked, Batch, Evaluation, Measured, Record, Training
from lcrbench.bench.records.shelf import REDO, Damaged, Shelf
from lcrbench.bench.records.spec import CLEAN, Cell, DataId, MethodId, Protocol, RunSpec, Subject, evaluation_id
from lcrbench.errors import UserError
from lcrbench.models import parse
from lcrbench.untrusted import bounded

P = TypeVar("P", Training, Evaluation)

OUTCOMES, BY_IMAGE, LOG, WEIGHTS, PACKED = (
    "outcomes.npz", "by_image.npz", "training.jsonl", "weights.safetensors", "packed.safetensors",
)  # fmt: skip
LIPSCHITZ = "lipschitz"
TRAINING_PHASES: tuple[Phase, ...] = ("data", "training", "teacher")
OF_CELLS = ("accuracy", "corruption_error")
"""Metrics of schema 3 that depend on which cells were shown."""


def _checked(data: dict[str, Any], where: str) -> int:
    version = data["schema_version"]
    if not isinstance(version, int) or version < 1:
        raise ValueError(f"schema_version is {version!r}")
    if version > SCHEMA_VERSION:
        raise UserError(f"{where} has schema {version}, newer than {SCHEMA_VERSION}: read it with a newer lcrbench")
    return version


def training(content: bytes, where: str) -> Training:
    """Return the training in JSON; raises `UserError` if a newer version wrote it."""
    return _present(Training, content, where, (before_5.training, before_6.training))


def evaluation(content: bytes, where: str) -> Evaluation:
    """Return the evaluation in JSON; raises `UserError` if a newer version wrote it."""
    found = _present(Evaluation, content, where, (before_5.evaluation, before_6.evaluation))
    if any(batch.by_image not in ("", *found.files) for batch in found.batches):
        raise ValueError("it names a file that does not lie beside it")
    return found


Step = Callable[[dict[str, Any]], None]

_BEFORE = b" \t\r\n[:,-"
_KINDS = bytes(48 if chr(i) in "0123456789" else 32 if i in _BEFORE else 120 for i in range(256))
"""Digits as 0, what a number may follow as a space, all else as x."""
_LONG = b" " + 19 * b"0"


def _check_numbers(content: bytes, where: str) -> None:
    """Raise `UserError` for whole numbers beyond 64 bits, with which no number can be worked out."""
    # Few records hold so many digits in a row where a number may begin; hashes do, within quotes. A regular expression would
    # take as long as half of the reading.
    if _LONG in content.translate(_KINDS):
        bounded(from_json(content), where)


def _present(kind: type[P], content: bytes, where: str, steps: tuple[Step, Step]) -> P:
    """Return a record of the present schema; `steps` bring one of schema 4, and of schema 5, to the next."""
    _check_numbers(content, where)
    # Read at once: decoded first, and then made a record of, it would take half as long again.
    try:
        record = kind.model_validate_json(content)
        version = _checked({"schema_version": record.schema_version}, where)
        if version == SCHEMA_VERSION:
            return record
    except ValidationError:
        if _checked(from_json(content), where) == SCHEMA_VERSION:
            raise
    data = from_json(content)
    for step in steps[max(0, data["schema_version"] - 4) :]:
        step(data)
    return kind.model_validate({**data, "schema_version": SCHEMA_VERSION})


class OldRun(Frozen):
    """A run of an older schema: its upgraded record, and the hashes of its files."""

    record: Record
    files: dict[str, str]


def old_run(content: bytes, where: str) -> OldRun:
    """Return a run of schema 1 to 3 in the present form; raises `UserError` if a newer version wrote it."""
    _check_numbers(content, where)
    data = from_json(content)
    version = _checked(data, where)
    if version == 1:
        # Version 2 added the source's hash, unknown before, and the unit of the budget.
        data["provenance"]["source"] = ""
        if data.get("ledger"):
            data["ledger"]["unit"] = "images"
        data["spec"]["budget"] |= {"unit": "images", "seconds": None}
    before_5.run(data)
    before_6.run(data)
    files = data.pop("files", {})
    tables, _ = move_keys(data["spec"])
    spec = _spec(tables)
    data["spec"] = spec.model_dump()
    # Version 4 counts compute by another rule, so that no earlier version's bits are equal under it.
    other = spec.budget.unit == "compute" or source.other_bits(spec.method)
    data["unscoped"] = ["" if other else data["provenance"]["source"]]
    data["schema_version"] = SCHEMA_VERSION
    return OldRun(record=Record.model_validate(data), files=files)


def _spec(old: Mapping[str, Any]) -> RunSpec:
    """Return the spec of a run of schema 3: version 4 parted training and protocol, and leaves out defaults."""
    return RunSpec.flat(
        DataId.model_validate(old["data"]),
        old["backbone"],
        _method(old["method"], old["label"]),
        old["seed"],
        budget=Budget.model_validate(old["budget"]),
        recipe=Recipe.model_validate(old.get("recipe", {})),
        evaluation=Shown.model_validate(old["evaluation"]),
        metrics=old["metrics"],
    )


def _method(method: Mapping[str, Any], label: str) -> MethodId:
    """Return a method with the options that its label names, which are those that differed from their default."""
    try:
        named = {part.name: set(part.options) for part in parse.read(label)}
    except UserError:
        named = {}

    def given(name: str, options: Mapping[str, Option]) -> Options:
        return {k: v for k, v in options.items() if k in named[name]} if name in named else dict(options)

    found = MethodId(
        name=method["name"],
        options=given(method["name"], method["options"]),
        regularizers={name: given(name, options) for name, options in method["regularizers"].items()},
    )
    return as_made(found, method["options"])


class OldRuns:
    """The runs of older schemas in a store, read and never written."""

    def __init__(self, root: Path) -> None:
        self.shelf: Shelf[OldRun] = Shelf(root, old_run, lambda r: r.record.run_id)
        self.searched: Shelf[OldRun] = Shelf(root / LIPSCHITZ, old_run, lambda r: r.record.run_id)

    def record(self, run_id: str) -> Record:
        """Return a run's record; raises as `Shelf.record` does."""
        return self.shelf.record(run_id).record

    def file(self, run_id: str, name: str) -> bytes:
        """Return a file of a run, empty if it has none; raises `Damaged` if it is not what was written."""
        files = self.shelf.record(run_id).files
        return self.shelf.read(run_id, name, files[name]) if name in files else b""

    def outcomes(self, run_id: str) -> dict[Cell, np.ndarray]:
        """Return for each cell which test images were classified right, (N,)."""
        content = self.file(run_id, OUTCOMES)
        if not content:
            raise Damaged(f"{self.shelf.folder(run_id) / OUTCOMES} is missing: {REDO}")
        try:
            arrays = unpack(content)
            n = int(arrays.pop("n"))
            if any(a.ndim != 1 or not 0 <= n <= 8 * len(a) for a in arrays.values()):
                raise ValueError("it is not of so many images")
            return {_cell(k): np.unpackbits(a, count=n).view(bool) for k, a in arrays.items()}
        except (ValueError, KeyError, TypeError) as error:
            raise Damaged(f"{self.shelf.folder(run_id) / OUTCOMES} is damaged: {REDO}") from error

    def searches(self, run_id: str) -> list[tuple[Record, Callable[[], ByImage]]]:
        """Return the run's own record and those that `lcrbench lipschitz` made of it, the latest last.

        Each comes with what reads its figures by image.
        """
        run = self.record(run_id)
        found = [(run, partial(self._by_image, self.shelf, run_id))]
        for name in self.searched.ids():
            record = self.searched.record(name).record
            same = (record.trained.training.train_id, record.spec.protocol) == (
                run.trained.training.train_id,
                run.spec.protocol,
            )
            # A run that was made again has another ledger: figures of the earlier one say nothing about it.
            if same and record.ledger == run.ledger:
                found.append((record, partial(self._by_image, self.searched, name)))
        return [found[0], *sorted(found[1:], key=lambda f: f[0].provenance.created)]

    def _by_image(self, shelf: Shelf[OldRun], name: str) -> ByImage:
        files = shelf.record(name).files
        if BY_IMAGE not in files:
            return {}
        try:
            return before_5.figures(unpack(shelf.read(name, BY_IMAGE, files[BY_IMAGE])))
        except (ValueError, KeyError) as error:
            if isinstance(error, UserError):
                raise
            raise Damaged(f"{shelf.folder(name) / BY_IMAGE} is damaged: {REDO}") from error

    def verify(self, run_id: str) -> None:
        """Read a run whole, with what was measured of it; raises `Damaged` that names the first file that is not whole."""
        for name in self.shelf.record(run_id).files:
            self.file(run_id, name)
        for _, read in self.searches(run_id):
            read()

    def verify_searched(self, name: str) -> None:
        """Read one record of what was measured of a run; raises `Damaged` likewise."""
        self._by_image(self.searched, name)


def _cell(key: str) -> Cell:
    corruption, _, severity = key.partition("/")
    return Cell(corruption, int(severity)) if severity else CLEAN


class Split(NamedTuple):
    """A training and an evaluation with their files, ready to be written."""

    training: Training
    training_files: dict[str, bytes]
    evaluation: Evaluation
    predictions: Predictions
    evaluation_files: dict[str, bytes]


def split(
    record: Record,
    spec: RunSpec,
    training_files: Mapping[str, bytes],
    outcomes: Mapping[Cell, np.ndarray],
    searches: list[tuple[Record, ByImage]],
    labels: np.ndarray | None = None,
) -> Split:
    """Return a finished run as a training and an evaluation, under the ids of `spec`, which names the same run.

    `searches` are the run's own record and what else was measured of it, with the figures by image; `labels` (N) are the
    true classes, without which a right prediction is known to be right, and not of which class.
    """
    protocol, train = spec.protocol, spec.training
    made = training_of(record.model_copy(update={"spec": spec}), training_files.get(WEIGHTS, b""))
    seconds = record.ledger.seconds if record.ledger else {}
    n = protocol.test.count
    cells = list(outcomes)
    kept = Predictions.none().widen(np.arange(n), np.full(n, -1) if labels is None else labels, cells)
    for row, right in enumerate(outcomes.values()):
        known = kept.labels >= 0
        kept.classes[row] = np.where(right, np.where(known, kept.labels, predictions.RIGHT), predictions.WRONG)
    batches, files = [], {}
    for k, (found, kept_figures) in enumerate(searches):
        own = k == 0
        name = f"by_image-{k}.npz" if kept_figures else ""
        entries: tuple[by_image.ImageFigure, ...] = ()
        if name:
            entries, files[name] = by_image.pack(kept_figures)
        batches.append(
            Batch(
                cells=tuple(cells) if own else (),
                measured=tuple(_measured(found, metric, protocol) for metric in found.spec.metrics),
                by_image=name,
                figures=entries,
                forward=found.ledger.evaluation_forward if own and found.ledger else {},
                seconds={p: s for p, s in seconds.items() if p not in TRAINING_PHASES} if own else {},
                provenance=found.provenance,
            )
        )
    subject = Subject(training=train.train_id)
    looked = Evaluation(
        evaluation_id=evaluation_id(subject, protocol),
        subject=subject,
        training=train,
        weights_sha256=made.weights_sha256,
        cells=tuple(cells),
        asked=(Asked(protocol=protocol, metrics=record.spec.metrics, created=record.provenance.created),),
        batches=tuple(batches),
        replaces={record.run_id: spec.run_id} if record.run_id != spec.run_id else {},
    )
    return Split(made, dict(training_files), looked, kept, {**files, predictions.FILE: kept.pack()})


def training_of(record: Record, weights: bytes) -> Training:
    """Return what a finished run's record says of its training."""
    assert record.model is not None
    assert record.ledger is not None
    seconds = {k: v for k, v in record.ledger.seconds.items() if k in TRAINING_PHASES}
    return Training(
        train_id=record.trained.training.train_id,
        spec=record.trained.training,
        model=record.model,
        ledger=record.ledger.model_copy(update={"seconds": seconds, "evaluation_forward": {}}),
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        source=record.sources[0] if record.sources else None,
        provenance=record.provenance.model_copy(update={"corruptions": {}}),
    )


def _measured(record: Record, metric: str, protocol: Protocol) -> Measured:
    """Return what a run of schema 3 measured by one metric; one named by an import path called itself by its file."""
    own = metric.rpartition(".")[2]
    names = {metric} if own in record.spec.metrics else {metric, own}
    numbers: tuple[Measurement, ...] = tuple(
        m.model_copy(update={"metric": metric}) for m in record.measurements if m.metric in names
    )
    return Measured(
        metric=metric,
        options=record.spec.metrics[metric],
        images=protocol.test.count,
        # What one from outside needs is not known here: its numbers count for these cells alone.
        protocol=protocol.protocol_id if metric in OF_CELLS or "." in metric else "",
        info=record.metrics.get(metric),
        measurements=numbers,
        left_out=record.left_out.get(metric, ""),
    )
