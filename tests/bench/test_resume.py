"""An interrupted training goes on from its save and ends in the same bits; damage, locks and stale source are seen to."""

from __future__ import annotations

import dataclasses
import multiprocessing
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lcrbench.bench import runner, worker
from lcrbench.bench.records import env, spec
from lcrbench.bench.records.store import Store
from lcrbench.bench.training.checkpoint import Checkpoint
from lcrbench.bench.training.loop import Diverged, Stopped
from lcrbench.errors import UserError

TABLES: dict[str, Any] = {
    "data": {"train": 200, "test": 50},
    "methods": ["irnet+lcr"],
    "budget": {"images": 600},
    "recipe": {"batch": 50, "lr": 0.05},
    "evaluation": {"corruptions": ["fog"], "severities": [1], "block": 25},
    "metrics": {"accuracy": {}, "corruption_error": {}},
}


def job(root: Path, **change: Any) -> worker.Job:
    grid = spec.make_grid(TABLES | change)
    (planned,) = runner.plan(grid, worker.load_data(grid.data))
    Store(root, create=True)
    return worker.Job(planned, grid.data, root, "cpu", env.provenance("cpu", 1, "test", {}, deterministic=True))


@pytest.fixture(autouse=True)
def signals():
    """`run_one` listens to SIGTERM: give it back afterwards."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return worker.run_one(job(tmp_path_factory.mktemp("whole")))


def stop_after(monkeypatch: pytest.MonkeyPatch, steps: list[int]) -> None:
    """Ask each training for a stop after so many of its own steps, then let the last one run."""

    def stopping(self: Checkpoint) -> bool:
        self.seen = getattr(self, "seen", 0) + 1
        # Each step asks twice when it stops: before the save and after it.
        return bool(steps) and self.seen >= steps[0]

    monkeypatch.setattr(Checkpoint, "stopping", stopping)


@pytest.mark.parametrize("stops", [[1], [5], [11], [3, 2, 4]])
def test_resumed_training_ends_in_the_same_bits(
    tmp_path: Path, whole: Any, stops: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    todo = list(stops)
    stop_after(monkeypatch, todo)
    while todo:
        with pytest.raises(Stopped):
            worker.run_one(job(tmp_path))
        assert Store(tmp_path).ids() == []
        assert Store(tmp_path).unfinished(whole.run_id).exists()
        todo.pop(0)
    record = worker.run_one(job(tmp_path))
    assert record.timeless() == whole.timeless()
    assert record.files == whole.files
    assert not Store(tmp_path).unfinished(whole.run_id).exists()


STAGED = {"methods": ["reactnet:two_step=true+distill"]}


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return worker.run_one(job(tmp_path_factory.mktemp("staged"), **STAGED))


@pytest.mark.parametrize(
    "stops", [[(0, 4)], [(1, 5)], [(1, 6)], [(1, 7)], [(1, 9)], [(0, 1), (0, 3), (1, 2), (1, 5), (1, 4)]]
)
def test_each_training_of_a_run_resumes(
    tmp_path: Path, staged: Any, stops: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped while its teacher is trained (0), in its first stage, where the second begins, and in that (1)."""
    todo = list(stops)

    def stopping(self: Checkpoint) -> bool:
        self.seen = getattr(self, "seen", 0) + 1
        return bool(todo) and (self.path.name == staged.run_id, self.seen) >= (bool(todo[0][0]), todo[0][1])

    monkeypatch.setattr(Checkpoint, "stopping", stopping)
    while todo:
        with pytest.raises(Stopped):
            worker.run_one(job(tmp_path, **STAGED))
        todo.pop(0)
    record = worker.run_one(job(tmp_path, **STAGED))
    assert record.timeless() == staged.timeless()
    assert record.files == staged.files


BEST = {
    "methods": ["irnet+lcr"],
    "recipe": {"batch": 50, "lr": 0.2, "validation": 50, "selection": "best", "schedule": "constant"},
}


@pytest.mark.parametrize(
    "change",
    [BEST, *({"recipe": {"batch": 50, "lr": 0.01, "optimizer": o}} for o in ("adam", "adamw", "sgd:nesterov=false"))],
    ids=["best", "adam", "adamw", "momentum"],
)
def test_each_part_of_a_recipe_resumes_to_the_same_bits(
    tmp_path: Path, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = worker.run_one(job(tmp_path / "whole", **change))
    # 13: every step is made, and the best weights are not taken yet.
    for stops in (1, 5, 11, 13):
        root = tmp_path / str(stops)
        todo = [stops]
        stop_after(monkeypatch, todo)
        with pytest.raises(Stopped):
            worker.run_one(job(root, **change))
        todo.clear()
        record = worker.run_one(job(root, **change))
        assert record.files == whole.files
        assert record.timeless() == whole.timeless()


SLOWER = ["irnet", "reste", "adabin+spectral_norm", "bnn+jacobian_penalty", "irnet+lcr_fixed:cache=true"]


@pytest.mark.parametrize(
    "method", ["recu", "rbnn:rotations=4", *(pytest.param(m, marks=pytest.mark.slow) for m in SLOWER)]
)
def test_schedules_and_their_state_survive_a_stop(tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """EDE's t, ReCU's tau, ReSTE's o, RBNN's rotations on both sides of it, an iteration's vectors, a generator, a cache."""
    (tmp_path / "a").mkdir()
    whole = worker.run_one(job(tmp_path / "a", methods=[method]))
    todo = [7]
    stop_after(monkeypatch, todo)
    with pytest.raises(Stopped):
        worker.run_one(job(tmp_path / "b", methods=[method]))
    todo.clear()
    record = worker.run_one(job(tmp_path / "b", methods=[method]))
    assert record.files == whole.files
    assert record.timeless() == whole.timeless()


def test_a_stop_during_evaluation_keeps_the_trained_network(tmp_path: Path, whole: Any, monkeypatch) -> None:
    stop_after(monkeypatch, [13])
    with pytest.raises(Stopped):
        worker.run_one(job(tmp_path))
    monkeypatch.undo()
    steps = []
    record = worker.run_one(job(tmp_path), lambda phase, *a, **k: steps.append(phase))
    assert "training" not in steps
    assert record.files == whole.files


@pytest.mark.parametrize("method", ["irnet+lcr", "rbnn"])
def test_surrogate_gradients_are_those_of_the_training_s_end(tmp_path: Path, method: str, monkeypatch) -> None:
    """A search along them finds the same after a stop during evaluation: how sharp they are lies in no weight."""
    search = {"metrics": {"lipschitz_modulus": {"images": 4, "restarts": 1, "steps": 3}}, "methods": [method]}
    first = worker.run_one(job(tmp_path / "whole", **search))
    stop_after(monkeypatch, [13])
    with pytest.raises(Stopped):
        worker.run_one(job(tmp_path / "stopped", **search))
    monkeypatch.undo()
    assert worker.run_one(job(tmp_path / "stopped", **search)).timeless() == first.timeless()


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("where", [0, 70, 3000, -1])
def test_a_damaged_save_is_named_and_never_used(
    tmp_path: Path, whole: Any, where: int, cut: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after(monkeypatch, [5])
    with pytest.raises(Stopped):
        worker.run_one(job(tmp_path))
    monkeypatch.undo()
    path = Store(tmp_path).unfinished(whole.run_id)
    content = bytearray(path.read_bytes())
    content[where] ^= 4
    path.write_bytes(content[:where] if cut else content)
    with pytest.raises(UserError, match="damaged"):
        worker.run_one(job(tmp_path))
    Store(tmp_path).set_aside(whole.run_id)
    assert worker.run_one(job(tmp_path)).files == whole.files
    assert len(list((tmp_path / ".damaged").iterdir())) == 1


def test_a_save_of_other_source_is_not_used(tmp_path: Path, whole: Any) -> None:
    Checkpoint(Store(tmp_path, create=True), whole.run_id, "other source").save({"x": torch.zeros(3)}, {})
    assert worker.run_one(job(tmp_path)).files == whole.files


def test_a_run_that_another_process_holds_is_left_alone(tmp_path: Path) -> None:
    one = job(tmp_path)
    with Store(tmp_path).lock(one.spec.run_id):
        context = multiprocessing.get_context("spawn")
        reader, writer = context.Pipe(duplex=False)
        process = context.Process(target=worker.work, args=(one, writer))
        process.start()
        process.join(120)
        reader.close()
    assert process.exitcode == worker.BUSY
    assert Store(tmp_path).ids() == []


def test_two_processes_on_one_store_train_each_run_once(tmp_path: Path) -> None:
    lines = [
        'methods = ["bnn", "irnet"]',
        "[data]",
        "train = 200",
        "test = 50",
        "[budget]",
        "images = 600",
        "[recipe]",
        "batch = 50",
    ]
    lines += ["[evaluation]", 'corruptions = ["fog"]', "severities = [1]", "[metrics.accuracy]"]
    (tmp_path / "s.toml").write_text("\n".join(lines))
    # Each command writes down which of its runs told that they were training.
    code = (
        "import sys; from lcrbench.bench import cli, runner\n"
        "class Progress(runner.Progress):\n"
        "    def update(self, event):\n"
        "        if event.phase == 'training': print(event.run_id, file=open(sys.argv[0], 'a'))\n"
        "runner.Progress, sys.argv = Progress, sys.argv[1:]\n"
        "cli.main()"
    )
    rest = ["run", "s.toml", "--store", "s", "--workers", "1"]
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, f"trained{i}", *rest, "--out", f"report{i}"],
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    for process in both:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    trained = [set(path.read_text().split()) for path in tmp_path.glob("trained*")]
    assert sorted(run_id for ids in trained for run_id in ids) == Store(tmp_path / "s").ids()
    store = Store(tmp_path / "s")
    assert len(store.ids()) == 2
    assert [store.record(i).status for i in store.ids()] == ["finished"] * 2
    for i in store.ids():
        store.verify(i)


def ended(one: worker.Job, code: int) -> Any:
    """Return the parent's view of a process that worked on a job and has ended."""
    return runner._Cell(SimpleNamespace(exitcode=code), one, None)  # type: ignore[arg-type]


def later(one: worker.Job, **change: Any) -> worker.Job:
    """Return a job that a later command would start."""
    provenance = one.provenance.model_copy(update={"created": "9999"} | change)
    return dataclasses.replace(one, provenance=provenance)


def test_a_failure_never_replaces_a_finished_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = job(tmp_path)
    target = Store(tmp_path)
    assert runner._record_of(target, ended(one, -9)).status == "failed"
    assert target.record(one.spec.run_id).status == "failed"
    whole = worker.run_one(one)
    fresh = later(dataclasses.replace(one, fresh=True))
    stale = later(one, source="other")

    # Killed after it had stored; killed, and another command's process finished it before this parent looked.
    own = dataclasses.replace(one, fresh=True)
    save = target.unfinished(one.spec.run_id)
    for killed in (own, later(one)):
        save.parent.mkdir(exist_ok=True)
        save.write_bytes(b"what a killed process had not forgotten yet")
        assert runner._record_of(target, ended(killed, -9)).status == "finished"
        assert not save.exists()
    # A run made again, or one of other source: the attempt failed, and says so.
    for again in (fresh, stale):
        for code in (-9, worker.STOPPED, 1, 0):
            assert runner._record_of(target, ended(again, code)).status == "failed"
    assert target.record(one.spec.run_id) == whole
    target.verify(one.spec.run_id)


@pytest.mark.parametrize("error", [ValueError("no such thing"), UserError("no such thing"), None])
def test_a_failure_told_by_the_process_never_replaces_a_finished_run(
    tmp_path: Path, error: Exception | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = job(tmp_path)
    whole = worker.run_one(one)

    def breaks(*_: Any, **__: Any) -> None:
        raise error or Diverged(3, "the loss diverged")

    monkeypatch.setattr(worker, "train", breaks)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    for again in (later(dataclasses.replace(one, fresh=True)), later(one, source="other")):
        worker.work(again, SimpleNamespace(send=lambda _: None))
        assert ("no such thing" if error else "diverged") in capsys.readouterr().err
        assert Store(tmp_path).record(one.spec.run_id) == whole
        assert runner._record_of(Store(tmp_path), ended(again, 0)).status == "failed"


def test_a_run_left_between_two_renames_is_put_back_and_not_trained(tmp_path: Path) -> None:
    run_id = worker.run_one(job(tmp_path)).run_id
    (tmp_path / run_id).rename(tmp_path / f".{run_id}.old")
    assert runner._finished(Store(tmp_path), [run_id], env.source_hash(), "refuse", False) == {run_id}
    assert (tmp_path / run_id).is_dir()


def test_redo_leaves_alone_what_a_live_process_works_on(tmp_path: Path) -> None:
    target = Store(tmp_path, create=True)
    damaged = {target.unfinished(n) for n in ("a", "b")} | {target.teacher(n) for n in ("c", "d")}
    drafts = {target.unfinished("e.new"), target.teacher("f.new")}
    for path in damaged | drafts:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    run_id = worker.run_one(job(tmp_path)).run_id
    (tmp_path / run_id / "weights.safetensors").unlink()
    with target.lock("a"), target.lock("c"), target.lock(run_id):
        assert runner._finished(target, [run_id], "", "refuse", True) == set()
    assert target.ids() == [run_id]
    assert {p.name for p in (*target.unfinished("").iterdir(), *target.teacher("").iterdir())} == {
        "a",
        "c",
        "e.new",
        "f.new",
    }
    runner._finished(target, [run_id], "", "refuse", True)
    assert target.ids() == []
    assert all(path.exists() for path in drafts)
    assert len(list((tmp_path / ".damaged").iterdir())) == 5


def test_stale_runs_are_refused_redone_or_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(runner, "_schedule", lambda jobs, *a: calls.extend(j.spec.run_id for j in jobs) or [])
    one = job(tmp_path)
    worker.run_one(one)
    grid = spec.make_grid(TABLES)

    def again(**kwargs: Any) -> None:
        calls.clear()
        runner.run(grid, tmp_path, workers=1, device="cpu", command="", quiet=True, **kwargs)

    again()
    assert calls == []
    monkeypatch.setattr(env, "source_hash", lambda: "changed")
    with pytest.raises(UserError, match="--stale redo"):
        again()
    again(stale="keep")
    assert calls == []
    again(stale="redo")
    assert calls == [one.spec.run_id]


def test_damaged_runs_are_refused_or_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(runner, "_schedule", lambda jobs, *a: calls.extend(j.spec.run_id for j in jobs) or [])
    run_id = worker.run_one(job(tmp_path)).run_id
    path = tmp_path / run_id / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    grid = spec.make_grid(TABLES)
    with pytest.raises(UserError, match="--redo"):
        runner.run(grid, tmp_path, workers=1, device="cpu", command="", quiet=True)
    runner.run(grid, tmp_path, workers=1, device="cpu", command="", quiet=True, redo=True)
    assert calls == [run_id]
    assert Store(tmp_path).ids() == []


def test_a_full_disk_is_told_and_leaves_the_store_whole(
    tmp_path: Path, whole: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from lcrbench.bench.records import store as stores

    worker.run_one(job(tmp_path))
    real, writes = stores.flush, 0
    for fail_at in range(1, 8):
        writes = 0

        def full(path: Path, fail_at: int = fail_at) -> None:
            nonlocal writes
            writes += 1
            if writes == fail_at:
                raise OSError(errno.ENOSPC, "No space left on device")
            real(path)

        monkeypatch.setattr(stores, "flush", full)
        with pytest.raises(UserError, match="No space left"):
            worker.run_one(job(tmp_path))
        monkeypatch.undo()
        assert Store(tmp_path).record(whole.run_id).files == whole.files
        Store(tmp_path).verify(whole.run_id)


def test_a_budget_in_seconds_ends_by_the_clock(tmp_path: Path) -> None:
    record = worker.run_one(job(tmp_path, budget={"unit": "seconds", "seconds": 1.5}))
    assert record.ledger.unit == "seconds"
    assert record.ledger.steps > 1
    assert record.ledger.images == record.ledger.steps * 50
    assert 1 < record.ledger.seconds["training"].cpu < 6


@pytest.mark.parametrize(
    "budget",
    [{"unit": "seconds"}, {"seconds": 3.0}, {"unit": "second", "seconds": 3.0}, {"unit": "epochs", "images": 3}],
)
def test_contradictory_budgets_are_refused(budget: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="budget"):
        spec.make_grid({"budget": budget})
