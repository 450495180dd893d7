"""The nineteen corruptions of ImageNet-C and CIFAR-C, faithful, deterministic and fast; and others by their names.

    from lcrbench.corruptions import corrupt, names

    noisy = corrupt(images, "gaussian_noise", 3)  # (N, 32, 32, 3) uint8 in, the same out
    for name in names("common"):
        ...

`images` are uint8 arrays, (N, H, W, 3), (N, H, W) or, for one image, (H, W, 3). The severity constants are those of
the scripts that made CIFAR-10-C (32 px), Tiny-ImageNet-C (64 px) and ImageNet-C (224 px); by default the set of the
nearest size is taken, and `provenance` names it.

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", arXiv
1903.12261.
"""

from __future__ import annotations

from lcrbench.corruption_names import names
from lcrbench.corruptions.engine import constants_for, corrupt, parameters, provenance
from lcrbench.corruptions.registered import expand, group_of, groups, others

__all__ = [
    "constants_for",
    "corrupt",
    "expand",
    "group_of",
    "groups",
    "names",
    "others",
    "parameters",
    "provenance",
]
