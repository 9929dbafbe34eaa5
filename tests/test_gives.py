"""What the model would give an instance, beside the image: a change of it by somebody else is noticed, and nothing else is taken for one."""

from __future__ import annotations

import copy
import json
import random
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.azure.reading import Documents
from backends.azure.snapshot import snapshot
from planner.arm_json import read_scale_set
from planner.arm_json.gives import leaves
from planner.errors import InputError
from planner.gives import Otherwise, otherwise
from planner.model import Gives
from tests.fleet import examples
from tests.recorded_counts import RECORDINGS
from tests.replay import traffic
from tests.test_apply_emulated import site

__all__ = ["site"]
PROFILE = "properties.virtualMachineProfile"
SNAPSHOTS = Path(__file__).parents[1] / "scenarios/snapshots"
VERSION = "22.04.202606010"
SCRIPT = {
    "name": "script",
    "properties": {
        "publisher": "Microsoft.Azure.Extensions",
        "type": "CustomScript",
        "typeHandlerVersion": "2.1",
        "settings": {"commandToExecute": "echo TopSecret123"},
    },
}
RICH: dict[str, Any] = {
    "name": "web",
    "type": "Microsoft.Compute/virtualMachineScaleSets",
    "etag": '"1"',
    "tags": {"cost": "4711"},
    "zones": ["1", "2"],
    "sku": {"name": "Standard_D2s_v5", "tier": "Standard", "capacity": 3},
    "plan": {"name": "p", "publisher": "q", "product": "r"},
    "identity": {
        "type": "UserAssigned",
        "principalId": "5",
        "userAssignedIdentities": {"/subscriptions/s/one": {"principalId": "6", "clientId": "7"}, "/subscriptions/s/two": {}},
    },
    "properties": {
        "uniqueId": "8",
        "timeCreated": "2026-01-01T00:00:00Z",
        "provisioningState": "Succeeded",
        "overprovision": False,
        "singlePlacementGroup": True,
        "platformFaultDomainCount": 5,
        "scaleInPolicy": {"rules": ["OldestVM"], "forceDeletion": False},
        "automaticRepairsPolicy": {"enabled": True, "gracePeriod": "PT30M"},
        "upgradePolicy": {"mode": "Manual", "rollingUpgradePolicy": {"maxBatchInstancePercent": 20}},
        "additionalCapabilities": {"ultraSSDEnabled": False},
        "proximityPlacementGroup": {"id": "/subscriptions/s/ppg"},
        "virtualMachineProfile": {
            "timeCreated": "2026-01-01T00:00:00Z",
            "priority": "Regular",
            "osProfile": {
                "computerNamePrefix": "web",
                "adminUsername": "me",
                "customData": "Zmlyc3Q=",
                "linuxConfiguration": {"ssh": {"publicKeys": [{"path": "/home/me/.ssh/authorized_keys", "keyData": "ssh-rsa AA"}]}},
                "windowsConfiguration": {"winRM": {"listeners": [{"protocol": "Http"}, {"protocol": "Https"}]}},
                "secrets": [{"sourceVault": {"id": "/v"}, "vaultCertificates": [{"certificateUrl": "https://v/1"}]}],
            },
            "storageProfile": {
                "imageReference": {"publisher": "Canonical", "offer": "o", "sku": "22", "version": "1.0.0", "exactVersion": "1.0.0"},
                "osDisk": {"caching": "ReadWrite", "diskSizeGB": 30, "managedDisk": {"storageAccountType": "Premium_LRS"}},
                "dataDisks": [{"lun": 0, "diskSizeGB": 4}, {"lun": 1, "diskSizeGB": 8}],
            },
            "networkProfile": {
                "networkInterfaceConfigurations": [
                    {"name": "nic", "properties": {"primary": True, "dnsSettings": {"dnsServers": ["10.0.0.4", "10.0.0.5"]}, "ipConfigurations": [
                        {"name": "ip", "properties": {"subnet": {"id": "/subnets/a"}, "loadBalancerBackendAddressPools": [{"id": "/pools/a"}, {"id": "/pools/b"}]}}
                    ]}}
                ]
            },
            "extensionProfile": {
                "extensions": [
                    {"name": "HealthExtension", "properties": {"publisher": "Microsoft.ManagedServices", "type": "ApplicationHealthLinux",
                        "typeHandlerVersion": "1.0", "enableAutomaticUpgrade": True, "settings": {"protocol": "http", "port": 80}}},
                    SCRIPT,
                ]
            },
        },
    },
}  # fmt: skip
"""A set with one of everything."""


def reads(document: Any, api_version: str = "2025-04-01") -> Gives:
    return read_scale_set([("it", document)], api_version=api_version).scale_set.model.gives


@cache
def models() -> tuple[dict[str, Any], ...]:
    """The one above, those of the bundled snapshots, and, where the recordings are, one of each shape that Azure ever answered with."""
    found = [
        RICH,
        json.loads((SNAPSHOTS / "zonal-rolling.json").read_text())["model"],
        json.loads((SNAPSHOTS / "web-model.json").read_text()),
    ]
    shapes: dict[tuple[str, ...], dict[str, Any]] = {}
    for _, _, document in islice(recorded(), 0, None, 7):
        shapes.setdefault(tuple(sorted(reads(document).values)), document)
    return (*found, *list(shapes.values())[:: max(1, len(shapes) // 60)])


def recorded() -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    """Of each recorded session: api-version, the requests since the answer before, and the set as Azure answered."""
    if not RECORDINGS.exists():
        return
    for recording in traffic.read(RECORDINGS):
        for session in traffic.sessions(recording):
            wrote: list[Any] = [None]
            for one in session.exchanges:
                if one.method != "GET" and (not one.rest or "extension" in one.rest):
                    wrote.append(one)
                whole = isinstance(one.response, dict) and "virtualMachineProfile" in (
                    one.response.get("properties") or {}
                )
                # The answer to a PUT is an echo: what the platform makes of it shows in the next GET (recorded: `maxPrice`).
                if one.method == "GET" and not one.rest and one.status < 300 and whole:
                    yield one.query, tuple(wrote), one.response
                    wrote = []


# -- one leaf is changed -----------------------------------------------------------------------------------------------

GOT = (
    "plan",
    "identity",
    PROFILE,
    "properties.additionalCapabilities",
    "properties.hostGroup",
    "properties.proximityPlacementGroup",
)
"""What an instance gets, without what stands below."""
NOT_GOT = ("imageReference", "osDisk.image", "adminUsername", "adminPassword", "timeCreated", "provisioningState", "principalId", "clientId", "etag",
           "exactVersion", "tenantId", "uniqueId")  # fmt: skip

Step = str | int


def places(node: Any, way: tuple[Step, ...] = ()) -> Iterator[tuple[Step, ...]]:
    """Where leaves stand."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else None
    if inner is None:
        if node is not None:
            yield way
        return
    for key, one in inner:
        yield from places(one, (*way, key))


def is_got(document: dict[str, Any], way: tuple[Step, ...]) -> bool:
    """Would an instance get this leaf? Said by its path alone."""
    lifted = "properties" not in document and way[0] not in ("sku", "plan", "identity", "zones", "tags")
    dotted = ".".join(str(one) for one in (("properties", *way) if lifted else way)) + "."
    if not any(dotted.lower().startswith(f"{one}.".lower()) for one in GOT):
        return False
    parent = document
    for step in way[:-1]:
        parent = parent[step]  # type: ignore[index]
    if way[-1] == "typeHandlerVersion" and parent.get("enableAutomaticUpgrade") is True:
        return False  # the platform raises it
    if (
        isinstance(parent, dict)
        and isinstance(parent.get("properties"), dict)
        and way[-1] in ("id", "type", "location")
    ):
        return False  # the resource's own, beside its facts
    return not any(f".{one}.".lower() in f".{dotted}".lower() for one in NOT_GOT)


def other(value: Any) -> Any:
    return not value if isinstance(value, bool) else value + 1 if isinstance(value, int | float) else f"{value}-other"


def put(document: dict[str, Any], way: tuple[Step, ...], value: Any) -> dict[str, Any]:
    made = copy.deepcopy(document)
    node: Any = made
    for step in way[:-1]:
        node = node[step]
    node[way[-1]] = value
    return made


def value_at(document: Any, way: tuple[Step, ...]) -> Any:
    for step in way:
        document = document[step]
    return document


@given(st.data())
@examples(150)
def test_one_leaf_is_noticed_exactly_when_an_instance_would_get_it(data: st.DataObject) -> None:
    document = data.draw(st.sampled_from(models()))
    way = data.draw(st.sampled_from(sorted(places(document), key=str)))
    if (
        way[0] in ("id", "name", "type")
        or way[-1] in ("orchestrationMode", "mode", "osType", "createOption")
        or "gracePeriod" in way
    ):
        return  # a closed vocabulary, or the set's identity: what differs there is refused as that
    if way[-1] in ("pauseTimeBetweenBatches", "notBeforeTimeout", "publisher", "type"):
        return  # an ISO duration is read; who makes an extension decides whether its settings are secret, which shows elsewhere
    if isinstance(value_at(document, way), int) and not isinstance(value_at(document, way), bool) and way[0] == "sku":
        return  # the capacity
    changed = put(document, way, other(value_at(document, way)))
    found = [*otherwise(reads(document), reads(changed))]
    assert bool(found) is is_got(document, way), (way, found)
    assert len(found) <= 1 + (way[-1] == "enableAutomaticUpgrade"), (
        "it is told once; that one decides whether the version counts"
    )


def test_every_leaf_of_the_rich_one() -> None:
    for way in places(RICH):
        if way[-1] in ("mode", "gracePeriod", "capacity", "publisher", "type") or way[0] in ("type", "name"):
            continue
        found = [*otherwise(reads(RICH), reads(put(RICH, way, other(value_at(RICH, way)))))]
        assert len(found) == is_got(RICH, way) * (1 + (way[-1] == "enableAutomaticUpgrade")), (way, found)


def shuffled(node: Any, luck: random.Random) -> Any:
    """The same in another order and with other letter case, where that says nothing (what is kept as a digest stays)."""
    if isinstance(node, dict):
        keys = list(node)
        luck.shuffle(keys)
        return {
            (key.upper() if key in ("subnet", "caching", "osDisk") and luck.random() < 0.5 else key): node[key]
            if key in ("settings", "customData", "keyData", "secrets", "userData")
            else shuffled(node[key], luck)
            for key in keys
        }
    if isinstance(node, list):
        made = [shuffled(one, luck) for one in node]
        luck.shuffle(made)
        return made
    return luck.choice((str.lower, str.upper, str))(node) if isinstance(node, str) else node


@given(st.sampled_from(range(1000)), st.data())
@examples(60)
def test_order_and_letter_case_are_never(seed: int, data: st.DataObject) -> None:
    document = data.draw(st.sampled_from(models()))
    key = "properties" if "properties" in document else "virtualMachineProfile"
    inner = document[key]["virtualMachineProfile"] if key == "properties" else document[key]
    again = copy.deepcopy(document)
    mixed = shuffled(inner, random.Random(seed))
    if key == "properties":
        again[key]["virtualMachineProfile"] = mixed
    else:
        again[key] = mixed
    if not any(
        name in json.dumps(inner) for name in ("osType",)
    ):  # a word that is not read with any case is no matter here
        assert [*otherwise(reads(document), reads(again))] == []
    else:
        assert [one for one in otherwise(reads(document), reads(again)) if "osType" not in one.path] == []


# -- shapes ------------------------------------------------------------------------------------------------------------


def test_a_path_that_one_side_shows_counts_only_with_one_reader_and_api_version() -> None:
    more = put(RICH, ("properties", "virtualMachineProfile", "licenseType"), "RHEL_BYOS")
    told = [Otherwise(f"{PROFILE}.licenseType", "RHEL_BYOS", "not there")]
    assert [*otherwise(reads(RICH), reads(more))] == told
    assert [*otherwise(reads(RICH, ""), reads(more))] == [], "somebody's own file"
    assert [*otherwise(reads(RICH), reads(more, "2021-03-01"))] == [], "another api-version shows other properties"
    assert [*otherwise(Gives(), reads(more))] == [], "an older plan"


def extended(document: dict[str, Any], *more: Any) -> dict[str, Any]:
    way = ("properties", "virtualMachineProfile", "extensionProfile", "extensions")
    return put(document, way, [*value_at(document, way), *more])


def test_members_of_a_list_count_always_and_are_told_once() -> None:
    agent = {"name": "Agent", "properties": {"publisher": "p", "type": "t", "settings": {"a": "TopSecret123"}}}
    path = f"{PROFILE}.extensionProfile.extensions"
    for version in ("2025-04-01", ""):
        found = [*otherwise(reads(RICH, version), reads(extended(RICH, agent)))]
        assert found == [Otherwise(path, "Agent, HealthExtension, script", "HealthExtension, script")]
    none = put(RICH, ("properties", "virtualMachineProfile", "extensionProfile"), {})
    empty = put(RICH, ("properties", "virtualMachineProfile", "extensionProfile"), {"extensions": []})
    assert [*otherwise(reads(none), reads(empty))] == [] == [*otherwise(reads(empty), reads(none))]
    assert [one.path for one in otherwise(reads(none), reads(RICH))] == [path]


def test_az_s_form_reads_the_same() -> None:
    def lifted(node: Any) -> Any:
        if isinstance(node, list):
            return [lifted(one) for one in node]
        if not isinstance(node, dict):
            return node
        inner = node.get("properties")
        rest = {key: lifted(value) for key, value in node.items() if key != "properties"}
        facts = {key: lifted(value) for key, value in inner.items()} if isinstance(inner, dict) else {}
        if "name" in node and "type" in facts and facts is not rest:
            facts["typePropertiesType"] = facts.pop("type")
        return {**rest, **facts, **({"id": rest.get("id")} if "name" in node else {})}

    flat = {**lifted(RICH), "type": RICH["type"], "id": None}
    assert "properties" not in flat
    assert [*otherwise(reads(flat, ""), reads(RICH))] == []
    assert [one.path for one in otherwise(reads(flat, ""), reads(put(RICH, ("plan", "name"), "x")))] == ["plan.name"]


REFERS: dict[str, Any] = {
    "name": "vault",
    "properties": {
        "publisher": "p",
        "type": "t",
        "settings": {"id": "/subscriptions/s/resourceGroups/g/x", "do": "Run"},
        "protectedSettingsFromKeyVault": {"secretUrl": "https://v/1", "sourceVault": {"id": "/subscriptions/s/resourceGroups/g/v"}},
    },
}  # fmt: skip
HELD = put(
    extended(RICH, REFERS),
    ("properties", "virtualMachineProfile", "osProfile", "secrets"),
    [{"sourceVault": {"id": "/subscriptions/s/resourceGroups/g/v"}, "vaultCertificates": [{"certificateUrl": "u"}]}],
)
"""What only a digest is kept of, and refers to other resources."""


def test_what_az_adds_to_what_is_kept_as_a_digest_is_none() -> None:
    """Beside each id its resource group, and nothing where ARM says nothing."""

    def added(node: Any) -> Any:
        if isinstance(node, list):
            return [added(one) for one in node]
        if not isinstance(node, dict):
            return node
        more: dict[str, Any] = {"resourceGroup": "g"} if "/resourceGroups/" in str(node.get("id")) else {}
        more |= {"certificateStore": None} if "certificateUrl" in node else {}
        return {**{key: added(one) for key, one in node.items()}, **more}

    assert [*otherwise(reads(added(HELD), ""), reads(HELD))] == []


def test_of_a_reference_that_is_kept_as_a_digest_letter_case_is_none() -> None:
    """ARM spells ids as it likes; the letters of a script say something."""
    for old, new, paths in (
        ("/resourceGroups/g/v", "/RESOURCEGROUPS/G/v", []),
        ("/resourceGroups/g/v", "/resourceGroups/g/w", ["protectedSettingsFromKeyVault", "secrets"]),
        ("Run", "run", ["settings"]),
    ):
        changed = json.loads(json.dumps(HELD).replace(f'{old}"', f'{new}"'))
        assert [one.path.rpartition(".")[2] for one in otherwise(reads(HELD), reads(changed))] == paths


def test_a_member_without_a_name_is_known_by_what_another_api_version_shows_too() -> None:
    way = ("properties", "virtualMachineProfile", "applicationProfile")
    old = put(RICH, way, {"galleryApplications": [{"packageReferenceId": "/a/1", "order": 1}]})
    new = put(
        RICH,
        way,
        {"galleryApplications": [{"packageReferenceId": "/a/1", "order": 1, "enableAutomaticUpgrade": False}]},
    )
    assert [*otherwise(reads(old, "2021-07-01"), reads(new))] == []
    (other_one,) = otherwise(reads(old, "2021-07-01"), reads(put(new, (*way, "galleryApplications", 0, "order"), 2)))
    assert other_one.path.endswith("galleryApplications[/a/1].order")


def test_what_is_kept_secret_is_a_digest() -> None:
    kept = json.dumps(reads(RICH).values)
    assert reads(RICH).values[f"{PROFILE}.extensionProfile.extensions[script].settings"].startswith("digest:")
    for secret in ("TopSecret123", "Zmlyc3Q=", "ssh-rsa", "certificateUrl"):
        assert secret not in kept
    signed = put(RICH, ("properties", "virtualMachineProfile", "licenseType"), "https://a/b?sv=1&sig=TopSecret123")
    assert "TopSecret123" not in json.dumps(reads(signed).values)
    way = ("properties", "virtualMachineProfile", "storageProfile", "osDisk", "vhdContainers")
    assert "TopSecret123" not in json.dumps(reads(put(RICH, way, ["https://a/b?sv=1&sig=TopSecret123"])).values)
    (one,) = otherwise(
        reads(RICH),
        reads(put(RICH, ("properties", "virtualMachineProfile", "osProfile", "customData"), "TopSecret123")),
    )
    assert one.path == f"{PROFILE}.osProfile.customData" and "TopSecret123" not in one.found


def test_a_snapshot_keeps_what_it_cannot_show() -> None:
    """Whoever plans from one has seen the script's digest, too."""
    made = snapshot(Documents(cloud="public", model=RICH, pages=(), api_version="2025-04-01"))
    assert "TopSecret123" not in json.dumps(made)
    assert reads(made, "") == reads(RICH)
    with pytest.raises(InputError, match="this does not say what the model gives"):
        reads({**made, "gives": {"values": 1}})


# -- recordings --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not RECORDINGS.exists(), reason="the recordings are not here")
def test_in_the_recordings_nothing_differs_that_nobody_wrote() -> None:
    """Two looks at one set, and between them no request, or a PATCH: then what it holds may differ."""
    counts: Counter[str] = Counter()
    before: Gives | None = None
    for version, wrote, document in recorded():
        gives = reads(document, version)
        if None in wrote:
            before = None
        patches = [one.request for one in wrote if one is not None and one.method == "PATCH"]
        plain = all(one.method in ("PATCH", "POST") for one in wrote if one is not None)
        if before is not None and plain and all(isinstance(one, dict) for one in patches):
            counts["patched" if patches else "read"] += 1
            for one in otherwise(before, gives, [path for each in patches for path in _written(each)]):
                # Microsoft's own subscriptions: a policy finishes this extension after the look that shows it first.
                assert "Geneva" in one.path, one
        before = gives
    assert counts["read"] > 1000 and counts["patched"] > 10, counts


def _written(request: dict[str, Any]) -> list[str]:
    profile = (request.get("properties") or {}).get("virtualMachineProfile") or {}
    return [*(key for key in ("identity",) if key in request), *leaves(PROFILE, profile)]
