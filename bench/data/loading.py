"""`load`: asks the data sources for what was named, and keeps the last data set that was loaded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple

from lcrbench import registry, untrusted
from lcrbench.bench.data.arrays import Dataset, HashKind, TestImages
from lcrbench.bench.data.disk_cache import mapped, stamp
from lcrbench.bench.data.members import not_an_archive
from lcrbench.bench.data.middle import check_cut, middle
from lcrbench.bench.data.room import too_large
from lcrbench.bench.data.spaces import MOST_CLASSES
from lcrbench.bench.data.trees import EXPECTED
from lcrbench.errors import UserError, unknown
from lcrbench.testing import raised


def names() -> dict[str, str]:
    """Return the data sets that have a name: name and one line about it."""
    found = {name: registry.summary("source", entry) for entry, name in _named()}
    return found | {entry: registry.summary("source", entry) for entry in _installed()}


def load(
    source: str | Path = "fashion-mnist-10k", *, size: int = 32, resize: int | None = None, stream: bool | None = None
) -> Dataset:
    """Return the data set that `source` names, as images of `size` x `size` pixels.

    `source` is a built-in name (`names()`); the path of a folder or archive that a source in `lcrbench.bench.data.sources`
    reads; or a source from outside, `SOURCE` or `SOURCE:PLACE`, where SOURCE is the name of an entry point of the group
    `lcrbench.source` or an import path such as my_pkg.my_source, for which the current folder is looked in. Where a name
    and a path both exist, the name wins: write ./NAME for the path.

    Sizes: 28 px images of idx files are padded with zeros to 32 px; grey becomes three equal channels. An image that is
    not `size` px square then has its shorter side resized to `size` (bilinear, antialiased) and its centre cropped, by the
    rounding rules of torchvision's `Resize` and `CenterCrop`. Files are read as 8-bit RGB: transparency is dropped, EXIF
    rotation is not applied, only the first of several frames is used.

    With `resize` the shorter side of test images is resized to that, and `size` px are cut out of the middle: 256 and 224
    are ImageNet's. Training images are not, because an augmentation crops them (`random-resized-crop` from the original).

    Order: idx files keep theirs; files are sorted by class and then by path, numbers in a name by value (2 before 10).
    Labels number the classes in that same order.

    Archives are not unpacked to disk. Sets of 10,000 images or of 100 MB are decoded once and then kept in the user's cache
    folder ($XDG_CACHE_HOME/lcrbench, or ~/.cache/lcrbench), checked by their hash, and safe to delete; processes share them
    there. The process keeps the last data set that was loaded, and returns it again while its files are unchanged.

    Images are held in memory, or with `stream` stay in their files and are decoded when they are asked for. None streams
    them where they would take more than a quarter of the memory (`room.py`). Then the hashes of the data set are of a
    manifest: class, name, size and sha256 of each file, and the size in pixels. They are computed once, and kept in the
    cache. What is compressed (archives, parquet) is copied into the cache file by file, and streamed from there.

    Raises `UserError` if there is no such data, or it is empty, truncated, damaged, of a wrong hash, or its training and
    test classes differ.
    """
    untrusted.whole(size, "the image size in pixels", 1, 1024)
    if resize is not None and untrusted.whole(resize, "the shorter side in pixels", 1, 1024) != size:
        return _resized(source, size, resize, stream)
    global _kept
    try:
        entry, place = find(str(source))
        module = registry.load("source", entry)
        streamed = streams(entry, place, size, stream)
        fingerprint, key = _fingerprint(_contract(entry).files, place), (entry, os.path.abspath(place), size, streamed)
        if _kept and fingerprint is not None and (_kept.key, _kept.fingerprint) == (key, fingerprint):
            return _kept.dataset
        # Let go first, so that two data sets are never held at once.
        _kept = None

        def make() -> Dataset:
            return checked(_ask(module.load, entry, place, size, *([True] * streamed)), entry, size)

        lasting = fingerprint is not None and not registry.is_outside("source", entry)
        dataset = mapped(f"{entry} {size} {fingerprint}", make) if lasting and not streamed else make()
    except OSError as error:
        raise UserError(f"{error.filename or source} cannot be read ({error.strerror}): check the path") from error
    if fingerprint is not None:
        _kept = _Kept(key, fingerprint, dataset)
    return dataset


def _resized(source: str | Path, size: int, resize: int, stream: bool | None) -> Dataset:
    """Return a data set whose test images are cut out of the middle of larger ones."""
    test = load_test(source, size=size, resize=resize, stream=stream)
    # At last, because the process keeps what was loaded last.
    dataset = load(source, size=size, stream=stream)
    return replace(dataset, test=test.split, resize=resize)


def streams(entry: str, place: str, size: int, stream: bool | None) -> bool:
    """Tell whether a source is to leave its images in their files. Raises `UserError` if it is asked to and cannot."""
    contract = _contract(entry)
    if stream and not contract.streams:
        raise UserError(
            f"the source {entry} holds its images in memory, and cannot stream them: leave data.stream out, or give class"
            " folders or an archive of them"
        )
    if stream is not None or not contract.streams:
        return bool(stream)
    roots = contract.files(place) if contract.files else [Path(place)]
    return too_large((root for root in roots if root.exists()), size)


def is_test_set(entry: str) -> bool:
    """Tell whether a source brings test images alone."""
    return _contract(entry).load_test is not None


def as_hashed(source: str, kind: HashKind) -> bool | None:
    """Return what to give `load` as `stream` for hashes of this kind; None where a data set has one kind alone."""
    return kind == "manifest" if _contract(find(source)[0]).streams else None


def load_test(
    source: str | Path, *, size: int = 32, resize: int | None = None, stream: bool | None = None
) -> TestImages:
    """Return the test images that `source` names as for `load`: a test set without training images, or a data set's own.

    Raises `UserError` as `load` does.
    """
    if resize is not None and resize != size:
        check_cut(resize, size)
        larger = load_test(source, size=resize, stream=stream)
        return replace(larger, split=middle(larger.split, size))
    try:
        entry, place = find(str(source))
        if (own := _contract(entry).load_test) is not None:
            streamed = streams(entry, place, size, stream)
            return _checked_test(_ask(own, entry, place, size, *([True] * streamed)), entry, size)
    except OSError as error:
        raise UserError(f"{error.filename or source} cannot be read ({error.strerror}): check the path") from error
    whole = load(source, size=size, stream=stream)
    return TestImages(whole.name, whole.classes, whole.test, whole.space, whole.layout, whole.reasons, whole.published)


class _Kept(NamedTuple):
    key: tuple[str, str, int, bool]
    fingerprint: str
    dataset: Dataset


_kept: _Kept | None = None


def forget() -> None:
    """Let go of the data set that is kept."""
    global _kept
    _kept = None


def needs_trust(source: str) -> bool:
    """Tell whether to load a source would run the code of an import path, which is not even looked for here."""
    head = source.partition(":")[0]
    if head in names() or untrusted.place(source).exists():
        return False
    return "." in head and all(part.isidentifier() for part in head.split("."))


def find(source: str) -> tuple[str, str]:
    """Return the source's entry in the registry, and the place that it is asked for."""
    head, _, place = source.partition(":")
    for entry, name in _named():
        if head == name:
            return entry, source
    if head in _installed():
        return head, place or _default(head)
    path = untrusted.place(source)
    if path.exists():
        if not path.name.isprintable():
            raise UserError(f"{untrusted.shown(source)} has a name that holds control characters: rename it")
        return _detect(path), str(path)
    if _importable(head):
        return head, place or _default(head)
    if len(path.parts) > 1 or path.suffix or source.startswith((".", "~")):
        raise UserError(f"there is no data at '{source}': give the path of a folder or archive, or a built-in name")
    raise UserError(f"{unknown('data set', source, names())} (or the path of a folder or archive)")


class _Contract(NamedTuple):
    """What a source's module defines besides `load`, with what stands for what it leaves out."""

    names: tuple[str, ...] = ()
    order: int = 50
    detect: Callable[[Path], object] | None = None
    files: Callable[[str], Iterable[Path]] | None = None
    load_test: Callable[..., object] | None = None
    streams: bool = False


def _contract(entry: str) -> _Contract:
    """Return what a source's module defines; raises `UserError` as `registry.load` does."""
    given = vars(registry.load("source", entry))
    parts = {"names": "NAMES", "order": "ORDER", "detect": "detect", "files": "files", "load_test": "load_test"}
    parts["streams"] = "STREAMS"
    return _Contract(**{field: given[part] for field, part in parts.items() if part in given})


def _named() -> list[tuple[str, str]]:
    """Return the built-in names, each with the entry that loads it."""
    return [(entry, name) for entry in registry.files("source") for name in _contract(entry).names]


def _installed() -> list[str]:
    """Return the sources that installed packages bring."""
    return [entry.name for entry in entry_points(group="lcrbench.source")]


def _default(entry: str) -> str:
    """Return the place of a source that was named without one: its first name, or nothing."""
    return next(iter(_contract(entry).names), "")


def _detect(path: Path) -> str:
    """Return the entry of the source that reads what lies at a path. Raises `UserError` if none does."""
    if not (path.is_dir() or path.is_file()):
        raise UserError(f"{path} is neither a folder nor a regular file: {EXPECTED}")
    sources = {entry: _contract(entry) for entry in registry.names("source")}
    for entry in sorted(sources, key=lambda entry: (sources[entry].order, entry)):
        if (detect := sources[entry].detect) and _ask(detect, entry, path):
            return entry
    if not path.is_dir():
        raise UserError(f"{not_an_archive(path)}: {EXPECTED}")
    raise UserError(f"{path} {'holds no data to read' if any(path.iterdir()) else 'is empty'}: {EXPECTED}")


def _ask(function: Callable[..., Any], entry: str, *given: Any) -> Any:
    """Call a source's function; what one from outside raises, besides `UserError` and `OSError`, becomes a `UserError`."""
    try:
        return function(*given)
    except (UserError, OSError):
        raise
    except Exception as error:  # code of somebody else may raise anything
        if not registry.is_outside("source", entry):
            raise
        raise UserError(
            f"the source '{entry}' raises {raised(error)}: check it with lcrbench conform source {entry}"
        ) from error


def _importable(name: str) -> bool:
    """Tell whether a dotted name is that of a module, which may lie in the current folder."""
    try:
        return "." in name and registry.file("source", name).is_file()
    except UserError:
        return False


def _checked_test(found: object, entry: str, size: int) -> TestImages:
    """Return what a source's `load_test` loaded. Raises `UserError` if it breaks the contract."""
    if not isinstance(found, TestImages):
        raise UserError(f"source '{entry}' returned a {type(found).__name__}: load_test() must return TestImages")
    checked(Dataset(found.name, found.classes, found.split, found.split), entry, size)
    return found


def checked(dataset: object, entry: str, size: int) -> Dataset:
    """Return what a source loaded. Raises `UserError` if it breaks the contract in `lcrbench.bench.data.sources`."""
    if not isinstance(dataset, Dataset):
        raise UserError(f"source '{entry}' returned a {type(dataset).__name__}: load() must return a Dataset")
    if not dataset.name.isprintable() or not all(label.isprintable() for label in dataset.classes):
        raise UserError(f"source '{entry}' returned a name of the data or of a class that holds control characters")
    classes = len(dataset.classes)
    if not classes or len(set(dataset.classes)) < classes:
        raise UserError(f"source '{entry}' returned no classes, or one of them twice: name each class once")
    if classes > MOST_CLASSES:
        raise UserError(
            f"{dataset.name} has {classes:,} classes, and at most {MOST_CLASSES:,} are taken: check its labels"
        )
    for which, split in (("training", dataset.train), ("test", dataset.test)):
        if not len(split) or split.images.shape[1:3] != (size, size):
            raise UserError(
                f"source '{entry}' returned {which} images of shape {split.images.shape}: they must be (N, {size},"
                f" {size}, 3) with at least one image"
            )
        if split.labels.min() < 0 or split.labels.max() >= classes:
            raise UserError(
                f"source '{entry}' returned {which} labels from {split.labels.min()} to {split.labels.max()}: they must"
                f" number its {classes} classes from 0"
            )
    return dataset


def _fingerprint(files: Callable[[str], Iterable[Path]] | None, place: str) -> str | None:
    """Return a hash of the files that a data set is read from, sizes and times; None if unknown or still changing."""
    if files is not None:
        roots: Iterable[Path] = files(place)
    elif place and os.path.exists(place):
        roots = [Path(place)]
    else:
        return None
    return stamp(roots)
