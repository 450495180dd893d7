"""The budget and the recipe: how much every method of a comparison may train, and how. Both belong to the harness."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from lcrbench import untrusted
from lcrbench.errors import UserError

Unit = Literal["images", "epochs", "compute", "seconds"]

AMOUNT: dict[str, str] = {"images": "images", "epochs": "epochs", "compute": "images", "seconds": "seconds"}
"""The field of `Budget` that holds the amount, by unit."""


def _whole(value: Any) -> int:
    return untrusted.whole(value, "it")


def _real(value: Any) -> float:
    return untrusted.real(value, "it")


Whole = Annotated[int, BeforeValidator(_whole)]
"""A whole number of 64 bits as people type it: 1, and neither true nor 1.0 nor "1", which Python would take for it."""

Real = Annotated[float, BeforeValidator(_real)]
"""A finite number as people type it; neither true nor "0.1"."""


class Frozen(BaseModel):
    """A value that cannot change and refuses unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Budget(Frozen):
    """The amount of training, the same for every method that is compared under it.

    `unit` names the quantity that is equal between methods:

    - "images": the images that the trained network sees, in all stages of its training together. Passes of other
      networks cost nothing.
    - "epochs": the same, counted in passes over the training images (those held out for validation not included). The
      number of steps is floor(epochs * n / batch).
    - "compute": the operations of all convolutions and matrix products of a training, counted: forward and backward
      passes of every network, the regularizers' own arithmetic, what is measured for the log, the passes over validation
      images, and a teacher's own training. Elementwise work is not counted. The amount is that of training the plain
      network, the same backbone in full precision, on `images` images; a method whose training costs r times as much
      sees about images / r of them, in whole batches. A teacher sees as many images as the network it teaches, so that
      with one the two see images / (r + 1) each.
    - "seconds": the CPU seconds of the process (on an accelerator, which the record names: wall seconds), `seconds` of
      them, in equal parts for each teacher and each stage. The result then depends on the machine and its load, so
      such runs are exempt from bit-identity.

    Exactly one amount is given, the one that belongs to the unit: `images` for images and compute (60,000 if left out),
    `epochs` for epochs, `seconds` for seconds. The others are None.
    """

    unit: Unit = "images"
    images: Whole | None = Field(None, gt=0, description="training images seen, counted with repetition")
    epochs: Real | None = Field(None, gt=0, description="passes over the training images")
    seconds: Real | None = Field(None, gt=0, description="CPU seconds, or wall seconds of an accelerator")

    @model_validator(mode="before")
    @classmethod
    def _default_images(cls, given: Any) -> Any:
        counted = isinstance(given, Mapping) and given.get("unit", "images") in ("images", "compute")
        return {**given, "images": 60_000} if counted and given.get("images") is None else given

    @model_validator(mode="after")
    def _one_amount(self) -> Budget:
        own = AMOUNT[self.unit]
        if getattr(self, own) is None:
            raise ValueError(f"unit = '{self.unit}' needs {own}: give {own} = NUMBER")
        for other in ("images", "epochs", "seconds"):
            if other != own and getattr(self, other) is not None:
                raise ValueError(
                    f"unit = '{self.unit}' takes {own} and no {other}: leave {other} out, or change the unit"
                )
        return self


class Recipe(Frozen):
    """How every method of a comparison is trained.

    `optimizer`, `schedule` and `augmentation` name registry entries with options (`sgd:nesterov=false`, `cosine`,
    `crop-flip`, `my_pkg.my_augment`); planning checks them. The order of the data, the augmentation of each image, the
    initial latent weights and the rule that selects the reported weights depend on the budget, the recipe, the data and
    the seed alone. So two methods under one budget and recipe differ in nothing else; the ledger of each run holds the
    hashes that prove it.
    """

    batch: Whole = Field(100, gt=1, description="images an optimizer step")
    optimizer: str = Field("sgd", min_length=1, description="sgd: SGD with Nesterov momentum")
    lr: Real = Field(0.05, gt=0, description="peak learning rate")
    momentum: Real = Field(0.9, ge=0, lt=1, description="of SGD; the decay rate of Adam's first moment")
    weight_decay: Real = Field(1e-4, ge=0, description="applied as `decay` says")
    decay: Literal["weights", "real_weights", "all"] = Field(
        "weights",
        description="what decays. weights: those of convolutions and linear layers, latent ones of binary layers included, "
        "and no scale, threshold, bias or norm; real_weights: these without the latent ones; all: every parameter",
    )
    schedule: str = Field("cosine", min_length=1, description="cosine: from the peak to 0, after the warm-up")
    warmup: Real = Field(0.05, ge=0, lt=1, description="share of the training over which the rate rises linearly")
    augmentation: str = Field(
        "crop-flip",
        min_length=1,
        description="crop-flip: zero-pad 4, random crop, horizontal flip with probability 1/2; or none",
    )
    label_smoothing: Real = Field(
        0.0,
        ge=0,
        lt=1,
        description="share e of each label that is spread over all classes: (1 - e) one-hot + e / classes",
    )
    ema: Real = Field(
        0.0,
        ge=0,
        lt=1,
        description="decay d of the exponential moving average of the weights, which then is what is evaluated; 0: none",
    )
    precision: Literal["fp32", "bf16"] = Field(
        "fp32",
        description="bf16: convolutions and products of the forward and backward pass in bfloat16; weights, binarization, "
        "norms and loss in float32, and every evaluation",
    )
    shards: Whole = Field(
        1,
        gt=0,
        description="slices of a batch that have batch-norm statistics, regularizer terms and random numbers of their own; "
        "as many processes, or a divisor of them, compute one training to the same bits. 1: the whole batch",
    )
    selection: Literal["last", "best"] = Field(
        "last",
        description="which weights are reported: those after the last step, or those of the highest accuracy on the "
        "validation images, measured at most 20 times",
    )
    validation: Whole = Field(
        0, ge=0, description="training images held out, class-balanced, the same for all methods and seeds"
    )

    @model_validator(mode="after")
    def _best_needs_validation(self) -> Recipe:
        if self.selection == "best" and not self.validation:
            raise ValueError("selection = 'best' needs validation images: give validation = NUMBER")
        return self

    @model_validator(mode="after")
    def _whole_slices(self) -> Recipe:
        if self.batch % self.shards or self.batch // self.shards < 2:
            raise ValueError(
                f"batch = {self.batch} has no {self.shards} slices of one size, of 2 images at least: change batch or shards"
            )
        return self


def steps(budget: Budget, recipe: Recipe, n_train: int) -> int | None:
    """Return the number of optimizer steps of a training: whole batches; None if the clock decides.

    `n_train` counts the training images of the data set, those to be held out included. Raises `ValueError` that names
    the field if the budget pays for no batch.
    """
    if budget.unit == "seconds":
        return None
    batches = (images_of(budget, recipe, n_train) or 0) // recipe.batch
    if batches < 1:
        raise ValueError(_too_little(budget, recipe, n_train, Fraction(recipe.batch), 1, 0))
    return batches


def allot(
    budget: Budget,
    recipe: Recipe,
    n_train: int,
    *,
    cost: Callable[[int], Fraction] | None = None,
    teachers: int = 0,
    stages: int = 1,
) -> tuple[Budget, Budget]:
    """Return what the training of each teacher may spend and what the training of the network may, all stages of it.

    Both are budgets of images or of seconds. `n_train` is as for `steps`. Under compute, `cost(n)` is the compute of n
    steps of the network and of each of its teachers together, in images of the plain network; the budget pays for n steps
    if they cost no more, and n + 1 cost more. Raises `ValueError` that names the field if it pays for less than a batch in
    a stage.
    """
    if budget.unit == "seconds":
        assert budget.seconds is not None
        part = budget.seconds / (teachers + stages)
        return Budget(unit="seconds", seconds=part), Budget(unit="seconds", seconds=part * stages)
    images = images_of(budget, recipe, n_train) or 0
    if budget.unit == "compute":
        assert cost is not None, "under compute a budget is allotted by what a training costs"
        least, batches = cost(stages), _most(cost, images, stages)
    else:
        least, batches = Fraction(stages * recipe.batch), images // recipe.batch
    if batches < stages:
        raise ValueError(_too_little(budget, recipe, n_train, least, stages, teachers))
    allotted = Budget(images=images if budget.unit == "images" else batches * recipe.batch)
    return allotted, allotted


def _most(cost: Callable[[int], Fraction], images: int, least: int) -> int:
    """Return n such that the images pay for n steps and not for n + 1; less than `least` if they do not pay for that."""
    low, high = least - 1, least
    while cost(high) <= images:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle) <= images else (low, middle)
    return low


def images_of(budget: Budget, recipe: Recipe, n_train: int) -> int | None:
    """Return the images that a budget amounts to (those of the plain network under compute); None if the clock decides.

    `n_train` is as for `steps`.
    """
    if budget.epochs is None:
        return budget.images
    # As in `allot`: 0.1 epochs of 1000 images are 100 images.
    return math.floor(budget.epochs * (n_train - recipe.validation) + 1e-9)


def told(budget: Budget) -> str:
    """Return a budget's amount as a sentence has it.

    >>> told(Budget()), told(Budget(unit="epochs", epochs=2))
    ('60,000 images seen', '2 epochs')
    """
    if budget.unit == "images":
        return f"{budget.images:,} images seen"
    if budget.unit == "compute":
        return f"the compute of {budget.images:,} images seen"
    return f"{getattr(budget, budget.unit):g} {budget.unit}"


def _too_little(budget: Budget, recipe: Recipe, n_train: int, cost: Fraction, stages: int, teachers: int) -> str:
    least = math.ceil(cost)
    if budget.unit == "epochs":
        amount = f"{budget.epochs:g} epochs of {n_train - recipe.validation} images"
        way_out = f"epochs = {math.ceil(1e4 * least / max(1, n_train - recipe.validation)) / 1e4:g}"
    else:
        amount = f"{budget.images} images{' of compute' if budget.unit == 'compute' else ''}"
        way_out = f"images = {least}"
    return (
        f"a budget of {amount} pays for less than one batch of {recipe.batch} in each training (stages: {stages}, "
        f"teachers: {teachers}): give {way_out} or more"
    )


def move_keys(tables: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Move the recipe's fields from the old place, [budget], to [recipe]; return the tables and one line if any moved.

    Under unit = "seconds" the old form held a number of images too, which meant nothing: it is left out. Raises
    `UserError` if a field is given at both places.
    """
    budget, recipe = tables.get("budget"), tables.get("recipe", {})
    if not isinstance(budget, Mapping) or not isinstance(recipe, Mapping):
        return dict(tables), []
    moved = [key for key in budget if key in Recipe.model_fields]
    if not moved:
        return dict(tables), []
    if twice := [key for key in moved if key in recipe]:
        raise UserError(f"[budget] {', '.join(twice)} and [recipe] {', '.join(twice)} are both given: keep [recipe]")
    rest = {k: v for k, v in budget.items() if k not in moved}
    if rest.get("unit") == "seconds":
        rest.pop("images", None)
    note = f"[budget] {', '.join(moved)} now belong{'s' * (len(moved) == 1)} to [recipe]: read from there"
    return {**tables, "budget": rest, "recipe": {**recipe, **{k: budget[k] for k in moved}}}, [note]


def override(budget: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a preset's [budget] with the values given on the command line put in.

    The preset's amounts of other units are left out, since only one amount may stand: `--set budget.unit=epochs --set
    budget.epochs=3` works on a preset that gives images.

    >>> override({"images": 60000}, {"unit": "epochs", "epochs": 3})
    {'unit': 'epochs', 'epochs': 3}
    """
    merged = {**budget, **given}
    own = AMOUNT.get(str(merged.get("unit", "images")))
    if own is None:
        return merged
    return {k: v for k, v in merged.items() if k in given or k == own or k not in AMOUNT.values()}
