"""Write a trained network as bits, in one file."""

from __future__ import annotations

from pathlib import Path

import click

from lcrbench.bench.cli import FILE, say, store_option


@click.command(epilog="Example: lcrbench export 3f2a --out net.safetensors")
@click.argument("run")
@click.option("--out", required=True, type=FILE, help="The file to write.")
@store_option
@click.option("--trust-plugins", is_flag=True, help="Run the code of import paths that a run's record names.")
def command(run: str, out: Path, store: str, trust_plugins: bool) -> None:
    """Write the network of RUN (an id, or its beginning) to a file: one bit a binary weight, and all else of its inference.

    `lcrbench.load_packed(FILE)` gives the network back, without latent weights, and with equal logits.
    """
    from lcrbench.bench.evaluation import packed_file
    from lcrbench.bench.records.store import Store

    bits = packed_file.write(Store(store), run, out, trust_plugins=trust_plugins)
    say(f"{out}: {bits:,} bits")
