"""A store of 2,000 runs of 96 cells each: what a report must build in seconds."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np

from lcrbench.bench.records.store import BY_IMAGE, CHECKSUM, LOG, OUTCOMES, RECORD, Store
from lcrbench.reports.comparison import COMMON, GROUPS

from . import make_store

CELLS = 96


def large_store(root: Path, methods: int = 20, seeds: int = 10, settings: int = 10) -> Store:
    """Write methods x seeds x settings runs, each a template of its method with its own seed and shifted values."""
    store = Store(root, create=True)
    rng = np.random.default_rng(0)
    every = COMMON + GROUPS["extra"]
    for setting in range(settings):
        for method in range(methods):
            label = "full_precision" if method == 0 else f"method_{method}"
            template, files = make_store.make(label, 0, data=f"data-{setting}", corruptions=every)
            assert len([m for m in template.measurements if m.metric == "accuracy"]) == CELLS
            shifts = rng.normal(0, 0.01, (seeds, len(template.measurements))).tolist()
            for seed in range(seeds):
                spec = template.spec.model_copy(update={"seed": seed})
                measured = tuple(
                    m.model_copy(update={"value": min(1.0, max(0.0, m.value + d))}) if m.value < 1 else m
                    for m, d in zip(template.measurements, shifts[seed], strict=True)
                )
                hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
                made = {"run_id": spec.run_id, "spec": spec, "measurements": measured, "files": hashes}
                # Not through `Store.write`: it flushes every file to the disk, which takes minutes here.
                folder = root / spec.run_id
                folder.mkdir()
                text = template.model_copy(update=made).model_dump_json(indent=1) + "\n"
                (folder / RECORD).write_text(text, encoding="utf-8")
                (folder / CHECKSUM).write_text(hashlib.sha256(text.encode()).hexdigest() + "\n", encoding="utf-8")
                for name in (LOG, OUTCOMES, BY_IMAGE):
                    (folder / name).write_bytes(files[name])
    return store


if __name__ == "__main__":
    large_store(Path(sys.argv[1]), *map(int, sys.argv[2:]))
