"""Train and measure the methods of a preset, and report."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from lcrbench.bench.cli import FOLDER, Failed, Interrupted, engine_option, say, store_option
from lcrbench.bench.cli._tables import override
from lcrbench.errors import UserError
from lcrbench.untrusted import small_file, text_of

if TYPE_CHECKING:
    from lcrbench.bench.records.store import Store


@click.command(epilog='Example: lcrbench run quick --seeds "0 1"')
@click.argument("preset", default="quick")
@click.option("--data", "source", help="Built-in data set, or a folder or archive of images.")
@click.option("--size", type=int, help="Image size in pixels.")
@click.option(
    "--test-set",
    "test_sets",
    multiple=True,
    metavar="NAME=PATH",
    help="Also show this test set, or corruption benchmark, to each network: cifar10-c=CIFAR-10-C.tar, "
    "v2=256/224:PATH, imagenet-c=generated:PATH.",
)
@click.option("--train", type=int, help="Use a class-balanced subset of this many training images.")
@click.option("--test", type=int, help="Use a class-balanced subset of this many test images.")
@click.option("--backbone", help="Network topology.")
@click.option("--methods", help='Methods, separated by spaces: "bnn irnet irnet+lcr:weight=0.5,beta=2".')
@click.option("--seeds", help='Seeds, separated by spaces: "0 1 2".')
@click.option("--images", type=int, help="Training budget: images seen.")
@click.option("--epochs", type=float, help="Training budget in epochs, in the place of the preset's.")
@click.option("--batch", type=int, help="Images an optimizer step.")
@click.option("--lr", type=float, help="Peak learning rate.")
@click.option(
    "--recipe", type=click.Choice(["paper"]), help="Train each method by the recipe of its paper, and say so."
)
@click.option("--corruptions", help='Corruptions or groups, separated by spaces: "noise fog" or "common".')
@click.option("--severities", help='Severities, separated by spaces: "1 3 5".')
@click.option(
    "--set", "assignments", multiple=True, metavar="FIELD=VALUE", help="Set any other field of the spec, as TOML."
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="Runs at once, one thread each.  [default: all cores; 4 on a GPU; all that a cluster has room for]",
)
@click.option(
    "--readers",
    type=click.IntRange(0),
    help="Processes of each run that read streamed images ahead.  [default: the cores that are left]",
)
@click.option(
    "--procs-per-run",
    type=click.IntRange(1),
    help="Processes that compute each training: a divisor of recipe.shards.  [default: 1; those of torchrun]",
)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:N, or auto.")
@click.option(
    "--on",
    "executor",
    default="local",
    show_default=True,
    metavar="EXECUTOR[:ADDRESS]",
    help="Who starts the runs: local, ray, ray:ADDRESS, or another of lcrbench list executors.",
)
@click.option("--need", "needed", help="What each run needs: cores=N,gpus=N,memory=BYTES.  [default: cores=1]")
@click.option(
    "--wait/--no-wait", default=True, show_default=True, help="Wait for other processes that have the last runs."
)
@engine_option
@store_option
@click.option("--out", type=FOLDER, help="Folder of the report.  [default: STORE/reports/PRESET]")
@click.option("--fresh", is_flag=True, help="Run again what is finished already.")
@click.option(
    "--stale",
    type=click.Choice(["refuse", "redo", "keep"]),
    default="refuse",
    show_default=True,
    help="What to do with what a different version of the code made.",
)
@click.option("--redo", is_flag=True, help="Set damaged runs aside and run them again.")
@click.option(
    "--save-every", type=click.FloatRange(0), default=60.0, show_default=True, help="Seconds between checkpoints."
)
@click.option("--plan", "only_plan", is_flag=True, help="Check plug-ins, show what would run, and stop.")
@click.option("--quiet", is_flag=True, help="Print nothing but the path of the report.")
def command(
    preset: str,
    assignments: tuple[str, ...],
    workers: int | None,
    readers: int | None,
    procs_per_run: int | None,
    device: str,
    executor: str,
    needed: str | None,
    wait: bool,
    engine: Literal["auto", "packed", "torch"],
    store: str,
    out: str | None,
    fresh: bool,
    stale: Literal["refuse", "redo", "keep"],
    redo: bool,
    save_every: float,
    only_plan: bool,
    quiet: bool,
    test_sets: tuple[str, ...],
    **given: Any,
) -> None:
    """Train and measure every method of PRESET under one budget, and write the report.

    PRESET is a name of `lcrbench list presets`, an import path, or a .toml file. Options replace its values. Each pair of a
    method and a seed is one run. Runs that the store holds already are not made again, and an interrupted run goes on from
    its last save: give the same command again.
    """
    from lcrbench.bench.training import launched

    if launched.world() > 1 and not (procs_per_run := _together(procs_per_run)):
        return
    from lcrbench import registry
    from lcrbench.bench import finished
    from lcrbench.bench.progress import Progress
    from lcrbench.bench.records import env, grid
    from lcrbench.bench.records.budget import move_keys
    from lcrbench.bench.records.store import Store

    tables, notes = move_keys(override(grid.read_grid(preset), given, assignments))
    for note in notes:
        say(f"lcrbench: {note}", err=True)
    wanted = grid.make_grid(tables)
    pages = out or str(Path(store, "reports", registry.file("preset", preset).stem))
    plainly = device in ("auto", "cpu") and executor == "local"
    if plainly and not (fresh or redo or only_plan or test_sets) and (all_there := finished.runs(wanted, Path(store))):
        with Progress([], len(all_there), quiet=quiet):
            _report(Store(store), pages, all_there, quiet)
        return
    # Not before: they import torch.
    from lcrbench.bench import device as devices
    from lcrbench.bench import planning, runner
    from lcrbench.bench.executors import Resources, parted

    name, _ = parted(executor)
    need = Resources.read(needed or "")
    # What other machines have is not asked here: on them a run computes on a GPU where it asks for one.
    chosen = devices.choose(device) if name == "local" else device.replace("auto", "cuda" if need.gpus else "cpu")
    if test_sets:
        # Before anything is trained.
        from lcrbench.bench.evaluation import test_sets as others

        opened = others.open_all(test_sets, wanted)
        for note in (note for other in opened for note in other.notes):
            say(f"lcrbench: {note}", err=True)
    processes = procs_per_run or 1
    if processes > 1 and name != "local":
        raise UserError(
            f"--procs-per-run starts processes on this machine, and --on {name} runs elsewhere: leave one out"
        )
    at_once = _at_once(workers, processes, chosen, wanted.budget.unit)
    readers = devices.readers(chosen, at_once * processes) if readers is None else readers
    if only_plan:
        _conform([*planning.outside(wanted), *([("executor", name)] * registry.is_outside("executor", name))])
        jobs, dataset = runner.planned(wanted, Path(store), fresh=fresh, stale=stale, processes=processes)
        there = Store(store) if Path(store).is_dir() else None
        lacking = [planning.lacking(there, job, dataset) for job in jobs]
        for found in lacking:
            say(f"{found.spec.run_id}  {found.spec.label} seed {found.spec.training.seed}: {found.text}")
        if any(not found.nothing for found in lacking):
            from lcrbench.bench import estimate

            # Apart from the list of runs, which programs read.
            cost = estimate.cost(lacking, dataset, chosen, at_once, engine=engine, readers=readers)
            say(cost.text(at_once), err=True)
        return
    # Without --fresh, which would make again what is finished by then.
    again = shlex.join(["lcrbench", *(a for a in sys.argv[1:] if a != "--fresh")])
    try:
        ids = runner.run(
            wanted,
            Path(store),
            workers=at_once if name == "local" else workers,
            need=need,
            wait=wait,
            readers=readers,
            processes=processes,
            device=chosen,
            command=env.command_line(),
            fresh=fresh,
            stale=stale,
            redo=redo,
            save_every=save_every,
            quiet=quiet,
            executor=executor,
            engine=engine,
        )
    except runner.Kept as error:
        raise Failed(str(error)) from None
    except runner.Left as error:
        say(f"lcrbench: {error}", err=True)
        return
    except KeyboardInterrupt:
        rest = " (with --fresh, to make every run again)" if fresh else ""
        raise Interrupted(
            f"interrupted: what is finished or saved is kept in {store}; to go on: {again}{rest}"
        ) from None
    target = Store(store)
    if test_sets:
        ids = [
            *ids,
            *others.show_all(target, ids, opened, wanted, device=chosen, stale=stale, quiet=quiet, engine=engine),
        ]
    _report(target, pages, ids, quiet, told=True)
    failed = [i for i in ids if target.record(i).status == "failed"]
    if failed:
        raise Failed(f"{len(failed)} of {len(ids)} runs failed; the report says why")


def _together(given: int | None) -> int | None:
    """Settle what this process is of those that torchrun has started: return how many, or None after serving the first."""
    from lcrbench.bench.training import group, launched

    if launched.rank():
        group.serve()
        return None
    click.get_current_context().call_on_close(group.lead())
    if given not in (None, launched.world()):
        raise UserError(
            f"--procs-per-run {given}, and {launched.world()} processes were started together: leave the option out"
        )
    return launched.world()


def _at_once(workers: int | None, processes: int, device: str, unit: str) -> int:
    """Return how many runs to work on at once; raises `UserError` if there is no device for each process."""
    from lcrbench.bench import device as devices
    from lcrbench.bench.training import launched

    if processes == 1:
        return workers or devices.workers(device, unit)
    if launched.world() > 1:
        if (workers or 1) > 1:
            raise UserError("processes that were started together work on one run at a time: leave --workers out")
        return 1
    devices.enough(device, processes)
    return workers or (max(1, devices.workers(device, unit) // processes) if device == "cpu" else 1)


def _conform(named: list[tuple[str, str]]) -> None:
    """Raise `UserError` for the first entry from outside that breaks the contract of its kind."""
    from lcrbench.testing import conform

    for kind, name in named:
        if found := conform(kind, name):
            also = f" (the first of {len(found)}: lcrbench conform {kind} {name})" if found[1:] else ""
            raise UserError(f"the {kind} '{name}' breaks its contract: {found[0]}{also}")


def _report(store: Store, out: str, ids: list[str], quiet: bool, told: bool = False) -> None:
    """Write the report, and print its table and its place; with `told` a terminal shows meanwhile that it is written."""
    from lcrbench.bench.records.lease import Held
    from lcrbench.reports import report as reports

    lease = store.lease("report")
    with contextlib.ExitStack() as stack:
        if told and not quiet and sys.stderr.isatty():
            from rich.console import Console

            stack.enter_context(Console(stderr=True).status("writing the report"))
        # Several commands on one store end together. Where the store takes nothing, the report may still be had.
        with contextlib.suppress(Held, UserError):
            lease.acquire(600.0)
            stack.callback(lease.release)
        page = reports.write(store, Path(out), runs=ids)
    if quiet:
        say(str(page))
        return
    # The report has written the table: where it stands already, nothing need be read again.
    from lcrbench.reports.stamp import TERMINAL

    if (table := page.with_name(TERMINAL)).is_file():
        text = text_of(small_file(table, "table"), str(table))
        say("\n" + fitted(text, shutil.get_terminal_size((100, 24)).columns) + "\n")
    say(f"report: {page}")


def fitted(text: str, width: int) -> str:
    """Return a caption, a table and notes below it in so many columns: text is wrapped, the table's last columns go."""
    caption, table, *notes = text.rstrip("\n").split("\n\n", 2)
    lines = table.splitlines()
    longest = max(map(len, lines), default=0)
    if longest > width:
        # Columns stand apart where no line but the rule has a letter.
        rows = [line.ljust(longest) for line in lines if line.strip("-")]
        apart = [k for k in range(1, width) if all(row[k : k + 2].isspace() or k + 2 > longest for row in rows)]
        end = max((k for k in apart if k < width), default=width)
        lines = [line[:end].rstrip() for line in lines] + ["(more columns: lcrbench table)"]
    told = [textwrap.fill(note, width) for block in notes for note in block.splitlines()]
    return "\n".join([textwrap.fill(caption, width), "", *lines, *([""] if told else []), *told])
