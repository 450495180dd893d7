"""A network from outside gets what a trained run gets: by Python and by shell alike, kept, reported, nothing repeated."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from torch import nn

import lcrbench
from lcrbench.bench import cli, data
from lcrbench.bench.evaluation import inference
from lcrbench.bench.networks import name
from lcrbench.bench.networks.foreign import Declared, opened, ready
from lcrbench.bench.networks.loaders import pt2
from lcrbench.bench.networks.weights import load_into, read
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError
from tests.bench.helpers import SMALL, Here, jobs
from tests.bench.test_test_sets import cifar_c as write_cifar_c
from tests.faults.test_fuzz import within

MAKE = """
import torch
from torch import nn
def make(classes=10, size=16):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * size * size, classes))
"""
METRICS = "accuracy corruption_error"
SHOWN: dict[str, Any] = {"size": 16, "test": 200, "corruptions": "fog", "severities": (2,), "metrics": METRICS}
WORDS = ["--size", "16", "--test", "200", "--corruptions", "fog", "--severities", "2", "--metrics", METRICS, "--quiet"]


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    """A linear network, fitted to the training images by least squares in a second."""
    found = data.load(size=16)
    x = torch.from_numpy(found.train.images.copy()).permute(0, 3, 1, 2).flatten(1)[:, :256].double() / 255
    x = torch.cat([x, torch.ones(len(x), 1)], 1)
    y = nn.functional.one_hot(torch.from_numpy(found.train.labels.copy())).double()
    w = torch.linalg.solve(x.T @ x + 10 * torch.eye(257), x.T @ y)
    network = nn.Sequential(nn.Flatten(), nn.Linear(768, 10))
    with torch.no_grad():
        network[1].weight.zero_()
        network[1].weight[:, :256] = w[:256].T.float() * 5
        network[1].bias.copy_(w[256].float() * 5)
    return network.eval()


@pytest.fixture
def file(tmp_path: Path, trained: nn.Module, monkeypatch: pytest.MonkeyPatch) -> str:
    """The network as a file of code and one of weights; the current folder is the tests' own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(MAKE)
    save_file({f"module.{k}": v.contiguous() for k, v in trained.state_dict().items()}, tmp_path / "w.safetensors")
    return "net.py:make?classes=10@w.safetensors"


def call(*words: str) -> Any:
    return CliRunner().invoke(cli.app, words, catch_exceptions=False)


def test_python_and_shell_find_the_same(file: str, trained: nn.Module, tmp_path: Path) -> None:
    alone = lcrbench.evaluate(trained, **SHOWN)
    named = lcrbench.evaluate(file, store=tmp_path / "python", **SHOWN)
    said = call("evaluate", file, "--store", "shell", *WORDS)
    kept = Store(tmp_path / "shell")
    (run,) = kept.ids()
    assert run in said.output
    assert alone.table().equals(named.table())
    shell = kept.table()
    assert list(shell.value) == list(named.table().value)
    clean = alone.table().query("metric == 'accuracy' and corruption == ''").value.iloc[0]
    assert clean > 0.6
    assert Store(tmp_path / "python").ids() == [run]
    record = kept.record(run)
    assert record.external is not None
    assert record.external.model == "net.py:make?classes=10@w.safetensors"
    assert str(tmp_path) not in record.model_dump_json()
    assert kept.outcomes(run)[next(iter(kept.outcomes(run)))].shape == (200,)


def test_several_networks_and_a_benchmarks_own_files(file: str, trained: nn.Module, tmp_path: Path) -> None:
    """One command: two networks, the files of a benchmark, and a report on both. Python finds the same."""
    clean = data.load(size=16)
    write_cifar_c(tmp_path / "mine", clean)
    torch.save(trained.state_dict(), "other.pt")
    other = "net.py:make?size=16@other.pt"
    words = [
        "--size",
        "16",
        "--test-set",
        "mine-c=mine",
        "--metrics",
        METRICS,
        "--store",
        "s",
        "--out",
        "out",
        "--quiet",
    ]
    said = call("evaluate", file, other, *words)
    kept = Store("s")
    assert len(kept.ids()) == 2
    assert all(run in said.output for run in kept.ids())
    assert Path("out/index.html").read_text(encoding="utf-8").count("foreign:make") >= 2
    found = lcrbench.evaluate(trained, size=16, test_set="mine-c=mine", metrics=METRICS, checks=False)
    (run, _) = kept.ids()
    one = kept.table()
    assert list(found.table().value) == list(one[one.run_id == run].value)
    assert set(found.table().corruption) >= {"fog", "frost"}
    with pytest.raises(UserError, match="two evaluations"):
        lcrbench.evaluate(trained, size=16, test_set="mine-c=mine", corruptions="fog")
    with pytest.raises(UserError, match="is a run"):
        lcrbench.evaluate(f"run:{run}", store="s", test_set="mine-c=mine")


def test_nothing_is_shown_again_and_other_answers_are_told(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lcrbench.evaluate(file, store="s", **SHOWN)
    passes: list[int] = []
    logits = inference.logits
    counted = lambda network, images, *rest: passes.append(len(images)) or logits(network, images, *rest)  # noqa: E731
    for place in ("evaluation.inference", "evaluation.subject", "evaluation.on_request", "networks.checks"):
        monkeypatch.setattr(f"lcrbench.bench.{place}.logits", counted)
    again = lcrbench.evaluate(file, store="s", **SHOWN)
    assert passes == [100], "one block is looked at again, to see that the answers are the same"
    assert len(again.evaluation.batches) == 1
    more = lcrbench.evaluate(file, store="s", **{**SHOWN, "severities": (2, 3)})
    assert len(more.evaluation.batches) == 2
    # The same weights, and a function that gives other answers.
    net = Path("net.py")
    net.write_text(
        MAKE.replace("nn.Flatten(), ", "Flipped(), nn.Flatten(), ") + "\nclass Flipped(nn.Module):\n"
        "    def forward(self, x):\n        return x.flip(3)\n"
    )
    other = lcrbench.evaluate("net.py:make?size=16@w2.pt", store="s", **SHOWN) if _renamed() else None
    assert other is not None
    assert other.evaluation.evaluation_id != again.evaluation.evaluation_id, "a file of code is part of the identity"


def _renamed() -> bool:
    from safetensors.torch import load_file

    state = {k.removeprefix("module.").replace("1.", "2."): v for k, v in load_file("w.safetensors").items()}
    torch.save({"state_dict": state}, "w2.pt")
    return True


def test_other_answers_of_the_same_weights_are_refused(trained: nn.Module, tmp_path: Path) -> None:
    class Maybe(nn.Module):
        def __init__(self, turned: bool) -> None:
            super().__init__()
            self.inner, self.turned = trained, turned

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.as_tensor(self.inner(x.flip(2) if self.turned else x))

    first = lcrbench.evaluate(Maybe(False), store=tmp_path / "s", **SHOWN)
    with pytest.raises(UserError, match=r"other answers of the network with these weights.*stale='redo'"):
        lcrbench.evaluate(Maybe(True), store=tmp_path / "s", **SHOWN)
    redone = lcrbench.evaluate(Maybe(True), store=tmp_path / "s", stale="redo", **SHOWN)
    assert list(redone.table().value) != list(first.table().value)


def test_functions_of_torch_and_numpy_are_networks_and_say_what_they_lack(trained: nn.Module, tmp_path: Path) -> None:
    w, b = (t.detach().numpy() for t in trained[1].parameters())

    def by_numpy(x: np.ndarray) -> np.ndarray:
        assert x.dtype == np.float32
        return x.reshape(len(x), -1) @ w.T + b

    plain = lcrbench.evaluate(trained, **{**SHOWN, "metrics": "accuracy"})
    asked: dict[str, Any] = {**SHOWN, "metrics": "accuracy", "store": tmp_path / "s"}
    found = lcrbench.evaluate(by_numpy, takes="numpy", **asked)
    assert list(found.table().value) == list(plain.table().value)
    assert list(lcrbench.evaluate(lambda x: trained(x), **asked).table().value) == list(plain.table().value)
    how: dict[str, Any] = {**SHOWN, "metrics": {"lipschitz_norms": {}, "lipschitz_gradients": {}}}
    left = lcrbench.evaluate(by_numpy, takes="numpy", **how).left_out
    assert set(left) == {"lipschitz_norms", "lipschitz_gradients"}
    assert all(why.startswith("not applicable: the subject gives no ") for why in left.values())
    assert "(a function of numpy's arrays gives outputs alone)" in left["lipschitz_norms"]


def test_a_wrong_preparation_is_warned_of(file: str) -> None:
    with pytest.warns(UserWarning, match="another preparation fits better: no normalization") as told:
        found = lcrbench.evaluate(file, preprocess={"mean": (0.5,) * 3, "std": (50.0,) * 3}, **SHOWN)
    assert not all(f.good for f in found.checks)
    assert {Path(warned.filename) for warned in told} == {Path(__file__)}, "a warning names the caller's line"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lcrbench.evaluate(file, preprocess={"mean": (0.5,) * 3, "std": (50.0,) * 3}, checks=False, **SHOWN)
    words = ["--model", file, "--size", "16", "--mean", "0.5", "--std", "50"]
    said = CliRunner().invoke(cli.app, ["doctor", *words])
    assert isinstance(said.exception, UserError)
    assert "BAD  another preparation fits better: no normalization" in said.output
    assert call("doctor", "--model", file, "--size", "16").exit_code == 0


def test_a_preparation_is_part_of_what_a_network_is(trained: nn.Module) -> None:
    images = data.load(size=16)

    def of(**preprocess: Any) -> Any:
        made = ready(opened(trained, Declared(preprocess=preprocess)), images)
        assert made.looked.subject.external is not None
        return made.looked.subject.external

    assert of().facts == {"weights_sha256": of().weights_sha256}
    assert of(mean=(0.5, 0.5, 0.5)).facts != of().facts
    assert of(origin="somebody").facts == of().facts
    with pytest.raises(UserError, match=r"preprocess: .*std must be above 0"):
        of(std=(0.0, 1.0, 1.0))
    with pytest.raises(UserError, match="preprocess: channels: "):
        of(channels="RBG")


def test_a_report_shows_networks_from_outside_beside_trained_ones_and_ranks_none(
    file: str, here: Here, tmp_path: Path
) -> None:
    (job,) = jobs(tmp_path / "s", SMALL)
    here.work(job)
    asked = {**SHOWN, "store": "s", "test": 50, "severities": (1,), "block": 25, "checks": False}
    lcrbench.evaluate(file, **asked)
    lcrbench.evaluate(file, order="shifted-up", **asked)
    compared = compared_in(tmp_path / "s")
    (setting,) = compared.settings
    assert [r.label for r in setting.ranked] == ["bnn"]
    assert [r.foreign for r in setting.rows] == [False, True, True]
    assert all(r.label.startswith("foreign:make@") for r in setting.rows[1:])
    assert len({r.label for r in setting.rows}) == 3, "two of one name are told apart"
    assert "elsewhere" in setting.rows[1].aside
    page = lcrbench.report(tmp_path / "s").read_text(encoding="utf-8")
    assert "foreign:make" in page
    assert "Identical budgets" not in page


def compared_in(root: Path) -> Any:
    from lcrbench.reports import comparison

    return comparison.read(Store(root))


def test_a_report_of_networks_from_outside_alone(file: str, tmp_path: Path) -> None:
    found = lcrbench.evaluate(file, **SHOWN)
    page = found.report(tmp_path / "out")
    text = page.read_text(encoding="utf-8")
    assert "trained elsewhere" in text
    assert "identical budgets" not in text.lower().replace("no budgets are called identical", "")
    kept = lcrbench.evaluate(file, store="s", **SHOWN)
    assert kept.report(tmp_path / "other").is_file()
    assert json.loads(Store("s").record(Store("s").ids()[0]).model_dump_json())["spec"]["external"]["name"] == "make"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("net.py:nothing", "AttributeError"),
        ("nowhere.py:make", "no file 'nowhere.py'"),
        ("net.py:make?classes", "after [?] stand arguments"),
        ("net.py:make?size=16@w.safetensors&", "cannot read the weights"),
        (
            "net.py:make?size=8&classes=3@w.safetensors",
            r"2 of another shape: 1\.weight \(10, 768\) for \(3, 192\), 1\.bias",
        ),
        ("net.py:make@pickled.pt", "holds more than tensors"),
        ("net.py:make@empty.pt", "holds no weights by name"),
        ("net.py:make@more.pt", r"1 missing: 1\.bias; 1 unexpected: head"),
        ("torchvision:resnet81", "no network of torchvision 'resnet81'|resnet81"),
        ("onnx:nothing.onnx", "cannot read nothing.onnx|not installed: pip install 'lcrbench.onnx.'"),
        ("tflite:nothing.tflite", "cannot read nothing.tflite|not installed: pip install 'lcrbench.tflite.'"),
        ("pt2:net.py", "no file of torch.export"),
    ],
)
def test_mistakes_are_one_line(text: str, message: str, file: str) -> None:
    torch.save(nn.Linear(1, 1), "pickled.pt")
    torch.save({"epoch": 3}, "empty.pt")
    torch.save({"model": {"module.1.weight": torch.zeros(10, 768), "module.head": torch.zeros(1)}}, "more.pt")
    with pytest.raises(UserError, match=message) as error:
        lcrbench.evaluate(text, **SHOWN)
    assert "\n" not in str(error.value)


def test_weights_come_out_of_their_wrappers(trained: nn.Module, tmp_path: Path) -> None:
    state = trained.state_dict()
    for wrapped in (
        state,
        {"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3},
        {"model": {f"_orig_mod.module.{k}": v for k, v in state.items()}},
        {"last": {"model": {f"model.{k}": v for k, v in state.items()}}},
    ):
        torch.save(wrapped, tmp_path / "w.pt")
        network = nn.Sequential(nn.Flatten(), nn.Linear(768, 10))
        load_into(network, str(tmp_path / "w.pt"))
        assert torch.equal(network[1].weight, trained[1].weight)


def odd(kind: str) -> object:
    """What torch saves and loads under the names of weights, and no network can take."""
    weight: Any = {
        "sparse": lambda: torch.zeros(10, 768).to_sparse(),
        "meta": lambda: torch.zeros(10, 768, device="meta"),
        "quantized": lambda: torch.quantize_per_tensor(torch.zeros(10, 768), 1.0, 0, torch.qint8),
        "nested": lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
        "complex": lambda: torch.zeros(10, 768, dtype=torch.complex64),
    }[kind]()
    return {"1.weight": weight, "1.bias": torch.zeros(10)}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["sparse", "meta", "quantized", "nested", "complex"])
def test_weights_that_no_network_takes(tmp_path: Path, kind: str) -> None:
    torch.save(odd(kind), tmp_path / "w.pt")
    with pytest.raises(UserError, match=r"w\.pt.*(dense tensor|of complex)") as error:
        load_into(nn.Sequential(nn.Flatten(), nn.Linear(768, 10)), str(tmp_path / "w.pt"))
    assert "\n" not in str(error.value)


def packed_again(content: bytes, pickle: bytes) -> bytes:
    """A file of torch with more behind its description of the tensors, and compressed, as torch never writes it."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info) + (pickle if info.filename.endswith("data.pkl") else b""))
    return out.getvalue()


@pytest.mark.parametrize("which", ["a wrapper of itself", "zeros", "a long description"])
def test_weights_without_end(tmp_path: Path, which: str) -> None:
    """Reading them takes neither for ever, nor memory or seconds out of proportion to the file."""
    looped: dict[str, object] = {}
    looped["state_dict"] = looped
    out = io.BytesIO()
    torch.save(looped if which == "a wrapper of itself" else nn.Linear(2, 2).state_dict(), out)
    content = out.getvalue()
    if which != "a wrapper of itself":
        content = packed_again(content, bytes(400 << 20 if which == "zeros" else 5 << 20))
    (tmp_path / "w.pt").write_bytes(content)
    with within(5.0), pytest.raises(UserError, match=r"w\.pt (holds|unpacks)"):
        read(str(tmp_path / "w.pt"))


def test_what_torch_logs_of_a_file_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its tracebacks would stand above the one line that says what is wrong."""
    torch.save({}, tmp_path / "w.pt2")
    with pytest.raises(UserError, match=r"no file of torch\.export"):
        pt2.load_network(name.read(f"pt2:{tmp_path}/w.pt2"))
    assert not caplog.records


def test_names_are_read_as_they_are_typed() -> None:
    made = name.read("timm:local-dir:/somewhere/net?pretrained=true&num_classes=7")
    assert (made.scheme, made.what) == ("timm", "local-dir:/somewhere/net")
    assert made.arguments == {"pretrained": True, "num_classes": 7}
    assert made.text == "timm:net?pretrained=True&num_classes=7"
    assert name.read("pkg.nets:make").scheme == "factory"
    assert not name.is_name("run:3f2a")
    assert not name.is_name("3f2a")


def test_the_gate_compares_a_version_with_its_reference_image_by_image(file: str, trained: nn.Module) -> None:
    asked = {**SHOWN, "checks": False, "name": "mine"}
    lcrbench.evaluate(trained, store="old", **asked)
    said = call("reference", "update", "old", "--out", "r.json", "--reason", "first", "--margin", "2")
    assert "foreign:mine: 200 images, corruption_accuracy no worse by 2 points, by image" in said.output
    noise = torch.Generator().manual_seed(0)
    for store, by, code in (("same", 0.0, 0), ("near", 0.002, 0), ("worse", 5.0, 1)):
        changed = nn.Sequential(nn.Flatten(), nn.Linear(768, 10)).eval()
        changed.load_state_dict(trained.state_dict())
        with torch.no_grad():
            changed[1].weight += by * trained[1].weight.std() * torch.randn(10, 768, generator=noise)
        lcrbench.evaluate(changed, store=store, **asked)
        done = call("check", store, "--against", "r.json")
        if store == "same":
            # The same answers under the same id, written at another time.
            assert "identical" in done.output or "the reference's own" in done.output
            continue
        assert done.exit_code == code, done.output
        assert "n=200 against 200" in done.output or "identical" in done.output
    assert "not comparable" in call("check", "old", "--against", "r.json").output.lower()
    (one,) = lcrbench.check("worse", "r.json")
    assert one.outcome == "regression"
    assert one.n_candidate == 200
