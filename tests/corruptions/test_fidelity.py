"""Our corruptions against outputs of the official scripts at 32, 64 and 224 pixels."""

from __future__ import annotations

import fidelity
import pytest

from lcrbench.corruptions import corrupt


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
