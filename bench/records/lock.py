"""The lock of a run: one process at a time works on it, on one machine or on several that share the store's folder.

The system's own file lock is freed when its process ends, however it ends. It rules between the processes of one machine,
and between machines where the shared file system carries it; some keep it to the one machine, without a word. So the
holder also keeps a lease beside it: a file with a token, renewed every `BEAT` seconds. Who has the file lock and finds the
lease of another machine watches it for `PATIENCE` seconds, longer than network file systems keep old content in their
caches: if it moves, its holder lives and the lock is taken; if not, the holder is gone. No two clocks are compared.

What is left open: two machines that find the same dead lease in the same moment may both take it. Then both train one run,
and each writes its record whole.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import secrets
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from lcrbench.errors import UserError

BEAT, PATIENCE = 5.0, 75.0


@functools.lru_cache(maxsize=1)
def machine() -> str:
    """Return a token of this machine since it was started, which tells nothing of its name."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        text = str(uuid.getnode())
    return hashlib.sha256(f"lcrbench {text}".encode()).hexdigest()[:16]


class Lock:
    """A lock, not yet taken. `Timeout` is raised where another process holds it, `UserError` where none can be made."""

    def __init__(self, path: Path) -> None:
        self.lease = path.with_name(path.name + ".lease")
        self._file = FileLock(path)
        self._token = f"{machine()} {secrets.token_hex(8)}"
        self._stop = threading.Event()
        self._beating: threading.Thread | None = None

    def acquire(self, timeout: float = 600.0) -> None:
        """Take the lock, within so many seconds. To watch another machine's lease takes its own time."""
        end = time.monotonic() + timeout
        while True:
            try:
                self._file.acquire(timeout=max(0.0, end - time.monotonic()))
            except Timeout:
                raise
            except OSError as error:
                raise UserError(f"cannot lock {self.lease.with_suffix('')}: {error.strerror or error}") from error
            if not self._held_elsewhere():
                break
            self._file.release()
            if time.monotonic() >= end:
                raise Timeout(str(self.lease))
        self._beat(0)
        self._beating = threading.Thread(target=self._keep, daemon=True)
        self._beating.start()

    def release(self) -> None:
        """Give the lock back."""
        self._stop.set()
        if self._beating:
            self._beating.join(BEAT)
        with contextlib.suppress(OSError):
            self.lease.unlink()
        self._file.release()

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _read(self) -> str:
        try:
            return self.lease.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            return ""

    def _held_elsewhere(self) -> bool:
        """Tell whether a process of another machine renews its lease."""
        found = self._read()
        if not found or found.startswith(machine()):
            # Here the file lock rules: whoever left this lease is gone.
            return False
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            time.sleep(min(BEAT, PATIENCE) / 5)
            if (now := self._read()) != found:
                # Given back, or moved.
                return bool(now)
        return False

    def _beat(self, number: int) -> None:
        # In one write to a new file: a reader sees the old lease or the new one. A full disk is no reason to stop here.
        draft = self.lease.with_name(f"{self.lease.name}.{os.getpid()}")
        try:
            draft.write_text(f"{self._token} {number}", encoding="ascii")
            draft.replace(self.lease)
        except OSError:
            with contextlib.suppress(OSError):
                draft.unlink()

    def _keep(self) -> None:
        number = 0
        while not self._stop.wait(BEAT):
            number += 1
            self._beat(number)
