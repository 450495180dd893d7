"""Whether a recipe fits a method: an optimizer that flips binary weights needs a method that uses them as they are."""

from __future__ import annotations

import torch

from lcrbench.bench.records.budget import Recipe
from lcrbench.bench.training import parts
from lcrbench.errors import UserError
from lcrbench.models import network as networks
from lcrbench.models.binary import BinaryConv2d, binary_layers

PROGRESS = (0.0, 0.5, 1 - 1e-9)


def check(recipe: Recipe, choice: networks.Choice, backbone: str, classes: int, size: int) -> None:
    """Raise `UserError` if the recipe's optimizer cannot train the method, or not together with another field."""
    if not parts.load(recipe).optimizer.flips:
        return
    told = f"recipe.optimizer = '{recipe.optimizer}'"
    if recipe.ema:
        raise UserError(f"{told} keeps no latent weights that recipe.ema could average: set one of them back")
    if len(choice.method.stages) > 1:
        raise UserError(
            f"{told} has binary weights only, and '{choice.label}' trains in stages: take another optimizer"
        )
    made = networks.body(choice, backbone, classes, size)
    for progress in PROGRESS:
        choice.method.on_progress(made, progress)
        for name, layer in binary_layers(made).items():
            if why := _changed(layer):
                raise UserError(
                    f"{told} flips binary weights as they are, and '{choice.label}' {why} ({name}): take another "
                    "optimizer, or a method such as bnn"
                )


def _changed(layer: BinaryConv2d) -> str:
    """Return what a layer does to a weight of -1 and 1, or to its gradient; empty for nothing."""
    random = torch.Generator().manual_seed(0)
    # The first filter has equal signs, where a standardization divides by 0.
    signs = torch.randint(0, 2, layer.weight.shape, generator=random).mul_(2).sub_(1).to(layer.weight.dtype)
    signs[0] = -1
    with torch.no_grad():
        layer.weight.copy_(signs)
        layer.binarizer.start(layer.weight)
    bits, scale = layer.binarize()
    if not torch.equal(bits.detach(), signs):
        return "makes other signs of them"
    value = bits if scale is None else bits * scale.view(-1, 1, 1, 1)
    if layer.binarizer.offset(layer.weight) is not None or not torch.allclose(value.detach(), signs):
        return "scales or shifts them"
    upstream = torch.randn(layer.weight.shape, generator=random)
    if not value.requires_grad:
        return "passes them no gradient"
    (gradient,) = torch.autograd.grad((value * upstream).sum(), layer.weight)
    return "" if torch.allclose(gradient, upstream, rtol=1e-5, atol=1e-6) else "changes their gradient"
