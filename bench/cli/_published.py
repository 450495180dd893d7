"""The papers and published numbers as `show published` and `show method` print them."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import indent

from lcrbench.errors import unknown
from lcrbench.reports import published
from lcrbench.reports.published import Paper, Published

HEAD = ("method", "data", "network", "top-1", "top-5", "epochs (read in)", "beside a run")


def every() -> str:
    """Return all papers with their numbers."""
    groups = [of_paper(paper) for paper in published.papers().values()]
    groups.append("Of no paper\n" + _table(published.of_paper("")))
    return "\n\n".join([*groups, _end()])


def _end() -> str:
    ready = sum(not p.kept_back for p in published.numbers())
    said = f"{ready} of {len(published.numbers())} numbers may stand beside a run, of the same form, data and topology."
    unknown = [d.title for d in published.data_sets().values() if not d.official]
    if unknown:
        said += (
            f"\nOf {' and '.join(unknown)} the hash of the official data is not known yet (lcrbench show data PATH)."
        )
    return said


def of_entry(name: str) -> str:
    """Return the paper of a method or regularizer with its numbers; empty if none is known."""
    paper = published.paper_of(name)
    return of_paper(paper) if paper else ""


def of_name(name: str) -> str:
    """Return what is known of a paper, by its id or by an entry that it describes. Raises `UserError` if there is none."""
    paper = published.papers().get(name) or published.paper_of(name)
    if paper is not None:
        return of_paper(paper)
    found = [p for p in published.of_paper("") if p.method == name]
    if not found:
        entries = {entry for p in published.papers().values() for entry in (p.id, *p.entries)}
        raise unknown("publication", name, sorted(entries | {p.method for p in published.of_paper("")}))
    return _table(found)


def of_paper(paper: Paper) -> str:
    """Return a paper, its addresses and its numbers."""
    whose = "code" if paper.by_authors else "code, by others"
    lines = [
        f"{paper.title}",
        f"  {paper.short}, arXiv {paper.arxiv}: {paper.link}",
        f"  {whose}: {paper.code} (read at {paper.commit})" if paper.code else "  code: none was read",
    ]
    found = published.of_paper(paper.id)
    return "\n".join([*lines, _table(found) if found else "  published numbers: none here"])


def _beside(p: Published) -> str:
    """Return in a word whether a number may stand beside a run."""
    if not p.kept_back:
        return "yes"
    if p.certainty != "readme":
        return "no, not verified"
    return "no, see note" if p.note else "no, not built" if not p.built else "no, data not known"


def _table(numbers: Sequence[Published]) -> str:
    """Return numbers as aligned columns, each with its topology and its source where that is not the paper's README."""
    rows = [
        (
            p.label,
            published.data_sets()[p.data].title,
            p.network,
            f"{p.top1:.2f}",
            f"{p.top5:.2f}" if p.top5 else "–",
            p.told_epochs,
            _beside(p),
        )
        for p in numbers
    ]
    widths = [max(len(row[i]) for row in [HEAD, *rows]) for i in range(len(HEAD))]

    def line(row: Sequence[str]) -> str:
        cells = [f"{t:>{w}}" if i in (3, 4) else f"{t:{w}}" for i, (t, w) in enumerate(zip(row, widths, strict=True))]
        return "  ".join(cells).rstrip()

    lines = [line(HEAD)]
    for p, row in zip(numbers, rows, strict=True):
        lines.append(line(row))
        said = [p.network_text] if p.topology else []
        said += [f"note: {p.note}"] if p.note else []
        said += [f"read in: {p.read_in}"] if p.read_in else []
        lines += [f"  {text}" for text in said]
    return indent("\n".join(lines), "  ")
