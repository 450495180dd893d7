"""What a metric is given: the deployed network, the test images, and which of them it classified right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from torch import nn

from lcrbench.bench.data.arrays import Split
from lcrbench.bench.evaluation.inference import lacks_memory, logits
from lcrbench.bench.records.by_image import ByImage, ImageKey, Images, Kept
from lcrbench.bench.records.spec import Cell
from lcrbench.errors import UserError


@dataclass
class Subject:
    """A network under measurement.

    `outcomes` has a boolean array (N,) for each cell that was shown; `classes` the predicted classes (N,), int16, and
    `clean_logits` (N, classes), float32, if a metric needs them. A metric gives figures of single images to `keep`, and the
    reason why it has nothing to say about this network, or not all, to `leave_out`: both are kept with what it measured.
    `tick` is told how many single images have just passed through the network in a search.
    """

    network: nn.Module
    test: Split
    block: int
    outcomes: dict[Cell, np.ndarray] = field(default_factory=dict)
    clean_logits: np.ndarray | None = None
    device: str = "cpu"
    passes: int = 0
    by_image: ByImage = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    classes: dict[Cell, np.ndarray] = field(default_factory=dict)
    tick: Callable[[int], None] = lambda passes: None

    def keep(self, key: ImageKey, values: np.ndarray, indices: np.ndarray) -> None:
        """Keep a figure of single images (n), as float32, with the images' indices (n) and a hash of what they show."""
        known = [kept.images for kept in self.by_image.values() if np.array_equal(kept.images.indices, indices)]
        images = known[0] if known else Images.of(self.test.images, indices)
        self.by_image[key] = Kept(values.astype(np.float32), images)

    def leave_out(self, metric: str, reason: str) -> None:
        """Note why a metric has nothing to say, or not all; reasons of its parts stand side by side."""
        known = self.left_out.get(metric, "")
        if reason not in known:
            self.left_out[metric] = f"{known}; {reason}" if known else reason

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Return logits (N, classes) float32 for images (N, H, W, 3), uint8 or float in [0, 1]; counts the passes.

        Raises `UserError` for a network that does not take them, or gives no logits of two classes or more.
        """
        self.passes += len(images)
        try:
            found = logits(self.network, images, self.block, self.device)
        except UserError:
            raise
        except Exception as error:  # a network from elsewhere may raise anything
            shape = (self.block, images.shape[3], *images.shape[1:3])
            why = "needs more memory than there is for" if lacks_memory(error) else "does not take"
            first = str(error).partition("\n")[0]
            raise UserError(f"the network {why} images {shape}: {type(error).__name__}: {first}") from error
        if found.ndim != 2 or found.shape[1] < 2:
            raise UserError(
                f"the network gives {found.shape} for {len(images)} images, not logits (N, classes) of two classes or more"
            )
        return found
