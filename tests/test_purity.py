"""The planner decides without a clock, randomness, files, network or environment, and without changing what it is given.

Method: a whole rollout is recorded; then plan and every step are worked out again while all of those raise.
"""

from __future__ import annotations

import builtins
import os
import random
import socket
import subprocess
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from planner import metrics
from planner.build import Request, build
from planner.lint import lint_plan, lint_set
from planner.planfile import decode, encode
from planner.rollout import Asked, Rollout
from planner.trace import Turn, observations
from tests.fleet import Ask, Case, Fleet, fault


def _forbidden(name: str) -> Callable[..., Any]:
    def refuse(*_args: Any, **_more: Any) -> Any:
        raise AssertionError(f"the planner called {name}")

    return refuse


def _forbid(patch: pytest.MonkeyPatch) -> None:
    for name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "sleep", "localtime", "gmtime"):
        patch.setattr(time, name, _forbidden(f"time.{name}"))
    for name in ("random", "randint", "choice", "shuffle", "sample", "uniform", "getrandbits"):
        patch.setattr(random, name, _forbidden(f"random.{name}"))
    for name in ("urandom", "getenv", "listdir", "open", "stat", "getcwd"):
        patch.setattr(os, name, _forbidden(f"os.{name}"))
    patch.setattr(socket, "socket", _forbidden("socket.socket"))
    patch.setattr(subprocess, "Popen", _forbidden("subprocess.Popen"))
    patch.setattr(builtins, "open", _forbidden("open"))
    patch.setattr(builtins, "print", _forbidden("print"))
    patch.setattr(builtins, "input", _forbidden("input"))


CASES = {
    "forward": Case(fleet=Fleet(size=6), strategy="per-ud"),
    "failures and faults": Case(
        fleet=Fleet(size=6, sick=(2,)),
        strategy="batch",
        parameters={"size": 2, "max_failed": 3},
        fails={1: (1, 2)},
        faults=(fault("lose-reply", 3),),
    ),
    "rolled back": Case(fleet=Fleet(size=4), asks=(Ask(100_000, Asked.ROLLBACK),)),
    "automatic": Case(fleet=Fleet(size=4), strategy="automatic"),
}


@pytest.mark.parametrize("name", CASES)
def test_planning_and_every_step_without_the_world_outside(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    run = case.run()
    turns = [record for record in run.journal.records() if isinstance(record, Turn)]
    assert len(turns) > 3
    scale_set = case.fleet.scale_set()
    before = msgspec.json.encode(scale_set)
    with monkeypatch.context() as patch:
        _forbid(patch)
        plan = build(
            Request(
                scale_set=scale_set,
                change=case.change,
                action=case.action,
                strategy=case.strategy,
                parameters=case.parameters,
            )
        )
        assert plan == run.plan
        assert decode(encode(plan), "plan.json").plan == plan
        assert lint_plan(plan, scale_set) is not None
        assert lint_set(scale_set) is not None
        rollout = Rollout(plan)
        state, view = rollout.start(), None
        for record, observation in zip(turns, observations(turns), strict=True):
            kept = msgspec.json.encode((state, observation))
            step = rollout.step(state, observation, None if record.key else view)
            assert msgspec.json.encode((state, observation)) == kept, "a step changed what it was given"
            assert step.state == record.state
            assert step.commands == record.commands
            state, view = step.state, step.view
        healthy = metrics.from_intervals(4, [(1, 5), (3, None)], 0)
        assert (
            metrics.measure(
                healthy, total=4, required=metrics.constant(3), started_ms=0, ended_ms=10, horizon_ms=20, bad=None
            ).min_healthy
            == 2
        )
    assert msgspec.json.encode(scale_set) == before


def test_what_is_forbidden_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        _forbid(patch)
        with pytest.raises(AssertionError, match=r"time\.monotonic"):
            time.monotonic()
        with pytest.raises(AssertionError, match="open"):
            builtins.open("x")  # noqa: SIM115  # it must not get that far
