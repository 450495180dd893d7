"""Composes a report: reads and compares the runs, has tables made and figures drawn, and writes the folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from lcrbench.bench.records.files import replace_file
from lcrbench.bench.records.store import Store
from lcrbench.reports import claims, comparison, entries, folder, index, lipschitz, measured, page, spreadsheet
from lcrbench.reports.budget_proof import budget_proof
from lcrbench.reports.comparison import Comparison
from lcrbench.reports.context import Context, Options
from lcrbench.reports.page import Drawn, Placed, Section
from lcrbench.reports.paper import paper_tables
from lcrbench.reports.significance import MAX_OUTCOME_RUNS, Outcomes
from lcrbench.reports.stamp import MANIFEST, PAGE
from lcrbench.reports.words import claim, findings, notes, plural
from lcrbench.reports.words.lipschitz import moved

# Beyond this many settings the page holds their tables, and of their figures there are only the data beside it. Drawing a
# setting takes several seconds, so of a very large store one is drawn, and the others have no data of figures either.
DRAWN, MANY_RUNS = 3, 500


def write(
    store: Store, out: Path, ids: Sequence[str], *, compare: Sequence[str] | None, also: Sequence[str], stamp: str
) -> Path:
    """Write the report on these runs of a store, as `report.write` has it, under a stamp; return its page.

    Raises `UserError` where nothing can be reported, and `OSError` where the folder cannot be written.
    """
    compared = comparison.read_runs(store, ids, compare)
    out.mkdir(parents=True, exist_ok=True)
    tables, problems = entries.found("table", also)
    # matplotlib takes a second to import: not before the records have been read and found good.
    figures, lost = entries.found("figure", also)
    problems += lost
    outcomes = Outcomes(store)
    contexts = list(_contexts(store, compared, outcomes))
    sections = []
    written = {PAGE, MANIFEST}
    for context in contexts:
        number = context.setting.index
        under = "" if number == 0 else f"setting-{number + 1}/"
        (out / under).mkdir(exist_ok=True)
        section = Section(
            context.setting,
            findings.setting_summary(context.setting),
            budget_proof(context.setting),
            claim.claim(context),
            moved(context.lipschitz),
            problems=_left_out(context, under.rstrip("/")),
            judged=claims.judge(context.setting),
        )
        for e in tables:
            made = entries.guarded(e, problems, entries.tables_of, e, context)
            section.tables += [Placed(t, e.section, e.formats, e.folded) for t in made or ()]
        for e in figures:
            names = entries.guarded(e, problems, _draw, e, context, section, out, under)
            written |= {under + name for name in names or ()}
        written |= {under + name for name in folder.write_tables(section, out / under, paper_tables(context))}
        sections.append(section)
    if sections:
        sections[0].problems += sorted(set(outcomes.problems))
        terminal = folder.write_terminal(contexts[0], out)
        written |= {terminal} if terminal else set()

    written |= set(measured.write(compared, out))
    in_store = out.resolve().parent == (store.root / "reports").resolve()
    words = page.Words(
        title=findings.title(compared),
        summary=findings.summary(compared),
        findings=findings.findings(contexts),
        warnings=[*findings.warnings(compared), *problems],
        remarks=findings.remarks(compared),
        notes=notes.methods_notes(compared),
        environment=notes.environment(compared),
        metrics=notes.metrics(compared),
        listing=folder.listing(sections, written),
        index=in_store,
    )
    replace_file(out / PAGE, page.render(compared, sections, words).encode())
    about = {"title": words.title, "summary": words.summary, "runs": len(compared.runs)}
    folder.clear(out, written, stamp, about)
    if in_store:
        index.write(out.parent)
    return out / PAGE


def _contexts(store: Store, compared: Comparison, outcomes: Outcomes) -> Iterator[Context]:
    """Yield what each setting's tables and figures are made from; outcomes are read of as many runs as there is time for."""
    room = MAX_OUTCOME_RUNS
    drawn = 1 if len(compared.runs) > MANY_RUNS else DRAWN
    for setting in compared.settings:
        count = sum(len(row.runs) for row in setting.rows)
        known = outcomes if count <= room else None
        room -= count if known else 0
        found = lipschitz.read(setting, store)
        yield Context(setting, compared, store, known, found, Options(drawn=setting.index < drawn))


def _draw(e: entries.Entry, context: Context, section: Section, out: Path, under: str) -> list[str]:
    """Write a figure of a setting, if it has one, and place it on the page where it is drawn; returns the files' names."""
    from lcrbench.reports import composed, rendering

    if not context.options.drawn and len(context.comparison.runs) > MANY_RUNS:
        return []
    picture = entries.picture_of(e, context)
    if picture is None:
        return []
    names = []
    if context.options.drawn:
        if len(context.comparison.runs) > MANY_RUNS:
            picture.panels = [replace(panel, scale="") for panel in picture.printed]
        panels = rendering.inline(picture, f"s{context.setting.index}-{picture.name}")
        if len(context.comparison.runs) > MANY_RUNS:
            # To draw each figure once more for paper takes seconds: it is put together from the page's panels.
            names = [f"{picture.name}.svg"]
            (out / under / names[0]).write_text(composed.compose(picture, panels), encoding="utf-8")
        else:
            names = rendering.save(picture, out / under)
        section.drawings.append(Drawn(picture, panels, under, names, e.section))
    spreadsheet.write(picture.data, out / under / f"{picture.name}.csv")
    return [*names, f"{picture.name}.csv"]


def _left_out(context: Context, under: str) -> list[str]:
    """Say what a report on so large a store leaves out of a setting."""
    compared, said = context.comparison, []
    runs = plural(len(compared.runs), "run")
    if context.outcomes is None:
        said.append(
            "Intervals and differences over images are left out here, because outcomes are read of "
            f"{MAX_OUTCOME_RUNS} runs of a store and this one has {len(compared.runs):,}: name a few methods to compare "
            "to have them."
        )
    if context.options.drawn and len(compared.runs) > MANY_RUNS:
        said.append(
            f"The figures are written as SVG, not as PNG and PDF, and have no choice of axis, because the store has {runs}."
        )
    if not context.options.drawn:
        data = "measurements.csv" if len(compared.runs) > MANY_RUNS else f"the folder {under}"
        said.append(
            "The figures of this setting are not drawn, nor is the retention proxy judged, because the store has "
            f"{plural(len(compared.settings), 'setting')} and {runs}: their data are in {data}. Name a few "
            "methods to compare to have fewer."
        )
    return said
