"""A scale set behind the endpoint: a world, and what clients wrote of it that the world has no use for.

Contract: `world` is the truth for everything that can change by itself; `document` is the resource as a client would PUT it
(canonical case, nothing read-only, nothing secret), and so the truth for everything that only clients change. What is shown is
made from both by `documents.py`; what is written is split between both by `changes.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import chain
from typing import Any

import msgspec

from planner.metrics import StepFunction
from vmss_sim.world.scale_set import World
from vmss_sim.world.vm import Operation

Span = tuple[int, int | None]
"""From when to when; None: to the end."""


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of a long time, in as few steps as measure the same: how many served until then, and how many ran the bad image."""

    until_ms: int
    healthy: StepFunction
    bad: StepFunction


class ArmSet:
    """One scale set. past: what is still known of the time that is over; instances: what clients wrote of single instances (tags, say), by vmId. models: documents by the world's
    number of their content, so that an instance can show the model it was given (-1: what stale instances had at the start).
    epoch: virtual time 0 as a date.
    """

    def __init__(
        self,
        *,
        subscription: str,
        group: str,
        name: str,
        location: str,
        world: World,
        document: dict[str, Any],
        epoch: datetime,
        unique_id: str,
        tenant: str = "",
    ) -> None:
        self.subscription, self.group, self.name, self.location = subscription, group, name, location
        self.world = world
        self.document = document
        self.instances: dict[str, dict[str, Any]] = {}
        self.models: dict[int, dict[str, Any]] = {-1: document, world.content: document}
        self.epoch = epoch
        self.unique_id, self.tenant = unique_id, tenant
        self.created_ms = world.now
        self.last_update: Operation | None = None
        """The last PUT, PATCH or DELETE, also that which created it: a set on which it failed shows it."""
        self.scripts: dict[str, Operation] = {}
        """The operations of managed run-commands, by id: `instances` names them."""
        self.ended_ms = 0
        """When the last operation on it ended."""
        self.past: Past | None = None
        self._outages: list[Span] = []
        self._exposures: list[Span] = []

    # -- the meter: of the world, and of those that had the name before ---------------------------------------------

    def succeed(self, other: ArmSet) -> None:
        """That set had the name before and is deleted: what it cost stays part of what there is to measure."""
        self.ended_ms, self.past = max(self.ended_ms, other.ended_ms), other.past
        self._outages, self._exposures = list(other.outages()), list(other.exposures())

    @property
    def ever(self) -> int:
        """How many instances there ever were, but for those of which nothing is known but the past."""
        before = sum(up is None for _, up in self._outages)  # all of them are gone
        return before + len(self.world.vms) + sum(bool(vm.outages) for vm in self.world.gone)

    def outages(self) -> Iterator[Span]:
        """Every span in which an instance did not serve that was not over when the past ended; None: to the end."""
        return chain(self._outages, self.world.outages())

    def exposures(self) -> Iterator[Span]:
        """Every such span in which an instance ran the bad image; None: it still does."""
        return chain(self._exposures, self.world.exposures())

    def forget(self, past: Past) -> None:
        """What was over when the past ended is no more than that."""
        self.past = past
        self._outages = [one for one in self._outages if (one[0] if one[1] is None else one[1]) > past.until_ms]
        self._exposures = [one for one in self._exposures if one[1] is None or one[1] > past.until_ms]
        self.world.forget(past.until_ms)

    # -- what it shows of itself -------------------------------------------------------------------------------------

    @property
    def provisioning(self) -> str:
        """`provisioningState` of the set: Creating, Updating, Deleting, Failed or Succeeded."""
        world = self.world
        if world.going:
            return "Deleting"
        if any(work.kind == "create-set" for work in world.running.values()):
            return "Creating"
        if world.updating:
            return "Updating"
        failed = self.last_update is not None and self.last_update.status == "failed"
        return "Failed" if failed else "Succeeded"

    @property
    def id(self) -> str:
        """The resource id."""
        return (
            f"/subscriptions/{self.subscription}/resourceGroups/{self.group}"
            f"/providers/Microsoft.Compute/virtualMachineScaleSets/{self.name}"
        )
