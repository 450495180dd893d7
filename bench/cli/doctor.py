"""Check the environment, the data and the store."""

from __future__ import annotations

import click

from lcrbench.bench.cli import Failed, store_option


@click.command(epilog="Example: lcrbench doctor --store lcrbench-runs")
@store_option
def command(store: str) -> None:
    """Check the environment, the embedded data and the store, and say what to do about what is wrong.

    Exit code 1 if a line begins with BAD.
    """
    from lcrbench.bench import doctor as checks

    good = True
    for check in checks.checks(store):
        good &= check.good
        click.echo(f"{'ok ' if check.good else 'BAD'}  {check.what}")
    if not good:
        raise Failed("something is wrong: see the lines that begin with BAD")
