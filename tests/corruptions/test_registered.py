"""Corruptions as entries of a registry: the contract, those from outside, and the slow backend for comparison."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lcrbench import registry
from lcrbench.corruption_names import COMMON, GROUP, GROUPS, SETS
from lcrbench.corruptions import archive, corrupt, expand, generate, group_of, names, others, parameters, provenance
from lcrbench.corruptions.registered import find
from lcrbench.errors import UserError

IMAGES = np.random.default_rng(3).integers(0, 256, (6, 32, 40, 3), np.uint8)

DUST = '''"""Dust: some pixels turn gray."""
GROUP = "dirt"
CONSTANTS = [{"share": k / 10} for k in range(1, 6)]
LIBRARIES = ("scipy",)

def apply(image, severity, random):
    image[random.random(image.shape[:2]) < CONSTANTS[severity - 1]["share"]] = 128
    return image
'''
DUST_BATCH = '''"""Dust, by batches."""
CONSTANTS = [{"share": k / 10} for k in range(1, 6)]

def into(images, out, draws, share):
    out[:] = images
    for k in range(len(images)):
        out[k][draws.generator(k).random(images.shape[1:3]) < share] = 128
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package in the current folder, forgotten after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder = tmp_path / "my_corruptions"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    importlib.invalidate_caches()
    find.cache_clear()
    yield folder
    find.cache_clear()
    for name in [n for n in sys.modules if n.partition(".")[0] == "my_corruptions"]:
        del sys.modules[name]


def install(folder: Path, kind: str, name: str, module: str) -> None:
    """Leave what pip would leave of a package with one entry point."""
    info = folder / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[lcrbench.{kind}]\n{name} = {module}\n")
    importlib.invalidate_caches()


def test_every_name_of_the_paper_has_a_file_and_no_file_lacks_a_name() -> None:
    assert set(registry.files("corruption")) == {*GROUP, *others()}
    assert [name for members in GROUPS.values() for name in members] == list(GROUP) == [*names("all"), *names("bar")]
    assert len(COMMON) == 15
    assert all(group_of(name) in GROUPS for name in GROUP)


@pytest.mark.parametrize("name", registry.files("corruption"))
def test_a_file_keeps_the_contract(name: str) -> None:
    module = registry.load("corruption", name)
    assert registry.summary("corruption", name)
    assert hasattr(module, "apply") != hasattr(module, "into")
    assert name in GROUP or module.GROUP not in SETS


@pytest.mark.parametrize("name", expand(others()))
def test_an_image_depends_on_its_axes_alone(name: str) -> None:
    before, state = IMAGES.copy(), np.random.get_state()[1].tolist()  # noqa: NPY002
    whole = corrupt(IMAGES, name, 2, seed=1, stream="s")
    assert (corrupt(IMAGES, name, 2, seed=1, stream="s", threads=3) == whole).all()
    assert (corrupt(IMAGES[4:1:-1], name, 2, seed=1, stream="s", indices=[4, 3, 2]) == whole[4:1:-1]).all()
    assert (whole != IMAGES).any()
    assert (before == IMAGES).all()
    assert np.random.get_state()[1].tolist() == state, "the global random state was changed"  # noqa: NPY002


def test_randomness_of_an_outside_corruption_has_the_same_axes(package: Path) -> None:
    (package / "dust.py").write_text(DUST)
    name = "my_corruptions.dust"
    whole = corrupt(IMAGES, name, 2, seed=1, stream="s")
    other = [corrupt(IMAGES, name, 2, seed=2, stream="s"), corrupt(IMAGES, name, 2, seed=1, stream="t"),
             corrupt(IMAGES, name, 2, seed=1, stream="s", indices=range(1, 7))]  # fmt: skip
    assert all((o != whole).any(axis=(1, 2, 3)).all() for o in other)
    assert (other[2][:-1] != whole[1:]).any(), "the images differ, though their draws are equal"
    shares = [(corrupt(np.zeros_like(IMAGES), name, s) == 128).mean() for s in range(1, 6)]
    np.testing.assert_allclose(shares, [0.1, 0.2, 0.3, 0.4, 0.5], atol=0.02)


def test_a_corruption_by_import_path_is_one_file(package: Path) -> None:
    (package / "dust.py").write_text(DUST)
    (package / "batch.py").write_text(DUST_BATCH)
    name = "my_corruptions.dust"
    assert expand(["fog", name]) == ("fog", name)
    assert group_of(name) == "dirt"
    assert group_of("my_corruptions.batch") == "other"
    assert parameters(name, 3, "cifar") == {"share": 0.3}
    told = provenance(32, 32, names=["fog", name])["outside"]
    assert told[name]["module"] == name
    assert set(told[name]["versions"]) == {"numpy", "scipy"}
    assert list(told) == [name]
    json.dumps(told)
    # Both shapes of an entry draw alike, up to the name that is part of the key.
    for gray in (IMAGES, IMAGES[..., 0]):
        assert corrupt(gray, name, 1).shape == corrupt(gray, "my_corruptions.batch", 1, threads=2).shape == gray.shape
    assert (corrupt(IMAGES[0], name, 1) == corrupt(IMAGES, name, 1)[0]).all()


def test_a_corruption_inside_is_one_file(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = package / "functions"
    inside.mkdir()
    (inside / "__init__.py").write_text("")
    (inside / "dust.py").write_text(DUST)
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setitem(registry.PACKAGES, "corruption", "my_corruptions.functions")
    assert others() == ["dust"]
    assert expand(["noise", "dust"]) == (*GROUPS["noise"], "dust")
    assert corrupt(IMAGES, "dust", 1).shape == IMAGES.shape


def test_a_corruption_by_entry_point(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (package / "dust.py").write_text(DUST)
    monkeypatch.syspath_prepend(package.parent)
    install(package.parent, "corruption", "dust", "my_corruptions.dust")
    assert "dust" in others()
    assert corrupt(IMAGES, "dust", 1).shape == IMAGES.shape
    with pytest.raises(UserError, match="did you mean 'dust'"):
        corrupt(IMAGES, "dusty", 1)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("x = 1", "must define either apply"),
        (DUST + "\ndef into(*a): ...\n", "must define either apply"),
        (DUST.replace("return image", "return image / 255"), "returned float64 (32, 40, 3)"),
        (DUST.replace("return image", "return None"), "returned NoneType"),
        (DUST.replace("return image", "return image[:3]"), "returned uint8 (3, 40, 3)"),
        (DUST.replace("range(1, 6)", "range(1, 5)"), "4 CONSTANTS"),
        (DUST.replace('"dirt"', '"noise"'), "choose another"),
        (DUST + "\nVARIANTS = ('a', 'b')\n", "my_corruptions.dust:a"),
    ],
)
def test_what_breaks_the_contract_is_refused_by_one_line(package: Path, source: str, words: str) -> None:
    (package / "dust.py").write_text(source)
    with pytest.raises(UserError) as caught:
        corrupt(IMAGES, "my_corruptions.dust", 1)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fogg", "did you mean 'fog'"),
        ("fog:thick", "'fog' has no variants"),
        ("imagecorruptions:fogg", "did you mean 'fog'"),
        ("my_corruptions.none", "no corruption at the import path"),
    ],
)
def test_unknown_names_are_refused(name: str, words: str) -> None:
    for ask in (lambda: find(name), lambda: expand([name])):
        with pytest.raises(UserError, match=words):
            ask()


def test_the_backend_for_comparison_is_that_package() -> None:
    package = pytest.importorskip("imagecorruptions")
    for name in ("contrast", "jpeg_compression", "pixelate"):  # those that draw nothing
        wanted = np.stack([package.corrupt(image, 3, name) for image in IMAGES])
        assert (corrupt(IMAGES, f"imagecorruptions:{name}", 3) == wanted).all()
    assert expand(["imagecorruptions"]) == tuple(f"imagecorruptions:{name}" for name in names("all"))
    with pytest.raises(UserError, match="at least 32 x 32"):
        corrupt(IMAGES[:, :16], "imagecorruptions:fog", 3)
    with pytest.raises(UserError, match="RGB"):
        corrupt(IMAGES[..., 0], "imagecorruptions:fog", 3)


def test_the_backend_is_refused_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagecorruptions", None)
    from lcrbench.corruptions.functions import imagecorruptions

    imagecorruptions._package.cache_clear()
    with pytest.raises(UserError, match="pip install imagecorruptions-imaug") as caught:
        corrupt(IMAGES, "imagecorruptions:fog", 3)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("layout", ["npy", "tree"])
def test_an_archive_of_outside_corruptions_is_read_back(package: Path, tmp_path: Path, layout: archive.Layout) -> None:
    (package / "dust.py").write_text(DUST)
    chosen = ["contrast", "my_corruptions.dust"]
    labels = np.arange(6) % 2
    place = generate.write(tmp_path / "set", IMAGES, labels, chosen, layout=layout, classes=("a", "b"))
    assert "my_corruptions.dust" in json.loads(place.read_text())["provenance"]["outside"]
    opened = archive.open_archive(tmp_path / "set")
    assert opened.corruptions == tuple(chosen)
    assert opened.load("my_corruptions.dust", 2)[0].shape == IMAGES.shape
    opened.check()


def test_classes_of_an_archive_are_numbered_as_those_of_a_data_source(tmp_path: Path) -> None:
    labels = np.arange(6) % 3
    generate.write(tmp_path / "set", IMAGES, labels, ["contrast"], layout="tree", classes=("2", "10", "b"))
    opened = archive.open_archive(tmp_path / "set")
    assert opened.classes == ("2", "10", "b")
    assert opened.load("contrast", 1)[1].tolist() == [0, 0, 1, 1, 2, 2]


def test_one_image_is_corrupted_as_in_its_batch() -> None:
    for name in ("fog", "contrast", "motion_blur"):
        whole = corrupt(IMAGES, name, 3, seed=5, stream="s", indices=range(7, 13))
        assert (corrupt(IMAGES[2], name, 3, seed=5, stream="s", indices=9) == whole[2]).all()
        assert (corrupt(IMAGES[2], name, 3, seed=5, stream="s", indices=[9]) == whole[2]).all()
    assert (corrupt(IMAGES[0], "fog", 3) == corrupt(IMAGES, "fog", 3)[0]).all()
    assert corrupt(IMAGES[0], "motion_blur", 3, angle=30.0).shape == (32, 40, 3)
    with pytest.raises(UserError, match="indices must be 1 integers"):
        corrupt(IMAGES[0], "fog", 3, indices=[1, 2])
