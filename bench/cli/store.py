"""List, merge, export and clean the stores that hold runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lcrbench.bench.cli import FILE, FOLDER, say, store_option
from lcrbench.errors import UserError

if TYPE_CHECKING:
    from lcrbench.bench.records.store import Store


@click.group(epilog="Example: lcrbench store merge here there")
def command() -> None:
    """List, merge, export and clean the stores that hold runs."""


@command.command(short_help="Copy into INTO what other stores hold.", epilog="Example: lcrbench store merge here there")
@click.argument("into", type=FOLDER)
@click.argument("sources", type=FOLDER, nargs=-1, required=True, metavar="FROM [FROM ...]")
def merge(into: str, sources: tuple[str, ...]) -> None:
    """Copy into the store INTO what the stores FROM hold and it lacks: trainings, predictions, measurements.

    Every entry is checked by hash, and nothing that INTO holds is replaced. Where the two differ (weights or answers of
    another machine) those of INTO stay, each such entry is told, and the exit code is 2.
    """
    from lcrbench.bench.records.merging import merge as merged
    from lcrbench.bench.records.store import Store

    opened = [Store(source) for source in sources]
    target, good, changes = Store(into, create=True), True, 0
    for source in opened:
        if source.root.resolve() == target.root.resolve():
            raise UserError(f"{into} is named twice: a store is not merged into itself")
        for change in merged(target, source):
            good &= change.good
            changes += 1
            say(f"{'' if change.good else 'CONFLICT '}{change.what}")
    say(f"{into}: {len(target.ids())} runs" + ("" if changes else "; there was nothing to copy"))
    if not good:
        raise UserError("not everything was merged: see the lines that begin with CONFLICT")


@command.command(name="ls", short_help="List what a store holds, with sizes.", epilog="Example: lcrbench store ls")
@store_option
def ls(store: str) -> None:
    """List the trainings and runs in STORE: id, size on the disk, when it was made, and what it is."""
    from lcrbench.bench.records.removal import size
    from lcrbench.bench.records.store import Store

    found = Store(store)
    for name in found.trainings.ids():
        try:
            record = found.trainings.record(name)
        except UserError as error:
            say(f"training   {name}  {error}")
            continue
        told = f"{record.spec.label} seed {record.spec.seed} on {record.spec.data.name}"
        say(_line("training", name, size(found.trainings.folder(name)), record.provenance.created, told))
    for name in found.ids():
        try:
            run = found.record(name)
        except UserError as error:
            say(f"run        {name}  {error}")
            continue
        evaluation = found.evaluation_of(name)
        place = found.evaluations.folder(evaluation.evaluation_id) if evaluation else found.old.shelf.folder(name)
        told = f"{run.spec.label} on {run.spec.data.test:,} images of {run.spec.data.name}"
        told += "" if run.status == "finished" else f" ({run.status})"
        say(_line("run", name, size(place), run.provenance.created, told))


def _line(kind: str, name: str, size: int, created: str, told: str) -> str:
    return f"{kind:9}  {name}  {size / 1e6:9.2f} MB  {created[:16]}  {told}"


@command.command(short_help="Remove runs or trainings.", epilog="Example: lcrbench store rm 3f2a")
@click.argument("ids", nargs=-1, required=True, metavar="ID [ID ...]")
@click.option("--yes", is_flag=True, help="Do not ask.")
@store_option
def rm(ids: tuple[str, ...], yes: bool, store: str) -> None:
    """Remove runs from STORE by the beginnings of their ids; a training by its own, once it has no runs."""
    from lcrbench.bench.records.lease import Held
    from lcrbench.bench.records.removal import remove
    from lcrbench.bench.records.store import Store

    if not yes:
        click.confirm(f"remove {', '.join(ids)} from {store}?", abort=True)
    for prefix in ids:
        try:
            # Opened anew: the removal before may have changed what a prefix names.
            for line in remove(Store(store), prefix):
                say(line)
        except Held:
            raise UserError(f"another process works on {prefix}: wait for it, then try again") from None


@command.command(short_help="Write all measurements as one table.", epilog="Example: lcrbench store export all.csv")
@click.argument("out", type=FILE)
@store_option
def export(out: Path, store: str) -> None:
    """Write the tidy table of all finished runs to OUT, a .csv or .parquet file: a row a measurement."""
    from lcrbench.bench.records.files import replace_file
    from lcrbench.bench.records.store import Store
    from lcrbench.reports import spreadsheet

    found: Store = Store(store)
    table = found.table(unread=lambda error: say(f"lcrbench: left out: {error}", err=True))
    if out.suffix == ".csv":
        content = spreadsheet.text(table).encode()
    elif out.suffix == ".parquet":
        try:
            content = table.to_parquet(None, index=False)
        except ImportError:
            raise UserError("Parquet needs pyarrow: pip install 'lcrbench[parquet]'") from None
    else:
        raise UserError(f"{out} ends neither in .csv nor in .parquet: the ending says which is written")
    replace_file(out, content)
    say(f"{out}: {len(table):,} rows")


@command.command(short_help="Delete what nothing needs.", epilog="Example: lcrbench store gc --yes")
@click.option("--yes", is_flag=True, help="Delete it; otherwise it is only listed.")
@store_option
def gc(yes: bool, store: str) -> None:
    """List what nothing in STORE needs any more: drafts of killed writes, damaged entries, kept corrupted images.

    Runs, trainings, teachers and unfinished trainings are never among it. Do not delete while a run is going on.
    """
    from lcrbench.bench.records.removal import collect, unneeded
    from lcrbench.bench.records.store import Store

    total, opened = 0, Store(store)
    for found in list(unneeded(opened)):
        if yes and not collect(opened, found):
            say(f"{found.path} stays: another process works on it")
            continue
        total += found.size
        say(f"{found.size / 1e6:9.2f} MB  {found.path}: {found.why}")
    say(f"{total / 1e6:.2f} MB {'deleted' if yes else 'can be deleted: give --yes'}" if total else "nothing to delete")
