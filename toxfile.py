"""Lets every tox environment live in one folder, so that torch (several GB) is installed once.

tox rebuilds a folder whose recorded environment name differs from the one that runs; here the name is left out of that
record, while a change of Python or of the dependencies still rebuilds or updates the folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tox.plugin import impl
from tox.tox_env.api import ToxEnv
from tox.tox_env.info import Info
from tox.tox_env.python.virtual_env.runner import VirtualEnvRunner
from tox.tox_env.register import ToxEnvRegister


class SharedInfo(Info):
    """The record of an environment's set-up, without the environment's name."""

    @contextmanager
    def compare(self, value: Any, section: str, sub_section: str | None = None) -> Iterator[tuple[bool, Any | None]]:
        """Compare `value` with what the last set-up recorded."""
        if section == ToxEnv.__name__ and sub_section is None:
            value = {**value, "name": "shared"}
        with super().compare(value, section, sub_section) as result:
            yield result


class SharedRunner(VirtualEnvRunner):
    """A virtual environment used by several tox environments."""

    @staticmethod
    def id() -> str:
        """Return the name that tox.ini selects this runner by."""
        return "shared"

    @property
    def cache(self) -> Info:
        """Return the record of the last set-up."""
        return SharedInfo(self.env_dir)


@impl
def tox_register_tox_env(register: ToxEnvRegister) -> None:
    """Register the runner with tox."""
    register.add_run_env(SharedRunner)
