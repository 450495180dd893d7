"""Has a benchmark become slower than in a reference?"""

from __future__ import annotations

from pathlib import Path

import click

from lcrbench.bench.cli import FILE, say


@click.command(epilog="Example: lcrbench check-speed benchmarks.json --against speed.json")
@click.argument("run", type=FILE)
@click.option(
    "--against", required=True, type=FILE, help="The reference: a file that `lcrbench reference speed` wrote."
)
@click.option("--margin", default=25.0, show_default=True, metavar="PERCENT", help="How much slower is not slower.")
@click.pass_context
def command(ctx: click.Context, run: Path, against: Path, margin: float) -> None:
    """Compare the benchmarks in RUN, a file of `pytest --benchmark-json`, with a reference: as ratios within one run.

    Exit codes: 0 no slower, 1 a regression, 2 bad input or another set of benchmarks: a renamed one never passes.
    """
    from lcrbench.reports import gate
    from lcrbench.reports.gate import speed as speed_gate

    verdicts = speed_gate.check(run, speed_gate.load(against), margin=margin / 100)
    say(speed_gate.text(verdicts).rstrip("\n"))
    codes = {gate.EXIT_CODES[v.outcome] for v in verdicts}
    ctx.exit(next((c for c in (1, 2) if c in codes), 0))
