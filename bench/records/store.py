"""The store: trainings and evaluations apart, each entry written whole or not at all, checked when read.

    STORE/trainings/<train id>/        a `Training`, its log (training.jsonl), weights (weights.safetensors), packed bits
    STORE/evaluations/<evaluation id>/ an `Evaluation` of one network, its predictions, figures by image (by_image-N.npz)
    STORE/<run id>/                    a run of schema 3 or older (upgrade.py), read as it is, taken over by the next `run`
    STORE/.unfinished/<train id>       the last save of an unfinished training
    STORE/.teachers/<id>               a trained teacher, shared by the trainings that need it
    STORE/.trials/<id>                 what a trial of `lcrbench tune` came to: an accuracy on validation images, no weights
    STORE/.leases/<id>/                the lease of a training, an evaluation or a teacher, for the process that works on it
    STORE/.cache/                      corrupted test images, shared by the networks of a grid; may be deleted
    STORE/.damaged/                    what was set aside because its hash did not match

A run is a protocol that a network was asked to answer (`Asked`). Reports read it as a `Record`: its training, and of its
evaluation what belongs to the protocol.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lcrbench import untrusted
from lcrbench.bench.records import before_5, by_image, predictions, upgrade, view
from lcrbench.bench.records.by_image import ByImage
from lcrbench.bench.records.files import unpack
from lcrbench.bench.records.lease import Lease, all_of, fence
from lcrbench.bench.records.predictions import Predictions
from lcrbench.bench.records.record import Asked, Batch, Evaluation, Record, Training
from lcrbench.bench.records.shelf import REDO, Damaged, Shelf
from lcrbench.bench.records.spec import Cell, RunSpec
from lcrbench.errors import UserError

if TYPE_CHECKING:  # takes half a second to import
    import pandas as pd

__all__ = ["LOG", "PACKED", "REDO", "SHOWN", "WEIGHTS", "Damaged", "Searched", "Store", "figures_of"]

LOG, WEIGHTS = "training.jsonl", "weights.safetensors"
PACKED = "packed.safetensors"
"""Beside a training with binary layers: one bit a weight, scales, and all else that inference needs."""
SHOWN = 10  # ids in a message


class Searched(NamedTuple):
    """What one batch of an evaluation measured, as a record of the run, and what reads its figures by image."""

    record: Record
    by_image: Callable[[], ByImage]


def figures_of(batch: Batch, content: bytes) -> ByImage:
    """Return the figures by image of a batch from the bytes of its file, which may be from before schema 5.

    Raises `Damaged` for bytes that are no such file, whatever hash the record has of them.
    """
    if not content:
        return {}
    try:
        return by_image.unpack(batch.figures, unpack(content)) if batch.figures else before_5.figures(unpack(content))
    except (ValueError, KeyError) as error:
        raise Damaged(f"the figures by image in {batch.by_image} are damaged: {REDO}") from error


class Store:
    """A folder of trainings and evaluations. Reading never writes; several processes may add to it at once."""

    def __init__(self, root: str | Path, *, create: bool = False) -> None:
        self.root = untrusted.place(root)
        if create:
            try:
                self.root.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(f"cannot make the store {self.root}: {error.strerror}") from error
        elif not self.root.is_dir():
            raise UserError(f"there is no store at {self.root}: name a folder that `lcrbench run --store` has filled")
        self.trainings: Shelf[Training] = Shelf(
            self.root / "trainings", upgrade.training, lambda r: r.train_id, self.fence
        )
        self.evaluations: Shelf[Evaluation] = Shelf(
            self.root / "evaluations", upgrade.evaluation, lambda r: r.evaluation_id, self.fence
        )
        self.old = upgrade.OldRuns(self.root)
        self._place: dict[str, str] = {}
        # Ids are hashes and records are joined of hundreds of parts: a report asks for each several times.
        self._runs: dict[str, tuple[Evaluation, dict[str, Asked]]] = {}
        self._joined: dict[str, tuple[Evaluation, Training | None, Record]] = {}

    # --------------------------------------------------------------------------------------------------------------- runs

    def ids(self) -> list[str]:
        """Return the ids of the runs, sorted: of each evaluation the protocols that no larger one contains, and old runs.

        An evaluation that cannot be read stands for its runs by its own id.
        """
        found: set[str] = set()
        taken_over: set[str] = set()
        for name, evaluation in self._find_places().items():
            if evaluation is None:
                found.add(name)
                continue
            found |= set(view.largest(evaluation, self._runs_of(evaluation)))
            taken_over |= set(evaluation.replaces)
        return sorted(found | (set(self.old.shelf.ids()) - taken_over))

    def find(self, prefix: str) -> str:
        """Return the one run whose id, or whose training's id, starts with `prefix`; one within a larger one too.

        Raises `UserError` if there is none, or more than one.
        """
        prefix, ids = untrusted.name_of(prefix, "a run"), self.ids()
        matches = [i for i in ids if i.startswith(prefix)] or [i for i in self._place if i.startswith(prefix)]
        if not matches and prefix:
            matches = [i for i in ids if self._training_of(i).startswith(prefix)]
        if len(matches) == 1 and prefix:
            return matches[0]
        what = f"several runs start with '{prefix}'" if matches and prefix else f"no run '{prefix}'"
        named = matches or ids
        there = ", ".join(named[:SHOWN]) + (f" and {len(named) - SHOWN} more" if len(named) > SHOWN else "")
        raise UserError(f"{what} in the store {self.root}, which has {there or 'no runs'}; --store names another store")

    def _training_of(self, run_id: str) -> str:
        try:
            return self.record(run_id).trained.training.train_id
        except UserError:
            return ""

    def evaluation_of(self, run_id: str) -> Evaluation | None:
        """Return the evaluation that holds a run; None for a run of an older schema, or none of that id."""
        for again in (False, True):
            if run_id in self._place:
                evaluation = self.evaluations.record(self._place[run_id])
                if run_id in (evaluation.evaluation_id, *evaluation.replaces, *self._runs_of(evaluation)):
                    return evaluation
            if again or run_id in self.old.shelf:
                return None
            self._find_places()
        return None

    def note(self, evaluation_id: str) -> None:
        """Look at one evaluation, which may have been made since the others were looked at; that takes no look at those."""
        if evaluation_id in self.evaluations:
            evaluation = self.evaluations.record(evaluation_id)
            self._place.update(
                dict.fromkeys([evaluation_id, *self._runs_of(evaluation), *evaluation.replaces], evaluation_id)
            )

    def _find_places(self) -> dict[str, Evaluation | None]:
        """Note which evaluation holds which run; return every evaluation, None for one that cannot be read."""
        self._place = {}
        every: dict[str, Evaluation | None] = dict.fromkeys(self.evaluations.ids())
        for name in every:
            self._place[name] = name
            with contextlib.suppress(UserError):
                every[name] = evaluation = self.evaluations.record(name)
                self._place.update(dict.fromkeys([*self._runs_of(evaluation), *evaluation.replaces], name))
        return every

    def _runs_of(self, evaluation: Evaluation) -> dict[str, Asked]:
        """Return every protocol that was asked for in an evaluation, by its run's id."""
        known = self._runs.get(evaluation.evaluation_id)
        if known is None or known[0] is not evaluation:
            known = self._runs[evaluation.evaluation_id] = evaluation, view.every_run(evaluation)
        return known[1]

    def record(self, run_id: str) -> Record:
        """Return a run as reports read it.

        Raises `Damaged` if a part of it is not what was written, `UserError` if its schema is newer than ours or there is no
        such run. A run of an older schema is upgraded in memory.
        """
        evaluation = self.evaluation_of(run_id)
        return self.old.record(run_id) if evaluation is None else self._record(evaluation, run_id)

    def _record(self, evaluation: Evaluation, run_id: str) -> Record:
        training = self.training_of(evaluation)
        known = self._joined.get(run_id)
        if known is None or known[0] is not evaluation or known[1] is not training:
            known = self._joined[run_id] = evaluation, training, view.joined(evaluation, training, run_id)
        return known[2]

    def training_of(self, evaluation: Evaluation) -> Training | None:
        """Return the training that an evaluation is of; None if there is none (any more), or its weights are others."""
        name = evaluation.subject.training
        if not name or name not in self.trainings:
            return None
        training = self.trainings.record(name)
        return training if training.weights_sha256 == evaluation.weights_sha256 else None

    def records(self) -> Iterator[Record]:
        """Yield every run, in the order of their ids."""
        for run_id in self.ids():
            yield self.record(run_id)

    def log(self, run_id: str) -> pd.DataFrame:
        """Return the log of a run's training, one row a logged step; empty if it has none."""
        import pandas as pd

        evaluation = self.evaluation_of(run_id)
        if evaluation is None:
            content = self.old.file(run_id, LOG)
        else:
            training = self.training_of(evaluation)
            content = self.training_file(training.train_id, LOG) if training else b""
        try:
            return pd.DataFrame([json.loads(line) for line in content.decode().splitlines()])
        except (ValueError, RecursionError) as error:
            raise Damaged(f"the log of {run_id} is damaged: {REDO}") from error

    def outcomes(self, run_id: str) -> dict[Cell, np.ndarray]:
        """Return for each cell of a run a boolean array (N,): was test image i classified right?"""
        evaluation = self.evaluation_of(run_id)
        if evaluation is None:
            return self.old.outcomes(run_id)
        protocol = view.asked(evaluation, run_id).protocol
        found = self.predictions(evaluation)
        known = set(found.cells)
        try:
            return found.rights([cell for cell in protocol.cells if cell in known], found.chosen(protocol.test))
        except KeyError as error:
            raise Damaged(f"the predictions of {run_id} are not of all its images: {REDO}") from error

    def searches(self, run_id: str) -> list[Searched]:
        """Return what each batch of a run's evaluation measured, with its figures by image, the latest last."""
        evaluation = self.evaluation_of(run_id)
        if evaluation is None:
            return [Searched(*found) for found in self.old.searches(run_id)]
        base = self._record(evaluation, run_id)
        return [
            Searched(view.of_batch(base, evaluation, batch), partial(self.by_image, evaluation, batch))
            for batch in evaluation.batches
            if batch.measured
        ]

    def by_image(self, evaluation: Evaluation, batch: Batch) -> ByImage:
        """Return the figures by image of a batch; raises `Damaged` if they are not what was written."""
        return figures_of(batch, self.evaluation_file(evaluation, batch.by_image) if batch.by_image else b"")

    def verify(self, run_id: str) -> None:
        """Read a run whole; raises `Damaged` that names the first file that is not what was written."""
        evaluation = self.evaluation_of(run_id)
        if evaluation is None:
            self.old.verify(run_id)
            return
        for file in evaluation.files:
            self.evaluation_file(evaluation, file)
        if training := self.training_of(evaluation):
            for file in training.files:
                self.training_file(training.train_id, file)

    def table(self, *, unread: Callable[[UserError], None] | None = None) -> pd.DataFrame:
        """Return the tidy table of all finished runs: one row a measurement, with the axes of its run.

        What `record` raises of a run is given to `unread`, and the others are read; without that it is raised.
        """
        import pandas as pd

        rows: list[dict[str, Any]] = []
        for run_id in self.ids():
            try:
                record = self.record(run_id)
            except UserError as error:
                if unread is None:
                    raise
                unread(error)
                continue
            spec = record.spec
            axes = {
                "run_id": record.run_id,
                "train_id": spec.training.train_id if isinstance(spec, RunSpec) else "",
                "data": spec.data.name,
                "backbone": spec.backbone,
                "method": spec.label,
                "seed": spec.seed,
            }
            rows += [axes | m.flat() for m in record.measurements]
        return pd.DataFrame(rows)

    # -------------------------------------------------------------------------------------------------------------- files

    def training_file(self, train_id: str, name: str) -> bytes:
        """Return a file of a training; raises `Damaged` if it is missing or not what was written."""
        return self.trainings.read(train_id, name, self.trainings.record(train_id).files.get(name, ""))

    def evaluation_file(self, evaluation: Evaluation, name: str) -> bytes:
        """Return a file of an evaluation; raises `Damaged` if it is missing or not what was written."""
        return self.evaluations.read(evaluation.evaluation_id, name, evaluation.files.get(name, ""))

    def predictions(self, evaluation: Evaluation) -> Predictions:
        """Return the predictions of an evaluation; raises `Damaged` if they are not what was written."""
        if predictions.FILE not in evaluation.files:
            return Predictions.none()
        content = self.evaluation_file(evaluation, predictions.FILE)
        try:
            return Predictions.unpack(content, evaluation.cells)
        except (ValueError, KeyError) as error:
            raise Damaged(f"the predictions of {evaluation.evaluation_id} are damaged: {REDO}") from error

    # ------------------------------------------------------------------------------------------------------------- places

    def unfinished(self, name: str) -> Path:
        """Return where the save of an unfinished training lies."""
        return self.root / ".unfinished" / name

    def teacher(self, name: str) -> Path:
        """Return where a trained teacher lies."""
        return self.root / ".teachers" / name

    def trial(self, name: str) -> Path:
        """Return where the result of a tuning's trial lies."""
        return self.root / ".trials" / name

    def cache(self) -> Path:
        """Return where corrupted test images are kept for the networks of a grid."""
        return self.root / ".cache"

    def lease(self, name: str) -> Lease:
        """Return the lease of a training, an evaluation or a teacher, not yet taken."""
        return Lease(self.root / ".leases" / name)

    @contextlib.contextmanager
    def held(self, *names: str) -> Iterator[None]:
        """Hold the leases of several things; raises `Held` at once if another process holds one.

        Raises `UserError` if the store takes no file.
        """
        with all_of([self.lease(name) for name in names]):
            yield

    def busy(self) -> bool:
        """Tell whether any process works on anything in the store."""
        return any(Lease(folder).state() == "held" for folder in (self.root / ".leases").glob("*"))

    def fence(self, name: str) -> None:
        """Raise `Superseded` if this process had the lease of a thing, and another one took it over."""
        fence(self.root / ".leases" / name)

    def known(self, evaluation_id: str) -> tuple[Evaluation, Predictions, dict[str, bytes]] | None:
        """Return an evaluation with its predictions and files, all checked; None if there is none."""
        if evaluation_id not in self.evaluations:
            return None
        found = self.evaluations.record(evaluation_id)
        files = {file: self.evaluation_file(found, file) for file in found.files}
        return found, self.predictions(found), files

    def trained(self, run_id: str) -> tuple[Training, bytes]:
        """Return the training of a finished run, of an older schema too, and the bytes of its weights.

        Raises `UserError` if the run failed or has none, and `Damaged` if it is not what was written.
        """
        record = self.record(run_id)
        _ = record.trained  # refuses a network from outside
        if record.status != "finished":
            raise UserError(
                f"run {record.run_id} failed: {record.failure.message if record.failure else 'no reason is known'}"
            )
        if (evaluation := self.evaluation_of(run_id)) is None:
            return upgrade.training_of(record, self.old.file(run_id, WEIGHTS)), self.old.file(run_id, WEIGHTS)
        training = self.training_of(evaluation)
        assert training is not None, "a finished run has a training"
        return training, self.training_file(training.train_id, WEIGHTS)

    def set_aside(self, path: Path) -> None:
        """Move an entry of a shelf, a save or a teacher out of the way, into `.damaged`, where nothing reads it."""
        aside = self.root / ".damaged"
        for found in (path, path.with_name(f".{path.name}.old")):
            if found.exists():
                aside.mkdir(exist_ok=True)
                number = len(list(aside.iterdir()))
                found.rename(aside / f"{path.name}.{number}{'.checkpoint' if found.is_file() else ''}")
