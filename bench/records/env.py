"""Where a record comes from: versions, commit, device, corruption kernels."""

from __future__ import annotations

import platform
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from pydantic import JsonValue

import lcrbench
from lcrbench.bench.records.record import Provenance
from lcrbench.bench.records.spec import HashKind
from lcrbench.images import decoders
from lcrbench.versions import installed

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "opencv-python", "numba", "pillow")


def provenance(
    device: str, threads: int, command: str, corruptions: dict[str, JsonValue], *, deterministic: bool
) -> Provenance:
    """Describe this environment. No host name, user name or absolute path gets in.

    `source` stays empty: the caller fills it in, because it depends on what was computed.
    """
    commit, dirty = _commit()
    return Provenance(
        lcrbench=lcrbench.__version__,
        source="",
        commit=commit,
        dirty=dirty,
        command=command,
        versions=versions(),
        device=device,
        threads=threads,
        deterministic=deterministic,
        corruptions=corruptions,
        created=now(),
    )


def now() -> str:
    """Return the time in UTC, to the microsecond: texts of two times sort as the times do.

    Seconds do not suffice, because `fresh` tells by the time what was made before it, and a small run takes less than one.
    A text of whole seconds, which older records hold, sorts before every one of the same second.
    """
    return datetime.now(UTC).isoformat(timespec="microseconds")


def versions() -> dict[str, str]:
    """Return the versions of Python, the processor's architecture, and the packages that numbers depend on."""
    found = {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    found |= {package: installed(package) or "not installed" for package in PACKAGES}
    return found


def reading(made: Provenance, hash_kind: HashKind) -> Provenance:
    """Return the provenance with what decodes images here, where the data set's hash is not of the decoded images."""
    if hash_kind == "pixels":
        return made
    return made.model_copy(update={"versions": made.versions | decoders()})


def command_line() -> str:
    """Return the command as typed, with absolute paths cut down to their last part."""
    words = ["lcrbench"]
    for word in sys.argv[1:]:
        option, equals, value = word.rpartition("=")
        # As one word or after an equals sign, a path may hold spaces; a text that holds paths is cut at them.
        words.append(option + equals + (f".../{Path(value).name}" if Path(value).is_absolute() else pathless(value)))
    return shlex.join(words)


def pathless(text: str) -> str:
    """Return a text with the absolute paths in it cut down to their last part."""
    return re.sub(r"(?<![\w.~-])~?(?:/[^\s/:;,'\"()]+)*/([^\s/:;,'\"()]+)", r".../\1", text)


def _commit() -> tuple[str | None, bool | None]:
    """Return commit and dirty flag of the source lcrbench runs from, or (None, None) if it is no git checkout of ours."""
    folder = Path(__file__).resolve().parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # An installed copy may lie inside somebody else's repository, in an ignored folder: that is not our commit.
    if not git("ls-files", "--", "env.py"):
        return None, None
    status = git("status", "--porcelain", "--untracked-files=no")
    return git("rev-parse", "HEAD"), None if status is None else bool(status)
