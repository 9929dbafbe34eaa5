"""What is read of scale sets and operations. Contract: nothing here changes anything."""

from __future__ import annotations

from typing import Any

from vmss_sim.arm import documents, lists, views
from vmss_sim.arm.call import Call, refused
from vmss_sim.arm.http import Refused, Response
from vmss_sim.arm.operations import poll_body
from vmss_sim.arm.wire import plain
from vmss_sim.world import errors


def tagged(body: Any, status: int = 200) -> Response:
    """A resource, with its etag as a header where the body has one."""
    etag = body.get("etag") if isinstance(body, dict) else None
    return Response(status=status, body=body, headers={"etag": etag} if isinstance(etag, str) else {})


def scale_set(call: Call) -> Response:
    """GET of a set."""
    return tagged(documents.scale_set(call.one, call.version, user_data=call.expands("userData")))


def sets(call: Call) -> Response:
    """The sets of a subscription, of one group, or in one location."""
    names = call.names
    found = [one for one in call.site.sets if one.subscription.lower() == names["subscription"].lower()]
    if "group" in names:
        found = [one for one in found if one.group.lower() == names["group"].lower()]
    if "location" in names:
        found = [one for one in found if plain(one.location) == plain(names["location"])]
    return Response(status=200, body=lists.sets(found, call.request))


def set_view(call: Call) -> Response:
    """The instance view of a set."""
    return Response(status=200, body=views.set_view(call.one, call.version))


def skus(call: Call) -> Response:
    """The sizes of a set."""
    return Response(status=200, body=documents.skus(call.one, call.version))


def latest(call: Call) -> Response:
    """`rollingUpgrades/latest`."""
    body = documents.rolling_upgrade(call.one, call.version)
    if body is None:
        raise refused(errors.NO_ROLLOUT_YET if call.version < "2018" else errors.NOT_FOUND)
    return Response(status=200, body=body)


def history(call: Call) -> Response:
    """`osUpgradeHistory`."""
    return Response(status=200, body=documents.history(call.one, call.version))


def instances(call: Call) -> Response:
    """The instances of a set."""
    return Response(status=200, body=lists.instances(call.one, call.request))


def instance(call: Call) -> Response:
    """One instance."""
    view, user_data = call.expands("instanceView"), call.expands("userData")
    return tagged(documents.instance(call.one, call.vm, call.version, view=view, user_data=user_data))


def instance_view(call: Call) -> Response:
    """The instance view of one instance."""
    return Response(status=200, body=views.instance_view(call.one, call.vm, call.version))


def machines(call: Call) -> Response:
    """The VMs of a group: the instances of its Flexible sets, and what else others know of."""
    names = call.names
    here = (names["subscription"].lower(), names["group"].lower())
    found = [one for one in call.site.sets if (one.subscription.lower(), one.group.lower()) == here]
    return Response(status=200, body=lists.machines(found, call.request))


def machine(call: Call) -> Response:
    """One instance of a Flexible set, as the VM that it is."""
    return tagged(documents.machine(call.one, call.vm, call.version, view=call.expands("instanceView")))


def operation(call: Call) -> Response:
    """A poll: `Azure-AsyncOperation`, or with `monitor=true` `Location` (rules 2 and 3 of operations.py)."""
    site = call.site
    tracked = site.operations.find(call.names["operation"], call.names["location"])
    site.operations.admit(tracked, call.request.query)
    if call.request.query.get("monitor", "").lower() != "true":
        return Response(status=200, body=poll_body(tracked, call.version, site.epoch))
    work = tracked.work
    if tracked.status == "running":
        url = site.operations.url(tracked, call.request.base, call.version, monitor=True)
        return Response(status=202, headers={"location": url})
    if work.status == "failed":
        raise Refused(409, work.code, work.message or work.code)
    return Response(status=200, body=tracked.output)
