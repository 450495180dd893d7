"""Write the references that `check` and `check-speed` compare with."""

from __future__ import annotations

from pathlib import Path

import click

from lcrbench.bench.cli import FILE, say


@click.group(epilog="Example: lcrbench reference update runs --out reference.json --reason new")
def command() -> None:
    """Write the references that `lcrbench check` and `lcrbench check-speed` compare with."""


@command.command(short_help="Write a reference from a store's runs, with a reason.")
@click.argument("store", type=FILE)
@click.option("--out", required=True, type=FILE, help="The reference file; methods it has and STORE has not are kept.")
@click.option("--reason", required=True, help="What changed, and why that is right; kept in the file's history.")
@click.option("--method", "methods", multiple=True, help="Only this method; give it several times.")
def update(store: Path, out: Path, reason: str, methods: tuple[str, ...]) -> None:
    """Write a reference from the finished runs in STORE: each seed's value of every endpoint. Nothing else writes one."""
    from lcrbench.bench.records.store import Store
    from lcrbench.reports import gate

    written = gate.update(out, Store(store), reason, methods=methods or None)
    for name, held in written.methods.items():
        seeds = len(held.runs)
        advice = f": {gate.GOOD_REFERENCE} or more are advised" if seeds < gate.GOOD_REFERENCE else ""
        say(f"{name}: {seeds} seed{'' if seeds == 1 else 's'}{advice}")
    say(f"reference: {out}")


@command.command(short_help="Write a reference from a run of benchmarks, with a reason.")
@click.argument("run", type=FILE)
@click.option("--out", required=True, type=FILE, help="The reference file; its history of reasons is kept.")
@click.option("--reason", required=True, help="What changed, and why that is right; kept in the file's history.")
@click.option("--base", default="", help="The benchmark that ratios are to, where benchmarks measured none themselves.")
def speed(run: Path, out: Path, reason: str, base: str) -> None:
    """Write a reference from RUN, a file of `pytest --benchmark-json`: each benchmark's ratio. Nothing else writes one."""
    from lcrbench.reports.gate import speed as speed_gate

    written = speed_gate.update(out, run, reason, base=base)
    say(f"{len(written.ratios)} benchmarks\nreference: {out}")
