"""Lint: what cannot work, or works otherwise than people think, found before anything runs.

`lint_set` judges a scale set and its platform policy, `lint_plan` a plan, `lint_request` what keeps a plan from being
made. The codes stand in one table, `CODES`; `page` renders it as `docs/lint.md`. Findings come in the order of the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from planner.arm_json import Gap
from planner.build import Request
from planner.lint.codes import CODES, Code, Finding, Grade, exit_status
from planner.lint.fleet import fleet, members, untold
from planner.lint.moves import moves
from planner.lint.page import page
from planner.lint.policy import policy
from planner.lint.request import refusals
from planner.lint.surge import surge
from planner.lint.target import target
from planner.model import ScaleSet
from planner.plan import Plan

__all__ = [
    "CODES",
    "OF_THE_PLATFORM",
    "Code",
    "Finding",
    "Grade",
    "exit_status",
    "lint_plan",
    "lint_request",
    "lint_set",
    "page",
]

# What only the platform's own rollouts meet: no matter for a plan that moves the instances itself.
OF_THE_PLATFORM = frozenset(
    {"VS104", "VS105", "VS106", "VS107", "VS108", "VS109", "VS113", "VS114", "VS131", "VS132", "VS133"}
)


def lint_set(scale_set: ScaleSet, gaps: Sequence[Gap] = ()) -> tuple[Finding, ...]:
    """A set as it stands: its policy, the rollouts the platform would do, its instances, what the documents left out."""
    return _ordered((*policy(scale_set), *fleet(scale_set), *members(scale_set), *untold(gaps)))


def lint_plan(plan: Plan, scale_set: ScaleSet | None = None) -> tuple[Finding, ...]:
    """A plan. With a snapshot, also what its projection does not hold, and the budget as it is now."""
    return _ordered((*moves(plan, scale_set), *surge(plan, scale_set), *target(plan, scale_set)))


def lint_request(request: Request, gaps: Sequence[Gap] = ()) -> tuple[Finding, ...]:
    """Why `build` would refuse, beside what `lint_set` finds; without what only a platform-moved rollout meets."""
    found = lint_set(request.scale_set, gaps)
    strategy = request.strategies.get(request.strategy)
    if strategy is not None and not strategy.platform:
        found = tuple(one for one in found if one.code not in OF_THE_PLATFORM)
    return _ordered((*found, *refusals(request)))


def _ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda one: one.code))
