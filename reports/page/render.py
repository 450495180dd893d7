"""One HTML file from the same tables and figures as the files beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from lcrbench import __version__
from lcrbench.reports import spreadsheet
from lcrbench.reports.budget_proof import Proof
from lcrbench.reports.claims import Judged
from lcrbench.reports.colours import css
from lcrbench.reports.comparison import COMMON, MOST_COLUMNS, Comparison, Setting
from lcrbench.reports.entries import QUESTIONS, SECTIONS
from lcrbench.reports.page.view import Drawn, figure, first, mark, parts, prose, refs, view
from lcrbench.reports.table import Table
from lcrbench.reports.words.claim import hardest
from lcrbench.reports.words.findings import Finding
from lcrbench.reports.words.notes import Note

# Of the figures' data so many characters are in the page for download; what is more lies only beside it.
EMBED = 300_000
MOST_RUNS = 150
# Of the long tables of one name in all settings together, but of each at least `LEAST_ROWS`; the rest lies beside the page.
MOST_ROWS, LEAST_ROWS = 300, 28
NOTHING = "There is nothing to compare: fewer than two finished methods share a budget."
"""What stands in the place of the differences where there are none."""


@dataclass(frozen=True)
class Placed:
    """A table with its place: the part of the page, whether it is folded up there, and the formats it is written in."""

    table: Table
    section: str
    formats: tuple[str, ...]
    folded: bool = False


@dataclass
class Section:
    """Everything the page shows of one setting."""

    setting: Setting
    summary: str
    proof: Proof
    claim: str = ""
    moved: str = ""
    tables: list[Placed] = field(default_factory=list)
    drawings: list[Drawn] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)


@dataclass(frozen=True)
class Words:
    """What a page says besides its tables and figures; `index` tells whether the store's list of reports lies above."""

    title: str
    summary: str
    findings: Sequence[Finding]
    warnings: Sequence[str]
    remarks: Sequence[str]
    notes: Sequence[Note]
    environment: Sequence[tuple[str, str, int]]
    metrics: Sequence[tuple[str, ...]]
    listing: Sequence[tuple[str, str]]
    index: bool = False


def render(comparison: Comparison, sections: Sequence[Section], words: Words) -> str:
    """Return the page's HTML. Everything that comes from a record is escaped."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=False)
    environment.filters["prose"] = prose
    here = files("lcrbench.reports.page")
    template = environment.from_string((here / "page.html.jinja").read_text(encoding="utf-8"))
    style = (here / "page.css").read_text(encoding="utf-8")
    style = style.replace("/* light palette */", css(dark=False)).replace("/* dark palette */", css(dark=True))
    index = {label: i for i, label in enumerate(comparison.labels)}
    labels = comparison.label_of
    rows = {row.label: row for s in reversed(comparison.settings) for row in s.rows}
    all_runs = comparison.runs
    shown = all_runs[:MOST_RUNS]
    present = {
        g for s in sections for p in s.tables for r in p.table.rows if p.section == "corruptions" and (g := r.group)
    }
    common = sorted({len(set(s.setting.corruptions) & set(COMMON)) for s in sections})
    return template.render(
        version=__version__,
        css=Markup(style),
        js=Markup((here / "page.js").read_text(encoding="utf-8")),
        labels=_json({s.setting.index: {r.index: index[r.label] for r in s.setting.rows} for s in sections}),
        words=words,
        created=max((r.provenance.created[:10] for r in all_runs), default=""),
        methods=[
            {"label": label, "name": rows[label].name, "mark": mark(rows[label]), "refs": refs(rows[label])}
            for label in index
        ],
        common=" or ".join(map(str, common)),
        groups=[g for g in ("noise", "blur", "weather", "digital", "extra", "other") if g in present],
        settings=[_section(s, index, len(sections)) for s in sections],
        several=any(len(row.runs) > 1 for s in comparison.settings for row in s.rows),
        files=[{"name": name, "href": quote(name), "what": what} for name, what in words.listing],
        runs=[
            {
                "id": r.run_id,
                "name": rows[labels[r.run_id]].name,
                "method": index[labels[r.run_id]],
                "seed": r.spec.seed,
                "state": "" if not r.failure else "stopped" if r.failure.reason == "stopped" else "failed",
                "status": f"{r.failure.reason}: {r.failure.message}" if r.failure else r.status,
                "created": r.provenance.created[:19],
            }
            for r in shown
        ],
        runs_left_out=len(all_runs) - len(shown),
        run_count=len(all_runs),
        data=_json(_embedded(sections)),
    )


def _embedded(sections: Sequence[Section]) -> dict[str, str]:
    """Return the figures' data as CSV by the figure's id in the page, the first ones that there is room for."""
    found: dict[str, str] = {}
    room = EMBED
    for section in sections:
        for picture in (drawn.picture for drawn in section.drawings):
            csv = spreadsheet.text(picture.data)
            room -= len(csv)
            if room < 0:
                return found
            found[f"s{section.setting.index}-{picture.name}"] = csv
    return found


def _json(value: object) -> Markup:
    """Return JSON that may stand inside a script element, whatever it holds."""
    text = json.dumps(value)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _section(section: Section, index: dict[str, int], settings: int) -> dict[str, Any]:
    setting = section.setting
    proof, prefix = section.proof, f"s{setting.index}"
    tables, pictures = _by_section(section, prefix, index, max(LEAST_ROWS, MOST_ROWS // settings))
    answers = {"budget": proof.sentence, "corruptions": hardest(setting), "lipschitz": section.moved}
    questions = []
    for name, (question, of) in QUESTIONS.items():
        made = [
            {"id": part, "title": SECTIONS[part], "tables": tables.get(part, []), "pictures": pictures.get(part, [])}
            for part in of
            if part in tables or part in pictures
        ]
        if made or name in ("budget", "trust"):
            questions.append({"id": name, "title": question, "answer": answers.get(name, ""), "parts": made})
    return {
        "index": setting.index,
        "title": setting.title,
        "summary": section.summary,
        "claim": section.claim,
        "notes": [*setting.notes, *section.problems],
        "first": {"tables": tables.get("first", []), "pictures": pictures.get("first", [])},
        "questions": questions,
        "nothing": "" if "differences" in tables else NOTHING,
        "claims": [
            {"claim": j.claim, "verdict": j.verdict, "css": j.verdict.replace(" ", "-"), "measured": j.measured,
             "rule": j.rule}
            for j in section.judged
        ],
        "proof": {
            "identical": proof.identical,
            "sentence": proof.sentence,
            "labels": [
                {"label": label, "name": next(r.name for r in setting.rows if r.label == label), "method": index[label]}
                for label in proof.labels[:MOST_COLUMNS]
            ],
            "fields": [
                {"name": f.name, "cells": f.values[:MOST_COLUMNS], "equal": f.equal, "hash": f.hashed}
                for f in proof.shown
            ],
            "left_out": max(0, len(proof.labels) - MOST_COLUMNS),
            "seconds": [{"name": name, "cells": values[:MOST_COLUMNS]} for name, values in proof.seconds],
        },
    }  # fmt: skip


Parts = dict[str, list[dict[str, Any]]]


def _by_section(section: Section, prefix: str, index: dict[str, int], most: int) -> tuple[Parts, Parts]:
    """Return tables and figures by their part of the page; the second half of a wide table is about cost.

    Notes that a table shares with the one before it in its part are not told again.
    """
    tables: Parts = {}
    told: dict[str, tuple[str, ...]] = {}
    for p in section.tables:
        for k, (title, table) in enumerate(parts(p.table)):
            part = "cost" if k else p.section
            file = f"{table.file or f'{table.name}_table'}.csv" if "csv" in p.formats else "measurements.csv"
            seen = view(first(table, most, file), f"{prefix}-{table.name}-table", index)
            seen |= {"title": title, "folded": p.folded, "noted": table.notes != told.get(part)}
            told[part] = table.notes
            tables.setdefault(part, []).append(seen)
    pictures: Parts = {}
    for drawn in section.drawings:
        pictures.setdefault(drawn.section, []).append(figure(drawn, index))
    return tables, pictures
