"""C-bar's generators against outputs of the official script: pixel by pixel at its parameters, and in law.

bar.npz, see the NOTICE beside it, holds what the script drew and gave. `render` is fed what it drew; what `into` draws
itself is compared by the distance to the input, image by image, over independent draws.
"""

from __future__ import annotations

import importlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fidelity import rejected
from numpy.typing import NDArray
from scipy import stats

from lcrbench.corruption_names import BAR, SUITES
from lcrbench.corruptions import (
    constants_for,
    corrupt,
    elementary,
    expand,
    group_of,
    names,
    parameters,
    provenance,
    spectrum,
)
from lcrbench.corruptions.kernel import kernel
from lcrbench.errors import UserError

# The largest share of values that may be one gray level off. A magnification by 1 gives halves, which rounding settles.
SHARE_OFF = {"transverse_chromatic_abberation": 0.01}
OTHERS = 0.001


@lru_cache(maxsize=1)
def golden() -> dict[str, NDArray[Any]]:
    with np.load(Path(__file__).with_name("bar.npz")) as loaded:
        return {key: loaded[key] for key in loaded.files}


def rendered(name: str, severity: int) -> NDArray[np.uint8]:
    """Return what our kernel draws of what the script drew."""
    data = golden()
    x = data["input"].copy()
    out = np.zeros_like(x)
    module = importlib.import_module(f"lcrbench.corruptions.functions.{name}")
    given = [data[f"{name}/{severity}/{k}"] for k in range(20) if f"{name}/{severity}/{k}" in data]
    arguments = [a.item() if a.ndim == 0 else a for a in given]
    level = parameters(name, severity, constants_for(32, 32, name))["level"]
    if name in ("brownish_noise", "blue_noise_sample"):
        for c, half in enumerate(given[0]):
            phase = np.concatenate([half, half[::-1, ::-1]], axis=1)
            if name == "brownish_noise":
                module.add(x, out, spectrum.field(module.amplitude(32), phase), c, 6.4 * level)
            else:
                module.keep(x, out, spectrum.field(spectrum.distances(32), phase), 0.3 * level - 2.5)
    elif name == "transverse_chromatic_abberation":
        for c, scale in enumerate(given[0]):
            module.render(x, out, c, *module.axis(32, scale), *module.axis(32, scale))
    else:
        module.render(x, out, *arguments)
    return out


@pytest.mark.parametrize("severity", [1, 5])
@pytest.mark.parametrize("name", BAR)
def test_the_pixels_are_those_of_the_script(name: str, severity: int) -> None:
    off = np.abs(rendered(name, severity).astype(int) - golden()[f"{name}/{severity}/out"])
    assert off.max() <= 1
    assert (off > 0).mean() <= SHARE_OFF.get(name, OTHERS)


def test_the_draws_follow_the_scripts_law() -> None:
    """The mean distance and the mean difference to the input, over draws that the script made independently."""
    data = golden()
    images = data["law_inputs"]
    found = {}
    for name in BAR:
        for row, severity in enumerate((1, 5)):
            turns = data[f"rmse/{name}"].shape[1] // len(images)
            clean, places = images.astype(float), np.arange(len(images))
            drawn = [corrupt(images, name, severity, indices=places + 1000 * k, stream="law") for k in range(turns)]
            ours = np.stack(drawn) - clean
            for what, values in {"rmse": np.sqrt((ours**2).mean((2, 3, 4))), "bias": ours.mean((2, 3, 4))}.items():
                wanted = data[f"{what}/{name}"][row].astype(float)
                if values.std(0).max() < 1e-9:  # it draws nothing
                    assert np.abs(values.ravel() - wanted).max() < 0.01
                    continue
                found[f"{name} {severity} {what}"] = float(stats.ks_2samp(values.ravel(), wanted).pvalue)
                gap = values.mean(0) - wanted.reshape(turns, -1).mean(0)
                spread = values.var(0, ddof=1) + wanted.reshape(turns, -1).var(0, ddof=1)
                z = gap.sum() / np.sqrt(spread.sum() / turns)
                found[f"{name} {severity} {what} mean"] = float(2 * stats.norm.sf(abs(z)))
    assert len(found) == 14 * 2 * 2 * 2
    assert rejected(found) == {}


def test_a_wrong_law_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail: a level that is a tenth too high is told from the script's."""
    data = golden()
    images = data["law_inputs"]
    found = {}
    for name in ("brownish_noise", "ripple", "lines"):
        module = importlib.import_module(f"lcrbench.corruptions.functions.{name}")
        level = parameters(name, 5, "cifar")["level"] * 1.1
        given = module.into
        monkeypatch.setattr(
            module, "into", lambda x, out, draws, _, given=given, level=level: given(x, out, draws, level)
        )
        off = corrupt(images, name, 5).astype(float) - images
        rmse = np.sqrt((off**2).mean((1, 2, 3)))
        found[name] = float(stats.ks_2samp(rmse, data[f"rmse/{name}"][1]).pvalue)
    assert any(p < 0.01 for p in found.values())


def test_the_names_are_those_of_the_two_benchmarks() -> None:
    assert {name: len(members) for name, members in SUITES.items()} == {"cifar10-c-bar": 10, "imagenet-c-bar": 10}
    assert set().union(*SUITES.values()) == set(BAR) == set(names("bar"))
    assert expand(["bar"]) == BAR
    assert expand(["imagenet-c-bar", "fog"])[-1] == "fog"
    assert {group_of(name) for name in BAR} == {"bar"}
    # The fifteen, the nineteen and what an mCE averages are as before.
    assert not set(BAR) & {*names("all"), *names("common"), *names("extra")}


def test_the_severities_are_those_of_the_nearest_benchmark() -> None:
    assert [parameters("sparkles", s, "cifar")["level"] for s in range(1, 6)] == [0.7, 3.5, 5.6, 6.3, 7.0]
    assert parameters("sparkles", 5, "imagenet") == {"level": 6.0}
    assert constants_for(32, 32, "perlin_noise") == "imagenet"
    assert constants_for(64, 64, "sparkles") == "cifar"
    assert constants_for(224, 224, "ripple") == "cifar"
    assert constants_for(64, 64, "fog") == "tiny"
    with pytest.raises(UserError, match=r"'ripple' in the constants 'imagenet': name cifar, or none") as caught:
        corrupt(golden()["law_inputs"], "ripple", 1, constants="imagenet")
    assert "\n" not in str(caught.value)
    record = provenance(32, 32, names=["fog", "ripple", "perlin_noise"])
    assert record["bar"]["constants"] == {"ripple": "cifar", "perlin_noise": "imagenet"}
    assert "bar" not in provenance(32, 32, names=["fog"])
    json.dumps(record)


@kernel
def _elementary(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    out = np.empty((4, len(x)))
    for i in range(len(x)):
        out[0, i] = elementary.sine(x[i])
        out[1, i] = elementary.cosine(x[i])
        out[2, i] = elementary.angle(y[i], x[i])
        out[3, i] = elementary.power(abs(x[i]), 1.4)
    return out


def test_the_elementary_functions() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate(
        [rng.normal(0, 1000, 20000), rng.normal(0, 1, 20000), np.arange(-20, 21) * np.pi / 4, [0.0, -0.0]]
    )
    y = np.concatenate([rng.normal(0, 1000, 20000), rng.normal(0, 1e-3, 20000), np.arange(41) - 20.0, [0.0, 1.0]])
    found = _elementary(x, y)
    for row, wanted in enumerate((np.sin(x), np.cos(x), np.arctan2(y, x))):
        assert np.abs(found[row] - wanted).max() < 2e-15 * (1, 1, 4)[row], row
    assert np.abs(found[3] / np.maximum(np.abs(x) ** 1.4, 1e-300) - 1)[x != 0].max() < 1e-13


@pytest.mark.parametrize("side", [8, 9, 28, 31, 32])
def test_a_field_is_the_real_part_of_an_inverse_transform(side: int) -> None:
    rng = np.random.default_rng(side)
    amplitude, phase = rng.random((side, side)), rng.random((side, side)) * 2 * np.pi
    spectral = np.roll(amplitude * np.exp(1j * phase), (side // 2, side // 2), (0, 1))
    wanted = np.fft.ifft2(spectral).real
    assert np.abs(spectrum.field(amplitude, phase) - wanted / wanted.std()).max() < 1e-12
