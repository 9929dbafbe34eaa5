"""What differs by api-version, held to the recordings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.arm_shown import SPEC, put
from tests.replay.traffic import SHARED, parsed, read
from tests.small_worlds import ask, at, small
from vmss_sim.arm import documents, versions
from vmss_sim.world.config import AutoOs


@pytest.mark.parametrize("what", versions.SINCE)
def test_a_property_is_shown_from_its_version_on(what: str) -> None:
    since = versions.SINCE[what]
    before = (date.fromisoformat(since) - timedelta(days=1)).isoformat()
    assert versions.shows(what, since) and versions.shows(what, since + "-preview") and versions.shows(what, "")
    assert not versions.shows(what, before)
    kept = {what: 1, "always": 2}
    assert versions.keep(kept, since) == kept
    assert versions.keep(kept, before) == {"always": 2}


LATER = {"orchestrationMode", "hyperVGeneration"}
"""Some recordings of one older version show it and some do not: when it was recorded decided, not the version."""


@pytest.mark.skipif(not SHARED.exists(), reason=f"the recordings are not there ({SHARED})")
def test_no_recording_shows_a_property_before_its_version_and_all_that_are_seen_are_seen_from_it_on() -> None:
    first: dict[str, str] = {}
    for version, names in recorded_names():
        for name in names:
            first[name] = min(version, first.get(name, "9999"))
    seen = {name: since for name, since in versions.SINCE.items() if name in first and name not in LATER}
    assert len(seen) > 12
    assert {name: first[name] for name, since in seen.items() if first[name] < since} == {}


ASKED = re.compile(
    r"/virtualmachinescalesets/[^/]+(?P<vm>/virtualmachines(?P<one>/[^/]+)?(?P<view>/instanceview)?)?", re.I
)


def recorded_names() -> Iterator[tuple[str, set[str]]]:
    """The names of properties in answers about sets, instances and their views, by version."""
    for recording in read():
        for one in recording["exchanges"]:
            parts = urlsplit(one["url"])
            query = {name.lower(): value for name, value in parse_qsl(parts.query)}
            found = ASKED.fullmatch(parts.path[max(0, parts.path.lower().find("/virtualmachinescalesets/")) :])
            body = parsed(one["response_body"])
            if one["method"] == "GET" and one["status"] == 200 and isinstance(body, dict) and found is not None:
                kind = "view" if found["view"] else "vm" if found["one"] else "list" if found["vm"] else "set"
                yield query["api-version"][:10], set(names_in(body, kind))


def names_in(value: Any, kind: str, above: str = "") -> Iterator[str]:
    if isinstance(value, list):
        for inner in value:
            yield from names_in(inner, kind, above)
    elif isinstance(value, dict):
        for name, inner in value.items():
            if name == "etag":
                yield "listedEtag" if kind == "list" else "etag"
            elif name == "computerName":  # the OS profile's always has been there
                yield from ([name] if kind == "view" or above == "instanceView" else [])
            else:
                yield from (name, f"{above}.{name}")
            if name not in ("tags", "settings", "resources"):
                yield from names_in(inner, kind, name)


def test_old_spellings_are_shown_to_old_clients() -> None:
    world = small(2, zones=2, mode="rolling", auto_os=AutoOs(enabled=True), version="latest", exact="1.0.0")
    one = put(world)
    world.publish("2.0.0")
    ask(world, "os-rolling-upgrade")
    at(world, 10)
    old = documents.rolling_upgrade(one, "2017-03-30")
    assert old is not None
    assert old["properties"]["policy"]["batchInstancePercent"] == 20
    assert old["properties"]["progress"]["inprogressInstanceCount"] == 1
    shown = documents.scale_set(one, "2017-03-30")["properties"]
    assert (shown["zoneBalanace"], "zoneBalance" in shown) == (False, False)
    assert shown["upgradePolicy"]["automaticOSUpgrade"] is True
    assert "automaticOSUpgradePolicy" not in shown["upgradePolicy"]
    newer = documents.rolling_upgrade(one, "2017-12-01")
    assert newer is not None
    assert set(newer["properties"]["policy"]) == {
        "maxBatchInstancePercent",
        "maxUnhealthyInstancePercent",
        "maxUnhealthyUpgradedInstancePercent",
        "pauseTimeBetweenBatches",
    }


def test_the_history_ends_with_completed_time() -> None:
    world = small(2, mode="rolling", version="latest", exact="1.0.0")
    one = put(world)
    assert documents.history(one, SPEC) == {"value": []}
    assert documents.rolling_upgrade(one, SPEC) is None
    world.publish("2.0.0")
    ask(world, "os-rolling-upgrade")
    at(world, 3_600)
    (entry,) = documents.history(one, SPEC)["value"]
    running = entry["properties"]["runningStatus"]
    assert set(running) == {"code", "startTime", "completedTime"} and running["code"] == "Completed"
    assert entry["properties"]["targetImageReference"]["exactVersion"] == "2.0.0"
    assert entry["properties"]["startedBy"] == "User"
    assert entry["type"] == "Microsoft.Compute/virtualMachineScaleSets/rollingUpgrades"
