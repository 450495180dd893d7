"""`lcrbench corrupt`: writes a corruption benchmark of a data set, or a picture sheet of one image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from lcrbench.errors import UserError

Progress = Callable[[int, int, str], None]


@click.command(short_help="Write a corruption benchmark, or draw a picture sheet.")
@click.argument("source", default="fashion-mnist-10k")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder to write the benchmark to; a begun one is continued."
)
@click.option(
    "--corruptions",
    help='Corruptions or groups, separated by spaces: "noise fog".  [default: common; all for --sheet]',
)
@click.option(
    "--layout",
    type=click.Choice(["npy", "tree"]),
    default="npy",
    show_default=True,
    help="npy: one array a corruption, as CIFAR-10-C; tree: JPEG files in class folders, as ImageNet-C.",
)
@click.option("--size", type=int, default=32, show_default=True, help="Side of the images in pixels.")
@click.option("--constants", help="Severity constants: cifar, tiny or imagenet.  [default: of the nearest size]")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random corruptions.")
@click.option("--threads", type=click.IntRange(1), help="Threads.  [default: all cores]")
@click.option(
    "--frost-pictures",
    type=click.Path(path_type=Path),
    help="Folder of the frost pictures, where they are not installed.",
)
@click.option(
    "--sheet", type=click.Path(path_type=Path), help="Draw one image at all severities into this PNG instead."
)
@click.option("--image", default="0", show_default=True, help="(sheet) Number of the test image, or an image file.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
def corrupt(
    source: str,
    out: Path | None,
    corruptions: str | None,
    layout: str,
    size: int,
    constants: str | None,
    seed: int,
    threads: int | None,
    frost_pictures: Path | None,
    sheet: Path | None,
    image: str,
    quiet: bool,
) -> None:
    """Write the corruptions of SOURCE's test images at all five severities, with a manifest of hashes.

    SOURCE is a built-in data set, or a folder or archive of images, as for `lcrbench run --data`. With --sheet, draw a
    picture of one image under every corruption at every severity.
    """
    from lcrbench.corruptions import generate
    from lcrbench.corruptions.engine import available_threads

    names = _expand(("common" if sheet is None else "all") if corruptions is None else corruptions)
    if (out is None) == (sheet is None):
        raise UserError("name either a folder with --out or a PNG with --sheet")
    if sheet is not None:
        _draw(sheet, source, image, size, names, constants, seed, frost_pictures)
        click.echo(sheet)
        return
    assert out is not None
    from lcrbench.bench import data

    dataset = data.load(source, size=size)
    with _bar(quiet) as progress:
        manifest = generate.write(
            out,
            dataset.test.images,
            dataset.test.labels,
            names,
            layout="npy" if layout == "npy" else "tree",
            classes=dataset.classes,
            data={"name": dataset.name, "sha256": dataset.sha256, "classes": list(dataset.classes)},
            seed=seed,
            stream=dataset.sha256,
            constants=constants,
            threads=threads or available_threads(),
            frost_pictures=frost_pictures,
            progress=progress,
        )
    click.echo(manifest)


def _expand(text: str) -> list[str]:
    """Return the corruptions that names and groups stand for, each once, in the order given."""
    from lcrbench import corruptions

    return list(corruptions.expand(text.replace(",", " ").split()))


def _draw(
    place: Path,
    source: str,
    image: str,
    size: int,
    names: list[str],
    constants: str | None,
    seed: int,
    frost: Path | None,
) -> None:
    from lcrbench.corruptions import sheet

    if image.isdigit():
        from lcrbench.bench import data

        images = data.load(source, size=size).test.images
        if int(image) >= len(images):
            raise UserError(f"there is no test image {image}: '{source}' has {len(images)}, from 0")
        picture = images[int(image)]
    else:
        picture = sheet.read(image, size)
    sheet.save(place, sheet.draw(picture, names, seed=seed, constants=constants, frost_pictures=frost))


@contextmanager
def _bar(quiet: bool) -> Iterator[Progress | None]:
    """Show a bar with the time left on a terminal, and nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("images"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("")

        def show(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total, description=f"{what:20s}")

        yield show
