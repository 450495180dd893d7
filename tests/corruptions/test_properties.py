"""What every corruption keeps: shapes, bits, independence of batches and threads; and how bad requests are refused."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lcrbench
from lcrbench import corruptions
from lcrbench.corruption_names import BAR
from lcrbench.corruptions import codec, constants_for, corrupt, names, provenance
from lcrbench.corruptions.engine import MACHINE_DEPENDENT
from lcrbench.corruptions.functions.frost import frost_folder
from lcrbench.errors import UserError

ALL = names("all")
OURS = [*ALL, *BAR]
HASHES = Path(__file__).with_name("hashes.json")


def pictures(count: int, *shape: int, seed: int = 0) -> np.ndarray:
    """Smooth random pictures with some noise, flat areas, black and white."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    waves = np.stack([np.sin(x / rng.uniform(2, 9) + k) * np.cos(y / rng.uniform(2, 9)) for k in range(count * 3)])
    values = (
        127 + 150 * waves.reshape(count, 3, *shape[:2]).transpose(0, 2, 3, 1) + rng.normal(0, 8, (count, *shape[:2], 3))
    )
    images = np.clip(values, 0, 255).astype(np.uint8)
    return images if len(shape) == 3 else np.ascontiguousarray(images[..., 0])


def test_the_names_are_those_of_the_paper() -> None:
    assert len(ALL) == 19
    assert len(names()) == 15
    assert names("extra") == ["speckle_noise", "gaussian_blur", "spatter", "saturate"]
    assert [name for group in corruptions.groups() for name in names(group)] == OURS
    assert lcrbench.corrupt is corrupt


@pytest.mark.parametrize("name", OURS)
def test_a_picture_depends_on_nothing_but_its_index(name: str) -> None:
    images = pictures(19, 32, 32, 3)
    before = images.copy()
    images.setflags(write=False)
    for severity in (1, 5):
        whole = corrupt(images, name, severity, seed=3, stream="data")
        assert whole.shape == images.shape
        assert whole.dtype == np.uint8
        assert (whole != images).any()
        assert (images == before).all()
        single = [corrupt(images[[k]], name, severity, seed=3, stream="data", indices=[k])[0] for k in range(19)]
        assert (whole == np.stack(single)).all()
        order = np.random.default_rng(1).permutation(19)
        assert (corrupt(images[order], name, severity, seed=3, stream="data", indices=order) == whole[order]).all()
        assert (corrupt(images, name, severity, seed=3, stream="data", threads=3) == whole).all()
    drawn = corrupt(images, name, 3, seed=3, stream="data")
    others = [corrupt(images, name, 3, seed=4, stream="data"), corrupt(images, name, 3, seed=3, stream="other")]
    random = name not in ("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression",
                          "gaussian_blur", "saturate", "circular_motion_blur")  # fmt: skip
    assert all((other != drawn).any() == random for other in others)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("shape", [(28, 28), (40, 56, 3), (57, 33), (8, 8)])
def test_other_sizes_and_gray_pictures_work(name: str, shape: tuple[int, ...]) -> None:
    images = pictures(2, *shape)
    for severity in (1, 3, 5):
        result = corrupt(images, name, severity)
        assert result.shape == images.shape
        assert result.dtype == np.uint8
    assert corrupt(images[:0], name, 1).shape == (0, *shape)


@pytest.mark.parametrize("constants", ["cifar", "tiny", "imagenet"])
def test_any_constants_work_at_any_size(constants: str) -> None:
    images = pictures(1, 24, 24, 3)
    for name in ("defocus_blur", "elastic_transform", "frost", "motion_blur", "snow", "zoom_blur", "spatter"):
        assert corrupt(images, name, 5, constants=constants).shape == images.shape


@pytest.mark.parametrize(
    ("message", "change"),
    [
        ("severity must be an integer from 1 to 5, not 0", {"severity": 0}),
        ("severity must be an integer from 1 to 5, not 6", {"severity": 6}),
        ("severity must be an integer from 1 to 5, not 2.5", {"severity": 2.5}),
        ("severity must be an integer from 1 to 5, not True", {"severity": True}),
        ("did you mean 'fog'", {"name": "fogg"}),
        ("did you mean 'cifar'", {"constants": "cifar10"}),
        ("unknown option of fog 'angle'", {"angle": 3.0}),
        ("finite number of degrees", {"name": "motion_blur", "angle": float("nan")}),
        ("indices must be 2 integers", {"indices": [1, 2, 3]}),
        ("indices must be 2 integers", {"indices": [-1, 0]}),
        ("uint8", {"images": np.zeros((2, 32, 32, 3))}),
        ("uint8", {"images": "picture"}),
        ("(N, H, W, 3)", {"images": np.zeros((32, 32), np.uint8)}),
        ("(N, H, W, 3)", {"images": np.zeros((2, 32, 32, 4), np.uint8)}),
        ("at least 8 x 8", {"images": np.zeros((2, 4, 32, 3), np.uint8)}),
    ],
)
def test_bad_requests_are_refused_by_one_line(message: str, change: dict[str, object]) -> None:
    request = {"images": pictures(2, 32, 32, 3), "name": "fog", "severity": 3} | change
    with pytest.raises(UserError) as error:
        corrupt(request.pop("images"), request.pop("name"), request.pop("severity"), **request)  # type: ignore[arg-type]
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_frost_is_refused_without_imagecorruptions(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "imagecorruptions" else real(name))
    with pytest.raises(UserError, match="pip install imagecorruptions-imaug") as error:
        frost_folder()
    assert "\n" not in str(error.value)


def test_frost_is_refused_without_its_pictures(tmp_path: Path) -> None:
    images = pictures(1, 32, 32, 3)
    with pytest.raises(UserError, match=r"frost1\.png' is missing"):
        corrupt(images, "frost", 1, pictures=tmp_path)
    (tmp_path / "frost1.png").write_bytes(b"other")
    with pytest.raises(UserError, match="not the official one"):
        corrupt(images, "frost", 1, pictures=tmp_path)


def test_an_angle_turns_the_streak() -> None:
    images = pictures(3, 32, 32, 3)
    each = corrupt(images, "motion_blur", 3, angle=[0.0, 30.0, -30.0])
    assert (each[0] == corrupt(images[:1], "motion_blur", 3, angle=0)[0]).all()
    assert (each[1] == corrupt(images[1:2], "motion_blur", 3, angle=30)[0]).all()
    line = np.zeros((1, 33, 33), np.uint8)
    line[0, 16, 16] = 255
    assert np.flatnonzero(corrupt(line, "motion_blur", 3, angle=0)[0].any(1)).tolist() == [16]


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([*range(8, 20), 31, 32, 33]),
    st.integers(8, 40),
    st.integers(1, 100),
    st.booleans(),
    st.integers(0, 99),
)
def test_jpeg_equals_pillow(height: int, width: int, quality: int, gray: bool, seed: int) -> None:
    import io

    from PIL import Image

    image = pictures(1, height, width, 3, seed=seed)[0]
    if seed % 3 == 0:
        image = np.random.default_rng(seed).integers(0, 256, image.shape, np.uint8)
    image = image[..., :1] if gray else image
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if gray else image).save(file, "JPEG", quality=quality)
    wanted = np.asarray(Image.open(file)).reshape(image.shape)
    found = np.empty_like(image)[None]
    codec.round_trip(np.ascontiguousarray(image)[None], found, codec.quantisers(quality))
    assert (found[0] == wanted).all()


def digests() -> dict[str, str]:
    """Return the sha256 of every corruption's outputs at fixed inputs, over the severities."""
    out = {}
    for name in OURS:
        for constants, side, count in (("cifar", 32, 4), ("tiny", 64, 2), ("imagenet", 224, 1)):
            if name in BAR and constants != constants_for(side, side, name):
                continue  # C-bar has no severities for it
            images = np.random.default_rng(7).integers(0, 256, (count, side // 8, side // 8, 3), np.uint8)
            images = np.repeat(np.repeat(images, 8, 1), 8, 2)
            digest = hashlib.sha256()
            for severity in range(1, 6):
                digest.update(corrupt(images, name, severity, seed=11, stream="golden", indices=range(5, 5 + count)))
            out[f"{name} {constants}"] = digest.hexdigest()
    return out


def test_the_bits_are_those_that_were_promised() -> None:
    wanted = json.loads(HASHES.read_text())
    found = digests()
    assert wanted.keys() == found.keys()
    differing = {key for key in found if found[key] != wanted[key]}
    promised = {key for key in differing if key.split()[0] not in MACHINE_DEPENDENT}
    assert not promised, "a change of results needs a new version of the scheme, and new hashes"
    if differing:
        pytest.skip(f"another OpenCV than the one that made the hashes: {sorted(differing)}")


def test_the_record_names_constants_and_what_is_not_promised() -> None:
    record = provenance(28, 28)
    assert record["constants"] == "cifar"
    assert record["native_size"] == 32
    assert record["exact_size"] is False
    assert set(record["machine_dependent"]) <= set(ALL)
    assert provenance(224, 224)["exact_size"] is True
    json.dumps(record)
    with pytest.raises(UserError, match="set of constants"):
        provenance(32, 32, "cifar100")


def test_listing_imports_no_compiler() -> None:
    code = (
        "import sys, lcrbench.corruptions as c; c.names('all'); c.parameters('fog', 3, 'cifar'); "
        "sys.exit(any(m in sys.modules for m in ('numba', 'cv2', 'torch', 'PIL', 'scipy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_kernels_are_cached_outside_the_package_and_shared_by_processes(tmp_path: Path) -> None:
    code = (
        "import numpy as np, sys; from lcrbench.corruptions import corrupt, kernel; "
        "out = corrupt(np.full((2, 16, 16, 3), 99, np.uint8), 'impulse_noise', 3); "
        "print(kernel.cache_folder(), int(out.sum()))"
    )
    environment = {"XDG_CACHE_HOME": str(tmp_path), "PATH": "", "HOME": str(tmp_path)}
    both = [subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE) for _ in range(2)]
    answers = [process.communicate(timeout=120)[0].decode() for process in both]
    assert all(process.returncode == 0 for process in both)
    assert answers[0] == answers[1]
    assert answers[0].startswith(str(tmp_path))
    assert list(tmp_path.glob("lcrbench/kernels-*/*.kernel"))


@pytest.mark.slow
def test_the_bits_are_the_same_without_vector_units() -> None:
    """As near to another processor as one machine comes: plain x86-64 code, and numpy without its SIMD paths."""
    code = "import json, test_properties as t; print(json.dumps(t.digests()))"
    environment = dict(os.environ, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="")
    environment["NPY_DISABLE_CPU_FEATURES"] = "AVX2 FMA3 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL"
    answer = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=HASHES.parent,
        env=environment,
        capture_output=True,
        check=True,
    )
    found, wanted = json.loads(answer.stdout), json.loads(HASHES.read_text())
    assert {key for key in found if found[key] != wanted[key]} == set()


def test_kernels_work_where_no_cache_can_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from lcrbench import kernels
    from lcrbench.corruptions import kernel

    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "below"))
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    kernels.cache_folder.cache_clear()
    try:
        assert kernel.cache_folder() == ""
        assert kernel.kernel(lambda a: a + 1)(2) == 3
    finally:
        kernels.cache_folder.cache_clear()
