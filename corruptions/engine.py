"""`corrupt`: checks a request, finds the corruption and its row of constants, and divides the pictures among threads.

This module is what `import lcrbench.corruptions` costs: numba and OpenCV are imported by the first call of `corrupt`.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import operator
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lcrbench.corruption_names import BAR, SEVERITIES
from lcrbench.corruptions.draws import Draws, derive_key
from lcrbench.corruptions.registered import find, is_ours, origin
from lcrbench.errors import UserError, unknown
from lcrbench.untrusted import MOST, MOST_THREADS, name_of, told, whole
from lcrbench.versions import installed

BLOCK_BYTES = 16 << 20
OPTIONS = {"motion_blur": ("angle",), "frost": ("pictures",)}


@functools.lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    """Return constants.json: the names of the constants, and their values."""
    loaded: dict[str, Any] = json.loads(Path(__file__).with_name("constants.json").read_text(encoding="utf-8"))
    return loaded


def constants_for(height: int, width: int, name: str = "") -> str:
    """Return the set of constants whose native size is nearest to height x width on a logarithmic scale.

    With the name of a corruption, of the sets that have it: those of C-bar stand in "cifar", in "imagenet" or in both.

    >>> constants_for(28, 28), constants_for(64, 64), constants_for(224, 224)
    ('cifar', 'tiny', 'imagenet')
    >>> constants_for(64, 64, "ripple"), constants_for(32, 32, "perlin_noise")
    ('cifar', 'imagenet')
    """
    side = math.sqrt(height * width)
    sizes: dict[str, float] = {
        key: float(entry["size"])
        for key, entry in _table()["constants"].items()
        if name not in BAR or name in entry["severity"]
    }
    return min(sizes, key=lambda key: abs(math.log(side / sizes[key])))


def parameters(name: str, severity: int, constants: str) -> dict[str, Any]:
    """Return the severity constants of a corruption by name, as the official script has them.

    A corruption from outside has the same constants at every size, or states none.

    >>> parameters("gaussian_noise", 3, "cifar")
    {'scale': 0.08}
    """
    check_severity(severity)
    table = _table()["constants"]
    if name_of(constants, "constants") not in table:
        raise unknown("set of constants", constants, table)
    if not is_ours(name):
        return find(name).row(severity)
    if name not in table[constants]["severity"]:
        having = [key for key in table if name in table[key]["severity"]]
        raise UserError(
            f"C-bar has no severities of '{name}' in the constants '{constants}': name {' or '.join(having)}, or none"
        )
    row = table[constants]["severity"][name][severity - 1]
    keys = _table()["parameters"][name]
    return {keys[0]: row} if name == "zoom_blur" else dict(zip(keys, row, strict=True))


def frost_sha256() -> dict[str, str]:
    """Return the sha256 of each frost picture that is drawn."""
    return dict(_table()["frost_sha256"])


def check_severity(severity: int) -> int:
    """Return the severity as an int. Raises `UserError` if it is none of 1 to 5."""
    try:
        # A flag of numpy 2.0 is taken for an index, with a warning.
        value = 0 if isinstance(severity, bool | np.bool_) else operator.index(severity)
    except TypeError:
        value = 0
    if value not in SEVERITIES:
        raise UserError(f"severity must be an integer from 1 to 5, not {told(severity)}")
    return value


def _check_images(images: Any) -> NDArray[np.uint8]:
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        found = images.dtype if isinstance(images, np.ndarray) else type(images).__name__
        raise UserError(f"images must be a numpy array of uint8 (gray levels 0..255), not {found}")
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] != 3):
        raise UserError(
            f"images must have the shape (N, H, W, 3), (N, H, W) or, for one, (H, W, 3), not {images.shape}"
        )
    height, width = images.shape[:2] if _is_one(images) else images.shape[1:3]
    if min(height, width) < 8:
        raise UserError(f"images must be at least 8 x 8 pixels, not {height} x {width}")
    return images


def _is_one(images: NDArray[np.uint8]) -> bool:
    """Tell one RGB image, (H, W, 3), from gray images (N, H, W), which are wider than 3 pixels."""
    return images.ndim == 3 and images.shape[2] == 3


def _check_indices(indices: ArrayLike | None, count: int) -> NDArray[np.int64]:
    if indices is None:
        return np.arange(count, dtype=np.int64)
    try:
        given = np.asarray(indices)
    except ValueError:  # lists of different lengths
        given = np.empty((), np.int64)
    if (
        given.shape != (count,)
        or not (np.issubdtype(given.dtype, np.integer) or count == 0)
        or (count and (given.min() < 0 or given.max() > MOST))
    ):
        raise UserError(f"indices must be {count} integers >= 0, one an image: each image's number in its data set")
    return given.astype(np.int64)


def corrupt(
    images: NDArray[np.uint8],
    name: str,
    severity: int,
    *,
    seed: int = 0,
    indices: ArrayLike | None = None,
    stream: str = "",
    constants: str | None = None,
    threads: int = 1,
    **options: Any,
) -> NDArray[np.uint8]:
    """Return corrupted copies of the images.

    Args:
        images: (N, H, W, 3) RGB, (N, H, W) gray, or one image (H, W, 3); uint8; not modified.
        name: a corruption of `names("all")`, such as "fog"; `imagecorruptions:fog`, the slow one of that package; or a
            corruption from outside, by the name of its entry point or by its import path (see
            `lcrbench.corruptions.functions`).
        severity: 1 (mildest) to 5.
        seed: any integer of 64 bits; a new seed gives new draws.
        indices: (N,) the images' numbers in their data set, one number for one image; default 0..N-1. An image's result
            depends on (seed, stream, name, severity, index) alone, so give them when you corrupt a data set by batches.
        stream: the name of the data set, so that two data sets do not share their draws.
        constants: "cifar", "tiny" or "imagenet"; default: the set of the nearest image size.
        threads: how many threads share the images (the GIL is released); the result does not depend on it.
        options: `angle` for motion_blur (degrees: one number, or one an image, in place of the random one) and
            `pictures` for frost (a folder with the official frost pictures, in place of the installed ones).

    Returns:
        An array of the images' shape, uint8. The cast from real gray levels is truncation, as in the official scripts.

    Raises:
        UserError: for images of another type or shape, an unknown name, a severity outside 1..5, a seed that is no integer,
            an unknown set of constants or option, missing frost pictures, or a corruption from outside that breaks its
            contract.
    """
    severity = check_severity(severity)
    seed, threads = whole(seed, "seed"), whole(threads, "threads", 1, MOST_THREADS)
    name, stream = name_of(name, "the corruption"), name_of(stream, "stream")
    images = _check_images(images)
    if _is_one(images):
        one = None if indices is None else np.reshape(np.asarray(indices), -1)
        settings: dict[str, Any] = {"seed": seed, "stream": stream, "constants": constants, **options}
        return corrupt(images[None], name, severity, indices=one, **settings).reshape(images.shape)
    count, height, width = images.shape[:3]
    index = _check_indices(indices, count)
    entry = find(name)
    row = parameters(name, severity, constants_for(height, width, name) if constants is None else constants)
    for option, value in options.items():
        if option not in OPTIONS.get(name, ()):
            raise unknown(f"option of {name}", option, OPTIONS.get(name, ()))
        if option == "angle" and value is not None:
            options[option] = _check_angle(value, count)
    if count == 0:
        return images.copy()

    key = derive_key(seed, stream, name, severity)
    source = np.ascontiguousarray(images).reshape(count, height, width, -1)
    result = np.empty_like(source)
    arguments = row["zoom_factors"] if name == "zoom_blur" else list(row.values())

    def work(first: int, last: int) -> None:
        block = source[first:last]
        if not block.flags.writeable:
            block = block.copy()  # numba would compile every kernel once more for read-only arrays
        draws = Draws(key, index[first:last])
        if not is_ours(name):
            entry.run(block, result[first:last], draws, severity)
            return
        part = {option: v[first:last] if isinstance(v, np.ndarray) else v for option, v in options.items()}
        entry.module.into(block, result[first:last], draws, *arguments, **part)

    workers = max(1, min(threads, count)) if entry.threads else 1
    # Several blocks a thread, so that a slow core does not keep the others waiting; 16 MB at most, so that scratch
    # space is bounded.
    size = min(max(1, BLOCK_BYTES // source[0].nbytes), count if workers == 1 else -(-count // (4 * workers)))
    cuts = [*range(0, count, size), count]
    if workers == 1:
        for first, last in itertools.pairwise(cuts):
            work(first, last)
    else:
        from concurrent.futures import ThreadPoolExecutor

        work(*cuts[:2])  # compiles the kernels and builds the tables once
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(work, cuts[1:-1], cuts[2:]))
    return result.reshape(images.shape)


def _check_angle(angle: ArrayLike, count: int) -> NDArray[np.float64]:
    try:
        degrees = np.asarray(angle, np.float64)
    except (TypeError, ValueError):
        degrees = np.full((), np.nan)
    if degrees.shape not in ((), (count,)) or not np.isfinite(degrees).all():
        raise UserError(f"angle must be one finite number of degrees, or one an image ({count})")
    return np.broadcast_to(degrees, (count,)).copy()


def provenance(height: int, width: int, constants: str | None = None, names: Sequence[str] = ()) -> dict[str, Any]:
    """Return what a record must say about the corruptions `names` of a data set of height x width images.

    `constants` names the set that was used and `native_size` the size that it was made for. `versions` lists the
    libraries that touch pixels. `bar` holds the source of C-bar's severities and the set of each of its corruptions.
    `machine_dependent` lists the corruptions whose bits are promised only for the same
    versions, with the reason. `outside` holds the module and the versions of each corruption that is none of the nineteen.
    """
    chosen = constants or constants_for(height, width)
    table = _table()["constants"]
    if chosen not in table:
        raise unknown("set of constants", chosen, table)
    native = int(table[chosen]["size"])
    outside = {name: origin(name) for name in names if not is_ours(name)}
    bar = {name: constants or constants_for(height, width, name) for name in names if name in BAR}
    told = {"bar": {"source": _table()["bar"]["source"].partition(",")[0], "constants": bar}} if bar else {}
    return {
        "scheme": "lcrbench-1 (Philox4x32-10)",
        "constants": chosen,
        "constants_source": f"{_table()['source'].partition(',')[0]} {table[chosen]['script']}",
        "native_size": native,
        "exact_size": height == width == native,
        "frost_pictures": "imagecorruptions",
        "versions": {package: installed(package) for package in ("numpy", "numba", "opencv-python", "pillow")},
        "machine_dependent": dict(MACHINE_DEPENDENT),
        **told,
        **({"outside": outside} if outside else {}),
    }


MACHINE_DEPENDENT = {
    "frost": "the JPEG decoder of OpenCV, for two of the five frost pictures",
    "spatter": "OpenCV's edge detector, distance transform and filters",
}


def available_threads() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
