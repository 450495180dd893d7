"""timm:NAME, timm:local-dir:FOLDER or timm:hf-hub:OWNER/NAME, with the preparation of its configuration.

NAME without weights after @ is made with random ones, drawn from one seed; ?pretrained=true lets timm fetch its own.
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
    """Return a network of timm; raises `UserError` for an unknown one, and for weights that cannot be had."""
    timm = extra("timm", "timm", "timm")
    elsewhere = name.what.startswith(("local-dir:", "hf-hub:", "hf_hub:"))
    if not elsewhere and not timm.is_model(name.what.partition(".")[0]):
        raise unknown("network of timm", name.what, timm.list_models())
    trained = elsewhere and not name.weights

    def make(**arguments: Any) -> Any:
        try:
            return timm.create_model(name.what, **({"pretrained": True} if trained else {}), **arguments)
        except Exception as error:  # weights are fetched or read, and arguments are anybody's
            first = str(error).partition("\n")[0]
            raise UserError(f"timm:{name.what}: {type(error).__name__}: {first}") from error

    made = called(make, name, name.what)
    if name.weights:
        load_into(made, name.weights)
    random = not (trained or name.weights or name.arguments.get("pretrained"))
    config = timm.data.resolve_model_data_config(made)
    told = dict(getattr(made, "pretrained_cfg", {}))
    links = {what: str(told[key]) for what, key in (("paper", "paper_ids"), ("code", "origin_url")) if told.get(key)}
    return Loaded(
        made.eval(),
        name.what.rpartition("/")[2].rpartition(":")[2],
        preprocess=_preparation(config),
        links=links,
        notes=("no weights are named (@FILE): they are random",) if random else (),
    )


def _preparation(config: dict[str, Any]) -> Preprocess:
    size = int(config["input_size"][1])
    share = float(config.get("crop_pct") or 1.0)
    kind = str(config.get("interpolation", "bicubic"))
    return Preprocess(
        size=size,
        resize=int(size / share),
        interpolation="bilinear" if kind == "bilinear" else "nearest" if kind == "nearest" else "bicubic",
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        origin="timm",
    )
