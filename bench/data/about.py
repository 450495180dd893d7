"""What is told of a data set: kind, classes, counts, hashes, what was passed over, and what a run of it needs.

The facts are kept in the user's cache by the names, sizes and times of the files, so that a second look reads none of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lcrbench import registry, untrusted
from lcrbench.bench.data import copies, degenerate, disk_cache, loading
from lcrbench.bench.data.arrays import Dataset, Images, Streamed, TestImages
from lcrbench.errors import UserError

_VERSION = 2
_CELLS = 75
"""Of the common corruptions at five severities."""


def passed_over(reasons: Iterable[tuple[str, int]]) -> str:
    """Return what was passed over in one line.

    >>> passed_over([("hidden", 1), ("images ending in .gif", 1200)])
    '1,201 files passed over: 1 hidden, 1,200 images ending in .gif'
    """
    each = list(reasons)
    total = sum(n for _, n in each)
    return f"{total:,} file{'s' * (total != 1)} passed over: {', '.join(f'{n:,} {why}' for why, n in each)}"


class About(NamedTuple):
    """What is told of a data set: its name, the source that reads it, and the facts of `disk_cache.facts_of`."""

    name: str
    source: str
    facts: dict[str, Any]

    def lines(self) -> Iterator[str]:
        """Yield the lines that `lcrbench show data` prints."""
        facts = self.facts
        train, test, classes, size = facts["train"], facts["test"], facts["classes"], facts["size"]
        yield self.name
        yield f"kind: {self.source}, {registry.summary('source', self.source)}"
        if sum(train):
            yield f"{sum(train):,} training and {sum(test):,} test images, as {size} x {size} px"
        else:
            yield f"{sum(test):,} test images and none to train on (name it by --test-set), as {size} x {size} px"
        told = ", ".join(classes) if len(classes) <= 20 else f"{', '.join(classes[:5])} ... {', '.join(classes[-2:])}"
        yield f"classes: {told}"
        yield f"{len(classes)} classes of the label space {facts['space']}; images of a class: {_spread(train, test)}"
        if (kind := facts.get("hash_kind", "pixels")) == "manifest":
            yield "streamed: images stay in their files, and the hashes are of the files (class, name, size, bytes)"
        if copied := facts.get("copied"):
            yield f"its files are compressed: it is streamed from a copy, {_bytes(copied)} in {disk_cache.home()}"
        yield f"sha256: {facts['sha256']}"
        yield f"train_sha256: {facts['train_sha256']}"
        yield f"test_sha256: {facts['test_sha256']}"
        yield f"published files: {_published(facts['published'])}"
        yield passed_over(facts["reasons"]) if facts["reasons"] else "no file passed over"
        image = size * size * 3
        held, cell = (sum(train) + sum(test)) * image, sum(test) * image
        yield (
            f"a run needs {'no' if kind == 'manifest' else _bytes(held) + ' of'} memory for the images; on disk, until"
            f" it ends, at most {_bytes(min(_CELLS * cell, 1 << 30))} of corrupted images"
        )


def _spread(train: list[int], test: list[int]) -> str:
    def told(counts: list[int]) -> str:
        low, high = min(counts, default=0), max(counts, default=0)
        return f"{low:,}" if low == high else f"{low:,} to {high:,}"

    return f"{told(train)} to train, {told(test)} to test" if sum(train) else f"{told(test)} to test"


def _published(known: bool | None) -> str:
    if known is None:
        return "no hashes are known of these"
    return "yes, by their hashes" if known else "no, these are not the published bytes"


def _bytes(number: int) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.1f} MB"


def about(source: str, size: int, stream: bool | None = None) -> About:
    """Return what is told of a data set or a test set. Raises `UserError` as `load` does."""
    try:
        entry, place = loading.find(source)
        kept = _place(entry, place, size, loading.streams(entry, place, size, stream))
    except OSError as error:
        raise UserError(f"{error.filename or source} cannot be read ({error.strerror}): check the path") from error
    if kept and (known := disk_cache.told(kept.parent, kept.name)):
        return About(known["name"], entry, known)
    found = _load(source, size, stream)
    facts = disk_cache.facts_of(found) if isinstance(found, Dataset) else _facts_of_test(found)
    facts["name"] = found.name
    split = found.train if isinstance(found, Dataset) else found.split
    if (copy := copies.of(split.images)) is not None:
        facts["copied"] = copy.stat().st_size
    if kept:
        # Without room or permission it is found out again the next time.
        with contextlib.suppress(OSError):
            disk_cache.keep_facts(kept, facts)
    return About(found.name, entry, facts)


def _place(entry: str, place: str, size: int, streams: bool) -> Path | None:
    """Return where the facts of a path are kept; None for what has no settled files."""
    if registry.is_outside("source", entry) or not Path(place).exists():
        return None
    found = disk_cache.stamp([Path(place).resolve()])
    if found is None:
        return None
    key = hashlib.sha256(json.dumps([_VERSION, entry, size, streams, found]).encode()).hexdigest()
    return disk_cache.home() / f"about-{key[:32]}.json"


def _load(source: str, size: int, stream: bool | None) -> Dataset | TestImages:
    entry, _ = loading.find(source)
    if loading.is_test_set(entry):
        return loading.load_test(source, size=size, stream=stream)
    return loading.load(source, size=size, stream=stream)


def _facts_of_test(found: TestImages) -> dict[str, Any]:
    return disk_cache.declared(found) | {
        "skipped": sum(n for _, n in found.reasons),
        "size": int(found.split.images.shape[1]),
        "train": [0] * len(found.classes),
        "test": [int(n) for n in np.bincount(found.split.labels, minlength=len(found.classes))],
        "sha256": "",
        "train_sha256": "",
        "test_sha256": found.sha256,
        "hash_kind": "manifest" if isinstance(found.split.images, Streamed) else "pixels",
    }


def checks(source: str, size: int) -> Iterator[tuple[bool, str]]:
    """Yield what is found of a data set whose every file is read again: whether it is good, and one line.

    Raises `UserError` for what cannot be read at all.
    """
    if benchmark := _benchmark(source):
        yield from benchmark
        return
    before = about(source, size)
    loading.forget()
    with disk_cache.without():
        found = _load(source, size, None)
    facts = disk_cache.facts_of(found) if isinstance(found, Dataset) else _facts_of_test(found)
    same = facts["test_sha256"] == before.facts["test_sha256"] and facts["sha256"] == before.facts["sha256"]
    yield (
        same,
        (
            f"{found.name} ({before.source}): every file reads, {sum(facts['train']):,} + {sum(facts['test']):,} images"
            if same
            else f"{found.name}: what is kept in {disk_cache.home()} is of other images: delete that folder"
        ),
    )
    if facts["published"] is not None:
        yield True, f"published files: {_published(facts['published'])}"
    yield True, passed_over(facts["reasons"]) if facts["reasons"] else "no file passed over"
    halves = {"test": found.split} if isinstance(found, TestImages) else {"training": found.train, "test": found.test}
    digests = {which: _digests(split.images) for which, split in halves.items()}
    for which, split in halves.items():
        counts = np.bincount(split.labels, minlength=len(found.classes))
        if len(empty := np.flatnonzero(counts == 0)):
            yield (
                False,
                f"{len(empty)} classes have no {which} image, such as {found.classes[int(empty[0])]}: get it again",
            )
        flat = sum(1 for image in split.images if image.min() == image.max())
        if flat:
            yield True, f"{_images(flat, which)} of one colour"
        if twice := len(split) - len(set(digests[which])):
            yield True, f"{_images(twice, which)} {'copies' if twice > 1 else 'a copy'} of others"
    if isinstance(found, Dataset):
        trained = set(digests["training"])
        if shared := sum(digest in trained for digest in digests["test"]):
            yield True, f"{_images(shared, 'test')} in the training images too: accuracy on them says nothing"
        if why := degenerate.training(found):
            yield False, why
    if why := degenerate.shown(found.classes, halves["test"]):
        yield False, why


def _images(number: int, which: str) -> str:
    return f"{number:,} {which} image{' is' if number == 1 else 's are'}"


def _digests(images: Images | Streamed) -> list[bytes]:
    return [hashlib.sha256(np.ascontiguousarray(image).data).digest() for image in images]


def _benchmark(source: str) -> list[tuple[bool, str]]:
    """Return what is found of a corruption benchmark, read whole; nothing if the path holds none."""
    from lcrbench.corruptions import digests
    from lcrbench.corruptions.archive import open_archive, origin

    path = untrusted.place(source)
    if not path.exists() or (path.is_dir() and any((path / name).exists() for name in ("train", "test", "val"))):
        return []
    try:
        opened = open_archive(path)
    except UserError:
        return []
    told = f"{opened.name}: {len(opened.corruptions)} corruptions"
    if not opened.verified:
        with digests.anew():
            name, genuine, why = origin(opened)
        if genuine:
            return [(True, f"{name}: {len(opened.corruptions)} corruptions, every .tar has the hash that is published")]
        return [(not why, f"{told}, mine: {why or 'no hashes are known of these files'}")]
    opened.check()
    return [
        (True, f"{told}, every file has the hash that is {'written beside it' if opened.manifest else 'published'}")
    ]
