"""The az CLI on an emulator: logged in by what the emulator tells its users to paste, then command by command.

Contract: each command is a process of its own, with its own configuration folder; what it sent is read off the emulator's trace.
"""

from __future__ import annotations

import shlex
from typing import Any, Final

from tests.clients import exchanges, install
from tests.clients.harness import DRIVERS, Emulator, Finished

BIN: Final = install.WHERE / "az" / "bin"


class Az:
    """az, logged in."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        done = self._run(["bash", "-euc", login(emulator.told)])
        assert done.status == 0, f"what is printed for az does not work: {done.out}\n{done.err}"

    def plain(self, arguments: str) -> Finished:
        """A command about nothing in particular."""
        return self._run([str(BIN / "az"), *shlex.split(arguments), "-o", "json"])

    def vmss(self, arguments: str) -> Finished:
        """One command, on the emulator's set."""
        words = shlex.split(f"{arguments} -g {self.emulator.group} -n {self.emulator.name} -o json")
        return self._run([str(BIN / "az"), "vmss", *words])

    def asked(self, arguments: str) -> tuple[Finished, list[str]]:
        """One command, and what it sent."""
        before = len(self.emulator.exchanges())
        done = self.vmss(arguments)
        return done, exchanges.requests(self.emulator.exchanges()[before:])

    def json(self, arguments: str) -> Any:
        """One command that must succeed, and what it printed."""
        done = self.vmss(arguments)
        assert done.status == 0, f"az vmss {arguments}: {done.err}"
        return done.json

    def script(self, name: str, **more: str) -> Finished:
        """One of the shell scripts of the drivers."""
        return self._run([str(DRIVERS / name)], **more)

    def _run(self, command: list[str], **more: str) -> Finished:
        # What the emulator puts first in PATH, its `sleep`, stays first.
        path = self.emulator.said["PATH"]
        first, _, rest = path.partition(":")
        facts = {"PATH": f"{first}:{BIN}:{rest}", "AZURE_CORE_INSTANCE_DISCOVERY": "false", **more}
        return self.emulator.run(command, **facts)


def login(told: str) -> str:
    """The lines that are printed for az, as a script; the configuration folder is ours."""
    lines = told.splitlines()
    begin = lines.index("# az CLI") + 1
    block = []
    for line in lines[begin:]:
        if line.startswith("#"):
            break
        block.append(line.replace('AZURE_CONFIG_DIR="$(mktemp -d)"', ""))
    return "\n".join(block)
