"""The files of a report beside its page: tables in each format, the list of what was written, and the clearing up."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lcrbench.bench.records.files import replace_file
from lcrbench.reports import spreadsheet, writers
from lcrbench.reports.page import Section
from lcrbench.reports.stamp import MANIFEST
from lcrbench.reports.table import Table
from lcrbench.untrusted import json_of, small_file

_OURS = re.compile(r"(setting-\d+/)?[a-z0-9_-]+\.(md|tex|csv|parquet|png|svg|pdf)")
ABOUT = {
    "table.md": "the tables in Markdown",
    "table.tex": "the tables in LaTeX (booktabs)",
    "table.csv": "the main table, numbers as numbers",
    "corruptions.csv": "the table by corruption",
    "published.csv": "our clean accuracy and the published one",
    "differences.csv": "the differences with intervals and p-values",
    "budget.csv": "the budget table",
    "measurements.csv": "everything that was measured, one row a run and measurement",
    "measurements.parquet": "the same as Parquet",
}


def write_tables(section: Section, folder: Path) -> list[str]:
    """Write a setting's tables; returns the files' names."""
    # A table without a line says why there is none, which Markdown has room for and a paper has not.
    text = [f"# {writers.escape_markdown(section.setting.title)}\n"]
    text.append(section.summary and writers.escape_markdown(section.summary) + "\n")
    text += [writers.markdown(p.table) for p in section.tables if "md" in p.formats]
    text.append(writers.proof_markdown(section.proof))
    (folder / "table.md").write_text("\n".join(text), encoding="utf-8")
    paper = [writers.latex(p.table) for p in section.tables if "tex" in p.formats and p.table.rows]
    (folder / "table.tex").write_text("\n".join([writers.LATEX_PREAMBLE, *paper]), encoding="utf-8")
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
    return ["table.md", "table.tex", *files, "budget.csv"]


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


def clear(out: Path, written: set[str], stamp: str) -> None:
    """Remove what an earlier report wrote here and this one did not, and nothing else; then list what there is now.

    The list is what `stamp.stands` reads.
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
    replace_file(manifest, (json.dumps({"stamp": stamp, "files": sorted(written)}, indent=1) + "\n").encode())
