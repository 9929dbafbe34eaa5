"""What a set's documents look like as answers, without a server: every readable thing of a set, in every way it can be asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import msgspec

from tests.contract.findings import Exchange
from vmss_sim.arm import documents, lists, views
from vmss_sim.arm.http import Request
from vmss_sim.arm.sets import ArmSet

VERSIONS = ("2015-06-15", "2017-03-30", "2017-12-01", "2019-12-01", "2022-11-01", "2024-07-01", "2026-04-01")
BASE = "https://localhost:8443"
JSON = {"content-type": "application/json; charset=utf-8"}


def answers(one: ArmSet, version: str) -> Iterator[Exchange]:
    """All that can be read of a set in a version, as exchanges."""

    def got(path: str, body: Any, **query: str) -> Exchange:
        told = urlencode({"api-version": version, **{"$" + name: value for name, value in query.items()}})
        sent = msgspec.json.decode(msgspec.json.encode(body))  # as it goes over the wire
        return Exchange(method="GET", url=f"{BASE}{path}?{told}", status=200, headers=JSON, body=sent)

    def asked(path: str, **query: str) -> Request:
        told = {"api-version": version, **{"$" + name: value for name, value in query.items()}}
        return Request(method="GET", path=path, query=told, base=BASE)

    yield got(one.id, documents.scale_set(one, version))
    yield got(one.id, documents.scale_set(one, version, user_data=True), expand="userData")
    group = one.id.rpartition("/")[0]
    yield got(group, lists.sets([one], asked(group)))
    below = f"{one.id}/virtualMachines"
    for query in ({}, {"expand": "instanceView"}, {"expand": "instanceView", "select": "instanceView"}):
        yield got(below, lists.instances(one, asked(below, **query)), **query)
    yield got(f"{one.id}/instanceView", views.set_view(one, version))
    yield got(f"{one.id}/osUpgradeHistory", documents.history(one, version))
    yield got(f"{one.id}/skus", documents.skus(one, version))
    rollout = documents.rolling_upgrade(one, version)
    if rollout is not None:
        yield got(f"{one.id}/rollingUpgrades/latest", rollout)
    for vm in list(one.world.vms.values())[:3]:
        path = f"{below}/{vm.id}"
        yield got(path, documents.instance(one, vm, version))
        yield got(path, documents.instance(one, vm, version, view=True), expand="instanceView")
        yield got(path, documents.instance(one, vm, version, user_data=True), expand="userData")
        yield got(f"{path}/instanceView", views.instance_view(one, vm, version))
        if one.world.config.flexible:
            yield got(documents.machine_id(one, vm), documents.machine(one, vm, version, view=True))
    if one.world.config.flexible:
        group = f"/subscriptions/{one.subscription}/resourceGroups/{one.group}/providers/{documents.MACHINE_TYPE}"
        yield got(group, lists.machines([one], asked(group, expand="instanceView")))
