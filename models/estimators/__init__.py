"""Estimators, one file each: sign(x) with sign(0) = +1, and the pseudo-gradient dS/dx that trains through it.

Every estimator has the same forward pass,

    sign(x) = +1 if x >= 0 else -1        (so sign(-0.0) = +1 as well, and there is no third value),

and differs in what it puts in the place of the derivative. Its file holds a class `Estimator` (`models.api.Estimator`).
Shapes are arbitrary; the output has the input's shape and dtype. A slope counts as a constant when a gradient is itself
differentiated (Jacobian penalties).
"""

from __future__ import annotations

from torch import Tensor, nn

from lcrbench.models.api import Estimator


def sign(x: Tensor) -> Tensor:
    """Return +1 where x >= 0 and -1 elsewhere, in x's dtype. Not differentiable: use an estimator to train through it."""
    return x.ge(0).to(x.dtype).mul_(2).sub_(1)


def without_scale(signs: Tensor, scale: Tensor) -> Tensor:
    """Return the signs, with their gradient divided by a scale (that broadcasts) which multiplies after the convolution.

    The gradient of scale * signs is then the estimator's alone.
    """
    return signs.detach() + (signs - signs.detach()) / scale


def set_progress(network: nn.Module, progress: float) -> None:
    """Set the progress of the training, from 0 to 1, in every estimator of the network."""
    for module in network.modules():
        if isinstance(module, Estimator):
            module.set_progress(progress)
