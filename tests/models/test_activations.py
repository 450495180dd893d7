"""What is recorded of a pass, and the context that terms are given."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lcrbench.models import api
from lcrbench.models.activations import named, recorded


class Twice(nn.Module):
    """Uses one part twice, in a part called body."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        self.head = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(self.body(x)))
        return logits


def hooks(net: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules())


def test_the_first_use_of_each_named_part() -> None:
    net, x = Twice(), torch.randn(4, 2)
    with recorded(net, ["head", "body", "body.1", "body"]) as found:
        out = net(x)
        assert hooks(net) == 3
    assert hooks(net) == 0
    assert found.inputs["body"] is x
    assert torch.equal(found.outputs["body"], net.body(x))
    assert found.outputs["head"] is out
    assert set(found.inputs) == set(found.outputs) == {"head", "body", "body.1"}


def test_hooks_are_gone_after_an_error() -> None:
    net = Twice()
    with pytest.raises(RuntimeError), recorded(net, ["head"]):
        net(torch.randn(4, 5))
    assert hooks(net) == 0
    with pytest.raises(AttributeError):
        api.observe(net, [Watching("no_such")], torch.randn(4, 2), torch.arange(4))
    assert hooks(net) == 0


def test_a_part_is_found_by_its_own_name() -> None:
    assert named(Twice(), "head") == "head"
    assert named(nn.Sequential(Twice()), "head") == "0.head"
    with pytest.raises(ValueError, match="a part called 'tail'"):
        named(Twice(), "tail")


class Watching(api.Term):
    def __init__(self, part: str, gradient: bool = False) -> None:
        self.watch, self.image_gradient, self.begun = (part,), gradient, []

    def begin(self, measure: bool) -> None:
        self.begun.append(measure)


@pytest.mark.parametrize("measure", [False, True])
def test_a_context_holds_what_its_terms_ask_for(measure: bool) -> None:
    net, x, labels = Twice(), torch.randn(4, 2), torch.arange(4)
    terms = [Watching("body"), Watching("head")]
    context = api.observe(net, terms, x, labels, measure)
    assert context.images is x
    assert context.labels is labels
    assert context.measure == measure
    assert torch.equal(context.logits, net(x))
    assert set(context.inputs) == {"body", "head"}
    assert [t.begun for t in terms] == [[measure], [measure]]


def test_images_require_a_gradient_where_a_term_asks() -> None:
    net, x = Twice(), torch.randn(4, 2)
    context = api.observe(net, [Watching("body"), Watching("head", gradient=True)], x, torch.arange(4))
    assert context.images.requires_grad
    assert not x.requires_grad
    (slope,) = torch.autograd.grad(context.logits.sum(), context.images)
    assert slope.shape == x.shape


def test_a_term_of_defaults_does_nothing() -> None:
    term = api.Term()
    context = api.observe(Twice(), [term], torch.randn(4, 2), torch.arange(4))
    assert term.loss(context) is None
    assert (term.figures(), term.state(), term.passes, term.replaces, term.watch) == ({}, {}, {}, 0.0, ())
    term.restore({})
    term.detach()
