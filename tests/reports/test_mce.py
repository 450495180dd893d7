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
from lcrbench.reports.words import findings

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
    # A name says nothing: what counts is whose files were shown.
    for name, benchmark, published in (
        ("imagenet", "", None),
        ("imagenet-c", "ImageNet-C", False),
        ("cifar10-c", "CIFAR-10-C", True),
        ("the published one", "ImageNet-C", True),
    ):
        record, files = make_store.make("irnet", 0, data=name, classes=1000, size=224, corruptions=comparison.COMMON)
        test = record.spec.protocol.test.model_copy(
            update={"benchmark": benchmark, "published": published, "benchmark_sha256": benchmark and name}
        )
        spec = record.spec.model_copy(update={"protocol": record.spec.protocol.model_copy(update={"test": test})})
        make_store.write(large, record.model_copy(update={"spec": spec, "run_id": spec.run_id}), files)
    settings = comparison.read(large).settings
    assert {s.any.spec.data.name: mce.defined(s) for s in settings} == {
        "imagenet": False,
        "imagenet-c": False,
        "cifar10-c": False,
        "the published one": True,
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


def test_without_clean_images_there_is_no_relative_mce() -> None:
    class Row:
        runs = ("one", "two")

        def per_seed(self, key: comparison.Key) -> list[float]:
            return [] if key == comparison.CLEAN else [0.5, 0.25]

    plain, relative = mce.of_row(Row())  # type: ignore[arg-type]
    _, alexnet = mce.alexnet()
    wanted = [sum(1 / (sum(alexnet[c]) / 5) for c in comparison.COMMON) / 15 * error * 100 for error in (0.5, 0.75)]
    assert plain is not None
    assert plain.value == pytest.approx(np.mean(wanted))
    assert relative is None


@pytest.mark.parametrize("clean", [True, False])
def test_the_summary_says_which_images_were_shown(tmp_path: Path, clean: bool) -> None:
    record, files = make_store.make("irnet", 0, data="mirror", corruptions=("fog",))
    test = record.spec.protocol.test.model_copy(
        update={"name": "cifar10-c", "benchmark": "CIFAR-10-C", "benchmark_sha256": "1" * 64, "clean": clean}
    )
    spec = record.spec.model_copy(update={"protocol": record.spec.protocol.model_copy(update={"test": test})})
    store = Store(tmp_path / "store", create=True)
    make_store.write(store, record.model_copy(update={"spec": spec, "run_id": spec.run_id}), files)
    said = findings.setting_summary(comparison.read(store).settings[0])
    assert "trained on mirror (" in said
    assert ("images, clean and under" in said) == clean
    assert ("Their clean images are not the test images of mirror" in said) != clean
