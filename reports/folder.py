"""The files of a report beside its page: tables in each format, the list of what was written, and the clearing up."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from lcrbench.bench.records.files import replace_file
from lcrbench.reports import spreadsheet, writers
from lcrbench.reports.context import Context
from lcrbench.reports.page import Section
from lcrbench.reports.paper import latex, paper_table
from lcrbench.reports.paper.text import notes, terminal
from lcrbench.reports.stamp import MANIFEST, TERMINAL
from lcrbench.reports.table import Table
from lcrbench.untrusted import json_of, small_file

_OURS = re.compile(r"(setting-\d+/)?[a-z0-9_-]+\.(md|tex|txt|csv|parquet|png|svg|pdf)")
ABOUT = {
    "table.md": "the tables in Markdown",
    "table_main.tex": "accuracy and corruption error for a paper (LaTeX, booktabs)",
    "table_corruptions.tex": "the error of each corruption for a paper",
    "table_lipschitz.tex": "Lipschitz figures for a paper",
    "table_cost.tex": "size and cost for a paper",
    "table.txt": "the main table as plain text",
    "table.csv": "the main table, numbers as numbers",
    "corruptions.csv": "the table by corruption",
    "published.csv": "our clean accuracy and the published one",
    "differences.csv": "the differences with intervals and p-values",
    "budget.csv": "the budget table",
    "measurements.csv": "everything that was measured, one row a run and measurement",
    "measurements.parquet": "the same as Parquet",
}


def write_tables(section: Section, folder: Path, paper: Mapping[str, str]) -> list[str]:
    """Write a setting's tables, those for a `paper` by the names of their styles; returns the files' names."""
    text = [f"# {writers.escape_markdown(section.setting.title)}\n"]
    text.append(section.summary and writers.escape_markdown(section.summary) + "\n")
    text += [writers.markdown(p.table) for p in section.tables if "md" in p.formats]
    text.append(writers.proof_markdown(section.proof))
    (folder / "table.md").write_text("\n".join(text), encoding="utf-8")
    tex = {f"table_{style}.tex": made for style, made in paper.items()}
    # A table without a line says why there is none, which Markdown has room for and a paper has not.
    tex |= {
        f"{p.table.name}.tex": latex(p.table)
        for p in section.tables
        if "tex" in p.formats and p.table.rows and p.table.name not in paper
    }
    for name, made in tex.items():
        (folder / name).write_text(made, encoding="utf-8")
    files: dict[str, list[pd.DataFrame]] = {}
    for p in section.tables:
        if "csv" in p.formats:
            files.setdefault(file_of(p.table), []).append(writers.frame(p.table))
    for name, frames in files.items():
        spreadsheet.write(pd.concat(frames, ignore_index=True), folder / name)
    proof = section.proof
    rows = [
        {"field": f.name, "equal": f.equal} | dict(zip(map(str, range(len(f.values))), f.values, strict=True))
        for f in proof.shown
    ]
    labels = {str(i): label for i, label in enumerate(proof.labels)}
    spreadsheet.write(pd.DataFrame(rows).rename(columns=labels), folder / "budget.csv")
    return ["table.md", *tex, *files, "budget.csv"]


def write_terminal(context: Context, folder: Path) -> str:
    """Write the main table as `lcrbench run` prints it at its end; returns the file's name, "" where there is no table."""
    made = paper_table(context, "main", marks=False)
    if made is None:
        return ""
    blocks = [made.caption, terminal(made, "pm"), "\n".join(" ".join(note.split()) for note in notes(made))]
    (folder / TERMINAL).write_text("\n\n".join(filter(None, blocks)) + "\n", encoding="utf-8")
    return TERMINAL


def file_of(table: Table) -> str:
    """Return the name of a table's CSV file."""
    return f"{table.file or f'{table.name}_table'}.csv"


def listing(sections: Sequence[Section], written: set[str]) -> list[tuple[str, str]]:
    """Return the files of the first setting that the page lists, each with what it holds."""
    about = dict(ABOUT)
    for p in sections[0].tables if sections else ():
        if "csv" in p.formats:
            about.setdefault(file_of(p.table), (p.table.title or p.table.caption).partition(". ")[0].rstrip("."))
    return [(name, what) for name, what in about.items() if name in written]


def clear(out: Path, written: set[str], stamp: str, about: Mapping[str, object]) -> None:
    """Remove what an earlier report wrote here and this one did not, and nothing else; then list what there is now.

    The list is what `stamp.stands` reads; `about` says in it what the report is of, for the index of a store's reports.
    """
    manifest = out / MANIFEST
    try:
        earlier = json_of(small_file(manifest), MANIFEST)["files"]
    except (OSError, ValueError, KeyError, TypeError):
        earlier = []
    for name in earlier if isinstance(earlier, list) else ():
        # The list is a file that anybody may have edited: only plain names of our own depth are followed.
        if name in written or not isinstance(name, str) or not _OURS.fullmatch(name):
            continue
        path = out / name
        if path.parent.is_symlink() or not (path.is_file() or path.is_symlink()):
            continue
        path.unlink()
        if path.parent != out and not any(path.parent.iterdir()):
            path.parent.rmdir()
    replace_file(
        manifest,
        (json.dumps({"stamp": stamp, "about": dict(about), "files": sorted(written)}, indent=1) + "\n").encode(),
    )
