"""An emulator in a process of its own, clients in theirs, and what is asked of both.

Contract: a client's process sees nothing of this one's environment but PATH; its traffic to anywhere but loopback goes to a proxy
that does not exist; its telemetry is off. Every emulator leaves its trace below `.clients/traces`, for `tests.contract`.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from tests.clients import exchanges, install

HERE: Final = Path(__file__).parent
DRIVERS: Final = HERE / "drivers"
TRACES: Final = install.WHERE / "traces"
OLD, NEW = "14.04.201506100", "14.04.201507060"
PATIENCE_S: Final = 600.0
"""No client may take longer than this: it ends as a failure, not as a hang."""
GUARD: Final = {
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "ALL_PROXY": "http://127.0.0.1:9",
    "NO_PROXY": "localhost,127.0.0.1",
    "AZURE_CORE_COLLECT_TELEMETRY": "0",
    "AZURE_CORE_ONLY_SHOW_ERRORS": "true",
    "AZURE_CORE_NO_COLOR": "true",
    "AZURE_CORE_SURVEY_MESSAGE": "false",
    "AZURE_TELEMETRY_DISABLED": "1",
    "PYTHONWARNINGS": "ignore",
}


def needs(client: str) -> pytest.MarkDecorator:
    """Skipped where the registry was unreachable when the clients were installed, and says so; otherwise it must be there."""
    reason = install.excuse(client)
    return pytest.mark.skipif(reason.exists(), reason=reason.read_text() if reason.exists() else "")


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """How a client's process ended."""

    status: int
    out: str
    err: str


class Emulator:
    """A running emulator. told: what it printed for programs when it was ready."""

    def __init__(self, process: subprocess.Popen[str], told: dict[str, Any], trace: Path, home: Path) -> None:
        self.process, self.told, self.trace, self.home = process, told, trace, home

    def environment(self, **more: str) -> dict[str, str]:
        """What a client's process sees: what the emulator says a user should set, and the guard."""
        said: dict[str, str] = self.told["environment"]
        base = {"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8"}
        return {**base, **GUARD, **said, **more}

    def run(self, command: Sequence[str], *, cwd: Path | None = None, **more: str) -> Finished:
        """A client's process, to its end."""
        done = subprocess.run(
            command, env=self.environment(**more), cwd=cwd or self.home, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        return Finished(status=done.returncode, out=done.stdout, err=done.stderr)

    def driver(self, client: str, interpreter: str, script: str, what: str) -> dict[str, Any]:
        """What one of the drivers printed at its end."""
        cwd = install.WHERE / client
        program = interpreter if client == "node" else str(cwd / "bin" / interpreter)
        facts = {"ENDPOINT": self.told["https"], "SUBSCRIPTION": self.told["subscription"], "GROUP": self.told["group"]}
        done = self.run([program, str(DRIVERS / script), what], cwd=cwd, NAME=self.told["name"], TARGET=NEW, **facts)
        assert done.status == 0, f"{script} {what}: exit status {done.status}\n{done.out}\n{done.err}"
        found: dict[str, Any] = msgspec.json.decode(done.out)
        return found

    def exchanges(self) -> list[dict[str, Any]]:
        """What was said so far."""
        return exchanges.read(self.trace)

    def report(self) -> dict[str, Any]:
        """The ground truth: what the rollout cost, by the world's own meter, once all of it has ended."""
        ...
