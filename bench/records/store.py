"""The store: one folder a run, named by the hash of its spec, written whole or not at all, checked when read.

    STORE/<run id>/record.json          the record (schema.py)
                   record.sha256        its hash
                   outcomes.npz         one bit an image: right or wrong, for clean and each corruption and severity
                   by_image.npz         what metrics found for single images, arrays by name; where a metric did
                   training.jsonl       the training log, one JSON object a line
                   weights.safetensors  the selected weights
    STORE/lipschitz/<id>/               a record of what `lcrbench lipschitz` measured of a run, in the same form
    STORE/.unfinished/<id>              the last save of an unfinished training (checkpoint.py)
    STORE/.teachers/<id>                a trained teacher, shared by the runs that need it (teacher.py)
    STORE/.locks/<id>                   held by the process that works on a run or teacher (lock.py)
    STORE/.damaged/                     what was set aside because its hash did not match
    STORE/.<run id>.new, .old           a run that is being written, and the one that it replaces

A run is written into a hidden folder beside its place, flushed to the disk, and moved there in one rename, so that an
interrupted run leaves nothing that could be taken for a result. One that it replaces is moved to `.old` first: where the
place is empty, that one is the run, for readers as for the next write.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError
from pydantic_core import from_json

from lcrbench.bench.records.lock import Lock
from lcrbench.bench.records.record import SCHEMA_VERSION, Record, upgrade
from lcrbench.errors import UserError

RECORD, OUTCOMES, LOG, WEIGHTS = "record.json", "outcomes.npz", "training.jsonl", "weights.safetensors"
BY_IMAGE = "by_image.npz"
CHECKSUM = "record.sha256"
SHOWN = 10  # ids in a message
LIPSCHITZ = "lipschitz"
"""The folder of a store that holds what `lcrbench lipschitz` measured: records, tables, figures, and its searches."""

REMEASURE = "delete its folder, and `lcrbench lipschitz` measures the run again"
REDO = "`lcrbench run` with --redo sets it aside and runs it again"


class Damaged(UserError):
    """A file of the store is not what was written."""


class Store:
    """A folder of runs. Reading never writes; several processes may add runs at once."""

    def __init__(self, root: str | Path, *, create: bool = False, remedy: str = REDO) -> None:
        """Open a folder, or with `create` make it; `remedy` is what an error about a damaged record tells to do."""
        self.root, self.remedy = Path(root), remedy
        self._read: dict[str, tuple[tuple[int, int], Record]] = {}
        if create:
            try:
                self.root.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(f"cannot make the store {self.root}: {error.strerror}") from error
        elif not self.root.is_dir():
            raise UserError(f"there is no store at {self.root}: name a folder that `lcrbench run --store` has filled")

    def lipschitz(self, *, create: bool = False) -> Store | None:
        """Return the store of the records that `lcrbench lipschitz` made of these runs; None if there is none."""
        root = self.root / LIPSCHITZ
        return Store(root, create=create, remedy=REMEASURE) if create or root.is_dir() else None

    def ids(self) -> list[str]:
        """Return the ids of the runs that are recorded, sorted."""
        found = {f.parent.name for f in self.root.glob(f"[!.]*/{RECORD}")}
        found |= {f.parent.name[1 : -len(".old")] for f in self.root.glob(f".*.old/{RECORD}")}
        # And again: a run that was being replaced may have got back to its place between the two.
        return sorted(found | {f.parent.name for f in self.root.glob(f"[!.]*/{RECORD}")})

    def folder(self, run_id: str) -> Path:
        """Return where a run lies: in its place, or at `.old` if a write that replaces it stands, or was killed, midway."""
        final, old = self.root / run_id, self.root / f".{run_id}.old"
        return old if old.exists() and not final.exists() else final

    def restore(self, run_id: str) -> None:
        """Move a run that a killed write left at `.old` back to its place. Whoever calls this holds the run's lock."""
        if self.folder(run_id) != self.root / run_id:
            self.folder(run_id).rename(self.root / run_id)

    def find(self, prefix: str) -> str:
        """Return the one run whose id starts with `prefix`; raises `UserError` if there is none, or more than one."""
        matches = [i for i in self.ids() if i.startswith(prefix)]
        if len(matches) == 1 and prefix:
            return matches[0]
        what = f"several runs start with '{prefix}'" if matches and prefix else f"no run '{prefix}'"
        ids = matches or self.ids()
        there = ", ".join(ids[:SHOWN]) + (f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else "")
        raise UserError(f"{what} in the store {self.root}, which has {there or 'no runs'}; --store names another store")

    def record(self, run_id: str) -> Record:
        """Read one record; raises `Damaged` if it is not what was written, `UserError` if its schema is newer than ours.

        A record of an older schema is upgraded in memory.
        """
        with contextlib.suppress(Damaged):
            return self._record(run_id)
        # Damaged twice is damaged: once may be a run that was replaced between two reads.
        return self._record(run_id)

    def _record(self, run_id: str) -> Record:
        folder = self.folder(run_id)
        path = folder / RECORD
        try:
            stat = path.stat()
            state = (stat.st_mtime_ns, stat.st_size)
            if run_id in self._read and self._read[run_id][0] == state:
                return self._read[run_id][1]
            content = path.read_bytes()
            checksum = (folder / CHECKSUM).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise Damaged(f"{error.filename} is damaged or missing ({error.strerror}): {self.remedy}") from error
        except UnicodeDecodeError as error:
            raise Damaged(f"{folder / CHECKSUM} is damaged: {self.remedy}") from error
        if hashlib.sha256(content).hexdigest() != checksum:
            raise Damaged(f"{path} is damaged: {self.remedy}")
        try:
            data = from_json(content)
            present = data["schema_version"] == SCHEMA_VERSION
            record = Record.model_validate(upgrade(data, str(path)))
        except (ValidationError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, UserError):
                raise
            raise Damaged(f"{path} is no record ({type(error).__name__}): {self.remedy}") from error
        # What an older schema left out of the spec is not in its id.
        if record.run_id != run_id or (present and record.spec.run_id != run_id):
            raise Damaged(f"{path} is the record of another run: {self.remedy}")
        self._read[run_id] = state, record
        return record

    def records(self) -> Iterator[Record]:
        """Yield every record, in the order of their ids."""
        for run_id in self.ids():
            yield self.record(run_id)

    def read(self, run_id: str, name: str) -> bytes:
        """Return a file beside a record; raises `Damaged` if it is missing or its hash is not the record's."""
        with contextlib.suppress(Damaged):
            return self._file(run_id, name)
        return self._file(run_id, name)

    def _file(self, run_id: str, name: str) -> bytes:
        path = self.folder(run_id) / name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise Damaged(f"{path} is damaged or missing ({error.strerror}): {self.remedy}") from error
        if hashlib.sha256(content).hexdigest() != self.record(run_id).files.get(name):
            raise Damaged(f"{path} is damaged: {self.remedy}")
        return content

    def log(self, run_id: str) -> pd.DataFrame:
        """Return a run's training log, one row a logged step; empty if it has none."""
        if LOG not in self.record(run_id).files:
            return pd.DataFrame()
        return pd.DataFrame([json.loads(line) for line in self.read(run_id, LOG).decode().splitlines()])

    def outcomes(self, run_id: str) -> dict[str, np.ndarray]:
        """Return for "clean" and each "corruption/severity" a boolean array (N,): was test image i classified right?"""
        with zipfile.ZipFile(io.BytesIO(self.read(run_id, OUTCOMES))) as packed:
            arrays = {i.filename.removesuffix(".npy"): packed.read(i) for i in packed.infolist()}
        n = int(_values(arrays.pop("n"), np.int64)[0])
        return {k: np.unpackbits(_values(a, np.uint8), count=n).view(bool) for k, a in arrays.items()}

    def by_image(self, run_id: str) -> dict[str, np.ndarray]:
        """Return what metrics found for single images, arrays by name; empty if none did."""
        if BY_IMAGE not in self.record(run_id).files:
            return {}
        with np.load(io.BytesIO(self.read(run_id, BY_IMAGE)), allow_pickle=False) as packed:
            return {k: packed[k] for k in packed.files}

    def verify(self, run_id: str) -> None:
        """Read a run whole; raises `Damaged` that names the first file that is not what was written."""
        for name in self.record(run_id).files:
            self.read(run_id, name)

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

    def write(self, record: Record, files: Mapping[str, bytes]) -> Record:
        """Write a run whole: the `files` beside it, then its record; raises `UserError` if the disk does not take it.

        Returns the record with the files' hashes filled in. A run of the same id that is there already is replaced.
        """
        final = self.root / record.run_id
        draft, old = self.root / f".{record.run_id}.new", self.root / f".{record.run_id}.old"
        hashes = {}
        try:
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            for name, content in files.items():
                (draft / name).write_bytes(content)
                hashes[name] = hashlib.sha256(content).hexdigest()
            record = record.model_copy(update={"files": hashes})
            text = record.model_dump_json(indent=1) + "\n"
            (draft / RECORD).write_text(text, encoding="utf-8")
            (draft / CHECKSUM).write_text(hashlib.sha256(text.encode()).hexdigest() + "\n", encoding="utf-8")
            for path in [*draft.iterdir(), draft]:
                flush(path)
            if final.exists():
                shutil.rmtree(old, ignore_errors=True)
                final.rename(old)
            draft.rename(final)
            flush(self.root)
            shutil.rmtree(old, ignore_errors=True)
        except OSError as error:
            shutil.rmtree(draft, ignore_errors=True)
            if old.exists() and not final.exists():
                with contextlib.suppress(OSError):
                    old.rename(final)
            raise UserError(f"cannot write run {record.run_id} to {self.root}: {error.strerror or error}") from error
        return record

    def unfinished(self, run_id: str) -> Path:
        """Return where the save of an unfinished run lies."""
        return self.root / ".unfinished" / run_id

    def teacher(self, name: str) -> Path:
        """Return where a trained teacher lies."""
        return self.root / ".teachers" / name

    def lock(self, run_id: str) -> Lock:
        """Return the lock of a run or teacher, not yet taken; raises `UserError` if the store cannot hold it."""
        folder = self.root / ".locks"
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write to the store {self.root}: {error.strerror}") from error
        return Lock(folder / run_id)

    def set_aside(self, run_id: str) -> None:
        """Move a run or teacher and its save out of the way, into `.damaged`, where nothing reads them."""
        aside = self.root / ".damaged"
        for path in (self.root / run_id, self.root / f".{run_id}.old", self.unfinished(run_id), self.teacher(run_id)):
            if path.exists():
                aside.mkdir(exist_ok=True)
                number = len(list(aside.iterdir()))
                path.rename(aside / f"{run_id}.{number}{'.checkpoint' if path.is_file() else ''}")


def _values(array: bytes, kind: type[np.generic]) -> np.ndarray:
    """Return the values of an array as `pack_outcomes` writes it: `np.load` takes three times as long, for its headers."""
    return np.frombuffer(array, kind, offset=10 + int.from_bytes(array[8:10], "little"))


def pack_outcomes(outcomes: Mapping[str, np.ndarray]) -> bytes:
    """Return boolean arrays of one length as the bytes of an .npz of packed bits; the same input gives the same bytes."""
    n = len(next(iter(outcomes.values())))
    return pack({"n": np.array(n, np.int64)} | {k: np.packbits(v) for k, v in outcomes.items()})


def pack(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return arrays as the bytes of an .npz; the same input gives the same bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def replace_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, flushed to the disk; raises `UserError` if the disk does not take it."""
    draft = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(content)
        flush(draft)
        draft.replace(path)
        flush(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def flush(path: Path) -> None:
    """Make the disk hold what was written to a file, or a folder's names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
