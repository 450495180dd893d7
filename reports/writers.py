"""A table as Markdown or a data frame, and text as plain Markdown or LaTeX; what comes from a record is escaped."""

from __future__ import annotations

import re
import unicodedata

import pandas as pd

from lcrbench.reports.budget_proof import Proof
from lcrbench.reports.table import Cell, Column, Table, bounds, counts, number, worded
from lcrbench.reports.words import CODE
from lcrbench.untrusted import shown

# What GitHub's Markdown may read as markup inside a line: an underscore within a word, as in names, is none.
_MARKUP = re.compile(r"[\\`*|~$\[\]]|_(?<![^\W_]_)|_(?![^\W_])")
# What it may read as a heading, a quotation, a rule or an item of a list where it begins a line.
_OPENING = re.compile(r"^(?:>|#{1,6}(?=\s|$)|[+-](?=\s|$)|-(?=[ -]*$)|=(?==*$)|\d+(?=[.)](?:\s|$)))")
_ENTITY = re.compile(r"&(?=#|\w)")


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "−": r"$-$",
    "–": "--",
    "∞": r"$\infty$",
    "ℓ": r"$\ell$",
    "×": r"$\times$",
    "±": r"$\pm$",
    "†": r"$\dagger$",
    "σ": r"$\sigma$",
    "‖": r"$\|$",
    "’": "'",
    "…": "...",
    '"': r"\textquotedbl{}",
    "\n": " ",
}


def escape_markdown(text: str) -> str:
    """Return untrusted text as plain Markdown: nothing in it is markup or HTML, and it stays on one line.

    >>> escape_markdown("a|b <i>"), escape_markdown("irnet+lcr_fixed")
    ('a\\\\|b &lt;i>', 'irnet+lcr_fixed')
    """
    return _unopened(_escaped(shown(" ".join(text.split()))))


def _escaped(text: str) -> str:
    return _MARKUP.sub(r"\\\g<0>", _ENTITY.sub("&amp;", text)).replace("<", "&lt;")


def _unopened(line: str) -> str:
    return _OPENING.sub(lambda m: f"{m[0]}\\" if m[0].isdigit() else f"\\{m[0]}", line)


def prose_markdown(text: str) -> str:
    """Return a sentence of ours as Markdown: what stands in backticks stays code, everything else is escaped.

    >>> prose_markdown("`lcrbench run` of a_b*")
    '`lcrbench run` of a_b\\\\*'
    """
    parts = CODE.split(" ".join(text.split()))
    return _unopened("".join(f"`{t}`" if i % 2 else _escaped(t) for i, t in enumerate(parts)))


def escape_latex(text: str) -> str:
    r"""Return untrusted text as plain LaTeX text.

    >>> escape_latex("50 % of a_b")
    '50 \\% of a\\_b'
    """
    return "".join(_LATEX.get(c) or _plain_latex(c) for c in " ".join(text.split()))


def _plain_latex(character: str) -> str:
    """Return a character that utf8 and T1 read, or what is left of it without its accents, or a question mark."""
    if character.isascii():
        return character if character.isprintable() else "?"
    if character <= "\u017e" and character.isalpha():
        return character
    reduced = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return "".join(_LATEX.get(c, c) for c in reduced) or "?"


def markdown(table: Table) -> str:
    """Return the table in GitHub's Markdown: value and interval in each cell, n once, and where another one holds."""
    n = counts(table)
    head = [table.first, *[_title(c, n.columns.get(j)) for j, c in enumerate(table.columns)]]
    sides = [":--", *[":--" if worded(table, j) else "--:" for j in range(len(table.columns))]]
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join(sides) + "|"]
    for row in table.rows:
        label = _linked(escape_markdown(row.shown), row.href)
        if row.note and row.row:
            label += f" ({escape_markdown(row.note)})"
        if not row.cells:
            cells = [f"*{escape_markdown(row.failed)}*", *[""] * (len(table.columns) - 1)]
        else:
            cells = [_markdown_cell(c, table.columns[j], n.of(j)) for j, c in enumerate(row.cells)]
            if row.failed:
                label += f" — *{escape_markdown(row.failed)}*"
        lines.append("| " + " | ".join([label, *cells]) + " |")
    notes = "".join(f"\n{prose_markdown(n)}\n" for n in table.notes)
    said = f"**{escape_markdown(table.caption)}**" + (f" ({n.text})" if n.text else "")
    return said + "\n\n" + "\n".join(lines) + "\n" + notes


def _markdown_cell(cell: Cell, column: Column, expected: int | None) -> str:
    if cell.value is None:
        return _linked(escape_markdown(cell.text or "–"), cell.href)
    shown = number(cell.value, column)
    shown = {"best": f"**{shown}**", "second": f"<u>{shown}</u>"}.get(cell.mark, shown)
    interval = bounds(cell, column)
    n = f" (n={cell.n:,})" if cell.n and interval and cell.n != expected else ""
    return f"{shown} {interval}{n}".strip()


def _linked(text: str, address: str) -> str:
    return f"[{text}]({address})" if address else text


def _title(column: Column, n: int | None) -> str:
    title = f"{column.head}: {column.shown}" if column.head else column.shown
    return escape_markdown(", ".join(part for part in (title, column.unit, f"n = {n:,}" if n else "") if part))


def proof_markdown(proof: Proof) -> str:
    """Return the budget table in Markdown."""
    head = ["Budget", "equal", *[escape_markdown(label) for label in proof.labels]]
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join([":--"] * len(head)) + "|"]
    for field in proof.shown:
        cells = [field.name, "yes" if field.equal else "**differs**", *[escape_markdown(v) for v in field.values]]
        lines.append("| " + " | ".join(cells) + " |")
    for name, values in proof.seconds:
        lines.append("| " + " | ".join([f"seconds, {name}", "", *[escape_markdown(v) for v in values]]) + " |")
    return f"**{escape_markdown(proof.sentence)}**\n\n" + "\n".join(lines) + "\n"


def frame(table: Table) -> pd.DataFrame:
    """Return the table with every method, numbers as numbers: for each column its value, low, high and n, in its unit."""
    apart = {table.apart: table.caption} if table.apart else {}
    table = table.whole or table
    rows = []
    for row in table.rows:
        line: dict[str, object] = {table.first.lower(): row.label}
        for column, cell in zip(table.columns, row.cells, strict=False):
            name = column_name(column)
            if cell.value is None:
                line[name] = cell.text or None
                continue
            line[name] = cell.value * column.scale
            if cell.low is not None or cell.high is not None:
                line[f"{name} low"] = None if cell.low is None else cell.low * column.scale
                line[f"{name} high"] = None if cell.high is None else cell.high * column.scale
            line[f"{name} n"] = cell.n
        rows.append(line | {"note": "; ".join(t for t in (row.note, row.failed) if t)})
    return pd.DataFrame(rows).assign(**apart)


def column_name(column: Column) -> str:
    """Return what a column of data is called: heading, title and unit."""
    return f"{column.head} {column.title}".strip() + (f" ({column.unit})" if column.unit else "")
