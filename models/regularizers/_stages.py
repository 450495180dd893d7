"""What the regularizers on a teacher's features share: the stages of a network, and their outputs in one pass."""

from __future__ import annotations

from torch import Tensor, nn

from lcrbench.models.activations import recorded
from lcrbench.models.api import Backbone


def stages(network: nn.Module) -> tuple[str, ...]:
    """Return the names of a network's stages; raises `ValueError` if its backbone names fewer than two."""
    body = next((m for m in network.modules() if isinstance(m, Backbone)), None)
    parts = [] if body is None else body.stages()
    if len(parts) < 2:
        raise ValueError("needs a backbone that names two stages or more")
    names = {id(module): name for name, module in network.named_modules()}
    return tuple(names[id(part)] for part in parts)


def features(network: nn.Module, names: tuple[str, ...], images: Tensor) -> list[Tensor]:
    """Send images through a network, and return the outputs of its stages."""
    with recorded(network, names) as found:
        network(images)
    return [found.outputs[name] for name in names]
