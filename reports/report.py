"""`write`: read a store, compare, and write the report's folder."""

from __future__ import annotations

import gc
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError
from lcrbench.reports import (
    budget_proof,
    claims,
    findings,
    lipschitz_fidelity,
    lipschitz_tables,
    measured,
    notes,
    page,
    results,
    writers,
)
from lcrbench.reports import comparison as reading
from lcrbench.reports import lipschitz as lipschitz_part
from lcrbench.reports.comparison import Comparison, Setting
from lcrbench.reports.page import Section
from lcrbench.reports.significance import (
    MAX_OUTCOME_RUNS,
    Difference,
    Outcomes,
    against_base,
    against_reference,
    differences,
)
from lcrbench.reports.tables import Column, Table
from lcrbench.reports.words import plural

# Beyond this many settings the page holds their tables, and of their figures there are only the data beside it. Drawing a
# setting takes several seconds, so of a very large store one is drawn.
DRAWN, MANY_RUNS = 3, 500
# What a report has written, so that the next one into the same folder leaves nothing behind that it does not show.
MANIFEST = "files.json"
_OURS = re.compile(r"(setting-\d+/)?[a-z_-]+\.(md|tex|csv|parquet|png|svg|pdf)")


def write(store: Store, out: Path, *, compare: Sequence[str] | None = None, runs: Sequence[str] | None = None) -> Path:
    """Write the report on a store into the folder `out` and return the path of its `index.html`.

    `compare` restricts the report to methods by label, in that order, and makes the first one the reference; without it
    the reference is `full_precision`, or the first method where that was not run. `runs` restricts to run ids or
    unique prefixes of them. Raises `UserError` where nothing can be reported or `out` cannot be written.
    """
    with _uncollected():
        compared = reading.read(store, compare=compare, runs=runs)
        out = Path(out)
        try:
            out.mkdir(parents=True, exist_ok=True)
            return _write(store, compared, out)
        except OSError as error:
            raise UserError(f"cannot write the report to {out}: {error.strerror or error}") from error


@contextmanager
def _uncollected() -> Iterator[None]:
    """Hold the cyclic garbage collector: it would visit the records' hundreds of thousands of objects again and again."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _write(store: Store, compared: Comparison, out: Path) -> Path:
    # matplotlib takes a second to import: not before the records have been read and found good.
    from lcrbench.reports import figures
    from lcrbench.reports.pictures import (
        accuracy_operations,
        corruption_curves,
        critical_difference,
        heatmap,
        lipschitz,
        lipschitz_error,
        lipschitz_layers,
        lipschitz_modulus,
        lipschitz_quantiles,
        lipschitz_slope,
        performance_profile,
        training,
    )
    from lcrbench.reports.pictures import (
        lipschitz_fidelity as fidelity_picture,
    )

    every, room = Outcomes(store), MAX_OUTCOME_RUNS
    many = len(compared.runs) > MANY_RUNS
    most_drawn = 1 if many else DRAWN
    # A page over very many runs has each figure in one format, which scales: each takes seconds.
    formats = ("svg",) if many else figures.FORMATS
    sections, found_in = [], []
    written: set[str] = {"index.html", MANIFEST}
    for setting in compared.settings:
        folder = "" if setting.index == 0 else f"setting-{setting.index + 1}/"
        (out / folder).mkdir(exist_ok=True)
        count = sum(len(row.runs) for row in setting.rows)
        outcomes = every if count <= room else None
        room -= count if outcomes else 0
        found = {
            (family, endpoint): differences(setting, outcomes, pairs, endpoint)
            for family, pairs in (("reference", against_reference(setting)), ("base", against_base(setting)))
            for endpoint in ("common", "clean")
        }
        found_in.append(found)
        moduli = lipschitz_part.read(setting, store)
        section = Section(
            setting,
            findings.setting_summary(setting),
            results.main_table(setting, outcomes, moduli.every if moduli else ()),
            results.corruption_table(setting),
            _difference_tables(setting, found),
            results.generic_table(setting),
            results.published_table(setting),
            budget_proof.budget_proof(setting),
        )
        if outcomes is None:
            section.problems.append(
                "Intervals and differences over images are left out here, because outcomes are read of "
                f"{MAX_OUTCOME_RUNS} runs of a store and this one has {len(compared.runs):,}: name a few methods to compare "
                "to have them."
            )
        drawn = setting.index < most_drawn
        if moduli is not None:
            section.lipschitz = lipschitz_tables.tables(moduli)
            if drawn:  # hundreds of bootstraps
                section.lipschitz += lipschitz_fidelity.tables(moduli)
        drawings = [
            corruption_curves.picture(setting, outcomes),
            heatmap.picture(setting),
            *(
                drawing.picture(moduli)
                for drawing in (
                    lipschitz,
                    lipschitz_modulus,
                    lipschitz_quantiles,
                    lipschitz_slope,
                    lipschitz_layers,
                    fidelity_picture,
                    lipschitz_error,
                )
                if moduli is not None
            ),
            accuracy_operations.picture(setting),
            critical_difference.picture(setting),
            performance_profile.picture(setting),
            training.picture(setting, store) if drawn else None,
        ]
        if drawn and many:
            section.problems.append(
                "The figures are written as SVG and PDF, not as PNG, because the store has "
                f"{plural(len(compared.runs), 'run')}."
            )
        if not drawn:
            section.problems.append(
                "The figures of this setting are not drawn, nor is the retention proxy judged, because the store has "
                f"{plural(len(compared.settings), 'setting')} and {plural(len(compared.runs), 'run')}: their data are "
                f"in the folder {folder.rstrip('/')}. Name a few methods to compare to have fewer."
            )
        for picture in drawings:
            if picture is None:
                continue
            names = figures.save(picture, out / folder, formats) if drawn else []
            panels = figures.inline(picture, f"s{setting.index}-{picture.name}") if drawn else []
            picture.data.to_csv(out / folder / f"{picture.name}.csv", index=False)
            written |= {folder + name for name in (*names, f"{picture.name}.csv")}
            if drawn:
                section.pictures.append((picture, panels, folder, names))
        sections.append(section)
        written |= {folder + name for name in _write_tables(section, out / folder)}
    if sections:
        sections[0].problems += sorted(set(every.problems))

    written |= set(measured.write(compared, out))
    html = page.render(
        compared,
        sections,
        title=findings.title(compared),
        summary=findings.summary(compared),
        findings=findings.findings(compared, found_in),
        warnings=findings.warnings(compared),
        claims=[
            {
                "claim": j.claim + (f" ({j.setting})" if len(sections) > 1 else ""),
                "verdict": j.verdict,
                "css": j.verdict.replace(" ", "-"),
                "measured": j.measured,
                "rule": j.rule,
            }
            for section in sections
            for j in claims.judge(section.setting)
        ],
        methods_notes=notes.methods_notes(compared),
        environment=notes.environment(compared),
        listing=[(name, what) for name, what in _FILES.items() if name in written],
    )
    index = out / "index.html"
    draft = out / f".index.html.{os.getpid()}"
    draft.write_text(html, encoding="utf-8")
    draft.replace(index)
    _clear(out, written)
    return index


def _clear(out: Path, written: set[str]) -> None:
    """Remove what an earlier report wrote here and this one did not, and nothing else; then list what there is now."""
    manifest = out / MANIFEST
    try:
        earlier = json.loads(manifest.read_text(encoding="utf-8"))["files"]
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
    manifest.write_text(json.dumps({"files": sorted(written)}, indent=1) + "\n", encoding="utf-8")


def _write_tables(section: Section, folder: Path) -> list[str]:
    """Write a setting's tables; returns the files' names."""
    names = ["table.md", "table.tex", "table.csv", "corruptions.csv", "budget.csv"]
    published = [section.published] if section.published else []
    main, rest = section.main, [*published, *section.differences, section.corruptions, *section.lipschitz]
    text = [
        f"# {writers.escape_markdown(section.setting.title)}\n",
        section.summary and writers.escape_markdown(section.summary) + "\n",
    ]
    text += [writers.markdown(main), *[writers.markdown(t) for t in rest], writers.proof_markdown(section.proof)]
    (folder / "table.md").write_text("\n".join(text), encoding="utf-8")

    def paper(column: Column) -> bool:
        return column.title not in ("memory", "binary")

    parts = [writers.LATEX_PREAMBLE, writers.latex(main, keep=paper), writers.latex(section.corruptions)]
    parts += [writers.latex(t) for t in [*published, *section.differences] if t.rows]
    (folder / "table.tex").write_text("\n".join(parts), encoding="utf-8")
    writers.frame(main).to_csv(folder / "table.csv", index=False)
    every = results.corruption_table(section.setting, len(section.setting.rows))
    writers.frame(every).to_csv(folder / "corruptions.csv", index=False)
    for table in published:
        writers.frame(table).to_csv(folder / "published.csv", index=False)
        names.append("published.csv")
    if section.differences:
        frames = [writers.frame(t).assign(endpoint=t.caption) for t in section.differences]
        pd.concat(frames, ignore_index=True).to_csv(folder / "differences.csv", index=False)
        names.append("differences.csv")
    for table in section.lipschitz:
        names.append(f"{table.name}_table.csv")
        writers.frame(table).to_csv(folder / names[-1], index=False)
    proof = section.proof
    rows = [
        {"field": name, "equal": equal} | dict(zip(map(str, range(len(values))), values, strict=True))
        for name, values, equal in proof.fields
    ]
    labels = {str(i): label for i, label in enumerate(proof.labels)}
    pd.DataFrame(rows).rename(columns=labels).to_csv(folder / "budget.csv", index=False)
    return names


def _difference_tables(setting: Setting, found: dict[tuple[str, str], list[Difference]]) -> list[Table]:
    captions = {
        "common": "Mean accuracy over the common corruptions (the primary endpoint)",
        "clean": "Clean accuracy",
    }
    made = []
    for endpoint, caption in captions.items():
        families = []
        for family, name in (("base", "with the regularizer against without"), ("reference", "against the reference")):
            usable = [d for d in found[family, endpoint] if d.interval is not None]
            if usable:
                families.append((name, usable))
        if families:
            made.append(results.difference_table(families, f"differences-{endpoint}", caption))
    return made


_FILES = {
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
