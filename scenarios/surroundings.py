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
from vmss_sim.world.config import Platform
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
NEEDED = {"set-capacity": "capacity", "set-mode": "mode"}


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
            needed = NEEDED.get(one.request)
            if needed is not None and needed not in one.args:
                raise InputError("something is missing", f"{at}.args", reprlib.repr(one.args), f"{needed} = …")
        made.append(one)
    return tuple(made)


def faults(given: list[dict[str, Any]], where: str) -> tuple[Fault, ...]:
    """`[[fault]]`. Raises InputError."""
    return tuple(_made(table, Fault, f"{where}[{index}]") for index, table in enumerate(given))


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
            raise InputError("unknown choice", at, reprlib.repr(value), ", ".join(CHOICES[key]), near)
        made[key] = tuple(value) if isinstance(value, list) else value
    return convert(made, kind, where)
