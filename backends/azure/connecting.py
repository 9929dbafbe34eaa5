"""From what an operator says to a backend: credential, endpoint, client, scope.

Contract: reads the environment and az's settings (`clouds.py`), asks a custom endpoint who it is, sends nothing that changes anything.
Errors are `InputError`: one line, what to do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from azure.core import AzureClouds, PipelineClient
from azure.core.exceptions import AzureError
from azure.core.pipeline import policies
from azure.core.pipeline.transport import HttpTransport
from azure.core.rest import HttpRequest
from azure.mgmt.core.tools import get_arm_endpoints

from backends.azure.backend import AzureBackend
from backends.azure.client import Client, Transport
from backends.azure.clock import Sleeper, WallSleeper
from backends.azure.clouds import Place, place, scope_of
from backends.azure.fleet import Fleet
from backends.schedule import Schedule
from planner.errors import InputError
from planner.plan import Plan

CREDENTIALS = {
    "default": "DefaultAzureCredential",
    "environment": "EnvironmentCredential",
    "workload-identity": "WorkloadIdentityCredential",
    "managed-identity": "ManagedIdentityCredential",
    "cli": "AzureCliCredential",
    "developer-cli": "AzureDeveloperCliCredential",
    "powershell": "AzurePowerShellCredential",
    "device-code": "DeviceCodeCredential",
}
"""Credentials by the name an operator gives, and their class in azure-identity."""
_LOCAL = ("cli", "developer-cli", "powershell")  # they ask a program that knows its own cloud
CONNECT_S, READ_S = 10, 60


class Reached(NamedTuple):
    """A way to Azure."""

    client: Client
    clock: Sleeper
    wire: HttpTransport[Any, Any]


def connect(
    scale_set_id: str,
    *,
    plan: Plan | None = None,
    watch: tuple[str, ...] = (),
    api_version: str | None = None,
    schedule: Schedule | None = None,
    **reach: Any,
) -> AzureBackend:
    """A backend for one scale set.

    plan: what it is to be looked at for (the model's paths, run-commands, the platform's rollout). watch: model paths beside the
    plan's. api_version: where an endpoint does not know the SDK's. reach: see `reached`.
    """
    scope = scope_of(scale_set_id)
    way = reached(scope.subscription, **reach)
    made = AzureBackend(
        way.client,
        scope,
        plan=plan,
        watch=watch,
        sleeper=way.clock,
        schedule=schedule,
        api_version=api_version,
    )

    def tells(host: str, why: str, for_ms: int) -> None:
        made.unreached(host, why, for_ms)  # whom that tells is set later

    if isinstance(way.wire, Transport):
        way.wire.tells = tells
    return made


def connect_fleet(subscription: str, group: str = "", **reach: Any) -> Fleet:
    """All sets of a subscription, or of one of its groups. reach: see `reached`."""
    way = reached(subscription, **reach)
    return Fleet(way.client, subscription, group, way.clock, reach.get("says"))


def reached(
    subscription: str,
    *,
    cloud: str | None = None,
    endpoint: str | None = None,
    authority: str | None = None,
    audience: str | None = None,
    ca: Path | str | None = None,
    credential: Any = None,
    tenant: str | None = None,
    client_id: str | None = None,
    sleeper: Sleeper | None = None,
    transport: HttpTransport[Any, Any] | None = None,
    says: Callable[[str], None] | None = None,
    patience_s: float | None = None,
    first_s: float | None = None,
) -> Reached:
    """A client of a subscription.

    credential: a name of `CREDENTIALS`, closed with the client; or an object with `get_token`, which is not. client_id: of a managed or workload identity.
    transport: another than the SDK's, for tests. says: is told whom it waits for.
    patience_s: a read gives up when nobody answered for so long; not given: after about ten minutes. first_s: the same, as long as nobody has
    answered at all.
    """
    credential = credential or "default"
    where = place(cloud=cloud, endpoint=endpoint, authority=authority, audience=audience, ca=ca)
    clock = sleeper or WallSleeper()
    wire = transport or Transport(
        clock,
        says=says,
        patience_s=patience_s,
        first_s=first_s,
        connection_timeout=CONNECT_S,
        read_timeout=READ_S,
        connection_verify=where.ca or True,
    )
    with ExitStack() as opened:
        opened.callback(wire.close)
        base, scopes, authority = _endpoint(where, wire, asked=not isinstance(credential, str) or credential in _LOCAL)
        chosen = credential
        if isinstance(credential, str):
            chosen = credential_of(credential, where, authority, tenant=tenant, client_id=client_id)
            opened.callback(chosen.close)
        made = Client(chosen, subscription, base, scopes, wire, clock.headers, opened.pop_all().close, where.name)
    return Reached(made, clock, wire)


def _endpoint(
    where: Place, transport: HttpTransport[Any, Any], *, asked: bool
) -> tuple[str, tuple[str, ...], str | None]:
    """Address of ARM, scopes of a token for it, and the authority. asked: the authority is not needed."""
    if where.cloud is not None:
        ends = get_arm_endpoints(AzureClouds[where.cloud.azure_core])
        scopes = (f"{where.audience}/.default",) if where.audience else tuple(ends["credential_scopes"])
        return ends["resource_manager"], scopes, where.authority
    base = where.endpoint or ""
    authority, audience = where.authority, where.audience
    if audience is None or (authority is None and not asked):
        told = _metadata(base, transport)
        authority = authority or told[0]
        audience = audience or told[1] or base
    return base, (f"{audience}/.default",), authority


def _metadata(base: str, transport: HttpTransport[Any, Any]) -> tuple[str | None, str | None]:
    """What an endpoint says about itself: login endpoint and audience."""
    client: PipelineClient[Any, Any] = PipelineClient(
        base, policies=[policies.RetryPolicy(retry_total=3), policies.ContentDecodePolicy()], transport=transport
    )
    url = f"{base}/metadata/endpoints?api-version=2022-09-01"
    try:
        response = client.send_request(HttpRequest("GET", url))
        response.raise_for_status()
        told = response.json()["authentication"]
        return str(told["loginEndpoint"]).rstrip("/"), str(told["audiences"][0])
    except AzureError as error:
        raise InputError(
            "the endpoint does not answer", base, str(error).replace("\n", " ")[:200], "", "check address and --ca"
        ) from error
    except (LookupError, TypeError, ValueError):
        return None, None


def credential_of(name: str, where: Place, authority: str | None, *, tenant: str | None, client_id: str | None) -> Any:
    """A credential of azure-identity. Raises InputError where it cannot be made."""
    import azure.identity  # noqa: PLC0415  # half a second, and not needed with a credential at hand

    for logger in (
        "azure",
        "msal",
    ):  # what they would print by themselves stands in the error; who sets logging up still hears it
        logging.getLogger(logger).addHandler(logging.NullHandler())
    if name not in CREDENTIALS:
        raise InputError("unknown credential", "--credential", repr(name), ", ".join(CREDENTIALS))
    local = name in _LOCAL
    options: dict[str, Any] = {}
    if not local and authority:
        options["authority"] = authority
    if not local and where.cloud is None:
        options["disable_instance_discovery"] = True  # an authority of one's own is not in Microsoft's list
    if not local and where.ca:
        options["connection_verify"] = where.ca
    if tenant:
        options["additionally_allowed_tenants" if name == "default" else "tenant_id"] = (
            [tenant] if name == "default" else tenant
        )
    if client_id and not local:
        options["managed_identity_client_id" if name == "default" else "client_id"] = client_id
    try:
        made = getattr(azure.identity, CREDENTIALS[name])(**options)
        return _OfTenant(made, tenant) if tenant and name == "default" else made
    except (ValueError, TypeError, AzureError) as error:
        raise InputError("the credential cannot be used", "--credential", f"{name}: {error}"[:300], "") from error


class _OfTenant:
    """A credential that may be any (`DefaultAzureCredential`), asked for one tenant's token."""

    def __init__(self, credential: Any, tenant: str) -> None:
        self._credential, self._tenant = credential, tenant

    def get_token(self, *scopes: str, **options: Any) -> Any:
        """A token of the tenant."""
        return self._credential.get_token(*scopes, **{"tenant_id": self._tenant, **options})

    def close(self) -> None:
        """Close its connections."""
        self._credential.close()
