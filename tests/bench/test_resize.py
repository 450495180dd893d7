"""Test images that are cut out of larger ones, as ImageNet's are: 256 px, then the middle 224."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from torchvision import transforms

from lcrbench.bench import cli, data, presets
from lcrbench.bench.lipschitz.subjects import of_run
from lcrbench.bench.records.grid import make_grid
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError
from tests.bench.helpers import TABLES, Here, go
from tests.bench.photographs import tree


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tree(tmp_path_factory.mktemp("jpegs") / "set", train=12, test=4)


@pytest.mark.parametrize("stream", [False, True])
def test_test_images_alone_are_cut_out_of_larger_ones(root: Path, stream: bool) -> None:
    plain = data.load(root, size=16, stream=stream)
    found = data.load(root, size=16, resize=24, stream=stream)
    assert found.resize == 24
    assert found.train_sha256 == plain.train_sha256
    assert found.test_sha256 != plain.test_sha256
    assert found.whole_sha256 != plain.whole_sha256
    cut = transforms.Compose([transforms.Resize(24), transforms.CenterCrop(16)])
    files = sorted((root / "test").rglob("*.jp*g"))
    assert len(files) == len(found.test)
    expected = np.stack([np.asarray(cut(Image.open(f).convert("RGB"))) for f in files])
    ours = found.test.images[:]
    # Files are sorted by class and path in both. Torchvision resizes PIL's images by PIL's rounding: a level at most.
    assert np.abs(ours.astype(int) - expected.astype(int)).max() <= 1
    assert np.array_equal(data.load(root, size=16, resize=16, stream=stream).test.images[:], plain.test.images[:])


@pytest.mark.parametrize("resize", [12, 17, 18])
def test_what_cannot_be_cut_out_is_refused(root: Path, resize: int) -> None:
    with pytest.raises(UserError, match=f"16 px cannot be cut out of the middle of {resize} px"):
        data.load(root, size=16, resize=resize)


def test_a_run_says_so_and_every_command_shows_the_same_images(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = TABLES | {"data": {"source": str(root), "size": 16, "resize": 24}, "methods": ["bnn"]}
    (record,) = go(tmp_path / "s", tables, workers=1)
    spec = record.spec
    fit = record.trained.protocol.preprocessing
    assert fit is not None
    assert fit.text == "24/16 bilinear"
    found = data.load(root, size=16, resize=24)
    assert found.whole_sha256 == spec.data.sha256
    store = Store(tmp_path / "s")
    assert np.array_equal(of_run(store, record.run_id, str(root)).dataset.test.images[:], found.test.images[:])
    here = Here(monkeypatch)
    go(tmp_path / "s", tables)
    assert not here.jobs, "all is there"
    monkeypatch.chdir(tmp_path)
    words = [
        "evaluate",
        record.run_id,
        "--store",
        "s",
        "--data",
        str(root),
        "--corruptions",
        "fog",
        "--severities",
        "1",
    ]
    done = CliRunner().invoke(cli.app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output


def test_the_presets_of_imagenet_cut_256_to_224() -> None:
    folder = Path(presets.__file__).parent
    for name in ("imagenet", "imagenet-paper"):
        grid = make_grid(tomllib.loads((folder / f"{name}.toml").read_text()))
        assert (grid.data.resize, grid.data.size) == (256, 224)
