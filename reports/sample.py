"""A small comparison in memory, so that a table or a figure can be tried without a store.

Two methods and the reference by two seeds on 200 images under two corruptions, one run that diverged, and figures of a
Lipschitz search. The numbers are drawn from a fixed seed: they mean nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from lcrbench.bench import stats
from lcrbench.bench.records.by_image import ByImage, Effort, ImageKey, Images, Kept
from lcrbench.bench.records.grid import Evaluation
from lcrbench.bench.records.measurement import Kind, Measurement, MetricInfo, Ranking, Scale
from lcrbench.bench.records.record import Audit, Failure, Ledger, ModelInfo, Provenance, Record, Seconds
from lcrbench.bench.records.spec import CLEAN, Cell, DataId, MethodId, RunSpec
from lcrbench.bench.records.store import Searched
from lcrbench.reports import lipschitz
from lcrbench.reports.comparison import Comparison, settings_of
from lcrbench.reports.context import Context
from lcrbench.reports.significance import Outcomes

N, CORRUPTIONS, SEVERITIES = 200, ("fog", "gaussian_noise"), (1, 2, 3, 4, 5)
METHODS = {"full_precision": 0.9, "irnet": 0.75, "irnet+lcr": 0.78}
"""The methods' labels, each with its clean accuracy."""
IDS = {name: MethodId(name=name) for name in ("full_precision", "irnet", "bnn")} | {
    "irnet+lcr": MethodId(name="irnet", regularizers={"lcr": {}})
}
RADII = (2, 8, 32)


def contexts() -> Iterator[tuple[str, Context]]:
    """Yield contexts that a table or a figure must manage, with its name: whole, one seed, one method, none finished."""
    seeds = [_record(label, seed) for label in METHODS for seed in (0, 1)]
    yield "three methods by two seeds", _context([*seeds, _record("bnn", 0, failed=True)])
    yield "three methods by one seed", _context([r for r in seeds if r.spec.seed == 0])
    yield "one method", _context([r for r in seeds if r.spec.label == "irnet"])
    yield "no finished run", _context([_record("bnn", 0, failed=True)])


class _Memory:
    """Stands for the store of these runs."""

    root = "."

    def __init__(self, records: list[Record]) -> None:
        self.records = {r.run_id: r for r in records}

    def outcomes(self, run_id: str) -> dict[Cell, np.ndarray]:
        """Return a run's outcomes by cell, as a store does."""
        draw = np.random.default_rng(int(run_id, 16))
        cells = [CLEAN, *(Cell(c, s) for c in CORRUPTIONS for s in SEVERITIES)]
        return {cell: draw.random(N) < 0.8 - 0.05 * i for i, cell in enumerate(cells)}

    def searches(self, run_id: str) -> list[Searched]:
        """Return what was measured of a run's network, with the figures by image, as a store does."""
        return [Searched(self.records[run_id], partial(self._by_image, run_id))]

    def _by_image(self, run_id: str) -> ByImage:
        draw = np.random.default_rng(int(run_id, 16))
        images = Images(np.arange(64), b"")
        return {
            ImageKey.at("lipschitz_kappa", Effort(random=5, steps=5), "l2", k / 255): Kept(
                (draw.lognormal(0, 0.3, 64) * k / 8).astype(np.float32), images
            )
            for k in RADII
        }

    def log(self, run_id: str) -> pd.DataFrame:
        """Return a run's training log, as a store does."""
        images = np.arange(1, 6) * 1000
        return pd.DataFrame({"images": images, "cross_entropy": 2000 / images, "accuracy": images / 6000})


def _context(records: list[Record]) -> Context:
    [setting] = settings_of(records)
    store: Any = _Memory(records)
    return Context(setting, Comparison((setting,)), store, Outcomes(store), lipschitz.read(setting, store))


INFOS = {
    "accuracy": MetricInfo.about(
        "Share of images right.", "fraction", bound="exact", higher_is_better=True, scale=Scale.SHARE
    ),
    "corruption_error": MetricInfo.about(
        "Mean error.", "fraction", bound="exact", higher_is_better=False, scale=Scale.SHARE
    ),
}
SEARCHED = MetricInfo.about(
    "Margin change.",
    "margins",
    bound="lower",
    higher_is_better=False,
    phase="lipschitz",
    scale=Scale.POSITIVE,
    title="kappa",
    other={"flipped": Kind(unit="fraction of images", bound="lower", scale=Scale.SHARE, title="flip found")},
    open=("q50",),
    searched=True,
    ranking=Ranking(order=0, threshold=1.0),
)


def _record(label: str, seed: int, *, failed: bool = False) -> Record:
    """Return a run; the one place here that depends on the record's schema."""
    method = IDS[label]
    binary = method.name != "full_precision"
    spec = RunSpec.flat(
        DataId(name="sample", sha256="0" * 64, size=32, classes=("a", "b"), train=1000, test=N),
        "sample_net",
        method,
        seed,
        evaluation=Evaluation(corruptions=CORRUPTIONS, severities=SEVERITIES),
    )
    provenance = Provenance(
        lcrbench="0",
        source="0" * 64,
        commit=None,
        dirty=None,
        command="lcrbench run",
        versions={"torch": "2", "machine": "sample"},
        device="cpu",
        threads=1,
        deterministic=True,
        corruptions={},
        created="2000-01-01T00:00:00Z",
    )
    if failed:
        failure = Failure(reason="diverged", step=9, message="loss is nan")
        return Record(run_id=spec.run_id, status="failed", spec=spec, failure=failure, provenance=provenance)
    given: dict[str, Any] = dict.fromkeys(
        ("data_order_sha256", "augmentation_sha256", "initial_weights_sha256"), "0" * 64
    )
    passes = {"student": 60_000.0}
    return Record(
        run_id=spec.run_id,
        status="finished",
        spec=spec,
        provenance=provenance,
        metrics=INFOS | {"lipschitz_kappa": SEARCHED},
        measurements=tuple(_measurements(METHODS[label] - 0.01 * seed)),
        ledger=Ledger(
            images=60_000,
            steps=600,
            unit="images",
            forward=passes,
            backward=passes,
            selection="last",
            seconds={"training": Seconds(cpu=60.0, wall=60.0)},
            **given,
        ),
        model=ModelInfo(
            parameters=100_000,
            binary_weights=90_000 * binary,
            binary_layers=("conv",) * binary,
            macs=10_000_000,
            binary_macs=9_000_000 * binary,
            weight_bits=1 if binary else 32,
            activation_bits=1 if binary else 32,
            audit=Audit(passed=True, faults=(), images=4, logit_difference=0.0, layers=()) if binary else None,
        ),
    )


def _measurements(clean: float) -> Iterator[Measurement]:
    def share(value: float) -> stats.Interval:
        return stats.proportion(round(value * N), N)

    yield Measurement.of("accuracy", share(clean))
    errors = {c: [1 - clean + 0.03 * (1 + i) * s for s in SEVERITIES] for i, c in enumerate(CORRUPTIONS)}
    for corruption, by_severity in errors.items():
        for severity, error in zip(SEVERITIES, by_severity, strict=True):
            yield Measurement.of("accuracy", share(1 - error), corruption=corruption, severity=severity)
        yield Measurement.of("corruption_error", share(float(np.mean(by_severity))), corruption=corruption)
    yield Measurement.of("corruption_error", share(float(np.mean(list(errors.values())))), corruption="common")
    for radius in RADII:
        where = {"norm": "l2", "radius": radius / 255}
        yield Measurement(metric="lipschitz_kappa", value=radius / 8, n=64, statistic="q50", **where)
        yield Measurement(metric="lipschitz_kappa", value=min(1.0, radius / 40), n=64, statistic="flipped", **where)
