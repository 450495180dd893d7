"""What the regularizers on a teacher's features share: the features, and the images that they belong to."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class Features:
    """The outputs of a network's stages in one forward pass, and its images; kept while `on`."""

    def __init__(self, network: nn.Module) -> None:
        stages = getattr(getattr(network, "body", network), "stages", None)
        if stages is None:
            raise ValueError("needs a backbone that names its stages")
        self.stages = stages()
        if len(self.stages) < 2:
            raise ValueError("needs a backbone with two stages or more")
        self.on = False
        self.images: Tensor | None = None
        self.kept: list[Tensor] = []
        self.handles = [network.register_forward_pre_hook(self._begin)]
        self.handles += [stage.register_forward_hook(self._keep) for stage in self.stages]

    def _begin(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if self.on:
            self.images, self.kept = inputs[0], []

    def _keep(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        if self.on:
            self.kept.append(output)
            if len(self.kept) == len(self.stages):
                self.on = False  # one pass: another term may send more images through

    def detach(self) -> None:
        """Remove the hooks."""
        for handle in self.handles:
            handle.remove()
