"""From a plan to the world it is carried out in: the one place where a backend is chosen.

Contract: nothing is sent. The SDK is imported only here, and only when it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from planner.errors import InputError
from planner.plan import Plan

if TYPE_CHECKING:
    from backends.protocol import Backend


def open_backend(plan: Plan, options: Mapping[str, Any]) -> Backend:
    """The backend for the plan's scale set. options: as `backends.azure.connect` takes them. Raises InputError."""
    if not plan.scale_set.id:
        raise InputError(
            "the plan is for an invented scale set",
            "plan.scale_set.id",
            "none",
            "the resource id of a set in Azure",
            "make the plan from a set as Azure returns it",
        )
    from backends.azure import connect  # noqa: PLC0415  # only where Azure is spoken to
    from backends.emulator_clock import sleeper_for  # noqa: PLC0415

    if "sleeper" not in options:
        options = {**options, "sleeper": sleeper_for(options.get("endpoint"))}
    return connect(plan.scale_set.id, plan=plan, **options)
