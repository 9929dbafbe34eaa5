"""A tale, told: one process after another, each killed or not, until the rollout has ended; then the world's books are looked at."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from backends.executor import rests
from backends.store.files import FileStore
from planner.change import Action
from planner.commands import Status
from planner.phases import Phase
from planner.plan import MovedBy, Plan
from planner.planfile import encode
from planner.rollout import Asked, Rollout, State
from planner.trace import Turn
from tests.commands import vmss_sim
from tests.fleet import Run, as_before
from tests.kills.grounds import GROUNDS, Ground, attributed
from tests.kills.tales import Tale
from tests.loopback import start
from tests.test_azure_equivalence import planned
from tests.test_resume import begun, footprint, replays, sent_as_written
from tests.test_rollout_properties import bounded, keeps_the_floor, safe

MOST_LIVES = 60
ASKED = {"rollback --emergency": Asked.EMERGENCY}
PLAIN = "PLAIN"


class Left(NamedTuple):
    """What a telling left. writes: how many records of the journal."""

    footprint: dict[str, Any]
    writes: int
    hits: int


def tell(ground: str, tale: Tale, folder: Path, kills: int, luck: random.Random, expected: Left | None) -> Left:
    """Tell it with so many kills. expected: what is left where nobody is killed."""
    ca, here = folder / "ca", folder / f"told-{kills}"
    here.mkdir(parents=True)
    with GROUNDS[ground](tale.case, ca) as place:
        telling = Telling(place, tale, here, kills, luck, expected.writes if expected is not None else 1)
        telling.to_the_end()
        left = telling.judged(expected)
    shutil.rmtree(here)
    return left


class Telling:
    """See the module."""

    def __init__(self, place: Ground, tale: Tale, folder: Path, kills: int, luck: random.Random, writes: int) -> None:
        self.place, self.tale, self.folder, self.luck = place, tale, folder, luck
        self.kills, self.writes, self.hits, self.lives = kills, writes, 0, 0
        self.words = list(tale.words) if kills else []
        plan = planned(tale.case, place.seen)
        assert plan is not None, "it cannot be planned here"
        self.plan: Plan = plan
        place.world.plan = plan
        self.file = folder / "plan.json"
        self.file.write_bytes(encode(plan))
        self.store = FileStore(folder / "store")
        self.heard: list[str] = []

    # -- lives -------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> State | None:
        rollouts = self.store.rollouts()
        return self.store.journal(rollouts[-1].id).last_state() if rollouts else None

    def to_the_end(self) -> None:
        """One executor after another."""
        while self.lives < MOST_LIVES:
            state = self.state
            if state is not None and state.phase is Phase.ENDED:
                return
            self.live(self.arguments(state))
        raise AssertionError(f"no end after {MOST_LIVES} lives: {self.heard}")

    def arguments(self, state: State | None) -> tuple[str, ...]:
        """What the next process is told to do."""
        if state is None or not self.store.rollouts():
            return ("apply", str(self.file), "--yes")
        if self.words and (self.hits or rests(state)):
            word, *more = self.words[0].split()
            if word in ("pause", "skip"):
                self.words.pop(0)
                self.command(word, self.rollout, *more, "--reason", "killed")
            elif self.asked(ASKED.get(self.words[0], Asked(word))):
                self.words.pop(0)
            else:
                return (word, self.rollout, *more, "--yes", "--reason", "killed")
        elif rests(state):
            self.unblock(state)
        if rests(state) or self.luck.random() < 0.5:
            return ("resume", self.rollout, "--yes")
        return ("apply", str(self.file), "--yes")

    @property
    def rollout(self) -> str:
        return self.store.rollouts()[-1].id

    def asked(self, what: Asked) -> bool:
        return any(one.asked is what for one in self.store.journal(self.rollout).requests(0))

    def command(self, *arguments: str) -> None:
        ran = vmss_sim(*arguments, "--store", self.store.name)
        assert ran.status == 0, ran

    def unblock(self, state: State) -> None:
        """Somebody answers, once."""
        if self.store.journal(self.rollout).requests(state.request):
            return
        if state.reason.startswith("approval"):
            self.command("approve", self.rollout)
        elif state.question:
            assert state.ticket is not None
            begun_ = [name for name in state.ticket.command.ids if self.place.world.started(name, ("restart",))]
            assert state.question == "no-evidence", state
            assert self.plan.resolved.action is Action.RESTART or state.ticket.command.kind.value == "reimage", state
            if begun_:
                self.command("skip", self.rollout, *state.ticket.command.ids, "--reason", "it was done")
            else:
                self.command("retry", self.rollout, *state.ticket.command.ids)

    def live(self, arguments: tuple[str, ...]) -> None:
        """One process."""
        self.lives += 1
        kill = self.kill()
        arguments = (*arguments, "--store", self.store.name, *self.place.options)
        if PLAIN in kill:
            code, out, err = plainly(arguments, self.place.plain, float(kill[PLAIN]))
        else:
            code, out, err = start(self.place.address, *arguments, **self.place.environment, **kill).ended(120)
        self.heard.append(f"{arguments[0]} {kill} -> {code}")
        if code == -signal.SIGKILL:
            self.hits += 1
            self.nobody_is_there()
            return
        state = self.state
        assert "Traceback" not in err, err
        assert state is not None, (code, out, err)
        expected = self.plan.ends[state.ending].exit_code if state.phase is Phase.ENDED else 3
        assert code == expected, (self.heard, out[-2000:], err)

    def kill(self) -> dict[str, str]:
        """When the next one dies."""
        if self.hits >= self.kills:
            return {}
        kind = self.luck.random()
        if self.place.plain and kind < 0.02:
            return {PLAIN: f"{self.luck.uniform(0.5, 3.0):.3f}"}
        if kind < 0.25:
            return {"KILL_AFTER_S": f"{self.luck.uniform(0.0, 0.6 if self.place.plain else 0.25):.3f}"}
        most = 2 * self.writes if not self.hits else self.writes
        return {"KILL_AT_WRITE": str(self.luck.randint(1, max(1, most)))}

    def nobody_is_there(self) -> None:
        """For a while; then somebody, who may be on another machine: nothing is there but the store, and the plan comes from it."""
        self.place.pass_time(self.luck.choice((0, self.luck.randint(1, 30_000), self.luck.randint(60_000, 3_600_000))))
        if self.luck.random() < 0.5 and self.store.rollouts():
            self.file.unlink()
            moved = self.folder / f"moved-{self.hits}"
            shutil.copytree(self.store.folder, moved)
            shutil.rmtree(self.store.folder)
            self.store = FileStore(moved)
            self.file.write_bytes(self.store.plan_file(self.rollout))

    def look(self) -> None:
        """Everything that has ended has left its effect, and run-commands are as their content tells."""
        world = self.place.world
        for vm in world.vms.values():
            world.state(vm)
            vm.commands = self.place.ran(vm)

    # -- judged ------------------------------------------------------------------------------------------------------

    def judged(self, expected: Left | None) -> Left:
        """Everything that must hold."""
        tale, place, state = self.tale, self.place, self.state
        assert state is not None
        world, case = place.world, tale.case
        self.look()
        journal = self.store.journal(self.rollout)
        records = list(journal.records())
        turns = [one for one in records if isinstance(one, Turn)]
        if place.epoch_ms:
            world.log = attributed(world.log, turns, place.epoch_ms)

        class Driven:
            pass

        driven: Any = Driven()
        driven.state, driven.rollout = state, Rollout(self.plan)
        run = Run(self.plan, world, journal, driven)
        sent_as_written(run)
        safe(run, case)
        keeps_the_floor(run)
        # What failed and left nothing, while its answer died with the executor, cannot be told from a request that was lost (as in `bounded`).
        lost = case.becomes == "old-image" and any(
            one.status is Status.UNKNOWN for turn in turns for one in turn.outcomes
        )
        if not lost and not any(one.asked is Asked.RETRY for one in journal.requests(0)):
            bounded(run, case)
        replays(run)
        assert not world.repairs_suspended
        left = {name for name, memory in state.memory.items() if memory.quarantined or memory.skipped}
        stale = left or [vm.id for vm in world.vms.values() if not world.is_latest(vm)]
        if tale.name != "drawn" and self.plan.ends[state.ending].mode != "as-is" and not stale:
            # What is drawn may leave somebody stale whom the old mode would move; there the same end as without a death says it.
            assert world.mode == case.fleet.mode.value, (world.mode, state.ending, state.reason)
        if state.ending == "rollback" and "rollback" in self.tale.words:
            if self.plan.moved_by is MovedBy.PLATFORM:
                place.pass_time(60_000)
            for name in {name for batch in state.sequence or () for name in batch.take if name in world.vms} - left:
                assert as_before(self.plan, world, world.vms[name]), f"{name} is not as before"
        if expected is not None and tale.same:
            place.pass_time(3_600_000)  # whoever stops at a failure does not wait for what is still starting
        elif expected is None:
            place.pass_time(3_600_000)
        self.look()
        print_ = footprint(run)
        if expected is not None and tale.same:
            assert {**print_, "begun": None} == {**expected.footprint, "begun": None}
            for what, count in print_["begun"].items():
                assert count <= expected.footprint["begun"].get(what, 0), f"{what[1]} of {what[0]} began {count} times"
        assert begun(run) == print_["begun"]
        return Left(print_, len(records), self.hits)


def plainly(arguments: tuple[str, ...], environment: Mapping[str, str], after_s: float) -> tuple[int, str, str]:
    """`python -m vmss_sim …` as a user starts it, killed after so long."""
    process = subprocess.Popen(
        [sys.executable, "-m", "vmss_sim", *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + after_s
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    out, err = process.communicate()
    return process.returncode, out, err
