"""docs/scenario.md: every key of the schema with type, default and meaning, made from the schema itself.

`python -m scenarios.schema_doc > docs/scenario.md` writes it; a test holds the file equal to what this prints. Meanings
are the `key: meaning` entries of the tables' docstrings; a key without one is a fault of the schema (KeyError).
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Collection
from typing import Any

import msgspec

from planner.strategies import STRATEGIES, Parameters
from scenarios import surroundings
from scenarios.expect import METRICS, PROBABILITIES, STATS
from scenarios.schema import (
    Amount,
    AutoOsTable,
    BadImageTable,
    ChangeTable,
    Duration,
    ExpectTable,
    FailuresTable,
    GuestTable,
    Law,
    LoadTable,
    ObjectiveTable,
    QuotaTable,
    RepairsTable,
    RollingTable,
    ScaleSetTable,
    Scenario,
    TimingTable,
)
from vmss_sim.world.config import Platform
from vmss_sim.world.faults import Fault

TABLES: tuple[tuple[str, type[msgspec.Struct]], ...] = (
    ("scale_set", ScaleSetTable),
    ("scale_set.rolling", RollingTable),
    ("scale_set.repairs", RepairsTable),
    ("scale_set.auto_os", AutoOsTable),
    ("change", ChangeTable),
    ("change.guest", GuestTable),
    ("timing", TimingTable),
    ("failures", FailuresTable),
    ("failures.bad_image", BadImageTable),
    ("load", LoadTable),
    ("objective", ObjectiveTable),
    ("quota", QuotaTable),
    ("expect", ExpectTable),
)
_WORDS: dict[Any, str] = {
    msgspec.inspect.IntType: "whole number",
    msgspec.inspect.FloatType: "number",
    msgspec.inspect.StrType: "text",
    msgspec.inspect.BoolType: "true or false",
    msgspec.inspect.AnyType: "any value",
    msgspec.inspect.DictType: "table",
}


def meanings(doc: str, names: Collection[str]) -> tuple[str, dict[str, str]]:
    """The introduction of a docstring, and the meaning of each of the names: `name: …`, `name, name: …`.

    An entry begins at a line's start, or after a full stop or semicolon, and ends where the next one begins.
    """
    text = inspect.cleandoc(doc)
    choice = "|".join(sorted((re.escape(name) for name in names), key=len, reverse=True)) or "(?!)"
    entry = re.compile(rf"(?:^|(?<=[.;] ))((?:{choice})(?:, (?:{choice}))*): ", re.MULTILINE)
    found = list(entry.finditer(text))
    made: dict[str, str] = {}
    for match, after in zip(found, [*found[1:], None], strict=True):
        meaning = _line(text[match.end() : after.start() if after else len(text)]).rstrip(";")
        for name in match[1].split(", "):
            made[name] = meaning if meaning.endswith((".", "…")) else f"{meaning}."
    return text[: found[0].start()].strip() if found else text, made


def _line(text: str) -> str:
    return " ".join(text.split())


def type_in_words(info: Any) -> str:
    """A type for people."""
    if isinstance(info, msgspec.inspect.Metadata):
        title = (info.extra_json_schema or {}).get("title")
        return f"[{title}](#{title}s)" if title else type_in_words(info.type)
    if isinstance(info, msgspec.inspect.UnionType):
        if {type(one) for one in info.types} == {msgspec.inspect.IntType, msgspec.inspect.StrType}:
            return "[amount](#amounts)"  # what a strategy's parameter of this type is
        return " or ".join(
            dict.fromkeys(type_in_words(one) for one in info.types if not isinstance(one, msgspec.inspect.NoneType))
        )
    if isinstance(info, msgspec.inspect.ListType | msgspec.inspect.VarTupleType):
        return f"list of {type_in_words(info.item_type)}"
    if isinstance(info, msgspec.inspect.TupleType):
        return f"[{', '.join(map(type_in_words, info.item_types))}]"
    if isinstance(info, msgspec.inspect.StructType):
        return "table"
    return _WORDS[type(info)]


def _default(field: Any, *, in_ms: bool = False) -> str:
    if field.required:
        return "**required**"
    value = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
    if value is None or value == "" or isinstance(value, msgspec.Struct):
        return ""
    if in_ms:
        value = value / 1000 if value % 1000 else value // 1000
    if isinstance(value, tuple):
        value = list(value)
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _table_of(kind: type[msgspec.Struct], *, own: Collection[str] = (), durations: bool = False) -> tuple[str, str]:
    """A struct's introduction, and its keys as a Markdown table. own: only these fields; durations: `_ms` is cut off."""
    info = msgspec.inspect.type_info(kind)
    assert isinstance(info, msgspec.inspect.StructType)  # the tables are structs
    fields = [field for field in info.fields if not own or field.name in own]
    names = {field.name: field.encode_name.removesuffix("_ms") if durations else field.encode_name for field in fields}
    intro, told = meanings(kind.__doc__ or "", names.values())
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for field in fields:
        name = names[field.name]
        words = "[duration](#durations)" if name != field.encode_name else type_in_words(field.type)
        lines.append(
            f"| `{name}` | {_cell(words)} | {_cell(_default(field, in_ms=name != field.encode_name))} | {_cell(told[name])} |"
        )
    return _paragraphs(intro), "\n".join(lines)


def _paragraphs(text: str) -> str:
    return "\n\n".join(_line(part) for part in text.split("\n\n"))


def _described(alias: Any) -> str:
    return next(str(one.description) for one in alias.__metadata__ if isinstance(one, msgspec.Meta))


def _strategies() -> list[str]:
    common = {field.name for field in msgspec.structs.fields(Parameters)}
    parts = ["Every strategy understands:", _table_of(Parameters, durations=True)[1]]
    for name, strategy in STRATEGIES.items():
        own = [field.name for field in msgspec.structs.fields(strategy.parameters) if field.name not in common]
        headline = _line((inspect.getmodule(strategy.make).__doc__ or "").split("\n")[0])
        parts.append(f"### {name}\n\n{headline}")
        if own:
            parts.append(_table_of(strategy.parameters, own=own, durations=True)[1])
    return parts


def _surroundings() -> list[str]:
    """What stands for the world's own structs."""
    intro, table = _table_of(Platform, durations=True)
    parts = ["## `[platform]`", f"{intro}\n\n{PLATFORM.strip()}", table, "## `[[disturbance]]`", DISTURBANCE]
    for name, kind in surroundings.DISTURBANCES.items():
        intro, table = _table_of(kind, durations=True)
        parts += [f"### kind = {name}", intro, table]
    intro, table = _table_of(Fault, durations=True)
    return [*parts, "## `[[fault]]`", intro, table]


def render() -> str:
    """The whole page."""
    parts = [INTRODUCTION, "## A complete example", f"```toml\n{EXAMPLE.strip()}\n```", VALUES]
    intro, table = _table_of(Scenario)
    parts += ["## Top level", intro, table]
    for name, kind in TABLES[:-1]:
        intro, table = _table_of(kind)
        parts += [f"## `[{name}]`", intro, table]
        if name == "load":
            parts.append(LOAD)
        if name == "failures.bad_image":
            parts += _surroundings()
    parts += ["## `[[strategy]]`", STRATEGY, *_strategies()]
    intro, table = _table_of(TABLES[-1][1])
    parts += [f"## `[{TABLES[-1][0]}]`", intro, table, EXPECT]
    return "\n\n".join(part.strip() for part in parts) + "\n"


INTRODUCTION = """
# Scenarios

<!-- Made by `python -m scenarios.schema_doc` from scenarios/schema.py: change it there. -->

A scenario is a TOML file: what set, what change, how things behave, what is wanted, what to compare. It holds data only.
`vmss-sim init` writes a commented one from what `az` prints; `vmss-sim scenarios` lists the bundled ones; `vmss-sim compare
FILE` answers it. Whatever a scenario leaves open is assumed, and the result lists every assumption with its origin.

An unknown key is an error that names the nearest known one. Every error is one line: file, key, what was found, what was
expected; exit status 2. Files are UTF-8 (or UTF-16 with a byte order mark), at most 64 MiB. Paths are relative to the
scenario's folder.
"""

EXAMPLE = """
title = "Shop front: the June image"
why = "May we roll it out in the evening, and how?"
starts_at = "20:00"

[scale_set]
instances = 12
zones = 3
os = "linux"
health = "extension"
upgrade_mode = "rolling"
rolling = { max_batch = 20, max_unhealthy = 20, max_unhealthy_upgraded = 20, pause = "1m" }
image = "Canonical:0001-com-ubuntu-server-jammy:22_04-lts:22.04.202604160"
unhealthy = ["7"]

[change]
version = "22.04.202606010"

[timing]
upgrade = "recorded"
ready = { lognormal = { median = "45s", p95 = "2m" } }
probe = "10s"

[failures]
upgrade = 0.01
retries = 2
bad_image = { share = 0.1, after = "5m" }

[load]
curve = [["00:00", 400], ["07:00", 900], ["18:00", 1300], ["21:00", 700]]
per_vm = 150
time_zone = "Europe/Berlin"

[objective]
min_healthy = "75%"
max_duration = "2h"
max_breach = 0.02

[[strategy]]
name = "per-zone"

[[strategy]]
name = "batch"
label = "carefully"
size = 1
soak = "6m"
unhealthy_first = true
on_failure = "rollback-all"
"""

VALUES = f"""
## Kinds of values

### durations

{_described(Duration)[0].upper()}{_described(Duration)[1:]}. Units are d, h, m, s and ms, in this order.

### amounts

{_described(Amount)[0].upper()}{_described(Amount)[1:]}. A minimum rounds up, a maximum rounds down: 80 % of 6 is at least 5,
20 % of 6 is at most 1. A batch is at least one instance.

### timings

{_described(Law)[0].upper()}{_described(Law)[1:]}.

| timing | what it is |
|---|---|
| `30`, `"30s"`, `{{ constant = 30 }}` | always so long |
| `"recorded"` | what `timing.file` says, else fitted to public recordings of real operations, by operation and operating system ([how well](calibration.md)) |
| `{{ lognormal = {{ median = 45, p95 = 90 }} }}` | half are shorter than `median`, 95 % than `p95`; `sigma` may stand for `p95`; `cap` clips |
| `{{ exponential = {{ mean = 120 }} }}` | memoryless; `cap` clips |
| `{{ empirical = [41, 44, 52, 79] }}` | what you measured, in any order; straight lines between the sorted values |
| `{{ shifted = {{ by = 30, of = "recorded" }} }}` | so much more than another timing |
| `{{ mixture = [{{ weight = 7, lognormal = {{ median = 108, sigma = 0.1 }} }}, {{ weight = 3, constant = 480 }}] }}` | one of several, drawn for each operation |
| `{{ regime = [{{ weight = 7, constant = 110 }}, {{ weight = 3, constant = 480 }}] }}` | a mixture of which one part holds for a whole replication: a day on which everything is slow |
"""

LOAD = """
### The load file

A CSV file of two columns, time and value. A header, empty lines and lines that begin with `#` are skipped.

```csv
time,requests_per_second
00:00,400
07:00,900
18:30,1300
21:00,700
```

Times of day make a daily curve: a value holds until the next time, the last one past midnight, by the clock of `time_zone`,
daylight saving included. Dates and times (`2026-05-04T18:30`, `2026-05-04T18:30+02:00`) make a history, whose values hold as they
are; it must reach `starts_at`. Values are VMs, or requests/s with `per_vm`: the need is the value divided by it, rounded up.
A decimal point, no decimal comma; no time twice.
"""

PLATFORM = """
DOC-x, REC and API are the sources listed in [azure-rules.md](azure-rules.md).
"""

DISTURBANCE = """
What happens to the set meanwhile, whatever the rollout does: a table for each, with its `kind`. Times count from the rollout's start.
"""

STRATEGY = """
A table for each strategy to be compared: `name`, its parameters, and optionally `label`, which must differ from all others.
Without any, all strategies that fit the set are compared with their defaults; the result says which do not fit and why.
`today`, what the set's present mode and policy would do, is always compared.
"""

EXPECT = f"""
A claim is `LABEL: QUANTITY OP RIGHT`. QUANTITY is `metric.statistic` or a probability; OP one of `<`, `<=`, `>`, `>=`, `==`,
`!=`; RIGHT a number, or `LABEL: QUANTITY` of another strategy.

* metrics: {", ".join(f"`{name}`" for name in METRICS)}
* statistics: {", ".join(f"`{name}`" for name in STATS)}
* probabilities: {", ".join(f"`{name}`" for name in PROBABILITIES)}
"""


if __name__ == "__main__":
    sys.stdout.write(render())
