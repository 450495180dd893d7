"""`write`: read a store, compare, and write the report's folder."""

from __future__ import annotations

import csv
import gc
import importlib.util
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from lcrbench.bench.store import Store
from lcrbench.errors import UserError
from lcrbench.reports import claims, page, tables
from lcrbench.reports import comparison as reading
from lcrbench.reports.comparison import CLEAN, COMMON_ERROR, Comparison, Row, Setting
from lcrbench.reports.page import Finding, Section
from lcrbench.reports.significance import (
    MAX_OUTCOME_RUNS,
    Difference,
    Outcomes,
    against_base,
    against_reference,
    differences,
)

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
    from lcrbench.reports import figures, pictures

    outcomes = Outcomes(store) if len(compared.runs) <= MAX_OUTCOME_RUNS else None
    most_drawn = DRAWN if len(compared.runs) <= MANY_RUNS else 1
    sections, found_in = [], []
    written: set[str] = {"index.html", MANIFEST, "measurements.csv"}
    for setting in compared.settings:
        folder = "" if setting.index == 0 else f"setting-{setting.index + 1}/"
        (out / folder).mkdir(exist_ok=True)
        found = {
            (family, endpoint): differences(setting, _readable(setting, outcomes), pairs, endpoint)
            for family, pairs in (("reference", against_reference(setting)), ("base", against_base(setting)))
            for endpoint in ("common", "clean")
        }
        found_in.append(found)
        section = Section(
            setting,
            _setting_summary(setting),
            tables.main_table(setting, outcomes),
            tables.corruption_table(setting),
            _difference_tables(setting, found),
            tables.generic_table(setting),
            tables.budget_proof(setting),
        )
        if outcomes is None:
            section.problems.append(
                f"Differences over images are left out, because the store has {len(compared.runs):,} runs: name a few "
                "methods to compare to have them."
            )
        drawn = setting.index < most_drawn
        drawings = [
            pictures.corruption_curves(setting, outcomes),
            pictures.heatmap(setting),
            pictures.lipschitz(setting),
            pictures.lipschitz_error(setting),
            pictures.accuracy_operations(setting),
            pictures.critical_difference(setting),
            pictures.performance_profile(setting),
            pictures.training(setting, store) if drawn else None,
        ]
        if not drawn:
            section.problems.append(
                "The figures of this setting are not drawn, because the store has "
                f"{_plural(len(compared.settings), 'setting')} and {_plural(len(compared.runs), 'run')}: their data are "
                f"in the folder {folder.rstrip('/')}. Name a few methods to compare to have fewer."
            )
        for picture in drawings:
            if picture is None:
                continue
            names = figures.save(picture, out / folder) if drawn else []
            panels = figures.inline(picture, f"s{setting.index}-{picture.name}") if drawn else []
            picture.data.to_csv(out / folder / f"{picture.name}.csv", index=False)
            written |= {folder + name for name in (*names, f"{picture.name}.csv")}
            if drawn:
                section.pictures.append((picture, panels, folder, names))
        sections.append(section)
        written |= {folder + name for name in _write_tables(section, out / folder)}
    if outcomes is not None and sections:
        sections[0].problems += sorted(set(outcomes.problems))

    with (out / "measurements.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")  # pandas takes several times as long for half a million rows
        rows.writerows([(*_AXES, *_WHAT, *_NUMBER), *_measurements(compared)])
    if importlib.util.find_spec("pyarrow"):
        measurements(compared).to_parquet(out / "measurements.parquet", index=False)
        written.add("measurements.parquet")
    html = page.render(
        compared,
        sections,
        title=_title(compared),
        summary=_summary(compared),
        findings=_findings(compared, found_in),
        warnings=_warnings(compared),
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
        methods_notes=_methods_notes(compared),
        environment=_environment(compared),
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


def _readable(setting: Setting, outcomes: Outcomes | None) -> Outcomes | None:
    return outcomes if sum(len(r.runs) for r in setting.ranked) <= MAX_OUTCOME_RUNS else None


def _write_tables(section: Section, folder: Path) -> list[str]:
    """Write a setting's tables; returns the files' names."""
    names = ["table.md", "table.tex", "table.csv", "corruptions.csv", "budget.csv"]
    main, rest = section.main, [*section.differences, section.corruptions]
    text = [
        f"# {tables.escape_markdown(section.setting.title)}\n",
        section.summary and tables.escape_markdown(section.summary) + "\n",
    ]
    text += [tables.markdown(main), *[tables.markdown(t) for t in rest], tables.proof_markdown(section.proof)]
    (folder / "table.md").write_text("\n".join(text), encoding="utf-8")

    def paper(column: tables.Column) -> bool:
        return column.title not in ("memory", "binary")

    parts = [tables.LATEX_PREAMBLE, tables.latex(main, keep=paper), tables.latex(section.corruptions)]
    parts += [tables.latex(t) for t in section.differences if t.rows]
    (folder / "table.tex").write_text("\n".join(parts), encoding="utf-8")
    tables.frame(main).to_csv(folder / "table.csv", index=False)
    every = tables.corruption_table(section.setting, len(section.setting.rows))
    tables.frame(every).to_csv(folder / "corruptions.csv", index=False)
    if section.differences:
        frames = [tables.frame(t).assign(endpoint=t.caption) for t in section.differences]
        pd.concat(frames, ignore_index=True).to_csv(folder / "differences.csv", index=False)
        names.append("differences.csv")
    proof = section.proof
    rows = [
        {"field": name, "equal": equal} | dict(zip(map(str, range(len(values))), values, strict=True))
        for name, values, equal in proof.fields
    ]
    labels = {str(i): label for i, label in enumerate(proof.labels)}
    pd.DataFrame(rows).rename(columns=labels).to_csv(folder / "budget.csv", index=False)
    return names


_AXES = ("run_id", "setting", "data", "backbone", "method", "seed", "budget_images")
_WHAT = ("metric", "statistic", "corruption", "severity", "layer", "norm", "radius")
_NUMBER = ("value", "low", "high", "n", "interval", "unit", "bound")


def measurements(compared: Comparison) -> pd.DataFrame:
    """Return the tidy table of everything that was measured: one row a run x measurement, with the run's axes."""
    return pd.DataFrame(_measurements(compared), columns=[*_AXES, *_WHAT, *_NUMBER])


def _measurements(compared: Comparison) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    for setting in compared.settings:
        for row in setting.rows:
            for run in row.runs:
                spec, images = run.spec, run.spec.budget.images
                axes = (run.run_id, setting.index + 1, spec.data.name, spec.backbone, spec.label, spec.seed, images)
                kinds = {name: (info.unit, info.bound) for name, info in run.metrics.items()}
                for m in run.measurements:
                    what = (m.metric, m.statistic, m.corruption, m.severity, m.layer, m.norm, m.radius)
                    number = (m.value, m.low, m.high, m.n, m.interval)
                    found.append((*axes, *what, *number, *kinds.get(m.metric, ("", ""))))
    return found


def _difference_tables(setting: Setting, found: dict[tuple[str, str], list[Difference]]) -> list[tables.Table]:
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
            made.append(tables.difference_table(families, f"differences-{endpoint}", caption))
    return made


def _title(compared: Comparison) -> str:
    names = list(dict.fromkeys(reading.short_name(s.any.spec.data.name) for s in compared.settings))
    methods = len(compared.labels)
    what = f"{methods} methods" if methods > 1 else compared.labels[0]
    return f"Robustness of {what} on {', '.join(names[:3])}" + (" and more" if len(names) > 3 else "")


def _plural(n: int, word: str) -> str:
    return f"{n:,} {word}" + ("" if n == 1 else "s")


def _summary(compared: Comparison) -> str:
    if len(compared.settings) == 1:
        return _setting_summary(compared.settings[0])
    parts = [
        _plural(len(compared.labels), "method"),
        _plural(len(compared.runs), "run"),
        _plural(len(compared.settings), "setting"),
    ]
    return (
        f"{parts[0]} in {parts[1]} and {parts[2]}. Numbers are compared only within a setting: the same data, the same "
        "backbone and the same evaluation."
    )


def _setting_summary(setting: Setting) -> str:
    spec = setting.any.spec
    name = reading.short_name(spec.data.name)
    rows = [r for r in setting.rows if r.runs]
    seeds = sorted({len(r.runs) for r in rows})
    n_seeds = (
        _plural(seeds[0], "training seed")
        if len(seeds) == 1
        else f"{seeds[0]} to {seeds[-1]} training seeds"
        if seeds
        else ""
    )
    budgets = sorted({r.any.spec.budget.images for r in setting.ranked})
    images = ", ".join(f"{b:,}" for b in budgets) or f"{spec.budget.images:,}"
    labels = [r.label for r in setting.ranked] or [r.label for r in setting.rows]
    shown = labels if len(labels) <= 6 else [*labels[:5], f"{len(labels) - 5} more"]
    listed = shown[0] if len(shown) == 1 else ", ".join(shown[:-1]) + " and " + shown[-1]
    common = [c for c in setting.corruptions if c in reading.COMMON]
    extra = len(setting.corruptions) - len(common)
    corruptions = _plural(len(common), "common corruption") + (f" and {_plural(extra, 'extra one')}" if extra else "")
    return (
        f"{listed}, trained on {name} ({spec.data.train:,} training images at {spec.data.size} px) with the "
        f"backbone {spec.backbone} on a budget of {images} images seen each, {n_seeds or 'no finished run'} a method. "
        "Tested on "
        f"{spec.data.test:,} images, clean and under {corruptions} at severities {tables.listed(setting.severities)}."
    )


def _findings(compared: Comparison, found_in: list[dict[tuple[str, str], list[Difference]]]) -> list[Finding]:
    """Return the headlines of the first settings: who is most robust, what a regularizer changes, what could be seen."""
    findings: list[Finding] = []
    for setting, found in list(zip(compared.settings, found_in, strict=True))[:DRAWN]:
        where = f"{setting.title}: " if len(compared.settings) > 1 else ""
        pool = tables.ranking_pool(setting)
        key = COMMON_ERROR if any(r.estimate(COMMON_ERROR) for r in pool) else CLEAN
        best = _best(pool, key)
        digits = tables.percent_digits(setting)
        column = tables.Column("", digits=digits, scale=100)
        if best is not None and len(pool) > 1:
            cell = tables.Cell.of(best.estimate(key))
            what = "the lowest mean corruption error" if key is COMMON_ERROR else "the highest clean accuracy"
            who = "binary networks" if all(r.binary for r in pool) else "methods"
            clean = tables.Cell.of(best.estimate(CLEAN))
            also = (
                f"; its clean accuracy is {tables.number(clean.value, column)} % {tables.bounds(clean, column)}"
                if key is COMMON_ERROR
                else ""
            )
            findings.append(
                Finding(
                    f"{tables.number(cell.value, column)} %",
                    f"{tables.bounds(cell, column)} n={cell.n:,}",
                    f"{where}{best.label} has {what} of the {len(pool)} {who}{also}.",
                )
            )
        for family in ("base", "reference"):
            wanted = [d for d in found[family, "common"] if d.interval and (family == "base" or d.row is best)]
            findings += [_difference_finding(d, where) for d in wanted[:3]]
        detectable = [
            d.detectable for d in found["base", "common"] or found["reference", "common"] if d.detectable is not None
        ]
        if detectable:
            unit = "training seeds" if setting.unit == "seeds" else "images"
            findings.append(
                Finding(
                    f"{max(detectable) * 100:.1f} points",
                    "power .8, alpha .05",
                    f"{where}The smallest difference in mean corruption accuracy that these comparisons, over {unit}, "
                    "would have "
                    "found; a smaller one may exist and not be seen.",
                )
            )
    return findings


def _difference_finding(d: Difference, where: str) -> Finding:
    column = tables.Column("", digits=2, scale=100)
    interval = d.interval
    assert interval is not None
    cell = tables.Cell.of(interval)
    significant = d.holm is not None and d.holm < 0.05
    direction = "more" if interval.value > 0 else "less"
    over = interval.how.replace(" 95 %", "")
    p = "" if d.holm is None else f", p = {d.holm:.2g} after Holm"
    verdict = (
        f"{d.row.label} is {direction} accurate under the common corruptions than {d.reference.label}"
        if significant
        else f"No difference shown between {d.row.label} and {d.reference.label} under the common corruptions"
    )
    about = (
        ""
        if d.unit == "seeds"
        else ". It holds for these trained networks: with one seed nothing is said about the methods"
    )
    sign = "+" if interval.value > 0 else ""
    return Finding(
        f"{sign}{tables.number(cell.value, column)} points",
        f"{tables.bounds(cell, column)} n={interval.n:,}",
        f"{where}{verdict} ({over}{p}){about}.",
    )


def _best(rows: list[Row], key: reading.Key) -> Row | None:
    known = [(i.value, r) for r in rows if (i := r.estimate(key))]
    if not known:
        return None
    return (min if key is COMMON_ERROR else max)(known, key=lambda k: k[0])[1]


def _warnings(compared: Comparison) -> list[str]:
    said = []
    failed = [r for r in compared.runs if r.status == "failed"]
    if failed:
        said.append(
            f"{_plural(len(failed), 'run')} of {len(compared.runs):,} failed; the tables say which and why, in place."
        )
    if compared.unreadable:
        shown = "; ".join(compared.unreadable[:5])
        more = f"; and {len(compared.unreadable) - 5} more" if len(compared.unreadable) > 5 else ""
        said.append(f"{_plural(len(compared.unreadable), 'record')} could not be read and is left out: {shown}{more}.")
    if compared.unfinished:
        said.append(f"{_plural(compared.unfinished, 'unfinished run')} in the store, not counted anywhere.")
    if any(r.aside for s in compared.settings for r in s.rows):
        said.append("Methods marked with another budget are shown and neither ranked nor tested.")
    if any(r.provenance.dirty for r in compared.runs):
        said.append("Some runs were made from a working tree with uncommitted changes.")
    return said


def _environment(compared: Comparison) -> list[tuple[str, str]]:
    runs = compared.runs

    def each(values: list[str]) -> str:
        counts = Counter(values)
        if len(counts) == 1:
            return next(iter(counts))
        most = [f"{value} ({_plural(n, 'run')})" for value, n in counts.most_common(6)]
        return "; ".join(most) + (f"; and {len(counts) - 6} more" if len(counts) > 6 else "")

    provenance = [r.provenance for r in runs]
    rows = [
        ("Command", each([p.command for p in provenance])),
        ("lcrbench", each([p.lcrbench for p in provenance])),
        ("Commit", each([(p.commit or "unknown") + (" with changes" if p.dirty else "") for p in provenance])),
        ("Source", each([str(p.model_dump().get("source", ""))[:16] or "–" for p in provenance])),
        ("Versions", each([", ".join(f"{k} {v}" for k, v in sorted(p.versions.items())) for p in provenance])),
        ("Device", each([p.device for p in provenance])),
        ("Threads a run", each([str(p.threads) for p in provenance])),
        ("Deterministic algorithms", each(["yes" if p.deterministic else "no" for p in provenance])),
        (
            "Corruptions",
            each([", ".join(f"{k} {v}" for k, v in sorted(p.corruptions.items())) or "–" for p in provenance]),
        ),
        ("Data", each([f"{r.spec.data.name}, sha256 {r.spec.data.sha256[:16]}…" for r in runs])),
        ("Corruption seed", each([str(r.spec.evaluation.seed) for r in runs])),
        ("Images a forward pass", each([f"{r.spec.evaluation.block:,}, padded" for r in runs])),
    ]
    return rows


def _methods_notes(compared: Comparison) -> list[dict[str, str]]:
    notes = [
        (
            "Corruption error",
            "The error (1 − accuracy) on the same test images after a corruption, averaged over the severities that "
            "were run; "
            "a mean over corruptions weighs each corruption alike. It is unnormalized. The mCE of the ImageNet-C "
            "literature divides "
            "each corruption's error by AlexNet's on ImageNet-C; those constants mean nothing on another data set, so "
            "mCE is given "
            "on ImageNet-C alone. Extras (speckle noise, gaussian blur, spatter, saturate) enter no mean, because "
            "methods may be "
            "tuned on them.",
        ),
        (
            "Intervals and their unit",
            "Two questions are kept apart. Whether a method is better is a question about training: its unit is the "
            "seed, the "
            "interval Student's t (a mean) or Welch's (a difference) over seeds. Whether these trained networks "
            "differ on these "
            "images has the image as its unit, and outcomes are paired. The corrupted copies of one image are not "
            "independent, so "
            "they are averaged before the interval is taken; treating them as independent would make it several times "
            "too short.",
        ),
        (
            "Testing",
            "One endpoint is fixed beforehand: mean accuracy over the common corruptions. Its p-values are corrected "
            "with Holm's "
            "method over the comparisons of one table. Everything else, single corruptions and single cells above "
            "all, is "
            "descriptive.",
        ),
        (
            "Empirical Lipschitz figures",
            "The secant gain ‖f(x+d) − f(x)‖ / ‖d‖ is measured on the deployed network, over sampled images and "
            "directions, in "
            "pixel space with images in [0, 1]. The largest gain over all directions is at least what was found, so "
            "it is a lower "
            "bound of the Lipschitz constant at that radius, and it grows with more search. A network with sign "
            "activations has "
            "jumps, so its true constant is infinite and only a figure at a named radius has meaning. Logits can be "
            "scaled without "
            "changing a single decision, so a smaller gain is not by itself a more robust network: nothing is ranked "
            "by it.",
        ),
        (
            "Budget",
            "Every method of a comparison sees the same images in the same order with the same augmentation, from the "
            "same latent "
            "weights, and the reported weights are selected by the same rule. The budget table shows what each run's "
            "ledger recorded. "
            "A run under another budget is shown, and neither ranked nor tested.",
        ),
    ]
    seen = {name: info for s in compared.settings for name, info in s.metrics.items()}
    listed = "; ".join(
        f"{name} ({info.unit}, {_direction(info.higher_is_better)}, {info.bound}): {info.summary}"
        for name, info in sorted(seen.items())
    )
    if listed:
        notes.append(("Metrics of this report", listed))
    return [{"title": title, "text": text} for title, text in notes]


def _direction(higher_is_better: bool | None) -> str:
    return {True: "higher is better", False: "lower is better", None: "neither direction is better"}[higher_is_better]


_FILES = {
    "table.md": "the tables in Markdown",
    "table.tex": "the tables in LaTeX (booktabs)",
    "table.csv": "the main table, numbers as numbers",
    "corruptions.csv": "the table by corruption",
    "differences.csv": "the differences with intervals and p-values",
    "budget.csv": "the budget table",
    "measurements.csv": "everything that was measured, one row a run and measurement",
    "measurements.parquet": "the same as Parquet",
}
