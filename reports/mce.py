"""The mean corruption error (mCE) of Hendrycks & Dietterich (2019), with its normalizer named.

    CE_c = sum_s E(c, s) / sum_s E_ref(c, s),        mCE = mean of CE_c over the 15 common corruptions,
    relative CE_c = sum_s (E(c, s) - E(clean)) / sum_s (E_ref(c, s) - E_ref(clean)),

in percent, E the top-1 error and s the severities 1 to 5. The published normalizer is AlexNet on ImageNet-C's own files
(JPEGs of quality 85 at 224 px). On any other images, those of ImageNet that were corrupted here among them, it is not
defined, and the unnormalized mean error is reported instead.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

import numpy as np

from lcrbench.bench import stats
from lcrbench.bench.stats import Interval
from lcrbench.reports.comparison import CLEAN, COMMON, Key, Row, Setting

Errors = Mapping[str, Sequence[float]]


@cache
def alexnet() -> tuple[float, dict[str, list[float]]]:
    """Return AlexNet's published clean error and its errors on ImageNet-C by corruption and severity."""
    text = (files("lcrbench.reports") / "alexnet_imagenet_c.json").read_text(encoding="utf-8")
    data = json.loads(text)
    return float(data["clean"]), {name: [float(e) for e in errors] for name, errors in data["errors"].items()}


def mce(errors: Errors, normalizer: Errors) -> float:
    """Return the mCE in percent from errors by corruption and severity, keyed by name; other corruptions are ignored."""
    return 100 * float(np.mean([sum(errors[c]) / sum(normalizer[c]) for c in COMMON]))


def relative_mce(errors: Errors, clean: float, normalizer: Errors, normalizer_clean: float) -> float:
    """Return the relative mCE in percent: how much is lost to corruption beyond the clean error."""
    ratios = [(np.mean(errors[c]) - clean) / (np.mean(normalizer[c]) - normalizer_clean) for c in COMMON]
    return 100 * float(np.mean(ratios))


def defined(setting: Setting) -> bool:
    """Tell whether AlexNet's errors may normalize a setting: the published files of ImageNet-C, all of them.

    Images that were corrupted here are others, whatever the data are called.
    """
    spec = setting.any.spec
    test = spec.protocol.test
    own = test.benchmark == "ImageNet-C" and test.published is True
    return own and set(COMMON) <= set(spec.evaluation.corruptions) and setting.severities == (1, 2, 3, 4, 5)


def of_row(row: Row) -> tuple[Interval | None, Interval | None]:
    """Return a row's mCE and relative mCE by AlexNet's errors, over its seeds; no interval with one seed.

    None stands for what cannot be computed: the relative one without clean images.
    """
    reference_clean, reference = alexnet()
    plain, relative = [], []
    for i in range(len(row.runs)):
        cells = {(c, s): row.per_seed(Key("accuracy", corruption=c, severity=s)) for c in COMMON for s in range(1, 6)}
        clean = row.per_seed(CLEAN)
        if any(len(v) != len(row.runs) for v in cells.values()):
            return None, None
        errors = {c: [1 - cells[c, s][i] for s in range(1, 6)] for c in COMMON}
        plain.append(mce(errors, reference))
        if len(clean) == len(row.runs):  # else the files were shown to a network whose own test images are others
            relative.append(relative_mce(errors, 1 - clean[i], reference, reference_clean))
    return stats.mean(plain, "seeds"), stats.mean(relative, "seeds") if relative else None
