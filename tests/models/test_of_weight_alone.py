"""What the conformance suite finds of a binarizer that says falsely that it depends on the weight alone."""

from __future__ import annotations

import pytest

from lcrbench.testing import conform
from tests.models.test_conformance import CONV, METHOD, SIGN, outside

BINARIZER = """

class Mine(bnn.Binarizer):
    of_weight_alone = {said}

    def __init__(self):
        super().__init__()
        self.calls, self.own, self.seen = 0, torch.Generator().manual_seed(0), torch.zeros(())
        self.register_buffer('mean', torch.zeros(()))

    def forward(self, weight):
        bits, scale = super().forward(weight)
        {change}
        return bits, scale
"""
SEEING = "layer.register_forward_pre_hook(lambda m, x: setattr(m.binarizer, 'seen', x[0].detach().mean()))"
LEARNT = "bits = bits + (weight - weight.detach()) * "
"""A change of the gradient alone."""

DRAWS = "but its forward pass draws random numbers: leave the declaration out"
SHARED = "but where slices of a batch share what it makes, other gradients reach body."


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("bits = bits * torch.where(torch.rand_like(bits) < 0.1, -1.0, 1.0)", DRAWS),
        ("torch.rand(())", DRAWS),
        ("import random; random.random()", DRAWS),
        ("import numpy; numpy.random.rand()", DRAWS),
        ("self.calls += 1", "changes body.blocks.0.0.binarizer.calls"),
        ("self.mean.mul_(0.9).add_(weight.detach().mean())", "changes body.blocks.0.0.binarizer.mean"),
        ("weight.data.clamp_(-0.01, 0.01)", "changes body.blocks.0.0.weight"),
        ("torch.rand((), generator=self.own)", "changes body.blocks.0.0.binarizer.own"),
        (LEARNT + "self.seen", SHARED),
        ("bits = bits * self.seen.sign()", SHARED),
    ],
)
def test_what_is_falsely_said_to_depend_on_the_weight_alone(tmp_path, monkeypatch, change: str, says: str) -> None:
    """Some would be found by nothing else: the slices of a batch would be trained by what the first of them made."""
    made = f"layer.binarizer = Mine(); {SEEING}"
    text = METHOD.format(sign=SIGN, conv=CONV, made=made, method="")
    found = conform("method", outside(tmp_path, monkeypatch, text + BINARIZER.format(said=True, change=change)))
    (line,) = [f for f in found if "'of_weight_alone' is declared by Mine, " in f]
    assert says in line, line
    honest = outside(tmp_path, monkeypatch, text + BINARIZER.format(said=False, change=change))
    assert not [f for f in conform("method", honest) if "of_weight_alone" in f]


@pytest.mark.parametrize(
    "change", ["pass", LEARNT + "weight.detach().abs().mean()", "scale = weight.abs().mean((1, 2, 3))"]
)
def test_what_is_rightly_said_to_depend_on_the_weight_alone(tmp_path, monkeypatch, change: str) -> None:
    text = METHOD.format(sign=SIGN, conv=CONV, made="layer.binarizer = Mine()", method="")
    text += BINARIZER.format(said=True, change=change)
    assert conform("method", outside(tmp_path, monkeypatch, text)) == []
