"""`planner.planfile`: round trips, what a digest finds, what a correct digest does not excuse, and the words for people."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from planner.amount import Threshold
from planner.change import Action, GuestPatch, ImageChange, PropertyChange, Target
from planner.errors import InputError
from planner.lint import lint_plan
from planner.model import AutomaticRepairs, ImageReference, UpgradeMode
from planner.plan import ENDS, Deadlines, Freeze, MovedBy, Plan, Rung, Window
from planner.planfile import (
    Assumption,
    Forecast,
    PlanFile,
    Proportion,
    Summary,
    decode,
    describe,
    encode,
    with_forecast,
)
from planner.planfile.checks import as_seen
from planner.strategies import Batch
from planner.surge import Quota
from tests.fleet import Case, cases, examples, plan_or_none
from tests.test_lint import SETTING, fleet, plan, rolling, sick

AGAIN = "make the plan again with `vmss-sim plan`"
replace = msgspec.structs.replace
Tree = dict[str, Any]

FORECAST = Forecast(
    tool="vmss-sim 0.1.0",
    seed=1,
    replications=1000,
    poll_ms=0,
    scenario="web",
    metrics={
        "duration_s": Summary(mean=10.5, p05=1, p50=2, p95=3, p99=None, ci95=(9.5, 11.5), n=1000),
    },
    completed=Proportion(estimate=0.99, ci95=(0.98, 1.0), n=1000),
    breached=Proportion(estimate=0.0, ci95=(0.0, 0.004), n=1000),
    assumptions=(Assumption(name="failure rate", value="1 %", origin="guessed", flips_at="4 %"),),
)


def parts(data: bytes) -> tuple[str, bytes]:
    """The digest and the plan's bytes, found without the code under test."""
    found = re.fullmatch(
        rb'\{\n  "sha256": "([0-9a-f]{64})",\n  "plan": (.*?\n  \}),\n  "forecast": .*\}\n', data, re.S
    )
    assert found is not None
    return found[1].decode(), found[2]


def signed(tree: Any, **outer: Any) -> bytes:
    """A plan file with a correct digest, whatever its plan is."""
    raw = json.dumps(tree, indent=1)
    digest = sha256(raw.encode()).hexdigest()
    more = "".join(f', "{key}": {json.dumps(value)}' for key, value in outer.items())
    return f'{{"sha256": "{digest}", "plan": {raw}{more}}}'.encode()


def tree_of(made: Plan | None = None) -> Tree:
    tree: Tree = json.loads(parts(encode(made or plan()))[1])
    return tree


def refusal(data: bytes) -> str:
    with pytest.raises(InputError) as caught:
        decode(data, "plan.json")
    return str(caught.value)


# Writing and reading.


@examples(150)
@given(case=cases())
def test_round_trip(case: Case) -> None:
    made = plan_or_none(case)
    assume(made is not None)
    assert made is not None
    data = encode(made)
    digest, raw = parts(data)
    assert sha256(raw).hexdigest() == digest
    assert decode(data, "plan.json") == PlanFile(plan=made, sha256=digest, forecast=None)
    assert encode(decode(data, "plan.json").plan) == data
    told = encode(made, FORECAST)
    assert decode(told, "plan.json") == PlanFile(plan=made, sha256=digest, forecast=FORECAST)
    assert parts(told) == (digest, raw)


def test_the_file_is_laid_out_for_a_diff() -> None:
    lines = encode(plan(), FORECAST).decode().splitlines()
    assert lines[0] == "{"
    assert lines[2:4] == ['  "plan": {', '    "format": "vmss-sim/plan/1",']
    assert lines[-3] == "  },"
    assert re.fullmatch(r'  "forecast_sha256": "[0-9a-f]{64}"', lines[-2])
    changed = [
        (one, two)
        for one, two in zip(lines, encode(plan(floor_min=3), FORECAST).decode().splitlines(), strict=True)
        if one != two
    ]
    assert len(changed) == 3  # the two digests and the one line that differs
    assert changed[1] == ('    "floor_min": 1,', '    "floor_min": 3,')


def test_forecasting_again_keeps_the_plan_and_its_digest() -> None:
    first = encode(plan(), FORECAST)
    other = replace(FORECAST, seed=2)
    second = with_forecast(first, other)
    assert parts(second) == parts(first)
    assert decode(second, "f") == replace(decode(first, "f"), forecast=other)
    assert with_forecast(second, None) == encode(plan())
    assert with_forecast(encode(plan()), FORECAST) == first


def test_a_plan_written_in_another_layout_keeps_its_bytes_too() -> None:
    data = signed(tree_of())
    told = with_forecast(data, FORECAST)
    assert decode(told, "f").sha256 == decode(data, "f").sha256 == json.loads(data)["sha256"]
    assert decode(told, "f").forecast == FORECAST


def test_an_edited_plan_gets_no_forecast() -> None:
    edited = encode(plan()).replace(b'"floor_min": 1', b'"floor_min": 0')
    with pytest.raises(InputError, match=r"vetted\.json: sha256: the plan was edited"):
        with_forecast(edited, FORECAST, "vetted.json")


# What the digest finds.

WHOLE = encode(plan(), FORECAST)
START = WHOLE.index(b'"plan": ') + len(b'"plan": ')
END = START + len(parts(WHOLE)[1])


@examples(400)
@given(at=st.integers(START, END - 1), byte=st.integers(0, 255))
def test_no_byte_of_the_plan_can_be_changed(at: int, byte: int) -> None:
    assume(WHOLE[at] != byte)
    refusal(WHOLE[:at] + bytes([byte]) + WHOLE[at + 1 :])


@examples(300)
@given(at=st.integers(START + 1, END - 1), more=st.binary(max_size=3), less=st.integers(0, 3))
def test_nothing_can_be_added_to_the_plan_or_taken_away(at: int, more: bytes, less: int) -> None:
    changed = WHOLE[:at] + more + WHOLE[at + less :]
    assume(changed != WHOLE)
    refusal(changed)


@examples(400)
@given(at=st.integers(0, len(WHOLE) - 1), byte=st.integers(0, 255))
def test_a_changed_byte_anywhere_is_refused_or_means_the_same(at: int, byte: int) -> None:
    changed = WHOLE[:at] + bytes([byte]) + WHOLE[at + 1 :]
    try:
        assert decode(changed, "f") == decode(WHOLE, "f")
    except InputError:
        assert WHOLE[at] != byte


@examples(200)
@given(data=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_anything_else_is_refused(data: bytes) -> None:
    refusal(data)


def test_an_edit_is_told_with_both_digests() -> None:
    data = encode(plan())
    digest, raw = parts(data)
    edited = data.replace(b'"absolute": 6', b'"absolute": 0')
    now = sha256(parts(edited)[1]).hexdigest()
    assert refusal(edited) == (
        "plan.json: sha256: the plan was edited after it was made: its digest does not match; found sha256"
        f" {now}; expected sha256 {digest}; take the file as it was vetted, or {AGAIN} and have it vetted"
    )
    assert now != sha256(raw).hexdigest()


def test_a_change_of_layout_breaks_the_digest_and_says_that_it_is_only_that() -> None:
    data = encode(plan())
    digest = parts(data)[0]
    reformatted = json.dumps(json.loads(data), indent=4).encode()
    assert refusal(reformatted).startswith(
        "plan.json: sha256: the plan was reformatted after it was made: its content is the same, its digest does not match;"
        " found sha256 "
    )
    assert refusal(reformatted).endswith(f"; expected sha256 {digest}; take the file as it was written")
    assert refusal(data.replace(b"\n", b"\r\n")).endswith(
        "; take the file as it was written (its line ends were changed; in git, mark it `-text`)"
    )


def test_layout_outside_of_the_plan_is_free() -> None:
    data = encode(plan())
    assert decode(data.replace(b'{\n  "sha256"', b'{"sha256"', 1) + b"\n\n", "f") == decode(data, "f")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "plan.json: not JSON; found Input data was truncated; expected a plan file; " + AGAIN),
        (b"\xef\xbb\xbf{}", f"plan.json: not JSON; found a byte order mark; expected UTF-8 without one; save it without, or {AGAIN}"),
        (b"[" * 100_000, "plan.json: not JSON; found maximum recursion depth exceeded"),
        (b'{"n": ' + b"9" * 5000 + b"}", "plan.json: not JSON; found Integer value out of range"),
        (b"[]", "plan.json: wrong type; found a list; expected an object"),
        (b"{}", "plan.json: sha256: a key is missing; found nothing; expected a value"),
        (b'{"plan": {}}', f"plan.json: sha256: the plan file has no digest; found nothing; expected 64 hex digits; {AGAIN}"),
        (b'{"sha256": "x"}', "plan.json: plan: a key is missing; found nothing; expected a value"),
        (b'{"sha256": 1, "plan": {}}', "plan.json: sha256: wrong type; found 1; expected text"),
        (
            b'{"sha265": "x", "plan": {}}',
            f"plan.json: sha256: the plan file has no digest; found nothing; expected 64 hex digits; {AGAIN}",
        ),
        (
            b'{"sha256": "x", "plan": {}, "forcast": {}}',
            "plan.json: forcast: unknown key; found 'forcast'; expected 'forecast'; did you mean 'forecast'?",
        ),
        (b'{"sha256": "x", "sha256": "y", "plan": {}}', f"plan.json: a key stands twice in one object; found 'sha256'; expected every key once; {AGAIN}"),
        (b'{"sha256": "x", "plan": {"a": [{"b": 1, "b": 2}]}}', f"plan.json: a key stands twice in one object; found 'b'; expected every key once; {AGAIN}"),
    ],
)  # fmt: skip
def test_what_is_no_plan_file(data: bytes, says: str) -> None:
    assert refusal(data).startswith(says)


def test_a_forecast_belongs_to_its_plan() -> None:
    mine, other = encode(plan(), FORECAST), encode(plan(floor=7), FORECAST)
    told = json.loads(other)["forecast_sha256"]
    swapped = mine.replace(json.loads(mine)["forecast_sha256"].encode(), told.encode())
    assert refusal(swapped) == (
        "plan.json: forecast_sha256: the forecast was edited, or belongs to another plan: its digest does not match; found"
        f" sha256 {json.loads(mine)['forecast_sha256']}; expected sha256 {told}; forecast again; the plan itself stays vetted"
    )
    assert "the forecast was edited" in refusal(mine.replace(b'"estimate": 0.99', b'"estimate": 1.0'))
    bare = encode(plan())
    unsigned = bare.replace(b'"forecast": null', b'"forecast": {}')
    assert "expected no digest" in refusal(unsigned)
    assert refusal(bare.replace(b'"forecast_sha256": null', b'"forecast_sha256": "ab"')) == (
        "plan.json: forecast: there is a digest and no forecast; found null; expected a forecast; forecast again; the plan"
        " itself stays vetted"
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda tree: tree.update(sed=1), "plan.json: forecast.sed: unknown key; found 'sed'; expected 'seed'; did you mean 'seed'?"),
        (lambda tree: tree.update(replications=0), "plan.json: forecast.replications: wrong value; found 0; expected a whole number >= 1"),
        (
            lambda tree: tree["metrics"]["duration_s"].update(p50="2"),
            "plan.json: forecast.metrics.duration_s.p50: wrong type; found '2'; expected a number or null",
        ),
    ],
)  # fmt: skip
def test_a_forecast_that_is_none(change: Callable[[Tree], object], says: str) -> None:
    tree = json.loads(WHOLE)["forecast"]
    change(tree)
    data = json.loads(WHOLE)
    told = json.dumps(tree)
    digest = sha256(f"{data['sha256']}\n{told}".encode()).hexdigest()
    text = f'{{"sha256": "{data["sha256"]}", "plan": {parts(WHOLE)[1].decode()}, "forecast": {told}, "forecast_sha256": "{digest}"}}'
    assert refusal(text.encode()) == says


# What a correct digest does not excuse.


def put(path: str, value: Any) -> Callable[[Tree], None]:
    """Set the value at a dotted path."""

    def change(tree: Tree) -> None:
        *way, last = path.split("/")
        place: Any = tree
        for step in way:
            place = place[int(step) if isinstance(place, list) else step]
        place[int(last) if isinstance(place, list) else last] = value

    return change


def drop(path: str) -> Callable[[Tree], None]:
    def change(tree: Tree) -> None:
        *way, last = path.split("/")
        place: Any = tree
        for step in way:
            place = place[step]
        del place[last]

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            put("format", "vmss-sim/plan/2"),
            "plan.json: plan.format: this format of plans is not known; found 'vmss-sim/plan/2', written by vmss-sim;"
            f" expected 'vmss-sim/plan/1'; use the version that wrote it, or {AGAIN}",
        ),
        (drop("format"), "plan.json: plan.format: a key is missing; found nothing; expected a value"),
        (put("flor", 1), "plan.json: plan.flor: unknown key; found 'flor'; expected 'floor'; did you mean 'floor'?"),
        (drop("floor"), "plan.json: plan.floor: a key is missing; found nothing; expected a value"),
        (put("floor_min", "1"), "plan.json: plan.floor_min: wrong type; found '1'; expected a whole number"),
        (put("batches", {}), "plan.json: plan.batches: wrong type; found an object; expected a list"),
        (
            put("batches/1/takes", []),
            "plan.json: plan.batches[1].takes: unknown key; found 'takes'; expected 'take'; did you mean 'take'?",
        ),
        (
            put("scale_set/instances/7/vmid", "x"),
            "plan.json: plan.scale_set.instances.7.vmid: unknown key; found 'vmid'; expected 'vm_id'; did you mean 'vm_id'?",
        ),
        (
            put("scale_set/instances/7/update_domain", "x"),
            "plan.json: plan.scale_set.instances.7.update_domain: wrong type; found 'x'; expected a whole number or null",
        ),
        (
            put("resolved/change/verson", "2"),
            "plan.json: plan.resolved.change.verson: unknown key; found 'verson'; expected 'version'; did you mean 'version'?",
        ),
        (
            put("failures/then", "explode"),
            "plan.json: plan.failures.then: not one of the choices; found 'explode'; expected stop, pause, rollback-batch,"
            " rollback-all",
        ),
        (
            put("resolved/change/kind", "magic"),
            "plan.json: plan.resolved.change.kind: not one of the choices; found 'magic'; expected image, ",
        ),
        (
            put("ends/finish/repair", "x"),
            "plan.json: plan.ends.finish.repair: unknown key; found 'repair'; expected 'repairs'; did you mean 'repairs'?",
        ),
        (
            put("drift/mode", "ignore"),
            "plan.json: plan.drift.mode: not one of the choices; found 'ignore'; expected refuse, absorb, note",
        ),
        (
            put("scale_set/instances/a b\n", {"power": 1}),
            "plan.json: plan.scale_set.instances.'a b\\n'.power: unknown key; found 'power'; expected vm_id, zone, ",
        ),
        (
            put("zzz", 1),
            "plan.json: plan.zzz: unknown key; found 'zzz'; expected format, tool, title, scale_set, resolved, strategy,",
        ),
    ],
)
def test_what_does_not_fit_the_schema_is_named_by_its_path(change: Callable[[Tree], None], says: str) -> None:
    tree = tree_of()
    change(tree)
    assert refusal(signed(tree)).startswith(says)


def moved_twice(one: Plan) -> Plan:
    return replace(one, batches=(*one.batches, Batch(take=("3",), why="again")))


CONTRADICTIONS: list[tuple[Callable[[Plan], Plan], str, str, str, str]] = [
    # what is done to the plan; what, where, found and expected in the refusal
    (lambda one: replace(one, scale_set=replace(one.scale_set, capacity=9)), "the capacity is not the number of its instances", "scale_set.capacity", "9", "10"),
    (lambda one: replace(one, scale_set=replace(one.scale_set, capacity=0, instances={}), batches=()), "the capacity is not the number of its instances", "scale_set.capacity", "0", "1 or more"),
    (lambda one: renamed(one, "3", "*"), "not an instance id", "scale_set.instances", "'*'", "at most 256 characters"),
    (lambda one: renamed(one, "3", " "), "not an instance id", "scale_set.instances", "' '", "at most 256 characters"),
    (lambda one: renamed(one, "3", "9" * 5000), "not an instance id", "scale_set.instances", repr("9" * 60), "at most 256 characters"),
    (lambda one: pinned(one, zone="1" * 5000), "not a zone", "scale_set.instances.0.zone", repr("1" * 60), "1, 2 or 3"),
    (moved_twice, "an instance stands twice", "batches[5].take", "'3'", "only in batches[3]"),
    (lambda one: batch(one, take=("0", "0")), "an instance stands twice", "batches[0].take", "'0'", "only in batches[0]"),
    (lambda one: batch(one, take=("77",)), "an instance that the set does not have", "batches[0].take", "'77'", "0, 5, 1, 6, 2, 7, 3, 8 and 2 more"),
    (lambda one: batch(one, take=()), "a batch of none would never finish", "batches[0]", "no instances", "1 or more"),
    (lambda one: batch(one, add=-1), "a negative number of instances", "batches[0].add", "-1", "0 or more"),
    (lambda one: batch(one, soak_ms=-1), "a negative time", "batches[0].soak_ms", "-1", "0 or more"),
    (lambda one: replace(one, skipped={"0": "protected"}), "an instance is both moved and skipped", "batches[0].take", "'0'", "skipped: protected"),
    (lambda one: replace(one, skipped={"x": "protected"}), "an instance that the set does not have", "skipped", "'x'", "0, 5, 1, 6, 2, 7, 3, 8 and 2 more"),
    (lambda one: replace(one, floor=Threshold(given="60%", absolute=5)), "60% of 10 is another number", "floor.absolute", "5", "6"),
    (lambda one: replace(one, floor=Threshold(given="60 %", absolute=6)), "an amount is written otherwise", "floor.given", "'60 %'", "'60%'"),
    (lambda one: replace(one, floor=Threshold(given="9" * 5000, absolute=6)), "not an amount", "floor.given", repr("9" * 60), "a count, 80% or n-2"),
    (lambda one: replace(one, rollback_floor=Threshold(given="some", absolute=6)), "not an amount of instances", "rollback_floor.given", "'some'", 'a count (8), "80%" or "n-2"'),
    (lambda one: replace(one, emergency_floor=Threshold(given="1", absolute=0)), "1 of 10 is another number", "emergency_floor.absolute", "0", "1"),
    (lambda one: replace(one, required=Threshold(given="n-1", absolute=10)), "n-1 of 10 is another number", "required.absolute", "10", "9"),
    (lambda one: replace(one, objective=Threshold(given="75%", absolute=7)), "75% of 10 is another number", "objective.absolute", "7", "8"),
    (lambda one: replace(one, gates=replace(one.gates, drop=Threshold(given="25%", absolute=3))), "25% of 10 is another number", "gates.drop.absolute", "3", "2"),
    (lambda one: replace(one, gates=replace(one.gates, upgraded_unhealthy=Threshold(given="0", absolute=9))), "0 of 10 is another number", "gates.upgraded_unhealthy.absolute", "9", "0"),
    (lambda one: replace(one, failures=replace(one.failures, max_failed=Threshold(given="2", absolute=10))), "2 of 10 is another number", "failures.max_failed.absolute", "10", "2"),
    (lambda one: replace(one, floor_min=-1), "a negative number of instances", "floor_min", "-1", "0 or more"),
    (lambda one: replace(one, floor=Threshold(given="9", absolute=9)), "a batch is larger than the budget (10 minus the floor, 9)", "batches[0].take", "2", "at most 1"),
    (lambda one: resolved(one, patch={**one.resolved.patch, "properties.x": 1}), "what is done does not follow from the change and the set", "resolved.patch", str({**plan().resolved.patch, "properties.x": 1}), str(plan().resolved.patch)),
    (lambda one: resolved(one, reverse={}), "what is done does not follow from the change and the set", "resolved.reverse", "{}", str(plan().resolved.reverse)),
    (lambda one: resolved(one, target=Target(latest_model=True)), "what is done does not follow from the change and the set", "resolved.target", str(Target(latest_model=True)), str(plan().resolved.target)),
    (lambda one: resolved(one, back_image=ImageReference(id="x")), "what is done does not follow from the change and the set", "resolved.back_image", "x", "p:o:s:1.0.0"),
    (lambda one: resolved(one, loses=()), "what is done does not follow from the change and the set", "resolved.loses", "()", "('OS disk', 'temporary disk')"),
    (lambda one: resolved(one, action=Action.RESTART), "a restart does not change what a VM boots", "resolved.change", "image version 2.0.0", "a property change, or current-model"),
    (lambda one: replace(one, ends={key: row for key, row in ENDS.items() if key != "stop"}), "a table is not complete", "ends", "no stop", ", ".join(ENDS)),
    (lambda one: replace(one, ends={**ENDS, "halt": ENDS["stop"]}), "a table has an unknown row", "ends", "halt", ", ".join(ENDS)),
    (lambda one: replace(one, drift={}), "a table is not complete", "drift", "no at-target, capacity, health, identity, image, mode, model, new, placement, protected, replaced, reverted, vanished", ", ".join(plan().drift)),
    (lambda one: end(one, model="gone"), "not one of the choices", "ends.stop.model", "'gone'", "target, pinned, as-is"),
    (lambda one: end(one, in_flight="lost"), "not one of the choices", "ends.stop.in_flight", "'lost'", "awaited, left-running"),
    (lambda one: end(one, repairs="off"), "not one of the choices", "ends.stop.repairs", "'off'", "restored, suspended"),
    (lambda one: end(one, mode="rolling"), "not one of the choices", "ends.stop.mode", "'rolling'", "restored, as-is"),
    (lambda one: end(one, exit_code=6), "not an exit code", "ends.stop.exit_code", "6", "0 to 5"),
    (lambda one: replace(one, new_instances="apend"), "not one of the choices", "new_instances", "'apend'", "append, leave, stop"),
    (lambda one: replace(one, expires="tomorrow"), "not a time in UTC", "expires", "'tomorrow'", "YYYY-MM-DDTHH:MMZ"),
    (lambda one: replace(one, expires="2026-13-01T00:00Z"), "not a time in UTC", "expires", "'2026-13-01T00:00Z'", "YYYY-MM-DDTHH:MMZ"),
    (lambda one: replace(one, expires="2026-02-20T00:00"), "not a time in UTC", "expires", "'2026-02-20T00:00'", "YYYY-MM-DDTHH:MMZ"),
    (lambda one: replace(one, on_window_close="ignore"), "not one of the choices", "on_window_close", "'ignore'", "pause, wait"),
    (lambda one: replace(one, freezes=(Freeze(start="2026-12-20T00:00", end="2026-12-19T00:00", time_zone="UTC"),)), "a freeze that cannot be read", "freezes[0]", "it ends (2026-12-19T00:00) before it begins (2026-12-20T00:00)", "two times, and a time zone"),
    (lambda one: replace(one, needs_ms=(1,)), "not a time for every batch", "needs_ms", "1", str(len(plan().batches))),
    (lambda one: replace(one, needs_ms=(-1,) * len(one.batches)), "it cannot be negative", "needs_ms[0]", "-1", "0 or more"),
    (lambda one: replace(one, work_mode=UpgradeMode.AUTOMATIC), "instances that the planner moves are moved in mode manual", "work_mode", "automatic", "manual"),
    (lambda _: replace(plan(change=GuestPatch(script="true")), work_mode=UpgradeMode.ROLLING), "a run-command is carried out in the set's own mode", "work_mode", "rolling", "manual"),
    (lambda one: replace(one, moved_by=MovedBy.PLATFORM), "the platform moves nothing in mode manual", "work_mode", "manual", "automatic or rolling"),
    (lambda one: ladder(one, *()), "the ladder ends with quarantine, and nowhere else", "failures.ladder", "nothing", "…, quarantine"),
    (lambda one: ladder(one, Rung.UPGRADE), "the ladder ends with quarantine, and nowhere else", "failures.ladder", "upgrade", "…, quarantine"),
    (lambda one: ladder(one, Rung.QUARANTINE, Rung.QUARANTINE), "the ladder ends with quarantine, and nowhere else", "failures.ladder", "quarantine, quarantine", "…, quarantine"),
    (lambda one: replace(one, deadlines=Deadlines(stall_ms=-1)), "it cannot be negative", "deadlines.stall_ms", "-1", "0 or more"),
    (lambda one: replace(one, gates=replace(one.gates, pause_ms=-1)), "it cannot be negative", "gates.pause_ms", "-1", "0 or more"),
    (lambda one: replace(one, failures=replace(one.failures, refusals=-1)), "it cannot be negative", "failures.refusals", "-1", "0 or more"),
    (lambda one: replace(one, windows=(Window(days=("Mo",), start="1", end="2", time_zone=""),)), "a window that never opens", "windows[0]", "'Mo' is no weekday (Monday, or Mon)", "days, HH:MM, and a time zone"),
]  # fmt: skip


def renamed(one: Plan, name: str, other: str) -> Plan:
    seen = {other if key == name else key: value for key, value in one.scale_set.instances.items()}
    return replace(one, scale_set=replace(one.scale_set, instances=seen))


def pinned(one: Plan, **fields: Any) -> Plan:
    seen = dict(one.scale_set.instances)
    seen["0"] = replace(seen["0"], **fields)
    return replace(one, scale_set=replace(one.scale_set, instances=seen))


def batch(one: Plan, **fields: Any) -> Plan:
    return replace(one, batches=(replace(one.batches[0], **fields), *one.batches[1:]))


def resolved(one: Plan, **fields: Any) -> Plan:
    return replace(one, resolved=replace(one.resolved, **fields))


def end(one: Plan, **fields: Any) -> Plan:
    return replace(one, ends={**one.ends, "stop": replace(one.ends["stop"], **fields)})


def ladder(one: Plan, *rungs: Rung) -> Plan:
    return replace(one, failures=replace(one.failures, ladder=rungs))


@pytest.mark.parametrize("row", CONTRADICTIONS, ids=lambda row: f"{row[2]}-{row[3]}"[:40])
def test_a_plan_that_contradicts_itself_is_refused(row: tuple[Callable[[Plan], Plan], str, str, str, str]) -> None:
    edit, what, place, found, expected = row
    assert refusal(encode(edit(plan()))) == (
        f"plan.json: plan.{place}: the plan contradicts itself: {what}; found {found}; expected {expected}; {AGAIN}"
    )


def test_the_check_sees_instances_out_of_service_as_free() -> None:
    free = plan(fleet(odd=sick(0)), floor=9, parameters={"fit": True, "size": 1})
    merged = replace(free, batches=(Batch(take=("0", "5"), why="one is sick"), *free.batches[2:]))
    assert decode(encode(merged), "f").plan == merged
    one_more = replace(free, batches=(Batch(take=("0", "5", "1"), why="one is sick", add=1), *free.batches[3:]))
    assert "only a surge adds instances; found 1; expected 0" in refusal(encode(one_more))


def test_a_surge_is_written_and_read_and_says_what_it_needs() -> None:
    quota = Quota(cores_limit=100, cores_used=60, cores_per_vm=4, free_addresses=9)
    made = plan(strategy="surge", parameters={"size": 2, "fallback": "in-place"}, floor=None, quota=quota)
    assert decode(encode(made), "f").plan == made
    told = {section.title: section.lines for section in describe(made)}
    assert told["Added capacity"] == (
        "at most 2 are added at a time: 12 instances at the peak, of 1000 the set may hold",
        "cores: 48 at the peak, 8 more than now; 40 are free",
        "addresses: 2 more than now; 9 are free",
        "where the platform refuses to add: that batch goes in place, with n-2 = 8 of 10 kept in service",
        "an added instance that does not come to serve is replaced 1 times; then its old one stays",
    )
    assert told["Batches"][1] == "1. would replace 0, 5 after adding 2 instances (surge of 2)"
    surging = made.surge
    assert surging is not None
    for edit, found in (
        (replace(made, surge=replace(surging, peak=11)), "surge.peak: the plan contradicts itself"),
        (replace(made, surge=replace(surging, replace=-1)), "surge.replace"),
        (replace(made, batches=(replace(made.batches[0], add=3), *made.batches[1:])), "batches[0].add"),
        (replace(made, ends={**made.ends, "stop": replace(made.ends["stop"], added="sold")}), "ends.stop.added"),
    ):
        assert found in refusal(encode(edit))


@examples(100)
@given(case=cases())
def test_the_projection_holds_all_that_the_change_was_worked_out_from(case: Case) -> None:
    made = plan_or_none(case)
    if made is not None:
        seen = as_seen(made)
        assert list(seen.instances) == list(made.scale_set.instances)
        assert seen.model.image == case.fleet.scale_set().model.image


PATHS = st.lists(st.integers(0, 30), min_size=1, max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def graft(tree: Any, path: list[int], value: Any) -> None:
    """Put a value somewhere into a tree."""
    while True:
        keys: list[Any] = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
        key = keys[path[0] % len(keys)]
        path, inner = path[1:], tree[key]
        if not path or not isinstance(inner, dict | list) or not inner:
            tree[key] = value
            return
        tree = inner


@examples(250)
@given(path=PATHS, value=JSON)
def test_a_signed_plan_with_anything_anywhere_is_refused_or_whole(path: list[int], value: Any) -> None:
    """Whatever passes can be described, linted and written again."""
    tree = tree_of(plan(fleet(odd={1: {"protected": True}}), parameters={"approve": True}))
    graft(tree, path, value)
    try:
        made = decode(signed(tree), "plan.json").plan
    except InputError as error:
        assert str(error).startswith("plan.json: ")
        return
    lint_plan(made)
    describe(made)
    assert decode(encode(made), "f").plan == made


# The words for people.


def lines(made: Plan) -> dict[str, tuple[str, ...]]:
    return dict(describe(made))


def test_a_plan_in_words() -> None:
    place = fleet(
        odd={**sick(2), 9: {"protected": True}},
        repairs=AutomaticRepairs(enabled=True),
        sku="Standard_D2s_v5",
        **rolling(),
    )
    made = plan(place, required="50%", min_healthy=6, drop="20%", title="May patch day")
    told = lines(replace(made, windows=(Window(days=("Mon",), start="22:00", end="04:00", time_zone="UTC"),)))
    assert list(told) == [
        "Scale set",
        "Change",
        "What is lost",
        "Thresholds",
        "Batches",
        "Left out",
        "Gates",
        "Deadlines",
        "Failures",
        "The way back",
        "What is left behind",
        "If the set differs when it is applied",
        "Windows",
        "Findings",
    ]
    assert told["Scale set"] == (
        "May patch day",
        "web, uniform, 10 instances, Standard_D2s_v5, unknown",
        "image p:o:s:1.0.0",
        "mode rolling, for the rollout manual",
        "9 of 10 (90 %) in service, 1 out of service; health source: extension",
        "automatic repairs: replace after 10 min, suspended for the rollout",
    )
    assert told["Change"] == (
        "image version 2.0.0, by upgrade",
        'properties.virtualMachineProfile.storageProfile.imageReference.version: "1.0.0" -> "2.0.0"',
        "strategy batch (version 1), the planner moves the instances",
        f"parameters {json.dumps(msgspec.to_builtins(made.parameters), ensure_ascii=False)}",
    )
    assert told["What is lost"] == (
        "each instance that is moved loses its OS disk and its temporary disk; data disks are kept",
    )
    assert told["Thresholds"] == (
        "floor 6 of 10 in service, which commands may not cross; never below 1",
        "on the way back 6 of 10",
        "on the way back in an emergency 1 of 10",
        "required 50% = 5 of 10: fewer in service is downtime",
        "objective 6 of 10: judged afterwards",
    )
    assert told["Batches"] == (
        "9 of 10 (90 %) in 5 batches",
        "1. would upgrade 0, 5 (2 at a time)",
        "2. would upgrade 1, 6 (2 at a time)",
        "3. would upgrade 2, 7 (2 at a time)",
        "4. would upgrade 3, 8 (2 at a time)",
        "5. would upgrade 4 (2 at a time)",
    )
    assert told["Left out"] == ("protected: 1 of 10 (10 %): 9",)
    assert told["Gates"] == (
        "upgraded instances that may be out of service again: 0 of 10",
        "fewer in service than before the rollout: at most 20% = 2 of 10",
        "after each batch: soak 1 min, then pause 0 s",
    )
    assert told["Deadlines"][0] == "one operation: 1 h 30 min"
    assert told["Failures"] == (
        "a failed instance: upgrade again, then give up (quarantine)",
        "more than 2 of 10 given up, or a gate that does not hold: stop",
        "a refusal (409, 429): again after 5 s and longer, at most 10 in a row",
        "stale instances that the plan did not see: append",
    )
    assert told["The way back"] == (
        'the model goes back first: properties.virtualMachineProfile.storageProfile.imageReference.version = "1.0.0"',
        "booted p:o:s:1.0.0: 9 instances: 0, 5, 1, 6, 2, 7, 3, 8, 4",
    )
    assert told["What is left behind"][3] == (
        "stop: model pinned, operations in flight awaited, repairs restored, mode as-is, exit status 1"
    )
    assert told["If the set differs when it is applied"][0] == "refused: identity, mode, model"
    assert told["Windows"] == ("Mon 22:00 to 04:00 UTC", "when a window closes: pause")
    assert told["Findings"] == (
        "VS328 warning: 1 of 10 (10 %) are left alone: 9 (protected); mode rolling is not put back meanwhile; lift the"
        " protection, or bring them up by hand",
    )


def test_words_for_the_other_kinds_of_plans() -> None:
    told = lines(plan(strategy="automatic", floor=None))
    assert told["Thresholds"] == ("floor 0 of 10: nothing holds the platform back",)
    assert told["Batches"][0] == "10 of 10 (100 %) in 1 batch (a forecast)"
    assert told["Batches"][1].startswith("1. the platform would upgrade 0, 5, 1, 6")
    told = lines(plan(change=GuestPatch(script="apt\nreboot", undo="undo it"), parameters={"approve": True}))
    assert told["Change"][1:4] == ("the model stays as it is", "script | apt", "script | reboot")
    assert told["The way back"] == ("undo | undo it",)
    assert told["What is lost"] == ("no disk is lost",)
    assert told["Batches"][2] == "2. would run the patch on 1, 6 (2 at a time; waits for an operator)"
    told = lines(
        plan(change=PropertyChange(path=SETTING, value={"a": 1}), strategy="selected", parameters={"ids": ["3"]})
    )
    assert told["What is lost"] == ("no disk is lost; whether a VM restarts depends on the property",)
    assert told["Change"][1] == 'properties.tags: "old" -> {"a":1}'
    assert told["Left out"] == ("in no batch: 9 of 10 (90 %): 0, 5, 1, 6, 2, 7, 8, 4, 9",)
    told = lines(plan(strategy="per-ud", floor=9, parameters={"soak_ms": 90_500}))
    assert told["Batches"][-1] == "split: update-domain 4: 2 instances in 2 batches, since the budget is 1"
    assert told["Gates"][-1] == "after each batch: soak 90.5 s, then pause 0 s"


def test_a_terminal_is_not_obeyed() -> None:
    evil = replace(plan(), title="fine\x1b[2J\u202e\n", tool="\x07")
    evil = batch(evil, why="\x1b]0;x\x07")
    shown = "".join(line for section in describe(evil) for line in section.lines)
    assert shown.isprintable()
    assert lines(evil)["Scale set"][0] == "fine\\x1b[2J\\u202e\\n"


@examples(60)
@given(case=cases())
def test_every_plan_has_its_words(case: Case) -> None:
    made = plan_or_none(case)
    if made is None:
        return
    told = lines(made)
    assert len(told["Batches"]) == 1 + len(made.batches) + len(made.splits)
    assert all(section.lines for section in describe(made))
    for section in describe(made):
        for line in section.lines:
            assert line.isprintable()


def test_image_change_is_the_default_of_these_tests() -> None:
    assert plan().resolved.change == ImageChange(version="2.0.0")


def test_what_a_stop_of_the_platforms_rollout_leaves_is_said() -> None:
    made = plan(fleet(**rolling()), strategy="platform-rolling")
    (line,) = [one for section in describe(made) for one in section.lines if one.startswith("stop: ")]
    assert "model pinned" in line
    assert "mode manual (in it the platform moves nothing when the model goes back)" in line
