"""Our corruptions against outputs of the official scripts at 32, 64 and 224 pixels."""

from __future__ import annotations

import fidelity
import numpy as np
import pytest
from scipy import stats

from lcrbench.corruptions import corrupt, parameters


@pytest.mark.parametrize("variant", fidelity.VARIANTS)
@pytest.mark.parametrize("name", fidelity.SHARE_OFF)
def test_without_randomness_equals_the_official_script(name: str, variant: str) -> None:
    off = [fidelity.deviation(corrupt, variant, name, severity) for severity in range(1, 6)]
    assert all(o.within(name) for o in off), off


def test_noises_follow_the_official_law() -> None:
    p_values = {
        f"{variant} {name} {severity} level {k}": p
        for variant in fidelity.VARIANTS
        for name in fidelity.NOISES
        for severity in range(1, 6)
        for k, p in enumerate(fidelity.noise_p_values(corrupt, variant, name, severity))
    }
    assert not fidelity.rejected(p_values)


def test_drawn_corruptions_follow_the_official_law() -> None:
    p_values = {
        f"{variant} {name} {severity} {what}": p
        for variant in fidelity.VARIANTS
        for name in fidelity.DRAWN
        for severity in range(1, 6)
        for what, p in fidelity.law_p_values(corrupt, variant, name, severity).items()
    }
    assert not fidelity.rejected(p_values)


@pytest.mark.parametrize("severity", [1, 5])
def test_fog_is_as_rough_as_the_official_one(severity: int) -> None:
    # The golden distances do not see how fine the fog is. The fork of imagecorruptions has the official fractal, in float32.
    oracle = pytest.importorskip("imagecorruptions.corruptions")
    gray = np.full((200, 32, 32), 128, np.uint8)
    strength, decay = parameters("fog", severity, "cifar").values()
    np.random.seed(0)  # noqa: NPY002
    maps = np.stack([oracle.plasma_fractal(32, decay) for _ in range(200)])
    wanted = (128 + 255 * strength * maps) * 128 / (128 + 255 * strength)
    found = corrupt(gray, "fog", severity, constants="cifar")
    rough = [np.abs(np.diff(np.trunc(fog).astype(float), axis=2)).mean((1, 2)) for fog in (wanted, found)]
    assert stats.ks_2samp(*rough).pvalue > 0.001
