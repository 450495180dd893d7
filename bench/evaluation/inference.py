"""Runs a trained network on test images: clean, corrupted, or any others, always in float32 and in blocks of one size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from lcrbench import corruptions
from lcrbench.bench.clock import Clocks
from lcrbench.bench.data import Dataset, Split
from lcrbench.bench.records.record import Phase
from lcrbench.bench.records.spec import RunSpec

CLEAN = "clean"


@dataclass
class Subject:
    """What a metric may look at: the deployed network, the test images, and which of them it got right.

    `outcomes` has a boolean array (N,) for "clean" and for each "corruption/severity" that was run. `by_image` takes what a
    metric found for single images, arrays by name: the run keeps it beside its record. `left_out` takes why a metric has
    nothing to say about this network, or not all, by the metric's name: the record keeps it.
    """

    network: nn.Module
    test: Split
    outcomes: dict[str, np.ndarray]
    spec: RunSpec
    device: str = "cpu"
    passes: int = 0
    by_image: dict[str, np.ndarray] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def leave_out(self, metric: str, reason: str) -> None:
        """Note why a metric has nothing to say, or not all; reasons of its parts stand side by side."""
        known = self.left_out.get(metric, "")
        if reason not in known:
            self.left_out[metric] = f"{known}; {reason}" if known else reason

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Return logits (N, classes) float32 for images (N, H, W, 3), uint8 or float in [0, 1]; counts the passes."""
        self.passes += len(images)
        return logits(self.network, images, self.spec.evaluation.block, self.device)


def logits(network: nn.Module, images: np.ndarray, block: int, device: str = "cpu") -> np.ndarray:
    """Return the logits (N, classes), float32, of images (N, H, W, 3): uint8, or float in [0, 1].

    Float32 rounding can flip a sign, and rounding depends on the shape of the batch: so the network always sees blocks of
    exactly `block` images, the last one filled up with black ones, and an image's logits do not depend on its neighbours.
    """
    network.eval()
    out: list[np.ndarray] = []
    with torch.inference_mode():
        for start in range(0, len(images), block):
            part = images[start : start + block]
            padded = np.zeros((block, *images.shape[1:]), images.dtype)
            padded[: len(part)] = part
            x = torch.from_numpy(padded).to(device).permute(0, 3, 1, 2).float()
            if images.dtype == np.uint8:
                x = x / 255
            out.append(network(x)[: len(part)].float().cpu().numpy())
    return np.concatenate(out)


def float32_only() -> None:
    """Make this process compute in float32 as such: an accelerator would round a convolution's factors to TF32's 10 bits."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def cells(spec: RunSpec) -> Iterator[tuple[str, int]]:
    """Yield the (corruption, severity) pairs of a spec, in its order."""
    for name in spec.evaluation.corruptions:
        for severity in spec.evaluation.severities:
            yield name, severity


def outcomes(
    network: nn.Module,
    data: Dataset,
    spec: RunSpec,
    clocks: Clocks,
    device: str = "cpu",
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, np.ndarray]:
    """Return for "clean" and each "corruption/severity" which test images are classified right, boolean (N,).

    Corruption randomness depends on (the evaluation's seed, the data's hash, corruption, severity, image index) alone, so
    that every network sees the same corrupted images.
    """
    test, block = data.test, spec.evaluation.block
    todo = [(CLEAN, 0), *cells(spec)]
    found: dict[str, np.ndarray] = {}
    for done, (name, severity) in enumerate(todo):
        watch(done, len(todo))
        images = test.images
        if severity:
            with clocks.phase("corruption"):
                images = corruptions.corrupt(
                    images, name, severity, seed=spec.evaluation.seed, stream=spec.data.sha256[:16]
                )
        phase: Phase = "evaluation"
        with clocks.phase(phase):
            right = logits(network, images, block, device).argmax(1) == test.labels
        found[f"{name}/{severity}" if severity else name] = right
    watch(len(todo), len(todo))
    return found
