"""`today`: what the set's present mode and policy would do with the change. Always among the strategies compared.

1. Automatic: the platform upgrades everything at once.
2. Manual: a model update touches no instance; nothing is upgraded until somebody does it. The row shows that.
3. Rolling: Azure's own policy, as the world models it: the strategy `platform-rolling` with no floor, no tolerance of its own and
   nobody who cancels, so that only Azure's thresholds act. It upgrades instances to the model, whatever action was asked for.
   Where it stops, the model stays as it is.
4. What no update of the model brings about moves nothing there either: a guest patch, and a set on `latest` without automatic
   OS upgrade. With it, the OS upgrade stands for it, started at once, by the set's rolling policy. Without a health source
   Azure refuses the update.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from msgspec.structs import replace

from planner.change import Action, Change, GuestPatch, Refresh
from planner.model import RollingPolicy, ScaleSet, UpgradeMode
from planner.plan import EndState
from planner.platform import lacks_health
from planner.strategies.automatic import STRATEGY as AUTOMATIC
from planner.strategies.base import Batch, Parameters, Strategy
from planner.strategies.platform_rolling import STRATEGY as ROLLING

LABEL = "today"


class Today(NamedTuple):
    """What stands for `today`: a strategy, its parameters, its floor, the sentence that says what it is, and the action where
    it is not the one asked for.
    """

    strategy: Strategy
    parameters: dict[str, Any]
    floor: int | None
    says: str
    action: Action | None = None


class Nothing(Parameters, frozen=True, kw_only=True):
    """No parameters of its own."""


def _nothing(_scale_set: ScaleSet, _parameters: Nothing) -> tuple[Batch, ...]:
    return ()


_STILL = Strategy(LABEL, _nothing, Nothing, ())


def today(scale_set: ScaleSet, change: Change) -> Today:
    """What the set would do by itself."""
    model = scale_set.model
    if isinstance(change, GuestPatch):
        says = f"mode {model.mode.value.capitalize()}: a guest patch is no update of the model, so nothing moves"
        return Today(_STILL, {}, None, says)
    if model.mode is UpgradeMode.AUTOMATIC:
        return Today(
            AUTOMATIC._replace(name=LABEL), {}, None, "mode Automatic: the platform upgrades every instance at once"
        )
    if model.mode is UpgradeMode.MANUAL:
        says = "mode Manual: a model update touches no instance"
        if model.auto_os is not None and model.auto_os.enabled:
            says += " (automatic OS upgrade is enabled; `vmss-sim preview` shows what that does)"
        return Today(_STILL, {}, None, says)
    return _rolling(scale_set, change)


def nobody(ends: Mapping[str, EndState]) -> dict[str, EndState]:
    """Rule 3: the ends of a rollout without anybody who would put the model back."""
    return {name: replace(end, model="as-is") if end.model == "pinned" else end for name, end in ends.items()}


def _rolling(scale_set: ScaleSet, change: Change) -> Today:
    """Rules 3 and 4."""
    model, total = scale_set.model, len(scale_set.instances)
    met = lacks_health(model)
    if met:
        return Today(_STILL, {}, None, f"mode Rolling, and {met}: Azure refuses the update")
    refresh = isinstance(change, Refresh)
    if refresh and (model.auto_os is None or not model.auto_os.enabled):
        return Today(_STILL, {}, None, "mode Rolling: a newer `latest` moves nothing without automatic OS upgrade")
    policy = model.rolling or RollingPolicy()
    where = "inside update domains" + ("" if policy.cross_zone or not model.zones else ", zone by zone")
    who = "automatic OS upgrade, started at once" if refresh else "Azure's own policy"
    says = (
        f"mode Rolling: {who}, batches of {policy.max_batch_percent} % of {total} {where}; only its thresholds stop it"
    )
    parameters = {"max_failed": "100%", "grace_ms": 0}
    return Today(ROLLING._replace(name=LABEL), parameters, 0, says, None if refresh else Action.UPGRADE)
