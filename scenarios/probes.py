"""Hooks of single instances as people give them: a command line each."""

from __future__ import annotations

import shlex

from planner.errors import InputError
from planner.plan import InstanceHook, InstanceHooks
from scenarios.timing import parse_duration_ms


def instance_hooks(
    health: str | None, drain: str | None, verify: str | None, deadline: str, *, replaces: bool
) -> InstanceHooks | None:
    """The hooks of a plan; None where there are none. Raises InputError."""
    deadline_ms = parse_duration_ms(deadline, "--hook-deadline")
    if not deadline_ms:
        raise InputError("it would never be waited for", "--hook-deadline", deadline, "a time such as 10s")
    if replaces and health is None:
        raise InputError(
            "nothing is asked instead", "--health-hook-replaces", "no --health-hook", "--health-hook COMMAND"
        )
    if not (health or drain or verify):
        return None
    return InstanceHooks(
        health=_hook(health, "--health-hook", deadline_ms),
        replaces=replaces,
        drain=_hook(drain, "--drain-hook", deadline_ms),
        verify=_hook(verify, "--verify-hook", deadline_ms),
    )


def _hook(given: str | None, where: str, deadline_ms: int) -> InstanceHook | None:
    if given is None:
        return None
    try:
        command = tuple(shlex.split(given))
    except ValueError as error:
        raise InputError("not a command", where, repr(given), str(error)) from error
    if not command:
        raise InputError("not a command", where, repr(given), "a program and its arguments")
    return InstanceHook(command=command, deadline_ms=deadline_ms)
