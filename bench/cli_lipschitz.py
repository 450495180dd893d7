"""`lcrbench lipschitz`: measures how far the logits of trained networks move within a radius, and compares networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lcrbench.errors import UserError

if TYPE_CHECKING:
    from lcrbench.bench.evaluate import Subject


@click.command()
@click.argument("runs", nargs=-1)
@click.option("--store", default="lcrbench-runs", show_default=True, help="Folder that holds the runs.")
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="MODULE:FUNCTION",
    help="A network of your own: a function that returns a torch module from images (N, 3, H, W) in [0, 1] to logits.",
)
@click.option(
    "--data", "source", help="Images to measure on.  [default: those of the run; for a model fashion-mnist-10k]"
)
@click.option("--size", type=int, default=32, show_default=True, help="(--model) Image size in pixels.")
@click.option("--preset", default="default", show_default=True, help="How hard to search: quick, default or full.")
@click.option("--l2", help='Radii in 1/255 pixel units: "2 8 128"; "" for none.  [default: the preset\'s]')
@click.option("--linf", help="Likewise for the linf norm.")
@click.option("--images", type=int, help="Number of test images.  [default: the preset's]")
@click.option("--seed", type=int, help="Seed of the search.  [default: 0]")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("--out", help="Folder for curves, tables and resumable results.  [default: STORE/lipschitz]")
@click.option("--quiet", is_flag=True, help="Show no progress.")
def lipschitz(
    runs: tuple[str, ...],
    store: str,
    models: tuple[str, ...],
    source: str | None,
    size: int,
    preset: str,
    l2: str | None,
    linf: str | None,
    images: int | None,
    seed: int | None,
    device: str,
    out: str | None,
    quiet: bool,
) -> None:
    """Measure RUNS (ids, or their beginnings) and write curves and tables.

    What is found at each radius is stored at once: the same command goes on where an interrupted one stopped. With several
    networks, the differences are tested on the same images, and an order on which a quick and the full search disagree is
    printed as 'not separated'.
    """
    from pathlib import Path

    import torch

    from lcrbench.bench.lipschitz import report, search, subjects

    options = _options(search.preset(preset), l2, linf, images, seed)
    if not runs and not models:
        raise UserError("name a run (see `lcrbench list runs`), or a model with --model MODULE:FUNCTION")
    torch.set_num_threads(1)
    named: list[tuple[str, Subject]] = [subjects.of_run(store, run, source, device) for run in runs]
    named += [subjects.of_model(model, source or "fashion-mnist-10k", size, device) for model in models]
    folder = Path(out or str(Path(store, "lipschitz")))
    efforts = list(dict.fromkeys([search.preset("quick").limited(options), options]))
    measured = [
        report.measure(name, subject, how, folder, lambda text: _tell(text, quiet))
        for name, subject in named
        for how in efforts
    ]
    for line in report.write(measured, folder):
        click.echo(line)


def _tell(text: str, quiet: bool) -> None:
    if not quiet:
        click.echo(text, err=True)


def _options(options: Any, l2: str | None, linf: str | None, images: int | None, seed: int | None) -> Any:
    import dataclasses

    changes: dict[str, Any] = {}
    for name, text in (("l2", l2), ("linf", linf)):
        if text is not None:
            try:
                changes[name] = tuple(float(word) for word in text.replace(",", " ").split())
            except ValueError as error:
                raise UserError(f"--{name} takes numbers separated by spaces, not '{text}'") from error
    changes |= {k: v for k, v in (("images", images), ("seed", seed)) if v is not None}
    return dataclasses.replace(options, **changes)
