"""What a stranger's file may not do, and what a record may not tell."""

from __future__ import annotations

import ast
import dataclasses
import getpass
import os
import re
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lcrbench.bench import data, serving, worker
from lcrbench.bench.evaluation import inference
from lcrbench.bench.evaluation.run import evaluate, protocol_of
from lcrbench.bench.networks.foreign import opened, ready
from lcrbench.bench.records import env, predictions
from lcrbench.bench.records.grid import Evaluation
from lcrbench.bench.records.record import Failure
from lcrbench.bench.records.spec import CLEAN, MethodId
from lcrbench.bench.records.store import LOG, WEIGHTS, Store
from lcrbench.models import network as networks
from tests.bench.helpers import job, put, record

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(p for folder in ("bench", "models", "corruptions", "reports") for p in (ROOT / folder).rglob("*.py"))

# Modules that run code from the files they read, and calls that do so unless told otherwise.
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "yaml", "cloudpickle"}
FORBIDDEN_CALLS = {"eval", "exec", "read_pickle", "to_pickle", "extractall", "extract", "unpack_archive"}


def faults(source: str) -> list[str]:
    """Return what in a source file could run code from a file, or unpack an archive to the disk."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] + ([node.module] if isinstance(node, ast.ImportFrom) else [])
            found += [str(n) for n in names if n and n.partition(".")[0] in FORBIDDEN_MODULES]
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        given = {k.arg: ast.unparse(k.value) for k in node.keywords}
        if name in ("eval", "exec") or ("." in name and name.rpartition(".")[2] in FORBIDDEN_CALLS - {"eval", "exec"}):
            found.append(name)
        if name == "torch.load" and given.get("weights_only") != "True":
            found.append(name)
        if name in ("np.load", "numpy.load") and given.get("allow_pickle") != "False":
            found.append(name)
    return found


def test_nothing_read_can_run() -> None:
    """The one unpickler of data makes plain values and numpy arrays alone: tests/data/test_hostile_layouts.py.

    Compiled kernels are code by their nature: their folder must be the user's own (tests/test_untrusted.py).
    """
    assert len(SOURCES) > 50
    found = {str(p.relative_to(ROOT)): f for p in SOURCES if (f := faults(p.read_text(encoding="utf-8")))}
    writes = "models/conformance/methods.py"
    assert found == {"bench/data/pickles.py": ["pickle"], "bench/_root/kernels.py": ["pickle"], writes: ["pickle"]}
    text = (ROOT / writes).read_text(encoding="utf-8")
    assert not re.search(r"pickle\.loads?\b|Unpickler", text), "it compares what is pickled, and reads nothing"
    text = (ROOT / "bench" / "data" / "pickles.py").read_text(encoding="utf-8")
    assert "def find_class(" in text
    assert "pickle.load" not in text


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "pd.read_pickle(path)",
        "tar.extractall(folder)",
        "shutil.unpack_archive(path)",
        "eval(text)",
        "import yaml",
    ],
)
def test_the_search_finds(source: str) -> None:
    assert faults(source)


# --- provenance -------------------------------------------------------------------------------------------------------

TABLES: dict[str, Any] = {
    "data": {"train": 100, "test": 30},
    "methods": ["irnet+distill"],
    "budget": {"images": 200},
    "recipe": {"batch": 50},
    "evaluation": {"corruptions": ["fog"], "severities": [1], "block": 25},
    "metrics": {"accuracy": {}},
}


def test_no_file_of_a_store_tells_whose_machine_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the host, the user, their home, the source's place, the store's, nor the data's; in a failed run neither."""
    store = tmp_path / "a-place-to-find" / "store"
    monkeypatch.setattr("sys.argv", ["lcrbench", "run", "quick", "--store", str(store), "--data", str(tmp_path / "d")])
    provenance = env.provenance("cpu", 1, env.command_line(), {"fog": 1}, deterministic=True)
    one = dataclasses.replace(job(store, TABLES), provenance=provenance)
    worker.run_one(one)
    broken = one.source.model_copy(update={"source": str(tmp_path / "a-place-to-find" / "data")})
    other = dataclasses.replace(job(store, TABLES | {"seeds": [1]}), source=broken, provenance=provenance)

    class Nobody:
        def send(self, event: object) -> None: ...

    cell = other.keep()
    serving.process(cell, Nobody())
    worker.Job.forget(cell)  # which holds the data's place as long as the run may be worked on
    assert Store(store).record(other.spec.run_id).status == "failed"
    words = {socket.gethostname(), str(Path.home()), str(ROOT), "a-place-to-find", str(tmp_path), os.uname().nodename}
    files = [p for p in store.rglob("*") if p.is_file()]
    assert {p.name for p in files} >= {"record.json", predictions.FILE, LOG, WEIGHTS, "packed.safetensors"}
    for path in files:
        content = path.read_bytes()
        for word in words - {"/", "localhost"}:
            # Among the bytes of weights a short name may stand by chance.
            where = content if len(word) > 8 else content[:20_000] if path.suffix in (".json", ".jsonl") else b""
            assert not re.search(rb"\b%s\b" % re.escape(word.encode()), where), (
                f"{path.relative_to(store)} tells {word}"
            )
    for path in (p for p in files if p.name == "record.json"):
        text = path.read_text()
        if (user := getpass.getuser()) != "root":
            assert user not in text
        assert ".../store" in text


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("cannot read /home/ann/data/x.png: no", "cannot read .../x.png: no"),
        ("'/home/ann/x' and ~/y/z", "'.../x' and .../z"),
        ("a/b and 1/2, or https://x.org/a", "a/b and 1/2, or https:/.../a"),
        ("irnet+lcr:weight=0.5", "irnet+lcr:weight=0.5"),
    ],
)
def test_paths_are_cut(text: str, left: str) -> None:
    assert env.pathless(text) == left


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (["--data", "/home/ann b/d"], "lcrbench --data .../d"),
        (["--data=/home/ann b/d", "--seeds", "0 1"], "lcrbench --data=.../d --seeds '0 1'"),
        (["--set", "data.source=/home/ann/d"], "lcrbench --set data.source=.../d"),
        (["--store", "runs/a"], "lcrbench --store runs/a"),
    ],
)
def test_the_command_tells_no_absolute_path(monkeypatch: pytest.MonkeyPatch, words: list[str], left: str) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/lcrbench", *words])
    assert env.command_line() == left


# --- evaluation -------------------------------------------------------------------------------------------------------


def test_outcomes_are_those_of_any_batch_and_order() -> None:
    """Images are given to the network in blocks of 25, in other orders, or one by one: the same answers, to the bit."""
    import torch

    torch.set_num_threads(1)
    dataset = data.take(data.load(), 100, 60, seed=0)
    network = networks.build(
        networks.choose("irnet"), "vgg_tiny", 10, 32, [0.3] * 3, [0.4] * 3, lambda n: torch.Generator().manual_seed(1)
    ).to(memory_format=torch.channels_last)
    made = env.provenance("cpu", 1, "test", {}, deterministic=True)
    shown = Evaluation(corruptions=("fog", "glass_blur"), severities=(5,), block=25)

    def look(parts: list[data.Dataset]) -> predictions.Predictions:
        """Show the network a growing number of images."""
        known = None
        looked = ready(opened(network), parts[0]).looked
        for part in parts:
            protocol = protocol_of(part, 32, shown)
            known = evaluate(looked, part, protocol, {}, made, known=known)
        return known.predictions

    images = dataset.test.images
    together = inference.logits(network, images, 25)
    single = np.concatenate([inference.logits(network, images[i : i + 1], 25) for i in range(len(images))])
    assert np.array_equal(together, single)
    whole = look([dataset])
    assert np.array_equal(whole.right(CLEAN, dataset.test_indices), single.argmax(1) == dataset.test.labels)
    # Nor does an image's corruption depend on the others, or the answer on what was shown before.
    grown = look([data.take(data.load(), 100, n, seed=0) for n in (10, 30, 60)])
    assert np.array_equal(grown.indices, whole.indices)
    assert np.array_equal(grown.classes, whole.classes)


# --- the report -------------------------------------------------------------------------------------------------------

HOSTILE = st.sampled_from(
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "</td><b>",
        "&lt;",
        "{{7*7}}",
        "javascript:alert(1)",
    ]
)


@settings(max_examples=6, deadline=None, derandomize=True)
@given(st.lists(HOSTILE, min_size=4, max_size=4))
def test_a_report_escapes_every_name(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    """Names of data, classes, methods, the command and a failure's message, each with a mark to be found by."""
    from lcrbench.reports import report

    root = tmp_path_factory.mktemp("hostile")
    store = Store(root / "s", create=True)
    base = record()
    a, b, c, d = (f"{name} mark{i}" for i, name in enumerate(names))
    named = {"name": b, "classes": (c, "y")}
    for seed in range(2):
        training, protocol = base.spec.training, base.spec.protocol
        update = {"method": MethodId(name=a), "seed": seed, "data": training.data.model_copy(update=named)}
        shown = {"test": protocol.test.model_copy(update=named)}
        spec = base.spec.model_copy(
            update={"training": training.model_copy(update=update), "protocol": protocol.model_copy(update=shown)}
        )
        failure = Failure(reason="error", step=0, message=d) if seed else None
        one = record(of=spec).model_copy(update={"status": "failed" if seed else "finished", "failure": failure})
        provenance = base.provenance.model_copy(update={"command": d, "device_name": c, "versions": {c: d}})
        put(store, one.model_copy(update={"provenance": provenance}))
    text = report.write(store, root / "out").read_text(encoding="utf-8")
    assert "mark0" in text
    for name in (a, b, c, d):
        if "<" in name:
            assert name not in text
    assert "<script>alert" not in text
    assert "49 mark" not in text
