"""A network from outside: what identifies it, how pixels are prepared for it, and what it can give to a metric.

    outputs = network( normalize( channels( resize( pixels in [0, 1] ) ) ) )

Preparation is part of a network's identity, because another one gives other predictions. It happens inside the network that
is evaluated, so that corruptions, perturbations and distances stay in pixel space.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from lcrbench.bench.records.budget import Frozen
from lcrbench.bench.records.ids import stated

Interpolation = Literal["nearest", "bilinear", "bicubic"]
Gradient = Literal["none", "exact", "pseudo"]
Outputs = Literal["logits", "probabilities"]


class Preprocess(Frozen):
    """How images (N, 3, H, W) of pixels in [0, 1] become what a network takes.

    In this order: resized to `size`; channels in their order; each value v scaled to low + v (high - low) with `range` =
    (low, high); (v - mean) / std for each channel; the axes in their order. `resize` tells how photographs are read before
    any of that: the shorter side in pixels, of which the centre is cropped.
    """

    size: int | None = Field(None, description="px square that the network takes; null: any, so nothing is resized")
    resize: int | None = Field(None, description="px of the shorter side of photographs before the crop; null: no crop")
    interpolation: Interpolation = Field("bilinear", description="of the resizing")
    antialias: bool = Field(True, description="whether the resizing smooths where it shrinks")
    mean: tuple[float, float, float] = Field((0.0, 0.0, 0.0), description="subtracted from each channel")
    std: tuple[float, float, float] = Field(
        (1.0, 1.0, 1.0), description="each channel is divided by it, after the mean is subtracted"
    )
    channels: Literal["RGB", "BGR"] = Field("RGB", description="order of the channels")
    range: tuple[float, float] = Field(
        (0.0, 1.0), description="values that pixels of 0 and 1 become before mean and std"
    )
    layout: Literal["NCHW", "NHWC"] = Field("NCHW", description="order of the axes")
    origin: str = Field("", description="who says so: declared, timm, torchvision, ...; no part of the identity")

    @model_validator(mode="after")
    def _possible(self) -> Preprocess:
        if min(self.std) <= 0:
            raise ValueError("std must be above 0")
        if self.range[0] == self.range[1]:
            raise ValueError("range needs two different numbers")
        if any(px is not None and not 1 <= px <= 4096 for px in (self.size, self.resize)):
            raise ValueError("sizes are 1 to 4096 px")
        return self

    @property
    def facts(self) -> dict[str, Any]:
        """Return what changes an output: the fields that are not at their default, without how files are read."""
        return stated(self, leave_out=frozenset({"origin", "resize"}))

    @property
    def text(self) -> str:
        """Return it in a few words."""
        parts = [f"{self.size} px" if self.size else "any size"]
        if self.channels != "RGB":
            parts.append(self.channels)
        if self.range != (0.0, 1.0):
            parts.append(f"range {self.range[0]:g} to {self.range[1]:g}")
        if any(self.mean) or self.std != (1.0, 1.0, 1.0):
            mean, std = (" ".join(f"{v:.4g}" for v in values) for values in (self.mean, self.std))
            parts.append(f"mean {mean}, std {std}")
        else:
            parts.append("not normalized")
        if self.layout != "NCHW":
            parts.append(self.layout)
        return ", ".join(parts) + (f" ({self.origin})" if self.origin else "")


class External(Frozen):
    """A network from outside: its name, the hash of its weights, and what else decides its outputs.

    `model` is the text by which it was loaded, without folders; `code_sha256` the hash of a file of code that no import path
    reaches. What it gives (`gradient`, `layers`) and its links are told, and identify nothing.
    """

    name: str = Field(description="what reports call it")
    weights_sha256: str = Field(description="hash of its weights")
    model: str = Field("", description="as it was named, without folders: torchvision:resnet18")
    arguments: dict[str, bool | int | float | str] = Field({}, description="of the function that makes it")
    code_sha256: str = Field("", description="of the file of code that makes it, where no import path reaches it")
    preprocess: Preprocess | None = Field(None, description="null: pixels in [0, 1], NCHW, are taken as they are")
    outputs: Outputs = Field("logits", description="what the network gives")
    order: str = Field("", description="name of the order of its classes; empty: that of the data")
    order_sha256: str = Field("", description="of the ids in a file that gives the order")
    gradient: Gradient | None = Field(None, description="with respect to the image; null: not known")
    layers: bool | None = Field(None, description="whether layers are torch modules with names")
    parameters: int | None = Field(None, description="number of parameters; null: not known")
    training_data: str = Field("", description="what it was trained on, as the model says")
    links: dict[str, str] = Field({}, description="paper, code, weights, ...: address by what it leads to")

    @property
    def facts(self) -> dict[str, Any]:
        """Return what identifies it."""
        found = stated(
            self,
            leave_out=frozenset(
                {"name", "model", "preprocess", "gradient", "layers", "parameters", "training_data", "links"}
            ),
        )
        prepared = self.preprocess.facts if self.preprocess else {}
        return found | ({"preprocess": prepared} if prepared else {})
