"""torchvision:NAME, with its weights' own preparation: torchvision:resnet18@IMAGENET1K_V1, or @FILE.

Without weights the network has random ones, drawn from one seed. Arguments are those of `get_model`: ?num_classes=10.
"""

from __future__ import annotations

from typing import Any

from lcrbench.bench.networks.loaded import Loaded
from lcrbench.bench.networks.loaders import extra
from lcrbench.bench.networks.loaders.factory import called
from lcrbench.bench.networks.name import Name
from lcrbench.bench.networks.weights import load_into
from lcrbench.bench.records.external import Preprocess
from lcrbench.errors import UserError, unknown


def load_network(name: Name) -> Loaded:
    """Return a classifier of torchvision; raises `UserError` for an unknown one, and for weights that are not there."""
    models = extra("torchvision.models", "torchvision", "torchvision")
    known = models.list_models(module=models)
    if name.what not in known:
        raise unknown("network of torchvision", name.what, known)
    entries = {str(w.name): w for w in models.get_model_weights(name.what)}
    entry = entries.get(name.weights)

    def make(**arguments: Any) -> Any:
        try:
            return models.get_model(name.what, weights=entry, **arguments)
        except (OSError, TypeError, ValueError) as error:  # its weights are fetched, and arguments are anybody's
            raise UserError(f"torchvision:{name.what}: {type(error).__name__}: {error}".partition("\n")[0]) from error

    made = called(make, name, name.what)
    if name.weights and entry is None:
        load_into(made, name.weights)
    # Files are of some weights of this network: their preparation is that of the ones with the same number of classes.
    default = models.get_model_weights(name.what).DEFAULT if entries else None
    of = entry or (default if name.weights and not name.arguments else None)
    notes = [] if name.weights else ["no weights are named (@FILE): they are random"]
    if of is not None and entry is None:
        notes.append(f"the preparation is that of torchvision's weights {of.name}")
    return Loaded(
        made.eval(),
        name.what,
        preprocess=_preparation(of) if of is not None else Preprocess(),
        training_data="ImageNet-1k" if entry is not None else "",
        links={"weights": str(entry.meta.get("recipe", ""))} if entry is not None and entry.meta.get("recipe") else {},
        notes=tuple(notes),
    )


def _preparation(weights: Any) -> Preprocess:
    how = weights.transforms()
    return Preprocess(
        size=int(how.crop_size[0]),
        resize=int(how.resize_size[0]),
        interpolation=how.interpolation.value if how.interpolation.value in ("nearest", "bicubic") else "bilinear",
        antialias=how.antialias is not False,
        mean=tuple(how.mean),
        std=tuple(how.std),
        origin="torchvision",
    )
