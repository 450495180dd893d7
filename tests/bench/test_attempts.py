"""What an attempt leaves: failures never replace what is finished, and what is damaged or stale is seen to, part by part."""

from __future__ import annotations

import dataclasses
import multiprocessing
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lcrbench.bench import runner, worker
from lcrbench.bench.executors import local
from lcrbench.bench.progress import Progress
from lcrbench.bench.records import predictions
from lcrbench.bench.records.grid import make_grid
from lcrbench.bench.records.record import Record
from lcrbench.bench.records.spec import RunSpec
from lcrbench.bench.records.store import LOG, WEIGHTS, Damaged, Store
from lcrbench.bench.training.loop import Diverged
from lcrbench.errors import UserError
from tests.bench.helpers import TABLES, bits, job, later, outdate

SMALL = TABLES | {"methods": ["bnn"], "budget": {"images": 100}}
"""A grid of one run of half a second."""


class Here:
    """Stands in for the local executor: notes the jobs, and does what it is told with each in this process."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.jobs: list[worker.Job] = []
        self.phases: list[str] = []
        self.does: Callable[[worker.Job], Record | None] = self.work
        patch.setattr(local, "execute", self.execute)

    def work(self, one: worker.Job) -> Record:
        return worker.run_one(one, lambda phase, *a, **k: self.phases.append(phase))

    def execute(self, jobs: Sequence[worker.Job], workers: int, target: Store, progress: Progress) -> list[Record]:
        self.jobs = list(jobs)
        self.phases.clear()
        return [record for one in jobs if (record := self.does(one))]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Here:
    return Here(monkeypatch)


def go(root: Path, tables: dict[str, Any] = SMALL, **change: Any) -> list[str]:
    return runner.run(make_grid(tables), root, workers=1, device="cpu", command="", quiet=True, **change)


# --------------------------------------------------------------------------------------------------------------- processes


@pytest.mark.parametrize("held", [0, 1], ids=["training", "evaluation"])
def test_a_run_that_another_process_holds_is_left_alone(tmp_path: Path, held: int) -> None:
    one = job(tmp_path, SMALL)
    with Store(tmp_path).lock(worker.locks(one.spec)[held]):
        context = multiprocessing.get_context("spawn")
        reader, writer = context.Pipe(duplex=False)
        process = context.Process(target=worker.work, args=(one, writer))
        process.start()
        process.join(120)
        reader.close()
        assert process.exitcode == worker.BUSY
        assert Store(tmp_path).ids() == []
        # Nor does the parent write down a failure where another process has taken over what a killed one left.
        for code in (worker.BUSY, -9):
            assert local._record_of(Store(tmp_path), ended(one, code)) is None
    assert Store(tmp_path).ids() == []


def test_two_processes_on_one_store_train_each_run_once(tmp_path: Path) -> None:
    lines = ['methods = ["bnn", "irnet"]', "[data]", "train = 200", "test = 50", "[budget]", "images = 600"]
    lines += [
        "[recipe]",
        "batch = 50",
        "[evaluation]",
        'corruptions = ["fog"]',
        "severities = [1]",
        "[metrics.accuracy]",
    ]
    (tmp_path / "s.toml").write_text("\n".join(lines))
    # Each command writes down which of its runs told that they were training, and which that they were evaluated.
    code = (
        "import sys; from lcrbench.bench import cli, runner\n"
        "class Progress(runner.Progress):\n"
        "    def update(self, event):\n"
        "        print(event.phase, event.run_id, file=open(sys.argv[0], 'a'))\n"
        "runner.Progress, sys.argv = Progress, sys.argv[1:]\n"
        "cli.main()"
    )
    rest = ["run", "s.toml", "--store", "s", "--workers", "1"]
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, f"told{i}", *rest, "--out", f"report{i}"],
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    for process in both:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    told = [set(path.read_text().splitlines()) for path in tmp_path.glob("told*")]
    store = Store(tmp_path / "s")
    for phase in ("training", "evaluation"):
        done = sorted(line.split()[1] for lines in told for line in lines if line.split()[0] == phase)
        assert done == store.ids(), phase
    assert len(store.ids()) == 2
    for i in store.ids():
        assert store.record(i).status == "finished"
        assert len(store.evaluation_of(i).batches) == 1
        store.verify(i)


# ---------------------------------------------------------------------------------------------------------------- failures


def ended(one: worker.Job, code: int) -> Any:
    """Return the parent's view of a process that worked on a job and has ended."""
    return local._Cell(SimpleNamespace(exitcode=code), one, None)  # type: ignore[arg-type]


def asking_more(one: worker.Job) -> worker.Job:
    """Return a job that asks for one more metric."""
    metrics = one.spec.metrics | {"calibration_error": {"bins": 15}}
    return dataclasses.replace(one, spec=one.spec.model_copy(update={"metrics": metrics}))


def test_a_failure_never_replaces_a_finished_run(tmp_path: Path) -> None:
    one = job(tmp_path, SMALL)
    target = Store(tmp_path)
    assert local._record_of(target, ended(one, -9)).status == "failed"
    assert target.record(one.spec.run_id).status == "failed"
    whole = worker.run_one(one)
    assert whole.status == "finished"

    # Killed after it had stored; killed, and another command's process finished it before this parent looked.
    save = target.unfinished(one.spec.training.train_id)
    for killed in (dataclasses.replace(one, fresh=True), later(one), later(one, stale="redo")):
        save.parent.mkdir(exist_ok=True)
        save.write_bytes(b"what a killed process had not removed yet")
        assert local._record_of(target, ended(killed, -9)).status == "finished"
        assert not save.exists()
    # A run made again, or asked for more: the attempt failed, and says so.
    for again in (later(one, fresh=True), later(asking_more(one))):
        for code in (-9, worker.STOPPED, worker.UNWRITABLE, 1, 0):
            assert local._record_of(target, ended(again, code)).status == "failed"
    assert target.record(one.spec.run_id) == whole
    # Or one that a different version of the code made.
    outdate(target, one.spec, "training")
    old = target.record(one.spec.run_id)
    for code in (-9, 0):
        assert local._record_of(target, ended(later(one, stale="redo"), code)).status == "failed"
        assert local._record_of(target, ended(later(one, stale="keep"), code)).status == "finished"
    assert target.record(one.spec.run_id) == old
    target.verify(one.spec.run_id)


@pytest.mark.parametrize("error", [ValueError("no such thing"), UserError("no such thing"), None])
def test_a_failure_told_by_the_process_never_replaces_a_finished_run(
    tmp_path: Path, error: Exception | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = job(tmp_path, SMALL)
    worker.run_one(one)
    outdate(Store(tmp_path), one.spec, "training")
    whole = Store(tmp_path).record(one.spec.run_id)

    def breaks(*_: Any, **__: Any) -> None:
        raise error or Diverged(3, "the loss diverged")

    monkeypatch.setattr(worker, "trained", breaks)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    for again in (later(one, fresh=True), later(one, stale="redo")):
        worker.work(again, SimpleNamespace(send=lambda _: None))
        assert ("no such thing" if error else "diverged") in capsys.readouterr().err
        assert Store(tmp_path).record(one.spec.run_id) == whole
        assert local._record_of(Store(tmp_path), ended(again, 0)).status == "failed"


def test_a_metric_that_fails_leaves_what_was_measured_before(
    tmp_path: Path, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told as what was made again and failed; once it works, it alone is measured."""
    (run_id,) = go(tmp_path)
    whole = Store(tmp_path).record(run_id)
    more = SMALL | {"metrics": SMALL["metrics"] | {"calibration_error": {}}}
    from lcrbench.bench.metrics import calibration_error

    def fails(*_: Any) -> Any:
        raise ValueError("no such thing")

    def as_a_process(one: worker.Job) -> Record | None:
        worker.work(one, SimpleNamespace(send=lambda _: None))
        return local._record_of(Store(tmp_path), ended(one, 0))

    with monkeypatch.context() as patch:
        patch.setattr(calibration_error, "measure", fails)
        here.does = as_a_process
        with pytest.raises(runner.Kept, match="1 of 1 runs failed when made again"):
            go(tmp_path, more)
    assert Store(tmp_path).record(run_id) == whole
    here.does = here.work
    assert go(tmp_path, more) == [run_id]
    assert "training" not in here.phases
    assert {"calibration_error"} == {*here.phases} & {*more["metrics"]}
    assert set(Store(tmp_path).record(run_id).metrics) == set(more["metrics"])


def test_a_run_of_which_all_is_there_is_noted_where_an_attempt_had_failed(tmp_path: Path, here: Here) -> None:
    """Asked for as a part of a larger run, after an attempt at it that was killed: all was known, but not that it is."""
    several = SMALL | {"evaluation": SMALL["evaluation"] | {"severities": [1, 3]}, "metrics": {"lipschitz_norms": {}}}
    go(tmp_path, several)
    part = several | {"evaluation": SMALL["evaluation"]}
    target = Store(tmp_path)

    def killed(one: worker.Job) -> Record | None:
        return local._record_of(target, ended(one, -9))

    here.does = killed
    (run_id,) = go(tmp_path, part)
    assert target.record(run_id).status == "failed"
    here.does = here.work
    assert go(tmp_path, part) == [run_id]
    assert target.record(run_id).status == "finished"
    assert not {"training", "evaluation", "lipschitz_norms"} & {*here.phases}
    go(tmp_path, part)
    assert here.jobs == []


# -------------------------------------------------------------------------------------------------- damage and what is stale

PARTS = {"training": "trainings", "evaluation": "evaluations"}


def place(target: Store, spec: RunSpec, part: str) -> Path:
    """Return the folder of a run's training or evaluation."""
    return target.root / PARTS[part] / {"training": spec.training.train_id, "evaluation": spec.evaluation_id}[part]


@pytest.mark.parametrize("part", PARTS)
def test_what_is_left_between_two_renames_is_put_back_and_not_made_again(tmp_path: Path, here: Here, part: str) -> None:
    go(tmp_path)
    (one,) = here.jobs
    folder = place(Store(tmp_path), one.spec, part)
    folder.rename(folder.with_name(f".{folder.name}.old"))
    go(tmp_path)
    assert here.jobs == []
    assert folder.is_dir()


@pytest.mark.parametrize(
    ("part", "name"),
    [("training", WEIGHTS), ("training", LOG), ("training", "record.json"), ("evaluation", predictions.FILE)],
)
def test_what_is_damaged_is_refused_or_set_aside_and_it_alone_made_again(
    tmp_path: Path, here: Here, part: str, name: str
) -> None:
    (run_id,) = go(tmp_path)
    whole = bits(tmp_path, Store(tmp_path).record(run_id))
    path = place(Store(tmp_path), here.jobs[0].spec, part) / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Damaged, match=f"{name}.*--redo"):
        go(tmp_path)
    assert go(tmp_path, redo=True) == [run_id]
    assert ("training" in here.phases) == (part == "training")
    # Trained again to the same bits, it needs no other look.
    assert ("evaluation" in here.phases) == (part == "evaluation")
    found = bits(tmp_path, Store(tmp_path).record(run_id))
    assert (found["training"], found["evaluation"]) == (whole["training"], whole["evaluation"])
    assert len(list((tmp_path / ".damaged").iterdir())) == 1


def test_a_damaged_save_beside_a_whole_training_is_set_aside_alone(tmp_path: Path, here: Here) -> None:
    """A process was killed after it had stored the training, and before it removed the save, which has the same id."""
    go(tmp_path)
    target = Store(tmp_path)
    save = target.unfinished(here.jobs[0].spec.training.train_id)
    save.parent.mkdir(exist_ok=True)
    save.write_bytes(b"half")
    go(tmp_path, redo=True)
    assert here.jobs == []
    assert not save.exists()
    assert target.trainings.ids() == [save.name]


def test_redo_leaves_alone_what_a_live_process_works_on(tmp_path: Path, here: Here) -> None:
    go(tmp_path)
    target, spec = Store(tmp_path), here.jobs[0].spec
    damaged = {target.unfinished(n) for n in ("a", "b")} | {target.teacher(n) for n in ("c", "d")}
    drafts = {target.unfinished("e.new"), target.teacher("f.new")}
    for path in damaged | drafts:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    (place(target, spec, "training") / WEIGHTS).unlink()
    here.does = lambda one: None
    with target.lock("a"), target.lock("c"), target.lock(spec.training.train_id):
        runner._mend(target, [job(tmp_path, SMALL)], redo=True)
    assert target.trainings.ids() == [spec.training.train_id]
    left = {p.name for p in (*target.unfinished("").iterdir(), *target.teacher("").iterdir())}
    assert left == {"a", "c", "e.new", "f.new"}
    runner._mend(target, [job(tmp_path, SMALL)], redo=True)
    assert target.trainings.ids() == []
    assert all(path.exists() for path in drafts)
    assert len(list((tmp_path / ".damaged").iterdir())) == 5


@pytest.mark.parametrize(
    ("part", "again"),
    [
        # Its bits are what they were, so that nothing else is made again.
        ("training", {"training"}),
        # And what is computed from which images were right.
        ("predictions", {"evaluation", "accuracy", "corruption_error"}),
        ("accuracy", {"accuracy"}),
        ("corruption_error", {"corruption_error"}),
    ],
)
def test_what_is_stale_is_refused_kept_or_made_again_and_nothing_else(
    tmp_path: Path, here: Here, capsys: pytest.CaptureFixture[str], part: str, again: set[str]
) -> None:
    (run_id,) = go(tmp_path)
    target, spec = Store(tmp_path), here.jobs[0].spec
    before = bits(tmp_path, target.record(run_id))
    go(tmp_path)
    assert here.jobs == []
    outdate(target, spec, part)
    old = target.record(run_id)
    with pytest.raises(UserError, match=rf"1 of 1 runs .*{part}: .* changed since.*--stale redo") as error:
        go(tmp_path)
    assert "\n" not in str(error.value)
    go(tmp_path, stale="keep")
    assert here.jobs == []
    assert target.record(run_id) == old
    go(tmp_path, stale="redo")
    assert {*here.phases} & {"training", "evaluation", *SMALL["metrics"]} == again
    found = bits(tmp_path, target.record(run_id))
    assert found["record"].measurements == before["record"].measurements
    assert {s.sha256 for s in found["record"].sources} == {s.sha256 for s in before["record"].sources}
    assert (found["training"], found["evaluation"]) == (before["training"], before["evaluation"])
    go(tmp_path)
    assert here.jobs == []


def test_what_is_made_again_leaves_other_runs_of_the_network_whole_or_says_so(tmp_path: Path, here: Here) -> None:
    """A larger run keeps its own cells; what it measured of those that were shown again is to be measured again."""
    larger = SMALL | {"evaluation": SMALL["evaluation"] | {"severities": [1, 3]}}
    (large,) = go(tmp_path, larger)
    target = Store(tmp_path)
    whole = bits(tmp_path, target.record(large))
    (small,) = go(tmp_path, SMALL | {"metrics": {"accuracy": {}}})
    outdate(target, target.record(large).spec, "predictions")
    assert go(tmp_path, SMALL | {"metrics": {"accuracy": {}}}, stale="redo") == [small]
    assert target.record(small).status == "finished"
    left = target.record(large)
    assert left.status == "failed"
    assert "accuracy, corruption_error" in left.failure.message
    assert "run it again" in left.failure.message
    outcomes = target.outcomes(large)
    assert len(outcomes) == 3
    go(tmp_path, larger, stale="redo")
    assert "training" not in here.phases
    found = bits(tmp_path, target.record(large))
    assert found["record"].measurements == whole["record"].measurements
    assert found["training"] == whole["training"]
    for cell, right in target.outcomes(large).items():
        assert (right == outcomes[cell]).all()


def test_what_is_stale_elsewhere_stands_in_no_run_s_way(tmp_path: Path, here: Here) -> None:
    """Another method's code, and another metric's, which this grid does not name."""
    go(tmp_path, SMALL | {"metrics": {"accuracy": {}, "lipschitz_norms": {}}})
    go(tmp_path, SMALL | {"methods": ["irnet"]})
    outdate(Store(tmp_path), here.jobs[0].spec, "training")
    (run_id,) = go(tmp_path)
    outdate(Store(tmp_path), Store(tmp_path).record(run_id).spec, "lipschitz_norms")
    go(tmp_path)
    assert here.jobs == []
    with pytest.raises(UserError, match="lipschitz_norms"):
        go(tmp_path, SMALL | {"metrics": {"lipschitz_norms": {}}})
