"""Published numbers: each has a source, names what exists, and only the authors' own are printed."""

from __future__ import annotations

from lcrbench import registry
from lcrbench.models import network as networks
from lcrbench.models.published import PUBLISHED, published


def test_each_number_has_a_source_and_names_what_exists() -> None:
    assert len({(p.method, p.data, p.network, p.topology, p.top1, p.epochs) for p in PUBLISHED}) == len(PUBLISHED)
    for p in PUBLISHED:
        assert networks.choose(p.method).label == p.method
        assert p.network in registry.names("backbone")
        assert p.source
        assert p.certainty != "readme" or "README" in p.source
        assert 40 < p.top1 < 100
        assert p.top5 is None or p.top1 < p.top5 < 100


def test_only_the_authors_own_are_printed() -> None:
    assert [p.top1 for p in published("irnet", "cifar10", "vgg_small")] == [90.4]
    assert sorted(p.top1 for p in published("rbnn", "cifar10", "resnet20")) == [86.5, 87.8]
    assert published("irnet+lcr", "imagenet", "resnet34") == []
    assert published("adabin", "cifar10", "resnet18") == []
    assert published("full_precision", "cifar10", "resnet18") == []
    assert published("bnn", "fashion-mnist-10k", "vgg_tiny") == []
