"""The pictures of the documentation are made by one command, from any store."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from lcrbench.bench import cli
from lcrbench.bench.records.store import Store

from .test_page import browser

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def pictures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_pictures", ROOT / "tools" / "make_pictures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readmes_curves_are_drawn_from_a_store(
    store: Store, tmp_path: Path, pictures: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures.shutil, "which", lambda name: None)
    said = list(pictures.make(store, tmp_path))
    assert said == ["curves.png", "curves.svg", "curves-dark.svg", "no screenshots: there is no Chromium"]
    light, dark = ((tmp_path / f"curves{end}.svg").read_text(encoding="utf-8") for end in ("", "-dark"))
    assert len(light) == len(dark)
    on_light, on_dark = (set(re.findall(r"(?:fill|stroke): (#[0-9A-Fa-f]{6})", svg)) for svg in (light, dark))
    assert len(on_light) == len(on_dark) >= 5
    assert not {c.lower() for c in on_light} & {c.lower() for c in on_dark}, "a colour for light pages on a dark one"
    assert not re.search(r"fill: (white|#fff)", light), "a ground of its own"
    with Image.open(tmp_path / "curves.png") as image:
        assert image.width == 1380
        assert len(set(image.convert("L").tobytes())) > 50, "an empty picture"


@browser
@pytest.mark.slow
def test_every_picture_of_the_documentation_is_made(store: Store, tmp_path: Path, pictures: ModuleType) -> None:
    said = list(pictures.make(store, tmp_path))
    assert [name for name in said if name.startswith("no ")] in ([], ["no report-print.png: there is no pdftoppm"])
    for name, (wide, high, _, _) in pictures.SHOTS.items():
        with Image.open(tmp_path / name) as image:
            assert image.size == (wide, high)
    with Image.open(tmp_path / "report-dark.png") as dark, Image.open(tmp_path / "report-desktop.png") as light:
        assert (
            dark.convert("L").resize((1, 1)).getpixel((0, 0)) < 80 < light.convert("L").resize((1, 1)).getpixel((0, 0))
        )


def test_the_commands_of_the_page_on_papers_write_what_it_says(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "howto" / "paper.md").read_text(encoding="utf-8")
    lines = re.findall(r"^lcrbench (?:table|plot) .*$", page, re.MULTILINE)
    assert len(lines) == 2
    monkeypatch.chdir(tmp_path)
    for line in lines:
        words = shlex.split(line.replace("snow", "fog"))  # the store's weather
        monkeypatch.setattr("sys.argv", [str(store.root) if w == "lcrbench-runs" else w for w in words])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert not stop.value.code
    assert r"\begin{tabular}" in (tmp_path / "main.tex").read_text(encoding="utf-8")
    assert {f.name for f in (tmp_path / "figures").iterdir()} == {"curves.pdf", "curves.png", "curves.svg"}


def test_every_picture_that_the_documentation_shows_is_there() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            if "made" not in page.parts and "://" not in target:
                assert (page.parent / target).is_file(), f"{page.name}: {target}"
