"""A scale set behind the endpoint: a world, and what clients wrote of it that the world has no use for.

Contract: `world` is the truth for everything that can change by itself; `document` is the resource as a client would PUT it
(canonical case, nothing read-only, nothing secret), and so the truth for everything that only clients change. What is shown is
made from both by `documents.py`; what is written is split between both by `changes.py`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from vmss_sim.world.scale_set import World
from vmss_sim.world.vm import Operation


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
    ) -> None:
        self.subscription, self.group, self.name, self.location = subscription, group, name, location
        self.world = world
        self.document = document
        self.instances: dict[str, dict[str, Any]] = {}
        self.models: dict[int, dict[str, Any]] = {-1: document, world.content: document}
        self.epoch = epoch
        self.unique_id = unique_id
        self.created_ms = world.now
        self.last_update: Operation | None = None
        """The last PUT or PATCH, also that which created it: a set whose update failed shows it."""
        self.scripts: dict[str, Operation] = {}
        """The operations of managed run-commands, by id: `instances` names them."""
        self.ended_ms = 0
        """When the last operation on it ended."""

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
