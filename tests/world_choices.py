"""Random worlds and random requests, from one place for two choosers: Hypothesis (which shrinks) and a seeded `random.Random`.

1. `pick(options)` returns one of a few options; the first is the plain one, so that a shrunk example is a plain world.
2. An action is data: a request, a wait, a fault, a publication. Instances are named by their place among those that
   are there when it is carried out, so the same actions may be played on any world.
3. Nothing here knows what the world answers; most of what it can be asked is asked, valid or not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from vmss_sim.world.config import (
    AutoOs,
    Failures,
    Image,
    Machine,
    Platform,
    Repairs,
    RollingPolicy,
    Timings,
    WorldConfig,
)
from vmss_sim.world.faults import Autoscale, Disturbance, Fault, Foreign, Outage, Publication
from vmss_sim.world.operations import ID_KINDS
from vmss_sim.world.scale_set import IMAGE
from vmss_sim.world.timings import Constant, Lognormal

T = TypeVar("T")
Pick = Callable[[Sequence[Any]], Any]

MINUTE, HOUR = 60_000, 3_600_000
OLDER, OLD = "0.9.0", "1.0.0"
SETTING = "properties.virtualMachineProfile.userData"
OS_PROFILE = "properties.virtualMachineProfile.osProfile.windowsConfiguration.timeZone"

SLOW = {
    "update-model": Constant(seconds=2),
    "set-mode": Constant(seconds=1),
    "set-capacity": Constant(seconds=3),
    "delete": Constant(seconds=20),
    "upgrade": Constant(seconds=70),
    "reimage": Constant(seconds=50),
    "restart": Constant(seconds=15),
    "scale-out": Constant(seconds=40),
    "cancel-rolling-upgrade": Constant(seconds=1),
    "upgrade-extensions": Constant(seconds=25),
}
RANDOM = {kind: Lognormal(median=timing.seconds, sigma=0.7) for kind, timing in SLOW.items()}
TIMINGS = (
    Timings(operations=dict(SLOW), ready=Constant(seconds=10)),
    Timings(operations=dict(RANDOM), ready=Lognormal(median=20, sigma=1.0)),
    Timings(operations={"upgrade": Constant(seconds=60)}, ready=Constant(seconds=200), probe_ms=15_000),
    Timings(operations={}, probe_ms=0),
)
FAILURES = (
    Failures(),
    Failures(upgrade=0.3),
    Failures(upgrade=0.4, becomes="old-image"),
    Failures(bad_share=0.4),
    Failures(bad_share=0.5, bad_after_ms=90_000, slow=3.0),
    Failures(mttf_ms=5 * HOUR, mttr=Constant(seconds=300), ageing_ms=HOUR),
    Failures(mttf_ms=2 * HOUR, background_becomes="old-image", background_hits="upgraded", bad_share=0.3),
)
POLICIES = (
    RollingPolicy(max_batch_percent=40, max_unhealthy_percent=100, max_unhealthy_upgraded_percent=100),
    RollingPolicy(),
    RollingPolicy(max_batch_percent=50, pause_ms=30_000, cross_zone=True, prioritize_unhealthy=True),
    RollingPolicy(max_batch_percent=30, max_unhealthy_upgraded_percent=0, rollback_failed=True),
    RollingPolicy(max_batch_percent=40, max_unhealthy_percent=100, max_unhealthy_upgraded_percent=60, max_surge=True),
    RollingPolicy(max_batch_percent=100, max_unhealthy_percent=40, max_surge=True, cross_zone=True),
)
AUTO_OS = (
    AutoOs(),
    AutoOs(enabled=True),
    AutoOs(enabled=True, disable_rollback=True, use_rolling_policy=True),
    AutoOs(enabled=True, deferral=True, window_ms=(HOUR, 5 * HOUR, 24 * HOUR)),
)
REPAIRS = (
    Repairs(),
    Repairs(enabled=True, grace_ms=10 * MINUTE),
    Repairs(enabled=True, grace_ms=5 * MINUTE),
    Repairs(enabled=True, grace_ms=10 * MINUTE, action="reimage"),
    Repairs(enabled=True, grace_ms=5 * MINUTE, action="restart", suspended=True),
)
OPTIONS: dict[str, tuple[Any, ...]] = {
    "tick_ms": (0,),
    "batch_ms": (0,),
    "health_wait_ms": (MINUTE,),
    "first_check_ms": (0,),
    "no_signal_wait_ms": (2 * MINUTE,),
    "no_signal_counts": ("unhealthy",),
    "count_in_flight": (True,),
    "shrink_by_unhealthy": (True,),
    "cancel_batch": ("abandoned",),
    "put_during_rollout": ("conflict",),
    "concurrent_update": ("conflict",),
    "publisher_fixed": (True,),
    "reimage_temp": ("lost",),
    "repairs_wait": ("unhealthy",),
    "throttle": (True,),
    "vms_of_a_request": ("together",),
    "overlap": ("queue", "conflict"),
    "protected_named": ("skip", "act"),
    "flexible_manual_upgrade": (False,),
    "flexible_auto_os": (False,),
    "manual_auto_os": (False,),
    "os_rolling_needs_mode": (True,),
    "reimage_boots": ("own",),
    "latest_on_upgrade": (True,),
    "surge_failed": ("left",),
    "rollout_timeout_ms": (20 * MINUTE,),
    "failed_within_limits": ("fails",),
    "auto_os_delay_ms": (MINUTE, 0),
    "repairs_give_up": (1,),
    "scale_in": ("newest", "oldest"),
    "reuse_ids": (True,),
}
"""Every option of `Platform` with its other answers; a test holds it complete."""


class Request(NamedTuple):
    """A request. places: instances by their place among those present (modulo their number); `*`, and `?` for an id
    that nobody has, may stand among them.
    """

    kind: str
    places: tuple[int | str, ...] = ()
    args: dict[str, Any] = {}  # noqa: RUF012 - nobody changes it


class Wait(NamedTuple):
    """Time passes."""

    ms: int


class Trouble(NamedTuple):
    """From now on the next `count` requests meet this fault; none where it is None."""

    fault: Fault | None


class Publish(NamedTuple):
    """A newer image version is published."""

    version: str


Action = Request | Wait | Trouble | Publish


def some_world(pick: Pick) -> WorldConfig:
    """A scale set of 1 to 7 instances with any configuration."""
    size, zones, domains = pick((3, 2, 5, 7, 1, 4)), pick((0, 2, 3)), pick((2, 1, 3))
    source = pick(("extension", "rich", "none", "probe"))
    version = pick((OLD, "latest"))
    flexible = pick((False, False, True))
    oddity = pick(("", "", "older", "sick", "protected", "unknown", "initializing", "metrics", "gap", "stopped"))
    changed = {
        name: pick((*others, *others[:1]))
        for name, others in OPTIONS.items()
        if pick((False, False, False, False, True))
    }
    return WorldConfig(
        name="web",
        machines=tuple(_machine(one, zones, domains, source, oddity) for one in range(size)),
        model={
            IMAGE + "publisher": "Canonical",
            IMAGE + "offer": "ubuntu",
            IMAGE + "sku": "22_04",
            IMAGE + "version": version,
            SETTING: "old",
        },
        latest=OLD,
        timings=pick(TIMINGS),
        failures=pick(FAILURES),
        mode=pick(("manual", "automatic") if source == "none" else ("rolling", "manual", "automatic")),
        health=source,
        health_grace_ms=pick((None, 2 * MINUTE)),
        health_protocol=pick(("http", "tcp")),
        rolling=pick(POLICIES),
        auto_os=pick(AUTO_OS) if version == "latest" and source != "none" and not flexible else AutoOs(),
        repairs=pick(REPAIRS) if source != "none" else Repairs(),
        flexible=flexible,
        restart_on_delta=pick((True, False)),
        patch_disrupts=pick((True, False)),
        quota_cores=pick((None, None, size + 1, size + 3)),
        addresses=pick((None, None, size + 2)),
        platform=Platform(**changed),
        disturbances=tuple(some_disturbance(pick) for _ in range(pick((0, 0, 1, 2)))),
    )


def _machine(number: int, zones: int, domains: int, source: str, oddity: str) -> Machine:
    odd = number == 1
    older = odd and oddity in ("older", "sick")
    health = "absent" if source == "none" else "healthy"
    if odd and source != "none" and oddity in ("sick", "unknown", "initializing"):
        health = {"sick": "unhealthy"}.get(oddity, oddity)
    name = str(number * 2 if oddity == "gap" else number)
    version = OLDER if older else OLD
    return Machine(
        id=name,
        vm_id=f"vm-{name}",
        image=Image(publisher="Canonical", offer="ubuntu", sku="22_04", version=version, exact=version),
        zone=str(number % zones + 1) if zones else None,
        update_domain=number % domains,
        fault_domain=number % 2,
        latest=not older,
        power="deallocated" if odd and oddity == "stopped" else "running",
        health="unhealthy" if odd and oddity == "stopped" and source != "none" else health,
        protected=odd and oddity == "protected",
        os_disk=f"{name}-os-",
        phase=number % 2 if oddity == "metrics" else None,
        skip_upgrade=number == 2 and oddity == "metrics",
    )


def some_disturbance(pick: Pick) -> Disturbance:
    """What comes by itself, in the first two hours."""
    at_ms = pick((MINUTE, 0, 10 * MINUTE, 63_000, 2 * HOUR))
    kind = pick(("outage", "publication", "autoscale", "foreign"))
    if kind == "outage":
        return Outage(
            at_ms=at_ms,
            for_ms=pick((30_000, 20 * MINUTE, 0)),
            zone=pick((None, "1")),
            fault_domain=pick((None, 0)),
            allocation=pick((False, True)),
        )
    if kind == "publication":
        return Publication(at_ms=at_ms, version=pick(("1.1.0", "1.2.0")))
    if kind == "autoscale":
        return Autoscale(at_ms=at_ms, by=pick((1, -1, 2, -2)))
    request, ids, args = pick(
        (
            ("upgrade", ("*",), {}),
            ("reimage", (), {}),
            ("restart", ("0",), {}),
            ("update-model", (), {"patch": {SETTING: "foreign"}}),
        )
    )
    return Foreign(at_ms=at_ms, request=request, ids=ids, args=args)


def some_action(pick: Pick) -> Action:
    """Anything that can happen next; time passes often."""
    how = pick(("wait", "instances", "update", "set", "wait", "scale", "wait", "trouble", "publish", "rollout"))
    return {
        "wait": some_wait,
        "instances": some_request_on_instances,
        "update": some_update,
        "set": some_request_on_the_set,
        "scale": some_scaling,
        "trouble": some_trouble,
        "publish": some_publication,
        "rollout": some_rollout,
    }[how](pick)


def some_wait(pick: Pick) -> Wait:
    """From nothing to most of a day."""
    return Wait(pick((20_000, 1, 1_000, 5_000, MINUTE, 61_000, 3 * MINUTE, 6 * MINUTE, 15 * MINUTE, HOUR, 12 * HOUR)))


def some_request_on_instances(pick: Pick) -> Request:
    """On named ones, on all, on nobody, on who is not there."""
    kind = pick(ID_KINDS)
    places = pick(((0,), (1,), (2,), (0, 1), (3, 5), ("*",), (), (1, 1), (0, "?"), ("*", 0)))
    args: dict[str, Any] = {}
    if kind in ("reimage", "reimage-all"):
        args = pick(({}, {"exact_version": OLDER}, {"exact_version": OLD}, {"temp_disk": True}))
    elif kind == "run-command":
        args = pick(({"run_name": "patch-1"}, {"run_name": "patch-2"}))
    elif kind == "protect":
        args = pick(({"protected": True}, {"protected": False}, {"scale_in_protected": True}, {}))
    return Request(kind, places, args)


def some_update(pick: Pick) -> Request:
    """A PUT of the model: with an image, a setting, an OS profile, policies, a mode, a capacity, or none of them."""
    args: dict[str, Any] = {}
    patch = pick(
        (
            {IMAGE + "version": "2.0.0"},
            {IMAGE + "version": OLD},
            {IMAGE + "version": "latest"},
            {SETTING: "new"},
            {SETTING: "old"},
            {OS_PROFILE: "new"},
            {IMAGE + "sku": "24_04", IMAGE + "version": "3.0.0"},
            {IMAGE + "offer": "debian"},
            {"properties.priority": "Spot"},
            {"properties.singlePlacementGroup": False},
            {},
            None,
        )
    )
    if patch is not None:
        args["patch"] = patch
    for name, options in (
        ("mode", ("rolling", "automatic", "manual")),
        ("rolling", (*POLICIES, RollingPolicy(max_batch_percent=4))),
        ("auto_os", AUTO_OS),
        ("repairs", REPAIRS),
        ("capacity", (2, 0, 5, 8, -1)),
        ("if_match", (1, 2)),
    ):
        if pick((False, False, False, False, False, True)):
            args[name] = pick(options)
    return Request("update-model", (), args)


def some_request_on_the_set(pick: Pick) -> Request:
    """The other requests on the set."""
    kind = pick(("set-mode", "suspend-repairs", "resume-repairs", "approve-rolling-upgrade", "set-mode"))
    return Request(kind, (), {"mode": pick(("rolling", "automatic", "manual"))} if kind == "set-mode" else {})


def some_rollout(pick: Pick) -> Request:
    """Azure's own rollouts are asked for, or cancelled."""
    return Request(pick(("os-rolling-upgrade", "extension-rolling-upgrade", "cancel-rolling-upgrade")))


def some_scaling(pick: Pick) -> Request:
    """Out, in, to nothing, too far."""
    return Request("set-capacity", (), {"capacity": pick((3, 4, 6, 2, 1, 8, 0, 1_001, -1))})


def some_trouble(pick: Pick) -> Trouble:
    """A fault for the requests to come."""
    verdict = pick(
        ("", "lose-reply", "lose-request", "refuse", "fail", "delay", "hang", "time-out"),
    )
    if not verdict:
        return Trouble(None)
    return Trouble(
        Fault(
            verdict=verdict,
            last=pick((1, 2)),
            code=pick(("", "TooManyRequests", "Quota", "Conflict")) if verdict == "refuse" else "",
            delay_ms=90_000,
        )
    )


def some_publication(pick: Pick) -> Publish:
    """A newer version."""
    return Publish(pick(("1.1.0", "1.2.0", "1.3.0")))


def plain(config: WorldConfig, **changes: Any) -> WorldConfig:
    """The same world with some things changed."""
    return msgspec.structs.replace(config, **changes)
