"""Who is at work, by tables of processes: shells that wait and shells that go on, readers, prompts, and a moment in which nobody is there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from tests.test_arm_clock import Wall
from vmss_sim.arm.at_work import BETWEEN_S, AtWork, Process

SHELL, SLEEP, AZ = 10, 11, 12
ASLEEP, NONE = frozenset({SLEEP}), frozenset[int]()


def process(pid: int, parent: int, **more: Any) -> Process:
    return Process(key=(pid, 0.0), parent=parent, **{"ours": True, "used_s": 1.0, "age_s": 100.0, **more})


class Town:
    """The processes that there are."""

    def __init__(self, *there: Process) -> None:
        self.there = {one.key[0]: one for one in there}
        self.looks = 0

    def clients(self, known: Iterable[int]) -> dict[int, Process]:
        self.looks += 1
        named = set(known)
        return {pid: one for pid, one in self.there.items() if one.ours or pid in named}

    def one(self, pid: int) -> Process | None:
        return self.there.get(pid)

    def change(self, pid: int, **more: Any) -> None:
        self.there[pid] = msgspec.structs.replace(self.there[pid], **more)


def script(*more: Process, **shell: Any) -> tuple[AtWork, Town, Wall]:
    """A shell whose sleep has told; and more."""
    above = process(SHELL, **{"parent": 1, "shell": True, **shell})
    town, wall = Town(above, process(SLEEP, SHELL), *more), Wall()
    work = AtWork(town, wall=wall)
    assert work.told(SLEEP, SHELL)
    return work, town, wall


def idle(work: AtWork, wall: Wall, asleep: frozenset[int] = ASLEEP) -> bool:
    """Does nobody work, as far as several looks in a fifth of a second say?"""
    for _ in range(10):
        if not work.busy_s(asleep, NONE):
            return True
        wall.now += BETWEEN_S
    return False


def test_a_shell_that_waits_for_its_sleep_does_not_work() -> None:
    work, town, wall = script()
    assert 0 < work.busy_s(ASLEEP, NONE) <= BETWEEN_S, "one look is none"
    wall.now += BETWEEN_S
    assert work.busy_s(ASLEEP, NONE) == 0
    assert town.looks == 2


def test_while_nothing_is_new_no_more_looks_are_needed() -> None:
    work, town, wall = script()
    assert idle(work, wall)
    looks = town.looks
    for _ in range(40):
        wall.now += 0.001
        assert work.busy_s(ASLEEP, NONE) == 0
    assert town.looks == looks


def test_a_shell_that_goes_on_beside_its_sleep_works() -> None:
    work, town, wall = script()
    for count in range(20):
        town.change(SHELL, switches=count)
        assert work.busy_s(ASLEEP, NONE) > 0
        wall.now += BETWEEN_S
    assert idle(work, wall), "until it waits"


def test_a_shell_that_runs_works() -> None:
    work, town, wall = script(rests=False)
    assert not idle(work, wall)
    town.change(SHELL, rests=True)
    assert idle(work, wall)


@pytest.mark.parametrize(
    ("other", "works"),
    [
        (process(AZ, SHELL), True),
        (process(AZ, 1), True),
        (process(AZ, 1, ours=False), False),
        (process(AZ, SHELL, stopped=True), False),
        (process(AZ, 1, used_s=0.01), False),  # tee
        (process(AZ, 1, used_s=0.01, age_s=0.5), True),  # curl, or a tee that has just begun
        (process(AZ, 1, used_s=0.01, age_s=5.0, rests=False), True),  # curl that has just begun, on a busy machine
        (process(AZ, SHELL, used_s=0.01, ports=frozenset({5})), True),  # a slow curl
    ],
)
def test_who_else_works(other: Process, works: bool) -> None:
    work, _, wall = script(other)
    assert idle(work, wall) is not works


def test_a_reader_that_starts_something_is_none() -> None:
    work, _, wall = script(process(AZ, 1, used_s=0.01), process(13, AZ, age_s=0.1))
    assert not idle(work, wall)


def test_the_moment_between_two_commands_is_not_taken_for_the_end() -> None:
    work, town, wall = script(process(AZ, 1))
    assert work.busy_s(ASLEEP, NONE)
    del town.there[AZ]
    wall.now += 0.1
    assert work.busy_s(ASLEEP, NONE), "not sure"
    town.there[13] = process(13, 1)
    wall.now += BETWEEN_S
    assert work.busy_s(ASLEEP, NONE)
    del town.there[13]
    assert idle(work, wall)


@pytest.mark.parametrize("how", ["sleep", "poll"])
def test_who_woke_and_is_gone_since_has_left_somebody_who_goes_on(how: str) -> None:
    """Its shell has not moved yet, as far as the look says, that was taken while it ended."""
    work, town, wall = script(process(AZ, SHELL, ports=frozenset({5})), process(20, 1, shell=True), process(21, 20))
    work.told(21, 20)
    before = (ASLEEP | {21}, frozenset({5}))
    for _ in range(3):
        work.busy_s(*before)
        wall.now += BETWEEN_S
    assert work.busy_s(*before) == 0
    wall.now += 10
    if how == "poll":
        del town.there[AZ]
        after = (before[0], NONE)
    else:
        del town.there[SLEEP], town.there[SHELL], town.there[AZ]
        after = (frozenset({21}), before[1])
    assert work.busy_s(*after) > 0
    wall.now += BETWEEN_S
    assert work.busy_s(*after) == 0


def test_two_scripts_wait_for_each_other() -> None:
    work, town, wall = script(process(20, 1, shell=True), process(21, 20))
    assert work.told(21, 20)
    assert not idle(work, wall), "one sleeps, the other has not begun to"
    both = ASLEEP | {21}
    assert idle(work, wall, both)
    town.change(20, switches=3)
    del town.there[21]
    assert not idle(work, wall), "it works again"
    del town.there[20]
    assert idle(work, wall)


def test_the_shells_above_are_clients_though_their_own_environment_says_nothing() -> None:
    """`. ./env.sh` in a shell that was there before."""
    outer = process(9, 8, ours=False, shell=True)
    terminal = process(8, 1, ours=False)
    work, town, wall = script(outer, terminal, parent=9, ours=False)
    town.change(9, switches=1)
    assert idle(work, wall)
    town.change(9, rests=False)
    wall.now += 10
    assert not idle(work, wall)
    town.change(9, rests=True)
    town.change(8, rests=False)
    assert idle(work, wall), "a terminal is no shell"


@pytest.mark.parametrize("pid", [99, AZ])
def test_who_is_not_ours_is_nobody(pid: int) -> None:
    work, _, _ = script(process(AZ, 1, ours=False))
    assert not work.told(pid, None)


def test_a_parent_that_is_none_is_not_believed() -> None:
    work, _, wall = script(process(AZ, 1, ours=False), process(13, SHELL))
    work.told(13, AZ)
    assert idle(work, wall, ASLEEP | {13})


def test_gone() -> None:
    work, town, _ = script()
    assert not work.gone(SLEEP)
    town.change(SLEEP, stopped=True)
    assert work.gone(SLEEP)
    assert work.gone(99)


def test_who_is_given_up_is_not_waited_for_nor_what_it_starts() -> None:
    work, town, wall = script(process(AZ, 1))
    assert not idle(work, wall)
    work.give_up(ASLEEP, NONE)
    assert idle(work, wall)
    town.there[13] = process(13, AZ)
    wall.now += 10
    assert idle(work, wall)
    town.there[14] = process(14, 1)
    wall.now += 10
    assert not idle(work, wall), "another one is"


def test_a_prompt_that_was_given_up_is_a_client_again_once_it_sleeps() -> None:
    work, town, wall = script(process(20, 1, shell=True), process(21, 20))
    work.told(21, 20)
    del town.there[21]
    assert not idle(work, wall)
    work.give_up(ASLEEP, NONE)
    assert idle(work, wall)
    town.there[22] = process(22, 20)
    wall.now += 10
    assert not idle(work, wall), "what a shell starts that was a client once is one"
    assert work.told(22, 20)
    del town.there[22]
    wall.now += 10
    assert not idle(work, wall)


def test_a_runner_that_draws_its_progress_is_asleep_with_its_sleep_once_given_up() -> None:
    work, town, wall = script(shell=False)

    def drawing() -> bool:
        for count in range(10):
            town.change(SHELL, switches=town.there[SHELL].switches + count + 1)
            if not work.busy_s(ASLEEP, NONE):
                return True
            wall.now += BETWEEN_S
        return False

    assert not drawing()
    work.give_up(ASLEEP, NONE)
    assert drawing()


def test_numbers_that_come_again_are_somebody_else() -> None:
    work, town, wall = script(process(AZ, 1))
    assert not idle(work, wall)
    work.give_up(ASLEEP, NONE)
    assert idle(work, wall)
    town.change(AZ, key=(AZ, 5.0))
    wall.now += 10
    assert not idle(work, wall)
