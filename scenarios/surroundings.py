"""What surrounds a set in a scenario: Azure's open questions, disturbances and faults, as the world's own values.

The keys are the fields of the world's structs, durations by their name without `_ms`; so an option that the world gains is a
key of the scenario at once, and docs/scenario.md lists it from the same docstring.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from planner.errors import InputError
from planner.explain import convert, did_you_mean
from scenarios.timing import parse_duration_ms
from vmss_sim.world.config import Machine, Platform
from vmss_sim.world.faults import Autoscale, Disturbance, Fault, Foreign, Outage, Publication
from vmss_sim.world.operations import ID_KINDS, SET_KINDS

T = TypeVar("T", bound=msgspec.Struct)

DISTURBANCES: Mapping[str, type[Outage | Publication | Autoscale | Foreign]] = {
    "outage": Outage,
    "publication": Publication,
    "autoscale": Autoscale,
    "foreign": Foreign,
}
CHOICES: Mapping[str, tuple[str, ...]] = {
    "cancel_batch": ("complete", "abandoned"),
    "put_during_rollout": ("restarts", "conflict"),
    "concurrent_update": ("accepted", "conflict"),
    "overlap": ("coalesce", "queue", "conflict"),
    "protected_named": ("refuse", "skip", "act"),
    "reimage_boots": ("model", "own"),
    "reimage_temp": ("kept", "lost"),
    "repairs_wait": ("change", "unhealthy"),
    "failed_within_limits": ("succeeds", "fails"),
    "surge_failed": ("deleted", "left"),
    "no_signal_counts": ("healthy", "unhealthy"),
    "vms_of_a_request": ("independent", "together"),
    "scale_in": ("default", "newest", "oldest"),
    "verdict": ("delay", "fail", "time-out", "refuse", "lose-reply", "lose-request", "hang"),
    "request": (*SET_KINDS, *ID_KINDS),
    "of": ("", *SET_KINDS, *ID_KINDS),
}
"""The choices of a key, wherever it stands."""
MODES = ("automatic", "manual", "rolling")


ARGUMENTS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "set-capacity": (("capacity",), ()),
    "set-mode": (("mode",), ()),
    "update-model": ((), ("patch", "mode", "capacity")),
    "reimage": ((), ("exact_version", "temp_disk")),
    "reimage-all": ((), ("exact_version",)),
    "run-command": ((), ("run_name",)),
    "protect": ((), ("protected", "scale_in_protected")),
}
"""Of somebody else's requests: the arguments each needs, and those it may have. All others have none."""
_KINDS: Mapping[str, tuple[type[Any], str]] = {
    "capacity": (int, "a whole number from 0"),
    "mode": (str, ", ".join(MODES)),
    "patch": (dict, "a table of model paths and values"),
    "exact_version": (str, "text"),
    "temp_disk": (bool, "true or false"),
    "run_name": (str, "text"),
    "protected": (bool, "true or false"),
    "scale_in_protected": (bool, "true or false"),
}


def platform(given: Mapping[str, Any], where: str) -> Platform:
    """`[platform]`. Raises InputError."""
    return _made(given, Platform, where)


def disturbances(given: list[dict[str, Any]], where: str) -> tuple[Disturbance, ...]:
    """`[[disturbance]]`. Raises InputError."""
    made = []
    for index, table in enumerate(given):
        at = f"{where}[{index}]"
        kind = table.get("kind")
        if not isinstance(kind, str) or kind not in DISTURBANCES:
            raise InputError("unknown kind of disturbance", f"{at}.kind", reprlib.repr(kind), ", ".join(DISTURBANCES))
        rest = {key: value for key, value in table.items() if key != "kind"}
        one = _made(rest, DISTURBANCES[kind], at)
        if isinstance(one, Foreign):
            _check_args(one, f"{at}.args")
        made.append(one)
    return tuple(made)


def _check_args(one: Foreign, where: str) -> None:
    """A foreign request's arguments: what it needs is there, what it does not know is not, and the values make sense."""
    needs, takes = ARGUMENTS.get(one.request, ((), ()))
    for key in needs:
        if key not in one.args:
            raise InputError("something is missing", where, reprlib.repr(one.args), f"{key} = …")
    for key, value in one.args.items():
        at = f"{where}.{key}"
        if key not in (*needs, *takes):
            raise InputError(
                f"{one.request} knows no such thing", at, reprlib.repr(value), ", ".join((*needs, *takes)) or "none"
            )
        kind, says = _KINDS[key]
        if not isinstance(value, kind) or isinstance(value, bool) is not (kind is bool):
            raise InputError("wrong type", at, reprlib.repr(value), says)
        if (key == "capacity" and int(value) < 0) or (key == "mode" and value not in MODES):
            raise InputError("out of range", at, reprlib.repr(value), says)


def faults(given: list[dict[str, Any]], where: str) -> tuple[Fault, ...]:
    """`[[fault]]`. Raises InputError."""
    made = []
    for index, table in enumerate(given):
        at = f"{where}[{index}]"
        one = _made(table, Fault, at)
        if not 1 <= one.first <= one.last:
            raise InputError(
                "no operation has such a number",
                f"{at}.last",
                f"{one.first} to {one.last}",
                "first from 1, last from first",
            )
        if (one.exit_code or one.output) and (one.verdict, one.of) != ("fail", "run-command"):
            raise InputError(
                "only a run-command that fails exits with a code",
                f"{at}.exit_code" if one.exit_code else f"{at}.output",
                f"verdict {one.verdict} of {one.of or 'any'}",
                "verdict fail of run-command",
            )
        if one.until_ms is not None and one.until_ms <= one.from_ms:
            raise InputError(
                "it would end before it begins", f"{at}.until", f"{one.until_ms / 1000:g} s", "later than from"
            )
        made.append(one)
    return tuple(made)


def faults_of(document: dict[str, Any], where: str) -> tuple[Fault, ...]:
    """A file of `[[fault]]` tables and nothing else. Raises InputError."""
    tables = document.get("fault")
    if set(document) != {"fault"} or not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
        raise InputError(
            "not a file of faults", where, ", ".join(document) or "nothing", "[[fault]] tables (docs/scenario.md)"
        )
    return faults(tables, f"{where}: fault")


def fits(found: tuple[Disturbance, ...], machines: tuple[Machine, ...], where: str) -> None:
    """A disturbance that names a place or an instance that the set does not have is a slip, and said. Raises InputError."""
    known: Mapping[str, set[Any]] = {
        "zone": {one.zone for one in machines},
        "update_domain": {one.update_domain for one in machines},
        "fault_domain": {one.fault_domain for one in machines},
    }
    ids = {one.id for one in machines}
    for index, one in enumerate(found):
        for key, values in known.items():
            value = getattr(one, key, None)
            if value is not None and value not in values:
                there = ", ".join(sorted(str(each) for each in values if each is not None)) or "none is known"
                raise InputError(
                    f"no instance is in such a {key.replace('_', ' ')}", f"{where}[{index}].{key}", repr(value), there
                )
        missing = [name for name in getattr(one, "ids", None) or () if name != "*" and name not in ids]
        if missing and not isinstance(one, Foreign):
            raise InputError(
                "no such instance",
                f"{where}[{index}].ids",
                reprlib.repr(missing),
                f"{len(ids)} instances, such as {sorted(ids)[0]!r}",
            )


def told(found: tuple[Disturbance, ...], verdicts: tuple[Fault, ...]) -> list[tuple[str, str, str]]:
    """What happens meanwhile, for the table of assumptions: name, value, key."""
    rows = []
    for one in found:
        fields = msgspec.structs.asdict(one)
        said = {
            key.removesuffix("_ms"): value
            for key, value in fields.items()
            if value is not None and value is not False and value not in ((), {})
        }
        at = said.pop("at") / 1000
        if "for" in said:
            said["for"] = f"{said['for'] / 1000:g} s"
        details = ", ".join(f"{key} {value}" for key, value in said.items())
        rows.append((f"meanwhile, at {at:g} s", f"{type(one).__name__.lower()}: {details}", "disturbance"))
    for fault in verdicts:
        rows.append(
            (
                "requests meet a fault",
                f"{fault.verdict} {fault.of or 'any request'}, number {fault.first} to {fault.last}",
                "fault",
            )
        )
    return rows


def _made(given: Mapping[str, Any], kind: type[T], where: str) -> T:
    """A struct of the world from a table: durations by their name without `_ms`."""
    fields = {field.name.removesuffix("_ms"): field for field in msgspec.structs.fields(kind)}
    made: dict[str, Any] = {}
    for key, value in given.items():
        at = f"{where}.{key}"
        field = fields.get(key)
        if field is None:
            expected = ", ".join(fields)
            raise InputError("unknown key", at, reprlib.repr(value), expected, did_you_mean(key, tuple(fields)))
        if field.name != key:
            made[field.name] = parse_duration_ms(value, at)
            continue
        if key in CHOICES and value not in CHOICES[key]:
            near = did_you_mean(str(value), CHOICES[key])
            raise InputError("unknown choice", at, reprlib.repr(value), ", ".join(filter(None, CHOICES[key])), near)
        made[key] = tuple(value) if isinstance(value, list) else value
    return convert(made, kind, where)
