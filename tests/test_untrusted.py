"""What comes from elsewhere is bounded at every door, and our own mistakes are told with a report."""

from __future__ import annotations

import bz2
import contextlib
import hashlib
import io
import os
import pickle
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import lcrbench
from lcrbench import corruptions, kernels, untrusted
from lcrbench.bench import cli, data
from lcrbench.bench.cli import _doors
from lcrbench.bench.records.grid import Grid, make_grid
from lcrbench.corruptions import kernel
from lcrbench.errors import UserError
from lcrbench.images import decode
from lcrbench.reports import spreadsheet

# -------------------------------------------------------------------------------------------------------------- parsing


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 5000 + "]" * 5000, "x = " + "9" * 4000, "x = " + "9" * 5000, "a" + ".a" * 100_000 + " = 1",
        "a" + ' . "a"' * 50_000 + " = 1", "[" + "a." * 100_000 + "a]", "x = {" + "y = {" * 5000, "\ufeffx = [", "x",
        "x = " + "[" * 100 + "]" * 100,
    ],
    ids=range(10),
)  # fmt: skip
def test_toml_out_of_bounds_is_refused_at_once(text: str) -> None:
    began = time.monotonic()
    with pytest.raises(UserError, match=r"^the spec (is|holds)"):
        untrusted.toml_of(text.encode(), "the spec")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 100_000, "9" * 4000, "9" * 5000, "NaN", "-Infinity", '{"a": 1, "a": 2}', "", "[1,]"],
)
def test_json_out_of_bounds_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"^it (is|holds)"):
        untrusted.json_of(text.encode(), "it")


def test_a_byte_order_mark_is_read_over() -> None:
    assert untrusted.toml_of(b"\xef\xbb\xbfx = 1", "it") == {"x": 1}
    assert untrusted.json_of(b'\xef\xbb\xbf{"x": 1}', "it") == {"x": 1}


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.text(max_size=40))
def test_whatever_is_read_is_read_or_refused(content: bytes, text: str) -> None:
    for read in (untrusted.toml_of, untrusted.json_of):
        for one in (content, text.encode("utf-8", "surrogatepass")):
            with contextlib.suppress(UserError):
                read(one, "it")
    assert untrusted.shown(text).isprintable()


def test_only_small_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(bytes(11))
    for path in (tmp_path / "pipe", tmp_path / "large", tmp_path, "/dev/zero", tmp_path / "none", "a\0b"):
        with pytest.raises(UserError, match="cannot read the file"):
            untrusted.small_file(path, largest=10)


# -------------------------------------------------------------------------------------------------------------- numbers

NOT_WHOLE: list[Any] = [True, "0", 0.0, 10**30, None, np.float64(1), np.bool_(True), [0]]


@pytest.mark.parametrize("value", NOT_WHOLE, ids=repr)
def test_no_door_takes_for_a_whole_number_what_is_none(value: Any) -> None:
    """Spec files, Python's models, and the public functions refuse the same."""
    with pytest.raises(UserError, match="whole number"):
        untrusted.whole(value, "it")
    for tables in ({"seeds": [value]}, {"evaluation": {"severities": [value]}}, {"data": {"size": value}}):
        with pytest.raises(UserError):
            make_grid(tables)
        with pytest.raises(ValueError):
            Grid(**tables)
    for name in ("size", "train", "test") if value is not None else ("size",):
        with pytest.raises(UserError):
            lcrbench.load_data(**{name: value})
    for name in ("classes", "size", "seed"):
        with pytest.raises(UserError):
            lcrbench.build_model("irnet", **{name: value})
    with pytest.raises(UserError):
        corruptions.corrupt(np.zeros((1, 8, 8, 3), np.uint8), "contrast", value)
    with pytest.raises(UserError):
        corruptions.corrupt(np.zeros((1, 8, 8, 3), np.uint8), "contrast", 1, seed=value)
    with pytest.raises(UserError):
        corruptions.corrupt(np.zeros((1, 8, 8, 3), np.uint8), "contrast", 1, threads=value)
    with pytest.raises(UserError):
        lcrbench.evaluate(None, corruptions="", severities=[value])  # type: ignore[arg-type]
    for name in ("size", "test", "seed", "block") if value is not None else ("seed", "block"):
        with pytest.raises(UserError, match="whole number"):
            lcrbench.evaluate(lambda x: x, corruptions="", **{name: value})


def test_whole_numbers_of_all_kinds_are_taken() -> None:
    assert make_grid({"seeds": [np.int64(3), 4]}).seeds == (3, 4)


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["lcrbench", *words])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0), capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("run quick --save-every nan", "finite"),
        ("run quick --lr inf", "finite"),
        ("run quick --plan --device nothing", "no device 'nothing'"),
        ("run quick --seeds 0 --seeds 1", "--seeds is given twice"),
        ("check a --against b --margin 1 --margin 2", "--margin is given twice"),
        ("reference update a --out b --reason c --reason d", "--reason is given twice"),
        (f"corrupt --seed {'9' * 30} --out x", "64 bits"),
        (f"corrupt --seed {'9' * 5000} --out x", "digits"),
        ("run quick --set evaluation.block=1000000000000", "evaluation.block"),
        ("run quick --data ~nosuchuser/x", "~nosuchuser"),
        ("run quick --store ~nosuchuser/x", "~nosuchuser"),
        ("report --out=~nosuchuser/x", "~nosuchuser"),
    ],
)
def test_no_option_takes_what_makes_no_sense(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, said: str
) -> None:
    code, err = run(monkeypatch, capsys, *words.split())
    assert code == 2
    assert said in err
    assert err.count("\n") == 1


def test_a_present_folder_that_was_deleted_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for words in ("list run --store /nowhere", "evaluate a.b:c", "run quick --plan"):
        code, err = run(monkeypatch, capsys, *words.split())
        assert (code, err.count("\n")) == (2, 1)
        assert "the present folder cannot be used" in err


def test_a_home_is_found_where_the_shell_leaves_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """--out=~/x and store="~/x" are the home folder, and no folder of that name is made."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert untrusted.place("~/x") == tmp_path / "x"
    assert lcrbench.Store("~/x", create=True).root == tmp_path / "x"
    for command in ("run", "report", "tune", "lipschitz", "corrupt", "check"):
        found = cli.app.get_command(click.Context(cli.app), command)
        assert found is not None
        for param in found.params:
            if param.name in ("out", "store", "sheet", "candidate", "against", "junit", "json_", "markdown"):
                assert isinstance(param.type, _doors.Place), f"{command} {param.name}"
    assert not Path("~").exists()


def test_a_mistake_of_ours_is_one_line_with_a_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for error in (ZeroDivisionError("one\ntwo"), EOFError(), RecursionError("deep"), MemoryError()):

        def fail(*_: Any, error: BaseException = error, **__: Any) -> None:
            raise error

        monkeypatch.setattr("lcrbench.bench.cli._kinds.known", fail)
        code, err = run(monkeypatch, capsys, "list", "methods")
        assert code == 70
        assert err.strip().count("\n") == 0
        name = next(word for word in err.replace(",", " ").split() if word.endswith(".txt"))
        assert type(error).__name__ in Path(name).read_text()
        assert "in fail" in Path(name).read_text()


# ---------------------------------------------------------------------------------------------------------------- bombs


def jpeg(height: int, width: int, **how: Any) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, "JPEG", quality=85, **how)
    return out.getvalue()


def stated(content: bytes, height: int, width: int) -> bytes:
    """Return a JPEG whose header states another size."""
    out, at = bytearray(content), 2
    while out[at + 1] not in (0xC0, 0xC2):
        at += 2 + int.from_bytes(out[at + 2 : at + 4], "big")
    out[at + 5 : at + 9] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(out)


@pytest.mark.parametrize("how", [{}, {"progressive": True}, {"subsampling": 0}], ids=str)
@pytest.mark.parametrize(("height", "width"), [(65, 64), (72, 64), (64, 80), (128, 64), (2000, 2000), (60_000, 60_000)])
def test_a_jpeg_that_states_more_than_it_holds_is_refused(how: dict[str, Any], height: int, width: int) -> None:
    content = jpeg(64, 64, **how)
    assert decode(content, "it").shape == (64, 64, 3)
    with pytest.raises(UserError, match="it cannot be used"):
        decode(stated(content, height, width), "it")


@pytest.mark.parametrize("grey", [126, 127, 128, 129, 130])
def test_a_grey_jpeg_is_whole(grey: int) -> None:
    for mode in ("RGB", "L"):
        out = io.BytesIO()
        Image.new(mode, (40, 24), (grey,) * 3 if mode == "RGB" else grey).save(out, "JPEG")
        assert decode(out.getvalue(), "it").shape == (24, 40, 3)


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_a_png_bomb_is_refused_before_it_is_decoded(mode: str) -> None:
    out = io.BytesIO()
    Image.new(mode, (1, 1 << 21)).save(out, "PNG")
    with pytest.raises(UserError, match="it cannot be used"):
        decode(out.getvalue(), "it")


def test_zeros_behind_a_tar_are_not_read_to_their_end(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in ("train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/1.png"):
            picture = io.BytesIO()
            Image.new("RGB", (8, 8)).save(picture, "PNG")
            member = tarfile.TarInfo(name)
            member.size = len(picture.getvalue())
            tar.addfile(member, io.BytesIO(picture.getvalue()))
    path = tmp_path / "bomb.tar.bz2"
    path.write_bytes(bz2.compress(out.getvalue()) + bz2.compress(bytes(100 << 20)) * 20)
    began = time.monotonic()
    with pytest.raises(UserError, match="MiB of zeros"):
        data.load(path, size=8)
    assert time.monotonic() - began < 5


# ------------------------------------------------------------------------------------------------------------------ CSV

FORMULAS = [
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    " =1",
    "\xa0=1",
    "\ufeff=1",
    "\u200b+1",
    "\uff1d1",
    "|calc",
    "%0A=1",
    "-1 +cmd|' /C calc'!A0",
    "+1 =1",
    "-1 @SUM(A1)",
    "-",
    "-0.5 s",
    "x",
    "1e-3",
]


def test_no_cell_is_a_formula() -> None:
    table = pd.DataFrame({"=title": FORMULAS, "n": [-1.5] * len(FORMULAS)})
    lines = spreadsheet.text(table).splitlines()
    assert len(lines) == len(FORMULAS) + 1, "one line a row"
    for line, formula in zip(lines[1:], FORMULAS, strict=True):
        first = line.strip('"')[0]
        assert first not in "=+@\t\r\n|% \xa0\ufeff\u200b\uff1d\\", line
        assert first != "-" or formula in ("-", "-0.5 s"), line
        assert line.endswith(",-1.5"), "numbers stay numbers"
    assert lines[0].startswith("'=title")


def test_every_csv_of_a_report_is_written_so() -> None:
    root = Path(__file__).resolve().parents[1] / "reports"
    found = [f for f in root.rglob("*.py") if ".to_csv(" in f.read_text(encoding="utf-8")]
    assert {f.name for f in found} <= {"spreadsheet.py", "conformance.py"}


# -------------------------------------------------------------------------------------------------------------- kernels


def made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(kernels, "cache_folder", lambda package: str(folder))

    @kernel.kernel
    def add(x, n):  # type: ignore[no-untyped-def]
        for i in range(x.size):
            x[i] += n

    return add


def changed(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def sealed(body: bytes) -> bytes:
    return hashlib.sha256(body).digest() + body


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut": lambda content: content[:-7],
    "one byte": lambda content: content[:1],
    "flipped": lambda content: changed(content, len(content) // 2),
    "hash": lambda content: changed(content, 0),
    "no pickle": lambda content: sealed(b"abc"),
    "another pickle": lambda content: sealed(pickle.dumps([1])),
}


def test_a_damaged_kernel_is_compiled_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def works() -> Any:
        add, x = made(tmp_path, monkeypatch), np.arange(5.0)
        add(x, 2)
        assert x.tolist() == [2, 3, 4, 5, 6]
        return add

    works()
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    again = works()
    assert sum(again._cache_hits.values()) == 1, "a whole file is read"
    for name, damage in DAMAGES.items():
        file.write_bytes(damage(whole))
        assert sum(works()._cache_hits.values()) == 0, name
        assert sum(works()._cache_hits.values()) == 1, f"{name}: it is written again"
    file.unlink()
    file.mkdir()
    works()


def test_a_disk_that_takes_no_kernel_is_no_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add = made(tmp_path, monkeypatch)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    x = np.zeros(2)
    add(x, 1)
    assert x.tolist() == [1, 1]
    assert list(tmp_path.iterdir()) == []


def test_kernels_are_kept_where_only_this_user_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels.config, "CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    kernels.cache_folder.cache_clear()
    try:
        found = Path(kernel.cache_folder())
        assert found.is_relative_to(tmp_path / "lcrbench")
        found.chmod(0o777)
        kernels.cache_folder.cache_clear()
        assert Path(kernel.cache_folder()).is_relative_to(tmp_path / "home"), "not where others may write"
        other = kernel.cache_folder()
        assert kernels.clear() == [str(found), other]
        assert not found.exists()
        for name in ("XDG_CACHE_HOME", "HOME"):
            monkeypatch.setenv(name, "/proc/nowhere")
        kernels.cache_folder.cache_clear()
        assert kernel.cache_folder() == ""
    finally:
        kernels.cache_folder.cache_clear()


# ------------------------------------------------------------------------------------------------------ degenerate data


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x, y: (np.full_like(x, 7), y), "have one value in all channels"),
        (lambda x, y: (x * np.array([1, 0, 1], np.uint8), y), "have one value in channel 1"),
        (lambda x, y: (np.repeat(x[:1], len(x), 0), y), "all 6 training images are equal"),
        (lambda x, y: (x, np.zeros_like(y)), "all training images are of one class, 'a'"),
        (lambda x, y: (x, np.ones_like(y)), "all training images are of one class, 'b'"),
        (lambda x, y: (x[:1], y[:1]), "all training images are of one class, 'a'"),
        (lambda x, y: (x[:0], y[:0]), "all training images are of one class|no training images"),
    ],
    ids=["constant", "a channel", "equal", "one-sided", "the other side", "one image", "none"],
)
def test_degenerate_data_fail_with_their_own_cause(change: Any, said: str) -> None:
    from lcrbench.bench.planning import check_data

    rng = np.random.default_rng(0)
    images, labels = change(rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8), np.array([0, 1, 0, 1, 0, 1]))
    split = data.Split(images, labels)
    with pytest.raises(UserError, match=said):
        check_data(data.Dataset("mine", ("a", "b"), split, split))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x, y: (np.zeros_like(x), y), "all 6 test images are equal"),
        (lambda x, y: (np.repeat(x[:1], len(x), 0), y), "all 6 test images are equal"),
        (lambda x, y: (x, np.ones_like(y)), "all test images are of one class, 'b'"),
        (lambda x, y: (x[:1], y[:1]), "all test images are of one class, 'a'"),
    ],
    ids=["constant", "equal", "one-sided", "one image"],
)
def test_degenerate_test_images_fail_with_their_own_cause(change: Any, said: str) -> None:
    from lcrbench.bench.planning import check_data

    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8), np.array([0, 1, 0, 1, 0, 1])
    train, test = data.Split(images, labels), data.Split(*change(images, labels))
    with pytest.raises(UserError, match=said):
        check_data(data.Dataset("mine", ("a", "b"), train, test))
