"""The labels of ImageNet-1k's validation images, which lie in one flat folder or tar: the WordNet id of each by its name.

    ILSVRC2012_devkit_t12[.tar.gz]    a number 1..1000 an image, in the order of the images; meta.mat names the id of each
    LOC_val_solution.csv              Kaggle: image, then the id before each box
    meta.bin                          torchvision: (id -> names, ids in the order of the images)

The number of the devkit is no class index: classes are numbered by the rank of their id.
"""

from __future__ import annotations

import csv
import io
import struct
import zlib
from pathlib import Path
from typing import Any, Final

from lcrbench import untrusted
from lcrbench.bench.data.members import files_of
from lcrbench.bench.data.spaces import is_wnid
from lcrbench.errors import UserError

DEVKIT: Final = "ILSVRC2012_devkit_t12"
CSV: Final = "LOC_val_solution.csv"
META: Final = "meta.bin"

_TRUTH: Final = "ILSVRC2012_validation_ground_truth.txt"
_LARGEST: Final = 1 << 26


def labels_beside(folder: Path) -> dict[str, str]:
    """Return the WordNet id of each validation image by its name without ending, from what lies in a folder.

    Images are called ILSVRC2012_val_00000001 and so on. Raises `UserError` if there are no labels, or they are damaged.
    """
    for place in (folder / DEVKIT, folder / f"{DEVKIT}.tar.gz"):
        if place.exists():
            return _numbered(_devkit(place))
    if (folder / CSV).is_file():
        return _solution(folder / CSV)
    if (folder / META).is_file():
        return _numbered(_meta(folder / META))
    raise UserError(
        f"{folder} holds ImageNet's validation images in one folder, without their labels: put {DEVKIT}.tar.gz, Kaggle's"
        f" {CSV} or torchvision's {META} beside them, or sort them into class folders"
    )


def _numbered(ids: list[str]) -> dict[str, str]:
    return {f"ILSVRC2012_val_{k:08d}": wnid for k, wnid in enumerate(ids, 1)}


def _devkit(place: Path) -> list[str]:
    folder = place / "data" if (place / "data").is_dir() else place
    found = files_of(folder, {_TRUTH, "meta.mat"}, _LARGEST)
    if missing := {_TRUTH, "meta.mat"} - found.keys():
        raise UserError(f"{place} lacks {min(missing)}: get it again")
    ids = _synsets(found["meta.mat"], f"{place}: meta.mat")
    truth = []
    for number, line in enumerate(found[_TRUTH].decode("ascii", errors="replace").split(), 1):
        if not (line.isdecimal() and len(line) < 9) or int(line) not in ids:
            raise UserError(
                f"{place}: line {number} of {_TRUTH} is {line[:20]!a}, and meta.mat has no such ILSVRC2012_ID"
            )
        truth.append(ids[int(line)])
    return truth


def _synsets(content: bytes, where: str) -> dict[int, str]:
    """Return WordNet ids by ILSVRC2012_ID, of the classes alone: meta.mat names what lies above them too."""
    from scipy.io import loadmat

    try:
        if _unpacked(content) > _LARGEST:
            raise ValueError(f"it unpacks to more than {_LARGEST >> 20} MiB")
        file: Any = io.BytesIO(content)
        table = loadmat(file, squeeze_me=True, variable_names=["synsets"])["synsets"].reshape(-1)
        found = {int(row["ILSVRC2012_ID"]): str(row["WNID"]).strip() for row in table if int(row["num_children"]) == 0}
    except Exception as error:  # scipy fails in any way
        reason = str(error).partition("\n")[0]
        raise UserError(f"{where} is damaged, or not that of ILSVRC2012 ({reason}): get it again") from error
    if not found or not all(is_wnid(wnid) for wnid in found.values()):
        raise UserError(f"{where} names no WordNet ids: get it again")
    return found


def _unpacked(content: bytes) -> int:
    """Return how many bytes the compressed variables of a .mat file of version 5 unpack to, counted up to `_LARGEST`."""
    total, place = 0, 128
    while place + 8 <= len(content) and total <= _LARGEST:
        kind, size = struct.unpack("<II", content[place : place + 8])
        if kind == 15:
            total += len(zlib.decompressobj().decompress(content[place + 8 : place + 8 + size], _LARGEST + 1))
        place += 8 + size
    return total


def _solution(path: Path) -> dict[str, str]:
    if path.stat().st_size > _LARGEST:
        raise UserError(f"{path} is too large to be Kaggle's: get it again")
    found: dict[str, str] = {}
    with io.TextIOWrapper(untrusted.opened(path), "utf-8", "replace", newline="") as file:
        rows = csv.reader(file)
        if next(rows, None) != ["ImageId", "PredictionString"]:
            raise UserError(f"{path} does not begin with ImageId,PredictionString: it is not Kaggle's, get it again")
        for number, row in enumerate(rows, 2):
            words = row[1].split() if len(row) == 2 else []
            ids = set(words[::5])
            if len(ids) != 1 or not is_wnid(min(ids)) or row[0] in found:
                raise UserError(
                    f"{path}: line {number} is no new image with one WordNet id before each box: get it again"
                )
            found[row[0]] = min(ids)
    return found


def _meta(path: Path) -> list[str]:
    import torch

    if path.stat().st_size > _LARGEST:
        raise UserError(f"{path} is too large to be torchvision's: get it again")
    try:
        with untrusted.opened(path) as plain:
            loaded: Any = torch.load(plain, weights_only=True)
    except Exception as error:  # torch fails in any way, and refuses what is no plain value
        reason = str(error).partition("\n")[0][:100]
        raise UserError(f"{path} is not torchvision's meta.bin, or damaged ({reason}): get it again") from error
    ids = loaded[1] if isinstance(loaded, tuple) and len(loaded) == 2 else None
    if not isinstance(ids, list) or not all(isinstance(wnid, str) and is_wnid(wnid) for wnid in ids):
        raise UserError(f"{path} does not hold the WordNet ids of the validation images: get it again")
    return ids
