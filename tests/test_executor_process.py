"""`apply` as a process: what signals do, two at once, and killed at every write of the journal (again and again, and at any other time:
`tests/kills`).

The world lives in this process and is served on loopback (`tests/loopback.py`), so it outlives every executor, as Azure does.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import random
import re
import shutil
import signal
import termios
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from backends.executor import Signals
from backends.lease import Lease
from backends.store import Store
from backends.store.files import FileStore
from planner.model import UpgradeMode
from planner.phases import Phase
from planner.planfile import encode
from planner.rollout import Rollout
from tests.commands import vmss_sim
from tests.fleet import SOAK, Case, Fleet, Run
from tests.loopback import HANGS_S, Place, Started, served, start
from tests.test_resume import footprint, sent_as_written
from tests.test_rollout_properties import keeps_the_floor, safe

HELD = Case(
    fleet=Fleet(size=3, mode=UpgradeMode.ROLLING, repairs=True),
    fails={1: (1,)},
    parameters={"retries": 1},
    more={"floor": 1},
)
"""Mode and repairs are changed for the time of it; one instance needs a second try."""


class Story:
    """A plan, a store, a world on loopback."""

    def __init__(self, folder: Path, place: Place, case: Case, store: Store | None = None) -> None:
        self.case, self.place, self.plan = case, place, case.plan()
        place.world.plan = self.plan
        self.file = folder / "plan.json"
        self.file.write_bytes(encode(self.plan))
        self.store: Store = store or FileStore(folder / "store")

    def apply(self, *more: str, **environment: str) -> Started:
        return start(
            self.place.address, "apply", str(self.file), "--yes", "--store", self.store.name, *more, **environment
        )

    def resume(self, *more: str, **environment: str) -> Started:
        return start(self.place.address, "resume", "--yes", "--store", self.store.name, *more, **environment)

    @property
    def state(self) -> Any:
        return self.store.journal(self.store.rollouts()[-1].id).last_state()

    def came_to(self) -> list[str]:
        """What `history` tells of each executor, without times."""
        told = vmss_sim("history", "--format", "md", "--store", self.store.name).out.partition("## Executors")[2]
        rows = [line.split("|")[4].strip() for line in told.partition("##")[0].splitlines() if line.startswith("| ")]
        return [re.sub(r"( after)? [-0-9: ]*\d\d:\d\dZ?|; [\d.]+ \w+ until .*", "", row) for row in rows[2:]]

    def run(self) -> Run:
        """What came of it, as the other tests look at runs."""

        class Driven:
            state, rollout = self.state, Rollout(self.plan)

        journal = self.store.journal(self.store.rollouts()[-1].id)
        return Run(self.plan, self.place.world, journal, Driven())  # type: ignore[arg-type]


# -- signals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_without_a_terminal_detaches(tmp_path: Path, number: int) -> None:
    case = Case(fleet=Fleet(size=2))
    with served(case.world(), case.fleet.scale_set()) as place:
        story = Story(tmp_path, place, case)
        place.hold = threading.Event()
        process = story.apply()
        assert place.waiting.wait(HANGS_S)
        process.signal(number)
        code, _, err = process.ended()  # the set goes on waiting: by itself it never would
        assert code == 3, err
        assert "detached; what was sent goes on" in err
        assert story.state.ticket is not None
        assert story.store.holder("web") is None, "the lease is let go"
        assert story.came_to() == ["let go: it was told to, by a signal"]
        place.hold.set()
        place.hold = None
        code, _, err = story.resume().ended()
        assert code == 0, err
        assert [one.kind for one in place.world.log].count("update-model") == 1, "it was adopted"


def test_what_a_detach_waits_for_at_most_is_five_seconds() -> None:
    """By its own bounds: an operation that hangs, and then a store that does. How long a machine takes for the rest is no test of it."""
    store_s = inspect.signature(Lease.close).parameters["wait_s"].default
    assert Signals(terminal=False).patience_s + store_s <= 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_after_it_has_let_go_ends_the_hooks_and_nothing_else(tmp_path: Path, number: int) -> None:
    case = Case(fleet=Fleet(size=2), parameters={"approve": True})
    with served(case.world(), case.fleet.scale_set()) as place:
        story = Story(tmp_path, place, case)
        begun = tmp_path / "begun"
        process = story.apply("--hook", f"sh -c 'touch {begun}; while [ -e {begun} ]; do sleep 0.1; done'")
        deadline = time.monotonic() + HANGS_S
        while not (begun.exists() and story.store.holder("web") is None) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.signal(number)
        code, _, err = process.ended()
        begun.unlink()
        assert code == 3, err
        assert "not delivered in time" not in err, "the hooks are not waited for"
        assert "rests: approval needed" in err


class Terminal:
    """A pseudo-terminal of 80 by 24, and what was written to it."""

    def __init__(self) -> None:
        self._master, self._slave = os.openpty()
        termios.tcsetwinsize(self._slave, (24, 80))
        self.device = os.ttyname(self._slave)
        self._text, self._over = b"", False
        self._thread = threading.Thread(target=self._reads, daemon=True)
        self._thread.start()

    def _reads(self) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(self._master, 65536):
                self._text += data

    def press(self, keys: bytes) -> None:
        os.write(self._master, keys)

    @property
    def text(self) -> str:
        """Without what moves the cursor and colours it."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._text.decode(errors="replace"))

    def shows(self, words: str, within_s: float = HANGS_S) -> bool:
        deadline = time.monotonic() + within_s
        while words not in self.text and time.monotonic() < deadline:
            time.sleep(0.05)
        return words in self.text


ON_A_TERMINAL = Case(fleet=Fleet(size=3), more={"floor": 1})


def test_ctrl_c_on_a_terminal_asks_to_pause_after_the_current_operation(tmp_path: Path) -> None:
    with served(ON_A_TERMINAL.world(), ON_A_TERMINAL.fleet.scale_set()) as place:
        story, terminal = Story(tmp_path, place, ON_A_TERMINAL), Terminal()
        place.hold = threading.Event()
        process = story.apply(TERMINAL=terminal.device, TERM="xterm", COLUMNS="80", LINES="24")
        assert place.waiting.wait(HANGS_S)
        assert terminal.shows("in service, floor 1"), terminal.text
        terminal.press(b"\x03")
        assert terminal.shows("pausing after the current operation"), terminal.text
        assert process.running
        assert story.state.ticket is not None
        place.hold.set()
        code, _, err = process.ended()
        assert code == 3, err
        assert "rests: paused by an operator" in err
        assert story.state.ticket is None
        assert story.state.phase is Phase.PAUSED
        assert [one.kind for one in place.world.log] == ["update-model"], "nothing more was begun"
        assert story.resume().ended()[0] == 0


def test_a_second_ctrl_c_detaches_at_once(tmp_path: Path) -> None:
    with served(ON_A_TERMINAL.world(), ON_A_TERMINAL.fleet.scale_set()) as place:
        story, terminal = Story(tmp_path, place, ON_A_TERMINAL), Terminal()
        place.hold = threading.Event()
        process = story.apply(TERMINAL=terminal.device, TERM="xterm", COLUMNS="80", LINES="24")
        assert place.waiting.wait(HANGS_S)
        terminal.press(b"\x03")
        assert terminal.shows("pausing after the current operation"), terminal.text
        terminal.press(b"\x03")
        code, _, err = process.ended()
        assert code == 3, err
        assert "detached; what was sent goes on" in err
        assert story.state.ticket is not None
        place.hold.set()
        assert story.resume().ended()[0] == 0
        assert [one.kind for one in place.world.log].count("update-model") == 1, "it was adopted"


def asked(story: Story, terminal: Terminal) -> Started:
    """`apply` that nobody has said `--yes` to, at its question."""
    arguments = ("apply", str(story.file), "--store", story.store.name)
    process = start(story.place.address, *arguments, TERMINAL=terminal.device, TERM="xterm", COLUMNS="80", LINES="24")
    assert terminal.shows("Apply this plan to web? [y/N]:"), terminal.text
    return process


@pytest.mark.parametrize(("keys", "status"), [(b"n\r", 2), (b"\r", 2), (b"\x03", 130)])
def test_whoever_does_not_say_yes_on_a_terminal_has_nothing_sent(tmp_path: Path, keys: bytes, status: int) -> None:
    with served(ON_A_TERMINAL.world(), ON_A_TERMINAL.fleet.scale_set()) as place:
        story, terminal = Story(tmp_path, place, ON_A_TERMINAL), Terminal()
        process = asked(story, terminal)
        terminal.press(keys)
        code, _, err = process.ended()
        assert code == status, err
        assert err.strip() == "vmss-sim: nothing was sent"
        assert place.world.log == []
        assert story.store.rollouts() == ()


def test_whoever_says_yes_on_a_terminal_is_asked_once(tmp_path: Path) -> None:
    with served(ON_A_TERMINAL.world(), ON_A_TERMINAL.fleet.scale_set()) as place:
        story, terminal = Story(tmp_path, place, ON_A_TERMINAL), Terminal()
        process = asked(story, terminal)
        assert "would upgrade" in terminal.text, "the plan is shown before the question"
        assert place.world.log == []
        terminal.press(b"y\r")
        code, _, err = process.ended()
        assert code == 0, err
        assert terminal.text.count("[y/N]") == 1
        assert [one.ids for one in place.world.log] == [(), ("0",), ("1",), ("2",)]


def test_two_at_once_exactly_one_mutates(tmp_path: Path) -> None:
    two_at_once(tmp_path)


def two_at_once(tmp_path: Path, store: Store | None = None, **environment: str) -> None:
    """Of two processes that are begun together one mutates, whatever the store."""
    case = Case(fleet=Fleet(size=3))
    with served(case.world(), case.fleet.scale_set()) as place:
        story = Story(tmp_path, place, case, store)
        place.hold = threading.Event()
        one, two = story.apply(**environment), story.apply(**environment)
        assert place.waiting.wait(HANGS_S)
        deadline = time.monotonic() + HANGS_S
        while one.running and two.running and time.monotonic() < deadline:
            time.sleep(0.05)
        loser, first = (two, one) if one.running else (one, two)
        code, _, err = loser.ended()
        assert code == 2, err
        assert "another executor works on this scale set" in err
        place.hold.set()
        assert first.ended()[0] == 0
        assert [one.ids for one in place.world.log] == [(), ("0",), ("1",), ("2",)]


# -- killed ------------------------------------------------------------------------------------------------------------


def test_one_that_was_killed_is_told_from_one_that_let_go(tmp_path: Path) -> None:
    case = Case(fleet=Fleet(size=2))
    with served(case.world(), case.fleet.scale_set()) as place:
        story = Story(tmp_path, place, case)
        place.hold = threading.Event()
        process = story.apply()
        assert place.waiting.wait(HANGS_S)
        process.signal(signal.SIGKILL)
        assert process.ended()[0] == -signal.SIGKILL
        place.hold.set()
        place.hold = None
        killed = "killed, or cut off from its store: nothing more was heard of it"
        assert story.came_to() == [killed]
        told = vmss_sim("status", "--store", story.store.name).out
        assert "killed, or cut off from its store (it did not let go)" in " ".join(told.split())
        code, _, err = story.resume("--max-runtime", "0s").ended()
        assert code == 3, err
        assert story.came_to() == [killed, "let go: its time (--max-runtime) was over"]


def whole(tmp_path: Path, case: Case) -> tuple[dict[str, Any], int]:
    """What is left when nobody is killed, and how many records are written."""
    with served(case.world(), case.fleet.scale_set()) as place:
        folder = tmp_path / "whole"
        folder.mkdir()
        story = Story(folder, place, case)
        code, _, err = story.apply().ended()
        assert code == 0, err
        return footprint(story.run()), len(list(story.run().journal.records()))


def survives(
    folder: Path,
    case: Case,
    kills: list[dict[str, str]],
    luck: random.Random,
    expected: dict[str, Any],
    store: Store | None = None,
) -> int:
    """A rollout that is killed again and again comes to the same end. Returns how many kills hit."""
    folder.mkdir()
    hits = 0
    with served(case.world(), case.fleet.scale_set()) as place:
        story = Story(folder, place, case, store)
        for kill in kills:
            process = story.apply(**kill)
            code, _, err = process.ended()
            if code != -signal.SIGKILL:
                assert code == 0, err
                break
            hits += 1
            place.pass_time(luck.choice((0, luck.randint(1, 30_000), luck.randint(60_000, 3_600_000))))
            if (
                luck.random() < 0.5 and story.store.rollouts()
            ):  # another machine: nothing is there but the store, and the plan comes from it
                story.file.unlink()
                story.file.write_bytes(story.store.plan_file(story.store.rollouts()[-1].id))
                if isinstance(story.store, FileStore):
                    shutil.copytree(story.store.folder, folder / f"moved-{hits}")
                    story.store = FileStore(folder / f"moved-{hits}")
        else:
            code, _, err = story.apply(
                **{name: value for kill in kills for name, value in kill.items() if "KILL" not in name}
            ).ended()
            assert code == 0, err
        run = story.run()
        sent_as_written(run)
        safe(run, case)
        keeps_the_floor(run)
        left = footprint(run)
        assert left == expected
        assert run.state.phase is Phase.ENDED
        assert not place.world.repairs_suspended
        assert place.world.mode == case.fleet.mode.value
    return hits


def test_killed_at_every_write_of_the_journal(tmp_path: Path) -> None:
    """Before and after each record; the executor that follows goes on from there."""
    expected, writes = whole(tmp_path, HELD)
    luck = random.Random(7)
    hits = 0
    numbers = list(range(1, 2 * writes + 1))
    if not SOAK:
        numbers = sorted(luck.sample(numbers, 24))
    for number in numbers:
        hits += survives(tmp_path / str(number), HELD, [{"KILL_AT_WRITE": str(number)}], luck, expected)
    assert hits == len(numbers), "each kill hit"


def test_the_checks_can_fail(tmp_path: Path) -> None:
    """A rollout in which somebody upgraded an instance a second time is noticed."""
    expected, _ = whole(tmp_path, HELD)
    wrong = {**expected, "begun": type(expected["begun"])()}
    with pytest.raises(AssertionError, match="begun"):
        survives(tmp_path / "x", HELD, [], random.Random(1), wrong)
