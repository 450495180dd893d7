"""The public API: its names, what importing them costs, and that each does what its command does."""

from __future__ import annotations

import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import lcrbench
from lcrbench.bench.records.spec import CLEAN
from lcrbench.errors import UserError

FIXTURE = Path(__file__).resolve().parent / "fixtures" / "store-schema-3"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two of the runs that the tests keep."""
    for name in ("5736112f71f41419", "784405fc559c3e89"):
        shutil.copytree(FIXTURE / name, tmp_path / "store" / name)
    return tmp_path / "store"


def test_the_names_are_few_lazy_and_documented() -> None:
    assert dir(lcrbench) == sorted(lcrbench.__all__)
    assert len(dir(lcrbench)) <= 20
    for name in dir(lcrbench):
        thing = getattr(lcrbench, name)
        assert (thing.__doc__ or "").strip(), name
        if inspect.isfunction(thing):
            annotated = inspect.signature(thing)
            assert annotated.return_annotation is not annotated.empty, name
            assert all(p.annotation is not p.empty for p in annotated.parameters.values()), name
    with pytest.raises(AttributeError, match="no attribute 'corupt'"):
        lcrbench.corupt  # noqa: B018


def test_importing_costs_nothing() -> None:
    code = "import sys, lcrbench; dir(lcrbench); print(sorted({'torch', 'numpy', 'pandas', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_python_m_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lcrbench", "list", "methods"], capture_output=True, text=True, check=True
    )
    assert "irnet" in done.stdout


def test_a_model_comes_back_with_its_normalization_and_its_predictions(store: Path) -> None:
    opened = lcrbench.Store(store)
    record = next(r for r in opened.records() if r.spec.label == "bnn")
    network = lcrbench.load_model(store, record.run_id[:6])
    assert not network.training
    assert isinstance(network, nn.Module)
    images = lcrbench.load_data(test=100, train=None).test
    with torch.no_grad():
        predicted = network(torch.from_numpy(images.images.copy()).permute(0, 3, 1, 2).float() / 255).argmax(1)
    # Uint8 images over 255 go in: nothing outside is needed to normalize them.
    assert (predicted.numpy() == images.labels).mean() > 0.6
    found = lcrbench.evaluate(network, corruptions="", metrics="accuracy")
    clean = opened.outcomes(record.run_id)[CLEAN].mean()
    assert found.table().value[0] == pytest.approx(clean, abs=0.002)
    by_training = lcrbench.load_model(store, record.spec.training.train_id)
    assert all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), by_training.state_dict().values(), strict=True)
    )


def test_a_run_is_shown_what_it_lacks_and_keeps_it(store: Path) -> None:
    run = next(r.run_id for r in lcrbench.Store(store).records() if r.spec.label == "bnn")
    first = lcrbench.evaluate(run, store=store, corruptions="spatter", severities=(2,), metrics="accuracy", test=None)
    assert first.evaluation.batches[-1].forward == {"evaluation": 2000}
    assert set(first.table().corruption) == {"", "spatter"}
    again = lcrbench.evaluate(run, store=store, corruptions="spatter", severities=(2,), metrics="accuracy")
    assert again.evaluation == first.evaluation
    # The module gets the same predictions as the run, without a store.
    network = lcrbench.load_model(store, run)
    apart = lcrbench.evaluate(network, corruptions="spatter", severities=(2,), metrics="accuracy")
    assert list(apart.table().value) == list(first.table().value)


def test_any_module_is_evaluated_and_what_is_no_network_is_refused() -> None:
    class Means(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([x.flatten(1)[:, :9], x.mean((1, 2, 3)).unsqueeze(1)], 1)

    found = lcrbench.evaluate(Means(), corruptions="fog", severities=(1,), test=50)
    assert {"accuracy", "corruption_error", "calibration_error"} == set(found.table().metric)
    assert found.left_out == {}
    with pytest.raises(UserError, match=r"gives .* not logits"):
        lcrbench.evaluate(nn.Flatten(0), test=50)
    with pytest.raises(UserError, match="probabilities"):
        lcrbench.evaluate(nn.Sequential(Means(), nn.Softmax(1)), test=50)
    with pytest.raises(UserError, match="did you mean 'fog'"):
        lcrbench.evaluate(Means(), corruptions="fogg", test=50)
    with pytest.raises(UserError, match="name its store"):
        lcrbench.evaluate("3f2a")


def test_lipschitz_measures_a_module(undrawn: None) -> None:
    network = lcrbench.build_model("bnn", seed=1)
    found = lcrbench.lipschitz(network, images=4, l2=(8,), effort="trial")
    table = found.table()
    assert {"lipschitz_kappa", "lipschitz_norms", "lipschitz_product"} <= set(table.metric)
    assert (table[table.metric == "lipschitz_kappa"].norm == "l2").all()


def test_an_import_path_that_only_a_record_names_is_not_imported(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lcrbench.bench.evaluation.networks import check_trust
    from lcrbench.bench.records.spec import MethodId

    with pytest.raises(UserError, match=r"method 'evil\.method'.*--trust-plugins"):
        check_trust("vgg_tiny", MethodId(name="evil.method"))
    with pytest.raises(UserError, match=r"regularizer 'evil\.term'"):
        check_trust("vgg_tiny", MethodId(name="bnn", regularizers={"evil.term": {}}))
    with pytest.raises(UserError, match=r"backbone 'evil\.net'"):
        check_trust("evil.net:width=3", MethodId(name="bnn"))
    check_trust("resnet18:convs=2", MethodId(name="irnet", regularizers={"lcr": {}}))


def test_networks_of_a_seed_start_alike() -> None:
    one, other = (lcrbench.build_model(m, seed=3).state_dict() for m in ("bnn", "irnet"))
    assert all(torch.equal(one[k], other[k]) for k in one if k.endswith("conv.weight"))
    with pytest.raises(UserError, match="unknown method 'irnett': did you mean 'irnet'"):
        lcrbench.build_model("irnett")


def test_report_and_check(store: Path, tmp_path: Path, undrawn: None) -> None:
    page = lcrbench.report(store, tmp_path / "page", compare=["bnn", "full_precision"])
    assert page.name == "index.html"
    assert page.is_file()
    with pytest.raises(UserError, match="cannot read the reference"):
        lcrbench.check(store, tmp_path / "none.json")


def test_corrupt_takes_one_image_too() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    assert lcrbench.corrupt(images[0], "fog", 3).shape == (32, 32, 3)
