"""What continuous integration asks of a machine: that the system's packages are installed where they can be."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LACKING = "not installed, so the tests that need them are skipped: "


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("there", "user", "installed", "told"),
    [
        (["apt-get"], 0, "chromium texlive-latex-recommended", ""),
        (["apt-get", "sudo"], 1001, "chromium texlive-latex-recommended", ""),
        (["apt-get", "sudo", "google-chrome"], 1001, "texlive-latex-recommended", ""),
        (["apt-get", "chromium", "pdflatex"], 0, "", ""),
        (["apt-get"], 1001, "", LACKING + "chromium texlive-latex-recommended\n"),
        (["pdflatex"], 0, "", LACKING + "chromium\n"),
    ],
)
def test_a_browser_and_tex_are_installed_or_told(
    tmp_path: Path, there: list[str], user: int, installed: str, told: str
) -> None:
    """A hosted runner is no root, and has sudo; without either, nothing fails and what is skipped is said."""
    [function] = re.findall(
        r"^system_packages\(\) \{\n.*?^\}$", (ROOT / ".ci/run").read_text(), re.DOTALL | re.MULTILINE
    )
    for name in ("env", "sh", "bash", "timeout"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    programs = dict.fromkeys(there, "exit 0") | {"id": f"echo {user}"}
    programs["sudo"] = 'test "$1" = -n && shift && exec "$@"' if "sudo" in there else "exit 1"
    if "apt-get" in there:
        programs["apt-get"] = f'echo "$@" >> {tmp_path}/calls'
    for name, does in programs.items():
        (tmp_path / name).write_text(f"#!{shutil.which('sh')}\n{does}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        [str(shutil.which("bash")), "-c", f"set -euo pipefail\n{function}\nsystem_packages"],
        env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    calls = (tmp_path / "calls").read_text().splitlines() if (tmp_path / "calls").exists() else []
    assert done.stdout == told
    assert [c.partition("recommends ")[2] for c in calls if c.startswith("install")] == (
        [installed] if installed else []
    )
