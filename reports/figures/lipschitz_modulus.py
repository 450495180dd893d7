"""The modulus of continuity, omega, and its gain against the radius."""

from __future__ import annotations

from lcrbench.reports.context import Context
from lcrbench.reports.drawing import Picture
from lcrbench.reports.figures.lipschitz import Curve, against_radius

SECTION, ORDER = "lipschitz", 40

MODULUS = (
    Curve("lipschitz_modulus", "mean", "mean omega, logits", by_radius=True),
    Curve("lipschitz_modulus", "mean", "mean gain, logits/pixel"),
    Curve("lipschitz_shell", "mean", "mean shell gain, logits/pixel"),
)


def figure(context: Context) -> Picture | None:
    """Return omega, the gain omega / eps, and the shell gain against the radius, a column of panels a norm."""
    return against_radius(
        context.lipschitz,
        MODULUS,
        "lipschitz_modulus",
        "Modulus of continuity",
        "The largest found change of the logits within each radius, omega; the same over the radius, the gain; and, where "
        "it was measured, the largest ratio of a change to its distance, at distances from half the radius on. Lower "
        "bounds, means over images. A Lipschitz network's omega rises in proportion and its gain is level; after a jump "
        "omega is level and the gain falls like 1/radius. In logits, which have no scale of their own: the curves show "
        "shapes and rank nothing, and two of them may cross.",
    )
