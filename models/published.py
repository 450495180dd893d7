"""Numbers that papers and repositories published, each with its source and how certain it is.

Published top-1 accuracies rest on different budgets (400 to 2000 epochs) and on different topologies under one name, so they
are no baseline for a run of this suite; they say what the authors had. Only numbers that were read in the authors' own
repository (`certainty` "readme") may be printed as published; those seen in another work ("secondary") may be printed with
that work named; nothing here rests on memory alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Published:
    """One accuracy: of a method, on a data set, with a network whose topology is as far as the source tells."""

    method: str
    data: Literal["cifar10", "imagenet"]
    network: str
    topology: str
    top1: float
    top5: float | None
    epochs: int | None
    certainty: Literal["readme", "secondary"]
    source: str

    @property
    def printable(self) -> bool:
        """Tell whether a table may call this number published by the method's authors."""
        return self.certainty == "readme"


_BIREAL = "one convolution a shortcut"
_IRNET = "README of htqin/IR-Net, commit f63a590"
_RBNN = "README of lmbxmu/RBNN, commit 0b5e73b"
_RECU = "README of z-hXu/ReCU, commit 9a73bed"
_BI_REAL = "README of liuzechun/Bi-Real-net, commit f58aa4d"
_REACT = "README of liuzechun/ReActNet, commit a6cd08d"
_ADABIN = "README of huawei-noah/Efficient-Computing, BinaryNetworks/AdaBin, commit 225ddd2"
_RESTE = "README of DravenALG/ReSTE, commit 0d3c36a"
_RESTE_TABLE = "estimator table of ReSTE (arXiv 2308.06689), one recipe for all"

PUBLISHED: tuple[Published, ...] = (
    Published(
        "irnet", "cifar10", "resnet18", "real shortcut, two convolutions a shortcut", 91.5, None, None, "readme", _IRNET
    ),
    Published("irnet", "cifar10", "resnet20", f"pad, {_BIREAL}", 86.5, None, 400, "readme", _IRNET),
    Published("irnet", "cifar10", "vgg_small", "", 90.4, None, 400, "readme", _IRNET),
    Published("irnet", "imagenet", "resnet18", f"real shortcut, {_BIREAL}", 58.1, 80.0, None, "readme", _IRNET),
    Published("irnet", "imagenet", "resnet34", f"real shortcut, {_BIREAL}", 62.9, 84.1, None, "readme", _IRNET),
    Published(
        "rbnn", "cifar10", "resnet18", "binary shortcut, two convolutions a shortcut", 92.2, None, 1000, "readme", _RBNN
    ),
    Published("rbnn", "cifar10", "resnet20", "two convolutions a shortcut", 86.5, None, 1000, "readme", _RBNN),
    Published("rbnn", "cifar10", "resnet20", _BIREAL, 87.8, None, 1000, "readme", _RBNN),
    Published("rbnn", "cifar10", "vgg_small", "", 91.3, None, 1000, "readme", _RBNN),
    Published("rbnn", "imagenet", "resnet18", "", 59.9, 81.9, 150, "readme", _RBNN),
    Published("rbnn", "imagenet", "resnet34", "", 63.1, 84.4, 150, "readme", _RBNN),
    Published("rbnn", "imagenet", "resnet34", "", 63.5, 84.6, 200, "readme", _RBNN),
    Published("recu", "cifar10", "resnet18", "pool-pad, two convolutions a shortcut", 92.8, None, 600, "readme", _RECU),
    Published("recu", "cifar10", "resnet20", f"pool-pad, {_BIREAL}", 87.5, None, 600, "readme", _RECU),
    Published("recu", "cifar10", "vgg_small", "", 92.2, None, 600, "readme", _RECU),
    Published("recu", "imagenet", "resnet18", "", 60.98, 82.57, None, "readme", _RECU),
    Published("recu", "imagenet", "resnet34", "", 65.10, 85.78, None, "readme", _RECU),
    Published("bi_real", "imagenet", "resnet18", f"pool-real, {_BIREAL}", 56.4, 79.5, 256, "readme", _BI_REAL),
    Published("bi_real", "imagenet", "resnet34", f"pool-real, {_BIREAL}", 62.2, 83.9, 256, "readme", _BI_REAL),
    Published("xnor_net", "imagenet", "resnet18", "", 51.2, 73.4, None, "secondary", _BI_REAL),
    Published(
        "reactnet",
        "imagenet",
        "resnet18",
        f"{_BIREAL}; two-step training with distillation",
        65.9,
        None,
        256,
        "readme",
        _REACT,
    ),
    Published("adabin", "cifar10", "resnet20", _BIREAL, 88.1, None, 400, "readme", _ADABIN),
    Published("adabin", "cifar10", "vgg_small", "", 92.3, None, 400, "readme", _ADABIN),
    Published(
        "adabin", "cifar10", "resnet18", f"real shortcut, {_BIREAL}", 93.1, None, None, "secondary", "README of GGM"
    ),
    Published("adabin", "imagenet", "resnet18", f"real shortcut, {_BIREAL}", 63.1, 84.3, 120, "readme", _ADABIN),
    Published("adabin", "imagenet", "resnet34", _BIREAL, 66.4, 86.6, 120, "readme", _ADABIN),
    Published("reste", "cifar10", "resnet18", "", 92.63, None, 2000, "readme", _RESTE),
    Published("reste", "cifar10", "resnet20", "two convolutions a shortcut", 86.75, None, 1000, "readme", _RESTE),
    Published("reste", "cifar10", "resnet20", _BIREAL, 87.92, None, 1000, "readme", _RESTE),
    Published("reste", "cifar10", "vgg_small", "", 92.55, None, 1000, "readme", _RESTE),
    Published("reste", "imagenet", "resnet18", "", 60.88, 82.59, 250, "readme", _RESTE),
    Published("reste", "imagenet", "resnet34", "", 65.05, None, 250, "readme", _RESTE),
    Published("irnet", "cifar10", "resnet20", "its estimator alone", 85.20, None, None, "secondary", _RESTE_TABLE),
    Published(
        "bnn", "cifar10", "resnet20", "straight-through estimator alone", 84.44, None, None, "secondary", _RESTE_TABLE
    ),
    Published("rbnn", "cifar10", "resnet20", "its estimator alone", 85.87, None, None, "secondary", _RESTE_TABLE),
    Published("irnet+lcr", "imagenet", "resnet34", "", 63.5, None, None, "secondary", "a summary of ReSTE's table 2"),
    Published("full_precision", "cifar10", "resnet18", "", 94.8, None, None, "secondary", "README of GGM"),
    Published("full_precision", "cifar10", "resnet20", "", 92.1, None, None, "secondary", "README of GGM"),
    Published("full_precision", "imagenet", "resnet18", "", 69.6, None, None, "secondary", "a later work's table"),
    Published("full_precision", "imagenet", "resnet34", "", 73.3, None, None, "secondary", "a later work's table"),
)


def published(method: str, data: str, network: str) -> list[Published]:
    """Return the numbers that may be printed as published for a method, data set and network; mostly none."""
    return [p for p in PUBLISHED if (p.method, p.data, p.network) == (method, data, network) and p.printable]
