"""Azure's open questions, disturbances and faults in a scenario: every key reaches the world, and a wrong one is one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from planner.errors import InputError
from scenarios import surroundings
from scenarios.build import Setup, build_world, setup
from scenarios.schema import Scenario
from vmss_sim.world.config import Platform
from vmss_sim.world.faults import Autoscale, Disturbance, Fault, Foreign, Outage, Publication

SET: dict[str, Any] = {"instances": 4}
CHANGE = {"version": "22.04.202606010"}


def made(**tables: Any) -> Setup:
    scale_set = {**SET, **tables.pop("scale_set", {})}
    given = {"title": "t", "scale_set": scale_set, "change": CHANGE, **tables}
    return setup(msgspec.convert(given, Scenario), Path(), "s.toml")


def fault_of(**tables: Any) -> str:
    with pytest.raises(InputError) as caught:
        made(**tables)
    return str(caught.value)


def test_every_kind_of_disturbance_has_a_name() -> None:
    assert set(surroundings.DISTURBANCES.values()) == set(get_args(Disturbance))


def test_choices_name_fields_that_exist() -> None:
    structs = (Platform, Fault, *surroundings.DISTURBANCES.values())
    fields = {field.name for kind in structs for field in msgspec.structs.fields(kind)}
    assert set(surroundings.CHOICES) <= fields


def test_the_default_of_a_choice_is_one_of_them() -> None:
    words = {one.name for one in msgspec.structs.fields(Platform) if isinstance(one.default, str)}
    assert words <= set(surroundings.CHOICES)
    for key, choices in surroundings.CHOICES.items():
        if hasattr(Platform(), key):
            assert getattr(Platform(), key) in choices


def test_disturbances_reach_the_world_and_happen() -> None:
    found = made(
        disturbance=[
            {"kind": "outage", "at": "10s", "for": "1m", "fault_domain": 0},
            {"kind": "publication", "at": 20, "version": "2.0.0"},
            {"kind": "autoscale", "at": "30s", "by": 2},
            {"kind": "foreign", "at": "3m", "request": "restart", "ids": ["1"]},
        ]
    )
    assert [type(one) for one in found.world.disturbances] == [Outage, Publication, Autoscale, Foreign]
    world = build_world(found, 1, 0)
    world.run(15_000, stop_on_wake=False)
    assert [world.serving(vm) for vm in world.vms.values()] == [False, True, True, True]
    world.run(25_000, stop_on_wake=False)
    assert world.latest == "2.0.0"
    world.run(35_000, stop_on_wake=False)
    assert len(world.vms) == 6
    world.run(181_000, stop_on_wake=False)
    assert world.state(world.vms["1"])[0] == "updating"


def test_faults_reach_the_world() -> None:
    found = made(fault=[{"verdict": "refuse", "of": "upgrade", "last": 3, "code": "Conflict", "retry_after": "7s"}])
    reply = build_world(found, 1, 0).submit("a", "upgrade", ("0",))
    assert (reply.kind, reply.status, reply.code, reply.retry_after_ms) == ("refused", 409, "Conflict", 7_000)


def test_options_reach_the_world_and_are_told() -> None:
    found = made(platform={"tick": "10s", "overlap": "queue", "rollout_timeout": "2h"})
    assert found.world.platform == Platform(tick_ms=10_000, overlap="queue", rollout_timeout_ms=7_200_000)
    told = [one for one in found.assumptions if one.key == "platform"]
    assert [(one.origin, one.value) for one in told] == [("yours", "tick = 10s, overlap = queue, rollout_timeout = 2h")]
    assert not [one for one in made().assumptions if one.key == "platform"]


def test_policies_of_the_set_reach_the_world() -> None:
    found = made(
        scale_set={
            "repairs": {"grace": "20m", "action": "reimage"},
            "rich_health": True,
            "health_grace": "90s",
            "rolling": {"max_surge": True, "rollback_failed": True},
        },
        failures={"slow_image": 2.5, "ageing": "7d", "mttf": "30d"},
    )
    config = found.world
    assert (config.repairs.enabled, config.repairs.grace_ms, config.repairs.action) == (True, 1_200_000, "reimage")
    assert (config.health, config.health_grace_ms) == ("rich", 90_000)
    assert (config.rolling.max_surge, config.rolling.rollback_failed) == (True, True)
    assert (config.failures.slow, config.failures.ageing_ms) == (2.5, 604_800_000.0)
    assert made(scale_set={"repairs": True}).world.repairs.action == "replace"


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ({"platform": {"tik": "60s"}}, "did you mean 'tick'?"),
        ({"platform": {"tick": "soon"}}, "s.toml: platform.tick"),
        ({"platform": {"overlap": "queeu"}}, "did you mean 'queue'?"),
        ({"platform": {"throttle": "yes"}}, "s.toml: platform: throttle"),
        ({"disturbance": [{"kind": "storm", "at": 1}]}, "outage, publication, autoscale, foreign"),
        ({"disturbance": [{"at": 1}]}, "s.toml: disturbance[0].kind"),
        ({"disturbance": [{"kind": ["outage"], "at": 1}]}, "s.toml: disturbance[0].kind"),
        ({"disturbance": [{"kind": "outage", "at": 1}]}, "a key is missing"),
        ({"disturbance": [{"kind": "outage", "at": 1, "for": 1, "zones": "1"}]}, "did you mean 'zone'?"),
        ({"disturbance": [{"kind": "foreign", "at": 1, "request": "upgrad"}]}, "did you mean 'upgrade'?"),
        ({"fault": [{"verdict": "explode"}]}, "s.toml: fault[0].verdict"),
        ({"fault": [{"verdict": "fail", "of": "upgarde"}]}, "did you mean 'upgrade'?"),
        ({"fault": [{"verdict": "fail", "first": 5, "last": 2}]}, "5 to 2"),
        ({"fault": [{"verdict": "fail", "from": "5m", "until": "1m"}]}, "later than from"),
        ({"disturbance": [{"kind": "outage", "at": 1, "for": 1, "zone": "9"}]}, "no instance is in such a zone"),
        ({"disturbance": [{"kind": "outage", "at": 1, "for": 1, "update_domain": 99}]}, "0, 1, 2, 3"),
        ({"disturbance": [{"kind": "outage", "at": 1, "for": 1, "ids": ["99"]}]}, "no such instance"),
        (
            {"disturbance": [{"kind": "foreign", "at": 1, "request": "set-capacity", "args": {"capacity": "x"}}]},
            "whole number",
        ),
        (
            {"disturbance": [{"kind": "foreign", "at": 1, "request": "set-capacity", "args": {"capacity": -1}}]},
            "out of range",
        ),
        ({"disturbance": [{"kind": "foreign", "at": 1, "request": "set-mode", "args": {"mode": "x"}}]}, "rolling"),
        ({"disturbance": [{"kind": "foreign", "at": 1, "request": "upgrade", "args": {"name": "x"}}]}, "no such thing"),
        ({"disturbance": [{"kind": "foreign", "at": 1, "request": "set-capacity"}]}, "disturbance[0].args"),
        ({"disturbance": [{"kind": "foreign", "at": 1, "request": "set-mode"}]}, "disturbance[0].args"),
        ({"scale_set": {"repairs": {"grace": "5m"}}}, "10m to 90m"),
        ({"scale_set": {"repairs": {"action": "pray"}}}, "replace, reimage, restart"),
        ({"scale_set": {"rich_health": True, "health": "none"}}, "rich health states come from the extension"),
        ({"failures": {"slow_image": 0}}, "0.1 to 100"),
        ({"failures": {"ageing": 0}}, "s.toml: failures.ageing"),
    ],
)
def test_a_wrong_key_or_value_is_told(tables: dict[str, Any], says: str) -> None:
    text = fault_of(**tables)
    assert says in text
    assert "\n" not in text


def test_what_happens_meanwhile_stands_among_the_assumptions() -> None:
    found = made(
        disturbance=[{"kind": "outage", "at": "5m", "for": "1m", "fault_domain": 0}],
        fault=[{"verdict": "refuse", "of": "upgrade", "code": "Conflict"}],
    )
    told = [(one.name, one.value, one.origin) for one in found.assumptions if one.key in ("disturbance", "fault")]
    assert told == [
        ("meanwhile, at 300 s", "outage: for 60 s, fault_domain 0", "yours"),
        ("requests meet a fault", "refuse upgrade, number 1 to 1", "yours"),
    ]
