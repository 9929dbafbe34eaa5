"""`calibrate`: every kind of history read as it is, fits that are no surer than their data, the timing file, the picture."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import random
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.journal import SqliteJournal
from planner.errors import InputError
from planner.trace import Record
from scenarios import background, timing_file
from scenarios.build import Setup, setup
from scenarios.files import convert
from scenarios.schema import Scenario
from tests.commands import Ran, vmss_sim
from vmss_sim.study.calibrate import azure, fits, reading, writing
from vmss_sim.study.calibrate.calibration import Calibration, calibrate
from vmss_sim.study.calibrate.history import NAMES, READY, ROLLOUT, History, Observed, operation_name
from vmss_sim.study.calibrate.tables import read as read_csv
from vmss_sim.world.recorded import READY_DEFAULT, RECORDED
from vmss_sim.world.timings import Constant, Empirical, Exponential, Lognormal

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "scenarios" / "histories" / "operations.csv"
BEGIN = datetime(2026, 3, 2, 1, tzinfo=UTC)


def lognormal(n: int, median: float = 100.0, sigma: float = 0.3, seed: int = 1) -> np.ndarray:
    return np.exp(math.log(median) + sigma * np.random.default_rng(seed).standard_normal(n))


def history(seconds: Any, operation: str = "upgrade", failed: int = 0, **more: Any) -> History:
    """A history of one operation; each value a session of its own."""
    observed = [
        Observed(operation=operation, os="linux", seconds=float(one), ok=1, session=f"{index}", **more)
        for index, one in enumerate(seconds)
    ]
    observed += [Observed(operation=operation, os="linux", seconds=None, failed=1, **more) for _ in range(failed)]
    return History(path="h", kind="test", observed=tuple(observed), left_out={})


def one(made: Calibration) -> Any:
    assert len(made.timings) == 1
    return made.timings[0]


# ---- fits


@given(st.lists(st.floats(0.001, 1e5), max_size=19))
def test_few_points_are_never_a_curve(values):
    made = fits.fit(np.array(values))
    if len(values) < 5:
        assert made is None
    else:
        assert isinstance(made.timing, Empirical | Constant)
        assert max(values) <= made.timing.ppf_ms_scalar(1.0) / 1000 * 1.01


@given(st.lists(st.floats(0, 1e5), min_size=5, max_size=60))
@settings(max_examples=30)
def test_a_fit_is_sound_and_lies_among_its_data(values):
    made = fits.fit(np.array(values))
    assert made is not None
    made.timing.check("t")
    median = made.timing.ppf_ms_scalar(0.5) / 1000
    assert min(values) - 0.001 <= median * 1.001
    assert median <= max(values) * 1.001 + 0.001


def test_a_lognormal_is_found_again_and_a_wrong_formula_is_not():
    seconds = lognormal(400)
    made = fits.fit(seconds)
    assert made.kind == fits.LOGNORMAL
    assert made.timing.median == pytest.approx(100, rel=0.05)
    assert made.timing.sigma == pytest.approx(0.3, rel=0.1)
    assert fits.distance(seconds, made.timing) < 0.04
    assert fits.distance(seconds, Lognormal(median=float(seconds.mean()), sigma=made.timing.sigma)) > 0.05
    assert fits.distance(seconds, Lognormal(median=made.timing.median, sigma=2 * made.timing.sigma)) > 0.1


@pytest.mark.parametrize(
    ("sessions", "kind"),
    [
        (["fast", "fast 2"] * 30 + ["slow", "slow 2"] * 15, fits.REGIME),
        (["a", "b"] * 45, fits.TWO),
        (["f1", "f2", "both"] * 20 + ["s1", "s2", "both"] * 10, fits.TWO),
        (["fast"] * 60 + ["slow"] * 30, fits.TWO),  # one session a part: that proves nothing
        ([None] * 90, fits.TWO),
        ([str(number) for number in range(90)], fits.TWO),  # one operation a session: none could see both
    ],
)
def test_two_humps_are_a_regime_where_every_session_saw_one(sessions, kind):
    seconds = np.concatenate([lognormal(60, 110, 0.1), lognormal(30, 480, 0.04)])
    made = fits.fit(seconds, sessions)
    assert (made.kind, made.timing.shared) == (kind, kind == fits.REGIME)
    assert [part.weight for part in made.timing.parts] == pytest.approx([2 / 3, 1 / 3], abs=1e-4)
    assert [part.of.median for part in made.timing.parts] == pytest.approx([110, 480], rel=0.05)


def test_what_is_neither_is_quantiles():
    made = fits.fit(np.concatenate([np.full(40, 10.0), np.linspace(11, 12, 40), np.linspace(300, 301, 5)]))
    assert made.kind == fits.QUANTILES
    assert fits.fit(np.full(9, 3.0)).timing == Constant(3.0)
    assert fits.fit(np.array([0.0, 0, 0, *lognormal(40)])).kind == fits.QUANTILES


# ---- how sure


def test_bands_are_wide_where_points_are_few_and_hold_what_they_promise():
    inside = {8: 0, 30: 0}
    for n in inside:
        for seed in range(300):
            p50 = one(calibrate([history(lognormal(n, seed=seed))])).p50 if n < 20 else _p50(lognormal(n, seed=seed))
            inside[n] += p50.low is not None and p50.low <= 100 <= p50.high
    assert all(count / 300 > 0.93 for count in inside.values())
    narrow, wide = (_p50(lognormal(n)) for n in (400, 8))
    assert (wide.high - wide.low) > 4 * (narrow.high - narrow.low)


def _p50(seconds: np.ndarray) -> Any:
    from vmss_sim.study.calibrate.calibration import _quantile

    return _quantile(sorted(seconds.tolist()), 0.5, None)


@pytest.mark.parametrize(("n", "bounded"), [(71, False), (72, True)])
def test_a_95_percent_quantile_has_an_upper_bound_from_72_on(n, bounded):
    made = one(calibrate([history(lognormal(n))]))
    assert (made.p95.high is not None) == bounded
    assert any("p95 has no upper bound" in warning for warning in made.warnings) != bounded


@pytest.mark.parametrize(("failed", "ok"), [(0, 19), (0, 20), (3, 97), (20, 0)])
def test_failure_rates_are_exact_intervals_and_never_never(failed, ok):
    made = calibrate([history(lognormal(ok), failed=failed)]).rates[0]
    exact = scipy.stats.binomtest(failed, failed + ok).proportion_ci(0.95, "exact")
    assert made.seen.ci95 == pytest.approx((exact.low, exact.high), abs=1e-12)
    if failed + ok < 20:
        assert made.rate is None
    else:
        assert made.rate == (failed + 0.5) / (failed + ok + 1)
        assert made.rate > 0


@pytest.mark.parametrize(
    ("made", "warning"),
    [
        (history(lognormal(4)), "too few: 5 operations are the least"),
        (history(lognormal(12)), "few points: as observed, nothing beyond"),
        (history(lognormal(90), instances=8), "mostly on several VMs (up to 8)"),
        (history(lognormal(90, 6.0)), "did these replace an image?"),
        (history(lognormal(90), ROLLOUT), "a whole rollout"),
    ],
)
def test_what_weakens_a_fit_is_said(made, warning):
    assert any(warning in said for said in one(calibrate([made])).warnings)
    clean = one(calibrate([history(lognormal(90))]))
    assert clean.warnings == ()


def test_one_session_is_one_session():
    observed = tuple(msgspec.structs.replace(one, session="2026-03-02") for one in history(lognormal(90)).observed)
    made = one(calibrate([History(path="h", kind="test", observed=observed, left_out={})]))
    assert "all of 1 session" in made.warnings[0]


# ---- reading


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("upgrade", "upgrade"),
        ("manualUpgrade", "upgrade"),
        ("Microsoft.Compute/virtualMachineScaleSets/manualupgrade/action", "upgrade"),
        ("MICROSOFT.COMPUTE/VIRTUALMACHINESCALESETS/REIMAGEALL/ACTION", "reimage-all"),
        ("Microsoft.Compute/virtualMachineScaleSets/virtualMachines/powerOff/action", "power-off"),
        ("Microsoft.Compute/virtualMachineScaleSets/virtualMachines/delete", "delete"),
        ("Microsoft.Compute/virtualMachineScaleSets/delete/action", "delete"),
        ("Microsoft.Compute/virtualMachineScaleSets/delete", None),
        ("Microsoft.Compute/virtualMachineScaleSets/write", None),
        ("Microsoft.Compute/virtualMachineScaleSets/rollingUpgrades/cancel/action", "cancel-rolling-upgrade"),
        ("Microsoft.Compute/virtualMachineScaleSets/osRollingUpgrade/action", ROLLOUT),
        ("Microsoft.Compute/virtualMachineScaleSets/virtualMachines/runCommands/write", "run-command"),
        ("reimage (scale set)", "reimage"),
        ("delete scale set", None),
        ("update model, mode=Manual (PUT)", "update-model"),
        ("update model, mode=Automatic (PUT)", None),
        ("scale out (PATCH)", "scale-out"),
        ("setOrchestrationServiceState", "set-orchestration-service-state"),
        ("", None),
    ],
)
def test_operations_go_by_many_names(text, name):
    assert operation_name(text) == name


def test_every_timing_can_be_named():
    assert set(NAMES.values()) == {*RECORDED, READY, ROLLOUT}


rows = st.lists(
    st.tuples(
        st.sampled_from(["upgrade", "manualUpgrade", "reimage (one VM)", "restart"]),
        st.floats(0, 1e5).map(lambda value: round(value, 2)),
        st.sampled_from(["linux", "Windows", ""]),
        st.sampled_from(["Succeeded", "failed", ""]),
        st.integers(1, 5),
    ),
    max_size=8,
)


@given(rows, st.sampled_from([",", ";", "\t"]), st.permutations(range(6)), st.booleans())
def test_a_csv_is_read_whatever_its_order_case_and_extra_columns(values, delimiter, order, long_names):
    """The same rows in every dress give the same history."""
    names = ["operation", "seconds", "os", "status", "instances", "remark"]
    if long_names:
        names = ["Operation", "SECONDS", "osType", "Result", "target_instances", "image"]

    def text(delimiter: str, order: Any, names: Any) -> str:
        out = io.StringIO()
        writer = csv.writer(out, delimiter=delimiter)
        for row in (names, *((*value, "x") for value in values)):
            writer.writerow([row[index] for index in order])
        return out.getvalue()

    plain = read_csv(text(",", range(6), ["operation", "seconds", "os", "status", "instances", "x"]), "f")
    dressed = read_csv(text(delimiter, order, names), "f")
    assert dressed.observed == plain.observed
    assert [one.operation for one in plain.observed] == [operation_name(value[0]) for value in values]
    for value, seen in zip(values, plain.observed, strict=True):
        failed = value[3] == "failed"
        assert (seen.seconds, seen.ok, seen.failed) == ((None, 0, 1) if failed else (value[1], value[4], 0))


@pytest.mark.parametrize("value", ["x", "-1", "nan", "1e99"])
def test_a_number_that_is_none_is_refused_with_its_line(value):
    with pytest.raises(InputError, match=r"f: line 3: seconds: this is not a number in range"):
        read_csv(f"operation,seconds\nupgrade,1\nupgrade,{value}\n", "f")


def test_rows_that_cannot_be_used_are_counted_by_reason():
    made = read_csv("operation,seconds,status\ndance,1,\ndance,2,\nupgrade,,\nupgrade,3,Running\nupgrade,4,ok\n", "f")
    assert made.left_out == {"'dance'": 2, "no seconds": 1, "status 'Running'": 1}
    assert [one.seconds for one in made.observed] == [4.0]


def event(at: datetime, status: str, **more: Any) -> dict[str, Any]:
    made = {
        "correlationId": "c",
        "operationId": "o",
        "operationName": {"value": "Microsoft.Compute/virtualMachineScaleSets/manualupgrade/action"},
        "resourceId": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/web",
        "eventTimestamp": at.strftime("%Y-%m-%dT%H:%M:%S.%f") + "7Z",
        "status": {"value": status},
    }
    return {**made, **more}


@given(
    st.lists(
        st.tuples(st.integers(0, 3000), st.integers(1, 900), st.booleans(), st.booleans(), st.booleans()),
        max_size=8,
    ),
    st.randoms(use_true_random=False),
)
def test_an_activity_log_is_paired_whatever_the_order_of_its_events(operations, luck):
    """Operations that overlap have correlation ids of their own; an end may be logged under another operation id."""
    events = []
    for index, (begin, lasts, accepted, other_id, failed) in enumerate(operations):
        start = BEGIN + timedelta(seconds=begin)
        mine = {"correlationId": f"c{index}"}
        events.append(event(start, "Started", **mine))
        if accepted:
            events.append(event(start + timedelta(seconds=0.5), "Accepted", **mine))
        end = "Failed" if failed else "Succeeded"
        events.append(event(start + timedelta(seconds=lasts), end, operationId="p" if other_id else "o", **mine))
    random.Random(luck.random()).shuffle(events)
    made = azure.activity_log(events, "f")
    expected = sorted((None if failed else lasts, failed) for _, lasts, _, _, failed in operations if not failed)
    assert sorted((one.seconds, bool(one.failed)) for one in made.observed if not one.failed) == expected
    assert sum(one.failed for one in made.observed) == sum(failed for *_, failed in operations)
    assert not made.left_out


def test_two_operations_under_one_correlation_id_are_two():
    """Pairing by correlation id alone would give one, of 300 s."""
    at = [BEGIN + timedelta(seconds=second) for second in (0, 10, 100, 300)]
    events = [
        event(at[0], "Started", operationId="a"),
        event(at[1], "Started", operationId="b"),
        event(at[2], "Succeeded", operationId="a"),
        event(at[3], "Succeeded", operationId="b"),
    ]
    assert [one.seconds for one in azure.activity_log(events, "f").observed] == [100.0, 290.0]


def test_what_an_activity_log_does_not_say_is_left_out_by_name():
    events = [
        event(BEGIN, "Started"),
        event(BEGIN, "Started", operationName="Microsoft.Compute/virtualMachineScaleSets/write", correlationId="w"),
        event(BEGIN, "Succeeded", operationName="Microsoft.Network/loadBalancers/write"),
        event(BEGIN, "Active", correlationId="x"),
    ]
    made = azure.activity_log(events, "f")
    assert made.observed == ()
    assert made.left_out == {
        "events of other resources": 1,
        "events that are no beginning and no end": 1,
        "upgrade without its beginning or end": 1,
        "microsoft.compute/virtualmachinescalesets/write (creates, scales or updates: the log does not say)": 1,
    }


def rollout(code: str = "Completed", ok: int = 4, failed: int = 1, end: str = "endTime") -> dict[str, Any]:
    return {
        "type": "Microsoft.Compute/virtualMachineScaleSets/rollingUpgrades",
        "properties": {
            "runningStatus": {
                "code": code,
                "startTime": "2026-03-02T01:00:00.1234567+00:00",
                **({end: "2026-03-02T01:10:00.1234567+00:00"} if end else {}),
            },
            "progress": {"successfulInstanceCount": ok, "failedInstanceCount": failed, "pendingInstanceCount": 9},
            "targetImageReference": {"publisher": "MicrosoftWindowsServer", "offer": "WindowsServer"},
        },
    }


@pytest.mark.parametrize("page", [lambda one: one, lambda one: {"value": one}, lambda one: one[0]])
@pytest.mark.parametrize("end", ["endTime", "completedTime"])
def test_upgrade_history_counts_vms_and_shows_whole_rollouts(tmp_path, page, end):
    file = tmp_path / "history.json"
    file.write_text(json.dumps(page([rollout(end=end)])))
    vms, whole = reading.read(file).observed
    assert (vms.operation, vms.os, vms.ok, vms.failed, vms.seconds) == ("upgrade", "windows", 4, 1, None)
    assert (whole.operation, whole.seconds, whole.session) == (ROLLOUT, 600.0, "2026-03-02")


def test_a_rollout_that_runs_is_left_out_and_a_faulted_one_has_no_length():
    made = azure.upgrade_history([rollout("RollingForward", end=""), rollout("Faulted")], "f")
    assert made.left_out == {"a rollout RollingForward without its beginning or end": 1}
    assert [one.seconds for one in made.observed] == [None, None]


# ---- journals


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The journal of a rollout of 40 VMs, one at a time, told at once: 90 s each, 20 s until ready, 1 s to notice."""
    folder = tmp_path_factory.mktemp("journal")
    (folder / "s.toml").write_text(
        'title = "t"\n[scale_set]\ninstances = 40\n[change]\nversion = "22.04.202606010"\n'
        "[timing]\nupgrade = 90\nready = 20\nprobe = 1\npoll = 0\n[failures]\nupgrade = 0\n"
    )
    ran = vmss_sim(
        "simulate", str(folder / "s.toml"), "-s", "one-by-one", "--no-heatmap", "--trace", str(folder / "run")
    )
    assert ran.status == 0
    return folder / "run"


def test_a_journal_gives_back_what_the_world_was_told(trace):
    made = {one.operation: one for one in calibrate([reading.read(trace)]).timings}
    assert set(made["upgrade"].seconds) == {90.0}
    assert set(made[READY].seconds) == {21.0}
    assert (made["upgrade"].n, made[READY].n) == (40, 40)
    assert made["upgrade"].fit.timing == Constant(90.0)
    rates = {one.operation: one for one in calibrate([reading.read(trace)]).rates}
    assert (rates["upgrade"].failed, rates["upgrade"].seen.n) == (0, 40)


def test_a_vm_that_nobody_saw_become_healthy_says_nothing_of_ready(tmp_path):
    (tmp_path / "s.toml").write_text(
        'title = "t"\n[scale_set]\ninstances = 5\n[change]\nversion = "22.04.202606010"\n'
        "[timing]\nupgrade = 90\nready = 0\nprobe = 0\npoll = 0\n[failures]\nupgrade = 0\n"
    )
    run = tmp_path / "run.jsonl"
    vmss_sim("simulate", str(tmp_path / "s.toml"), "-s", "one-by-one", "--no-heatmap", "--trace", str(run))
    names = [one.operation for one in reading.read(run).observed]
    assert (names.count("upgrade"), names.count(READY)) == (5, 0)


def test_sqlite_says_the_same_and_is_left_as_it_was(trace, tmp_path):
    path = tmp_path / "run.sqlite"
    journal = SqliteJournal(path)
    for line in trace.read_text().splitlines():
        journal.write(msgspec.json.decode(line, type=Record))
    while_open = reading.read(path)  # most of it is in the write-ahead log
    journal.close()
    before = {one.name: one.read_bytes() for one in tmp_path.iterdir()}
    closed = reading.read(path)
    plain = reading.read(trace)
    assert [msgspec.structs.replace(one, session=None) for one in while_open.observed] == [
        msgspec.structs.replace(one, session=None) for one in plain.observed
    ]
    assert closed.observed == while_open.observed
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == before


def test_failures_in_a_journal_are_counted_by_vm(tmp_path):
    (tmp_path / "s.toml").write_text(
        'title = "t"\n[scale_set]\ninstances = 30\n[change]\nversion = "22.04.202606010"\n'
        "[timing]\nready = 5\n[failures]\nupgrade = 0.3\nretries = 3\n"
    )
    run = tmp_path / "run.jsonl"
    vmss_sim("simulate", str(tmp_path / "s.toml"), "-s", "per-ud", "--no-heatmap", "--trace", str(run))
    rate = next(one for one in calibrate([reading.read(run)]).rates if one.operation == "upgrade")
    low, high = rate.seen.ci95
    assert low <= 0.3 <= high
    assert rate.failed >= 5


# ---- files of no known kind


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"hello\n", "found 'hello'"),
        (b"name,age\nx,3\n", "not a history of operations"),
        (b"{}", "other JSON"),
        (b"[]", "the history is empty"),
        (b'[{"a": 1}]', "other JSON"),
        (b"[1, 2", "the file is not JSON"),
        (b"\x1f\x8bnot gzip", "the file cannot be unpacked"),
        (b"\xff\xfe\x00", "a byte that is not text"),
        (b"\x80\x81\x82", "a byte that is not text"),
        (b"SQLite format 3\x00 and no more", "not a journal of vmss-sim"),
        (b'{"record": "dance"}\n', "line 1"),
        (b"operation,seconds\nupgrade,9x\n", "line 2: seconds"),
    ],
)
def test_a_file_of_no_known_kind_is_one_line(tmp_path, content, message):
    file = tmp_path / "file"
    file.write_bytes(content)
    ran = vmss_sim("calibrate", str(file))
    assert ran.status == 2
    assert ran.out == ""
    assert ran.err.count("\n") == 1
    assert message in ran.err
    assert str(file) in ran.err


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
@settings(max_examples=60)
def test_anything_is_a_history_or_an_input_error(tmp_path_factory, content):
    file = tmp_path_factory.getbasetemp() / "anything"
    file.write_bytes(content)
    try:
        reading.read(file)
    except InputError as error:
        assert "file" in str(error) or "history" in str(error) or "journal" in str(error)


def test_another_database_is_refused(tmp_path):
    file = tmp_path / "other.sqlite"
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE t (x)")
    database.close()
    with pytest.raises(InputError, match="not a journal of vmss-sim; found no such table: record"):
        reading.read(file)


# ---- the command


def run(tmp_path: Path, *arguments: str) -> Ran:
    return vmss_sim("calibrate", str(EXAMPLE), *(one.replace("@", str(tmp_path)) for one in arguments))


def test_the_command_shows_fit_against_data(tmp_path):
    ran = run(tmp_path)
    assert (ran.status, ran.err) == (0, "")
    text = " ".join(ran.out.split())
    assert "upgrade linux 70 lognormal 90.4 84.8 .. 102 94.4 154 142 .. ? 156 0.06" in text
    assert "upgrade linux 2 72 0.34% .. 9.7% 3.42%" in text
    assert "warning: reimage on linux: few points" in text


def test_the_recordings_own_columns_and_gz_are_read(tmp_path):
    file = tmp_path / "o.csv.gz"
    head = "recording,operation,status,error,start,seconds,target_instances,scale_set_capacity,os\n"
    lines = [
        f"r,reimage (one VM),Succeeded,,2021-0{1 + n % 9}-02T01:00:00+00:00,{70 + n},1,2,Linux\n" for n in range(9)
    ]
    file.write_bytes(gzip.compress((head + "".join(lines)).encode()))
    made = calibrate([reading.read(file)])
    assert (one(made).operation, one(made).os, one(made).n, one(made).sessions) == ("reimage", "linux", 9, 9)
    assert one(calibrate([reading.read(file)], since="2021-05-01")).n == 5


def test_files_are_replaced_only_on_demand(tmp_path):
    assert run(tmp_path, "-o", "@/m.toml").status == 0
    written = (tmp_path / "m.toml").read_bytes()
    again = run(tmp_path, "-o", "@/m.toml")
    assert (again.status, again.out) == (2, "")
    assert "the file exists; choose another name, or say --force" in again.err
    assert run(tmp_path, "-o", "@/m.toml", "--force").status == 0
    assert (tmp_path / "m.toml").read_bytes() == written


def test_exit_status_says_what_could_not_be_fitted(tmp_path):
    few = tmp_path / "few.csv"
    few.write_text("operation,seconds\n" + "upgrade,9\n" * 3)
    ran = vmss_sim("calibrate", str(few), "-o", str(tmp_path / "m.toml"))
    assert (ran.status, (tmp_path / "m.toml").exists()) == (1, False)
    assert "nothing could be fitted" in ran.err
    assert vmss_sim("calibrate", str(few), str(EXAMPLE)).status == 5
    assert vmss_sim("calibrate", str(EXAMPLE), "--os", "amiga").status == 2
    assert vmss_sim("calibrate", str(EXAMPLE), "--since", "yesterday").status == 2
    assert vmss_sim("calibrate", str(tmp_path / "none.csv")).status == 2


def test_json_is_json_and_nothing_else(tmp_path):
    ran = run(tmp_path, "--json")
    document = json.loads(ran.out)
    assert document["schema"] == "vmss-sim/calibrate/1"
    upgrade = next(one for one in document["timings"] if one["operation"] == "upgrade")
    assert upgrade["law"] == {"lognormal": {"median": 94.38, "sigma": 0.3058}}
    assert upgrade["p95_s"]["high"] is None
    assert (document["failures"][-1]["failed"], document["failures"][-1]["seen"]["n"]) == (2, 72)


@pytest.mark.parametrize(("kind", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_the_picture_is_the_same_every_time(tmp_path, kind, magic):
    pictures = []
    for _ in range(2):
        ran = run(tmp_path, "--plot", f"@/p.{kind}", "--force")
        assert ran.status == 0
        pictures.append((tmp_path / f"p.{kind}").read_bytes())
    assert pictures[0] == pictures[1]
    assert pictures[0].startswith(magic)


def test_the_picture_draws_data_band_and_fit():
    from vmss_sim.report.calibration_plot import _panel

    class Axis:
        """What is drawn, by name."""

        def __init__(self) -> None:
            self.drawn: dict[str, Any] = {}
            self.spines = {("top", "right"): self}
            self.spines = type("S", (), {"__getitem__": lambda _self, _key: self})()

        def __getattr__(self, name: str) -> Any:
            return lambda *args, **kwargs: self.drawn.__setitem__(name, (args, kwargs))

    def drawn(n: int) -> dict[str, Any]:
        axis = Axis()
        _panel(axis, one(calibrate([history(lognormal(n))])))
        return axis.drawn

    many, few, three = drawn(200), drawn(8), drawn(3)
    (at, share), _ = many["step"]
    assert share[1] == 1 / 200
    assert share[-1] == 1
    for n, picture in ((200, many), (8, few)):
        _, low, high = picture["fill_between"][0]
        assert max(high - low) == pytest.approx(min(1.0, 2 * math.sqrt(math.log(40) / (2 * n))), abs=0.15)
    (x, y), _ = many["plot"]
    assert np.max(np.abs(np.interp(x, at, share) - y)) < 0.1
    assert (many["plot"][1]["linestyle"], few["plot"][1]["linestyle"]) == ("-", "--")
    assert "plot" not in three
    assert "too few" in three["set_title"][0][0]


def test_a_picture_without_matplotlib_is_one_line_that_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    ran = run(tmp_path, "--plot", "@/p.svg")
    assert (ran.status, ran.out) == (2, "")
    assert "--plot: matplotlib is not installed; install the extra `plot`: pip install 'vmss-sim[plot]'" in ran.err
    assert "expected .svg or .png" in run(tmp_path, "--plot", "@/p.pdf").err


def test_matplotlib_is_asked_for_only_by_a_picture():
    code = (
        "import sys\nfrom vmss_sim.cli.main import main\n"
        f"try:\n    main(['calibrate', {str(EXAMPLE)!r}, '--json'])\nexcept SystemExit:\n    pass\n"
        "assert 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


# ---- the timing file


@given(
    st.dictionaries(
        st.sampled_from(sorted({*RECORDED, READY} - {"delete"})),
        st.tuples(st.integers(5, 60), st.floats(1, 500), st.integers(0, 3)),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from(["linux", "windows", "unknown"]),
)
@settings(max_examples=25)
def test_what_is_written_is_read_back(tmp_path_factory, given_rows, os):
    observed = []
    for name, (n, median, failed) in given_rows.items():
        mine = history(lognormal(n, median), name, failed).observed
        observed += [msgspec.structs.replace(one, os=os) for one in mine]
    made = calibrate([History(path="h", kind="test", observed=tuple(observed), left_out={})])
    file = tmp_path_factory.getbasetemp() / "roundtrip.toml"
    file.write_text(writing.document(made))
    book = timing_file.read(file)
    systems = timing_file.SYSTEMS if os == "unknown" else (os,)
    for fitted in made.timings:
        for system in systems:
            row = book.ready[system] if fitted.operation == READY else book.recorded[fitted.operation][system]
            assert (row.timing, row.n, row.origin) == (fitted.fit.timing, fitted.n, "yours")
    for rate in made.rates:
        if rate.rate is not None:
            assert book.failures[rate.operation][systems[0]].rate == pytest.approx(rate.rate, rel=1e-3)
    assert book.recorded["delete"] == RECORDED["delete"]


SCENARIO = '{"title": "t", "scale_set": {"instances": 10}, "change": {"version": "22.04.202606010"}, %s}'


def built(folder: Path, tables: str) -> Setup:
    return setup(convert(json.loads(SCENARIO % tables), Scenario, "s"), folder, "s")


def assumption(made: Setup, name: str) -> Any:
    return next(one for one in made.assumptions if one.name == name)


def written(folder: Path, text: str) -> None:
    (folder / "mine.toml").write_text(f'schema = "vmss-sim/timings/1"\n{text}')


ROW = "[[timing]]\noperation = {!r}\nos = {!r}\nn = 33\nlaw = {}\n"


def test_a_scenario_takes_its_file_and_its_own_values_win(tmp_path):
    written(
        tmp_path,
        ROW.format("upgrade", "linux", 50)
        + ROW.format("restart", "any", 7)
        + ROW.format("scale-out", "any", 8)
        + ROW.format("ready", "any", 3)
        + "[[failure]]\noperation = 'upgrade'\nos = 'any'\nfailed = 1\nn = 50\nrate = 0.03\n",
    )
    plain = built(tmp_path, '"timing": {"file": "mine.toml"}')
    operations = plain.world.timings.operations
    assert (operations["upgrade"], operations["restart"], operations["scale-out"]) == (
        Constant(50),
        Constant(7),
        Constant(8),
    )
    assert operations["reimage"] == RECORDED["reimage"]["linux"].timing
    assert plain.world.timings.ready == Constant(3)
    assert plain.world.failures.upgrade == 0.03
    assert not plain.ready_is_default
    told = assumption(plain, "upgrade of one VM")
    assert (told.origin, told.value) == ("yours", "mean 50 s (of mine.toml, n=33)")
    assert assumption(plain, "restart of one VM").origin == "yours"
    assert assumption(plain, "one VM's upgrade fails").value == "3.00% (1 of 50 seen)"
    assert assumption(plain, "your application is ready").value == "p95 3 s after its VM (of mine.toml, n=33)"

    own = built(tmp_path, '"timing": {"file": "mine.toml", "upgrade": 9, "ready": 1}, "failures": {"upgrade": 0.2}')
    assert own.world.timings.operations["upgrade"] == Constant(9)
    assert own.world.timings.ready == Constant(1)
    assert own.world.failures.upgrade == 0.2


def test_without_a_file_nothing_changes(tmp_path):
    made = built(tmp_path, '"timing": {}')
    assert made.world.timings.operations["upgrade"] == RECORDED["upgrade"]["linux"].timing
    assert made.world.timings.ready == READY_DEFAULT["linux"].timing
    assert made.world.failures.upgrade == 0.005
    assert made.ready_is_default


@pytest.mark.parametrize("turn", [1, -1])
def test_a_row_of_the_systems_own_wins_over_any_in_either_order(tmp_path, turn):
    written(tmp_path, "".join([ROW.format("upgrade", "any", 50), ROW.format("upgrade", "windows", 70)][::turn]))
    book = timing_file.read(tmp_path / "mine.toml")
    assert [book.recorded["upgrade"][os].timing for os in timing_file.SYSTEMS] == [Constant(50), Constant(70)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            ROW.format("upgrde", "linux", 5),
            "timing[0].operation: unknown operation; found 'upgrde'; did you mean 'upgrade'?",
        ),
        (
            ROW.format("upgrade", "amiga", 5),
            "timing[0].os: unknown system; found 'amiga'; expected linux, windows or any",
        ),
        (ROW.format("upgrade", "any", "{ lognormal = 3 }"), "timing[0].law.lognormal: this is not a table"),
        (ROW.format("upgrade", "any", 5) * 2, "timing[1]: this stands twice; found upgrade on any"),
        (ROW.format("upgrade", "any", 5).replace("33", "0"), "timing[0].n: fitted to nothing"),
        (ROW.format("upgrade", "any", 5).replace("law", "lw"), "did you mean 'law'?"),
        (
            "[[failure]]\noperation = 'upgrade'\nos = 'any'\nfailed = 1\nn = 5\nrate = 2.0\n",
            "failure[0].rate: not a probability",
        ),
    ],
)
def test_a_timing_file_that_is_wrong_says_where(tmp_path, text, message):
    written(tmp_path, text)
    with pytest.raises(InputError) as caught:
        built(tmp_path, '"timing": {"file": "mine.toml"}')
    assert message in str(caught.value)
    assert str(tmp_path / "mine.toml") in caught.value.where


def test_another_version_and_a_missing_file_are_refused(tmp_path):
    (tmp_path / "old.toml").write_text('schema = "vmss-sim/timings/9"\n')
    with pytest.raises(InputError, match="not a timing file of this version"):
        built(tmp_path, '"timing": {"file": "old.toml"}')
    with pytest.raises(InputError, match="cannot be read"):
        built(tmp_path, '"timing": {"file": "none.toml"}')


def test_from_a_history_to_a_verdict(tmp_path):
    """The tour: calibrate, refer to it, compare; and the table of assumptions says whose figures these are."""
    assert run(tmp_path, "-o", "@/mine.timings.toml").status == 0
    scenario = tmp_path / "s.toml"
    scenario.write_text(
        'title = "t"\n[scale_set]\ninstances = 10\n[change]\nversion = "22.04.202606010"\n'
        '[timing]\nfile = "mine.timings.toml"\n[objective]\nmin_healthy = "80%"\n'
    )
    ran = vmss_sim("compare", str(scenario), "-n", "4", "--jobs", "1", "--json")
    assumed = {one["name"]: one for one in json.loads(ran.out)["assumptions"]}
    assert assumed["upgrade of one VM"]["origin"] == "yours"
    assert "mine.timings.toml, n=70" in assumed["upgrade of one VM"]["value"]


# ---- background failures


@pytest.mark.parametrize("name", background.PRESETS)
def test_a_preset_is_a_mean_time_to_failure_and_to_repair(tmp_path, name):
    preset = background.PRESETS[name]
    made = built(tmp_path, f'"failures": {{"background": "{name}"}}').world.failures
    assert made.mttf_ms == pytest.approx(preset.mttf_h * 3_600_000)
    assert made.mttr == Exponential(mean=preset.mttr_h * 3600)
    assert preset.source
    assert f"`{name}`" in (ROOT / "docs" / "calibration.md").read_text()


def test_given_times_win_over_a_preset(tmp_path):
    made = built(tmp_path, '"failures": {"background": "lanl05", "mttf": "1h", "mttr": 60}').world.failures
    assert (made.mttf_ms, made.mttr) == (3_600_000, Constant(60))
    usual = built(tmp_path, '"failures": {"mttf": "1h"}').world.failures
    assert usual.mttr == Constant(1800)
    told = assumption(built(tmp_path, '"failures": {"background": "lanl05"}'), "background failures")
    assert told.value == "one serving VM in 74.2 d on average, as lanl05 (nodes of the LANL clusters, 1996 to 2005)"
    with pytest.raises(
        InputError, match=r"failures\.background: unknown preset; found 'lanl5'; .*did you mean 'lanl05'"
    ):
        built(tmp_path, '"failures": {"background": "lanl5"}')
