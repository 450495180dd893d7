"""A folder of four idx files: Fashion-MNIST or another set in MNIST's format, gzipped or not.

The files are train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, in the
folder itself or in its raw/, MNIST/raw/ or FashionMNIST/raw/.
"""

from __future__ import annotations

from pathlib import Path

from lcrbench.bench.data.arrays import Dataset
from lcrbench.bench.data.idx import PARTS, find_idx, from_idx, read_idx
from lcrbench.bench.fashion import CLASSES, FULL_SHA256
from lcrbench.errors import UserError

ORDER = 10


def detect(path: Path) -> bool:
    """Tell whether a folder holds idx files. Raises `UserError` if it holds some of the four alone."""
    return path.is_dir() and bool(find_idx(path))


def load(place: str, size: int) -> Dataset:
    """Load four idx files; those of Fashion-MNIST are recognised by their hashes, and get its class names.

    Raises `UserError` if they do not belong together, or a class has no image.
    """
    folder = Path(place)
    files = find_idx(folder)
    if not files:
        raise UserError(f"{folder} holds no idx files: it needs train-images-idx3-ubyte and the three beside it")
    read = {part: read_idx(path) for part, path in files.items()}
    for split in ("train", "test"):
        images, labels = read[f"{split}-images"][0], read[f"{split}-labels"][0]
        if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels) or not images.size:
            raise UserError(
                f"{files[f'{split}-images']} of shape {images.shape} and {files[f'{split}-labels'].name} of shape"
                f" {labels.shape} do not belong together: get both again"
            )
    arrays = [read[part][0] for part in PARTS]

    known = {part: digest == FULL_SHA256[part] for part, (_, digest) in read.items()}
    if all(known.values()):
        return from_idx("fashion-mnist", CLASSES, arrays, size)
    # The labels' hashes are left out, because files so small and regular may be those of another set too.
    if known["train-images"] or known["test-images"]:
        wrong = next(part for part, ok in known.items() if not ok)
        raise UserError(
            f"{files[wrong]} has the wrong sha256, though files beside it are Fashion-MNIST's: get it again"
        )

    classes = tuple(str(label) for label in range(int(max(arrays[1].max(), arrays[3].max())) + 1))
    for part in ("train-labels", "test-labels"):
        for label in sorted(set(range(len(classes))) - set(read[part][0].tolist())):
            raise UserError(f"{files[part]} has no image of class {label}, though labels go up to {len(classes) - 1}")
    return from_idx(folder.resolve().name, classes, arrays, size)
