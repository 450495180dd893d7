"""The same promises on a CUDA device: what runs there repeats, resumes to the bit, and says where it ran."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from lcrbench import registry
from lcrbench.bench import device, serving, worker
from lcrbench.bench.processes import process_context
from lcrbench.bench.records.store import Store
from lcrbench.bench.training.checkpoint import Checkpoint
from lcrbench.bench.training.loop import Stopped
from lcrbench.errors import UserError
from tests.bench import helpers
from tests.bench.helpers import bits

THERE = torch.cuda.is_available()
on_cuda = pytest.mark.skipif(not THERE, reason="torch finds no CUDA device")

TABLES: dict[str, Any] = helpers.TABLES | {
    "methods": ["full_precision", "irnet+lcr", "irnet+lcr_fixed:cache=true"],
    "evaluation": {"corruptions": ["fog"], "severities": [1, 5], "block": 25},
}


def job(root: Path, method: str, **change: Any) -> worker.Job:
    return helpers.job(root, TABLES | {"methods": [method]} | change, device="cuda", save_every=0.0)


@on_cuda
def test_a_grid_runs_repeats_and_says_where(tmp_path: Path) -> None:
    """Two processes share the device, then one has it alone: the same bits."""
    first, second = (helpers.go(tmp_path / str(n), TABLES, device="cuda", workers=n) for n in (2, 1))
    for a, b in zip(first, second, strict=True):
        assert a.status == "finished", a.failure
        assert bits(tmp_path / "2", a) == bits(tmp_path / "1", b)
        assert a.provenance.device == "cuda"
        assert a.provenance.device_name == torch.cuda.get_device_name()
        assert a.provenance.versions["cuda"] == torch.version.cuda
        assert a.provenance.deterministic
        assert a.provenance.determinism["cudnn_allow_tf32"] is False
        assert a.provenance.determinism["cublas_workspace_config"] == ":4096:8"


@on_cuda
@pytest.mark.parametrize("method", ["irnet+lcr", "irnet+lcr_fixed:cache=true"])
@pytest.mark.parametrize("stops", [[1], [7], [3, 2, 4]])
def test_a_resumed_training_ends_in_the_same_bits(
    tmp_path: Path, method: str, stops: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    change = {"recipe": TABLES["recipe"] | {"augmentation": "none" if "cache" in method else "crop-flip"}}
    whole = worker.run_one(job(tmp_path / "whole", method, **change))
    todo = list(stops)

    def stopping(self: Checkpoint) -> bool:
        self.seen = getattr(self, "seen", 0) + 1
        return bool(todo) and self.seen >= todo[0]

    monkeypatch.setattr(Checkpoint, "stopping", stopping)
    while todo:
        with pytest.raises(Stopped):
            worker.run_one(job(tmp_path / "parts", method, **change))
        todo.pop(0)
    record = worker.run_one(job(tmp_path / "parts", method, **change))
    assert bits(tmp_path / "parts", record) == bits(tmp_path / "whole", whole)


@on_cuda
def test_a_killed_process_leaves_a_run_that_ends_in_the_same_bits(tmp_path: Path) -> None:
    one = job(tmp_path / "killed", "irnet+lcr", budget={"images": 5000})
    context = process_context()
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=serving.process, args=(one.keep(), writer), daemon=True)
    process.start()
    while reader.poll(120):
        event = reader.recv()
        if event.phase == "training" and event.done >= 10:
            break
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert Store(tmp_path / "killed").unfinished(one.spec.training.train_id).exists()
    resumed = worker.run_one(one)
    whole = worker.run_one(job(tmp_path / "whole", "irnet+lcr", budget={"images": 5000}))
    assert bits(tmp_path / "killed", resumed) == bits(tmp_path / "whole", whole)


@on_cuda
def test_more_cells_and_metrics_are_added_to_a_trained_network_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Put back from the store, it gives the same bits as right after its training."""
    more = {"evaluation": TABLES["evaluation"] | {"corruptions": ["fog", "contrast"]}}
    worker.run_one(job(tmp_path / "parts", "irnet+lcr"))
    whole = worker.run_one(job(tmp_path / "whole", "irnet+lcr", **more))
    monkeypatch.setattr(worker, "trained", None)
    parts = worker.run_one(job(tmp_path / "parts", "irnet+lcr", **more))
    assert bits(tmp_path / "parts", parts)["training"] == bits(tmp_path / "whole", whole)["training"]
    assert parts.measurements == whole.measurements


@on_cuda
def test_seconds_are_the_devices(tmp_path: Path) -> None:
    record = worker.run_one(job(tmp_path, "irnet", budget={"unit": "seconds", "seconds": 2.0}))
    assert record.ledger is not None
    assert record.ledger.clock.startswith("device")
    assert record.ledger.steps > 1
    assert 2.0 <= record.ledger.seconds["training"].wall < 6


@on_cuda
@pytest.mark.parametrize("method", registry.names("method"))
def test_every_method_trains_and_is_audited_there(tmp_path: Path, method: str) -> None:
    """No operation of theirs lacks a deterministic form."""
    record = worker.run_one(job(tmp_path, method, budget={"images": 100}, backbone="resnet20"))
    assert record.status == "finished", record.failure
    assert record.model is not None
    assert record.model.audit is None or record.model.audit.passed


@on_cuda
@pytest.mark.parametrize("regularizer", registry.names("regularizer"))
def test_every_regularizer_trains_there(tmp_path: Path, regularizer: str) -> None:
    record = worker.run_one(job(tmp_path, f"irnet+{regularizer}", budget={"images": 100}))
    assert record.status == "finished", record.failure


def test_processes_are_started_before_any_device_is() -> None:
    """A process cannot use a device that the one it was forked from has begun to use."""
    context = process_context()
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=_tell, args=(writer,))
    process.start()
    assert reader.recv() is False
    process.join()


def _tell(writer: Any) -> None:
    writer.send(torch.cuda.is_initialized())


@pytest.mark.parametrize("name", ["cudda", "meta", "mps", "cuda:99", "cuda:", "cuda:-1", "", "cpu:0"])
def test_unknown_devices_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="no device") as error:
        device.choose(name)
    assert "auto, cpu" in str(error.value)


def test_a_device_is_shared_by_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device.os, "sched_getaffinity", lambda pid: range(64))
    assert device.workers("cpu", "images") == device.workers("cpu", "seconds") == 64
    assert device.workers("cuda", "images") == 4
    assert device.workers("cuda:1", "seconds") == 1
