"""The classic mistakes, one test each: what is wrong is named, and nothing is changed by itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lcrbench
from lcrbench.bench.networks import checks, orders
from lcrbench.bench.networks.checks import Finding
from lcrbench.bench.networks.foreign import Declared, opened, ready
from lcrbench.errors import UserError

from .some_networks import CLASSES, MEAN, STD, Changed, Nearest, dataset, patterns

IMAGENET = {"mean": MEAN, "std": STD}
DATA = dataset()


def found(network: Any, declared: Declared | None = None, data: Any = DATA) -> dict[str, Finding]:
    """Return the findings by the check's name; of several of one name those that are bad, and else the last."""
    made = ready(opened(network, declared or Declared(preprocess=IMAGENET)), data)
    every = list(checks.checks(made, data))
    return {f.check: f for f in sorted(every, key=lambda f: not f.good, reverse=False)}


def bad(findings: dict[str, Finding]) -> dict[str, str]:
    return {name: f.what for name, f in findings.items() if not f.good}


def test_a_network_that_is_used_rightly_has_no_bad_finding() -> None:
    findings = found(Nearest())
    assert bad(findings) == {}
    assert {"determinism", "batch", "normalization", "order", "chance"} <= findings.keys()
    assert "above chance" in findings["chance"].what


def test_training_mode_is_left_and_told() -> None:
    network = nn.Sequential(Nearest(), nn.Dropout(0.9)).train()
    findings = found(network)
    assert "was in training mode" in findings["told"].what
    assert bad(findings) == {}
    assert not network.training


@pytest.mark.parametrize(
    ("inside", "declared", "named", "way"),
    [
        ((MEAN, STD), {}, "ImageNet's", '--mean "0.485 0.456 0.406"'),
        (((0.0,) * 3, (1 / 255,) * 3), {}, "0 to 255", '--range "0 255"'),
        (((0.0,) * 3, (1.0,) * 3), IMAGENET, "no normalization", '--mean "0 0 0"'),
        (((0.5,) * 3, (0.5,) * 3), {}, "0.5", '--mean "0.5 0.5 0.5"'),
    ],
)
def test_a_wrong_normalization_or_range_is_named(inside: Any, declared: Any, named: str, way: str) -> None:
    findings = bad(found(Nearest(*inside), Declared(preprocess=declared)))
    assert f"fits better: {named}" in findings["normalization"]
    assert way in findings["normalization"]


def test_channels_in_the_other_order_are_named() -> None:
    class Swapped(Nearest):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.flip(1))

    # The mean is that of blue, green and red.
    inside = {"mean": MEAN[::-1], "std": STD[::-1]}
    findings = bad(found(Swapped(), Declared(preprocess=inside)))
    assert "fits better: BGR" in findings["normalization"]
    assert "--channels BGR" in findings["normalization"]


def test_a_normalization_done_twice_is_named() -> None:
    class Once(Nearest):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward((x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1))

    assert "fits better: no normalization" in bad(found(Once()))["normalization"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda z: z.softmax(1), "leave its softmax out, or declare --outputs probabilities"),
        (lambda z: z.argmax(1), "its class: logits are needed, leave its argmax out"),
        (lambda z: nn.functional.one_hot(z.argmax(1), CLASSES), "1 for one class and 0 for the others"),
        (lambda z: z[:, :, None], r"gives \(2, 10, 1\) for 2 images"),
        (lambda z: [z], "gives list for 2 images"),
        (lambda z: z[:, :7], "gives 7 logits, and the data have 10 classes"),
    ],
)
def test_other_outputs_than_logits_are_refused(change: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        found(Changed(change))
    assert "\n" not in str(error.value)


def test_probabilities_that_are_declared_are_taken_by_their_logarithm() -> None:
    declared = Declared(preprocess=IMAGENET, outputs="probabilities")
    made = ready(opened(Changed(lambda z: z.softmax(1)), declared), DATA)
    plain = ready(opened(Nearest(), Declared(preprocess=IMAGENET)), DATA)
    x = torch.from_numpy(DATA.test.images[:8].copy()).permute(0, 3, 1, 2).float() / 255
    likely = [m.looked.network(x).softmax(1) for m in (made, plain)]
    assert torch.allclose(*likely, atol=1e-5)


def test_a_dropout_that_is_left_on_is_named() -> None:
    findings = bad(found(Changed(lambda z: nn.functional.dropout(z, 0.5, training=True))))
    assert "a dropout is left on" in findings["determinism"]


def test_outputs_that_depend_on_the_batch_are_named() -> None:
    findings = bad(found(Changed(lambda z: z - z.mean(0))))
    assert "depend on the other images in the batch" in findings["batch"]


def test_outputs_that_are_no_numbers_are_named() -> None:
    findings = bad(found(Changed(lambda z: torch.where(z == z.max(), torch.nan, z))))
    assert "infinite or no numbers" in findings["finite"]


def test_chance_is_never_told_alone() -> None:
    findings = bad(found(Changed(lambda z: torch.zeros_like(z) + z[:, :1] * 0)))
    assert "near chance (10.0%)" in findings["chance"]
    assert "neither a common preparation nor a known order" in findings["chance"]


@pytest.mark.parametrize(("shift", "named"), [(1, "shifted-up"), (-1, "shifted-down")])
def test_shifted_labels_are_named(shift: int, named: str) -> None:
    findings = bad(found(Changed(lambda z: z.roll(shift, 1))))
    assert f"another order of classes fits: {named}" in findings["order"]
    assert "matched by answers" in findings["order"]
    declared = Declared(preprocess=IMAGENET, order=named)
    assert bad(found(Changed(lambda z: z.roll(shift, 1)), declared)) == {}


def test_folders_sorted_as_text_are_named() -> None:
    names = tuple(str(k) for k in range(1, 13))
    data = dataset(12, 40, names=names)
    place = [sorted(names).index(n) for n in names]
    network = Changed(lambda z: z[:, torch.argsort(torch.tensor(place))], Nearest(classes=12))
    assert "fits: string-order" in bad(found(network, data=data))["order"]
    assert bad(found(network, Declared(preprocess=IMAGENET, order="string-order"), data)) == {}


def test_no_order_is_named_for_networks_that_were_never_trained() -> None:
    """Their answers go with the classes, too: another order often gains significantly, and is no better than any."""
    data = lcrbench.load_data("fashion-mnist-10k", test=512)
    images = torch.from_numpy(data.test.images.copy()).float().permute(0, 3, 1, 2) / 255
    gained, told = 0, list[Finding]()
    for seed in range(12):
        torch.manual_seed(seed)
        with torch.no_grad():
            out = nn.Sequential(nn.Flatten(), nn.Linear(images[0].numel(), CLASSES))(images).numpy()
        data_order, *others = orders.candidates(data.classes, CLASSES)
        right = orders.right(out, data.test.labels, data_order)
        gained += any(checks.better(orders.right(out, data.test.labels, o), right) < 1e-4 for o in others)
        told += checks._order(out, data.test.labels, right, data_order, data, ())
    assert gained >= 3
    assert all(finding.good for finding in told)


def test_an_order_that_no_one_knows_is_found_by_matching() -> None:
    mixed = torch.tensor([3, 1, 4, 0, 5, 9, 2, 6, 8, 7])
    findings = bad(found(Changed(lambda z: z[:, mixed])))
    assert "if outputs are matched to classes by the answers" in findings["order"]


def test_an_order_in_a_file(tmp_path: Any) -> None:
    mixed = [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]
    names = tuple(f"c{k}" for k in range(10))
    data = dataset(names=names)
    file = tmp_path / "wnids.txt"
    file.write_text("\n".join(f"c{k} some words" for k in mixed))
    network = Changed(lambda z: z[:, torch.tensor(mixed)])
    made = ready(opened(network, Declared(preprocess=IMAGENET)), data)
    told = [f.what for f in checks.checks(made, data, files=[file]) if not f.good]
    assert any("fits: wnids.txt" in line for line in told)
    made = ready(opened(network, Declared(preprocess=IMAGENET, order=str(file))), data)
    assert made.looked.subject.external is not None
    assert made.looked.subject.external.order == "wnids.txt"
    assert all(f.good for f in checks.checks(made, data))


def test_a_class_of_background_is_named_and_never_cut_off_by_itself() -> None:
    def padded(z: Tensor) -> Tensor:
        return torch.cat([torch.full_like(z[:, :1], -1e3), z], 1)

    with pytest.raises(UserError, match="the order that fits is 'background-first'"):
        found(Changed(padded))
    assert bad(found(Changed(padded), Declared(preprocess=IMAGENET, order="background-first"))) == {}
    with pytest.raises(UserError, match="is none for 10 outputs"):
        found(Nearest(), Declared(preprocess=IMAGENET, order="background-first"))
    with pytest.raises(UserError, match="is not known; it may be"):
        found(Nearest(), Declared(preprocess=IMAGENET, order="backwards"))


def test_ilsvrcs_ids_are_all_of_imagenet_in_another_order() -> None:
    """The first labels of the devkit's ground truth, and the ranks of their WordNet ids."""
    columns = orders.ilsvrc()
    assert sorted(columns) == list(range(1000))
    known = {490: 65, 361: 970, 171: 230, 822: 809, 297: 516}
    assert {columns[rank] + 1: rank for rank in known.values()} == known


def test_the_images_of_the_checks_are_spread_over_the_classes() -> None:
    places = checks.spread(DATA.test.labels, 100)
    assert len(places) == 100
    assert {int(n) for n in torch.bincount(torch.from_numpy(DATA.test.labels[places]))} <= {9, 10, 11}
    assert [checks.number(n) for n in (10, 40_000, 10**6)] == [128, 250, 512]


def test_the_patterns_need_the_right_normalization() -> None:
    """What the tests above rest on."""
    assert patterns().max() < 1
