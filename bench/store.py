"""The store: one folder a run, named by the hash of its spec, written whole or not at all.

    STORE/<run id>/record.json          the record (schema.py)
                   outcomes.npz         one bit an image: right or wrong, for clean and each corruption and severity
                   training.jsonl       the training log, one JSON object a line
                   weights.safetensors  the selected weights

A run is written into a hidden folder beside its place, flushed to the disk, and moved there in one rename, so that an
interrupted run leaves nothing that could be taken for a result.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from lcrbench.bench.schema import SCHEMA_VERSION, Record
from lcrbench.errors import UserError

RECORD, OUTCOMES, LOG, WEIGHTS = "record.json", "outcomes.npz", "training.jsonl", "weights.safetensors"


class Store:
    """A folder of runs. Reading never writes; several processes may add different runs at once."""

    def __init__(self, root: str | Path, *, create: bool = False) -> None:
        self.root = Path(root)
        if create:
            try:
                self.root.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(f"cannot make the store {self.root}: {error.strerror}") from error
        elif not self.root.is_dir():
            raise UserError(f"there is no store at {self.root}: `lcrbench run` makes one, or name another with --store")

    def ids(self) -> list[str]:
        """Return the ids of the runs that are recorded, sorted."""
        return sorted(f.parent.name for f in self.root.glob(f"[!.]*/{RECORD}"))

    def find(self, prefix: str) -> str:
        """Return the one run whose id starts with `prefix`; raises `UserError` if there is none, or more than one."""
        matches = [i for i in self.ids() if i.startswith(prefix)]
        if len(matches) == 1 and prefix:
            return matches[0]
        what = f"several runs start with '{prefix}'" if matches and prefix else f"no run '{prefix}'"
        raise UserError(f"{what} in {self.root}; there are: {', '.join(matches or self.ids()) or 'none'}")

    def record(self, run_id: str) -> Record:
        """Read one record; raises `UserError` that names the file if it is damaged or of a newer schema."""
        path = self.root / run_id / RECORD
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            version = data["schema_version"]
            if version > SCHEMA_VERSION:
                raise UserError(
                    f"{path} has schema {version}, newer than {SCHEMA_VERSION}: read it with a newer lcrbench"
                )
            return Record.model_validate(data)
        except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(
                f"{path} is damaged ({type(error).__name__}): remove {path.parent} and run again"
            ) from error

    def records(self) -> Iterator[Record]:
        """Yield every record, in the order of their ids."""
        for run_id in self.ids():
            yield self.record(run_id)

    def log(self, run_id: str) -> pd.DataFrame:
        """Return a run's training log, one row a logged step; empty if there is none."""
        path = self.root / run_id / LOG
        if not path.exists():
            return pd.DataFrame()
        return pd.DataFrame([json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()])

    def outcomes(self, run_id: str) -> dict[str, np.ndarray]:
        """Return for "clean" and each "corruption/severity" a boolean array (N,): was test image i classified right?"""
        path = self.root / run_id / OUTCOMES
        try:
            with np.load(path, allow_pickle=False) as packed:
                n = int(packed["n"])
                return {k: np.unpackbits(packed[k], count=n).astype(bool) for k in packed.files if k != "n"}
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise UserError(f"{path} is damaged or missing: remove {path.parent} and run again") from error

    def table(self) -> pd.DataFrame:
        """Return the tidy table of all finished runs: one row a measurement, with the axes of its run."""
        rows: list[dict[str, Any]] = []
        for record in self.records():
            spec = record.spec
            axes = {
                "run_id": record.run_id,
                "data": spec.data.name,
                "backbone": spec.backbone,
                "method": spec.label,
                "seed": spec.seed,
            }
            rows += [axes | m.model_dump() for m in record.measurements]
        return pd.DataFrame(rows)

    def write(self, record: Record, files: Mapping[str, Callable[[Path], None] | bytes]) -> Record:
        """Write a run whole: the `files` beside it (bytes, or a function that writes a path), then its record.

        Returns the record with the files' hashes filled in. A run of the same id that is there already is replaced.
        """
        final = self.root / record.run_id
        draft = self.root / f".{record.run_id}.{os.getpid()}"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        hashes = {}
        try:
            for name, content in files.items():
                path = draft / name
                if isinstance(content, bytes):
                    path.write_bytes(content)
                else:
                    content(path)
                hashes[name] = hashlib.sha256(path.read_bytes()).hexdigest()
            record = record.model_copy(update={"files": hashes})
            (draft / RECORD).write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
            for path in [*draft.iterdir(), draft]:
                _flush(path)
            old = self.root / f".{record.run_id}.{os.getpid()}.old"
            if final.exists():
                final.rename(old)
            draft.rename(final)
            _flush(self.root)
            shutil.rmtree(old, ignore_errors=True)
        except OSError as error:
            shutil.rmtree(draft, ignore_errors=True)
            raise UserError(f"cannot write run {record.run_id} to {self.root}: {error.strerror}") from error
        return record


def pack_outcomes(outcomes: Mapping[str, np.ndarray]) -> bytes:
    """Return boolean arrays of one length as the bytes of an .npz of packed bits; the same input gives the same bytes."""
    buffer = io.BytesIO()
    n = len(next(iter(outcomes.values())))
    np.savez_compressed(buffer, n=np.int64(n), **{k: np.packbits(v) for k, v in outcomes.items()})  # type: ignore[arg-type]
    return buffer.getvalue()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
