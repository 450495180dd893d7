"""The nineteen functions of the package imagecorruptions, for comparison; slow. Name one: imagecorruptions:fog.

They have the constants of ImageNet-C at every image size. The package draws from numpy's global random state; here that
state is seeded for each image and restored after it. glass_blur also seeds numba's random state.
"""

from __future__ import annotations

import functools
import inspect
import threading
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruption_names import names
from lcrbench.errors import UserError

GROUP = "imagecorruptions"
VARIANTS = tuple(names("all"))
LIBRARIES = ("imagecorruptions-imaug", "imagecorruptions", "scikit-image", "scipy", "opencv-python", "numba", "pillow")

# The global random state is one for all threads.
_LOCK = threading.Lock()


def apply(image: NDArray[np.uint8], severity: int, random: np.random.Generator, variant: str) -> NDArray[np.uint8]:
    """Return the image (H, W, 3) after the package's function `variant`. Raises `UserError` for gray or small images."""
    package = _package()
    if image.shape[2] != 3 or min(image.shape[:2]) < 32:
        raise UserError(f"imagecorruptions takes RGB images of at least 32 x 32 pixels, not {image.shape}")
    options: dict[str, Any] = {}
    seed, other = (int(s) for s in random.integers(2**32, size=2))
    if "seed" in inspect.signature(package.corruption_dict[variant]).parameters:
        options["seed"] = other  # without it the function draws a seed of its own
    elif variant == "impulse_noise":
        raise UserError("this imagecorruptions cannot repeat impulse_noise: pip install imagecorruptions-imaug")
    with _LOCK:
        before = np.random.get_state()  # noqa: NPY002
        np.random.seed(seed)  # noqa: NPY002
        try:
            result: NDArray[np.uint8] = package.corrupt(image, severity, variant, **options)
        finally:
            np.random.set_state(before)  # noqa: NPY002
    return result


@functools.lru_cache(maxsize=1)
def _package() -> ModuleType:
    try:
        import imagecorruptions
    except ImportError as error:
        raise UserError(f"imagecorruptions cannot be imported ({error}): pip install imagecorruptions-imaug") from error
    package: ModuleType = imagecorruptions
    return package
