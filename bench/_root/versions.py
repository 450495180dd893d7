"""Which version of a package is installed, under whatever name it came."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

# OpenCV is distributed under several names that hold one module, cv2.
SAME = {"opencv-python": ("opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")}


def installed(package: str) -> str | None:
    """Return the version of an installed distribution, or of one that holds the same module; None without any."""
    for name in (package, *SAME.get(package, ())):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None
