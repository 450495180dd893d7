"""What large sets take: memory where a tar is streamed, and seconds where many files are told of; both take minutes."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from test_sources import settle

from lcrbench.bench.data import about
from tests.bench.photographs import photograph

MEMBERS, DISTINCT = 200_000, 256
LIMIT = 3 << 30

TRAINING = """
import multiprocessing, sys, threading, time
from lcrbench.bench import data
from lcrbench.bench.records.budget import Budget, Recipe
from lcrbench.bench.training.loop import train
from lcrbench.models import network as networks
import torch

def held(process="self"):
    lines = open(f"/proc/{process}/status").read().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

most = 0
def watch():
    global most
    while True:
        most = max(most, held() + sum(held(child.pid) for child in multiprocessing.active_children()))
        time.sleep(0.1)

before = held()
threading.Thread(target=watch, daemon=True).start()
found = data.load(sys.argv[1], size=224, stream=True)
listed, most = most, 0
assert len(found.train) == int(sys.argv[2]), len(found.train)
net = networks.build(
    networks.choose("bnn"), "resnet18", 4, 224, [0.5] * 3, [0.25] * 3, lambda name: torch.Generator().manual_seed(0)
).to(memory_format=torch.channels_last)
recipe = Recipe(batch=16, augmentation="random-resized-crop")
spent = train(net, found.train, Budget(images=20 * 16), recipe, 0, readers=2)
assert spent.steps == 20
print(before, listed, most)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_tar_of_200000_members_trains_in_three_gigabytes(tmp_path: Path, tally: dict[str, str]) -> None:
    contents = []
    for k in range(DISTINCT):
        out = io.BytesIO()
        photograph(k, 224, 224).save(out, "JPEG", quality=50)
        contents.append(out.getvalue())
    place = tmp_path / "set.tar"
    with tarfile.open(place, "w") as tar:
        for k in range(MEMBERS):
            split, label = ("test" if k % 1000 == 0 else "train"), f"class{k % 4}"
            content = contents[k % DISTINCT]
            info = tarfile.TarInfo(f"{split}/{label if split == 'train' else f'class{k // 1000 % 4}'}/{k:06d}.jpg")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    settle(place)
    done = subprocess.run(
        [sys.executable, "-c", TRAINING, str(place), str(MEMBERS - MEMBERS // 1000)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    before, listed, most = (int(word) << 10 for word in done.stdout.split())
    gigabytes = f"{before / 1e9:.2f} before, {listed / 1e9:.2f} at most while listed, {most / 1e9:.2f} in training"
    tally["anonymous GB, tar of 200,000"] = gigabytes
    assert max(listed, most) < LIMIT


@pytest.mark.slow
def test_50000_files_are_told_of_in_ten_seconds_and_then_in_one(tmp_path: Path, tally: dict[str, str]) -> None:
    out = io.BytesIO()
    photograph(0, 32, 32).save(out, "JPEG", quality=97, subsampling=0)
    content = out.getvalue()
    assert 1500 < len(content) < 3000
    root = tmp_path / "set"
    for split, number in (("train", 450), ("test", 50)):
        for label in range(100):
            folder = root / split / f"class{label}"
            folder.mkdir(parents=True)
            for k in range(number):
                (folder / f"{k}.jpg").write_bytes(content)
    settle(root)
    times = []
    for _ in range(2):
        start = time.process_time()
        found = about.about(str(root), 32)
        times.append(time.process_time() - start)
    assert (sum(found.facts["train"]), sum(found.facts["test"])) == (45_000, 5_000)
    tally[f"50,000 files of {len(content)} bytes"] = f"listed in {times[0]:.1f} CPU s, then in {times[1]:.2f}"
    assert times[0] <= 10
    assert times[1] <= 1
