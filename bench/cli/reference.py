"""Write the references that `check` and `check-speed` compare with."""

from __future__ import annotations

from pathlib import Path

import click

from lcrbench.bench.cli import FILE, say
from lcrbench.errors import UserError


@click.group(epilog="Example: lcrbench reference update runs --out reference.json --reason new")
def command() -> None:
    """Write the references that `lcrbench check` and `lcrbench check-speed` compare with."""


@command.command(
    short_help="Write a reference from a store's runs, with a reason.",
    epilog='Example: lcrbench reference update runs --out robustness.json --reason "release 1"',
)
@click.argument("store", type=FILE)
@click.option("--out", required=True, type=FILE, help="The reference file; methods it has and STORE has not are kept.")
@click.option("--reason", required=True, help="What changed, and why that is right; kept in the file's history.")
@click.option("--method", "methods", multiple=True, help="Only this method; give it several times.")
@click.option(
    "--margin",
    type=float,
    metavar="PP",
    help="How much worse is not worse, in points.  [default: the least that unchanged code passes 95 % of the time]",
)
@click.option("--metric", default="corruption_accuracy", show_default=True, help="What the margin is of; see `check`.")
@click.option("--seeds", metavar="LIST", help="Seeds that a candidate must have.  [default: those of STORE]")
@click.option("--paired", is_flag=True, help="Compare seed by seed; by default the means of all seeds.")
@click.option("--anyway", is_flag=True, help="Write a margin that unchanged code would not pass 95 % of the time.")
def update(
    store: Path,
    out: Path,
    reason: str,
    methods: tuple[str, ...],
    margin: float | None,
    metric: str,
    seeds: str | None,
    paired: bool,
    anyway: bool,
) -> None:
    """Write a reference from the finished runs in STORE: each seed's value of every endpoint. Nothing else writes one."""
    from lcrbench.bench.records.store import Store
    from lcrbench.reports import gate

    written = gate.update(
        out,
        Store(store),
        reason,
        methods=methods or None,
        endpoint=metric,
        margin=margin,
        seeds=_integers(seeds),
        paired=paired,
        anyway=anyway,
    )
    for name in methods or [*written.methods, *written.networks]:
        network = written.networks.get(name)
        say(f"{name}: {network.text if network else gate.described(written.methods[name])}")
    say(f"reference: {out}")


def _integers(seeds: str | None) -> list[int] | None:
    """Return the numbers in "0 1 2" or "0,1,2"; None for none."""
    if seeds is None:
        return None
    try:
        found = [int(s) for s in seeds.replace(",", " ").split()]
    except ValueError:
        found = []
    if not found:
        raise UserError(f'--seeds takes whole numbers, as in "0 1 2" (got {seeds!r})')
    return found


@command.command(
    short_help="Write a reference from a run of benchmarks, with a reason.",
    epilog='Example: lcrbench reference speed benchmarks.json --out speed.json --reason "the first one"',
)
@click.argument("run", type=FILE)
@click.option("--out", required=True, type=FILE, help="The reference file; its history of reasons is kept.")
@click.option("--reason", required=True, help="What changed, and why that is right; kept in the file's history.")
@click.option("--base", default="", help="The benchmark that ratios are to, where benchmarks measured none themselves.")
def speed(run: Path, out: Path, reason: str, base: str) -> None:
    """Write a reference from RUN, a file of `pytest --benchmark-json`: each benchmark's ratio. Nothing else writes one."""
    from lcrbench.reports.gate import speed as speed_gate

    written = speed_gate.update(out, run, reason, base=base)
    say(f"{len(written.ratios)} benchmarks\nreference: {out}")
