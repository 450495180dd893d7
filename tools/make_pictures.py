"""Makes the pictures of the README and the documentation from a store: the curves, and the report as a browser shows it.

lcrbench run quick
python tools/make_pictures.py lcrbench-runs

The curves need nothing else. The screenshots need Chromium, and the printed pages pdftoppm; where one is missing, its
pictures are left as they are, which is said.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lcrbench.bench.records.store import Store
from lcrbench.reports import entries, report
from lcrbench.reports.colours import DARK, INK
from lcrbench.reports.context import Options
from lcrbench.reports.drawing import MUTED, RULE
from lcrbench.reports.figures import corruption_curves
from lcrbench.reports.paper import of_store
from lcrbench.reports.rendering import Print, save

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "img"
ON_DARK = {INK: "#e7e9ec", MUTED: "#9aa2ad", RULE: "#30363e"}
"""What the report's page has for these in the dark (page.css)."""
CURVES = ("mean", "gaussian_noise", "glass_blur", "snow")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --allow-file-access-from-files --hide-scrollbars "
    "--disable-background-networking --disable-component-update --disable-sync --timeout=30000"
)
FRAME = (
    '<!doctype html><body style="margin: 0"><iframe src="{page}" style="width: {wide}px; height: {high}px; border: 0">'
)
SHOTS = {
    "report-desktop.png": (1400, 900, "", False),
    "report-dark.png": (1400, 900, "", True),
    "report-phone.png": (390, 844, "", False),
    "report-figures.png": (1400, 1200, "#s0-corruption_curves", False),
}
"""Width, height, place and whether dark, of each screenshot. No window is as narrow as a phone, so a frame is."""


def main() -> None:
    """Make the pictures of a store's runs, and say which."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("--out", type=Path, default=IMAGES)
    given = parser.parse_args()
    for name in make(Store(given.store), given.out):
        print(name)


def make(store: Store, out: Path) -> Iterator[str]:
    """Make all pictures that can be made here; yield each one's name, or a line that says what is missing."""
    out.mkdir(parents=True, exist_ok=True)
    yield from curves(store, out)
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        yield "no screenshots: there is no Chromium"
        return
    with tempfile.TemporaryDirectory() as scratch:
        page = report.write(store, Path(scratch) / "report")
        for name, (wide, high, place, dark) in SHOTS.items():
            frame = page.parent / "frame.html"
            frame.write_text(FRAME.format(page=page.name + place, wide=wide, high=high), encoding="utf-8")
            shown = [f"--window-size={max(500, wide)},{high}", f"--screenshot={Path(scratch, name)}"]
            shown += ["--blink-settings=preferredColorScheme=0"] if dark else []
            _browse(chromium, [*shown, frame.as_uri()], scratch)
            _cut(Path(scratch, name), out / name, wide)
            yield name
        printed = Path(scratch, "printed.pdf")
        _browse(chromium, ["--no-pdf-header-footer", f"--print-to-pdf={printed}", page.as_uri()], scratch)
        yield _pages(printed, out / "report-print.png")


def curves(store: Store, out: Path) -> list[str]:
    """Draw accuracy against severity, of the mean and of a corruption of each group, in a row: for light and dark pages."""
    options = Options(corruptions=of_store.corruptions_of(" ".join(CURVES)))
    context = of_store.context_of(store, [], 1, searched=False, options=options)
    entry = entries.entry("figure", "corruption_curves", corruption_curves, own=True)
    picture = entries.picture_of(entry, context)
    if picture is None:
        raise SystemExit(f"{store.root} has no corrupted images to draw")
    names = save(picture, out, ["png", "svg"], Print(6.9, 8.0, alone=False), "curves")
    (out / "curves-dark.svg").write_text(darkened((out / "curves.svg").read_text(encoding="utf-8")), encoding="utf-8")
    return [*names, "curves-dark.svg"]


def darkened(svg: str) -> str:
    """Return a figure for a dark page: lines, letters and each method's colour as the report has them there."""
    dark = {light.lower(): other for light, other in (DARK | ON_DARK).items()}
    return re.sub(r"#[0-9a-f]{6}\b", lambda found: dark.get(found[0].lower(), found[0]), svg, flags=re.IGNORECASE)


def _browse(chromium: str, words: list[str], scratch: str) -> None:
    """Run the browser once. It may not end by itself after its work is done."""
    with tempfile.TemporaryDirectory(dir=scratch) as profile:
        command = [chromium, *FLAGS.split(), f"--user-data-dir={profile}", *words]
        subprocess.run(command, check=True, capture_output=True, timeout=120)


def _cut(shot: Path, target: Path, wide: int) -> None:
    """Write a screenshot in 256 colours, without what lies beside a frame that is narrower than its window."""
    from PIL import Image

    with Image.open(shot) as image:
        whole = image.convert("RGB").crop((0, 0, wide, image.height))
        whole.quantize(256, dither=Image.Dither.NONE).save(target, optimize=True)


def _pages(printed: Path, target: Path) -> str:
    """Write the first two printed pages side by side."""
    from PIL import Image

    if shutil.which("pdftoppm") is None:
        return f"no {target.name}: there is no pdftoppm"
    stem = printed.with_suffix("")
    subprocess.run(["pdftoppm", "-r", "60", "-l", "2", "-png", str(printed), str(stem)], check=True)
    pages = [Image.open(f).convert("RGB") for f in sorted(printed.parent.glob(f"{stem.name}-*.png"))]
    sheet = Image.new("RGB", (sum(p.width + 8 for p in pages) - 8, max(p.height for p in pages)), "#888")
    at = 0
    for one in pages:
        sheet.paste(one, (at, 0))
        at += one.width + 8
    sheet.quantize(256, dither=Image.Dither.NONE).save(target, optimize=True)
    return target.name


if __name__ == "__main__":
    main()
