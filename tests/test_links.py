"""References in the documentation lead somewhere: to names of ours, and to addresses of known form.

Tests have no network: that an address answers is not checked. Each is a paper's number at arXiv, a repository at GitHub or
a folder of one, or one of `SINGLE`, which says what it is for.
"""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lcrbench import registry
from tests.test_docs import PAGES, ROOT

CODE = [p for folder in ("bench", "models", "corruptions", "reports") for p in sorted((ROOT / folder).rglob("*.py"))]
TEXTS = [*PAGES, ROOT / "ARCHITECTURE.md", ROOT / "CHANGELOG.md", ROOT / "pyproject.toml", *CODE]

FORMS = {
    "a paper": r"https://arxiv\.org/abs/((0[7-9]|1[0-4])\d\d\.\d{4}|(1[5-9]|2\d)\d\d\.\d{5})",
    "code": r"https://github\.com/[\w.-]+/[\w.-]+(/(tree|blob)/[\w.-]+/[\w./-]+)?",
    "composed of a paper's or a code's record": r"https://(arxiv\.org/abs|github\.com)/\{[\w.]+\}(\{\w+\})?",
}
SINGLE = {
    "https://benchopt.github.io": "a tool that docs/compared.md compares with",
    "https://gitee.com/wdz2020/robust-dbnn": "code of a paper, which is at no other place",
    "https://openreview.net/forum?id=UKX0k1cWfL": "a paper that is not at arXiv",
    "https://pytest-benchmark.readthedocs.io": "the tool whose files `lcrbench check-speed` reads",
    "http://www.w3.org/2000/svg": "the name space of a drawing, which nobody opens",
    "http://www.w3.org/1999/xlink": "the name space of a drawing, which nobody opens",
}


def addresses() -> Iterator[tuple[str, str]]:
    """Yield each address with the file that holds it."""
    for path in TEXTS:
        for found in re.findall(r"(?:https?|ftp)://[^\s)\"'>`\\]*", path.read_text(encoding="utf-8")):
            yield str(path.relative_to(ROOT)), found.rstrip(".,;:")


def known(address: str) -> bool:
    return address in SINGLE or any(re.fullmatch(form, address) for form in FORMS.values())


def test_every_address_has_a_known_form_or_a_reason() -> None:
    found = list(addresses())
    assert len(found) > 100
    assert [(place, address) for place, address in found if not known(address)] == []
    assert set(SINGLE) <= {address for _, address in found}


@pytest.mark.parametrize(
    "address",
    [
        "http://arxiv.org/abs/2207.06540",
        "https://arxiv.org/pdf/2207.06540",
        "https://arxiv.org/abs/2207.0654",
        "https://github.com/htqin",
        "https://github.com/htqin/IR-Net/pull",
        "https://example.org",
    ],
)
def test_another_form_would_be_seen(address: str) -> None:
    assert not known(address)


def test_a_link_that_names_a_paper_leads_to_it() -> None:
    named = [
        (path.name, *pair)
        for path in PAGES
        for pair in re.findall(
            r"\[[^\]]*?arXiv:? ?(\d{4}\.\d{4,5})\]\(https://arxiv\.org/abs/([^)]*)\)", path.read_text(encoding="utf-8")
        )
    ]
    assert len(named) >= 5
    assert [one for one in named if one[1] != one[2]] == []


# ------------------------------------------------------------------------------------------------------- names of ours

GROUPS = {f"lcrbench.{kind}" for kind in registry.PACKAGES} | {"lcrbench.KIND", "lcrbench.X", "lcrbench.toml"}
"""Groups of entry points, and what stands for one of several names."""


def resolves(name: str) -> bool:
    """Tell whether a dotted name is a module of ours, or an attribute of one."""
    parts = name.split(".")
    for k in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:k]))
        except ModuleNotFoundError:
            continue
        for part in parts[k:]:
            if not hasattr(found, part):
                return part in getattr(found, "__annotations__", {})
            found = getattr(found, part)
        return True
    return False


def named(text: str) -> set[str]:
    """Return the names of ours that stand as code in a text, without what follows them there."""
    code = re.findall(r"`([^`\n]+)`", text)
    return {name for part in code for name in re.findall(r"(?<![\w./-])lcrbench(?:\.[A-Za-z_]\w*)+", part)}


def docstrings(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return "\n".join(ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, kinds))


def test_every_name_of_ours_in_pages_and_docstrings_is_there() -> None:
    by_place = {p.relative_to(ROOT): named(p.read_text(encoding="utf-8")) for p in [*PAGES, ROOT / "ARCHITECTURE.md"]}
    by_place |= {p.relative_to(ROOT): named(docstrings(p)) for p in CODE}
    assert sum(map(len, by_place.values())) > 20
    wrong = {str(place): sorted(n for n in names - GROUPS if not resolves(n)) for place, names in by_place.items()}
    assert {place: names for place, names in wrong.items() if names} == {}


def test_a_wrong_name_would_be_seen() -> None:
    assert named("by `lcrbench.run(...)`, not lcrbench.this, `x/lcrbench.py` or `lcrbench.api.nothing`") == {
        "lcrbench.run",
        "lcrbench.api.nothing",
    }
    assert resolves("lcrbench.run")
    assert resolves("lcrbench.bench.records.store.Store.records")
    assert not resolves("lcrbench.api.nothing")
    assert not resolves("lcrbench.nothing")


CONF = """
import runpy
settings = runpy.run_path({conf!r})
globals().update({{k: v for k, v in settings.items() if k in {names!r}}})
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_click", "docstrings"]
"""
SETTINGS = ("nitpicky", "nitpick_ignore", "nitpick_ignore_regex", "default_role", "autodoc_typehints")
PAGE = """
# Page

```{eval-rst}
.. autofunction:: lcrbench.corrupt
```

By {py:func}`lcrbench.corrupt`, not by {py:func}`lcrbench.corupt`.
"""


def test_a_wrong_reference_fails_the_build(tmp_path: Path) -> None:
    """With what docs/conf.py says of references, on a page of its own: a right one, and one that leads nowhere."""
    pytest.importorskip("sphinx")
    (tmp_path / "index.md").write_text(PAGE, encoding="utf-8")
    conf = CONF.format(conf=str(ROOT / "docs" / "conf.py"), names=SETTINGS)
    (tmp_path / "conf.py").write_text(conf, encoding="utf-8")
    words = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "-b", "html", ".", "out"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode
    assert "lcrbench.corupt" in done.stderr
    assert done.stderr.count("WARNING") == 1
