r"""A table as a LaTeX float (booktabs) at 8 pt, in its natural width and within the text of a two-column article.

What would be wider is laid out again: headings are broken and turned, and what is then still too wide stands in blocks
below one another, each with the labels of the rows. Nothing is scaled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lcrbench.reports.paper.widths import width
from lcrbench.reports.table import Cell, Column, Table, TableRow, bounds, counts, number, worded
from lcrbench.reports.writers import escape_latex

Intervals = Literal["pm", "ci", "none"]
TEXT_WIDTH = 452.0
r"""Points of `\textwidth` in `\documentclass[twocolumn,a4paper]{article}`; other classes for two columns have more."""
ROOM = TEXT_WIDTH - 6
SEPARATIONS = (3.0, 2.0)
LABEL, SENTENCE = 104.0, 120.0
"""Points that a column of labels, and one of sentences, may take at most."""
LONG_WORD = 14

PREAMBLE = r"""% Made by lcrbench from records. It needs \usepackage[T1]{fontenc} and \usepackage{booktabs,graphicx}.
"""


@dataclass(frozen=True)
class _Column:
    """A column as it is laid out: its width in points, and its heading's lines, or one line that is turned."""

    width: float
    heading: tuple[str, ...]
    turned: bool
    sentence: bool


def latex(table: Table, *, intervals: Intervals = "ci", label: str = "") -> str:
    r"""Return the table as a float with `\label{tab:...}`.

    `intervals`: "pm" prints the standard deviation over seeds behind the value, "ci" the interval below it, "none" neither.
    Columns that are not for `paper` are left out. The best is bold and the second underlined, ties alike.
    """
    chosen = [j for j, c in enumerate(table.columns) if c.paper]
    n = counts(table)
    laid = {j: _laid_out(table, j, intervals, n.columns.get(j) if intervals == "ci" else None) for j in chosen}
    labels = min(LABEL, max(width(t) for t in [table.first, *(_label_text(r) for r in table.rows)]))
    # What fits in one piece a little closer together need not be broken up.
    apart, blocks = min(
        ((apart, _blocks(chosen, laid, labels, apart)) for apart in SEPARATIONS), key=lambda tried: len(tried[1])
    )
    body: list[str] = []
    for k, block in enumerate(blocks):
        body += [r"\par\smallskip"] * bool(k) + _tabular(table, block, laid, intervals, apart)
    notes = [*table.notes, *_asides(table)]
    count = f" ({n.text.replace('n', '$n$', 1)})" if n.text and intervals == "ci" else ""
    lines = [
        PREAMBLE.rstrip("\n"),
        r"\begin{table*}[t]",
        r"\centering",
        rf"\caption{{{escape_latex(table.caption.rstrip('.'))}{count}.}}",
        rf"\label{{tab:{label or table.name}}}",
        r"\fontsize{8}{9.6}\selectfont",
        rf"\setlength{{\tabcolsep}}{{{apart:g}pt}}",
        *body,
    ]
    if notes:
        lines += [
            r"\par\smallskip\begin{minipage}{\textwidth}\raggedright",
            *[escape_latex(note) + r"\par" for note in notes],
            r"\end{minipage}",
        ]
    return "\n".join([*lines, r"\end{table*}"]) + "\n"


def _label_text(row: TableRow) -> str:
    return row.shown + "†" * bool(row.note and row.row)


def _asides(table: Table) -> list[str]:
    asides = [f"{r.shown}: {r.note}" for r in table.rows if r.note and r.row]
    failed = [f"{r.shown}: {r.failed}" for r in table.rows if r.failed and r.cells]
    said = [f"Not ranked (†): {'; '.join(asides)}."] if asides else []
    return said + ([f"Failed runs: {'; '.join(failed)}."] if failed else [])


def _laid_out(table: Table, j: int, intervals: Intervals, n: int | None) -> _Column:
    """Return how wide a column is, and its heading in lines no wider than its numbers where words can be broken.

    `n` is that of the column where it is another than the table's.
    """
    column = table.columns[j]
    if worded(table, j):
        return _Column(SENTENCE, (column.shown,), turned=False, sentence=True)
    cells = [r.cells[j] for r in table.rows if r.cells]
    numbers = max([_width(c, column, intervals) for c in cells], default=0.0)
    words = [*column.shown.split(), *([column.unit] if column.unit else []), *([f"n={n:,}"] if n else [])]
    widest = max(width(w) for w in words) if words else 0.0
    # A heading above is shared by its columns, of which a block may hold one alone.
    spanned = sum(c.head == column.head for c in table.columns) if column.head else 0
    widest = max(widest, width(column.head) * (1.0 if spanned == 1 else 0.6))
    if column.turn:
        return _Column(max(numbers, 11.0), (column.shown,), turned=True, sentence=False)
    lines, most = [""], max(numbers, widest)
    for word in words:
        longer = f"{lines[-1]} {word}".strip()
        lines = [*lines[:-1], longer] if width(longer) <= most or not lines[-1] else [*lines, word]
    return _Column(most, tuple(lines), turned=False, sentence=False)


def _blocks(chosen: Sequence[int], laid: dict[int, _Column], labels: float, apart: float) -> list[list[int]]:
    """Return the columns in blocks, each of which the text has room for; of several, the columns are shared out evenly."""

    def filled(room: float) -> list[list[int]]:
        blocks: list[list[int]] = [[]]
        used = labels
        for j in chosen:
            takes = laid[j].width + 2 * apart
            if blocks[-1] and used + takes > room:
                blocks.append([])
                used = labels
            blocks[-1].append(j)
            used += takes
        return blocks

    blocks = filled(ROOM)
    if len(blocks) > 1:
        total = sum(laid[j].width + 2 * apart for j in chosen)
        widest = max(laid[j].width + 2 * apart for j in chosen)
        even = filled(min(ROOM, labels + total / len(blocks) + widest / 2))
        blocks = even if len(even) == len(blocks) else blocks
    return blocks


def _tabular(table: Table, block: list[int], laid: dict[int, _Column], intervals: Intervals, apart: float) -> list[str]:
    columns = [table.columns[j] for j in block]
    sides = "".join(
        rf"p{{{laid[j].width:g}pt}}" if laid[j].sentence else "l" if _textual(table, j) else "r" for j in block
    )
    wrapped = any(width(_label_text(r)) > LABEL for r in table.rows)
    first = rf"p{{{LABEL:g}pt}}" if wrapped else "l"
    lines = [
        rf"\begin{{tabular}}{{@{{}}{first}{sides}@{{}}}}",
        r"\toprule",
        *_heads(columns),
        *_titles(table, block, laid),
        r"\midrule",
    ]
    before = None
    room = sum(laid[j].width for j in block) + 2 * apart * (len(block) - 1)
    for row in table.rows:
        kind = row.row.binary if row.row is not None and row.cells else before
        if before is not None and kind != before:
            lines.append(r"\midrule")
        before = kind
        lines += _line(table, row, block, intervals, room, wrapped)
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _line(table: Table, row: TableRow, block: list[int], intervals: Intervals, room: float, wrapped: bool) -> list[str]:
    label = (_broken(row.shown) if wrapped else escape_latex(row.shown)) + (
        r"$^{\dagger}$" if row.note and row.row else ""
    )
    if not row.cells:
        said = _broken(row.failed)
        return [
            rf"{label} & \multicolumn{{{len(block)}}}{{p{{{room:.0f}pt}}@{{}}}}{{{{\raggedright\emph{{{said}}}\par}}}} \\"
        ]
    values, below = [label], [""]
    for j in block:
        cell, column = row.cells[j], table.columns[j]
        shown = escape_latex(_value(cell, column, "none"))
        shown = {"best": rf"\textbf{{{shown}}}", "second": rf"\underline{{{shown}}}"}.get(cell.mark, shown)
        if intervals == "pm" and (spread := _spread(cell, column)):
            shown += rf"\,$\pm$\,{escape_latex(spread)}"
        values.append(shown)
        below.append(escape_latex(_below(cell, column, intervals)))
    lines = [" & ".join(values) + r" \\"]
    return [*lines, " & ".join(below) + r" \\[1.5pt]"] if any(below) else lines


def _width(cell: Cell, column: Column, intervals: Intervals) -> float:
    """Return the points that a cell takes: the value may be bold, and thin spaces stand around the sign."""
    value, spread = width(_value(cell, column, "none"), bold=True), _spread(cell, column) if intervals == "pm" else ""
    return max(value + (width(f"±{spread}") + 4.0 if spread else 0.0), width(_below(cell, column, intervals)))


def _value(cell: Cell, column: Column, intervals: Intervals) -> str:
    if cell.value is None:
        return cell.text or "–"
    spread = _spread(cell, column) if intervals == "pm" else ""
    return number(cell.value, column) + (f" ± {spread}" if spread else "")


def _spread(cell: Cell, column: Column) -> str:
    return number(cell.spread, column) if cell.spread is not None else ""


def _below(cell: Cell, column: Column, intervals: Intervals) -> str:
    return bounds(cell, column) if intervals == "ci" else ""


def _textual(table: Table, j: int) -> bool:
    return all(r.cells[j].value is None for r in table.rows if r.cells)


def _titles(table: Table, block: list[int], laid: dict[int, _Column]) -> list[str]:
    """Return the line of headings: several lines of one heading stand in a small tabular of their own."""
    made = [escape_latex(table.first)]
    for j in block:
        side = "l" if laid[j].sentence or _textual(table, j) else "r"
        lines = [escape_latex(line) for line in laid[j].heading]
        if laid[j].turned:
            made.append(rf"\rotatebox{{90}}{{{lines[0]}}}")
        elif len(lines) > 1:
            made.append(rf"\begin{{tabular}}[b]{{@{{}}{side}@{{}}}}" + r"\\".join(lines) + r"\end{tabular}")
        else:
            made.append(lines[0])
    return [" & ".join(made) + r" \\"]


def _heads(columns: Sequence[Column]) -> list[str]:
    """Return the line of headings that span columns, with their rules; nothing if there is none."""
    if not any(c.head for c in columns):
        return []
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
    return [" & ".join(cells) + r" \\ " + " ".join(rules)] if rules else []


def _broken(text: str) -> str:
    r"""Return text for a narrow column: words that have no place to break get one."""
    words = []
    for word in text.split():
        parts = [word[k : k + LONG_WORD] for k in range(0, len(word), LONG_WORD)]
        words.append(r"\hspace{0pt}".join(escape_latex(part) for part in parts))
    return " ".join(words)
