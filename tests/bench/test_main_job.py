"""The main job from end to end, small: a grid is trained, corrupted, measured, stored and reported."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from lcrbench.bench import cli, worker
from lcrbench.bench.evaluation import inference as evaluate
from lcrbench.bench.evaluation.networks import restored
from lcrbench.bench.records.by_image import Effort, ImageKey
from lcrbench.bench.records.grid import Data
from lcrbench.bench.records.record import Record
from lcrbench.bench.records.spec import CLEAN, Cell
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError
from tests.bench.helpers import bits, go

TABLES = {
    "data": {"size": 16, "train": 400, "test": 100},
    "methods": ["full_precision", "irnet", "irnet+lcr"],
    "budget": {"images": 800},
    "recipe": {"batch": 50, "lr": 0.05},
    "evaluation": {"corruptions": ["gaussian_noise", "fog", "gaussian_blur"], "severities": [1, 5], "block": 32},
    "metrics": {
        "accuracy": {},
        "corruption_error": {},
        "lipschitz_kappa": {"images": 10, "l2": [8.0, 128.0], "effort": "trial"},
    },
}


COMMAND = [sys.executable, "-m", "lcrbench.bench.cli"]


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Record]]:
    root = tmp_path_factory.mktemp("grid") / "store"
    return root, go(root, TABLES)


def test_every_run_is_whole(grid: tuple[Path, list[Record]]) -> None:
    root, records = grid
    assert [r.spec.label for r in records] == ["full_precision", "irnet", "irnet+lcr"]
    for r in records:
        assert r.status == "finished"
        assert r.ledger is not None
        assert (r.ledger.images, r.ledger.steps) == (800, 16)
        assert r.ledger.forward == r.ledger.backward == {"student": 800}
        # What a search is checked with, the start, and by ball 2 candidates, 2 chains of 2 steps, and the two points again.
        assert r.ledger.evaluation_forward.keys() == {"evaluation", "lipschitz"}
        assert r.ledger.evaluation_forward["evaluation"] == 7 * 100
        # Ten images by the budget, then checks of the network and of what was found, and 32 images as ends of walks.
        assert 0.8 * 1500 < r.ledger.evaluation_forward["lipschitz"] <= 1500 + 150
        assert {"data", "training", "evaluation", "corruption", "lipschitz"} <= set(r.ledger.seconds)
        cells = {(m.corruption, m.severity) for m in r.measurements if m.metric == "accuracy"}
        assert cells == {("", 0)} | {(c, s) for c in ("gaussian_noise", "fog", "gaussian_blur") for s in (1, 5)}
        assert all(m.n > 0 for m in r.measurements)
        assert len(Store(root).outcomes(r.run_id)) == 7


def test_budgets_are_proved_equal(grid: tuple[Path, list[Record]]) -> None:
    ledgers = [r.ledger for r in grid[1]]
    for field in ("data_order_sha256", "augmentation_sha256", "initial_weights_sha256", "selection", "images", "steps"):
        assert len({getattr(ledger, field) for ledger in ledgers}) == 1, field


def test_measurements_agree_with_outcomes(grid: tuple[Path, list[Record]]) -> None:
    root, records = grid
    for r in records:
        right = Store(root).outcomes(r.run_id)
        found = {(m.metric, m.corruption, m.severity): m.value for m in r.measurements if m.metric != "lipschitz_kappa"}
        assert found["accuracy", "", 0] == right[CLEAN].mean()
        assert found["accuracy", "fog", 5] == right[Cell("fog", 5)].mean()
        common = np.stack([right[Cell(c, s)] for c in ("gaussian_noise", "fog") for s in (1, 5)])
        assert found["corruption_error", "common", 0] == pytest.approx(1 - common.mean())
        assert found["corruption_error", "extra", 0] == found["corruption_error", "gaussian_blur", 0]
        assert ("corruption_error", "blur", 0) not in found


def test_kappa_is_an_ordered_lower_bound_kept_by_image(grid: tuple[Path, list[Record]]) -> None:
    root, records = grid
    for r in records:
        assert r.metrics["lipschitz_kappa"].bound == "lower"
        by = {(m.radius, m.statistic): m.value for m in r.measurements if m.metric == "lipschitz_kappa"}
        (search,) = Store(root).searches(r.run_id)
        kept = search.by_image()
        for radius in (8, 128):
            values, images = kept[ImageKey.at("lipschitz_kappa", Effort(passes=150), "l2", radius / 255)]
            assert values.shape == images.indices.shape == (10,)
            assert by[radius / 255, "flipped"] == (values >= 1).mean()
            if (radius / 255, "q50") in by:
                assert by[radius / 255, "q50"] == pytest.approx(np.median(values), rel=1e-6)
        assert by[8 / 255, "flipped"] <= by[128 / 255, "flipped"]


def test_the_stored_weights_give_the_stored_outcomes(grid: tuple[Path, list[Record]]) -> None:
    """Also with other neighbours, another order and by another caller, to the bit."""
    import torch

    root, records = grid
    r = records[2]
    torch.set_num_threads(1)
    data = worker.load_data(Data(**TABLES["data"]))
    net = restored(*Store(root).trained(r.run_id)).network
    order = np.random.default_rng(1).permutation(100)
    right = evaluate.logits(net, data.test.images[order], r.spec.evaluation.block).argmax(1) == data.test.labels[order]
    assert np.array_equal(right, Store(root).outcomes(r.run_id)[CLEAN][order])


def test_a_second_run_is_identical_apart_from_times(grid: tuple[Path, list[Record]], tmp_path: Path) -> None:
    """The second with another number of workers."""
    for a, b in zip(grid[1], go(tmp_path / "s", TABLES, workers=1), strict=True):
        assert bits(grid[0], a) == bits(tmp_path / "s", b)


def test_finished_runs_are_skipped(grid: tuple[Path, list[Record]]) -> None:
    def state() -> dict[Path, int]:
        return {p: p.stat().st_mtime_ns for p in grid[0].glob("*/*/record.json")}

    before = state()
    assert len(before) == 6, "a training and an evaluation each"
    assert go(grid[0], TABLES) == grid[1]
    assert state() == before
    assert not (grid[0] / ".cache").exists(), "corrupted images are kept for the time of a command"


def test_a_diverging_run_fails_and_the_others_go_on(tmp_path: Path) -> None:
    tables = TABLES | {
        "methods": ["full_precision:nonlinearity=relu", "bnn"],
        "recipe": TABLES["recipe"] | {"lr": 1e30, "warmup": 0.0},
        "metrics": {"accuracy": {}},
    }
    records = go(tmp_path / "s", tables)
    assert records[0].status == "failed"
    assert records[0].failure.reason == "diverged"
    assert "learning rate" in records[0].failure.message
    assert records[0].measurements == ()


def test_a_killed_run_is_told_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "killer.py").write_text(
        "import os, signal\n"
        "from dataclasses import dataclass\n"
        "from lcrbench.models.methods import bnn\n"
        "@dataclass(frozen=True)\n"
        "class Method(bnn.Method):\n"
        "    def on_progress(self, network, t):\n"
        "        if t > 0.4 and not os.path.exists('spare'): os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    monkeypatch.chdir(tmp_path)
    command = ["run", _spec(tmp_path), "--methods", "pack.killer bnn", "--store", "s", "--quiet", "--workers", "1"]
    done = CliRunner().invoke(cli.app, command)
    assert done.exit_code == 3, done.stderr
    assert "1 of 2 runs failed" in done.stderr
    by = {r.spec.label: r for r in Store("s").records()}
    assert by["bnn"].status == "finished"
    assert by["pack.killer"].failure.reason == "killed"
    assert "SIGKILL" in by["pack.killer"].failure.message
    assert Path(done.stdout.strip()).exists()
    # Spared, it goes on; made again and killed, it leaves what was finished.
    Path("spare").touch()
    done = CliRunner().invoke(cli.app, command)
    assert done.exit_code == 0, done.stderr
    Path("spare").unlink()
    finished = {r.spec.label: r for r in Store("s").records()}["pack.killer"]
    done = CliRunner().invoke(cli.app, [*command, "--fresh"])
    assert done.exit_code == 3, done.stderr
    assert "1 of 2 runs failed when made again" in done.stderr
    assert "SIGKILL" in done.stderr
    assert Store("s").record(finished.run_id) == finished
    Store("s").verify(finished.run_id)


DEADLY = """
    'Kills the process of a run, unless it is spared.'
    import multiprocessing, os, signal
    from dataclasses import dataclass
    from lcrbench.bench.metrics import Need
    from lcrbench.bench.records.measurement import Measurement, MetricInfo
    INFO, NEEDS = MetricInfo.about(__doc__, "1", bound="exact"), frozenset({Need.OUTCOMES})
    @dataclass(frozen=True)
    class Options: "None."
    def measure(subject, options):
        if multiprocessing.parent_process() and not os.path.exists("spare"): os.kill(os.getpid(), signal.SIGKILL)
        yield Measurement(metric="deadly", value=1.0, n=1)
"""


def test_a_run_killed_after_its_training_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "deadly.py").write_text(textwrap.dedent(DEADLY))
    monkeypatch.chdir(tmp_path)
    command = ["run", _spec(tmp_path, '[metrics."pack.deadly"]'), "--methods", "bnn", "--workers", "1"]
    done = CliRunner().invoke(cli.app, [*command, "--store", "s"])
    assert done.exit_code == 3, done.stderr
    store = Store("s")
    (record,) = store.records()
    assert record.failure.reason == "killed"
    (trained,) = Path("s", "trainings").iterdir()
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in trained.iterdir()}
    assert not list(Path("s", ".unfinished").glob("*"))
    planned = CliRunner().invoke(cli.app, [*command, "--store", "s", "--plan"])
    assert "seed 0: trained; evaluate 2 of 2 cells; measure accuracy, corruption_error, pack.deadly" in planned.output
    Path("spare").touch()
    done = CliRunner().invoke(cli.app, [*command, "--store", "s"])
    assert done.exit_code == 0, done.stderr
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in trained.iterdir()} == before
    found = store.record(record.run_id)
    assert found.status == "finished"
    assert {m.metric for m in found.measurements} == {"accuracy", "corruption_error", "pack.deadly"}
    store.verify(record.run_id)


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_stop_of_all_saves_and_names_the_command_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """Ctrl-C, and a batch system's SIGTERM, go to every process of the command, the server of processes too."""
    command = [*COMMAND, "run", _spec(tmp_path), "--store", "s", "--workers", "1"]
    command += ["--methods", "bnn", "--images", "8000", "--save-every", "0.2"]
    process = subprocess.Popen(
        [*command, "--fresh"], cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not (saved := list((tmp_path / "s" / ".unfinished").glob("*"))) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "to go on: lcrbench run" in err
    assert "--fresh" not in err.partition("to go on: ")[2].partition(" (with --fresh")[0]
    assert "Traceback" not in err
    assert err.count("\n") == 1
    assert Store(tmp_path / "s").ids() == []
    assert saved
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli.app, command[len(COMMAND) :])
    assert done.exit_code == 0, done.stderr
    (record,) = Store(tmp_path / "s").records()
    assert record.status == "finished"
    assert record.ledger.images == 8000
    assert not list((tmp_path / "s" / ".unfinished").glob("*"))


def _spec(folder: Path, more: str = "") -> str:
    lines = ["[data]", "size = 16", "train = 400", "test = 100", "[budget]", "images = 800", "[recipe]", "batch = 50"]
    lines += ["[evaluation]", 'corruptions = ["fog"]', "severities = [1]", "[metrics.accuracy]"]
    path = folder / "small.toml"
    path.write_text("\n".join([*lines, "[metrics.corruption_error]", more]))
    return str(path)


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ({"methods": ["irnet", "irnet:t_max=10.0"]}, "named twice"),
        ({"methods": ["full_precision+lcr"]}, "needs binary convolutions"),
        ({"backbone": "resnet2"}, "did you mean 'resnet20'"),
        ({"metrics": {"acuracy": {}}}, "did you mean 'accuracy'"),
        ({"metrics": {"lipschitz_kappa": {"linff": [1]}}}, "did you mean 'linf'"),
        ({"metrics": {"lipschitz_kappa": {"l2": [0]}}}, "positive number"),
        ({"evaluation": {"corruptions": ["fogg"]}}, "did you mean 'fog'"),
        ({"seeds": [0, 0]}, "named twice"),
        ({"data": {"size": 20}}, "8 divides"),
        ({"data": {"train": 5}}, "too few"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(tmp_path: Path, tables: dict, says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        go(tmp_path / "s", TABLES | tables)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "s").exists()


PHOTOGRAPHS = Path(__file__).resolve().parents[3] / "shared" / "data" / "cifar10-jpeg75"


@pytest.mark.skipif(
    not PHOTOGRAPHS.is_dir(), reason="the colour photographs lie beside the repository only in development"
)
def test_colour_photographs_by_the_same_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["run", _spec(tmp_path), "--data", str(PHOTOGRAPHS), "--size", "32", "--store", "s"]
    command += ["--methods", "full_precision irnet+lcr", "--corruptions", "noise fog", "--severities", "1 5"]
    done = CliRunner().invoke(cli.app, command)
    assert done.exit_code == 0, done.stderr
    page = tmp_path / done.stdout.strip().splitlines()[-1].removeprefix("report: ")
    assert "cifar10-jpeg75" in page.read_text(encoding="utf-8")
    for record in Store(tmp_path / "s").records():
        assert record.status == "finished"
        assert record.spec.data.name.startswith("cifar10-jpeg75")
        assert str(PHOTOGRAPHS.parent) not in record.model_dump_json()
