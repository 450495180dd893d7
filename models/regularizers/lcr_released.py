"""LCR as the released code computes it, its quirks included: unnormalized values of a teacher's stages, two passes.

Shang et al. 2022, arXiv 2207.06540, code 42Shawn/LCR_BNN (LCR/imagenet), which is not what the paper's figure shows. For
stages i = 1 ... n with outputs A_i of the student, T_i of a frozen real network of the same topology, and learnable
numbers gamma_i from 1, for each image,

    F_i = gamma_i hardtanh(A_i),   G_i = relu(T_i),   pool averages the larger map down to the smaller
    e_i = sqrt( || K_i 1 ||_2 ),   K_i = R_i R_i^T,   R_i = pool(F_i) F_{i+1}^T / (H W);   e'_i the same of G
    loss = weight * sum_{i < n} 2^(i - n) mean_images (e_i - e'_i)^2 / batch / 10000         weight = the code's alpha, 8

The quirks kept: e is one step of power iteration from an unnormalized vector of ones, and no singular value (for features
without sign it is too large by C^(1/4)); the mean over images is divided by the batch once more; gamma can satisfy the loss
alone and gets no gradient from the cross-entropy; the student runs twice a step, so that its batch norms' statistics move
twice; the teacher normalizes with batch statistics, in training mode.

Deviations: with weight 0 nothing of this happens, where the code still runs the student twice; gamma decays only where the
budget says that all does; the teacher is trained by this suite instead of downloaded, and runs outside the graph, which
changes no number; the validation loss has no such term.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lcrbench.models import api
from lcrbench.models.activations import named
from lcrbench.models.packed import TrainingOnly
from lcrbench.models.regularizers._stages import features, stages
from lcrbench.models.retention import retention_matrix


@dataclass(frozen=True)
class Regularizer(api.Regularizer):
    """Options: `weight`, which the code calls alpha."""

    weight: float = 8.0

    teacher: ClassVar[str] = "full_precision"

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise ValueError("needs weight >= 0")

    def prepare(self, body: nn.Module) -> None:
        """Give the network its gammas, unless there is nothing to optimize."""
        if self.weight > 0:
            body.lcr_gamma = TrainingOnly(torch.ones(len(stages(body))))

    def attach(self, network: nn.Module, teacher: nn.Module | None = None) -> Term:
        """Find the stages of the network; raises `ValueError` if its backbone names none."""
        return Term(self, network, teacher)


class Term(api.Term):
    """The regularizer at work on one network."""

    capturable = True

    def __init__(self, options: Regularizer, network: nn.Module, teacher: nn.Module | None) -> None:
        self.options, self.network, self.teacher = options, network, teacher
        self.stages = stages(network)
        if teacher is not None:
            teacher.train().requires_grad_(False)
        self.gamma = torch.ones(len(self.stages))
        if options.weight > 0:
            self.gamma = network.get_parameter(f"{named(network, 'lcr_gamma')}.values")
        self.value: Tensor | None = None

    @property
    def passes(self) -> dict[str, tuple[float, float]]:
        """Return the second pass of the student and the teacher's pass."""
        return {"student": (1.0, 1.0), "teacher": (1.0, 0.0)} if self.options.weight > 0 else {}

    def loss(self, context: api.Context) -> Tensor | None:
        """Return the weighted term after a second pass; with weight 0, None: to measure would change the network."""
        self.value = None
        if self.options.weight == 0:
            return None
        assert self.teacher is not None, "attached without a teacher"
        images = context.images.detach()
        kept = features(self.network, self.stages, images)
        student = [g * F.hardtanh(a) for g, a in zip(self.gamma, kept, strict=True)]
        with torch.no_grad():
            guide = [a.relu() for a in features(self.teacher, stages(self.teacher), images)]
        n = len(student)
        terms = [
            2.0 ** (i - n) * F.mse_loss(estimate(*a), estimate(*b))
            for i, (a, b) in enumerate(zip(pairwise(student), pairwise(guide), strict=True), start=1)
        ]
        self.value = torch.stack(terms).sum()
        return self.options.weight * self.value / len(images) / 10_000

    def figures(self) -> dict[str, float]:
        """Return weight, unweighted loss and the gammas."""
        if self.value is None:
            return {}
        found = {"weight": self.options.weight, "loss": float(self.value.detach())}
        return found | {f"gamma.{i}": float(g) for i, g in enumerate(self.gamma.detach(), start=1)}


def estimate(a_in: Tensor, a_out: Tensor) -> Tensor:
    """Return e (N,) = sqrt(||R R^T 1||_2) of two consecutive features."""
    r = retention_matrix(a_in, a_out)
    ones = torch.ones(r.shape[0], r.shape[1], 1, dtype=r.dtype, device=r.device)
    turned = torch.bmm(r, torch.bmm(r.transpose(1, 2), ones))
    norm: Tensor = torch.linalg.vector_norm(turned, dim=(1, 2))
    return norm.sqrt()
