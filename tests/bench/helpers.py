"""What tests of several files share: a tiny grid and its jobs, synthetic runs, and what of a run must not differ."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lcrbench.bench import cli, dispatch, executors, planning, runner, worker
from lcrbench.bench.executors import Resources, local
from lcrbench.bench.records import env
from lcrbench.bench.records.by_image import ByImage, Effort, ImageKey, Images, Kept
from lcrbench.bench.records.grid import make_grid
from lcrbench.bench.records.measurement import Measurement, MetricInfo
from lcrbench.bench.records.record import Asked, Evaluation, Failure, Ledger, ModelInfo, Provenance, Record, Source
from lcrbench.bench.records.spec import CLEAN, Cell, DataId, MethodId, RunSpec
from lcrbench.bench.records.store import LOG, WEIGHTS, Store
from lcrbench.bench.records.upgrade import split

TABLES: dict[str, Any] = {
    "data": {"size": 16, "train": 200, "test": 50},
    "methods": ["irnet+lcr"],
    "budget": {"images": 600},
    "recipe": {"batch": 50, "lr": 0.05},
    "evaluation": {"corruptions": ["fog"], "severities": [1], "block": 25},
    "metrics": {"accuracy": {}, "corruption_error": {}},
}
"""A grid of one run of a second."""

SMALL = TABLES | {"methods": ["bnn"], "budget": {"images": 100}}
"""A grid of one run of half a second."""


def jobs(root: Path, tables: Mapping[str, Any] = TABLES, *, device: str = "cpu", **change: Any) -> list[worker.Job]:
    """Return the jobs of a grid as a command would plan them, and make the store; `change` are fields of a job."""
    grid = make_grid(dict(tables))
    specs = planning.plan(grid, worker.load_data(grid.data))
    Store(root, create=True)
    made = env.provenance(device, 1, "test", {}, deterministic=True)
    return [worker.Job(s, grid.data, root, device, made, **change) for s in specs]


def job(root: Path, tables: Mapping[str, Any] = TABLES, **change: Any) -> worker.Job:
    """Return the one job of a grid of one run."""
    (one,) = jobs(root, tables, **change)
    return one


def go(root: Path, tables: Mapping[str, Any] = TABLES, *, device: str = "cpu", **change: Any) -> list[Record]:
    """Do what a store lacks of a grid, as the command does, and return the records of its runs."""
    given = {"workers": 2, "command": "test", "quiet": True} | change
    ids = runner.run(make_grid(dict(tables)), root, device=device, **given)
    # One store, because each finds its records by a look at all of them.
    store = Store(root)
    return [store.record(i) for i in ids]


def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str, str]:
    """Give a command in this process; return its exit code, and what it wrote on standard output and error."""
    monkeypatch.setattr("sys.argv", ["lcrbench", *words])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


class Here:
    """Stands in for who starts the processes: notes the jobs, and does what it is told with each in this process."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.jobs: list[worker.Job] = []
        self.phases: list[str] = []
        self.does: Callable[[worker.Job], Record | None] = self.work
        patch.setattr(dispatch, "work_on", self.execute)

    def work(self, one: worker.Job) -> Record:
        """Do a job, and note the phases that it goes through."""
        return worker.run_one(one, lambda phase, *a, **k: self.phases.append(phase))

    def execute(
        self, jobs: Sequence[worker.Job], on: str, workers: int, need: Resources, *_: Any, **__: Any
    ) -> list[dispatch.Ended]:
        """Do jobs one after the other."""
        self.jobs = list(jobs)
        self.phases.clear()
        return [dispatch.Ended.of(record) for one in jobs if (record := self.does(one))]


def came_to(target: Store, one: worker.Job, code: int) -> Record | None:
    """Return what a job came to whose process ended with an exit code."""
    return dispatch.record_of(target, one, local.ending(executors.Cell(str(target.root), "x"), code))


def later(one: worker.Job, **change: Any) -> worker.Job:
    """Return a job that a later command would start."""
    return dataclasses.replace(one, provenance=one.provenance.model_copy(update={"created": "9999"}), **change)


def bits(root: Path, record: Record) -> dict[str, Any]:
    """Return all of a finished run that must be the same wherever and however often it was interrupted.

    That is all but its times: the hashes of weights, packed bits and log, and of predictions and figures by image; the
    numbers measured, and the ledger with its counts of passes.
    """
    store = Store(root)
    store.verify(record.run_id)
    looked = store.evaluation_of(record.run_id)
    assert looked is not None
    training = store.training_of(looked)
    assert training is not None
    return {"record": record.timeless(), "training": training.files, "evaluation": looked.files}


# ------------------------------------------------------------------------------------------------------------ synthetic runs

SCHEMA_3 = Path(__file__).parents[1] / "fixtures" / "store-schema-3"
"""A store as version 3 of the schema wrote it."""

CELLS = (CLEAN, *(Cell("gaussian_noise", s) for s in range(1, 6)))


def spec(seed: int = 0, test: int = 10, label: str = "irnet", **change: Any) -> RunSpec:
    """Return the spec of a run on images of two classes, by a method and regularizers without options."""
    data = DataId(name="d", sha256="0" * 64, size=32, classes=("a", "b"), train=10, test=test)
    name, *terms = label.split("+")
    method = MethodId(name=name, regularizers={term: {} for term in terms})
    return RunSpec.flat(data, "vgg_tiny", method, seed, metrics={"accuracy": {}}, train_sha256="1" * 64, **change)


def record(seed: int = 0, of: RunSpec | None = None) -> Record:
    """Return the record of a finished run with one number in it."""
    s = of or spec(seed)
    return Record(
        run_id=s.run_id,
        status="finished",
        spec=s,
        model=ModelInfo(parameters=1, binary_weights=0, binary_layers=(), macs=1, binary_macs=0),
        ledger=Ledger(
            images=1,
            steps=1,
            unit="images",
            forward={"student": 1},
            backward={"student": 1},
            data_order_sha256="",
            augmentation_sha256="",
            initial_weights_sha256="",
            selection="last",
            seconds={},
        ),
        metrics={"accuracy": MetricInfo(unit="fraction", higher_is_better=True, bound="exact", summary="")},
        measurements=(Measurement(metric="accuracy", value=0.5, low=0.2, high=0.8, n=10),),
        unscoped=("s",),
        weights_sha256=hashlib.sha256(b"weights").hexdigest(),
        provenance=Provenance(
            lcrbench="0",
            source="s",
            commit=None,
            dirty=None,
            command="",
            versions={},
            device="cpu",
            threads=1,
            deterministic=True,
            corruptions={},
            created="2026-01-01",
        ),
    )


def right() -> dict[Cell, np.ndarray]:
    """Return which of the ten images a synthetic run has right in each cell."""
    return {cell: np.arange(10) % (2 + k) == 0 for k, cell in enumerate(CELLS)}


def figures(n: int = 3) -> ByImage:
    """Return a figure of n images."""
    key = ImageKey.at("lipschitz_kappa", Effort(random=5, steps=5), "l2", 8 / 255)
    return {key: Kept(np.arange(n, dtype=np.float32), Images(np.arange(n), b"pixels"))}


def put(store: Store, one: Record, *, by_image: ByImage | None = None) -> str:
    """Write a synthetic run into a store, a failed one as what was asked for; return its id."""
    s = one.spec
    if one.failure:
        asked = Asked(
            protocol=s.protocol,
            metrics=s.metrics,
            created=one.provenance.created,
            failure=one.failure,
            provenance=one.provenance,
        )
        looked = Evaluation(evaluation_id=s.evaluation_id, subject=s.subject, training=s.training, asked=(asked,))
        store.evaluations.write(s.evaluation_id, looked, {})
        return s.run_id
    files = {WEIGHTS: b"weights", LOG: b'{"step":1}\n{"step":2}\n'}
    made = split(one, s, files, right(), [(one, by_image or {})], np.arange(10) % 2)
    store.trainings.write(made.training.train_id, made.training, made.training_files)
    store.evaluations.write(made.evaluation.evaluation_id, made.evaluation, made.evaluation_files)
    return s.run_id


def failed(seed: int = 0) -> Record:
    """Return the record of a run that failed."""
    failure = Failure(reason="error", step=0, message="m")
    nothing = {"model": None, "ledger": None, "measurements": (), "metrics": {}, "unscoped": (), "weights_sha256": ""}
    return record(seed).model_copy(update={"status": "failed", "failure": failure, **nothing})


def outdate(store: Store, s: RunSpec, part: str) -> None:
    """Let a run's record name another version of the code of a part: training, predictions, or a metric."""

    def changed(scope: Source) -> Source:
        return scope.model_copy(update={"modules": scope.modules | {max(scope.modules): "another version"}})

    if part == "training":
        name = s.training.train_id
        training = store.trainings.record(name)
        assert training.source is not None
        files = {file: store.training_file(name, file) for file in training.files}
        store.trainings.write(name, training.model_copy(update={"source": changed(training.source)}), files)
        return
    looked = store.evaluations.record(s.evaluation_id)
    files = {file: store.evaluation_file(looked, file) for file in looked.files}
    sources, batches = dict(looked.sources), []
    for batch in looked.batches:
        if part == "predictions" and batch.cells:
            sources["old"] = changed(sources[batch.cell_source])
            batches.append(batch.model_copy(update={"cell_source": "old"}))
            continue
        measured = []
        for m in batch.measured:
            if m.metric == part:
                sources["old"] = changed(sources[m.source])
                m = m.model_copy(update={"source": "old"})
            measured.append(m)
        batches.append(batch.model_copy(update={"measured": tuple(measured)}))
    assert "old" in sources, f"there is no {part} to outdate"
    update = {"sources": sources, "batches": tuple(batches)}
    store.evaluations.write(s.evaluation_id, looked.model_copy(update=update), files)
