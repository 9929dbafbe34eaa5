"""Lists of instances: pages that lose nobody, filters, and what is left of what was not selected."""

from __future__ import annotations

import base64
from collections.abc import Callable
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import arm_shown
from tests.arm_shown import put
from tests.small_worlds import ask, at, new_version, small
from vmss_sim.arm import lists, views
from vmss_sim.arm.http import Refused
from vmss_sim.arm.sets import ArmSet
from vmss_sim.world.scale_set import Vm


@settings(max_examples=60)
@given(
    st.integers(1, 12),
    st.integers(1, 5),
    st.lists(st.integers(0, 11), max_size=4),
    st.sampled_from(({}, {"expand": "instanceView"}, {"filter": "properties/latestModelApplied eq true"})),
)
def test_pages_follow_each_other_and_lose_nobody(count: int, page: int, gone: list[int], told: dict[str, str]) -> None:
    """Instances may go between two pages: those that stay are told once, in order."""
    world = small(count)
    one = put(world)
    request = arm_shown.get(f"{one.id}/virtualMachines", **told)
    seen: list[str] = []
    while True:
        body = lists.instances(one, request, page=page)
        seen += [each["instanceId"] for each in body["value"]]
        assert len(body["value"]) <= page
        if "nextLink" not in body:
            break
        link = urlsplit(body["nextLink"])
        assert (link.scheme, link.netloc) == ("https", "localhost:8443")
        query = dict(parse_qsl(link.query))
        assert {name: query[name] for name in request.query if name != "$skiptoken"} == {
            name: value for name, value in request.query.items() if name != "$skiptoken"
        }
        request = msgspec.structs.replace(request, path=link.path, query=query)
        if gone:
            world.vms.pop(str(gone.pop()), None)
    assert seen == sorted(set(seen), key=int)
    assert set(world.vms) <= set(seen)


FILTERS: dict[str, Callable[[ArmSet, Vm], bool]] = {
    "properties/latestModelApplied eq true": lambda one, vm: one.world.is_latest(vm),
    "latestModelApplied eq false": lambda one, vm: not one.world.is_latest(vm),
    "properties/latestModelApplied ne true": lambda one, vm: not one.world.is_latest(vm),
    "properties/provisioningState eq 'Updating'": lambda one, vm: one.world.state(vm)[0] == "updating",
    "startswith(instanceView/statuses/code, 'PowerState') eq true": lambda *_: True,
    "startswith(instanceView/statuses/code, 'PowerState/deallocated')": lambda one, vm: power(one, vm) == "deallocated",
    "instanceView/statuses/code eq 'PowerState/running'": lambda one, vm: power(one, vm) == "running",
    "properties/latestModelApplied eq true and startswith(instanceView/statuses/code,'PowerState/running')": (
        lambda one, vm: one.world.is_latest(vm) and power(one, vm) == "running"
    ),
}


def power(one: ArmSet, vm: Vm) -> str:
    return one.world.state(vm)[1]


@pytest.mark.parametrize("text", FILTERS)
def test_a_filter_keeps_what_it_names(text: str) -> None:
    world = small(6)
    one = put(world)
    new_version(world)
    ask(world, "upgrade", "0", "1")
    ask(world, "deallocate", "2")
    for seconds in (5, 40, 400):
        at(world, seconds)
        kept = lists.instances(one, arm_shown.get(f"{one.id}/virtualMachines", filter=text))["value"]
        want = [name for name, vm in world.vms.items() if FILTERS[text](one, world.settled(vm))]
        assert [each["instanceId"] for each in kept] == want


@pytest.mark.parametrize("text", ["", "latestModelApplied", "x eq 'y'", "startswith(name, 'x')", "a and b", "(" * 50])
def test_another_filter_is_refused(text: str) -> None:
    one = put(small(1))
    with pytest.raises(Refused) as refused:
        lists.instances(one, arm_shown.get("/", filter=text))
    assert (refused.value.status, refused.value.code, refused.value.target) == (400, "InvalidParameter", "$filter")


@given(st.one_of(st.text(max_size=20), st.binary(max_size=40).map(lambda raw: base64.b64encode(raw).decode())))
def test_a_token_that_is_none_of_ours_is_refused(token: str) -> None:
    one = put(small(3))
    with pytest.raises(Refused) as refused:
        lists.instances(one, arm_shown.get("/", skiptoken=token))
    assert (refused.value.status, refused.value.target) == (400, "$skiptoken")


def test_what_was_not_selected_has_its_types_default() -> None:
    world = small(1)
    one = put(world)
    for version, rest in (
        ("2024-07-01", {"provisioningState": "Succeeded", "hardwareProfile": {}}),
        ("2017-12-01", {"provisioningState": 0}),
    ):
        request = arm_shown.get("/", version, expand="instanceView", select="instanceView")
        item = lists.instances(one, request)["value"][0]
        assert set(item) == {"id", "instanceId", "properties"}
        assert world.is_latest(world.vms["0"]) and item["properties"]["latestModelApplied"] is False
        view = views.instance_view(one, world.vms["0"], version)
        assert item["properties"] == {"latestModelApplied": False, "instanceView": view, **rest}
