"""Networks with parameters from tame to awkward, and images to show them."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from lcrbench.bench.evaluation import inference
from lcrbench.models import estimators
from lcrbench.models import network as networks
from lcrbench.models.packed.engine import Packed

METHODS = (
    "adabin", "adabin:levels=paper", "bi_real", "biper", "bnn", "dorefa", "fda", "irnet", "ovsw", "rbnn", "reactnet",
    "recu", "reste", "reste:block=shared", "siman", "siman:nonlinearity=hardtanh", "xnor_net",
)  # fmt: skip
SHORTCUTS = ("pad", "pool-pad", "real", "pool-real", "binary")
KINDS = ("tame", "negative", "zeros", "huge", "tiny", "denormal", "mixed")
"""What the numbers by channel are: scales, shifts, slopes, batch norms."""


def make(method: str, backbone: str, size: int = 32, seed: int = 0, kind: str = "tame") -> nn.Module:
    """Return an untrained network whose numbers by channel, and batch norms' statistics, are of a kind."""

    def generator(name: str) -> torch.Generator:
        return torch.Generator().manual_seed(seed * 7919 + sum(map(ord, name)))

    net = networks.build(networks.choose(method), backbone, 10, size, [0.3, 0.4, 0.5], [0.2, 0.25, 0.3], generator)
    random = torch.Generator().manual_seed(seed)

    def drawn(like: torch.Tensor, kind: str) -> torch.Tensor:
        x = torch.randn(like.shape, generator=random)
        if kind == "mixed":
            kind = KINDS[int(torch.randint(len(KINDS) - 1, (), generator=random))]
        scales = {"zeros": 0.0, "huge": 1e5, "tiny": 1e-20, "denormal": 1e-42}
        return -x.abs() if kind == "negative" else x * scales.get(kind, 1.0)

    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if parameter.ndim < 2 and "theta" not in name:
                tame = kind == "tame"
                parameter.copy_(parameter + 0.3 * drawn(parameter, kind) if tame else drawn(parameter, kind))
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_(0, 3, generator=random)
                module.running_var.uniform_(0.5, 30, generator=random)
    estimators.set_progress(net, 1.0)
    return net.to(memory_format=torch.channels_last).eval()


def images(count: int, size: int, seed: int = 0) -> np.ndarray:
    """Return uint8 images (count, size, size, 3): black, white, flat, posterized, and noise from there on."""
    random = np.random.default_rng(seed)
    out = random.integers(0, 256, (count, size, size, 3), np.uint8)
    out[0] = 0
    out[1:2] = 255
    out[2:3] = random.integers(0, 256, 3)
    out[3:4] = (out[3:4] > 127) * np.uint8(255)
    return out


def by_torch(net: nn.Module, shown: np.ndarray) -> np.ndarray:
    """Return torch's logits for one block."""
    return inference.logits(net, shown, len(shown))


def equal(net: nn.Module, shown: np.ndarray) -> bool:
    """Tell whether both engines give the same logits, to the bit, where the packed one gives any."""
    found = Packed(net, *shown.shape[1:3]).logits(shown)
    return found is None or np.array_equal(found, by_torch(net, shown))
