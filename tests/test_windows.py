"""Windows and freezes: the calendar, the machine that waits for it, and the commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.driver import Driver
from backends.journal import MemoryJournal
from backends.simulated import SimulatedBackend
from backends.windows import longest_ms, opening
from planner.errors import InputError
from planner.phases import Phase
from planner.plan import Freeze, Plan, Window
from planner.planfile import decode, encode
from planner.rollout import Asked, Opening, Rollout
from planner.trace import Turn, replay
from scenarios.windows import freeze_of, window_of
from tests.commands import vmss_sim
from tests.fleet import Case, Fleet, examples
from tests.test_apply import Desk, desk

__all__ = ["desk"]
HOUR = 3_600_000
NIGHT = Window(days=("Mon", "Tue", "Wed", "Thu", "Fri"), start="22:00", end="04:00", time_zone="Europe/Berlin")
CASE = Case(fleet=Fleet(size=3))


def berlin(until: str, *, is_open: bool, frozen: str = "") -> Opening:
    at = ms(until.replace(" ", "T"), "Europe/Berlin")
    return Opening(open=is_open, until_ms=at, until=f"{until} Europe/Berlin", frozen=frozen)


def ms(text: str, zone: str = "UTC") -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


def plan(**fields: object) -> Plan:
    return msgspec.structs.replace(CASE.plan(), **fields)


# -- the calendar ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-11-26T22:00", berlin("2026-11-27 04:00", is_open=True)),
        ("2026-11-26T21:59", berlin("2026-11-26 22:00", is_open=False)),
        ("2026-11-27T03:59", berlin("2026-11-27 04:00", is_open=True)),
        ("2026-11-27T04:00", berlin("2026-11-27 22:00", is_open=False)),
        ("2026-11-28T03:00", berlin("2026-11-28 04:00", is_open=True)),
        ("2026-11-28T05:00", berlin("2026-11-30 22:00", is_open=False)),
    ],
)
def test_a_window_over_midnight_in_its_time_zone(now: str, expected: Opening) -> None:
    assert opening(plan(windows=(NIGHT,)), ms(now, "Europe/Berlin")) == expected


def test_a_window_is_as_long_as_the_night_of_a_change_of_clocks() -> None:
    every = msgspec.structs.replace(NIGHT, days=("Sat",))
    spring = opening(plan(windows=(every,)), ms("2026-03-28T22:00", "Europe/Berlin"))
    autumn = opening(plan(windows=(every,)), ms("2026-10-24T22:00", "Europe/Berlin"))
    lengths = [one.until_ms - ms(start, "Europe/Berlin") for one, start in ((spring, "2026-03-28T22:00"), (autumn, "2026-10-24T22:00")) if one.until_ms]  # fmt: skip
    assert lengths == [5 * HOUR, 7 * HOUR]


@pytest.mark.parametrize(
    ("start", "end", "hours"),
    [
        ("02:30", "03:15", 0),
        ("02:00", "03:00", 0),
        ("02:30", "03:45", 0.25),
        ("01:30", "02:30", 1),
        ("23:00", "02:30", 3.5),
    ],
)
def test_a_window_in_the_hour_that_is_skipped_is_not_open_for_a_day(start: str, end: str, hours: float) -> None:
    sunday = Window(days=("Sun",) if start < end else ("Sat",), start=start, end=end, time_zone="Europe/Berlin")
    looks = range(ms("2026-03-28T12:00"), ms("2026-03-30T12:00"), HOUR // 4)
    sunday_plan = plan(windows=(sunday,))
    assert sum(opening(sunday_plan, at).open for at in looks) == hours * 4


def test_a_freeze_closes_whatever_the_windows_say() -> None:
    freeze = Freeze(start="2026-11-27T00:00", end="2026-12-01T00:00", time_zone="Europe/Berlin")
    both = plan(windows=(NIGHT,), freezes=(freeze,))
    assert opening(both, ms("2026-11-26T23:00", "Europe/Berlin")).until_ms == ms("2026-11-27T00:00", "Europe/Berlin")
    shut = opening(both, ms("2026-11-27T01:00", "Europe/Berlin"))
    assert shut == berlin("2026-12-01 00:00", is_open=False, frozen="a freeze"), "Monday's window is open then"
    busy = plan(freezes=(msgspec.structs.replace(freeze, why="the shop is busy"),))
    assert opening(busy, ms("2026-11-28T00:00")).frozen == "a freeze (the shop is busy)"
    alone = plan(freezes=(freeze,))
    assert opening(alone, ms("2026-11-20T00:00")) == berlin("2026-11-27 00:00", is_open=True)
    assert opening(alone, ms("2027-01-01T00:00")) == Opening(open=True)


def test_windows_that_touch_are_one() -> None:
    days = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
    one, two = (Window(days=days, start=a, end=b, time_zone="UTC") for a, b in (("01:00", "03:00"), ("03:00", "05:00")))
    assert opening(plan(windows=(one, two)), ms("2026-11-26T02:00")).until_ms == ms("2026-11-26T05:00")
    assert longest_ms(plan(windows=(one, two)), ms("2026-11-26T02:00")) == 4 * HOUR


def test_a_time_zone_that_is_not_known_is_bad_input() -> None:
    wrong = msgspec.structs.replace(NIGHT, time_zone="Mars/Olympus")
    with pytest.raises(InputError, match=r"no such time zone.*'Mars/Olympus'"):
        opening(plan(windows=(wrong,)), 0)
    with pytest.raises(InputError, match="no such day"):
        opening(plan(freezes=(Freeze(start="2026-02-30T00:00", end="2026-03-30T00:00", time_zone="UTC"),)), 0)


@given(
    st.lists(
        st.builds(
            lambda days, start, length: Window(
                days=tuple(days),
                start=f"{start // 60:02d}:{start % 60:02d}",
                end=f"{(start + length) % 1440 // 60:02d}:{(start + length) % 1440 % 60:02d}",
                time_zone="UTC",
            ),
            st.lists(st.sampled_from(["Mon", "Wed", "Sat", "Sun"]), min_size=1, unique=True),
            st.integers(0, 1439),
            st.integers(1, 1439),
        ),
        min_size=1,
        max_size=3,
    ),
    st.integers(0, 14 * 1440),
)
@examples(100)
def test_open_is_what_a_minute_by_minute_reading_says(windows: list[Window], minute: int) -> None:
    base = datetime(2026, 11, 23, tzinfo=UTC)

    def reads(when: datetime) -> bool:
        clock = when.hour * 60 + when.minute
        for one in windows:
            start, end = (int(side[:2]) * 60 + int(side[3:]) for side in (one.start, one.end))
            for day, shift in ((when, 0), (when - timedelta(days=1), 1440)):
                last = end if end > start else end + 1440
                if day.strftime("%a") in one.days and start <= clock + shift < last:
                    return True
        return False

    now = base + timedelta(minutes=minute)
    found = opening(plan(windows=tuple(windows)), round(now.timestamp() * 1000))
    assert found.open is reads(now)
    assert found.until_ms is not None
    turns = datetime.fromtimestamp(found.until_ms / 1000, tz=UTC)
    assert reads(turns) is not found.open
    assert reads(turns - timedelta(minutes=1)) is found.open


# -- the machine -------------------------------------------------------------------------------------------------------


class Clockwork:
    """Open from and to, again and again, on the world's clock."""

    def __init__(self, *spans: tuple[int, int]) -> None:
        self.spans = spans

    def __call__(self, now: int) -> Opening:
        for start, end in self.spans:
            if start <= now < end:
                return Opening(open=True, until_ms=end)
            if now < start:
                return Opening(open=False, until_ms=start)
        return Opening(open=False)


def driven(
    window: Callable[[int], Opening], *, case: Case = CASE, **fields: object
) -> tuple[Driver, MemoryJournal, object]:
    made = msgspec.structs.replace(case.plan(), **fields)
    place = case.world()
    place.plan = made
    journal = MemoryJournal()
    driver = Driver(Rollout(made), SimulatedBackend(place, case.fleet.scale_set()), journal, window)
    return driver, journal, place


def moves(place: object) -> list[int]:
    return [one.now for one in place.log if one.kind == "upgrade"]  # type: ignore[attr-defined]


def replays(made: Plan, journal: MemoryJournal) -> None:
    turns = [one for one in journal.records() if isinstance(one, Turn)]
    assert all(record.state == state for record, state in replay(Rollout(made), turns))


def test_no_batch_starts_outside_a_window_and_none_that_would_not_end_in_it() -> None:
    """One batch takes 75 s; the windows are 130 s long, so two would start in the first if nobody knew how long they take."""
    window = Clockwork((100_000, 230_000), (HOUR, HOUR + 130_000), (2 * HOUR, 3 * HOUR))
    driver, journal, place = driven(window, needs_ms=(80_000,) * 3, on_window_close="wait")
    assert driver.run().ending == "finish"
    assert all(window(now).open for now in moves(place))
    starts = [sum(start <= now < end for now in moves(place)) for start, end in window.spans]
    assert starts == [1, 1, 1]
    replays(driver.rollout.plan, journal)


def test_nothing_at_all_is_sent_before_the_window_opens() -> None:
    driver, _, place = driven(Clockwork((HOUR, 2 * HOUR)), on_window_close="pause")
    assert driver.run().phase is Phase.PAUSED
    assert driver.state.reason == "window: it is shut and opens 1 h after the start"
    assert place.log == []  # type: ignore[attr-defined]


def test_a_pause_for_a_window_ends_by_itself_in_the_next_one() -> None:
    window = Clockwork((0, 130_000), (30 * HOUR, 40 * HOUR))
    driver, journal, place = driven(window, needs_ms=(80_000,) * 3)
    assert driver.run().phase is Phase.PAUSED
    assert driver.state.reason.startswith("window: batch 2 takes 1 min 20 s (95 of 100), and it shuts ")
    assert len(moves(place)) == 1
    place.run(29 * HOUR, stop_on_wake=False)  # type: ignore[attr-defined]
    assert driver.run().phase is Phase.PAUSED, "still shut"
    assert driver.state.reason == "window: it is shut and opens 30 h after the start"
    turns = journal.turns
    assert driver.run().phase is Phase.PAUSED
    assert journal.turns == turns, "the same reason is written down once"
    place.run(30 * HOUR, stop_on_wake=False)  # type: ignore[attr-defined]
    assert driver.run().ending == "finish", "the day between does not count for the deadline of a day"
    replays(driver.rollout.plan, journal)


def test_a_batch_that_has_begun_is_carried_on_and_the_way_back_waits_for_nothing() -> None:
    case = Case(fleet=Fleet(size=4), strategy="batch", parameters={"size": 2}, fails={0: (1,)}, more={"floor": 1})
    driver, journal, place = driven(Clockwork((0, 50_000)), case=case)
    driver.run()
    assert len(moves(place)) == 2, "its second try came after the window had shut"
    assert driver.state.phase is Phase.PAUSED
    journal.ask(Asked.ROLLBACK)
    assert driver.run().ending == "rollback"


# -- as people give them -----------------------------------------------------------------------------------------------


def test_windows_and_freezes_as_text() -> None:
    assert window_of("Mon-Fri 22:00-04:00 Europe/Berlin") == NIGHT
    assert window_of("sat,Sun 00:00-23:59 UTC").days == ("Sat", "Sun")
    assert window_of("Fri-Mon 00:00-01:00 UTC").days == ("Fri", "Sat", "Sun", "Mon")
    freeze = freeze_of("2026-12-20T00:00/2027-01-06T00:00 Europe/Berlin the shop is busy")
    assert (freeze.end, freeze.why) == ("2027-01-06T00:00", "the shop is busy")


@pytest.mark.parametrize(
    ("parse", "given", "says"),
    [
        (window_of, "22:00-04:00", "not a window"),
        (window_of, "Xyz 22:00-04:00 UTC", "not a weekday"),
        (window_of, "Mon 25:00-04:00 UTC", "'25:00' is no time of day"),
        (window_of, "Mon 04:00-04:00 UTC", "start and end are both"),
        (freeze_of, "2026-12-20/2027 UTC", "is no local time"),
        (freeze_of, "2027-01-06T00:00/2026-12-20T00:00 UTC", "before it begins"),
        (freeze_of, "soon", "not a freeze"),
        (window_of, "Mon 22:00-04:00 Europe/Berlinn", "no such time zone; found 'Europe/Berlinn'"),
        (freeze_of, "2026-12-20T00:00/2027-01-06T00:00 Mars/Olympus", "no such time zone; found 'Mars/Olympus'"),
        (freeze_of, "2026-02-30T00:00/2026-03-30T00:00 UTC", "no such day"),
    ],
)
def test_what_is_no_window_is_one_line(parse: Callable[[str], object], given: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        parse(given)


def test_a_plan_with_windows_says_what_a_batch_needs(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    made = vmss_sim(
        "plan", "two-vms", "-s", "one-by-one", "-n", "20", "-o", str(file),
        "--window", "Mon-Fri 22:00-04:00 Europe/Berlin", "--freeze", "2026-12-20T00:00/2027-01-06T00:00 UTC year's end",
    )  # fmt: skip
    assert made.status == 0, made
    read = decode(file.read_bytes(), "")
    assert read.plan.windows == (NIGHT,)
    assert len(read.plan.needs_ms) == 2
    assert all(60_000 < one < HOUR for one in read.plan.needs_ms)
    assert "frozen 2026-12-20T00:00 to 2027-01-06T00:00 UTC: year's end" in vmss_sim("show", str(file)).out
    wrong = vmss_sim(
        "plan", "two-vms", "-s", "one-by-one", "--window", "Mon-Fri 22:00-04:00 Europe/Berlin",
        "--on-window-close", "explode", "--no-forecast",
    )  # fmt: skip
    assert (wrong.status, "not one of the choices" in wrong.err) == (2, True)


@pytest.mark.parametrize(
    "more", [("--window", "Mon-Fri 22:00-04:00 UTC"), ("--freeze", "2026-12-20T00:00/2027-01-06T00:00 UTC")]
)
@pytest.mark.parametrize("strategy", ["one-by-one", "platform-rolling", "automatic"])
def test_what_a_batch_needs_is_known_without_a_forecast_too(strategy: str, more: tuple[str, ...]) -> None:
    """What the platform moves it moves in one go: the window has to be open for all of it."""
    made = vmss_sim("plan", "two-vms", "-s", strategy, "--no-forecast", "--json", *more)
    assert made.status == 0, made
    assert "simulated 20 times" in made.err
    read = decode(made.out.encode(), "")
    assert read.forecast is None
    assert len(read.plan.needs_ms) == len(read.plan.batches) > 0
    assert all(60_000 < one < HOUR for one in read.plan.needs_ms)
    if strategy == "platform-rolling":
        assert len(set(read.plan.needs_ms)) == 1


def test_what_a_batch_needs_is_not_guessed_where_none_ever_ends(tmp_path: Path) -> None:
    """Every upgrade fails."""
    file = tmp_path / "sick.toml"
    file.write_text(
        'title = "a"\nwhy = "b"\n[scale_set]\ninstances = 3\nhealth = "extension"\n[change]\nversion = "22.04.202606010"\n'
        '[failures]\nupgrade = 1.0\n[load]\nrequired = "50%"\n'
    )
    made = vmss_sim("plan", str(file), "-s", "one-by-one", "-n", "2", "--window", "Mon 22:00-04:00 UTC")
    assert (made.status, made.out, made.err.count("\n")) == (2, "", 1), made
    assert "what a batch needs of a window is not known" in made.err


@pytest.mark.parametrize("needs", [(), (0, 0, 0)])
@pytest.mark.parametrize("limit", ["windows", "freezes"])
def test_a_plan_with_windows_that_does_not_say_what_a_batch_needs_is_refused(
    limit: str, needs: tuple[int, ...]
) -> None:
    freeze = Freeze(start="2026-12-20T00:00", end="2027-01-06T00:00", time_zone="UTC")
    spans: dict[str, object] = {limit: (NIGHT,) if limit == "windows" else (freeze,), "needs_ms": needs}
    with pytest.raises(InputError, match="what each needs of one is not said"):
        decode(encode(msgspec.structs.replace(CASE.plan(), **spans)), "plan.json")


def test_a_plan_file_with_a_zone_that_nobody_knows_is_refused_by_whoever_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VMSS_SIM_STORE", f"file:{tmp_path}/store")
    wrong = msgspec.structs.replace(NIGHT, time_zone="Europe/Berlinn")
    Path("plan.json").write_bytes(
        encode(msgspec.structs.replace(CASE.plan(), windows=(wrong,), needs_ms=(80_000,) * 3))
    )
    for command in (
        ("show", "plan.json"), ("lint", "plan.json"), ("diff", "plan.json", "plan.json"), ("forecast", "plan.json"),
        ("approve", "plan.json", "--by", "bob", "--reason", "x"), ("apply", "plan.json", "--yes"), ("recover", "plan.json", "--yes"),
    ):  # fmt: skip
        ran = vmss_sim(*command)
        assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1), (command, ran)
        assert "plan.json: plan.windows: no such time zone; found 'Europe/Berlinn'" in ran.err


def test_apply_waits_for_its_window_and_goes_on_in_the_next(
    desk: Callable[[Case], Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The world's clock begins on Thursday, 1970-01-01T00:00Z."""
    here = desk(CASE)
    windows = (Window(days=("Thu", "Fri"), start="01:00", end="01:02", time_zone="UTC"),)
    here.file.write_bytes(encode(msgspec.structs.replace(here.plan, windows=windows, needs_ms=(70_000,) * 3)))
    assert here.run("apply").status == 3
    assert here.sent() == []
    assert "window: it is shut and opens 1970-01-01 01:00 UTC" in here.status()["why"]
    assert "    window  shut; opens 1970-01-01 01:00 UTC, in 60 min\n" in here.run("status").out
    assert here.status()["window"] == {"open": False, "until": 3600.0, "frozen": ""}
    here.world.run(HOUR, stop_on_wake=False)
    assert here.run("apply").status == 3, "a pipeline that runs again goes on"
    assert [ids for kind, ids in here.sent() if kind == "upgrade"] == [("0",)]
    sent = here.sent()
    assert "it shuts 1970-01-01 01:02 UTC" in here.status()["why"]
    here.world.run(2 * HOUR, stop_on_wake=False)
    ran = here.run("apply")
    assert (ran.status, here.sent()) == (3, sent)
    assert "rests: window: it is shut and opens 1970-01-02 01:00 UTC" in ran.err, "not the reason of an hour ago"
    assert here.state.reason in here.status()["why"]
    here.world.run(25 * HOUR, stop_on_wake=False)
    assert here.run("apply").status == 3
    assert [ids for kind, ids in here.sent() if kind == "upgrade"] == [("0",), ("1",)]


def test_no_window_is_long_enough(desk: Callable[[Case], Desk]) -> None:
    here = desk(CASE)
    windows = (Window(days=("Thu",), start="01:00", end="01:02", time_zone="UTC"),)
    here.file.write_bytes(encode(msgspec.structs.replace(here.plan, windows=windows, needs_ms=(500_000,) * 3)))
    ran = here.run("apply")
    assert (ran.status, "no window is long enough for a batch" in ran.err) == (2, True)
    assert here.store.rollouts() == ()
    assert json.loads(here.file.read_text())["plan"]["needs_ms"]


@pytest.mark.parametrize("command", ["abort", "rollback", "resume", "apply"])
@pytest.mark.parametrize("closes", ["pause", "wait"])
def test_what_an_older_version_began_without_saying_what_a_batch_needs_can_be_ended(
    desk: Callable[[Case], Desk], monkeypatch: pytest.MonkeyPatch, command: str, closes: str
) -> None:
    """Begun as that version did, which went on by windows without; then this version is installed."""
    here = desk(CASE)
    windows = (Window(days=("Thu",), start="00:00", end="01:00", time_zone="UTC"),)
    old = msgspec.structs.replace(here.plan, windows=windows, on_window_close=closes)
    here.file.write_bytes(encode(old))
    refused = here.run("apply")
    assert (refused.status, here.store.rollouts()) == (2, ())
    assert "plan.needs_ms: batches start by windows, and what each needs of one is not said" in refused.err
    assert "what was begun with this one is ended by `abort` or `rollback`" in refused.err
    with monkeypatch.context() as before:
        for place in ("planner.planfile.checks", "planner.machine.windows"):
            before.setattr(f"{place}.untimed", lambda _: False)
        assert here.run("apply", "--max-runtime", "0s").status == 3
        here.world.run(120_000, stop_on_wake=False)
        assert here.run("apply", "--max-runtime", "0s").status == 3
    assert [ids for kind, ids in here.sent() if kind == "upgrade"] == [("0",)]
    for looks in ("status", "history", "trace"):
        assert vmss_sim(looks, str(here.file)).status == 0
    if command == "apply":
        assert here.run("apply").status == 2
        return
    ran = vmss_sim(command, str(here.file), "--yes")
    if command == "resume":
        assert ran.status == 3
        assert "its plan does not say what a batch needs of one" in here.status()["why"]
        assert [ids for kind, ids in here.sent() if kind == "upgrade"] == [("0",)], (
            "what was sent is adopted, no more starts"
        )
        assert vmss_sim("release", here.rollout, "--yes").status == 3
        assert vmss_sim("rollback", here.rollout, "--yes").status == here.plan.ends["rollback"].exit_code
    assert here.state.ending == ("abort" if command == "abort" else "rollback")
