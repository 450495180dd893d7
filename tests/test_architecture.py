"""The arrows between the packages, the list of packages, and what may not be loaded when."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = {
    "lcrbench",
    "lcrbench.corruption_names",
    "lcrbench.disk",
    "lcrbench.errors",
    "lcrbench.float32",
    "lcrbench.images",
    "lcrbench.kernels",
    "lcrbench.registry",
    "lcrbench.surroundings",
    "lcrbench.testing",
    "lcrbench.untrusted",
    "lcrbench.vectors",
    "lcrbench.versions",
}
# The public names and their functions compose all, lazily, as the command line does.
COMPOSES = [ROOT / "bench" / "_root" / name for name in ("__init__.py", "api.py", "result.py")]
MAY_IMPORT = {
    "models": {"lcrbench.models"},
    "corruptions": {"lcrbench.corruptions"},
    # The harness writes its report through the command line alone.
    "bench": {"lcrbench.bench", "lcrbench.models", "lcrbench.corruptions"},
    "reports": {
        "lcrbench.reports",
        "lcrbench.bench.records",
        "lcrbench.bench.stats",
    },
}


def imports(path: Path) -> set[str]:
    """Return the dotted names that a file imports; `from a import b` gives a.b."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                assert "tests" in path.parts, f"{path} has a relative import"
                continue
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def inside(name: str, allowed: set[str]) -> bool:
    return any(name == a or name.startswith(a + ".") for a in allowed)


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_arrows(folder: str) -> None:
    files = list((ROOT / folder).rglob("*.py"))
    assert files
    for path in files:
        allowed = MAY_IMPORT[folder] | {s for s in SHARED if s != "lcrbench"}
        if path.parent == ROOT / "bench" / "cli" or path in COMPOSES:
            allowed = {"lcrbench"}
        for name in imports(path):
            if name.startswith("lcrbench.") and name not in ("lcrbench.__version__",):
                ok = inside(name, allowed) or name in {f"lcrbench.{a.split('.')[1]}" for a in allowed if "." in a}
                assert ok, f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("folder", ["reports", "corruptions"])
def test_no_torch_in(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        assert not any(n.split(".")[0] in ("torch", "torchvision") for n in imports(path)), path


def test_bare_imports_of_the_folders_are_banned() -> None:
    for folder in [*MAY_IMPORT, "tests"]:
        for path in (ROOT / folder).rglob("*.py"):
            bare = {n.split(".")[0] for n in imports(path)} & set(MAY_IMPORT)
            assert not bare, f"{path} imports {bare}: a second copy of the package"


def call_of(node: ast.Call) -> str:
    """Return what a call is of, as `os.replace`; what gives a file another place, as Path's methods do, is `renamed`."""
    name = ast.unparse(node.func)
    method = isinstance(node.func, ast.Attribute) and node.func.attr in ("replace", "rename")
    # Those of text have two arguments, and pandas' are named.
    return "renamed" if method and len(node.args) == 1 and not node.keywords else name


ONE: dict[str, tuple[set[str], set[str]]] = {
    "writes a file whole or not at all": (
        {"renamed", "os.replace", "os.rename", "shutil.move"},
        {
            "bench/_root/disk.py",
            "bench/_root/kernels.py",  # compiled functions, in a folder of their own
            # Folders, and a file of many gigabytes that is locked while it grows.
            *(
                "bench/records/shelf.py",
                "bench/records/store.py",
                "bench/records/removal.py",
                "corruptions/generate.py",
            ),
            *("bench/data/disk_cache.py", "bench/data/copies.py"),
        },
    ),
    "decodes image files": (
        {"Image.open", "cv2.imread", "cv2.imdecode", "simple.decode_jpeg"},
        # Frost reads its pictures as the published code does, to its bits.
        {"bench/_root/images.py", "corruptions/functions/frost.py"},
    ),
    "draws progress bars": (
        {"RichProgress", "rich.progress.Progress", "rich.progress.track", "tqdm"},
        {"bench/progress.py"},
    ),
    "gives a body its normalization": (
        {"networks.Network", "network.Network"},
        {"models/packed/deployment.py"},  # and models/network.py, by the plain name
    ),
}
"""What is done in one place: the calls that do it, and the files that may make them."""


@pytest.mark.parametrize("what", ONE)
def test_one_place_alone(what: str) -> None:
    calls, places = ONE[what]
    found: dict[str, set[str]] = {}
    for folder in MAY_IMPORT:
        for path in (ROOT / folder).rglob("*.py"):
            made = {
                call_of(n) for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Call)
            }
            if made & calls:
                found[str(path.relative_to(ROOT))] = made & calls
    assert {name: made for name, made in found.items() if name not in places} == {}
    assert places <= found.keys(), f"{places - found.keys()} do not any more: strike them from the list"


def test_every_package_is_listed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = set(project["tool"]["setuptools"]["packages"])
    found = {"lcrbench"}
    for top in MAY_IMPORT:
        for folder in [ROOT / top, *(ROOT / top).rglob("*/")]:
            if any(folder.glob("*.py")) and folder.name not in ("__pycache__", "_root"):
                found.add("lcrbench." + ".".join(folder.relative_to(ROOT).parts))
    assert found == listed


def test_links_stay_in_the_repository() -> None:
    """A link to what one machine has takes the place of what a clean checkout makes there."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a checkout")
    links = [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_symlink()]
    assert links, ".typing is made of links"
    for link in links:
        target = link.readlink()
        assert not target.is_absolute(), link
        assert (link.parent / target).resolve(strict=True).is_relative_to(ROOT), link


def loaded(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", code + "\nimport sys; print(' '.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.splitlines()[-1].split())


def test_reports_load_no_torch() -> None:
    modules = loaded("import lcrbench.reports.report, lcrbench.reports.composition, lcrbench.bench.records.store")
    assert "lcrbench.reports.composition" in modules
    assert "torch" not in modules


@pytest.mark.parametrize(
    "words", [["--help"], ["list"], ["list", "methods"], ["list", "corruptions"], ["list", "presets"]]
)
def test_help_and_lists_answer_at_once_without_torch(words: list[str]) -> None:
    code = f"import sys; sys.argv = ['lcrbench', *{words!r}]\n"
    code += "try:\n from lcrbench.bench import cli; cli.main()\nexcept SystemExit:\n pass"
    modules = loaded(code)
    assert "torch" not in modules
    assert "matplotlib" not in modules
    best = min(_cpu_seconds(words) for _ in range(3))
    assert best < 0.5, f"{best:.2f} s"


def _cpu_seconds(words: list[str]) -> float:
    import resource

    def spent() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before, wall = spent(), time.perf_counter()
    subprocess.run([sys.executable, "-m", "lcrbench.bench.cli", *words], capture_output=True, check=True)
    # CPU time, since other processes may hold the cores; never more than the wall.
    return min(spent() - before, time.perf_counter() - wall)
