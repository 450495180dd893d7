"""Show trained networks, of a store or your own, corrupted images, and measure them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import click

from lcrbench.bench.cli import FOLDER, engine_option, say, store_option
from lcrbench.bench.cli._foreign import declared_of, network_options
from lcrbench.errors import UserError

if TYPE_CHECKING:
    from lcrbench.bench.records.grid import Options
    from lcrbench.bench.records.store import Store


@click.command(
    epilog="Example: lcrbench evaluate torchvision:resnet18@resnet18.pth --data val.tar; "
    'lcrbench evaluate 3f2a --corruptions "speckle_noise spatter"'
)
@click.argument("models", nargs=-1, metavar="MODEL [MODEL ...]")
@store_option
@click.option("--data", "source", help="Images to show.  [default: those of the run; for a network fashion-mnist-10k]")
@click.option("--test", type=click.IntRange(1), help="Use a class-balanced subset of this many test images.")
@click.option(
    "--test-set",
    "test_sets",
    multiple=True,
    metavar="NAME=PATH",
    help="Show this test set, or corruption benchmark: cifar10-c=CIFAR-10-C.tar. Several times for several.",
)
@click.option(
    "--corruptions",
    help='Names or groups, by spaces; "" for none.  [default: common; none beside a --test-set]',
)
@click.option("--severities", default="1 2 3 4 5", show_default=True, help="Severities, separated by spaces.")
@click.option(
    "--metrics",
    default="accuracy corruption_error calibration_error",
    show_default=True,
    help="Metrics, separated by spaces.",
)
@click.option(
    "--lipschitz",
    type=click.Choice(["quick", "default", "full"]),
    help="Also measure how far the logits move, at this effort.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the corruptions' randomness."
)
@click.option("--block", type=click.IntRange(1), default=100, show_default=True, help="Images a forward pass.")
@network_options
@click.option("--no-checks", is_flag=True, help="(network) Leave out the checks for common mistakes.")
@click.option("--out", type=FOLDER, help="Also write the report on these networks into this folder.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:N, or auto.")
@engine_option
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
    models: tuple[str, ...],
    store: str,
    source: str | None,
    test: int | None,
    test_sets: tuple[str, ...],
    corruptions: str | None,
    severities: str,
    metrics: str,
    lipschitz: str | None,
    seed: int,
    block: int,
    no_checks: bool,
    out: str | None,
    device: str,
    engine: Literal["auto", "packed", "torch"],
    stale: Literal["refuse", "redo", "keep"],
    trust_plugins: bool,
    quiet: bool,
    **network: Any,
) -> None:
    """Show each MODEL clean and corrupted images, measure it, and keep what is found in STORE. Nothing is trained.

    MODEL is a run's id, or its beginning; or a network of your own: path/net.py:make?classes=10@weights.pt,
    module:function, torchvision:resnet18@FILE, timm:NAME, onnx:FILE, tflite:FILE, pt2:FILE (`lcrbench list loaders`). What
    STORE holds is not shown or measured again. Networks of your own are checked for common mistakes (a wrong normalization,
    another order of classes, ...). `lcrbench report` shows all.
    """
    from pathlib import Path

    from lcrbench.bench import device as devices
    from lcrbench.bench import planning
    from lcrbench.bench.networks import evaluate as foreign
    from lcrbench.bench.networks.name import is_name
    from lcrbench.bench.records.store import Store

    if not models:
        raise UserError("name a run (see `lcrbench list runs`), or a network such as path/net.py:make (see --help)")
    declared, size, resize = declared_of(network)
    if declared.name and len(models) > 1:
        raise UserError("--name names one network, and several are given")
    try:
        levels = tuple(int(word) for word in severities.split())
    except ValueError as error:
        raise UserError(f"--severities takes whole numbers separated by spaces: {error}") from error
    named = ("" if test_sets else "common") if corruptions is None else corruptions
    shown = planning.shown_of(named.replace(",", " ").split(), levels, seed, block)
    options = foreign.with_lipschitz(foreign.options_of({m: {} for m in metrics.replace(",", " ").split()}), lipschitz)
    chosen = devices.choose(device)
    opened = Store(store, create=any(map(is_name, models)))
    asked = foreign.Asked(
        None if test_sets and corruptions is None else shown,
        options,
        source or foreign.DATA,
        test_sets,
        size,
        resize,
        test,
        device=chosen,
        stale=stale,
        checks=not no_checks,
        engine=engine,
    )
    ids = []
    for model in dict.fromkeys(models):
        if is_name(model):
            found = _network(opened, model, declared, asked, quiet)
        elif test_sets:
            raise UserError(f"'{model}' is a run: `lcrbench run --test-set` shows test sets to the networks of a grid")
        else:
            found = _run(opened, model, shown, options, source, test, chosen, engine, stale, trust_plugins, quiet)
        for run in found:
            _print(opened, run, options)
        ids += found
    if out is not None:
        from lcrbench.reports import report as reports

        say(f"report: {reports.write(opened, Path(out), runs=ids)}")


def _network(opened: Store, model: str, declared: Any, asked: Any, quiet: bool) -> list[str]:
    """Evaluate a network from outside; return the ids of its runs."""
    from lcrbench.bench.networks import evaluate as foreign
    from lcrbench.bench.networks.checks import Finding
    from lcrbench.bench.progress import bar
    from lcrbench.bench.records import view
    from lcrbench.bench.records.lease import Held

    def tell(finding: Finding) -> None:
        if not finding.good or (finding.check == "told" and not quiet):
            say(f"lcrbench: {declared.name or model.rpartition('/')[2]}: {finding.what}", err=True)

    cells = len(asked.shown.corruptions) * len(asked.shown.severities) + 1 if asked.shown else 76
    with bar(cells, model.rpartition("/")[2][:24], quiet, unit="cells") as told:
        told_of: list[int] = []

        def watch(phase: str, done: int, total: int) -> None:
            if phase == "evaluation":
                told.extend(total - cells) if not told_of else None
                told_of.append(done)
                told.advance(done - told.done)

        try:
            found = foreign.evaluate(model, declared, asked, opened, watch=watch, tell=tell)
        except Held:
            raise UserError(f"another process evaluates {model}: wait for it, then try again") from None
    return [view.run_id(a.known.evaluation, a.protocol) for a in found.answers]


def _run(
    opened: Store,
    run: str,
    shown: Any,
    options: dict[str, Options],
    source: str | None,
    test: int | None,
    device: str,
    engine: Literal["auto", "packed", "torch"],
    stale: Literal["refuse", "redo", "keep"],
    trust_plugins: bool,
    quiet: bool,
) -> list[str]:
    """Evaluate the network of a run, or look again at a network from outside; return the id of what is found."""
    from lcrbench.bench.evaluation import on_request
    from lcrbench.bench.networks.name import RUN
    from lcrbench.bench.progress import bar
    from lcrbench.bench.records import view
    from lcrbench.bench.records.lease import Held

    run = opened.find(run.removeprefix(f"{RUN}:"))
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
                device=device,
                engine=engine,
                stale=stale,
                trust_plugins=trust_plugins,
                watch=watch,
            )
        except Held:
            raise UserError(f"another process evaluates run {run}: wait for it, then try again") from None
    return [view.run_id(found.evaluation, protocol)]


def _print(opened: Store, run: str, options: dict[str, Options]) -> None:
    from lcrbench.bench.told import lines

    record = opened.record(run)
    which = "" if record.external else f" seed {record.spec.seed}"
    on = (
        record.spec.data.text
        if record.external is None
        else f"{record.spec.data.test:,} images of {record.spec.data.name}"
    )
    say(f"{record.run_id}  {record.spec.label}{which} on {on}")
    for line in lines(record.measurements, options):
        say(line)
    for metric, reason in record.left_out.items():
        say(f"  {metric}: {reason}")
