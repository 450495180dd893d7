"""Runs a network on images, always in float32 and in blocks of one size."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from lcrbench.errors import UserError


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
            out.append(forward(network, x)[: len(part)].float().cpu().numpy())
    return np.concatenate(out)


def forward(network: nn.Module, x: Tensor) -> Tensor:
    """Return what a network gives for x (N, C, H, W), whose channels lie last in memory.

    A forward that views its input as one block of memory gets it as one. What it does to torch's gradient mode ends here.
    Raises `UserError` where it gives no tensor.
    """
    mode = torch.is_grad_enabled()
    try:
        try:
            out = network(x)
        except RuntimeError as error:
            if "view size is not compatible" not in str(error):
                raise
            out = network(x.contiguous())
    finally:
        torch.set_grad_enabled(mode)
    if not isinstance(out, Tensor):
        raise UserError(f"the network gives a {type(out).__name__}, not a tensor of logits (N, classes)")
    return out


def lacks_memory(error: Exception) -> bool:
    """Tell whether an exception says that memory ran out: torch has a type of its own for accelerators alone."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)
