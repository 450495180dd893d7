"""A small store of runs with known answers, written as a training and an evaluation each, as `lcrbench run` leaves them.

Three methods x two seeds on 200 images, one run that diverged, and one method under half the budget. Every outcome
follows from `right`: image i is right in a cell if a fixed shuffle of 0..N-1, one a seed, puts it below a count that is
written down here, so that any number of the report can be worked out apart from it.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from pathlib import Path

import numpy as np

from lcrbench import registry
from lcrbench.bench import stats
from lcrbench.bench.records import source
from lcrbench.bench.records.budget import Budget, Recipe
from lcrbench.bench.records.by_image import ByImage, Effort, ImageKey, Images, Kept
from lcrbench.bench.records.grid import Evaluation as Shown
from lcrbench.bench.records.measurement import Detail, Measurement, Probe
from lcrbench.bench.records.record import Audit, Failure, Ledger, ModelInfo, Provenance, Record, Seconds, Source
from lcrbench.bench.records.spec import CLEAN as CLEAN_CELL
from lcrbench.bench.records.spec import Cell, DataId, MethodId, RunSpec
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError
from lcrbench.models import parse
from lcrbench.reports.comparison import COMMON

from .writing import Files
from .writing import write as write

N = 200
CORRUPTIONS = ("gaussian_noise", "shot_noise", "defocus_blur", "fog", "jpeg_compression", "gaussian_blur")
COMMON_RAN = CORRUPTIONS[:5]
GROUPS = {
    "common": COMMON_RAN,
    "noise": ("gaussian_noise", "shot_noise"),
    "blur": ("defocus_blur",),
    "weather": ("fog",),
    "digital": ("jpeg_compression",),
    "extra": ("gaussian_blur",),
}
# Images right of 200, clean; and how many are lost with each step of severity, by corruption.
CLEAN = {"full_precision": 170, "irnet": 144, "irnet+lcr": 148, "bnn": 130}
LOST = {"gaussian_noise": 16, "shot_noise": 14, "defocus_blur": 8, "fog": 6, "jpeg_compression": 4, "gaussian_blur": 7}
SEVERITIES = (1, 2, 3, 4, 5)
PIXEL = 1 / 255


# Names that a report must survive: markup, mathematics, other scripts, and no place to break a line.
HOSTILE = (
    'x"><script>alert(1)</script>&amp;$_%#|`{\\*',
    "méthode Ω 漢字 🙂 \u202e",
    "w" * 300,
    "\\input{/etc/passwd}^^41",
    "=1+1",
)
CREATED = "2026-01-02T03:04:05Z"
OTHER_CODE = Source(roots=("somebodys_code",), modules={"somebodys_code": "5" * 16})
"""The code of a module that is not there: what depends on it is stale."""


@functools.cache
def present_code() -> Source:
    """Return the code that is there, of which no number is stale."""
    return source.closure(["lcrbench.models.methods.irnet"])


def count(label: str, seed: int, corruption: str = "", severity: int = 0, spread: float = 1.0, shift: int = 0) -> int:
    """Return how many of the 200 images the run gets right in a cell: two fewer with each seed, times `spread`."""
    clean = CLEAN.get(label, 120) - round(2 * seed * spread) + shift
    return clean - LOST.get(corruption, 10) * severity if corruption else clean


def right(
    label: str,
    seed: int,
    corruption: str = "",
    severity: int = 0,
    *,
    n: int = N,
    spread: float = 1.0,
    shift: int = 0,
) -> np.ndarray:
    order = np.random.default_rng([seed, sum(label.encode())]).permutation(n)
    return order < count(label, seed, corruption, severity, spread, shift) * n // N


def measurements(outcomes: dict[Cell, np.ndarray], corruptions: tuple[str, ...], seed: int) -> list[Measurement]:
    found = []
    n = len(outcomes[CLEAN_CELL])
    for cell, bits in outcomes.items():
        i = stats.proportion(int(bits.sum()), n)
        found.append(
            Measurement(
                metric="accuracy",
                value=i.value,
                low=i.low,
                high=i.high,
                n=n,
                interval=i.how,
                corruption=cell.corruption,
                severity=cell.severity,
            )
        )
    sets = {c: (c,) for c in corruptions} | {
        g: tuple(c for c in members if c in corruptions) for g, members in GROUPS.items()
    }
    for name, members in sets.items():
        members = tuple(c for c in corruptions if c in COMMON) if name == "common" else members
        if not members:
            continue
        per_image = np.mean([~outcomes[Cell(c, s)] for c in members for s in SEVERITIES], axis=0)
        i = stats.mean(per_image, "base images")
        found.append(
            Measurement(
                metric="corruption_error",
                value=i.value,
                low=i.low,
                high=i.high,
                n=n,
                interval=i.how,
                corruption=name,
            )
        )
    ece = 0.05 + 0.01 * seed
    found.append(Measurement(metric="calibration_error", value=ece, n=n))
    for statistic, value, low, high in (
        ("debiased", ece - 0.02, ece - 0.04, ece + 0.02),
        ("calibrated", 0.03, 0.02, 0.04),
    ):
        found.append(
            Measurement(
                metric="calibration_error", statistic=statistic, value=value, low=low, high=high, n=n, interval="95 %"
            )
        )
    for metric, value in (("brier_score", 0.3), ("negative_log_likelihood", 0.6)):
        found.append(Measurement(metric=metric, value=value + ece, low=value, high=value + 2 * ece, n=n, interval="t"))
    return found


EFFORTS = (Effort(random=5, steps=5), Effort(random=60, steps=60))
RADII = (4, 16, 64)
LAYERS = 9
IMAGES = 64
# Median kappa at the first radius: the last two are alike, and the order of the first two depends on the effort.
KAPPA = {"full_precision": (0.030, 0.040), "bnn": (0.032, 0.036), "irnet": (0.1, 0.11), "irnet+lcr": (0.1, 0.11)}


def lipschitz(label: str, seed: int, efforts: int) -> tuple[list[Measurement], ByImage]:
    """Return Lipschitz figures by `efforts` searches; those of an image differ between methods by a factor alone."""
    spread = np.random.default_rng(7).lognormal(0, 0.3, IMAGES) * (1 + 0.002 * seed)
    found: list[Measurement] = []
    by_image: ByImage = {}
    images = Images(np.arange(IMAGES), b"")

    def keep(metric: str, how: Effort, radius: float, values: np.ndarray) -> None:
        by_image[ImageKey.at(metric, how, "l2", radius / 255)] = Kept(values.astype(np.float32), images)

    for effort, how in enumerate(EFFORTS[:efforts]):
        for k, radius in enumerate(RADII):
            kappa = KAPPA.get(label, (0.2, 0.2))[effort] * 3**k * spread
            keep("lipschitz_kappa", how, radius, kappa)
            keep("lipschitz_relative_gain", how, radius, 10 * kappa)
            if effort + 1 < efforts:
                continue
            where = {"norm": "l2", "radius": radius * PIXEL}
            found.append(Measurement.of("lipschitz_kappa", stats.quantile(kappa, 0.5), statistic="q50", **where))
            flipped = stats.proportion(int((kappa >= 1).sum()), IMAGES)
            found.append(Measurement.of("lipschitz_kappa", flipped, statistic="flipped", **where))
            gain = stats.quantile(10 * kappa, 0.5)
            found.append(Measurement.of("lipschitz_relative_gain", gain, statistic="q50", **where))
            found.append(Measurement.of("lipschitz_modulus", gain, statistic="q50", **where))
            if k:
                span = Detail(inner_radius=RADII[k - 1] * PIXEL)
                slope = stats.Interval(float(np.log(3) / np.log(4)), 0.7, 0.9, IMAGES, "bootstrap")
                found.append(Measurement.of("lipschitz_slope", slope, detail=span, **where))
    signs = label != "full_precision"
    what = Detail(form="surrogate" if signs else "network")
    found.append(Measurement(metric="lipschitz_product", value=1234.5, n=1, statistic="upper", norm="l2", detail=what))
    for k in range(LAYERS):
        name, norm = f"body.blocks.{k}.conv", 2.0 + k * (1 + 0.1 * seed)
        found.append(
            Measurement(
                metric="lipschitz_norms", value=norm, low=0.99 * norm, n=1, statistic="upper", layer=name, norm="l2"
            )
        )
        if signs:
            # sigma 1 follows the norm, p1 falls with it.
            for proxy, value in (("p1", 50 - norm), ("sigma_1", norm**2)):
                found.append(
                    Measurement(metric="lipschitz_proxy", value=value, n=16, layer=name, detail=Detail(form=proxy))
                )
            found.append(Measurement(metric="lipschitz_layer_gain", value=norm / 2, n=16, layer=name, norm="l2"))
    if signs:
        for probe, proxy, ratio, passed in ((Probe.GAIN, "p1", 1.1, 0.0), (Probe.FLIP, "sigma_1", 1.0, 1.0)):
            about = {"metric": "lipschitz_probes", "n": 16, "detail": Detail(probe=probe, form=proxy)}
            found.append(Measurement(value=ratio, statistic="worst", **about))
            found.append(Measurement(value=passed, statistic="passed", **about))
    return found, by_image


INFOS = {name: registry.load("metric", name).INFO for name in registry.files("metric")}
"""What each metric of ours says of its numbers."""

CLASSIFYING = ("accuracy", "corruption_error", "calibration_error", "brier_score", "negative_log_likelihood")
MEASURED = {name: INFOS[name] for name in CLASSIFYING}


def make(
    label: str,
    seed: int,
    *,
    images: int = 60_000,
    failure: Failure | None = None,
    corruptions: tuple[str, ...] = CORRUPTIONS,
    n: int = N,
    data: str = "fashion-mnist-10k",
    initial: str = "",
    teacher: int = 0,
    created: str = CREATED,
    spread: float = 1.0,
    shift: int = 0,
    classes: int = 10,
    size: int = 32,
    constants: str = "cifar",
    code: Source = OTHER_CODE,
    backbone: str = "vgg_tiny",
    topology: dict[str, object] | None = None,
    train: int = 10_000,
    audited: str = "passed",
    efforts: int = 1,
    part_of: int | None = None,
) -> tuple[Record, Files]:
    method = method_of(label)
    regularizer = "+".join(method.regularizers)
    binary = method.name != "full_precision"
    budget, recipe = Budget(images=images), Recipe()
    spec = RunSpec.flat(
        DataId(
            name=data,
            sha256=hashlib.sha256(repr((data, size, classes, train, n)).encode()).hexdigest(),
            size=size,
            classes=tuple(f"class {i}" for i in range(classes)),
            train=train,
            test=n,
        ),
        backbone,
        method,
        seed,
        budget=budget,
        recipe=recipe,
        evaluation=Shown(corruptions=corruptions),
        metrics={"accuracy": {}, "corruption_error": {}, "lipschitz_kappa": {}},
    )
    if part_of:
        test = spec.protocol.test.model_copy(update={"images": part_of, "chosen": n})
        spec = spec.model_copy(update={"protocol": spec.protocol.model_copy(update={"test": test})})
    provenance = Provenance(
        source=code.sha256,
        lcrbench="0.1.0",
        commit="0123456789abcdef0123456789abcdef01234567",
        dirty=False,
        command="lcrbench run quick",
        versions={"python": "3.11.7", "torch": "2.6.0"},
        device="cpu",
        threads=1,
        deterministic=True,
        corruptions={"constants": constants},
        created=created,
    )
    steps = images // recipe.batch
    log = []
    for k in range(20):
        step = (k + 1) * steps // 20
        loss = 2.3 * 0.85**k + 0.3
        line = {
            "step": step,
            "images": step * 100,
            "lr": 0.05 * (1 - k / 20),
            "loss": loss,
            "cross_entropy": loss * 0.98,
            "accuracy": 1 - loss / 3,
        }
        for name in method.regularizers:
            told = {
                "loss": 0.4 * 0.9**k,
                "ratio.1": 2 - k * 0.05,
                "ratio.2": 0.6 + k * 0.02,
                "sigma_full.1": 3.0 - k / 100,
            }
            line |= {f"{name}.{figure}": value for figure, value in told.items()}
        log.append(json.dumps(line))
    written = ("\n".join(log) + "\n").encode()
    if failure:
        record = Record(run_id=spec.run_id, status="failed", spec=spec, failure=failure, provenance=provenance)
        return record, Files(b"", {}, {})
    outcomes = {CLEAN_CELL: right(label, seed, n=n, spread=spread, shift=shift)} | {
        Cell(c, s): right(label, seed, c, s, n=n, spread=spread, shift=shift) for c in corruptions for s in SEVERITIES
    }
    ledger = Ledger(
        images=images,
        steps=steps,
        unit="images",
        forward={"student": images} | ({"teacher": teacher} if teacher else {}),
        backward={"student": images},
        evaluation_forward={"evaluation": n * (1 + 5 * len(corruptions))},
        data_order_sha256=f"{seed:01x}{images % 7}" * 32,
        augmentation_sha256=f"a{seed:01x}" * 32,
        initial_weights_sha256=initial or f"b{seed:01x}" * 32,
        selection="last",
        seconds={
            "training": Seconds(cpu=60.0 + seed + 5 * bool(regularizer), wall=61.0),
            "evaluation": Seconds(cpu=10.0, wall=10.5),
        },
    )
    model = ModelInfo(
        parameters=100_000,
        binary_weights=90_000 if binary else 0,
        binary_layers=("conv2", "conv3") if binary else (),
        macs=10_000_000,
        binary_macs=9_600_000 if binary else 0,
        weight_bits=1 if binary else 32,
        activation_bits=1 if binary else 32,
        topology=topology or {},
        audit=Audit(passed=audited == "passed", faults=(), images=4, logit_difference=0.0, layers=())
        if binary and audited != "none"
        else None,
    )
    figures, by_image = lipschitz(label, seed, efforts)
    record = Record(
        run_id=spec.run_id,
        status="finished",
        spec=spec,
        model=model,
        ledger=ledger,
        metrics={m.metric: INFOS[m.metric] for m in figures} | MEASURED,
        measurements=(*measurements(outcomes, corruptions, seed), *figures),
        sources=(code,),
        provenance=provenance,
    )
    return record, Files(written, outcomes, by_image)


def method_of(label: str) -> MethodId:
    """Return the method that a label is; one that nobody could type is a name as it stands."""
    try:
        name, *regularizers = parse.read(label)
    except UserError:
        return MethodId(name=label)
    return MethodId(
        name=name.name, options=dict(name.options), regularizers={r.name: dict(r.options) for r in regularizers}
    )


def altered(record: Record, **training: object) -> Record:
    """Return the record of a run whose training is specified otherwise in these fields."""
    spec = record.spec.model_copy(update={"training": record.spec.training.model_copy(update=training)})
    return record.model_copy(update={"spec": spec, "run_id": spec.run_id})


def add(store: Store, label: str, seed: int, **options: object) -> Record:
    record, files = make(label, seed, **options)  # type: ignore[arg-type]
    return write(store, record, files)


def small_store(root: Path) -> Store:
    """Write the store that the golden tests read."""
    store = Store(root, create=True)
    for label in ("full_precision", "irnet", "irnet+lcr"):
        for seed in (0, 1):
            add(store, label, seed)
    add(store, "bnn", 0, failure=Failure(reason="diverged", step=90, message="loss is nan"))
    add(store, "bnn", 0, images=30_000)
    return store


def single_seed_store(root: Path) -> Store:
    store = Store(root, create=True)
    for label in ("full_precision", "bnn", "irnet", "irnet+lcr"):
        add(store, label, 0)
    return store


if __name__ == "__main__":
    small_store(Path(sys.argv[1]))
