"""Leases: one process at a time works on a thing, on one machine or on several that share the store's folder.

    FOLDER/<number>     the claim of one holder: its state, number, a random token, and which process it is

The highest number holds. Who takes a lease makes the file of the next number, which the file system gives to one process
alone (O_EXCL), also where several find a dead lease at once. The holder sets the file's modification time every `BEAT`
seconds, by the file system's clock, and writes "free" over its state when it gives the lease back.

A lease is taken over

- at once, where its holder was a process of this machine that has ended;
- else when the file system's clock is more than `PATIENCE` seconds past the last renewal, and for `CONFIRM` seconds of
  watching nothing moves. The file system's clock is read from a file that is touched beside it: the clocks of two machines
  are never compared. The watching is for a clock that has jumped;
- where the last renewal lies in the future, because the clock was set back, when nothing moves for `PATIENCE` seconds.

A holder that was stopped, or cut off, for longer than that and goes on finds a higher number. So each lease is a fence too:
`fence` is called before each rename that makes a result, and raises `Superseded` in a process whose lease was taken over.
The file system must give: exclusive creation, atomic renames, and modification times (docs/howto/cluster.md).
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import secrets
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Self

from lcrbench import untrusted
from lcrbench.errors import UserError

BEAT, PATIENCE, CONFIRM = 5.0, 75.0, 15.0
"""Seconds between renewals; those without one after which a lease is dead, longer than network file systems keep old
attributes in their caches; and those for which a dead one is watched before it is taken over."""
WAIT = 600.0
"""Seconds that `with` waits for a lease."""

FREE = b"free"
GONE = (errno.ENOENT, errno.ESTALE)

_HELD: dict[str, Lease] = {}
"""The leases that this process holds, by their folders."""


class Held(Exception):
    """Another process holds the lease."""


class Superseded(Held):
    """Another process took over a lease that this one had."""


@functools.lru_cache(maxsize=1)
def machine() -> str:
    """Return a token of this machine since it was started, and of its process numbers; it tells nothing of its name."""
    try:
        # Containers of one machine may have process numbers of their own.
        text = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii") + os.readlink("/proc/self/ns/pid")
    except (OSError, UnicodeDecodeError):
        text = str(uuid.getnode())
    return hashlib.sha256(f"lcrbench {text}".encode()).hexdigest()[:16]


def _started(pid: int) -> str:
    """Return when a process of this machine was started, "" if it has ended; "?" where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except FileNotFoundError:
        if os.name == "posix" and not Path("/proc/self/stat").exists():
            with contextlib.suppress(PermissionError):
                try:
                    os.kill(pid, 0)
                except ProcessLookupError:
                    return ""
        return "" if Path("/proc/self/stat").exists() else "?"
    except OSError:
        return ""
    # A zombie: the process has ended, and its parent has not waited for it yet.
    return "" if fields[0] in "ZX" else fields[19]


class _Claim(NamedTuple):
    """What is read of a claim: its text, and its modification time in seconds."""

    text: bytes
    renewed: float

    @property
    def orphaned(self) -> bool:
        """Tell whether it is of a process of this machine that has ended."""
        words = self.text.decode("ascii", "replace").split()
        if len(words) != 6 or words[3] != machine() or not words[4].isdecimal():
            return False
        started = _started(int(words[4]))
        return started != "?" and started != words[5]


State = Literal["free", "held", "dead"]


class Lease:
    """A lease, not yet taken. `Held` is raised where another process has it, `UserError` where none can be made.

    One that does not `fence` only keeps others waiting: a process that loses it goes on.
    """

    def __init__(self, folder: Path, *, fences: bool = True) -> None:
        self.folder, self.fences = folder, fences
        self.number = 0
        self._text = b""
        self._stop, self._lost = threading.Event(), threading.Event()
        self._beating: threading.Thread | None = None

    def state(self) -> State:
        """Tell whether the lease is free, held, or seems dead, without taking it; a dead one is taken over by `acquire`."""
        number = self._highest()
        return "free" if not number else self._state(self._read(number))

    def acquire(self, timeout: float = 0.0) -> None:
        """Take the lease, within so many seconds. To watch a dead one takes its own time."""
        end = time.monotonic() + timeout
        while True:
            try:
                if self._try():
                    break
            except OSError as error:
                raise UserError(f"cannot take the lease {self.folder}: {error.strerror or error}") from error
            if time.monotonic() >= end:
                raise Held(str(self.folder))
            time.sleep(0.05)
        if self.fences:
            _HELD[os.path.abspath(self.folder)] = self
        self._beating = threading.Thread(target=self._keep, daemon=True)
        self._beating.start()

    def release(self) -> None:
        """Give the lease back, unless it was taken over."""
        self._stop.set()
        if self._beating:
            self._beating.join(BEAT)
        if _HELD.get(os.path.abspath(self.folder)) is self:
            del _HELD[os.path.abspath(self.folder)]
        path = self._path(self.number)
        with contextlib.suppress(OSError):
            if self._is_mine():
                try:
                    # In its place, so that the number is not given twice.
                    with path.open("r+b") as file:
                        file.write(FREE)
                except OSError:
                    path.unlink()

    @property
    def lost(self) -> bool:
        """Tell whether a renewal has found that the lease was taken over."""
        return self._lost.is_set()

    def check(self) -> None:
        """Raise `Superseded` if the lease was taken over, or its file deleted."""
        if not self._lost.is_set() and self._is_mine() and self._highest() == self.number:
            return
        self._lost.set()
        raise Superseded(str(self.folder))

    def __enter__(self) -> Self:
        self.acquire(WAIT)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    # ------------------------------------------------------------------------------------------------------------ claims

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:08}"

    def _numbers(self) -> list[int]:
        try:
            return [int(name) for name in os.listdir(self.folder) if name.isdecimal()]
        except OSError:
            return []

    def _highest(self) -> int:
        """Return the number of the holder, or of the last one; 0 if there was none."""
        number = max(self._numbers(), default=0)
        # A network file system may list a folder as it was a while ago.
        while self._path(number + 1).exists():
            number += 1
        return number

    def _read(self, number: int) -> _Claim | None:
        """Return a claim; None if it has gone. It is opened, because that alone asks a network file system anew."""
        try:
            with untrusted.opened(self._path(number)) as file:
                return _Claim(file.read(200), os.fstat(file.fileno()).st_mtime)
        except OSError:
            return None

    def _now(self) -> float:
        """Return the time by the clock of the file system, which a file that is touched beside the lease tells."""
        descriptor = os.open(self.folder / ".clock", os.O_CREAT | os.O_WRONLY | getattr(os, "O_NONBLOCK", 0), 0o666)
        try:
            os.utime(descriptor if os.utime in os.supports_fd else self.folder / ".clock")
            return os.fstat(descriptor).st_mtime
        finally:
            os.close(descriptor)

    def _state(self, claim: _Claim | None) -> State:
        if claim is None:
            # It was given back, or taken over, since it was listed.
            return "held"
        if claim.text.startswith(FREE) or claim.orphaned:
            return "free"
        return "held" if -BEAT <= self._age(claim) <= PATIENCE else "dead"

    def _age(self, claim: _Claim) -> float:
        try:
            return self._now() - claim.renewed
        except OSError:
            return 0.0

    def _try(self) -> bool:
        """Take the lease if it can be had."""
        number = self._highest()
        claim = self._read(number) if number else None
        state = self._state(claim) if number else "free"
        if state == "held" or (state == "dead" and claim and not self._is_still(number, claim)):
            return False
        return self._claim(number + 1)

    def _is_still(self, number: int, claim: _Claim) -> bool:
        """Watch a claim that seems dead, and tell whether it is: nothing moved up to a look after the last second."""
        limit = CONFIRM if self._age(claim) > 0 else PATIENCE
        end = time.monotonic() + limit
        while True:
            time.sleep(min(BEAT, limit) / 5)
            over = time.monotonic() >= end
            if self._read(number) != claim or self._highest() != number:
                return False
            if over:
                return True

    def _claim(self, number: int) -> bool:
        """Make the claim of a number; return False where another process has made it, or a higher one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(number)
        text = f"held {number} {secrets.token_hex(8)} {machine()} {os.getpid()} {_started(os.getpid())}".encode("ascii")
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            return False
        try:
            try:
                os.write(descriptor, text)
            finally:
                os.close(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        if self._highest() != number:
            # Who looked long ago may make a number that was given, and cleared away, meanwhile.
            with contextlib.suppress(OSError):
                path.unlink()
            return False
        self.number, self._text = number, text
        for older in self._numbers():
            if older < number:
                with contextlib.suppress(OSError):
                    self._path(older).unlink()
        return True

    def _is_mine(self) -> bool:
        claim = self._read(self.number)
        return claim is not None and claim.text == self._text

    def _keep(self) -> None:
        while not self._stop.wait(BEAT):
            try:
                os.utime(self._path(self.number))
            except OSError as error:
                if error.errno not in GONE:
                    continue  # a file system that does not answer for a while: others wait as long
                self._lost.set()
            if self._lost.is_set() or self._highest() != self.number:
                self._lost.set()
                return


def fence(folder: Path) -> None:
    """Raise `Superseded` if this process had the lease of a folder, and another one took it over."""
    if lease := _HELD.get(os.path.abspath(folder)):
        lease.check()


def is_lost() -> bool:
    """Tell whether a lease that this process had was taken over, as far as its renewals have found."""
    return any(lease.lost for lease in list(_HELD.values()))


@contextlib.contextmanager
def all_of(leases: list[Lease]) -> Iterator[None]:
    """Hold several leases; raises `Held` at once if another process holds one."""
    with contextlib.ExitStack() as stack:
        for lease in leases:
            lease.acquire()
            stack.callback(lease.release)
        yield
