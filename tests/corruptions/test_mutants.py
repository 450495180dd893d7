"""The fidelity tests can fail: mistakes planted in a copy of the package are caught where the golden data tell them.

Each mutant is one changed line of source, compiled and held against the golden data at 32 pixels (or where it matters).
`SEPARATES` says what the data can tell; a mutant they cannot tell apart stays listed, so that nobody takes the tests
for more than they are.
"""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import fidelity
import pytest

import lcrbench.corruptions as original
from lcrbench.corruptions import corrupt


class Mutant(NamedTuple):
    """A planted mistake: in the module `file`, `old` becomes `new`; then `name` is checked at a severity of a variant.

    An empty `file` stands for the corruption's own module.
    """

    title: str
    file: str
    old: str
    new: str
    name: str
    severity: int
    variant: str = "cifar"
    separates: bool = True


ROUND = "SLACK, QUANTUM = 2e-4, 0.5 / 257.0", "SLACK, QUANTUM = 0.5, 0.5"
MUTANTS = [
    Mutant("rounds", "filters", *ROUND, "defocus_blur", 3),
    Mutant("rounds", "filters", *ROUND, "zoom_blur", 3),
    Mutant("rounds", "filters", *ROUND, "gaussian_blur", 3),
    Mutant("rounds", "filters", *ROUND, "motion_blur", 3),
    Mutant("rounds", "filters", *ROUND, "brightness", 3),
    Mutant("rounds", "filters", *ROUND, "saturate", 3),
    Mutant("rounds", "filters", *ROUND, "glass_blur", 3),
    Mutant("rounds", "filters", *ROUND, "elastic_transform", 1, separates=False),
    Mutant("rounds", "", "* factor + mean) * 255.0", "* factor + mean) * 255.0 + 0.5", "contrast", 3),
    Mutant("rounds", "", "+ frost_weight * ice[j], 255.0)", "+ frost_weight * ice[j] + 0.5, 255.0)", "frost", 3,
           separates=False),
    Mutant("rounds", "", "upper = np.arange(low + 1,", "upper = np.arange(low + 0.5,", "gaussian_noise", 3),
    Mutant("rounds", "", "level = int(min(k / float(rate), 1.0) * 255)",
           "level = round(min(k / float(rate), 1.0) * 255)", "shot_noise", 3),
    Mutant("draws frost 6 too", "", '"frost5.jpg")  #', '"frost5.jpg", "frost6.jpg")  #', "frost", 4),
    Mutant("shrinks the frost as ImageNet-C", "", "factor = max(scale,", "factor = max(1.0,", "frost", 4,
           separates=False),
    Mutant("pads by the edge", "filters", "rule: int = REFLECT_101", "rule: int = NEAREST", "defocus_blur", 4),
    Mutant("blurs glass once", "", "filters.separable(blurred, out, weights)", "out[:] = blurred", "glass_blur", 3),
    Mutant("glass scatters along rows only", "", "np.int32(p) + dy *", "np.int32(p) + 0 * dy *", "glass_blur", 5,
           "tiny"),
    Mutant("streak on both sides", "streak", "ceil(k * cosine - 0.5)", "ceil((k - taps // 2) * cosine - 0.5)",
           "motion_blur", 3),
    Mutant("no second, turned layer of flakes", "", "+ np.float32(turned[end - j])", "", "snow", 3),
    Mutant("flakes fall from the other side", "", "-135.0, -45.0", "-45.0, 45.0", "snow", 3),
    Mutant("snow without the threshold", "", "v = v if v >= threshold else np.float32(0)", "v = v", "snow", 3),
    Mutant("zoom divides by one too many", "zoom", "(len(factors) + 1)", "(len(factors) + 2)", "zoom_blur", 3),
    Mutant("fog is not scaled back", "", "brightest / (brightest + 255.0 * strength)", "1.0", "fog", 3),
    Mutant("fog's wibble is not squared", "", "wibble * wibble", "100 * wibble", "fog", 3,
           separates=False),
    Mutant("no affine map", "", "corner, reach)", "corner, 0.0)", "elastic_transform", 1),
    Mutant("no displacement", "", "_elastic(x, out, draws.key, draws.indices, alpha,",
           "_elastic(x, out, draws.key, draws.indices, 0 * alpha,", "elastic_transform", 5),
    Mutant("displacement smoothed to four sigma", "", "truncate=3.0", "truncate=4.0", "elastic_transform", 3,
           separates=False),
    Mutant("mud with its soft edge", "", "m if m >= np.float32(0.8)", "m if m >= np.float32(0)", "spatter", 4),
    Mutant("water that is not equalised", "", "cv2.equalizeHist(near)", "near", "spatter", 3),
    Mutant("gray hue is not red", "", "wanted if span == 0", "wanted if span < 0", "saturate", 5, "imagenet"),
    Mutant("JPEG without fancy chroma", "codec", "far = max(near - 1, 0) if", "far = near if", "jpeg_compression", 3),
    Mutant("JPEG halves chroma without a bias", "codec", "np.uint64(1) + (x & np.uint64(1))", "np.uint64(1)",
           "jpeg_compression", 3),
    Mutant("pixelate rounds sizes", "", "int(width * factor)", "round(width * factor)", "pixelate", 2),
]  # fmt: skip


def caught(run: Any, variant: str, name: str, severity: int) -> bool:
    """Tell whether the fidelity test of one cell fails."""
    if name in fidelity.SHARE_OFF:
        off = fidelity.deviation(run, variant, name, severity)
        if not off.within(name):
            return True
    if name in fidelity.NOISES:
        levels = fidelity.noise_p_values(run, variant, name, severity)
        return bool(fidelity.rejected({str(k): p for k, p in enumerate(levels)}, FAMILY))
    if name in fidelity.DRAWN:
        return bool(fidelity.rejected(fidelity.law_p_values(run, variant, name, severity), FAMILY))
    return False


FAMILY = fidelity.ALPHA / 100  # a cell's part of the whole test, which has about a hundred times as many p-values


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder to import mutated copies of the package from."""
    folder = tmp_path_factory.mktemp("mutants")
    sys.path.insert(0, str(folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield folder
    sys.path.remove(str(folder))


QUICK = ("defocus_blur", "brightness", "contrast", "pixelate", "frost", "shot_noise")  # to compile


@pytest.mark.parametrize(
    "k",
    [pytest.param(k, marks=[] if m.name in QUICK else pytest.mark.slow) for k, m in enumerate(MUTANTS)],
    ids=[f"{m.name}-{m.title}".replace(" ", "_") for m in MUTANTS],
)
def test_planted_mistake_is_caught(k: int, workshop: Path) -> None:
    mutant = MUTANTS[k]
    package = f"mutant{k}"
    shutil.copytree(Path(original.__file__).parent, workshop / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (workshop / package).rglob("*.py"):
        file.write_text(file.read_text().replace("lcrbench.corruptions", package))
    changed = workshop / package / f"{mutant.file or f'functions/{mutant.name}'}.py"
    source = changed.read_text()
    assert mutant.old in source, "the mutant no longer fits the source"
    changed.write_text(source.replace(mutant.old, mutant.new))
    run = importlib.import_module(package).corrupt
    assert caught(run, mutant.variant, mutant.name, mutant.severity) == mutant.separates


# Severities s whose golden data do not tell them from s + 1. Motion blur: the longer radius adds only taps of no
# weight. The others differ too little for the number of golden draws.
ALIKE = {
    ("motion_blur", "cifar"): [3],
    ("snow", "imagenet"): [2],
    ("fog", "imagenet"): [1, 2, 3, 4],
    ("frost", "cifar"): [3, 4],
    ("frost", "tiny"): [2, 3, 4],
    ("frost", "imagenet"): [1, 2, 3, 4],
    ("elastic_transform", "tiny"): [2, 4],
    ("elastic_transform", "imagenet"): [1, 3, 4],
}
CHEAP = [*fidelity.SHARE_OFF, "glass_blur", "snow", "frost", "fog", "elastic_transform", *fidelity.NOISES]


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        pytest.param(name, variant, marks=[] if variant == "cifar" and name in CHEAP else pytest.mark.slow)
        for name in dict.fromkeys([*fidelity.SHARE_OFF, *fidelity.NOISES, *fidelity.DRAWN])
        for variant in fidelity.VARIANTS
    ],
)
def test_a_neighbouring_severity_is_caught(name: str, variant: str) -> None:
    def shifted(images: Any, name: str, severity: int, **options: Any) -> Any:
        return corrupt(images, name, severity + 1, **options)

    missed = [severity for severity in range(1, 5) if not caught(shifted, variant, name, severity)]
    assert missed == ALIKE.get((name, variant), [])
