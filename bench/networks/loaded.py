"""What a loader returns: a network, and all that is known of it by then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lcrbench.bench.metrics import Need
from lcrbench.bench.records.external import Preprocess

ANSWERS = frozenset({Need.OUTCOMES, Need.CLASSES, Need.LOGITS, Need.FORWARD})
"""What every network gives: its outputs for any image."""


@dataclass(frozen=True)
class Loaded:
    """A network as it comes: prepared tensors (N, C, H, W) or (N, H, W, C) in, outputs (N, classes) out.

    `preprocess` is what its own configuration says; one without facts where there is none. `modules` are the dotted names
    of its code's modules, which a record then depends on; `code_sha256` the hash of a file of code without such a name,
    and `weights_sha256` that of a file of weights, where they are not in the state dict. `gives` is what metrics may ask of
    it, and `lacks` why it gives no more. `probabilities` tells that its outputs are known to be some. `notes` are lines to
    tell.
    """

    network: nn.Module
    name: str
    preprocess: Preprocess = field(default_factory=Preprocess)
    modules: tuple[str, ...] = ()
    code_sha256: str = ""
    weights_sha256: str = ""
    gives: frozenset[Need] = frozenset(Need)
    lacks: str = ""
    probabilities: bool = False
    training_data: str = ""
    links: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Called(nn.Module):
    """A function of images as a network: of torch tensors, or of float32 arrays of numpy."""

    def __init__(self, function: Callable[[Any], Any], *, numpy: bool = False) -> None:
        super().__init__()
        self.function, self.numpy = function, numpy

    def forward(self, images: Tensor) -> Tensor:
        """Return what the function gives, as a tensor on the images' device; other types are given back as they are."""
        given: Any = np.ascontiguousarray(images.detach().cpu().numpy(), np.float32) if self.numpy else images
        out = self.function(given)
        if isinstance(out, np.ndarray):
            out = torch.from_numpy(np.array(out)).to(images.device)
        found: Tensor = out
        return found
