"""Saves of an unfinished training: one file a run, replaced whole by the next save, checked by hash when read.

STORE/.unfinished/<run id> holds three parts: a line with the sha256 of what follows; a line of JSON (step, log, sums, and
what made it: the hash of the source, and the device); and the tensors of network, optimizer and terms as safetensors. It is
removed when the run is stored.
"""

from __future__ import annotations

import hashlib
import json
import signal
import time
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from lcrbench.bench.store import Store, replace_file
from lcrbench.errors import UserError


class Checkpoint:
    """The save of one run. SIGTERM asks the training to save and stop at its next step."""

    def __init__(self, store: Store, run_id: str, made_by: str, every: float = 60.0) -> None:
        self.path = store.unfinished(run_id)
        self.made_by, self.every = made_by, every
        self.last = time.monotonic()
        self.asked = False

    def listen(self) -> None:
        """Take SIGTERM as the request to save and stop."""
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, *_: Any) -> None:
        self.asked = True

    def stopping(self) -> bool:
        """Tell whether the training is to save and stop."""
        return self.asked

    def due(self) -> bool:
        """Tell whether the last save is `every` seconds ago."""
        return time.monotonic() - self.last >= self.every

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return the last save, or None if there is none, or one made otherwise, which cannot end in the same bits.

        Raises `UserError` if it is damaged.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UserError(f"cannot read the checkpoint {self.path}: {error.strerror}") from error
        checksum, _, body = content.partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode() != checksum:
            raise UserError(
                f"the checkpoint {self.path} is damaged: `lcrbench run` with --redo sets it aside and starts that run anew"
            )
        line, _, tensors = body.partition(b"\n")
        rest = json.loads(line)
        if rest.pop("made_by", "") != self.made_by:
            return None
        return safetensors.torch.load(tensors), rest

    def save(self, tensors: dict[str, Tensor], rest: dict[str, Any]) -> None:
        """Save, whole or not at all; raises `UserError` if the disk does not take it."""
        try:
            packed = safetensors.torch.save({k: v.detach().cpu().contiguous() for k, v in tensors.items()})
        except SafetensorError as error:
            raise UserError(f"cannot pack the checkpoint {self.path}: {error}") from error
        body = json.dumps({**rest, "made_by": self.made_by}).encode() + b"\n" + packed
        replace_file(self.path, hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
        self.last = time.monotonic()

    def remove(self) -> None:
        """Forget the save, once the run is stored."""
        self.path.unlink(missing_ok=True)
