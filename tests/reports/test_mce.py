"""mCE against RobustBench's published rows, and only where it is defined."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lcrbench.bench.records.store import Store
from lcrbench.reports import comparison, mce, writers
from lcrbench.reports.context import Context
from lcrbench.reports.tables import main

from . import make_store

PUBLISHED = json.loads((Path(__file__).parent / "robustbench_imagenet_c.json").read_text(encoding="utf-8"))


def test_robustbenchs_resnet50_row() -> None:
    accuracy = PUBLISHED["Standard_R50"]
    errors = {c: [1 - a for a in accuracy[c]] for c in comparison.COMMON}
    alexnet = {c: [1 - a for a in PUBLISHED["AlexNet"][c]] for c in comparison.COMMON}
    assert mce.mce(errors, alexnet) == pytest.approx(76.38, abs=0.01)
    assert np.mean([accuracy[c] for c in comparison.COMMON]) * 100 == pytest.approx(39.48, abs=0.01)
    assert mce.mce(alexnet, alexnet) == pytest.approx(100)


def test_the_bundled_normalizer_is_hendrycks() -> None:
    clean, errors = mce.alexnet()
    assert clean == pytest.approx(0.43478)
    # The normalizer as it is written in other evaluation code, to one decimal.
    printed = [88.6, 89.4, 92.3, 82.0, 82.6, 78.6, 79.8, 86.7, 82.7, 81.9, 56.5, 85.3, 64.6, 71.8, 60.7]
    means = [100 * float(np.mean(errors[c])) for c in comparison.COMMON]
    assert means == pytest.approx(printed, abs=0.06)
    assert set(comparison.GROUPS["extra"]) <= set(errors)


def test_relative_mce_by_hand() -> None:
    errors = {c: [0.5, 0.6, 0.7, 0.8, 0.9] for c in comparison.COMMON}
    normalizer = {c: [0.7] * 5 for c in comparison.COMMON}
    assert mce.relative_mce(errors, 0.3, normalizer, 0.5) == pytest.approx(200)
    assert mce.mce(errors, normalizer) == pytest.approx(100)


def test_it_is_defined_on_imagenet_c_alone(tmp_path: Path, store: Store) -> None:
    assert not mce.defined(comparison.read(store).settings[0])
    text = writers.markdown(main.table(Context(comparison.read(store).settings[0])))
    assert "mCE" not in text
    large = Store(tmp_path / "large", create=True)
    for data, classes, size, images in (
        ("ILSVRC2012", 1000, 224, 50_000),
        ("tiny-imagenet", 200, 64, 10_000),
        ("imagenet-100", 100, 224, 5_000),
        ("imagenetv2", 1000, 224, 10_000),
    ):
        facts = {"classes": classes, "size": size, "part_of": images}
        make_store.add(large, "irnet", 0, data=data, corruptions=comparison.COMMON, **facts)
    settings = comparison.read(large).settings
    # By classes and images, since a folder may have any name.
    assert {s.any.spec.data.name: mce.defined(s) for s in settings} == {
        "ILSVRC2012": True,
        "tiny-imagenet": False,
        "imagenet-100": False,
        "imagenetv2": False,
    }
    setting = next(s for s in settings if mce.defined(s))
    table = main.table(Context(setting))
    column = [c.title for c in table.columns].index("mCE")
    _, alexnet = mce.alexnet()
    ratios = []
    for c in comparison.COMMON:
        ours = [1 - make_store.count("irnet", 0, c, s) / make_store.N for s in make_store.SEVERITIES]
        ratios.append(sum(ours) / sum(alexnet[c]))
    assert table.rows[0].cells[column].value == pytest.approx(100 * sum(ratios) / 15)
    assert any("AlexNet" in note for note in table.notes)
