"""Evaluates a deployed binary network on packed bits: every logit equals torch's to the bit, or the network is refused.

torch keeps what no other code rounds alike: the first convolution, real shortcuts and the head, on blocks of the same size
and layout as in its own forward pass. All else runs in the kernels, image by image, so that an image's maps stay in the
cache. Batches may be split over threads: no image's numbers depend on another's.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lcrbench import kernels as compiled
from lcrbench.models.network import Network
from lcrbench.models.packed import kernels, machine, plan
from lcrbench.models.packed.graph import Map
from lcrbench.models.packed.graph import Refused as Refused


def version() -> str:
    """Return what names this version of the engine: a hash of its code."""
    return compiled.version(Path(__file__).parent)


class Packed:
    """A network's forward pass on bits, for images (N, height, width, 3). Raises `Refused` with the reason.

    The network must not be changed afterwards.
    """

    def __init__(self, network: nn.Module, height: int, width: int) -> None:
        self.plan = plan.of(network, height, width)
        assert isinstance(network, Network)
        self.network, self.shape = network, (height, width, 3)
        self._memory: list[machine.Memory] = []
        self._buffers: list[np.ndarray] = []
        with torch.inference_mode():
            every = torch.arange(256, dtype=torch.uint8).view(1, 1, 256, 1).expand(1, 3, 256, 1).float() / 255
            self._table = np.ascontiguousarray(((every - network.mean) / network.std)[0, :, :, 0].numpy().T)

    def logits(self, images: np.ndarray, count: int | None = None) -> np.ndarray | None:
        """Return the logits (count, classes) of the first `count` of a block of images: uint8, or float32 in [0, 1].

        The block decides torch's rounding in the first convolution and the head. None where an image's numbers are so
        extreme that torch's would have to be known in more detail.
        """
        if images.ndim != 4 or images.shape[1:] != self.shape:
            raise ValueError(f"made for images {self.shape}, not {images.shape[1:]}")
        count = len(images) if count is None else count
        with torch.inference_mode():
            x = self._normalized(images)
            if x is None:
                return None
            x = self._body(x, min(count, len(images)))
            if x is None:
                return None
            out: np.ndarray = self.plan.graph.head(x)[:count].numpy()
        return out

    def _normalized(self, images: np.ndarray) -> Tensor | None:
        """Return the normalized images (N, 3, H, W), channels last; None for pixels for which the bounds do not hold."""
        if images.dtype == np.uint8:
            images = np.ascontiguousarray(images)
            out = np.empty(images.shape, np.float32)
            kernels.look_up(images.ctypes.data, self._table.ctypes.data, out.ctypes.data, images.size // 3)
            return torch.from_numpy(out).permute(0, 3, 1, 2)
        if images.dtype != np.float32 or not np.abs(images).max(initial=0) <= plan.LARGEST_INPUT:
            return None
        x = torch.from_numpy(images).permute(0, 3, 1, 2)
        normalized: Tensor = (x - self.network.mean) / self.network.std
        return normalized

    def _body(self, x: Tensor, count: int) -> Tensor | None:
        y: Tensor = self.plan.graph.first(x)
        given = _rows(y)
        beside, none = given[:, :0], given[:, :0]
        ends = [*(real.source for real in self.plan.reals), self.plan.graph.end]
        for k, (segment, end) in enumerate(zip(self.plan.segments, ends, strict=True)):
            wanted = self._buffer(k, len(given), segment.wanted)
            if self._run(segment, given, beside, wanted, count):
                return None
            given, y = wanted, _maps(wanted, end)
            beside = _rows(self.plan.reals[k].module(y)) if k < len(self.plan.reals) else none
        return y

    def _buffer(self, k: int, images: int, numbers: int) -> np.ndarray:
        """Return the output of segment k, the same memory each time: the pages of a new one cost as much as the kernels."""
        while len(self._buffers) <= k:
            self._buffers.append(np.zeros((0, 0), np.float32))
        if self._buffers[k].shape != (images, numbers):
            self._buffers[k] = np.zeros((images, numbers), np.float32)
        return self._buffers[k]

    def _run(
        self, segment: machine.Segment, given: np.ndarray, beside: np.ndarray, wanted: np.ndarray, count: int
    ) -> int:
        """Run a segment, on as many threads as torch has; returns how many images are in doubt."""
        threads = max(1, min(torch.get_num_threads(), count))
        while len(self._memory) < threads:
            self._memory.append(machine.Memory(self.plan.needs))
        edges = [count * k // threads for k in range(threads + 1)]

        def part(k: int) -> int:
            return segment.run(self.plan.tables, self._memory[k], given, beside, wanted, (edges[k], edges[k + 1]))

        if threads == 1:
            return part(0)
        with ThreadPoolExecutor(threads) as pool:
            return sum(pool.map(part, range(threads)))


def _rows(maps: Tensor) -> np.ndarray:
    """Return (N, C, H, W) as (N, H W C)."""
    rows: np.ndarray = maps.permute(0, 2, 3, 1).contiguous().numpy()
    return rows.reshape(len(rows), -1)


def _maps(rows: np.ndarray, x: Map) -> Tensor:
    """Return (N, H W C) as (N, C, H, W), channels last."""
    return torch.from_numpy(rows).view(len(rows), x.height, x.width, x.channels).permute(0, 3, 1, 2)


def differs(forward: Callable[[np.ndarray], np.ndarray], packed: Packed, block: np.ndarray) -> str:
    """Return how the logits of a block of images differ from those of a forward pass in torch; "" if they are equal."""
    wanted, found = forward(block), packed.logits(block)
    if found is None:
        return ""
    if wanted.shape != found.shape:
        return f"logits {found.shape}, not {wanted.shape}"
    apart = int((wanted != found).sum())
    return f"{apart} of {found.size} logits of the first block differ from torch's" if apart else ""
