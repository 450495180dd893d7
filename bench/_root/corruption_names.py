"""The names and groups of the corruptions that are ours, and those of published benchmarks, for all to read.

The nineteen are those of Hendrycks and Dietterich (arXiv 1903.12261), the fifteen of `bar` those of ImageNet-C-bar and
CIFAR-10-C-bar (Mintun, Kirillov and Xie, arXiv 2102.11273), ten each.
"""

from __future__ import annotations

from typing import Final

from lcrbench.errors import unknown

GROUPS: Final = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
    "extra": ("speckle_noise", "gaussian_blur", "spatter", "saturate"),
    "bar": (
        *("blue_noise_sample", "brownish_noise", "checkerboard_cutout", "inverse_sparkles", "sparkles"),
        *("caustic_refraction", "cocentric_sine_waves", "perlin_noise", "plasma_noise", "single_frequency_greyscale"),
        *("circular_motion_blur", "lines", "pinch_and_twirl", "ripple", "transverse_chromatic_abberation"),
    ),
}
"""Each group with its corruptions, in the order of the papers."""

GROUP: Final = {name: group for group, names in GROUPS.items() for name in names}
"""The group of each corruption of ours."""

EXTRA: Final = GROUPS["extra"]
"""The four for validation, which mCE does not average."""

BAR: Final = GROUPS["bar"]
"""The fifteen of C-bar, of which each of its two benchmarks has ten."""

PAPER: Final = tuple(name for name in GROUP if name not in BAR)
"""The nineteen of ImageNet-C."""

COMMON: Final = tuple(name for name in PAPER if name not in EXTRA)
"""The fifteen that mCE averages."""

SUITES: Final = {"cifar10-c-bar": (*BAR[:5], *BAR[10:]), "imagenet-c-bar": BAR[:10]}
"""The corruptions of the two benchmarks of C-bar."""

FROM_DEPTH: Final = (
    *("near_focus", "far_focus", "fog_3d", "flash", "color_quant", "low_light", "xy_motion_blur", "z_motion_blur"),
    *("iso_noise", "bit_error", "h265_abr", "h265_crf"),
)
"""The corruptions of ImageNet-3DCC (Kar et al., arXiv 2203.01441), which are read from its archives and not made here."""

SETS: Final = ("common", "all", *GROUPS, *SUITES)
"""What may stand for several corruptions."""

SEVERITIES: Final = (1, 2, 3, 4, 5)


def names(group: str = "common") -> list[str]:
    """Return the corruptions of a group, in the order of the papers.

    `group` is "common" (the 15 that mCE averages), "all" (the 19 of ImageNet-C), one of `GROUPS`, or a benchmark of
    `SUITES`. Raises `UserError` for any other.

    >>> names("noise")
    ['gaussian_noise', 'shot_noise', 'impulse_noise']
    """
    members = {"common": COMMON, "all": PAPER, **GROUPS, **SUITES}
    if group not in members:
        raise unknown("group of corruptions", group, SETS)
    return list(members[group])
