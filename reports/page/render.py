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
from lcrbench.reports.comparison import MOST_COLUMNS, Comparison, Setting
from lcrbench.reports.entries import SECTIONS
from lcrbench.reports.page.view import Drawn, figure, first, mark, parts, prose, view
from lcrbench.reports.table import Table
from lcrbench.reports.words.findings import Finding

# Of the figures' data so many characters are in the page for download; what is more lies only beside it.
EMBED = 1_200_000
MOST_RUNS = 200
# Of the long tables of one name in all settings together, but of each at least `LEAST_ROWS`; the rest lies beside the page.
MOST_ROWS, LEAST_ROWS = 400, 40
NOTHING = {"differences": "There is nothing to compare: fewer than two finished methods share a budget."}
"""What stands in a part of the page without tables; other parts are left out."""


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
    tables: list[Placed] = field(default_factory=list)
    drawings: list[Drawn] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def render(
    comparison: Comparison,
    sections: Sequence[Section],
    *,
    title: str,
    summary: str,
    findings: Sequence[Finding],
    warnings: Sequence[str],
    claims: Sequence[Judged],
    methods_notes: Sequence[dict[str, str]],
    environment: Sequence[tuple[str, str]],
    listing: Sequence[tuple[str, str]],
) -> str:
    """Return the page's HTML. Everything that comes from a record is escaped."""
    environment_ = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=False)
    environment_.filters["prose"] = prose
    here = files("lcrbench.reports.page")
    template = environment_.from_string((here / "page.html.jinja").read_text(encoding="utf-8"))
    index = {label: i for i, label in enumerate(comparison.labels)}
    all_runs = comparison.runs
    shown = all_runs[:MOST_RUNS]
    present = {
        g for s in sections for p in s.tables for r in p.table.rows if p.section == "corruptions" and (g := r.group)
    }
    return template.render(
        version=__version__,
        css=Markup((here / "page.css").read_text(encoding="utf-8")),
        js=Markup((here / "page.js").read_text(encoding="utf-8")),
        labels=_json({s.setting.index: {r.index: index[r.label] for r in s.setting.rows} for s in sections}),
        title=title,
        summary=summary,
        created=max((r.provenance.created[:10] for r in all_runs), default=""),
        findings=findings,
        warnings=warnings,
        claims=[
            {
                "claim": j.claim + (f" ({j.setting})" if len(sections) > 1 else ""),
                "verdict": j.verdict,
                "css": j.verdict.replace(" ", "-"),
                "measured": j.measured,
                "rule": j.rule,
            }
            for j in claims
        ],
        methods=[{"label": label, "mark": mark(label, method)} for label, method in comparison.methods.items()],
        groups=[g for g in ("noise", "blur", "weather", "digital", "extra", "other") if g in present],
        settings=[_section(s, index, len(sections)) for s in sections],
        environment=environment,
        methods_notes=methods_notes,
        files=[{"name": name, "href": quote(name), "what": what} for name, what in listing],
        runs=[
            {
                "id": r.run_id,
                "label": r.spec.label,
                "method": index[r.spec.label],
                "seed": r.spec.seed,
                "failed": r.status == "failed",
                "status": f"failed: {r.failure.reason}, {r.failure.message}" if r.failure else r.status,
                "created": r.provenance.created,
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
    short = f"{setting.title} ({setting.index + 1})" if settings > 1 else setting.title
    proof, prefix = section.proof, f"s{setting.index}"
    shown = []
    for name, heading in SECTIONS.items():
        placed = [p for p in section.tables if p.section == name]
        if placed or name in NOTHING:
            tables = _tables(placed, prefix, index, max(LEAST_ROWS, MOST_ROWS // settings))
            shown.append({"id": name, "title": heading, "tables": tables, "nothing": NOTHING.get(name, "")})
    return {
        "index": setting.index,
        "title": short,
        "short": short,
        "summary": section.summary,
        "notes": [*setting.notes, *section.problems],
        "parts": [p for p in shown if p["id"] != "measurements"],
        "measurements": [t for p in shown if p["id"] == "measurements" for t in p["tables"]],
        "pictures": [figure(drawn, index) for drawn in section.drawings],
        "proof": {
            "identical": proof.identical,
            "sentence": proof.sentence,
            "labels": [{"label": label, "method": index[label]} for label in proof.labels[:MOST_COLUMNS]],
            "fields": [
                {"name": f.name, "cells": f.values[:MOST_COLUMNS], "equal": f.equal, "hash": f.hashed}
                for f in proof.shown
            ],
            "left_out": max(0, len(proof.labels) - MOST_COLUMNS),
            "seconds": [{"name": name, "cells": values[:MOST_COLUMNS]} for name, values in proof.seconds],
        },
    }


def _tables(placed: Sequence[Placed], prefix: str, index: dict[str, int], most: int) -> list[dict[str, Any]]:
    """Return the tables of a part of the page; notes that one shares with the table before it are not told again."""
    shown: list[dict[str, Any]] = []
    told: tuple[str, ...] = ()
    for p in placed:
        for title, table in parts(p.table):
            seen = view(first(table, most), f"{prefix}-{table.name}-table", index)
            seen |= {"title": title, "folded": p.folded, "noted": table.notes != told}
            told = table.notes
            shown.append(seen)
    return shown
