"""A network as one file of bits: the same logits as the trained network, no latent weights, and clear refusals."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from click.testing import CliRunner

import lcrbench
from lcrbench.bench import cli
from lcrbench.bench.evaluation import inference
from lcrbench.errors import UserError
from lcrbench.models import network as networks
from lcrbench.models.binary import binary_layers
from lcrbench.models.packed import deployment
from tests.packed.nets import METHODS, by_torch, images, make

FIXTURE = Path(__file__).resolve().parents[1] / "fixtures" / "store-schema-3"
RUNS = ("5736112f71f41419", "784405fc559c3e89")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("file") / "store"
    for name in RUNS:
        shutil.copytree(FIXTURE / name, root / name)
    return root


@pytest.mark.parametrize("run", RUNS)
def test_a_run_is_exported_and_comes_back(run: str, store: Path, tmp_path: Path) -> None:
    out = tmp_path / "net.safetensors"
    done = CliRunner().invoke(cli.app, ["export", run[:6], "--out", str(out), "--store", str(store)])
    assert done.exit_code == 0, done.output
    network = lcrbench.load_model(store, run)
    with safetensors.safe_open(out, "pt") as opened:
        assert {*opened.keys()} == {*deployment.tensors(network)}
    record = lcrbench.Store(store).record(run)
    assert f"{record.model.memory_bits:,} bits" in done.output
    loaded = lcrbench.load_packed(out, block=10)
    shown = images(10, loaded.size)
    np.testing.assert_array_equal(loaded.logits(shown), inference.logits(network, shown, 10))
    assert loaded.engine.startswith("packed " if binary_layers(network) else "torch: ")
    assert loaded.predict(shown) == [loaded.classes[k] for k in loaded.logits(shown).argmax(1)]
    with pytest.raises(UserError, match="the network takes images"):
        loaded.logits(images(2, loaded.size + 8))


@pytest.mark.parametrize("method", METHODS)
def test_a_network_from_its_bits_alone(method: str) -> None:
    net, shown = make(method, "resnet20:shortcut=binary", 8), images(5, 8)
    tensors = deployment.tensors(net)
    again = deployment.rebuild(networks.choose(method), "resnet20:shortcut=binary", 10, 8, tensors)
    assert not any(float(layer.weight.abs().max()) for layer in binary_layers(again).values())
    np.testing.assert_array_equal(by_torch(again, shown), by_torch(net, shown))


@pytest.mark.parametrize("method", [*METHODS, "full_precision"])
def test_the_size_that_tables_show_is_that_of_the_file(method: str) -> None:
    """What the file has besides: whole bytes for each filter's bits, the normalization, and names and shapes."""
    net = make(method, "resnet20:shortcut=binary", 8)
    content = safetensors.torch.save(deployment.tensors(net))
    header = 8 + int.from_bytes(content[:8], "little")
    layers = binary_layers(net).values()
    filled = sum(len(layer.weight) * (-layer.weight[0].numel() % 8) for layer in layers)
    assert 8 * (len(content) - header) == networks.memory_bits(net) + filled + 32 * 6


def test_other_files_are_refused(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "net.safetensors"
    CliRunner().invoke(cli.app, ["export", RUNS[0], "--out", str(out), "--store", str(store)])
    with safetensors.safe_open(out, "pt") as opened:
        about = dict(opened.metadata())
    tensors = safetensors.torch.load_file(out)
    first = next(name for name in tensors if name.endswith(".bits"))
    wrong = {
        "no file": (None, None, "cannot read"),
        "cut": (None, None, "cannot read"),
        "no names": (tensors, {}, "is no file of `lcrbench export`"),
        "another size": (tensors, about | {"size": "x"}, "is no file of `lcrbench export`"),
        "another backbone": (tensors, about | {"backbone": "resnet20"}, "another network"),
        "no such method": (tensors, about | {"method": "irnett"}, "irnett"),
        "an import path": (tensors, about | {"method": "os.path"}, "--trust-plugins"),
        "fewer": ({k: v for k, v in tensors.items() if k != first}, about, "another network"),
        "more": (tensors | {"more": torch.zeros(1)}, about, "another network: more"),
        "another shape": (tensors | {first: tensors[first][:, :-1].contiguous()}, about, "another network"),
    }
    for case, (changed, told, reason) in wrong.items():
        path = tmp_path / "wrong.safetensors"
        if changed is not None:
            safetensors.torch.save_file(changed, path, told)
        elif case == "cut":
            path.write_bytes(out.read_bytes()[:-100])
        with pytest.raises(UserError, match=reason):
            lcrbench.load_packed(path)
