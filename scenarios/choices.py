"""The strategies of a scenario: parameters as people write them, labels, and which fit the set.

What is wrong in a strategy's parameters is wrong in the file, and said here; what merely does not fit this set is found
when the plan is made, and refuses that strategy only.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from planner.arm_json import Gap
from planner.build import parameters_of
from planner.errors import InputError
from planner.explain import did_you_mean
from planner.model import (
    Orchestration,
    ScaleSet,
    UpgradeMode,
)
from planner.strategies import STRATEGIES, Strategy, find
from scenarios.given import amount_of, count_of
from scenarios.schema import (
    Scenario,
)
from scenarios.timing import parse_duration_ms
from vmss_sim.world.timings import Timing

RETRIES = 100
TODAY = "today"


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """A strategy to be compared: its label in the results, its name and its parameters."""

    label: str
    name: str
    parameters: dict[str, Any]


def parameters(strategy: Strategy, given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A strategy's parameters as people write them: durations by their name without `_ms`. Raises InputError (rule 5)."""
    fields = {field.name.removesuffix("_ms"): field for field in msgspec.structs.fields(strategy.parameters)}
    made: dict[str, Any] = {}
    for key, value in given.items():
        at = f"{where}: {strategy.name}.{key}"
        if key not in fields:
            found, expected = reprlib.repr(value), ", ".join(fields)
            raise InputError("unknown parameter", at, found, expected, did_you_mean(key, fields))
        field = fields[key]
        if field.name != key:
            made[field.name] = parse_duration_ms(value, at)
        elif field.type == int | str:
            amount_of(value, at)
            made[key] = value
        else:
            made[key] = value
    if isinstance(made.get("retries"), int):
        count_of(made["retries"], 0, f"{where}: {strategy.name}.retries", 0, RETRIES)
    try:
        parameters_of(strategy, made)
    except InputError as error:
        raise InputError(error.what, f"{where}: {error.where}", error.found, error.expected, error.fix) from error
    return made


def choice(
    name: str, given: Mapping[str, Any], where: str, label: str = "", known: Mapping[str, Strategy] = STRATEGIES
) -> Choice:
    """One strategy with its parameters."""
    strategy = find(name, where, known)
    return Choice(label=label or name, name=name, parameters=parameters(strategy, given, where))


def choices_of(
    scenario: Scenario,
    fleet: ScaleSet,
    gaps: Sequence[Gap],
    where: str,
    operations: Mapping[str, Timing],
    ready: Timing,
) -> tuple[tuple[Choice, ...], tuple[tuple[str, str], ...]]:
    """What is compared, and what is left out with the reason. Raises InputError."""
    retries = scenario.failures.retries
    left_out: list[tuple[str, str]] = []
    made: list[Choice] = []
    if scenario.strategy:
        for index, table in enumerate(scenario.strategy, 1):
            at = f"{where}: strategy {index}"
            name, label = table.get("name"), table.get("label", "")
            if not isinstance(name, str):
                raise InputError("a strategy has a name", f"{at}.name", reprlib.repr(name), ", ".join(STRATEGIES))
            if not isinstance(label, str) or ("label" in table and not label.strip()):
                raise InputError("a label is text", f"{at}.label", reprlib.repr(label), "text for the results")
            rest = {key: value for key, value in table.items() if key not in ("name", "label")}
            chosen = choice(name, {"retries": retries, **rest}, at, label)
            _try(chosen, fleet, at)
            made.append(chosen)
    else:
        minutes = (operations["upgrade"].mean_s() + ready.mean_s()) / 60
        for name, strategy in STRATEGIES.items():
            reason = _does_not_fit(strategy, fleet, gaps, minutes, scenario)
            if reason:
                left_out.append((name, reason))
            else:
                made.append(choice(name, {"retries": retries}, f"{where}: strategy"))
    return _labelled(made, where), tuple(left_out)


def _try(chosen: Choice, fleet: ScaleSet, where: str) -> None:
    """Rule 5: let the strategy look at its parameters."""
    strategy = STRATEGIES[chosen.name]
    made = parameters_of(strategy, chosen.parameters)
    unknown = [name for name in getattr(made, "ids", ()) if name not in fleet.instances]
    if unknown:
        raise InputError(
            "no such instance", f"{where}: {strategy.name}.ids", reprlib.repr(unknown), _some(list(fleet.instances))
        )
    if strategy.needs is None or _groups(fleet, strategy.needs):
        try:
            strategy.make(fleet, made)
        except InputError as error:
            raise InputError(error.what, f"{where}: {error.where}", error.found, error.expected, error.fix) from error


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f", … {names[-1]}" if len(names) > 10 else "")


def _groups(fleet: ScaleSet, field: str) -> set[Any]:
    return {getattr(one, field) for one in fleet.instances.values()} - {None}


def _does_not_fit(strategy: Strategy, fleet: ScaleSet, gaps: Sequence[Gap], minutes: float, scenario: Scenario) -> str:
    """Why a strategy is not compared by default, or ''."""
    if strategy.name == "selected":
        return "it needs instance ids"
    if strategy.hands_over:
        return (
            "it would be what `today` is" if fleet.model.mode is UpgradeMode.ROLLING else "it would need mode Rolling"
        )
    if strategy.surge and scenario.quota is None:
        return "whether there is room for more instances is not known; [quota] tells"
    if strategy.surge and scenario.change.guest is not None:
        return "it replaces VMs, which a guest patch does not reach"
    if strategy.name == "one-by-one" and minutes * len(fleet.instances) > 24 * 60:
        return f"{len(fleet.instances)} instances at {minutes:.1f} min each take {minutes * len(fleet.instances) / 60:.0f} h"
    if strategy.needs:
        groups = _groups(fleet, strategy.needs)
        words = strategy.needs.replace("_", " ")
        if not groups:
            return _unknown_groups(words, fleet, gaps)
        if len(groups) == 1:
            return f"all instances share one {words}"
    return ""


def _unknown_groups(words: str, fleet: ScaleSet, gaps: Sequence[Gap]) -> str:
    """Why no domain or zone is known, and the command that would tell."""
    supply = next((gap.supply for gap in gaps if gap.code == f"no-{words.replace(' ', '-')}s"), "")
    if supply:
        return f"no {words} is known; `{supply}` supplies it"
    if words == "zone":
        return "the set is regional: its instances are in no zone"
    if fleet.model.orchestration is Orchestration.FLEXIBLE:
        return f"Azure shows no {words} for the VMs of a Flexible set"
    return f"no {words} is known"


def _labelled(made: list[Choice], where: str) -> tuple[Choice, ...]:
    """Labels are unique: a second one of a name gets its own parameters as its label."""
    result: list[Choice] = []
    seen = {TODAY}
    names = [one.name for one in made]
    for one in made:
        label = one.label
        if label == one.name and names.count(one.name) > 1:
            told = " ".join(
                f"{key.removesuffix('_ms')}={value}" for key, value in one.parameters.items() if key != "retries"
            )
            label = f"{one.name} {told}".strip()
        if label in seen:
            what = (
                "this label stands for what the set would do by itself"
                if label == TODAY
                else "two strategies have one label"
            )
            raise InputError(what, f"{where}: strategy", repr(label), "a `label` of its own")
        seen.add(label)
        result.append(msgspec.structs.replace(one, label=label))
    return tuple(result)
