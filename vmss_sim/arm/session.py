"""An emulator that can be talked to: its server, its CA, its token, the `sleep` that tells it; and what to tell clients.

Contract: entered, it answers; left, it does not, and the files it made (token, `sleep`) are gone. The CA stays.
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from planner.errors import InputError
from vmss_sim.arm import certificates, identity
from vmss_sim.arm.at_work import AtWork, Machine
from vmss_sim.arm.control import Control
from vmss_sim.arm.emulator import Emulator
from vmss_sim.arm.server import Limits, Server, require_address
from vmss_sim.arm.standing_clocks import StandingClock

SLEEP = '''\
"""`sleep` for whoever is measured by vmss-sim: it tells the emulator, and sleeps as long as that says."""
import json, os, ssl, sys, time
from http.client import HTTPConnection, HTTPSConnection
from urllib.parse import urlsplit

URL, TOKEN_FILE, CA = {url!r}, {token_file!r}, {ca!r}
UNITS = {{"s": 1, "m": 60, "h": 3600, "d": 86400}}


def seconds(text):
    unit = UNITS.get(text[-1:])
    try:
        value = float(text[:-1] if unit else text) * (unit or 1)
    except ValueError:
        value = -1.0
    if not value >= 0:
        sys.exit("sleep: invalid time interval '%s'" % text)
    return value


def told(span):
    parts = urlsplit(URL)
    if parts.scheme == "https":
        talk = HTTPSConnection(parts.hostname, parts.port, timeout=30, context=ssl.create_default_context(cafile=CA))
    else:
        talk = HTTPConnection(parts.hostname, parts.port, timeout=30)
    with open(TOKEN_FILE) as stream:
        headers = {{"X-Vmss-Sim-Token": stream.read().strip()}}
    said = {{"seconds": span, "pid": os.getpid(), "parent": os.getppid()}}
    while True:
        talk.request("POST", "/_vmss-sim/sleep", json.dumps(said), headers)
        answer = talk.getresponse()
        if answer.status != 200:
            raise OSError(answer.status)
        found = json.loads(answer.read())
        if not found["ticket"]:
            return found["wall_seconds"]
        said = {{"ticket": found["ticket"]}}
        time.sleep(found["wall_seconds"])


if len(sys.argv) < 2:
    sys.exit("sleep: missing operand")
if sys.argv[1] in ("--help", "--version"):
    sys.exit("sleep of vmss-sim: tells the emulator at %s, and takes no time that it does not count" % URL)
span = sum(map(seconds, sys.argv[1:]))
try:
    span = told(min(span, 366 * 86400.0))
except (OSError, ValueError, KeyError):
    pass  # nobody measures any more: sleep as ever
time.sleep(min(span, 10.0 ** 8))
'''


class Block(NamedTuple):
    """What to paste for one kind of client. tested: do our tests drive such a client?"""

    client: str
    lines: tuple[str, ...]
    tested: bool = True


class Session:
    """See above. ca_dir: None is the user's own; http: plain HTTP, too; tls: HTTPS."""

    def __init__(
        self,
        emulator: Emulator,
        *,
        ca_dir: Path | None = None,
        port: int = 0,
        tls: bool = True,
        http: bool = False,
        unsafe_bind: str | None = None,
        limits: Limits | None = None,
    ) -> None:
        if unsafe_bind is not None:
            require_address(unsafe_bind)
        self.emulator = emulator
        self.token = secrets.token_urlsafe(32)
        self.authority = certificates.authority(ca_dir or certificates.home()) if tls else None
        names = certificates.NAMES + ((unsafe_bind,) if unsafe_bind not in (None, "0.0.0.0", "::") else ())
        context = None if self.authority is None else certificates.context(self.authority.ca, names)
        Control(emulator, self.token)
        self.server = Server(emulator.answer, tls=context, port=port, http=http, unsafe_bind=unsafe_bind, limits=limits)
        self.url, self.http_url = self.server.url, self.server.http_url
        self.ca = None if self.authority is None else self.authority.public
        self._folder: Path | None = None

    def __enter__(self) -> Session:
        self._folder = Path(tempfile.mkdtemp(prefix="vmss-sim-"))
        try:
            self._write_files(self._folder)
        except OSError as error:
            self.__exit__()
            raise InputError(
                "the token cannot be written",
                str(self._folder),
                error.strerror or str(error),
                "a folder for temporary files",
            ) from error
        if isinstance(self.emulator.clock, StandingClock):
            self.emulator.clock.sleepers.others = AtWork(Machine(str(self.token_file)))
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def folder(self) -> Path:
        """Where its files are while it answers."""
        assert self._folder is not None, "not entered"
        return self._folder

    @property
    def token_file(self) -> Path:
        """The control token, for its owner's eyes only."""
        return self.folder / "token"

    @property
    def path_first(self) -> Path:
        """The folder with the `sleep` that tells us, to stand first in PATH."""
        return self.folder / "bin"

    def _write_files(self, folder: Path) -> None:
        handle = os.open(folder / "token", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as stream:
            stream.write(self.token + "\n")
        (folder / "bin").mkdir()
        script, command = folder / "sleep.py", folder / "bin" / "sleep"
        ca = None if self.ca is None else str(self.ca)
        script.write_text(SLEEP.format(url=self.url, token_file=str(folder / "token"), ca=ca))
        python, told = shlex.quote(sys.executable), shlex.quote(str(script))
        # Each sleep has the variable in its environment, so that it is known for a client's, whoever calls it.
        ours = f"export VMSS_SIM_TOKEN_FILE={shlex.quote(str(folder / 'token'))}"
        command.write_text(f'#!/bin/sh\n{ours}\nexec {python} -I -S {told} "$@"\n')
        command.chmod(0o755)

    # -- what to tell clients ------------------------------------------------------------------------------------

    @property
    def variables(self) -> dict[str, str]:
        """The environment that every client may have."""
        made = {"VMSS_SIM_URL": self.url, "VMSS_SIM_TOKEN_FILE": str(self.token_file)}
        made["AZURE_SUBSCRIPTION_ID"] = next(iter(self.emulator.site.subscriptions.values()))
        if self.ca is not None:
            ca = str(self.ca)
            made |= {"VMSS_SIM_CA": ca, "REQUESTS_CA_BUNDLE": ca, "NODE_EXTRA_CA_CERTS": ca, "SSL_CERT_FILE": ca}
        if self.http_url:
            made |= {"IDENTITY_ENDPOINT": f"{self.http_url}/msi/token", "IDENTITY_HEADER": identity.IDENTITY_HEADER}
        return made

    def blocks(self) -> Iterator[Block]:
        """What to paste, client by client."""
        site, url = self.emulator.site, self.url
        subscription, tenant = next(iter(site.subscriptions.values())), site.tenant
        one = self.emulator.measured_set
        yield Block(
            "any client",
            (
                f'export PATH={shlex.quote(str(self.path_first))}:"$PATH"  # its sleep tells the emulator',
                *(f"export {name}={shlex.quote(value)}" for name, value in self.variables.items()),
            ),
        )
        known = f"-n vmss-sim --endpoint-resource-manager {url}/"
        if self.authority is not None:
            yield Block(
                "az CLI",
                (
                    'export AZURE_CONFIG_DIR="$(mktemp -d)" AZURE_CORE_INSTANCE_DISCOVERY=false',
                    "export AZURE_CORE_COLLECT_TELEMETRY=0 AZURE_CORE_ONLY_SHOW_ERRORS=true",
                    f"az cloud register {known} || az cloud update {known}",
                    "az cloud set -n vmss-sim",
                    f"az login --service-principal -u {identity.CLIENT} -p anything --tenant {tenant}",
                    f"az vmss show -g {shlex.quote(one.group)} -n {shlex.quote(one.name)}",
                ),
            )
            yield Block("vmss-sim itself, to rehearse", self._rehearsal(tenant))
        insecure = "" if self.authority else ", authentication_policy=…"
        yield Block(
            "Python, azure-mgmt-compute (any TokenCredential will do)",
            (
                f'ComputeManagementClient(credential, "{subscription}", base_url="{url}", '
                f'credential_scopes=["{url}/.default"]{insecure})',
            ),
        )
        yield Block(
            "JavaScript, @azure/arm-compute",
            (f'new ComputeManagementClient(credential, "{subscription}", {{ endpoint: "{url}" }})',),
        )
        yield Block(
            "PowerShell",
            (
                f"Add-AzEnvironment -Name vmss-sim -ARMEndpoint {url}/",
                f"Connect-AzAccount -Environment vmss-sim -ServicePrincipal -Tenant {tenant} -Credential (Get-Credential)",
            ),
            tested=False,
        )
        yield Block(
            "Terraform",
            (
                f"export ARM_METADATA_HOSTNAME={url.partition('://')[2]} ARM_ENVIRONMENT=vmss-sim",
                f"export ARM_SUBSCRIPTION_ID={subscription} ARM_TENANT_ID={tenant}",
                f"export ARM_CLIENT_ID={identity.CLIENT} ARM_CLIENT_SECRET=anything",
                '# provider "azurerm" { features {} resource_provider_registrations = "none" }',
            ),
            tested=False,
        )

    def _rehearsal(self, tenant: str) -> tuple[str, ...]:
        """Snapshot, plan and apply against this. The variables of the first block tell `apply` whose clock it sleeps by; the store is a
        folder of its own, so that no rollout here is taken for one of the real set.
        """
        reach = '--endpoint "$VMSS_SIM_URL" --ca "$VMSS_SIM_CA" --credential environment'
        site = self.emulator.site
        named = [one.id or one.uri or one.version for one in site.images if site.versions_known]
        change = (
            f"--target {shlex.quote(named[0])}" if named and named[0] not in (None, "latest") else "--target VERSION"
        )
        return (
            f"export AZURE_TENANT_ID={tenant} AZURE_CLIENT_ID={identity.CLIENT} AZURE_CLIENT_SECRET=anything",
            'export VMSS_SIM_STORE="file:$(mktemp -d)"  # not where real rollouts are kept',
            f"vmss-sim snapshot --scale-set {shlex.quote(self.emulator.measured_set.id)} {reach} -o snapshot.json",
            f"vmss-sim plan snapshot.json {change} -s one-by-one -o plan.json",
            f"vmss-sim apply plan.json {reach}",
        )

    def script(self) -> str:
        """The first block, to be read by a shell."""
        return "\n".join(next(self.blocks()).lines) + "\n"
