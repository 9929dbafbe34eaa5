"""Lint of a request: what `build` refuses, told as findings, all of them at once (VS4xx).

The stages of `build` are tried one by one, so that one refusal does not hide the next; whatever is left is what `build`
itself says.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from planner.amount import amount
from planner.build import Request, build, parameters_of
from planner.change import resolve
from planner.errors import InputError
from planner.lint.codes import Finding, finding
from planner.strategies import Parameters, Strategy, find

NEW_INSTANCES = ("leave", "append", "stop")
_AMOUNTS = ("floor", "rollback_floor", "emergency_floor", "required", "min_healthy", "upgraded_unhealthy", "drop")
_OF_STRATEGY = ("max_failed",)


def refusals(request: Request) -> Iterator[Finding]:
    """Why a plan cannot be made. An empty set and a Service Fabric cluster are findings of the set."""
    found = list(_stages(request))
    yield from found
    model, empty = request.scale_set.model, not request.scale_set.instances
    if found or empty or model.service_fabric:
        return
    try:
        build(request)
    except InputError as error:
        yield _of(_code(error, request), error)


def _stages(request: Request) -> Iterator[Finding]:
    if request.new_instances not in NEW_INSTANCES:
        error = InputError("unknown choice", "new_instances", repr(request.new_instances), ", ".join(NEW_INSTANCES))
        yield _of("VS410", error)
    for name in _AMOUNTS:
        yield from _amount(getattr(request, name), name)
    try:
        resolve(request.change, request.scale_set, request.action)
    except InputError as error:
        yield _of("VS403", error)
    try:
        strategy = find(request.strategy, "strategy", request.strategies)
    except InputError as error:
        yield _of("VS401", error)
        return
    try:
        parameters = parameters_of(strategy, request.parameters)
    except InputError as error:
        yield _of("VS402", error)
        return
    yield from _parameters(strategy, parameters)


def _parameters(strategy: Strategy, parameters: Parameters) -> Iterator[Finding]:
    for name in _OF_STRATEGY:
        yield from _amount(getattr(parameters, name, None), f"{strategy.name}.{name}")


def _amount(value: Any, where: str) -> Iterator[Finding]:
    if value is None:
        return
    try:
        amount(value, where)
    except InputError as error:
        yield _of("VS408", error)


def _code(error: InputError, request: Request) -> str:
    """The code of what `build` said, by the place it names: every earlier stage has passed."""
    strategy = request.strategies[request.strategy]
    if error.where == "floor":
        return "VS406"
    if error.where == "strategy":
        return "VS409"
    if error.where.endswith((".ids", ".only")):
        return "VS404"
    if error.where != strategy.name:
        return "VS402" if error.where.startswith(f"{strategy.name}.") else "VS499"
    return "VS407" if error.found.isdecimal() else "VS405"  # the size of a batch, or what its domains look like


def _of(code: str, error: InputError) -> Finding:
    text = str(InputError(error.what, error.where, error.found, error.expected))
    return finding(code, text, error.where, error.fix)
