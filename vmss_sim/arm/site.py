"""What stands behind one endpoint: subscriptions, resource groups, scale sets, and the operations that run on them.

Contract: names compare without case and keep the case they were given. Every id is counted (`guid`), none is drawn: the same
requests at the same virtual times on a fresh site give the same site. `advance` is the only way that time passes.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import msgspec

from vmss_sim.arm.http import Refused
from vmss_sim.arm.operations import Operations, Tracked
from vmss_sim.arm.sets import ArmSet
from vmss_sim.world import errors
from vmss_sim.world.config import Image, Platform, Timings, WorldConfig
from vmss_sim.world.draws import Draws
from vmss_sim.world.faults import Fault
from vmss_sim.world.vm import Operation

SPACE = uuid.UUID("6f1d2a6e-52f0-5a0f-9d6b-7a3f0c1e8b42")
DEFAULT_TENANT = "00000000-0000-0000-0000-0000000000aa"
DEFAULT_SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"


class Group(msgspec.Struct, kw_only=True):
    """A resource group."""

    subscription: str
    name: str
    location: str
    tags: dict[str, str] = {}


class Other(msgspec.Struct, kw_only=True):
    """A resource of a type that is only kept as it was put. kind: its type."""

    id: str
    kind: str
    name: str
    document: dict[str, Any]

    def body(self) -> dict[str, Any]:
        """As ARM shows it."""
        return {**self.document, "id": self.id, "name": self.name, "type": self.kind}


class Site:
    """All that one endpoint serves. epoch: virtual time 0 as a date; seed: of ids, and of the luck of sets that are created."""

    def __init__(
        self,
        *,
        epoch: datetime,
        seed: int = 0,
        tenant: str = DEFAULT_TENANT,
        subscriptions: Iterable[str] = (DEFAULT_SUBSCRIPTION,),
        opaque_urls: bool = False,
    ) -> None:
        self.epoch, self.seed, self.tenant = epoch, seed, tenant
        self.subscriptions: dict[str, str] = {one.lower(): one for one in subscriptions}
        self.groups: dict[tuple[str, str], Group] = {}
        self.operations = Operations(opaque=opaque_urls, seed=str(seed))
        self.now_ms = 0
        self.founded = 0
        """How many sets were created here: each has luck of its own."""
        self.luck: Callable[[int, int, int], Draws] = Draws
        """What the luck of a set that is created is made from: seed, its number, its instances."""
        self.timings: Timings | None = None
        """How long things take on sets that are created; None: the defaults for their OS."""
        self.platform = Platform()
        self.faults: tuple[Fault, ...] = ()
        """What goes wrong with a set that is created, from its creation on."""
        self.met: Counter[int] = Counter()
        """How often each fault was met, by its place among them."""
        self.images: tuple[Image, ...] = ()
        """Images that clients can look up beside those that the sets know: what a scenario upgrades to."""
        self.hosted: list[WorldConfig] = []
        """What the sets of scenarios were made from: their images stay, also when a set is deleted."""
        self.versions_known = True
        """Are the versions in play all that there are of the platform images in `images`?"""
        self.others: dict[str, Other] = {}
        """All other resources, by id in lower case."""
        self._sets: dict[tuple[str, str, str], ArmSet] = {}
        self._measured: tuple[tuple[str, str, str], ArmSet] | None = None
        self._counts: dict[str, int] = {}

    @property
    def sets(self) -> tuple[ArmSet, ...]:
        """Every scale set, in the order in which they were added."""
        return tuple(self._sets.values())

    @property
    def running(self) -> tuple[Tracked, ...]:
        """The operations that run."""
        return tuple(self.operations.running.values())

    def meets(self, one: ArmSet, kind: str) -> None:
        """A set is about to be asked for something: note which fault decides on it, if any does."""
        world = one.world
        for place, fault in enumerate(world.faults):
            if fault.judge(world.requests + 1, kind, world.now).kind != "pass":
                self.met[place] += 1
                return

    def guid(self, purpose: str, *about: object) -> str:
        """The next GUID for a purpose; with `about`: the GUID of exactly that."""
        if not about:
            number = self._counts[purpose] = self._counts.get(purpose, 0) + 1
            about = (number,)
        return str(uuid.uuid5(SPACE, f"{self.seed}/{purpose}/" + "/".join(str(one) for one in about)))

    # -- subscriptions and groups --------------------------------------------------------------------------------

    def require_subscription(self, name: str) -> str:
        """The subscription as it was given. Raises Refused."""
        known = self.subscriptions.get(name.lower())
        if known is None:
            raise Refused(404, "SubscriptionNotFound", f"The subscription '{name}' could not be found.")
        return known

    def add_group(self, subscription: str, name: str, location: str, tags: dict[str, str] | None = None) -> Group:
        """Create a group, or give the one there is new tags."""
        key = (subscription.lower(), name.lower())
        found = self.groups.get(key)
        if found is None:
            found = self.groups[key] = Group(
                subscription=self.require_subscription(subscription), name=name, location=location
            )
        if tags is not None:
            found.tags = tags
        return found

    def require_group(self, subscription: str, name: str) -> Group:
        """The group. Raises Refused."""
        self.require_subscription(subscription)
        found = self.groups.get((subscription.lower(), name.lower()))
        if found is None:
            row = errors.GROUP_NOT_FOUND
            raise Refused(row.http_status, row.code, row.sentence(group=name))
        return found

    # -- scale sets ----------------------------------------------------------------------------------------------

    def add(self, one: ArmSet) -> ArmSet:
        """A set is there from now on, and its group."""
        key = (one.subscription.lower(), one.group.lower(), one.name.lower())
        if key in self._sets:
            raise ValueError(f"there are two scale sets named {one.name} in resource group {one.group}")
        one.world.buckets = None  # the endpoint throttles: its buckets are a caller's, over all sets of a subscription
        self.add_group(one.subscription, one.group, one.location)
        self._sets[key] = one
        if self._measured is None:
            self._measured = key, one
        elif self._measured[0] == key:
            one.succeed(self._measured[1])
            self._measured = key, one
        return one

    @property
    def measured(self) -> ArmSet:
        """The set that is measured: the first that was added, or that which has its name since it was deleted; there is one."""
        assert self._measured is not None, "no set was added"
        return self._measured[1]

    def remove(self, one: ArmSet) -> None:
        """A set is gone."""
        self._sets = {key: other for key, other in self._sets.items() if other is not one}

    def find(self, subscription: str, group: str, name: str) -> ArmSet | None:
        """A set by its name."""
        return self._sets.get((subscription.lower(), group.lower(), name.lower()))

    def track(self, one: ArmSet, work: Operation, output: dict[str, object] | None = None) -> Tracked:
        """A client is told of an operation on a set."""
        tracked = Tracked(work, subscription=one.subscription, location=one.location, of=one.id, output=output)
        one.world.operations.pop(work.name, None)  # who asks for it asks here
        return self.operations.add(tracked, self.now_ms)

    # -- time ----------------------------------------------------------------------------------------------------

    def advance(self, to_ms: int) -> None:
        """Let virtual time pass in every world. Time that lies in the past moves nothing."""
        self.now_ms = max(self.now_ms, to_ms)
        for one in self.sets:
            world = one.world
            if world.now < to_ms or world.env.peek() <= to_ms:
                world.run(to_ms, stop_on_wake=False)
                while world.env.peek() <= to_ms:  # SimPy leaves the event behind that stopped it
                    world.env.step()
            if world.ended:
                ended, world.ended = world.ended, []
                self.operations.look(self.now_ms, [work.name for work in ended])
                for work in ended:
                    world.operations.pop(work.name, None)
                    one.ended_ms = max(one.ended_ms, work.ends_at)
                if any(work.kind == "delete-set" and work.status == "succeeded" for work in ended):
                    self.remove(one)
        if not self.operations.running:
            self.operations.look(self.now_ms, ())

    def idle_at(self) -> int | None:
        """When the next thing happens while operations or rollouts run; None where none does, or nothing will end them."""
        times = []
        for one in self.sets:
            world = one.world
            if world.rollouts.running or any(not work.hangs for work in world.running.values()):
                due = world.env.peek()
                if due != float("inf"):
                    times.append(int(due))
        return min(times, default=None)
