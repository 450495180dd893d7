"""Every command and every snippet of the documentation, worked through: page by page, in its order, on a cut budget.

Each command is given as it stands, with options behind it that make the training and what it is shown small; so is each
example that the `--help` of a command has. Those of the tutorials are given by test_tutorials.py. What asks for a CUDA
device or a cluster is tested in bench/test_cuda.py and bench/test_ray.py. Commands within a sentence are parsed by
test_docs.py alone.
"""

from __future__ import annotations

import functools
import io
import json
import re
import shlex
import shutil
import tarfile
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.models import resnet18

from lcrbench.bench import cli, data
from lcrbench.bench.records.budget import Recipe
from lcrbench.bench.records.store import Store
from tests.data.layouts import Cifar, packed
from tests.test_docs import PAGES, ROOT, command, commands
from tests.test_tutorials import WITH_PYTHON

NOT_HERE = ("cuda", "ray:")
"""A word that holds one of these asks for a device or a cluster."""
ELSEWHERE = {
    "python3 -m venv ": "an environment of its own: test_distributions.py makes one and installs into it",
    ".venv/bin/tox run -e tests": "is how the tests are run",
    "source ": "changes the shell alone",
    "pip install 'lcrbench[ray]'": "test_distributions.py installs a wheel; the extra's packages come from a registry",
    "ray start ": "bench/test_ray.py starts a cluster by ray's own function for that",
    "rm -f speed.json": "removes one file",
    "pytest tests/speed --benchmark-only --benchmark-json=speed.json": "is `tox run -e speed`",
    "python tools/make_pictures.py lcrbench-runs": "reports/test_pictures.py calls it",
}
"""Lines of shell blocks that give no command of lcrbench, by how they begin: who works through them, or why nobody does."""
TUTORIALS = {p.name for p in (ROOT / "docs" / "tutorials").glob("*.md")}
SHOWN = ["--test", "20", "--severities", "1"]
MEASURED = "metrics={accuracy={}, corruption_error={}}"
CUT = {
    "evaluate": SHOWN,
    "lipschitz": ["--effort", "trial", "--images", "20"],
    "tune": ["--train", "300", "--images", "300", "--validation", "100"],
}
NET = """
from torch import nn
def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
"""
GRID = """
backbone = "vgg_tiny"
methods = ["bnn"]
seeds = [0]
[data]
source = "fashion-mnist-10k"
[budget]
images = 200
[recipe]
batch = 100
[evaluation]
corruptions = ["fog"]
severities = [1]
[metrics.accuracy]
"""


def by_page() -> dict[str, list[str]]:
    """Return the commands that stand whole in a code block, by page, without those of the tutorials."""
    found: dict[str, list[str]] = {}
    for page, line, whole in commands():
        if whole and page not in TUTORIALS:
            found.setdefault(page, []).append(line)
    return found


def examples() -> list[str]:
    """Return the examples of `--help`, of every command, those first that make what others take."""
    found: list[tuple[int, str]] = []

    def visit(one: click.Command) -> None:
        text = (one.epilog or "").removeprefix("Example: ")
        for line in text.split("; "):
            first = [
                k for k, words in enumerate(("run", "new", "reference", "store rm")) if f"lcrbench {words}" in line
            ]
            # What removes comes last.
            found.append(({0: 0, 1: 0, 2: 0, 3: 2}[first[0]] if first else 1, line))
        for inner in one.list_commands(click.Context(one)) if isinstance(one, click.Group) else ():
            deeper = one.get_command(click.Context(one), inner)
            assert deeper
            visit(deeper)

    visit(cli.app)
    return [line for _, line in sorted(dict.fromkeys(found), key=lambda one: one[0])]


def photographs(root: Path, classes: tuple[str, ...] = tuple("abcdefghij"), side: int = 32, each: int = 30) -> Path:
    """Write class folders of PNG files, whose colours go with the class."""
    rng = np.random.default_rng(0)
    for split, count in (("train", each), ("test", 10)):
        for k, label in enumerate(classes):
            folder = root / split / label
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 100, (side, side, 3)) + np.array([15 * k, 150 - 15 * k, 70])
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    return root


def fitted() -> dict[str, torch.Tensor]:
    """Return weights of NET, fitted to the embedded training images by least squares."""
    found = data.load()
    gray = torch.from_numpy(found.train.images.copy())[..., 0].flatten(1).double() / 255
    x = torch.cat([gray, torch.ones(len(gray), 1)], 1)
    y = nn.functional.one_hot(torch.from_numpy(found.train.labels.copy())).double()
    w = torch.linalg.solve(x.T @ x + 100 * torch.eye(1025), x.T @ y).T.float() * 5
    return {"1.weight": torch.cat([w[:, :1024], torch.zeros(10, 2048)], 1), "1.bias": w[:, 1024]}


def cut(words: list[str]) -> list[str]:
    """Return the options that make a command small."""
    name, of = words[0], words[1] if len(words) > 1 else ""
    if name == "run" and of == "imagenet":
        return ["--train", "128", "--test", "20", "--batch", "16"]
    if name == "run" and of in ("quick", "gate", "cifar10-paper", "tuned.toml"):
        length = ["--epochs", "1"] if of == "cifar10-paper" else ["--images", "300"]
        seeds = [] if of == "gate" else ["--seeds", "0 1"]
        shown = [] if "--corruptions" in words else ["--corruptions", "fog snow"]
        return ["--train", "200", *SHOWN, "--set", MEASURED, *length, *seeds, *shown]
    if name == "evaluate" and of.startswith("torchvision:"):
        # The archive here has two classes of ImageNet's thousand.
        return [*SHOWN, "--corruptions", "fog", "--label-order", "imagenet1k"]
    return CUT.get(name, [])


def meant(words: list[str], here: Path) -> list[str]:
    """Put what lies in the folder in the place of what a page leaves to its reader: ids, specs, the home."""
    root = here / "lcrbench-runs"
    runs = [r for r in Store(root).records() if r.spec.data.name == "fashion-mnist-10k"] if root.is_dir() else []
    ids = {r.spec.label: r.run_id for r in runs}
    stands = {"RUN": ids.get("irnet"), "3f2a": ids.get("irnet"), "9c01": ids.get("bnn"), "SPEC": "my_grid.toml"}
    stands["PATH"] = "DATA"
    places = {"~": str(here / "home"), "/shared": str(here / "shared")}
    return [functools.reduce(lambda w, p: w.replace(*p), places.items(), stands.get(w) or w) for w in words]


def given(line: str, here: Path) -> None:
    """Give a command in this process, with the options behind it that cut its budget."""
    words = meant(shlex.split(line)[1:], here)
    less = cut(words)
    # An option may not stand twice.
    for option in {w for w in less if w.startswith("--")} & set(words):
        del words[words.index(option) : words.index(option) + 2]
    called([*words, *less])


def called(words: list[str]) -> None:
    """Give a command, and say yes where it asks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", io.StringIO("y\n"))
        patch.setattr("sys.argv", ["lcrbench", *words])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    assert not stop.value.code, words


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the pages take for granted: data, a network, a grid, and stores with runs."""
    here = tmp_path_factory.mktemp("prepared")
    (here / "net.py").write_text(NET)
    (here / "module.py").write_text(NET)
    (here / "package").mkdir()
    (here / "package" / "module.py").write_text(NET.replace("make", "function"))
    torch.save(fitted(), here / "weights.pt")
    (here / "my_grid.toml").write_text(GRID)
    photographs(here / "DATA")
    photographs(here / "home" / "my-photographs")
    photographs(here / "home" / "imagenet", ("n01440764", "n01443537"), side=230, each=130)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)).save(here / "cat.png")
    packed(Cifar(10, batch=50).python(here / "cifar"), here / "cifar-10-python.tar.gz")
    times = [
        {"name": name, "fullname": f"t.py::{name}", "stats": {"min": 1.0, "mean": 1.0}, "extra_info": {}}
        for name in ("test_baseline", "test_step")
    ]
    written = {"datetime": "2026-01-02T03:04:05.6+00:00", "benchmarks": times}
    (here / "speed.json").write_text(json.dumps(written))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        given("lcrbench run quick --corruptions 'noise fog snow'", here)
    for store in ("here", "there", "from_machine_a", "from_machine_b"):
        shutil.copytree(here / "lcrbench-runs", here / store)
    return here


@pytest.fixture
def here(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the prepared folder, which is the current one."""
    shutil.copytree(prepared, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.mark.slow
@pytest.mark.parametrize("page", by_page())
def test_the_commands_of_a_page_run(page: str, here: Path) -> None:
    for store in {"OLD", "NEW"} & set(" ".join(by_page()[page]).split()):
        given(f"lcrbench run gate --store {store}", here)
    for line in by_page()[page]:
        if not any(part in word for word in shlex.split(line) for part in NOT_HERE):
            shutil.rmtree("DATA-C", ignore_errors=True)
            given(line, here)


@pytest.mark.slow
def test_the_examples_of_help_run(here: Path) -> None:
    assert len(examples()) > 25
    photographs(here / "val", ("n01440764", "n01443537"), side=230, each=1)
    with tarfile.open("val.tar", "w") as tar:
        for folder in (here / "val" / "test").iterdir():
            tar.add(folder, folder.name)
    torch.save(resnet18().state_dict(), "resnet18.pth")
    (here / "speed.json").rename("benchmarks.json")
    times = json.loads((here / "benchmarks.json").read_text())
    for one in times["benchmarks"]:
        one["extra_info"] = {"ratio": 1.0}
    (here / "benchmarks.json").write_text(json.dumps(times))
    given("lcrbench run gate --store runs", here)
    given("lcrbench new method my_method", here)
    shutil.copytree("my_plugins", "my_pkg")
    shutil.rmtree("my_plugins")
    for line in examples():
        if line.startswith("lcrbench check "):
            # Runs of a change are others than those of its reference.
            shutil.rmtree("runs")
            given("lcrbench run gate --store runs", here)
        given(line, here)


def test_every_line_of_a_shell_block_is_given_or_accounted_for() -> None:
    used, left = set(), []
    for page in PAGES:
        for block in snippets(str(page.relative_to(ROOT)), "(?:sh|bash)"):
            for line in filter(None, map(str.strip, block.replace("\\\n", " ").splitlines())):
                reasons = [begin for begin in ELSEWHERE if line.startswith(begin)]
                used |= set(reasons)
                if not (line.startswith("#") or command(line) or reasons):
                    left.append((page.name, line))
    assert left == []
    assert used == set(ELSEWHERE)


def snippets(page: str, language: str = "python") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.S)


HERE = ("docs/corruptions.md", "docs/reports.md", "docs/ci.md")
"""The pages whose Python this file executes."""


def test_every_page_with_python_is_executed_by_a_test() -> None:
    elsewhere = {"README.md", "docs/reference/api.md", *(f"docs/{page}" for page in WITH_PYTHON)}
    pages = {str(p.relative_to(ROOT)) for p in PAGES if snippets(str(p.relative_to(ROOT)))}
    # One line of an import, which test_tutorials puts into the method.
    assert pages - {"docs/tutorials/new-method.md"} == elsewhere | set(HERE)


@pytest.mark.slow
def test_the_python_about_corruptions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.transforms import v2

    monkeypatch.chdir(tmp_path)
    photographs(tmp_path / "DATA", each=4)
    for out, *how in (["CIFAR-10-C"], ["Tiny-ImageNet-C", "--layout", "tree"]):
        called(["corrupt", "DATA", "--out", out, "--corruptions", "fog", *how, "--quiet"])
    with tarfile.open("CIFAR-10-C.tar", "w") as tar:
        tar.add("CIFAR-10-C")

    def photos(root: Path, *, train: bool) -> list[tuple[Image.Image, int]]:
        return [(Image.new("RGB", (32, 32), (i, 90, 30)), i) for i in range(5)]

    images = np.random.default_rng(0).integers(0, 256, (512, 32, 32, 3), np.uint8)
    names: dict[str, Any] = {"images": images, "CIFAR10": photos, "root": tmp_path, "v2": v2, "to_float": v2.ToDtype}
    blocks = snippets("docs/corruptions.md")
    assert len(blocks) == 3
    for block in blocks:
        exec(compile(block, "corruptions.md", "exec"), names)
    assert names["batch"].shape == images.shape
    assert len(names["foggy"]) == 5
    assert names["cifar"].load("fog", 3)[0].shape == (100, 32, 32, 3)
    assert "fog" in names["tiny"].corruptions


def test_the_table_of_the_page_about_reports_is_one() -> None:
    from lcrbench.reports.conformance import check_table

    [block] = snippets("docs/reports.md")
    module = ModuleType("my_table")
    exec(compile(block, "reports.md", "exec"), vars(module))
    assert not list(check_table(module))


def test_the_test_of_the_page_about_gates_asks_what_the_fixture_takes() -> None:
    """tests/reports/test_pytest_plugin.py holds the fixture itself against stores."""
    import inspect

    from lcrbench.reports import pytest_plugin

    [block] = snippets("docs/ci.md")
    names: dict[str, Any] = {}
    exec(compile(block, "ci.md", "exec"), names)
    asked: list[inspect.BoundArguments] = []
    fixture = inspect.unwrap(pytest_plugin.lcrbench_check)
    names["test_robustness_is_kept"](lambda *a, **k: asked.append(inspect.signature(fixture()).bind(*a, **k)))
    assert len(asked) == 1


def test_the_recipe_of_the_page_about_recipes_is_the_default_one() -> None:
    [block] = snippets("docs/recipes.md", "toml")
    assert Recipe(**tomllib.loads(block)["recipe"]) == Recipe()
