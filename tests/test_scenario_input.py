"""Bad input is one clear line that names file, key, what was found and what was expected; never another exception.

The table is checked through the whole way of a scenario: file, schema, set, plans. Below it, Hypothesis takes a scenario
that uses every table and deletes, replaces and inserts.
"""

from __future__ import annotations

import copy
import json
import math
import os
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from planner.errors import InputError
from scenarios import files, schema_doc
from scenarios.build import setup
from scenarios.choices import choice
from scenarios.files import BUNDLED, convert, find_scenario, load, read_json
from scenarios.schema import Scenario
from vmss_sim.study.compare import plans

SNAPSHOTS = BUNDLED.parent / "snapshots"
VALID = """\
title = "a"
[scale_set]
instances = 6
[change]
version = "22.04.202606010"
"""


def go(text: str | bytes, folder: Path) -> None:
    """All the way from the file to the plans."""
    file = folder / "s.toml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    plans(setup(load(file), folder, str(file)))


def refusal(text: str | bytes, folder: Path) -> str:
    with pytest.raises(InputError) as error:
        go(text, folder)
    line = str(error.value)
    assert len(line) < 1000
    return line


def test_the_scenario_the_cases_are_made_from_is_valid(tmp_path: Path) -> None:
    go(VALID, tmp_path)


# -- keys, types, ranges ----------------------------------------------------------------------------------------------

# What is put into the valid scenario (key: TOML value, at the table's place), and what the line then says.
SET, CHANGE = "scale_set", "change"
VALUES: list[tuple[str, str, str]] = [
    # unknown keys name the nearest
    ("titel", '"b"', "titel: unknown key; found 'titel'; expected 'title'; did you mean 'title'?"),
    ("scale_set.instance", "3", "scale_set.instance: unknown key; found 'instance'; expected 'instances'; did you mean 'instances'?"),
    ("scale_set.rolling", "{ batch = 20 }", "scale_set.rolling.batch: unknown key; found 'batch'; expected 'max_batch'; did you mean 'max_batch'?"),
    ("timing.redy", '"1m"', "timing.redy: unknown key; found 'redy'; expected 'ready'; did you mean 'ready'?"),
    ("objective.min_helthy", "3", "objective.min_helthy: unknown key; found 'min_helthy'; expected 'min_healthy'; did you mean 'min_healthy'?"),
    ("failures.bad_image", "{ shares = 1 }", "failures.bad_image.shares: unknown key; found 'shares'; expected 'share'; did you mean 'share'?"),
    ("load.xyzzy", "1", "load.xyzzy: unknown key; found 'xyzzy'; expected required, curve, per_vm, time_zone"),
    ("change.guest", '{ scripts = "x" }', "change.guest.scripts: unknown key; found 'scripts'; expected 'script'; did you mean 'script'?"),
    # wrong types
    ("scale_set.instances", '"ten"', "scale_set.instances: wrong type; found 'ten'; expected a whole number"),
    ("scale_set.instances", "6.5", "scale_set.instances: wrong type; found 6.5; expected a whole number"),
    ("scale_set.instances", "true", "scale_set.instances: wrong type; found true; expected a whole number"),
    ("scale_set", "6", "scale_set: wrong type; found 6; expected a table"),
    ("scale_set.repairs", '"yes"', "scale_set.repairs: wrong type; found 'yes'; expected true or false"),
    ("scale_set.unhealthy", "[3]", "scale_set.unhealthy[0]: wrong type; found 3; expected text"),
    ("scale_set.rolling", '"20%"', "scale_set.rolling: wrong type; found '20%'; expected a table"),
    ("scale_set.rolling", '{ pause = ["1m"] }', "scale_set.rolling.pause: wrong type; found a list; expected a duration (a whole number or a number or text)"),
    ("title", "3", "title: wrong type; found 3; expected text"),
    ("starts_at", "2026-11-24T02:00:00", "starts_at: wrong type; found the date or time 2026-11-24T02:00:00 (put it in quotes); expected text"),
    ("starts_at", "02:00:00", "found the date or time 02:00:00 (put it in quotes)"),
    ("objective.min_healthy", "0.8", "objective.min_healthy: wrong type; found 0.8; expected an amount (a whole number or text)"),
    ("objective.max_duration", "true", "objective.max_duration: wrong type; found true; expected a duration"),
    ("strategy", "3", "strategy: wrong type; found 3; expected a list"),
    ("strategy", '["per-ud"]', "strategy[0]: wrong type; found 'per-ud'; expected a table"),
    ("load.curve", '[["08:00", "six"]]', "load.curve[0][1]: wrong type; found 'six'; expected a number"),
    ("load.curve", '[["08:00"]]', "load.curve[0]: wrong value; found a list of length 1; expected a list of length 2"),
    ("expect.holds", '"a"', "expect.holds: wrong type; found 'a'; expected a list"),
    # numbers that are none
    ("objective.max_breach", "nan", "objective.max_breach: not a probability; found nan; expected 0 to 1"),
    ("objective.max_breach", "inf", "objective.max_breach: not a probability; found inf; expected 0 to 1"),
    ("objective.max_breach", "1.01", "objective.max_breach: not a probability; found 1.01; expected 0 to 1"),
    ("failures.upgrade", "-0.1", "failures.upgrade: not a probability; found -0.1; expected 0 to 1"),
    ("failures.upgrade", "nan", "failures.upgrade: not a probability; found nan"),
    ("failures.bad_image", "{ share = 2 }", "failures.bad_image.share: not a probability; found 2; expected 0 to 1"),
    ("failures.bad_image", '{ share = 1, after = "-1m" }', "failures.bad_image.after: this is not a duration; found '-1m'"),
    ("failures.bad_image", "{}", "failures.bad_image.share: a key is missing; found nothing; expected a value"),
    ("load.per_vm", "nan", "load.per_vm: "),
    # huge numbers
    ("scale_set.instances", "1001", "scale_set.instances: out of range; found 1001; expected 1 to 1000"),
    ("scale_set.instances", "9" * 30, "scale_set.instances: out of range; found 9999"),
    ("scale_set.update_domains", "9" * 4000, "scale_set.update_domains: out of range; found 9999"),
    ("objective.max_breach", "9" * 400, "objective.max_breach"),
    ("timing.ready", "9" * 400, "timing.ready: the number is out of range; found inf"),
    ("timing.ready", "1e400", "timing.ready: the number is out of range; found inf"),
    ("timing.ready", "1e9", "timing.ready: the number is out of range; found 1e+09; expected a number from 0 up to 315360000"),
    ("failures.retries", "1000000000", "failures.retries: out of range; found 1000000000; expected 0 to 100"),
    # the set
    ("scale_set.instances", "0", "scale_set.instances: out of range; found 0; expected 1 to 1000"),
    ("scale_set.instances", "-3", "scale_set.instances: out of range; found -3"),
    ("scale_set.from", '"x.json"', "scale_set: a scale set is given by `instances` or by `from`; found both; expected one of them"),
    ("scale_set.zones", "9", "scale_set.zones: out of range; found 9; expected 0 to 3"),
    ("scale_set.update_domains", "21", "scale_set.update_domains: out of range; found 21; expected 0 to 20"),
    ("scale_set.fault_domains", "6", "scale_set.fault_domains: out of range; found 6; expected 0 to 5"),
    ("scale_set.os", '"solaris"', "scale_set.os: unknown choice; found 'solaris'; expected linux, windows"),
    ("scale_set.health", '"ping"', "scale_set.health: unknown choice; found 'ping'; expected extension, probe, none"),
    ("scale_set.upgrade_mode", '"auto"', "scale_set.upgrade_mode: unknown choice; found 'auto'; expected automatic, manual, rolling"),
    ("scale_set.image", '"ubuntu"', "scale_set.image: not an image; found 'ubuntu'; expected publisher:offer:sku:version"),
    ("scale_set.image", '"a::b:c"', "scale_set.image: not an image"),
    ("scale_set.unhealthy", "7", "scale_set.unhealthy: out of range; found 7; expected 0 to 6"),
    ("scale_set.unhealthy", "-1", "scale_set.unhealthy: out of range; found -1"),
    ("scale_set.unhealthy", '["6"]', "scale_set.unhealthy: no such instance; found ['6']; expected '0' to '5'"),
    ("scale_set.unhealthy", '["1", "1"]', "scale_set.unhealthy: an instance is named twice; found ['1']; expected each once"),
    ("scale_set.protected", '["1", "web-1"]', "scale_set.protected: no such instance; found ['web-1']"),
    ("scale_set.rolling", "{ max_batch = 101 }", "scale_set.rolling.max_batch: out of range; found 101; expected 5 to 100"),
    ("scale_set.rolling", "{ max_unhealthy = 0 }", "scale_set.rolling.max_unhealthy: out of range; found 0; expected 5 to 100"),
    ("scale_set.rolling", "{ max_unhealthy_upgraded = -5 }", "scale_set.rolling.max_unhealthy_upgraded: out of range; found -5; expected 0 to 100"),
    ("scale_set.rolling", '{ pause = "-1m" }', "scale_set.rolling.pause: this is not a duration; found '-1m'"),
    # the change
    ("change.version", '"latest"', "change.version: `latest` cannot be confirmed on a VM nor rolled back; found latest"),
    ("change.version", '""', "change.version: nothing is named; found ''"),
    ("change.id", '"/subscriptions/x"', "change: a change is of one kind; found an image and id"),
    ("change.action", '"replace"', "change.action: unknown choice; found 'replace'; expected upgrade, reimage"),
    ("change.action", '"run-command"', "change: action run-command does not fit this change"),
    ("change.action", '"restart"', "change: a restart does not change what a VM boots"),
    ("change", "{}", "change: a change is of one kind; found nothing"),
    ("change", '{ sku = "other" }', "change.version: another image needs its version named"),
    ("change", '{ id = "/subscriptions/x" }', "change: the set does not run an image given by id"),
    ("change", '{ uri = "https://x/y.vhd" }', "change: the set does not run an image given by uri"),
    ("change", '{ set = { "a.b" = 1, "a.c" = 2 } }', "change.set: one property at a time; found a.b, a.c"),
    ("change", "{ set = { a = nan } }", "change.set: not a value of a model property; found nan; expected JSON, at most 50 levels deep"),
    ("change", "{ set = { a = [2026-11-24] } }", "change.set: not a value of a model property; found datetime.date"),
    ("change", '{ guest = { undo = "x" } }', "change.guest.script: a key is missing; found nothing; expected a value"),
    # times
    ("timing.upgrade", '"-5m"', "timing.upgrade: this is not a duration; found '-5m'; expected seconds, or text such as \"90s\", \"1h30m\""),
    ("timing.upgrade", "-5", "timing.upgrade: the number is out of range; found -5"),
    ("timing.upgrade", "nan", "timing.upgrade: the number is out of range; found nan"),
    ("timing.upgrade", '"recorde"', "timing.upgrade: this is not a timing; found 'recorde'; did you mean 'recorded'?"),
    ("timing.upgrade", "true", "timing.upgrade: this is not a number; found True"),
    ("timing.ready", "{ lognorml = { median = 1, p95 = 2 } }", "timing.ready: unknown key 'lognorml'; did you mean 'lognormal'?"),
    ("timing.ready", "{ lognormal = { median = 90, p95 = 45 } }", "timing.ready.lognormal: 'p95' is below 'median'"),
    ("timing.ready", "{ lognormal = { median = -1, sigma = 1 } }", "timing.ready.lognormal.median: the number is out of range; found -1"),
    ("timing.ready", "{ lognormal = { median = 1 } }", "timing.ready.lognormal: the spread is given once"),
    ("timing.ready", "{ empirical = [] }", "timing.ready.empirical: the table is empty"),
    ("timing.ready", "{ mixture = [] }", "timing.ready.mixture: the mixture is empty"),
    ("timing.ready", '"recorded"', "timing.ready: there is no recording of 'ready'"),
    ("timing.probe", '"-1s"', "timing.probe: this is not a duration; found '-1s'"),
    ("timing.poll", "-10", "timing.poll: the number is out of range; found -10"),
    ("failures.mttf", "0", "failures.mttf: a span of time; found 0; expected more than 0"),
    ("failures.mttr", '"x"', "failures.mttr: this is not a duration; found 'x'"),
    ("failures.becomes", '"alive"', "failures.becomes: unknown choice; found 'alive'; expected dead or old-image"),
    ("failures.background_hits", '"some"', "failures.background_hits: unknown choice; found 'some'"),
    ("failures.retries", "-1", "failures.retries: out of range; found -1; expected 0 to 100"),
    ("objective.max_duration", "0", "objective.max_duration: a span of time; found 0; expected more than 0"),
    ("objective.max_duration", '"-2h"', "objective.max_duration: this is not a duration; found '-2h'"),
    ("objective.horizon", '"0s"', "objective.horizon: a span of time; found '0s'; expected more than 0"),
    # percentages and counts
    ("objective.min_healthy", '"101%"', "objective.min_healthy: percentage out of range; found '101%'; expected 0% to 100%"),
    ("objective.min_healthy", '"-1%"', "objective.min_healthy: not an amount of instances; found '-1%'"),
    ("objective.min_healthy", "-1", "objective.min_healthy: an amount of instances cannot be negative; found -1"),
    ("objective.min_healthy", "7", "objective.min_healthy: more than there are; found 7 of 6; expected at most 6"),
    ("objective.min_healthy", '"most"', "objective.min_healthy: not an amount of instances; found 'most'; expected a count (8), \"80%\" or \"n-2\""),
    ("load.required", '"150%"', "load.required: percentage out of range; found '150%'"),
    ("load.required", "7", "load.required: more than there are; found 7 of 6"),
    # the load
    ("load.per_vm", "150", "load.per_vm: requests/s belong to a curve; found 150; expected `curve` beside it"),
    ("load", '{ required = 3, curve = [["08:00", 3]] }', "load: the need is given once; found required and curve; expected one of them"),
    ("load", "{ curve = [] }", "load.curve: the curve has no points"),
    ("load", '{ curve = [["25:00", 3]] }', "load.curve[0]: not a time of day; found '25:00'; expected 00:00 to 23:59"),
    ("load", '{ curve = [["noon", 3]] }', "load.curve[0]: not a date and time; found 'noon'"),
    ("load", '{ curve = [["08:00", -3]] }', "load.curve[0]: a need is a number from 0 up; found -3.0"),
    ("load", '{ curve = [["08:00", nan]] }', "load.curve[0]: a need is a number from 0 up; found nan"),
    ("load", '{ curve = [["08:00", 3], ["8:00", 4]] }', "load.curve: a time stands twice; found 08:00:00"),
    ("load", '{ curve = [["08:00", 300]], per_vm = 0 }', "load.per_vm: one VM serves more than nothing; found 0; expected a number above 0"),
    ("load", '{ curve = [["08:00", 300]], per_vm = inf }', "load.per_vm: one VM serves more than nothing; found inf"),
    ("load", '{ curve = [["08:00", 7]] }', "load.curve: the load always needs more than there are; found 7 VMs; expected at most 6"),
    ("load", '{ curve = [["08:00", 3]], time_zone = "Europe/Berln" }', "load.time_zone: unknown time zone; found 'Europe/Berln'"),
    ("load", '{ curve = "none.csv" }', "none.csv: the file cannot be read: No such file or directory; expected a readable file"),
    ("load", '{ curve = "a\\u0000b" }', "the file cannot be read"),
    ("load.time_zone", '"Mars/Olympus"', "load.time_zone: unknown time zone; found 'Mars/Olympus'"),
    ("starts_at", '"25:00"', "starts_at: not a time of day; found '25:00'"),
    ("starts_at", '"soon"', "starts_at: not a date and time; found 'soon'"),
    ("starts_at", '"9999-12-31"', "starts_at: a year out of range; found '9999-12-31'"),
    # room for more
    ("quota.cores_per_vm", "0", "quota.cores_per_vm: out of range; found 0; expected 1 to 1000000"),
    ("quota.cores_limit", "-1", "quota.cores_limit: out of range; found -1; expected 0 to 1000000"),
    ("quota", "{ cores_limit = 9, cores_used = 7, cores_per_vm = 2 }", "quota.cores_used: the set itself uses more cores; found 7; expected 6 x 2 = 12 or more"),
    ("strategy", '[{ name = "surge", fallback = "perhaps" }]', "surge.fallback: not a fall-back; found 'perhaps'; expected in-place or stop"),
    ("strategy", '[{ name = "surge", in_place_floor = "some" }]', "surge.in_place_floor: not an amount"),
    ("strategy", '[{ name = "platform-rolling", grace = -1 }]', "platform-rolling.grace"),
    # strategies
    ("strategy", '[{ name = "per-du" }]', "strategy 1: unknown strategy; found 'per-du'; expected automatic, one-by-one, selected, per-ud, per-fd, per-zone, batch, ramp, surge, platform-rolling; did you mean 'per-ud'?"),
    ("strategy", "[{ size = 3 }]", "strategy 1.name: a strategy has a name; found None"),
    ("strategy", "[{ name = 3 }]", "strategy 1.name: a strategy has a name; found 3"),
    ("strategy", '[{ name = "batch", label = 3 }]', "strategy 1.label: a label is text; found 3"),
    ("strategy", '[{ name = "batch", label = " " }]', "strategy 1.label: a label is text; found ' '"),
    ("strategy", '[{ name = "batch", label = "today" }]', "strategy: this label stands for what the set would do by itself; found 'today'"),
    ("strategy", '[{ name = "batch" }, { name = "ramp", label = "batch" }]', "strategy: two strategies have one label; found 'batch'"),
    ("strategy", '[{ name = "per-ud" }, { name = "batch", sizes = 2 }]', "strategy 2: batch.sizes: unknown parameter; found 2; expected pause, soak, max_failed, retries, on_failure, unhealthy_first, fit, approve, size, order, within; did you mean 'size'?"),
    ("strategy", '[{ name = "per-ud", size = 2 }]', "strategy 1: per-ud.size: unknown parameter; found 2; expected pause, soak, max_failed, retries, on_failure, unhealthy_first, fit, approve, only"),
    ("strategy", '[{ name = "batch", pause_ms = 2 }]', "strategy 1: batch.pause_ms: unknown parameter; found 2; expected pause, soak, max_failed, retries, on_failure, unhealthy_first, fit, approve, size, order, within; did you mean 'pause'?"),
    ("strategy", '[{ name = "batch", size = 0 }]', "strategy 1: batch.size: a batch of none would never finish; found 0; expected 1 or more"),
    ("strategy", '[{ name = "batch", size = "0%" }]', "strategy 1: batch.size: a batch of none would never finish; found '0%'"),
    ("strategy", '[{ name = "batch", size = "150%" }]', "strategy 1: batch.size: percentage out of range; found '150%'; expected 0% to 100%"),
    ("strategy", '[{ name = "batch", size = -1 }]', "strategy 1: batch.size: an amount of instances cannot be negative; found -1"),
    ("strategy", '[{ name = "batch", size = "two" }]', "strategy 1: batch.size: not an amount of instances; found 'two'"),
    ("strategy", '[{ name = "batch", size = 2.5 }]', "strategy 1: batch.size: not an amount of instances; found 2.5"),
    ("strategy", '[{ name = "batch", pause = "-1m" }]', "strategy 1: batch.pause: this is not a duration; found '-1m'"),
    ("strategy", '[{ name = "batch", retries = 1000000000 }]', "strategy 1: batch.retries: out of range; found 1000000000; expected 0 to 100"),
    ("strategy", '[{ name = "batch", retries = -1 }]', "strategy 1: batch.retries: out of range; found -1"),
    ("strategy", '[{ name = "batch", retries = "two" }]', "strategy 1: batch.retries: wrong type; found 'two'; expected a whole number"),
    ("strategy", '[{ name = "batch", fit = "yes" }]', "strategy 1: batch.fit: wrong type; found 'yes'; expected true or false"),
    ("strategy", '[{ name = "batch", max_failed = "101%" }]', "strategy 1: batch.max_failed: percentage out of range"),
    ("strategy", '[{ name = "batch", on_failure = "panic" }]', "strategy 1: batch.on_failure: unknown choice; found 'panic'; expected stop, pause, rollback-batch, rollback-all"),
    ("strategy", '[{ name = "batch", within = "rack" }]', "strategy 1: batch.within: not a border; found rack"),
    ("strategy", '[{ name = "batch", order = "random" }]', "strategy 1: batch.order: not an order; found random"),
    ("strategy", '[{ name = "ramp", start = 0 }]', "strategy 1: ramp.start: a batch of none would never finish; found 0"),
    ("strategy", '[{ name = "ramp", factor = 0 }]', "strategy 1: ramp.start, ramp.factor: a ramp starts with 1 or more"),
    ("strategy", '[{ name = "ramp", cap = "0%" }]', "strategy 1: ramp.cap: a batch of none would never finish"),
    ("strategy", '[{ name = "ramp", canary_soak = "x" }]', "strategy 1: ramp.canary_soak: this is not a duration; found 'x'"),
    ("strategy", '[{ name = "selected", ids = ["9"] }]', "strategy 1: selected.ids: no such instance; found ['9']; expected 0, 5, 1"),
    ("strategy", '[{ name = "selected", ids = "1" }]', "strategy 1: selected.ids: wrong type; found '1'; expected a list"),
    ("strategy", '[{ name = "per-ud", only = ["7"] }]', "strategy 1: per-update-domain.only: no such update-domain; found 7"),
    ("strategy", "[{}]", "strategy 1.name: a strategy has a name; found None"),
    # expectations
    ("expect.holds", '["a is b"]', "expect.holds[0]: not a claim; found 'a is b'"),
    ("expect.replications", "0", "expect.replications: out of range; found 0; expected 1 or more"),
]  # fmt: skip


def put(data: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The data with a value at a dotted key."""
    *tables, last = key.split(".")
    place = data
    for name in tables:
        place = place.setdefault(name, {})
    place[last] = value
    return data


@pytest.mark.parametrize(("key", "value", "says"), VALUES, ids=[f"{key}={value[:40]}" for key, value, _ in VALUES])
def test_a_value_that_cannot_be(key: str, value: str, says: str, tmp_path: Path) -> None:
    """The value is parsed as TOML and put at its key; the schema, the set and the plans then have their say."""
    data = put(tomllib.loads(VALID), key, tomllib.loads(f"x = {value}")["x"])
    with pytest.raises(InputError) as error:
        plans(setup(convert(data, Scenario, "s.toml"), tmp_path, "s.toml"))
    line = str(error.value)
    assert says in line
    assert "s.toml: " in line or ": the file cannot be read" in line, "the line names the file"
    assert "\n" not in line
    assert len(line) < 500


def test_the_table_names_every_table_of_the_schema() -> None:
    used = {key.split(".")[0] for key, _, _ in VALUES}
    assert used >= {name.split(".")[0] for name, _ in schema_doc.TABLES} | {"strategy", "starts_at", "title"}


def test_what_does_not_fit_this_set_refuses_the_strategy_only(tmp_path: Path) -> None:
    text = (
        VALID
        + '[objective]\nmin_healthy = "90%"\n[[strategy]]\nname = "per-zone"\n[[strategy]]\nname = "batch"\nsize = 6\n'
    )
    with pytest.raises(InputError, match=r"no strategy can be planned: per-zone: no instance's zone is known"):
        go(text, tmp_path)
    go(text.replace("90%", "50%") + "fit = true\n", tmp_path)


# -- files ------------------------------------------------------------------------------------------------------------

TOML: list[tuple[str, str | bytes, str]] = [
    ("empty", "", "s.toml: the file is not TOML; found an empty file; expected a scenario in TOML"),
    ("blank", " \n\n", "s.toml: the file is not TOML; found an empty file"),
    ("prose", "hello there", "the file is not TOML: Expected '=' after a key in a key/value pair (at line 1, column 7); found 'hello there'"),
    ("json", '{"a": 1}', "the file is not TOML: Invalid statement (at line 1, column 1); found '{\"a\": 1}'"),
    ("binary", bytes(range(256)), "s.toml: the file is not TOML; found a byte that is not text at position 128"),
    ("zero bytes", b"\0" * 50, "s.toml: the file is not TOML"),
    ("half of utf-16", "title".encode("utf-16")[:-1], "s.toml: the file is not TOML; found a byte that is not text at position"),
    ("duplicate key", VALID + "version = '1'\n", "the file is not TOML: Cannot overwrite a value (at line 6, column"),
    ("duplicate table", VALID + "[change]\n", "the file is not TOML: Cannot declare ('change',) twice (at line 6, column 8)"),
    ("a table that is a value", VALID + "[title]\n", "the file is not TOML: Cannot overwrite a value"),
    ("a key after a table", VALID + "timing.ready = 5\n", "s.toml: change.timing: unknown key; found 'timing'; expected version, sku,"),
    ("open string", 'title = "a', "the file is not TOML: "),
    ("an endless number", VALID.replace("6", "6" * 5000, 1), "the file is not TOML: Exceeds the limit (4300 digits)"),
    ("deep arrays", f"title = {'[' * 5000}", "s.toml: the file is not TOML: "),
    ("deep tables", f"[{'a.' * 3000}b]\n{VALID}", "s.toml: a: unknown key; found 'a'; expected title, scale_set,"),
    ("a deep timing", VALID + f"[timing]\nready.{'shifted.of.' * 3000}constant = 1\n", "timing.ready"),
    ("a deep property", VALID.replace("version =", f"set.{'a.' * 3000}b ="), "change.set: not a value of a model property; found"),

    ("nothing in it", "# only a comment\n", "title: a key is missing; found nothing; expected a value"),
    ("no set", 'title = "a"\n[change]\nversion = "1"\n', "s.toml: scale_set: a key is missing; found nothing; expected a value"),
    ("no change", 'title = "a"\n[scale_set]\ninstances = 1\n', "s.toml: change: a key is missing; found nothing; expected a value"),
    ("an empty set table", 'title = "a"\n[scale_set]\n[change]\nversion = "1"\n', "scale_set: a scale set is given by `instances` or by `from`; found neither; expected one of them"),
    ("two sets", VALID.replace("[scale_set]", "[[scale_set]]"), "scale_set: wrong type; found a list; expected a table"),
    ("a line break in a key", VALID + '["a\\nb"]\n', "s.toml: 'a\\nb': unknown key; found 'a\\nb'; expected title, scale_set,"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "says"), [case[1:] for case in TOML], ids=[case[0] for case in TOML])
def test_a_file_that_is_no_scenario(text: str | bytes, says: str, tmp_path: Path) -> None:
    line = refusal(text, tmp_path)
    assert line.startswith(f"{tmp_path / 's.toml'}: ")
    assert says in line
    assert "\n" not in line


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_fault(encoding: str, tmp_path: Path) -> None:
    go(VALID.replace("\n", "\r\n").encode(encoding), tmp_path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    large = tmp_path / "large.toml"
    with large.open("wb") as stream:
        stream.truncate(files.LARGEST + 1)
    cases = {
        str(large): "the file is too large; found 67108865 bytes; expected at most 67108864 (64 MiB)",
        "/dev/zero": "the file is too large; found more than 67108864 bytes",
        str(tmp_path): "this is a folder; expected a file",
        str(tmp_path / "no.toml"): "the file cannot be read: No such file or directory; expected a readable file",
        str(large / "x.toml"): "the file cannot be read: Not a directory",
        str(tmp_path / ("x" * 300)): "the file cannot be read: File name too long",
    }
    for name, says in cases.items():
        if name.startswith("/dev") and not Path(name).exists():
            continue  # a system without devices
        for read in (load, read_json):
            with pytest.raises(InputError) as error:
                read(Path(name))
            assert str(error.value).startswith(f"{name}: {says}")
    with pytest.raises(InputError, match="the file cannot be read: embedded null"):
        load(Path("a\0b"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    """`vmss-sim compare --model <(az vmss show …)`."""
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "wb") as stream:
        stream.write(b'{"a": 1}')
    try:
        place = Path(f"/dev/fd/{read_end}")
        if not place.exists():
            pytest.skip("this system has no /dev/fd")
        assert read_json(place) == {"a": 1}
    finally:
        os.close(read_end)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text(VALID)
    file.chmod(0)
    with pytest.raises(InputError, match="the file cannot be read: Permission denied"):
        load(file)


@pytest.mark.parametrize("name", ["no-such", "seed-articl", "", "a\0b", "x" * 5000, "/", "seed-article.tml"])
def test_a_name_of_no_scenario(name: str) -> None:
    with pytest.raises(InputError) as error:
        load(find_scenario(name))
    assert len(str(error.value)) < 600
    if name == "seed-articl":
        assert (
            str(error.value)
            == "seed-articl: no such file or bundled scenario; did you mean the bundled scenario 'seed-article'?"
        )


# -- snapshots --------------------------------------------------------------------------------------------------------


def snapshot_scenario(folder: Path, model: Any, instances: Any, more: str = "") -> str:
    for name, document in (("model.json", model), ("list.json", instances)):
        text = document if isinstance(document, str) else json.dumps(document)
        (folder / name).write_text(text)
    return (
        f'title = "a"\n[scale_set]\nfrom = ["model.json", "list.json"]\n{more}\n[change]\nversion = "22.04.202606010"\n'
    )


def documents() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    model, instances = ((SNAPSHOTS / name).read_text() for name in ("web-model.json", "web-instances.json"))
    return json.loads(model), json.loads(instances)


def test_the_snapshot_the_cases_are_made_from_is_valid(tmp_path: Path) -> None:
    go(snapshot_scenario(tmp_path, *documents(), 'os = "linux"'), tmp_path)


def twice(instances: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [*instances, instances[3]]


@pytest.mark.parametrize(
    ("model", "instances", "more", "says"),
    [
        (None, twice, "", "list.json: $[10]: instance '3' stands twice; found the first at "),
        (None, lambda _: [], "", "scale_set: the scale set has no instances; found 0; expected at least 1; give the list that `az vmss list-instances"),
        (None, lambda _: "", "", "list.json: the file is not JSON; found an empty file; expected JSON as Azure returns it (`az … -o json`)"),
        (None, lambda _: "InstanceId  Name\n", "", "list.json: the file is not JSON: JSON is malformed: invalid character (byte 0); found 'InstanceId  Name'"),
        (None, lambda _: "[" * 100_000, "", "list.json: the file is not JSON: "),
        (None, lambda _: "[1e999]", "", "list.json: the file is not JSON: Number out of range"),
        (None, lambda _: {"error": {"code": "AuthorizationFailed", "message": "no"}}, "", "list.json: not an ARM scale set; found an ARM error body, code 'AuthorizationFailed'"),
        (None, lambda _: 7, "", "list.json: not an ARM scale set; found the number 7"),
        (lambda model: model["sku"].update(capacity="ten"), None, "", "model.json: $.sku.capacity: capacity has the wrong type or value; found 'ten'; expected a whole number"),
        (lambda model: model["upgradePolicy"].update(mode="Auto"), None, "", "model.json: $.upgradePolicy.mode: "),
        (None, None, 'os = "windows"', "s.toml: scale_set.os: the files of `from` say otherwise; found 'windows'; expected linux"),
        (None, None, "zones = 3", "s.toml: scale_set.zones: the files of `from` say this themselves; found 3; expected no such key"),
        (None, None, "update_domains = 0", "s.toml: scale_set.update_domains: the files of `from` say this themselves; found 0"),
        (None, None, "flexible = true", "s.toml: scale_set.flexible: the files of `from` say this themselves; found True"),
        (None, None, 'name = "shop"', "s.toml: scale_set.name: the files of `from` say this themselves; found 'shop'"),
        (None, None, "instances = 10", "s.toml: scale_set: a scale set is given by `instances` or by `from`; found both"),
    ],
)  # fmt: skip
def test_a_snapshot_that_cannot_be(model: Any, instances: Any, more: str, says: str, tmp_path: Path) -> None:
    described, listed = documents()
    if model is not None:
        model(described)
    if instances is not None:
        listed = instances(listed)
    assert says in refusal(snapshot_scenario(tmp_path, described, listed, more), tmp_path)


def test_a_service_fabric_cluster_is_refused_with_the_reason(tmp_path: Path) -> None:
    described, listed = documents()
    extension = {
        "name": "sf",
        "publisher": "Microsoft.Azure.ServiceFabric",
        "typePropertiesType": "ServiceFabricLinuxNode",
    }
    described["virtualMachineProfile"]["extensionProfile"]["extensions"].append(extension)
    assert "upgrades through Service Fabric" in refusal(snapshot_scenario(tmp_path, described, listed), tmp_path)


# -- one strategy, as the command line names it -----------------------------------------------------------------------


def test_a_choice_names_where_it_came_from() -> None:
    with pytest.raises(InputError, match=r"^-p: batch\.size: percentage out of range; found '200%'"):
        choice("batch", {"size": "200%"}, "-p")
    assert choice("batch", {"size": "20%", "pause": "2m"}, "-p").parameters == {"size": "20%", "pause_ms": 120_000}


# -- anything ---------------------------------------------------------------------------------------------------------

FULL = put(
    put(tomllib.loads(schema_doc.EXAMPLE), "expect", {"recommend": ["carefully"], "holds": ["carefully: completed > 0"]}),
    "scale_set.protected",
    ["3"],
)  # fmt: skip
KEYS = sorted(
    {field.encode_name for _, kind in schema_doc.TABLES for field in msgspec.structs.fields(kind)}
    | {
        "name",
        "label",
        "size",
        "retries",
        "soak",
        "ids",
        "only",
        "cap",
        "canary",
        "lognormal",
        "p95",
        "mixture",
        "of",
        "",
    }
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 120)
    | st.integers()
    | st.floats()
    | st.sampled_from([10**30, -(10**400), math.inf, math.nan, 1e308, 5e-324])
    | st.text(max_size=8)
    | st.sampled_from(
        [
            "80%",
            "150%",
            "n-2",
            "n-99",
            "5m",
            "-1s",
            "recorded",
            "latest",
            "today",
            "per-ud",
            "ramp",
            "batch",
            "automatic",
            "linux",
            "windows",
            "none",
            "rolling",
            "08:00",
            "2026-03-29T02:30",
            "Europe/Berlin",
            "/x",
            "a://b",
            "a:b:c:d",
            "../snapshots/web-model.json",
            ".",
            "rollback-all",
            "carefully: completed > 0",
            "\x00",
            "٣",
        ]
    )
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=4),
    max_leaves=6,
)  # fmt: skip
near = scalars.flatmap(lambda value: st.sampled_from([value, [value], {"value": value}]))


def places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to every node below the root."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = []
    for key, item in items:
        found += [(*way, key), *places(item, (*way, key))]
    return found


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """The full scenario after one to four deletions, replacements and insertions."""
    data = copy.deepcopy(FULL)
    for _ in range(draw(st.integers(1, 4))):
        ways = places(data)
        if not ways:
            break
        *way, last = draw(st.sampled_from(ways))
        place = data
        for key in way:
            place = place[key]
        match draw(st.sampled_from(("delete", "replace", "replace", "insert"))):
            case "delete":
                del place[last]
            case "replace":
                place[last] = draw(near | anything)
            case "insert" if isinstance(place, dict):
                place[draw(st.sampled_from(KEYS))] = draw(near | anything)
            case "insert":
                place.insert(last, draw(near | anything))
    return data


def survive(data: Any) -> None:
    try:
        plans(setup(convert(data, Scenario, "s.toml"), BUNDLED, "s.toml"))
    except InputError as error:
        assert str(error).strip()


@given(mutated())
@example({**FULL, "strategy": [{"name": "ramp", "factor": 10**400}]})
@example({**FULL, "strategy": [{"name": "batch", "size": 10**400}]})
@example({**FULL, "strategy": [{"name": "batch", "max_failed": "9" * 5000}]})
@example({**FULL, "objective": {"min_healthy": "9" * 5000}})
@example({**FULL, "objective": {"min_healthy": "n-" + "9" * 5000}})
@example({**FULL, "scale_set": {"instances": 3, "name": ""}})
@example({**FULL, "strategy": [{"name": "one-by-one", "soak": 10**400}]})
def test_a_mutated_scenario_is_planned_or_refused_in_words(data: Any) -> None:
    survive(data)


@given(anything)
def test_anything_is_a_scenario_or_refused_in_words(data: Any) -> None:
    survive(data)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_scenario_or_refused_in_words(scratch: Path, data: bytes) -> None:
    try:
        go(data, scratch)
    except InputError as error:
        assert str(error).startswith(str(scratch))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scenario")
