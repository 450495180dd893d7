"""Is a candidate's robustness no worse than a reference's?"""

from __future__ import annotations

from pathlib import Path

import click

from lcrbench.bench.cli import FILE, say


@click.command(epilog="Example: lcrbench check runs --against reference.json")
@click.argument("candidate", type=FILE)
@click.option(
    "--against", required=True, type=FILE, help="The reference: a file that `lcrbench reference update` wrote."
)
@click.option(
    "--margin",
    type=float,
    metavar="PP",
    help="How much worse is not worse, in points.  [default: the reference's]",
)
@click.option(
    "--metric",
    help="What is compared: corruption_accuracy, clean_accuracy, corruption_error:fog, lipschitz_kappa:l2-8:q50, ...  "
    "[default: the reference's]",
)
@click.option("--method", "methods", multiple=True, help="Only this method; give it several times.")
@click.option("--commit", help="Refuse runs that were not made from this commit, without changes.")
@click.option("--any-source", is_flag=True, help="Accept runs that a different version of the code made.")
@click.option("--junit", type=FILE, help="Also write the verdicts as JUnit XML.")
@click.option("--json", "json_", type=FILE, help="Also write the verdicts as JSON.")
@click.option("--markdown", type=FILE, help="Also write the verdicts as a Markdown table.")
@click.pass_context
def command(
    ctx: click.Context,
    candidate: Path,
    against: Path,
    margin: float | None,
    metric: str | None,
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
    from lcrbench.bench.records import source
    from lcrbench.bench.records.files import replace_file
    from lcrbench.bench.records.store import Store
    from lcrbench.reports import gate

    held = gate.load(against)
    verdicts = gate.check(
        Store(candidate),
        held,
        methods=methods or None,
        endpoint=metric,
        margin=margin,
        commit=commit,
        stale=None if any_source else source.stale,
    )
    for path, written in ((junit, gate.as_junit), (json_, gate.as_json), (markdown, gate.as_markdown)):
        if path is not None:
            replace_file(path, written(verdicts).encode())
    say(gate.text(verdicts).rstrip("\n"))
    ctx.exit(gate.exit_code(verdicts))
