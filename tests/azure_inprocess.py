"""The Azure backend over the emulator without a wire: the SDK's own transport, whose requests an `Endpoint` answers.

What is between the SDK and the endpoint is a `requests` adapter; time is the endpoint's manual clock, which passes by being slept.
Troubles of the wire are values (`Trouble`) asked for each request, as the world's faults are for each operation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3 import HTTPResponse
from urllib3.exceptions import NewConnectionError, ProtocolError

from backends.azure import connect
from backends.azure.backend import AzureBackend
from backends.azure.client import Transport
from backends.azure.requests import FLEXIBLE_RUN_COMMAND, READS, WRITES
from backends.schedule import Schedule
from planner.model import ScaleSet
from planner.plan import Plan
from scenarios import build, to_arm
from scenarios.build import Setup
from scenarios.files import load
from tests.azure_arm import Token
from vmss_sim.arm import changes, creation, model_document, resources
from vmss_sim.arm.endpoint import Endpoint
from vmss_sim.arm.http import Request, Response
from vmss_sim.arm.site import Site
from vmss_sim.arm.standing_clocks import ManualClock
from vmss_sim.world.draws import Draws
from vmss_sim.world.scale_set import World

BUNDLED = Path(build.__file__).parent / "bundled"
BASE = "https://emulator.test"

Trouble = Callable[[int, Request], str | Response | None]
"""What goes wrong with request number n: `lost-request`, `lost-reply`, `no-route`, an answer in its place, or None."""


class EndpointSleeper:
    """The endpoint's clock, slept on."""

    slice_ms = 1_000
    headers: Mapping[str, str] = {}

    def __init__(self, endpoint: Endpoint, clock: ManualClock) -> None:
        self.endpoint, self.clock = endpoint, clock

    def now_ms(self) -> int:
        return self.clock.now_ms()

    def sleep_ms(self, span_ms: int) -> None:
        self.clock.advance(span_ms)
        self.endpoint.advance(self.clock.now_ms())


class Direct(BaseAdapter):
    """Requests answered by an endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__()
        self.endpoint = endpoint
        self.count = 0
        self.trouble: Trouble = lambda _number, _request: None
        self.seen: list[tuple[Request, Response]] = []

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        self.count += 1
        parts = urlsplit(request.url or "")
        body = request.body or b""
        asked = Request(
            method=request.method or "",
            path=unquote(parts.path),
            query={key.lower(): value for key, value in parse_qsl(parts.query, keep_blank_values=True)},
            headers={key.lower(): str(value) for key, value in request.headers.items()},
            body=body.encode() if isinstance(body, str) else body,
            base=f"{parts.scheme}://{parts.netloc}",
        )
        trouble = self.trouble(self.count, asked)
        if trouble == "no-route":
            raise requests.exceptions.ConnectionError(NewConnectionError(None, "no route"))  # type: ignore[arg-type]
        lost = requests.exceptions.ConnectionError(
            ProtocolError("Connection aborted.", ConnectionResetError(104, "reset"))
        )
        if trouble == "lost-request":
            raise lost
        answer = trouble if isinstance(trouble, Response) else self.endpoint.answer(asked)
        self.seen.append((asked, answer))
        if trouble == "lost-reply" or answer.status == 0:
            raise lost
        content = b"" if answer.body is None else msgspec.json.encode(answer.body)
        headers = {"content-length": str(len(content)), **answer.headers}
        if content:
            headers["content-type"] = "application/json; charset=utf-8"
        raw = HTTPResponse(body=BytesIO(content), headers=headers, status=answer.status, preload_content=False)
        return HTTPAdapter().build_response(request, raw)

    def close(self) -> None:
        """Nothing is open."""


def _pattern(path: str) -> re.Pattern[str]:
    """A row's path as a pattern: a placeholder is one segment, or a whole id."""
    sub = r"/subscriptions/[^/]+"
    whole = {"group": rf"{sub}/resourceGroups/[^/]+", "sub": sub, "image": r"/subscriptions/.+"}
    whole["set"] = whole["group"] + r"/providers/Microsoft\.Compute/virtualMachineScaleSets/[^/]+"
    parts = re.split(r"\{(\w+)\}", path)
    text = "".join(whole.get(part, r"[^/]+") if index % 2 else re.escape(part) for index, part in enumerate(parts))
    return re.compile(text + r"/?", re.I)


_WRITES = [(row.method, _pattern(row.path)) for row in (*WRITES.values(), FLEXIBLE_RUN_COMMAND)]
_READS = [("GET", _pattern(row.path)) for row in READS.values() if row.path != "{image}"]
_OPERATIONS = [("GET", _pattern("{sub}/providers/Microsoft.Compute/locations/{location}/operations/{operation}"))]


def listed(asked: Request) -> bool:
    """Is this request a row of the tables, or a look at an operation?"""
    return any(
        asked.method == method and path.fullmatch(asked.path) for method, path in (*_WRITES, *_READS, *_OPERATIONS)
    )


class Emulated:
    """A site with a scale set behind an endpoint, and backends that reach it."""

    def __init__(self, site: Site, *, throttle: bool = False, opaque: bool = True) -> None:
        self.site, self.one = site, site.sets[0]
        self.clock = ManualClock()
        self.endpoint = Endpoint(
            site,
            self.clock,
            throttle=throttle,
            opaque_urls=opaque,
            others=resources.answer,
        )
        self.wire = Direct(self.endpoint)
        self.sleeper = EndpointSleeper(self.endpoint, self.clock)

    def only_what_is_listed(self) -> None:
        """Every request was one of the tables', or an operation's address that the endpoint gave."""
        for asked, _ in self.wire.seen:
            assert listed(asked), f"{asked.method} {asked.path} is in no table"

    def backend(
        self,
        plan: Plan | None = None,
        *,
        poll_ms: int = 10_000,
        schedule: Schedule | None = None,
        watch: tuple[str, ...] = (),
        **more: Any,
    ) -> AzureBackend:
        session = requests.Session()
        session.mount("https://", self.wire)
        session.trust_env = False
        return connect(
            self.one.id,
            plan=plan,
            watch=watch,
            endpoint=BASE,
            audience=BASE,
            credential=Token(),
            sleeper=self.sleeper,
            schedule=schedule or Schedule.every(poll_ms),
            transport=Transport(self.sleeper, session=session, session_owner=False),
            **more,
        )


def of_scenario(name: str, seed: int = 1) -> tuple[Setup, Emulated]:
    """A bundled scenario, as `vmss-sim emulate` serves it. The setup's luck, faults and world are the emulator's."""
    path = BUNDLED / f"{name}.toml"
    staged = to_arm.stage(load(path), path.parent, str(path), seed=seed, breaches=lambda _setup, _measures: ())
    emulated = Emulated(staged.make())
    setup = build.read(path)
    return msgspec.structs.replace(setup, world=emulated.one.world.config), emulated


def of_world(world: World, scale_set: ScaleSet) -> Emulated:
    """A world of a test behind an endpoint: it stays the world it is."""
    return Emulated(site_of(world, scale_set))


def site_of(world: World, scale_set: ScaleSet) -> Site:
    """A site around a world of a test."""
    site = Site(epoch=to_arm.EPOCH, seed=1)
    document = model_document.of(world.config, name="web", location="westeurope", given=None, model=scale_set.model)
    one = creation.host(
        site,
        world.config,
        Draws(1, 0, len(world.config.machines)),
        group="rg",
        location="westeurope",
        document=document,
    )
    one.world = world
    one.world.furnish(changes.model_of(one.document))
    return site
