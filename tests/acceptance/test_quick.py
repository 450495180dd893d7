"""What the quick preset must deliver, checked on a finished run of it.

lcrbench run quick --store DIR/quick
lcrbench run quick --store DIR/measured --methods "irnet+lcr:weight=0" --corruptions fog --severities 1
LCRBENCH_QUICK=DIR python -m pytest tests/acceptance
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from lcrbench.bench import stats
from lcrbench.bench.records import source
from lcrbench.bench.records.record import Record
from lcrbench.bench.records.spec import Cell
from lcrbench.bench.records.store import WEIGHTS, Store

FOLDER = os.environ.get("LCRBENCH_QUICK")
pytestmark = pytest.mark.skipif(not FOLDER, reason="set LCRBENCH_QUICK to the folder of a finished quick run")
METHODS = {"full_precision", "bnn", "irnet", "irnet+lcr"}


@pytest.fixture(scope="module")
def store() -> Store:
    return Store(Path(FOLDER or "") / "quick")


@pytest.fixture(scope="module")
def records(store: Store) -> dict[str, Record]:
    return {r.spec.label: r for r in store.records()}


def clean(record: Record) -> float:
    return next(m.value for m in record.measurements if m.metric == "accuracy" and not m.corruption)


def test_all_methods_finished(records: dict[str, Record]) -> None:
    assert set(records) == METHODS
    assert {r.status for r in records.values()} == {"finished"}


def test_accuracy_is_above_the_bars(records: dict[str, Record]) -> None:
    for label, record in records.items():
        bar = 0.78 if label == "full_precision" else 0.65
        assert clean(record) >= bar, label
        assert record.spec.data.test == 2000


def test_ten_cpu_minutes_at_most(records: dict[str, Record]) -> None:
    spent = sum(s.cpu for r in records.values() for s in r.ledger.seconds.values())
    assert spent <= 600, f"{spent:.0f} CPU seconds"
    for label, record in records.items():
        assert record.ledger.seconds["lipschitz"].cpu <= 30, label


def test_severe_noise_hurts_more(store: Store, records: dict[str, Record]) -> None:
    """Accuracy at severity 5 minus severity 1, paired over the images, averaged over the noises."""
    for label, record in records.items():
        right = store.outcomes(record.run_id)
        noises = ("gaussian_noise", "shot_noise", "impulse_noise")
        difference = np.mean([right[Cell(n, 5)].astype(float) - right[Cell(n, 1)] for n in noises], axis=0)
        assert stats.mean(difference).high < 0, label


def test_budgets_are_equal(records: dict[str, Record]) -> None:
    for field in ("images", "steps", "data_order_sha256", "augmentation_sha256", "initial_weights_sha256", "selection"):
        assert len({getattr(r.ledger, field) for r in records.values()}) == 1, field


def test_lcr_lowers_its_loss_and_keeps_its_ratios(store: Store, records: dict[str, Record]) -> None:
    measured = next(iter(Store(Path(FOLDER or "") / "measured").records()))
    assert measured.spec.method.regularizers["lcr"]["weight"] == 0
    assert clean(measured) == clean(records["irnet"]), "weight 0 is IR-Net to the bit"
    without = Store(Path(FOLDER or "") / "measured").log(measured.run_id)
    optimized = store.log(records["irnet+lcr"].run_id)
    last = max(1, len(optimized) // 10)
    assert optimized["lcr.loss"][-last:].mean() < without["lcr.loss"][-last:].mean()
    for k in range(1, 5):
        assert optimized[f"lcr.ratio.{k}"].between(0.2, 5).all(), k
    assert clean(records["irnet+lcr"]) >= clean(records["irnet"]) - 0.03


def test_the_report_has_its_parts(store: Store) -> None:
    folder = store.root / "reports" / "quick"
    page = (folder / "index.html").read_text(encoding="utf-8")
    for label in METHODS:
        assert label in page
    for name in ("table.md", "table_main.tex", "table.txt", "table.csv", "measurements.csv"):
        assert (folder / name).stat().st_size > 200, name
    for name in ("corruption_curves", "heatmap", "training", "lipschitz"):
        assert (folder / f"{name}.svg").read_text(encoding="utf-8").lstrip().startswith("<?xml"), name
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG"), name
    assert "identical budgets" in page.lower()
    assert 'src="http' not in page
    assert "toprule" in (folder / "table_main.tex").read_text(encoding="utf-8")


def test_bits_are_those_of_earlier_versions(store: Store, records: dict[str, Record]) -> None:
    """Against a store that the version before scopes made, by the same torch on the same kind of processor.

    What `records/equal_bits.json` says rests on this: a change of bits needs its reason in CHANGELOG, and empties that list.
    """
    before = Store(Path(__file__).parents[1] / "fixtures" / "store-schema-3")
    compared = 0
    for old in before.records():
        new = records[old.spec.label]
        if (old.provenance.versions, old.provenance.device_name) != (
            new.provenance.versions,
            new.provenance.device_name,
        ):
            continue
        compared += 1
        weights = store.training_file(new.spec.training.train_id, WEIGHTS)
        assert weights == before.old.file(old.run_id, WEIGHTS), old.spec.label
        ours, theirs = store.outcomes(new.run_id), before.outcomes(old.run_id)
        assert ours.keys() == theirs.keys()
        assert all(np.array_equal(ours[cell], theirs[cell]) for cell in theirs), old.spec.label
        same = [
            [m for m in record.measurements if m.metric in old.metrics and not source.other_numbers(m.metric)]
            for record in (new, old)
        ]
        assert same[0] == same[1], old.spec.label
    if not compared:
        pytest.skip("other versions, or another processor, than those of the kept store")
