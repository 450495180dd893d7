"""The command: it measures a stored run and a module from elsewhere, resumes, compares, and refuses in one line."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from lcrbench import registry
from lcrbench.bench import cli, runner
from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.lipschitz import measure, search, subjects
from lcrbench.bench.lipschitz.options import Options, of_effort
from lcrbench.bench.records.grid import make_grid
from lcrbench.bench.records.measurement import Detail
from lcrbench.bench.records.spec import CLEAN
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError
from lcrbench.models.estimators import clip
from lcrbench.reports import comparison, rendering, report
from lcrbench.reports import lipschitz as lipschitz_part

from .nets import built

BARE = ["--effort", "trial", "--images", "10", "--data", "fashion-mnist-10k", "--size", "16"]
SMALL = [*BARE, "--l2", "8 64"]


def dull() -> nn.Module:
    return built("irnet", "vgg_tiny", 16)


def sharp() -> nn.Module:
    return built("bnn", "vgg_tiny", 16, seed=1)


class Jumps(nn.Module):
    """Signs with or without a pseudo-gradient: equal logits, to the bit."""

    def __init__(self, seen: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(768, 16), nn.Linear(16, 4)
        self.sign = clip.Estimator() if seen else lambda z: torch.where(z >= 0, 1.0, -1.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.second(self.sign(self.first(x.flatten(1) - 0.5)))
        return y


def seeing() -> nn.Module:
    return Jumps(True).eval()


def blind() -> nn.Module:
    return Jumps(False).eval()


class Noisy(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)[:, :3] + torch.rand(len(x), 3)


class Mixed(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x.flatten(1)[:, :3]
        return y - y.mean(0)


def noisy() -> nn.Module:
    return Noisy().eval()


def mixed() -> nn.Module:
    return Mixed().eval()


class Ramp(nn.Module):
    """One set of weights, two functions."""

    def __init__(self, jumps: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.jumps = nn.Linear(768, 8), nn.Linear(8, 4), jumps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.first(x.flatten(1))
        return torch.as_tensor(self.second(torch.sign(z) if self.jumps else torch.relu(z)))


def ramp() -> nn.Module:
    return Ramp(False).eval()


def step() -> nn.Module:
    return Ramp(True).eval()


def narrow() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(5, 3)).eval()


def features() -> nn.Module:
    return nn.Identity().eval()


def probabilities() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(768, 3), nn.Softmax(1)).eval()


def sized(classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(768, classes)).eval()


instance = sized(3)


def broken() -> nn.Module:
    raise ZeroDivisionError("division by zero")


def call(*words: str) -> Any:
    return CliRunner().invoke(cli.app, ["lipschitz", *words], catch_exceptions=False)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setitem(sys.modules, "somebodys", sys.modules[__name__])
    # Drawing takes most of a small measurement's time.
    if request.function is test_another_comparison_replaces_all_of_the_first:
        monkeypatch.setattr(rendering, "FORMATS", ("png",))
    elif request.function is not test_two_models_are_measured_compared_and_resumed:
        request.getfixturevalue("undrawn")


def test_two_models_are_measured_compared_and_resumed(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    words = ["--model", "somebodys:dull", "--model", "somebodys:sharp", *SMALL, "--out", str(tmp_path)]
    words[words.index("trial")] = "quick"
    first = call(*words)
    assert first.exit_code == 0, first.output
    assert "not separated" in first.output or "is better than" in first.output
    assert "∞ (signs jump)" in first.output
    assert "lower bounds" in first.output
    assert "600 passes an image" in first.output
    rows = pd.read_csv(tmp_path / "lipschitz.csv")
    assert set(rows["network"]) == {"somebodys:dull", "somebodys:sharp"}
    assert {round(r * 255) for r in rows["radius_pixel_units"].dropna()} >= {8, 64}
    assert {"lipschitz_norms", "lipschitz_product", "lipschitz_proxy", "lipschitz_probes"} <= set(rows["metric"])
    kinds = rows.set_index(["metric", "statistic"])[["unit", "bound"]].apply(tuple, axis=1).to_dict()
    assert kinds["lipschitz_kappa", "q50"] == ("margins", "lower")
    assert kinds["lipschitz_kappa", "flipped"] == ("fraction of images", "lower")
    assert kinds["lipschitz_modulus", "found"] == ("fraction of images", "exact")
    assert "left out or incomplete: lipschitz_first_flips, lipschitz_first_layer: first-layer" in first.stderr
    text = (tmp_path / "lipschitz.md").read_text()
    for said in ("rank by kappa", "Operator norm", "Probes of the proxy", "fewer than 8 points", "infinite"):
        assert said in text
    for name in ("lipschitz", "lipschitz_modulus", "lipschitz_slope", "lipschitz_layers", "lipschitz_fidelity"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (tmp_path / f"{name}.svg").read_text()
    stored = sorted(tmp_path.glob("search/*/600.round"))
    assert len(stored) == 2
    stored[0].write_bytes(stored[0].read_bytes()[:100])
    request.getfixturevalue("undrawn")
    again = call(*words)
    assert again.stderr.count("image searched:") == 1
    assert again.stderr.count("image read:") == 3
    assert again.stdout == first.stdout


def test_a_blind_network_is_compared_by_decisions_alone(tmp_path: Path) -> None:
    words = ["--model", "somebodys:seeing", "--model", "somebodys:blind", *SMALL, "--out", str(tmp_path)]
    words[words.index("trial")], words[words.index("10")] = "quick", "25"
    done = call(*words)
    assert done.exit_code == 0, done.output
    assert "somebodys:blind: gives no gradient: only the decision-based part" in done.stderr
    assert "the 1 others are searched without theirs, too" in done.stderr
    assert "somebodys:seeing, without gradients: 600 passes an image searched" in done.stderr
    # Equal logits, equal finds: whatever gradients found of one does not count against it.
    assert "a search finds no difference, both searched without gradients" in done.stdout
    assert "is better than" not in done.stdout
    for said in (done.stdout, (tmp_path / "lipschitz.md").read_text()):
        assert "somebodys:blind gives no gradient (or only zeros) and was searched by decisions alone" in said
        assert "are decided by searches of both by decisions alone (600 passes an image, without gradients)" in said
        assert "not compared" not in said
    reasons = [line for line in done.stderr.splitlines() if "left out or incomplete" in line]
    written = (tmp_path / "lipschitz.md").read_text()
    assert "- somebodys:blind, left out or incomplete:" in written
    for line in reasons:
        assert line.rpartition(": ")[2] in written.replace("\\", "")
    kappas = [line for line in done.stdout.splitlines() if "kappa >=" in line]
    assert [line.endswith("searched without gradients") for line in kappas] == [False, True] * 2 + [True] * 2
    again = call(*words)
    assert "image searched" not in again.stderr
    assert again.stdout == done.stdout


def test_a_search_is_not_another_networks(tmp_path: Path) -> None:
    """Equal weights are not equal networks: what was found of one is not read for the other."""
    both = [call("--model", f"somebodys:{name}", *SMALL, "--out", str(tmp_path)) for name in ("ramp", "step")]
    alone = call("--model", "somebodys:step", *SMALL, "--out", str(tmp_path / "alone"))
    assert "image searched:" in both[1].stderr
    assert "image read:" not in both[1].stderr
    kappas = [[line for line in r.stdout.splitlines() if "kappa >=" in line] for r in (*both, alone)]
    assert kappas[1] == kappas[2] != kappas[0]


def test_another_comparison_replaces_all_of_the_first(tmp_path: Path) -> None:
    """What is written says what it is about, and nothing of an earlier comparison is left beside it."""
    call("--model", "somebodys:dull", "--model", "somebodys:sharp", *SMALL, "--out", str(tmp_path))
    assert (tmp_path / "lipschitz_slope.png").exists()
    assert (tmp_path / "lipschitz_separation_table.csv").exists()
    (tmp_path / "lipschitz_mine.png").write_bytes(b"somebody's own")
    words = [w if w != "8 64" else "8" for w in SMALL]
    call("--model", "somebodys:ramp", *words, "--out", str(tmp_path))
    left = {p.name for p in tmp_path.iterdir() if p.is_file()}
    assert {"lipschitz_mine.png", "lipschitz.png", "lipschitz_modulus.png", "lipschitz_table.csv"} <= left
    assert not {
        n for n in left if n.startswith(("lipschitz_slope", "lipschitz_sep", "lipschitz_prob", "lipschitz_fid"))
    }
    text = (tmp_path / "lipschitz.md").read_text()
    assert "somebodys:ramp" in text
    assert "sharp" not in text
    assert "](lipschitz_modulus.png)" in text
    assert "(lipschitz_slope.png)" not in text


def test_a_network_named_twice_is_one(tmp_path: Path) -> None:
    call("--model", "somebodys:ramp", "--model", "somebodys:ramp", *SMALL, "--out", str(tmp_path))
    rows = pd.read_csv(tmp_path / "lipschitz.csv")
    assert not rows.duplicated(
        ["metric", "statistic", "layer", "norm", "radius_pixel_units", *Detail.model_fields]
    ).any()


def test_images_and_seed_are_those_of_every_metric(tmp_path: Path) -> None:
    words = ["--model", "somebodys:dull", "--also", "clever", "--also", "smoothing", *SMALL]
    words[words.index("--images") + 1] = "5"
    call(*words, "--out", str(tmp_path))
    rows = pd.read_csv(tmp_path / "lipschitz.csv").set_index("metric")["n"]
    single = {"lipschitz_norms", "lipschitz_product", "lipschitz_range"}
    assert set(rows[~rows.index.isin(single)]) == {5}
    options = Options(images=300, seed=7)
    names = [n for n in measure.metrics(["clever", "smoothing"]) if not measure.searched(registry.load("metric", n))]
    given = {n.removeprefix("lipschitz_"): measure.options_of(registry.load("metric", n), options) for n in names}
    assert {n: o.images for n, o in given.items() if hasattr(o, "images")} == {
        **dict.fromkeys(("gradients", "agreement", "first_layer", "first_flips"), 300),
        **{"proxy": 100, "smoothing": 50, "clever": 20, "probes": 16, "layer_gain": 12},
    }
    assert given["clever"].seed == given["smoothing"].seed == 7


@pytest.mark.slow
def test_a_stored_run_is_rebuilt_measured_and_reported(tmp_path: Path) -> None:
    grid = make_grid(
        {
            "data": {"source": "fashion-mnist-10k", "size": 16, "train": 200, "test": 100},
            "methods": ["irnet", "bnn"],
            "budget": {"images": 400},
            "recipe": {"batch": 50},
            "evaluation": {"corruptions": ["gaussian_noise"], "severities": [1]},
            "metrics": {"accuracy": {}, "lipschitz_kappa": {"l2": [8.0], "images": 20}},
        }
    )
    runs = runner.run(grid, tmp_path, workers=1, device="cpu", command="test", quiet=True)
    store = Store(tmp_path)
    network = subjects.of_run(store, runs[0][:6])
    record, test = network.record, network.dataset.test
    assert record is not None
    rebuilt = Subject(network.looked.network, test, network.protocol.block)
    right = rebuilt.logits(rebuilt.test.images).argmax(1) == rebuilt.test.labels
    assert np.array_equal(right, store.outcomes(runs[0])[CLEAN])
    kappa = search.modulus(rebuilt, Options(l2=(8.0,), images=20)).found[0].kappa
    stored = [m for m in record.measurements if m.metric == "lipschitz_kappa"]
    assert np.median(kappa) == next(m.value for m in stored if m.statistic == "q50")
    before = lipschitz_part.read(comparison.read(store).settings[0], store)
    assert before is not None
    assert before.efforts == list(of_effort("quick").looks()[-2:])
    words = ["--store", str(tmp_path), "--effort", "full", "--l2", "8", "--linf", "", "--images", "20", "--quiet"]
    done = call(*(r[:6] for r in runs), *words)
    assert "irnet: Lipschitz constant ∞" in done.output
    assert done.stderr == ""
    # The store's next report shows the longer search, and both efforts.
    found = lipschitz_part.read(comparison.read(store).settings[0], store)
    assert found is not None
    assert found.efforts == list(of_effort("full").looks()[-2:])
    assert len([v for v in found.verdicts if v.figure.name == "kappa"]) == 1
    report.write(store, tmp_path / "report")
    rows = pd.read_csv(tmp_path / "report" / "measurements.csv")
    kinds = rows.set_index(["metric", "statistic"])[["unit", "bound"]].apply(tuple, axis=1).to_dict()
    assert kinds["lipschitz_kappa", "q50"] == ("margins", "lower")
    assert kinds["lipschitz_kappa", "flipped"] == ("fraction of images", "lower")
    assert "orders are checked against the quick search" in (tmp_path / "report" / "index.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name a run"),
        (["--model", "somebodys"], "MODULE:FUNCTION"),
        (["--model", "nowhere:f"], "'nowhere': modules of the current folder and of PYTHONPATH are found"),
        (["--model", "somebodys:sized"], "needs arguments: classes: write"),
        (["--model", "somebodys:instance"], "is the module itself"),
        (["--model", "somebodys:SMALL"], "is no function"),
        (["--model", "somebodys:Path"], "returns PosixPath"),
        (["--model", "somebodys:probabilities", *SMALL], "logits are needed: leave its softmax out"),
        (["--model", "somebodys:nothing"], "nothing"),
        (["--model", "somebodys:dull", "--effort", "qick"], "did you mean 'quick'"),
        (["--model", "somebodys:dull", "--l2", "0"], "positive"),
        (["--model", "somebodys:dull", "--l2", "8/255"], r"radii in 1/255, numbers .*\(8 for 8/255\), not '8/255'"),
        (["--model", "somebodys:dull", *BARE, "--l2", "1e9"], r"l2: a radius is at most \d+/255, from one corner"),
        (["--model", "somebodys:dull", "--device", "tpu"], "no device 'tpu'"),
        (["--model", "somebodys:dull", "--also", "clevr"], "did you mean 'clever'"),
        (["--model", "somebodys:noisy", *SMALL], "not deterministic"),
        (["--model", "somebodys:mixed", *SMALL], "other images in the batch"),
        (["--model", "somebodys:broken", *SMALL], "ZeroDivisionError"),
        (["--model", "somebodys:narrow", *SMALL], r"does not take images \(2, 3, 16, 16\): RuntimeError"),
        (["--model", "somebodys:features", *SMALL], r"gives \(2, 3, 16, 16\) for 2 images, not logits"),
        (["abc", "--store", "nowhere"], "no store"),
    ],
)
def test_mistakes_are_one_line(words: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as error:
        call(*words, "--out", str(tmp_path))
    assert "\n" not in str(error.value)


def test_a_folder_that_cannot_be_is_found_out_before_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "measure", lambda *given, **more: pytest.fail("it searches first"))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write to .*file"):
        call("--model", "somebodys:dull", *SMALL, "--out", str(tmp_path / "file" / "x"))


def test_the_command_measures_what_says_that_it_is_of_its_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is called; one from outside too, that an installed package brings."""
    mine = registry.load("metric", "lipschitz_agreement")
    other = ModuleType("my_pkg.lipschitz_like")
    vars(other).update(vars(registry.load("metric", "accuracy")))
    load, names = registry.load, registry.names
    found = {"wobble": mine, "lipschitz_like": other}
    monkeypatch.setattr(registry, "names", lambda kind: [*names(kind), *found])
    monkeypatch.setattr(registry, "load", lambda kind, name: found.get(name) or load(kind, name))
    assert "wobble" in measure.metrics()
    assert "lipschitz_like" not in measure.metrics()
