"""What a process is given to do: one run of a grid, as a file in its store while it may be worked on."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from lcrbench.bench.evaluation.cells import Cells
from lcrbench.bench.evaluation.engine import Choice
from lcrbench.bench.executors import Cell
from lcrbench.bench.records.files import replace_file
from lcrbench.bench.records.grid import Data
from lcrbench.bench.records.record import Provenance
from lcrbench.bench.records.spec import RunSpec
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError
from lcrbench.untrusted import small_file

Stale = Literal["refuse", "redo", "keep"]


@dataclass(frozen=True)
class Job:
    """One run of a grid as its process receives it: what to run, where the data lies, and what its records say of it.

    STORE/.jobs/<name>.json     a job as long as it may be worked on: what travels to a process is the name alone

    With `fresh` what is finished is made again, unless it was made after the job was planned. `shared` tells that other
    networks are shown the same cells. `processes` compute the training, each with `readers` that read streamed images ahead.
    """

    spec: RunSpec
    source: Data
    root: Path
    device: str
    provenance: Provenance
    fresh: bool = False
    stale: Stale = "refuse"
    save_every: float = 60.0
    shared: bool = False
    readers: int = 0
    processes: int = 1
    engine: Choice = "auto"

    @property
    def cells(self) -> Cells:
        """Return where corrupted images are kept."""
        return Cells(Store(self.root).cache() if self.shared else None)

    def keep(self) -> Cell:
        """Write the job into its store, under a name of its own; raises `UserError` if the disk does not take it."""
        cell = Cell(os.path.abspath(self.root), f"{self.spec.run_id}-{secrets.token_hex(4)}")
        replace_file(_place(cell), _JOB.dump_json(dataclasses.replace(self, root=Path(cell.store))), flushed=False)
        return cell

    @staticmethod
    def kept(cell: Cell) -> Job:
        """Return the job of a cell; raises `UserError` if its command has ended, and taken it away."""
        try:
            job = _JOB.validate_json(small_file(_place(cell)))
        except (OSError, ValueError) as error:
            raise UserError(f"there is no job {cell.job} in {cell.store} (any more)") from error
        # The folder of a store may have another name on another machine.
        return dataclasses.replace(job, root=Path(cell.store))

    @staticmethod
    def forget(cell: Cell) -> None:
        """Take a job away that has ended."""
        with contextlib.suppress(OSError):
            _place(cell).unlink()


_JOB = TypeAdapter(Job)


def _place(cell: Cell) -> Path:
    return Path(cell.store, ".jobs", f"{cell.job}.json")
