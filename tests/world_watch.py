"""Somebody who watches a world event by event and keeps books of its own: who asked for what, and what may follow.

1. `Watch.do` carries out an action (`world_choices.py`), one event of the world at a time, and looks before and after each.
2. `WHY` names every invariant. What is wrong goes to `found` as (invariant, sentence); nothing is raised.
3. The books rest on what can be read and on requests and their replies; what a rule means is written here a second time, so
   that the world is not measured by itself. Where the world tells of itself (batches carried out, repairs) that is
   taken as a claim, and what it claims is checked.
4. In the end the same actions are played again with nobody looking (`world_value.py`), and the histories compared.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

from backends.simulated import SimulatedBackend
from tests.world_choices import Action, Request, Trouble, Wait
from tests.world_value import begin, carry_out, differences, frozen, history, look_around, played, snapshot_of
from vmss_sim.world.config import Image, WorldConfig
from vmss_sim.world.rollouts import RollingUpgrade
from vmss_sim.world.scale_set import NEVER, Operation, Reply, Vm

WHY = {
    "ids": "an id names one VM at a time, and a vmId one VM for ever: evidence of what was done rests on it",
    "counts": "VMs appear and vanish only by scaling, deletion, surge and repair: capacity is what users pay for and rely on",
    "asked-for": "a VM's image, model and disks change only by an operation that names it, a rollout it is a member of, a "
    "repair, or a background relaunch: nothing upgrades that was not asked to",
    "once": "each reason to operate on a VM serves once: a disruptive effect never happens twice",
    "protected": "protected instances are left alone by actions on the set, rollouts, repairs and scale-in",
    "members": "a rollout takes exactly what is stale, unprotected and not skipped when it starts, each once",
    "progress": "the progress counts of a rollout name each member once, and in the end all that were not taken away",
    "batch": "a rolling upgrade has at most a batch in flight, of one update domain and (unless cross-zone) one zone",
    "gates": "a batch starts only within the thresholds, and a rollout that breaches them starts nothing more",
    "reading": "looking changes nothing: else what is measured depends on who watched",
    "time": "time never goes back, and nothing is due in the past",
    "operations": "an operation ends once, not before it started, and what it ended with is final",
    "ending": "what nobody holds back comes to an end",
    "refused": "a refused request changes nothing but what counts requests",
    "outages": "the outages of a VM are ordered, disjoint, and agree with whether it serves: downtime is measured from them",
    "snapshot": "a backend that only reads what changed sees what a fresh look sees",
    "history": "the same seed and requests give the same history, watched or not, in long steps or short",
    "leaks": "what is kept for the future does not grow with the past",
}

FINAL = ("succeeded", "failed")


class Face(NamedTuple):
    """What a VM is, settled."""

    attempt: int
    image: Image | None
    content: int
    profile: int
    disk: int
    data: int
    provisioning: str
    protected: bool
    kept: bool
    """Protected from scale-in."""
    busy_until: int
    generation: int


class Flight(NamedTuple):
    """A rollout's operation on a VM."""

    vm: Vm
    until: int
    rollout: RollingUpgrade


class Books:
    """What is known of one rollout."""

    def __init__(self, rollout: RollingUpgrade) -> None:
        self.rollout = rollout
        self.batches = 0
        self.batch: tuple[str, ...] = ()
        self.running = False
        self.members: set[str] = set()
        self.excused: set[str] = set()
        self.faces: dict[str, Face] = {}
        self.largest = 0
        self.must_stop = False
        self.stopped = False
        self.code = rollout.code


class Watch:
    """A world under watch. found: what is wrong."""

    def __init__(self, config: WorldConfig, seed: int = 0) -> None:
        self.config, self.seed = config, seed
        self.found: list[tuple[str, str]] = []
        self.actions: list[Action] = []
        self.world = world = begin(config, seed)
        self.asked: list[tuple[Reply, str, tuple[str, ...], dict[str, Any]]] = []
        self._submit = world.submit
        world.submit = self._recorded  # type: ignore[method-assign]
        self.backend = SimulatedBackend(world, snapshot_of(config))
        self.backend.observe()
        self.known: dict[int, Vm] = {id(vm): vm for vm in world.vms.values()}
        self.vm_ids = {vm.vm_id for vm in world.vms.values()}
        self.names_used = set(world.vms)
        self.faces = {id(vm): self.face(vm) for vm in world.vms.values()}
        self.leaving: set[int] = set()
        self.reasons: dict[int, list[tuple[str, Operation | RollingUpgrade | None]]] = {}
        self.expected: dict[int, tuple[str, int, set[Any]]] = {}
        self.flights: list[Flight] = []
        self.books: dict[int, Books] = {}
        self.finals: dict[str, tuple[Any, ...]] = {}
        self.named: dict[str, dict[str, Vm]] = {}
        self.repairs = 0
        self.approved: set[str] = set()
        self.scaling = False
        self.least = self.most = len(world.vms)
        self.last_ms = 0
        self.before: dict[int, str] = {}

    def wrong(self, invariant: str, sentence: str) -> None:
        """Write it down."""
        assert invariant in WHY
        self.found.append((invariant, f"at {self.world.now}: {sentence}"))

    # -- what happens --------------------------------------------------------------------------------------------

    def do(self, action: Action) -> None:
        """Carry out one action."""
        self.actions.append(action)
        world = self.world
        if isinstance(action, Wait):
            self._wait(world.now + action.ms)
            return
        self._look_before()
        kept = frozen(world) if isinstance(action, Request) else None
        reply = carry_out(world, action, len(self.actions) - 1)
        if reply is not None and (reply.kind == "refused" or reply.code == "RequestLost"):
            self.found += [
                ("refused", f"{action}: {one}") for one in differences(kept, frozen(world), ("requests", "buckets"))
            ]
        self._look_after()

    def _wait(self, until: int) -> None:
        """Event by event, and the clock first, so that what an event finds can be seen."""
        env = self.world.env
        while (due := env.peek()) <= until:
            if due > env.now:
                env.run(until=due)
                self._look_before()
            env.step()
            self._look_after()
        if until > env.now:
            env.run(until=until)
            self._look_before()
            self._look_after()

    def _recorded(self, name: str, kind: str, ids: tuple[str, ...] = (), **args: Any) -> Reply:
        reply = self._submit(name, kind, ids, **args)
        self.asked.append((reply, kind, ids, args))
        return reply

    # -- looking -------------------------------------------------------------------------------------------------

    def face(self, vm: Vm) -> Face:
        """As it is now."""
        vm = self.world.settled(vm)
        return Face(
            vm.attempt,
            vm.image,
            vm.content,
            vm.profile,
            vm.disk,
            vm.data,
            vm.provisioning,
            vm.protected,
            vm.protected or vm.scale_in_protected,
            vm.busy_until,
            vm.generation,
        )

    def _look_before(self) -> None:
        """What there is before the next event, at its time."""
        world = self.world
        if world.now < self.last_ms:
            self.wrong("time", f"it was {self.last_ms}")
        if world.env.peek() < world.now:
            self.wrong("time", f"something was due at {world.env.peek()}")
        self.last_ms = world.now
        self._changes(event=False)
        self.before = {id(vm): self.counts_as(vm) for vm in world.vms.values()}
        self.content, self.image = world.content, world.model_image

    def _look_after(self) -> None:
        """Everything that is to hold after an event."""
        self._requests()
        self._rollouts_before()
        self._changes(event=True)
        self._rollouts_after()
        self._counts()
        self._operations()
        self._outages()
        self.before = {id(vm): self.counts_as(vm) for vm in self.world.vms.values()}

    def counts_as(self, vm: Vm) -> str:
        """Healthy, unhealthy or neither, from what is shown (DOC-health; written a second time)."""
        provisioning, power, health = self.world.state(vm)
        if provisioning == "deleting" or health == "initializing":
            return "neither"
        if provisioning in ("updating", "creating") and power != "running":
            return "unhealthy" if self.config.platform.count_in_flight else "neither"
        if health == "absent":
            return "healthy" if power == "running" and provisioning in ("succeeded", "updating") else "unhealthy"
        return "healthy" if health == "healthy" and power == "running" else "unhealthy"

    # -- requests: reasons for what follows ----------------------------------------------------------------------

    def _requests(self) -> None:
        world, options = self.world, self.config.platform
        self.scaling = any(
            reply.operation is not None and (kind == "set-capacity" or "capacity" in args)
            for reply, kind, _, args in self.asked
        )
        for reply, kind, ids, args in self.asked:
            operation = reply.operation
            if operation is None:
                continue
            if operation.name in self.named:
                self.wrong("operations", f"{operation.name} was accepted twice")
            failed = operation.fails and kind not in ("update-model", "set-mode")
            named = [world.vms[one] for one in operation.ids if one in world.vms]
            self.named[operation.name] = {vm.id: vm for vm in named}
            if failed:
                continue
            if kind in ("update-model", "set-mode"):
                for vm in self._stale() if world.mode == "automatic" and not operation.fails else ():
                    self._reason(vm, "automatic", operation)
            elif kind == "approve-rolling-upgrade":
                self.approved |= set(operation.ids)
            elif kind not in ("set-capacity", "protect", "delete"):
                for vm in named:
                    acts = ids and ids != ("*",) and options.protected_named == "act"
                    on_set = kind in ("upgrade", "reimage", "reimage-all", "deallocate")
                    if on_set and self.faces[id(vm)].protected and not acts:
                        self.wrong("protected", f"{kind} of {ids} acts on {vm.id}")
                    self._reason(vm, kind, operation)
            if kind == "set-capacity" or (kind == "update-model" and "capacity" in args and not operation.fails):
                self._scaled(int(args["capacity"]))

    def _scaled(self, capacity: int) -> None:
        """The books of the capacity; scale-in spares what is protected."""
        if capacity >= self.most:
            self.least = self.most = capacity
            return
        spared = sum(face.kept for one, face in self.faces.items() if one not in self.leaving)
        self.least, self.most = capacity, max(capacity, min(self.most, capacity + spared))

    def _reason(self, vm: Vm, kind: str, by: Operation | RollingUpgrade | None) -> None:
        self.reasons.setdefault(id(vm), []).append((kind, by))

    def _stale(self) -> list[Vm]:
        """What Azure's own hands would upgrade, as it was before this event: not at the model, not protected."""
        world = self.world
        known = [(vm, self.faces[id(vm)]) for vm in world.vms.values() if id(vm) in self.faces]
        return [
            vm
            for vm, was in known
            if was.content != world.content and not was.protected and was.provisioning != "deleting"
        ]

    # -- rollouts ------------------------------------------------------------------------------------------------

    def _rollouts_before(self) -> None:
        """Which batches began or ended in this event, and whether they might."""
        world = self.world
        for rollout in world.rollouts.past:
            books = self.books.get(id(rollout))
            if books is None:
                books = self.books[id(rollout)] = Books(rollout)
            books.largest = max(books.largest, len(world.vms))
            ended = books.running and rollout.in_progress != books.batch
            if ended:
                self._batch_ended(books)
            if len(rollout.done) > books.batches:
                self._batch_begins(books)
            self._stopped_by_whom(books)

    def _stopped_by_whom(self, books: Books) -> None:
        """A threshold that is met exactly stops nothing."""
        rollout, code = books.rollout, books.code
        books.code = rollout.code
        whole_set = ("BeforeRollingUpgrade", "InRollingUpgrade")
        if code != "RollingForward" or rollout.code != "Faulted" or self.config.platform.count_in_flight:
            return
        if rollout.error[0] in [f"MaxUnhealthyInstancePercentExceeded{one}" for one in whole_set]:
            bad = sum(word == "unhealthy" for word in self.before.values())
            if not self._share_exceeds(bad, len(self.before), rollout.policy.max_unhealthy_percent):
                self.wrong("gates", f"{bad} of {len(self.before)} unhealthy stop it")

    def _share_exceeds(self, count: int, total: int, percent: int) -> bool:
        return total > 0 and 100 * count > percent * total

    def _batch_begins(self, books: Books) -> None:
        world, rollout = self.world, books.rollout
        first = not books.batches
        books.batches = len(rollout.done)
        books.batch, books.running = rollout.done[-1], True
        if first:
            self._members(books)
        elif not set(books.batch) <= books.members:
            self.wrong("members", f"batch {books.batch} is not of {sorted(books.members)}")
        if books.must_stop or not rollout.open:
            self.wrong("gates", f"batch {books.batch} begins after a breach or the end ({rollout.code})")
        bad = sum(word == "unhealthy" for word in self.before.values())
        if self._share_exceeds(bad, len(self.before), rollout.policy.max_unhealthy_percent):
            self.wrong("gates", f"batch {books.batch} begins with {bad} of {len(self.before)} unhealthy")
        for one in books.batch:
            if one in world.vms:
                kind = {"model": "upgrade", "os": "reimage", "extension": "extension"}[rollout.kind]
                self._reason(world.vms[one], f"rollout-{kind}", rollout)
                self._reason(world.vms[one], "restore", rollout)

    def _members(self, books: Books) -> None:
        """A rollout tells at its first batch whom it takes."""
        world, rollout = self.world, books.rollout
        told = [*books.batch, *(one for batch in rollout.batches for one in batch)]
        there = [vm for vm in world.vms.values() if id(vm) in self.before]
        able = self._stale() if rollout.kind == "model" else [vm for vm in there if not self.faces[id(vm)].protected]
        able = [vm for vm in able if self.faces[id(vm)].provisioning != "deleting"]
        metrics = any(vm.machine.phase is not None or vm.machine.skip_upgrade for vm in able)
        wanted = {
            vm.id for vm in able if not vm.machine.skip_upgrade and (not metrics or self.before[id(vm)] == "healthy")
        }
        if rollout.only is not None:
            if not rollout.only <= self.approved:
                self.wrong("members", f"{sorted(rollout.only)} are approved, it was for {sorted(self.approved)}")
            wanted &= rollout.only
        if sorted(told) != sorted(wanted):
            self.wrong("members", f"{rollout.kind}: takes {told}, there are {sorted(wanted)}")
        books.members = set(told)

    def _batch_ended(self, books: Books) -> None:
        """The threshold after a batch (strictly more)."""
        world, rollout = self.world, books.rollout
        books.running = False
        if rollout.code == "Cancelled":
            return
        upgraded = {*rollout.successful, *rollout.failed}
        if len(rollout.done) > books.batches:
            upgraded -= set(rollout.done[-1])  # it began in the same event, and took no time
        # A surge's new instance stands for the one that it replaced, once that is gone.
        there = {**{one: world.vms.get(one) for one in upgraded}, **rollout.heirs}
        sick = {
            one
            for one in upgraded
            if one in rollout.failed
            or ((vm := there[one]) is not None and vm.id in world.vms and self.before.get(id(vm)) == "unhealthy")
        }
        breach = self._share_exceeds(len(sick), len(upgraded), rollout.policy.max_unhealthy_upgraded_percent)
        if breach and rollout.code == "RollingForward":
            self.wrong("gates", f"{sorted(sick)} of {sorted(upgraded)} are unhealthy and it goes on")
        if not breach and rollout.error[0] == "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade":
            self.wrong("gates", f"{sorted(sick)} of {sorted(upgraded)} stop it")
        books.must_stop = books.must_stop or breach

    def _rollouts_after(self) -> None:
        world = self.world
        open_ones = [rollout for rollout in world.rollouts.past if rollout.open]
        if len(open_ones) > 1:
            self.wrong("batch", f"{len(open_ones)} rollouts are open")
        for books in self.books.values():
            self._progress(books)
        self.flights = [one for one in self.flights if one.until > world.now and one.vm.provisioning != "deleting"]
        if not self.flights:
            return
        policy = self.flights[-1].rollout.policy
        largest = max(self.books[id(one.rollout)].largest for one in self.flights)
        size = max(1, policy.max_batch_percent * largest // 100)
        domains = {one.vm.machine.update_domain for one in self.flights}
        zones = {one.vm.machine.zone for one in self.flights}
        flying = [one.vm.id for one in self.flights]
        if len(flying) > size:
            self.wrong("batch", f"{flying} are in flight, a batch is {size}")
        if len(domains) > 1 or (len(zones) > 1 and not policy.cross_zone):
            self.wrong("batch", f"{flying} are in flight, of domains {domains} and zones {zones}")

    def _progress(self, books: Books) -> None:
        world, rollout = self.world, books.rollout
        if books.stopped:
            return
        status = rollout.status()
        for one in books.members:
            vm = world.vms.get(one)
            if vm is None or vm.protected or vm.provisioning == "deleting":
                books.excused.add(one)
        counted = status.successful + status.failed + status.in_progress + status.pending
        if books.batches and counted > len(books.members):
            self.wrong("progress", f"{counted} counted of {len(books.members)} members: {status}")
        both = set(rollout.successful) & set(rollout.failed)
        strange = {*rollout.successful, *rollout.failed} - books.members
        if both or strange:
            self.wrong("progress", f"successful and failed: {both}; no members: {strange}")
        if status.ended_ms is None:
            return
        books.stopped = True
        if status.in_progress or rollout.open:
            self.wrong("progress", f"it has ended: {status}")
        if status.code == "Completed":
            missing = books.members - {*rollout.successful, *rollout.failed} - books.excused
            if missing or status.pending:
                self.wrong("progress", f"completed without {sorted(missing)}: {status}")

    # -- VMs -----------------------------------------------------------------------------------------------------

    def _changes(self, *, event: bool) -> None:
        """Compare every VM with how it was at the last look, and the books."""
        world = self.world
        log = world.repair_service.log[self.repairs :]
        self.repairs = len(world.repair_service.log)
        repaired = {name: action for _, name, action in log}
        new = [vm for vm in world.vms.values() if id(vm) not in self.known]
        if event:
            self._created(new, repaired)
        elif new or log:
            self.wrong("counts", "something happened without an event")
        for vm in world.vms.values():
            key, face = id(vm), self.face(vm)
            was = self.faces.get(key)
            if was is not None:
                self._changed(vm, was, face, repaired)
                if face.provisioning == "deleting" and key not in self.leaving:
                    self._leaves(vm, was, repaired)
            self.faces[key] = face

    def _changed(self, vm: Vm, was: Face, face: Face, repaired: dict[str, str]) -> None:
        # An attempt may also be counted for luck alone: when the heir of a slot is gone, the next one is another attempt.
        if face.attempt != was.attempt and face.generation != was.generation:
            if vm.id in repaired:
                if was.protected:
                    self.wrong("protected", f"{vm.id} is repaired")
                self._reason(vm, f"repair-{repaired[vm.id]}", None)
            self._started(vm, was, face, face.attempt - was.attempt)
        if face[1:6] == was[1:6]:
            return
        kind, until, outcomes = self.expected.pop(id(vm), ("nothing", 0, set()))
        now = (face.image, face.content, face.profile, face.disk, face.data)
        if until <= self.world.now and now in outcomes:
            return
        failures = self.config.failures
        relaunched = failures.background_becomes == "old-image" and failures.mttf_ms is not None
        if not (relaunched and face.image == vm.first_image and face.content == -1 and face.disk <= was.disk + 2):
            self.wrong("asked-for", f"{vm.id} became {now} by {kind}")

    def _started(self, vm: Vm, was: Face, face: Face, times: int) -> None:
        """An operation on a VM began: there must be a reason."""
        doing = vm.doing
        wanted = {
            "upgrade": ("upgrade", "automatic", "rollout-upgrade"),
            "upgrade-delta": ("upgrade", "automatic", "rollout-upgrade"),
            "upgrade-extensions": ("rollout-extension",),
            "reimage": ("reimage", "rollout-reimage", "repair-reimage"),
            "restart": ("restart", "repair-restart"),
        }.get(doing, (doing,))
        mine = self.reasons.get(id(vm), [])
        reason = next((one for one in reversed(mine) if one[0] in wanted and self._still(one[1])), None)
        if reason is None or times > 1:
            self.wrong("once" if times > 1 else "asked-for", f"{doing} of {vm.id}, {times} times; reasons: {mine}")
        if reason is None:
            if was.protected:
                self.wrong("protected", f"{doing} of {vm.id}")
            return
        mine.remove(reason)
        kind, by = reason
        if (kind.startswith("rollout") or kind == "automatic") and was.protected:
            self.wrong("protected", f"{kind} of {vm.id}")
        if isinstance(by, RollingUpgrade) and kind != "restore":
            self.flights.append(Flight(vm, face.busy_until, by))
            self.books[id(by)].faces[vm.id] = was
        exact = by.args.get("exact_version") if isinstance(by, Operation) and "reimage" in kind else None
        self.expected[id(vm)] = (kind, face.busy_until, self._outcomes(vm, was, doing, exact, by))

    def _still(self, by: Operation | RollingUpgrade | None) -> bool:
        """Does the reason still hold? A rollout that is over starts nothing."""
        if not isinstance(by, RollingUpgrade):
            return True
        return by.open or self.books[id(by)].running

    def _outcomes(
        self, vm: Vm, was: Face, doing: str, exact: str | None, by: Operation | RollingUpgrade | None
    ) -> set[tuple[Any, ...]]:
        """What an operation may leave: image, content, profile, OS disk, data disks."""
        world = self.world
        image, content, profile, disk, data = was.image, was.content, was.profile, was.disk, was.data
        same = (image, content, profile, disk, data)
        model, new = world.model_image, world.content
        match doing:
            case "upgrade":
                return {
                    same,
                    (model, new, world.profile, disk + 1, data),
                    (model, content, world.profile, disk + 1, data),
                }
            case "upgrade-delta":
                return {same, (image, new, profile, disk, data)}
            case "reimage" | "reimage-all":
                boots = (
                    model if self.config.platform.reimage_boots == "model" or isinstance(by, RollingUpgrade) else image
                )
                if isinstance(by, RollingUpgrade) and by.target is not None:
                    exact = by.target.exact
                boots = world.image_of_model(exact) if exact else boots
                reset = data + (doing == "reimage-all")
                return {same, *((boots, content, world.profile, disk + 1, one) for one in (data, reset))}
            case "restore":
                old = self.books[id(by)].faces.get(vm.id) if isinstance(by, RollingUpgrade) else None
                return set() if old is None else {(old.image, old.content, old.profile, disk + 1, data)}
            case _:
                return {same}

    def _created(self, new: list[Vm], repaired: dict[str, str]) -> None:
        world = self.world
        surging = [
            rollout for rollout in world.rollouts.past if rollout.policy.max_surge and self.books[id(rollout)].running
        ]
        replaced = sum(action == "replace" for action in repaired.values())
        room = sum(len(self.books[id(rollout)].batch) for rollout in surging)
        if len(new) > replaced + room and not self.scaling:
            self.wrong("counts", f"{[vm.id for vm in new]} appear, nobody asked")
        for vm in new:
            self.known[id(vm)] = vm
            if vm.vm_id in self.vm_ids:
                self.wrong("ids", f"vmId {vm.vm_id} is given to {vm.id} again")
            if not self.config.platform.reuse_ids and vm.id in self.names_used:
                self.wrong("ids", f"id {vm.id} is given again")
            kind, held = "create", (vm.image, vm.content, world.profile, vm.disk, vm.data)
            self.expected[id(vm)] = (kind, vm.busy_until, {held, (*held[:2], vm.profile, *held[3:])})
            self.vm_ids.add(vm.vm_id)
            self.names_used.add(vm.id)
        self.asked.clear()
        present = {id(vm) for vm in world.vms.values()}
        gone = {id(vm) for vm in world.gone}
        if present & gone or (present | gone) != set(self.known) or len(gone) != len(world.gone):
            lost = [vm.id for key, vm in self.known.items() if key not in present | gone]
            self.wrong("counts", f"lost {lost}; both there and gone: {len(present & gone)}")
        if any(name != vm.id for name, vm in world.vms.items()):
            self.wrong("ids", "a VM is filed under another id")

    def _leaves(self, vm: Vm, was: Face, repaired: dict[str, str]) -> None:
        """A VM is being deleted: by whom?"""
        world = self.world
        self.leaving.add(id(vm))
        running = [one for one in world.operations.values() if self.named.get(one.name, {}).get(vm.id) is vm]
        # A deletion may wait its turn; a scale-in acts in the event that asks for it.
        if not self.scaling and any(
            one.kind == "delete" and not one.fails and one.ends_at >= world.now for one in running
        ):
            self.least = max(0, self.least - 1)
            if not self._in_surge(vm):
                self.most -= 1
            return
        if repaired.get(vm.id) == "replace":
            if was.protected:
                self.wrong("protected", f"{vm.id} is replaced by a repair")
            return
        if self.scaling:
            if was.kept:
                self.wrong("protected", f"{vm.id} is scaled in")
            return
        surge = [books for books in self.books.values() if books.rollout.policy.max_surge]
        if any(vm.id in books.members for books in surge):
            if was.protected:
                self.wrong("protected", f"{vm.id} is replaced by a rollout")
        elif not (surge and vm.attempt >= 1):
            self.wrong("counts", f"{vm.id} is deleted, nobody asked")

    def _in_surge(self, vm: Vm) -> bool:
        return any(books.running and books.rollout.policy.max_surge for books in self.books.values()) and vm is not None

    def _counts(self) -> None:
        """The capacity, apart from the VMs that a surge has too many while it lasts."""
        world = self.world
        alive = sum(vm.provisioning != "deleting" for vm in world.vms.values())
        spare = 0
        for books in self.books.values():
            if books.rollout.policy.max_surge:
                left = self.config.platform.surge_failed == "left"
                spare += books.largest if left else len(books.batch) if self._surging(books) else 0
        if not self.least <= alive <= self.most + spare:
            self.wrong(
                "counts", f"{alive} instances, the capacity is {self.least} to {self.most} (and {spare} of a surge)"
            )

    def _surging(self, books: Books) -> bool:
        """A surge may still have more than it found: its batch runs, or was cut short and its VMs are on their way."""
        if books.running or books.rollout.open:
            return True
        return any(vm.doing == "create" and vm.busy_until >= self.world.now for vm in self.world.vms.values())

    # -- operations and outages ----------------------------------------------------------------------------------

    def _operations(self) -> None:
        world = self.world
        for name, one in world.operations.items():
            if one.status in FINAL:
                final = (one.status, one.code, one.message, one.ends_at)
                if self.finals.setdefault(name, final) != final:
                    self.wrong("operations", f"{name} ended with {self.finals[name]}, now {final}")
                if one.ends_at < one.started_at or name in world.running or one.ends_at > world.now:
                    self.wrong("operations", f"{name}: {one.started_at} to {one.ends_at}")
            elif name not in world.running or one.ends_at < world.now:
                self.wrong("operations", f"{name} is {one.status}, should have ended at {one.ends_at}")
        ended = [one.name for one in world.ended]
        if len(ended) != len(set(ended)):
            self.wrong("operations", f"ended twice: {ended}")

    def _outages(self) -> None:
        now = self.world.now
        for vm in self.world.vms.values():
            spans = vm.outages
            for earlier, later in itertools.pairwise(spans):
                if earlier[1] > later[0]:
                    self.wrong("outages", f"{vm.id}: {spans}")
            if any(start > end or start > now for start, end in spans):
                self.wrong("outages", f"{vm.id}: {spans}")
            if self.world.serving(vm) == any(start <= now < end for start, end in spans):
                self.wrong("outages", f"{vm.id} serves from {vm.serves_from}: {spans}")
        for vm in self.world.gone[-8:]:
            if not vm.outages or vm.outages[-1][1] != NEVER:
                self.wrong("outages", f"{vm.id} is gone and comes back: {vm.outages}")

    # -- reading -------------------------------------------------------------------------------------------------

    def read_everything(self) -> None:
        """Look at everything there is, in any order; what is there stays as it is."""
        world = self.world
        before = frozen(world)
        look_around(world)
        self.found += [("reading", one) for one in differences(before, frozen(world), ())]

    def compare_snapshots(self) -> None:
        """What the backend has pieced together, and a fresh look."""
        world = self.world
        seen = self.backend.observe().scale_set
        kept = (dict(world.dirty), dict(world.moving), dict(world.disturbed))
        fresh = SimulatedBackend(world, snapshot_of(self.config)).observe().scale_set
        world.dirty, world.moving, world.disturbed = kept
        if seen.model != fresh.model:
            self.wrong("snapshot", f"{seen.model} != {fresh.model}")
        for name in sorted({*seen.instances, *fresh.instances}):
            mine, theirs = seen.instances.get(name), fresh.instances.get(name)
            if mine != theirs:
                self.wrong("snapshot", f"{mine} != {theirs}")

    def check_end(self) -> None:
        """Let it come to rest, and play it again unwatched."""
        self.compare_snapshots()
        self.read_everything()
        for action in (Trouble(None), Wait(40 * 3_600_000)):
            self.do(action)
        self._at_rest()
        self.compare_snapshots()
        quiet = played(self.config, self.seed, self.actions)
        mine, theirs = history(self.world), history(quiet)
        if mine != theirs:
            line = next((pair for pair in zip(mine, theirs, strict=False) if pair[0] != pair[1]), ("length", ""))
            self.wrong("history", f"watched: {line[0]}\nunwatched: {line[1]}")

    def _at_rest(self) -> None:
        """After most of two days nothing is open that nobody holds open."""
        world = self.world
        noisy = self.config.failures.mttf_ms is not None
        held = any(one.hangs for one in world.operations.values())
        for one in world.running.values():
            if not one.hangs and not held:
                self.wrong("ending", f"{one.name} ({one.kind}) has not ended: {one.ends_at}")
        if world.rollouts.running and not noisy:
            self.wrong("ending", f"a rollout is open: {world.rolling_upgrade}")
        waiting = len(world.env._queue)
        allowed = 12 + 6 * len(world.vms) + len(self.config.disturbances)
        if waiting > allowed:
            self.wrong("leaks", f"{waiting} events are waiting")
        for what in ("dirty", "moving", "disturbed", "heirs"):
            if len(getattr(world, what)) > len(world.vms) + len(world.gone):
                self.wrong("leaks", f"{what}: {len(getattr(world, what))}")
