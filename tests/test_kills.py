"""The crash test (`tests/kills`): 60 kills on each ground here, 10,000 in `make soak`; and its checks can fail."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.fleet import Case, Done, Fleet, image, world_image
from tests.kills import KILLS, SEED
from tests.kills.grounds import GROUNDS, attributed
from tests.kills.run import once, run
from tests.kills.tales import TABLE, Tale, tale_of
from tests.kills.telling import Left, Telling, plainly, tell


@pytest.mark.parametrize("ground", GROUNDS)
def test_killed_again_and_again(ground: str, capsys: pytest.CaptureFixture[str]) -> None:
    def says(text: str) -> None:
        with capsys.disabled():
            print(text)

    done = run(ground, KILLS, SEED, says=says if KILLS > 1_000 else lambda _text: None)
    assert done.kills >= KILLS


HELD = next(one for one in TABLE if one.name == "one by one, a retry")
BACK = next(one for one in TABLE if one.name == "rolled back")


def _told(folder: Path, tale: Tale, spoil: Any = None, kills: int = 0, expected: Left | None = None) -> Left:
    """A tale, spoilt right before it is judged."""
    with GROUNDS["loopback"](tale.case, folder) as place:
        here = Path(tempfile.mkdtemp(dir=folder))
        telling = Telling(place, tale, here, kills, random.Random(1), 5)
        telling.kill = lambda: {"KILL_AT_WRITE": "32"} if telling.hits < kills else {}  # type: ignore[method-assign]
        telling.to_the_end()
        if spoil is not None:
            spoil(telling)
        return telling.judged(expected)


def _again(telling: Telling) -> None:
    log = telling.place.world.log
    log.append(next(one for one in log if one.kind == "upgrade"))


def _below(telling: Telling) -> None:
    log = telling.place.world.log
    at = next(number for number, one in enumerate(log) if one.kind == "upgrade")
    log[at] = log[at]._replace(after=frozenset())


def _suspended(telling: Telling) -> None:
    telling.place.world.repairs_suspended = True


def _mode(telling: Telling) -> None:
    telling.place.world.mode = "manual"


SPOILT = {
    "a command reached the world twice": _again,
    "the floor was broken": _below,
    "repairs stay suspended": _suspended,
    "the mode stays": _mode,
}


@pytest.mark.parametrize("what", SPOILT)
def test_what_is_wrong_is_noticed(what: str, tmp_path: Path) -> None:
    _told(tmp_path, HELD)
    with pytest.raises(AssertionError):
        _told(tmp_path, HELD, SPOILT[what])


def test_another_end_and_one_operation_more_are_noticed(tmp_path: Path) -> None:
    whole = tell("loopback", HELD, tmp_path, 0, random.Random(0), None)
    begun = whole.footprint["begun"]
    for wrong in ({**whole.footprint, "begun": begun - begun}, {**whole.footprint, "mode": "manual"}):
        with pytest.raises(AssertionError):
            _told(tmp_path, HELD, kills=1, expected=whole._replace(footprint=wrong))


def test_a_vm_that_did_not_go_back_is_noticed(tmp_path: Path) -> None:
    def forward(telling: Telling) -> None:
        assert telling.state is not None
        assert telling.state.ending == "rollback"
        for vm in telling.place.world.vms.values():
            vm.first_image = world_image(image("0.1.0"))

    with pytest.raises(AssertionError, match="is not as before"):
        _told(tmp_path, BACK, forward, kills=1)


def test_a_tale_that_fails_says_how_it_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Left:
        raise AssertionError("for a test")

    monkeypatch.setattr("tests.kills.run.tell", fails)
    with pytest.raises(AssertionError) as met:
        once("loopback", 5, 7)
    assert "again: python -m tests.kills --only loopback/5/7" in "".join(met.value.__notes__)


def test_the_same_number_is_the_same_tale() -> None:
    for number in (1, 2, 3, 40):
        one, two = (tale_of("azure", 1, number, random.Random(number)) for _ in range(2))
        assert one == two
    assert {tale_of("loopback", 1, number, random.Random(number)).name for number in range(1, 90)} >= {
        one.name for one in TABLE if "loopback" in one.grounds
    }


def test_one_that_is_started_plainly_carries_it_out_and_is_gone_on_with(tmp_path: Path) -> None:
    """`python -m vmss_sim apply …`, killed; then the same again, to the end."""
    tale = Tale("plain", Case(fleet=Fleet(size=2), more={"floor": 1}))
    with GROUNDS["azure"](tale.case, tmp_path / "ca") as place:
        telling = Telling(place, tale, tmp_path, 0, random.Random(1), 1)
        arguments = ("apply", str(telling.file), "--yes", "--store", telling.store.name, *place.options)
        code, _, err = plainly(arguments, place.plain, 1.5)
        assert code in (-9, 0), err
        code, _, err = plainly(arguments, place.plain, 120)
        assert code == 0, err
        telling.judged(None)


def test_requests_over_arm_are_the_commands_that_they_carry_out() -> None:
    def done(now: int, kind: str, ids: tuple[str, ...], name: str = "a-guid") -> Done:
        return Done(now, name, kind, ids, {}, "accepted", frozenset("12"), frozenset("2"), frozenset(), ids, 2)

    class Decided:
        """Of a turn's record, what is looked at."""

        def __init__(self, now_ms: int, *commands: Any) -> None:
            self.now_ms, self.commands = now_ms, commands

    from planner.commands import Command, Kind

    one, two = (Command(id=f"c{n}", kind=Kind.RUN_COMMAND, why="", ids=("1", "2")) for n in (1, 2))
    log = [done(5, "run-command", ("1",)), done(6, "run-command", ("2",)), done(30, "run-command", ("1",)),
           done(31, "upgrade", ("1",)), done(40, "restart", ("1",), "foreign-1")]  # fmt: skip
    made = attributed(log, [Decided(105, one), Decided(120, two)], 100)  # type: ignore[list-item]
    assert [(each.name, each.ids) for each in made] == [
        ("c1", ("1", "2")), ("c2", ("1",)), ("c-nobody", ("1",)), ("foreign-1", ("1",)),
    ]  # fmt: skip
