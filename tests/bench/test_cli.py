"""The command line: every mistake is one line on standard error that names the thing and the way out, and exit code 2."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from lcrbench.bench import cli, doctor, runner
from lcrbench.bench.cli import _doors
from lcrbench.bench.cli._pages import PAGES
from lcrbench.bench.records.predictions import FILE
from lcrbench.bench.records.record import Evaluation, Record, Training
from lcrbench.bench.records.store import LOG, WEIGHTS, Store
from tests.bench.helpers import SCHEMA_3, call, failed, figures, put, record


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("run quik", "did you mean 'quick'"),
        ("run --methds x", "did you mean '--methods'"),
        ("run --methods irnett", "did you mean 'irnet'"),
        ("run --corruptions fogg", "did you mean 'fog'"),
        ("run --severities 6", "from 1 to 5"),
        ("run --severities x", "whole numbers"),
        ("run --images -5", "greater than 0"),
        ("run --images 10", "give images = 100 or more"),
        ("run --lr nan", "finite"),
        ("run --set budget.imags=3", "did you mean 'budget.images'"),
        ("run --set budget", "FIELD=VALUE"),
        ("run --set backbone.x=1", "holds no fields"),
        ("run --set data=3", "data"),
        ("run --data fashion-mnist-10", "did you mean 'fashion-mnist-10k'"),
        ("run --data ./nowhere", "nowhere"),
        ("run --device cudda", "cudda"),
        ("run --workers 0", "workers"),
        ("run none.toml", "none.toml"),
        ("list things", "unknown kind 'things'; there are: method"),
        ("lipschitz 777b --norm l1", "unknown option '--norm'; there are: --also, "),
        ("lipschitz --lr 3", "unknown option '--lr'; there are"),
        ("lipschitz --steps 3", "unknown option '--steps'; there are"),
        ("show metric kappa", "did you mean 'lipschitz_kappa'"),
        ("show metric layer", "unknown metric 'layer'; there are"),
        ("show method IRNet", "did you mean 'irnet'"),
        ("doctor ../st2", "a store is named with --store"),
        ("list runs ../st2", "a store is named with --store"),
        ("run quick --seeds 0 1 2", 'in quotes: --seeds "0 1 2"'),
        ("run --size 0", "data.size: Input should be greater"),
        ("lipschitz --model a:b --size 0", "'--size': 0 is not in the range"),
        ("lipschitz --model a:b --size 2000", "'--size': 2000 is not in the range"),
        ("lipschitz 777b", "lcrbench run --store"),
        ("check 777b --against 9c01", "a file that `lcrbench reference update` wrote"),
        ("show method irnte", "did you mean 'irnet'"),
        ("show run 12 --store nowhere", "no store"),
        ("show corruption fogg", "did you mean 'fog'"),
        ("show preset quik", "did you mean 'quick'"),
        ("report nowhere", "no store"),
        ("repot", "repot"),
    ],
)
def test_mistakes(capsys, monkeypatch, tmp_path: Path, words: str, says: str) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = call(capsys, monkeypatch, *words.split())
    assert code == 2, err
    assert says in err
    assert err.startswith("lcrbench: ")
    assert err.count("\n") == 1
    assert out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["[budget\n", "\xff", "budget = 3", "methods = 'irnet'", "[recipe]\nlr = 'x'"])
def test_bad_spec_files(capsys, monkeypatch, tmp_path: Path, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.toml").write_bytes(text.encode("latin-1"))
    code, _, err = call(capsys, monkeypatch, "run", "a.toml")
    assert code == 2
    assert err.count("\n") == 1


def test_a_mistake_at_a_field_s_old_place_is_told_where_the_field_is_now(capsys, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.toml").write_text("[budget]\nlr = 'x'")
    code, _, err = call(capsys, monkeypatch, "run", "a.toml")
    assert code == 2
    moved, mistake = err.splitlines()
    assert moved == "lcrbench: [budget] lr now belongs to [recipe]: read from there"
    assert mistake.startswith("lcrbench: recipe.lr: ")


@pytest.mark.parametrize("kind", ["method", "regularizers", "backbone", "corruptions", "metric", "preset", "data"])
def test_lists(capsys, monkeypatch, kind: str) -> None:
    code, out, _ = call(capsys, monkeypatch, "list", kind)
    assert code == 0
    assert len(out.splitlines()) >= 1


def test_every_command_has_its_line_its_help_and_an_example(capsys, monkeypatch) -> None:
    code, out, _ = call(capsys, monkeypatch, "--help")
    assert code == 0
    context = click.Context(cli.app)
    names = cli.app.list_commands(context)
    assert {"run", "list", "check-speed"} <= set(names)
    for name in names:
        command = cli.app.get_command(context, name)
        assert command is not None
        assert re.search(rf"^  {name} +\w.+", out, re.MULTILINE), f"no line for {name} in lcrbench --help"
        assert command.help, f"{name} has no help"
        assert f"lcrbench {name} " in (command.epilog or ""), f"{name} has no example"
        assert f"lcrbench {name} " in call(capsys, monkeypatch, name, "--help")[1]
        for words, one in commands(command, [name]):
            example = re.search(r"Example: (lcrbench .*?)(?:; |$)", one.epilog or "")
            assert example, f"{' '.join(words)} has no example"
            if not isinstance(one, click.Group):  # its words are what the command takes
                assert shlex.split(example[1])[: 1 + len(words)] == ["lcrbench", *words]
                one.make_context(words[-1], shlex.split(example[1])[1 + len(words) :], parent=context)


def commands(command: click.Command, words: list[str]) -> Iterator[tuple[list[str], click.Command]]:
    """Yield a command, and with a group all within it, each with the words that call it."""
    yield words, command
    for name, inner in command.commands.items() if isinstance(command, click.Group) else ():
        yield from commands(inner, [*words, name])


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("run --data ./nowhere", "docs/data.md"),
        ("evaluate nowhere.py:make", "docs/models.md"),
        ("check nowhere --against reference.json", "docs/ci.md"),
        ("run quick --need cores=x", "docs/howto/cluster.md"),
        ("run quick --on cloud", "docs/howto/cluster.md"),
        ("run quick --on cloud:10.0.0.1", "docs/howto/cluster.md"),
        ("run quick --on local:foo", "docs/howto/cluster.md"),
        ("run quick --plan --on local:", "docs/howto/cluster.md"),
        ("run quick --on my_plugins.nowhere", "docs/howto/cluster.md"),
        ("run quick --device cudda", "docs/devices.md"),
        ("table nowhere", ""),
    ],
)
def test_a_mistake_names_the_page_that_helps(capsys, monkeypatch, tmp_path: Path, words: str, page: str) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = call(capsys, monkeypatch, *words.split())
    assert code == 2
    assert err.count("\n") == 1
    assert err.rstrip().endswith(f"(see {page})") if page else "docs/" not in err


def test_pages_and_the_parts_that_name_them_exist() -> None:
    root = Path(__file__).resolve().parents[2]
    for module, page in PAGES.items():
        assert (root / "docs" / page).is_file(), page
        assert importlib.util.find_spec(module), module


def test_plan_trains_nothing(capsys, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = call(capsys, monkeypatch, "run", "quick", "--plan", "--seeds", "0 1")
    assert code == 0
    assert len(out.splitlines()) == 8
    assert list(tmp_path.iterdir()) == []


def test_show(capsys, monkeypatch) -> None:
    irnet = call(capsys, monkeypatch, "show", "method", "irnet")[1]
    assert "https://arxiv.org/abs/1909.10788" in irnet
    assert "https://github.com/htqin/IR-Net" in irnet
    assert "86.50" in irnet
    assert "https://arxiv.org/abs/2207.06540" in call(capsys, monkeypatch, "show", "regularizer", "lcr_fixed")[1]
    assert call(capsys, monkeypatch, "show", "published", "irnet")[1] in irnet
    assert irnet.splitlines()[-1] in call(capsys, monkeypatch, "show", "published")[1]
    assert "irnet" in call(capsys, monkeypatch, "list", "published")[1]
    code, _, err = call(capsys, monkeypatch, "show", "method")
    assert code == 2
    assert "lcrbench show method NAME" in err
    assert "0.08" in call(capsys, monkeypatch, "show", "corruption", "gaussian_noise")[1]
    assert "[budget]" in call(capsys, monkeypatch, "show", "preset", "quick")[1]
    fashion = call(capsys, monkeypatch, "show", "data", "fashion-mnist-10k")[1]
    assert "T-shirt" in fashion
    assert "train_sha256: " in fashion
    assert "official: not known" in fashion


def test_schemas(capsys, monkeypatch) -> None:
    for name, model in (("record", Record), ("training", Training), ("evaluation", Evaluation)):
        schema = json.loads(call(capsys, monkeypatch, "show", "schema", name)[1])
        assert set(model.model_fields) == set(schema["properties"])
    code, _, err = call(capsys, monkeypatch, "show", "schema", "recrod")
    assert code == 2
    assert "did you mean 'record'" in err


def test_runs_are_listed_and_shown(capsys, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store("s", create=True)
    good, bad = put(store, record()), put(store, failed(1))
    others = [put(store, failed(seed)) for seed in (4, 3, 10, 2)]
    lines = call(capsys, monkeypatch, "list", "runs", "--store", "s")[1].splitlines()
    assert [line.split()[4] for line in lines] == ["0", "1", "2", "3", "4", "10"]
    assert [line.split()[0] for line in lines] != sorted([good, bad, *others]), "the order of ids would pass too"
    told = dict(line.split(maxsplit=1) for line in lines)
    assert told[good].startswith(
        "finished  irnet seed 0 on d (10 training and 10 test images)  (stale: made before scopes"
    )
    assert told[bad] == "failed    irnet seed 1 on d (10 training and 10 test images)"
    # By the beginning of its own id, or of its training's.
    for prefix in (good[:6], record().spec.training.train_id[:6]):
        shown = call(capsys, monkeypatch, "show", "run", prefix, "--json", "--store", "s")[1]
        assert Record.model_validate_json(shown) == record()
    ledger = call(capsys, monkeypatch, "show", "run", good, "--ledger", "--store", "s")[1]
    assert "recipe shards" in ledger
    assert "initial_weights_sha256" not in ledger, "the ledger has no value of it"
    code, _, err = call(capsys, monkeypatch, "show", "run", bad, "--ledger", "--store", "s")
    assert code == 2
    assert "no ledger" in err
    code, _, err = call(capsys, monkeypatch, "lipschitz", "777b", "--store", "s")
    assert code == 2
    there = ", ".join(sorted((good, bad, *others)))
    assert f"no run '777b' in the store s, which has {there}; --store names another store" in err
    # What cannot be read is listed as such, and the others all the same.
    path = tmp_path / "s" / "evaluations" / record().spec.evaluation_id / "record.json"
    path.write_bytes(path.read_bytes()[:-9])
    listed = call(capsys, monkeypatch, "list", "runs", "--store", "s")[1]
    assert f"{path.parent.name}  damaged" in listed
    assert bad in listed


def test_doctor(capsys, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = call(capsys, monkeypatch, "doctor")
    assert code == 0, out + err
    assert "BAD" not in out
    (tmp_path / "lcrbench-runs" / "x").mkdir(parents=True)
    (tmp_path / "lcrbench-runs" / "x" / "record.json").write_text("{")
    code, out, _ = call(capsys, monkeypatch, "doctor")
    assert code == 2
    assert "BAD" in out
    assert "damaged" in out


@pytest.mark.parametrize(
    "file",
    [
        *(f"trainings/{record().spec.training.train_id}/{name}" for name in ("record.json", LOG, WEIGHTS)),
        *(f"evaluations/{record().spec.evaluation_id}/{name}" for name in ("record.json", FILE, "by_image-0.npz")),
    ],
)
def test_doctor_finds_damage_in_every_file(capsys, monkeypatch, tmp_path: Path, file: str) -> None:
    monkeypatch.setattr(doctor, "_corruptions", lambda: doctor.Check(True, "corruptions"))
    store = Store(tmp_path / "s", create=True)
    put(store, record(), by_image=figures())
    path = tmp_path / "s" / file
    path.write_bytes(path.read_bytes()[:-1])
    code, out, err = call(capsys, monkeypatch, "doctor", "--store", str(tmp_path / "s"))
    assert code == 2
    assert err.count("\n") == 1
    assert f"BAD  {path} is damaged: `lcrbench run` with --redo sets it aside" in out


def test_doctor_finds_damage_in_runs_of_an_older_schema_and_redo_sets_it_aside(
    capsys, monkeypatch, tmp_path: Path
) -> None:
    """In what `lcrbench lipschitz` measured of them too, which lay in a folder of its own."""
    monkeypatch.setattr(doctor, "_corruptions", lambda: doctor.Check(True, "corruptions"))
    run_id = sorted(p.name for p in SCHEMA_3.iterdir())[0]
    for place in (tmp_path / run_id, tmp_path / "lipschitz" / run_id):
        shutil.copytree(SCHEMA_3 / run_id, place)
    assert "1 of an older schema" in call(capsys, monkeypatch, "doctor", "--store", str(tmp_path))[1]
    path = tmp_path / "lipschitz" / run_id / "by_image.npz"
    path.write_bytes(path.read_bytes()[:-1])
    code, out, _ = call(capsys, monkeypatch, "doctor", "--store", str(tmp_path))
    assert code == 2
    assert f"BAD  {path} is damaged" in out
    runner._mend(Store(tmp_path), [], redo=True)
    assert not path.parent.exists()
    assert (tmp_path / run_id).exists()
    code, out, _ = call(capsys, monkeypatch, "doctor", "--store", str(tmp_path))
    assert code == 0
    assert "1 damaged runs were set aside" in out


def test_doctor_says_what_to_do_about_a_store(capsys, monkeypatch, tmp_path: Path) -> None:
    """A damaged save and teacher, a stale and a failed run, something set aside; then a store that is a file."""
    # The rest is checked above, and takes its time.
    monkeypatch.setattr(doctor, "_corruptions", lambda: doctor.Check(True, "corruptions"))
    monkeypatch.chdir(tmp_path)
    store = Store("s", create=True)
    put(store, record())
    put(store, failed(1))
    for folder in (".unfinished", ".teachers", ".damaged"):
        (tmp_path / "s" / folder).mkdir()
        (tmp_path / "s" / folder / "0123456789abcdef").write_bytes(b"0" * 64 + b"\n{}\n")
    code, out, err = call(capsys, monkeypatch, "doctor", "--store", "s")
    assert code == 2
    assert err.count("\n") == 1
    for said in (
        ".unfinished/0123456789abcdef is damaged: `lcrbench run` with --redo",
        ".teachers/0123456789abcdef is damaged: `lcrbench run` with --redo",
        "1 finished, 1 failed, 1 stale, 0 of an older schema; 1 unfinished",
        "`lcrbench show run ID` says why",
        "--stale redo",
        "1 damaged runs were set aside",
    ):
        assert said in out, said
    (tmp_path / "file").write_text("")
    code, out, _ = call(capsys, monkeypatch, "doctor", "--store", "file")
    assert code == 2
    assert "BAD  there is no store at file" in out
    monkeypatch.setattr(doctor, "installed", lambda name: None if name in ("pyarrow", "rich") else "1")
    code, out, _ = call(capsys, monkeypatch, "doctor", "--store", "none")
    assert code == 2
    assert "missing packages: pip install rich" in out
    assert "pyarrow (pip install 'lcrbench[parquet]')" in out


def test_a_command_is_guarded_once_however_often_it_is_called() -> None:
    """Each guard around the one before would end in a recursion, after some hundred calls in one process."""
    command = click.Command("x", params=[click.Option(["--n"], type=int)])
    first = _doors.guarded(command).make_parser
    assert _doors.guarded(command).make_parser is first
    with pytest.raises(click.UsageError, match="given twice"):
        command.make_context("x", ["--n", "1", "--n", "2"])


AT_ITS_END = """
import atexit, gc, sys
atexit.register(lambda: print(gc.get_freeze_count() > len(gc.get_objects())))
from lcrbench.bench.cli import main
sys.argv = ["lcrbench", "list", "presets"]
main()
"""


def test_a_command_ends_without_a_look_at_all_that_it_made() -> None:
    """Python collects garbage once more as it ends: of a report on 2,000 runs that took two seconds."""
    done = subprocess.run([sys.executable, "-c", AT_ITS_END], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "True"
