"""Records of both engines: the same numbers, predictions and ids; the provenance alone says what computed them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import lcrbench
from lcrbench.bench import cli
from lcrbench.errors import UserError
from lcrbench.models.packed import engine

FIXTURE = Path(__file__).resolve().parents[1] / "fixtures" / "store-schema-3"
RUN, REAL = "5736112f71f41419", "784405fc559c3e89"


def evaluated(root: Path, run: str, choice: Any) -> Any:
    store = root / choice
    shutil.copytree(FIXTURE / run, store / run)
    return lcrbench.evaluate(
        run, store=store, corruptions="fog", severities=[1], metrics="accuracy calibration_error", test=30, engine=choice,
        stale="keep",
    )  # fmt: skip


def test_the_engine_changes_no_number(tmp_path: Path) -> None:
    found = {choice: evaluated(tmp_path, RUN, choice) for choice in ("torch", "packed", "auto")}
    by_torch = found["torch"]
    for choice, one in found.items():
        assert one.protocol == by_torch.protocol
        assert one.evaluation.subject == by_torch.evaluation.subject
        assert one.table().equals(by_torch.table())
        assert one.evaluation.sources == by_torch.evaluation.sources
        np.testing.assert_array_equal(one.known.predictions.classes, by_torch.known.predictions.classes)
        np.testing.assert_array_equal(one.known.predictions.logits, by_torch.known.predictions.logits)
        name = one.evaluation.batches[-1].provenance.engine
        assert name == ("torch: asked for" if choice == "torch" else f"packed {engine.version()}")


def test_a_real_network_is_left_to_torch_with_the_reason(tmp_path: Path) -> None:
    found = evaluated(tmp_path, REAL, "auto")
    assert found.evaluation.batches[-1].provenance.engine.startswith("torch: the convolution Conv2d is not binary")
    with pytest.raises(UserError, match="--engine auto"):
        evaluated(tmp_path, REAL, "packed")


@pytest.mark.parametrize("words", [["evaluate", "ab"], ["lipschitz", "ab"], ["run", "quick"]], ids=str)
def test_each_command_has_the_option(words: list[str]) -> None:
    done = CliRunner().invoke(cli.app, [*words, "--engine", "other"])
    assert done.exit_code == 2
    assert "auto" in done.output
    assert "packed" in done.output
