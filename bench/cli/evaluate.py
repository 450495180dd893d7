"""Show trained networks other corruptions, severities or images, and measure them."""

from __future__ import annotations

from typing import Literal

import click

from lcrbench.bench.cli import say, store_option
from lcrbench.errors import UserError


@click.command(epilog='Example: lcrbench evaluate 3f2a --corruptions "speckle_noise spatter"')
@click.argument("runs", nargs=-1)
@store_option
@click.option("--data", "source", help="Images to show.  [default: those of the run]")
@click.option("--test", type=click.IntRange(1), help="Use a class-balanced subset of this many test images.")
@click.option("--corruptions", default="common", show_default=True, help='Names or groups, by spaces; "" for none.')
@click.option("--severities", default="1 2 3 4 5", show_default=True, help="Severities, separated by spaces.")
@click.option("--metrics", default="accuracy corruption_error", show_default=True, help="Metrics, separated by spaces.")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the corruptions' randomness."
)
@click.option("--block", type=click.IntRange(1), default=100, show_default=True, help="Images a forward pass.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:N, or auto.")
@click.option(
    "--stale",
    type=click.Choice(["refuse", "redo", "keep"]),
    default="refuse",
    show_default=True,
    help="What to do with what a different version of the code made.",
)
@click.option("--trust-plugins", is_flag=True, help="Run the code of import paths that a run's record names.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
def command(
    runs: tuple[str, ...],
    store: str,
    source: str | None,
    test: int | None,
    corruptions: str,
    severities: str,
    metrics: str,
    seed: int,
    block: int,
    device: str,
    stale: Literal["refuse", "redo", "keep"],
    trust_plugins: bool,
    quiet: bool,
) -> None:
    """Show the networks of RUNS (ids, or their beginnings) what is asked for, and keep what is found in STORE.

    Nothing is trained, and nothing that the store holds is shown or measured again. `lcrbench report` shows the result.
    """
    from filelock import Timeout

    from lcrbench.bench import device as devices
    from lcrbench.bench import planning
    from lcrbench.bench.evaluation import on_request
    from lcrbench.bench.progress import bar
    from lcrbench.bench.records import view
    from lcrbench.bench.records.store import Store

    if not runs:
        raise UserError("name a run (see `lcrbench list runs`)")
    try:
        levels = tuple(int(word) for word in severities.split())
    except ValueError as error:
        raise UserError(f"--severities takes whole numbers separated by spaces: {error}") from error
    shown = planning.shown_of(corruptions.replace(",", " ").split(), levels, seed, block)
    options = {name: planning.metric_options(name, {}) for name in metrics.replace(",", " ").split()}
    chosen = devices.choose(device)
    opened = Store(store)
    for run in dict.fromkeys(opened.find(run) for run in runs):
        cells = 1 + len(shown.corruptions) * len(shown.severities)
        with bar(cells, run[:8], quiet, unit="cells") as told:

            def watch(phase: str, done: int, total: int) -> None:
                if phase == "evaluation":
                    told.advance(done - told.done)

            try:
                found, protocol = on_request.of_run(
                    opened,
                    run,
                    shown,
                    options,
                    data=source,
                    test=test,
                    device=chosen,
                    stale=stale,
                    trust_plugins=trust_plugins,
                    watch=watch,
                )
            except Timeout:
                raise UserError(f"another process evaluates run {run}: wait for it, then try again") from None
        record = opened.record(view.run_id(found.evaluation, protocol))
        say(f"{record.run_id}  {record.spec.label} seed {record.spec.seed} on {record.spec.data.text}")
        for m in record.measurements:
            if m.metric in options and (m.severity == 0 or not m.corruption):
                where = f" {m.corruption}" if m.corruption else ""
                interval = f" [{m.low:.4g}, {m.high:.4g}]" if m.low is not None and m.high is not None else ""
                say(f"  {m.metric}{where}: {m.value:.4g}{interval}, n={m.n}")
