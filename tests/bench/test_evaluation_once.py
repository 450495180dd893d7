"""Evaluation is done once: what is asked for more is added, and trainings and forward passes are counted."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import lcrbench
from lcrbench import corruptions
from lcrbench.bench import cli, runner, worker
from lcrbench.bench.evaluation import run as evaluation
from lcrbench.bench.lipschitz import measure
from lcrbench.bench.lipschitz import options as lipschitz
from lcrbench.bench.records.grid import make_grid
from lcrbench.bench.records.record import Record
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError
from lcrbench.models.network import Network
from tests.bench.helpers import TABLES, outdate

IN_PROCESS = """
    'Does each job in this process.'
    from lcrbench.bench.executors import Resources, Told
    from lcrbench.bench.worker import Job, attempt

    class InProcess:
        def __init__(self):
            self.cells = []

        def capacity(self):
            return [Resources()]

        def submit(self, cell, need):
            self.cells.append(cell)

        def events(self, timeout):
            while self.cells:
                attempt(Job.kept(self.cells[0]))
                yield Told(self.cells.pop(0), "ended")

        def cancel(self, cell, now=False):
            if cell in self.cells:
                self.cells.remove(cell)

    def make(workers, address):
        return InProcess()
"""
GRID: dict[str, Any] = TABLES | {
    "methods": ["bnn", "irnet"],
    "budget": {"images": 100},
    "evaluation": {"corruptions": ["fog", "contrast"], "severities": [1], "block": 25},
}
"""Two networks; 50 images in 3 cells each."""


@pytest.fixture(autouse=True, scope="module")
def executor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the import path of an executor that works in this process, where calls can be counted."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "lab_of_this_test").mkdir()
    (folder / "lab_of_this_test" / "in_process.py").write_text(textwrap.dedent(IN_PROCESS))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield "lab_of_this_test.in_process"


def go(root: Path, tables: Mapping[str, Any] = GRID, **change: Any) -> list[Record]:
    given = {"workers": 1, "device": "cpu", "command": "", "quiet": True, "executor": "lab_of_this_test.in_process"}
    ids = runner.run(make_grid(dict(tables)), root, **(given | change))
    return [Store(root).record(i) for i in ids]


class Counts(NamedTuple):
    """What was done: trainings; images through a network in evaluation; how many images were corrupted, call by call."""

    trainings: list[str]
    passes: list[int]
    corrupted: list[int]

    @property
    def summary(self) -> tuple[int, int, int]:
        return len(self.trainings), sum(self.passes), len(self.corrupted)


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counts]:
    made = Counts([], [], [])
    trained, corrupt = worker.trained, corruptions.corrupt

    def counted(spec: Any, *given: Any, **named: Any) -> Any:
        made.trainings.append(spec.train_id)
        before = len(made.passes)
        out = trained(spec, *given, **named)
        del made.passes[before:]  # the audit at the end of a training
        return out

    def corrupted(images: Any, *given: Any, **named: Any) -> Any:
        made.corrupted.append(len(images))
        return corrupt(images, *given, **named)

    def passed(module: torch.nn.Module, given: Any) -> None:
        if isinstance(module, Network) and not module.training:
            made.passes.append(len(given[0]))

    monkeypatch.setattr(worker, "trained", counted)
    monkeypatch.setattr(corruptions, "corrupt", corrupted)
    hook = torch.nn.modules.module.register_module_forward_pre_hook(passed)
    yield made
    hook.remove()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, executor: str) -> Path:
    root = tmp_path_factory.mktemp("finished") / "store"
    assert [r.status for r in go(root)] == ["finished"] * 2
    return root


@pytest.fixture
def store(finished: Path, tmp_path: Path) -> Path:
    """Return a store with a finished grid, for a test of its own."""
    return Path(shutil.copytree(finished, tmp_path / "store"))


def shown(**change: Any) -> dict[str, Any]:
    return {"evaluation": GRID["evaluation"] | change}


def measured(**more: Any) -> dict[str, Any]:
    return {"metrics": GRID["metrics"] | more}


# By what is asked for besides: trainings, images through the networks, and calls of the corruptions. Cells are shared by the
# two networks, except where one network alone is new.
MORE: dict[str, tuple[dict[str, Any], tuple[int, int, int]]] = {
    "nothing": ({}, (0, 0, 0)),
    "a metric of outcomes": (measured(accuracy={}), (0, 0, 0)),
    # It takes one image to see what shapes the layers have.
    "a metric of the network": (measured(lipschitz_norms={}), (0, 2 * 1, 0)),
    "a metric of logits, which were not kept": (measured(calibration_error={}), (0, 2 * 50, 0)),
    "a corruption": (shown(corruptions=["fog", "contrast", "gaussian_blur"]), (0, 2 * 50, 1)),
    "fewer corruptions": (shown(corruptions=["contrast"]), (0, 0, 0)),
    "a severity": (shown(severities=[1, 3]), (0, 2 * 2 * 50, 2)),
    "test images": ({"data": GRID["data"] | {"test": 100}}, (0, 2 * 3 * 50, 2)),
    "fewer test images": ({"data": GRID["data"] | {"test": 30}}, (0, 0, 0)),
    "another evaluation block": (shown(block=50), (0, 2 * 3 * 50, 2)),
    "another seed of the corruptions": (shown(seed=1), (0, 2 * 3 * 50, 2)),
    "a seed": ({"seeds": [0, 1]}, (2, 2 * 3 * 50, 2)),
    "a method": ({"methods": ["bnn", "irnet", "xnor_net"]}, (1, 3 * 50, 2)),
}


@pytest.mark.parametrize("what", MORE)
def test_only_what_is_new_is_done(store: Path, tmp_path: Path, counts: Counts, what: str) -> None:
    change, expected = MORE[what]
    before = {r.run_id: r for r in Store(store).records()}
    found = go(store, GRID | change)
    assert counts.summary == expected
    assert {r.status for r in found} == {"finished"}
    assert len(set(counts.trainings)) == expected[0]
    # The records say so, too.
    entries = [Store(store).evaluations.record(name) for name in Store(store).evaluations.ids()]
    passes = sum(batch.forward.get("evaluation", 0) for entry in entries for batch in entry.batches)
    assert passes == 2 * 3 * 50 + sum(counts.passes) - (what == "a metric of the network") * 2
    # And again there is nothing left to do.
    counts.trainings.clear(), counts.passes.clear(), counts.corrupted.clear()
    assert go(store, GRID | change) == found
    assert counts.summary == (0, 0, 0)
    # It is what a store finds that is asked for all at once.
    shutil.copytree(store / "trainings", tmp_path / "once" / "trainings")
    once = go(tmp_path / "once", GRID | change)
    assert [r.measurements for r in once] == [r.measurements for r in found]
    for one in found:
        here, there = Store(store).outcomes(one.run_id), Store(tmp_path / "once").outcomes(one.run_id)
        assert here.keys() == there.keys()
        for cell, right in here.items():
            assert np.array_equal(right, there[cell]), cell
    # What was there is still there, in itself or in a larger run.
    for run_id, record in before.items():
        assert Store(store).record(run_id).measurements[: len(record.measurements)] == record.measurements


def test_a_metric_that_needs_logits_makes_exactly_one_clean_pass(store: Path, counts: Counts) -> None:
    go(store, GRID | measured(calibration_error={}))
    assert sum(counts.passes) == 2 * 50
    for bins in (5, 7):
        go(store, GRID | measured(calibration_error={"bins": bins}))
    assert sum(counts.passes) == 2 * 50, "the logits are kept"
    # And none where it is asked for from the beginning: the pass of the clean cell is its own.
    counts.passes.clear()
    go(store, GRID | measured(calibration_error={}) | shown(block=50))
    assert sum(counts.passes) == 2 * 3 * 50
    # For more test images the new ones alone.
    counts.passes.clear()
    go(store, GRID | measured(calibration_error={}) | {"data": GRID["data"] | {"test": 100}})
    assert sum(counts.passes) == 2 * 3 * 50


def test_cells_are_made_once_for_all_networks_of_a_grid(tmp_path: Path, counts: Counts) -> None:
    go(tmp_path / "s")
    assert counts.corrupted == [50, 50]
    assert not Store(tmp_path / "s").cache().exists()


def test_only_the_new_test_images_are_corrupted(store: Path, counts: Counts) -> None:
    go(store, GRID | {"data": GRID["data"] | {"test": 75}})
    assert counts.corrupted == [25, 25]
    assert counts.passes == [25] * 6


# ------------------------------------------------------------------------------------------------------------ one function


def test_every_command_evaluates_by_one_function(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No command shows a network an image outside of it; `evaluate` of a module looks at two, to refuse what is none."""
    real, calls, outside, inside = evaluation.evaluate, [], [], [False]

    def counted(looked: Any, *given: Any, **named: Any) -> Any:
        calls.append(looked.subject)
        inside[0] = True
        try:
            return real(looked, *given, **named)
        finally:
            inside[0] = False

    def passed(module: torch.nn.Module, given: Any) -> None:
        if isinstance(module, Network) and not module.training and not inside[0]:
            outside.append(len(given[0]))

    users = [m for name, m in sys.modules.items() if name.startswith("lcrbench.") and vars(m).get("evaluate") is real]
    assert {"lcrbench.bench.evaluation.run", "lcrbench.bench.lipschitz.measure"} <= {m.__name__ for m in users}
    for module in users:
        monkeypatch.setattr(module, "evaluate", counted)
    monkeypatch.setattr(measure, "metrics", lambda also: ["lipschitz_norms", "lipschitz_kappa"])
    hook = torch.nn.modules.module.register_module_forward_pre_hook(passed)
    first, second = Store(store).ids()

    def invoke(*words: str) -> list[Any]:
        calls.clear()
        done = CliRunner().invoke(cli.app, [*words, "--store", str(store)])
        assert done.exit_code == 0, done.output
        return list(calls)

    try:
        go(store, GRID | shown(severities=[1, 3]))
        assert len(calls) == 2
        words = ["--l2", "8", "--images", "4", "--effort", "quick", "--quiet", "--out", str(tmp_path / "out")]
        looked = invoke("lipschitz", first, second, *words)
        assert len(looked) == len(set(map(str, looked))) == 2
        assert len(invoke("evaluate", first, "--corruptions", "contrast", "--severities", "2")) == 1
        calls.clear()
        lcrbench.evaluate(first, store=store, corruptions="fog", severities=[5])
        assert len(calls) == 1
        assert outside == []
        model = lcrbench.load_model(store, first)
        calls.clear()
        lcrbench.evaluate(model, corruptions="", severities=(), test=20, checks=False)
        assert len(calls) == 1
        # Two images: are there logits, and does a gradient come back?
        assert outside == [2, 2]
    finally:
        hook.remove()


def test_what_a_search_measured_is_not_measured_again_by_a_run(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counts: Counts
) -> None:
    """`lcrbench lipschitz` and `lcrbench run` share what is known of a network."""
    monkeypatch.setattr(measure, "metrics", lambda also: ["lipschitz_norms", "lipschitz_kappa"])
    words = ["--l2", "8", "--images", "4", "--effort", "quick", "--quiet", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(cli.app, ["lipschitz", *Store(store).ids(), *words, "--store", str(store)])
    assert done.exit_code == 0, done.output
    assert sum(counts.passes)
    kappa = {"l2": [8.0], "images": 4}
    before = list(counts.passes)
    found = go(store, GRID | measured(lipschitz_norms={}, lipschitz_kappa=kappa))
    assert counts.passes == before
    assert {"lipschitz_norms", "lipschitz_kappa"} <= {m.metric for m in found[0].measurements}
    go(store, GRID | measured(lipschitz_kappa=kappa | {"images": 5}))
    assert counts.passes != before


def test_a_search_keeps_what_a_run_added_meanwhile_and_waits_for_no_process(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that was loaded before a run added to its evaluation; then one that another process evaluates."""
    run_id = Store(store).ids()[0]
    (network,) = measure.networks([run_id], [], str(store), None, 32, "cpu")
    go(store, GRID | measured(calibration_error={}))
    options = dataclasses.replace(lipschitz.of_effort("trial"), l2=(8.0,), images=4)
    search = partial(measure.measure, network, options, ["lipschitz_norms"], tmp_path / "out", Store(store))
    search()
    entry = Store(store).evaluation_of(run_id)
    assert [m.metric for batch in entry.batches for m in batch.measured] == [
        *GRID["metrics"],
        "calibration_error",
        "lipschitz_norms",
    ]
    with Store(store).held(entry.evaluation_id), pytest.raises(UserError, match="another process evaluates it"):
        search()


# ----------------------------------------------------------------------------------------------------------------- the plan


def plan(store: Path, spec: Path, *words: str) -> list[str]:
    done = CliRunner().invoke(cli.app, ["run", str(spec), "--plan", "--store", str(store), *words])
    assert done.exit_code == 0, done.output
    # Beside the runs stands what they cost.
    return [line.partition(": ")[2] for line in done.output.splitlines() if " to do: " not in line]


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """Return the grid as a file."""
    lines = ['methods = ["bnn", "irnet"]', "[data]", "size = 16", "train = 200", "test = 50"]
    lines += [
        "[budget]",
        "images = 100",
        "[recipe]",
        "batch = 50",
        "lr = 0.05",
        "[evaluation]",
        'corruptions = ["fog", "contrast"]',
        "severities = [1]",
    ]
    path = tmp_path / "grid.toml"
    path.write_text("\n".join([*lines, "block = 25", "[metrics.accuracy]", "[metrics.corruption_error]"]))
    return path


THERE = "trained; all 3 cells evaluated; all 2 metrics measured"
NOTHING = "train; evaluate 3 of 3 cells; measure accuracy, corruption_error"


def test_the_plan_lists_what_is_to_be_done_and_what_is_there(store: Path, tmp_path: Path, spec: Path) -> None:
    assert plan(tmp_path / "none", spec) == [NOTHING] * 2
    assert not (tmp_path / "none").exists()
    before = {p: p.stat().st_mtime_ns for p in store.rglob("*")}
    assert plan(store, spec) == [THERE] * 2
    assert plan(store, spec, "--seeds", "0 1") == [THERE] * 2 + [NOTHING] * 2
    more = "trained; evaluate 1 of 4 cells; measure accuracy, corruption_error"
    assert plan(store, spec, "--corruptions", "fog contrast frost") == [more] * 2
    more = "trained; evaluate 2 of 5 cells; measure accuracy, corruption_error"
    assert plan(store, spec, "--severities", "1 3") == [more] * 2
    more = "trained; evaluate 3 of 3 cells; measure accuracy, corruption_error"
    for words in (["--test", "100"], ["--set", "evaluation.block=50"], ["--set", "evaluation.seed=1"]):
        assert plan(store, spec, *words) == [more] * 2
    more = "trained; all 3 cells evaluated; measure calibration_error"
    assert plan(store, spec, "--set", "metrics.calibration_error={}") == [more] * 2
    assert plan(store, spec, "--fresh") == [NOTHING] * 2
    assert plan(store, spec, "--images", "150") == [NOTHING] * 2
    assert {p: p.stat().st_mtime_ns for p in store.rglob("*")} == before, "a plan writes nothing"


@pytest.mark.parametrize(
    ("part", "redone"),
    [
        ("training", NOTHING),
        ("predictions", "trained; evaluate 3 of 3 cells; measure accuracy, corruption_error"),
        ("accuracy", "trained; all 3 cells evaluated; measure accuracy"),
    ],
)
def test_the_plan_says_what_is_stale(store: Path, spec: Path, part: str, redone: str) -> None:
    bnn = next(r for r in Store(store).records() if r.spec.label == "bnn")
    outdate(Store(store), bnn.spec, part)
    first, second = plan(store, spec)
    assert first.startswith(f"{THERE}; stale: {part} (")
    assert "changed since" in first
    assert second == THERE
    first, second = plan(store, spec, "--stale", "redo")
    assert first.partition("; stale: ")[0] == redone
    assert second == THERE
