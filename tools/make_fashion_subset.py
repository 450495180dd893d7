"""Make the embedded default data (`bench/fashion/`) from the full Fashion-MNIST.

    python tools/make_fashion_subset.py [--source FOLDER] [--to FOLDER]

The source holds the four idx files, gzipped or not; on Debian and Ubuntu, `apt-get install dataset-fashion-mnist` puts them
where the script looks first. The same bytes come out on every machine: an image is chosen by a hash of its position, the
gzip headers hold no time and no name, and the hashes are of the uncompressed files, since two versions of zlib may compress
differently.

The subset: of each class, the 1,000 training and 200 test images whose positions rank lowest by
sha256("fashion-mnist-10k/SPLIT/POSITION"), in the order that they have in the full data set.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcrbench.bench.data.idx import find_idx, read_idx
from lcrbench.bench.fashion import FULL_SHA256
from lcrbench.errors import UserError

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
EMBEDDED = Path(__file__).resolve().parent.parent / "bench" / "fashion"
PER_CLASS = {"train": 1_000, "test": 200}


def choose(labels: NDArray[np.uint8], split: str, per_class: int) -> NDArray[np.intp]:
    """Return the positions of the subset, ascending: `per_class` of each label in `labels`, shape (N,)."""
    rank = np.array([hashlib.sha256(f"fashion-mnist-10k/{split}/{i}".encode()).hexdigest() for i in range(len(labels))])
    chosen = []
    for label in np.unique(labels):
        positions = np.flatnonzero(labels == label)
        chosen.append(positions[np.argsort(rank[positions])][:per_class])
    return np.sort(np.concatenate(chosen))


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    """Return a uint8 array of any shape as the content of an idx file: magic number, sizes (big-endian), values."""
    return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def compress(content: bytes) -> bytes:
    """Return `content` gzipped, with no time and no file name in the header."""
    out = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=out, compresslevel=9, mtime=0) as file:
        file.write(content)
    return out.getvalue()


def contents(source: Path) -> dict[str, bytes]:
    """Return the plain content of the subset's four idx files, by the name of the file that they go to.

    Raises `UserError` if `source` is not the full Fashion-MNIST.
    """
    files = find_idx(source)
    if not files:
        raise UserError(f"{source} holds no idx files: install dataset-fashion-mnist, or give the folder with --source")
    made = {}
    for split, per_class in PER_CLASS.items():
        arrays = []
        for part in (f"{split}-images", f"{split}-labels"):
            array, digest = read_idx(files[part])
            if digest != FULL_SHA256[part]:
                raise UserError(f"{files[part]} is not Fashion-MNIST's file: its hash differs; get the data again")
            arrays.append(array)
        images, labels = arrays
        chosen = choose(labels, split, per_class)
        made[f"{split}-images.idx3.gz"] = idx_bytes(images[chosen])
        made[f"{split}-labels.idx1.gz"] = idx_bytes(labels[chosen])
    return made


def hashes(made: dict[str, bytes]) -> str:
    """Return what `sha256.json` holds: the hash of each file's plain content."""
    return json.dumps({name: hashlib.sha256(content).hexdigest() for name, content in made.items()}, indent=2) + "\n"


def main() -> None:
    """Write the four idx.gz files and `sha256.json`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--source", type=Path, default=DEBIAN, help="folder of the four idx files (default: %(default)s)"
    )
    parser.add_argument("--to", type=Path, default=EMBEDDED, help="folder to write (default: the package's own)")
    options = parser.parse_args()
    made = contents(options.source)
    for name, content in made.items():
        (options.to / name).write_bytes(compress(content))
    (options.to / "sha256.json").write_text(hashes(made), encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(str(error)) from error
