"""What would stop a plan half-way is found before the first mutation: a planted trouble for every code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.azure.preflight import CODES, EVERYBODY, FLEXIBLE, images_of, kinds_of, may
from planner.build import Request, build
from planner.change import Change, GuestPatch, ImageChange, ImageIdChange
from planner.commands import Kind
from planner.lint import CODES as LINT
from planner.lint import Grade
from planner.plan import Plan
from tests.azure_arm import ARM, NEW, OLD, SET, SUB, Arm, Told, backend, error, instance_document, listening

PERMISSIONS = f"{SET}/providers/Microsoft.Authorization/permissions"
LOCKS = f"{SET}/providers/Microsoft.Authorization/locks"
DENIALS = f"{SET}/providers/Microsoft.Authorization/denyAssignments"
SKUS = f"/subscriptions/{SUB}/providers/Microsoft.Compute/skus"
UPGRADE = "Microsoft.Compute/virtualMachineScaleSets/manualupgrade/action"
LOCATION = f"/subscriptions/{SUB}/providers/Microsoft.Compute/locations/westeurope"
IMAGE = f"{LOCATION}/publishers/Canonical/artifacttypes/vmimage/offers/ubuntu/skus/22_04-lts/versions"
GALLERY = f"/subscriptions/{SUB}/resourceGroups/rg/providers/Microsoft.Compute/galleries/g/images/i"


def permissions(*actions: str, not_actions: tuple[str, ...] = ()) -> Told:
    return Told(body={"value": [{"actions": list(actions), "notActions": list(not_actions)}]})


def usages(*left_out: str, **free: int) -> Told:
    """100 cores of each, 90 of them free unless it is said otherwise."""
    names = ("cores", "lowPriorityCores", "StandardDSv5Family", "standardFSv2Family")
    return Told(
        body={
            "value": [
                {"name": {"value": name}, "currentValue": 100 - free.get(name, 90), "limit": 100}
                for name in names
                if name not in left_out
            ]
        }
    )


def skus(family: str = "standardDSv5Family", cores: str = "2", kind: str = "virtualMachines") -> Told:
    """Two pages: disks have skus, too."""
    first = Told(
        body={"value": [{"resourceType": "disks", "name": "Standard_D2s_v5"}], "nextLink": f"{ARM}{SKUS}?page=2"}
    )
    one = {
        "resourceType": kind,
        "name": "Standard_D2s_v5",
        "family": family,
        "capabilities": [{"name": "vCPUs", "value": cores}],
    }
    second = Told(body={"value": [one]})
    return lambda call: second if "page" in call.query else first  # type: ignore[return-value]


def deny(*actions: str, to: str = EVERYBODY, excluded: tuple[str, ...] = (), **facts: Any) -> Told:
    properties = {
        "denyAssignmentName": "stack", "permissions": [{"actions": list(actions), "notActions": []}],
        "principals": [{"id": to, "type": "SystemDefined"}], "excludePrincipals": [{"id": one} for one in excluded],
        "scope": f"/subscriptions/{SUB}/resourceGroups/rg", "doNotApplyToChildScopes": False, **facts,
    }  # fmt: skip
    return Told(body={"value": [{"id": f"{DENIALS}/1", "name": "1", "properties": properties}]})


def ready(arm: Arm) -> None:
    """Nothing stands in the way."""
    arm.tell("GET", PERMISSIONS, permissions("*"))
    arm.tell("GET", LOCKS, Told(body={"value": []}))
    for version in (OLD, NEW):
        arm.tell("GET", f"{IMAGE}/{version}", Told(body={"name": version}))
    arm.tell("GET", DENIALS, Told(body={"value": []}))
    arm.tell("GET", f"{LOCATION}/usages", usages())
    arm.tell("GET", SKUS, skus())


def planned(strategy: str = "one-by-one", change: Change | None = None, **more: Any) -> Plan:
    snapshot = backend().snapshot().scale_set
    return build(Request(scale_set=snapshot, change=change or ImageChange(version=NEW), strategy=strategy, **more))


def codes(arm: Arm, plan: Plan, **options: Any) -> list[str]:
    found = backend(**options).preflight(plan)
    assert [one.code for one in found] == sorted(one.code for one in found)
    assert all(one.grade is CODES[one.code].grade for one in found)
    assert all(call.method == "GET" for call in arm.calls)
    return [one.code for one in found]


def test_nothing_in_the_way_is_no_finding() -> None:
    with listening(Arm()) as arm:
        ready(arm)
        for strategy in ("one-by-one", "per-ud", "surge"):
            assert codes(arm, planned(strategy)) == []


def _updating(arm: Arm) -> None:
    arm.set["properties"]["provisioningState"] = "Updating"


def _failed(arm: Arm) -> None:
    arm.set["properties"]["provisioningState"] = "Failed"


def _moving(arm: Arm) -> None:
    arm.instances["1"] = instance_document("1", provisioning="Updating")


def _lock(level: str) -> Callable[[Arm], None]:
    return lambda arm: arm.tell("GET", LOCKS, Told(body={"value": [{"name": "keep", "properties": {"level": level}}]}))


def _uri(arm: Arm) -> None:
    arm.set["properties"]["virtualMachineProfile"]["storageProfile"]["osDisk"]["vhdContainers"] = ["https://s/vhds"]


def _told(path: str, told: Told) -> Callable[[Arm], None]:
    return lambda arm: arm.tell("GET", path, told)


def _spot(arm: Arm) -> None:
    """A Spot set counts against the region's low-priority cores, and against nothing else."""
    arm.set["properties"]["virtualMachineProfile"]["priority"] = "Spot"
    arm.tell("GET", f"{LOCATION}/usages", usages(cores=0, StandardDSv5Family=0, lowPriorityCores=1))


TROUBLES: tuple[tuple[str, str, Callable[[Arm], None]], ...] = (
    ("VS502", "one-by-one", _told(PERMISSIONS, permissions("Microsoft.Compute/*/read", "Microsoft.Compute/virtualMachineScaleSets/write"))),
    ("VS502", "one-by-one", _told(PERMISSIONS, permissions("*", not_actions=("microsoft.compute/virtualmachinescalesets/MANUALUPGRADE/action",)))),
    ("VS503", "one-by-one", _told(PERMISSIONS, error(403, "AuthorizationFailed"))),
    ("VS503", "one-by-one", _told(PERMISSIONS, Told(body=[1]))),
    ("VS503", "one-by-one", _told(PERMISSIONS, Told(body={"value": []}))),
    ("VS504", "one-by-one", _lock("ReadOnly")),
    ("VS504", "surge", _lock("CanNotDelete")),
    ("VS505", "one-by-one", _told(LOCKS, Told(404))),
    ("VS506", "one-by-one", _told(f"{IMAGE}/{NEW}", error(404, "NotFound"))),
    ("VS506", "one-by-one", _told(f"{IMAGE}/{OLD}", error(404, "NotFound"))),
    ("VS507", "one-by-one", _told(f"{IMAGE}/{NEW}", error(403, "AuthorizationFailed"))),
    ("VS508", "surge", _told(f"{LOCATION}/usages", usages(cores=1))),
    ("VS508", "surge", _told(f"{LOCATION}/usages", usages(StandardDSv5Family=1))),
    ("VS508", "surge", _spot),
    ("VS509", "surge", _told(f"{LOCATION}/usages", error(403, "AuthorizationFailed"))),
    ("VS509", "surge", _told(f"{LOCATION}/usages", usages("StandardDSv5Family"))),
    ("VS509", "surge", _told(SKUS, Told(body={"value": []}))),
    ("VS509", "surge", _told(SKUS, skus(kind="disks"))),
    ("VS509", "surge", _told(SKUS, skus(cores="many"))),
    ("VS510", "one-by-one", _updating),
    ("VS510", "one-by-one", _moving),
    ("VS512", "one-by-one", _uri),
    ("VS513", "one-by-one", _failed),
    ("VS514", "one-by-one", _told(DENIALS, deny("*"))),
    ("VS514", "one-by-one", _told(DENIALS, deny(UPGRADE, doNotApplyToChildScopes=True, scope=SET))),
    ("VS515", "one-by-one", _told(DENIALS, deny("*/action", excluded=("somebody",)))),
    ("VS515", "one-by-one", _told(DENIALS, deny("*", to="a-group"))),
    ("VS515", "one-by-one", _told(DENIALS, error(403, "AuthorizationFailed"))),
    ("VS515", "one-by-one", _told(DENIALS, Told(body=[1]))),
)  # fmt: skip


@pytest.mark.parametrize(
    ("code", "strategy", "trouble"), TROUBLES, ids=[f"{code}-{i}" for i, (code, *_) in enumerate(TROUBLES)]
)
def test_a_trouble_is_found_and_no_other(code: str, strategy: str, trouble: Callable[[Arm], None]) -> None:
    with listening(Arm()) as arm:
        ready(arm)
        plan = planned(strategy)
        trouble(arm)
        assert codes(arm, plan) == [code]


def test_a_plan_for_another_set_is_found_before_anything_is_asked() -> None:
    with listening(Arm()) as arm:
        ready(arm)
        plan = planned()
        from backends.azure import connect
        from tests.azure_arm import ManualSleeper, Token

        before = len(arm.calls)
        other = connect(SET.replace(SUB, "1" * 8), credential=Token(), sleeper=ManualSleeper(), cloud="public")
        assert [one.code for one in other.preflight(plan)] == ["VS501"]
        assert len(arm.calls) == before


@pytest.mark.parametrize(
    ("trouble", "strategy"),
    [
        (_told(DENIALS, deny("Microsoft.Storage/*", "Microsoft.Compute/disks/delete")), "one-by-one"),
        (_told(DENIALS, deny("Microsoft.Compute/virtualMachineScaleSets/delete/action")), "one-by-one"),
        (_told(DENIALS, deny("*", doNotApplyToChildScopes=True)), "one-by-one"),
        (_told(f"{LOCATION}/usages", usages(standardFSv2Family=0, lowPriorityCores=0)), "surge"),
        (_told(f"{LOCATION}/usages", usages(cores=0)), "one-by-one"),
    ],
)
def test_what_is_no_matter_for_this_plan(trouble: Callable[[Arm], None], strategy: str) -> None:
    """Denied elsewhere, or what this plan does not send; the quota of another family, or where nothing is added."""
    with listening(Arm()) as arm:
        ready(arm)
        plan = planned(strategy)
        trouble(arm)
        assert codes(arm, plan) == []


def test_who_is_denied_and_what_is_said() -> None:
    with listening(Arm()) as arm:
        ready(arm)
        plan = planned()
        arm.tell("GET", DENIALS, deny(UPGRADE))
        (finding,) = backend().preflight(plan)
        assert finding.text == f"deny assignment stack refuses {UPGRADE} to everybody"
        for path, version in ((DENIALS, "2022-04-01"), (LOCKS, "2020-05-01")):
            (call,) = (call for call in arm.calls if call.path == path)
            assert call.query == {"api-version": version, "$filter": "atScope()"}


def test_another_s_rollout_is_found() -> None:
    with listening(Arm(mode="Rolling")) as arm:
        ready(arm)
        plan = planned()
        arm.latest = {"properties": {"runningStatus": {"code": "RollingForward"}, "progress": {}}}
        assert codes(arm, plan) == ["VS510"]


def test_a_lock_against_deletion_is_no_matter_where_nothing_is_deleted() -> None:
    with listening(Arm()) as arm:
        ready(arm)
        plan = planned()
        _lock("CanNotDelete")(arm)
        assert codes(arm, plan) == []


def test_unmanaged_images_are_an_endpoint_s_own_business() -> None:
    """Azure Stack and the emulator have them; Microsoft's clouds do not any more."""
    with listening(Arm()) as arm:
        ready(arm)
        plan = planned()
        _uri(arm)
        assert codes(arm, plan) == ["VS512"]
        assert (
            codes(arm, plan, cloud=None, endpoint="https://management.local.azurestack.external", audience="https://a")
            == []
        )


@pytest.mark.parametrize("strategy", ["one-by-one", "batch", "ramp", "per-ud", "selected"])
def test_a_flexible_set_takes_what_needs_no_hidden_domains(strategy: str) -> None:
    with listening(Arm()) as arm:
        ready(arm)
        parameters = {"ids": ["0"]} if strategy == "selected" else {}
        plan = planned(strategy, parameters=parameters)
        arm.set["properties"]["orchestrationMode"] = "Flexible"
        vms = SET.rpartition("/virtualMachineScaleSets")[0] + "/virtualMachines"
        arm.tell("GET", vms, Told(body={"value": []}))
        assert ("VS511" in codes(arm, plan)) is (strategy not in FLEXIBLE)


@pytest.mark.parametrize(
    ("told", "code"),
    [
        (Told(body={"id": GALLERY, "properties": {"publishingProfile": {"targetRegions": [{"name": "West Europe"}]}}}), None),
        (Told(body={"id": GALLERY, "properties": {"publishingProfile": {"targetRegions": [{"name": "East US"}]}}}), "VS506"),
        (error(404, "NotFound"), "VS506"),
        (error(403, "AuthorizationFailed"), "VS507"),
    ],
)  # fmt: skip
def test_a_gallery_image_has_to_be_replicated(told: Told, code: str | None) -> None:
    with listening(Arm()) as arm:
        ready(arm)
        here = Told(
            body={"id": GALLERY, "properties": {"publishingProfile": {"targetRegions": [{"name": "westeurope"}]}}}
        )
        reference = arm.set["properties"]["virtualMachineProfile"]["storageProfile"]
        reference["imageReference"] = {"id": f"{GALLERY}/versions/1.0.0"}
        for one in arm.instances.values():
            one["properties"]["storageProfile"]["imageReference"] = {
                "id": f"{GALLERY}/versions/1.0.0",
                "exactVersion": "1.0.0",
            }
        arm.tell("GET", f"{GALLERY}/versions/1.0.0", here)
        arm.tell("GET", f"{GALLERY}/versions/2.0.0", told)
        plan = planned(change=ImageIdChange(id=f"{GALLERY}/versions/2.0.0"))
        assert codes(arm, plan) == ([code] if code else [])
        assert {call.query["api-version"] for call in arm.calls if "galleries" in call.path} == {"2026-03-03"}


def test_every_code_has_its_trouble() -> None:
    tried = {code for code, *_ in TROUBLES} | {"VS501", "VS511"}
    assert tried == set(CODES)
    assert not set(CODES) & set(LINT), "codes are never given twice"
    assert all(code.grade in Grade for code in CODES.values())


def test_the_operator_s_page_has_every_code() -> None:
    page = (Path(__file__).parent.parent / "docs" / "operate.md").read_text()
    for code, one in CODES.items():
        assert f"| {code} | {one.name} | {one.grade.value} | {one.why} |\n" in page, code


def test_what_a_plan_may_send() -> None:
    """Rule 1, by the plans that use it."""
    with listening(Arm(automaticRepairsPolicy={"enabled": True}, mode="Automatic")) as arm:
        ready(arm)
        assert kinds_of(planned()) == {
            Kind.SUSPEND_REPAIRS, Kind.RESUME_REPAIRS, Kind.SET_MODE, Kind.UPDATE_MODEL, Kind.UPGRADE,
        }  # fmt: skip
        surge = kinds_of(planned("surge"))
        assert {Kind.DELETE, Kind.SET_CAPACITY} <= surge
        assert kinds_of(planned(change=GuestPatch(script="x"))) >= {Kind.RUN_COMMAND}
        assert Kind.CANCEL_ROLLING in kinds_of(planned("platform-rolling"))
        arm.instances["2"] = instance_document("2", version="20.04.1")
        assert Kind.REIMAGE in kinds_of(planned()), "on the way back it is to boot what it booted"
        assert len(images_of(planned())) == 3


@given(
    st.lists(st.sampled_from(["*", "a/*", "a/b/read", "A/B/*", "c"])),
    st.lists(st.sampled_from(["a/b/read", "*/read", "c"])),
)
def test_permissions_are_matched_as_azure_does(actions: list[str], nots: list[str]) -> None:
    found = may([{"actions": actions, "notActions": nots}], "A/b/READ")
    assert found is (bool(set(actions) - {"c"}) and not set(nots) - {"c"})
    assert may([{"actions": actions, "notActions": nots}, {"actions": ["*"]}], "a/b/read")
