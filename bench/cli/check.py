"""`lcrbench check`, `check-speed` and `reference`: the regression gates, for somebody's own continuous integration."""

from __future__ import annotations

from pathlib import Path

import click

FILE = click.Path(path_type=Path)


@click.command(short_help="Is a candidate's robustness no worse than a reference's?")
@click.argument("candidate", type=FILE)
@click.option(
    "--against", required=True, type=FILE, help="The reference: a file that `lcrbench reference update` wrote."
)
@click.option("--margin", default=1.0, show_default=True, metavar="PP", help="How much worse is not worse, in points.")
@click.option(
    "--metric",
    default="corruption_accuracy",
    show_default=True,
    help="What is compared: clean_accuracy, corruption_error:fog, lipschitz_kappa:l2-8:q50, ...",
)
@click.option("--method", "methods", multiple=True, help="Only this method; give it several times.")
@click.option("--commit", help="Refuse runs that were not made from this commit, without changes.")
@click.option("--any-source", is_flag=True, help="Accept runs that another version of lcrbench's source made.")
@click.option("--junit", type=FILE, help="Also write the verdicts as JUnit XML.")
@click.option("--json", "json_", type=FILE, help="Also write the verdicts as JSON.")
@click.option("--markdown", type=FILE, help="Also write the verdicts as a Markdown table.")
@click.pass_context
def check(
    ctx: click.Context,
    candidate: Path,
    against: Path,
    margin: float,
    metric: str,
    methods: tuple[str, ...],
    commit: str | None,
    any_source: bool,
    junit: Path | None,
    json_: Path | None,
    markdown: Path | None,
) -> None:
    """Compare the runs in the store CANDIDATE (a folder) with a reference: non-inferiority over seeds, up to a margin.

    Exit codes: 0 no worse, 1 a regression, 2 not comparable or bad input, 3 undecided: run more seeds.
    """
    from lcrbench.bench.records import env
    from lcrbench.bench.records.store import Store, replace_file
    from lcrbench.reports import gate

    held = gate.load(against)
    source = None if any_source else env.source_hash()
    verdicts = gate.check(
        Store(candidate), held, methods=methods or None, endpoint=metric, margin=margin, commit=commit, source=source
    )
    for path, written in ((junit, gate.as_junit), (json_, gate.as_json), (markdown, gate.as_markdown)):
        if path is not None:
            replace_file(path, written(verdicts).encode())
    click.echo(gate.text(verdicts), nl=False)
    ctx.exit(gate.exit_code(verdicts))


@click.command("check-speed", short_help="Has a benchmark become slower than in a reference?")
@click.argument("run", type=FILE)
@click.option(
    "--against", required=True, type=FILE, help="The reference: a file that `lcrbench reference speed` wrote."
)
@click.option("--margin", default=25.0, show_default=True, metavar="PERCENT", help="How much slower is not slower.")
@click.pass_context
def check_speed(ctx: click.Context, run: Path, against: Path, margin: float) -> None:
    """Compare the benchmarks in RUN, a file of `pytest --benchmark-json`, with a reference: as ratios within one run.

    Exit codes: 0 no slower, 1 a regression, 2 bad input or another set of benchmarks: a renamed one never passes.
    """
    from lcrbench.reports import gate
    from lcrbench.reports.gate import speed as speed_gate

    verdicts = speed_gate.check(run, speed_gate.load(against), margin=margin / 100)
    click.echo(speed_gate.text(verdicts), nl=False)
    codes = {gate.EXIT_CODES[v.outcome] for v in verdicts}
    ctx.exit(next((c for c in (1, 2) if c in codes), 0))


@click.group(short_help="Write the references that `check` and `check-speed` compare with.")
def reference() -> None:
    """Write the references that `lcrbench check` and `lcrbench check-speed` compare with."""


@reference.command(short_help="Write a reference from a store's runs, with a reason.")
@click.argument("store", type=FILE)
@click.option("--out", required=True, type=FILE, help="The reference file; methods it has and STORE has not are kept.")
@click.option("--reason", required=True, help="What changed, and why that is right; kept in the file's history.")
@click.option("--method", "methods", multiple=True, help="Only this method; give it several times.")
def update(store: Path, out: Path, reason: str, methods: tuple[str, ...]) -> None:
    """Write a reference from the finished runs in STORE: each seed's value of every endpoint. Nothing else writes one."""
    from lcrbench.bench.records.store import Store
    from lcrbench.reports import gate

    written = gate.update(out, Store(store), reason, methods=methods or None)
    for name, held in written.methods.items():
        seeds = len(held.runs)
        advice = f": {gate.GOOD_REFERENCE} or more are advised" if seeds < gate.GOOD_REFERENCE else ""
        click.echo(f"{name}: {seeds} seed{'' if seeds == 1 else 's'}{advice}")
    click.echo(f"reference: {out}")


@reference.command(short_help="Write a reference from a run of benchmarks, with a reason.")
@click.argument("run", type=FILE)
@click.option("--out", required=True, type=FILE, help="The reference file; its history of reasons is kept.")
@click.option("--reason", required=True, help="What changed, and why that is right; kept in the file's history.")
@click.option("--base", default="", help="The benchmark that ratios are to, where benchmarks measured none themselves.")
def speed(run: Path, out: Path, reason: str, base: str) -> None:
    """Write a reference from RUN, a file of `pytest --benchmark-json`: each benchmark's ratio. Nothing else writes one."""
    from lcrbench.reports.gate import speed as speed_gate

    written = speed_gate.update(out, run, reason, base=base)
    click.echo(f"{len(written.ratios)} benchmarks\nreference: {out}")
