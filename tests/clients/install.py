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
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
WHERE: Final = ROOT / ".clients"


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """One environment. asks: what is wanted by name; everything below it is held by `pins` (a constraints or a lock file)."""

    name: str
    asks: tuple[str, ...]
    pins: Path


def _python(name: str, *asks: str) -> Client:
    return Client(name=name, asks=asks, pins=HERE / "pins" / f"{name}.txt")


NODE: Final = Client(name="node", asks=(), pins=HERE / "node" / "package-lock.json")
CLIENTS: Final = (
    _python("az", "azure-cli==2.91.0"),
    _python("mgmt", "azure-mgmt-compute==39.0.0", "aiohttp"),
    # Imports pkg_resources, which newer setuptools lack; adal and requests are as new as they come.
    _python("azurerm", "azurerm==0.10.0", "setuptools==80.10.2"),
    _python("fuzz", "schemathesis==4.32.5"),
    NODE,
)

UNREACHABLE: Final = re.compile(
    r"NewConnectionError|NameResolutionError|ConnectTimeoutError|ReadTimeoutError|ConnectionResetError|ProxyError"
    r"|Temporary failure in name resolution|Name or service not known|Network is unreachable|Connection refused"
    r"|\b(?:ENOTFOUND|ECONNREFUSED|ECONNRESET|ETIMEDOUT|EAI_AGAIN|ENETUNREACH|ERR_SOCKET_TIMEOUT)\b"
)
"""What pip and npm print when the registry cannot be talked to, as opposed to when it says no."""


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
    if client is NODE:
        # No script of any package runs, and no address of a registry is looked up in the lock file: there is none.
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
    if client is NODE:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / "node" / name, where / name)
    began = time.monotonic()
    for command in commands(client, where):
        try:
            done = subprocess.run(command, cwd=where, env=env, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return Result(
                client=client.name, failed=f"{command[0]} is not on this machine: Node.js 20 or newer brings it"
            )
        if done.returncode != 0:
            return _went_wrong(client, done.stdout + done.stderr)
    stamp(client.name).write_text(fingerprint(client))
    return Result(client=client.name, seconds=time.monotonic() - began)


def _went_wrong(client: Client, output: str) -> Result:
    found = UNREACHABLE.search(output)
    if found is None:
        return Result(client=client.name, failed=output[-4000:])
    reason = f"{client.name}: the package registry cannot be reached ({found.group()})"
    excuse(client.name).write_text(reason)
    return Result(client=client.name, unreachable=reason)


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
