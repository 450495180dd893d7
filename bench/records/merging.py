"""Merges stores: what one holds and another lacks is copied, each entry whole and checked by hash.

Entries are named by the hash of what they depend on, so that stores of several machines merge without questions. Of two
trainings of one id whose weights differ, and of two answers to one image, the first store's stay, and that is told.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lcrbench.bench.records import predictions
from lcrbench.bench.records.lease import Held
from lcrbench.bench.records.predictions import Predictions
from lcrbench.bench.records.record import Asked, Batch, Evaluation
from lcrbench.bench.records.spec import Cell
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError


class Change(NamedTuple):
    """What became of one entry: copied, added to, left alone, or in conflict; `good` unless something could not be had."""

    good: bool
    what: str


def merge(into: Store, source: Store) -> Iterator[Change]:
    """Copy into a store what another one holds and it lacks; yield a line for each entry that changed or conflicts.

    Nothing that `into` holds is replaced or lost. An entry that is damaged or that another process works on is told and
    left. Runs of schema 3 and older are left where they are.
    """
    for name in source.trainings.ids():
        try:
            with into.held(name):
                if change := _training(into, source, name):
                    yield change
        except (UserError, Held) as error:
            yield Change(False, f"training {name}: {_why(error)}")
    for name in source.evaluations.ids():
        try:
            with into.held(name):
                if change := _evaluation(into, source, name):
                    yield change
        except (UserError, Held) as error:
            yield Change(False, f"evaluation {name}: {_why(error)}")
    if old := len(source.old.shelf.ids()):
        yield Change(True, f"{old} runs of an older schema stay where they are: `lcrbench run` takes them over first")


def _why(error: Exception) -> str:
    return "another process works on it" if isinstance(error, Held) else str(error)


def _training(into: Store, source: Store, name: str) -> Change | None:
    record = source.trainings.record(name)
    if name in into.trainings:
        if into.trainings.record(name).weights_sha256 == record.weights_sha256:
            return None
        what = f"training {name} has other weights there: those of {into.root} stay, and its evaluations are not copied"
        return Change(False, what)
    files = {file: source.training_file(name, file) for file in record.files}
    into.trainings.write(name, record, files)
    return Change(True, f"training {name} copied")


def _evaluation(into: Store, source: Store, name: str) -> Change | None:
    found = source.known(name)
    assert found is not None, "ids are of entries"
    theirs, answers, files = found
    training = theirs.subject.training
    if training and training in into.trainings:
        ours = into.trainings.record(training)
        if theirs.weights_sha256 and ours.weights_sha256 != theirs.weights_sha256:
            return Change(False, f"evaluation {name} is of other weights than {into.root} has")
    known = into.known(name)
    if known is None:
        into.evaluations.write(name, theirs, files)
        return Change(True, f"evaluation {name} copied")
    mine, own, kept = known
    if mine.weights_sha256 and theirs.weights_sha256 and mine.weights_sha256 != theirs.weights_sha256:
        return Change(False, f"evaluation {name} is of other weights there: that of {into.root} stays")
    merged, union, kept, differing = _joined(mine, own, kept, theirs, answers, files)
    told = f"; {differing:,} answers differ, and those of {into.root} stay" if differing else ""
    if merged == mine:
        return Change(False, f"evaluation {name}{told}") if told else None
    into.evaluations.write(name, merged, {**kept, predictions.FILE: union.pack()})
    return Change(not differing, f"evaluation {name} added to{told}")


def _joined(
    mine: Evaluation,
    own: Predictions,
    kept: dict[str, bytes],
    theirs: Evaluation,
    answers: Predictions,
    files: dict[str, bytes],
) -> tuple[Evaluation, Predictions, dict[str, bytes], int]:
    """Return an evaluation with what another one of the same network has besides, and how many answers differ."""
    union = own.widen(answers.indices, answers.labels.astype(np.int64), answers.cells)
    other = answers.widen(own.indices, own.labels.astype(np.int64), own.cells)
    rows = [other.cells.index(cell) for cell in union.cells]
    there = other.classes[rows]
    both = (union.classes >= 0) & (there >= 0)
    differing = int((union.classes[both] != there[both]).sum())
    lacking = union.classes == predictions.MISSING
    new_cells = {
        cell for cell, row in zip(union.cells, lacking & (there != predictions.MISSING), strict=True) if row.any()
    }
    union.classes = np.where(lacking, there, union.classes)
    union.subsets = {**answers.subsets, **union.subsets}
    if union.logits is None:
        union.logits = other.logits
    elif other.logits is not None and union.logits.shape == other.logits.shape:
        union.logits = np.where(np.isnan(union.logits), other.logits, union.logits)
    have = {(m.metric, repr(sorted(m.options.items())), m.images, m.protocol) for b in mine.batches for m in b.measured}
    batches = list(mine.batches)
    kept = dict(kept)
    for batch in theirs.batches:
        left = _rest(batch, new_cells, have)
        if left is None:
            continue
        if left.by_image:
            free = next(n for k in itertools.count() if (n := f"by_image-{k}.npz") not in kept)
            kept[free] = files[left.by_image]
            left = left.model_copy(update={"by_image": free})
        batches.append(left)
    asked = list(mine.asked)
    for one in theirs.asked:
        _ask(asked, one)
    merged = mine.model_copy(
        update={
            "weights_sha256": mine.weights_sha256 or theirs.weights_sha256,
            "cells": tuple(union.cells),
            "batches": tuple(batches),
            "sources": {**theirs.sources, **mine.sources} if len(batches) > len(mine.batches) else mine.sources,
            "asked": tuple(asked),
            "replaces": {**theirs.replaces, **mine.replaces},
        }
    )
    return merged, union, kept, differing


def _rest(batch: Batch, cells: set[Cell], have: set[tuple[str, str, int, str]]) -> Batch | None:
    """Return of a batch what is new; None if nothing is."""
    left = tuple(cell for cell in batch.cells if cell in cells)
    measured = tuple(
        m for m in batch.measured if (m.metric, repr(sorted(m.options.items())), m.images, m.protocol) not in have
    )
    if not left and not measured:
        return None
    figures = {} if measured else {"by_image": "", "figures": ()}
    return batch.model_copy(update={"cells": left, "measured": measured, **figures})


def _ask(asked: list[Asked], one: Asked) -> None:
    """Add a protocol that was asked for; an answer takes the place of a failure, and metrics add up."""
    for k, known in enumerate(asked):
        if known.protocol.protocol_id == one.protocol.protocol_id:
            if known.failure and not one.failure:
                asked[k] = one
            elif not one.failure and one.metrics.keys() - known.metrics.keys():
                asked[k] = known.model_copy(update={"metrics": {**one.metrics, **known.metrics}})
            return
    asked.append(one)
