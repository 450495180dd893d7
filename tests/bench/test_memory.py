"""What a benchmark takes of memory: parts of cells, never whole ones, and no copy of what is mapped. Minutes: slow."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lcrbench.bench.data.spaces import ids
from lcrbench.corruption_names import names

# Shows a test set to a small network, and prints by how many MB the anonymous memory was larger than before at most.
WATCHED = """
import json, sys, threading, time
import numpy as np, torch
from torch import nn
from lcrbench.bench.data.arrays import Dataset, Split
from lcrbench.bench.evaluation import test_sets
from lcrbench.bench.evaluation.run import evaluate
from lcrbench.bench.networks.foreign import opened, ready
from lcrbench.bench.records import env

def anonymous():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) / 1000

class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.head = nn.Linear(3, classes)
    def forward(self, x):
        return self.head(x[:, :, ::8, ::8].mean((2, 3)))

path, given = sys.argv[1], json.loads(sys.argv[2])
size, classes = given["size"], tuple(given["classes"])
labels = np.array(given["labels"])
split = Split(np.zeros((len(labels), size, size, 3), np.uint8), labels)
dataset = Dataset("some", classes, split, split, space=given["space"])
looked = ready(opened(Net(len(classes))), dataset).looked
with torch.inference_mode():
    looked.network(torch.zeros(100, 3, size, size))
before, most, on = anonymous(), 0.0, True

def watch():
    global most
    while on:
        most = max(most, anonymous())
        time.sleep(0.01)

thread = threading.Thread(target=watch)
thread.start()
other = test_sets.open_set(path, dataset, size, 100)
provenance = env.provenance("cpu", 1, "", {}, deterministic=True)
found = evaluate(looked, other.dataset, other.protocol, {"accuracy": {}}, provenance, cells=other.cells)
on = False
thread.join()
print(json.dumps({"mb": most - before, "shown": sum(b.forward["evaluation"] for b in found.evaluation.batches)}))
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells what memory is anonymous"),
]


def watched(path: Path, tmp_path: Path, **given: object) -> tuple[float, int]:
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(path), json.dumps(given)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answer = json.loads(done.stdout.splitlines()[-1])
    print(f"\n{path.name}: {answer['mb']:.0f} MB for {answer['shown']:,} images")
    return answer["mb"], answer["shown"]


def test_cifar_10_c_from_its_archive(tmp_path: Path) -> None:
    """Four files of 10,000 images and five severities in a .tar, as large as the published ones."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 10_000)
    block = rng.integers(0, 256, (1000, 32, 32, 3), dtype=np.uint8)
    content = np.concatenate([block] * 50)
    folder = tmp_path / "CIFAR-10-C-mine"
    folder.mkdir()
    np.save(folder / "labels.npy", np.tile(labels, 5).astype(np.uint8))
    np.save(folder / "fog.npy", content)
    del content
    with tarfile.open(tmp_path / "mine.tar", "w") as tar:
        tar.add(folder / "labels.npy", "mine/labels.npy")
        for name in names("weather"):
            tar.add(folder / "fog.npy", f"mine/{name}.npy")
    found, shown = watched(
        tmp_path / "mine.tar", tmp_path, size=32, classes=ids("cifar10"), labels=labels.tolist(), space="cifar10"
    )
    assert shown == 21 * 10_000
    assert found < 1000


def test_imagenet_c_at_many_images(tmp_path: Path) -> None:
    """Five severities of 2,000 and of 5,000 images of 224 px: more images take no more memory."""
    wnids = ids("imagenet1k")[:50]
    made = []
    for k in range(16):
        file = io.BytesIO()
        small = np.random.default_rng(k).integers(0, 256, (7, 7, 3), dtype=np.uint8)
        Image.fromarray(small).resize((224, 224), Image.Resampling.BICUBIC).save(file, "JPEG", quality=85)
        made.append(file.getvalue())
    taken = []
    for images in (2_000, 5_000):
        folder = tmp_path / f"{images}"
        folder.mkdir()
        with tarfile.open(folder / "weather.tar", "w") as tar:
            for severity in range(1, 6):
                for k in range(images):
                    info = tarfile.TarInfo(f"weather/fog/{severity}/{wnids[k % 50]}/ILSVRC2012_val_{k:08d}.JPEG")
                    info.size = len(made[k % 16])
                    tar.addfile(info, io.BytesIO(made[k % 16]))
        found, shown = watched(folder, tmp_path, size=224, classes=wnids, labels=[*range(50)], space="imagenet1k")
        assert shown == 5 * images
        taken.append(found)
    assert max(taken) < 2000
    # 3,000 images more, whole, would be 450 MB more.
    assert taken[1] - taken[0] < 150, taken
