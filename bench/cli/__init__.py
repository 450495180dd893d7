"""The command line: each file of this folder is one command, and its name is the file's name.

A file `NAME.py` defines `command`, a click command; the first line of the module's docstring is the command's line in
`lcrbench --help`. The files are listed by name and read for that line, but a command is imported only when it is called,
and imports what it needs when it runs. So help and lists answer at once, without torch.
"""

from __future__ import annotations

import ast
import atexit
import contextlib
import gc
import importlib
import os
import sys
from pathlib import Path

import click
from click.exceptions import NoSuchOption

from lcrbench import __version__
from lcrbench.bench.cli import _doors as doors
from lcrbench.bench.cli import _pages as pages
from lcrbench.errors import UserError, unknown
from lcrbench.surroundings import open_streams, shielded
from lcrbench.untrusted import shown

STORE = "lcrbench-runs"

FOLDER, FILE = doors.Place(str), doors.Place(Path)
"""Where a command reads or writes: a path whose ~ is replaced."""

store_option = click.option(
    "--store", type=FOLDER, default=STORE, show_default=True, help="Folder that holds the runs."
)
engine_option = click.option(
    "--engine",
    type=click.Choice(["auto", "packed", "torch"]),
    default="auto",
    show_default=True,
    help="What computes the logits, the same ones: packed bits where they can be, those or an error, or torch.",
)


def say(text: object = "", *, err: bool = False) -> None:
    """Print lines; within a line, what would steer the terminal is escaped. The only way by which commands print."""
    for line in str(text).split("\n"):
        click.echo(shown(line), err=err)


class Commands(click.Group):
    """The group of the commands in this folder, each imported when it is called."""

    def files(self) -> dict[str, Path]:
        """Return the file of each command, by the command's name in alphabetical order."""
        found = Path(__file__).parent.glob("*.py")
        return {f.stem.replace("_", "-"): f for f in sorted(found) if not f.stem.startswith("_")}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return [*self.files()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command, and return None if there is none of that name."""
        file = self.files().get(cmd_name)
        if file is None:
            return None
        found: click.Command = importlib.import_module(f"{__name__}.{file.stem}").command
        found.name = cmd_name
        return doors.guarded(found)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one line for each command, the first of its module's docstring, without importing the command."""
        rows = [
            (name, (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").partition("\n")[0])
            for name, file in self.files().items()
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: lcrbench run quick",
)
@click.version_option(__version__, prog_name="lcrbench")
def app() -> None:
    """Robustness benchmarks for binary neural networks: train under one budget, corrupt, measure, compare."""


class Failed(click.ClickException):
    """Something that was asked for could not be found out, such as what a run that failed would have shown: exit code 3."""

    exit_code = 3


class Interrupted(click.ClickException):
    """Ctrl-C: exit code 130, as shells have it."""

    exit_code = 130


OUR_OWN = 70
"""The exit code of what must not happen: a mistake of ours, told in one line that names a file with the report."""


def main() -> None:
    """Run the command line, and end with one of its exit codes, always with one line on standard error unless it is 0 or 1.

    0: done, or passed. 1: a regression (`check`, `check-speed`), and nothing else. 2: a mistake of the user's, or what
    cannot be compared. 3: not everything could be found out. 70: a mistake of ours. 130: interrupted.
    """
    open_streams()
    # At its end Python would visit each object once more: of a report on thousands of runs that takes seconds.
    atexit.register(gc.freeze)
    try:
        doors.present_folder()
        with shielded():
            code = app.main(prog_name="lcrbench", standalone_mode=False)
        # Flushed before the exit code is chosen, so that a full disk is an error.
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except UserError as error:
        where = pages.page(error)
        _stop(str(error) + (f" (see {where})" if where else ""), 2)
    except NoSuchOption as error:
        _stop(str(unknown("option", error.option_name, _options(error.ctx))), 2)
    except click.UsageError as error:
        _stop(error.format_message() + _advice(error), 2)
    except click.ClickException as error:
        _stop(error.format_message(), error.exit_code)
    except BrokenPipeError:
        # The reader of the output has closed it (`| head`). Python would report that again at its end.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except (KeyboardInterrupt, click.Abort) as error:
        # click takes the end of any file for Ctrl-D.
        if isinstance(error.__cause__, EOFError):
            _stop(doors.report(error.__cause__), OUR_OWN)
        _stop("interrupted", 130)
    except Exception as error:
        _stop(doors.report(error), OUR_OWN)


def _options(ctx: click.Context | None) -> list[str]:
    """Return the long options of the command that was called."""
    params = ctx.command.get_params(ctx) if ctx else []
    return sorted(o for p in params if isinstance(p, click.Option) for o in p.opts if o.startswith("--"))


def _advice(error: click.UsageError) -> str:
    """Return what to do about a word too many, which is most often a value without its option, or beside it."""
    if "unexpected extra argument" in error.format_message():
        options = _options(error.ctx)
        if "--seeds" in options:
            return '; several values of one option stand in quotes: --seeds "0 1 2"'
        if "--store" in options:
            return "; a store is named with --store"
    return ""


def _stop(message: str, code: int) -> None:
    with contextlib.suppress(OSError):
        say("lcrbench: " + " ".join(message.split()), err=True)
    sys.exit(code)
