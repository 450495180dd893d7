"""What one door refuses no other takes: options, spec files and public functions check a value by one function each."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lcrbench
import lcrbench.torch
from lcrbench import corruptions, untrusted
from lcrbench.bench import cli
from lcrbench.bench.records.store import Store
from lcrbench.corruptions import archive, generate, sheet
from lcrbench.errors import UserError

IMAGES = np.zeros((2, 8, 8, 3), np.uint8)
LABELS = np.array([0, 1])


class Net(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(2, 3)) @ torch.ones(3, 10)


def evaluated(**given: Any) -> Any:
    return lcrbench.evaluate(Net(), **({"corruptions": "", "metrics": "accuracy", "test": 20, "checks": False} | given))


def ran(**given: Any) -> Any:
    return lcrbench.run(**({"grid": "quick", "store": "store", "methods": ["bnn"], "quiet": True} | given))


def written(**given: Any) -> Any:
    return generate.write(**({"out": "c", "images": IMAGES, "labels": LABELS, "names": ["contrast"]} | given))


def refused(call: Callable[[], Any]) -> str:
    """Return in which words a call is refused, which are on one line."""
    with pytest.raises(UserError) as error:
        call()
    said = str(error.value)
    assert said
    assert said.isprintable(), ascii(said)
    return said


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


NO_PLACES: list[Any] = [None, 5, "", b"x", ["x"], float("nan"), "~nosuchuser/x", "a\0b"]


@pytest.mark.parametrize("value", NO_PLACES, ids=repr)
def test_no_function_takes_for_a_place_what_is_none(value: Any) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: untrusted.place(value),
        lambda: Store(value),
        lambda: Store(value, create=True),
        lambda: lcrbench.report(value),
        lambda: lcrbench.check(value, "x"),
        lambda: lcrbench.check("x", value),
        lambda: lcrbench.load_model(value, "x"),
        lambda: lcrbench.load_packed(value),
        lambda: archive.open_archive(value),
        lambda: archive.check_download(value),
        lambda: sheet.read(value),
        lambda: sheet.save(value, IMAGES[0]),
        lambda: written(out=value),
        lambda: ran(store=value),
        lambda: lcrbench.load_data(value),
    ]
    calls += [lambda: evaluated(store=value)] if value is not None else []
    calls += [lambda: corruptions.corrupt(IMAGES, "frost", 1, pictures=value)] if value is not None else []
    for call in calls:
        refused(call)
    assert list(Path().iterdir()) == []


def test_a_home_is_found_by_every_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    written(out="~/c")
    assert archive.open_archive("~/c").corruptions == ("contrast",)
    sheet.save("~/s.png", IMAGES[0])
    assert sheet.read("~/s.png").shape == IMAGES[0].shape
    assert {p.name for p in (tmp_path / "home").iterdir()} == {"c", "s.png"}
    for call in (lambda: lcrbench.load_packed("~/n"), lambda: lcrbench.check("x", "~/n")):
        assert str(tmp_path / "home" / "n") in refused(call)
    assert not Path("~").exists()


NO_NAMES: list[Any] = [None, 5, True, ["bnn"], np.bool_(True), float("nan"), {}]


@pytest.mark.parametrize("value", NO_NAMES, ids=repr)
def test_no_function_takes_for_a_name_what_is_none(value: Any) -> None:
    Store("store", create=True)
    calls: list[Callable[[], Any]] = [
        lambda: corruptions.corrupt(IMAGES, value, 1),
        lambda: corruptions.corrupt(IMAGES, "contrast", 1, stream=value),
        lambda: lcrbench.torch.Corrupt(value, 1),
        lambda: lcrbench.build_model(value),
        lambda: lcrbench.build_model("bnn", value),
        lambda: lcrbench.load_model("store", value),
        lambda: Store("store").find(value),
        lambda: evaluated(name=value),
        lambda: evaluated(order=value),
        lambda: evaluated(device=value),
        lambda: evaluated(stale=value),
        lambda: evaluated(engine=value),
        lambda: evaluated(takes=value),
        lambda: ran(grid=value),
        lambda: ran(device=value),
        lambda: ran(stale=value),
        lambda: ran(engine=value),
        lambda: ran(methods=[value]),
        lambda: lcrbench.lipschitz(Net(), effort=value),
        lambda: written(names=[value]),
        lambda: written(layout=value),
    ]
    for call in calls:
        refused(call)


NO_FLAGS: list[Any] = [0, 1, "no", None, np.bool_(True), []]


@pytest.mark.parametrize("value", NO_FLAGS, ids=repr)
def test_no_function_takes_for_true_what_is_not(value: Any) -> None:
    if value is not None:
        refused(lambda: lcrbench.load_data(stream=value))
    for name in ("checks", "trust_plugins"):
        refused(lambda name=name: evaluated(**{name: value}))  # type: ignore[misc]
    for name in ("fresh", "quiet"):
        refused(lambda name=name: ran(**{name: value}))  # type: ignore[misc]


CALLS: dict[str, Callable[[], Any]] = {
    "a number of thousands of digits": lambda: corruptions.corrupt(IMAGES, "contrast", 10**5000),
    "an index beyond 64 bits": lambda: corruptions.corrupt(
        IMAGES, "contrast", 1, indices=np.array([2**63, 1], np.uint64)
    ),
    "threads without end": lambda: corruptions.corrupt(IMAGES, "contrast", 1, threads=10**9),
    "an angle in words": lambda: corruptions.corrupt(np.zeros((1, 32, 32, 3), np.uint8), "motion_blur", 1, angle="x"),
    "constants of nothing": lambda: corruptions.corrupt(IMAGES, "contrast", 1, constants=""),
    "classes without end": lambda: lcrbench.build_model("bnn", classes=10**9),
    "a side without end": lambda: lcrbench.build_model("bnn", size=10**6),
    "a mean that is none": lambda: lcrbench.build_model("bnn", mean=(float("nan"),) * 3),
    "one mean": lambda: lcrbench.build_model("bnn", mean=(0.5,)),
    "a deviation of 0": lambda: lcrbench.build_model("bnn", std=(0.0, 1.0, 1.0)),
    "deviations in words": lambda: lcrbench.build_model("bnn", std=("1", "1", "1")),  # type: ignore[arg-type]
    "a seed of thousands of digits": lambda: evaluated(seed=10**5000),
    "bins without end": lambda: evaluated(metrics={"calibration_error": {"bins": 10**12}}),
    "one severity": lambda: evaluated(severities=5),
    "severities in words": lambda: evaluated(severities="12"),
    "corruptions that are a number": lambda: evaluated(corruptions=5),
    "metrics that are a number": lambda: evaluated(metrics=5),
    "options that are a number": lambda: evaluated(metrics={"accuracy": 5}),
    "a preparation that is a number": lambda: evaluated(preprocess=5),
    "links that are a number": lambda: evaluated(links=5),
    "outputs of nothing": lambda: evaluated(outputs="x"),
    "a radius that is true": lambda: lcrbench.lipschitz(Net(), l2=[True]),
    "a radius in words": lambda: lcrbench.lipschitz(Net(), l2=["8"]),  # type: ignore[list-item]
    "one radius": lambda: lcrbench.lipschitz(Net(), l2=8),  # type: ignore[arg-type]
    "half an image": lambda: lcrbench.lipschitz(Net(), images=1.5),  # type: ignore[arg-type]
    "no workers": lambda: ran(workers=0),
    "true workers": lambda: ran(workers=True),
    "a budget that is a number": lambda: ran(budget=5),
    "a recipe that is a number": lambda: ran(recipe=5),
    "a margin that is true": lambda: lcrbench.check("x", "y", margin=True),
    "a margin of nothing": lambda: lcrbench.check("x", "y", margin=float("nan")),
    "block of a packed network": lambda: lcrbench.load_packed("x", block=10**12),
    "data that steer a terminal": lambda: lcrbench.load_data("a\x1b[2J"),
    "a resize of several": lambda: lcrbench.load_data(resize=np.array([1, 2])),  # type: ignore[arg-type]
    "a side of a sheet": lambda: sheet.read("x.png", -5),
}


@pytest.mark.parametrize("what", CALLS)
def test_no_function_takes_what_makes_no_sense(what: str) -> None:
    from PIL import Image

    Image.new("RGB", (20, 20)).save("x.png")
    refused(CALLS[what])


WORDS = {
    "corrupt --sheet s.png --corruptions contrast --image ²": "²",
    f"corrupt --sheet s.png --corruptions contrast --image {'9' * 5000}": "no test image",
    "corrupt --sheet s.png --corruptions contrast --image x.png --size -5": "size",
    "corrupt --sheet s.png --corruptions contrast --image x.png --size 99999999": "size",
    "corrupt --out c --corruptions contrast --threads 1000000000": "threads",
    "plot store curves --font nan": "finite",
    f"lipschitz x --seed {'9' * 30}": "64 bits",
    f"evaluate x --test {'9' * 30}": "64 bits",
    "evaluate x --out=": "empty",
    f"run quick --plan --methods bnn:x={'(' * 5000}": "bnn",
    f"run quick --plan --set data.size={'9' * 5000}": "data.size",
    f"run quick --plan --set recipe.lr={'[' * 5000}": "recipe.lr",
    f"run quick --plan --set {'a.' * 50_000}b=1": "--set",
    "run quick --plan --set [x]\n[y]\na=1": "--set",
    "run quick --plan --set [x]\n#=1": "--set",
    "tune quick --method bnn --option lr=1)+y:z=(2": "list of values",
    f"evaluate net.py:make?x={'-' * 5000}1 --store s": "net.py",
    "show preset latin.toml": "UTF-8",
    "show preset endless.toml": "more than",
}


@pytest.mark.parametrize("line", WORDS, ids=lambda line: line[:50])
def test_no_option_takes_what_makes_no_sense(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    Image.new("RGB", (20, 20)).save("x.png")
    Store("store", create=True)
    Path("latin.toml").write_bytes(b"# caf\xe9")
    with Path("endless.toml").open("wb") as file:
        file.truncate(1 << 40)
    monkeypatch.setattr(sys, "argv", ["lcrbench", *line.split(" ")])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    said = capsys.readouterr().err
    assert stop.value.code == 2, said[-300:]
    assert WORDS[line] in said, said[-300:]
    assert said.count("\n") == 1


def test_frost_pictures_that_are_pipes_are_refused() -> None:
    import os

    from lcrbench.corruptions.functions.frost import FILES

    Path("ice").mkdir()
    for name in FILES:
        os.mkfifo(f"ice/{name}")
    assert "missing" in refused(lambda: corruptions.corrupt(IMAGES, "frost", 1, pictures="ice"))
    for name in FILES:
        Path("ice", name).unlink()
        with Path("ice", name).open("wb") as file:
            file.truncate(1 << 40)
    assert "more than" in refused(lambda: corruptions.corrupt(IMAGES, "frost", 1, pictures="ice"))


@pytest.mark.parametrize(
    ("labels", "same", "said"),
    [([0] * 20, False, "all test images are of one class, '0'"), ([0, 1] * 10, True, "equal")],
)
def test_test_images_that_tell_nothing_are_refused_with_that_cause(labels: list[int], same: bool, said: str) -> None:
    """And not with advice on the order of classes: as data, by `doctor`, and as a test set."""
    from lcrbench.bench import doctor
    from lcrbench.bench.networks.foreign import Declared

    pixels = np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8)
    pixels = np.repeat(pixels[:1], 20, 0) if same else pixels
    for part in ("train", "t10k"):
        Path("odd").mkdir(exist_ok=True)
        Path(f"odd/{part}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 2051, 20, 8, 8) + pixels.tobytes())
        Path(f"odd/{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 2049, 20) + bytes(labels))
    assert said in refused(lambda: evaluated(data="odd", test=None))
    assert said in refused(lambda: evaluated(test_set="mine=odd", corruptions=None, test=None))
    (check,) = doctor.network_checks(Net(), Declared(), "odd", None, None)  # type: ignore[arg-type]
    assert not check.good
    assert said in check.what


@pytest.mark.parametrize("name", ["x" * 300, "x/" * 3000, "é" * 200], ids=["a name", "a path", "bytes"])
def test_no_door_takes_a_path_that_is_too_long(name: str) -> None:
    """Which no question about a file answers but by an error."""
    from lcrbench import registry
    from lcrbench.bench.cli import _plugins

    for call in (
        lambda: lcrbench.load_data(name),
        lambda: registry.file("preset", f"{name}.toml"),
        lambda: ran(grid=f"{name}.toml"),
        lambda: Store(name),
        lambda: _plugins.entry_of(f"{name}.py"),
        lambda: evaluated(data=name),
        lambda: archive.open_archive(name),
    ):
        assert "is no path: a name has at most 255 bytes" in refused(call)


@pytest.mark.parametrize("name", ["class", "a.lambda.b", "os.path", "x" * 300])
def test_no_plugin_has_a_name_that_python_cannot_import(name: str) -> None:
    from lcrbench.bench.cli import _plugins

    assert name[:10] in refused(lambda: _plugins.path_of(name))


@pytest.mark.parametrize("kind", ["pipe", "device", "stream"])
def test_no_file_takes_the_place_of_a_device_or_waits_for_a_pipe(kind: str) -> None:
    """`--out /dev/null`, as root: a file that is renamed would be there ever after."""
    from lcrbench.bench.records.files import replace_file
    from lcrbench.reports.paper import of_store
    from tests.faults.test_fuzz import within

    place = Path("out")
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "device":
        place.symlink_to("/dev/null")
    else:
        Path("log").write_text("before")
        descriptor = os.open("log", os.O_RDONLY)
        place.symlink_to(f"/proc/self/fd/{descriptor}")
    calls = (
        lambda: replace_file(place, b"x"),
        lambda: of_store.keep("x", str(place)),
        lambda: sheet.save(place, np.zeros((8, 8, 3), np.uint8)),
    )
    for call in calls:
        with within(5.0):
            assert "no regular file" in refused(call)
    assert place.is_symlink() or place.is_fifo()
    if kind == "stream":
        assert Path("log").read_text() == "before"
        os.close(descriptor)


def test_a_network_is_not_called_what_a_terminal_obeys() -> None:
    """Its name stands in warnings and in what a notebook prints."""
    assert "\\x1b[2J" in refused(lambda: evaluated(name="\x1b[2Jnet"))


@pytest.mark.parametrize("none", ["", " ", [], {}])
def test_an_evaluation_that_measures_nothing_is_refused(none: object) -> None:
    assert "no metric is named" in refused(lambda: evaluated(metrics=none))
