"""Choose options of methods by trials on held-out training images, and write the spec that uses them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from lcrbench.bench.cli import FOLDER, Interrupted, say, store_option
from lcrbench.bench.cli._tables import override


@click.command(
    epilog="Example: lcrbench tune quick --method irnet+lcr --option weight=0.01,0.03,0.1 --method irnet --option "
    "recipe.lr=0.05,0.1 --trials 2"
)
@click.argument("preset", default="quick")
@click.option("--method", "methods", multiple=True, required=True, help="A method to tune; may be given several times.")
@click.option(
    "--option",
    "options",
    multiple=True,
    required=True,
    metavar="KEY=VALUE,...",
    help="Values to try of an option (weight, lcr.weight) or a field of the recipe (recipe.lr).",
)
@click.option(
    "--trials", type=click.IntRange(1), help="Trials of each method.  [default: every combination, if equally many]"
)
@click.option(
    "--validation", type=click.IntRange(1), help="Training images held out to choose by.  [default: a tenth of them]"
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the trials, and of their choice."
)
@click.option("--data", "source", help="Built-in data set, or a folder or archive of images.")
@click.option("--size", type=int, help="Image size in pixels.")
@click.option("--train", type=int, help="Use a class-balanced subset of this many training images.")
@click.option("--backbone", help="Network topology.")
@click.option("--images", type=int, help="Budget of each trial, and of the runs later: images seen.")
@click.option("--batch", type=int, help="Images an optimizer step.")
@click.option("--lr", type=float, help="Peak learning rate.")
@click.option("--recipe", type=click.Choice(["paper"]), help="Start from the recipe of each method's paper.")
@click.option(
    "--set", "assignments", multiple=True, metavar="FIELD=VALUE", help="Set any other field of the spec, as TOML."
)
@click.option("--workers", type=click.IntRange(1), help="Trials at once, one thread each.  [default: all cores]")
@click.option(
    "--readers",
    type=click.IntRange(0),
    help="Processes of each trial that read streamed images ahead.  [default: the cores that are left]",
)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:N, or auto.")
@store_option
@click.option("--out", type=FOLDER, default="tuned.toml", show_default=True, help="The spec file to write.")
@click.option("--quiet", is_flag=True, help="Print nothing but the path of the spec file.")
def command(
    preset: str,
    methods: tuple[str, ...],
    options: tuple[str, ...],
    trials: int | None,
    validation: int | None,
    seed: int,
    assignments: tuple[str, ...],
    workers: int | None,
    readers: int | None,
    device: str,
    store: str,
    out: str,
    quiet: bool,
    **given: Any,
) -> None:
    """Try stated values of each METHOD's options under the budget of PRESET, and write a spec file for `lcrbench run`.

    Each method gets the same number of trials. A trial is one training with images held out of the training images; the
    accuracy on these decides, and test images have no part in it. A run of the spec file records how many trials there
    were, and what they took. An option is tried with those methods that have it. A call that was interrupted goes on: give
    the same command again.
    """
    from lcrbench.bench import device as devices
    from lcrbench.bench import tuning
    from lcrbench.bench.records import env, toml
    from lcrbench.bench.records import grid as grids
    from lcrbench.bench.records.budget import move_keys
    from lcrbench.bench.records.files import replace_file
    from lcrbench.bench.records.store import Store
    from lcrbench.bench.worker import load_data

    tables, notes = move_keys(override(grids.read_grid(preset), given, assignments))
    for note in notes:
        say(f"lcrbench: {note}", err=True)
    tables.pop("tuned", None)
    grid = grids.make_grid(tables)
    values = tuning.read_values(options)
    chosen = devices.choose(device)
    at_once = workers or devices.workers(chosen, grid.budget.unit)
    dataset = load_data(grid.data)
    held = validation or max(len(dataset.classes), len(dataset.train) // 10)

    def tell(point: tuning.Point, result: tuning.Result) -> None:
        if not quiet:
            found = "diverged" if result.accuracy is None else f"{100 * result.accuracy:.2f} %"
            say(f"{point.text}: {found} on {held} validation images", err=True)

    try:
        made = tuning.tune(
            grid,
            methods,
            values,
            trials=trials,
            validation=held,
            store=Store(store, create=True),
            dataset=dataset,
            provenance=env.provenance(chosen, 1, env.command_line(), {}, deterministic=True),
            device=chosen,
            workers=at_once,
            readers=devices.readers(chosen, at_once) if readers is None else readers,
            seed=seed,
            tell=tell,
        )
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted: the trials that ended are kept in {store}; give the command again") from None
    told = made.model_dump(mode="json", include={"tuned"})
    recipe = tables.get("recipe", {})
    result = {**tables, "methods": list(made.methods), "recipe": recipe, **told}
    # What stands at the top of a TOML file comes before its tables.
    head = {k: v for k, v in result.items() if not isinstance(v, dict)}
    text = toml.written({**head, **{k: v for k, v in result.items() if isinstance(v, dict)}})
    replace_file(Path(out), f"# {' '.join(env.command_line().split())}\n{text}".encode())
    say(out if quiet else f"spec: {out}; to run it: lcrbench run {shlex.quote(out)}")
