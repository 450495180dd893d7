"""A folder of WebDataset tars, such as timm/imagenet-1k-wds: train and validation shards of images with their labels.

A shard's name holds "train", or "val" or "test". A sample is the files of one key: KEY.jpg (.jpeg, .png) and KEY.cls (a
whole number) or KEY.json with "label" or "cls". Where every training key begins with a WordNet id, and the label is its rank
among ImageNet's, the classes are ImageNet-1k's. Images are sorted by class and key.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from lcrbench.bench.data import listed, spaces
from lcrbench.bench.data.arrays import Dataset, Split
from lcrbench.bench.data.keep import Keep, Kept
from lcrbench.bench.data.members import damage_told, first_names, hides, members, parts_of
from lcrbench.errors import UserError
from lcrbench.images import SUFFIXES, natural

ORDER = 40
STREAMS = True

_LABELS: Final = ("cls", "json")


class _Sample(NamedTuple):
    key: str
    label: int
    image: Kept
    where: str


def detect(path: Path) -> bool:
    """Tell whether a folder holds tars of samples."""
    if not path.is_dir():
        return False
    shards = _shards(path)
    return bool(shards) and any(_is_shard(file) for half in shards.values() for file in half[:1])


def _is_shard(file: Path) -> bool:
    names = first_names(file, 6)
    keys: dict[str, set[str]] = {}
    for name in names:
        key, _, ending = name.rpartition("/")[2].partition(".")
        keys.setdefault(key, set()).add(ending.lower())
    return any(endings & {*_LABELS} and any(f".{e}" in SUFFIXES for e in endings) for endings in keys.values())


def _shards(path: Path) -> dict[str, list[Path]]:
    """Return the tars of a folder by split, in natural order."""
    found: dict[str, list[Path]] = {}
    for file in sorted(path.glob("*.tar"), key=lambda file: natural((file.name,))):
        split = next(
            (to for word, to in (("train", "train"), ("val", "test"), ("test", "test")) if word in file.name), None
        )
        if split and not file.name.startswith("."):
            found.setdefault(split, []).append(file)
    return found


def load(place: str, size: int, stream: bool = False) -> Dataset:
    """Load both splits. Raises `UserError` if one is missing, a shard is damaged, or a sample lacks its image or label."""
    path = Path(place)
    shards = _shards(path)
    if missing := [split for split in ("train", "test") if split not in shards]:
        what = "train" if missing[0] == "train" else "val or test"
        raise UserError(f"{path} holds no WebDataset tars with '{what}' in their names: put those shards beside")

    def make(keep: Keep) -> Dataset:
        passed: Counter[str] = Counter()
        halves = [[s for file in shards[split] for s in _samples(file, keep, passed)] for split in ("train", "test")]
        for split, half in zip(("train", "test"), halves, strict=True):
            if not half:
                raise UserError(f"{shards[split][0]} and the shards beside it hold no samples: get them again")
        space, ids = _space(halves)
        splits = [_split(half, keep) for half in halves]
        return Dataset(
            path.resolve().name,
            ids,
            splits[0],
            splits[1],
            sum(passed.values()),
            space=space,
            layout="webdataset_tars",
            reasons=tuple(sorted(passed.items())),
        )

    used = (*shards["train"], *shards["test"])
    return listed.through(path.resolve().name, used, size, "webdataset_tars", stream, make)


def _samples(shard: Path, keep: Keep, passed: Counter[str]) -> list[_Sample]:
    images: dict[str, tuple[Kept, str]] = {}
    labels: dict[str, int] = {}
    for member in members(shard):
        parts = parts_of(member, shard)
        if member.read is None:
            continue
        if hides(parts):
            passed["hidden"] += 1
            continue
        stem, _, ending = parts[-1].partition(".")
        key, ending = "/".join((*parts[:-1], stem)), ending.lower()
        known: object = labels if ending in _LABELS else images
        if ending not in _LABELS and f".{ending}" not in SUFFIXES:
            passed[f"ending in .{ending}" if ending.isprintable() else "with a strange ending"] += 1
            continue
        if key in images and known is images:
            raise UserError(f"{member.where}: the sample {key} has two images: get the shard again")
        with damage_told(shard):
            content = member.read()
        if known is labels:
            if (label := _label(content, ending, member.where)) is not None and labels.setdefault(key, label) != label:
                raise UserError(f"{member.where}: the sample {key} has two labels: get the shard again")
        else:
            images[key] = keep.one(member, content, member.where, shard), member.where
    for lacks, what in ((images.keys() - labels, "label (.cls or .json)"), (labels.keys() - images, "image")):
        if lacks:
            raise UserError(f"{shard}: the sample {min(lacks)} has no {what}: get the shard again")
    return [_Sample(key, labels[key], image, where) for key, (image, where) in images.items()]


def _label(content: bytes, ending: str, where: str) -> int | None:
    """Return the label in a file; None where a .json says none."""
    text = content.decode("ascii", errors="replace").strip()
    if ending == "json":
        try:
            told = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where} is no JSON: get the shard again") from error
        found = (
            next((told[name] for name in ("label", "cls") if name in told), None) if isinstance(told, dict) else None
        )
        if found is None:
            return None
        text = str(found)
    if not (text.isascii() and text.isdigit() and len(text) < 7):
        raise UserError(f"{where} holds {text[:20]!a}, which is no class's number: get the shard again")
    return int(text)


def _space(halves: list[list[_Sample]]) -> tuple[str, tuple[str, ...]]:
    """Return the label space and its classes: ImageNet-1k's where the training keys prove it."""
    ids = spaces.ids(spaces.IMAGENET)
    heads = {sample.key.rpartition("/")[2].partition("_")[0] for sample in halves[0]}
    most = max(sample.label for half in halves for sample in half)
    if all(map(spaces.is_wnid, heads)) and heads <= set(ids):
        rank = {wnid: k for k, wnid in enumerate(ids)}
        for sample in halves[0]:
            wnid = sample.key.rpartition("/")[2].partition("_")[0]
            if rank[wnid] != sample.label:
                raise UserError(
                    f"{sample.where} is of class {wnid}, which is number {rank[wnid]} of ImageNet-1k, and has the label"
                    f" {sample.label}: labels of another order cannot be used"
                )
        if most < len(ids):
            return spaces.IMAGENET, ids
    return spaces.OWN, tuple(map(str, range(most + 1)))


def _split(half: list[_Sample], keep: Keep) -> Split:
    half.sort(key=lambda sample: (sample.label, natural((sample.key.rpartition("/")[2],))))
    if len({sample.key for sample in half}) < len(half):
        twice = next(key for key, n in Counter(sample.key for sample in half).items() if n > 1)
        raise UserError(f"the sample {twice} lies in two shards: get them again")
    return keep.split([s.image for s in half], np.array([s.label for s in half], np.int64))
