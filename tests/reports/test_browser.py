"""The page as a reader meets it, in Chromium: the first screen at two widths, dark, in print, and each control."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .test_page import CHROMIUM, answered, browser

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --allow-file-access-from-files "
    "--disable-background-networking --disable-component-update --disable-sync --timeout=30000"
)

FRAME = """<!doctype html><meta charset="utf-8"><body style="margin: 0">
<iframe id="frame" style="width: {width}px; height: {height}px; border: 0" src="index.html{hash}"></iframe>
<script>
window.onload = () => {{
  const frame = document.getElementById("frame"), win = frame.contentWindow, doc = frame.contentDocument;
  const $ = s => doc.querySelector(s), $$ = s => [...doc.querySelectorAll(s)];
  const seen = e => e.getClientRects().length > 0, box = e => e.getBoundingClientRect();
  const out = {{}};
  try {{ {probe} }} catch (e) {{ out.error = String(e && e.stack || e); }}
  const pre = document.createElement("pre");
  pre.id = "probe"; pre.textContent = JSON.stringify(out); document.body.append(pre);
}};
</script>"""

GEOMETRY = """
  const parts = { claim: $(".claim"), figure: $(".look figure"), numbers: $(".numbers .table"), bar: $("nav.bar") };
  out.boxes = Object.fromEntries(Object.entries(parts).map(([name, e]) => {
    const { left, top, right, bottom } = box(e);
    return [name, [left, top, right, bottom].map(Math.round)];
  }));
  out.svg = box($(".look figure svg")).bottom;
  out.overflow = doc.documentElement.scrollWidth - doc.documentElement.clientWidth;
  out.table = parts.numbers.scrollWidth - parts.numbers.clientWidth;
  const links = $("nav.bar .links");
  out.cut = links.scrollWidth - links.clientWidth;
  out.letters = Math.min(...$$(".look figure svg text").map(e => box(e).height));
  out.open = $$("details.question").filter(e => e.open).length;
  out.questions = $$("section[data-setting] details.question h3").map(e => e.textContent);
  out.heads = $$("#s0-first-table thead tr:last-child th").map(e => e.querySelector("button").textContent);
  const style = win.getComputedStyle($(".claim"));
  $(".controls").open = true;
  out.filters = [box($(".filters")).left, box($(".filters")).right].map(Math.round);
  out.colours = [style.color, win.getComputedStyle(doc.body).backgroundColor];
"""


def framed(
    folder: Path, tmp_path: Path, probe: str, *, width: int, height: int, hash_: str = "", dark: bool = False
) -> Any:
    """Return what a probe saw of the page in a frame of this size, which may be narrower than a window can be."""
    page = folder / f"frame-{width}.html"
    page.write_text(FRAME.format(width=width, height=height, hash=hash_, probe=probe), encoding="utf-8")
    scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
    arguments = [
        str(CHROMIUM), *FLAGS.split(), *scheme, f"--user-data-dir={tmp_path}", f"--window-size={max(500, width)},{height}",
        "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    try:
        done = answered(arguments, 90)
    finally:
        page.unlink()
    found = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    seen = json.loads(html.unescape(found[1]))
    assert "error" not in seen, seen["error"]
    return seen


def apart(boxes: dict[str, list[int]]) -> bool:
    """Tell whether no two boxes overlap by more than a pixel."""
    every = list(boxes.values())
    return not any(
        min(a[2], b[2]) - max(a[0], b[0]) > 1 and min(a[3], b[3]) - max(a[1], b[1]) > 1
        for i, a in enumerate(every)
        for b in every[i + 1 :]
    )


def luminance(colour: str) -> float:
    parts = [float(c) / 255 for c in re.findall(r"[\d.]+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@browser
@pytest.mark.parametrize(
    ("width", "dark"), [(1400, False), pytest.param(1400, True, marks=pytest.mark.slow), (390, False)]
)
def test_the_first_screen_holds_claim_curves_and_table(folder: Path, tmp_path: Path, width: int, dark: bool) -> None:
    height = 900 if width > 1000 else 844
    seen = framed(folder, tmp_path, GEOMETRY, width=width, height=height, dark=dark)
    assert seen["overflow"] == seen["table"] == 0
    assert apart(seen["boxes"]), seen["boxes"]
    for left, right in [*[(b[0], b[2]) for b in seen["boxes"].values()], seen["filters"]]:
        assert left >= 0
        assert right <= width
    assert seen["open"] == 0, "all else is folded"
    assert seen["questions"] == [
        "Which corruptions hurt?", "How far does it move?", "What did it cost?", "Were the budgets equal?",
        "Can I trust this?", "What else was measured?",
    ]  # fmt: skip
    assert seen["heads"] == ["Method", "W/A", "Clean", "Mean error", "Drop"]
    assert seen["letters"] >= 9.5, "the figure's letters are too small to read"
    if width > 1000:
        assert seen["cut"] == 0, "a question of the bar is cut off"
        assert seen["svg"] <= height
        assert max(b[3] for b in (seen["boxes"]["claim"], seen["boxes"]["numbers"])) <= height
        assert seen["boxes"]["numbers"][0] > seen["boxes"]["figure"][2], "the table stands beside the curves"
    else:
        assert seen["svg"] <= height, "claim and curves are seen first on a phone"
    ink, paper = map(luminance, seen["colours"])
    assert (ink > paper) == dark
    assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) > 10


CONTROLS = """
  $$("details:not(.controls)").forEach(e => { e.open = true; });
  const fits = id => {
    const table = $(id), columns = [...table.tHead.rows[1].cells].slice(1).filter(seen);
    let at = 0, worst = 0;
    for (const th of [...table.tHead.rows[0].cells].slice(1).filter(seen)) {
      const mine = columns.slice(at, at += th.colSpan);
      const [left, right] = [box(mine[0]).left, box(mine[mine.length - 1]).right];
      worst = Math.max(worst, Math.abs(box(th).left - left), Math.abs(box(th).right - right));
    }
    return [at === columns.length, Math.round(worst)];
  };
  const lines = s => s.querySelectorAll("g.line:not(.hide)").length;
  const line = () => $$("#s0-heatmap svg.heat").filter(seen).map(s => [lines(s), s.viewBox.baseVal.height]);
  const tick = (name, value) => $(`.filters input[name="${name}"][value="${value}"]`).click();
  out.before = [fits("#s0-main-table"), line()];
  out.silent = $("#still").hidden;
  tick("group", "noise"); tick("group", "blur");
  out.after = [fits("#s0-main-table"), line()];
  out.still = $("#still").hidden ? "" : $("#still").textContent;
  out.hash = win.location.hash;
  tick("group", "noise"); tick("group", "blur");
  out.again = [fits("#s0-main-table"), line(), $("#still").hidden];
  tick("method", "1");
  out.fewer = line().length;
  tick("method", "1");
  // A legend's entry alone, and all again.
  const key = $$("#s0-mean_curves .legend .key")[1];
  const dim = () => $$("#s0-mean_curves svg .m").filter(e => e.classList.contains("dim")).length;
  key.click(); out.alone = [dim(), key.getAttribute("aria-pressed")];
  key.click(); out.all = [dim(), key.getAttribute("aria-pressed")];
  // Bands.
  const drawn = e => win.getComputedStyle(e).display !== "none";
  const bands = kind => $$(`#s0-mean_curves svg .band.${kind}`).filter(drawn).length;
  out.seeds = [bands("seeds"), bands("se"), bands("ci"), $("#s0-mean_curves .bands").textContent];
  tick("band", "ci");
  out.ci = [bands("seeds"), bands("se"), bands("ci"), $("#s0-mean_curves .bands").textContent];
  tick("band", "none");
  out.none = [bands("seeds"), bands("se"), bands("ci")];
  tick("band", "seeds");
  // The axis.
  const scales = () => $$("#s0-accuracy_operations .panel").filter(seen).map(e => e.dataset.scale);
  out.scales = [scales(), ($("#s0-accuracy_operations button.axis").click(), scales())];
  // Search.
  $$("details.question").forEach(e => { e.open = false; });
  const search = $("#search");
  const type = text => { search.value = text; search.dispatchEvent(new win.Event("input")); };
  type("jpeg compression");
  const rows = $$("#s0-corruptions-table tbody tr");
  out.found = [$("#found").textContent, $("#s0-corruptions-part").open, rows.filter(seen).length];
  type("");
  out.unsearched = [$("#found").hidden, $("#s0-corruptions-part").open];
  // A place that is named opens what it lies in.
  win.location.hash = "#s0-budget";
  out.budget = null;
  $$('a[href="#s0-budget-part"]')[0].click();
  out.budget = $("#s0-budget-part").open;
  out.targets = $$('a[href^="#"]').map(a => a.getAttribute("href").slice(1)).filter(id => !doc.getElementById(id));
  out.ids = $$("[id]").length - new Set($$("[id]").map(e => e.id)).size;
  out.count = $("#s0-main-table").closest(".table").nextElementSibling.textContent;
  out.told = $$("#s0-first-table tbody td small").map(e => e.textContent).filter(t => t.includes("n="));
"""


@browser
def test_filters_keep_tables_aligned_and_every_control_does_its_work(folder: Path, tmp_path: Path) -> None:
    seen = framed(folder, tmp_path, CONTROLS, width=1400, height=900)
    (_, worst), heat = seen["before"]
    assert worst <= 1
    assert seen["silent"]
    (aligned, worst), fewer = seen["after"]
    assert aligned, "headings span other columns than theirs"
    assert worst <= 1
    # Two noises and a blur of six corruptions go (Gaussian blur is an extra), and the map closes up.
    assert [lines for lines, _ in heat] == [6] * len(heat)
    assert [lines for lines, _ in fewer] == [3] * len(heat)
    assert all(short[1] < whole[1] - 40 for short, whole in zip(fewer, heat, strict=True))
    assert "Every mean is still over all 5 common corruptions" in seen["still"]
    assert "off=group:noise" in seen["hash"]
    assert seen["again"] == [*seen["before"], True]
    assert seen["fewer"] < len(heat)
    assert seen["alone"][0] > 0
    assert seen["alone"][1] == "true"
    assert seen["all"] == [0, "false"]
    assert seen["seeds"][0] > 0
    assert seen["seeds"][1:3] == [0, 0]
    assert "range of the seeds" in seen["seeds"][3]
    assert seen["ci"][:2] == [0, 0]
    assert seen["ci"][2] > 0
    assert "95 % t interval" in seen["ci"][3]
    assert seen["none"] == [0, 0, 0]
    assert seen["scales"] == [["log", "log"], ["linear", "linear"]]
    told, opened, rows = seen["found"]
    assert re.match(r"\d+ rows? with “jpeg compression”", told)
    assert opened
    assert rows == 1
    assert seen["unsearched"] == [True, False]
    assert seen["budget"]
    assert seen["targets"] == []
    assert seen["ids"] == 0
    assert seen["count"].startswith("n = 2")
    assert len(seen["told"]) == 3, "n stands once a table, and where another one holds: the row of one seed"


VISITED = """
  out.open = $("#s0-corruptions-part").open;
  out.off = $$('.filters input[name="group"]').filter(e => !e.checked).map(e => e.value);
  out.band = doc.documentElement.dataset.band;
  out.top = Math.round(box($("#s0-heatmap")).top);
"""


@browser
@pytest.mark.slow
def test_an_address_keeps_the_place_and_the_filters(folder: Path, tmp_path: Path) -> None:
    seen = framed(
        folder, tmp_path, VISITED, width=1400, height=900, hash_="#s0-heatmap&amp;off=group:noise&amp;band=se"
    )
    assert (seen["open"], seen["off"], seen["band"]) == (True, ["noise"], "se")
    assert seen["top"] < 900


@browser
@pytest.mark.slow
def test_paper_holds_all_that_is_folded_up(folder: Path, tmp_path: Path) -> None:
    pdf = tmp_path / "page.pdf"
    arguments = [
        str(CHROMIUM), *FLAGS.split(), f"--user-data-dir={tmp_path / 'profile'}", "--no-pdf-header-footer",
        f"--print-to-pdf={pdf}", (folder / "index.html").as_uri(),
    ]  # fmt: skip
    answered(arguments, 90)
    pages = len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes()))
    assert 8 < pages < 40, f"{pages} pages: nothing unfolded, or everything apart"
    words = shutil.which("pdftotext")
    if words is None:
        pytest.skip("the sizes of letters are measured with pdftotext (poppler-utils), which is not here")
    boxes = subprocess.run([words, "-bbox", str(pdf), "-"], capture_output=True, text=True, check=True).stdout
    heights = {
        float(bottom) - float(top)
        for top, bottom in re.findall(r'yMin="([\d.]+)" xMax="[\d.]+" yMax="([\d.]+)">\d{2,}<', boxes)
    }
    # The box of a letter is 1.17 of its size high.
    assert min(heights) / 1.17 > 4.7, "the numbers of an axis are too small to read on paper"
