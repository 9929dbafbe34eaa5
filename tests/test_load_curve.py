"""The load: a step function that says, at every instant, what the rows say about the clock on the wall at that instant."""

from __future__ import annotations

import math
from bisect import bisect_right
from datetime import UTC, datetime, time, timedelta
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.errors import InputError
from planner.metrics import StepFunction
from scenarios.load_curve import checked, daily, read_csv, required, start_of, zone

BERLIN = ZoneInfo("Europe/Berlin")
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC", "Pacific/Apia")
SPRING = datetime(2026, 3, 29, 1, tzinfo=UTC)  # 02:00 CET becomes 03:00 CEST
AUTUMN = datetime(2026, 10, 25, 1, tzinfo=UTC)  # 03:00 CEST becomes 02:00 CET

clocks = st.times(min_value=time(0), max_value=time(23, 59, 59)).map(lambda at: at.replace(microsecond=0))
curves = st.dictionaries(clocks, st.integers(0, 50), min_size=1, max_size=8)


def rows_of(curve: dict[time, int]) -> list[tuple[str, float]]:
    return [(at.isoformat(), float(value)) for at, value in curve.items()]


def naive(curve: dict[time, int], moment: datetime, local: ZoneInfo) -> int:
    """What holds by the clock on the wall: the last time passed today, else the last one of yesterday."""
    wall = moment.astimezone(local).time().replace(fold=0)
    passed = [at for at in curve if at <= wall]
    return curve[max(passed)] if passed else curve[max(curve)]


def at(function: StepFunction, start: datetime, moment: datetime) -> int:
    return function.at((moment - start) // timedelta(milliseconds=1))


# -- daily curves -----------------------------------------------------------------------------------------------------


@given(
    curve=curves,
    name=st.sampled_from(ZONES),
    begins=st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1)).map(lambda moment: moment.replace(microsecond=0)),
    offsets=st.lists(st.integers(0, 3 * DAY_MS - 1), min_size=1, max_size=30),
)
def test_a_daily_curve_is_what_the_clock_on_the_wall_says(
    curve: dict[time, int], name: str, begins: datetime, offsets: list[int]
) -> None:
    local = ZoneInfo(name)
    start = begins.replace(tzinfo=UTC).astimezone(local)
    made = required(rows_of(curve), None, start, 3 * DAY_MS, "curve")
    for offset in offsets:
        moment = start.astimezone(UTC) + timedelta(milliseconds=offset)
        assert made.at(offset) == naive(curve, moment, local), moment.astimezone(local)


@given(
    curve=st.dictionaries(
        clocks.map(lambda at: at.replace(hour=at.hour % 4)), st.integers(0, 50), min_size=1, max_size=8
    ),
    change=st.sampled_from((SPRING, AUTUMN)),
    minutes=st.lists(st.integers(-200, 200), min_size=5, max_size=40),
    before=st.integers(0, 300),
)
def test_daylight_saving_is_followed_in_the_hours_around_it(
    curve: dict[time, int], change: datetime, minutes: list[int], before: int
) -> None:
    start = (change - timedelta(minutes=200 + before)).astimezone(BERLIN)
    made = required(rows_of(curve), None, start, DAY_MS, "curve")
    for minute in minutes:
        moment = change + timedelta(minutes=minute)
        assert at(made, start.astimezone(UTC), moment) == naive(curve, moment, BERLIN), moment.astimezone(BERLIN)


def test_a_time_skipped_in_spring_takes_effect_at_the_jump() -> None:
    start = start_of("2026-03-29T00:00", BERLIN, "starts_at")
    made = required([("00:00", 1), ("02:30", 2), ("04:00", 3)], None, start, DAY_MS, "curve")
    assert made.times_ms[:3] == (0, 2 * HOUR_MS, 3 * HOUR_MS)  # 03:00 CEST is two hours on, 04:00 CEST three
    assert made.values[:3] == (1, 2, 3)


def test_an_hour_that_comes_twice_in_autumn_counts_twice() -> None:
    start = start_of("2026-10-25T00:00", BERLIN, "starts_at")
    made = required([("00:00", 1), ("02:30", 2)], None, start, DAY_MS // 4, "curve")
    half = HOUR_MS // 2
    assert made.times_ms == (0, 5 * half, 6 * half, 7 * half)
    assert made.values == (1, 2, 1, 2)


def test_the_last_value_holds_past_midnight() -> None:
    start = start_of("2026-01-05T23:00", zone("UTC", "w"), "starts_at")
    made = required([("22:00", 5), ("06:00", 9)], None, start, 2 * DAY_MS, "curve")
    assert made.values[:3] == (5, 9, 5)
    assert made.times_ms[:3] == (0, 7 * HOUR_MS, 23 * HOUR_MS)
    early = required([("22:00", 5), ("06:00", 9)], None, start.replace(hour=3), DAY_MS, "curve")
    assert early.values[0] == 5


@given(curve=curves, days=st.integers(1, 40))
def test_a_curve_reaches_as_far_as_it_is_asked_for(curve: dict[time, int], days: int) -> None:
    start = start_of(None, BERLIN, "starts_at")
    made = required(rows_of(curve), None, start, days * DAY_MS, "curve")
    moment = start.astimezone(UTC) + timedelta(milliseconds=days * DAY_MS - 1)
    assert at(made, start.astimezone(UTC), moment) == naive(curve, moment, BERLIN)


def test_a_start_with_an_offset_of_its_own_is_read_by_the_curves_clock() -> None:
    curve = [("00:00", 1), ("10:00", 2)]
    by_offset = required(curve, None, start_of("2026-06-01T08:30Z", BERLIN, "s"), DAY_MS, "curve")
    by_clock = required(curve, None, start_of("2026-06-01T10:30", BERLIN, "s"), DAY_MS, "curve")
    assert by_offset == by_clock
    assert by_offset.values[0] == 2


# -- histories --------------------------------------------------------------------------------------------------------

moments = st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 30), timezones=st.just(UTC)).map(
    lambda moment: moment.replace(microsecond=0)
)


@given(
    history=st.dictionaries(moments, st.integers(0, 50), min_size=2, max_size=12),
    share=st.floats(0, 1),
    offsets=st.lists(st.integers(0, 400 * DAY_MS), max_size=20),
    written=st.sampled_from(("utc", "offset")),
)
def test_a_history_holds_as_it_is(history: dict[datetime, int], share: float, offsets: list[int], written: str) -> None:
    ordered = sorted(history)
    start = (ordered[0] + (ordered[-1] - ordered[0]) * share).replace(microsecond=0).astimezone(BERLIN)
    rows = [
        ((moment if written == "utc" else moment.astimezone(BERLIN)).isoformat(), float(value))
        for moment, value in history.items()
    ]
    made = required(rows, None, start, DAY_MS, "history")
    for offset in [0, *offsets]:
        moment = start.astimezone(UTC) + timedelta(milliseconds=offset)
        assert made.at(offset) == history[ordered[bisect_right(ordered, moment) - 1]]


def test_a_history_in_local_time_follows_daylight_saving() -> None:
    rows = [("2026-03-28T12:00", 1.0), ("2026-03-29T12:00", 2.0), ("2026-03-30T12:00", 3.0)]
    made = required(rows, None, start_of("2026-03-28T12:00", BERLIN, "s"), DAY_MS, "history")
    assert made.times_ms == (0, 23 * HOUR_MS, 47 * HOUR_MS)


def test_the_hour_that_comes_twice_needs_its_offset() -> None:
    start = start_of("2026-10-25T00:00", BERLIN, "s")
    twice = [("2026-10-25T00:00", 0.0), ("2026-10-25T02:30", 1.0), ("2026-10-25T02:30", 2.0)]
    with pytest.raises(InputError, match=r"a time stands twice.*needs its offset"):
        required(twice, None, start, DAY_MS, "history")
    told = [("2026-10-25T00:00", 0.0), ("2026-10-25T02:30+02:00", 1.0), ("2026-10-25T02:30+01:00", 2.0)]
    half = HOUR_MS // 2
    assert required(told, None, start, DAY_MS, "history").times_ms == (0, 5 * half, 7 * half)


@pytest.mark.parametrize("start", ["2026-05-03T23:59", "2026-05-06T12:01"])
def test_a_history_that_does_not_reach_the_start_is_refused(start: str) -> None:
    rows = [("2026-05-04T00:00", 5.0), ("2026-05-06T12:00", 7.0)]
    with pytest.raises(InputError, match="does not reach the start of the rollout; found 2026-05-04T00:00\\+02:00 to "):
        required(rows, None, start_of(start, BERLIN, "s"), DAY_MS, "history")


def test_without_a_start_a_history_begins_at_its_own_first_two_in_the_morning() -> None:
    late = [("2026-05-04T09:00", 5.0), ("2026-05-06T12:00", 7.0)]
    assert start_of(None, BERLIN, "s", late).isoformat() == "2026-05-05T02:00:00+02:00"
    early = [("2026-05-04T01:00", 5.0), ("2026-05-06T12:00", 7.0)]
    assert start_of(None, BERLIN, "s", early).isoformat() == "2026-05-04T02:00:00+02:00"
    assert start_of("13:00", BERLIN, "s", early).isoformat() == "2026-05-04T13:00:00+02:00"


def test_a_start_that_is_a_time_of_day_is_the_same_monday_always() -> None:
    for text in (None, "02:00", "2:00", "02:00:00"):
        start = start_of(text, BERLIN, "s", [("00:00", 1.0)])
        assert (start.weekday(), start.hour, start.minute) == (0, 2, 0)
    assert start_of("23:15:30", BERLIN, "s").second == 30


# -- values -----------------------------------------------------------------------------------------------------------


@given(tenths=st.integers(0, 10**6), per_vm=st.integers(1, 10**5))
def test_requests_are_rounded_up_to_whole_vms_exactly(tenths: int, per_vm: int) -> None:
    made = required([("00:00", tenths / 10)], per_vm / 10, start_of(None, BERLIN, "s"), DAY_MS, "curve")
    assert made == StepFunction(times_ms=(0,), values=(math.ceil(Fraction(tenths, per_vm)),))


@pytest.mark.parametrize(
    ("value", "per_vm", "vms"), [(0.7, 0.1, 7), (2.1, 0.7, 3), (1e-9, 1, 1), (0, 150, 0), (450, 150, 3), (451, 150, 4)]
)
def test_rounding_has_no_surprises(value: float, per_vm: float, vms: int) -> None:
    assert required([("00:00", value)], per_vm, start_of(None, BERLIN, "s"), DAY_MS, "curve").values == (vms,)


@given(value=st.floats(0, 1000))
def test_vms_are_rounded_up_too(value: float) -> None:
    made = required([("00:00", value)], None, start_of(None, BERLIN, "s"), DAY_MS, "curve")
    assert made.values == (math.ceil(value),)


# -- the file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "08:00,6\n20:00,3\n",
        "time,value\n08:00,6\n20:00,3\n",
        "# from the monitor\n\nTime , VMs needed \n 08:00 , 6 \n\n20:00,3.0\n",
        "\ufeff08:00,6\r\n20:00,3\r\n",
        '"08:00","6"\n"20:00","3"',
    ],
)
def test_a_file_of_times_and_values(tmp_path: Path, text: str) -> None:
    file = tmp_path / "load.csv"
    file.write_bytes(text.encode())
    assert read_csv(file) == [("08:00", 6.0), ("20:00", 3.0)]


def test_a_file_in_utf_16_as_powershell_writes_it(tmp_path: Path) -> None:
    file = tmp_path / "load.csv"
    file.write_bytes("time,value\r\n08:00,6\r\n".encode("utf-16"))
    assert read_csv(file) == [("08:00", 6.0)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "load.csv: the file is not CSV; found an empty file"),
        ("time,value\n", "load.csv: the file has no lines of time and value"),
        ("time,value\n08:00;6\n", "line 2: not a date and time; found '08:00;6'"),
        ("08:00,6\n09:00\n", "line 2: not a time and a value; found '09:00'"),
        ("08:00,6,5\n", "line 1: not a time and a value; found '08:00,6,5'"),
        ("08:00,six\n", "line 1: not a time and a value; found '08:00,six'"),
        ("8am,6\n", "line 1: not a date and time; found '8am'"),
        ("24:00,6\n", "line 1: not a time of day; found '24:00'; expected 00:00 to 23:59"),
        ("08:60,6\n", "line 1: not a time of day; found '08:60'"),
        ("08:00,-1\n", "line 1: a need is a number from 0 up; found -1.0"),
        ("08:00,nan\n", "line 1: a need is a number from 0 up; found nan"),
        ("08:00,inf\n", "line 1: a need is a number from 0 up; found inf"),
        ("08:00,6\n\n# a note\n2026-13-01,5\n", "line 4: not a date and time; found '2026-13-01'"),
        ("0001-01-01,5\n", "line 1: a year out of range"),
        (f"08:00,6\n{'x' * 200_000},5\n", "the file is not CSV"),
    ],
)
def test_a_line_that_is_none_is_named(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "load.csv"
    file.write_text(text)
    with pytest.raises(InputError) as error:
        read_csv(file)
    assert says in str(error.value)
    assert str(file) in str(error.value)


def curve_or_error(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    try:
        rows = read_csv(file)
        required(rows, 1.0, start_of(None, BERLIN, "s", rows), DAY_MS, str(file))
    except InputError as error:
        assert file.name in str(error) or str(error).startswith("s: ")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("load") / "load.csv"


@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_curve_or_an_error_in_words(scratch: Path, data: bytes) -> None:
    curve_or_error(scratch, data)


@given(text=st.text("0123456789:T-+Z .,;#\n\"'ab", max_size=60))
def test_any_text_is_a_curve_or_an_error_in_words(scratch: Path, text: str) -> None:
    curve_or_error(scratch, text.encode())


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([("08:00", 1.0), ("8:00", 2.0)], "a time stands twice; found 08:00"),
        ([("2026-01-05", 1.0), ("2026-01-05T00:00", 2.0)], "a time stands twice"),
        ([("08:00", 1e18)], "more VMs than any scale set has"),
        ([("08:00", 1.0), ("2026-01-05T09:00", 1.0)], "not a date and time; found '08:00'"),
        ([("x", 1.0)], "not a date and time; found 'x'"),
        ([], "the curve has no points"),
    ],
)
def test_rows_that_make_no_curve_are_refused(rows: list[tuple[str, float]], says: str) -> None:
    with pytest.raises(InputError) as error:
        required(rows, None, start_of("2026-01-05T10:00", BERLIN, "s"), DAY_MS, "curve")
    assert str(error.value).startswith("curve: ")
    assert says in str(error.value)


def test_rows_of_a_scenario_are_named_by_their_place() -> None:
    assert checked([("08:00", 1.0)], "curve") == [("08:00", 1.0)]
    with pytest.raises(InputError, match=r"curve\[1\]: not a time of day; found '25:00'"):
        checked([("08:00", 1.0), ("25:00", 2.0)], "curve")


def test_daily_or_history() -> None:
    assert daily([("8:00", 1.0), ("20:00:30", 1.0)])
    assert not daily([("8:00", 1.0), ("2026-05-04", 1.0)])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Europe/Berln", "unknown time zone; found 'Europe/Berln'; expected an IANA name such as Europe/Berlin; did you mean 'Europe/Berlin'?"),
        ("", "unknown time zone; found ''"),
        ("../../etc/passwd", "unknown time zone"),
        ("Europe", "unknown time zone"),
        ("a\0b", "unknown time zone"),
    ],
)  # fmt: skip
def test_a_time_zone_nobody_knows(name: str, says: str) -> None:
    with pytest.raises(InputError) as error:
        zone(name, "load.time_zone")
    assert str(error.value).startswith(f"load.time_zone: {says}")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("25:00", "not a time of day; found '25:00'; expected 00:00 to 23:59"),
        ("tonight", "not a date and time; found 'tonight'; expected 2026-11-24T02:00, or 02:00"),
        ("", "not a date and time; found ''"),
        ("2026-02-30T02:00", "not a date and time"),
        ("0001-01-01T00:00", "a year out of range; found '0001-01-01T00:00'; expected 1970 to 2199"),
        ("9999-12-31T23:59", "a year out of range"),
    ],
)
def test_a_start_that_is_none(text: str, says: str) -> None:
    with pytest.raises(InputError) as error:
        start_of(text, BERLIN, "starts_at")
    assert str(error.value).startswith(f"starts_at: {says}")
