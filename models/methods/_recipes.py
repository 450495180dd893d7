"""What the recipes of the methods' released codes have in common."""

from __future__ import annotations

from typing import Any

CIFAR: dict[str, Any] = {
    "optimizer": "sgd:nesterov=false",
    "batch": 128,
    "lr": 0.1,
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "decay": "all",
    "schedule": "cosine",
    "warmup": 0.0,
}
"""Of the codes for CIFAR-10: SGD with plain momentum, decay of every parameter, and a cosine."""

ADAM: dict[str, Any] = {"optimizer": "adam", "momentum": 0.9, "weight_decay": 0.0, "warmup": 0.0}
"""Adam without decay."""
