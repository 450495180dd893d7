"""`lcrbench new`, `conform`, `run --plan`: each template keeps its kind's contract, and what is faulty is told in a line."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from lcrbench import registry
from lcrbench.bench.cli import _plugins as plugins
from lcrbench.corruptions import registered

from .test_cli import call

PATH = f"{plugins.FOLDER}.my_own"


def forget(*packages: str) -> None:
    registered.find.cache_clear()
    for name in [n for n in sys.modules if n.partition(".")[0] in packages]:
        del sys.modules[name]


@pytest.fixture(autouse=True)
def reports() -> None:
    """Draw figures, because what one raises shows when it is drawn."""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    forget(plugins.FOLDER, "my_pkg")


def file_of(kind: str) -> Path:
    return Path(plugins.FOLDER, f"my_own{registry.SUFFIX.get(kind, '.py')}")


def named(kind: str) -> str:
    return str(file_of(kind)) if kind in registry.SUFFIX else PATH


PLAN = {
    "method": f"--methods {PATH}",
    "regularizer": f"--methods irnet+{PATH}",
    "backbone": f"--backbone {PATH}",
    "metric": f'--set metrics."{PATH}"={{}}',
    "corruption": f"--corruptions {PATH}",
    "source": f"--data {PATH}",
    "transform": f"--set recipe.augmentation={PATH}",
    "optimizer": f"--set recipe.optimizer={PATH}",
    "schedule": f"--set recipe.schedule={PATH}",
    "executor": f"--on {PATH}",
}
"""How `lcrbench run` is told of an entry."""


def words_of(kind: str) -> list[str]:
    if kind == "preset":
        return ["run", named(kind), "--plan"]
    return ["run", "quick", "--plan", "--seeds", "0", "--test", "50", "--images", "200", *PLAN[kind].split()]


@pytest.mark.parametrize("kind", registry.PACKAGES)
def test_each_template_conforms_as_it_is_written(capsys, monkeypatch, kind: str) -> None:
    code, out, err = call(capsys, monkeypatch, "new", kind, "my_own")
    assert code == 0, err
    module, test, check = out.splitlines()
    assert Path(module).is_file()
    assert "$" not in Path(module).read_text().replace("${", "")
    compile(Path(test).read_text(), test, "exec")
    forget(plugins.FOLDER)
    keeps = f"a{'n' * (kind[0] in 'aeiou')} {kind} that keeps its contract"
    code, out, err = call(capsys, monkeypatch, *check.removeprefix("check it: lcrbench ").split())
    assert (code, out) == (0, f"{check.split()[-1]} is {keeps}\n"), out + err
    # Without the kind, and by the file.
    code, out, err = call(capsys, monkeypatch, "conform", module)
    assert (code, out) == (0, f"{module} is {keeps}\n"), out + err
    if kind in PLAN or kind == "preset":
        code, out, err = call(capsys, monkeypatch, *words_of(kind))
        assert code == 0, err
        assert "train; evaluate" in out
        (cost,) = err.splitlines()
        assert " to do: " in cost
    assert sorted(p.name for p in Path().iterdir()) == [plugins.FOLDER]


HOOK = "    # Optional: `on_progress"
SIGNS = "return self.estimator(weight), weight.abs().mean((1, 2, 3))"
SIGN = "return sign(x)\n\n    @staticmethod"
FAULTS = [
    ("loader", "def load_network(", "def load(", "load_network"),
    ("method", "class Method(", "class Methods(", "defines no class 'Method'"),
    ("method", "    def activation(", "    def _activation(", "lacks activation"),
    ("method", HOOK, f"    def on_progres(self, network, t):\n        pass\n\n{HOOK}", "did you mean 'on_progress'"),
    ("method", "    def forward(self, w", "    def offsets(self, w):\n        return None\n\n    def forward(self, w",
     "the class 'Binarizer': it defines offsets, which nothing reads: is offset meant?"),
    ("method", SIGNS, "return self.estimator(weight).float(), None", "under float64 the signs of weights"),
    ("method", SIGNS, "return self.estimator(weight) * (2 if self.training else 1), None", "in training than in evaluation"),
    ("method", SIGNS, "return 0.5 * self.estimator(weight), None", "weights of 2 values (-0.5, 0.5"),
    ("method", SIGNS, "return weight.sign() * (weight.abs() > 0.01) + 0 * self.estimator(weight), None", "of 3 values"),
    ("method", "slope: float = 0.25", "slope: float = None", "has no default of bool, int"),
    ("method", "return nn.LeakyReLU(self.slope)", "return nn.LeakyReLU(1 / 0)", "ZeroDivisionError"),
    ("regularizer", "class Regularizer(", "class Regularizers(", "defines no class 'Regularizer'"),
    ("regularizer", "    def attach(", "    def attatch(", "lacks attach"),
    ("regularizer", "    weight: float = 1e-3", "    weight: float = 1e-3\n    teachr = 'bnn'", "did you mean 'teacher'"),
    ("regularizer", "if self.weight > 0 else None", "if True else None", "with weight 0 its loss is a tensor"),
    ("regularizer", "float(self.value.detach())", "self.value", "its figures are not all finite numbers"),
    ("backbone", "def build(", "def builds(", "defines no function 'build'"),
    ("backbone", "    def stages(", "    def stage(", "it defines stage, which nothing reads: is stages meant?"),
    ("backbone", "self.head(self.blocks(self.stem(x)))", "self.head(self.blocks(self.stem(x)).float())", "RuntimeError"),
    ("backbone", "self.head(self.blocks(self.stem(x)))", "self.head(self.blocks(self.stem(x - x.mean(0))))",
     "depend on its batch"),
    ("backbone", "method.conv(channels, out, 3, 1, 1)", "nn.Conv2d(channels, out, 3, 1, 1)", "no binary convolution"),
    ("estimator", "class Estimator(", "class Estimators(", "defines no class 'Estimator'"),
    ("estimator", "    def forward(self", "    def set_progres(self, p):\n        pass\n\n    def forward(self",
     "is set_progress meant?"),
    ("estimator", SIGN, SIGN.replace("sign(x)", "sign(x).float()", 1), "it maps torch.float64"),
    ("estimator", SIGN, SIGN.replace("sign(x)", "torch.sign(x)", 1), "not to signs with sign(0) = +1"),
    ("estimator", "width: float = 1.0", "width: float", "which width has not"),
    ("metric", "def measure(", "def measures(", "defines no function 'measure'"),
    ("metric", 'NEEDS = frozenset({Need.LOGITS})', 'NEEDS = {Need.LOGITS}', "NEEDS is a frozenset"),
    ("metric", 'NEEDS = ', 'COSTS = 3\nNEEDS = ', "it defines COSTS, which nothing reads: is COST meant?"),
    ("metric", "margin: float = 1.0", "margin: float", "the option 'margin' has no default"),
    ("metric", '.of("my_own", ', '.of("my_won", ', "a measurement of 'my_won', not of 'my_own'"),
    ("metric", "wrong = logits", "wrong = 1 / 0 * logits", "measure raises ZeroDivisionError"),
    ("corruption", "def apply(", "def applied(", "must define either apply"),
    ("corruption", "    return np.stack", "    return 1.0 * np.stack", "returned float64"),
    ("corruption", "    return np.stack", "    return image[1:]\n    return np.stack", "returned uint8 (31, 32, 3)"),
    ("corruption", "random.uniform", "np.random.uniform", "other images the second time"),
    ("corruption", "CONSTANTS = ", "CONSTANT = ", "is CONSTANTS meant?"),
    ("corruption", "(1, 2, 3, 4, 6)", "(1, 2, 3)", "has 3 CONSTANTS: it must have 5"),
    ("corruption", 'GROUP = "other"', 'GROUP = "noise"', "which is one of ours: choose another"),
    ("corruption", "most = CONSTANTS[severity - 1]", "most = CONSTANTS[severity]", "IndexError"),
    ("source", "def load(", "def loads(", "defines no function 'load'"),
    ("source", "NAMES = (\"my_own\",)", "NAMES = \"my_own\"", "NAMES is a tuple"),
    ("source", "default_rng(seed)", "default_rng()", "loads other images the second time"),
    ("source", "dtype=np.int64", "dtype=np.int32", "labels must be (400,) of int64"),
    ("source", "NAMES = ", "def detect(path):\n    return True\n\nNAMES = ", "detect returns True for an empty folder"),
    ("source", "NAMES = ", "def detects(path):\n    return False\n\nNAMES = ", "is detect meant?"),
    ("transform", "class Transform(", "class Transforms(", "defines no class 'Transform'"),
    ("transform", "    def draw(", "    def draws(", "lacks draw"),
    ("transform", "return out", "return out.float()", "of torch.float32"),
    ("transform", "out = images.clone()", "out = images", "apply changes the given images"),
    ("transform", "return rng.integers(0, 4, size=(n, 1))", "return rng.random((n, 1))", "no int64 array"),
    ("transform", "return out", "return out + images.float().mean().byte()", "depends on the other images"),
    ("optimizer", "class Optimizer(", "class Optimizers(", "defines no class 'Optimizer'"),
    ("optimizer", "    def make(", "    def makes(", "lacks make"),
    ("optimizer", "torch.optim.SGD(groups", "torch.optim.SGD([g for g in groups[:1]]", "do not hold each given parameter"),
    ("optimizer", "return torch.optim.SGD", "return list or torch.optim.SGD", "make returns type"),
    ("schedule", "class Schedule(", "class Schedules(", "defines no class 'Schedule'"),
    ("schedule", "    def factor(", "    def factors(", "lacks factor"),
    ("schedule", "return float((1", "return float((2", "not a float in [0, 1]"),
    ("table", "def table(", "def tables(", "it has no function `table(context)`"),
    ("table", "SECTION, ORDER", "SECTION, ORDERS", "is ORDER meant?"),
    ("table", 'Table("my_own"', 'Table("other"', "does not begin with 'my_own'"),
    ("figure", "def figure(", "def figures(", "it has no function `figure(context)`"),
    ("figure", 'Picture("my_own"', 'Picture("other"', "its picture is called 'other'"),
    ("figure", "ax.set_xlabel", "ax.set_xlabels", "it raises AttributeError"),
    ("executor", "def make(", "def makes(", "defines no function 'make'"),
    ("executor", "workers: int | None, ", "", "make is a function of (workers, address)"),
    ("executor", "def cancel(", "def cancels(", "has no method 'cancel'"),
    ("executor", "return [Resources(cores=1)]", "return [1]", "capacity returns [1]"),
    ("executor", "outcome=outcome)", "outcome=outcome)\n            yield Told(cell, 'lost')", "more than once"),
    ("executor", "told.append)", "lambda event: None)", 'never tells "progress"'),
    ("preset", "seeds = ", "sedes = ", "did you mean 'seeds'"),
    ("preset", '"irnet+lcr"', '"irnet+lrc"', "did you mean 'lcr'"),
    ("preset", "[metrics.accuracy]", "[metrics.acuracy]", "did you mean 'accuracy'"),
    ("preset", "[data]", "[data", "is not valid TOML"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "old", "new", "says"), FAULTS)
def test_a_faulty_entry_is_told_in_lines_and_the_plan_refuses_it(
    capsys, monkeypatch, kind: str, old: str, new: str, says: str
) -> None:
    call(capsys, monkeypatch, "new", kind, "my_own")
    file = file_of(kind)
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    forget(plugins.FOLDER)
    code, out, err = call(capsys, monkeypatch, "conform", kind, named(kind))
    assert (code, err) == (2, ""), out
    assert all(line.startswith(f"{named(kind)}: ") for line in out.splitlines())
    assert any(says in line for line in out.splitlines()), out
    if kind in PLAN or kind == "preset":
        code, out, err = call(capsys, monkeypatch, *words_of(kind))
        assert (code, out, err.count("\n")) == (2, "", 1), out + err
        assert err.startswith("lcrbench: ")
        assert says in err or "the first of" in err, err
    assert sorted(p.name for p in Path().iterdir()) == [plugins.FOLDER], "nothing is trained or stored"


def test_every_kind_has_faults() -> None:
    assert {kind for kind, *_ in FAULTS} == {*registry.PACKAGES}


def test_a_run_that_a_plug_in_breaks_while_it_is_planned_gives_one_line(capsys, monkeypatch) -> None:
    """Without --plan the suite is not made, and code from outside may raise anything."""
    call(capsys, monkeypatch, "new", "metric", "my_own")
    file = file_of("metric")
    file.write_text(file.read_text().replace("@dataclass(frozen=True)\n", ""))
    forget(plugins.FOLDER)
    code, out, err = call(capsys, monkeypatch, *(w for w in words_of("metric") if w != "--plan"), "--store", "s")
    assert (code, out, err.count("\n")) == (2, "", 1), out + err
    assert f"raised by the metric '{PATH}': check with `lcrbench conform`" in err
    assert not Path("s").exists()


@pytest.mark.parametrize("code", ["import nothing_of_this_name", "1 / 0", "def f(:", "raise SystemExit"])
@pytest.mark.parametrize("words", ["conform", "conform method", "run --plan --methods"])
def test_a_module_that_does_not_import_gives_no_traceback(capsys, monkeypatch, code: str, words: str) -> None:
    Path("my_pkg").mkdir()
    Path("my_pkg", "broken.py").write_text(code)
    status, out, err = call(capsys, monkeypatch, *words.split(), "my_pkg.broken")
    assert status == 2
    assert (out + err).count("\n") == 1
    assert "my_pkg.broken" in out + err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("new methd x", "did you mean 'method'"),
        ("new method My-Method", "small letters"),
        ("new method irnet", "there is a method 'irnet' already"),
        ("new preset quick", "there is a preset 'quick' already"),
        ("conform methd my_pkg.x", "did you mean 'method'"),
        ("conform method a b", "unexpected 'b'"),
        ("conform my_pkg.nothing", "cannot be imported: ModuleNotFoundError"),
        ("conform nowhere/x.py", "there is no file 'nowhere/x.py'"),
        ("conform bare.py", "put it into a folder"),
        ("conform irnte", "there is no entry of that name"),
        ("conform lipschitz", "there is a table and a figure of that name"),
        ("conform json.decoder", "of no known kind"),
        ("run --plan --on locl", "did you mean 'local'"),
        ("run --plan --set a=b=c", "unknown field 'a'"),
        ("run --plan --set a..b=1", "'a..b' is no field"),
    ],
)
def test_mistakes(capsys, monkeypatch, words: str, says: str) -> None:
    Path("bare.py").write_text("")
    code, out, err = call(capsys, monkeypatch, *words.split())
    assert code == 2
    assert says in err
    assert err.count("\n") == 1
    assert out == ""


def test_a_file_is_never_replaced(capsys, monkeypatch) -> None:
    assert call(capsys, monkeypatch, "new", "metric", "my_pkg.mine")[0] == 0
    Path("my_pkg", "mine.py").write_text("# my own work")
    code, _, err = call(capsys, monkeypatch, "new", "metric", "my_pkg.mine")
    assert code == 2
    assert "exists already" in err
    assert Path("my_pkg", "mine.py").read_text() == "# my own work"


@pytest.mark.parametrize(("name", "kind"), [("irnet", "method"), ("crop-flip", "transform"), ("quick", "preset")])
def test_our_own_are_checked_by_name(capsys, monkeypatch, name: str, kind: str) -> None:
    assert call(capsys, monkeypatch, "conform", name)[1] == f"{name} is a {kind} that keeps its contract\n"


@pytest.mark.parametrize("kind", registry.PACKAGES)
def test_lists_hold_every_entry_with_a_line_about_it(capsys, monkeypatch, kind: str) -> None:
    code, out, _ = call(capsys, monkeypatch, "list", f"{kind}s")
    assert code == 0
    listed = {line.split()[0]: line.partition(" ")[2].strip() for line in out.splitlines()}
    assert {*listed} == {registry.public(kind, name) for name in registry.names(kind)}
    assert all(listed.values())
    for command in ("list", "new"):
        assert re.search(rf"\b{kind}\b", call(capsys, monkeypatch, command, "--help")[1]), f"{command} --help"


def test_show_draws_an_estimator_and_takes_public_names(capsys, monkeypatch) -> None:
    code, out, err = call(capsys, monkeypatch, "show", "estimator", "clip")
    assert code == 0, err
    assert "estimator clip: pseudo-gradient" in out
    assert "*" in out
    assert "crop" in call(capsys, monkeypatch, "show", "transform", "crop-flip")[1]
    assert "crop-flip, cutout, none" in call(capsys, monkeypatch, "show", "transform", "flip-crop")[2]
    assert call(capsys, monkeypatch, "show", "preset", "quick")[1].startswith("#")
