"""An emulator in a process of its own, clients in theirs, and what is asked of both.

Contract: a client's process sees of this one's environment only PATH, and what the emulator says that a user should set; its traffic to
anywhere but loopback goes to a proxy that does not exist; its telemetry is off. Every emulator leaves its trace below `.clients/traces`,
which `conformance.py` holds to Azure's description; only fuzzing leaves its own elsewhere.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from tests.clients import exchanges, install
from vmss_sim.arm.client import Control

HERE: Final = Path(__file__).parent
DRIVERS: Final = HERE / "drivers"
TRACES: Final = install.WHERE / "traces"
OLD, NEW = "14.04.201506100", "14.04.201507060"
PATIENCE_S: Final = 420.0
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

    @property
    def json(self) -> Any:
        """What it printed."""
        return msgspec.json.decode(self.out) if self.out.strip() else None


class Emulator:
    """A running emulator. said: the environment it tells users to set; told: what it printed for them."""

    def __init__(self, said: dict[str, str], told: str, trace: Path, home: Path) -> None:
        self.said, self.told, self.trace, self.home = said, told, trace, home
        self.url, self.http = said["VMSS_SIM_URL"], said["IDENTITY_ENDPOINT"].removesuffix("/msi/token")
        self.control = Control(self.url, Path(said["VMSS_SIM_TOKEN_FILE"]).read_text().strip(), said["VMSS_SIM_CA"])
        one = self.control.state()["sets"][0]["id"].split("/")
        self.subscription, self.group, self.name = one[2], one[4], one[8]

    def environment(self, **more: str) -> dict[str, str]:
        """What a client's process sees."""
        base = {"HOME": str(self.home), "LANG": "C.UTF-8", "AZURE_CONFIG_DIR": str(self.home / "azure")}
        facts = {"SUBSCRIPTION": self.subscription, "GROUP": self.group, "NAME": self.name, "TARGET": NEW}
        return {**base, **GUARD, **self.said, **facts, "ENDPOINT": self.url, "AZURE_RM_ENDPOINT": self.http, **more}

    def run(self, command: Sequence[str], *, cwd: Path | None = None, **more: str) -> Finished:
        """A client's process, to its end."""
        done = subprocess.run(
            command,
            env=self.environment(**more),
            cwd=cwd or self.home,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        return Finished(status=done.returncode, out=done.stdout, err=done.stderr)

    def driver(self, script: str, what: str) -> dict[str, Any]:
        """What one of the drivers printed at its end."""
        client, interpreter = PROGRAMS[script]
        done = self.run([interpreter, str(DRIVERS / script), what], cwd=install.WHERE / client)
        assert done.status == 0, f"{script} {what}: exit status {done.status}\n{done.out}\n{done.err}"
        found: dict[str, Any] = done.json
        return found

    @property
    def final(self) -> dict[str, Any]:
        """The report that the emulator wrote when it ended."""
        found: dict[str, Any] = msgspec.json.decode((self.home / "report.json").read_bytes())
        return found

    def exchanges(self) -> list[dict[str, Any]]:
        """What was said so far."""
        return exchanges.read(self.trace)


PROGRAMS: Final = {
    "mgmt_sync.py": ("mgmt", str(install.WHERE / "mgmt" / "bin" / "python")),
    "mgmt_async.py": ("mgmt", str(install.WHERE / "mgmt" / "bin" / "python")),
    "rollout.mjs": ("node", "node"),
    "seed_article.py": ("azurerm", str(install.WHERE / "azurerm" / "bin" / "python")),
}
"""Which client a driver is of, and what runs it."""


@contextmanager
def emulator(scenario: str, home: Path, *options: str, traces: Path = TRACES) -> Iterator[Emulator]:
    """`vmss-sim emulate` of one of the scenarios beside this file, on free ports, until the block ends."""
    traces.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(".jsonl", f"{home.name.strip('0')}-", traces)
    os.close(handle)
    trace = Path(name)
    env, log = home / "env.sh", home / "emulator.log"
    command = [
        sys.executable, "-m", "vmss_sim", "emulate", str(HERE / "scenarios" / f"{scenario}.toml"), "--http", "--force",
        "--ca-dir", str(home / "ca"), "--env", str(env), "--trace", str(trace), "--report", str(home / "report.json"), *options,
    ]  # fmt: skip
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=install.ROOT, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield Emulator(_environment(process, env, log), log.read_text(), trace, home)
        assert process.poll() is None, f"the emulator ended by itself: {log.read_text()}"
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert process.returncode in (0, 1), log.read_text()


def _environment(process: subprocess.Popen[bytes], env: Path, log: Path) -> dict[str, str]:
    """The environment that the emulator wrote once it answered, as a shell understands it."""
    until = time.monotonic() + 60
    while not (env.exists() and env.stat().st_size):
        assert process.poll() is None and time.monotonic() < until, f"the emulator did not start: {log.read_text()}"
        time.sleep(0.05)
    shell = ["bash", "-c", f". {shlex.quote(str(env))}; exec env -0"]
    seen = subprocess.run(shell, env={"PATH": os.environ["PATH"]}, capture_output=True, check=True).stdout.decode()
    pairs = dict(one.split("=", 1) for one in seen.split("\0") if one)
    return {name: value for name, value in pairs.items() if name not in ("_", "PWD", "OLDPWD", "SHLVL")}
