"""A command in a process of its own, without the seconds in which Python imports torch."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from lcrbench.bench import cli, processes


def lcrbench(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Give a command in a folder, in a process forked from the server of processes, and wait for it.

    The server has imported torch and no plug-in, so each command imports the plug-ins as they are now. A command that
    starts processes itself starts a server of its own, which takes as long as a new Python: `--on` an executor that works in
    the command's process spares it.
    """
    with tempfile.TemporaryDirectory() as place:
        told = [os.path.join(place, name) for name in ("out", "err")]
        process = processes.process_context().Process(target=_command, args=(str(folder), words, told))
        with processes.quiet():
            process.start()
        process.join(300)
        assert process.exitcode is not None, f"lcrbench {' '.join(words)}: no end after 300 s"
        out, err = (Path(path).read_text(encoding="utf-8") for path in told)
    return subprocess.CompletedProcess(words, process.exitcode, out, err)


def _command(folder: str, words: tuple[str, ...], told: list[str]) -> None:
    for number, path in enumerate(told, 1):
        os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY), number)
    os.chdir(folder)
    sys.argv = ["lcrbench", *words]
    cli.main()
