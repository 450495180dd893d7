"""What a method, a regularizer, a backbone and an estimator are: the classes that each of them inherits from.

Whatever has a default here may be left out. A public attribute that is none of these, and no option, is refused when the
entry is loaded, so that a misspelt `on_progres` is an error; helpers of an entry's own begin with an underscore.

A training step with regularizers is

    method.on_progress(network, t)                                    schedules
    context = observe(network, terms, images, labels, measure)        the forward pass
    loss    = (1 - sum replaces) cross-entropy + sum term.loss(context)
    method.on_gradient(network)                                       after the backward pass, before the optimizer's step
    figures = term.figures()                                          where the log shows this step

and each term is made by `Regularizer.attach` before the first step, and detached after the last one.
"""

# Working defaults are what these classes are for.
# ruff: noqa: B027

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from lcrbench.models.activations import Activations, recorded

Order = Literal["norm-activation", "activation-norm"]

Number = float | Tensor
"""A number of Python's, or a tensor () on the device of the training."""


@dataclass(frozen=True)
class Method(ABC):
    """A training method: a frozen dataclass called `Method` in `methods/NAME.py`, whose fields are its options.

    Every option has a default, and the harness records all of them. `weight_bits` and `activation_bits` are the precision
    of the layers that `conv` makes; `stages` are the names of the stages of a training in several. Each stage has an equal
    part of the budget and a whole schedule.
    """

    weight_bits: ClassVar[int]
    activation_bits: ClassVar[int]
    capturable: ClassVar[bool] = False
    """Whether a step may be captured once on an accelerator and replayed (bench/training/steps.py).

    Within a stage, what its layers and `on_gradient` compute then depends on tensors and `Estimator.numbers` alone, on no
    other number or flag of Python's, and waits for no value of a tensor. A tensor of the network's state may be changed in
    place or replaced. `on_progress` and `on_stage` are not captured.
    """

    @property
    def stages(self) -> tuple[str, ...]:
        """Return the names of the training's stages; none for a training in one."""
        return ()

    @property
    def order(self) -> Order:
        """Return the order of a block's parts, which belongs to the method; `ordered` puts them in it.

        "norm-activation"    conv -> [pool] -> batch norm [-> + shortcut] -> activation
        "activation-norm"    conv -> activation -> batch norm [-> pool] [-> + shortcut]
        """
        return "norm-activation"

    @abstractmethod
    def conv(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, padding: int) -> nn.Module:
        """Return the convolution inside the blocks, (N, C_in, H, W) to (N, C_out, H', W'); a binary one is `BinaryConv2d`.

        The first convolution and the last linear layer stay in full precision in every backbone.
        """

    @abstractmethod
    def activation(self, channels: int) -> nn.Module:
        """Return the nonlinearity of each block, at the place that `order` says, (N, C, H, W) to the same shape."""

    def recipe(self, backbone: str) -> Mapping[str, Any]:
        """Return the recipe of the method's paper for a backbone's name: fields of a recipe with their values; or none.

        `lcrbench run --recipe paper` trains the method by it. What it leaves out stands at the default. The docstring names
        the source. The amount of training is the budget's, and no part of it.
        """
        return {}

    def on_progress(self, network: nn.Module, t: float) -> None:
        """Follow a schedule: called before each step with the progress t in [0, 1) within the stage."""

    def on_stage(self, network: nn.Module, stage: int) -> None:
        """Begin stage 0, 1, ...; a resumed training calls it again, so it sets only what is not in the network's state."""

    def on_gradient(self, network: nn.Module) -> None:
        """Change gradients or latent weights: called in each step between the backward pass and the optimizer's step.

        What it keeps from one step to the next lies in the network's state. It makes no pass of the network.
        """


class Sign(nn.Module):
    """Maps a real input to -1 and +1, in the input's shape; thresholds and normalizations of the input live inside it.

    Unless it is an `Estimator` itself, its part `estimator` is the one that it is trained through. `decays` names those of
    its own parameters that must decay for the method to work: they get the recipe's weight decay whatever its policy is.
    """

    decays: tuple[str, ...] = ()

    def levels(self) -> tuple[Tensor | float, Tensor | float] | None:
        """Return (a, c) if a sign s stands for the value a s + c; None for s itself."""
        return None


class Estimator(Sign):
    """sign(x), with sign(0) = +1, and a pseudo-gradient dS/dx for it: a class `Estimator` in `estimators/NAME.py`.

    Arguments of `__init__` have defaults and are its options. The output has the input's shape and dtype.
    """

    numbers: tuple[Number, ...] = ()
    """What the pseudo-gradient depends on beside its input. On an accelerator the training puts tensors in their place."""

    def set_progress(self, progress: float) -> None:
        """Follow a schedule: set `numbers`, which depend on the progress of the training in [0, 1] and on nothing else."""


class Binarizer(nn.Module):
    """Maps a latent weight (C_out, C_in, k, k) to signs of the same shape and a scale (C_out), (1), or None for 1.

    Its part `estimator` is what the weight is trained through; `decays` is as in `Sign`. `power_of_two` says that each scale
    is one. `of_weight_alone` says that signs and scale depend on the weight alone, and that the forward pass changes nothing
    and draws no random number: slices of a batch then share what it makes. `lcrbench conform` finds a false declaration.
    """

    estimator: Estimator
    decays: tuple[str, ...] = ()
    power_of_two: ClassVar[bool] = False
    of_weight_alone: ClassVar[bool] = False

    @property
    def binary(self) -> bool:
        """Return whether it makes signs now; false in a stage of the training that has others in their place."""
        return True

    def start(self, weight: Tensor) -> None:
        """Set constants that depend on the initial latent weight; called once, with it."""

    def offset(self, weight: Tensor) -> Tensor | None:
        """Return beta (C_out) if a sign b stands for the weight alpha b + beta; None for alpha b."""
        return None

    def drawn(self) -> Sign:
        """Return what a drawing of the method shows of a weight: its estimator, unless more lies before that."""
        return self.estimator


class Backbone(nn.Module):
    """A topology: normalized images (N, 3, size, size) to logits (N, classes), made by `build` in `backbones/NAME.py`.

    Its last part, from the last block's output to the logits, is called `head`; a binary convolution beside the main path
    lies in a part called `shortcut`. Real convolutions and products lie in parts called `stem`, `shortcut` or `head`, or
    else the audit does not call the network binary; the first convolution may be called anything. What follows a
    convolution stands in the method's `order`.
    """

    head: nn.Module
    capturable: bool = False
    """As `Method.capturable`: whether a training step through it may be captured on an accelerator and replayed."""

    def stages(self) -> list[nn.Module]:
        """Return the parts whose outputs are the intermediate features, in the order of use; none if there are none."""
        return []


@dataclass(frozen=True)
class Context(Activations):
    """One training step as its terms see it, after the forward pass.

    `images` (N, 3, H, W) in [0, 1], `labels` (N,) and `logits` (N, classes); `measure` asks for figures even where nothing
    is optimized; `inputs` and `outputs` hold, by name, what entered and left the parts that terms watch.
    """

    images: Tensor = field(kw_only=True)
    labels: Tensor = field(kw_only=True)
    logits: Tensor = field(kw_only=True)
    measure: bool = False


class Term:
    """A regularizer at work on one network. Attributes:

    - `watch`: names of the parts of the network whose inputs and outputs `loss` finds in its context;
    - `image_gradient`: whether `context.images` is to require a gradient; `begin` may set it anew for each step;
    - `replaces` in [0, 1]: the share of the cross-entropy that the term takes the place of;
    - `capturable`: as `Method.capturable`, of `begin` and `loss`, where `measure` is false.
    """

    watch: tuple[str, ...] = ()
    image_gradient: bool = False
    replaces: float = 0.0
    capturable: bool = False

    @property
    def passes(self) -> dict[str, tuple[float, float]]:
        """Return the passes that the last step took beyond the student's own; before the first step, those of a whole one.

        By network ("student", "teacher"): forward and backward passes for each training image. The ledger shows them; what
        they cost is counted, and where a cache saves some, charged in proportion.
        """
        return {}

    def begin(self, measure: bool) -> None:
        """Get ready for the forward pass of a step; for a term that has hooks of its own."""

    def reseed(self, seed: int) -> None:
        """Draw by this seed from here on; for a term that draws random numbers.

        It is called before each slice of a batch that is computed in slices (`recipe.shards`), each with a seed of its own.
        There is a term for each slice.
        """

    def loss(self, context: Context) -> Tensor | None:
        """Return the weighted term, or None if there is nothing to optimize; called at each step."""
        return None

    def figures(self) -> dict[str, float]:
        """Return what the training log shows of the last step."""
        return {}

    def state(self) -> dict[str, Tensor]:
        """Return what a resumed training needs to go on to the same bits, beyond the network's state."""
        return {}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put a state back."""

    def detach(self) -> None:
        """Leave the network as a training without this term would: remove every hook."""


@dataclass(frozen=True)
class Regularizer(ABC):
    """What composes with any method (`irnet+lcr`): a frozen dataclass called `Regularizer` in `regularizers/NAME.py`.

    Its fields are its options, each with a default; `weight` is one of them, and with weight 0 training is bit-identical
    to the method's alone. `teacher` is the method of a frozen network of the same topology that it needs, trained
    beforehand under the same budget; "" for none. With weight 0 there is no teacher, and nothing that needs one is computed.
    """

    weight: float

    teacher: ClassVar[str] = ""

    def start(self, network: nn.Module, teacher: nn.Module) -> bool:
        """Change the weights that a training begins with, by its teacher's; called once, before the first step.

        Returns whether it did: then the run's budget class says that it started from the teacher.
        """
        return False

    def prepare(self, body: nn.Module) -> None:
        """Change the network itself, once when it is built; raises `ValueError` for one that it does not fit.

        Parameters that only the training uses go into a `packed.TrainingOnly`, and are neither exported nor counted.
        """

    @abstractmethod
    def attach(self, network: nn.Module, teacher: nn.Module | None = None) -> Term:
        """Return the term for a network; raises `ValueError` for one that it does not fit.

        Without a teacher, where it needs one, the term is made to find out whether it fits, and takes no step.
        """


def ordered(
    method: Method, conv: nn.Module, channels: int, *, pool: nn.Module | None = None, activation: bool = True
) -> list[nn.Module]:
    """Return a convolution of `channels` outputs and what follows it, in the method's order and without a shortcut.

    With `activation` false the activation is left out, as behind some stems.
    """
    norm, pools = nn.BatchNorm2d(channels), [pool] if pool is not None else []
    ends = [method.activation(channels)] if activation else []
    if method.order == "activation-norm":
        return [conv, *ends, norm, *pools]
    return [conv, *pools, norm, *ends]


def observe(
    network: nn.Module,
    terms: Iterable[Term],
    images: Tensor,
    labels: Tensor,
    measure: bool = False,
    cast: torch.dtype | None = None,
) -> Context:
    """Make the forward pass of a training step, and return what its terms are given.

    With `cast` convolutions and products are computed in that type (autocast), and what terms are given is float32.
    """
    terms = list(terms)
    for term in terms:
        term.begin(measure)
    if any(term.image_gradient for term in terms):
        images = images.detach().requires_grad_()
    names = [name for term in terms for name in term.watch]
    if cast is None:
        with recorded(network, names) as found:
            logits = network(images)
        return Context(found.inputs, found.outputs, images=images, labels=labels, logits=logits, measure=measure)
    with recorded(network, names) as found, torch.autocast(images.device.type, cast):
        logits = network(images)
    inputs, outputs = ({name: x.float() for name, x in each.items()} for each in (found.inputs, found.outputs))
    return Context(inputs, outputs, images=images, labels=labels, logits=logits.float(), measure=measure)


def composed(context: Context, terms: Iterable[Term], cross_entropy: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return a training step's loss, (1 - sum replaces) cross-entropy + sum term.loss(context), and what terms added.

    A factor of 1, or a term times 0, would change bits: both are left out.
    """
    terms = list(terms)
    kept = 1.0 - sum(term.replaces for term in terms)
    loss = cross_entropy if kept == 1 else kept * cross_entropy
    added = []
    for term in terms:
        if (extra := term.loss(context)) is not None:
            added.append(extra)
            loss = loss + extra
    return loss, added
