"""Where a rollout is carried out: which Resource Manager, and how it is reached. Kept with the rollout; nothing in it is secret.

Rules this module decides:

1. The same plan at another Resource Manager is another rollout: a rehearsal on an emulator is not the real thing.
2. Who goes on with a rollout and says nothing reaches it as it was begun: endpoint, certificate authority, kind of credential.
   Another Resource Manager is refused; another credential or certificate authority may be said.
3. A rollout from before this was kept is wherever it is asked for.
4. az goes where its own settings say, and takes no endpoint with a command: a custom endpoint is registered as a cloud first, its certificate authority is
   said in the environment, and a login is one of that cloud. Its settings stay in that cloud afterwards: `az cloud set -n AzureCloud` leads back.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from backends.azure.clouds import CLOUDS, place
from planner.errors import InputError

_AZ_CLOUD = "vmss-sim"
"""The name under which az knows a custom endpoint; the emulator's lines for az have the same."""
_PRINCIPAL = "az login --service-principal -u {client_id} --tenant {tenant}"
_AZ_LOGIN = {
    "environment": f'{_PRINCIPAL} --password="$AZURE_CLIENT_SECRET"',  # `=`: a secret may begin with a hyphen
    "workload-identity": f'{_PRINCIPAL} --federated-token "$(cat "$AZURE_FEDERATED_TOKEN_FILE")"',
    "managed-identity": "az login --identity",
    "device-code": "az login --use-device-code",
}
"""By kind of credential, as `az login --help` of azure-cli 2.91 has it; any other is a person's."""


class Where(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One of endpoint and cloud is said. ca: a file. credential: its kind, as `--credential` names it."""

    endpoint: str = ""
    cloud: str = ""
    ca: str = ""
    credential: str = "default"
    tenant: str = ""
    client_id: str = ""

    @property
    def name(self) -> str:
        """For people."""
        return self.endpoint or f"the {self.cloud} cloud"

    @property
    def options(self) -> str:
        """What a command line says to lead there; nothing where Azure's default is meant."""
        cloud = "" if self.cloud == "public" else self.cloud
        given = {
            "endpoint": self.endpoint,
            "cloud": cloud,
            "ca": self.ca,
            "credential": self.credential,
            "tenant": self.tenant,
            "client-id": self.client_id,
        }
        made = [f"--{name} {shlex.quote(value)}" for name, value in given.items() if value and value != "default"]
        return " ".join(made)

    @property
    def az(self) -> tuple[str, ...]:
        """Rule 4: the lines of a shell after which az's commands lead there; none for Azure's default."""
        if self.cloud == "public":
            return ()
        ca = (f"export REQUESTS_CA_BUNDLE={shlex.quote(self.ca)}",) if self.ca else ()
        login = self._az_login
        if self.cloud:
            return (*ca, f"az cloud set -n {CLOUDS[self.cloud].az}", login)
        known = f"-n {_AZ_CLOUD} --endpoint-resource-manager {shlex.quote(self.endpoint + '/')}"
        register = f"az cloud register {known} || az cloud update {known}"
        return (*ca, "export AZURE_CORE_INSTANCE_DISCOVERY=false", register, f"az cloud set -n {_AZ_CLOUD}", login)

    @property
    def _az_login(self) -> str:
        """Who logs in: as vmss-sim does, where az can."""
        line = _AZ_LOGIN.get(self.credential, "az login")
        if line.startswith(_PRINCIPAL):
            client = shlex.quote(self.client_id) if self.client_id else '"$AZURE_CLIENT_ID"'
            tenant = shlex.quote(self.tenant) if self.tenant else '"$AZURE_TENANT_ID"'
            return line.format(client_id=client, tenant=tenant)
        if self.credential == "managed-identity":  # of a tenant of its own
            return f"{line} --client-id {shlex.quote(self.client_id)}" if self.client_id else line
        return f"{line} --tenant {shlex.quote(self.tenant)}" if self.tenant else line

    @property
    def key(self) -> tuple[str, str]:
        """Rule 1."""
        return self.endpoint.lower(), self.cloud


def where_of(options: Mapping[str, Any]) -> Where:
    """Where these options of a command lead, with what the environment and az say. Raises InputError."""
    found = place(cloud=options.get("cloud"), endpoint=options.get("endpoint"), ca=options.get("ca"))
    return Where(
        endpoint=found.endpoint or "",
        cloud=found.cloud.name if found.cloud is not None else "",
        ca=str(Path(found.ca).absolute()) if found.ca else "",
        credential=options.get("credential") or "default",
        tenant=options.get("tenant") or "",
        client_id=options.get("client_id") or "",
    )


def going_on(rollout: str, begun: Where | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """Rule 2: the options to go on with. Raises InputError where they lead elsewhere."""
    made = dict(options)
    if begun is None:
        return made
    said = bool(options.get("endpoint") or options.get("cloud"))
    if said and (now := where_of(options)).key != begun.key:
        raise InputError(
            "this rollout was begun elsewhere, and another Resource Manager is another rollout",
            rollout,
            now.name,
            begun.name,
            "leave --endpoint and --cloud out to go on there; nothing was sent",
        )
    if begun.endpoint:
        made["endpoint"] = begun.endpoint
    elif not said and where_of({}).cloud != begun.cloud:
        made["cloud"] = begun.cloud
    for name in ("ca", "credential", "tenant", "client_id"):
        if made.get(name) is None:
            made[name] = getattr(begun, name) or None
    return made
