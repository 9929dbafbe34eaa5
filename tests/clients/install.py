"""Installs the clients, each into an environment of its own below `.clients/`, in the versions pinned beside this file.

Contract: what is installed already, as pinned, is left alone. A client counts as *unreachable*, and its tests are skipped with
that reason, only where the registry configured on this machine could not be talked to; whatever else goes wrong is a failure.
Run as `python -m tests.clients.install [CLIENT...]`: exit status 0 unless something failed.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
WHERE: Final = ROOT / ".clients"


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """One environment. asks: what pip is asked for by name (npm: what stands in the lock file); everything below is held by `pins`."""

    name: str
    asks: tuple[str, ...] = ()
    pins: Path

    @property
    def npm(self) -> bool:
        """By npm, from a lock file; else by pip."""
        return not self.asks


def _python(name: str, *asks: str) -> Client:
    return Client(name=name, asks=asks, pins=HERE / "pins" / f"{name}.txt")


CLIENTS: Final = (
    _python("az", "azure-cli==2.91.0"),
    _python("mgmt", "azure-mgmt-compute==39.0.0", "aiohttp"),
    # Imports pkg_resources, which newer setuptools lack; adal and requests are as new as they come.
    _python("azurerm", "azurerm==0.10.0", "setuptools==80.10.2"),
    _python("fuzz", "schemathesis==4.32.5"),
    Client(name="node", pins=HERE / "node" / "package-lock.json"),
    # Microsoft's validator, which judges what the others are answered.
    Client(name="oav", pins=ROOT / "tests" / "contract" / "package-lock.json"),
)

TROUBLE: Final = re.compile(
    r"NewConnectionError|NameResolutionError|ConnectTimeoutError|ReadTimeoutError|ConnectionResetError|ProxyError"
    r"|Temporary failure in name resolution|Name or service not known|Network is unreachable|Connection refused"
    r"|\b(?:ENOTFOUND|ECONNREFUSED|ECONNRESET|ETIMEDOUT|EAI_AGAIN|ENETUNREACH|ERR_SOCKET_TIMEOUT)\b"
)
"""What pip and npm print when the network is in their way, as opposed to when the registry says no."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one client. unreachable: why it is left out; failed: why it is broken; neither: it is there."""

    client: str
    seconds: float = 0.0
    unreachable: str = ""
    failed: str = ""


def fingerprint(client: Client) -> str:
    """Changes whenever the environment must be made anew: the pins, what is asked for, the interpreter."""
    parts = [sys.version, str(WHERE), *client.asks, client.pins.read_text()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def stamp(name: str) -> Path:
    """The file that says an environment is complete."""
    return WHERE / f"{name}.installed"


def excuse(name: str) -> Path:
    """The file that says why a client could not be had."""
    return WHERE / f"{name}.unreachable"


def commands(client: Client, where: Path) -> list[Sequence[str]]:
    """What makes the environment."""
    if client.npm:
        # No script of any package runs; and the lock file names no registry, so the one that is configured is asked.
        return [["npm", "ci", "--prefix", str(where), "--no-audit", "--no-fund", "--ignore-scripts"]]
    pip = [str(where / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    return [
        [sys.executable, "-m", "venv", "--clear", str(where)],
        [*pip, "--constraint", str(client.pins), *client.asks],
    ]


def install(client: Client, env: Mapping[str, str] | None = None) -> Result:
    """Make one environment, unless it is there. Nothing half-made stays behind without being made anew the next time."""
    if stamp(client.name).exists() and stamp(client.name).read_text() == fingerprint(client):
        return Result(client=client.name)
    where = WHERE / client.name
    stamp(client.name).unlink(missing_ok=True)
    excuse(client.name).unlink(missing_ok=True)
    shutil.rmtree(where, ignore_errors=True)
    where.mkdir(parents=True)
    if client.npm:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(client.pins.with_name(name), where / name)
    began = time.monotonic()
    for command in commands(client, where):
        try:
            done = subprocess.run(command, cwd=where, env=env, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return Result(
                client=client.name, failed=f"{command[0]} is not on this machine: Node.js 20 or newer brings it"
            )
        if done.returncode != 0:
            return went_wrong(client, done.stdout + done.stderr, lambda: reachable(client, where, env))
    (where / ".installed").touch()  # what tests/contract looks for
    stamp(client.name).write_text(fingerprint(client))
    return Result(client=client.name, seconds=time.monotonic() - began)


def went_wrong(client: Client, output: str, reachable: Callable[[], bool]) -> Result:
    """What a failed command means. Unreachable: it met trouble on its way, and the registry cannot be asked for anything else, either."""
    found = TROUBLE.search(output)
    if found is None or reachable():
        return Result(client=client.name, failed=output[-4000:])
    reason = f"{client.name}: the package registry cannot be reached ({found.group()})"
    excuse(client.name).write_text(reason)
    return Result(client=client.name, unreachable=reason)


def reachable(client: Client, where: Path, env: Mapping[str, str] | None) -> bool:
    """Can the registry be asked for the client itself? (Something smaller might lie on this machine already.)"""
    ask = ["npm", "view", "tslib", "version", "--prefer-online"]
    if not client.npm:
        pip = [str(where / "bin" / "python"), "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        ask = [*pip, "--no-deps", "--no-cache-dir", client.asks[0]]
    with tempfile.TemporaryDirectory() as elsewhere:
        return subprocess.run(ask, cwd=elsewhere, env=env, capture_output=True, check=False).returncode == 0


def main(names: Sequence[str]) -> int:
    """Install what is named, or everything: two at a time."""
    chosen = [client for client in CLIENTS if not names or client.name in names]
    WHERE.mkdir(exist_ok=True)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = list(pool.map(install, chosen))
    for one in results:
        what = one.failed or one.unreachable or (f"installed in {one.seconds:.0f} s" if one.seconds else "there")
        print(f"{one.client}: {'FAILED: ' if one.failed else ''}{what}")
    return 1 if any(one.failed for one in results) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
