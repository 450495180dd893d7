"""A committed store against what statsmodels says about its raw outcomes (golden/make_expected.py)."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from lcrbench.bench.records.store import Store
from lcrbench.reports import report

GOLDEN = Path(__file__).parent / "golden"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from lcrbench.reports import rendering

    with pytest.MonkeyPatch.context() as patch:  # as `undrawn`, for the module
        patch.setattr(rendering, "save", lambda picture, folder, formats=(): [])
        patch.setattr(rendering, "inline", lambda picture, prefix: ["<svg></svg>"] * len(picture.panels))
        return report.write(Store(GOLDEN / "store"), tmp_path_factory.mktemp("golden")).parent


def cells(row: pd.Series, column: str) -> list[float]:
    return [float(row[column]), float(row[f"{column} low"]), float(row[f"{column} high"])]


def test_the_store_is_what_was_committed() -> None:
    """Runs of schema 3, which are read through the upgrade: written again, they would test nothing of the kind."""
    for record in GOLDEN.glob("store/*/record.json"):
        assert json.loads(record.read_text(encoding="utf-8"))["schema_version"] == 3
    store = Store(GOLDEN / "store")
    assert len(store.ids()) == 10
    for run_id in store.ids():
        store.verify(run_id)


@pytest.mark.parametrize("method", ["full_precision", "irnet", "irnet+lcr"])
def test_the_main_table(golden: Path, method: str) -> None:
    expected = EXPECTED["methods"][method]
    table = pd.read_csv(golden / "table.csv")
    row = table[table["method"] == method].iloc[0]
    for column, name in (
        ("Clean accuracy (%)", "clean"),
        ("Corruption error mean (%)", "error"),
        ("Drop clean − mean (points)", "drop"),
    ):
        assert cells(row, column) == pytest.approx([100 * v for v in expected[name]]), name
        assert row[f"{column} n"] == 3
    by_corruption = pd.read_csv(golden / "corruptions.csv").set_index("corruption")
    assert cells(by_corruption.loc["fog"], f"{method} (%)") == pytest.approx([100 * v for v in expected["fog"]])
    tidy = pd.read_csv(golden / "measurements.csv", keep_default_na=False)
    first = tidy[(tidy.method == method) & (tidy.seed == 0) & (tidy.metric == "accuracy") & (tidy.corruption == "")]
    found = [float(first.iloc[0][name]) for name in ("value", "low", "high")]
    assert found == pytest.approx(expected["first seed"])


@pytest.mark.parametrize("endpoint", ["common", "clean"])
@pytest.mark.parametrize("method", ["irnet", "irnet+lcr"])
def test_the_differences(golden: Path, method: str, endpoint: str) -> None:
    expected = EXPECTED["differences"][endpoint][method]
    table = pd.read_csv(golden / "differences.csv")
    table = table[table["endpoint"].str.startswith("Clean" if endpoint == "clean" else "Mean")]
    row = table[table["difference"] == f"{method} − full_precision"].iloc[0]
    assert cells(row, "Difference over seeds (points)") == pytest.approx([100 * v for v in expected["seeds"]])
    assert cells(row, "Difference over images (points)") == pytest.approx([100 * v for v in expected["images"]])
    assert float(row["p"]) == pytest.approx(expected["p"])
    assert float(row["p, Holm"]) == pytest.approx(expected["holm"])
    assert row["Difference over images (points) n"] == 200


def test_the_failed_run_is_named(golden: Path) -> None:
    table = pd.read_csv(golden / "table.csv")
    assert "diverged at step 90: loss is nan" in table[table["method"] == "bnn"]["note"].iloc[0]
