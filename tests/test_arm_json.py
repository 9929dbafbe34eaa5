"""`planner.arm_json`: each form by hand, every recorded document, random sets rendered and read back, broken input."""

from __future__ import annotations

import copy
import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.arm_json import Reading, looks_like, read_scale_set
from planner.errors import InputError
from planner.model import (
    AutomaticOsUpgrade,
    AutomaticRepairs,
    Health,
    HealthSource,
    ImageReference,
    Instance,
    Model,
    OperatingSystem,
    Orchestration,
    Power,
    Provisioning,
    RollingPolicy,
    ScaleSet,
    Service,
    UpgradeMode,
    scale_set,
    service,
)
from tests.recorded_counts import (
    RECORDINGS,
    Outcome,
    joined_pages,
    mended,
    read,
    recorded_documents,
    tables,
)

SNAPSHOTS = Path(__file__).resolve().parents[1] / "scenarios" / "snapshots"
GROUP = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg (1)/providers/Microsoft.Compute"
SET_ID = f"{GROUP}/virtualMachineScaleSets/web"
BOUNDED = settings(max_examples=150, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])


def snapshot(name: str) -> Any:
    return json.loads((SNAPSHOTS / name).read_text(encoding="utf-8"))


def wire_model(**properties: Any) -> dict[str, Any]:
    base = {"upgradePolicy": {"mode": "Manual"}, "provisioningState": "Succeeded", "uniqueId": "u-1"}
    return {
        "name": "web",
        "id": SET_ID,
        "type": "Microsoft.Compute/virtualMachineScaleSets",
        "location": "westus",
        "sku": {"name": "Standard_D2s_v5", "capacity": 1},
        "properties": {**base, **properties},
    }


def wire_instance(instance_id: str = "0", **properties: Any) -> dict[str, Any]:
    return {
        "name": f"web_{instance_id}",
        "id": f"{SET_ID}/virtualMachines/{instance_id}",
        "instanceId": instance_id,
        "properties": {"latestModelApplied": True, "provisioningState": "Succeeded", "vmId": "v", **properties},
    }


def reading(*documents: Any, watch: tuple[str, ...] = ()) -> Reading:
    return read_scale_set([(f"doc{index}.json", document) for index, document in enumerate(documents)], watch=watch)


def model_of(document: Any) -> Model:
    return reading(document).scale_set.model


def one(item: Any) -> Instance:
    (instance,) = reading(wire_model(), {"value": [item]}).scale_set.instances.values()
    return instance


def refusal(*documents: Any) -> str:
    with pytest.raises(InputError) as caught:
        reading(*documents)
    return str(caught.value)


def gaps(*documents: Any) -> dict[str, str]:
    return {gap.code: gap.supply for gap in reading(*documents).gaps}


# 1. Each form by hand.


def test_bundled_uniform_manual_snapshot_is_whole() -> None:
    got = reading(snapshot("web-model.json"), snapshot("web-instances.json"))
    assert got.gaps == ()
    model, instances = got.scale_set.model, got.scale_set.instances
    assert (model.name, model.mode, model.capacity, model.os) == ("web", UpgradeMode.MANUAL, 10, OperatingSystem.LINUX)
    assert (model.health_source, model.zones, model.fault_domain_count) == (HealthSource.EXTENSION, (), 5)
    assert sorted(instances, key=int) == ["0", "1", "2", "3", "5", "6", "8", "9", "10", "11"]
    for domain in (
        [each.update_domain for each in instances.values()],
        [each.fault_domain for each in instances.values()],
    ):
        assert Counter(domain) == dict.fromkeys(range(5), 2)
    assert {service(each, model.health_source) for each in instances.values()} == {Service.IN}
    assert {each.image.exact_version for each in instances.values() if each.image} == {"22.04.202604160"}
    assert model.image == ImageReference(
        publisher="Canonical", offer="0001-com-ubuntu-server-jammy", sku="22_04-lts", version="22.04.202604160"
    )


def test_bundled_zonal_rolling_snapshot_is_whole() -> None:
    got = reading(snapshot("zonal-rolling.json"))
    assert got.gaps == ()
    model, instances = got.scale_set.model, got.scale_set.instances
    assert (model.mode, model.zones, model.rolling) == (UpgradeMode.ROLLING, ("1", "2", "3"), RollingPolicy())
    assert Counter(each.zone for each in instances.values()) == {"1": 4, "2": 4, "3": 4}
    assert {each.update_domain for each in instances.values()} == set(range(5))
    assert [each.id for each in instances.values() if each.health is Health.UNHEALTHY] == ["8"]


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        (wire_model(), "model"),
        ({"upgradePolicy": {}, "name": "web"}, "model"),
        ({"value": [wire_instance()]}, "instances"),
        ([wire_instance()], "instances"),
        ([], "instances"),
        ({"model": wire_model(), "instances": []}, "both"),
        ({"Model": wire_model(), "Instances": None}, "both"),
        ({"model": wire_model()}, ""),
        ([wire_model()], ""),
        (wire_instance(), ""),
        ({"error": {"code": "ResourceNotFound"}}, ""),
        ({}, ""),
        (None, ""),
        ("web", ""),
    ],
)
def test_looks_like(document: Any, kind: str) -> None:
    assert looks_like(document) == kind


def test_model_alone_is_read_and_says_that_instances_are_missing() -> None:
    got = reading(wire_model())
    assert got.scale_set.instances == {}
    listed = "az vmss list-instances -g 'rg (1)' -n web --expand instanceView -o json"
    assert {gap.code: gap.supply for gap in got.gaps} == {
        "no-image": "az vmss show -g 'rg (1)' -n web -o json",
        "no-os": "az vmss show -g 'rg (1)' -n web -o json",
        "no-health-source": "",
        "no-instances": listed,
    }
    assert [gap.says for gap in got.gaps if gap.code == "no-instances"] == ["No instance list was given."]


def test_2015_document_with_unmanaged_disks() -> None:
    old = wire_model(
        provisioningState=4,
        overprovision=True,
        upgradePolicy={"mode": "Rolling", "rollingUpgradePolicy": {"batchInstancePercent": 35}},
        virtualMachineProfile={
            "osProfile": {"windowsConfiguration": {"provisionVMAgent": True}, "linuxConfiguration": None},
            "storageProfile": {
                "osDisk": {"image": {"uri": "https://a/image.vhd"}, "vhdContainers": ["https://a/vhds"]}
            },
        },
    )
    del old["sku"]["capacity"], old["properties"]["uniqueId"]
    own_disk = {"osDisk": {"image": {"uri": "https://a/image.vhd"}, "vhd": {"uri": "https://a/vhds/0.vhd"}}}
    got = reading(old, [wire_instance("0", storageProfile=own_disk), wire_instance("1")])
    model = got.scale_set.model
    assert model.image == ImageReference(uri="https://a/image.vhd")
    assert model.unmanaged_disks
    assert (model.capacity, model.os, model.provisioning) == (2, OperatingSystem.WINDOWS, Provisioning.UNKNOWN)
    assert model.rolling == RollingPolicy(max_batch_percent=35)
    assert got.scale_set.instances["0"].os_disk == "https://a/vhds/0.vhd"
    assert got.scale_set.instances["0"].image == model.image
    assert {"no-capacity", "no-unique-id", "no-provisioning-state"} <= {gap.code for gap in got.gaps}


@pytest.mark.parametrize(
    ("os_disk", "unmanaged"),
    [
        ({"vhdContainers": ["https://a/vhds"]}, True),
        ({"VhdContainers": ["https://a/vhds"]}, True),
        ({"image": {"uri": "https://a/i.vhd"}}, True),
        ({"vhdContainers": [], "image": {}}, False),
        ({"vhdContainers": None, "image": None}, False),
        ({"managedDisk": {"storageAccountType": "Premium_LRS"}}, False),
        ({}, False),
    ],
)
def test_unmanaged_disks_are_told_by_their_containers_or_by_the_image_they_boot(
    os_disk: dict[str, Any], unmanaged: bool
) -> None:
    storage = {"imageReference": {"publisher": "p", "version": "1"}, "osDisk": os_disk}
    assert model_of(wire_model(virtualMachineProfile={"storageProfile": storage})).unmanaged_disks is unmanaged


def test_a_vhd_is_a_vms_own_disk_and_not_its_image() -> None:
    assert one(wire_instance(storageProfile={"osDisk": {"vhd": {"uri": "https://a/0.vhd"}}})).image is None


def test_projected_items_do_not_claim_what_was_not_selected() -> None:
    view = {
        "platformUpdateDomain": 3,
        "groupId": "pg",
        "statuses": [{"code": "provisioningstate/Succeeded"}, {"code": "PowerState/Running"}],
    }
    properties = {"latestModelApplied": False, "provisioningState": 0, "instanceView": view}
    projected = {"instanceId": "0", "id": f"{SET_ID}/virtualMachines/0", "properties": properties}
    got = one(projected)
    assert got.latest_model is None
    assert (got.provisioning, got.power, got.update_domain) == (Provisioning.SUCCEEDED, Power.RUNNING, 3)
    assert got.placement_group == "pg"
    assert {"no-latest-model", "no-protection", "no-exact-version"} <= set(gaps(wire_model(), [projected]))
    assert one({**projected, "name": "web_0"}).latest_model is False


@pytest.mark.parametrize(
    ("told", "codes", "state", "error"),
    [
        ("Succeeded", [], Provisioning.SUCCEEDED, None),
        ("succeeded", ["ProvisioningState/failed/VMStartTimedOut"], Provisioning.FAILED, "VMStartTimedOut"),
        ("Failed", ["ProvisioningState/failed/A/B"], Provisioning.FAILED, "A/B"),
        ("Failed", [], Provisioning.FAILED, None),
        ("Failed", ["ProvisioningState/succeeded"], Provisioning.FAILED, None),
        ("Updating", ["ProvisioningState/failed/VMStartTimedOut"], Provisioning.UPDATING, None),
        ("Migrating", ["ProvisioningState/succeeded"], Provisioning.UNKNOWN, None),
        (None, ["PROVISIONINGSTATE/FAILED"], Provisioning.FAILED, None),
        (None, ["ProvisioningState/succeeded", "ProvisioningState/failed/X"], Provisioning.FAILED, "X"),
        (None, ["ProvisioningState/succeeded/osProvisioningComplete"], Provisioning.SUCCEEDED, None),
        (None, ["ProvisioningState/succeeded/OSProvisioningInProgress"], Provisioning.CREATING, None),
        (0, ["ProvisioningState/updating"], Provisioning.UPDATING, None),
        (None, ["ProvisioningState"], Provisioning.UNKNOWN, None),
        (None, [], Provisioning.UNKNOWN, None),
    ],
)
def test_provisioning_rule(told: Any, codes: list[str], state: Provisioning, error: str | None) -> None:
    got = one(wire_instance(provisioningState=told, instanceView={"statuses": [{"code": code} for code in codes]}))
    assert (got.provisioning, got.provisioning_error) == (state, error)


@pytest.mark.parametrize(
    ("view", "power", "health"),
    [
        (None, Power.UNKNOWN, Health.ABSENT),
        ({"statuses": [{"code": "POWERSTATE/DEALLOCATED"}]}, Power.DEALLOCATED, Health.ABSENT),
        ({"statuses": [{"code": "PowerState/hibernating"}]}, Power.UNKNOWN, Health.ABSENT),
        ({"vmHealth": {"status": {"code": "healthstate/Initializing"}}}, Power.UNKNOWN, Health.INITIALIZING),
        ({"vmHealth": {"status": {"code": "HealthState/wobbly"}}}, Power.UNKNOWN, Health.UNKNOWN),
        ({"vmHealth": {"status": {}}}, Power.UNKNOWN, Health.ABSENT),
    ],
)
def test_power_and_health(view: Any, power: Power, health: Health) -> None:
    got = one(wire_instance(instanceView=view))
    assert (got.power, got.health) == (power, health)


METRICS = '{"rollingUpgrade":{"PhaseOrderingNumber":2,"SkipUpgrade":true}}'


@pytest.mark.parametrize(
    ("code", "message", "asked"),
    [
        ("ComponentStatus/CustomMetrics/succeeded", METRICS, (2, True)),
        ("componentstatus/custommetrics/succeeded", json.dumps(METRICS), (2, True)),
        ("ComponentStatus/CustomMetrics/succeeded", '{"rollingUpgrade":{"PhaseOrderingNumber":0}}', (0, False)),
        (
            "ComponentStatus/CustomMetrics/succeeded",
            '{"rollingUpgrade":{"PhaseOrderingNumber":"2","SkipUpgrade":1}}',
            (None, False),
        ),
        ("ComponentStatus/CustomMetrics/succeeded", '{"rollingUpgrade":[2]}', (None, False)),
        ("ComponentStatus/CustomMetrics/succeeded", "not JSON", (None, False)),
        ("ComponentStatus/CustomMetrics/succeeded", None, (None, False)),
        ("ComponentStatus/StdOut/succeeded", METRICS, (None, False)),
    ],
)
def test_custom_metrics(code: str, message: str | None, asked: tuple[int | None, bool]) -> None:
    """Preview of rich health states: JSON text in the message of a substatus, serialised twice or once."""
    view = {"extensions": [{"name": "other"}, {"name": "health", "substatuses": [{"code": code, "message": message}]}]}
    found = one(wire_instance(instanceView=view))
    assert (found.upgrade_phase, found.skip_upgrade) == asked


def extension(publisher: str, kind: str) -> dict[str, Any]:
    return {"extensionProfile": {"extensions": [{"name": "e", "properties": {"publisher": publisher, "type": kind}}]}}


@pytest.mark.parametrize(
    ("properties", "source"),
    [
        ({}, HealthSource.NONE),
        ({"virtualMachineProfile": extension("microsoft.managedservices", "applicationhealthwindows")}, "extension"),
        ({"virtualMachineProfile": extension("Microsoft.ManagedServices", "KeyVaultForLinux")}, "none"),
        ({"virtualMachineProfile": {"networkProfile": {"healthProbe": {"id": "/probe"}}}}, "probe"),
        ({"virtualMachineProfile": {"networkProfile": {"healthProbe": None}}}, "none"),
        ({"externalHealthPolicy": {"enabled": True}}, "extension"),
    ],
)
def test_health_source(properties: dict[str, Any], source: str) -> None:
    assert model_of(wire_model(**properties)).health_source == HealthSource(source)


def test_az_lifts_the_type_of_an_extension_beside_its_own() -> None:
    lifted = {
        "publisher": "Microsoft.ManagedServices",
        "type": "x/extensions",
        "typePropertiesType": "ApplicationHealthLinux",
    }
    profile = {"extensionProfile": {"extensions": [lifted]}}
    assert model_of({"name": "web", "virtualMachineProfile": profile}).health_source is HealthSource.EXTENSION


def test_service_fabric_is_read_and_marked() -> None:
    assert model_of(wire_model(virtualMachineProfile=extension("Microsoft.Azure.ServiceFabric", "Node"))).service_fabric


def test_older_names_of_automatic_os_upgrade_and_zone_balance() -> None:
    policy = {"mode": "Rolling", "automaticOSUpgrade": True, "autoOSUpgradePolicy": {"disableAutoRollback": True}}
    model = model_of(wire_model(upgradePolicy=policy, zoneBalanace=True))
    assert (model.auto_os, model.zone_balance) == (AutomaticOsUpgrade(enabled=True, disable_rollback=True), True)


@pytest.mark.parametrize("place", ["document", "properties", "merged", "combined"])
def test_suspended_repairs_are_read_from_the_sets_instance_view(place: str) -> None:
    view = {"orchestrationServices": [{"serviceName": "AutomaticRepairs", "serviceState": "SUSPENDED"}]}
    document = wire_model(automaticRepairsPolicy={"enabled": True, "gracePeriod": "PT1H30M", "repairAction": "Reimage"})
    supply = "az vmss get-instance-view -g 'rg (1)' -n web -o json"
    assert gaps(document)["no-repairs-state"] == supply
    whole: Any = document
    if place == "document":
        document["instanceView"] = view
    elif place == "properties":
        document["properties"]["instanceView"] = view
    elif place == "merged":
        document.update(view)
    else:
        whole = {"model": document, "instances": None, "instanceView": view}
    repairs = AutomaticRepairs(enabled=True, grace_ms=5_400_000, action="reimage", suspended=True)
    assert model_of(whole).repairs == repairs
    assert "no-repairs-state" not in gaps(whole)


@pytest.mark.parametrize(
    ("text", "millis"),
    [("PT0S", 0), ("PT5M", 300_000), ("P1DT2H", 93_600_000), ("PT1H0M0.5S", 3_600_500), ("P2D", 172_800_000)],
)
def test_durations(text: str, millis: int) -> None:
    policy = {"mode": "Rolling", "rollingUpgradePolicy": {"pauseTimeBetweenBatches": text}}
    assert model_of(wire_model(upgradePolicy=policy)).rolling == RollingPolicy(pause_between_batches_ms=millis)


@pytest.mark.parametrize("text", ["P", "PT", "P1DT", "5M", "PT5", "PT-5M", "P1M", "P1W", "pt5m", "00:05:00", "PT5M "])
def test_other_durations_are_refused(text: str) -> None:
    policy = {"mode": "Rolling", "rollingUpgradePolicy": {"pauseTimeBetweenBatches": text}}
    assert refusal(wire_model(upgradePolicy=policy)) == (
        "doc0.json: $.properties.upgradePolicy.rollingUpgradePolicy.pauseTimeBetweenBatches: pauseTimeBetweenBatches has"
        f" the wrong type or value; found {text!r}; expected an ISO 8601 duration such as PT5M;"
        " write days, hours, minutes and seconds"
    )


@pytest.mark.parametrize("place", ["model", "zones"])
def test_ids_that_are_too_long_are_refused(place: str) -> None:
    digits = "1" * 5000  # more than int() takes
    if place == "zones":
        assert "zones[0]: [0] has the wrong type or value" in refusal({**wire_model(), "zones": [digits]})
    else:
        assert "an instance has no usable instanceId" in refusal(wire_model(), [wire_instance(digits)])


FLEXIBLE_VM = {
    "name": "web_1a2b3c4d",
    "id": f"{GROUP}/virtualMachines/web_1a2b3c4d",
    "type": "Microsoft.Compute/virtualMachines",
    "vmId": "v",
    "provisioningState": "Succeeded",
    "powerState": "VM deallocated",
    "platformFaultDomain": -1,
    "zones": ["2"],
    "virtualMachineScaleSet": {"id": SET_ID.upper(), "resourceGroup": "rg (1)"},
    "storageProfile": {"osDisk": {"name": "d", "osType": "Windows"}, "imageReference": {"id": "/i"}},
    "instanceView": None,
}


def test_flexible_instances_are_plain_vms() -> None:
    got = reading(wire_model(orchestrationMode="Flexible"), [FLEXIBLE_VM])
    (instance,) = got.scale_set.instances.values()
    assert instance == Instance(
        id="web_1a2b3c4d",
        vm_id="v",
        zone="2",
        image=ImageReference(id="/i"),
        provisioning=Provisioning.SUCCEEDED,
        power=Power.DEALLOCATED,
        os_disk="d",
    )
    assert got.scale_set.model.os is OperatingSystem.WINDOWS
    supply = {gap.code: gap.supply for gap in got.gaps}
    assert supply["no-instance-view"] == (
        "az vm get-instance-view --ids $(az vm list -g 'rg (1)' --query"
        " '[?ends_with(virtualMachineScaleSet.id || '\"'\"''\"'\"', '\"'\"'/web'\"'\"')].id' -o tsv) -o json"
    )
    assert supply["no-update-domains"] == supply["no-fault-domains"] == supply["no-latest-model"] == ""


def test_bare_items_of_a_flexible_set() -> None:
    # As recorded in 2023: no properties at all, and a zone that is null.
    bare = {"name": "web_9", "id": f"{SET_ID}/virtualMachines/web_9", "instanceId": "web_9", "zones": [None]}
    assert one(bare) == Instance(id="web_9")
    assert "no-protection" in gaps(wire_model(), [bare])


def test_one_plain_vm_is_a_list_of_one() -> None:
    assert looks_like(FLEXIBLE_VM) == "instances"
    assert list(reading(wire_model(), FLEXIBLE_VM).scale_set.instances) == ["web_1a2b3c4d"]


def test_pages_are_joined_and_a_missing_last_page_is_a_gap() -> None:
    first = {"value": [wire_instance("0")], "nextLink": "https://next"}
    model = wire_model()
    model["sku"]["capacity"] = 2
    assert "list-incomplete" in gaps(model, first)
    whole = reading(model, first, {"value": [wire_instance("1")]})
    assert list(whole.scale_set.instances) == ["0", "1"]
    assert not {"list-incomplete", "capacity-differs"} & {gap.code for gap in whole.gaps}
    assert "capacity-differs" in gaps(model, {"value": [wire_instance("1")]})


def test_health_of_a_viewed_instance_cannot_be_asked_again() -> None:
    model = wire_model(virtualMachineProfile=extension("Microsoft.ManagedServices", "ApplicationHealthLinux"))
    seen = wire_instance(instanceView={"statuses": [{"code": "PowerState/running"}]})
    assert gaps(model, [seen])["health-not-reported"] == ""
    assert gaps(model, [wire_instance()])["health-not-reported"].startswith("az vmss list-instances")


def test_some_instances_without_a_view_can_be_asked_again() -> None:
    seen = wire_instance("0", instanceView={"statuses": [{"code": "PowerState/unknown"}]})
    assert gaps(wire_model(), [seen])["no-power-state"] == ""
    assert gaps(wire_model(), [seen, wire_instance("1")])["no-power-state"].startswith("az vmss list-instances")
    (says,) = (
        gap.says for gap in reading(wire_model(), [seen, wire_instance("1")]).gaps if "no-instance-view" in gap.code
    )
    assert says == "1 of 2 instances do not carry an instance view."


@pytest.mark.parametrize(
    ("storage", "exact"),
    [
        ({}, False),
        ({"imageReference": {"publisher": "p", "version": "latest"}}, False),
        ({"imageReference": {"publisher": "p", "version": "Latest", "exactVersion": "1.2.3"}}, True),
        ({"imageReference": {"publisher": "p", "version": "1.2.3"}}, True),
        ({"imageReference": {"publisher": "p"}}, False),
        ({"imageReference": {"id": "/x/images/managed"}}, True),
        ({"imageReference": {"id": "/x/galleries/g/images/i"}}, False),
        ({"imageReference": {"id": "/x/Galleries/g/images/i", "exactVersion": "1"}}, True),
        ({"imageReference": {"id": "/x/galleries/g/images/i/Versions/1"}}, True),
        ({"osDisk": {"image": {"uri": "https://a/i.vhd"}}}, True),
    ],
)
def test_exact_version_gap(storage: dict[str, Any], exact: bool) -> None:
    assert ("no-exact-version" not in gaps(wire_model(), [wire_instance(storageProfile=storage)])) == exact


def test_disk_without_a_name_is_known_by_its_managed_disk() -> None:
    disk = {"managedDisk": {"id": f"{GROUP}/disks/web_0_OsDisk"}, "vhd": {"uri": "https://a"}}
    assert one(wire_instance(storageProfile={"osDisk": disk})).os_disk == "web_0_OsDisk"


def test_a_number_that_is_0_is_not_a_number_that_is_missing() -> None:
    policy = {"mode": "Rolling", "rollingUpgradePolicy": {"maxBatchInstancePercent": 0, "batchInstancePercent": 5}}
    assert model_of(wire_model(upgradePolicy=policy)).rolling == RollingPolicy(max_batch_percent=0)


def test_repairs_that_are_off_need_no_state() -> None:
    document = wire_model(automaticRepairsPolicy={"enabled": False})
    assert "no-repairs-state" not in gaps(document)
    assert model_of(document).repairs == AutomaticRepairs()


def test_watched_settings() -> None:
    document = wire_model(virtualMachineProfile={"LicenseType": "None"})
    document["tags"] = {"a.B": "1"}
    paths = ("virtualMachineProfile.licenseType", "Properties.overprovision", "SKU.name", "tags.A.b", "zones", "x.y.z")
    assert reading(document, watch=paths).scale_set.model.settings == {
        "properties.virtualMachineProfile.licenseType": "None",
        "properties.overprovision": None,
        "sku.name": "Standard_D2s_v5",
        "tags.A.b": "1",
        "zones": None,
        "properties.x.y.z": None,
    }
    flat = {**document, **document.pop("properties")}
    assert reading(flat, watch=paths[:2]).scale_set.model.settings == {
        "properties.virtualMachineProfile.licenseType": "None",
        "properties.overprovision": None,
    }
    for path in ("", "a..b", "properties", "properties.", "sku."):
        with pytest.raises(InputError, match="a watched path has an empty part"):
            reading(document, watch=(path,))


NO_SCALE_SET = (
    "; expected a scale set, a list of its instances, or {model, instances}; take them with `az vmss show` and"
    " `az vmss list-instances --expand instanceView`, both `-o json`"
)


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ({"error": {"code": "AuthorizationFailed", "message": "…"}}, "an ARM error body, code 'AuthorizationFailed'"),
        ({"code": "Gone", "message": "…"}, "an ARM error body, code 'Gone'"),
        ([wire_model(), wire_model()], "a list of 2 scale set(s)"),
        ({"value": [wire_model()]}, "a list of 1 scale set(s)"),
        ([1], "an array of 1 item(s), no instance"),
        (wire_instance(), "one instance, not a list of them"),
        ({"type": "Microsoft.Network/loadBalancers"}, "a resource of type 'microsoft.network/loadbalancers'"),
        ({"vmss": {"upgradePolicy": {}}}, "the output of `az vmss create`"),
        ({"$schema": "https://x", "resources": []}, "an ARM template"),
        ({"statuses": [], "extensions": None}, "an instance view alone"),
        ({"a": 1, "b": 2}, "an object with the keys 'a', 'b'"),
        ({}, "an empty object"),
        ("text", "'text'"),
        (3.5, "the number 3.5"),
        (None, "null"),
        (True, "true"),
    ],
)
def test_what_is_not_a_scale_set_is_named(document: Any, found: str) -> None:
    assert refusal(document) == f"doc0.json: not an ARM scale set; found {found}{NO_SCALE_SET}"


def changed(document: dict[str, Any], *path: str | int, value: Any) -> dict[str, Any]:
    result = copy.deepcopy(document)
    place: Any = result
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return result


GIVE = "; give the document as ARM or az returned it"


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        (
            [wire_model(), [{"type": "Microsoft.Compute/virtualMachines", "name": "web_1"}]],
            "doc1.json: $[0]: a VM of no scale set; found ''; expected one of web;"
            " keep only those whose virtualMachineScaleSet.id is the set's (az: --query)",
        ),
        (
            [changed(wire_model(), "sku", "capacity", value=True)],
            f"doc0.json: $.sku.capacity: capacity has the wrong type or value; found true; expected a whole number{GIVE}",
        ),
        (
            [wire_model(virtualMachineProfile={"storageProfile": {"osDisk": {"osType": "unknown"}}})],
            "doc0.json: $.properties.virtualMachineProfile.storageProfile.osDisk.osType: osType has the wrong type or"
            f" value; found 'unknown'; expected Linux or Windows{GIVE}",
        ),
        ([], "no scale-set model among the documents; expected exactly one; add the output of `az vmss show -o json`"),
        (
            [[wire_instance()]],
            "doc0.json: no scale-set model among the documents; expected exactly one; add the output of `az vmss show -o json`",
        ),
        ([wire_model(), wire_model()], "doc0.json, doc1.json: 2 scale-set models; expected exactly one"),
        (
            [{"model": wire_model(), "instances": [], "notes": 1}],
            "doc0.json: unknown key 'notes'; expected model, instances, instanceView, rollingUpgrade, runCommands, cloud, gives",
        ),
        (
            [{"upgradePolicy": {}}],
            f"doc0.json: the scale set has neither a name nor an id; expected at least its name{GIVE}",
        ),
        (
            [changed(wire_model(), "id", value=f"{GROUP}/disks/d")],
            f"doc0.json: $.id: id has the wrong type or value; found '{GROUP[:57]}...'; expected the ARM id of a scale set"
            + GIVE,
        ),
        (
            [changed(wire_model(), "properties", "upgradePolicy", "mode", value="Sometimes")],
            "doc0.json: $.properties.upgradePolicy.mode: mode has the wrong type or value; found 'Sometimes';"
            f" expected Automatic or Manual or Rolling{GIVE}",
        ),
        (
            [changed(wire_model(), "sku", "capacity", value="3")],
            f"doc0.json: $.sku.capacity: capacity has the wrong type or value; found '3'; expected a whole number{GIVE}",
        ),
        (
            [changed(wire_model(), "sku", "capacity", value=-1)],
            "doc0.json: $.sku.capacity: capacity has the wrong type or value; found the number -1; expected 0 or more"
            + GIVE,
        ),
        (
            [wire_model(), {"value": [wire_instance(), wire_instance("1", instanceView={"statuses": {}})]}],
            "doc1.json: $.value[1].properties.instanceView.statuses: statuses has the wrong type or value;"
            f" found an object; expected an array{GIVE}",
        ),
        (
            [wire_model(), [wire_instance("0"), wire_instance("1")], [wire_instance("0")]],
            "doc2.json: $[0]: instance '0' stands twice; found the first at doc1.json: $[0]; expected every id once;"
            " give each page of the list once",
        ),
        (
            [wire_model(), [wire_instance(), 7]],
            f"doc1.json: $[1]: not an instance of a scale set; found the number 7; expected an instance{GIVE}",
        ),
        (
            [wire_model(), [{**wire_instance(), "id": f"{SET_ID}2/virtualMachines/0"}]],
            f"doc1.json: $[0]: an instance of another scale set; found {SET_ID}2; expected {SET_ID};"
            " give the model and the instances of one set",
        ),
        (
            [wire_model(), [{key: value for key, value in FLEXIBLE_VM.items() if key != "virtualMachineScaleSet"}]],
            f"doc1.json: $[0]: a VM of no scale set; found '{GROUP[:57]}...'; expected one of web;"
            " keep only those whose virtualMachineScaleSet.id is the set's (az: --query)",
        ),
        (
            [wire_model(), [{"type": "Microsoft.Compute/virtualMachineScaleSets/virtualMachines", "name": None}]],
            f"doc1.json: $[0]: an instance has no usable instanceId; expected instanceId, id or name of at most"
            f" 256 characters{GIVE}",
        ),
    ],
)
def test_refusals_say_what_where_found_expected_and_next(documents: list[Any], message: str) -> None:
    assert refusal(*documents) == message


def test_ids_are_compared_without_case_and_by_name_where_the_model_has_no_id() -> None:
    loud = {**wire_instance(), "id": f"{SET_ID}/virtualMachines/0".upper()}
    assert list(reading(wire_model(), [loud]).scale_set.instances) == ["0"]
    nameless = {key: value for key, value in wire_model().items() if key != "id"}
    assert list(reading(nameless, [loud]).scale_set.instances) == ["0"]
    assert "an instance of another scale set; found other; expected web" in refusal(
        nameless, [{**wire_instance(), "id": f"{GROUP}/virtualMachineScaleSets/other/virtualMachines/0"}]
    )


# 2. Every recorded document, against an independent reading of the raw JSON.


@cache
def outcomes() -> list[Outcome]:
    if not RECORDINGS.exists():
        pytest.skip(f"the recordings are not at {RECORDINGS}")
    return [read(recorded) for recorded in recorded_documents()]


def test_every_recorded_set_loads_and_matches_its_document() -> None:
    loaded = 0
    for outcome in outcomes():
        if outcome.recorded.kind.startswith("list"):
            continue
        assert outcome.reading is not None, str(outcome.refusal)
        loaded += 1
        check_model(outcome.recorded.document, outcome.reading.scale_set.model)
        assert outcome.reading.scale_set.instances == {}
    assert loaded == 4563


def check_model(raw: Any, model: Model) -> None:
    properties = raw["properties"]
    profile = properties.get("virtualMachineProfile", {})
    reference = profile.get("storageProfile", {}).get("imageReference", {})
    assert (model.name, model.id, model.location) == (raw["name"], raw["id"], raw["location"])
    assert model.capacity == raw.get("sku", {}).get("capacity", 0)
    assert model.sku == raw.get("sku", {}).get("name")
    assert model.mode.value == properties.get("upgradePolicy", {"mode": "Manual"})["mode"].lower()
    assert model.orchestration.value == properties.get("orchestrationMode", "Uniform").lower()
    assert model.provisioning.value == properties["provisioningState"].lower()
    assert list(model.zones) == raw.get("zones", [])
    assert model.unique_id == properties.get("uniqueId", "")
    assert model.etag == raw.get("etag")
    assert (model.rolling is not None) == ("rollingUpgradePolicy" in properties.get("upgradePolicy", {}))
    text = json.dumps(profile)
    assert (model.health_source is HealthSource.PROBE) == ("healthProbe" in profile.get("networkProfile", {}))
    assert (model.health_source is HealthSource.EXTENSION) == ('"ApplicationHealth' in text)
    assert model.service_fabric == ('"Microsoft.Azure.ServiceFabric"' in text)
    assert model.ephemeral_os_disk == ('"diffDiskSettings"' in text)
    if model.image is not None:
        assert model.image.version == reference.get("version")
        assert model.image.id == reference.get("id", reference.get("sharedGalleryImageId"))


def check_instances(items: list[Any], reading: Reading) -> None:
    instances = reading.scale_set.instances
    ids = [item["instanceId"] for item in items]
    assert len(set(ids)) == len(ids) == len(instances)
    assert set(ids) == set(instances)
    for item in items:
        got, raw = instances[item["instanceId"]], item.get("properties", {})
        whole = "name" in item
        assert got.vm_id == raw.get("vmId", "")
        assert got.latest_model == (raw.get("latestModelApplied") if whole else None)
        assert got.zone == next(iter(item.get("zones", [])), None)
        reference = raw.get("storageProfile", {}).get("imageReference")
        assert (got.image is None) == (reference is None)
        if got.image is not None:
            assert (got.image.exact_version, got.image.version) == (
                reference.get("exactVersion"),
                reference.get("version"),
            )
        view = raw.get("instanceView", {})
        assert got.update_domain == view.get("platformUpdateDomain")
        assert got.fault_domain == view.get("platformFaultDomain")
        assert got.power.value == ("running" if "PowerState/running" in json.dumps(view) else "unknown")
        if isinstance(raw.get("provisioningState"), str):
            assert got.provisioning.value == raw["provisioningState"].lower()


def test_every_recorded_list_loads_with_its_model_or_is_refused_precisely() -> None:
    refused: Counter[str] = Counter()
    loaded = mended_count = 0
    for outcome in outcomes():
        recorded = outcome.recorded
        if not recorded.kind.startswith("list"):
            continue
        if outcome.reading is None:
            assert outcome.refusal is not None
            assert outcome.refusal.where.startswith("recorded")
            refused[outcome.refusal.what] += 1
            second = mended(recorded)
            if second is None:
                continue
            mended_count += 1
            outcome = read(second)  # noqa: PLW2901
            assert outcome.reading is not None, str(outcome.refusal)
        loaded += 1
        check_instances(recorded.document["value"], outcome.reading)
        if recorded.model is not None:
            assert outcome.reading.scale_set.model.capacity == recorded.model["sku"]["capacity"]
    assert refused == {"an instance of another scale set": 52, "no scale-set model among the documents": 51}
    assert (loaded, mended_count) == (417, 102)


def test_recorded_pages_join_into_the_whole_set() -> None:
    if not RECORDINGS.exists():
        pytest.skip(f"the recordings are not at {RECORDINGS}")
    joined = list(joined_pages(recorded_documents()))
    assert len(joined) == 3
    for recorded, pages in joined:
        whole = read_scale_set([("model", recorded.model), *((f"page {n}", page) for n, page in enumerate(pages))])
        assert len(whole.scale_set.instances) == recorded.model["sku"]["capacity"] == 180
        assert not {"list-incomplete", "capacity-differs"} & {gap.code for gap in whole.gaps}


def test_counts_agree_with_the_documents() -> None:
    counted = tables(outcomes())
    assert sum(counted["documents"].values()) == len(outcomes())
    assert counted["sets"]["orchestration flexible"] == 136
    assert counted["sets"]["zonal"] == sum(
        "zones" in o.recorded.document for o in outcomes() if o.recorded.model is None
    )


# 3. A random set, rendered and read back.

WORDS = st.text(alphabet="abcxyzABC019_-.", min_size=1, max_size=8)
MAYBE_FLAG = st.sampled_from([None, False, True])
PERCENT = st.integers(0, 100)
DOMAIN = st.none() | st.integers(0, 19)


class Word(str):
    """Text that ARM compares without case."""

    __slots__ = ()


def images(*, instance: bool) -> st.SearchStrategy[ImageReference | None]:
    exact = st.none() | WORDS if instance else st.none()
    platform = st.builds(ImageReference, publisher=WORDS, offer=WORDS, sku=WORDS, version=WORDS, exact_version=exact)
    by_id = st.builds(ImageReference, id=WORDS.map("/galleries/{}".format), exact_version=exact)
    return st.none() | platform | by_id | st.builds(ImageReference, uri=WORDS)


@st.composite
def instances_of(draw: st.DrawFn, instance_id: str, flexible: bool) -> Instance:
    provisioning = draw(st.sampled_from(Provisioning))
    failed = provisioning is Provisioning.FAILED
    return Instance(
        id=instance_id,
        vm_id=draw(st.just("") | WORDS),
        zone=draw(st.none() | st.sampled_from("123")),
        placement_group=draw(st.none() | WORDS),
        update_domain=draw(DOMAIN),
        fault_domain=draw(DOMAIN),
        image=draw(images(instance=True)),
        latest_model=None if flexible else draw(MAYBE_FLAG),
        provisioning=provisioning,
        provisioning_error=draw(st.none() | WORDS) if failed else None,
        power=draw(st.sampled_from(Power)),
        health=draw(st.sampled_from(Health)),
        protected=draw(st.booleans()),
        scale_in_protected=draw(st.booleans()),
        os_disk=draw(st.none() | WORDS),
    )


@st.composite
def scale_sets(draw: st.DrawFn) -> ScaleSet:
    name, orchestration = draw(WORDS), draw(st.sampled_from(Orchestration))
    flexible = orchestration is Orchestration.FLEXIBLE
    ids = draw(st.lists(st.integers(0, 40), max_size=5, unique=True))
    rolling = st.builds(
        RollingPolicy,
        max_batch_percent=PERCENT,
        max_unhealthy_percent=PERCENT,
        max_unhealthy_upgraded_percent=PERCENT,
        pause_between_batches_ms=st.integers(0, 10**9),
        cross_zone=st.booleans(),
        prioritize_unhealthy=st.booleans(),
        rollback_failed=st.booleans(),
        max_surge=st.booleans(),
    )
    repairs = st.builds(
        AutomaticRepairs,
        enabled=st.booleans(),
        grace_ms=st.integers(0, 10**8),
        action=st.sampled_from(["replace", "reimage", "restart"]),
        suspended=st.booleans(),
    )
    auto_os = st.builds(AutomaticOsUpgrade, **dict.fromkeys(AutomaticOsUpgrade.__struct_fields__, st.booleans()))
    image = draw(images(instance=False))
    model = Model(
        name=name,
        id=draw(st.just("") | st.just(f"{GROUP}/virtualMachineScaleSets/{name}")),
        unique_id=draw(st.just("") | WORDS),
        location=draw(st.just("") | WORDS),
        orchestration=orchestration,
        mode=draw(st.sampled_from(UpgradeMode)),
        rolling=draw(st.none() | rolling),
        auto_os=draw(st.none() | auto_os),
        repairs=draw(st.none() | repairs),
        image=image,
        sku=draw(st.none() | WORDS),
        capacity=draw(st.integers(0, 1000)),
        zones=tuple(draw(st.lists(st.sampled_from("123"), unique=True))),
        fault_domain_count=draw(DOMAIN),
        single_placement_group=draw(MAYBE_FLAG),
        overprovision=draw(MAYBE_FLAG),
        zone_balance=draw(MAYBE_FLAG),
        health_source=draw(
            st.sampled_from([one for one in HealthSource if one is not HealthSource.HOOK])
        ),  # no document names a hook
        os=draw(st.sampled_from(OperatingSystem)),
        provisioning=draw(st.sampled_from(Provisioning)),
        service_fabric=draw(st.booleans()),
        ephemeral_os_disk=draw(st.booleans()),
        unmanaged_disks=draw(st.booleans()) or bool(image and image.uri),
        etag=draw(st.none() | WORDS),
    )
    items = [draw(instances_of(f"{name}_{number:08x}" if flexible else str(number), flexible)) for number in ids]
    return scale_set(model, items)


class Renderer:
    """Writes a `ScaleSet` as ARM or az would; `random` decides among equal ways to say a thing."""

    def __init__(self, random: Random, *, flat: bool) -> None:
        self.random, self.flat = random, flat

    def resource(self, top: dict[str, Any], properties: dict[str, Any]) -> dict[str, Any]:
        return {**top, **properties} if self.flat else {**top, "properties": properties}

    def image(self, image: ImageReference | None) -> dict[str, Any]:
        if image is None:
            return {"imageReference": None}
        if image.uri:
            return {"osDisk": {"image": {"uri": image.uri}}}
        key = self.random.choice(["id", "sharedGalleryImageId", "communityGalleryImageId"])
        return {
            "imageReference": {
                "publisher": image.publisher,
                "offer": image.offer,
                "sku": image.sku,
                "version": image.version,
                "exactVersion": image.exact_version,
                key: image.id,
            }
        }

    def duration(self, millis: int) -> str:
        seconds, rest = divmod(millis, 1000)
        days, seconds = divmod(seconds, 86400)
        tail = f"{seconds}.{rest:03}S" if rest else f"{seconds}S"
        hours, minutes = f"{seconds // 3600}H", f"{seconds % 3600 // 60}M"
        if self.random.random() < 0.5:
            tail = f"{hours}{minutes}{seconds % 60}" + (f".{rest:03}S" if rest else "S")
        return f"P{days}DT{tail}"

    def extension(self, publisher: str, kind: str) -> dict[str, Any]:
        properties = {"publisher": Word(publisher), ("typePropertiesType" if self.flat else "type"): Word(kind)}
        return self.resource({"name": "e"}, properties)

    def model(self, model: Model) -> dict[str, Any]:
        policy: dict[str, Any] = {"mode": Word(model.mode.value)}
        if model.rolling is not None:
            policy["rollingUpgradePolicy"] = {
                self.random.choice(
                    ["maxBatchInstancePercent", "batchInstancePercent"]
                ): model.rolling.max_batch_percent,
                "maxUnhealthyInstancePercent": model.rolling.max_unhealthy_percent,
                "maxUnhealthyUpgradedInstancePercent": model.rolling.max_unhealthy_upgraded_percent,
                "pauseTimeBetweenBatches": self.duration(model.rolling.pause_between_batches_ms),
                "enableCrossZoneUpgrade": model.rolling.cross_zone,
                "prioritizeUnhealthyInstances": model.rolling.prioritize_unhealthy,
                "rollbackFailedInstancesOnPolicyBreach": model.rolling.rollback_failed,
                "maxSurge": model.rolling.max_surge,
            }
        if model.auto_os is not None:
            policy["automaticOSUpgradePolicy"] = {
                "enableAutomaticOSUpgrade": model.auto_os.enabled,
                "disableAutomaticRollback": model.auto_os.disable_rollback,
                "useRollingUpgradePolicy": model.auto_os.use_rolling_policy,
                "osRollingUpgradeDeferral": model.auto_os.deferral,
            }
        storage = self.image(model.image)
        os_disk = storage.setdefault("osDisk", {})
        os_profile: dict[str, Any] = {"adminPassword": "secret"}
        if model.os is not OperatingSystem.UNKNOWN:
            if self.random.random() < 0.5:
                os_disk["osType"] = Word(model.os.value)
            else:
                os_profile[f"{model.os.value}Configuration"] = {}
        if model.ephemeral_os_disk:
            os_disk["diffDiskSettings"] = {"option": Word("Local")}
        if model.unmanaged_disks and not (model.image and model.image.uri):
            os_disk["vhdContainers"] = ["https://a/vhds"]
        extensions = [self.extension("Other", "CustomScript")]
        network: dict[str, Any] = {}
        if model.health_source is HealthSource.EXTENSION:
            extensions.append(self.extension("Microsoft.ManagedServices", "ApplicationHealthLinux"))
        elif model.health_source is HealthSource.PROBE:
            network["healthProbe"] = {"id": "/probe"}
        if model.service_fabric:
            extensions.append(self.extension("Microsoft.Azure.ServiceFabric", "ServiceFabricNode"))
        properties: dict[str, Any] = {
            "upgradePolicy": policy,
            "orchestrationMode": Word(model.orchestration.value),
            "uniqueId": model.unique_id or None,
            "platformFaultDomainCount": model.fault_domain_count,
            "singlePlacementGroup": model.single_placement_group,
            "overprovision": model.overprovision,
            "zoneBalance": model.zone_balance,
            "provisioningState": None if model.provisioning.name == "UNKNOWN" else Word(model.provisioning.value),
            "virtualMachineProfile": {
                "storageProfile": storage,
                "osProfile": os_profile,
                "networkProfile": network,
                "extensionProfile": {"extensions": extensions},
            },
        }
        top: dict[str, Any] = {
            "name": model.name,
            "id": model.id or None,
            "location": model.location or None,
            "sku": {"name": model.sku, "capacity": model.capacity},
            "zones": list(model.zones) or None,
            "etag": model.etag,
        }
        if model.repairs is not None:
            properties["automaticRepairsPolicy"] = {
                "enabled": model.repairs.enabled,
                "gracePeriod": self.duration(model.repairs.grace_ms),
                "repairAction": Word(model.repairs.action),
            }
            state = Word("Suspended" if model.repairs.suspended else "Running")
            service_state = {"serviceName": Word("AutomaticRepairs"), "serviceState": state}
            top["instanceView"] = {"orchestrationServices": [service_state]}
        return self.resource(top, properties)

    def instance(self, instance: Instance, model: Model) -> dict[str, Any]:
        statuses: list[dict[str, str]] = [{"code": Word("EncryptionState/encrypted")}]
        told: Any = None
        if instance.provisioning is not Provisioning.UNKNOWN:
            state = f"ProvisioningState/{instance.provisioning.value}"
            in_view = self.random.random() < 0.5
            told = None if in_view else Word(instance.provisioning.value)
            if instance.provisioning_error:
                statuses.append({"code": state + "/" + instance.provisioning_error})
            elif in_view:
                statuses.append({"code": Word(state)})
        if instance.power is not Power.UNKNOWN:
            statuses.append({"code": Word(f"PowerState/{instance.power.value}")})
        view: dict[str, Any] = {
            "placementGroupId": instance.placement_group,
            "platformUpdateDomain": instance.update_domain,
            "platformFaultDomain": instance.fault_domain,
            "statuses": statuses,
        }
        if instance.health is not Health.ABSENT:
            view["vmHealth"] = {"status": {"code": Word(f"HealthState/{instance.health.value}")}}
        storage = self.image(instance.image)
        storage.setdefault("osDisk", {})["name"] = instance.os_disk
        properties = {
            "vmId": instance.vm_id or None,
            "provisioningState": told,
            "storageProfile": storage,
            "instanceView": view,
            "latestModelApplied": instance.latest_model,
            "protectionPolicy": {
                "protectFromScaleSetActions": instance.protected,
                "protectFromScaleIn": instance.scale_in_protected,
            },
        }
        top: dict[str, Any] = {"zones": [instance.zone] if instance.zone else None}
        if model.orchestration is Orchestration.FLEXIBLE:
            top |= {"name": instance.id, "type": Word("Microsoft.Compute/virtualMachines")}
            properties["virtualMachineScaleSet"] = {"id": f"{GROUP}/virtualMachineScaleSets/{model.name}"}
        else:
            top |= {
                "name": f"{model.name}_{instance.id}",
                "id": f"{GROUP}/virtualMachineScaleSets/{model.name}/virtualMachines/{instance.id}",
                "instanceId": instance.id,
            }
        return self.resource(top, properties)

    def documents(self, whole: ScaleSet) -> list[tuple[str, Any]]:
        model = self.model(whole.model)
        items = [self.instance(each, whole.model) for each in whole.instances.values()]
        self.random.shuffle(items)
        listed: Any = items if self.flat else {"value": items}
        if self.random.random() < 0.3:
            return [("both.json", {"model": model, "instances": listed})]
        parts = [("model.json", model), ("instances.json", listed)]
        self.random.shuffle(parts)
        return parts

    def recased(self, node: Any) -> Any:
        if isinstance(node, dict):
            return {self.any_case(key): self.recased(value) for key, value in node.items()}
        if isinstance(node, list | tuple):
            return type(node)(self.recased(value) for value in node)
        return self.any_case(node) if isinstance(node, Word) else node

    def any_case(self, text: str) -> str:
        return "".join(self.random.choice([char.lower(), char.upper()]) for char in text)


@BOUNDED
@given(scale_sets(), st.randoms(use_true_random=False), st.booleans(), st.booleans())
def test_a_rendered_set_is_read_back_equal(whole: ScaleSet, random: Random, flat: bool, recase: bool) -> None:
    renderer = Renderer(random, flat=flat)
    documents = renderer.documents(whole)
    if recase:
        documents = [(name, renderer.recased(document)) for name, document in documents]
    got = read_scale_set([(name, json.loads(json.dumps(document))) for name, document in documents])
    gives = got.scale_set.model.gives  # `test_gives.py`
    model = msgspec.structs.replace(whole.model, gives=gives)
    assert got.scale_set == msgspec.structs.replace(whole, model=model)
    assert list(got.scale_set.instances) == list(whole.instances)
    assert b"secret" not in msgspec.json.encode(got)
    for gap in got.gaps:
        assert re.fullmatch("[a-z-]+", gap.code)
        assert gap.says.endswith(".")


# 4. Broken input: an InputError, or a reading; never anything else.

SCALARS = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False) | st.text(max_size=12)
KEYS = st.sampled_from(
    [
        "id",
        "name",
        "type",
        "value",
        "model",
        "instances",
        "properties",
        "sku",
        "zones",
        "upgradePolicy",
        "mode",
        "error",
        "code",
        "instanceId",
        "instanceView",
    ]
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=5), inner, max_size=5),
    max_leaves=12,
)


READ_IN_MODEL = """
    name id location etag zones zones.0 sku sku.name sku.capacity properties properties.orchestrationMode
    properties.singlePlacementGroup properties.overprovision properties.platformFaultDomainCount
    properties.zoneBalance properties.uniqueId properties.provisioningState properties.upgradePolicy
    properties.upgradePolicy.mode properties.upgradePolicy.rollingUpgradePolicy
    properties.upgradePolicy.rollingUpgradePolicy.maxBatchInstancePercent
    properties.upgradePolicy.rollingUpgradePolicy.maxUnhealthyInstancePercent
    properties.upgradePolicy.rollingUpgradePolicy.maxUnhealthyUpgradedInstancePercent
    properties.upgradePolicy.rollingUpgradePolicy.pauseTimeBetweenBatches
    properties.upgradePolicy.rollingUpgradePolicy.maxSurge
    properties.upgradePolicy.rollingUpgradePolicy.rollbackFailedInstancesOnPolicyBreach
    properties.virtualMachineProfile
    properties.virtualMachineProfile.storageProfile properties.virtualMachineProfile.storageProfile.imageReference
    properties.virtualMachineProfile.storageProfile.imageReference.publisher
    properties.virtualMachineProfile.storageProfile.imageReference.offer
    properties.virtualMachineProfile.storageProfile.imageReference.sku
    properties.virtualMachineProfile.storageProfile.imageReference.version
    properties.virtualMachineProfile.storageProfile.osDisk
    properties.virtualMachineProfile.storageProfile.osDisk.osType
    properties.virtualMachineProfile.extensionProfile properties.virtualMachineProfile.extensionProfile.extensions
    properties.virtualMachineProfile.extensionProfile.extensions.0
    properties.virtualMachineProfile.extensionProfile.extensions.0.properties
    properties.virtualMachineProfile.extensionProfile.extensions.0.properties.publisher
    properties.virtualMachineProfile.extensionProfile.extensions.0.properties.type
"""
READ_IN_INSTANCE = """
    id name instanceId zones zones.0 properties properties.latestModelApplied properties.provisioningState
    properties.vmId properties.storageProfile properties.storageProfile.imageReference
    properties.storageProfile.imageReference.exactVersion properties.storageProfile.osDisk
    properties.storageProfile.osDisk.osType properties.storageProfile.osDisk.name
    properties.instanceView properties.instanceView.placementGroupId
    properties.instanceView.platformUpdateDomain properties.instanceView.platformFaultDomain
    properties.instanceView.vmHealth properties.instanceView.vmHealth.status
    properties.instanceView.vmHealth.status.code properties.instanceView.statuses properties.instanceView.statuses.0
    properties.instanceView.statuses.0.code
"""


@pytest.mark.parametrize(
    ("root", "path"),
    [(("model",), path) for path in READ_IN_MODEL.split()]
    + [(("instances", "value", 3), path) for path in READ_IN_INSTANCE.split()],
)
def test_every_part_that_is_read_is_refused_in_a_wrong_type(root: tuple[Any, ...], path: str) -> None:
    steps = (*root, *(int(step) if step.isdigit() else step for step in path.split(".")))
    whole = snapshot("zonal-rolling.json")
    place = whole
    for step in steps:
        place = place[step]  # the fixture has it
    where = "zonal: $" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    for wrong in (True, 7, "text", [1], {"a": 1}):
        numeric_state = path.endswith("provisioningState") and wrong == 7  # of old api-versions: not told
        if type(wrong) is type(place) or numeric_state:
            continue
        with pytest.raises(InputError) as caught:
            read_scale_set([("zonal", changed(whole, *steps, value=wrong))])
        assert caught.value.where == where or (wrong == [1] and caught.value.where.startswith(where))


def read_or_refuse(documents: list[tuple[str, Any]]) -> None:
    for _, document in documents:
        assert looks_like(document) in ("model", "instances", "both", "")
    try:
        got = read_scale_set(documents, watch=("sku.name", "virtualMachineProfile.storageProfile", "tags.a.b"))
    except InputError as refused:
        assert refused.what
        assert str(refused)
    else:
        assert isinstance(got, Reading)


@BOUNDED
@given(st.lists(JSON, max_size=3))
def test_random_json_is_read_or_refused(documents: list[Any]) -> None:
    read_or_refuse([(f"doc{index}", document) for index, document in enumerate(documents)])


@cache
def real_documents() -> list[list[tuple[str, Any]]]:
    found = [
        [("web-model", snapshot("web-model.json")), ("web-instances", snapshot("web-instances.json"))],
        [("zonal", snapshot("zonal-rolling.json"))],
        [("model", wire_model(orchestrationMode="Flexible")), ("vms", [FLEXIBLE_VM])],
    ]
    if RECORDINGS.exists():
        lists = [o.recorded for o in outcomes() if o.reading is not None and o.recorded.model is not None]
        found += [[("model", each.model), ("list", each.document)] for each in lists[:: len(lists) // 12]]
    return found


def paths(node: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list | tuple) else ()
    for key, child in children:
        yield (*here, key)
        yield from paths(child, (*here, key))


def test_every_single_damage_is_read_or_refused() -> None:
    tried = 0
    values: list[Any] = [None, True, -1, 1.5, "", "\ud800/x", [], [None, 5, "x"], {}, {"id": {}}]
    for documents in real_documents()[:4]:
        for index, (name, document) in enumerate(documents):
            shortened = shorter(document)
            for path in list(paths(shortened)):
                for value in values:
                    damaged = list(documents)
                    damaged[index] = (name, changed(shortened, *path, value=value))
                    read_or_refuse(damaged)
                    tried += 1
    assert tried > 4000


def shorter(document: Any) -> Any:
    """The same with two instances."""
    if isinstance(document, list):
        return document[:2]
    if "instances" in document:
        return {**document, "instances": {"value": document["instances"]["value"][:2]}}
    return document


@settings(BOUNDED, max_examples=300)
@given(st.data())
def test_a_damaged_document_is_read_or_refused(data: st.DataObject) -> None:
    documents = [[name, copy.deepcopy(value)] for name, value in data.draw(st.sampled_from(real_documents()))]
    for _ in range(data.draw(st.integers(1, 4))):
        document = data.draw(st.sampled_from(documents))
        places = list(paths(document[1]))
        if not places:
            continue
        path = data.draw(st.sampled_from(places))
        holder = document[1]
        for step in path[:-1]:
            holder = holder[step]
        if data.draw(st.booleans()):
            del holder[path[-1]]
        else:
            holder[path[-1]] = data.draw(JSON)
    read_or_refuse([(name, value) for name, value in documents])
