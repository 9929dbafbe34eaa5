"""A scripted ARM behind `responses`: documents of the recorded shape, answers as they are told, and every request written down."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import requests
import responses

from backends.azure import connect
from backends.azure.backend import AzureBackend
from planner.commands import Command, Kind
from planner.model import UpgradeMode

SUB = "00000000-0000-0000-0000-000000000000"
SET = f"/subscriptions/{SUB}/resourceGroups/rg/providers/Microsoft.Compute/virtualMachineScaleSets/web"
ARM = "https://management.azure.com"
SECRET = "eyJ0eXAi.s3cr3t-token.c2ln"
OLD, NEW = "22.04.202604160", "22.04.202606010"
OPERATION = f"{ARM}/subscriptions/{SUB}/providers/Microsoft.Compute/locations/westeurope/operations/"


class Told(NamedTuple):
    """An answer: status, body, headers; or an exception instead."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = MappingProxyType({})
    error: Exception | None = None


class Call(NamedTuple):
    """A request as it was seen on the wire."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    url: str


class ManualSleeper:
    """A clock that passes only by being slept."""

    slice_ms = 1_000
    headers: Mapping[str, str] = {}

    def __init__(self, now_ms: int = 1_000) -> None:
        self.now = now_ms
        self.slept: list[int] = []

    def now_ms(self) -> int:
        return self.now

    def sleep_ms(self, span_ms: int) -> None:
        self.slept.append(span_ms)
        self.now += span_ms


class Token:
    """A credential with a secret that must never be seen anywhere."""

    def __init__(self) -> None:
        self.asked = 0
        self.error: Exception | None = None

    def get_token(self, *scopes: str, **_: Any) -> Any:
        from azure.core.credentials import AccessToken

        self.asked += 1
        self.scopes = scopes
        if self.error is not None:
            raise self.error
        return AccessToken(SECRET, 4_000_000_000)


def image(version: str, exact: str | None = None) -> dict[str, Any]:
    shown = {"publisher": "Canonical", "offer": "ubuntu", "sku": "22_04-lts", "version": version}
    return {**shown, "exactVersion": exact} if exact else shown


def set_document(
    n: int = 3, *, mode: str = "Manual", version: str = OLD, etag: str = '"3"', **facts: Any
) -> dict[str, Any]:
    """A scale set as api-version 2024 and later shows it."""
    return {
        "name": "web",
        "id": SET,
        "type": "Microsoft.Compute/virtualMachineScaleSets",
        "location": "westeurope",
        "etag": etag,
        "sku": {"name": "Standard_D2s_v5", "tier": "Standard", "capacity": n},
        "properties": {
            "singlePlacementGroup": True,
            "orchestrationMode": "Uniform",
            "upgradePolicy": {"mode": mode},
            "virtualMachineProfile": {
                "osProfile": {"computerNamePrefix": "web", "linuxConfiguration": {"disablePasswordAuthentication": True}},
                "storageProfile": {
                    "osDisk": {"osType": "Linux", "createOption": "FromImage", "managedDisk": {"storageAccountType": "Premium_LRS"}},
                    "imageReference": image(version),
                    "dataDisks": [{"lun": 0, "createOption": "Empty", "diskSizeGB": 64}],
                },
                "extensionProfile": {
                    "extensions": [
                        {
                            "name": "health",
                            "properties": {
                                "publisher": "Microsoft.ManagedServices",
                                "type": "ApplicationHealthLinux",
                                "typeHandlerVersion": "1.0",
                                "settings": {"protocol": "http", "port": 80, "requestPath": "/health"},
                            },
                        }
                    ]
                },
            },
            "provisioningState": "Succeeded",
            "overprovision": False,
            "uniqueId": "11111111-1111-1111-1111-111111111111",
            "platformFaultDomainCount": 5,
            **facts,
        },
    }  # fmt: skip


def instance_document(
    name: str, *, version: str = OLD, latest: bool = True, health: str | None = "healthy", provisioning: str = "Succeeded",
    power: str = "running", vm_id: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    view: dict[str, Any] = {
        "platformUpdateDomain": int(name) % 5,
        "platformFaultDomain": int(name) % 5,
        "statuses": [
            {"code": f"ProvisioningState/{provisioning.lower()}", "level": "Info"},
            {"code": f"PowerState/{power}", "level": "Info"},
        ],
    }
    if health is not None:
        view["vmHealth"] = {"status": {"code": f"HealthState/{health}", "level": "Info"}}
    return {
        "name": f"web_{name}",
        "id": f"{SET}/virtualMachines/{name}",
        "type": "Microsoft.Compute/virtualMachineScaleSets/virtualMachines",
        "location": "westeurope",
        "instanceId": name,
        "properties": {
            "latestModelApplied": latest,
            "vmId": vm_id or f"vm-{name}",
            "provisioningState": provisioning,
            "storageProfile": {
                "imageReference": image(version, version),
                "osDisk": {"name": f"web_{name}_OsDisk_1_{version}", "osType": "Linux", "managedDisk": {"id": f"{SET}/d{name}"}},
            },
            "instanceView": view,
        },
    }  # fmt: skip


class Arm:
    """What ARM says: `told` by method and path (the last answer stays), else the documents."""

    def __init__(self, n: int = 3, **facts: Any) -> None:
        self.set = set_document(n, **facts)
        self.instances = {str(index): instance_document(str(index)) for index in range(n)}
        self.latest: dict[str, Any] | None = None
        self.view: dict[str, Any] = {}
        self.page = 100
        self.headers: dict[str, str] = {}
        self.told: dict[tuple[str, str], list[Told | Callable[[Call], Told]]] = {}
        self.calls: list[Call] = []

    def tell(self, method: str, path: str, *answers: Told | Callable[[Call], Told]) -> None:
        """path: below the set where it does not begin with a slash or a scheme."""
        self.told[method, _below(path)] = list(answers)

    def accept(self, path: str, *operations: Told, method: str = "POST", number: str = "op-1", **headers: str) -> None:
        """A request that is accepted, and what its operation says, poll by poll."""
        url = OPERATION + number
        first = {"Azure-AsyncOperation": url, "Location": f"{url}?monitor=true", **headers}
        self.tell(method, path, Told(202 if method == "POST" else 200, None if method == "POST" else self.set, first))
        self.told["GET", urlsplit(url).path] = list(operations)

    @property
    def sent(self) -> list[Call]:
        """What changes something."""
        return [call for call in self.calls if call.method != "GET"]

    def answer(self, request: requests.PreparedRequest) -> Any:
        parts = urlsplit(request.url or "")
        body = json.loads(request.body) if request.body else None
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        call = Call(
            request.method or "", unquote(parts.path), query, {k.lower(): str(v) for k, v in request.headers.items()}, body,
            request.url or "",
        )  # fmt: skip
        self.calls.append(call)
        told = self._told(call)
        if told.error is not None:
            raise told.error
        text = "" if told.body is None else told.body if isinstance(told.body, str) else json.dumps(told.body)
        return told.status, {"Content-Type": "application/json", **self.headers, **told.headers}, text

    def _told(self, call: Call) -> Told:
        script = self.told.get((call.method, call.path))
        if script:
            one = script.pop(0) if len(script) > 1 else script[0]
            return one(call) if callable(one) else one
        if call.method == "GET":
            return self._document(call)
        return error(500, "NotScripted", f"{call.method} {call.path}")

    def _document(self, call: Call) -> Told:
        if call.path == SET:
            return Told(body=self.set)
        if call.path == f"{SET}/instanceView":
            return Told(body=self.view)
        if call.path == f"{SET}/rollingUpgrades/latest":
            return Told(body=self.latest) if self.latest else error(404, "NotFound", "The entity was not found.")
        if call.path == f"{SET}/virtualMachines":
            start = int(call.query.get("$skiptoken", "0"))
            items = list(self.instances.values())
            page: dict[str, Any] = {"value": items[start : start + self.page]}
            if start + self.page < len(items):
                page["nextLink"] = (
                    f"{ARM}{SET}/virtualMachines?api-version=2026-04-01&$expand=instanceView&$skiptoken={start + self.page}"
                )
            return Told(body=page)
        return error(404, "ResourceNotFound", f"no {call.path}")


def error(status: int, code: str, message: str = "told so", **headers: str) -> Told:
    return Told(
        status, {"error": {"code": code, "message": message}}, {k.replace("_", "-"): v for k, v in headers.items()}
    )


def operation(status: str, code: str = "", message: str = "", **more: Any) -> Told:
    body: dict[str, Any] = {"startTime": "2026-06-01T10:00:00.1234567+00:00", "status": status, "name": "op", **more}
    if code:
        body["error"] = {"code": code, "message": message}
    return Told(body=body)


RUNNING, DONE = operation("InProgress"), operation("Succeeded")


def _below(path: str) -> str:
    return path if path.startswith("/") else f"{SET}/{path}".rstrip("/")


@contextmanager
def listening(arm: Arm) -> Iterator[Arm]:
    """While this lasts, ARM is `arm`, and there is no other network."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        import re

        for method in ("GET", "PUT", "PATCH", "POST", "DELETE"):
            mock.add_callback(method, re.compile(r"https://.*"), callback=arm.answer)
        yield arm


def backend(sleeper: ManualSleeper | None = None, **options: Any) -> AzureBackend:
    options.setdefault("credential", Token())
    options.setdefault("cloud", "public")
    return connect(SET, sleeper=sleeper or ManualSleeper(), **options)


def command(kind: Kind, *ids: str, **more: Any) -> Command:
    return Command(id=more.pop("id", "c1"), kind=kind, why="for a test", ids=ids, **more)


VERSION = "properties.virtualMachineProfile.storageProfile.imageReference.version"
COMMANDS = {
    Kind.SET_MODE: command(Kind.SET_MODE, mode=UpgradeMode.MANUAL),
    Kind.SUSPEND_REPAIRS: command(Kind.SUSPEND_REPAIRS),
    Kind.RESUME_REPAIRS: command(Kind.RESUME_REPAIRS),
    Kind.UPDATE_MODEL: command(Kind.UPDATE_MODEL, patch={VERSION: NEW}),
    Kind.UPGRADE: command(Kind.UPGRADE, "0", "2"),
    Kind.REIMAGE: command(Kind.REIMAGE, "1", exact_version=NEW),
    Kind.RESTART: command(Kind.RESTART, "1"),
    Kind.RUN_COMMAND: command(Kind.RUN_COMMAND, "0", "1", script="echo done", name="vmss-sim-1"),
    Kind.DELETE: command(Kind.DELETE, "2"),
    Kind.SET_CAPACITY: command(Kind.SET_CAPACITY, capacity=4),
    Kind.START_OS_UPGRADE: command(Kind.START_OS_UPGRADE),
    Kind.CANCEL_ROLLING: command(Kind.CANCEL_ROLLING),
}
"""One command of every kind."""
