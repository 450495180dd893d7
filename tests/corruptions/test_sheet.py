"""The picture sheet and the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageDraw

from lcrbench.bench import cli
from lcrbench.corruptions import archive, names, sheet
from lcrbench.errors import UserError

IMAGE = np.random.default_rng(2).integers(0, 256, (32, 32, 3), np.uint8)


def test_a_sheet_shows_every_corruption() -> None:
    drawn = sheet.draw(IMAGE, ["fog", "contrast"])
    assert drawn.dtype == np.uint8
    tile = sheet.TILE
    clean = drawn[sheet.MARGIN + sheet.TITLE :][:tile, sheet.MARGIN + sheet.LABEL :][:, :tile]
    assert (clean[::3, ::3] == IMAGE).all()
    assert sheet.draw(IMAGE[..., 0]).shape[1] > drawn.shape[1]
    with pytest.raises(UserError, match="one image"):
        sheet.draw(IMAGE[None])


def test_a_sheet_of_all_marks_the_extra_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sheet, "SEVERITIES", (3,))
    marked, drawn = [], []
    text, multiline = ImageDraw.ImageDraw.text, ImageDraw.ImageDraw.multiline_text

    def note(self: Any, place: Any, words: str, *args: Any, **options: Any) -> None:
        if words == "(extra)":
            marked.append(drawn[-1])
        text(self, place, words, *args, **options)

    def label(self: Any, place: Any, words: str, *args: Any, **options: Any) -> None:
        drawn.append(words.replace("\n", "_"))
        multiline(self, place, words, *args, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", note)
    monkeypatch.setattr(ImageDraw.ImageDraw, "multiline_text", label)
    done = CliRunner().invoke(cli.app, ["corrupt", "--sheet", str(tmp_path / "s.png")])
    assert done.exit_code == 0, (done.output, done.exception)
    assert drawn == ["clean", *names("all")]
    assert marked == names("extra")


def test_the_command_draws_and_writes(tmp_path: Path) -> None:
    run = CliRunner().invoke
    Image.fromarray(IMAGE).save(tmp_path / "in.png")
    done = run(
        cli.app,
        ["corrupt", "--sheet", str(tmp_path / "s.png"), "--image", str(tmp_path / "in.png"), "--corruptions", "fog"],
    )
    assert done.exit_code == 0, done.output
    assert Image.open(tmp_path / "s.png").size[0] > 600
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            (tmp_path / "data" / split / label).mkdir(parents=True)
            for k in range(3):
                Image.fromarray(np.roll(IMAGE, k, 0)).save(tmp_path / "data" / split / label / f"{k}.png")
    arguments = [str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--corruptions", "fog contrast"]
    done = run(cli.app, ["corrupt", *arguments])
    assert done.exit_code == 0, (done.output, done.exception)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["data"]["classes"] == ["cat", "dog"]
    assert len(archive.open_archive(tmp_path / "out").load("fog", 2)[0]) == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--out or a PNG with --sheet"),
        (["--out", "a", "--sheet", "b"], "--out or a PNG with --sheet"),
        (["--out", "a", "--corruptions", "foggy"], "did you mean 'fog'"),
        (["--sheet", "a.png", "--image", "nowhere.png"], "cannot read the image"),
    ],
)
def test_the_command_tells_mistakes(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(cli.app, ["corrupt", *arguments])
    assert isinstance(done.exception, UserError)
    assert message in str(done.exception)
