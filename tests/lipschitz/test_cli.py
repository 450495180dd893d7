"""The command: it measures a stored run and a module from elsewhere, resumes, compares, and refuses in one line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from torch import nn

from lcrbench.bench import env, runner
from lcrbench.bench.cli_lipschitz import lipschitz
from lcrbench.bench.lipschitz import report, search, subjects
from lcrbench.bench.spec import make_grid
from lcrbench.bench.store import Store
from lcrbench.errors import UserError

from .nets import Linear, built, grey, subject

SMALL = ["--preset", "quick", "--l2", "8 64", "--images", "10", "--data", "fashion-mnist-10k", "--size", "16"]


def dull() -> nn.Module:
    return built("irnet", "vgg_tiny", 16)


def sharp() -> nn.Module:
    return built("bnn", "vgg_tiny", 16, seed=1)


def call(*words: str) -> Any:
    return CliRunner().invoke(lipschitz, list(words), catch_exceptions=False)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "somebodys", sys.modules[__name__])


def test_two_models_are_measured_compared_and_resumed(tmp_path: Path) -> None:
    words = ["--model", "somebodys:dull", "--model", "somebodys:sharp", *SMALL, "--out", str(tmp_path)]
    first = call(*words)
    assert first.exit_code == 0, first.output
    assert "separated" in first.output or "below that of" in first.output
    assert "lower bounds" in first.output
    rows = pd.read_csv(tmp_path / "lipschitz.csv")
    assert set(rows["network"]) == {"somebodys:dull", "somebodys:sharp"}
    assert set(rows["radius_255"]) == {8, 64}
    assert (tmp_path / "lipschitz.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "lipschitz.svg").read_text()
    again = call(*words)
    assert "found:" not in again.stderr
    assert again.stdout == first.stdout
    stored = sorted(tmp_path.glob("search/*/*.npz"))
    assert len(stored) == 4
    stored[0].write_bytes(stored[0].read_bytes()[:100])
    assert call(*words).stdout == first.stdout


@pytest.mark.slow
def test_a_stored_run_is_rebuilt_to_the_same_logits(tmp_path: Path) -> None:
    grid = make_grid(
        {
            "data": {"source": "fashion-mnist-10k", "size": 16, "train": 200, "test": 100},
            "methods": ["irnet"],
            "budget": {"images": 400, "batch": 50},
            "evaluation": {"corruptions": ["gaussian_noise"], "severities": [1]},
            "metrics": {"accuracy": {}, "lipschitz_kappa": {"l2": [8.0], "images": 20}},
        }
    )
    (run,) = runner.run(grid, tmp_path, workers=1, device="cpu", command="test", quiet=True)
    assert env
    name, rebuilt = subjects.of_run(str(tmp_path), run[:6])
    right = rebuilt.logits(rebuilt.test.images).argmax(1) == rebuilt.test.labels
    assert np.array_equal(right, Store(tmp_path).outcomes(run)["clean"])
    kappa = search.modulus(rebuilt, search.Options(l2=(8.0,), images=20)).found[0].kappa
    stored = [m for m in Store(tmp_path).record(run).measurements if m.metric == "lipschitz_kappa"]
    assert np.median(kappa) == next(m.value for m in stored if m.statistic == "q50")
    done = call(run[:6], "--store", str(tmp_path), "--preset", "quick", "--l2", "8", "--images", "20", "--quiet")
    assert name in done.output


def test_orders_that_disagree_are_not_separated() -> None:
    rng = np.random.default_rng(0)
    s = subject(Linear(rng.standard_normal((3, 48))), grey(40))
    options = search.Options(l2=(8,), images=40)
    result = search.modulus(s, options)

    def scaled(name: str, effort: int, factor: float) -> report.Measured:
        import dataclasses

        found = dataclasses.replace(result.found[0], kappa=result.found[0].kappa * factor)
        return report.Measured(
            name,
            dataclasses.replace(options, steps=effort),
            search.Modulus(result.start, (found,), result.spread),
        )

    clear = report.verdicts([scaled("a", 5, 1), scaled("a", 9, 1), scaled("b", 5, 2), scaled("b", 9, 2)])
    assert "kappa of a is below that of b" in clear[0]
    turned = report.verdicts([scaled("a", 5, 2), scaled("a", 9, 1), scaled("b", 5, 1), scaled("b", 9, 2)])
    assert "not separated (a quick and a longer search disagree" in turned[0]
    alike = report.verdicts([scaled("a", 5, 1), scaled("b", 5, 1)])
    assert "not separated (the interval" in alike[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name a run"),
        (["--model", "somebodys"], "MODULE:FUNCTION"),
        (["--model", "nowhere:f"], "nowhere"),
        (["--model", "somebodys:nothing"], "nothing"),
        (["--model", "somebodys:dull", "--preset", "qick"], "did you mean 'quick'"),
        (["--model", "somebodys:dull", "--l2", "0"], "positive"),
        (["--model", "somebodys:dull", "--l2", "a"], "numbers"),
        (["abc", "--store", "nowhere"], "no store"),
    ],
)
def test_mistakes_are_one_line(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        call(*words)
    assert "\n" not in str(error.value)
