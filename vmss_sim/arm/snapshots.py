"""Snapshots: how their lines are read, and what a site must be again that is restored from one.

Contract: `digest` is over everything that a client could tell apart; equal digests, equal sites. Outages that are over are nothing of that:
who restores a snapshot measures anew.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from vmss_sim.arm.http import Refused
from vmss_sim.arm.redaction import clean_text, for_files
from vmss_sim.arm.sets import ArmSet
from vmss_sim.arm.site import Site
from vmss_sim.world.vm import NEVER

SNAPSHOT = "vmss-sim/emulator-snapshot/1"


def header_of(line: bytes) -> dict[str, Any]:
    """The first line of a snapshot. Raises Refused."""
    try:
        found = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = None
    if not isinstance(found, dict) or found.get("schema") != SNAPSHOT:
        raise Refused(400, "NoSnapshot", f"this is no snapshot of an emulator; its first line would say {SNAPSHOT}")
    return found


def entry_of(line: bytes) -> dict[str, Any]:
    """Any other: what was asked, or done from outside. Raises Refused."""
    try:
        found = msgspec.json.decode(line)
        if isinstance(found, dict) and isinstance(found["at_ms"], int):
            return found
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError):
        pass
    raise Refused(
        400,
        "NoSnapshot",
        f"a line of the snapshot cannot be read: {clean_text(line[:60].decode('utf-8', 'replace'))!r}",
    )


def digest(site: Site) -> str:
    """Everything that a client could tell apart about a site, now or later; what stands for what is private is as good as that."""
    state = {
        "now": site.now_ms,
        "groups": [(one.subscription, one.name, one.location, one.tags) for one in site.groups.values()],
        "others": [one.body() for one in site.others.values()],
        "running": sorted(site.operations.running),
        "sets": [_set(one) for one in site.sets],
    }
    return hashlib.sha256(for_files(msgspec.json.encode(state, order="deterministic"))).hexdigest()


def _set(one: ArmSet) -> Any:
    world = one.world
    vms = [world.settled(vm) for vm in world.vms.values()]
    return [
        one.id,
        one.document,
        one.instances,
        (world.mode, world.etag, world.latest, world.requests, world.now, world.faults),
        [
            (
                vm.id,
                vm.vm_id,
                vm.slot,
                vm.attempt,
                world.state(vm),
                vm.image,
                world.is_latest(vm),
                vm.disk,
                vm.protected,
            )
            for vm in vms
        ],
        [(vm.busy_until, min(vm.serves_from, NEVER), vm.touched_ms, vm.bad_since) for vm in vms],
        [(vm.id, *span) for vm in vms for span in vm.outages if span[1] > world.now],
        [(work.name, work.kind, work.ids, work.started_at, work.ends_at) for work in world.running.values()],
        str(world.rolling_upgrade),
    ]
