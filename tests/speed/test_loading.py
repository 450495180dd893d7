"""Reading images, priced in one run on one core: ratios of interleaved rounds, by the CPU time of the process.

tox run -e speed -- tests/speed/test_loading.py -s
"""

from __future__ import annotations

import io
import math
import os
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from lcrbench.bench import data
from lcrbench.bench.data.arrays import Split
from lcrbench.bench.records.budget import Budget, Recipe
from lcrbench.bench.training import parts, reading
from lcrbench.bench.training.loop import train
from lcrbench.bench.training.transforms import _based
from lcrbench.models import network as networks
from tests.bench.photographs import photograph, tree

ROUNDS = 7


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def ratios(one: Callable[[], object], other: Callable[[], object]) -> list[float]:
    """Return the CPU time of `one` over that of `other`, round by round, sorted."""
    found = []
    for round_ in range(ROUNDS + 1):
        times = []
        for function in (one, other):
            start = time.process_time()
            function()
            times.append(time.process_time() - start)
        if round_:  # the first one warms up
            found.append(times[0] / times[1])
    return sorted(found)


def by_pillow(content: bytes, u: list[float], size: int) -> np.ndarray:
    """Decode, crop, resize and flip as torchvision's training script does with Pillow."""
    image = Image.open(io.BytesIO(content)).convert("RGB")
    top, left, h, w = _based._place(image.height, image.width, u, (0.08, 1.0), (3 / 4, 4 / 3))
    cut = image.crop((left, top, left + w, top + h)).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if u[_based.CROP - 1] < 0.5 else cut)


def test_decode_and_random_resized_crop(tmp_path: Path, benchmark: Callable[..., object]) -> None:
    """500 x 375 px, quality 95, to 224 px: at least 1.25 times as fast as Pillow's own way."""
    files = []
    for k in range(24):
        out = io.BytesIO()
        photograph(k, 500, 375).save(out, "JPEG", quality=95)
        files.append(out.getvalue())
        for split in ("train", "test"):
            place = tmp_path / split / "ab"[k % 2] / f"{k:02d}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(out.getvalue())
    images = data.load(tmp_path, size=224, stream=True).train.images
    transform = parts.load(Recipe(augmentation="random-resized-crop")).augmentation
    reader = reading.Reader(images, transform, 0)  # type: ignore[arg-type]
    wanted = [(0, k) for k in range(24)]
    # In the order of the split: class a, then b.
    ordered = [files[k] for k in (*range(0, 24, 2), *range(1, 24, 2))]
    draws = _based.units(torch.from_numpy(reading.drawn(transform, 0, 224, wanted)))

    def theirs() -> list[np.ndarray]:
        return [by_pillow(content, u, 224) for content, u in zip(ordered, draws, strict=True)]

    ours = reader.__getitems__(wanted)
    assert not isinstance(ours, str)
    # The same crops: the resized pixels differ by a level at most.
    apart = np.abs(np.stack(theirs()).astype(int) - ours[0].numpy().astype(int))
    assert apart.max() <= 2
    found = ratios(theirs, lambda: reader.__getitems__(wanted))
    print(f"\ndecode + random-resized-crop + flip: Pillow's time over ours {statistics.median(found):.2f} {found}")
    benchmark.pedantic(lambda: reader.__getitems__(wanted), rounds=1)  # type: ignore[attr-defined]
    assert statistics.median(found) >= 1.25


def test_the_loop_costs_little_beside_its_steps(benchmark: Callable[..., object]) -> None:
    """In memory: the training's time over that of bare steps on the same batches is at most 1.05."""
    rng = np.random.default_rng(0)
    n, batch, steps = 1000, 64, 10
    split = Split(rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8), np.arange(n) % 10)
    recipe = Recipe(batch=batch)

    def network() -> networks.Network:
        def generator(name: str) -> torch.Generator:
            return torch.Generator().manual_seed(sum(map(ord, name)))

        made = networks.build(networks.choose("bnn"), "resnet20", 10, 32, [0.5] * 3, [0.25] * 3, generator)
        return made.to(memory_format=torch.channels_last)

    def ours() -> None:
        train(network(), split, Budget(images=steps * batch), recipe, 0)

    def bare() -> None:
        net = network().train()
        optimizer = parts.make_optimizer(net, recipe)
        x = torch.rand(batch, 3, 32, 32).contiguous(memory_format=torch.channels_last)
        labels = torch.arange(batch) % 10
        for _ in range(steps):
            loss = torch.nn.functional.cross_entropy(net(x), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        assert math.isfinite(float(loss.detach()))

    found = ratios(ours, bare)
    print(f"\nthe loop's time over bare steps' {statistics.median(found):.3f} {found}")
    benchmark.pedantic(lambda: None, rounds=1)  # type: ignore[attr-defined]
    assert statistics.median(found) <= 1.05


def test_a_step_seldom_waits_for_one_reader(tmp_path: Path, benchmark: Callable[..., object]) -> None:
    """A stub that takes 2 ms an image waits for at most a twentieth of its time, with one reader and files of 256 px.

    On a busy machine waiting says what others do. There the reader's CPU time for an image is to be less than 2 ms, and that
    of fetching a batch less than a twentieth of its step.
    """
    busy = os.getloadavg()[0] > (os.cpu_count() or 1) / 2
    images = data.load(tree(tmp_path / "set", 64, 4, side=256), size=224, stream=True).train.images
    transform = parts.load(Recipe(augmentation="random-resized-crop")).augmentation
    batch, steps = 64, 12
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = reading.read(images, batch, transform, 0, "cpu", 0, 1)  # type: ignore[arg-type]
    next(found)
    waited, fetching, start = 0.0, 0.0, time.perf_counter()
    for _ in range(steps):
        time.sleep(batch * 0.002)
        asked, computed = time.perf_counter(), time.process_time()
        next(found)
        waited, fetching = waited + time.perf_counter() - asked, fetching + time.process_time() - computed
    share, fetched = waited / (time.perf_counter() - start), fetching / (steps * batch * 0.002)
    found.close()  # type: ignore[attr-defined]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    read = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    each = 1000 * read / ((steps + 1) * batch)  # what it read ahead included
    machine = "busy" if busy else "idle"
    print(
        f"\na stub of 2 ms an image waits for {share:.1%} ({machine}); {each:.2f} CPU ms to read, {fetched:.1%} to fetch"
    )
    benchmark.pedantic(lambda: None, rounds=1)  # type: ignore[attr-defined]
    assert each < 2
    assert fetched <= 0.05
    assert busy or share <= 0.05
