"""`show data`, `doctor --data`, and what a run tells and records of the files that it did not read."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from layouts import Cifar, ImageNet, jpeg, png, write
from test_sources import settle

from lcrbench.bench.data import about, disk_cache, loading
from lcrbench.bench.planning import check_data
from lcrbench.errors import UserError

WNIDS = ["n01440764", "n01443537", "n02123045"]


def test_what_is_told(tmp_path: Path) -> None:
    root = ImageNet(WNIDS).folders(tmp_path / "set")
    write(root / "train" / WNIDS[0] / "a.jfif", b"x")
    found = about.about(str(root), 16)
    text = "\n".join(found.lines())
    for words in (
        "kind: class_folders",
        "6 training and 3 test images, as 16 x 16 px",
        "classes: n01440764, n01443537, n02123045",
        "3 classes of the label space imagenet1k; images of a class: 2 to train, 1 to test",
        f"sha256: {found.facts['sha256']}",
        "no hashes are known",
        "1 file passed over: 1 images ending in .jfif",
        "memory",
        "on disk",
    ):
        assert words in text, text


def test_a_second_look_reads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = ImageNet(WNIDS).folders(tmp_path / "set")
    settle(root)
    first = about.about(str(root), 8)
    with monkeypatch.context() as patched:
        patched.setattr(about, "_load", None)
        again = about.about(str(root), 8)
        assert list(again.lines()) == list(first.lines())
    write(root / "train" / WNIDS[0] / "new.JPEG", jpeg(3))
    assert about.about(str(root), 8).facts["train"] == [3, 2, 2]


def test_a_test_set_is_shown_too(tmp_path: Path) -> None:
    np.save(tmp_path / "cifar10.1_v6_data.npy", np.zeros((10, 32, 32, 3), np.uint8))
    np.save(tmp_path / "cifar10.1_v6_labels.npy", np.arange(10, dtype=np.int32))
    text = "\n".join(about.about(str(tmp_path), 32).lines())
    assert "10 test images and none to train on" in text
    assert "not the published bytes" in text


def test_doctor_reads_everything_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_cache, "WORTH", 1)
    made = ImageNet(WNIDS)
    root = made.folders(tmp_path / "set")
    write(root / "val" / WNIDS[0] / "copy.JPEG", made.train[WNIDS[0], f"{WNIDS[0]}_3.JPEG"])
    settle(root)
    told = {what: good for good, what in about.checks(str(root), 8)}
    assert all(told.values())
    assert any("1 test image is in the training images too" in what for what in told)
    # Other bytes with the old size and time: the cache cannot tell, and this does.
    file = root / "train" / WNIDS[0] / f"{WNIDS[0]}_3.JPEG"
    status = file.stat()
    other = made.train[WNIDS[1], f"{WNIDS[1]}_3.JPEG"]
    content = other[: status.st_size].ljust(status.st_size, b"\0")
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert not all(good for good, _ in about.checks(str(root), 8))
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(UserError, match="damaged"):
        list(about.checks(str(root), 8))


@pytest.mark.parametrize("stream", [False, True])
def test_doctor_and_a_run_refuse_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: bool) -> None:
    """What teaches nothing, or tells nothing, by its own cause; each image that lies in both halves is counted."""
    if stream:
        monkeypatch.setattr(loading, "too_large", lambda *_: True)
    rng = np.random.default_rng(0)
    noise = [png(rng.integers(0, 256, (16, 16, 3), np.uint8)) for _ in range(8)]
    flat = png(np.full((16, 16, 3), 90, np.uint8))
    for name, train, test, said in (
        ("good", noise, noise[::-1], ""),
        ("flat", [flat] * 8, noise, "one value in all channels"),
        ("equal", noise[:1] * 8, noise, "all 8 training images are equal"),
        ("shown", noise, noise[:1] * 8, "all 8 test images are equal"),
    ):
        for half, contents in (("train", train), ("test", test)):
            for k, content in enumerate(contents):
                write(tmp_path / name / half / "ab"[k % 2] / f"{k}.png", content)
        found = list(about.checks(str(tmp_path / name), 16))
        bad = [what for good, what in found if not good]
        assert len(bad) == bool(said)
        dataset = loading.load(tmp_path / name, size=16)
        assert dataset.hash_kind == ("manifest" if stream else "pixels")
        if not said:
            check_data(dataset)
            assert (True, "8 test images are in the training images too: accuracy on them says nothing") in found
            continue
        assert said in bad[0]
        with pytest.raises(UserError, match=said):
            check_data(dataset)


def test_doctor_of_published_files(tmp_path: Path) -> None:
    lines = [what for _, what in about.checks(str(Cifar().python(tmp_path)), 32)]
    assert any("not the published bytes" in line for line in lines)


@pytest.mark.slow
def test_fifty_thousand_files(tmp_path: Path) -> None:
    """50,000 files of 2 kB: ten seconds the first time, one after; of CPU time, since others use this machine too."""
    if os.getloadavg()[0] > (os.cpu_count() or 1):
        pytest.skip("others use this machine: a processor shared by two threads counts seconds that are too long")
    content = [jpeg(k, 40, 32) for k in range(50)]
    for half, each in (("train", 4000), ("test", 1000)):
        for label in range(10):
            folder = tmp_path / "set" / half / f"class {label}"
            folder.mkdir(parents=True)
            for k in range(each):
                (folder / f"{k}.jpg").write_bytes(content[(k + label) % 50])
    settle(tmp_path / "set")
    times = []
    for _ in range(2):
        start = time.process_time()
        found = about.about(str(tmp_path / "set"), 32)
        times.append(time.process_time() - start)
        assert sum(found.facts["train"]) == 40_000
    assert times[0] < 10
    assert times[1] < 1
