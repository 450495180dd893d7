"""The names and groups of the nineteen corruptions of Hendrycks and Dietterich (arXiv 1903.12261), for all to read."""

from __future__ import annotations

from typing import Final

from lcrbench.errors import unknown

GROUPS: Final = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
    "extra": ("speckle_noise", "gaussian_blur", "spatter", "saturate"),
}
"""Each group with its corruptions, in the order of the paper."""

GROUP: Final = {name: group for group, names in GROUPS.items() for name in names}
"""The group of each of the nineteen."""

EXTRA: Final = GROUPS["extra"]
"""The four for validation, which mCE does not average."""

COMMON: Final = tuple(name for name, group in GROUP.items() if group != "extra")
"""The fifteen that mCE averages."""

SETS: Final = ("common", "all", *GROUPS)
"""What may stand for several corruptions."""

SEVERITIES: Final = (1, 2, 3, 4, 5)


def names(group: str = "common") -> list[str]:
    """Return the corruptions of a group, in the order of the paper.

    `group` is "common" (the 15 that mCE averages), "all" (the 19), or one of `GROUPS`. Raises `UserError` for any other.

    >>> names("noise")
    ['gaussian_noise', 'shot_noise', 'impulse_noise']
    """
    members = {"common": COMMON, "all": tuple(GROUP), **GROUPS}
    if group not in members:
        raise unknown("group of corruptions", group, SETS)
    return list(members[group])
