"""A store of schema 3, made by the version before trainings and evaluations were parted: read, reported and gone on with."""

from __future__ import annotations

import json
import shutil
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lcrbench import registry
from lcrbench.bench import planning, runner
from lcrbench.bench.evaluation.engine import Inference
from lcrbench.bench.records import grid as grids
from lcrbench.bench.records import source, upgrade
from lcrbench.bench.records.record import Record
from lcrbench.bench.records.spec import CLEAN, Cell, MethodId
from lcrbench.bench.records.store import WEIGHTS, Damaged, Store
from lcrbench.bench.training import run as training
from lcrbench.errors import UserError
from lcrbench.models import network as networks

FIXTURE = Path(__file__).resolve().parents[1] / "fixtures" / "store-schema-3"
LABELS = {"full_precision", "bnn", "irnet", "irnet+lcr"}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    shutil.copytree(FIXTURE, tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Count trainings and images through networks, in this process."""
    counts = {"trainings": 0, "images": 0}
    train, logits = training.train, Inference.logits

    def counting_train(*args: object, **how: object) -> object:
        counts["trainings"] += 1
        return train(*args, **how)  # type: ignore[arg-type]

    def counting_logits(network: Inference, images: np.ndarray) -> np.ndarray:
        counts["images"] += len(images)
        return logits(network, images)

    monkeypatch.setattr(training, "train", counting_train)
    monkeypatch.setattr(Inference, "logits", counting_logits)
    return counts


def raw(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FIXTURE / name / "record.json").read_text())
    return found


SAME = ("metric", "corruption", "severity", "value", "low", "high", "n", "interval", "norm", "radius")
"""The fields of a number that are as schema 3 had them; statistic and layer may have become others (before_5.py)."""


def numbers(record: Record) -> list[str]:
    return [json.dumps([m.model_dump(mode="json")[field] for field in SAME]) for m in record.measurements]


def raw_numbers(before: dict[str, Any]) -> list[str]:
    return [json.dumps([m[field] for field in SAME]) for m in before["measurements"]]


def _by_search(name: str) -> bool:
    return bool(registry.load("metric", name).INFO.searched)


def quick(**changes: object) -> grids.Grid:
    """Return the quick preset without the search, all of whose numbers are measured anew (CHANGELOG)."""
    whole = grids.read_grid("quick")
    kept = {k: v for k, v in whole["metrics"].items() if not _by_search(k)}
    return grids.make_grid(whole | {"metrics": kept} | changes)


def run(root: Path, wanted: grids.Grid, **how: object) -> list[Record]:
    """Run a grid in this process; return its records."""
    options = {
        "workers": 1,
        "device": "cpu",
        "command": "test",
        "quiet": True,
    }
    ids = runner.run(wanted, root, **(options | how))  # type: ignore[arg-type]
    store = Store(root)
    return [store.record(i) for i in ids]


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs jobs in this process, where they can be counted."""
    from lcrbench.bench import dispatch, worker

    def in_turn(jobs: list[worker.Job], *_: object, **__: object) -> list[dispatch.Ended]:
        return [dispatch.Ended.of(worker.run_one(job)) for job in jobs]

    monkeypatch.setattr(dispatch, "work_on", in_turn)
    # Running a job sets the process up for one: that is put back.
    monkeypatch.setattr("lcrbench.bench.device.prepare", lambda device: None)
    monkeypatch.setattr("lcrbench.bench.training.checkpoint.Checkpoint.listen", lambda self: None)


# ---------------------------------------------------------------------------------------------------------------- read


def test_old_runs_are_read_with_their_numbers(old: Path) -> None:
    store = Store(old)
    assert len(store.ids()) == 4
    assert {r.spec.label for r in store.records()} == LABELS
    for record in store.records():
        before = raw(record.run_id)
        assert record.status == "finished"
        assert numbers(record) == raw_numbers(before)
        assert record.spec.recipe.lr == 0.1
        assert record.spec.budget.images == 60_000
        assert record.unscoped == (before["provenance"]["source"],)
        assert source.stale(record) == ""
        store.verify(record.run_id)
        outcomes = store.outcomes(record.run_id)
        assert len(outcomes) == 81
        clean = next(m.value for m in record.measurements if m.metric == "accuracy" and not m.corruption)
        assert outcomes[CLEAN].mean() == pytest.approx(clean)
        assert len(store.log(record.run_id)) > 50


@pytest.mark.parametrize(
    ("method", "options", "label"),
    [
        ("rbnn", {}, "rbnn:gradient=straight"),
        ("rbnn", {"rotations": 5}, "rbnn:rotations=5,gradient=straight"),
        ("reste", {}, "reste:block=shared"),
        ("irnet", {}, "irnet"),
    ],
)
def test_an_old_run_keeps_the_form_that_its_methods_name_stood_for(
    method: str, options: dict[str, Any], label: str
) -> None:
    """What a name alone means today is another method: its number would stand under the wrong name."""
    data = raw(next(p.name for p in FIXTURE.iterdir() if (p / "record.json").exists()))
    text = method + (":rotations=5" if options else "")
    data["spec"] |= {"method": {"name": method, "options": options, "regularizers": {}}, "label": text}
    spec = upgrade.old_run(json.dumps(data).encode(), "here").record.spec
    assert spec.label == label
    assert networks.choose(label).label == label
    assert (spec.training.train_id == spec.training.model_copy(update={"method": MethodId(name=method)}).train_id) == (
        label == method
    )


def test_reading_changes_nothing(old: Path) -> None:
    before = {p: p.read_bytes() for p in old.rglob("*") if p.is_file()}
    store = Store(old)
    store.table()
    for run_id in store.ids():
        store.searches(run_id)[0].by_image()
    assert {p: p.read_bytes() for p in old.rglob("*") if p.is_file()} == before


def test_a_flipped_bit_in_an_old_run_is_found(old: Path) -> None:
    run_id = Store(old).ids()[0]
    path = old / run_id / WEIGHTS
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(Damaged, match=WEIGHTS):
        Store(old).verify(run_id)


def test_a_version_that_is_not_known_is_stale(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "equal_bits", lambda: frozenset())
    with pytest.raises(UserError, match=r"4 of 4 runs .* different version of the code .*before scopes"):
        run(old, quick())


# ------------------------------------------------------------------------------------------------------------ gone on


def test_an_old_run_under_equal_compute_is_stale_since_another_rule_counted_it(old: Path) -> None:
    name = Store(old).ids()[0]
    content = raw(name)
    content["spec"]["budget"]["unit"] = "compute"
    record = upgrade.old_run(json.dumps(content).encode(), name).record
    assert source.stale(record).startswith("made before scopes")


@pytest.mark.parametrize(("method", "current"), [("irnet", True), ("bnn", True), ("recu", False), ("rbnn", False)])
def test_an_old_run_of_a_method_whose_bits_have_changed_is_stale(old: Path, method: str, current: bool) -> None:
    name = Store(old).ids()[0]
    content = raw(name)
    content["spec"]["method"] = {"name": method, "options": {}, "regularizers": {}}
    record = upgrade.old_run(json.dumps(content).encode(), name).record
    assert (source.stale(record) == "") == current


SINCE = ("brier_score", "negative_log_likelihood")
"""Metrics of the preset that are newer than the store."""


def test_an_old_store_is_complete_without_a_training_or_a_pass(old: Path, counted: dict[str, int]) -> None:
    metrics = {name: options for name, options in quick().metrics.items() if name not in SINCE}
    records = run(old, quick(metrics=metrics), stale="keep")
    assert counted == {"trainings": 0, "images": 0}
    store = Store(old)
    # Taken over: the old runs are no runs of their own any more, and stay where they are.
    assert sorted(r.run_id for r in records) == store.ids()
    assert len(list(old.glob("[0-9a-f]*/record.json"))) == 4
    for record in records:
        (before,) = [f for f in (raw(f.name) for f in FIXTURE.iterdir()) if f["spec"]["label"] == record.spec.label]
        assert sorted(numbers(record)) == sorted(raw_numbers(before))
        weights = store.training_file(record.spec.training.train_id, WEIGHTS)
        assert weights == (FIXTURE / before["run_id"] / WEIGHTS).read_bytes()
        ours, theirs = store.outcomes(record.run_id), Store(FIXTURE).outcomes(before["run_id"])
        assert all(np.array_equal(ours[cell], theirs[cell]) for cell in theirs)
        mine, its = (
            s.searches(i)[0].by_image() for s, i in ((store, record.run_id), (Store(FIXTURE), before["run_id"]))
        )
        assert mine.keys() == its.keys()


def test_what_a_metric_measured_that_gives_other_numbers_today_is_measured_again(
    old: Path, counted: dict[str, int]
) -> None:
    """The clean images are shown once for the logits, which were not kept; nothing else is shown or trained."""
    wanted = quick(methods=["bnn"], metrics={"accuracy": {}, "calibration_error": {}, "lipschitz_range": {}})
    with pytest.raises(UserError, match=r"calibration_error: lcrbench.bench.metrics.calibration_error changed since"):
        run(old, wanted)
    (record,) = run(old, wanted, stale="redo")
    assert counted == {"trainings": 0, "images": 2000}
    assert {m.statistic for m in record.measurements if m.metric == "calibration_error"} > {"debiased", "calibrated"}
    before = next(raw(f.name) for f in FIXTURE.iterdir() if raw(f.name)["spec"]["label"] == "bnn")
    (ece, box), (old_ece, old_box) = (
        [next(m["value"] for m in found if m["metric"] == name) for name in ("calibration_error", "lipschitz_range")]
        for found in ([m.model_dump() for m in record.measurements], before["measurements"])
    )
    assert ece == pytest.approx(old_ece, abs=1e-6)
    assert box < 0.95 * old_box, "the head's batch norm is folded"
    run(old, wanted)
    run(old, quick(methods=["bnn"], metrics={"accuracy": {}, "brier_score": {}, "negative_log_likelihood": {}}))
    assert counted == {"trainings": 0, "images": 2000}, "the logits are kept now"


def test_one_more_corruption_shows_that_one_alone(old: Path, counted: dict[str, int]) -> None:
    methods = {"methods": ["bnn"]}
    shown = grids.read_grid("quick")["evaluation"]
    wider = {"evaluation": {**shown, "corruptions": [*shown["corruptions"], "spatter"]}}
    metrics = {"metrics": {"accuracy": {}, "corruption_error": {}}}
    (record,) = run(old, quick(**methods, **wider, **metrics))
    assert counted == {"trainings": 0, "images": 5 * 2000}
    outcomes = Store(old).outcomes(record.run_id)
    assert len(outcomes) == 86
    assert Cell("spatter", 5) in outcomes
    before = next(r for r in Store(FIXTURE).records() if r.spec.label == "bnn")
    assert np.array_equal(outcomes[Cell("fog", 3)], Store(FIXTURE).outcomes(before.run_id)[Cell("fog", 3)])


def test_a_metric_that_needs_logits_makes_them_from_the_kept_weights(old: Path, counted: dict[str, int]) -> None:
    metrics = {"metrics": {"accuracy": {}, "calibration_error": {"bins": 7}}}
    (record,) = run(old, quick(methods=["bnn"], **metrics))
    assert counted == {"trainings": 0, "images": 2000}
    # The same weights by the same code: the accuracy that was kept as one bit an image comes out again.
    store = Store(old)
    found = store.evaluation_of(record.run_id)
    assert found is not None
    predicted = store.predictions(found)
    clean = predicted.classes[predicted.cells.index(CLEAN)]
    assert (clean >= 0).all()
    before = next(r for r in Store(FIXTURE).records() if r.spec.label == "bnn")
    if before.provenance.versions == record.provenance.versions:
        assert np.array_equal(clean == predicted.labels, Store(FIXTURE).outcomes(before.run_id)[CLEAN])


CLASSES = """
    'How often the class 0 is predicted under a corruption.'
    from dataclasses import dataclass
    from lcrbench.bench.metrics import Need
    from lcrbench.bench.records.measurement import Measurement, MetricInfo
    INFO, NEEDS = MetricInfo.about(__doc__, "1", bound="exact"), frozenset({Need.CLASSES})
    @dataclass(frozen=True)
    class Options: "None."
    def measure(subject, options):
        for cell, classes in subject.classes.items():
            share = float((classes == 0).mean())
            where = {"corruption": cell.corruption, "severity": cell.severity}
            yield Measurement(metric="zeros", value=share, n=len(classes), **where)
"""


def test_a_metric_that_needs_classes_makes_them_from_the_kept_weights(
    old: Path, counted: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Schema 3 kept one bit of each image: the wrong ones are shown again, and nothing is trained, as planned."""
    (tmp_path / "pack_of_classes").mkdir()
    (tmp_path / "pack_of_classes" / "zeros.py").write_text(textwrap.dedent(CLASSES))
    monkeypatch.chdir(tmp_path)
    shown = {"evaluation": {"corruptions": ["fog"], "severities": [1]}}
    # The run of these cells alone is another one than the old one, whose predictions it shares.
    run(old, quick(methods=["bnn"], metrics={"accuracy": {}}))
    wanted = quick(methods=["bnn"], metrics={"accuracy": {}, "pack_of_classes.zeros": {}}, **shown)
    (job,), dataset = runner.planned(wanted, old)
    lacking = planning.lacking(Store(old), job, dataset)
    assert (lacking.training, [str(c) for c in lacking.cells]) == (False, ["clean", "fog/1"])
    (record,) = run(old, wanted)
    before = next(r for r in Store(FIXTURE).records() if r.spec.label == "bnn")
    outcomes = Store(FIXTURE).outcomes(before.run_id)
    wrong = sum(int((~outcomes[cell]).sum()) for cell in (CLEAN, Cell("fog", 1)))
    assert counted == {"trainings": 0, "images": wrong}
    found = Store(old).evaluation_of(record.run_id)
    assert found is not None
    predicted = Store(old).predictions(found)
    zeros = {(m.corruption, m.severity): m.value for m in record.measurements if m.metric == "pack_of_classes.zeros"}
    for cell in record.spec.protocol.cells:
        assert zeros[tuple(cell)] == (predicted.classes[predicted.cells.index(cell)] == 0).mean()
    assert (predicted.classes[predicted.cells.index(CLEAN)] >= 0).all()


def test_the_plan_counts_old_runs_as_there(old: Path) -> None:
    metrics = {"metrics": {"accuracy": {}, "lipschitz_norms": {}, "calibration_error": {"bins": 3}}}
    run(old, quick(methods=["bnn"]), stale="redo")
    jobs, dataset = runner.planned(quick(methods=["bnn", "irnet", "xnor_net"], **metrics), old)
    taken, kept, new = (planning.lacking(Store(old), job, dataset) for job in jobs)
    for found in (taken, kept):
        assert not found.training
        assert found.cells == []
        assert found.metrics == ["calibration_error"]
        assert "trained; all 81 cells evaluated; measure calibration_error" in found.text
    assert new.training
    assert len(new.cells) == 81


def test_a_run_that_was_taken_over_goes_stale_like_any_other(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searched = {name: {"effort": "trial"} for name in registry.names("metric") if _by_search(name)}
    wanted = quick(methods=["irnet"], metrics=quick().metrics | searched)
    (record,) = run(old, wanted, stale="redo")
    assert record.unscoped == ()
    assert "lcrbench.models.methods.irnet" in {m for s in record.sources for m in s.modules}
    assert source.stale(record) == ""
    present = source._hash

    def changed(path: Path, stamp: int) -> str:
        return "changed" if path.name == "irnet.py" else present(path, stamp)

    monkeypatch.setattr(source, "_hash", changed)
    source.look_again()
    assert "lcrbench.models.methods.irnet changed since" in source.stale(record)
    with pytest.raises(UserError, match="irnet changed since"):
        run(old, wanted)
    source.look_again()


def test_an_old_run_of_a_plug_in_is_not_known_to_be_as_it_was(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lcrbench import registry

    outside = registry.is_outside
    monkeypatch.setattr(registry, "is_outside", lambda kind, name: name == "bnn" or outside(kind, name))
    with pytest.raises(UserError, match="before scopes"):
        run(old, quick(methods=["bnn"]))


def test_a_report_says_in_one_line_that_runs_are_from_before_scopes(old: Path) -> None:
    from lcrbench.reports import comparison

    (setting,) = comparison.read(Store(old)).settings
    said = [note for note in setting.notes if "before scopes" in note]
    assert said == ["4 runs are from before scopes, whose code has one hash for all of it: it gives the present bits."]
    run(old, quick(methods=["bnn", "irnet"]), stale="redo")
    (setting,) = comparison.read(Store(old)).settings
    assert any(note.startswith("2 runs are from before scopes") for note in setting.notes)
