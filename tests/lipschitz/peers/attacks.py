"""Attacks that others wrote, at a budget of passes, on the four networks of the fixture store.

    python -m tests.lipschitz.peers.attacks --passes 2000 --images 100 [--networks bnn,irnet] [--store COPY] [--json FILE]

HopSkipJump (Chen et al. 2020, arXiv 1904.02144; l2 and linf) and the Boundary attack (Brendel et al. 2018, arXiv
1712.04248; l2) are those of foolbox, and walk all images at once. The Square attack (Andriushchenko et al. 2020, arXiv
1912.00049; one run a radius) is that of the adversarial-robustness-toolbox. None of them takes gradients: a pass is a
forward pass of one image.

What an attack found is what the wrapped network saw, not what the attack returned: each point that it asks about counts,
from its first pass until the image's budget is spent, and one that it asks about again is answered from memory and costs
nothing. Both favour the attack.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lcrbench.bench.data.arrays import Split
from lcrbench.bench.evaluation.engine import Served, served

STORE = Path(__file__).parents[2] / "fixtures" / "store-schema-3"
RADII = {"l2": (8 / 255, 128 / 255), "linf": (8 / 255,)}
HAIR = 1e-5
"""How much further than a radius, relatively, a peer's point may lie: peers project in float32."""


class Logits(nn.Module):
    """What an engine computes, which is what the network computes, as a module that takes no gradient."""

    def __init__(self, subject: Served) -> None:
        super().__init__()
        self.subject = subject

    def forward(self, points: Tensor) -> Tensor:
        return torch.from_numpy(self.subject.logits(np.ascontiguousarray(points.permute(0, 2, 3, 1).numpy())))


class SpentError(Exception):
    """Every image's budget is spent."""


class Seen(nn.Module):
    """A network that counts the passes of each image, and keeps the nearest flip of each that it was asked about."""

    def __init__(self, network: nn.Module, images: Tensor, budget: int) -> None:
        super().__init__()
        n = len(images)
        self.network, self.images, self.budget = network.eval(), images, budget
        self.flat = images.flatten(1)
        self.known: list[dict[int, Tensor]] = [{} for _ in range(n)]
        self.passes = np.zeros(n, dtype=np.int64)
        self.radii = {norm: np.full(n, np.inf) for norm in RADII}
        with torch.no_grad():
            self.start: Tensor = network(images)
        self.labels = self.start.argmax(1)
        self.eval()

    def forward(self, points: Tensor) -> Tensor:
        """Return the logits of points (m, 3, H, W), each near one of the images."""
        points = points.detach().float()
        owner = self._owner(points)
        keys = [hash(row.tobytes()) for row in points.numpy()]
        new = [k for k, key in enumerate(keys) if key not in self.known[owner[k]]]
        if new:
            if (self.passes >= self.budget).all():
                raise SpentError
            with torch.no_grad():
                found = self.network(points[new].contiguous(memory_format=torch.channels_last))
            self._look(points[new], owner[new], found)
            for k, row in zip(new, found, strict=True):
                self.known[owner[k]][keys[k]] = row
        return torch.stack([self.known[k][key] for k, key in zip(owner, keys, strict=True)])

    def _owner(self, points: Tensor) -> np.ndarray:
        if len(points) == len(self.images):
            return np.arange(len(points))
        # The Square attack drops images on the way. Its points are nearer to their own image than to any other.
        return np.asarray(torch.cdist(points.flatten(1), self.flat).argmin(1).numpy())

    def _look(self, points: Tensor, owner: np.ndarray, logits: Tensor) -> None:
        np.add.at(self.passes, owner, 1)
        c = self.labels[owner]
        rows = torch.arange(len(owner))
        others = logits.clone()
        others[rows, c] = -torch.inf
        flip = (others.amax(1) >= logits[rows, c]).numpy() & (self.passes[owner] <= self.budget)
        away = (points.double() - self.images[owner].double()).flatten(1)
        flip &= torch.isfinite(away).all(1).numpy()  # a peer may ask about NaN
        for norm, length in (("l2", away.norm(dim=1)), ("linf", away.abs().amax(1))):
            np.minimum.at(self.radii[norm], owner[flip], length.numpy()[flip])


def starts(seen: Seen, norm: str) -> Tensor:
    """Return for each image the nearest one that the network puts into another class: where decision attacks start."""
    far = torch.cdist(seen.flat, seen.flat, p=2 if norm == "l2" else torch.inf)
    far[seen.labels[:, None] == seen.labels[None]] = torch.inf
    assert torch.isfinite(far.amin(1)).all(), "the network puts all images into one class"
    return seen.images[far.argmin(1)]


def hop_skip_jump(seen: Seen, norm: str, radius: float) -> None:
    import foolbox

    foolbox.attacks.HopSkipJumpAttack(steps=10**6, constraint=norm).run(
        foolbox.PyTorchModel(seen, bounds=(0, 1)), seen.images, seen.labels, starting_points=starts(seen, norm)
    )


def boundary(seen: Seen, norm: str, radius: float) -> None:
    import foolbox

    foolbox.attacks.BoundaryAttack(steps=10**6).run(
        foolbox.PyTorchModel(seen, bounds=(0, 1)), seen.images, seen.labels, starting_points=starts(seen, norm)
    )


def square(seen: Seen, norm: str, radius: float) -> None:
    from art.attacks.evasion import SquareAttack
    from art.estimators.classification import PyTorchClassifier

    classifier = PyTorchClassifier(
        seen,
        nn.CrossEntropyLoss(),
        tuple(seen.images.shape[1:]),
        seen.start.shape[1],
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )
    # The share of pixels that the paper starts from.
    p, part = (2, 0.1) if norm == "l2" else (np.inf, 0.05)
    attack = SquareAttack(
        classifier, norm=p, eps=radius, max_iter=seen.budget, p_init=part, batch_size=len(seen.images), verbose=False
    )
    attack.generate(seen.images.numpy(), seen.labels.numpy())


PEERS: dict[str, tuple[Callable[[Seen, str, float], None], tuple[tuple[str, float], ...]]] = {
    "HopSkipJump": (hop_skip_jump, (("l2", np.inf), ("linf", np.inf))),
    "Boundary": (boundary, (("l2", np.inf),)),
    "Square": (square, (("l2", 8 / 255), ("l2", 128 / 255), ("linf", 8 / 255))),
}
"""Each attack with its runs (norm, radius); an infinite radius stands for an attack that looks for the nearest flip."""


@dataclass(frozen=True)
class Attacked:
    """One run: the nearest flip that was seen of each image (n), infinite without one, and the mean passes an image."""

    peer: str
    norm: str
    radius: float
    radii: np.ndarray
    passes: float
    seconds: float

    def flips(self) -> dict[float, int]:
        """Return how many images flip within each radius that the run is about."""
        asked = RADII[self.norm] if np.isinf(self.radius) else (self.radius,)
        return {r: int((self.radii <= r * (1 + HAIR)).sum()) for r in asked}

    def __str__(self) -> str:
        flips = ", ".join(f"{k} flips at {r * 255:g}/255" for r, k in self.flips().items())
        middle = f", median radius {np.median(self.radii) * 255:.1f}/255" if np.isinf(self.radius) else ""
        return f"{self.peer} {self.norm}: {flips}{middle}; {self.passes:.0f} passes an image, {self.seconds:.0f} CPU s"


def attack(network: nn.Module, images: Tensor, budget: int, peer: str, norm: str, radius: float) -> Attacked:
    """Return what a peer finds with `budget` passes an image, for images (n, 3, H, W) in [0, 1]."""
    seen = Seen(network, images, budget)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 (the toolbox draws from it)
    began = time.process_time()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            PEERS[peer][0](seen, norm, radius)
    except SpentError:
        pass
    used = float(np.minimum(seen.passes, budget).mean())
    return Attacked(peer, norm, radius, seen.radii[norm], used, time.process_time() - began)


def attacks(network: nn.Module, images: Tensor, budget: int, norm: str = "") -> Iterator[Attacked]:
    """Yield what each peer finds, in one norm or in all."""
    for peer, (_, runs) in PEERS.items():
        for each, radius in runs:
            if norm in ("", each):
                yield attack(network, images, budget, peer, each, radius)


def fixture(copy: Path) -> dict[str, Any]:
    """Return the networks of the fixture store by label, from a copy of it: reading takes it over to today's schema."""
    from lcrbench.bench.lipschitz import subjects
    from lcrbench.bench.records.store import Store

    if not copy.exists():
        shutil.copytree(STORE, copy)
    store = Store(copy)
    found = {}
    for run_id in sorted(p.name for p in STORE.iterdir()):
        network = subjects.of_run(store, run_id)
        assert network.record is not None
        found[network.record.spec.label] = network
    return found


def resnets(place: Path, methods: tuple[str, ...], seed: int) -> dict[str, Any]:
    """Return ResNet-20 trained by each method on 24,000 images of the quick preset's data, in a store of its own."""
    import lcrbench
    from lcrbench.bench.lipschitz import subjects
    from lcrbench.bench.records.store import Store

    runs = lcrbench.run(
        "quick",
        place,
        backbone="resnet20",
        methods=methods,
        seeds=(seed,),
        budget={"images": 24_000},
        evaluation={"corruptions": ("fog",), "severities": (1,)},
        metrics={"accuracy": {}},
        workers=1,
        quiet=True,
    )
    return dict(zip(methods, (subjects.of_run(Store(place), run) for run in runs), strict=True))


def first_images(network: Any, count: int) -> Tensor:
    """Return the first test images as points (n, 3, H, W) in [0, 1]."""
    images = torch.from_numpy(network.dataset.test.images[:count].astype(np.float32) / np.float32(255))
    return images.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def on_bits(network: Any, count: int) -> Served:
    """Return a network on its first test images, to be searched: on packed bits where it can be."""
    test = network.dataset.test
    return served(network.looked.network.eval(), Split(test.images[:count], test.labels[:count]), count)


def main(arguments: list[str] | None = None) -> None:
    """Print what each peer finds on each network."""
    parser = argparse.ArgumentParser(prog="attacks")
    parser.add_argument("--passes", type=int, default=2000)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--networks", default="")
    parser.add_argument("--store", type=Path)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    lines = []
    with tempfile.TemporaryDirectory() as place:
        networks = fixture(asked.store or Path(place) / "store")
        for label in asked.networks.split(",") if asked.networks else networks:
            points = first_images(networks[label], asked.images)
            for result in attacks(networks[label].looked.network, points, asked.passes):
                print(f"{label} {result}", flush=True)
                flips = {f"{r * 255:g}": k for r, k in result.flips().items()}
                lines.append({"network": label, "peer": result.peer, "norm": result.norm, "flips": flips})
                lines[-1] |= {"passes": result.passes, "radii": (result.radii * 255).tolist()}
    if asked.json:
        asked.json.write_text(json.dumps(lines))


if __name__ == "__main__":
    main(sys.argv[1:])
