"""A tale, told: one process after another, each killed or not, until the rollout has ended; then it is judged (`judging.py`)."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from backends.executor import rests
from backends.store.files import FileStore
from planner.change import Action
from planner.phases import Phase
from planner.plan import OnFailure, Plan
from planner.planfile import encode
from planner.rollout import Asked, OperatorRequest, State
from tests.commands import vmss_sim
from tests.kills.grounds import GROUNDS, Ground
from tests.kills.judging import judged, released
from tests.kills.tales import Tale
from tests.loopback import Started, start
from tests.test_azure_equivalence import planned

MOST_LIVES = 60
ASKED = {"rollback --emergency": Asked.EMERGENCY.value}
REQUESTED = ("pause", "skip", "retry", "replace")
"""Words that need no executor: the next one hears them. The others are said by one, again and again until the journal has them."""
AT_REST = ("resume", "release", "retry", "replace")
"""Words that are said where it rests."""
HEARD = 6
"""Who goes on writes that he is there, what moved meanwhile, and the turn that hears what was said (he asked before the second): at each of these he
can be killed before and after."""
PLAIN = "PLAIN"

Hits = Counter[tuple[str, str]]
"""Who was killed: the word that was being carried out (one that the executor was started with, or found unheard), and the rollout's phase."""


class Left(NamedTuple):
    """What a telling left. writes: how many records of the journal. kills: how many hit, by word and phase."""

    footprint: dict[str, Any]
    writes: int
    hits: int
    kills: Hits


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
        self.killed: Hits = Counter()
        self.lost = False
        self.words = list(tale.words) if kills else []
        plan = planned(tale.case, place.seen)
        assert plan is not None, "it cannot be planned here"
        self.plan: Plan = plan
        place.world.plan = plan
        self.file = folder / "plan.json"
        self.file.write_bytes(encode(plan))
        self.store = FileStore(folder / "store")
        self.heard: list[str] = []
        self.more: dict[str, str] = {}

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
        going_on = ("apply", str(self.file), "--yes")
        if state is None or not self.store.rollouts():
            return ("recover", str(self.file), "--yes") if self.lost else going_on
        while self.words and self.asked(ASKED.get(self.words[0], self.words[0].split()[0])):
            self.words.pop(0)
        word = self.words[0].split()[0] if self.words else ""
        quiet = rests(state) and not self.unheard(state)
        if word and (quiet if word in AT_REST else self.hits or quiet):
            _, *more = self.words[0].split()
            if word == "recover":
                return self.recover()
            if word not in REQUESTED:
                why = () if word == "resume" else ("--reason", "killed")
                return (word, self.rollout, *more, "--yes", *why)
            self.words.pop(0)
            self.command(word, self.rollout, *more, "--reason", "killed")
        elif quiet:
            answer = self.unblock(state)
            if answer:
                return answer
        elif word in AT_REST:
            return going_on  # which asks for nothing, so it comes to rest as it was told to
        if rests(state) or (word != "pause" and self.luck.random() < 0.5):  # which would go on at once
            return ("resume", self.rollout, "--yes")
        return going_on

    def recover(self) -> tuple[str, ...]:
        """Nothing is left of the store. What was sent before is in nobody's journal any more: `Tale.same` holds it to the end without a death."""
        self.words.pop(0)
        self.lost = True
        self.store = FileStore(self.folder / "another")
        log = self.place.world.log
        log[:] = [one._replace(name=f"foreign-{one.name}") for one in log]
        return ("recover", str(self.file), "--yes")

    @property
    def rollout(self) -> str:
        return self.store.rollouts()[-1].id

    def asked(self, what: str) -> bool:
        """Has an executor asked it? What needs none is said as often as it stands there."""
        return what not in REQUESTED and any(one.asked == what for one in self.store.journal(self.rollout).requests(0))

    def unheard(self, state: State) -> tuple[OperatorRequest, ...]:
        return self.store.journal(self.rollout).requests(state.request)

    def command(self, *arguments: str) -> None:
        ran = vmss_sim(*arguments, "--store", self.store.name)
        refused = (
            ran.status == 2 and self.tale.name == "drawn"
        )  # who draws what he says may ask for what makes no sense
        assert ran.status == 0 or refused, ran

    def unblock(self, state: State) -> tuple[str, ...]:
        """Somebody answers: where too much failed, by leaving out who failed, or by giving it up."""
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
        elif state.reason != "paused by an operator" and self.plan.failures.then is OnFailure.PAUSE:
            failed = [name for name, one in state.memory.items() if (one.failed or one.quarantined) and not one.skipped]
            if not failed:
                return ("abort", self.rollout, "--yes", "--reason", "killed")
            self.command("skip", self.rollout, *failed, "--reason", "killed")
        return ()

    def live(self, arguments: tuple[str, ...]) -> None:
        """One process."""
        self.lives += 1
        words = self.at_work(arguments[0])
        kill = self.kill(words)
        arguments = (*arguments, "--store", self.store.name, *self.place.options)
        if PLAIN in kill:
            code, out, err = plainly(arguments, self.place.plain, float(kill[PLAIN]))
        else:
            began = self.start(*arguments, **kill)
            if self.tale.rivals and self.state is not None:
                self.rival(began)
            code, out, err = began.ended(120)
        self.heard.append(f"{words} {kill} -> {code}")
        state = self.state
        if code == -signal.SIGKILL:
            self.hits += 1
            self.killed.update((word, phase_of(state)) for word in words)
            self.nobody_is_there()
            return
        assert "Traceback" not in err, err
        assert state is not None, (code, out, err)
        expected = self.plan.ends[state.ending].exit_code if state.phase is Phase.ENDED else 3
        assert code == expected, (self.heard, out[-2000:], err)
        released(self.store.journal(self.rollout), self.plan, self.place.world)

    def start(self, *arguments: str, **more: str) -> Started:
        return start(self.place.address, *arguments, **self.place.environment, **self.more, **more)

    def rival(self, first: Started) -> None:
        """Somebody else comes while the one who was just started waits for the world: what he does is seen in it."""
        place = self.place.halts
        assert place is not None, "the world cannot be held up here"
        place.hold = hold = threading.Event()
        place.waiting.clear()
        while first.running and not place.waiting.wait(0.02):
            pass
        place.waiting.clear()
        other = self.start("resume", self.rollout, "--yes", "--store", self.store.name)
        while other.running and not place.waiting.wait(0.02):
            pass
        place.hold = None
        hold.set()
        code, _, err = other.ended(120)
        assert code in (2, 3, *(one.exit_code for one in self.plan.ends.values())), err

    def at_work(self, word: str) -> tuple[str, ...]:
        """What this process is to carry out: what it is told, and what was said and nobody has heard yet."""
        state = self.state
        unheard = self.store.journal(self.rollout).requests(state.request) if state is not None else ()
        emergency = (
            ("rollback-emergency",) if word == "rollback" and self.words[:1] == ["rollback --emergency"] else (word,)
        )
        return tuple(dict.fromkeys((*emergency, *(one.asked.value for one in unheard))))

    def kill(self, words: tuple[str, ...]) -> dict[str, str]:
        """When the next one dies. Whoever is the first to carry a word of the tale out dies once it has been asked for; for those that are to
        come a death each is left, and the first is early enough for them. So every word of a tale is killed at, whatever the luck.
        """
        known = {word for word, _ in self.killed}
        mine = set(self.tale.heard) - known
        if self.hits >= self.kills:
            return {}
        if mine & set(words):
            return {"KILL_AT_WRITE": str(self.luck.randint(3, HEARD))}
        if mine and not self.hits:
            return {"KILL_AT_WRITE": str(self.luck.randint(HEARD, max(HEARD, self.writes)))}
        if self.hits + len(mine) >= self.kills:
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

    # -- judged ------------------------------------------------------------------------------------------------------

    def judged(self, expected: Left | None) -> Left:
        """What is left, if everything holds."""
        journal, state = self.store.journal(self.rollout), self.state
        assert state is not None
        left = judged(
            self.tale, self.place, self.plan, journal, state, None if expected is None else expected.footprint
        )
        return Left(left, sum(1 for _ in journal.records()), self.hits, self.killed)


def phase_of(state: State | None) -> str:
    """Where a rollout stood when somebody was killed."""
    if state is None:
        return "not begun"
    if state.releasing:
        return "releasing"
    return "preparing-back" if state.back and state.phase is Phase.PREPARING else state.phase.value


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
