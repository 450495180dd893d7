"""Check the environment, the data and the store; or a network of your own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from lcrbench.bench.cli import say, store_option
from lcrbench.bench.cli._foreign import declared_of, network_options
from lcrbench.errors import UserError


@click.command(epilog="Example: lcrbench doctor --store lcrbench-runs")
@store_option
@click.option("--data", "source", help="Check this data set whole instead: every file is read again.")
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="MODEL",
    help="Check this network on the test images of --data instead; MODEL as in `lcrbench evaluate`.",
)
@network_options
@click.option(
    "--clear-cache", is_flag=True, help="Delete compiled kernels and decoded data sets first; both are made again."
)
def command(store: str, source: str | None, models: tuple[str, ...], clear_cache: bool, **network: Any) -> None:
    """Check the environment, the embedded data and the store, and say what to do about what is wrong.

    With --data, check a data set, a test set, or a corruption benchmark: each file is read and decoded, and compared with
    published hashes where there are some.

    With --model, check a network of your own on at most 512 labelled images: its mode, shapes, determinism, independence of
    other images in the batch, the normalization and the order of channels, and the order of its classes.

    Exit code 2 if a line begins with BAD.
    """
    from lcrbench.bench import doctor as checks

    if clear_cache:
        for folder in checks.clear_caches():
            say(f"ok   deleted {folder}")

    declared, size, resize = declared_of(network)
    found: Iterator[checks.Check]
    if models:
        found = (c for model in models for c in checks.network_checks(model, declared, source, size, resize))
    elif source is None:
        found = checks.checks(store)
    else:
        found = checks.data_checks(source, size or 32)
    good = True
    for check in found:
        good &= check.good
        say(f"{'ok ' if check.good else 'BAD'}  {check.what}")
    if not good:
        raise UserError("something is wrong: see the lines that begin with BAD")
