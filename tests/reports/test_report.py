from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from lcrbench.bench.store import Store
from lcrbench.reports import report

sys.path.insert(0, str(Path(__file__).parent))
from make_store import small_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return small_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def folder(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report.write(store, tmp_path_factory.mktemp("report")).parent


def test_the_folder_has_its_parts(folder: Path) -> None:
    names = {f.name for f in folder.iterdir()}
    assert {"index.html", "table.md", "table.tex", "table.csv", "measurements.csv"} <= names
    for figure in ("corruption_curves", "heatmap", "training", "lipschitz"):
        assert {f"{figure}.png", f"{figure}.svg"} <= names


def test_reports_never_import_torch(store: Store, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from lcrbench.bench.store import Store; from lcrbench.reports import report;"
        f"report.write(Store({str(store.root)!r}), Path({str(tmp_path)!r}));"
        "bad = [m for m in sys.modules if m.split('.')[0] in ('torch', 'torchvision')]; assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
