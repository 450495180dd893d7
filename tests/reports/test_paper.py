"""The paper's tables: their numbers, LaTeX measured in points by a TeX, every format, and the commands that print them."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from lcrbench.bench.cli import app
from lcrbench.bench.cli.run import fitted
from lcrbench.bench.records.record import Failure
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError
from lcrbench.reports import comparison, paper, report
from lcrbench.reports.context import Context
from lcrbench.reports.paper import COLUMNS, STYLES, latex, of_store, paper_table, text, widths
from lcrbench.reports.table import Cell, Column, Table, TableRow

from . import make_store
from .make_foreign import board_store
from .test_tables import error


def a_tex() -> bool:
    """Tell whether there is a TeX with booktabs, which Debian keeps in texlive-latex-recommended."""
    if not (shutil.which("pdflatex") and shutil.which("kpsewhich")):
        return False
    return not subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True, check=False).returncode


tex = pytest.mark.skipif(not a_tex(), reason="needs a TeX: apt-get install texlive-latex-recommended")
SEEDS = 2
METHODS = ("full_precision", "irnet", "irnet+lcr", "recu+lcr:weight=2.0")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """All fifteen common corruptions, four methods by three seeds, 10,000 images: two digits a number."""
    store = Store(tmp_path_factory.mktemp("whole"), create=True)
    for label in METHODS:
        for seed in range(SEEDS):
            make_store.add(store, label, seed, corruptions=comparison.COMMON, n=10_000)
    return store


def context(store: Store) -> Context:
    return of_store.context_of(store, (), 1, searched=True)


def test_the_main_table_has_mean_and_deviation_over_the_seeds(store: Store) -> None:
    table = paper_table(context(store), "main")
    assert table is not None
    titles = [c.title for c in table.columns]
    assert titles == ["W/A", "Clean", "Mean error", "Noise", "Blur", "Weather", "Digital"]
    row = next(r for r in table.rows if r.label == "irnet+lcr")
    clean = [make_store.count("irnet+lcr", s) / make_store.N for s in (0, 1)]
    errors = [error("irnet+lcr", s, make_store.COMMON_RAN) for s in (0, 1)]
    for cell, values in ((row.cells[1], clean), (row.cells[2], errors)):
        assert cell.value == pytest.approx(np.mean(values))
        assert cell.spread == pytest.approx(np.std(values, ddof=1))
    assert row.cells[0].text == "1/1"
    assert "n = 1 to 2 training seeds" in table.caption
    aside = next(r for r in table.rows if r.label == "bnn")
    assert (aside.ranked, aside.cells[1].spread) == (False, None)
    assert text.shown(row.cells[1], table.columns[1], "pm") == "73.5 ± 0.7"
    assert text.shown(row.cells[1], table.columns[1], "none") == "73.5"
    assert text.shown(row.cells[1], table.columns[1], "ci") == "73.5 [67.1, 79.9]"


def test_the_table_of_corruptions_is_that_of_the_field(whole: Store) -> None:
    table = paper_table(context(whole), "corruptions")
    assert table is not None
    assert [c.title for c in table.columns] == [
        "Clean", "Mean error", "Gauss.", "Shot", "Impulse", "Defocus", "Glass", "Motion", "Zoom", "Snow", "Frost", "Fog",
        "Bright", "Contrast", "Elastic", "Pixel", "JPEG",
    ]  # fmt: skip
    assert [r.shown for r in table.rows] == ["FP32", "IR-Net", "LCR on IR-Net", "LCR (weight 2) on ReCU"]


def sources(whole: Store) -> dict[str, str]:
    """Return LaTeX of every style with every kind of interval, and of all columns there are."""
    found = context(whole)
    made = {}
    for how in ("pm", "ci", "none"):
        for style in STYLES:
            table = paper_table(found, style)
            assert table is not None, style
            made[f"{style}-{how}"] = latex(table, intervals=how)
        every = [n for n in COLUMNS if n not in ("mce", "relative_mce", "flip_radius", "extra", "bar")]
        table = paper_table(found, "main", every)
        assert table is not None
        made[f"every-{how}"] = latex(table, intervals=how)
    return made


def measured(made: dict[str, str], tmp_path: Path) -> dict[str, tuple[float, float]]:
    r"""Return the natural width of the widest tabular of each float, and its font's size, as a TeX says: in points.

    The floats are opened up: their `\begin{table*}` and what belongs to a float goes, and each tabular is put into a box.
    """
    lines = [
        r"\documentclass[twocolumn,a4paper]{article}\usepackage[T1]{fontenc}\usepackage{booktabs,graphicx}",
        r"\begin{document}\makeatletter\typeout{ROOM \the\textwidth}",
    ]
    for name, source in made.items():
        size, separation = (
            re.search(r"\\fontsize.*?\\selectfont", source),
            re.search(r"\\setlength{\\tabcolsep}.*", source),
        )
        assert size, name
        assert separation, name
        for inside in re.findall(r"(?ms)^\\begin{tabular}.*?^\\end{tabular}$", source):
            box = rf"{{{size[0]}{separation[0]}\setbox0\hbox{{{inside}}}\typeout{{BOX {name} \the\wd0\space\f@size}}}}"
            lines.append(box)
    lines.append(r"\end{document}")
    (tmp_path / "boxes.tex").write_text("\n".join(lines), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-draftmode", "boxes"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:]
    found: dict[str, tuple[float, float]] = {}
    for name, width, size in re.findall(r"BOX (\S+) ([\d.]+)pt\s*([\d.]+)", done.stdout.replace("\n", " ")):
        found[name] = (max(found.get(name, (0.0, 0.0))[0], float(width)), float(size))
    [room] = re.findall(r"ROOM ([\d.]+)pt", done.stdout)
    return found | {"": (float(room), 0.0)}


@tex
def test_every_table_is_as_wide_as_the_text_or_less_at_eight_points(whole: Store, tmp_path: Path) -> None:
    made = sources(whole)
    found = measured(made, tmp_path)
    room, _ = found.pop("")
    assert room > 400
    assert set(found) == set(made)
    for name, (width, size) in found.items():
        assert width <= room, name
        assert size >= 8, name
    for name, source in made.items():
        assert not re.search(r"\\(resizebox|scalebox|tiny|scriptsize|small)\b", source), name
        assert source.count(r"\label{tab:") == source.count(r"\caption{") == source.count(r"\begin{table*}") == 1
    # The paper's own tables stand in one piece.
    assert all(made[f"{style}-pm"].count("\n\\begin{tabular}") == 1 for style in ("main", "lipschitz", "cost"))
    assert made["corruptions-none"].count("\n\\begin{tabular}") == 1
    assert made["every-ci"].count("\n\\begin{tabular}") > 1


@tex
def test_widths_are_known_before_a_tex_sees_them(whole: Store, tmp_path: Path) -> None:
    """The estimate is never too small, and not so large that a table is broken up that had room."""
    column = Column("Head", digits=2)
    for words in ("LCR (weight 2) on A", "1,234.56 ± 7.89", "[65.08, 77.92]", "Wide MMMM WWWW", "−12.34", "méthode"):
        table = Table("t", "c", (column,), (TableRow("x", (Cell(text=words),)),), first="x")
        width, _ = measured({"one": latex(table)}, tmp_path)["one"]
        # A column of an x, two separations, and the words.
        alone = width - widths.width("x") - 2 * 3
        assert 0.97 * alone <= widths.width(words) <= 1.3 * alone, words


def paper_of(parts: list[str], tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Compile files as an author would, each with what it says it needs."""
    needs = {p for part in parts for p in re.findall(r"^%.*?((?:\\usepackage\S+(?: and )?)+)", part, re.MULTILINE)}
    assert needs == {r"\usepackage[T1]{fontenc} and \usepackage{booktabs,graphicx}."}
    head = r"\documentclass[twocolumn]{article}\usepackage[T1]{fontenc}\usepackage{booktabs,graphicx}\begin{document}x"
    (tmp_path / "paper.tex").write_text("\n".join([head, *parts, r"\end{document}"]), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-draftmode", "paper"]
    return subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120, check=False
    )


@tex
def test_the_files_of_a_report_compile_as_they_are(folder: Path, tmp_path: Path) -> None:
    files = sorted(folder.glob("*.tex"))
    assert {"table_main.tex", "table_corruptions.tex", "table_lipschitz.tex", "table_cost.tex"} <= {
        f.name for f in files
    }
    done = paper_of([f.read_text(encoding="utf-8") for f in files], tmp_path)
    assert done.returncode == 0, done.stdout[-2000:]
    wide = [float(n) for n in re.findall(r"Overfull \\hbox \(([\d.]+)pt", done.stdout)]
    assert max(wide, default=0.0) < 1, wide


@tex
def test_latex_of_hostile_names_compiles_and_stays_in_the_text(tmp_path: Path, undrawn: None) -> None:
    store = Store(tmp_path / "store", create=True)
    for label in make_store.HOSTILE:
        make_store.add(store, label, 0, data="d" * 200)
    make_store.add(
        store,
        "irnet",
        0,
        data="d" * 200,
        failure=Failure(reason="error", step=1, message="\\end{document} %$#_&{}~^ \x07"),
    )
    folder = report.write(store, tmp_path / "report").parent
    made = {f.stem: f.read_text(encoding="utf-8") for f in sorted(folder.glob("*.tex"))}
    done = paper_of([*made.values()], tmp_path)
    assert done.returncode == 0, done.stdout[-2000:]
    found = measured(made, tmp_path)
    room, _ = found.pop("")
    assert max(width for width, _ in found.values()) <= room


def test_latex_is_balanced_and_each_line_has_its_cells(folder: Path) -> None:
    for file in folder.glob("*.tex"):
        body = re.sub(r"(?m)^%.*$", "", file.read_text(encoding="utf-8"))
        assert body.isascii(), "a plain LaTeX must be able to read it"
        assert " ? " not in body, "a sign that LaTeX has another way to print"
        depth = 0
        for token in re.findall(r"\\.|[{}]", body):
            depth += {"{": 1, "}": -1}.get(token, 0)
            assert depth >= 0
        assert depth == 0
        begun, ended = (re.findall(rf"\\{w}{{(\w+\*?)}}", body) for w in ("begin", "end"))
        assert sorted(begun) == sorted(ended)
        body = re.sub(r"\\begin{tabular}\[b\].*?\\end{tabular}", "", body)
        for spec, inside in re.findall(r"\\begin{tabular}{@{}(.*?)@{}}(.*?)\\end{tabular}", body, flags=re.DOTALL):
            columns = len(re.sub(r"p{[\d.]+pt}", "p", spec))
            for line in re.split(
                r"\\\\(?:\[1.5pt\])?", re.sub(r"\\(?:top|mid|bottom)rule|\\cmidrule\(lr\){[\d-]+}", "", inside)
            ):
                spans = [int(n) for n in re.findall(r"\\multicolumn{(\d+)}", line)]
                width = len(re.findall(r"(?<!\\)&", line)) + 1 + sum(spans) - len(spans)
                assert not line.strip() or width == columns, line
        assert not re.search(r"(?<!\\)[_%#]", body)


class Cells(HTMLParser):
    """Counts the cells of each row, and keeps their text."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def call(*words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["table", *words])
    if done.exception and not isinstance(done.exception, (SystemExit, UserError)):
        raise done.exception
    return done.exit_code, done.stdout, str(done.exception or "")


@pytest.mark.parametrize("style", [*STYLES])
def test_every_format_holds_the_same_numbers(whole: Store, style: str, tmp_path: Path) -> None:
    root = str(whole.root)
    frame = pd.read_csv(io.StringIO(call(root, "--style", style, "--format", "csv")[1]))
    assert frame["method"].tolist() == list(METHODS)
    parser = Cells()
    parser.feed(call(root, "--style", style, "--format", "html", "--intervals", "none")[1])
    markdown = call(root, "--style", style, "--format", "md", "--intervals", "none")[1]
    rows = [
        [re.sub(r"[*]|</?u>", "", c.strip()) for c in x.strip("|").split("|")]
        for x in markdown.splitlines()
        if x[:1] == "|"
    ]
    assert [[cell.strip() for cell in row] for row in parser.rows[1:]] == rows[2:]
    source = call(root, "--style", style, "--intervals", "none")[1]
    for row in rows[2:]:
        line = next(x for x in source.splitlines() if x.startswith(f"{row[0]} &"))
        plain = re.sub(r"\\(?:textbf|underline){(.*?)}|\\\\", r"\1", line)
        assert [c.strip().replace("--", "–") for c in plain.split(" & ")] == row
    out = tmp_path / "a" / "table.tex"
    assert call(root, "--style", style, "--intervals", "none", "--out", str(out))[1] == f"table: {out}\n"
    assert out.read_text(encoding="utf-8") == source


def test_columns_and_methods_are_chosen_and_mistakes_are_named(whole: Store) -> None:
    root = str(whole.root)
    made = call(root, "--columns", "clean fog ops", "--methods", "irnet full_precision", "--format", "text")[1]
    assert made.splitlines()[0].split() == ["Method", "Clean", "Fog", "OPs"]
    assert [line.split("  ")[0] for line in made.splitlines()[2:]] == ["IR-Net", "FP32"]
    for words, said in (
        (("--columns", "clena"), "did you mean 'clean'"),
        (("--columns", "mce"), "the column 'mce' has no number here"),
        (("--methods", "irnte"), "did you mean 'irnet'"),
        (("--setting", "2"), "there is no setting 2: the store has 1 setting (1: fashion-mnist-10k, vgg_tiny)"),
        (("--out", "/proc/no/table.tex"), "cannot write /proc/no/table.tex"),
    ):
        code, _, message = call(root, *words)
        assert code != 0
        assert said in message


def test_a_terminal_gets_what_it_has_room_for() -> None:
    columns = tuple(Column(f"column {k}", digits=1) for k in range(6))
    rows = tuple(TableRow(f"method \x1b[31m{k}", tuple(Cell(10.0 * k, spread=1.0) for _ in columns)) for k in range(3))
    whole = text.terminal(Table("t", "A caption of several words.", columns, rows), "pm")
    assert "\x1b" not in whole
    assert whole.count("±") == 18
    for width in (40, 60, 100):
        shown = fitted(f"A caption of several words.\n\n{whole}\n", width)
        assert max(map(len, shown.splitlines())) <= max(width, 30)
        assert ("more columns" in shown) == (width < len(whole.splitlines()[0]))
        # No number is cut in two.
        assert all(re.fullmatch(r"\d+\.0 ± 1\.0", c) for c in re.findall(r"\d+\.\d.*?(?=  |$)", shown))


def test_a_run_ends_with_the_table_also_where_the_report_stands(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], undrawn: None
) -> None:
    from lcrbench.bench.cli import run

    for _ in range(2):
        run._report(store, str(tmp_path / "report"), store.ids(), quiet=False)
        said = capsys.readouterr().out
        assert said.endswith(f"report: {tmp_path / 'report' / 'index.html'}\n")
        lines = said.splitlines()
        assert next(line for line in lines if line.startswith("LCR on IR-Net")).split()[:5] == [
            "LCR", "on", "IR-Net", "1/1", "73.5",
        ]  # fmt: skip
    assert "in bold" not in said, "plain text has no bold letters"
    run._report(store, str(tmp_path / "report"), store.ids(), quiet=True)
    assert capsys.readouterr().out == f"{tmp_path / 'report' / 'index.html'}\n"


def test_the_table_on_a_terminal_says_who_is_not_ranked_and_why(tmp_path: Path, undrawn: None) -> None:
    report.write(board_store(tmp_path / "store"), tmp_path / "report")
    lines = fitted((tmp_path / "report" / "table.txt").read_text(encoding="utf-8"), 100).splitlines()
    marked = [line for line in lines if "†" in line and not line.startswith("†")]
    assert marked
    told = " ".join(lines[lines.index("", lines.index("") + 1) :])
    assert "† not ranked: foreign:Mine: trained elsewhere, on a budget that is not known" in told
    assert max(map(len, lines)) <= 100


def test_a_run_is_shown_on_one_screen_and_whole_as_json(store: Store) -> None:
    runner = CliRunner()
    for record in store.records():
        shown = runner.invoke(app, ["show", "run", record.run_id, "--store", str(store.root)]).stdout
        lines = shown.splitlines()
        assert len(lines) <= 24
        assert max(map(len, lines)) <= 160
        assert record.run_id in lines[0]
        assert ("loss is nan" in shown) == (record.status == "failed")
        if record.spec.label == "irnet+lcr" and record.spec.seed == 0:
            assert lines[0].startswith("LCR on IR-Net, seed 0")
            assert "74.00 %" in shown
        whole = runner.invoke(app, ["show", "run", record.run_id, "--json", "--store", str(store.root)]).stdout
        assert json.loads(whole)["run_id"] == record.run_id


@pytest.mark.parametrize(
    ("width", "inches", "figures"), [("single", 3.35, ("curves", "pareto")), ("double", 6.9, ("heatmap",))]
)
def test_a_plot_has_the_width_of_a_column(
    store: Store, tmp_path: Path, width: str, inches: float, figures: tuple[str, ...]
) -> None:
    for figure in figures:
        words = ["plot", str(store.root), figure, "--width", width, "--out", str(tmp_path), "--format", "pdf svg"]
        words += ["--methods", "full_precision irnet"] + ["--corruptions", "noise fog"] * (figure == "heatmap")
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.exception
        box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+)", (tmp_path / f"{figure}.pdf").read_bytes())
        assert box
        assert float(box[1]) == pytest.approx(inches * 72, abs=0.1)
        drawn = re.findall(r"<!-- (.*?) -->", (tmp_path / f"{figure}.svg").read_text(encoding="utf-8"))
        assert not [t for t in drawn if "LCR" in t]
        if figure == "heatmap":
            assert "Fog" in drawn
            assert "JPEG compression" not in drawn


def test_a_plot_has_letters_of_the_size_that_is_asked_for(store: Store, tmp_path: Path) -> None:
    sizes = {}
    for font in (6, 9):
        words = ["plot", str(store.root), "curves", "--font", str(font), "--out", str(tmp_path), "--format", "svg"]
        assert CliRunner().invoke(app, [*words, "--no-caption", "--width", "single"]).exit_code == 0
        source = (tmp_path / "curves.svg").read_text(encoding="utf-8")
        sizes[font] = {float(x) for x in re.findall(r"scale\((0\.\d+) -0", source)}
    # Outlines of letters are drawn for a size of 100.
    assert max(sizes[9]) / max(sizes[6]) == pytest.approx(1.5, rel=0.01)


def test_what_cannot_be_drawn_is_said(store: Store) -> None:
    for words, said in (
        (("curvse",), "did you mean 'curves'"),
        (("curves", "--corruptions", "fogg"), "did you mean 'fog'"),
        (("curves", "--format", "pdff"), "did you mean 'pdf'"),
        (
            ("seeds",),
            "nothing to draw for 'seeds' in fashion-mnist-10k, vgg_tiny: it needs a method with three training",
        ),
    ):
        done = CliRunner().invoke(app, ["plot", str(store.root), *words])
        assert isinstance(done.exception, UserError)
        assert said in str(done.exception)


def test_every_style_is_a_choice_of_the_command() -> None:
    from lcrbench.bench.cli.table import STYLES as CHOICES

    assert set(CHOICES) == set(paper.STYLES)
