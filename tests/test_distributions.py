"""The wheel and the sdist: what is in them, and that they run outside the checkout.

The environment that they are installed into is empty, but for a path to the packages of the running one: torch alone takes
several GB. So this shows that the distributions hold all that lcrbench needs of its own (modules, templates, presets,
pictures, images), not that the dependencies which they name can be installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUILD = """
import sys
from setuptools import build_meta

out = sys.argv.pop()
build_meta.build_wheel(out)
build_meta.build_sdist(out)
"""
CUT = "--methods bnn --images 1000 --test 60 --corruptions fog --severities 3 --quiet"

pytestmark = pytest.mark.slow


def call(words: list[str], cwd: Path) -> str:
    """Run a command away from the checkout, and return what it prints."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A wheel and an sdist of what git would have: building writes into the tree."""
    folder = tmp_path_factory.mktemp("dist")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a checkout")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file() and not (ROOT / name).is_symlink():
            (folder / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / "tree" / name)
    call([sys.executable, "-c", BUILD, str(folder)], folder / "tree")
    [wheel], [sdist] = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return {"wheel": wheel, "sdist": sdist}


def environment(folder: Path) -> Path:
    """Return the interpreter of an empty environment that sees the running one's packages, and none of its .pth files."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    site = Path(call([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], folder).strip())
    for old in [*site.glob("setuptools*"), *site.glob("pkg_resources"), *site.glob("_distutils_hack")]:
        shutil.rmtree(old)  # of ensurepip, and older than pyproject.toml asks for
    (site / "distutils-precedence.pth").unlink(missing_ok=True)
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return python


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_the_quick_preset_runs_from_a_distribution(built: dict[str, Path], kind: str, tmp_path: Path) -> None:
    python = environment(tmp_path / "env")
    install = [str(python), "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation"]
    call([*install, str(built[kind])], tmp_path)
    where = call([str(python), "-c", "import lcrbench.bench.cli; print(lcrbench.bench.cli.__file__)"], tmp_path)
    assert Path(where.strip()).is_relative_to(tmp_path / "env"), "the checkout was imported"
    lcrbench = str(tmp_path / "env" / "bin" / "lcrbench")
    assert "irnet" in call([lcrbench, "list", "methods"], tmp_path)
    assert "sign" in call([lcrbench, "show", "method", "irnet"], tmp_path)
    call([lcrbench, "new", "method", "mine"], tmp_path)
    out = call([lcrbench, "run", "quick", *CUT.split()], tmp_path)
    assert out.strip() == "lcrbench-runs/reports/quick/index.html"
    page = (tmp_path / "lcrbench-runs" / "reports" / "quick" / "index.html").read_text(encoding="utf-8")
    assert "BNN" in page
    assert "page.css" not in page


def test_both_hold_the_same_modules_and_nothing_of_the_tests(built: dict[str, Path]) -> None:
    with zipfile.ZipFile(built["wheel"]) as wheel:
        names = {n for n in wheel.namelist() if ".dist-info/" not in n}
    with tarfile.open(built["sdist"]) as sdist:
        files = {n.partition("/")[2] for n in sdist.getnames()}
    assert {n.partition("/")[0] for n in names} == {"lcrbench"}
    assert not [n for n in names if "/tests/" in n]
    folders = {"bench": "bench", "models": "models", "corruptions": "corruptions", "reports": "reports"}
    for name in names:
        parts = name.split("/")[1:]
        source = "/".join([folders[parts[0]], *parts[1:]]) if parts[0] in folders else "/".join(["bench/_root", *parts])
        assert source in files, f"the sdist lacks {source}"


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_every_version_of_python_at_hand_compiles_it(built: dict[str, Path], version: str, tmp_path: Path) -> None:
    python = shutil.which(f"python{version}")
    if python is None or subprocess.run([python, "--version"], capture_output=True).returncode:
        pytest.skip(f"no Python {version}")
    with zipfile.ZipFile(built["wheel"]) as wheel:
        wheel.extractall(tmp_path / "whole")
    call([python, "-m", "compileall", "-q", str(tmp_path / "whole")], tmp_path)
