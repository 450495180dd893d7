"""The tables of the small store against numbers worked out apart from the report."""

from __future__ import annotations

import csv
import html
import random
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError
from lcrbench.reports import budget_proof, comparison, report, significance, spreadsheet, table, writers
from lcrbench.reports.context import Context
from lcrbench.reports.paper import latex
from lcrbench.reports.tables import main

from . import make_store


def error(label: str, seed: int, names: tuple[str, ...]) -> float:
    counts = [make_store.count(label, seed, c, s) for c in names for s in make_store.SEVERITIES]
    return 1 - sum(counts) / len(counts) / make_store.N


PIECES = [*"\\`*_{}[]<>#+|~$!&-=.():a1 bc", "&amp;", "<script>", "1. ", "---", "__", "~~", "](x)", "lcr_x", "<!--"]


def test_markdown_shows_untrusted_text_as_it_is_and_code_as_code() -> None:
    markdown_it = pytest.importorskip("markdown_it")
    render = markdown_it.MarkdownIt("commonmark").enable(["strikethrough", "table"]).render
    rng = random.Random(0)
    for _ in range(2000):
        text = " ".join("".join(rng.choices([*PIECES, "`lcrbench run`"], k=rng.randint(1, 12))).split())
        if not text:
            continue
        shown = re.fullmatch(r"<p>([^<]*)</p>", render(writers.escape_markdown(text)).strip())
        assert shown, text
        assert html.unescape(shown[1]) == text
        row = render(f"| a | b |\n|---|---|\n| {writers.escape_markdown(text)} | y |\n")
        cell = re.search(r"<tbody>\s*<tr>\s*<td>([^<]*)</td>\s*<td>y</td>", row)
        assert cell, text
        assert html.unescape(cell[1]) == text
        prose = re.sub("</?code>", "`", render(writers.prose_markdown(text)).strip())
        shown = re.fullmatch(r"<p>([^<]*)</p>", prose)
        assert shown, text
        assert html.unescape(shown[1]) == text
    assert render(writers.prose_markdown("`lcrbench run` of a")) == "<p><code>lcrbench run</code> of a</p>\n"


@pytest.mark.parametrize(
    "name", ["irnet+lcr_released", "full_precision", "p = 0.01, 95 %", "a − b: ℓ2 2/255 (primary)"]
)
def test_markdown_escapes_no_more_than_it_must(name: str) -> None:
    assert writers.escape_markdown(name) == name


def test_the_main_table_has_the_known_answers(folder: Path) -> None:
    read = pd.read_csv(folder / "table.csv")
    assert read["method"].tolist() == ["full_precision", "bnn", "irnet", "irnet+lcr", "bnn"]
    for _, row in read.iterrows():
        label = row["method"]
        if "failed" in str(row["note"]):
            assert "diverged at step 90: loss is nan" in row["note"]
            continue
        seeds = (0,) if label == "bnn" else (0, 1)
        clean = [make_store.count(label, s) / make_store.N * 100 for s in seeds]
        assert row["Clean accuracy (%)"] == pytest.approx(sum(clean) / len(clean))
        for head, names in make_store.GROUPS.items():
            column = "Apart extra (%)" if head == "extra" else f"Corruption error {head.replace('common', 'mean')} (%)"
            values = [error(label, s, names) * 100 for s in seeds]
            assert row[column] == pytest.approx(sum(values) / len(values))
        assert row["Corruption error mean (%) n"] == (2 if len(seeds) == 2 else make_store.N)
        assert row["Network Parameters (thousands)"] == 100
        assert row["Network OPs (millions)"] == pytest.approx(10 if label == "full_precision" else 0.4 + 9.6 / 64)
        assert row["Network memory (kB)"] == pytest.approx(400 if label == "full_precision" else 40 + 90 / 8)
    # Two seeds one point apart: t(.975, 1 df) = 12.706 times 1 / 2.
    irnet = read[read["method"] == "irnet"].iloc[0]
    assert irnet["Clean accuracy (%) high"] - irnet["Clean accuracy (%)"] == pytest.approx(12.7062 / 2, abs=1e-3)


def test_another_budget_is_shown_and_not_ranked(folder: Path, store: Store) -> None:
    text = (folder / "table.md").read_text(encoding="utf-8")
    assert "another budget: images 30,000 instead of 60,000" in text
    setting = comparison.read(store).settings[0]
    rows = {(r.label, r.note): r for r in main.table(Context(setting)).rows}
    assert not any(c.mark for (label, _), r in rows.items() if label in ("bnn", "full_precision") for c in r.cells)
    assert rows["irnet+lcr", ""].cells[1].mark == "best"
    assert rows["irnet", ""].cells[1].mark == "second"


def test_equal_printed_values_are_marked_alike() -> None:
    columns = (table.Column("error", "%", better=False, digits=1, scale=100),)
    values = (0.1234, 0.1226, 0.2, 0.3)
    rows = tuple(table.TableRow(str(i), (table.Cell(v),)) for i, v in enumerate(values))
    marked = table.marked(table.Table("t", "c", columns, rows))
    assert [r.cells[0].mark for r in marked.rows] == ["best", "best", "second", ""]
    assert r"\textbf{12.3}" in latex(marked)
    assert latex(marked).count(r"\textbf") == 2
    same = tuple(table.TableRow(str(i), (table.Cell(0.5),)) for i in range(3))
    assert not any(r.cells[0].mark for r in table.marked(table.Table("t", "c", columns, same)).rows)


def test_numbers_in_markdown_have_their_interval_and_n_stands_once(folder: Path) -> None:
    text = (folder / "table.md").read_text(encoding="utf-8")

    def cells(name: str) -> list[str]:
        # The first table with seeds as its unit is the main one.
        table = text[text.index("**fashion-mnist-10k, vgg") :]
        line = next(x for x in table.splitlines() if x.startswith(f"| {name} "))
        return [c.strip() for c in line.strip("|").split("|")]

    assert "(n = 2)" in text[text.index("**fashion-mnist-10k, vgg") :].splitlines()[0]
    assert cells("IR-Net")[2] == "<u>71.5</u> [65.1, 77.9]"
    assert cells("BNN (another budget: images 30,000 instead of 60,000)")[2] == "65.0 [58.2, 71.3] (n=200)"


def test_small_p_values_are_not_printed_as_zero() -> None:
    column = table.Column("p", digits=4, least=True)
    assert [table.number(p, column) for p in (0.0, 1e-9, 0.0123, 1.0)] == ["<0.0001", "<0.0001", "0.0123", "1.0000"]


def test_the_drop_is_paired_over_images(tmp_path: Path) -> None:
    one = make_store.single_seed_store(tmp_path)
    setting = comparison.read(one).settings[0]
    table = main.table(Context(setting, outcomes=significance.Outcomes(one)))
    column = [c.head for c in table.columns].index("Drop")
    cell = next(r for r in table.rows if r.label == "irnet").cells[column]
    cells = [make_store.right("irnet", 0, c, s) for c in make_store.COMMON_RAN for s in make_store.SEVERITIES]
    d = make_store.right("irnet", 0) - np.mean(cells, axis=0)
    assert cell.value == pytest.approx(d.mean())
    assert cell.high == pytest.approx(d.mean() + 1.97196 * d.std(ddof=1) / np.sqrt(len(d)), abs=1e-5)
    assert cell.n == make_store.N


def test_measurements_are_tidy(folder: Path, store: Store) -> None:
    tidy = pd.read_csv(folder / "measurements.csv", keep_default_na=False)
    assert len(tidy) == sum(len(r.measurements) for r in store.records())
    one = tidy[(tidy.metric == "accuracy") & (tidy.corruption == "fog") & (tidy.severity == 3) & (tidy.seed == 1)]
    expected = make_store.count("irnet", 1, "fog", 3) / make_store.N
    assert float(one[one.method == "irnet"].value.iloc[0]) == pytest.approx(expected)
    assert set(tidy.columns) >= {"run_id", "method", "seed", "metric", "value", "low", "high", "n", "unit", "bound"}


def test_parquet_holds_the_same(tmp_path: Path, undrawn: None) -> None:
    pytest.importorskip("pyarrow")
    store = make_store.small_store(tmp_path / "store")
    for label in make_store.HOSTILE:
        make_store.add(store, label, 0, data='a, "quoted"\nname')
    folder = report.write(store, tmp_path / "report").parent
    text = pd.read_csv(
        folder / "measurements.csv",
        keep_default_na=False,
        na_values={"low": [""], "high": [""], "radius": [""], "inner_radius": [""]},
        float_precision="round_trip",
    )
    packed = pd.read_parquet(folder / "measurements.parquet")
    assert list(packed.columns) == list(text.columns)
    assert len(packed) == len(text) == sum(len(r.measurements) for r in store.records())
    assert set(packed["method"]) == set(text["method"]) >= set(map(spreadsheet.cell, make_store.HOSTILE))
    assert packed["low"].isna().any()
    assert packed["value"].dtype == "float64"
    assert packed["seed"].dtype == "int64"
    for column in text:
        # Until pandas 3 words are objects, as which numbers stay numbers.
        kind = str if packed[column].dtype == object else packed[column].dtype
        assert packed[column].equals(text[column].astype(kind)), column


def test_budgets_are_called_identical_only_if_they_are(tmp_path: Path, store: Store) -> None:
    proof = budget_proof.budget_proof(comparison.read(store).settings[0])
    assert not proof.identical
    assert "identical budgets" not in proof.sentence.lower()
    assert "steps, images, forward passes, backward passes, data order" in proof.sentence
    same = comparison.read(store, compare=["irnet", "irnet+lcr"]).settings[0]
    assert budget_proof.budget_proof(same).identical
    assert budget_proof.budget_proof(same).sentence.startswith("Identical budgets")

    from lcrbench.bench.records.store import Store as AStore

    for name, change in {
        "initial weights": {"initial": "e" * 64},
        "forward passes": {"teacher": 60_000},
    }.items():
        other = AStore(tmp_path / name.replace(" ", "-"), create=True)
        make_store.add(other, "irnet", 0)
        make_store.add(other, "irnet+lcr", 0, **change)
        proof = budget_proof.budget_proof(comparison.read(other).settings[0])
        assert not proof.identical
        assert proof.sentence == f"The budgets are not identical; these fields differ: {name}."


def test_seeds_without_overlap_prove_nothing(tmp_path: Path) -> None:
    other = Store(tmp_path, create=True)
    make_store.add(other, "irnet", 0)
    make_store.add(other, "irnet+lcr", 1)
    proof = budget_proof.budget_proof(comparison.read(other).settings[0])
    assert not proof.identical
    assert "data order" in proof.sentence


def test_compare_orders_and_restricts(store: Store) -> None:
    compared = comparison.read(store, compare=["irnet", "full_precision"])
    assert compared.labels == ["irnet", "full_precision"]
    assert compared.settings[0].reference is not None
    assert compared.settings[0].reference.label == "irnet"
    with pytest.raises(UserError, match="did you mean 'irnet'"):
        comparison.read(store, compare=["irnett"])
    one = comparison.read(store, runs=[store.ids()[0]])
    assert len(one.runs) == 1


def test_runs_of_several_machines_are_told_in_one_line(tmp_path: Path, undrawn: None) -> None:
    def store_of(name: str, *changes: dict[str, object]) -> Store:
        store = Store(tmp_path / name, create=True)
        for seed, change in enumerate(changes):
            record, files = make_store.make("irnet", seed)
            made = record.provenance.model_copy(update=change)
            make_store.write(store, record.model_copy(update={"provenance": made}), files)
        return store

    cpu = {"device": "cpu", "versions": {"torch": "2.6.0", "machine": "Linux x86_64"}}
    cuda = {"device": "cuda:1", "device_name": "an accelerator", "versions": {"torch": "2.7.0"}}
    mixed = store_of("mixed", cpu, cuda, {**cpu, "versions": {"torch": "2.6.0", "machine": "Linux aarch64"}})
    line = (
        "The runs mix device kinds (cpu, cuda), torch versions (2.6.0, 2.7.0) and processor kinds (Linux aarch64, Linux "
        "x86_64): their numbers are close, and equal to the bit only within one of each."
    )
    assert comparison.read(mixed).settings[0].notes == (line,)
    page = report.write(mixed, tmp_path / "report").read_text(encoding="utf-8")
    assert "Devices and versions" in page
    assert page.count(line) == 2, "once in the setting, once in the notes"
    # Two devices of one kind are alike, and what an older record does not tell is no difference.
    alike = store_of("alike", {**cuda, "device": "cuda:0"}, cuda, {**cuda, "device_name": ""})
    assert comparison.read(alike).settings[0].notes == ()
    page = report.write(alike, tmp_path / "report").read_text(encoding="utf-8")
    assert "Devices and versions" not in page


def test_csv_reads_back(folder: Path) -> None:
    for name in ("differences.csv", "corruptions.csv", "budget.csv", "heatmap.csv", "corruption_curves.csv"):
        with (folder / name).open(encoding="utf-8") as file:
            rows = list(csv.reader(file))
        assert len(rows) > 1
        assert len({len(r) for r in rows}) == 1
