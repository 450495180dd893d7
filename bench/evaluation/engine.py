"""Which engine gives a network's logits: packed bits where they equal torch's to the bit, else torch.

Both give the same numbers, so nothing that identifies a run or its code names the engine; the provenance does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import nn

from lcrbench.bench.data.arrays import Split
from lcrbench.bench.evaluation import inference
from lcrbench.bench.evaluation.subject import Subject
from lcrbench.errors import UserError
from lcrbench.models.packed import engine as packed

Choice = Literal["auto", "packed", "torch"]
CHOICES: tuple[Choice, ...] = ("auto", "packed", "torch")


class Inference:
    """A network's logits for blocks of images, by the engine that was chosen; the network must not change meanwhile.

    With "auto" a network on the processor is evaluated on packed bits if it can be, and in torch otherwise. Until a whole
    block of images of each type has been through both engines, both compute, and torch's logits are returned: should one
    number differ, torch goes on alone, and `name` says why. With "packed" that is a `UserError`.
    """

    def __init__(self, network: nn.Module, block: int, device: str = "cpu", choice: Choice = "auto") -> None:
        self.network, self.block, self.device, self.choice = network, block, device, choice
        self.why_torch = ""
        self.packed: packed.Packed | None = None
        self._compared: dict[np.dtype, int] = {}
        if choice == "torch":
            self._leave("asked for")
        elif device != "cpu":
            self._leave(f"on {device}")

    @property
    def name(self) -> str:
        """Return the engine that gave the logits: "packed" and its version, "torch: " and why; "" if none was needed."""
        if self.why_torch:
            return f"torch: {self.why_torch}"
        return f"packed {packed.version()}" if self.packed else ""

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Return the logits (N, classes), float32, of images as `inference.logits` takes them."""
        found = self.on_bits(images)
        return inference.logits(self.network, images, self.block, self.device) if found is None else found

    def on_bits(self, images: np.ndarray) -> np.ndarray | None:
        """Return the logits where packed bits give them; None where torch has to."""
        if self.why_torch or images.ndim != 4 or not len(images) or images.dtype not in (np.uint8, np.float32):
            return None
        self.network.eval()
        if self.packed is None or self.packed.shape != images.shape[1:]:
            try:
                self.packed = packed.Packed(self.network, *images.shape[1:3])
            except packed.Refused as error:
                self._leave(str(error))
            except Exception as error:  # numba may raise anything on an untested machine
                self._leave(f"{type(error).__name__}: {error}".partition("\n")[0])
            if self.packed is None:
                return None
        parts = [self._block(images[start : start + self.block]) for start in range(0, len(images), self.block)]
        return np.concatenate(parts)

    def _block(self, part: np.ndarray) -> np.ndarray:
        """Return the logits of a block of images or less."""
        padded = part
        if len(part) < self.block:
            padded = np.zeros((self.block, *part.shape[1:]), part.dtype)
            padded[: len(part)] = part
        seen = self._compared.get(part.dtype, 0)
        found = self.packed.logits(padded, len(part)) if self.packed and not self.why_torch else None
        if found is not None and seen >= self.block:
            return found
        wanted = inference.logits(self.network, padded, self.block, self.device)[: len(part)]
        if found is not None:
            self._compared[part.dtype] = seen + len(part)
            if found.shape != wanted.shape or not np.array_equal(found, wanted):
                apart = int((found != wanted).sum()) if found.shape == wanted.shape else wanted.size
                self._leave(f"{apart} of {wanted.size} logits of the first images differ")
        return wanted

    def _leave(self, why: str) -> None:
        self.why_torch, self.packed = why, None
        if self.choice == "packed":
            raise UserError(
                f"the network is not evaluated on packed bits ({why}): use --engine auto (engine='auto'), which takes torch"
            )


@dataclass
class Served(Subject):
    """A network under measurement whose forward passes an inference makes, where it can."""

    inference: Inference | None = None

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Return what `Subject.logits` does."""
        found = None if self.inference is None else self.inference.on_bits(images)
        if found is None:
            return super().logits(images)
        self.passes += len(images)
        return found


def served(network: nn.Module, test: Split, block: int, device: str = "cpu", choice: Choice = "auto") -> Served:
    """Return a network under measurement, of which nothing has been shown yet."""
    return Served(network, test, block, device=device, inference=Inference(network, block, device, choice))
