"""Checks of a preset: that it parses to a grid, and that all it names exists. No data set is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lcrbench.bench.records import grid
from lcrbench.bench.records.budget import move_keys
from lcrbench.bench.records.grid import Grid
from lcrbench.errors import UserError


def contract(name: str) -> Iterator[str]:
    """It parses to a grid, field by field."""
    tables, moved = move_keys(grid.read_grid(name))
    yield from moved
    grid.make_grid(tables)


def named(name: str) -> Iterator[str]:
    """Methods, backbone, recipe, corruptions and metrics exist, with the options that are given."""
    from lcrbench.bench import planning
    from lcrbench.bench.training import parts
    from lcrbench.models import network

    wanted: Grid = grid.make_grid(grid.read_grid(name))
    checks: list[Callable[[], object]] = [
        *(lambda text=text: network.choose(text) for text in wanted.methods),
        lambda: network.backbone_text(wanted.backbone),
        lambda: parts.settled(wanted.recipe),
        lambda: planning.expand(wanted.evaluation.corruptions),
        *(lambda m=m, o=o: planning.metric_options(m, o) for m, o in planning.metrics_of(wanted).items()),
    ]
    for check in checks:
        try:
            check()
        except UserError as error:
            yield str(error)


CHECKS = (contract, named)
