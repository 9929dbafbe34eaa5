"""The starting state of a session: which world it is replayed against.

Rules:

1. The first model a session shows; if it shows the creation, the state after that. If it shows none: `UNSEEN`.
2. Instances: those of the first list that shows all; else those that requests or answers name; else numbered from 0.
   Current and healthy unless told otherwise before the first change.
3. The health source is the best one any model of the session names.
4. What the platform did otherwise in other years is one of the world's options: `era`.
"""

from __future__ import annotations

from typing import Any

from tests.replay.documents import (
    ONE,
    auto_os,
    error_of,
    health_source,
    image,
    instances,
    is_model,
    mode,
    profile,
    repairs,
    rolling,
    views,
)
from tests.replay.traffic import Exchange, Session
from vmss_sim.world.config import Machine, Platform, Timings, WorldConfig
from vmss_sim.world.draws import Draws
from vmss_sim.world.operations import SET_KINDS, VM_TABLE
from vmss_sim.world.timings import Empirical

LONG_S = 1_000_000.0
UNSEEN: dict[str, Any] = {"sku": {"capacity": 2}, "properties": {"upgradePolicy": {"mode": "Manual"}}}
"""A set whose model a session never shows: two instances in mode Manual, as the scripts of such recordings create them."""


class Scripted(Draws):
    """Luck that says what the script says: the recorded duration of whatever starts next."""

    def __init__(self) -> None:
        super().__init__(0, 0, 0)
        self.seconds = 0.0

    def later(self, purpose: str, slot: int, attempt: int) -> float:
        return self.seconds / LONG_S if purpose == "operation" or purpose.startswith("set/") else 0.5


_LINE = Empirical((0.0, LONG_S))
TIMINGS = Timings(
    operations=dict.fromkeys(
        {*VM_TABLE, *SET_KINDS, "delete", "protect", "scale-out", "upgrade-current", "start-running"}, _LINE
    ),
    probe_ms=0,
)


def era(day: str) -> Platform:
    """What recordings of a day show of behaviour that is an option of the world."""
    return Platform(
        # 2017-09: refused by mode; 2017-12 and later: not.
        os_rolling_needs_mode=day < "2017-12",
        # An update in mode Rolling of a set of two took two ticks until 2022-02, one since.
        first_check_ms=60_000 if day >= "2022-03" else 120_000,
        flexible_auto_os=day >= "2024-08",
        no_signal_counts="unhealthy" if day.startswith("2021-04") else "healthy",
    )


def start(session: Session, unseen: dict[str, Any] = UNSEEN) -> tuple[WorldConfig, int, dict[str, Any]] | None:
    """Rule 2 (unseen: the model where it shows none): the world's configuration, the position of the first exchange to replay, and the model as a document."""
    position = next((at for at, one in enumerate(session.exchanges) if is_model(one)), None)
    if position is None:
        if any(one.method == "PUT" and not one.rest for one in session.exchanges):
            return None
        position = 0
        document: dict[str, Any] = unseen
    else:
        document = session.exchanges[position].response
    first = session.exchanges[position]
    if first.method == "PUT" and first.status == 201:
        seen = session.operations.get(first.operation)
        if seen is None or seen.done_ms is None or seen.status != "Succeeded":
            return None
        done = seen.done_ms
        position = next(
            (at for at, one in enumerate(session.exchanges) if one.at_ms >= done and at > position and not one.polls),
            len(session.exchanges),
        )
    models = [one.response for one in session.exchanges if is_model(one)]
    sources = {health_source(one) for one in models}
    machines = _machines(session, position, document)
    exact = next((one.image.exact for one in machines if one.image and one.image.exact), None)
    return (
        WorldConfig(
            name=session.name,
            machines=machines,
            model=profile(document),
            timings=TIMINGS,
            mode=mode(document),
            health=next((one for one in ("extension", "probe") if one in sources), "none"),
            rolling=rolling(document),
            auto_os=auto_os(document),
            repairs=repairs(document),
            latest=exact or "1.0.0",
            flexible=(document["properties"].get("orchestrationMode") == "Flexible"),
            platform=era(session.recorded_on),
        ),
        position,
        document,
    )


def _machines(session: Session, position: int, document: dict[str, Any]) -> tuple[Machine, ...]:
    """The instances at the start. Domains: as an instance view tells them, else id modulo 5 (so in 202 of 256 views)."""
    capacity = int((document.get("sku") or {}).get("capacity") or 0)
    profile_ = document["properties"].get("virtualMachineProfile") or {}
    version = (profile_.get("storageProfile") or {}).get("imageReference")
    rest = session.exchanges[position:]
    before = rest[: _first_change(rest)]
    known: dict[str, dict[str, Any]] = {}
    places: dict[str, tuple[int, int]] = {}
    gone: set[str] = set()
    for one in rest:
        for vm in instances(one):
            known.setdefault(vm["instanceId"], vm["properties"])
        for name, view in views(one):
            if "platformUpdateDomain" in view:
                places.setdefault(name, (view["platformUpdateDomain"], view.get("platformFaultDomain", 0)))
    for one in rest:
        found = ONE.match(one.rest)
        if found and ((one.status == 404 and one in before) or error_of(one.response)[0] == "InvalidParameter"):
            gone.add(found.group(1))
    told = {vm["instanceId"]: vm["properties"] for one in before for vm in instances(one)}
    listed = [
        {vm["instanceId"] for vm in instances(one)}
        for one in before
        if one.rest == "/virtualmachines" and instances(one)
    ]
    ids = list(listed[0]) if listed and len(listed[0]) == capacity else _guessed_ids(rest, known, gone, capacity)
    return tuple(
        Machine(
            id=name,
            vm_id=str(known.get(name, {}).get("vmId", name)),
            image=image((known.get(name, {}).get("storageProfile") or {}).get("imageReference") or version, "1.0.0"),
            update_domain=places.get(name, (int(name) % 5, 0))[0] if name.isdecimal() else None,
            fault_domain=places.get(name, (0, int(name) % 5))[1] if name.isdecimal() else None,
            latest=told.get(name, {}).get("latestModelApplied", True),
            protected=bool((told.get(name, {}).get("protectionPolicy") or {}).get("protectFromScaleSetActions")),
        )
        for name in sorted(ids, key=lambda one: (len(one), one))
    )


def _guessed_ids(rest: tuple[Exchange, ...], known: dict[str, Any], gone: set[str], capacity: int) -> list[str]:
    """Where no list shows all instances: those that requests or answers name, then the lowest free numbers."""
    named = dict.fromkeys(known)
    for one in rest:
        found = ONE.match(one.rest)
        if found and one.status < 400:
            named.setdefault(found.group(1))
        for name in one.request.get("instanceIds") or [] if isinstance(one.request, dict) else []:
            if name != "*" and one.status < 400:
                named.setdefault(name)
    ids = [name for name in named if name not in gone]
    spare = (str(number) for number in range(capacity + len(ids) + len(gone)) if str(number) not in {*ids, *gone})
    while len(ids) < capacity:
        ids.append(next(spare))
    return ids[:capacity]


def _first_change(rest: tuple[Exchange, ...]) -> int:
    return next((at for at, one in enumerate(rest) if one.method != "GET"), len(rest))
