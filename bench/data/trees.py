"""Images in class folders: reads a folder or archive into images by path, and splits them by class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from lcrbench.bench.data import listed, spaces
from lcrbench.bench.data.arrays import Dataset, Split
from lcrbench.bench.data.keep import Keep, Kept
from lcrbench.bench.data.members import damage_told, hides, members, parts_of, why_passed
from lcrbench.errors import UserError
from lcrbench.images import natural

EXPECTED: Final = (
    "expected train/ and test/ (or val/) with one folder of images a class, archives of these, or four idx files"
)

_Parts = tuple[str, ...]
Half = dict[str, list[Kept]]
"""The images of a split, or where they lie, by the id of their class, both in order."""


class Tree(NamedTuple):
    """What a folder or archive holds, by path: its images, and its folders (a class may have a folder and no image)."""

    images: dict[_Parts, Kept]
    folders: set[_Parts]
    passed: Counter[str]


def load_trees(name: str, sources: tuple[Path, ...], size: int, layout: str, stream: bool) -> Dataset:
    """Load a training and a test tree, or one archive of both; many images are decoded once and then kept in the cache."""

    def make(keep: Keep) -> Dataset:
        trees = [read_tree(path, keep) for path in sources]
        wheres = [str(path) for path in sources]
        if len(trees) == 1:
            trees, wheres = _halves(trees[0], wheres[0])
        passed = sum((tree.passed for tree in trees), Counter[str]())
        halves = [by_class(tree, where) for tree, where in zip(trees, wheres, strict=True)]
        return joined(name, halves, wheres, keep, layout, passed)

    return listed.through(name, sources, size, layout, stream, make)


def joined(
    name: str, halves: list[Half], wheres: list[str], keep: Keep, layout: str, passed: Mapping[str, int]
) -> Dataset:
    """Return the data set of a training and a test half, whose classes must be the same."""
    train, test = halves
    for one, other, here, there in ((train, test, *wheres), (test, train, *reversed(wheres))):
        if lacking := [f"'{label}'" for label in one if label not in other]:
            raise UserError(
                f"{there} lacks {len(lacking)} of the class folders of {here}: {', '.join(lacking[:3])}"
                f"{' ...' if len(lacking) > 3 else ''}; training and test need the same classes"
            )
    classes = tuple(train)
    return Dataset(
        name,
        classes,
        stack(classes, train, keep),
        stack(classes, test, keep),
        skipped=sum(passed.values()),
        space=spaces.of_folders(classes),
        layout=layout,
        reasons=tuple(sorted(passed.items())),
    )


def read_tree(source: Path, keep: Keep) -> Tree:
    """Read all images of a folder or archive, in one pass and without unpacking to disk."""
    images: dict[_Parts, Kept] = {}
    folders: set[_Parts] = set()
    passed: Counter[str] = Counter()
    for member in members(source):
        parts = parts_of(member, source)
        if member.read is None:
            if not hides(parts):
                folders.add(parts)
        elif why := why_passed(parts):
            passed[why] += 1
        elif parts in images:
            raise UserError(f"{member.where} is there twice: make the archive again")
        else:
            with damage_told(source):
                content = member.read()
            images[parts] = keep.one(member, content, member.where, source)
    return Tree(images, folders, passed)


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
            Counter(),
        )
        for top in ("train", test)
    ]
    others = len(tree.images) - sum(len(half.images) for half in trees)
    passed = tree.passed + Counter({f"images outside of train/ and {test}/": others})
    return [trees[0]._replace(passed=passed), trees[1]], [f"{where}: train", f"{where}: {test}"]


def by_class(tree: Tree, where: str) -> Half:
    """Return the images of each class: the folders beneath the one that all images lie in; both in natural order."""
    if not tree.images:
        raise UserError(f"{where} holds no images: {EXPECTED}")
    depth = _depth(tree)
    found: dict[str, list[_Parts]] = {folder[depth]: [] for folder in tree.folders if len(folder) > depth}
    for path in tree.images:
        if len(path) < depth + 2:
            if depth and len(path) > depth and not found:
                raise UserError(
                    f"{where}: all images lie in one class folder, '{'/'.join(path[:-1])}', and two"
                    f" classes at least are needed: {EXPECTED}"
                )
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


def ordered(found: Iterable[tuple[str, _Parts, Kept]]) -> Half:
    """Return images, each with the id of its class and its name, class by class and by name, both in natural order."""
    rows = sorted(found, key=lambda row: (natural((row[0],)), natural(row[1])))
    half: Half = {}
    for label, _, image in rows:
        half.setdefault(label, []).append(image)
    return half


def stack(classes: tuple[str, ...], half: Half, keep: Keep) -> Split:
    """Return the images of all classes as one split, class after class."""
    counts = [len(half.get(label, ())) for label in classes]
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), counts)
    return keep.split([one for label in classes for one in half.get(label, ())], labels)
