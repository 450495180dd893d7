"""What kind of gradient comes back from a network: none, its own, or one that was written by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.autograd.function import BackwardCFunction

from lcrbench.bench.lipschitz.foreign import differentiated, gradient
from lcrbench.bench.records.external import Gradient
from lcrbench.errors import NotMeasurable
from lcrbench.models.binary import binary_layers


def kind(network: nn.Module, images: np.ndarray, device: str = "cpu") -> Gradient:
    """Return the kind of the gradient of the outputs with respect to images (N, H, W, 3), uint8.

    "pseudo" where a backward pass runs Python code, as an estimator of a sign's gradient does; what is computed by torch's
    own functions is "exact".
    """
    points = torch.from_numpy(images.copy()).permute(0, 3, 1, 2).float().to(device) / 255
    try:
        of = differentiated(network, points)
    except NotMeasurable:
        return "none"
    if of.leaf is None or not isinstance(of.out, torch.Tensor) or gradient(of, torch.ones_like(of.out)) is None:
        return "none"
    return "pseudo" if binary_layers(network) or _by_hand(of.out.grad_fn) else "exact"


def _by_hand(node: Any) -> bool:
    """Tell whether a graph of gradients has a function that Python code defines."""
    waiting, seen = [node], set[int]()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        if isinstance(one, BackwardCFunction):
            return True
        seen.add(id(one))
        waiting += [following for following, _ in one.next_functions]
    return False
