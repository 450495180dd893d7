"""Write the comparison report of a store."""

from __future__ import annotations

from pathlib import Path

import click

from lcrbench.bench.cli import FOLDER, STORE, say
from lcrbench.errors import UserError


@click.command(epilog="Example: lcrbench report lcrbench-runs --compare irnet bnn")
@click.argument("store", type=FOLDER, default=STORE)
@click.option("--out", type=FOLDER, help="Folder to write.  [default: STORE/reports/all]")
@click.option("--compare", multiple=True, metavar="METHOD...", help="Only these methods; the first is the reference.")
@click.argument("more", nargs=-1, metavar="")
def command(store: str, out: str | None, compare: tuple[str, ...], more: tuple[str, ...]) -> None:
    """Write the comparison report of the runs in STORE: a page, tables and figures.

    Several names after --compare restrict the report to these methods.
    """
    from lcrbench.bench.records.store import Store
    from lcrbench.reports import report as reports

    if more and not compare:
        raise UserError(f"unexpected '{more[0]}': one STORE, and methods after --compare")
    methods = [name for words in (*compare, *more) for name in words.split()]
    page = reports.write(Store(store), Path(out or str(Path(store, "reports", "all"))), compare=methods or None)
    say(f"report: {page}")
