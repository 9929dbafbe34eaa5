"""Which strategies to compare, as a command line says it: `-s NAME` and `-p NAME.param=value`.

1. `-s` names a label of the scenario's own strategies, or any strategy; without it all of the scenario's are taken.
2. `-p` changes a parameter of every chosen strategy of that name or label; a name that is not chosen is an error.
3. Values are JSON where they can be (5, true, [..]); else text. A parameter that is a list takes `1,2,3`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from planner.errors import InputError
from planner.explain import did_you_mean
from planner.strategies import STRATEGIES, Strategy, find
from scenarios.build import Setup
from scenarios.choices import TODAY, Choice, choice, parameters


def known_strategies() -> dict[str, Strategy]:
    """The built-in strategies and those of the entry-point group `vmss_sim.strategies`. Raises InputError for a broken one."""
    from importlib.metadata import entry_points  # noqa: PLC0415  # a scan of what is installed, only when asked

    found = dict(STRATEGIES)
    for point in entry_points(group="vmss_sim.strategies"):
        made = point.load()
        if not isinstance(made, Strategy):
            raise InputError(
                "not a strategy",
                f"entry point {point.name} ({point.value})",
                type(made).__name__,
                "a planner.strategies.Strategy",
            )
        if made.name in found:
            raise InputError(
                "the name is taken", f"entry point {point.name} ({point.value})", made.name, "a name of its own"
            )
        found[made.name] = made
    return found


def choose(
    setup: Setup, names: Sequence[str], overrides: Sequence[str], known: Mapping[str, Strategy] = STRATEGIES
) -> Setup:
    """The same scenario with these strategies and parameters."""
    chosen = [_named(setup, name, known) for name in names] if names else list(setup.choices)
    for text in overrides:
        chosen = _override(chosen, text, known)
    labels = [one.label for one in chosen]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise InputError("a strategy is named twice", "-s", twice, "each once")
    left_out = () if names else setup.left_out
    return msgspec.structs.replace(setup, choices=tuple(chosen), left_out=left_out)


def _named(setup: Setup, name: str, known: Mapping[str, Strategy]) -> Choice:
    for one in setup.choices:
        if name == one.label:
            return one
    labels = [one.label for one in setup.choices]
    if name == TODAY and name not in known:
        what = "`today` is what Azure does by itself: nobody chooses it, and no plan carries it out"
        raise InputError(
            what, "-s", repr(name), ", ".join(labels), "`compare` shows it beside the others, `preview` alone"
        )
    if name not in known:
        names = list(dict.fromkeys([*labels, *known]))
        raise InputError("unknown strategy", "-s", repr(name), ", ".join(names), did_you_mean(name, names))
    return choice(name, {}, "-s", known=known)


def _override(chosen: Sequence[Choice], text: str, known: Mapping[str, Strategy]) -> list[Choice]:
    head, equals, value = text.partition("=")
    name, dot, key = head.rpartition(".")
    if not (equals and dot and name and key):
        raise InputError("not a parameter", "-p", repr(text), "NAME.param=value, such as batch.size=25%")
    if not any(name in (one.label, one.name) for one in chosen):
        raise InputError("no such strategy is compared", "-p", repr(name), ", ".join(one.label for one in chosen))
    made = []
    for one in chosen:
        if name in (one.label, one.name):
            strategy = find(one.name, "-p", known)
            given = parameters(strategy, {key: _value(strategy, key, value)}, f"-p {name}")
            made.append(msgspec.structs.replace(one, parameters={**one.parameters, **given}))
        else:
            made.append(one)
    return made


def _value(strategy: Strategy, key: str, text: str) -> Any:
    for field in msgspec.structs.fields(strategy.parameters):
        if field.name == key and "tuple" in str(field.type):
            return [part for part in text.strip("[] ").replace('"', "").split(",") if part]
        if field.name == key and field.type is str:
            return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
