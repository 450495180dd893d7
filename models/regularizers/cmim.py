"""CMIM: features of the binary network are drawn to a real network's of the same image, and away from other classes'.

Shang, Xu, Zong, Nie, Yan 2022, "Network Binarization via Contrastive Learning", ECCV 2022, arXiv 2207.02970, as in its code
(42Shawn/CMIM@045d087), a form of contrastive representation distillation (Tian, Krishnan, Isola 2020, arXiv 1910.10699).
For the images i = 1 ... n of a batch, s_i and t_i the inputs of the last linear layer in the binary and in the real network,
each sent through a fixed random affine map to `features` numbers and divided by its length,

    e_ij  = exp(s_i . t_j / temperature)
    loss  = weight / n sum_i [ -log( e_ii / (e_ii + N_i c) ) - sum_{j in other classes} log( N_i c / (e_ij + N_i c) ) ]

N_i is the number of the batch's images of other classes than i's, c the mean of all e_ii and those e_ij in the first batch.
t_j is held fixed. The number of training images, by which the code multiplies c and divides N_i, cancels; so does its 1e-7.
The maps are never trained, as in the code, whose optimizer does not have them.

Deviations: other images come from the batch, where the code draws 4,096 for each image from a memory of features of the
whole training set that lags by an epoch (momentum 0.5): a term is not told which images these are. The code's second half,
with the roles exchanged, has a memory of the binary network's features that is held fixed, and so no gradient for the
binary network: it is left out. The teacher is in evaluation mode, there in training mode; its base is RBNN; the binary
network's forward pass is made once, not twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lcrbench.models import api
from lcrbench.models.activations import recorded
from lcrbench.models.precision import at_least_float32


@dataclass(frozen=True)
class Regularizer(api.Regularizer):
    """Options: `weight`, `temperature` and `features`, the numbers that features are mapped to."""

    weight: float = 3.2
    temperature: float = 0.1
    features: int = 128

    teacher: ClassVar[str] = "full_precision"

    def __post_init__(self) -> None:
        if not self.weight >= 0 or not self.temperature > 0 or self.features < 1:
            raise ValueError(
                f"needs weight >= 0, temperature > 0 and features >= 1, not weight={self.weight}, "
                f"temperature={self.temperature}, features={self.features}"
            )

    def attach(self, network: nn.Module, teacher: nn.Module | None = None) -> Term:
        """Return the term; raises `ValueError` if the network has no linear layer."""
        return Term(self, network, teacher)


class Term(api.Term):
    """The regularizer at work on one network."""

    capturable = True

    def __init__(self, options: Regularizer, network: nn.Module, teacher: nn.Module | None) -> None:
        self.options, self.teacher = options, teacher
        linear = {name: m for name, m in network.named_modules() if isinstance(m, nn.Linear)}
        if not linear:
            raise ValueError("needs a network that ends in a linear layer")
        self.last = [*linear][-1]
        self.watch = (self.last,) if options.weight > 0 else ()
        generator = torch.Generator().manual_seed(0)
        self.maps = [_map(linear[self.last].in_features, options.features, generator) for _ in range(2)]
        self.mean: Tensor | None = None
        self.value: Tensor | None = None
        self.nearest: Tensor | None = None
        if teacher is not None:
            teacher.eval().requires_grad_(False)

    @property
    def passes(self) -> dict[str, tuple[float, float]]:
        """Return the teacher's forward pass for each training image."""
        return {"teacher": (1.0, 0.0)} if self.options.weight > 0 else {}

    def loss(self, context: api.Context) -> Tensor | None:
        """Return the weighted term; None with weight 0, where measuring would cost the teacher's pass."""
        self.value = None
        if self.options.weight == 0:
            return None
        assert self.teacher is not None, "attached without a teacher"
        with torch.no_grad(), recorded(self.teacher, self.watch) as found:
            self.teacher(context.images)
        features = at_least_float32(context.inputs[self.last]), at_least_float32(found.inputs[self.last])
        # On the device from the first step on, where this copies nothing any more.
        self.maps = [(w.to(features[0]), b.to(features[0])) for w, b in self.maps]
        mine, guide = (_embedded(x, *of) for x, of in zip(features, self.maps, strict=True))
        similarity = mine @ guide.T / self.options.temperature
        apart = context.labels.unsqueeze(1) != context.labels
        if self.mean is None:
            here = apart | torch.eye(len(apart), dtype=torch.bool, device=apart.device)
            self.mean = similarity.detach().exp()[here].mean()
        self.value = contrast(similarity, apart, self.mean)
        self.nearest = (similarity.detach().argmax(1) == torch.arange(len(apart), device=apart.device)).float().mean()
        return self.options.weight * self.value

    def figures(self) -> dict[str, float]:
        """Return the weight, the unweighted term, and the share of images whose nearest real feature is their own."""
        if self.value is None or self.nearest is None:
            return {}
        own = float(self.nearest)
        return {"weight": self.options.weight, "loss": float(self.value.detach()), "nearest": own}

    def state(self) -> dict[str, Tensor]:
        """Return c, once there is one."""
        return {} if self.mean is None else {"mean": self.mean}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put c back."""
        self.mean = tensors.get("mean")


def contrast(similarity: Tensor, apart: Tensor, mean: Tensor) -> Tensor:
    """Return the unweighted term of similarities s_i . t_j / temperature (n, n), with `apart` (n, n) for other classes.

    In logarithms: -log(e / (e + a)) = softplus(log a - log e), and -log(a / (e + a)) = softplus(log e - log a).
    """
    others = apart.sum(1, keepdim=True).to(similarity.dtype)
    # Without other classes in the batch a = 0: the image's own term is 0, and there is no other.
    gap = similarity - (others.clamp_min(1) * mean).log()
    own = F.softplus(-gap.diagonal()) * (others.squeeze(1) > 0)
    return (own + F.softplus(gap).mul(apart).sum(1)).mean()


def _map(inputs: int, outputs: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the weight and bias of an affine map, uniform within 1 / sqrt(inputs) as those of a new linear layer."""
    bound = inputs**-0.5
    weight = torch.empty(outputs, inputs).uniform_(-bound, bound, generator=generator)
    return weight, torch.empty(outputs).uniform_(-bound, bound, generator=generator)


def _embedded(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return features mapped and of length 1."""
    with torch.autocast(x.device.type, enabled=False):
        return F.normalize(F.linear(x.flatten(1), weight, bias), dim=1)
