"""The budget: what every method of a comparison may spend, and on what terms. It belongs to the harness, not to a method."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Frozen(BaseModel):
    """A value that cannot change and refuses fields it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Budget(Frozen):
    """One frozen training budget, the same for every method that is compared under it.

    `unit` says what is equal between methods:

    - "images": the images that the trained network sees. Passes of other networks cost nothing.
    - "compute": the multiply-accumulates of every network's forward and backward passes (a backward pass counts as two
      forward ones), a teacher's own training included. The amount is that of training the plain network on `images`
      images; a method whose step costs r times as much sees images / r of them.
    - "seconds": the CPU seconds of the process (on an accelerator, which the record names: wall seconds), `seconds` of
      them. What is reached then depends on the machine and its load, so such runs are exempt from bit-identity.

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
    decay: Literal["weights"] = Field(
        "weights",
        description="what decays: weights of convolutions and linear layers; never scales, thresholds or norms",
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

    def steps(self, relative_cost: float = 1.0) -> int | None:
        """Return the number of optimizer steps: whole batches only; None if the clock decides.

        `relative_cost` is the compute of one step over that of the plain network's step, and matters under "compute".
        """
        if self.unit == "seconds":
            return None
        return int(self.images / (relative_cost if self.unit == "compute" else 1.0)) // self.batch
