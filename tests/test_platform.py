"""`planner.platform`: the documented examples by hand, the world's batches for random sets and policies, planted bugs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner import platform
from planner.change import CurrentModel, ImageChange, resolve
from planner.effects import touched
from planner.model import (
    Health,
    HealthSource,
    ImageReference,
    Instance,
    Model,
    Orchestration,
    Power,
    Provisioning,
    RollingPolicy,
    ScaleSet,
    UpgradeMode,
    id_key,
    scale_set,
)
from planner.platform import Verdict, after_failure, forecast, gates, stopped_by
from scenarios.to_world import rolling_policy
from vmss_sim.world.rolling_policy import Member, azure_batches

replace = msgspec.structs.replace
IMAGE = ImageReference(publisher="p", offer="o", sku="s", version="1")


def vm(name: str, **fields: Any) -> Instance:
    told: dict[str, Any] = {
        "image": replace(IMAGE, exact_version="1"),
        "latest_model": True,
        "provisioning": Provisioning.SUCCEEDED,
        "power": Power.RUNNING,
        "health": Health.HEALTHY,
    }
    return Instance(id=name, vm_id=f"vm-{name}", **{**told, **fields})


def fleet(instances: Sequence[Instance], **model: Any) -> ScaleSet:
    told: dict[str, Any] = {
        "name": "web",
        "image": IMAGE,
        "mode": UpgradeMode.ROLLING,
        "health_source": HealthSource.EXTENSION,
        "capacity": len(instances),
    }
    return scale_set(Model(**{**told, **model}), instances)


def plain(size: int, domains: int = 1, zones: int = 0, sick: Sequence[int] = ()) -> ScaleSet:
    """Instance n in update domain n mod domains and zone n mod zones + 1."""
    return fleet(
        [
            vm(
                str(number),
                update_domain=number % domains if domains else None,
                zone=str(number % zones + 1) if zones else None,
                health=Health.UNHEALTHY if number in sick else Health.HEALTHY,
            )
            for number in range(size)
        ]
    )


def ids(place: ScaleSet, policy: RollingPolicy | None = None, **given: Any) -> list[str]:
    """Batches, each as its ids in one string."""
    return [" ".join(batch.ids) for batch in forecast(place, policy=policy, **given)]


# -- by hand: azure-compute-docs, rolling upgrades and automatic OS upgrade ------------------------------------------


@pytest.mark.parametrize(("size", "percent", "most"), [
    (10, 20, 2), (5, 20, 1), (4, 20, 1), (1, 20, 1), (9, 20, 1), (14, 20, 2), (15, 20, 3), (3, 100, 3), (7, 50, 3), (100, 5, 5),
])  # fmt: skip
def test_a_batch_is_a_share_of_all_rounded_down_and_at_least_one(size: int, percent: int, most: int) -> None:
    """10 x 20 % are batches of 2; five and fewer go one by one at 20 %."""
    policy = RollingPolicy(max_batch_percent=percent)
    assert max(len(batch.ids) for batch in forecast(plain(size), policy=policy)) == most


def test_by_hand_zone_by_zone_and_domain_by_domain() -> None:
    place = plain(12, domains=2, zones=3)
    policy = RollingPolicy(max_batch_percent=25)
    assert ids(place, policy) == ["0 6", "3 9", "4 10", "1 7", "2 8", "5 11"]
    assert [batch.cut for batch in forecast(place, policy=policy)] == ["update-domain", "zone", "update-domain", "zone", "update-domain", ""]  # fmt: skip
    crossing = forecast(place, policy=replace(policy, cross_zone=True))
    assert [" ".join(batch.ids) for batch in crossing] == ["0 2 4", "6 8 10", "1 3 5", "7 9 11"]
    assert [batch.cut for batch in crossing] == ["size", "update-domain", "size", ""]
    assert {batch.zone for batch in crossing} == {None}


def test_by_hand_ids_are_ordered_as_numbers_and_unknown_domains_come_last() -> None:
    place = fleet([vm("10", update_domain=0), vm("9", update_domain=0), vm("2"), vm("1"), vm("0", update_domain=1)])
    assert ids(place, RollingPolicy(max_batch_percent=40)) == ["9 10", "0", "1 2"]
    assert "no update domain known" in forecast(place)[-1].why


def test_by_hand_unhealthy_first() -> None:
    place = plain(6, domains=2, sick=(3, 4))
    assert ids(place, RollingPolicy(max_batch_percent=50)) == ["0 2 4", "1 3 5"]
    first = RollingPolicy(max_batch_percent=50, prioritize_unhealthy=True)
    assert ids(place, first) == ["4", "3", "0 2", "1 5"]
    assert [batch.unhealthy_first for batch in forecast(place, policy=first)] == [True, True, False, False]


def test_by_hand_phases_ascend_none_is_last_and_skipped_ones_stay() -> None:
    asks: list[dict[str, Any]] = [
        {"upgrade_phase": 2},
        {"upgrade_phase": 1},
        {"skip_upgrade": True},
        {"upgrade_phase": 1},
        {},
        {},
    ]
    place = fleet([vm(str(number), update_domain=0, **fields) for number, fields in enumerate(asks)])
    assert ids(place, RollingPolicy(max_batch_percent=100)) == ["1 3", "0", "4 5"]


def test_by_hand_left_out_and_what_percentages_refer_to() -> None:
    place = fleet(
        [vm(str(number), protected=number == 3, latest_model=number != 5, update_domain=0) for number in range(10)]
    )
    assert ids(place) == ["0 1", "2 4", "5 6", "7 8", "9"]
    current = resolve(CurrentModel(), place)
    assert ids(place, change=current) == ["5"], "a model that does not change leaves what is current alone"
    newer = resolve(ImageChange(version="2"), place)
    assert ids(place, change=newer) == ids(place), "a model that changes puts everything behind"
    part = scale_set(place.model, [place.instances["0"], place.instances["1"], place.instances["2"]])
    assert ids(part, total=10) == ["0 1", "2"]


def test_with_custom_metrics_only_healthy_ones_take_part() -> None:
    place = plain(4, sick=(2,))
    whole = RollingPolicy(max_batch_percent=100)
    assert ids(place, whole) == ["0 1 2 3"]
    asks = scale_set(
        place.model, [replace(one, upgrade_phase=1 if one.id == "3" else None) for one in place.instances.values()]
    )
    assert ids(asks, whole) == ["3", "0 1"]


def test_mode_automatic_takes_everything_at_once() -> None:
    (batch,) = platform.at_once(plain(12, domains=5, zones=3))
    assert batch.ids == tuple(str(number) for number in range(12))
    assert not platform.at_once(fleet([vm("0", protected=True)]))


# -- gates -----------------------------------------------------------------------------------------------------------


def verdicts(place: ScaleSet, policy: RollingPolicy, **given: Any) -> list[tuple[str, int, int, str]]:
    found = gates(place, forecast(place, policy=policy), policy, **given)
    return [(gate.rule, gate.known, gate.allowed, gate.verdict.value) for gate in found]


def test_exactly_at_the_limit_passes() -> None:
    """10 instances at 20 %: more than two unhealthy stop it (azure-compute-docs, rolling upgrades)."""
    policy = RollingPolicy()
    for sick, stops in ((1, False), (2, False), (3, True)):
        place = plain(10, sick=range(10 - sick, 10))
        stop = stopped_by(gates(place, forecast(place, policy=policy), policy))
        assert (stop is not None) == stops
        if stop is not None:
            assert (stop.rule, stop.code, stop.known, stop.allowed) == ("before-start", platform.BEFORE_START, 3, 2)
            assert stop.verdict is Verdict.BREACHED


def test_two_vms_at_20_percent_are_zero_tolerance_not_impossible() -> None:
    """45 recorded rollouts with 20/20/20 on two VMs completed: nothing is breached, everything tolerates nothing."""
    policy = RollingPolicy()
    assert verdicts(plain(2), policy) == [
        ("before-start", 0, 0, "zero-tolerance"),
        ("after-batch", 0, 0, "zero-tolerance"),
        ("before-batch", 0, 0, "zero-tolerance"),
        ("after-batch", 0, 0, "zero-tolerance"),
    ]
    assert stopped_by(gates(plain(2), forecast(plain(2), policy=policy), policy)) is None


def test_vms_in_flight_count_only_where_asked() -> None:
    """A batch of 3 of 10 where 2 may be unhealthy: it stops itself if, and only if, VMs in flight count."""
    policy = RollingPolicy(max_batch_percent=30)
    place = plain(10)
    batches = forecast(place, policy=policy)
    assert stopped_by(gates(place, batches, policy)) is None
    stop = stopped_by(gates(place, batches, policy, count_in_flight=True))
    assert stop is not None
    assert (stop.rule, stop.batch, stop.known, stop.allowed, stop.verdict) == (
        "in-flight",
        0,
        3,
        2,
        Verdict.CANNOT_BE_MET,
    )
    small = RollingPolicy(max_batch_percent=20)
    assert stopped_by(gates(place, forecast(place, policy=small), small, count_in_flight=True)) is None


def test_one_failure_by_hand() -> None:
    """Batches of 2 of 10, 20 %: one of the first 4 upgraded is too many; of 6 it is not."""
    policy = RollingPolicy()
    place = plain(10)
    stops = after_failure(gates(place, forecast(place, policy=policy), policy))
    assert [stop and (stop.rule, stop.batch, stop.of) for stop in stops] == [
        ("after-batch", 0, 2), ("after-batch", 1, 4), None, None, None,
    ]  # fmt: skip
    tight = plain(10, sick=(8, 9))
    stops = after_failure(gates(tight, forecast(tight, policy=policy), policy))
    assert [stop and (stop.rule, stop.batch) for stop in stops] == [
        ("after-batch", 0), ("after-batch", 1), ("before-batch", 3), ("before-batch", 4), None,
    ]  # fmt: skip


@pytest.mark.parametrize(("source", "orchestration", "lacks"), [
    (HealthSource.NONE, Orchestration.UNIFORM, "no health source"),
    (HealthSource.PROBE, Orchestration.FLEXIBLE, "only a probe, on a Flexible set"),
    (HealthSource.PROBE, Orchestration.UNIFORM, ""),
    (HealthSource.EXTENSION, Orchestration.FLEXIBLE, ""),
])  # fmt: skip
def test_a_rollout_of_its_own_needs_health(source: HealthSource, orchestration: Orchestration, lacks: str) -> None:
    assert platform.lacks_health(Model(name="web", health_source=source, orchestration=orchestration)) == lacks


@pytest.mark.parametrize(("fields", "counts"), [
    ({}, False),
    ({"health": Health.UNHEALTHY}, True),
    ({"health": Health.UNKNOWN}, True),
    ({"health": Health.INITIALIZING}, False),
    ({"health": Health.ABSENT}, False),
    ({"health": Health.ABSENT, "provisioning": Provisioning.FAILED}, True),
    ({"power": Power.STOPPED}, True),
    ({"power": Power.STOPPED, "provisioning": Provisioning.UPDATING}, False),
    ({"health": Health.UNHEALTHY, "provisioning": Provisioning.DELETING}, False),
])  # fmt: skip
def test_what_counts_as_unhealthy(fields: dict[str, Any], counts: bool) -> None:
    place = fleet([vm("0", **fields)])
    assert bool(platform.unhealthy(place)) is counts


# -- random sets ------------------------------------------------------------------------------------------------------

policies = st.builds(
    RollingPolicy,
    max_batch_percent=st.integers(5, 100),
    max_unhealthy_percent=st.integers(5, 100),
    max_unhealthy_upgraded_percent=st.integers(0, 100),
    cross_zone=st.booleans(),
    prioritize_unhealthy=st.booleans(),
)


@st.composite
def sets(draw: st.DrawFn, most: int = 30) -> ScaleSet:
    """Up to `most` instances, with gaps in the ids, any mix of zones and domains known, some sick, protected, current."""
    names = draw(st.lists(st.integers(0, 120), min_size=1, max_size=most, unique=True))
    zones = draw(st.sampled_from([(None,), ("1", "2", "3"), (None, "1", "2"), ("2", "10")]))
    with_metrics = draw(st.booleans())
    phases = st.sampled_from([None, 0, 1, 2]) if with_metrics else st.none()
    domains = draw(st.sampled_from([(None,), (0, 1, 2, 3, 4), (None, 0, 1), (0,)]))
    return fleet(
        [
            vm(
                str(name),
                zone=draw(st.sampled_from(zones)),
                update_domain=draw(st.sampled_from(domains)),
                health=draw(
                    st.sampled_from([Health.HEALTHY] * 9 + [Health.UNHEALTHY, Health.UNKNOWN, Health.INITIALIZING])
                ),
                protected=draw(st.integers(0, 5)) == 0,
                latest_model=draw(st.integers(0, 3)) == 0,
                upgrade_phase=draw(phases),
                skip_upgrade=draw(st.integers(0, 5)) == 0 if with_metrics else False,
            )
            for name in names
        ]
    )


def by_the_world(place: ScaleSet, policy: RollingPolicy) -> list[tuple[str, ...]]:
    """The world's own pure rule over the same members: written apart from the planner's."""
    behind = [one for one in place.instances.values() if not one.protected and not one.latest_model]
    with_metrics = any(one.skip_upgrade or one.upgrade_phase is not None for one in behind)
    taken = [
        Member(
            id=one.id,
            zone=one.zone,
            update_domain=one.update_domain,
            healthy=one.health is Health.HEALTHY,
            phase=one.upgrade_phase,
        )
        for one in behind
        if not one.skip_upgrade and not (with_metrics and one.health is not Health.HEALTHY)
    ]
    return list(azure_batches(taken, len(place.instances), rolling_policy(policy)))


def by_the_planner(place: ScaleSet, policy: RollingPolicy) -> list[tuple[str, ...]]:
    return [batch.ids for batch in forecast(place, resolve(CurrentModel(), place), policy)]


@given(sets(), policies)
def test_batches_are_the_worlds(place: ScaleSet, policy: RollingPolicy) -> None:
    assert by_the_planner(place, policy) == by_the_world(place, policy)


def _taking_part(place: ScaleSet) -> list[Instance]:
    free = [one for one in place.instances.values() if not one.protected]
    if all(one.upgrade_phase is None and not one.skip_upgrade for one in free):
        return free
    return [one for one in free if not one.skip_upgrade and one.health is Health.HEALTHY]


@given(sets(), policies)
def test_what_every_forecast_holds(place: ScaleSet, policy: RollingPolicy) -> None:
    """Restated from the documents, not from the code: who, how many, which borders."""
    batches = forecast(place, policy=policy)
    total, taken = len(place.instances), [name for batch in batches for name in batch.ids]
    assert sorted(taken) == sorted(one.id for one in _taking_part(place))
    assert len(set(taken)) == len(taken)
    for batch in batches:
        members = [place.instances[name] for name in batch.ids]
        assert len(members) == 1 or 100 * len(members) <= policy.max_batch_percent * total
        assert len({one.update_domain for one in members}) == 1
        assert policy.cross_zone or len({one.zone for one in members}) == 1
        assert list(batch.ids) == sorted(batch.ids, key=id_key)
    phases = [10 if batch.phase is None else batch.phase for batch in batches]
    assert phases == sorted(phases)
    if not policy.cross_zone and not policy.prioritize_unhealthy and len(set(phases)) == 1:
        zones = [batch.zone for batch in batches]
        assert len([zone for index, zone in enumerate(zones) if index == 0 or zones[index - 1] != zone]) == len(
            set(zones)
        )
    if policy.prioritize_unhealthy and len(set(phases)) == 1:
        kinds = [place.instances[name].health is Health.HEALTHY for name in taken]
        assert kinds == sorted(kinds)


@given(sets(), policies)
def test_every_decision_has_a_named_rule_with_its_source(place: ScaleSet, policy: RollingPolicy) -> None:
    change = resolve(CurrentModel(), place)
    batches = forecast(place, change, policy)
    out = platform.left_out(place, change)
    named = {gate.rule for gate in gates(place, batches, policy, count_in_flight=True)}
    named |= {batch.cut for batch in batches[:-1]} | set(out.values())
    assert named <= platform.RULES.keys()
    assert not batches or batches[-1].cut == ""
    assert sorted([*out, *(name for batch in batches for name in batch.ids)]) == sorted(place.instances)
    assert all(rule.says and rule.source for rule in platform.RULES.values())


@given(sets(), policies, st.booleans())
def test_what_every_gate_holds(place: ScaleSet, policy: RollingPolicy, in_flight: bool) -> None:
    """`allowed` is the largest count that does not exceed, and a verdict is what one more and none more would do."""
    batches = forecast(place, policy=policy)
    found = gates(place, batches, policy, count_in_flight=in_flight)
    assert len(found) == (3 if in_flight else 2) * len(batches)
    for gate in found:
        assert not platform.exceeds(gate.allowed, gate.of, gate.percent)
        assert platform.exceeds(gate.allowed + 1, gate.of, gate.percent)
        now, more = (100 * (gate.known + extra) > gate.percent * gate.of for extra in (0, 1))
        stops = gate.verdict in (Verdict.BREACHED, Verdict.CANNOT_BE_MET)
        assert stops == now
        assert (gate.verdict is Verdict.ZERO_TOLERANCE) == (more and not now)
    known = [gate.known for gate in found if gate.rule.startswith("before")]
    assert known == sorted(known, reverse=True), "upgraded instances come back, so it only gets better"


@given(sets())
def test_no_forecast_takes_what_the_guard_does_not_count(place: ScaleSet) -> None:
    """`effects.touched` is the careful answer: it may name more, never fewer."""
    from planner.commands import Command, Kind

    change = resolve(ImageChange(version="2"), place)
    command = Command(id="c", kind=Kind.UPDATE_MODEL, patch=change.patch, why="the change")
    counted = touched(command, place, change.target)
    batches = forecast(place, change)
    assert {name for batch in batches for name in batch.ids} <= set(counted.ids)
    assert max((len(batch.ids) for batch in batches), default=0) <= counted.at_once


# -- planted bugs: each is met by an example above and by the comparison with the world -------------------------------

SAMPLES = [
    plain(size, domains, zones, sick=(1,)) for size in (2, 4, 10, 12) for domains in (0, 1, 5) for zones in (0, 3)
]
SETTINGS = [
    RollingPolicy(max_batch_percent=percent, cross_zone=cross) for percent in (5, 20, 25, 45) for cross in (False, True)
]


def _differs() -> bool:
    """Is there a sample on which the planner's batches are not the world's?"""
    stale = [
        scale_set(one.model, [replace(vm, latest_model=False) for vm in one.instances.values()]) for one in SAMPLES
    ]
    return any(by_the_planner(one, policy) != by_the_world(one, policy) for one in stale for policy in SETTINGS)


def _rounds_up(percent: int, total: int) -> int:
    return max(1, -(-percent * total // 100))


def _forgets_the_minimum(percent: int, total: int) -> int:
    return percent * total // 100 or total


def test_the_samples_agree_with_the_world() -> None:
    assert not _differs()


@pytest.mark.parametrize(
    ("wrong", "example"),
    [(_rounds_up, (9, 20, 1)), (_forgets_the_minimum, (4, 20, 1))],
    ids=["rounds up", "no minimum"],
)
def test_planted_rounding_is_caught(
    wrong: Callable[[int, int], int], example: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "batch_limit", wrong)
    assert _differs()
    with pytest.raises(AssertionError):
        test_a_batch_is_a_share_of_all_rounded_down_and_at_least_one(*example)


@pytest.mark.parametrize("field", ["update_domain", "zone"])
def test_planted_crossing_of_a_border_is_caught(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = forecast

    def crossing(place: ScaleSet, *given: Any, **named: Any) -> Any:
        blurred = [replace(one, **{field: None}) for one in place.instances.values()]
        return real(scale_set(place.model, blurred), *given, **named)

    monkeypatch.setattr("tests.test_platform.forecast", crossing)
    assert _differs()
    with pytest.raises(AssertionError):
        test_by_hand_zone_by_zone_and_domain_by_domain()


def test_planted_gate_that_stops_at_the_limit_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "exceeds", lambda count, of, percent: count * 100 >= percent * of)
    with pytest.raises(AssertionError):
        test_exactly_at_the_limit_passes()
