"""The page: what is in it, that nothing untrusted gets through, and what a real browser makes of it."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from lcrbench.bench.records.record import Failure
from lcrbench.bench.records.store import Store
from lcrbench.reports import comparison, drawing, rendering, report, table
from lcrbench.reports import lipschitz as lipschitz_part
from lcrbench.reports.context import Context
from lcrbench.reports.figures import accuracy_operations, corruption_curves, heatmap, lipschitz
from lcrbench.reports.page import view
from lcrbench.reports.words import names

from . import make_store

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
browser = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium to open the page")


@pytest.fixture(scope="session")
def page(folder: Path) -> str:
    return (folder / "index.html").read_text(encoding="utf-8")


def test_the_folder_has_its_parts(folder: Path) -> None:
    names = {f.name for f in folder.iterdir()}
    assert {"index.html", "table.md", "table_main.tex", "table.csv", "table.txt", "measurements.csv"} <= names
    for figure in ("mean_curves", "corruption_curves", "heatmap", "training", "lipschitz"):
        assert {f"{figure}.png", f"{figure}.svg", f"{figure}.pdf", f"{figure}.csv"} <= names
        assert (folder / f"{figure}.png").stat().st_size > 5000


def test_the_page_needs_nothing_but_itself(page: str) -> None:
    assert not re.search(r"<(?:script|img|link|iframe)[^>]+(?:src|href)=[\"'](?!data:)", page)
    # Papers and code are linked to, and nothing is fetched.
    linked = set(re.findall(r'<a href="(https://(?:arxiv\.org|github\.com)/[^"]+)"', page))
    assert any("arxiv.org" in address for address in linked)
    for address in re.findall(r"https?://[^\s\"'<>)]+", page):
        assert address in ("http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink") or address in linked
    assert "@import" not in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for target in re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', page):
        assert target in ids


def test_the_page_says_what_it_must(page: str) -> None:
    text = html.unescape(re.sub(r"<[^>]+>", " ", page))
    text = " ".join(text.split())
    assert "diverged at step 90: loss is nan" in text
    assert "another budget: images 30,000 instead of 60,000" in text
    assert "lower bound" in text
    assert "The budgets are not identical" in text
    assert "smallest detectable" in text
    assert (
        "5 of the fifteen common corruptions (Gaussian noise, Shot noise, Defocus blur, Fog, JPEG compression)" in text
    )
    assert "The change of the logits itself ranks nothing" in text
    assert "∞ (signs jump)" in text


@pytest.mark.filterwarnings("error::UserWarning")
def test_figures_of_a_small_comparison_have_room(tmp_path: Path) -> None:
    # A median gain of 0, as sign activations have it at a small radius, once threw the layout of all panels.
    store = Store(tmp_path / "store", create=True)
    for label in ("full_precision", "irnet"):
        record, files = make_store.make(label, 0, corruptions=("fog", "gaussian_noise"))
        still = {"value": 0.0, "low": 0.0}
        measured = tuple(
            m.model_copy(update=still) if m.statistic == "q50" and m.radius == 4 * make_store.PIXEL else m
            for m in record.measurements
        )
        make_store.write(store, record.model_copy(update={"measurements": measured}), files)
    setting = comparison.read(store).settings[0]
    context = Context(setting, lipschitz=lipschitz_part.read(setting, store))
    for module in (corruption_curves, heatmap, lipschitz):
        picture = module.figure(context)
        assert picture is not None
        rendering.save(picture, tmp_path, ["svg"])
        for svg in rendering.inline(picture, "x"):
            _, _, width, height = map(float, re.search(r'viewBox="([^"]+)"', svg)[1].split())  # type: ignore[index]
            # Every point lies inside its panel.
            for x, y in re.findall(r'class="hit[^"]*" cx="([-\d.]+)" cy="([-\d.]+)"', svg):
                assert 0 < float(x) < width
                assert 0 < float(y) < height


def test_panels_of_the_page_have_places_in_hundredths_and_their_words_whole() -> None:
    """Millionths of a pixel are a tenth of a large page; a number that is printed keeps every digit."""

    def draw(ax, hits) -> None:  # type: ignore[no-untyped-def]
        ax.plot([0, 1], [0, 1 / 3])
        ax.set_xlabel("a median of 0.012345 [0.001234, 1.23456]")

    picture = drawing.Picture("a", "A", "", [drawing.Panel(draw)], pd.DataFrame())
    [svg] = rendering.inline(picture, "x")
    assert "a median of 0.012345 [0.001234, 1.23456]" in svg
    places = re.findall(r' (?:d|x|y|transform)="([^"]*)"', svg)
    assert len(places) > 20
    assert not re.search(r"\.\d{3}", " ".join(places))


EVIL = make_store.HOSTILE[0]


def test_labels_in_figures_are_untrusted(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", create=True)
    make_store.add(store, EVIL, 0)
    make_store.add(store, "irnet", 0)
    setting = comparison.read(store).settings[0]
    picture = accuracy_operations.figure(Context(setting))
    assert picture is not None
    svg = "".join(rendering.inline(picture, "x"))
    assert "<script" not in svg
    assert "&lt;script&gt;" in svg
    assert rendering.save(picture, tmp_path, ["svg"]) == [f"{picture.name}.svg"]
    assert "<script" not in (tmp_path / f"{picture.name}.svg").read_text(encoding="utf-8")


def test_records_are_untrusted(tmp_path: Path, undrawn: None) -> None:
    store = Store(tmp_path / "store", create=True)
    evil = EVIL
    make_store.add(store, evil, 0)
    make_store.add(store, "irnet", 0)
    make_store.add(
        store, "bnn", 0, failure=Failure(reason="error", step=1, message=f"</td></script>{evil}\nsecond | line")
    )
    make_store.add(store, "irnet", 0, data="</title><b>data</b>")
    out = report.write(store, tmp_path / "report").parent
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert page.count("<script") == 3
    assert "<b>data" not in page
    assert len(re.findall("</script", page)) == 3
    for name in ("labels", "data"):
        json.loads(re.search(rf'id="{name}">(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]

    markdown = "".join((f).read_text(encoding="utf-8") for f in sorted(out.rglob("table.md")))
    assert "<script" not in markdown
    for block in re.findall(r"(?:^\|.*\n)+", markdown, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1
    latex = (out / "table_main.tex").read_text(encoding="utf-8")
    assert r"\textless{}script\textgreater{}" in latex
    assert r"\$\_\%\#\textbar{}`\{\textbackslash{}*" in latex


def test_one_run_alone_makes_a_report(tmp_path: Path, undrawn: None) -> None:
    store = Store(tmp_path / "store", create=True)
    make_store.add(store, "irnet", 0)
    page = report.write(store, tmp_path / "report").read_text(encoding="utf-8")
    assert "Only one finished method" in page
    assert "fewer than two finished methods share a budget" in page


def test_a_report_over_an_older_one_leaves_nothing_behind(tmp_path: Path, undrawn: None) -> None:
    store = Store(tmp_path / "store", create=True)
    for label in ("full_precision", "irnet"):
        for data in ("a", "b"):
            make_store.add(store, label, 0, data=data)
    out = report.write(store, tmp_path / "report").parent
    assert (out / "differences.csv").exists()
    assert (out / "setting-2" / "table.csv").exists()
    (out / "notes.csv").write_text("my own")
    (out / "setting-2" / "notes.txt").write_text("my own")
    (tmp_path / "outside.csv").write_text("my own")
    listed = json.loads((out / "files.json").read_text())
    (out / "files.json").write_text(json.dumps({"files": [*listed["files"], "../outside.csv", "store", 3]}))
    small = Store(tmp_path / "small", create=True)
    make_store.add(small, "irnet", 0)
    page = report.write(small, out).read_text()
    assert not (out / "differences.csv").exists()
    assert "differences.csv" not in page
    assert [f.name for f in (out / "setting-2").iterdir()] == ["notes.txt"]
    assert (out / "notes.csv").exists()
    assert (tmp_path / "outside.csv").exists()
    kept = {f.relative_to(out).as_posix() for f in out.rglob("*") if f.is_file()}
    assert kept - {"notes.csv", "setting-2/notes.txt"} == set(json.loads((out / "files.json").read_text())["files"])


def test_only_failed_runs_make_a_report(tmp_path: Path, undrawn: None) -> None:
    store = Store(tmp_path / "store", create=True)
    make_store.add(store, "irnet", 0, failure=Failure(reason="killed", step=0, message="out of memory"))
    page = report.write(store, tmp_path / "report").read_text(encoding="utf-8")
    assert "out of memory" in page


def test_a_damaged_record_is_named_and_the_rest_reported(tmp_path: Path, undrawn: None) -> None:
    store = Store(tmp_path / "store", create=True)
    make_store.add(store, "irnet", 0)
    record = make_store.add(store, "bnn", 0)
    for shelf, name in (("evaluations", record.spec.evaluation_id), ("trainings", record.spec.training.train_id)):
        (store.root / shelf / name / "record.json").write_text("{", encoding="utf-8")
        page = report.write(Store(store.root), tmp_path / "report").read_text(encoding="utf-8")
        assert f"{shelf}/{name}/record.json is damaged" in page
        make_store.add(store, "bnn", 0)


def test_damaged_outcomes_cost_only_the_differences_over_images(tmp_path: Path, undrawn: None) -> None:
    store = make_store.single_seed_store(tmp_path / "store")
    victim = next(r for r in store.records() if r.spec.label == "irnet")
    name = victim.spec.evaluation_id
    (store.evaluations.folder(name) / "predictions.npz").write_bytes(b"no zip")
    page = report.write(store, tmp_path / "report").read_text(encoding="utf-8")
    assert f"{name}/predictions.npz is damaged" in page
    assert "BNN − FP32" in page


PROBE = """
<script>
const out = {};
const first = cell => cell ? cell.innerText.split("\\n")[0] : "";
const cells = (id, column) => [...document.querySelectorAll(`#${id} tbody tr`)].map(r => first(r.cells[column]));
const visible = e => e.getClientRects().length > 0;
const sheets = [...document.querySelectorAll("details[data-print]")];
const openNow = () => sheets.filter(e => e.open).length;
out.sheets = [sheets.length, openNow()];
dispatchEvent(new Event("beforeprint"));
out.sheets.push(openNow());
dispatchEvent(new Event("afterprint"));
out.sheets.push(openNow());
document.querySelectorAll("details:not(.controls)").forEach(e => { e.open = true; });
out.ready = document.documentElement.dataset.ready;
const button = document.querySelector('#s0-main-table button.sort[data-column="2"]');
out.before = cells("s0-main-table", 2);
button.click(); out.up = cells("s0-main-table", 2);
button.click(); out.down = cells("s0-main-table", 2);
button.click(); out.back = cells("s0-main-table", 2);
const box = document.querySelector('.filters input[name="method"][value="2"]');
out.lines = [...document.querySelectorAll("#s0-corruption_curves svg .m")].filter(visible).length;
box.click();
out.filtered = cells("s0-main-table", 0).length;
out.shown = [...document.querySelectorAll("#s0-main-table tbody tr")].filter(visible).length;
out.fewer = [...document.querySelectorAll("#s0-corruption_curves svg .m")].filter(visible).length;
box.click();
const noise = document.querySelector('.filters input[name="group"][value="noise"]');
out.panels = [...document.querySelectorAll("#s0-corruption_curves .panel")].filter(visible).length;
noise.click();
out.quieter = [...document.querySelectorAll("#s0-corruption_curves .panel")].filter(visible).length;
noise.click();
const hit = document.querySelector("#s0-corruption_curves .hit");
hit.dispatchEvent(new PointerEvent("pointerover", {bubbles: true}));
out.tip = document.getElementById("tip").className + ": " + document.getElementById("tip").textContent;
document.getElementById("theme").click();
out.theme = document.documentElement.dataset.theme;
out.downloads = {};
const RealBlob = window.Blob;
document.addEventListener("click", e => e.preventDefault());
for (const a of document.querySelectorAll("a[data-give]")) {
  window.Blob = function (parts, kind) { out.downloads[a.download] = parts.join(""); return new RealBlob(parts, kind); };
  a.click();
}
const table = document.getElementById("s0-main-table").parentElement;
out.cut = table.scrollWidth - table.clientWidth;
out.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
out.fetched = performance.getEntriesByType("resource").map(e => e.name).filter(n => !n.startsWith("data:"));
out.images = [...document.images].filter(i => !(i.complete && i.naturalWidth)).length;
const parts = ["nav.bar .links", "#search", ".controls", "#theme"].map(s =>
  document.querySelector(s).getBoundingClientRect());
out.covered = Math.max(...parts.flatMap((a, i) => parts.slice(i + 1).map(b =>
  Math.min(Math.min(a.right, b.right) - Math.max(a.left, b.left), Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top)))));
const pre = document.createElement("pre");
pre.id = "probe"; pre.textContent = JSON.stringify(out);
document.body.append(pre);
</script>
"""


OPEN = 'document.querySelectorAll("details:not(.controls)").forEach(e => { e.open = true; });'


def answered(arguments: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
    """Run a browser, and once more if it hangs, as one does at times on a busy machine; one that hangs twice fails."""
    for _ in range(2):
        try:
            return subprocess.run(arguments, capture_output=True, text=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            continue
    pytest.fail(f"{arguments[0]} did not answer within {seconds:g} s, twice")


def test_a_browser_that_hangs_once_is_asked_again_and_twice_fails(tmp_path: Path) -> None:
    first = f"mkdir {tmp_path}/asked && exec sleep 60; echo seen"
    assert answered(["sh", "-c", first], 2).stdout == "seen\n"
    with pytest.raises(pytest.fail.Exception, match="twice"):
        answered(["sleep", "60"], 0.2)


def opened(page: Path, tmp_path: Path, width: int, probe: str = PROBE) -> tuple[dict, str]:
    """Open the page with the probe at its end; returns what the probe saw and what the console said."""
    probed = page.with_name(f"probe-{width}.html")
    probed.write_text(page.read_text(encoding="utf-8").replace("</body>", probe + "</body>"), encoding="utf-8")
    command = f"{CHROMIUM} --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --enable-logging=stderr"
    command += " --disable-background-networking --disable-component-update --disable-sync --v=0 --timeout=30000"
    arguments = [
        *command.split(),
        f"--user-data-dir={tmp_path}",
        f"--window-size={width},900",
        "--dump-dom",
        probed.as_uri(),
    ]
    try:
        done = answered(arguments, 90)
    finally:
        probed.unlink()
    found = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    return json.loads(html.unescape(found[1])), done.stderr


@browser
def test_a_browser_opens_it(folder: Path, tmp_path: Path) -> None:
    seen, console = opened(folder / "index.html", tmp_path, 1280)
    assert "CONSOLE" not in console
    assert seen["ready"] == "yes"
    assert seen["before"] == seen["back"] == ["84.5", "", "71.5", "73.5", "65.0"]
    assert seen["up"] == ["65.0", "71.5", "73.5", "84.5", ""]
    assert seen["down"] == ["84.5", "73.5", "71.5", "65.0", ""]
    assert (seen["filtered"], seen["shown"]) == (5, 4)
    assert 0 < seen["fewer"] < seen["lines"]
    assert (seen["panels"], seen["quieter"]) == (7, 5)
    assert seen["tip"].startswith("on: FP32, mean of the common corruptions: clean: 84.5 %")
    assert seen["theme"] in ("dark", "light")
    figures_ = {f.stem for f in folder.glob("*.pdf")}
    assert {name.partition(".")[0] for name in seen["downloads"]} == figures_
    for name in figures_:
        assert seen["downloads"][f"{name}.csv"] == (folder / f"{name}.csv").read_text(encoding="utf-8")
        svg = seen["downloads"][f"{name}.svg"]
        assert "var(" not in svg
        assert 'class="hit' not in svg
        drawn = [e for e in ElementTree.fromstring(svg).iter() if e.tag.endswith(("}path", "}rect"))]
        assert len(drawn) > 5
    assert "LCR on IR-Net" in seen["downloads"]["training.svg"]
    listed, before, printing, after = seen["sheets"]
    assert (before, printing, after) == (0, listed, 0)
    assert listed > 3
    assert seen["fetched"] == []
    assert seen["images"] == 0
    assert seen["overflow"] == 0


@browser
def test_the_main_table_of_all_corruptions_fits_a_laptop(tmp_path: Path, undrawn: None) -> None:
    store = Store(tmp_path / "store", create=True)
    every = comparison.COMMON + comparison.GROUPS["extra"]
    for label in ("full_precision", "irnet+lcr"):
        make_store.add(store, label, 0, n=2000, corruptions=every)
    page = report.write(store, tmp_path / "report")
    probe = PROBE[: PROBE.index("const cells")] + OPEN + PROBE[PROBE.index("const table") :]
    seen, _ = opened(page, tmp_path, 1280, probe)
    assert (seen["cut"], seen["overflow"]) == (0, 0)


@browser
@pytest.mark.parametrize("width", [500, 1280])
def test_hostile_names_break_nothing(tmp_path: Path, undrawn: None, width: int) -> None:
    store = Store(tmp_path / "store", create=True)
    for label in make_store.HOSTILE:
        make_store.add(store, label, 0, data="d" * 200)
    page = report.write(store, tmp_path / "report")
    probe = PROBE[: PROBE.index("const cells")] + OPEN + PROBE[PROBE.index("const table") :]
    seen, console = opened(page, tmp_path, width, probe)
    assert "CONSOLE" not in console
    assert seen["overflow"] == 0


@browser
def test_a_phone_need_not_scroll_sideways(folder: Path, tmp_path: Path) -> None:
    # Headless chromium does not go below 500 px in the window it reports, which is narrow enough for the phone's rules.
    seen, _ = opened(folder / "index.html", tmp_path, 500)
    assert seen["overflow"] == 0
    assert seen["covered"] <= 0, "parts of the bar lie over one another"


LOOK = """
<script>
document.querySelectorAll("details").forEach(e => { e.open = true; });
const out = {wide: 0, hinted: 0, broken: [], covered: 0};
dispatchEvent(new Event("resize"));
for (const t of document.querySelectorAll(".table")) {
  const wide = t.scrollWidth > t.clientWidth + 1;
  out.wide += wide;
  out.hinted += wide && !t.previousElementSibling.hidden;
  if (wide === t.previousElementSibling.hidden) out.broken.push(t.getAttribute("aria-label"));
}
// A label of one word stands on one line.
const words = [...document.querySelectorAll("#s0-main-table tbody th")];
out.split = words.filter(th => !th.firstChild.textContent.includes(" ")).map(th => {
  const range = document.createRange();
  range.selectNodeContents(th.firstChild);
  return new Set([...range.getClientRects()].map(r => r.top)).size;
});
const told = document.querySelector("#s0-lipschitz_separation-table");
out.verdict = [...told.querySelectorAll("td.text")].map(td => td.getBoundingClientRect().right - innerWidth);
const [number, , verdict] = [...told.querySelector("tbody tr").querySelectorAll("td")].map(e => e.getBoundingClientRect());
out.below = verdict.top - number.bottom;
out.side = getComputedStyle(told.querySelector("td.text")).textAlign;
const pre = document.createElement("pre");
pre.id = "probe"; pre.textContent = JSON.stringify(out);
document.body.append(pre);
</script>
"""


@browser
def test_a_phone_shows_names_whole_and_verdicts_and_says_where_a_table_goes_on(folder: Path, tmp_path: Path) -> None:
    seen, _ = opened(folder / "index.html", tmp_path, 500, LOOK)
    assert seen["hinted"] == seen["wide"] > 0
    assert seen["broken"] == []
    assert set(seen["split"]) == {1}
    assert len(seen["verdict"]) > 3
    assert max(seen["verdict"]) <= 0
    assert seen["below"] >= 0, "the verdict stands beside the numbers, where a phone has no room"
    assert seen["side"] == "left"


def rows(n: int) -> table.Table:
    """Return a table of n rows with a number and a sentence."""
    columns = (table.Column("gap"), table.Column("verdict"))
    told = table.Cell(text="not separated: `lcrbench lipschitz` <b>")
    lines = tuple(table.TableRow(f"pair {i}", (table.Cell(float(i)), told)) for i in range(n))
    return table.Table("pairs", "Pairs", columns, lines, ("Run `lcrbench lipschitz RUN --effort full` of `<b>`.",))


@pytest.mark.parametrize(("n", "shown", "tall"), [(15, 15, False), (70, 70, False), (71, 71, True), (401, 400, True)])
def test_a_table_is_cut_only_where_it_is_very_long(n: int, shown: int, tall: bool) -> None:
    cut = view.first(rows(n), 400, "pairs_table.csv")
    seen = view.view(cut, "x", {})
    assert len(seen["rows"]) == shown
    assert ("tall" in seen["classes"].split()) == tall
    assert ("short" in seen["classes"].split()) == (n == 15)
    assert [c["text"] for c in seen["columns"]] == [False, True]
    assert ("`pairs_table.csv`, beside this page, holds all" in cut.notes[-1]) == (shown < n)


def test_commands_are_code_and_nothing_else_becomes_markup() -> None:
    assert view.prose(rows(1).notes[0]) == ("Run <code>lcrbench lipschitz RUN --effort full</code> of `&lt;b&gt;`.")


def test_reports_never_import_torch_and_give_the_same_bytes_again(store: Store, folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; import lcrbench.reports; light = set(sys.modules);"
        "assert not light & {'matplotlib', 'pandas', 'jinja2', 'scipy'}, light;"
        "from lcrbench.bench.records.store import Store; from lcrbench.reports import report;"
        f"report.write(Store({str(store.root)!r}), Path({str(tmp_path)!r}));"
        "bad = [m for m in sys.modules if m.split('.')[0] in ('torch', 'torchvision')]; assert not bad, bad;"
        # Four seconds on an idle core; a shared and busy one charges several times that.
        "import time; assert time.process_time() < 40, time.process_time()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240)
    for name in (
        "index.html",
        "table.md",
        "table_main.tex",
        "table.csv",
        "measurements.csv",
        "heatmap.svg",
        "heatmap.png",
    ):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


def test_accuracy_by_seed_is_drawn_from_three_seeds_on(tmp_path: Path) -> None:
    from lcrbench.reports.figures import seeds

    store = Store(tmp_path, create=True)
    for seed in range(2):
        make_store.add(store, "irnet", seed)
    assert seeds.figure(Context(comparison.read(store).settings[0])) is None
    for seed in range(2, 5):
        make_store.add(store, "irnet", seed)
    picture = seeds.figure(Context(comparison.read(store).settings[0]))
    assert picture is not None
    clean = picture.data[picture.data["images"] == "clean"]
    assert clean["accuracy_percent"].tolist() == pytest.approx([make_store.count("irnet", s) / 2 for s in range(5)])
    svg = rendering.inline(picture, "x")[0]
    assert svg.count('class="hit') == 5
    assert 'class="m m0"' in svg, "the page's filter finds the marks"


def test_the_labels_of_a_heat_map_stand_beside_a_hole_too(store: Store, tmp_path: Path) -> None:
    picture = heatmap.figure(Context(comparison.read(store).settings[0]))
    assert picture is not None
    assert picture.holes
    rendering.save(picture, tmp_path, ["svg"])
    text = re.sub(r"<[^>]+>", "", (tmp_path / "heatmap.svg").read_text(encoding="utf-8"))
    comments = re.findall(r"<!-- ([^>]*) -->", (tmp_path / "heatmap.svg").read_text(encoding="utf-8"))
    assert max(comments.count("Fog"), text.count("Fog")) == 2


def test_a_dagger_is_explained_wherever_a_figure_has_one(page: str) -> None:
    figures = re.findall(r"<figure.*?</figure>", page, re.DOTALL)
    marked = [figure for figure in figures if "†" in figure]
    assert marked
    for figure in marked:
        assert names.DAGGER in html.unescape(figure)
