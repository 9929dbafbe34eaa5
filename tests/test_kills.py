"""The crash test (`tests/kills`): 60 kills on each ground here, 10,000 in `make soak`; and its checks can fail."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from planner.change import Action, CurrentModel
from planner.machine import handover
from planner.model import UpgradeMode
from planner.rollout import Asked
from tests.fleet import CHECK, NEW, Ask, Case, Done, Fleet, image, world_image
from tests.kills import KILLS, SEED
from tests.kills.grounds import GROUNDS, attributed
from tests.kills.run import once, run, table
from tests.kills.tales import SAYS, TABLE, Tale, here, tale_of
from tests.kills.telling import Left, Telling, plainly, tell
from tests.test_resume import TIGHT
from tests.test_rollout_properties import one_at_a_time
from vmss_sim.world.faults import Fault


@pytest.mark.skipif(not CHECK, reason="60 kills on each ground take a minute: HYPOTHESIS_PROFILE=check")
@pytest.mark.parametrize("ground", GROUNDS)
def test_killed_again_and_again(ground: str, capsys: pytest.CaptureFixture[str]) -> None:
    def says(text: str) -> None:
        with capsys.disabled():
            print(text)

    done = run(ground, KILLS, SEED, says=says if KILLS > 1_000 else lambda _text: None)
    assert done.kills >= KILLS
    said = {word for tale in here(ground)[: len(SAYS) // 2] for word in tale.heard}
    assert said <= {word for word, _ in done.killed}, f"somebody is killed at every word:\n{table(done.killed)}"
    if KILLS > 1_000:
        says(table(done.killed))


def test_every_word_is_said_on_some_ground() -> None:
    said = {word for ground in GROUNDS for tale in here(ground)[: len(SAYS) // 2] for word in tale.heard}
    assert said == {one.value for one in Asked} - {"approve"} | {"recover"}, (
        "approvals are a tale of their own, in which nobody has to be killed at one"
    )


HELD = next(one for one in TABLE if one.name == "one by one, a retry")
BACK = next(one for one in TABLE if one.name == "rolled back")


def _told(
    folder: Path,
    tale: Tale,
    spoil: Any = None,
    kills: int = 0,
    expected: Left | None = None,
    at: int = 32,
    luck: int = 1,
) -> Left:
    """A tale, spoilt right before it is judged."""
    with GROUNDS["loopback"](tale.case, folder) as place:
        here = Path(tempfile.mkdtemp(dir=folder))
        telling = Telling(place, tale, here, kills, random.Random(luck), 5)
        telling.kill = lambda _words: {"KILL_AT_WRITE": str(at)} if telling.hits < kills else {}  # type: ignore[method-assign]
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


SICK = Tale("sick and repaired", Case(fleet=Fleet(size=3, sick=(2,), repairs=True), more={"floor": 1}))


def test_a_set_that_is_sick_and_repaired_comes_to_the_same_end_unless_it_was_repaired_before_it_ended(
    tmp_path: Path,
) -> None:
    whole = tell("loopback", SICK, tmp_path, 0, random.Random(0), None)
    wrong = whole._replace(footprint={**whole.footprint, "mode": "rolling"})
    with pytest.raises(AssertionError, match="another end than without a death"):
        _told(tmp_path, SICK, kills=1, expected=wrong, at=14)

    def repaired(telling: Telling) -> None:
        telling.place.world.repair_service.log.append((0, "2", "replace"))

    _told(tmp_path, SICK, repaired, kills=1, expected=wrong, at=14)


def _is_found(telling: Telling, whole: Left, part: str, wrong: Any, where: str = "") -> None:
    """A planted difference from the end without a death."""
    with pytest.raises(AssertionError, match=f"another end than without a death: {where}"):
        telling.judged(whole._replace(footprint={**whole.footprint, part: wrong}))


WAITS = Tale(
    "one waits for the floor, and too much fails",
    TIGHT.but(fleet=Fleet(size=5, update_domains=5, unknown=(4,), repairs=True)),
)


def test_who_waited_for_the_floor_when_too_much_failed_is_not_compared_and_all_others_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between its words and its deed at the last rung of 0: the next one finds that 2 serves again, and takes 4 too, so it comes back healed.
    Without a death it is as it was, and once repairs are back the platform replaces it.
    """
    whole = tell("loopback", WAITS, tmp_path, 0, random.Random(0), None)
    expected = whole.footprint

    def strict(telling: Telling) -> None:
        begun, vms = expected["begun"], expected["vms"]
        for part, wrong in (
            ("mode", "rolling"),
            ("ending", "stop"),
            ("begun", begun + Counter({("0", "upgrade"): 1})),
            ("vms", {**vms, "1": vms["2"]}),
            ("gone", [*expected["gone"], ("3", 0)]),
        ):
            _is_found(telling, whole, part, wrong, f".'{part}'")
        with monkeypatch.context() as context, pytest.raises(AssertionError, match="another end than without a death"):
            context.setattr("tests.kills.judging.held_back", lambda _run: set())
            telling.judged(whole)

    left = _told(tmp_path, WAITS, strict, kills=1, expected=whole, at=26).footprint
    assert (left["begun"]["4", "upgrade"], set(left["vms"])) == (2, set("01234"))
    assert (expected["begun"]["4", "upgrade"], set(expected["vms"])) == (0, set("01235"))


BROKEN_OFF = Tale(
    "the way back is broken off",
    Case(
        fleet=Fleet(size=2, update_domains=1, image="latest"),
        action=Action.REIMAGE,
        strategy="batch",
        parameters={"size": 2, "max_failed": 0, "retries": 0, "on_failure": "rollback-all"},
        more={"floor": 0},
        fails={0: (1, 2, 3, 4)},
    ),
)


def test_where_a_way_back_is_broken_off_its_batches_are_a_matter_of_time_and_all_else_is_compared(
    tmp_path: Path,
) -> None:
    """Without a death both go back in one batch, since neither serves yet; when somebody comes back later 1 does, so 0 goes first, and fails."""
    whole = tell("loopback", BROKEN_OFF, tmp_path, 0, random.Random(0), None)
    expected = whole.footprint

    def strict(telling: Telling) -> None:
        begun, vms = expected["begun"], expected["vms"]
        _is_found(telling, whole, "ending", "rollback")
        _is_found(telling, whole, "model", {})
        _is_found(telling, whole, "begun", begun + Counter({("0", "reimage"): 1}))
        _is_found(telling, whole, "vms", {**vms, "0": vms["1"]})
        _is_found(telling, whole, "back", [("0",), ("1",)])  # in the same batches it is compared who moved

    left = _told(tmp_path, BROKEN_OFF, strict, kills=1, expected=whole, at=12, luck=3).footprint
    assert (expected["back"], left["back"]) == ([("1", "0")], [("0",), ("1",)])
    assert (expected["begun"]["1", "reimage"], left["begun"]["1", "reimage"]) == (2, 1)


LEFT_STALE = Tale(
    "left stale, and replaced afterwards",
    Case(
        fleet=Fleet(size=2, mode=UpgradeMode.ROLLING, repairs=True, model=NEW, sick=(0,)),
        more={"floor": 0},
        change=CurrentModel(),
        strategy="selected",
        parameters={"ids": ["1"]},
    ),
)


def test_the_mode_is_judged_by_who_was_stale_when_it_was_decided(tmp_path: Path) -> None:
    """Repairs are back, and at once the platform replaces the one for which the mode stayed manual: nothing is stale any more, and nobody decides again."""

    def later(telling: Telling) -> None:
        telling.place.pass_time(3_600_000)
        world = telling.place.world
        assert world.repair_service.log
        assert all(world.is_latest(vm) for vm in world.vms.values())

    def wrong(telling: Telling) -> None:
        later(telling)
        telling.place.world.mode = "rolling"

    assert _told(tmp_path, LEFT_STALE, later).footprint["mode"] == "manual"
    with pytest.raises(AssertionError, match="leaves mode rolling, not manual"):
        _told(tmp_path, LEFT_STALE, wrong)


def test_what_died_unanswered_is_counted_unless_it_left_everything_as_it_was(tmp_path: Path) -> None:
    """Killed between sending and its receipt: whether it failed cannot be told from whether it arrived, and it is tried again."""
    case = Case(
        fleet=HELD.case.fleet, fails={0: (1,)}, becomes="old-image", parameters={"retries": 0}, more={"floor": 1}
    )
    left = _told(tmp_path, Tale("in vain", case), kills=1, at=19)
    assert left.footprint["begun"]["0", "upgrade"] == 2, "one more than the plan allows"
    assert left.footprint["ending"] == "finish"

    def not_in_vain(telling: Telling) -> None:
        world = telling.place.world
        world.log = [one._replace(in_vain=()) for one in world.log]

    with pytest.raises(AssertionError, match="2 operations began on 0, at most 1 may"):
        _told(tmp_path, Tale("in vain", case), not_in_vain, kills=1, at=19)


def test_a_platform_whose_rollout_is_cancelled_twice_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = Fault(verdict="lose-request", first=1, last=99, of="cancel-rolling-upgrade")
    case = Case(fleet=Fleet(size=6), strategy="platform-rolling", asks=(Ask(200_000, Asked.ABORT),), faults=(lost,))
    one_at_a_time(case.run())
    looks = handover.look_at_cancel

    def look(t: Any) -> None:
        looks(t)
        if t.handed.cancel is not None:
            t.put(handed=msgspec.structs.replace(t.handed, cancel=None, later_ms=t.now))

    monkeypatch.setattr(handover, "look_at_cancel", look)
    with pytest.raises(AssertionError, match="cancelled twice"):
        one_at_a_time(case.run())


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
