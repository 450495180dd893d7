"""A deployed network as one file: one bit a binary weight, all other numbers of its inference, and what its topology is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import safetensors.torch
from safetensors import SafetensorError, safe_open

import lcrbench
from lcrbench import untrusted
from lcrbench.bench.data.spaces import MOST_CLASSES
from lcrbench.bench.evaluation.engine import Choice, Inference
from lcrbench.bench.evaluation.networks import check_trust, restored
from lcrbench.bench.records import files
from lcrbench.bench.records.spec import MethodId
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError
from lcrbench.models import network as networks
from lcrbench.models import parse
from lcrbench.models.packed import deployment


class PackedNetwork:
    """A network from its file: `logits` of images, `predict` their classes; `engine` says what computed them.

    `classes` are the names of the classes, `size` the images' side in pixels, `label` method and backbone.
    """

    def __init__(self, inference: Inference, label: str, classes: tuple[str, ...], size: int) -> None:
        self._inference = inference
        self.label, self.classes, self.size = label, classes, size

    @property
    def engine(self) -> str:
        """Return "packed" and the engine's version, "torch: " and why, or "" before the first image."""
        return self._inference.name

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Return logits (N, classes), float32, of images (N, size, size, 3): uint8, or float in [0, 1].

        Raises `UserError` for images of another shape.
        """
        if images.ndim != 4 or images.shape[1:] != (self.size, self.size, 3):
            raise UserError(f"the network takes images (N, {self.size}, {self.size}, 3), not {images.shape}")
        return self._inference.logits(images) if len(images) else np.zeros((0, len(self.classes)), np.float32)

    def predict(self, images: np.ndarray) -> list[str]:
        """Return the name of each image's class."""
        return [self.classes[k] for k in self.logits(images).argmax(1)]


def write(store: Store, run: str, out: Path, *, trust_plugins: bool = False) -> int:
    """Write the network of a run, a training, or the beginning of an id to a file; return its size in bits.

    The size is that which tables show: one bit for each binary weight, 32 for each other number. Raises `UserError` where
    there is no such run, and for a file that cannot be written.
    """
    training, weights = store.trained(store.find(run))
    network = restored(training, weights, trust_plugins=trust_plugins).network
    spec = training.spec
    about = {
        "lcrbench": lcrbench.__version__,
        "method": spec.method.text,
        "backbone": spec.backbone,
        "classes": json.dumps(list(spec.data.classes)),
        "size": str(spec.data.size),
        "training": training.train_id,
    }
    try:
        files.replace_file(out, safetensors.torch.save(deployment.tensors(network), about))
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}") from error
    return networks.memory_bits(network)


def load(path: Path, *, block: int = 100, engine: Choice = "auto", trust_plugins: bool = False) -> PackedNetwork:
    """Return the network of a file that `write` wrote; raises `UserError` for one that is no such file."""
    try:
        untrusted.check_regular(path)
        with safe_open(path, "pt") as opened:
            about = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        method, backbone, size = about["method"], about["backbone"], int(about["size"])
        classes = tuple(str(name) for name in untrusted.json_of(about["classes"].encode(), f"the classes in {path}"))
        untrusted.whole(size, f"the size in {path}", 1, 1024)
        untrusted.whole(len(classes), f"the number of classes in {path}", 1, MOST_CLASSES)
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot read {path}: {error}".partition("\n")[0]) from error
    except UserError:
        raise
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"{path} is no file of `lcrbench export`: it names no method and backbone") from error
    names = [part.name for part in parse.read(method, "method", "")]
    if not trust_plugins:
        check_trust(backbone, MethodId(name=names[0], regularizers={name: {} for name in names[1:]}))
    try:
        network = deployment.rebuild(networks.choose(method), backbone, len(classes), size, tensors)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    return PackedNetwork(Inference(network, block, choice=engine), f"{method} on {backbone}", classes, size)
