"""Check the environment, the data and the store."""

from __future__ import annotations

import click

from lcrbench.bench.cli import say, store_option
from lcrbench.errors import UserError


@click.command(epilog="Example: lcrbench doctor --store lcrbench-runs")
@store_option
@click.option("--data", "source", help="Check this data set whole instead: every file is read again.")
@click.option(
    "--size", type=click.IntRange(1, 1024), default=32, show_default=True, help="(--data) Image size in pixels."
)
@click.option(
    "--clear-cache", is_flag=True, help="Delete compiled kernels and decoded data sets first; both are made again."
)
def command(store: str, source: str | None, size: int, clear_cache: bool) -> None:
    """Check the environment, the embedded data and the store, and say what to do about what is wrong.

    With --data, check a data set, a test set, or a corruption benchmark: each file is read and decoded, and compared with
    published hashes where there are some.

    Exit code 2 if a line begins with BAD.
    """
    from lcrbench.bench import doctor as checks

    if clear_cache:
        for folder in checks.clear_caches():
            say(f"ok   deleted {folder}")
    good = True
    for check in checks.checks(store) if source is None else checks.data_checks(source, size):
        good &= check.good
        say(f"{'ok ' if check.good else 'BAD'}  {check.what}")
    if not good:
        raise UserError("something is wrong: see the lines that begin with BAD")
