"""Hostile input in bulk, in this process: specs, command lines, records and references.

No traceback, nothing that takes longer than 5 seconds by the clock, and one line with exit code 2 for what is refused: exit
code 70, by which the command line reports a mistake of ours, counts as a failure. Inputs are not drawn field by field as in
`test_malformed.py`: texts, numbers and structures are put together from pieces that have broken parsers before, and whole
files are mutated. `tox run -e faults` tries all of them.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lcrbench import registry
from lcrbench.bench import cli, dispatch, estimate, runner, worker
from lcrbench.bench.records.grid import Data
from lcrbench.bench.records.shelf import CHECKSUM, RECORD
from lcrbench.bench.records.store import Store
from lcrbench.reports import gate
from tests.bench import helpers

FULL = bool(os.environ.get("LCRBENCH_FAULTS"))
SECONDS = 5.0
TRIES = 3
"""An input hangs where it takes too long each time: others may use the processor too, but hardly each time."""
EACH = {"specs": 800, "command lines": 600, "records": 500, "references": 400}
seen = Counter[str]()


def many(kind: str) -> settings:
    """Return the settings of a test: a fortieth of its inputs by default, and all of them in `tox run -e faults`."""
    return settings(
        max_examples=EACH[kind] if FULL else EACH[kind] // 40,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


class Hung(BaseException):
    """An input took too long."""


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise `Hung` after so many seconds by the clock."""

    def ring(*_: Any) -> None:
        raise Hung

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tally: dict[str, str]) -> Iterator[Path]:
    """A folder with a store and a reference, which is the present one; what is loaded once is not loaded again."""
    folder = tmp_path_factory.mktemp("fuzz")
    store = Store(folder / "store", create=True)
    for seed in range(3):
        helpers.put(store, helpers.record(seed))
    with contextlib.suppress(Exception):
        gate.update(folder / "reference.json", store, "a first one", endpoint="clean_accuracy", margin=5.0, anyway=True)
    data = worker.load_data(Data(train=200, test=50))
    real = runner.load_data
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        # The report of a mistake of ours is a file: it stays in this folder.
        patch.setattr(tempfile, "tempdir", str(folder))
        patch.setattr(runner, "load_data", lambda c: data if c == Data(train=200, test=50) else real(c))
        patch.setattr(dispatch, "work_on", lambda *_, **__: sys.exit(0))
        patch.setattr(estimate, "cost", lambda *_, **__: Cost())
        torch.use_deterministic_algorithms(True)  # imports torch's compiler
        torch.use_deterministic_algorithms(False)
        # Not within an input's 5 seconds: what the first plan, drawing and measurement import.
        for words in (
            ["run", "quick", *PLANNED, "--train", "200", "--test", "50"],
            ["report", "store", "--out", "page"],
        ):
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                patch.setattr(sys, "argv", ["lcrbench", *words])
                with pytest.raises(SystemExit) as stop:
                    cli.main()
                assert stop.value.code == 0
        yield folder
    told = ", ".join(f"{k} {seen[f'{k} refused']} and {seen[f'{k} harmless']}" for k in EACH)
    slow = f"longer than {SECONDS:g} s {TRIES} times 0 (once {seen['slow once']})"
    tally["fuzz"] = f"refused and harmless: {told}; tracebacks 0, {slow}, exit code 70 0"


class Cost:
    """Stands for what a plan would cost, which is measured by a few steps."""

    def text(self, _: int) -> str:
        return "cost"


def ended(words: tuple[str, ...], seconds: float) -> tuple[Any, io.StringIO, io.StringIO]:
    """Run the command line; return its exit code and what it wrote. Raises `Hung`."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["lcrbench", *words])
        try:
            with within(seconds):
                cli.main()
        except SystemExit as stop:
            return stop.code or 0, out, err
    return None, out, err


def call(kind: str, *words: str, seconds: float = SECONDS) -> int:
    """Run the command line, and check how it ends."""
    for _ in range(TRIES):
        with contextlib.suppress(Hung):
            code, out, err = ended(words, seconds)
            break
        seen["slow once"] += 1
    else:
        raise AssertionError(f"longer than {seconds:g} s, {TRIES} times: {words}")
    said = err.getvalue()
    where = f"{words}: {code} {said}"
    if code == cli.OUR_OWN:
        name = next((word.rstrip(",") for word in said.split() if word.endswith(".txt,")), "")
        where += Path(name).read_text()[-3000:] if name else ""
    assert code in (0, 1, 2, 3), where
    lines = said.splitlines()
    assert all(line.isprintable() for line in [*lines, *out.getvalue().splitlines()]), ascii(said + out.getvalue())
    if code == 2:
        # What cannot be compared is a verdict, on standard output.
        assert out.getvalue() if not lines else lines[-1].startswith("lcrbench: "), where
    seen[f"{kind} {'harmless' if code == 0 else 'refused'}"] += 1
    return int(code)


# --------------------------------------------------------------------------------------------------------------- pieces

TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            *(
                "",
                " ",
                ".",
                "..",
                "../..",
                "/",
                "~",
                "~nosuchuser",
                "~nosuchuser/x",
                "-",
                "--",
                "=",
                "'",
                '"',
                "\\",
                "\0",
            ),
            *(
                "/dev/zero",
                "/dev/null",
                "/proc/self/mem",
                "pipe",
                "store",
                "reference.json",
                "empty",
                "a\nb",
                "\x1b[2J\a",
            ),
            *("os.path", "os", "sys.modules", ".os", "a..b", "lcrbench", "lcrbench.bench", "__main__.x", "this.py"),
            *("irnet", "irnet+lcr", "irnet:", "irnet:t_max=", "irnet+", "+", "bnn+bnn", "irnet:a=1,a=2", "irnet:=1"),
            *(
                "irnet+lcr:weight=" + "9" * 400,
                "irnet:t_max=1e999",
                "bnn:x=" + "[" * 500,
                "\ufeffbnn",
                "ｉrnet",
                "a" * 5000,
            ),
            *("quick", "nothing.toml", "cifar10", "fog", "common", "all", "imagecorruptions:fog", "imagecorruptions:"),
            *(
                "true",
                "nan",
                "inf",
                "-1",
                "1.0",
                "1e3",
                "0x10",
                "1_000",
                "９",
                "١",
                "10" * 30,
                "9" * 5000,
                "%s%n",
                "$HOME",
            ),
            *("[red]x[/red]", "<script>", "=cmd()", "|x", "a:b:c", "cuda:99", "cpu", "auto", "CPU", "\udcff"),
        ]
    ),
)
NUMBERS = st.one_of(
    st.integers(),
    st.sampled_from([2**31, 2**63, -(2**63) - 1, 10**30, 10**400, 0, 1, -1]),
    st.floats(),
    st.booleans(),
    st.none(),
)
LEAVES = st.one_of(TEXTS, NUMBERS)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=8
)


def replaced(tree: Any, dice: random.Random, value: Any) -> Any:
    """Return a tree of tables and lists with one change at a random place: another value, none, one twice, or deeper."""
    if not isinstance(tree, (dict, list)) or not tree or dice.random() < 0.15:
        return value
    tree = copy.copy(tree)
    keys = list(tree) if isinstance(tree, dict) else range(len(tree))
    key = dice.choice(list(keys))
    if dice.random() < 0.2:
        del tree[key]
    elif dice.random() < 0.1:
        tree[key] = [[tree[key]]]
    else:
        tree[key] = replaced(tree[key], dice, value)
    return tree


def damaged(content: bytes, dice: random.Random, how: str) -> bytes:
    """Return bytes that were cut, flipped, doubled, spliced with what breaks parsers, or encoded otherwise."""
    at = dice.randrange(len(content) + 1)
    if how == "cut":
        return content[:at]
    if how == "flip" and content:
        out = bytearray(content)
        for _ in range(dice.randint(1, 4)):
            out[dice.randrange(len(out))] ^= 1 << dice.randrange(8)
        return bytes(out)
    if how == "double":
        return content[:at] + content[dice.randrange(len(content) + 1) :]
    if how == "splice":
        pieces = [b"[" * 3000, b"{" * 3000, b'{"a":' * 3000, b"9" * 5000, b"NaN", b"Infinity", b"-", b"\xff\xfe", b"\0"]
        pieces += [
            b"\n[[x]]\n",
            b"\nx" + b".x" * 3000 + b" = 1\n",
            b'"\\ud800"',
            b"1e9999",
            b"true",
            b"null",
            b"\x1b[2J",
        ]
        pieces += [b"\xef\xbb\xbf", b"'''", b'"""']
        return content[:at] + dice.choice(pieces) + content[at:]
    if how == "mark":
        return b"\xef\xbb\xbf" + content
    if how == "utf-16":
        return content.decode(errors="replace").encode("utf-16")
    return b""


HOWS = st.sampled_from(["cut", "flip", "double", "splice", "mark", "utf-16", "empty"])


def toml(value: Any) -> str:
    """Return a value as TOML, or as what only looks like it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(k))} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value) if isinstance(value, str) else str(value)


# ---------------------------------------------------------------------------------------------------------------- specs

SPEC: dict[str, Any] = {
    "data": {"source": "fashion-mnist-10k", "size": 32, "train": 200, "test": 50},
    "backbone": "vgg_tiny",
    "methods": ["irnet", "irnet+lcr:weight=0.5"],
    "seeds": [0, 1],
    "budget": {"unit": "images", "images": 1000},
    "recipe": {"batch": 50, "optimizer": "sgd", "lr": 0.05, "momentum": 0.9, "schedule": "cosine", "warmup": 0.1},
    "evaluation": {"corruptions": ["fog"], "severities": [1, 3], "seed": 0, "block": 50},
    "metrics": {"accuracy": {}, "calibration_error": {"bins": 15}, "lipschitz_modulus": {"l2": [8.0], "images": 4}},
    "tuned": {
        "irnet": {"recipe": {"lr": 0.1}, "tuning": {"trials": 2, "images": 10, "validation": 10, "searched": {}}}
    },
}
PLANNED = ("--plan", "--device", "cpu", "--workers", "1", "--store", "store")


@many("specs")
@given(value=VALUES, seed=st.integers(0, 2**32), changes=st.integers(1, 3), how=st.one_of(st.none(), HOWS))
def test_specs(place: Path, value: Any, seed: int, changes: int, how: str | None) -> None:
    dice, spec = random.Random(seed), SPEC
    for _ in range(changes if how is None else 0):
        spec = replaced(spec, dice, value)
    if not isinstance(spec, dict):
        spec = {"x": spec}
    text = "\n".join(f"{json.dumps(str(key))} = {toml(inner)}" for key, inner in spec.items())
    content = text.encode("utf-8", "surrogatepass")
    (place / "spec.toml").write_bytes(content if how is None else damaged(content, dice, how))
    call("specs", "run", "spec.toml", *PLANNED)


# -------------------------------------------------------------------------------------------------------- command lines

COMMANDS = tuple(cli.app.list_commands(click.Context(cli.app)))


def options(command: click.Command) -> set[str]:
    """Return the options of a command, and of the commands in it."""
    inner = (
        command.commands.values() if isinstance(command, click.Group) and not isinstance(command, cli.Commands) else ()
    )
    return {o for p in command.params for o in (*p.opts, *p.secondary_opts)}.union(*map(options, inner))


# All that there are, but what names a place to write.
OPTIONS = sorted(
    {
        o
        for name in COMMANDS
        for o in options(cli.app.get_command(click.Context(cli.app), name) or cli.app)
        if o[0] == "-"
    }
    - {"--out"}
    | {"--help", "--version", "--nothing", "-h", "-x"}
)
KINDS = (*registry.PACKAGES, "data", "published", "run", "schema", "runs", "methods")
# What writes goes to a place of its own.
HARMLESS = {
    "run": ("--plan", "--device", "cpu", "--test", "50", "--train", "200"),
    "corrupt": ("--sheet", "sheet.png", "--corruptions", "contrast"),
    "tune": ("--method", "nothing", "--option", "x=1"),
    "lipschitz": ("nothing",),
    "evaluate": ("nothing",),
    "reference": ("update", "nowhere", "--out", "new.json", "--reason", "r"),
    "new": ("method", "os.path"),
    "doctor": ("--data", "nowhere"),
    "export": ("--out", "net.safetensors"),
    "plot": ("--out", "drawn"),
    "table": ("--out", "table.txt"),
}
PLACES = ("store", "store/evaluations", "reference.json", "curves")
SUBCOMMANDS = ("ls", "merge", "gc", "rm", "export", "update", "show")


@many("command lines")
@given(
    command=st.sampled_from(COMMANDS),
    words=st.lists(st.one_of(TEXTS, st.sampled_from([*KINDS, *SUBCOMMANDS, *PLACES])), max_size=3),
    options=st.lists(st.tuples(st.sampled_from(OPTIONS), st.one_of(TEXTS, NUMBERS.map(str))), max_size=3),
    joined=st.booleans(),
)
def test_command_lines(
    place: Path, command: str, words: list[str], options: list[tuple[str, str]], joined: bool
) -> None:
    # What a shell hands over holds no NUL; a name in no encoding arrives as lone surrogates.
    given_ = [w for o, v in options for w in ([f"{o}={v}"] if joined else [o, v])]
    line = [command, *HARMLESS.get(command, ()), *(w.replace("\0", "\\0") for w in [*words, *given_])]
    before = set(place.iterdir())
    call("command lines", *line)
    for path in set(place.iterdir()) - before:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


# -------------------------------------------------------------------------------------------------- records, references


@many("records")
@given(
    value=VALUES,
    seed=st.integers(0, 2**32),
    how=st.one_of(st.none(), HOWS),
    sealed=st.booleans(),
    words=st.sampled_from([("list", "run"), ("show", "run"), ("check",), ("report",)]),
)
def test_records(place: Path, value: Any, seed: int, how: str | None, sealed: bool, words: tuple[str, ...]) -> None:
    """A record that holds anything, also under its right hash, as somebody may have written who means harm."""
    dice, hostile = random.Random(seed), place / "hostile"
    shutil.rmtree(hostile, ignore_errors=True)
    shutil.copytree(place / "store", hostile)
    files = sorted(path for path in hostile.rglob("*") if path.is_file() and path.name != CHECKSUM)
    path = dice.choice([f for f in files if f.name == RECORD] if dice.random() < 0.8 else files)
    content = path.read_bytes()
    if how is None and path.name == RECORD:
        content = json.dumps(replaced(json.loads(content), dice, value), default=str).encode("utf-8", "replace")
    else:
        content = damaged(content, dice, how or "flip")
    path.write_bytes(content)
    if sealed and path.name == RECORD:
        (path.parent / CHECKSUM).write_text(hashlib.sha256(content).hexdigest() + "\n")
    line = {
        "list": ("list", "run", "--store", "hostile"),
        "show": ("show", "run", Store(place / "store").ids()[0], "--ledger", "--store", "hostile"),
        "check": ("check", "hostile", "--against", "reference.json", "--any-source"),
        "report": ("report", "hostile", "--out", "page"),
    }[words[0]]
    if words[0] == "report" and dice.random() < 0.8:
        # A whole report takes a second.
        line = ("list", "run", "--store", "hostile")
    call("records", *line)


@many("references")
@given(
    value=VALUES, seed=st.integers(0, 2**32), how=st.one_of(st.none(), HOWS), margin=st.one_of(TEXTS, NUMBERS.map(str))
)
def test_references(place: Path, value: Any, seed: int, how: str | None, margin: str) -> None:
    dice, content = random.Random(seed), (place / "reference.json").read_bytes()
    if how is None:
        tree = json.loads(content)
        for _ in range(dice.randint(1, 3)):
            tree = replaced(tree, dice, value)
        content = json.dumps(tree, default=str).encode("utf-8", "replace")
    else:
        content = damaged(content, dice, how)
    (place / "hostile.json").write_bytes(content)
    also = ("--margin", margin.replace("\0", "")) if dice.random() < 0.3 else ()
    call(
        "references", "check", "store", "--against", "hostile.json", "--any-source", "--metric", "clean_accuracy", *also
    )
    call("references", "check-speed", "hostile.json", "--against", "hostile.json")


# ------------------------------------------------------------------------------------------------------ what is no file


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize(
    "line",
    [
        ("run", "{}", *PLANNED),
        ("run", "quick", "--data", "{}", *PLANNED),
        ("show", "data", "{}"),
        ("doctor", "--data", "{}"),
        ("corrupt", "--sheet", "s.png", "--image", "{}"),
        ("corrupt", "{}", "--sheet", "s.png", "--corruptions", "contrast"),
        ("check", "store", "--against", "{}"),
        ("check", "{}", "--against", "reference.json"),
        ("check-speed", "{}", "--against", "{}"),
        ("report", "{}"),
        ("lipschitz", "x", "--store", "{}"),
        ("list", "run", "--store", "{}"),
        ("show", "preset", "{}"),
        ("run", "quick", "--test-set", "x={}", *PLANNED),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("what", ["/dev/zero", "pipe.toml", "~nosuchuser/x", "a\x1b[2J\nb"])
def test_devices_pipes_and_strange_names(place: Path, line: tuple[str, ...], what: str) -> None:
    if what.startswith("pipe") and not Path(what).exists():
        os.mkfifo(what)
    assert call("command lines", *(word.replace("{}", what) for word in line)) == 2
