"""Where a tree of images, in a folder or in .tar archives, holds which corruption at which severity."""

from __future__ import annotations

import os
import re
from pathlib import Path

from lcrbench.corruption_names import FROM_DEPTH, GROUP, SEVERITIES
from lcrbench.corruptions.members import Member
from lcrbench.errors import UserError

KNOWN = (*GROUP, *FROM_DEPTH)
MOST_FOLDERS = 24  # that are looked into for corruptions: groups and benchmarks, not classes

Places = dict[str, tuple[str, dict[str, set[str]]]]
"""Where each corruption lies: what stands before its folder, and the classes in the folder of each severity."""


def in_members(members: dict[str, Member], wanted: tuple[str, ...]) -> Places:
    """Return where the files of .tar archives put corruptions."""
    found: Places = {}
    for path in members:
        parts = path.split("/")
        for k, part in enumerate(parts[:-3]):
            if part in wanted and _number(parts[k + 1]):
                prefix = "".join(f"{p}/" for p in parts[:k])
                found.setdefault(part, (prefix, {}))[1].setdefault(parts[k + 1], set()).add(parts[k + 2])
                break
    return found


def in_folder(root: Path, wanted: tuple[str, ...] = KNOWN) -> Places:
    """Return where a folder holds corruptions, below at most two more folders."""
    found: Places = {}
    todo = [(root, "", 0)]
    while todo:
        folder, prefix, depth = todo.pop()
        inner = sorted((e.name for e in os.scandir(folder) if e.is_dir() and not e.name.startswith(".")), reverse=True)
        for name in inner:
            if name in wanted and name not in found:
                severities = {e.name: e for e in os.scandir(folder / name) if e.is_dir() and _number(e.name)}
                classes = {s: {c.name for c in os.scandir(e) if c.is_dir()} for s, e in severities.items()}
                found[name] = (prefix, classes)
        # Class folders are many, and hold many files.
        if depth < 2 and len(inner) <= MOST_FOLDERS:
            todo += [(folder / name, f"{prefix}{name}/", depth + 1) for name in inner if name not in wanted]
    return found


def _number(text: str) -> float:
    """Return what the folder of a severity is called; 0 for another folder."""
    return float(text) if re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3})?", text) else 0.0


def numbered(root: Path, name: str, folders: list[str]) -> dict[int, str]:
    """Return the folder of each severity. Raises `UserError` if they are called otherwise, and are not five."""
    if {*folders} <= {*"12345"}:
        return {int(folder): folder for folder in folders}
    ordered = sorted(folders, key=_number)
    if len(ordered) != len(SEVERITIES) or len({_number(folder) for folder in ordered}) != len(SEVERITIES):
        raise UserError(
            f"'{name}' in '{root}' has the severities {', '.join(ordered[:8])}: five are needed, which count as 1 to 5"
        )
    return dict(zip(SEVERITIES, ordered, strict=True))
