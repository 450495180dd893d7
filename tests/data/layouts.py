"""Writes data sets in the exact layouts that are published, byte by byte, by code that shares nothing with the readers."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]

# ------------------------------------------------------------------------------------------------ pickles of Python 2


def text(value: bytes) -> bytes:
    return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<i", len(value)) + value


def number(value: int) -> bytes:
    return b"K" + bytes([value]) if 0 <= value < 256 else b"J" + struct.pack("<i", value)


def numbers(values: list[int]) -> bytes:
    return b"](" + b"".join(map(number, values)) + b"e"


def texts(values: list[str]) -> bytes:
    return b"](" + b"".join(text(v.encode()) for v in values) + b"e"


def array(rows: np.ndarray, module: bytes = b"numpy.core.multiarray") -> bytes:
    """An array of uint8 as numpy under Python 2 pickled it: made empty, then filled by its state."""
    shape = b"".join(map(number, rows.shape)) + {1: b"\x85", 2: b"\x86"}[rows.ndim]
    dtype = b"cnumpy\ndtype\n" + text(b"u1") + number(0) + number(1) + b"\x87R"
    dtype += b"(" + number(3) + text(b"|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
    state = b"(" + number(1) + shape + dtype + b"\x89" + text(rows.tobytes()) + b"t"
    made = b"c" + module + b"\n_reconstruct\ncnumpy\nndarray\n" + number(0) + b"\x85" + text(b"b") + b"\x87R"
    return made + state + b"b"


def pickled(values: Mapping[str, bytes]) -> bytes:
    return b"\x80\x02}(" + b"".join(text(key.encode()) + value for key, value in values.items()) + b"u."


# --------------------------------------------------------------------------------------------------------------- CIFAR


class Cifar:
    """Random images and labels of CIFAR-10 (five batches and a test batch) or CIFAR-100 (fine labels; coarse beside)."""

    def __init__(self, classes: int = 10, batch: int = 20, test: int = 20) -> None:
        rng = np.random.default_rng(classes)
        self.classes, self.batch = classes, batch
        count = 5 * batch
        self.train = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        self.test = rng.integers(0, 256, (test, 32, 32, 3), dtype=np.uint8)
        self.train_labels = rng.permutation(count) % classes
        self.test_labels = rng.permutation(test) % classes

    def parts(self) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """Files without ending, each with its rows (N, 3072) and labels."""

        def rows(images: np.ndarray) -> np.ndarray:
            return np.stack([np.concatenate([image[..., c].ravel() for c in range(3)]) for image in images])

        test = ("test_batch" if self.classes == 10 else "test", rows(self.test), self.test_labels)
        if self.classes == 100:
            return [("train", rows(self.train), self.train_labels), test]
        cut = [slice(k * self.batch, (k + 1) * self.batch) for k in range(5)]
        train = [(f"data_batch_{k}", rows(self.train[c]), self.train_labels[c]) for k, c in enumerate(cut, 1)]
        return [*train, test]

    def python(self, root: Path, names: list[str] | None = None) -> Path:
        folder = root / ("cifar-10-batches-py" if self.classes == 10 else "cifar-100-python")
        folder.mkdir(parents=True)
        for name, rows, labels in self.parts():
            told = labels.tolist()
            labelled = {"labels": numbers(told)} if self.classes == 10 else {
                "fine_labels": numbers(told), "coarse_labels": numbers([n // 5 for n in told])}  # fmt: skip
            content = {"batch_label": text(name.encode()), "data": array(rows), **labelled,
                       "filenames": texts([f"{k}.png" for k in range(len(rows))])}  # fmt: skip
            (folder / name).write_bytes(pickled(content))
        if self.classes == 10:
            meta = {
                "num_cases_per_batch": number(self.batch),
                "label_names": texts(names or CIFAR10),
                "num_vis": number(3072),
            }
            (folder / "batches.meta").write_bytes(pickled(meta))
        else:
            meta = {"fine_label_names": texts(names or fine_names()), "coarse_label_names": texts(["x"] * 20)}
            (folder / "meta").write_bytes(pickled(meta))
        (folder / "readme.html").write_text("<meta>")
        return folder

    def binary(self, root: Path) -> Path:
        folder = root / ("cifar-10-batches-bin" if self.classes == 10 else "cifar-100-binary")
        folder.mkdir(parents=True)
        for name, rows, labels in self.parts():
            content = b""
            for row, label in zip(rows, labels.tolist(), strict=True):
                head = bytes([label]) if self.classes == 10 else bytes([label // 5, label])
                content += head + row.tobytes()
            (folder / f"{name}.bin").write_bytes(content)
        if self.classes == 10:
            (folder / "batches.meta.txt").write_text("\n".join(CIFAR10) + "\n\n")
        else:
            (folder / "fine_label_names.txt").write_text("\n".join(fine_names()) + "\n")
            (folder / "coarse_label_names.txt").write_text("x\n" * 20)
        return folder

    def parquet(self, root: Path, crab: str = "cra") -> Path:
        config = "plain_text" if self.classes == 10 else "cifar100"
        for split, images, labels in (("train", self.train, self.train_labels), ("test", self.test, self.test_labels)):
            names = CIFAR10 if self.classes == 10 else [crab if n == "crab" else n for n in fine_names()]
            columns = {"label": labels.tolist()} if self.classes == 10 else {
                "fine_label": labels.tolist(), "coarse_label": (labels // 5).tolist()}  # fmt: skip
            label = "label" if self.classes == 10 else "fine_label"
            files = [(png(image), None) for image in images]
            parquet(root / config / f"{split}-00000-of-00001.parquet", "img", files, columns, {label: names})
        return root


def fine_names() -> list[str]:
    """The 100 names in their published order, which is the alphabet's."""
    groups = """beaver dolphin otter seal whale aquarium_fish flatfish ray shark trout orchid poppy rose sunflower tulip
        bottle bowl can cup plate apple mushroom orange pear sweet_pepper clock keyboard lamp telephone television bed chair
        couch table wardrobe bee beetle butterfly caterpillar cockroach bear leopard lion tiger wolf bridge castle house road
        skyscraper cloud forest mountain plain sea camel cattle chimpanzee elephant kangaroo fox porcupine possum raccoon
        skunk crab lobster snail spider worm baby boy girl man woman crocodile dinosaur lizard snake turtle hamster mouse
        rabbit shrew squirrel maple_tree oak_tree palm_tree pine_tree willow_tree bicycle bus motorcycle pickup_truck train
        lawn_mower rocket streetcar tank tractor"""
    return sorted(groups.split())


def packed(folder: Path, to: Path) -> Path:
    """A .tar.gz of a folder, with the folder's own name at the top, and an entry for it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        tar.add(folder, folder.name)
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_bytes(gzip.compress(out.getvalue(), 1) if to.suffix == ".gz" else out.getvalue())
    return to


# ------------------------------------------------------------------------------------------------------------- parquet


def png(image: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG", compress_level=1)
    return out.getvalue()


def jpeg(seed: int, width: int = 8, height: int = 8) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=85)
    return out.getvalue()


def parquet(
    file: Path,
    column: str,
    images: list[tuple[bytes, str | None]],
    labels: Mapping[str, list[int]],
    names: Mapping[str, list[str]],
) -> None:
    """Images as struct<bytes, path>, labels as int64, and the classes' names in the metadata of Hugging Face."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    arrays = [pa.array([{"bytes": content, "path": path} for content, path in images], kind)]
    arrays += [pa.array(values, pa.int64()) for values in labels.values()]
    features = {column: {"_type": "Image"}} | {
        key: {"names": told, "_type": "ClassLabel"} for key, told in names.items()
    }
    table = pa.table(arrays, names=[column, *labels])
    table = table.replace_schema_metadata({b"huggingface": json.dumps({"info": {"features": features}})})
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, row_group_size=7)


# ------------------------------------------------------------------------------------------------------------ ImageNet


def tar(members: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as opened:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            opened.addfile(info, io.BytesIO(content))
    return out.getvalue()


class ImageNet:
    """A few images a class of ImageNet-1k: training images by class, validation images in an order of their own."""

    def __init__(self, wnids: list[str], train: int = 2, val: int = 1, seed: int = 0) -> None:
        self.wnids = wnids
        self.train = {
            (wnid, f"{wnid}_{k * 7 + 3}.JPEG"): jpeg(seed + i * 100 + k)
            for i, wnid in enumerate(wnids)
            for k in range(train)
        }
        order = np.random.default_rng(5).permutation(len(wnids) * val) % len(wnids)
        self.truth = [wnids[i] for i in order]
        self.val = {f"ILSVRC2012_val_{k:08d}.JPEG": jpeg(90_000 + seed + k, 9, 8) for k in range(1, len(order) + 1)}

    def labelled(self) -> dict[tuple[str, str], bytes]:
        return {(wnid, name): self.val[name] for wnid, name in zip(self.truth, self.val, strict=True)}

    def folders(self, root: Path, flat: bool = False) -> Path:
        for (wnid, name), content in self.train.items():
            write(root / "train" / wnid / name, content)
        for (wnid, name), content in self.labelled().items():
            write(root / "val" / name if flat else root / "val" / wnid / name, content)
        return root

    def tars(self, root: Path) -> Path:
        inner: dict[str, dict[str, bytes]] = {}
        for (wnid, name), content in self.train.items():
            inner.setdefault(f"{wnid}.tar", {})[name] = content
        write(root / "ILSVRC2012_img_train.tar", tar({name: tar(files) for name, files in inner.items()}))
        write(root / "ILSVRC2012_img_val.tar", tar(self.val))
        return root

    def devkit(self, root: Path, packed_up: bool = True, all_wnids: list[str] | None = None) -> Path:
        """meta.mat numbers the classes in another order than the alphabet's, and has a node above them too."""
        from scipy.io import savemat

        known = list(all_wnids or self.wnids)
        ids = {wnid: k for k, wnid in enumerate(reversed(known), 1)}
        fields = [
            "ILSVRC2012_ID",
            "WNID",
            "words",
            "gloss",
            "num_children",
            "children",
            "wordnet_height",
            "num_train_images",
        ]
        rows = [(n, wnid, f"name {wnid}", "a thing", 0, np.zeros(0), 0, 1300) for wnid, n in ids.items()]
        rows.append((len(known) + 1, "n00001740", "entity", "all", 2, np.array([1, 2]), 9, 0))
        table = np.zeros((len(rows), 1), [(name, object) for name in fields])
        for k, row in enumerate(rows):
            table[k, 0] = row
        folder = root / "ILSVRC2012_devkit_t12"
        (folder / "data").mkdir(parents=True)
        savemat(folder / "data" / "meta.mat", {"synsets": table}, do_compression=True)
        lines = "".join(f"{ids[wnid]}\n" for wnid in self.truth)
        (folder / "data" / "ILSVRC2012_validation_ground_truth.txt").write_text(lines)
        (folder / "readme.txt").write_text("devkit")
        if packed_up:
            import shutil

            packed(folder, root / "ILSVRC2012_devkit_t12.tar.gz")
            shutil.rmtree(folder)
        return root

    def kaggle(self, root: Path) -> Path:
        data = root / "ILSVRC" / "Data" / "CLS-LOC"
        self.folders(data, flat=True)
        write(data / "test" / "ILSVRC2012_test_00000001.JPEG", jpeg(1))
        write(root / "LOC_synset_mapping.txt", "".join(f"{w} tench, Tinca tinca\n" for w in self.wnids).encode())
        lines = [f"{name[:-5]},{wnid} 85 1 499 272 {wnid} 1 2 3 4 \n" for wnid, name in self.labelled()]
        write(root / "LOC_val_solution.csv", ("ImageId,PredictionString\n" + "".join(lines[::-1])).encode())
        return root

    def meta_bin(self, root: Path) -> Path:
        import torch

        torch.save((dict.fromkeys(self.wnids, ("a", "b")), self.truth), root / "meta.bin")
        return root

    def webdataset(self, root: Path, key: str = "cls", rank: Mapping[str, int] | None = None) -> Path:
        ranks = rank or {wnid: k for k, wnid in enumerate(self.wnids)}
        halves = {"train": list(self.train.items()), "validation": list(self.labelled().items())}
        for half, rows in halves.items():
            mixed = [rows[i] for i in np.random.default_rng(1).permutation(len(rows))]
            for shard in range(2):
                files: dict[str, bytes] = {}
                for (wnid, name), content in mixed[shard::2]:
                    label = {"cls": str(ranks[wnid]).encode(), "json": json.dumps({"label": ranks[wnid]}).encode()}[key]
                    files |= {f"{name[:-5]}.{key}": label, f"{name[:-5]}.jpg": content}
                write(root / f"imagenet1k-{half}-{shard:04d}.tar", tar(files))
        write(root / "_info.json", b"{}")
        return root

    def shards(self, root: Path) -> Path:
        """Parquet as ILSVRC/imagenet-1k: names of classes, no ids, and a test split of label -1."""
        ranks = {wnid: k for k, wnid in enumerate(self.wnids)}
        names = ["tench, Tinca tinca", *(f"thing {k}" for k in range(1, len(self.wnids)))]
        for half, files in {"train": self.train, "validation": self.labelled()}.items():
            rows = list(files.items())
            for shard in range(2):
                mine = rows[shard::2]
                images = [(content, f"{name[:-5]}_{wnid}.JPEG") for (wnid, name), content in mine]
                labels = {"label": [ranks[wnid] for (wnid, _), _ in mine]}
                parquet(
                    root / "data" / f"{half}-0000{shard}-of-00002.parquet", "image", images, labels, {"label": names}
                )
        parquet(
            root / "data" / "test-00000-of-00001.parquet", "image", [(jpeg(3), None)], {"label": [-1]}, {"label": names}
        )
        return root


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


TINY = ["n02124075", "n04067472", "n04540053", "n01443537"]
"""Not sorted, as in the published wnids.txt."""


def tiny_imagenet(root: Path, train: int = 3, val: int = 2) -> Path:
    top = root / "tiny-imagenet-200"
    write(top / "wnids.txt", "".join(f"{w}\n" for w in TINY).encode())
    write(top / "words.txt", "".join(f"{w}\tcat, dog\n" for w in TINY).encode())
    for i, wnid in enumerate(TINY):
        for k in range(train):
            write(top / "train" / wnid / "images" / f"{wnid}_{k}.JPEG", jpeg(i * 50 + k, 64, 64))
        write(top / "train" / wnid / f"{wnid}_boxes.txt", b"n_0.JPEG\t0\t0\t1\t1\n")
    lines = []
    for k in range(val * len(TINY)):
        write(top / "val" / "images" / f"val_{k}.JPEG", jpeg(1000 + k, 64, 64))
        lines.append(f"val_{k}.JPEG\t{TINY[(k * 3 + 1) % len(TINY)]}\t0\t32\t44\t62\n")
    write(top / "val" / "val_annotations.txt", "".join(lines).encode())
    write(top / "test" / "images" / "test_0.JPEG", jpeg(1, 64, 64))
    return top
