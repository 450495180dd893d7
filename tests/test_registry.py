"""Where entries of every kind are found: our own packages, installed entry points, import paths."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lcrbench import registry
from lcrbench.errors import FEW, MOST, UserError, unknown

KINDS = [*registry.PACKAGES]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Install a package with the given entry points, as pip does: modules on the path, and their metadata."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(package: str, points: str, files: dict[str, str]) -> None:
        for name, text in {"__init__.py": "", **files}.items():
            (tmp_path / package).mkdir(exist_ok=True)
            (tmp_path / package / name).write_text(text)
        meta = tmp_path / f"{package}-1.0.dist-info"
        meta.mkdir()
        (meta / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (meta / "entry_points.txt").write_text(points)

    return install


@pytest.mark.parametrize("kind", KINDS)
def test_our_own_entries_are_files(kind: str) -> None:
    """Also for a kind that has none yet."""
    for name, path in registry.files(kind).items():
        assert registry.file(kind, name) == path
        assert path.is_file()
        assert registry.summary(kind, name)
        if kind not in registry.SUFFIX:
            module = registry.load(kind, name)
            assert Path(module.__file__) == path
            assert all(hasattr(module, needed) for needed in registry.NEEDS.get(kind, ()))


def test_listing_imports_nothing_heavy() -> None:
    code = "from lcrbench import registry\nimport sys\nfor k in registry.PACKAGES:\n"
    code += " for n in registry.names(k): registry.summary(k, n); registry.file(k, n)\n"
    code += "sys.exit(' '.join({'torch', 'numpy', 'matplotlib', 'pandas'} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in registry.SUFFIX])
def test_an_entry_point_is_found_by_its_name(kind: str, installed) -> None:
    package = f"brought_{kind}"
    needs = "\n".join(f"{n} = object" for n in registry.NEEDS.get(kind, ()))
    installed(package, f"[lcrbench.{kind}]\nmine_{kind} = {package}.own\n", {"own.py": f'"""Words."""\n{needs}\n'})
    name = f"mine_{kind}"
    assert name in registry.names(kind)
    assert name not in registry.files(kind)
    assert registry.summary(kind, name) == f"(from {package})"
    assert f"{package}.own" not in sys.modules
    assert registry.docstring(kind, name) == "Words."
    assert registry.file(kind, name).name == "own.py"
    assert f"{package}.own" not in sys.modules, "found without importing it"
    assert registry.load(kind, name).__name__ == f"{package}.own"
    assert registry.load(kind, f"{package}.own") is registry.load(kind, name)


def test_a_preset_from_outside(installed) -> None:
    installed("brought", "[lcrbench.preset]\nlong = brought.long\n", {"long.toml": "# Many runs.\nmethods = []\n"})
    assert "long" in registry.names("preset")
    for name in ("long", "brought.long"):
        assert registry.file("preset", name).read_text().startswith("# Many runs.")
        assert registry.docstring("preset", name) == "Many runs."


def test_two_packages_with_one_name_are_told(installed) -> None:
    for package in ("first_pack", "second_pack"):
        installed(package, f"[lcrbench.method]\ncommon = {package}.own\n", {"own.py": ""})
    with pytest.raises(
        UserError, match=r"several installed packages bring the method 'common': first_pack\.own, second"
    ):
        registry.load("method", "common")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("irnett", "did you mean 'irnet'"),
        ("no_such.module", "no method at the import path 'no_such.module': No module named 'no_such'"),
        ("../bnn", "unknown method"),
        ("a..b", "unknown method"),
        ("lcrbench.errors", "the method 'lcrbench.errors' defines no class 'Method'"),
        ("lcrbench.no_such", "no method at the import path"),
    ],
)
@pytest.mark.parametrize("find", [registry.load, registry.file])
def test_what_is_not_there(find, name: str, says: str) -> None:
    if find is registry.file and "defines" in says:
        assert find("method", name).name == "errors.py"
        return
    with pytest.raises(UserError, match=says) as error:
        find("method", name)
    assert "\n" not in str(error.value)


def test_an_entry_point_names_a_module(installed) -> None:
    installed("attributes", "[lcrbench.method]\nodd = attributes.own:Method\n", {"own.py": "Method = 1"})
    with pytest.raises(UserError, match="must name a module"):
        registry.load("method", "odd")


def test_an_unknown_kind() -> None:
    with pytest.raises(UserError, match="did you mean 'method'"):
        registry.names("methods")


@pytest.mark.parametrize("name", ["crop-flip", "crop_flip"])
def test_a_dash_stands_for_an_underscore_where_recipes_have_dashes(name: str) -> None:
    assert registry.load("transform", name).__name__.endswith(".crop_flip")
    assert registry.file("transform", name).name == "crop_flip.py"
    assert registry.module_name("transform", name).endswith(".crop_flip")
    assert registry.summary("transform", name) == registry.docstring("transform", name).partition("\n")[0] != ""
    assert not registry.is_outside("transform", name)
    with pytest.raises(UserError, match="did you mean 'full_precision'"):
        registry.load("method", "full-precision")


def test_a_name_with_a_dash_of_somebody_elses_is_found(installed) -> None:
    installed("dashed", "[lcrbench.transform]\nquarter-turns = dashed.own\n", {"own.py": '"""Words."""\n'})
    assert registry.load("transform", "quarter-turns").__name__ == "dashed.own"
    assert registry.is_outside("transform", "quarter-turns")


def test_what_is_outside() -> None:
    assert registry.is_outside("method", "my_pkg.my_method")
    assert not registry.is_outside("method", "irnet")
    assert not registry.is_outside("method", "no_such_method")


@pytest.mark.parametrize(("name", "near"), [("part_0777", "part_777"), ("zzz", "part_0,")])
def test_of_many_names_the_nearest_are_listed(name: str, near: str) -> None:
    """A list of a thousand names is no line that anybody reads."""
    message = str(unknown("part", name, [f"part_{k}" for k in range(1000)]))
    assert "there are 1,000, such as" in message.lower()
    assert near in message
    assert message.count(", ") == FEW
    assert str(unknown("part", name, [f"part_{k}" for k in range(MOST)])).count(", ") == MOST - 1
