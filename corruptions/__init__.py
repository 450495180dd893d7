"""The nineteen corruptions of ImageNet-C and CIFAR-C, faithful, deterministic and fast.

    from lcrbench.corruptions import corrupt, names

    noisy = corrupt(images, "gaussian_noise", 3)  # (N, 32, 32, 3) uint8 in, the same out
    for name in names("common"):
        ...

`images` are uint8 arrays, (N, H, W, 3) or (N, H, W). The severity constants are those of the scripts that made
CIFAR-10-C (32 px), Tiny-ImageNet-C (64 px) and ImageNet-C (224 px); by default the set of the nearest size is taken,
and `provenance` names it.

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", arXiv
1903.12261.
"""

from __future__ import annotations

from lcrbench.corruptions.engine import constants_for, corrupt, group_of, groups, names, parameters, provenance

__all__ = ["constants_for", "corrupt", "group_of", "groups", "names", "parameters", "provenance"]
