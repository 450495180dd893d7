"""The options by which a network from outside is declared; `evaluate`, `doctor` and others share them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from lcrbench.errors import UserError

if TYPE_CHECKING:
    from lcrbench.bench.networks.foreign import Declared

OPTIONS = (
    click.option("--name", default="", help="(network) What records and reports call it."),
    click.option(
        "--size",
        type=click.IntRange(1, 1024),
        help="(network) Pixels of the images shown.  [default: their own; of large photographs what the network takes]",
    ),
    click.option(
        "--resize",
        type=click.IntRange(1, 1024),
        help="(network) Shorter side of photographs before the centre is cropped.",
    ),
    click.option(
        "--takes", "takes_size", type=click.IntRange(1, 4096), help="(network) Pixels that it takes, if another size."
    ),
    click.option("--mean", help='(network) Means that are subtracted: "0.485 0.456 0.406", after --range.'),
    click.option("--std", help="(network) Standard deviations that are divided by."),
    click.option("--range", "range_", help='(network) What pixels reach from and to: "0 255".  [default: 0 1]'),
    click.option("--channels", type=click.Choice(["RGB", "BGR"]), help="(network) Order of the channels."),
    click.option("--layout", type=click.Choice(["NCHW", "NHWC"]), help="(network) Order of the axes."),
    click.option(
        "--interpolation",
        type=click.Choice(["nearest", "bilinear", "bicubic"]),
        help="(network) If it takes another size.",
    ),
    click.option(
        "--label-order",
        "order",
        default="",
        help="(network) Order of its classes: background-first, string-order, ilsvrc-ids, ..., or a file of ids.",
    ),
    click.option(
        "--outputs", type=click.Choice(["logits", "probabilities"]), help="(network) What it gives.  [default: logits]"
    ),
)


def network_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function


def declared_of(given: dict[str, Any]) -> tuple[Declared, int | None, int | None]:
    """Return what the options declare of a network, and the size and resize of the images that it is shown."""
    from lcrbench.bench.networks.foreign import Declared

    preprocess = {
        "size": given["takes_size"],
        "mean": _numbers("--mean", given["mean"], 3),
        "std": _numbers("--std", given["std"], 3),
        "range": _numbers("--range", given["range_"], 2),
        "channels": given["channels"],
        "layout": given["layout"],
        "interpolation": given["interpolation"],
    }
    declared = Declared(
        given["name"],
        {k: v for k, v in preprocess.items() if v is not None},
        given["order"],
        given["outputs"],
    )
    return declared, given["size"], given["resize"]


def _numbers(option: str, text: str | None, number: int) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        found = tuple(float(word) for word in text.replace(",", " ").split())
    except ValueError as error:
        raise UserError(f"{option} takes numbers separated by spaces, not '{text}'") from error
    if len(found) == 1:
        found *= number
    if len(found) != number:
        raise UserError(f"{option} takes {number} numbers, not {len(found)}")
    return found
