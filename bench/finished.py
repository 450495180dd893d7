"""Tells without torch that a store holds a whole grid: importing torch takes longer than all else that is left to do.

    STORE/.plans/<hash of the grid>.json     the specs of its runs, as they were planned, and the state of our code then

To plan is to load methods, backbones and metrics, and so torch. What was planned once is kept, and holds as long as no file
of our own code changes. It is no more than a plan: data, records, files and their sources are read and checked each time.
Where anything is missing, stale, damaged or from outside, the grid is planned anew, and that says what there is to say.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import lcrbench
from lcrbench.bench.data.subset import load_data
from lcrbench.bench.evaluation import known as known_of
from lcrbench.bench.evaluation.known import Known
from lcrbench.bench.records.files import replace_file
from lcrbench.bench.records.grid import Grid
from lcrbench.bench.records.source import stale_training
from lcrbench.bench.records.spec import RunSpec
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError
from lcrbench.untrusted import json_of, small_file

PACKAGES = ("lcrbench", "lcrbench.bench", "lcrbench.models", "lcrbench.corruptions")


def keep(grid: Grid, root: Path, specs: Sequence[RunSpec]) -> None:
    """Keep the plan of a grid that names nothing from outside. Where the store takes no file, nothing is kept."""
    plan = {"code": _code(), "runs": [spec.model_dump(mode="json") for spec in specs]}
    with contextlib.suppress(UserError):
        replace_file(_place(grid, root), json.dumps(plan).encode())


def runs(grid: Grid, root: Path) -> list[str] | None:
    """Return the ids of a grid's runs, in its order, if all of them are finished, whole and not stale; else None."""
    try:
        plan = json_of(small_file(_place(grid, root)), "the plan")
        if plan["code"] != _code():
            return None
        specs = [RunSpec.model_validate(one) for one in plan["runs"]]
        store = Store(root)
        if not all(_finished(store, spec) for spec in specs):
            return None
        # Last, because a new plan loads the data too.
        dataset = load_data(grid.data)
        present = (dataset.train_sha256, dataset.whole_sha256)
        if any((spec.training.data.sha256, spec.protocol.test.sha256) != present for spec in specs):
            return None
    except (OSError, ValueError, KeyError, TypeError):  # a UserError is a ValueError
        return None
    return [spec.run_id for spec in specs]


def _finished(store: Store, spec: RunSpec) -> bool:
    """Tell whether a run is there, as `lacking` finds it; raises `UserError` where a part of it is damaged."""
    name = spec.training.train_id
    whole = ((store.trainings, name), (store.evaluations, spec.evaluation_id))
    if any(entry not in shelf or shelf.folder(entry).name != entry for shelf, entry in whole):
        return False
    training, found = store.trainings.record(name), store.known(spec.evaluation_id)
    if found is None or found[0].weights_sha256 != training.weights_sha256 or stale_training(training):
        return False
    for file in training.files:
        store.training_file(name, file)
    known, asked = Known(*found), (spec.protocol, spec.metrics)
    return (
        known_of.answered(known.evaluation, *asked)
        and not known_of.stale_parts(known.evaluation, *asked)
        and known_of.missing(known, *asked, known.predictions.chosen(spec.protocol.test)) == ([], [])
    )


def _place(grid: Grid, root: Path) -> Path:
    facts = json.dumps(grid.model_dump(mode="json"), sort_keys=True)
    return root / ".plans" / f"{hashlib.sha256(facts.encode()).hexdigest()[:16]}.json"


def _code() -> str:
    """Return the state of our own code: name, size and time of each file."""
    found = []
    for package in PACKAGES:
        for folder in import_module(package).__path__:
            pattern = "*.py" if package == "lcrbench" else "**/*.py"
            for file in Path(folder).glob(pattern):
                state = file.stat()
                found.append((str(file), state.st_size, state.st_mtime_ns))
    return hashlib.sha256(json.dumps([lcrbench.__version__, *sorted(found)]).encode()).hexdigest()
