"""Plans: what every strategy promises on any set, amounts and their rounding, examples of every strategy, reverses."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from planner.amount import amount, at_least, at_most, batch_size, follow, maximum, minimum
from planner.build import Request, build
from planner.change import Change, CurrentModel, ImageChange, PropertyChange, resolve
from planner.errors import InputError
from planner.model import Service, placement_key, scale_set, service
from planner.plan import Plan
from planner.strategies import STRATEGIES, Example, Strategy, find
from tests.fleet import (
    NEW,
    OLD,
    SETTING,
    UPGRADES,
    Case,
    Fleet,
    cases,
    examples,
    fitting,
    fleets,
    plan_or_none,
    strategies,
    world,
)

GROUPED_BY = {"per-ud": "update_domain", "per-fd": "fault_domain", "per-zone": "zone"}


def planned(case: Case) -> Plan:
    """The plan; a case that does not fit is not looked at."""
    plan = plan_or_none(case)
    assume(plan is not None)
    assert plan is not None
    return plan


# -- every strategy, any set ---------------------------------------------------------------------------------------------


@examples(120)
@given(cases(most=12))
def test_batches_cover_what_is_eligible_once(case: Case) -> None:
    plan = planned(case)
    taken = Counter(name for batch in plan.batches for name in batch.take)
    eligible = set(plan.scale_set.instances) - set(plan.skipped)
    if plan.strategy == "selected":
        eligible &= set(plan.parameters["ids"])
    assert taken == dict.fromkeys(eligible, 1)
    assert all(batch.take for batch in plan.batches)


@examples(120)
@given(cases(most=12, platform=False))
def test_no_batch_needs_more_than_the_floor_leaves(case: Case) -> None:
    plan = planned(case)
    budget = len(plan.scale_set.instances) - plan.floor.absolute
    for batch in plan.batches:
        cost = sum(plan.scale_set.instances[name].service is not Service.OUT for name in batch.take)
        assert cost - batch.add <= budget
        assert batch.add in (0, len(batch.take))


@examples(60)
@given(fleets(12), st.sampled_from(sorted(GROUPED_BY)), st.one_of(st.none(), st.integers(0, 11)), st.booleans())
def test_a_domain_strategy_never_mixes_domains(fleet: Fleet, name: str, floor: int | None, sick_first: bool) -> None:
    parameters = {"unhealthy_first": sick_first}
    plan = planned(
        Case(fleet=fleet, change=CurrentModel(), strategy=name, parameters=parameters, more={"floor": floor})
    )
    healthy_batches = [batch for batch in plan.batches if not batch.why.startswith("out of service")]
    domains = [
        {getattr(plan.scale_set.instances[one], GROUPED_BY[name]) for one in batch.take} for batch in healthy_batches
    ]
    assert all(len(domain) == 1 for domain in domains)
    order = [next(iter(domain)) for domain in domains]
    assert order == sorted(order, key=lambda one: (one is None, one))


@examples(60)
@given(fleets(12, sick=()), st.sampled_from(sorted(GROUPED_BY)), st.sets(st.integers(0, 3)))
def test_only_the_named_domains_are_upgraded(fleet: Fleet, name: str, chosen: set[int]) -> None:
    parameters = {"only": [str(one) for one in sorted(chosen)]}
    plan = planned(Case(fleet=fleet, change=CurrentModel(), strategy=name, parameters=parameters))
    taken = {one for batch in plan.batches for one in batch.take}
    wanted = {
        one
        for one, pinned in plan.scale_set.instances.items()
        if one not in plan.skipped and (not chosen or str(getattr(pinned, GROUPED_BY[name])) in parameters["only"])
    }
    assert taken == wanted


@examples(60)
@given(fleets(20, sick=(), protected=()), st.integers(1, 4), st.integers(1, 4), st.integers(1, 8), st.integers(0, 4))
def test_a_ramp_grows_by_its_factor_up_to_its_cap(fleet: Fleet, start: int, factor: int, cap: int, canary: int) -> None:
    fleet = msgspec_free(fleet, zones=0)
    parameters = {"start": start, "factor": factor, "cap": cap, "canary": canary, "zones": False}
    plan = planned(Case(fleet=fleet, strategy="ramp", parameters=parameters))
    sizes = [len(batch.take) for batch in plan.batches]
    total = sum(sizes)
    expected: list[int] = []
    if canary and total:
        expected.append(min(canary, total))
    size = start
    while sum(expected) < total:
        expected.append(min(size, cap, total - sum(expected)))
        size *= factor
    assert sizes == expected


def msgspec_free(fleet: Fleet, **changes: Any) -> Fleet:
    """The fleet with changes (a dataclass, not a struct)."""
    return Fleet(**{**fleet.__dict__, **changes})


@examples(40)
@given(fleets(12, zones=3), st.integers(1, 6))
def test_a_ramp_by_zones_never_crosses_a_zone(fleet: Fleet, cap: int) -> None:
    plan = planned(Case(fleet=fleet, strategy="ramp", parameters={"cap": cap}))
    zones = [{plan.scale_set.instances[name].zone for name in batch.take} for batch in plan.batches]
    assert all(len(zone) == 1 for zone in zones)
    assert [min(zone, key=str) for zone in zones] == sorted(min(zone, key=str) for zone in zones)


@examples(80)
@given(cases(most=10), st.randoms(use_true_random=False))
def test_a_plan_depends_on_nothing_but_its_input_in_any_order(case: Case, shuffle: Any) -> None:
    plan = planned(case)
    assert case.plan() == plan
    members = case.fleet.instances()
    shuffle.shuffle(members)
    request = Request(
        scale_set=scale_set(case.fleet.scale_set().model, members),
        change=case.change,
        action=case.action,
        strategy=case.strategy,
        parameters=case.parameters,
        **case.more,
    )
    made = build(request)
    if case.ladder is not None:
        made = msgspec.structs.replace(made, failures=plan.failures)
    assert made == plan


@examples(60)
@given(cases(most=8))
def test_a_plan_survives_json(case: Case) -> None:
    plan = planned(case)
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan


@examples(60)
@given(cases(most=8))
def test_what_is_skipped_says_why(case: Case) -> None:
    plan = planned(case)
    fleet = case.fleet
    for name in plan.scale_set.instances:
        if int(name) in fleet.protected:
            assert plan.skipped[name] == "protected"
        elif name in plan.skipped:
            assert plan.skipped[name] == "already-current"
            assert int(name) in fleet.ahead


@examples(60)
@given(fleets(10, source=Fleet.source), st.data())
def test_unhealthy_first_puts_all_that_are_out_of_service_before_the_others(fleet: Fleet, data: st.DataObject) -> None:
    name, parameters = data.draw(strategies(fleet, platform=False))
    plan = planned(Case(fleet=fleet, strategy=name, parameters={**parameters, "unhealthy_first": True}))
    order = [plan.scale_set.instances[one].service is Service.OUT for batch in plan.batches for one in batch.take]
    assert order == sorted(order, reverse=True)
    mixed = [{plan.scale_set.instances[one].service is Service.OUT for one in batch.take} for batch in plan.batches]
    assert all(len(kinds) == 1 for kinds in mixed)


@examples(40)
@given(cases(most=8, platform=False))
def test_approval_is_needed_for_every_batch_but_the_first(case: Case) -> None:
    plan = planned(case)
    assert [batch.approve for batch in plan.batches] == [
        bool(plan.parameters["approve"]) and index > 0 for index in range(len(plan.batches))
    ]


def test_placement_order_is_zone_group_domain_number() -> None:
    fleet = Fleet(size=12, zones=2, update_domains=2, fault_domains=1).scale_set()
    assert list(fleet.instances) == ["0", "2", "4", "6", "8", "10", "1", "3", "5", "7", "9", "11"]
    assert sorted(fleet.instances.values(), key=placement_key) == list(fleet.instances.values())


# -- amounts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_amount", "total", "least", "most", "batch"),
    [
        (0, 10, 0, 0, 1),
        (8, 10, 8, 8, 8),
        ("8", 10, 8, 8, 8),
        ("0%", 10, 0, 0, 1),
        ("1%", 10, 1, 0, 1),
        ("10%", 30, 3, 3, 3),
        ("20%", 6, 2, 1, 1),
        ("33%", 3, 1, 0, 1),
        ("34%", 3, 2, 1, 1),
        ("50%", 5, 3, 2, 2),
        ("66.6%", 3, 2, 1, 1),
        ("66.7%", 3, 3, 2, 2),
        ("80%", 7, 6, 5, 5),
        ("99.9%", 1000, 999, 999, 999),
        ("100%", 7, 7, 7, 7),
        ("n-2", 10, 8, 8, 8),
        (" N - 2 ", 10, 8, 8, 8),
        ("n-12", 10, 0, 0, 1),
        ("29%", 100, 29, 29, 29),  # 0.29 * 100 is 28.999999999999996 in floats
    ],
)
def test_rounding_keeps_more_instances_serving(
    given_amount: int | str, total: int, least: int, most: int, batch: int
) -> None:
    text = amount(given_amount, "test")
    assert (at_least(text, total), at_most(text, total), batch_size(text, total)) == (least, most, batch)
    assert minimum(given_amount, total, "test").absolute == least
    assert maximum(given_amount, total, "test").absolute == most


@pytest.mark.parametrize("wrong", [-1, "101%", "-5%", "n+2", "half", "", "5 VMs", True, 1.5, None, "1e3%", "٣%x"])
def test_what_is_not_an_amount_is_said_so(wrong: Any) -> None:
    with pytest.raises(InputError) as caught:
        amount(wrong, "plan.floor")
    assert caught.value.where == "plan.floor"


@given(st.integers(0, 100), st.integers(1, 1000), st.integers(1, 1000))
def test_percentages_and_all_but_follow_the_capacity_and_counts_stay(percent: int, before: int, after: int) -> None:
    assert follow(minimum(f"{percent}%", before, "x"), after) == -(-percent * after // 100)
    assert follow(minimum(f"n-{percent}", before, "x"), after) == max(0, after - percent)
    assert follow(minimum(percent, before, "x"), after) == percent


# -- strategies -----------------------------------------------------------------------------------------------------------


def example_set(example: Example) -> Any:
    """The set that `planner/strategies/base.py` describes."""
    return Fleet(
        size=example.instances,
        update_domains=example.update_domains,
        fault_domains=example.fault_domains,
        zones=example.zones,
    ).scale_set()


@pytest.mark.parametrize(
    ("strategy", "example"),
    [(strategy, example) for strategy in STRATEGIES.values() for example in strategy.examples],
    ids=lambda one: one.says if isinstance(one, Example) else one.name,
)
def test_examples_of_the_strategies(strategy: Strategy, example: Example) -> None:
    parameters = msgspec.convert(example.parameters, strategy.parameters)
    made = strategy.make(example_set(example), parameters)
    assert tuple(batch.take for batch in made) == example.batches


def test_every_strategy_has_examples_and_a_name_of_its_own() -> None:
    for name, strategy in STRATEGIES.items():
        assert strategy.name == name
        assert strategy.examples
        assert find(name, "test") is strategy


@pytest.mark.parametrize(
    ("strategy", "parameters", "what"),
    [
        ("per-ud", {"onyl": ["1"]}, "did you mean 'only'?"),
        ("per-ud", {"only": ["7"]}, "no such update-domain"),
        ("per-zone", {}, "no instance's zone is known"),
        ("batch", {"size": 0}, "never finish"),
        ("batch", {"size": "0%"}, "never finish"),
        ("batch", {"size": -3}, "cannot be negative"),
        ("batch", {"size": "half"}, "not an amount"),
        ("batch", {"size": "250%"}, "out of range"),
        ("batch", {"within": "rack"}, "not a border"),
        ("batch", {"order": "random"}, "not an order"),
        ("batch", {"size": True}, "batch.size: wrong type; found true; expected a whole number or text"),
        ("ramp", {"start": 0}, "never finish"),
        ("ramp", {"factor": 0}, "does not shrink"),
        ("ramp", {"cap": "none"}, "not an amount"),
        ("ramp", {"canary": -1}, "cannot be negative"),
        ("ramp", {"canary": "few"}, "not an amount"),
        ("selected", {"ids": ["99"]}, "no such instance"),
        ("selected", {"ids": ["1", "1"]}, "inconsistent batch"),
        ("selected", {"ids": ["1"], "size": -1}, "cannot be negative"),
        ("one-by-one", {"max_failed": -1}, "cannot be negative"),
        ("one-by-one", {"retries": -1}, "cannot be negative"),
        ("one-by-one", {"soak_ms": -1}, "cannot be negative"),
        ("one-by-one", {"on_failure": "panic"}, "unknown choice"),
        ("one-by-on", {}, "did you mean 'one-by-one'?"),
        ("batch", {"size": 4}, "larger than the budget"),
    ],
)
def test_parameters_that_make_no_sense_are_refused_by_name(
    strategy: str, parameters: dict[str, Any], what: str
) -> None:
    more = {"floor": 4} if parameters == {"size": 4} else {}
    with pytest.raises(InputError) as caught:
        Case(strategy=strategy, parameters=parameters, more=more).plan()
    assert what in str(caught.value)


def test_a_floor_that_leaves_nothing_to_take_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        Case(more={"floor": "100%"}).plan()
    assert "leaves no instance of 6 to take" in str(caught.value)


def test_a_domain_larger_than_the_budget_is_split_in_order_and_said_so() -> None:
    plan = Case(strategy="per-ud", fleet=Fleet(update_domains=2), more={"floor": 4}).plan()
    assert [batch.take for batch in plan.batches] == [("0", "4"), ("2",), ("3",), ("1", "5")] or [
        len(batch.take) for batch in plan.batches
    ] == [2, 1, 2, 1]
    assert plan.splits == (
        "update-domain 0: 3 instances in 2 batches, since the budget is 2",
        "update-domain 1: 3 instances in 2 batches, since the budget is 2",
    )


def test_members_out_of_service_need_no_budget() -> None:
    plan = Case(strategy="per-ud", fleet=Fleet(update_domains=2, sick=(0, 2)), more={"floor": 5}).plan()
    assert [len(batch.take) for batch in plan.batches][:1] == [3]


# -- changes and their reverse ----------------------------------------------------------------------------------------------


def every_change() -> list[tuple[str, Change, Any]]:
    return [
        (kind, change, action)
        for kind in ("platform", "latest", "id", "uri")
        for change, action in fitting(Fleet(image=kind))
    ]


@pytest.mark.parametrize(("kind", "change", "action"), every_change())
def test_patch_then_reverse_restores_the_model(kind: str, change: Change, action: Any) -> None:
    fleet = Fleet(image=kind, model=NEW if isinstance(change, CurrentModel) else OLD).scale_set()
    resolved = resolve(change, fleet, action)
    assert set(resolved.patch) == set(resolved.reverse)
    place = world(fleet)
    before, content = dict(place.model), place.content
    place.submit("c1", "update-model", patch=resolved.patch)
    if resolved.patch:
        assert place.model != before
    place.submit("c2", "update-model", patch=resolved.reverse)
    if kind == "latest" and isinstance(change, ImageChange):
        # `latest` would roll forward: it is pinned to what most instances booted
        before["properties.virtualMachineProfile.storageProfile.imageReference.version"] = OLD
    else:
        assert place.content == content
    assert place.model == before


def test_a_latest_set_goes_back_to_the_version_most_instances_booted() -> None:
    fleet = Fleet(size=5, image="latest", older=(0, 1, 2)).scale_set()
    resolved = resolve(ImageChange(version=NEW), fleet)
    assert list(resolved.reverse.values()) == ["0.9.0"]
    assert resolved.back_image is not None
    assert resolved.back_image.version == "0.9.0"


@pytest.mark.parametrize("action", UPGRADES)
def test_a_property_whose_present_value_is_not_known_cannot_be_changed(action: Any) -> None:
    with pytest.raises(InputError) as caught:
        resolve(PropertyChange(path="properties.x", value=1), Fleet().scale_set(), action)
    assert "could not be reversed" in str(caught.value)
    assert SETTING in str(caught.value)


def test_services_are_what_the_plan_pinned() -> None:
    fleet = Fleet(sick=(1,), unknown=(2,)).scale_set()
    plan = Case(fleet=Fleet(sick=(1,), unknown=(2,))).plan()
    for name, one in fleet.instances.items():
        assert plan.scale_set.instances[name].service is service(one, fleet.model.health_source)
