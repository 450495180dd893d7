"""Times a distribution of `imagecorruptions` in a process of its own; the two distributions share a module name.

    python corruption_peer.py [FOLDER]    the one installed, or the one in FOLDER

Reads lines "NAME SIDE IMAGES", answers each with the CPU seconds an image, averaged over the five severities.
"""

import itertools
import sys
import time
import types
import warnings
from pathlib import Path

import numpy as np

warnings.simplefilter("ignore")


def shim() -> None:
    """Make imagecorruptions 1.1.2 importable: what it needs has left setuptools, numpy 2 and scikit-image 0.20."""
    resources = types.ModuleType("pkg_resources")
    resources.resource_filename = lambda package, path: str(Path(sys.modules[package].__file__).parent / path)
    sys.modules["pkg_resources"] = resources
    setattr(np, "float_", np.float64)  # noqa: B010 (the plain form is read as a use of what numpy 2 removed)
    import imagecorruptions.corruptions as module
    from skimage.filters import gaussian

    def gaussian_with_multichannel(image, sigma=1, multichannel=False, **options):
        return gaussian(image, sigma=sigma, channel_axis=-1 if multichannel else None, **options)

    module.gaussian = gaussian_with_multichannel


def main() -> None:
    """Answer requests until the input ends."""
    if len(sys.argv) > 1:
        sys.path.insert(0, sys.argv[1])
        shim()
    import imagecorruptions

    golden = np.load(Path(__file__).parents[1] / "corruptions" / "golden.npz")
    pictures = {32: golden["cifar/sto_inputs"], 224: golden["imagenet/sto_inputs"]}
    for line in sys.stdin:
        name, side, count = line.split()
        images = list(itertools.islice(itertools.cycle(pictures[int(side)]), int(count)))
        imagecorruptions.corrupt(images[0], corruption_name=name, severity=1)
        start = time.process_time()
        for severity in range(1, 6):
            for image in images:
                imagecorruptions.corrupt(image, corruption_name=name, severity=severity)
        print((time.process_time() - start) / (5 * len(images)), flush=True)


if __name__ == "__main__":
    main()
