"""A scale set behind the endpoint: a world, and what clients wrote of it that the world has no use for.

Contract: `world` is the truth for everything that can change by itself; `document` is the resource as a client would PUT it
(canonical case, nothing read-only, nothing secret), and so the truth for everything that only clients change. What is shown is
made from both by `documents.py`; what is written is split between both by `changes.py`.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from datetime import datetime
from itertools import chain
from typing import Any

from vmss_sim.world.scale_set import World
from vmss_sim.world.vm import NEVER, Operation


class ArmSet:
    """One scale set. instances: what clients wrote of single instances (tags, say), by vmId. models: documents by the world's
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
        self._before = 0
        self._outages, self._exposures = array("q"), array("q")

    # -- the meter: of the world, and of those that had the name before ---------------------------------------------

    def succeed(self, other: ArmSet) -> None:
        """That set had the name before and is deleted: what it cost stays part of what there is to measure."""
        self._before, self.ended_ms = other.ever, max(self.ended_ms, other.ended_ms)
        self._outages, self._exposures = _flat(other.outages()), _flat(other.exposures())

    @property
    def ever(self) -> int:
        """How many instances there ever were."""
        return self._before + len(self.world.vms) + len(self.world.gone) + self.world.forgotten

    def outages(self) -> Iterator[tuple[int, int | None]]:
        """Every span in which an instance did not serve; None: to the end."""
        return chain(_spans(self._outages), self.world.outages())

    def exposures(self) -> Iterator[tuple[int, int | None]]:
        """Every span in which an instance ran the bad image; None: it still does."""
        return chain(_spans(self._exposures), self.world.exposures())

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


def _flat(spans: Iterator[tuple[int, int | None]]) -> array[int]:
    return array("q", (NEVER if when is None else when for span in spans for when in span))


def _spans(flat: array[int]) -> Iterator[tuple[int, int | None]]:
    return ((down, None if up == NEVER else up) for down, up in zip(flat[::2], flat[1::2], strict=True))
