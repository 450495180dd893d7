"""Saves of an unfinished training, and the sealed files that hold them: replaced whole, checked by hash when read.

A sealed file has three parts: a line with the sha256 of what follows; a line of JSON; and tensors as safetensors.
STORE/.unfinished/<id> is one: its JSON holds steps, log, sums, and `made_by` (the version of the code, and the device), its
tensors are those of network, optimizer and terms (see state.py). It is removed when the run is stored. A teacher is another
(teacher.py), and so is what a trial of a tuning came to (tuning.py).
"""

from __future__ import annotations

import copy
import hashlib
import json
import signal
import threading
import time
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from lcrbench import untrusted
from lcrbench.bench.records.files import replace_file
from lcrbench.bench.records.lease import Superseded, is_lost
from lcrbench.bench.records.shelf import REDO, Damaged
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError


class Checkpoint:
    """The save of one training. SIGTERM asks it to save and stop at its next step."""

    def __init__(self, store: Store, run_id: str, made_by: str, every: float = 60.0) -> None:
        self.store, self.name = store, run_id
        self.path = store.unfinished(run_id)
        self.made_by, self.every = made_by, every
        self.last = time.monotonic()
        self.asked = threading.Event()

    def listen(self) -> None:
        """Take SIGTERM as the request to save and stop."""
        signal.signal(signal.SIGTERM, lambda *_: self.asked.set())

    def of(self, name: str, made_by: str) -> Checkpoint:
        """Return the save of another training in the same process, which the same request stops."""
        other = copy.copy(self)
        other.name, other.path = name, self.store.unfinished(name)
        other.made_by, other.last = made_by, time.monotonic()
        return other

    def stopping(self) -> bool:
        """Tell whether the training is to save and stop; raises `Superseded` where another process has taken it over."""
        if is_lost():
            raise Superseded(self.name)
        return self.asked.is_set()

    def due(self) -> bool:
        """Tell whether the last save is `every` seconds ago."""
        return time.monotonic() - self.last >= self.every

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return the last save; None without one, or if another version of the code or device made it: bits would differ.

        Raises `Damaged` if the file is not as it was written.
        """
        found = unseal(self.path)
        if found is None or found[1].pop("made_by", "") != self.made_by:
            return None
        return found

    def save(self, tensors: dict[str, Tensor], rest: dict[str, Any]) -> None:
        """Save, whole or not at all.

        Raises `UserError` if the disk does not take it, and `Superseded` in a process whose lease was taken over.
        """
        self.store.fence(self.name)
        seal(self.path, tensors, {**rest, "made_by": self.made_by})
        self.last = time.monotonic()

    def remove(self) -> None:
        """Remove the save, once the run is stored."""
        self.path.unlink(missing_ok=True)


class Silent:
    """The save of a process that is not the first of its group: the first one decides, reads and writes."""

    def load(self) -> None:
        """Return None."""
        return None

    def save(self, tensors: dict[str, Tensor], rest: dict[str, Any]) -> None:
        """Write nothing."""

    def due(self) -> bool:
        """Return False."""
        return False

    def stopping(self) -> bool:
        """Return False."""
        return False


def packed(tensors: dict[str, Tensor], rest: dict[str, Any]) -> bytes:
    """Return a line of JSON and tensors as safetensors; raises `SafetensorError` for those that have no such form."""
    made: bytes = safetensors.torch.save({k: v.detach().cpu().contiguous() for k, v in tensors.items()})
    return json.dumps(rest).encode() + b"\n" + made


def unpacked(content: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return what `packed` made bytes of; raises all kinds of errors if they are not that."""
    line, _, tensors = content.partition(b"\n")
    rest: dict[str, Any] = json.loads(line)
    return safetensors.torch.load(tensors), rest


def seal(path: Path, tensors: dict[str, Tensor], rest: dict[str, Any]) -> None:
    """Write a sealed file, whole or not at all; raises `UserError` if the disk does not take it."""
    try:
        body = packed(tensors, rest)
    except SafetensorError as error:
        raise UserError(f"cannot pack {path}: {error}") from error
    replace_file(path, hashlib.sha256(body).hexdigest().encode() + b"\n" + body)


def unseal(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Read a sealed file; None if there is none. Raises `Damaged` if it is not as it was written."""
    try:
        content = untrusted.bytes_of(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Damaged(f"{path} is damaged or cannot be read ({error.strerror}): {REDO}") from error
    checksum, _, body = content.partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != checksum:
        raise Damaged(f"{path} is damaged: {REDO}")
    try:
        return unpacked(body)
    except (ValueError, RecursionError, SafetensorError, KeyError, TypeError, RuntimeError) as error:
        raise Damaged(f"{path} is no save ({type(error).__name__}): {REDO}") from error
