"""Write a corruption benchmark, or draw a picture sheet."""

from __future__ import annotations

from pathlib import Path

import click

from lcrbench.bench.cli import FILE, say
from lcrbench.errors import UserError
from lcrbench.untrusted import MOST_THREADS


@click.command(epilog='Example: lcrbench corrupt --out fashion-c --corruptions "noise fog"')
@click.argument("source", default="fashion-mnist-10k")
@click.option("--out", type=FILE, help="Folder to write the benchmark to; a begun one is continued.")
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
@click.option(
    "--size", type=click.IntRange(8, 1024), default=32, show_default=True, help="Side of the images in pixels."
)
@click.option("--constants", help="Severity constants: cifar, tiny or imagenet.  [default: of the nearest size]")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random corruptions.")
@click.option("--threads", type=click.IntRange(1, MOST_THREADS), help="Threads.  [default: all cores]")
@click.option(
    "--frost-pictures",
    type=FILE,
    help="Folder of the frost pictures, where they are not installed.",
)
@click.option("--sheet", type=FILE, help="Draw one image at all severities into this PNG instead.")
@click.option("--image", default="0", show_default=True, help="(sheet) Number of the test image, or an image file.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
def command(
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
        say(sheet)
        return
    assert out is not None
    from lcrbench.bench import data
    from lcrbench.bench.progress import bar

    dataset = data.load(source, size=size)
    total = len(names) * 5 * len(dataset.test.images)
    with bar(total, "", quiet, unit="images") as shown:
        manifest = generate.write(
            out,
            dataset.test.images[:],
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
            progress=lambda done, total, what: shown.advance(done - shown.done, f"{what:20s}"),
        )
    say(manifest)


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

    if image.isascii() and image.isdigit():
        from lcrbench.bench import data

        images = data.load(source, size=size).test.images
        if len(image) > len(str(len(images))) or int(image) >= len(images):
            raise UserError(f"there is no test image {image[:20]}: '{source}' has {len(images)}, from 0")
        picture = images[int(image)]
    else:
        picture = sheet.read(image, size)
    sheet.save(place, sheet.draw(picture, names, seed=seed, constants=constants, frost_pictures=frost))
