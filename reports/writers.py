"""A table as Markdown, LaTeX (booktabs) or a data frame, with everything that comes from a record escaped."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

import pandas as pd

from lcrbench.reports.budget_proof import Proof
from lcrbench.reports.table import Cell, Column, Table, bounds, number, worded
from lcrbench.reports.words import CODE

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
    return _unopened(_escaped(" ".join(text.split())))


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
    """Return the table in GitHub's Markdown, n and interval in each cell."""
    head = [table.first, *[_title(c, escape_markdown) for c in table.columns]]
    sides = [":--", *[":--" if worded(table, j) else "--:" for j in range(len(table.columns))]]
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join(sides) + "|"]
    for row in table.rows:
        label = _linked(escape_markdown(row.label), row.href)
        if row.note and row.row:
            label += f" ({escape_markdown(row.note)})"
        if not row.cells:
            cells = [f"*{escape_markdown(row.failed)}*", *[""] * (len(table.columns) - 1)]
        else:
            cells = [_markdown_cell(cell, column) for cell, column in zip(row.cells, table.columns, strict=True)]
            if row.failed:
                label += f" — *{escape_markdown(row.failed)}*"
        lines.append("| " + " | ".join([label, *cells]) + " |")
    notes = "".join(f"\n{prose_markdown(n)}\n" for n in table.notes)
    return f"**{escape_markdown(table.caption)}**\n\n" + "\n".join(lines) + "\n" + notes


def _markdown_cell(cell: Cell, column: Column) -> str:
    if cell.value is None:
        return _linked(escape_markdown(cell.text or "–"), cell.href)
    shown = number(cell.value, column)
    shown = {"best": f"**{shown}**", "second": f"<u>{shown}</u>"}.get(cell.mark, shown)
    interval = bounds(cell, column)
    n = f" (n={cell.n:,})" if cell.n and interval else ""
    return f"{shown} {interval}{n}".strip()


def _linked(text: str, address: str) -> str:
    return f"[{text}]({address})" if address else text


def _title(column: Column, escape: Callable[[str], str]) -> str:
    title = f"{column.head}: {column.title}" if column.head else column.title
    return escape(f"{title}, {column.unit}" if column.unit else title)


LATEX_PREAMBLE = r"""% Made by lcrbench from records. It compiles as it is:
%   \documentclass{article}
%   \usepackage[T1]{fontenc}
%   \usepackage[utf8]{inputenc}
%   \usepackage{booktabs,graphicx}
%   \begin{document} \input{table} \end{document}
"""


def latex(table: Table) -> str:
    """Return the table as a LaTeX float (booktabs): value above, interval below it in small type, n under the title.

    Columns that are not for `paper` are left out. The best is bold and the second underlined, ties alike.
    """
    chosen = [j for j, c in enumerate(table.columns) if c.paper]
    columns = [table.columns[j] for j in chosen]
    heads = _latex_heads(columns)
    titles = " & ".join([escape_latex(table.first), *[escape_latex(c.title) for c in columns]]) + r" \\"
    units = " & ".join(["", *[rf"{{\scriptsize {escape_latex(c.unit)}}}" if c.unit else "" for c in columns]]) + r" \\"
    common_n = [_common_n([r.cells[j] for r in table.rows if r.cells]) for j in chosen]
    body = []
    for row in table.rows:
        label = escape_latex(row.label) + (r"$^{\dagger}$" if row.note and row.row else "")
        if not row.cells:
            body.append(rf"{label} & \multicolumn{{{len(columns)}}}{{l}}{{\emph{{{escape_latex(row.failed)}}}}} \\")
            continue
        values, intervals = [label], [""]
        for j, column, n in zip(chosen, columns, common_n, strict=True):
            cell = row.cells[j]
            shown = escape_latex(number(cell.value, column) if cell.value is not None else cell.text or "–")
            shown = {"best": rf"\textbf{{{shown}}}", "second": rf"\underline{{{shown}}}"}.get(cell.mark, shown)
            values.append(shown)
            small = escape_latex(bounds(cell, column))
            if small and n is None and cell.n:
                small += rf" $n{{=}}{cell.n}$"
            intervals.append(rf"{{\scriptsize {small}}}" if small else "")
        body.append(" & ".join(values) + r" \\")
        if any(intervals):
            body.append(" & ".join(intervals) + r" \\[2pt]")
    asides = [f"{r.label}: {r.note}" for r in table.rows if r.note and r.row]
    failed = [f"{r.label}: {r.failed}" for r in table.rows if r.failed and r.cells]
    notes = [*table.notes]
    notes += [f"Not ranked: {'; '.join(asides)}."] if asides else []
    notes += [f"Failed runs: {'; '.join(failed)}."] if failed else []
    counts = [rf"{{\scriptsize $n={n}$}}" if n else "" for n in common_n]
    lines = [
        r"\begin{table*}[t]",
        r"\centering",
        rf"\caption{{{escape_latex(table.caption)}}}",
        r"\setlength{\tabcolsep}{4pt}",
        r"\resizebox{\textwidth}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * len(columns)}}}",
        r"\toprule",
        *([heads] if heads else []),
        titles,
        *([units] if any(c.unit for c in columns) else []),
        *([" & ".join(["", *counts]) + r" \\"] if any(counts) else []),
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}}",
        r"\par\medskip\begin{minipage}{\textwidth}\footnotesize",
        *[escape_latex(n) + (r"\\" if i < len(notes) - 1 else "") for i, n in enumerate(notes)],
        r"\end{minipage}",
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def _latex_heads(columns: Sequence[Column]) -> str:
    """Return the line of headings that span columns, with their rules; empty if there is none."""
    if not any(c.head for c in columns):
        return ""
    cells, rules, i = [""], [], 0
    while i < len(columns):
        j = i
        while j < len(columns) and columns[j].head == columns[i].head:
            j += 1
        if columns[i].head:
            cells.append(rf"\multicolumn{{{j - i}}}{{c}}{{{escape_latex(columns[i].head)}}}")
            rules.append(rf"\cmidrule(lr){{{i + 2}-{j + 1}}}")
        else:
            cells += [""] * (j - i)
        i = j
    return " & ".join(cells) + r" \\ " + " ".join(rules)


def _common_n(cells: Sequence[Cell]) -> int | None:
    found = {c.n for c in cells if c.value is not None and bool(c.low is not None or c.high is not None)}
    return found.pop() if len(found) == 1 else None


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
            name = f"{column.head} {column.title}".strip() + (f" ({column.unit})" if column.unit else "")
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
