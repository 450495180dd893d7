"""Corruptions for torch: a transform in the style of torchvision.transforms.v2, and a data set corrupted as it is read.

    from lcrbench.torch import Corrupt, CorruptedDataset

    foggy = CorruptedDataset(CIFAR10(root, train=False), "fog", 3, transform=to_float)   # image i has the index i
    augment = v2.Compose([v2.RandomCrop(32, 4), Corrupt("gaussian_noise", 1)])           # its index is drawn

Both take what `lcrbench.corrupt` takes by name, and give its bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from lcrbench.corruptions.engine import check_severity, corrupt
from lcrbench.corruptions.registered import find
from lcrbench.errors import UserError
from lcrbench.untrusted import name_of, whole

__all__ = ["Corrupt", "CorruptedDataset"]


def _is_plain(value: Any) -> bool:
    """Tell a tensor that is no box, mask or the like."""
    return isinstance(value, torch.Tensor) and not isinstance(value, tv_tensors.TVTensor)


class Corrupt(v2.Transform):  # type: ignore[misc]  # torchvision has no types
    """Corrupts images: PIL images (RGB or L), and uint8 tensors or tv_tensors (..., C, H, W) with C = 3 or 1.

    Labels, boxes and masks pass unchanged. Float tensors are refused, so put it before a conversion to float. The
    randomness of an image depends on (seed, stream, name, severity, index). As a transform it draws the index from torch's
    random state; `at` takes it.

    Args:
        name: a corruption, as for `lcrbench.corrupt`.
        severity: 1 (mildest) to 5.
        seed: any integer.
        stream: the name of the data set, so that two data sets do not share their draws.
        constants: "cifar", "tiny" or "imagenet"; default: the set of the nearest image size.

    Raises `UserError` for an unknown name or severity, and, when called, for images of another type.
    """

    _transformed_types = (Image.Image, tv_tensors.Image, tv_tensors.Video, _is_plain)

    def __init__(
        self, name: str, severity: int, seed: int = 0, *, stream: str = "", constants: str | None = None
    ) -> None:
        super().__init__()
        find(name_of(name, "the corruption"))
        self.name, self.severity, self.seed = name, check_severity(severity), whole(seed, "seed")
        self.stream, self.constants = stream, constants

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the index of what one call transforms from torch's random state."""
        return {"index": int(torch.randint(1 << 62, ()))}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Return the input corrupted; images, boxes and labels of one sample share `params`."""
        return self.at(inpt, params["index"])

    def at(self, image: Any, index: int) -> Any:
        """Return an image corrupted as number `index` of its data set, of the same type and shape.

        The images of a batch (..., C, H, W) have the numbers index, index + 1, ...
        """
        if isinstance(image, Image.Image):
            if image.mode not in ("RGB", "L"):
                raise UserError(f"Corrupt takes PIL images of the mode RGB or L, not {image.mode}: convert it")
            pixels = np.asarray(image)
            return Image.fromarray(self._run(pixels.reshape(1, *pixels.shape), index)[0])
        if not isinstance(image, torch.Tensor) or image.dtype != torch.uint8:
            found = image.dtype if isinstance(image, torch.Tensor) else type(image).__name__
            raise UserError(f"Corrupt takes PIL images and uint8 tensors, not {found}: put it before the conversion")
        if image.ndim < 3 or image.shape[-3] not in (1, 3):
            raise UserError(f"Corrupt takes tensors (..., C, H, W) with C = 3 or 1, not {tuple(image.shape)}")
        channels, height, width = image.shape[-3:]
        flat = image.as_subclass(torch.Tensor).reshape(-1, channels, height, width)
        pixels = flat.permute(0, 2, 3, 1).cpu().numpy()
        result = self._run(pixels if channels == 3 else pixels[..., 0], index).reshape(pixels.shape)
        made = torch.from_numpy(result).permute(0, 3, 1, 2).contiguous().reshape(image.shape).to(image.device)
        return tv_tensors.wrap(made, like=image) if isinstance(image, tv_tensors.TVTensor) else made

    def _run(self, images: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
        settings: dict[str, Any] = {"seed": self.seed, "stream": self.stream, "constants": self.constants}
        indices = index + np.arange(len(images), dtype=np.int64)
        return corrupt(images, self.name, self.severity, indices=indices, **settings)

    def extra_repr(self) -> str:
        """Return the arguments, for repr()."""
        return f"{self.name!r}, severity={self.severity}, seed={self.seed}, stream={self.stream!r}"


class CorruptedDataset(Dataset[Any]):
    """A map-style data set whose image i is `lcrbench.corrupt` of the given data set's image i, with the index i.

    So an image does not depend on the order of reading or on the number of workers.

    Args:
        dataset: items are an image, or a tuple or list that begins with one: a PIL image, or a uint8 tensor (C, H, W).
        name, severity, seed, stream, constants: as for `Corrupt`.
        transform: applied to the corrupted image, such as a conversion to float.

    Raises `UserError` for an unknown name or severity, and, when read, for images of another type.
    """

    def __init__(
        self,
        dataset: Any,
        name: str,
        severity: int,
        seed: int = 0,
        stream: str = "",
        *,
        constants: str | None = None,
        transform: Callable[[Any], Any] | None = None,
    ) -> None:
        self.dataset, self.transform = dataset, transform
        self.corruption = Corrupt(name, severity, seed, stream=stream, constants=constants)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        number = index + len(self) if index < 0 else index
        item = self.dataset[number]
        image, *rest = item if isinstance(item, (tuple, list)) else (item,)
        made = self.corruption.at(image, number)
        if self.transform is not None:
            made = self.transform(made)
        return (made, *rest) if isinstance(item, (tuple, list)) else made
