"""A small site behind an endpoint, and a client without a wire: what the tests of the ARM endpoint share."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from vmss_sim.arm import creation
from vmss_sim.arm.endpoint import Endpoint
from vmss_sim.arm.http import Request, Response
from vmss_sim.arm.sets import ArmSet
from vmss_sim.arm.site import Site
from vmss_sim.arm.standing_clocks import ManualClock
from vmss_sim.world.config import Image, Machine, Timings, WorldConfig
from vmss_sim.world.draws import Draws
from vmss_sim.world.faults import Fault
from vmss_sim.world.images import IMAGE
from vmss_sim.world.timings import Constant

EPOCH = dt.datetime(2026, 3, 1, 8, tzinfo=dt.UTC)
VERSION = "2024-07-01"
PARTS = {"publisher": "Canonical", "offer": "ubuntu", "sku": "22_04-lts", "version": "1.0.0"}
TIMINGS = Timings(
    operations={
        "upgrade": Constant(seconds=90),
        "reimage": Constant(seconds=80),
        "restart": Constant(seconds=50),
        "start": Constant(seconds=5),
        "power-off": Constant(seconds=8),
        "deallocate": Constant(seconds=30),
        "delete": Constant(seconds=3),
        "scale-out": Constant(seconds=60),
        "run-command": Constant(seconds=20),
        "update-model": Constant(seconds=1),
        "set-mode": Constant(seconds=1),
    },
    ready=Constant(seconds=20),
    probe_ms=5_000,
)


def config(instances: int = 4, **fields: Any) -> WorldConfig:
    """A set of so many instances, one after the other in zones 1 to 3 and in five domains."""
    image = Image(exact="1.0.0", **PARTS)
    machines = tuple(
        Machine(
            id=str(number),
            vm_id=f"vm-{number}",
            image=image,
            zone=str(number % 3 + 1),
            update_domain=number % 5,
            fault_domain=number % 5,
        )
        for number in range(instances)
    )
    fields = {"timings": TIMINGS, "machines": machines, **fields}
    return WorldConfig(name="web", model={IMAGE + key: value for key, value in PARTS.items()}, **fields)


class Client:
    """Asks an endpoint directly. `set`: the path of the set."""

    def __init__(
        self, world: WorldConfig | None = None, faults: tuple[Fault, ...] = (), seed: int = 1, **options: Any
    ) -> None:
        self.site = Site(epoch=EPOCH, seed=seed)
        self.clock = ManualClock()
        self.log: list[tuple[int, Request, Response]] = []
        self.endpoint = Endpoint(self.site, self.clock, observer=self._seen, **options)
        made = world or config()
        self.one: ArmSet = creation.host(
            self.site, made, Draws(seed, 0, len(made.machines)), faults, group="rg", location="westeurope"
        )
        self.set = self.one.id
        self.group = self.set.partition("/providers")[0]

    def _seen(self, request: Request, response: Response, at_ms: int) -> None:
        self.log.append((at_ms, request, response))

    def ask(
        self,
        method: str,
        path: str = "",
        body: Any = None,
        *,
        version: str = VERSION,
        raw: bytes | None = None,
        **query: str,
    ) -> Response:
        """One request; a path that begins with a slash and names no subscription is below the set."""
        full = path if path.lower().startswith(("/subscriptions", "/nowhere")) else self.set + path
        headers = {key[1:].replace("_", "-"): query.pop(key) for key in list(query) if key.startswith("_")}
        content = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        asked = {"api-version": version, **{key.replace("dollar_", "$"): value for key, value in query.items()}}
        response = self.endpoint.answer(
            Request(
                method=method,
                path=full,
                query={key: value for key, value in asked.items() if value},
                headers=headers,
                body=content,
            )
        )
        msgspec.json.encode(response.body)  # whatever is answered can be sent
        return response

    def follow(self, url: str) -> Response:
        """GET of an absolute URL, as it was given."""
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        return self.endpoint.answer(Request(method="GET", path=parts.path, query=query))

    def wait(self, response: Response, looks: int = 20_000) -> dict[str, Any]:
        """Poll an operation every five virtual seconds (the throttle allows no more) until it has ended; its last body."""
        assert response.status in (200, 201, 202), response
        for _ in range(looks):
            body: dict[str, Any] = self.follow(response.headers["azure-asyncoperation"]).body
            if body["status"] != "InProgress":
                return body
            self.clock.advance(5_000)
        raise AssertionError("it does not end")

    def do(self, method: str, path: str = "", body: Any = None, **query: str) -> dict[str, Any]:
        """A request, and its operation to the end."""
        return self.wait(self.ask(method, path, body, **query))

    def instance(self, name: str) -> dict[str, Any]:
        """One instance's document."""
        body: dict[str, Any] = self.ask("GET", f"/virtualMachines/{name}").body
        return body
