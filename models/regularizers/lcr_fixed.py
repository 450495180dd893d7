"""LCR on a teacher, repaired: the released code's idea without its defects, on features between stages.

Shang et al. 2022, arXiv 2207.06540. For stages i = 1 ... n with outputs A_i of the student and T_i of a frozen real network
of the same topology, trained beforehand under the same budget, for each image and each pair of consecutive stages,

    R_i = pool(A_i) A_{i+1}^T / (H W),  sigma_i its largest singular value by `iterations` normalized power iterations;
    tau_i the same of T;     loss = weight * sum_i beta^(i - n + 1) mean_images (sigma_i / tau_i - 1)^2

pool averages the larger map down to the smaller. What differs from `lcr_released`: the teacher is in evaluation mode, so
that its values are those of a fixed function; one forward pass of the student; no scales that could satisfy the loss
alone; a normalized iteration, whose value is a singular value; a ratio, which has no unit, so that one weight means the
same at every width; no division by the batch.

With `cache`, the teacher's n - 1 numbers of an image are kept and used again when the very same pixels return, as they do
without augmentation. The passes that fill it are charged, like all others. With weight 0 there is no teacher, and nothing
is measured.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from lcrbench.models import api
from lcrbench.models.regularizers._stages import features, stages
from lcrbench.models.retention import retained


@dataclass(frozen=True)
class Regularizer(api.Regularizer):
    """Options: `weight`, `beta` (over 1: later pairs weigh more), `iterations` of the power method, `cache`."""

    weight: float = 0.1
    beta: float = 2.0
    iterations: int = 5
    cache: bool = False

    teacher: ClassVar[str] = "full_precision"

    def __post_init__(self) -> None:
        if not (self.weight >= 0 and self.beta > 0 and self.iterations >= 5):
            raise ValueError("needs weight >= 0, beta > 0 and iterations >= 5")

    def attach(self, network: nn.Module, teacher: nn.Module | None = None) -> Term:
        """Watch the stages of the network; raises `ValueError` if its backbone names none."""
        return Term(self, network, teacher)


class Term(api.Term):
    """The regularizer at work on one network."""

    def __init__(self, options: Regularizer, network: nn.Module, teacher: nn.Module | None) -> None:
        self.options, self.teacher = options, teacher
        self.watch = stages(network)
        self.capturable = not options.cache  # which lies on the processor
        if teacher is not None:
            teacher.eval().requires_grad_(False)
        self.known: dict[bytes, Tensor] = {}
        self.share = 1.0  # before the first step, the most that one takes
        self.value: Tensor | None = None
        self.ratios: list[Tensor] = []

    @property
    def passes(self) -> dict[str, tuple[float, float]]:
        """Return the teacher's forward passes for each training image in the last step."""
        return {"teacher": (self.share, 0.0)} if self.options.weight > 0 else {}

    def loss(self, context: api.Context) -> Tensor | None:
        """Return the weighted term; None with weight 0."""
        self.value = None
        if self.options.weight == 0:
            return None
        targets = self._targets(context.images)
        (sigmas,) = retained([[context.outputs[name] for name in self.watch]], self.options.iterations)
        self.ratios = [s / t.clamp_min(1e-12) for s, t in zip(sigmas, targets.unbind(1), strict=True)]
        last = len(self.ratios)
        terms = [self.options.beta ** (i - last) * (r - 1).square().mean() for i, r in enumerate(self.ratios, start=1)]
        self.value = torch.stack(terms).sum()
        return self.options.weight * self.value

    def _targets(self, images: Tensor) -> Tensor:
        """Return the teacher's values (N, n - 1)."""
        if not self.options.cache:
            self.share = 1.0
            return self._ask(images)
        keys = [hashlib.blake2b(x.tobytes(), digest_size=16).digest() for x in images.detach().cpu().numpy()]
        new = [i for i, key in enumerate(keys) if key not in self.known]
        if new:
            for i, row in zip(new, self._ask(images[new]), strict=True):
                self.known[keys[i]] = row.cpu()
        self.share = len(new) / len(images)
        return torch.stack([self.known[key] for key in keys]).to(images.device)

    @torch.no_grad()
    def _ask(self, images: Tensor) -> Tensor:
        assert self.teacher is not None, "attached without a teacher"
        (values,) = retained([features(self.teacher, stages(self.teacher), images)], self.options.iterations)
        return values.T

    def figures(self) -> dict[str, float]:
        """Return weight, beta, unweighted loss, the share of images that the teacher saw, and the median ratios."""
        if self.value is None:
            return {}
        found = {"weight": self.options.weight, "beta": self.options.beta, "loss": float(self.value.detach())}
        found["teacher_share"] = self.share
        return found | {f"ratio.{i}": float(r.detach().median()) for i, r in enumerate(self.ratios, start=1)}

    def state(self) -> dict[str, Tensor]:
        """Return what the cache holds: an image's value could differ in its last bit if it were asked for again."""
        if not self.known:
            return {}
        keys = torch.tensor([list(key) for key in self.known], dtype=torch.uint8)
        return {"keys": keys, "values": torch.stack(list(self.known.values()))}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Fill the cache."""
        if tensors:
            keys = [bytes(row) for row in tensors["keys"].tolist()]
            self.known = dict(zip(keys, tensors["values"], strict=True))
