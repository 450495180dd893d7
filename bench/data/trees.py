"""Images in class folders: reads a folder or archive into images by path, and splits them by class."""

from __future__ import annotations

import unicodedata
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

import numpy as np

from lcrbench.bench.data import disk_cache
from lcrbench.bench.data.arrays import Dataset, Images, Split
from lcrbench.bench.data.members import damage_told, members
from lcrbench.errors import UserError
from lcrbench.images import SUFFIXES, decode, natural

EXPECTED: Final = (
    "expected train/ and test/ (or val/) with one folder of images a class, archives of these, or four idx files"
)

_Parts = tuple[str, ...]


class Tree(NamedTuple):
    """What a folder or archive holds, by path: decoded images, and its folders (a class may have a folder and no image)."""

    images: dict[_Parts, Images]
    folders: set[_Parts]
    skipped: int


def load_trees(name: str, sources: tuple[Path, ...], size: int) -> Dataset:
    """Load a training and a test tree, or one archive of both; archives are decoded once and then kept in the cache."""
    cache = None if any(path.is_dir() for path in sources) else disk_cache.folder(sources, size)
    if cache and (cached := disk_cache.read(cache, name)):
        return cached

    trees = [read_tree(path, size) for path in sources]
    wheres = [str(path) for path in sources]
    if len(trees) == 1:
        trees, wheres = _halves(trees[0], wheres[0])
    train, test = (_by_class(tree, where) for tree, where in zip(trees, wheres, strict=True))
    for one, other, here, there in ((train, test, *wheres), (test, train, *reversed(wheres))):
        if lacking := [f"'{label}'" for label in one if label not in other]:
            raise UserError(
                f"{there} lacks {len(lacking)} of the class folders of {here}: {', '.join(lacking[:3])}"
                f"{' ...' if len(lacking) > 3 else ''}; training and test need the same classes"
            )
    dataset = Dataset(
        name, tuple(train), _stack(train, size), _stack(test, size), skipped=sum(tree.skipped for tree in trees)
    )
    if cache and len(dataset.train) + len(dataset.test) >= disk_cache.WORTH:
        disk_cache.write(cache, dataset)
    return dataset


def read_tree(source: Path, size: int) -> Tree:
    """Decode all images of a folder or archive, in one pass and without unpacking to disk."""
    images: dict[_Parts, Images] = {}
    folders: set[_Parts] = set()
    skipped = 0
    for member in members(source):
        # macOS writes accents as two characters, others as one: the same name must be the same class.
        parts = PurePosixPath(unicodedata.normalize("NFC", member.path)).parts
        if ".." in parts or member.path.startswith("/"):
            raise UserError(f"{member.where} points outside of the archive: make the archive again with plain paths")
        if not parts and member.read:
            raise UserError(f"{source} holds a file without a name: make the archive again")
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
        if member.read is None:
            if not hidden:
                folders.add(parts)
        elif hidden or PurePosixPath(parts[-1]).suffix.lower() not in SUFFIXES:
            skipped += 1
        elif parts in images:
            raise UserError(f"{member.where} is there twice: make the archive again")
        else:
            with damage_told(source):
                content = member.read()
            images[parts] = decode(content, member.where, size)
    return Tree(images, folders, skipped)


def _depth(tree: Tree) -> int:
    """Return how many folders all images lie in together, such as 1 where an archive holds nothing but `train/`."""
    parents = {path[:-1] for path in tree.images}
    above = {folder[:depth] for folder in parents | tree.folders for depth in range(len(folder))}
    places = parents | (tree.folders - above)
    shared = 0
    for level in zip(*places, strict=False):
        if len(set(level)) > 1:
            break
        shared += 1
    return shared


def _halves(tree: Tree, where: str) -> tuple[list[Tree], list[str]]:
    """Return the training and test trees of an archive that holds both, and what to call them."""
    depth = _depth(tree)
    tops = {path[depth] for path in tree.images if len(path) > depth + 1}
    test = "test" if "test" in tops else "val"
    if not {"train", test} <= tops:
        raise UserError(f"{where} holds no images in train/ and test/ (or val/): {EXPECTED}")
    trees = [
        Tree(
            {path[depth + 1 :]: image for path, image in tree.images.items() if path[depth] == top},
            {folder[depth + 1 :] for folder in tree.folders if folder[depth : depth + 1] == (top,)},
            0,
        )
        for top in ("train", test)
    ]
    others = len(tree.images) - sum(len(half.images) for half in trees)
    return [trees[0]._replace(skipped=tree.skipped + others), trees[1]], [f"{where}: train", f"{where}: {test}"]


def _by_class(tree: Tree, where: str) -> dict[str, list[Images]]:
    """Return the images of each class: the folders beneath the one that all images lie in; both in natural order."""
    if not tree.images:
        raise UserError(f"{where} holds no images: {EXPECTED}")
    depth = _depth(tree)
    found: dict[str, list[_Parts]] = {folder[depth]: [] for folder in tree.folders if len(folder) > depth}
    for path in tree.images:
        if len(path) < depth + 2:
            raise UserError(f"{where}: {'/'.join(path)} lies in no class folder: {EXPECTED}, at least two classes")
        found.setdefault(path[depth], []).append(path)
    for label, paths in found.items():
        if not paths:
            raise UserError(f"{where}: class folder '{label}' holds no images: fill it, or remove it from both sets")
        if not label.isprintable():
            raise UserError(f"{where}: class folder {label!a} is not named in plain UTF-8: rename it")
    return {
        label: [tree.images[path] for path in sorted(found[label], key=natural)]
        for label in sorted(found, key=lambda label: natural((label,)))
    }


def _stack(classes: dict[str, list[Images]], size: int) -> Split:
    """Return the images of all classes as one split, class after class."""
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(images) for images in classes.values()])
    stacked = np.empty((len(labels), size, size, 3), np.uint8)
    for i, image in enumerate(image for images in classes.values() for image in images):
        stacked[i] = image
    return Split(stacked, labels)
