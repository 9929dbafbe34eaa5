"""From a plan to the world it is carried out in: the one place where a backend is chosen.

Contract: nothing is sent. The SDK is imported only here, and only when it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from planner.errors import InputError
from planner.plan import Plan

if TYPE_CHECKING:
    from backends.protocol import Backend


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How Azure is reached; every field None: public cloud, default credential. See `vmss-sim apply --help`."""

    cloud: str | None = None
    endpoint: str | None = None
    ca: str | None = None
    credential: str | None = None
    tenant: str | None = None
    client_id: str | None = None


def open_backend(plan: Plan, options: Options) -> Backend:
    """The backend for the plan's scale set. Raises InputError."""
    if not plan.scale_set.id:
        raise InputError(
            "the plan is for an invented scale set",
            "plan.scale_set.id",
            "none",
            "the resource id of a set in Azure",
            "make the plan from a set as Azure returns it",
        )
    import importlib  # noqa: PLC0415  # the SDK is heavy: only when it is used

    try:
        azure: Any = importlib.import_module("backends.azure")
    except ModuleNotFoundError as error:
        if error.name != "backends.azure":
            raise
        raise InputError(
            "this version sends nothing to Azure", "", "", "", "use a version with `backends/azure`"
        ) from error
    given = {name: value for name, value in msgspec.structs.asdict(options).items() if value is not None}
    made: Backend = azure.connect(plan.scale_set.id, plan=plan, **given)
    return made
