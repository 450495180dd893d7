"""Archives: what is written is read back; published formats are recognised; damage is told in one line."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lcrbench.corruptions import archive, corrupt, digests, generate
from lcrbench.corruptions.members import Member, whole
from lcrbench.errors import UserError

RNG = np.random.default_rng(5)
IMAGES = RNG.integers(0, 256, (12, 4, 4, 3), np.uint8).repeat(4, 1).repeat(4, 2)
LABELS = np.arange(12) % 3
CLASSES = ("cat", "dog", "a b/c")


def write(folder: Path, **options: Any) -> Path:
    arguments = {"names": ["fog", "contrast"], "seed": 1, "stream": "s", "classes": CLASSES} | options
    generate.write(folder, IMAGES, LABELS, arguments.pop("names"), **arguments)
    return folder


def pack(folder: Path, inside: str = "") -> Path:
    tar = folder.with_suffix(".tar")
    with tarfile.open(tar, "w") as file:
        file.add(folder, inside or folder.name)
    return tar


def like_cifar(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small stand-in for the published CIFAR-10-C: no manifest, and the md5 of its files published."""
    write(folder)
    (folder / archive.MANIFEST).unlink()
    known = json.loads(json.dumps(archive.published()))
    known["CIFAR-10-C"]["md5"] = {f.name: hashlib.md5(f.read_bytes()).hexdigest() for f in folder.glob("*.npy")}
    monkeypatch.setattr(archive, "published", lambda: known)
    return folder


@pytest.mark.parametrize("packed", [False, True])
def test_arrays_are_read_back(tmp_path: Path, packed: bool) -> None:
    folder = write(tmp_path / "set")
    opened = archive.open_archive(pack(folder) if packed else folder)
    assert (opened.layout, opened.verified, opened.corruptions) == ("npy", True, ("fog", "contrast"))
    for severity in (1, 4):
        images, labels = opened.load("fog", severity)
        assert isinstance(images, np.memmap)
        assert (images == corrupt(IMAGES, "fog", severity, seed=1, stream="s")).all()
        assert (labels == LABELS).all()
        some, few = opened.load("fog", severity, [7, 2])
        assert (some == images[[7, 2]]).all()
        assert few.tolist() == [1, 2]
    opened.check()
    with pytest.raises(UserError, match="did you mean 'fog'"):
        opened.load("fogg", 1)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("grouped", [False, True])
def test_trees_are_read_back(tmp_path: Path, packed: bool, grouped: bool) -> None:
    folder = write(tmp_path / "set", layout="tree")
    if grouped:
        for name, group in (("fog", "weather"), ("contrast", "digital")):
            (folder / group).mkdir()
            shutil.move(folder / name, folder / group / name)
    opened = archive.open_archive(pack(folder, "ImageNet-C") if packed else folder)
    assert (opened.layout, opened.classes) == ("tree", ("a_b_c", "cat", "dog"))
    images, labels = opened.load("fog", 5)
    assert images.shape == IMAGES.shape
    assert labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    wanted = corrupt(IMAGES, "fog", 5, seed=1, stream="s")[LABELS == 0].astype(int)
    assert np.abs(images[labels == 1].astype(int) - wanted).mean() < 8  # JPEG of quality 85
    only, numbers = opened.load("fog", 5, classes=("dog",))
    assert (only == images[labels == 2]).all()
    assert numbers.tolist() == [0] * 4
    opened.check()


def test_the_folders_of_several_tars_are_one_archive(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", layout="tree")
    (tmp_path / "tars").mkdir()
    for name in ("fog", "contrast"):
        with tarfile.open(tmp_path / "tars" / f"{name}.tar", "w") as file:
            file.add(folder / name, name)
    opened = archive.open_archive(tmp_path / "tars")
    assert opened.corruptions == ("fog", "contrast")
    assert not opened.verified
    assert opened.load("contrast", 2)[0].shape == IMAGES.shape
    with pytest.raises(UserError, match="no hashes are known"):
        opened.check()


def test_the_published_set_is_known_by_its_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = archive.open_archive(pack(like_cifar(tmp_path / "any", monkeypatch)))
    assert (opened.name, opened.verified) == ("CIFAR-10-C", True)
    opened.check()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "fog.npy").write_bytes((f / "fog.npy").read_bytes()[:-100]), "damaged"),
        (lambda f: np.save(f / "fog.npy", np.load(f / "fog.npy")[::-1]), "damaged or reordered"),
        (lambda f: np.save(f / "labels.npy", np.sort(np.load(f / "labels.npy"))), "labels"),
        (lambda f: np.save(f / "labels.npy", np.load(f / "labels.npy")[:-1]), "labels"),
        (lambda f: (f / "labels.npy").unlink(), "lacks labels.npy"),
    ],
)
@pytest.mark.parametrize("published", [False, True])
def test_damaged_arrays_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Any, message: str, published: bool
) -> None:
    folder = tmp_path / "CIFAR-10-C"
    like_cifar(folder, monkeypatch) if published else write(folder)
    damage(folder)
    with pytest.raises(UserError, match=message) as error:
        archive.open_archive(folder).load("fog", 5)
    assert "\n" not in str(error.value)


def test_a_cut_off_file_without_hashes_is_told(tmp_path: Path) -> None:
    folder = write(tmp_path / "set")
    (folder / archive.MANIFEST).unlink()
    whole = (folder / "fog.npy").read_bytes()
    (folder / "fog.npy").write_bytes(whole[:-1])
    with pytest.raises(UserError, match="is cut off"):
        archive.open_archive(folder).load("fog", 1)
    np.save(folder / "fog.npy", np.zeros((59, 16, 16, 3), np.uint8))
    with pytest.raises(UserError, match="holds 59 images, not 5 x 12"):
        archive.open_archive(folder).load("fog", 1)
    np.save(folder / "fog.npy", np.zeros((60, 16, 16, 3)))
    with pytest.raises(UserError, match="float64"):
        archive.open_archive(folder).load("fog", 1)
    (folder / "fog.npy").write_bytes(b"no array")
    with pytest.raises(UserError, match=r"not a \.npy file"):
        archive.open_archive(folder).load("fog", 1)


def test_a_cut_off_tar_is_told(tmp_path: Path) -> None:
    tar = pack(write(tmp_path / "set"))
    tar.write_bytes(tar.read_bytes()[: tar.stat().st_size // 2])
    with pytest.raises(UserError, match="cut off"):
        archive.open_archive(tar)
    tar.write_bytes(b"no archive at all")
    with pytest.raises(UserError, match=r"not a readable \.tar"):
        archive.open_archive(tar)


def test_an_incomplete_tree_is_told(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", layout="tree")
    (folder / archive.MANIFEST).unlink()
    shutil.rmtree(folder / "fog" / "4")
    with pytest.raises(UserError, match="lacks fog/4"):
        archive.open_archive(folder)
    with pytest.raises(UserError, match="holds no corruption benchmark"):
        archive.open_archive(folder / "fog" / "3")
    with pytest.raises(UserError, match="no folder or file"):
        archive.open_archive(tmp_path / "nowhere")


def test_a_tree_with_a_bad_image_is_told(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", layout="tree")
    file = next((folder / "fog" / "2").glob("cat/*"))
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(UserError, match="damaged or reordered"):
        archive.open_archive(folder).load("fog", 2)
    (folder / archive.MANIFEST).unlink()
    with pytest.raises(UserError, match=r"is damaged.*get it again"):
        archive.open_archive(folder).load("fog", 2)


def test_surplus_classes_of_one_corruption_are_left_out(tmp_path: Path) -> None:
    # As in the first Tiny-ImageNet-C, whose frost has 1,000 classes where the others have 200.
    folder = write(tmp_path / "set", layout="tree", names=["frost", "contrast"])
    (folder / archive.MANIFEST).unlink()
    for severity in range(1, 6):
        place = folder / "frost" / str(severity) / "zebra"
        place.mkdir()
        Image.fromarray(IMAGES[0]).save(place / "1.JPEG")
    opened = archive.open_archive(folder)
    assert opened.classes == ("a_b_c", "cat", "dog")
    assert len(opened.load("frost", 1)[0]) == 12


def test_writing_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = write(tmp_path / "whole")
    calls: list[str] = []

    def stop(done: int, total: int, what: str) -> None:
        if what == "contrast":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "part", progress=stop)
    assert (tmp_path / "part" / "fog.npy").is_file()
    assert not (tmp_path / "part" / "contrast.npy").exists()
    real = generate.corrupt
    monkeypatch.setattr(generate, "corrupt", lambda i, name, *a, **k: calls.append(name) or real(i, name, *a, **k))
    write(tmp_path / "part")
    assert set(calls) == {"contrast"}
    for file in ("fog.npy", "contrast.npy", "labels.npy", archive.MANIFEST):
        assert (tmp_path / "part" / file).read_bytes() == (whole / file).read_bytes()
    with pytest.raises(UserError, match="begun with another seed"):
        write(tmp_path / "part", seed=2)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("")
    with pytest.raises(UserError, match="is not empty"):
        write(tmp_path / "other")


@pytest.mark.slow
def test_writing_takes_less_than_500_megabytes(tmp_path: Path) -> None:
    code = (
        "import numpy as np, resource, sys; from lcrbench.corruptions import generate; "
        "images = np.random.default_rng(0).integers(0, 256, (10_000, 32, 32, 3), np.uint8); "
        "generate.write(sys.argv[1], images, np.arange(10_000) % 10, ['zoom_blur', 'frost', 'spatter', 'fog'], threads=2); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    answer = subprocess.run([sys.executable, "-c", code, str(tmp_path / "set")], capture_output=True, check=True)
    assert int(answer.stdout) < 500 * 1024


def test_progress_counts_every_image(tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    write(tmp_path / "set", progress=lambda *step: seen.append(step))
    assert seen[-1][:2] == (2 * 5 * 12, 2 * 5 * 12)
    assert [step[0] for step in seen] == sorted(step[0] for step in seen)


def test_a_download_is_compared_with_its_md5(tmp_path: Path) -> None:
    file = tmp_path / "blur.tar"
    file.write_bytes(b"something else")
    with pytest.raises(UserError, match="not the published ImageNet-C"):
        archive.check_download(file)
    with pytest.raises(UserError, match="no file"):
        archive.check_download(tmp_path / "noise.tar")
    other = tmp_path / "blurr.tar"
    other.write_bytes(b"")
    with pytest.raises(UserError, match=r"did you mean 'blur.tar'"):
        archive.check_download(other)


def renumbered(folder: Path, names: tuple[str, ...]) -> Path:
    """Call the folders of the severities as C-bar's script does."""
    for name in names:
        for severity, called in enumerate(("0.80", "1.60", "2.35", "9.15", "10.00"), 1):
            (folder / name / str(severity)).rename(folder / name / called)
    (folder / archive.MANIFEST).unlink()
    return folder


@pytest.mark.parametrize("form", ["folder", "tar", "below two more folders"])
def test_severities_that_are_called_otherwise_count_in_their_order(tmp_path: Path, form: str) -> None:
    plain = write(tmp_path / "plain", layout="tree", names=["sparkles", "fog"])
    folder = renumbered(write(tmp_path / "bar", layout="tree", names=["sparkles", "fog"]), ("sparkles",))
    place = folder
    if form == "tar":
        place = pack(folder, "ImageNet-C-Bar")
    elif form == "below two more folders":
        place = tmp_path / "outer"
        (place / "ImageNet-C-Bar").mkdir(parents=True)
        folder.rename(place / "ImageNet-C-Bar" / "extracted")
    opened = archive.open_archive(place)
    assert opened.corruptions == ("fog", "sparkles")
    assert not opened.verified
    wanted = archive.open_archive(plain)
    for name in ("sparkles", "fog"):
        for severity in range(1, 6):
            assert np.array_equal(opened.load(name, severity)[0], wanted.load(name, severity)[0])


def test_severities_that_are_not_five_are_refused(tmp_path: Path) -> None:
    folder = renumbered(write(tmp_path / "bar", layout="tree", names=["sparkles"]), ("sparkles",))
    shutil.rmtree(folder / "sparkles" / "2.35")
    with pytest.raises(UserError, match=r"severities 0\.80, 1\.60, 9\.15, 10\.00: five are needed") as error:
        archive.open_archive(folder)
    assert "\n" not in str(error.value)


def test_the_names_of_3dcc_are_known(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", layout="tree", names=["fog"])
    (folder / archive.MANIFEST).unlink()
    (folder / "fog").rename(folder / "xy_motion_blur")
    assert archive.open_archive(folder).corruptions == ("xy_motion_blur",)


def test_arrays_in_one_more_folder(tmp_path: Path) -> None:
    folder = write(tmp_path / "outer" / "CIFAR-10-C")
    opened = archive.open_archive(tmp_path / "outer")
    assert np.array_equal(opened.load("fog", 2)[0], archive.open_archive(folder).load("fog", 2)[0])


def test_a_compressed_archive_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", layout="tree", names=["fog"])
    with tarfile.open(tmp_path / "fog.tar.gz", "w:gz") as file:
        file.add(folder / "fog", "fog")
    (tmp_path / "only").mkdir()
    shutil.copy(tmp_path / "fog.tar.gz", tmp_path / "only" / "fog.tar.gz")
    for place in (tmp_path / "fog.tar.gz", tmp_path / "only"):
        with pytest.raises(UserError, match=r"is compressed.*tar -xzf fog\.tar\.gz") as error:
            archive.open_archive(place)
        assert "\n" not in str(error.value)


def test_a_file_is_hashed_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "SETTLED_NS", -(10**18))  # the time stamps of this test are never too fresh
    monkeypatch.setattr(digests, "WORTH", 1)
    read: list[str] = []
    digest = Member.digest
    monkeypatch.setattr(
        Member, "digest", lambda self, algorithm: read.append(self.path.name) or digest(self, algorithm)
    )
    file = tmp_path / "noise.tar"
    file.write_bytes(b"a" * 100)
    member = whole(file)
    wanted = hashlib.md5(b"a" * 100).hexdigest()
    assert [digests.of(member, "md5") for _ in range(3)] == [wanted] * 3
    assert read == ["noise.tar"]
    assert digests.of(member, "sha256") == hashlib.sha256(b"a" * 100).hexdigest()
    with digests.anew():
        assert digests.of(member, "md5") == wanted
    assert len(read) == 3
    file.write_bytes(b"b" * 100)  # as large as before
    assert digests.of(whole(file), "md5") == hashlib.md5(b"b" * 100).hexdigest()
    # What is kept is a hash or nothing, and a folder that cannot be written is none.
    for kept in (tmp_path / "cache").rglob("digests/*"):
        kept.write_text("rubbish")
    assert digests.of(whole(file), "md5") == hashlib.md5(b"b" * 100).hexdigest()
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))
    assert digests.of(whole(file), "md5") == hashlib.md5(b"b" * 100).hexdigest()


def test_a_fresh_file_is_not_trusted_by_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "WORTH", 1)
    file = tmp_path / "noise.tar"
    file.write_bytes(b"a" * 100)
    digests.of(whole(file), "md5")
    assert not list((tmp_path / "cache").rglob("digests/*"))


@pytest.mark.parametrize("classes", [("1", "10", "2"), ("T-shirt/top", "a b", "B"), (".x", "y", "__MACOSX")])
def test_a_tree_is_read_back_as_it_was_made_of(tmp_path: Path, classes: tuple[str, ...]) -> None:
    """Its classes have the numbers of the data set, its images the order, and strays count for nothing."""
    images = np.broadcast_to((np.arange(9, dtype=np.uint8) * 28)[:, None, None, None], (9, 16, 16, 3)).copy()
    labels = np.array([2, 0, 1, 1, 0, 2, 0, 1, 2])
    data = {"classes": list(classes)}
    generate.write(tmp_path / "c", images, labels, ["brightness"], layout="tree", classes=classes, data=data)
    folder = next((tmp_path / "c" / "brightness" / "1").iterdir())
    for stray in (".DS_Store", "Thumbs.db", "._00000000.JPEG"):
        (folder / stray).write_bytes(b"\0")
    for severity in "12345":
        (tmp_path / "c" / "brightness" / severity / ".cache").mkdir()
    opened = archive.open_archive(tmp_path / "c")
    assert opened.classes == classes
    opened.check()
    for severity in (1, 5):
        found, numbers = opened.load("brightness", severity)
        assert numbers.tolist() == labels.tolist()
        assert np.array_equal(opened.labels_of("brightness", severity), labels)
        far = np.abs(found.astype(float) - corrupt(images, "brightness", severity)).mean(axis=(1, 2, 3))
        assert far.max() < 3, "each image is the one of its number"
    assert len(opened.passed_over) == 3
