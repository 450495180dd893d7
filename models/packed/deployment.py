"""A network back from its exported tensors: signs as they are, no latent weights, nothing that training needs."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from lcrbench.models import network as networks
from lcrbench.models.audit import Frozen
from lcrbench.models.binary import BinaryConv2d, binary_layers
from lcrbench.models.packed import TrainingOnly, export

COUNTER = ".num_batches_tracked"
"""How the names of batch norms' counters of steps end, which inference does not read."""


def tensors(network: nn.Module) -> dict[str, Tensor]:
    """Return what `packed.export` does without batch norms' counters: the numbers that `memory_bits` counts, and no other.

    Besides them there are the mean and the deviation of the normalization, six numbers.
    """
    return {name: tensor for name, tensor in export(network).items() if not name.endswith(COUNTER)}


def rebuild(choice: networks.Choice, backbone: str, classes: int, size: int, given: dict[str, Tensor]) -> nn.Module:
    """Return the network of a method and a backbone, in evaluation mode, from what `tensors` or `packed.export` gives of it.

    Its binary layers have the signs, scales and offsets of the tensors, and no weights. Raises `ValueError` for tensors of
    another network, and `UserError` for a method or backbone that does not exist.
    """
    network = networks.Network(networks.body(choice, backbone, classes, size), [0.0] * 3, [1.0] * 3)
    rest = dict(given)
    for name, layer in binary_layers(network).items():
        parts = {part: rest.pop(f"{name}.{part}", None) for part in ("bits", "scale", "offset")}
        layer.binarizer = Frozen(_signs(name, layer, parts["bits"]), parts["scale"], parts["offset"])
        layer.weight = nn.Parameter(torch.zeros(1).expand(layer.weight.shape), requires_grad=False)
    hidden = [f"{name}." for name, m in network.named_modules() if isinstance(m, TrainingOnly)]
    for name in binary_layers(network):
        hidden += [f"{name}.weight", f"{name}.binarizer."]
    try:
        missing, unexpected = network.load_state_dict(rest, strict=False)
    except RuntimeError as error:
        raise ValueError(f"the packed tensors are of another network: {error}".partition("\n")[0]) from error
    missing = [name for name in missing if not name.startswith(tuple(hidden)) and not name.endswith(COUNTER)]
    if missing or unexpected:
        raise ValueError(f"the packed tensors are of another network: {', '.join([*missing, *unexpected])}")
    return network.to(memory_format=torch.channels_last).eval()


def _signs(name: str, layer: BinaryConv2d, bits: Tensor | None) -> Tensor:
    """Return the signs of a layer from its bits: eight to a byte from the highest, each filter by itself."""
    shape = layer.weight.shape
    numbers = layer.weight[0].numel()
    if bits is None or bits.dtype != torch.uint8 or tuple(bits.shape) != (len(layer.weight), -(-numbers // 8)):
        raise ValueError(f"the packed tensors are of another network: {name}.bits")
    ones = np.unpackbits(bits.numpy(), axis=1, count=numbers).reshape(shape)
    return torch.from_numpy(np.where(ones, np.float32(1), np.float32(-1)))
