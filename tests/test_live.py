"""What is seen while a rollout runs: the picture of a terminal, the log, and a process that stays while it is paused."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from backends.executor import Executor, Signals, TurnReport, Why
from backends.lease import Lease
from backends.simulated import SimulatedBackend
from backends.store.files import FileStore
from planner.phases import Phase
from planner.planfile import Forecast, Proportion, Summary
from planner.rollout import Asked, Note, State
from planner.trace import Turn
from planner.waiting import waits_for
from tests.fleet import Case, Fleet
from tests.loopback import HANGS_S, served
from tests.test_executor_process import Story
from tests.test_store import Scripted, begun
from vmss_sim.report import live, times

CASE = Case(fleet=Fleet(size=6, zones=2), strategy="batch", parameters={"size": 2}, more={"floor": 4})
FORECAST = Forecast(
    tool="t", seed=1, replications=1, poll_ms=0, scenario="s", completed=Proportion(estimate=1, ci95=None, n=1),
    breached=Proportion(estimate=0, ci95=None, n=1), assumptions=(),
    metrics={"duration_s": Summary(mean=600, p05=500, p50=600, p95=5400, p99=None, ci95=None, n=1)},
)  # fmt: skip


def turns(tmp_path: Path, case: Case = CASE) -> list[TurnReport]:
    told: list[TurnReport] = []
    store = FileStore(tmp_path)
    made, place = begun(store, case), case.world()
    place.plan = case.plan()
    backend = SimulatedBackend(place, case.fleet.scale_set())
    executor = Executor(
        case.plan(), backend, store.journal(made.id, 1), Lease(Scripted()), Signals(terminal=False), listen=told.append
    )
    assert executor.run() is not Why.DETACHED
    return told


def drawn(picture: live.Picture) -> str:
    console = Console(width=100, file=io.StringIO(), force_terminal=False)
    console.print(picture.render())
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_picture_shows_heatmap_batch_gate_and_time(tmp_path: Path) -> None:
    picture = live.Picture(Console(width=100, file=io.StringIO()), CASE.plan(), FORECAST, "web-1")
    assert "looking at the set" in drawn(picture)
    seen = []
    for told in turns(tmp_path):
        picture.show(told)
        seen.append(drawn(picture))
    flying = next(one for one in seen if "▲" in one)
    for word in ("web-1  rolling", "6 of 6 in service, floor 4", "batch 1 of 3", "elapsed, forecast 0:10:00 to 1:30:00",
                 "zone 1 UD 0", "upgrade since 0:00:01", "■ new, serving"):  # fmt: skip
        assert word in "".join(seen), word
    assert "4 of 6 in service" in flying or "6 of 6" in flying
    assert "ended" in seen[-1]
    assert max(len(line) for one in seen for line in one.splitlines()) <= 100


@pytest.mark.parametrize(
    ("size", "zones", "domains"),
    [(60, 3, 5), (300, 3, 5), (300, 0, 0), (300, 3, 20), (1000, 3, 5), (1000, 1, 20), (3, 0, 0)],
)
def test_the_picture_fits_the_terminal_and_what_came_last_is_seen(
    tmp_path: Path, size: int, zones: int, domains: int
) -> None:
    case = Case(fleet=Fleet(size=size, zones=zones, update_domains=domains))
    state = State(phase=Phase.ROLLING, gate_ms=1, held_ms=2)
    notes = tuple(Note(rule="admitted", text=f"decision {n} " + "long " * 40) for n in range(30))
    record = Turn(number=1, now_ms=1, state=state, notes=notes)
    told = TurnReport(now_ms=1, scale_set=case.fleet.scale_set(), state=state, records=(record,))
    for width, height in ((80, 24), (120, 40), (60, 16)):
        console = Console(width=width, height=height, file=io.StringIO(), force_terminal=False)
        picture = live.Picture(console, case.plan(), FORECAST, "web-prod-westeurope-1a2b3c4d")
        picture.show(told)
        picture.say("pausing after the current operation")
        console.print(picture.render())
        lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
        assert len(lines) < height, lines
        assert max(len(line) for line in lines) <= width
        assert "pausing after the current operation" in lines[-1]
        assert "decision 29" in lines[-2]
        shown = sum(line.count("□") for line in lines if "old, serving" not in line)
        told_by_number = any(re.search(r"\d□", line) for line in lines)
        assert shown == size or told_by_number or "more lines" in "".join(lines)


def test_what_it_waits_for_is_said(tmp_path: Path) -> None:
    picture = live.Picture(Console(width=100, file=io.StringIO()), CASE.plan(), None, "web-1")
    seen = ""
    for told in turns(tmp_path):
        picture.show(told)
        seen += drawn(picture)
    assert re.search(r"waits for [\d, ]+ to serve \(\d+ s of 10 min\)", seen), seen
    state = msgspec.structs.replace(told.state, phase=Phase.ROLLING, batch=0, gate_ms=told.now_ms - 100_000)
    assert waits_for(CASE.plan(), state, told.scale_set, told.now_ms) == (
        "waits for the gate of batch 1 to hold (1 min of 15 min)"
    )
    state = msgspec.structs.replace(state, held_ms=told.now_ms - 20_000)
    assert waits_for(CASE.plan(), state, told.scale_set, told.now_ms) == "waits while the gate of batch 1 holds (20 s)"


def test_a_log_is_not_silent_while_it_waits(tmp_path: Path) -> None:
    told = next(
        one for one in turns(tmp_path) if "to serve" in waits_for(CASE.plan(), one.state, one.scale_set, one.now_ms)
    )
    file = io.StringIO()
    log = live.Log(Console(width=100, file=file), CASE.plan())
    for after_s in (0, 20, 40, 60, 80, 100, 120):
        log.show(msgspec.structs.replace(told, now_ms=told.now_ms + after_s * 1000, records=()))
    assert [line.count("to serve (") for line in file.getvalue().splitlines()] == [1, 1]


def test_below_the_floor_is_said_loudly(tmp_path: Path) -> None:
    told = turns(tmp_path)[1]
    plan = CASE.plan()
    high = msgspec.structs.replace(
        plan, floor=msgspec.structs.replace(plan.floor, given="n-0", absolute=6), floor_min=7
    )
    picture = live.Picture(Console(width=100, file=io.StringIO()), high, None, "web-1")
    picture.show(told)
    assert "BELOW THE FLOOR" in drawn(picture)
    picture.say("pausing after the current operation")
    assert "pausing after" in drawn(picture)


def test_a_terminal_gets_the_picture_and_a_pipe_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(width=80, file=io.StringIO(), force_terminal=True)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    with live.view(CASE.plan(), None, "web-1", None, terminal) as shown:
        assert isinstance(shown, live.Picture)
    with live.view(CASE.plan(), None, "web-1", "text", terminal) as shown:
        assert isinstance(shown, live.Log)
    with live.view(CASE.plan(), None, "web-1", None, Console(file=io.StringIO())) as shown:
        assert isinstance(shown, live.Log)


def test_control_characters_reach_no_terminal(tmp_path: Path) -> None:
    told = turns(tmp_path)[0]
    (record,) = [one for one in told.records if hasattr(one, "notes")]
    note = msgspec.structs.replace(record.notes[0], text="red \x1b[31m and bell \x07")
    evil = msgspec.structs.replace(told, records=(msgspec.structs.replace(record, notes=(note,)),))
    (line,) = live.note_lines(evil)
    assert "\x1b" not in line.plain
    assert "\x07" not in line.plain


def test_times_for_people_and_for_machines() -> None:
    assert times.when(5_025_000) == "1:23:45"
    assert times.when(1_764_115_200_123) == "2025-11-26 00:00:00Z"
    assert times.at(1_764_115_200_123) == "00:00:00Z"
    assert times.stamp(1_764_115_200_123) == "2025-11-26T00:00:00.123Z"
    assert times.stamp(1_500) == 1.5
    assert [times.coarse(one) for one in (40, 720, 12_600)] == ["40 s", "12 min", "3.5 h"]


def test_stay_waits_for_somebody_who_lets_it_go_on(tmp_path: Path) -> None:
    case = Case(fleet=Fleet(size=2), parameters={"approve": True})
    with served(case.world(), case.fleet.scale_set()) as place:
        story = Story(tmp_path, place, case)
        process = story.apply("--stay")
        deadline = time.monotonic() + HANGS_S
        while time.monotonic() < deadline and not (
            story.store.rollouts() and story.state and story.state.phase is Phase.PAUSED
        ):
            time.sleep(0.1)
        assert process.running
        story.store.journal(story.store.rollouts()[-1].id).ask(Asked.APPROVE)
        code, _, err = process.ended()
        assert code == 0, err
