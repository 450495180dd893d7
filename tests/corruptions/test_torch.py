"""Corruptions for torch: the same bits as `lcrbench.corrupt`, whatever holds the image and whoever reads it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset
from torchvision import tv_tensors
from torchvision.transforms import v2

import lcrbench
from lcrbench.errors import UserError
from lcrbench.torch import Corrupt, CorruptedDataset

IMAGES = np.random.default_rng(0).integers(0, 256, (9, 32, 40, 3), np.uint8)
NAMES = ["gaussian_noise", "motion_blur", "jpeg_compression", "imagecorruptions:fog"]
TENSORS = torch.from_numpy(IMAGES).permute(0, 3, 1, 2)
LABELS = torch.arange(9)


def wanted(name: str, images: np.ndarray = IMAGES) -> np.ndarray:
    return lcrbench.corrupt(images, name, 3, seed=4, stream="s")


def hwc(image: torch.Tensor) -> np.ndarray:
    return image.as_subclass(torch.Tensor).movedim(-3, -1).numpy()


@pytest.mark.parametrize("name", NAMES)
def test_image_i_has_the_index_i(name: str) -> None:
    kinds = {
        "PIL": [(Image.fromarray(image), k) for k, image in enumerate(IMAGES)],
        "tensor": [(image, k) for k, image in enumerate(TENSORS)],
        "tv_tensor": [[tv_tensors.Image(image), k, "more"] for k, image in enumerate(TENSORS)],
        "image alone": list(TENSORS),
    }
    for kind, items in kinds.items():
        read = CorruptedDataset(items, name, 3, seed=4, stream="s")
        assert len(read) == 9
        for k in (8, 0, 3, -1):
            item = read[k]
            image, *rest = item if isinstance(item, tuple) else (item,)
            assert type(image) is (
                Image.Image if kind == "PIL" else type(TENSORS[0]) if kind != "tv_tensor" else tv_tensors.Image
            )
            found = np.asarray(image) if kind == "PIL" else hwc(image)
            assert (found == wanted(name)[k]).all(), kind
            assert rest == ([] if kind == "image alone" else [k % 9, "more"][: len(rest)])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_reads_the_same_with_workers(workers: int) -> None:
    read = CorruptedDataset(TensorDataset(TENSORS, LABELS), "gaussian_noise", 3, seed=4, stream="s")
    order = torch.Generator().manual_seed(1)
    seen = {}
    for images, labels in DataLoader(read, batch_size=4, shuffle=True, num_workers=workers, generator=order):
        seen |= dict(zip(labels.tolist(), hwc(images), strict=True))
    assert (np.stack([seen[k] for k in range(9)]) == wanted("gaussian_noise")).all()


def test_a_transform_follows_the_corruption() -> None:
    read = CorruptedDataset(
        TensorDataset(TENSORS, LABELS), "fog", 3, 4, "s", transform=v2.ToDtype(torch.float32, scale=True)
    )
    image, label = read[5]
    assert image.dtype == torch.float32
    assert int(label) == 5
    assert (hwc(image * 255).round() == wanted("fog")[5]).all()


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_gray_and_batches(mode: str) -> None:
    images = IMAGES if mode == "RGB" else IMAGES[..., 0]
    corruption = Corrupt("shot_noise", 3, 4, stream="s")
    expected = wanted("shot_noise", images)
    batch = torch.from_numpy(images).permute(0, 3, 1, 2) if mode == "RGB" else torch.from_numpy(images)[:, None]
    found = hwc(corruption.at(batch, 0))
    assert (found.reshape(expected.shape) == expected).all()
    video = corruption.at(tv_tensors.Video(batch[None]), 0)
    assert type(video) is tv_tensors.Video
    assert torch.equal(video.as_subclass(torch.Tensor)[0], corruption.at(batch, 0))
    one = corruption.at(Image.fromarray(images[4]), 4)
    assert one.mode == mode
    assert (np.asarray(one) == expected[4]).all()


def test_as_a_transform_the_index_follows_torch_and_the_rest_of_a_sample_passes() -> None:
    corruption = Corrupt("gaussian_noise", 3)
    torch.manual_seed(0)
    first, second = corruption(TENSORS[0]), corruption(TENSORS[0])
    torch.manual_seed(0)
    assert torch.equal(corruption(TENSORS[0]), first)
    assert not torch.equal(first, second)
    box = tv_tensors.BoundingBoxes([[0, 0, 9, 9]], format="XYXY", canvas_size=(32, 40))
    sample = {"image": tv_tensors.Image(TENSORS[0]), "box": box, "label": torch.tensor(3), "name": "x"}
    made = v2.Compose([v2.RandomHorizontalFlip(0.0), corruption])(sample)
    assert type(made["image"]) is tv_tensors.Image
    assert not torch.equal(made["image"], sample["image"])
    assert torch.equal(made["box"], box)
    assert made["label"] == 3
    assert "gaussian_noise" in repr(corruption)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (TENSORS[0] / 255, "before the conversion"),
        (TENSORS[0, 0], r"\(..., C, H, W\)"),
        (TENSORS[0].movedim(0, -1), r"\(..., C, H, W\)"),
        (Image.fromarray(IMAGES[0]).convert("RGBA"), "RGB or L, not RGBA"),
        ("picture", "not str"),
    ],
)
def test_other_images_are_refused(image: object, words: str) -> None:
    with pytest.raises(UserError, match=words):
        CorruptedDataset([(image, 0)], "fog", 3)[0]


def test_mistakes_are_refused_at_once() -> None:
    with pytest.raises(UserError, match="did you mean 'fog'"):
        Corrupt("fogg", 3)
    with pytest.raises(UserError, match="severity"):
        CorruptedDataset([], "fog", 6)


def test_corrupt_itself_needs_no_torch() -> None:
    code = "import sys, lcrbench; lcrbench.corrupt; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
