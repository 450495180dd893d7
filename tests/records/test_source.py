"""Source by scope: what a closure holds, and which numbers go stale when a file changes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from lcrbench.bench.records import source

ROOT = Path(__file__).resolve().parents[2]
LOOP = "lcrbench.bench.training.loop"
IRNET = ("lcrbench.models.network", "lcrbench.models.methods.irnet", "lcrbench.models.backbones.vgg_tiny")
KAPPA = "lcrbench.bench.metrics.lipschitz_kappa"


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder of its own, whose modules no other test has seen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    fresh()
    return tmp_path


def fresh() -> None:
    """Forget what was read of files: a new process has not read them."""
    for cached in (source._file, source._tree, source._hash, source._imports, source._closure, source._known):
        cached.cache_clear()


# ------------------------------------------------------------------------------------------------------------ closures


def test_a_closure_follows_imports_two_levels_deep(here: Path) -> None:
    write(
        here,
        {
            "one.py": "import two\n",
            "two.py": "def f():\n    from three import x\n    return x\n",
            "three.py": "x = 1\n",
        },
    )
    before = source.closure(["one"])
    assert set(before.modules) == {"one", "two", "three"}
    write(here, {"three.py": "import four\nx = 1\n", "four.py": "y = 2\n"})
    fresh()
    assert source.changed(before) == ["four", "three"]


def test_relative_imports_and_packages_are_followed(here: Path) -> None:
    write(here, {"pkg/__init__.py": "", "pkg/a.py": "from . import b\nfrom .sub import c\n", "pkg/b.py": ""})
    write(here, {"pkg/sub/__init__.py": "", "pkg/sub/c.py": ""})
    assert {"pkg", "pkg.a", "pkg.b", "pkg.sub", "pkg.sub.c"} <= set(source.closure(["pkg.a"]).modules)


def test_libraries_and_the_standard_library_do_not_count(here: Path) -> None:
    write(here, {"mine.py": "import json\nimport numpy as np\nimport torch.nn\nfrom scipy import stats\n"})
    assert set(source.closure(["mine"]).modules) == {"mine"}


def test_libraries_of_another_environment_do_not_count_either(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a venv with --system-site-packages, --user, or a path in a .pth file has them."""
    write(here, {"mine.py": "import beside, theirs\n", "beside.py": "", "other/lib/site-packages/theirs.py": ""})
    monkeypatch.syspath_prepend(str(here / "other" / "lib" / "site-packages"))
    assert set(source.closure(["mine"]).modules) == {"mine", "beside"}


def test_nothing_is_imported_to_find_a_closure() -> None:
    code = (
        "import sys; from lcrbench.bench.records import source\n"
        f"found = source.closure({[LOOP, *IRNET, KAPPA]!r})\n"
        "assert len(found.modules) > 15, found\n"
        "print(*(m for m in ('torch', 'lcrbench.models.network', 'pandas') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    "text",
    [
        "x = 1  # a comment\n",
        '"""A docstring."""\n\nx = 1\n',
        "\n\nx = (\n    1\n)\n",
    ],
)
def test_comments_docstrings_and_layout_change_no_hash(here: Path, text: str) -> None:
    write(here, {"mine.py": "x = 1\n"})
    before = source.closure(["mine"])
    (here / "mine.py").write_text(text)
    fresh()
    assert source.changed(before) == []
    (here / "mine.py").write_text("x = 2\n")
    fresh()
    assert source.changed(before) == ["mine"]


def test_a_plug_ins_data_files_count(here: Path) -> None:
    write(here, {"pkg/__init__.py": "", "pkg/method.py": "", "alone.py": ""})
    for name in ("pkg/table.json", "pkg/kernel.cpython-311.so", "alone_table.npz", "unrelated.csv"):
        (here / name).write_text("1")
    before = source.closure(["pkg.method", "alone"])
    (here / "unrelated.csv").write_text("2")
    fresh()
    assert source.changed(before) == []
    for name in ("pkg/table.json", "pkg/kernel.cpython-311.so", "alone_table.npz"):
        (here / name).write_text("2")
        fresh()
        assert source.changed(before) != [], name
        (here / name).write_text("1")


def test_a_root_that_is_gone_is_told(here: Path) -> None:
    write(here, {"gone.py": "x = 1\n"})
    before = source.closure(["gone"])
    (here / "gone.py").unlink()
    fresh()
    assert source.changed(before) == ["gone"]
    assert "gone changed since" in source.why_stale([before])


def test_versions_from_before_scopes_are_told_apart() -> None:
    known = next(iter(source.equal_bits()))
    assert source.why_stale((), (known,)) == ""
    assert "before scopes" in source.why_stale((), ("0" * 64,))


def test_engines_and_what_computes_no_number_lie_outside() -> None:
    found = source.closure(
        [LOOP, *IRNET, "lcrbench.bench.evaluation.inference", "lcrbench.bench.evaluation.cells", KAPPA]
    )
    for outside in ("lcrbench.corruptions", "lcrbench.errors", "lcrbench.registry", "lcrbench.bench.records.store"):
        assert not [m for m in found.modules if m == outside or m.startswith(outside + ".")], outside
    for inside in ("lcrbench.bench.data.arrays", "lcrbench.models.binary", "lcrbench.models.estimators.ede"):
        assert inside in found.modules


# ----------------------------------------------------------------------------------- one file of each scope is changed

SCOPES = {
    "training": (LOOP, "lcrbench.bench.training.optimizers.sgd", *IRNET),
    "other training": (LOOP, "lcrbench.models.network", "lcrbench.models.methods.bnn"),
    "prediction": ("lcrbench.bench.evaluation.inference", *IRNET),
    "search": ("lcrbench.bench.evaluation.inference", *IRNET, KAPPA),
    "accuracy": ("lcrbench.bench.evaluation.inference", *IRNET, "lcrbench.bench.metrics.accuracy"),
}
MUTATED = {
    "bench/training/loop.py": {"training", "other training"},
    "bench/training/optimizers/sgd.py": {"training"},
    "bench/data/arrays.py": {"training", "other training", "search", "accuracy"},
    "models/methods/irnet.py": {"training", "prediction", "search", "accuracy"},
    "models/estimators/ede.py": {"training", "prediction", "search", "accuracy"},
    "models/binary.py": {*SCOPES},
    "models/methods/bnn.py": {"other training"},
    "bench/evaluation/inference.py": {"prediction", "search", "accuracy"},
    "bench/metrics/accuracy.py": {"accuracy"},
    "bench/metrics/lipschitz_kappa.py": {"search"},
    "bench/lipschitz/climb.py": {"search"},
    # Nothing that these change is a number that was kept.
    "models/methods/rbnn.py": set(),
    "bench/metrics/lipschitz_norms.py": set(),
    "bench/records/store.py": set(),
    "bench/data/loading.py": set(),
    "bench/cli/run.py": set(),
    "corruptions/engine.py": set(),
    "reports/report.py": set(),
}


def test_one_changed_file_makes_exactly_its_scopes_stale(tmp_path: Path) -> None:
    """In a copy of the source, with a process for each change: a changed file of the running one proves nothing."""
    package = tmp_path / "site" / "lcrbench"
    for folder, place in (("bench/_root", ""), *((f, f) for f in ("bench", "models", "corruptions", "reports"))):
        shutil.copytree(
            ROOT / folder, package / place, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    code = textwrap.dedent(
        f"""
        import json, sys
        sys.path.insert(0, {str(package.parent)!r})
        from pathlib import Path
        import lcrbench
        assert Path(lcrbench.__file__).is_relative_to({str(package)!r})
        from lcrbench.bench.records import source
        scopes = {SCOPES!r}
        before = {{name: source.closure(roots) for name, roots in scopes.items()}}
        for path, _ in {list(MUTATED.items())!r}:
            file = Path({str(package)!r}, path)
            kept = file.read_text()
            file.write_text(kept + "\\nADDED = 1\\n")
            for cached in (source._file, source._tree, source._hash, source._imports, source._closure, source._known):
                cached.cache_clear()
            print(json.dumps([path, sorted(n for n, s in before.items() if source.changed(s))]))
            file.write_text(kept)
        """
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    found = dict(json.loads(line) for line in done.stdout.splitlines())
    assert {path: set(names) for path, names in found.items()} == MUTATED
