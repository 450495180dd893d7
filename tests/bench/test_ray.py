"""Runs on a Ray cluster of several nodes of this machine: lost workers and nodes, what is infeasible, and two executors."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lcrbench import registry
from lcrbench.bench import dispatch, runner
from lcrbench.bench.executors import Resources
from lcrbench.bench.records.grid import make_grid
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError
from tests.bench.helpers import SMALL, bits

pytestmark = pytest.mark.slow  # half a minute to start a cluster

GRID: dict[str, Any] = SMALL | {
    "methods": ["bnn", "irnet", "xnor_net"],
    "seeds": [0, 1, 2, 3],
    "budget": {"images": 1000},
}
"""Twelve runs."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head of one core, and two nodes of one more each."""
    pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        # As the nodes' owner: no token among processes of one machine, and nothing is sent anywhere.
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        from ray.cluster_utils import Cluster

        node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
        made = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
        made.others = [made.add_node(**node) for _ in range(2)]
        yield made
        import ray

        ray.shutdown()
        made.shutdown()


def run(root: Path, on: str, tables: dict[str, Any] = GRID, **how: Any) -> list[str]:
    given = {"workers": None, "device": "cpu", "command": "test", "quiet": True, "executor": on} | how
    return runner.run(make_grid(dict(tables)), root, **given)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The bits of the same runs on this machine."""
    root = tmp_path_factory.mktemp("local")
    ids = run(root, "local", workers=2)
    return {i: bits(root, Store(root).record(i)) for i in ids}


def test_it_keeps_the_contract(cluster: Any) -> None:
    from lcrbench.testing import conform

    # The cluster that is joined here stays joined: a name without an address means the same one.
    registry.load("executor", "ray").make(None, cluster.address)
    assert conform("executor", "ray") == []


def test_what_no_machine_has_is_refused_in_one_line(cluster: Any, tmp_path: Path) -> None:
    for need, named in ((Resources(gpus=0.25), "gpus=0.25"), (Resources(cores=64), "cores=64")):
        with pytest.raises(UserError, match=f"a run needs .*{named}, and no machine of 'ray' has more") as error:
            run(tmp_path, f"ray:{cluster.address}", need=need)
        assert "\n" not in str(error.value)
    assert Store(tmp_path).ids() == []
    assert not list((tmp_path / ".leases").glob("*")), "nothing has started"


def test_other_code_is_refused(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = registry.load("executor", "ray")
    monkeypatch.setattr(module, "version", lambda: ("0.0", "another"))
    with pytest.raises(UserError, match="a machine of the cluster has other code"):
        run(tmp_path, f"ray:{cluster.address}")
    assert Store(tmp_path).ids() == []


def workers(root: Path) -> list[int]:
    """Return the processes that hold leases."""
    found = []
    for path in (root / ".leases").glob("*/0*"):
        words = path.read_text().split()
        if len(words) == 6 and words[0] == "held":
            found.append(int(words[4]))
    return sorted(set(found))


def test_twelve_runs_with_a_worker_killed_and_a_node_removed(
    cluster: Any, tmp_path: Path, reference: dict[str, Any]
) -> None:
    done: list[str] = []

    def harm() -> None:
        """Kill a worker in its first run, and take a node away later."""
        end = time.monotonic() + 120
        while not (there := workers(tmp_path)) and time.monotonic() < end:
            time.sleep(0.05)
        os.kill(there[0], signal.SIGKILL)
        done.append("killed")
        while len(Store(tmp_path).ids()) < 3 and time.monotonic() < end:
            time.sleep(0.1)
        cluster.remove_node(cluster.others.pop(), allow_graceful=False)
        done.append("removed")

    Store(tmp_path, create=True)
    harming = threading.Thread(target=harm)
    harming.start()
    ids = run(tmp_path, f"ray:{cluster.address}")
    harming.join()
    assert done == ["killed", "removed"]
    assert {i: bits(tmp_path, Store(tmp_path).record(i)) for i in ids} == reference
    assert not list((tmp_path / ".jobs").iterdir())


def test_two_executors_share_a_store(cluster: Any, tmp_path: Path, reference: dict[str, Any]) -> None:
    found: list[list[str]] = []
    # Signals belong to the main thread: the local one is another thread's.
    local = threading.Thread(target=lambda: found.append(run(tmp_path, "local", workers=1)))
    local.start()
    ids = run(tmp_path, f"ray:{cluster.address}")
    local.join()
    assert found == [ids]
    store = Store(tmp_path)
    assert {i: bits(tmp_path, store.record(i)) for i in ids} == reference
    assert all(len(store.evaluation_of(i).batches) == 1 for i in ids)  # type: ignore[union-attr]


def test_an_interrupt_saves_and_stops(cluster: Any, tmp_path: Path) -> None:
    """And what was saved goes on here, to the same end."""
    long = SMALL | {"budget": {"images": 30_000}}

    def interrupt() -> None:
        end = time.monotonic() + 120
        while not workers(tmp_path) and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(4.0)
        os.kill(os.getpid(), signal.SIGINT)

    Store(tmp_path, create=True)
    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, f"ray:{cluster.address}", long)
    assert list((tmp_path / ".unfinished").iterdir()), "it has saved"
    assert Store(tmp_path).ids() == []
    assert Store(tmp_path).record(run(tmp_path, "local", long, workers=1)[0]).status == "finished"


def test_where_ray_is_missing_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'lcrbench\[ray\]'"):
        dispatch.registry.load("executor", "ray").make(None, "")
