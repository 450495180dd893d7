"""What killed processes leave behind is removed, and what a live process writes is not."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from lcrbench.bench.records.leftovers import OLD, sweep
from lcrbench.bench.records.store import Store

LEFT = {
    ".unfinished/a1.0123abcd.new": "",
    ".teachers/a2.0123abcd.new": "x",
    ".trials/a3.0123abcd.new": "x",
    "trainings/.a4.0123abcd.new/record.json": "{}",
    "evaluations/.a5.0123abcd.new/record.json": "{}",
}
STAYS = {
    ".unfinished/a1": "a save",
    "trainings/a8/record.json": "{}",
    "trainings/.a9.old/record.json": "{}",
    ".leases/b1/00000001": "held 1 token another-machine 1 5",
    ".unfinished/b1.0123abcd.new": "its draft",
}


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def there(root: Path, files: dict[str, str]) -> list[str]:
    return [name for name in files if (root / name).exists()]


def test_leftovers_go_and_the_rest_stays(tmp_path: Path) -> None:
    write(tmp_path, LEFT | STAYS)
    assert sweep(Store(tmp_path)) == len(LEFT)
    assert there(tmp_path, LEFT) == []
    assert there(tmp_path, STAYS) == list(STAYS)
    assert sweep(Store(tmp_path)) == 0


@pytest.mark.parametrize("name", list(LEFT))
def test_what_a_live_process_writes_stays(tmp_path: Path, name: str) -> None:
    write(tmp_path, {name: LEFT[name]})
    holder = next(part for part in name.replace(".", "/").split("/") if len(part) == 2)
    with Store(tmp_path).held(holder):
        sweep(Store(tmp_path))
        assert (tmp_path / name).exists()


DRAFTS = (".plans/0123.json.0123abcd.new", ".cache/0123.cell.0123abcd.new")
"""Written under no lease."""


@pytest.mark.parametrize("name", DRAFTS)
def test_a_draft_that_no_lease_guards_goes_when_it_is_old(tmp_path: Path, name: str) -> None:
    kept = name.removesuffix(".0123abcd.new")
    write(tmp_path, {name: "half", kept: "whole"})
    assert sweep(Store(tmp_path)) == 0
    before = time.time() - 2 * OLD
    for each in (name, kept):
        os.utime(tmp_path / each, (before, before))
    assert sweep(Store(tmp_path)) == 1
    assert there(tmp_path, {name: "", kept: ""}) == [kept]
