"""The graph of a network, as torch.fx traces it."""

from __future__ import annotations

from typing import Final

import torch
from torch import fx, nn
from torch.nn import functional

from lcrbench.errors import UserError
from lcrbench.models.binary import BinaryConv2d
from lcrbench.models.spectral.rules import SIGNS

_COMPILED: Final = (
    *(torch.cat, torch.concat, torch.concatenate, torch.stack, torch.hstack, torch.vstack, torch.dstack, torch.reshape),
    *(functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d),
)
"""Functions that in torch 2.6 take no traced value for a size or a list of tensors: `avg_pool2d(x, x.shape[2:])`."""


class _Tracer(fx.Tracer):
    def __init__(self) -> None:
        super().__init__(autowrap_functions=_COMPILED)
        self._autowrap_search += [torch, functional]

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (BinaryConv2d, nn.AdaptiveAvgPool2d, *SIGNS)) or super().is_leaf_module(
            m, module_qualified_name
        )


def trace(network: nn.Module) -> fx.GraphModule:
    """Return the graph of a network; raises `UserError` if it cannot be followed, because its path depends on the image."""
    try:
        graph = _Tracer().trace(network)
    except Exception as error:  # the tracer passes on whatever the network's own code raises
        raise not_followed(error) from error
    for node in graph.nodes:
        if node.target in _COMPILED:
            node.meta.pop("is_wrapped", None)  # or the graph's module would wrap it in each trace that follows
    return fx.GraphModule(network, graph)


def not_followed(error: Exception) -> UserError:
    """Return what is told of a network whose own code raised an error."""
    return UserError(f"the network's graph cannot be followed: {str(error).partition(chr(10))[0]}")
