"""Writes expected.json: what the report must say about the runs in store/, by statsmodels from the raw outcomes alone.

    python -m pip install statsmodels && python tests/reports/golden/make_expected.py

Nothing here imports lcrbench, so that the two share no code. The store was written once, by `make_store.add` with the
corruptions gaussian_noise and fog, and is committed: records that earlier versions wrote must stay readable.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

HERE = Path(__file__).parent
CELLS = [f"{name}/{severity}" for name in ("gaussian_noise", "fog") for severity in range(1, 6)]


def interval(values: object) -> list[float]:
    """Return mean and Student's 95 % interval of independent values."""
    d = DescrStatsW(values)
    return [float(d.mean), *map(float, d.tconfint_mean(0.05))]


def wilson(right: np.ndarray) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share of images."""
    return proportion_confint(int(right.sum()), len(right), method="wilson")


def main() -> None:
    bits: dict[str, dict[int, dict[str, np.ndarray]]] = {}
    for path in sorted(HERE.glob("store/*/record.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["status"] != "finished":
            continue
        with np.load(path.with_name("outcomes.npz")) as packed:
            n = int(packed["n"])
            right = {k: np.unpackbits(packed[k], count=n) for k in packed.files if k != "n"}
        bits.setdefault(record["spec"]["label"], {})[record["spec"]["seed"]] = right

    expected: dict[str, dict[str, object]] = {"methods": {}, "differences": {}}
    seeds: dict[str, dict[str, list[float]]] = {}
    for label, runs in bits.items():
        clean = [float(r["clean"].mean()) for r in runs.values()]
        common = [float(np.mean([r[c].mean() for c in CELLS])) for r in runs.values()]
        seeds[label] = {"clean": clean, "common": common}
        fog = [float(np.mean([1 - r[c].mean() for c in CELLS if c.startswith("fog")])) for r in runs.values()]
        expected["methods"][label] = {
            "clean": interval(clean),
            "error": interval([1 - c for c in common]),
            "fog": interval(fog),
            "drop": interval([a - b for a, b in zip(clean, common, strict=True)]),
            "first seed": [float(runs[0]["clean"].mean()), *map(float, wilson(runs[0]["clean"]))],
        }
    for endpoint in ("common", "clean"):
        found: dict[str, dict[str, object]] = {}
        for label in ("irnet", "irnet+lcr"):
            x, y = DescrStatsW(seeds[label][endpoint]), DescrStatsW(seeds["full_precision"][endpoint])
            welch = CompareMeans(x, y)
            per_image = [
                np.mean([r[c] for r in runs.values() for c in (CELLS if endpoint == "common" else ["clean"])], axis=0)
                for runs in (bits[label], bits["full_precision"])
            ]
            found[label] = {
                "seeds": [float(x.mean - y.mean), *map(float, welch.tconfint_diff(0.05, usevar="unequal"))],
                "p": float(welch.ttest_ind(usevar="unequal")[1]),
                "images": interval(per_image[0] - per_image[1]),
            }
        corrected = multipletests([d["p"] for d in found.values()], method="holm")[1]
        for d, p in zip(found.values(), corrected, strict=True):
            d["holm"] = float(p)
        expected["differences"][endpoint] = found
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
