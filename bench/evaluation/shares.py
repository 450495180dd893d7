"""The images of an evaluation, divided among processes: each is shown some whole blocks, and no image is shown twice.

The processes go through the same cells. Of the b blocks that a cell lacks, process r of w is shown those from ceil(b r / w)
on. Corruptions depend on an image's index, and logits on the image alone: so the number of processes changes no bit. The
first process says what is lacking and with which weights, and puts the logits together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lcrbench.bench.clock import Clocks
from lcrbench.bench.data.arrays import Images, Split, Streamed
from lcrbench.bench.evaluation.cells import Shows
from lcrbench.bench.evaluation.engine import Choice, Inference
from lcrbench.bench.records.spec import Cell
from lcrbench.bench.together import Group


def own(images: int, block: int, group: Group) -> slice:
    """Return which of some images this process is shown: whole blocks, the last one of all perhaps a part."""
    blocks = -(-images // block)
    # Rounded up, so that the first process, whose engine the record names, is shown one block at least.
    begin, end = (-(-blocks * k // group.world) * block for k in (group.rank, group.rank + 1))
    return slice(min(begin, images), min(end, images))


@dataclass(frozen=True)
class Showing:
    """How images are shown: the clean ones of `test` at positions `indices`, by the noise of (seed, stream), in blocks."""

    test: Split
    indices: np.ndarray
    seed: int
    stream: str
    inference: Inference
    cells: Shows
    clocks: Clocks
    decoded: dict[bytes, Images] = field(default_factory=dict)

    def logits(self, cell: Cell, lacking: np.ndarray, group: Group) -> np.ndarray:
        """Return the logits (N, classes) of the images `lacking` (N,) in a cell; this process is shown its share of them."""
        mine = lacking[own(len(lacking), self.inference.block, group)]
        told: dict[str, Tensor] = {}
        if len(mine):
            with self.clocks.phase("corruption"):
                images = self.cells.images(self._clean(mine), cell, mine, seed=self.seed, stream=self.stream)
            with self.clocks.phase("evaluation"):
                told["logits"] = torch.from_numpy(self.inference.logits(images))
        if group.world == 1:
            return told["logits"].numpy()
        with self.clocks.phase("evaluation"):
            found = group.collect(told)
        return np.concatenate([each["logits"].numpy() for each in found if each])

    def _clean(self, mine: np.ndarray) -> Images:
        """Return the clean images at some positions; streamed ones are kept until others are asked for."""
        if not isinstance(self.test.images, Streamed):
            # A view of them all, where all are asked for.
            whole = len(mine) == len(self.indices)
            return self.test.images if whole else self.test.images[np.searchsorted(self.indices, mine)]
        if (key := mine.tobytes()) not in self.decoded:
            self.decoded.clear()
            self.decoded[key] = self.test.images[np.searchsorted(self.indices, mine)]
        return self.decoded[key]


def tell(group: Group, network: nn.Module, parts: Sequence[tuple[Cell, np.ndarray]], facts: Mapping[str, Any]) -> None:
    """Tell the other processes the weights, and of each cell the images that are lacking; `facts` are for `follow`."""
    if group.world == 1:
        return
    group.share(({k: v.detach().cpu() for k, v in network.state_dict().items()}, {}))
    lacking = {str(i): torch.from_numpy(np.asarray(indices)) for i, (_, indices) in enumerate(parts)}
    group.share((lacking, {"cells": [list(cell) for cell, _ in parts], **facts}))


def follow(
    group: Group, network: nn.Module, test: Split, indices: np.ndarray, cells: Shows, device: str, engine: Choice
) -> None:
    """Take part in an evaluation that the first process leads; `network` is of its topology, and gets its weights."""
    weights, told = group.share(None), group.share(None)
    if weights is None or told is None:
        return
    network.load_state_dict(weights[0])
    lacking, facts = told
    inference = Inference(network.to(device).eval(), facts["block"], device, engine)
    showing = Showing(test, indices, facts["seed"], facts["stream"], inference, cells, Clocks())
    for i, (corruption, severity) in enumerate(facts["cells"]):
        showing.logits(Cell(corruption, severity), lacking[str(i)].numpy(), group)
