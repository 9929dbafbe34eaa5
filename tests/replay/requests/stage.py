"""The scale sets that a recording shows without showing how they came to be, put behind the endpoint; and taken away again.

Rules:

1. A set is there from the first answer that shows it. Its world is that of `start.py`, its document the first model that the
   session shows. What instances show of their place (zone, disk, placement group) and their own tags is theirs from the start.
2. A set that only a list shows is there from the list on.
3. A set is gone where an answer says so and no recorded request deleted it: its resource group was deleted, which is not recorded.
4. A set whose creation is recorded is created by the endpoint; the draws, the durations and the year's platform are the recording's.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tests.replay.documents import instances, is_model, views
from tests.replay.requests.exchanges import Key, Sent
from tests.replay.start import UNSEEN, Scripted, start
from tests.replay.traffic import Exchange, Session
from vmss_sim.arm import creation, model_document
from vmss_sim.arm.sets import ArmSet
from vmss_sim.arm.site import Site
from vmss_sim.world.config import Machine, WorldConfig

UNKNOWN_LOCATION = "westus"


def of_session(session: Session) -> tuple[WorldConfig, dict[str, Any]]:
    """Rule 1: the world's configuration, and the document."""
    began = start(session, _unseen(session))
    if began is None:  # a creation that failed
        reads = tuple(one for one in session.exchanges if one.method == "GET")
        began = start(session._replace(exchanges=reads), _unseen(session))
    assert began is not None
    config, _, document = began
    document = _richest(session, document)
    known: dict[str, dict[str, Any]] = {}
    groups: dict[str, str] = {}
    for one in session.exchanges:
        for vm in instances(one):
            known.setdefault(vm["instanceId"], vm)
        for name, view in views(one):
            if "placementGroupId" in view:
                groups.setdefault(name, view["placementGroupId"])
    machines = tuple(_placed(machine, known.get(machine.id, {}), groups.get(machine.id)) for machine in config.machines)
    return msgspec.structs.replace(config, machines=machines), document


def _unseen(session: Session) -> dict[str, Any]:
    """The model of a set whose instances alone are shown, as they show it."""
    shown = [vm for one in session.exchanges for vm in instances(one)]
    lists = [len(instances(one)) for one in session.exchanges if one.rest == "/virtualmachines" and instances(one)]
    if not shown:
        return UNSEEN
    vm = shown[0]
    mine = vm["properties"]
    system = {name: value for name, value in (mine.get("osProfile") or {}).items() if name != "computerName"}
    storage = {**(mine.get("storageProfile") or {})}
    image = {name: value for name, value in (storage.get("imageReference") or {}).items() if name != "exactVersion"}
    if image:
        storage["imageReference"] = image
    storage["osDisk"] = _of_the_model(storage.get("osDisk") or {})
    storage["dataDisks"] = [_of_the_model(disk) for disk in storage.get("dataDisks") or ()]
    profile = {
        "osProfile": system,
        "storageProfile": storage,
        "networkProfile": mine.get("networkProfileConfiguration") or {"networkInterfaceConfigurations": _cards(mine)},
        **{name: mine[name] for name in ("licenseType", "securityProfile", "diagnosticsProfile") if name in mine},
    }
    if vm.get("resources"):
        profile["extensionProfile"] = {
            "extensions": [
                {"name": one["name"].rpartition("/")[2], "properties": one.get("properties") or {}}
                for one in vm["resources"]
            ]
        }
    made = {
        "location": vm.get("location", UNKNOWN_LOCATION),
        "sku": {**(vm.get("sku") or {}), "capacity": max(lists, default=UNSEEN["sku"]["capacity"])},
        "properties": {**UNSEEN["properties"], "virtualMachineProfile": profile},
    }
    return {**made, **{name: vm[name] for name in ("tags", "identity") if name in vm}}


def _cards(mine: dict[str, Any]) -> list[dict[str, Any]]:
    """The network interfaces of an instance, as far as its ids tell."""
    known = (mine.get("networkProfile") or {}).get("networkInterfaces") or ()
    return [
        {"name": one["id"].rpartition("/")[2], "properties": {"primary": True, "ipConfigurations": []}} for one in known
    ]


def _of_the_model(disk: dict[str, Any]) -> dict[str, Any]:
    """A disk without what is the instance's own."""
    own = {name: value for name, value in disk.items() if name not in ("name", "vhd", "toBeDetached")}
    if "managedDisk" in own:
        own["managedDisk"] = {name: value for name, value in own["managedDisk"].items() if name != "id"}
    return own


def _richest(session: Session, document: dict[str, Any]) -> dict[str, Any]:
    """A model with what only later looks, in newer api-versions, show of the same set, before anything was asked of it."""
    found = False
    for one in session.exchanges:
        if found and one.method != "GET":
            break
        found = found or one.response is document
        if found and is_model(one):
            document = _more(document, one.response)
    return document


def _more(old: Any, new: Any) -> Any:
    """`old` with what `new` has besides."""
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{name: _more(old[name], value) if name in old else value for name, value in new.items()}}
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [_more(*pair) for pair in zip(old, new, strict=True)]
    return old


def _placed(machine: Machine, vm: dict[str, Any], group: str | None) -> Machine:
    disk = ((vm.get("properties") or {}).get("storageProfile") or {}).get("osDisk") or {}
    name = (disk.get("vhd") or {}).get("uri") or disk.get("name") or ""
    zone = next(iter(vm.get("zones") or ()), None)
    return msgspec.structs.replace(machine, zone=zone, os_disk=name, placement_group=group)


class Stage:
    """The sets of one recording. sessions: by the index of their exchanges; draws: what every world here is given."""

    def __init__(self, site: Site, title: str, day: str, sessions: list[Session]) -> None:
        self.site, self.title, self.day = site, title, day
        self.draws = Scripted()
        self._sessions = {one.index: session for session in sessions for one in session.exchanges}

    def find(self, one: Sent) -> ArmSet | None:
        """The set that an exchange is about."""
        return None if one.key is None else self.site.find(one.subscription, *one.key)

    def prepare(self, one: Sent, *, created: bool) -> None:
        """Make what the recorded answer shows to be there, be there. created: this request creates it."""
        if one.exchange.rest == "list":
            self._list(one)
            return
        if one.key is None or one.looks:
            return
        if one.subscription.lower() not in self.site.subscriptions:
            self.site.subscriptions[one.subscription.lower()] = one.subscription
        group = one.path.split("/")[4]
        found = self.find(one)
        there = _there(one)
        if found is not None and created:
            self.site.remove(found)  # the answer says that it was not there
        elif found is None and there and not created:
            session = self._sessions.get(one.exchange.index)
            lone = Session(self.title, self.day, one.key[1], (one.exchange,), {})
            config, document = of_session(session or lone)
            self.add(one.subscription, group, one.path.split("/")[8], config, document)
        elif found is not None and there is False and not found.world.running:
            self.site.remove(found)
        if _code(one) != "ResourceGroupNotFound":
            self.site.add_group(one.subscription, group, UNKNOWN_LOCATION)
        else:
            self.site.groups.pop((one.subscription.lower(), group.lower()), None)

    def _list(self, one: Sent) -> None:
        """Rule 2."""
        self.site.subscriptions.setdefault(one.subscription.lower(), one.subscription)
        group = one.path.split("/")[4] if one.kind.endswith("group") else None
        if group is not None:
            self.site.add_group(one.subscription, group, UNKNOWN_LOCATION)
        shown = set()
        for item in (one.exchange.response or {}).get("value") or []:
            parts = item["id"].split("/")
            key: Key = (parts[4].lower(), parts[8].lower())
            shown.add(key)
            if self.site.find(one.subscription, *key) is None:
                look = Exchange(
                    one.exchange.index, one.exchange.at_ms, "GET", "", one.exchange.query, 200, None, item, ""
                )
                config, document = of_session(Session(self.title, self.day, key[1], (look,), {}))
                self.add(one.subscription, parts[4], parts[8], config, document)
        for found in self.site.sets:
            key = (found.group.lower(), found.name.lower())
            if key not in shown and group in (None, found.group) and not found.world.running:
                self.site.remove(found)

    def add(self, subscription: str, group: str, name: str, config: WorldConfig, document: dict[str, Any]) -> ArmSet:
        """Put a set behind the endpoint."""
        return creation.host(
            self.site,
            config,
            self.draws,
            group=group,
            location=document.get("location", UNKNOWN_LOCATION),
            subscription=subscription,
            name=name,
            document=model_document.wire(_now(document)),
        )


def _now(document: dict[str, Any]) -> dict[str, Any]:
    """A document with its identities as they are written now."""
    identity = dict(document.get("identity") or {})
    if "identityIds" not in identity:
        return document
    names = identity.pop("identityIds")
    return {**document, "identity": {**identity, "userAssignedIdentities": {name: {} for name in names}}}


def _code(one: Sent) -> str:
    body = one.exchange.response
    return (
        str((body.get("error") or body).get("code", ""))
        if isinstance(body, dict) and one.exchange.status >= 400
        else ""
    )


def _there(one: Sent) -> bool | None:
    """Does the answer say that the set was there? None: it does not say."""
    exchange = one.exchange
    if exchange.method == "DELETE" and not exchange.rest:
        return exchange.status == 202
    if exchange.status == 404:
        return bool(exchange.rest) and _code(one) == "NotFound"  # something of it was not found
    if exchange.method == "PUT" and not exchange.rest and exchange.status >= 400:
        return None
    return exchange.status < 500 or None
