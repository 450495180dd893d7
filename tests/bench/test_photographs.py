"""From real photographs to a report, by the preset `cifar10` with a small budget."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lcrbench.bench import worker
from lcrbench.bench.records.store import Store
from tests.bench.helpers import job

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


SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "data" / "imagenet-samples" / "val.tar"


@pytest.mark.slow
@pytest.mark.skipif(not SAMPLES.is_file(), reason="needs the development data imagenet-samples beside the checkout")
def test_resnet18_on_photographs_at_224_px(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """IR-Net trains by the preset `imagenet` from the tar itself: equal bits with 0 and 2 readers, and after a stop."""
    from lcrbench.bench.records.grid import read_grid
    from lcrbench.bench.training.checkpoint import Checkpoint
    from lcrbench.bench.training.loop import Stopped

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    place = tmp_path / "set"
    place.mkdir()
    for split in ("train", "val"):
        (place / f"{split}.tar").symlink_to(SAMPLES)
    tables = read_grid("imagenet") | {
        "data": {"source": str(place), "size": 224, "stream": True},
        "methods": ["irnet"],
        "budget": {"images": 24},
        "evaluation": {"corruptions": ["fog"], "severities": [3], "block": 10},
        "metrics": {"accuracy": {}},
    }
    tables["recipe"] = tables["recipe"] | {"batch": 8}
    # 1,000 images are too many to show, and one of each class is the least.
    monkeypatch.setattr(worker.evaluation, "evaluate", _not_shown)
    made = []
    for name, readers, stops in (("none", 0, 0), ("two", 2, 0), ("stopped", 1, 2)):
        one = job(tmp_path / name, tables, readers=readers)
        if stops:
            with monkeypatch.context() as patch:
                patch.setattr(Checkpoint, "stopping", _stopping_after(stops))
                with pytest.raises(Stopped):
                    worker.run_one(one)
        with pytest.raises(_NotShownError):
            worker.run_one(one)
        training = Store(tmp_path / name).trainings.record(one.spec.training.train_id)
        made.append((training.weights_sha256, training.ledger.data_order_sha256, training.ledger.augmentation_sha256))
        assert training.normalization is not None
        assert training.normalization.of == "declared for imagenet1k"
    assert made[0] == made[1] == made[2]


class _NotShownError(Exception):
    pass


def _not_shown(*given: object, **options: object) -> None:
    raise _NotShownError


def _stopping_after(steps: int) -> Callable[[object], bool]:
    asked = [0]

    def stopping(save: object) -> bool:
        asked[0] += 1
        return asked[0] >= steps

    return stopping
