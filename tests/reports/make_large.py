"""A store of 2,000 runs of 96 cells each: what a report must build in seconds."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from lcrbench.bench.records.record import Batch
from lcrbench.bench.records.shelf import CHECKSUM, RECORD
from lcrbench.bench.records.spec import Subject, TrainSpec, evaluation_id
from lcrbench.bench.records.store import Store
from lcrbench.bench.records.upgrade import Split
from lcrbench.reports.comparison import COMMON, GROUPS

from . import make_store, writing

CELLS = 96


def large_store(root: Path, methods: int = 20, seeds: int = 10, settings: int = 10) -> Store:
    """Write methods x seeds x settings runs, each a template of its method with its own seed and shifted values."""
    store = Store(root, create=True)
    rng = np.random.default_rng(0)
    every = COMMON + GROUPS["extra"]
    for setting in range(settings):
        for method in range(methods):
            label = "full_precision" if method == 0 else f"method_{method}"
            record, files = make_store.make(label, 0, data=f"data-{setting}", corruptions=every)
            assert len([m for m in record.measurements if m.metric == "accuracy"]) == CELLS
            template = writing.halves(record, files)
            shifts = rng.normal(0, 0.01, (seeds, len(record.measurements))).tolist()
            for seed in range(seeds):
                _add(store, template, record.spec.training.model_copy(update={"seed": seed}), shifts[seed])
    return store


def _add(store: Store, template: Split, spec: TrainSpec, shifts: list[float]) -> None:
    """Write a run like the template's, of another training, with values that are shifted."""
    subject = Subject(training=spec.train_id)
    [batch], [asked] = template.evaluation.batches, template.evaluation.asked
    evaluation = template.evaluation.model_copy(
        update={
            "evaluation_id": evaluation_id(subject, asked.protocol),
            "subject": subject,
            "training": spec,
            "batches": (_shifted(batch, shifts),),
        }
    )
    training = template.training.model_copy(update={"train_id": spec.train_id, "spec": spec})
    _write(store.trainings.root / spec.train_id, training, template.training_files)
    _write(store.evaluations.root / evaluation.evaluation_id, evaluation, template.evaluation_files)


def _shifted(batch: Batch, shifts: list[float]) -> Batch:
    rest = iter(shifts)
    measured = []
    for metric in batch.measured:
        numbers = [(m, next(rest)) for m in metric.measurements]
        shifted = (
            m.model_copy(update={"value": min(1.0, max(0.0, m.value + d))}) if m.value < 1 else m for m, d in numbers
        )
        measured.append(metric.model_copy(update={"measurements": tuple(shifted)}))
    return batch.model_copy(update={"measured": tuple(measured)})


def _write(folder: Path, record: BaseModel, files: Mapping[str, bytes]) -> None:
    """Write an entry as `Shelf.write` does, without flushing every file to the disk, which takes minutes here."""
    folder.mkdir(parents=True)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    text = record.model_copy(update={"files": hashes}).model_dump_json(indent=1) + "\n"
    (folder / RECORD).write_text(text, encoding="utf-8")
    (folder / CHECKSUM).write_text(hashlib.sha256(text.encode()).hexdigest() + "\n", encoding="utf-8")
    for name, content in files.items():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    large_store(Path(sys.argv[1]), *map(int, sys.argv[2:]))
