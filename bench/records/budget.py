"""The budget: what every method of a comparison may spend, and on what terms. It belongs to the harness, not to a method."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Frozen(BaseModel):
    """A value that cannot change and refuses fields it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Budget(Frozen):
    """One frozen training budget, the same for every method that is compared under it.

    `unit` says what is equal between methods:

    - "images": the images that the trained network sees, in all stages of its training together. Passes of other
      networks cost nothing.
    - "compute": the multiply-accumulates of every network's forward and backward passes (a backward pass counts as two
      forward ones), a teacher's own training included. The amount is that of training the plain network on `images`
      images; a method whose step costs r times as much sees images / r of them. A teacher sees as many images as the
      network it teaches, so that with one the two see images / (r + 1) each.
    - "seconds": the CPU seconds of the process (on an accelerator, which the record names: wall seconds), `seconds` of
      them, in equal parts for each teacher and each stage. What is reached then depends on the machine and its load, so
      such runs are exempt from bit-identity.

    The order of the data, the augmentation of each image, the initial latent weights and the rule that selects the
    reported weights depend on the budget, the data and the seed alone, so two methods under one budget differ in nothing
    else; the ledger of each run holds the hashes that prove it.
    """

    unit: Literal["images", "compute", "seconds"] = "images"
    images: int = Field(60_000, gt=0, description="training images seen, counted with repetition")
    seconds: float | None = Field(None, gt=0, description="only with unit = seconds, and then instead of `images`")
    batch: int = Field(100, gt=1, description="images an optimizer step")
    optimizer: Literal["sgd"] = Field("sgd", description="SGD with Nesterov momentum")
    lr: float = Field(0.05, gt=0, description="peak learning rate")
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(1e-4, ge=0, description="applied as `decay` says")
    decay: Literal["weights", "all"] = Field(
        "weights",
        description="what decays: weights of convolutions and linear layers, and no scale, threshold, bias or norm; or all",
    )
    schedule: Literal["cosine"] = Field("cosine", description="cosine from the peak to 0, after the warm-up")
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the training over which the rate rises linearly")
    augmentation: Literal["none", "crop-flip"] = Field(
        "crop-flip", description="zero-pad 4, random crop, horizontal flip with probability 1/2"
    )
    selection: Literal["last"] = Field("last", description="which weights are reported: those after the last step")

    @model_validator(mode="after")
    def _consistent(self) -> Budget:
        if self.images < self.batch:
            raise ValueError(f"images ({self.images}) must be at least one batch ({self.batch})")
        if (self.unit == "seconds") != (self.seconds is not None):
            raise ValueError("unit = 'seconds' and a number of seconds go together")
        return self

    def steps(self) -> int | None:
        """Return the number of optimizer steps of a training with this budget: whole batches; None if the clock decides."""
        return None if self.unit == "seconds" else self.images // self.batch

    def allot(self, cost: float = 1.0, teachers: int = 0, stages: int = 1) -> tuple[Budget, Budget]:
        """Return what the training of each teacher may spend and what the training of the network may, all stages of it.

        Both are budgets of images or of seconds. `cost` is the compute of one step of the network, with all passes in it,
        over that of the plain network's step; so is a teacher's step 1. Raises `ValueError` if that pays for less than a
        batch in a stage.
        """
        if self.unit == "seconds":
            assert self.seconds is not None
            part = self.seconds / (teachers + stages)
            return self.model_copy(update={"seconds": part}), self.model_copy(update={"seconds": part * stages})
        price = cost + teachers if self.unit == "compute" else 1.0
        # A trifle more, so that rounding costs no batch: 400 images pay for three steps of 100 that cost 4/3.
        batches = math.floor(self.images / (price * self.batch) + 1e-9)
        if batches < stages:
            least = math.ceil(stages * self.batch * price - 1e-9)
            raise ValueError(
                f"a budget of {self.images} images{' of compute' if self.unit == 'compute' else ''} pays for less than one "
                f"batch of {self.batch} in each training (stages: {stages}, teachers: {teachers}): give images = {least} "
                "or more"
            )
        images = batches * self.batch if self.unit == "compute" else self.images
        allotted = self.model_copy(update={"unit": "images", "images": images})
        return allotted, allotted
