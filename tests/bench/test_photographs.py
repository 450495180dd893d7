"""From real photographs to a report, by the preset `cifar10` with a small budget."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lcrbench.bench.records.store import Store

PHOTOGRAPHS = Path(__file__).resolve().parents[3] / "shared" / "data" / "cifar10-jpeg75"


@pytest.mark.slow
@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="needs the development data cifar10-jpeg75 beside the checkout")
def test_preset_cifar10_on_photographs(tmp_path: Path) -> None:
    words = ["run", "cifar10", "--data", str(PHOTOGRAPHS), "--train", "400", "--test", "50", "--images", "512"]
    words += ["--methods", "irnet", "--seeds", "0", "--corruptions", "fog jpeg_compression", "--severities", "1 3 5"]
    words += ["--set", "metrics={accuracy={}, corruption_error={}}", "--workers", "1", "--store", "runs"]
    done = subprocess.run(
        [sys.executable, "-m", "lcrbench", *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    store = Store(tmp_path / "runs")
    (run,) = store.ids()
    record = store.record(run)
    assert record.spec.training.data.layout == "class_folders"
    assert record.spec.training.data.space == "own"
    assert record.spec.data.name.startswith("cifar10-jpeg75")
    page = (tmp_path / "runs" / "reports" / "cifar10" / "index.html").read_text(encoding="utf-8")
    assert "cifar10-jpeg75" in page
    assert "mCE" not in [cell.strip() for cell in page.replace(">", "<").split("<")]
