"""LCR (latent variant): keeps retention matrices' spectral norms alike before and after the sign, within one network.

Shang, Xu, Duan, Yan, et al. 2022, "Lipschitz Continuity Retained Binary Neural Network", arXiv 2207.06540. This is the
variant `latent`: what the paper's figure of the pipeline shows, with no teacher and no second forward pass.

For binary convolution k of L, and for each image, with A^{k-1} what enters its sign, A^k what enters the next sign (for
the last one: its block's output), and B = sign(A):

    R_F^k = pool(A^{k-1}) A^k^T / (H W)        R_B^k = pool(B^{k-1}) B^k^T / (H W)       (C_in, C_out)
    sigma = largest singular value, by `iterations` normalized power iterations
    loss  = weight * sum_k beta^(k-L) mean_images (sigma_B^k / sigma_F^k - 1)^2

pool averages the input's map down to the output's; convolutions inside a shortcut are left out. The gradient flows
through both sigmas (gradient = "both"), through sign by the method's own estimator; with sigma_F held fixed
(gradient = "sign") the ratio ran away in a pilot. With normalize = "rms" each A^k of an image is divided by its root mean
square first, differentiated.

Reading of the formula: the paper's text was not at hand. Three things are this project's reading, and not the authors': the
exponent k - L of beta; the ratio of the sigmas themselves, not squared, where the paper may square the matrices; and a
matrix of channels for each image, where the paper may have one over the images of a batch. Reports call this form "LCR
(latent variant)". The released code computes something else on a full-precision teacher: that is `lcr_released`, and
`lcr_fixed` with its defects repaired.

Without `normalize` the ratio can be moved by the batch norm's scale alone, which a sign network does not see; the log
shows it. With it, a large weight drives features toward rank one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lcrbench.models import api
from lcrbench.models.activations import named
from lcrbench.models.binary import estimator, path_layers
from lcrbench.models.retention import retained


@dataclass(frozen=True)
class Regularizer(api.Regularizer):
    """Options: `weight`, `beta` (over 1: later layers weigh more), `iterations`, `gradient` and `normalize`.

    `gradient` is "both", through both sigmas, or "sign", with sigma_F held fixed; `normalize` is "none" or "rms".
    """

    weight: float = 0.03
    beta: float = 2.0
    iterations: int = 5
    gradient: str = "both"
    normalize: str = "none"

    def __post_init__(self) -> None:
        if not (self.weight >= 0 and self.beta > 0 and self.iterations >= 1):
            raise ValueError("needs weight >= 0, beta > 0 and iterations >= 1")
        if self.gradient not in ("both", "sign"):
            raise ValueError(f"gradient is 'both' or 'sign', not '{self.gradient}'")
        if self.normalize not in ("none", "rms"):
            raise ValueError(f"normalize is 'none' or 'rms', not '{self.normalize}'")

    def attach(self, network: nn.Module, teacher: nn.Module | None = None) -> Term:
        """Watch the signs of the network; raises `ValueError` if it has no binary convolution."""
        return Term(self, network)


class Term(api.Term):
    """The regularizer at work on one network."""

    capturable = True

    def __init__(self, options: Regularizer, network: nn.Module) -> None:
        self.options = options
        layers = path_layers(network)
        if not layers:
            raise ValueError("lcr needs binary convolutions, and this method makes none")
        self.signs = tuple(f"{name}.sign" for name in layers)
        self.head = named(network, "head")
        self.watch = (*self.signs, self.head)
        # The last layer's own surrogate, without the thresholds that belong to that layer's input.
        self.estimator = estimator(list(layers.values())[-1])
        self.norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        self.sigma_full = self.sigma_sign = torch.empty(0)
        self.factors: Tensor | None = None  # of the layers, made at the first step, because a copy to a device waits
        self.value: Tensor | None = None
        self.expected = False
        self.last: Tensor | None = None
        self.handle = network.get_submodule(self.head).register_forward_pre_hook(self._sign_last)

    def _sign_last(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Take the last sign within the pass: after it, gradients would add up in another order, to other bits."""
        if self.expected:
            # One pass: another term may send more images through.
            self.expected, self.last = False, self.estimator.forward(inputs[0])

    def begin(self, measure: bool) -> None:
        """Get ready for a forward pass; with weight 0 nothing is computed unless `measure`."""
        self.expected = self.options.weight > 0 or measure

    def loss(self, context: api.Context) -> Tensor | None:
        """Return the weighted term; None with weight 0, after measuring if asked to."""
        self.value = None
        optimized = self.options.weight > 0
        if not (optimized or context.measure):
            return None
        with torch.set_grad_enabled(optimized):
            full = [context.inputs[name] for name in self.watch]
            assert self.last is not None
            signs = [*(context.outputs[name] for name in self.signs), self.last]
            self.last = None
            self.sigma_full, self.sigma_sign = retained([full, signs], self.options.iterations)
            if self.options.normalize == "rms":
                # Dividing an activation divides its matrices.
                sizes = torch.stack([_root_mean_square(a) for a in full])
                self.sigma_full = self.sigma_full / (sizes[:-1] * sizes[1:])
            if self.options.gradient == "sign":
                self.sigma_full = self.sigma_full.detach()
            terms = (self.sigma_sign / self.sigma_full.clamp_min(1e-12) - 1).square().mean(dim=1)
            last = len(self.signs)
            if self.factors is None:
                self.factors = terms.new_tensor([self.options.beta ** (k - last) for k in range(1, last + 1)])
            self.value = (terms * self.factors).sum()
        return self.options.weight * self.value if optimized else None

    def figures(self) -> dict[str, float]:
        """Return weight, beta, unweighted loss, and by layer median ratio, mean sigma_F and mean batch-norm scale."""
        if self.value is None:
            return {}
        found = {"weight": self.options.weight, "beta": self.options.beta, "loss": float(self.value.detach())}
        for k, (f, b) in enumerate(zip(self.sigma_full, self.sigma_sign, strict=True), start=1):
            found[f"ratio.{k}"] = float((b / f.clamp_min(1e-12)).detach().median())
            found[f"sigma_full.{k}"] = float(f.detach().mean())
        for k, norm in enumerate(self.norms):
            found[f"bn_scale.{k}"] = float(norm.weight.detach().abs().mean())
        return found

    def detach(self) -> None:
        """Remove the hook."""
        self.handle.remove()


def _root_mean_square(a: Tensor) -> Tensor:
    """Return (N,), one for each image."""
    norm: Tensor = torch.linalg.vector_norm(a, dim=(1, 2, 3))
    return (norm / math.sqrt(a[0].numel())).clamp_min(1e-12)
