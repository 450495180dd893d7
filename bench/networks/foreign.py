"""A network from outside as a subject of evaluation: loaded, prepared, and identified by what its outputs depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from lcrbench import registry
from lcrbench.bench.data.arrays import Dataset
from lcrbench.bench.evaluation.run import Looked
from lcrbench.bench.metrics import Need
from lcrbench.bench.networks import gradients, name, orders
from lcrbench.bench.networks.loaded import Called, Loaded
from lcrbench.bench.networks.orders import Order
from lcrbench.bench.networks.prepare import prepared
from lcrbench.bench.records import source
from lcrbench.bench.records.external import External, Outputs, Preprocess
from lcrbench.bench.records.spec import Subject
from lcrbench.errors import UserError
from lcrbench.untrusted import shown

Model = str | nn.Module | Callable[[Any], Any]
CERTAIN = 1e-3
"""Rows of outputs that are not negative and whose sums are this near to 1 are probabilities."""


@dataclass(frozen=True)
class Declared:
    """What a user says of a network: what is not said is taken from its own configuration, or is the plainest.

    `preprocess` has fields of a `Preprocess`; `order` a name of `orders`, or a file; `takes` tells what a function that is
    no torch module is given.
    """

    name: str = ""
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    order: str = ""
    outputs: Outputs | None = None
    takes: Literal["torch", "numpy"] = "torch"
    training_data: str = ""
    links: Mapping[str, str] = field(default_factory=dict)


class Foreign(NamedTuple):
    """A network from outside as it was loaded and declared, not yet wrapped; `text` is how it was named."""

    loaded: Loaded
    how: Preprocess
    declared: Declared
    text: str = ""
    arguments: Mapping[str, name.Value] = {}
    was_training: bool = False

    @property
    def name(self) -> str:
        """Return what it is called in records and reports."""
        return self.declared.name or self.loaded.name


class Ready(NamedTuple):
    """A network that takes pixels and gives logits of the data's classes, with what it was made from."""

    looked: Looked
    foreign: Foreign
    order: Order
    outputs: Outputs
    notes: tuple[str, ...]


def opened(model: Model, declared: Declared | None = None) -> Foreign:
    """Load a network by its name, or take a torch module or a function of images as it is.

    A torch module is set to evaluation mode. Raises `UserError` where there is none, and for a preparation that cannot be.
    """
    declared = declared or Declared()
    if not declared.name.isprintable():
        raise UserError(f"a network's name holds no control characters: {shown(declared.name)}")
    text = ""
    arguments: Mapping[str, name.Value] = {}
    if isinstance(model, str):
        named = name.read(model)
        loaded: Loaded = registry.load("loader", named.scheme).load_network(named)
        text, arguments = named.text, named.arguments
    elif isinstance(model, nn.Module):
        loaded = _of_module(model)
    elif callable(model):
        loaded = _of_function(model, declared.takes)
    else:
        raise UserError(f"a network is a torch module, a function of images, or its name, not {type(model).__name__}")
    was_training = any(m.training for m in loaded.network.modules() if type(m) is not Called)
    loaded.network.eval()
    given = {k: v for k, v in declared.preprocess.items() if v is not None}
    try:
        changed = {**loaded.preprocess.model_dump(), **given} | ({"origin": "declared"} if given else {})
        how = Preprocess.model_validate(changed)
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{part}: " for part in first["loc"])
        raise UserError(f"preprocess: {where}{first['msg']}") from None
    return Foreign(loaded, how, declared, text, arguments, was_training)


def ready(foreign: Foreign, dataset: Dataset, device: str = "cpu", *, labelled: bool = True) -> Ready:
    """Wrap a network for a data set, and say what of it is worth telling.

    Without `labelled` its outputs need not be the data's classes. Raises `UserError` where it does not take the images, or
    gives no logits, or gives other classes than the data have: then with the order of classes that would fit.
    """
    images = dataset.test.images[:2]
    out = first_outputs(foreign, images, device)
    outputs, notes = _kind_of(foreign, out), list(foreign.loaded.notes)
    if outputs == "probabilities" and foreign.declared.outputs is None:
        notes.append("gives probabilities: their logarithm is taken for logits")
    if foreign.was_training:
        notes.append("was in training mode: it is evaluated in evaluation mode")
    size = images.shape[1]
    if foreign.how.size not in (None, size):
        way = "enlarged" if (foreign.how.size or 0) > size else "reduced"
        smooth = foreign.how.interpolation
        notes.append(f"takes {foreign.how.size} px: images of {size} px are {way} inside ({smooth}) after corruption")
    order = _order(foreign, dataset, out, device) if labelled else Order(orders.DATA, tuple(range(out.shape[1])))
    columns = None if order.columns == tuple(range(out.shape[1])) else order.columns
    network = prepared(foreign.loaded.network.to(device), foreign.how, columns, outputs).to(device).eval()
    gives, lacks = foreign.loaded.gives, foreign.loaded.lacks
    # Where none comes back from a module or a function, the search goes on by decisions alone, and metrics say so.
    kind = gradients.kind(network, images, device) if Need.GRADIENT in gives else "none"
    known = External(
        name=foreign.name,
        weights_sha256=_weights(foreign.loaded, network, images),
        model=foreign.text,
        arguments=dict(foreign.arguments),
        code_sha256=foreign.loaded.code_sha256,
        preprocess=foreign.how,
        outputs=outputs,
        order=order.name,
        order_sha256=order.sha256,
        gradient=kind,
        layers=Need.LAYERS in gives,
        parameters=sum(p.numel() for p in foreign.loaded.network.parameters()) or None,
        training_data=foreign.declared.training_data or foreign.loaded.training_data,
        links={**foreign.loaded.links, **foreign.declared.links},
    )
    looked = Looked(
        network,
        Subject(external=known),
        known.weights_sha256,
        tuple(m for m in foreign.loaded.modules if not source.is_installed(m)),
        gives=gives,
        lacks=lacks,
    )
    return Ready(looked, foreign, order, outputs, tuple(notes))


def first_outputs(foreign: Foreign, images: np.ndarray, device: str = "cpu") -> Tensor:
    """Return the outputs (n, M) for images (n, H, W, 3), uint8, before classes are put into their order.

    Raises `UserError` for a network that does not take them, or gives something else.
    """
    points = torch.from_numpy(images.copy()).permute(0, 3, 1, 2).float().to(device) / 255
    network = prepared(foreign.loaded.network.to(device), foreign.how).to(device)
    try:
        with torch.no_grad():
            out = network(points)
    except (Exception, SystemExit) as error:  # their code may raise anything
        first = str(error).partition("\n")[0]
        raise UserError(
            f"{foreign.name} does not take images {tuple(points.shape)}: {type(error).__name__}: {first}"
        ) from error
    if isinstance(out, Tensor) and out.shape == points.shape[:1]:
        raise UserError(f"{foreign.name} gives one number an image, its class: logits are needed, leave its argmax out")
    if not isinstance(out, Tensor) or out.ndim != 2 or len(out) != len(points) or out.shape[1] < 2:
        what = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise UserError(f"{foreign.name} gives {what} for {len(points)} images, not logits ({len(points)}, classes)")
    return out


def _kind_of(foreign: Foreign, out: Tensor) -> Outputs:
    """Return what the outputs are: as declared, or told by the numbers for a file, whose softmax cannot be left out."""
    numbers = out.float()
    near = bool((numbers >= 0).all() and (numbers.sum(1) - 1).abs().max() <= CERTAIN)
    answers = near and bool((numbers.max(1).values == 1).all())
    if foreign.declared.outputs is not None:
        return foreign.declared.outputs
    in_a_file = isinstance(foreign.loaded.network, Called) and bool(foreign.loaded.weights_sha256)
    if foreign.loaded.probabilities or (near and not answers and in_a_file):
        return "probabilities"
    if answers and not out.is_floating_point():
        raise UserError(f"{foreign.name} gives 1 for one class and 0 for the others: leave its argmax out")
    if near:
        raise UserError(
            f"{foreign.name} gives probabilities, and logits are needed: leave its softmax out, or declare "
            "--outputs probabilities (outputs='probabilities'), whose logarithm is then taken"
        )
    return "logits"


def _order(foreign: Foreign, dataset: Dataset, out: Tensor, device: str) -> Order:
    """Return the order of classes that was declared, or that of the data.

    Raises `UserError` where the numbers of classes differ, with the order that fits best.
    """
    outputs, k = out.shape[1], len(dataset.classes)
    if foreign.declared.order:
        return orders.chosen(foreign.declared.order, dataset.classes, outputs)
    if outputs == k:
        return Order(orders.DATA, tuple(range(k)))
    from lcrbench.bench.networks import checks

    found = checks.best_order(foreign, dataset, device)
    hint = f": {found}" if found else ""
    raise UserError(f"{foreign.name} gives {outputs} logits, and the data have {k} classes{hint}")


def _of_module(module: nn.Module) -> Loaded:
    written = type(module).__module__
    return Loaded(module, type(module).__name__, modules=(written,))


def _of_function(function: Callable[[Any], Any], takes: str) -> Loaded:
    written = getattr(function, "__module__", None) or ""
    return Loaded(
        Called(function, numpy=takes == "numpy"),
        getattr(function, "__name__", type(function).__name__),
        modules=(written,) if written and written != "__main__" else (),
        gives=frozenset(Need) - ({Need.LAYERS, Need.GRADIENT} if takes == "numpy" else {Need.LAYERS}),
        lacks="a function of numpy's arrays gives outputs alone" if takes == "numpy" else "a function has no layers",
    )


def _weights(loaded: Loaded, network: nn.Module, images: np.ndarray) -> str:
    """Return what tells networks apart: a hash of a file, of all tensors, or of a function's outputs for two images."""
    if loaded.weights_sha256:
        return loaded.weights_sha256
    digest = hashlib.sha256()
    state = sorted(loaded.network.state_dict().items())
    for key, tensor in state:
        digest.update(key.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    if not state:
        points = torch.from_numpy(images.copy()).permute(0, 3, 1, 2).float() / 255
        with torch.no_grad():
            out = network(points.to(next((b.device for b in network.buffers()), points.device)))
        digest.update(np.round(out.float().cpu().numpy().astype(np.float64), 2).tobytes())
    return digest.hexdigest()


def wnids_of(place: str | None) -> list[Path]:
    """Return the file of ids that a data set brings, whose order is not that of its classes."""
    path = Path(place, "wnids.txt") if place else None
    return [path] if path is not None and path.is_file() else []
