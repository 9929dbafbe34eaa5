"""Which instances a command takes down: the one answer that guard, invariants, lint and preview share.

1. A command that names ids touches those ids; no ids, or `*`, mean *all* to the platform, so here too.
2. A model update on a set in mode Automatic touches everything that is not at the new model.
3. A model update on a set in mode Rolling touches at most the policy's largest batch at a time, but in the end everything.
4. A change to mode Automatic or Rolling is a model update in that mode: it touches what does not have the latest model.
5. A started OS upgrade touches what does not run the newest image, in batches of the policy, whatever the mode.
6. A model update on a Manual set, a change to mode Manual, of repairs or of capacity upwards touches nothing.
"""

from __future__ import annotations

import msgspec

from planner.change import Target, at_target
from planner.commands import TABLE, Command, Kind
from planner.model import Instance, Model, RollingPolicy, ScaleSet, UpgradeMode, runs
from planner.platform import batch_limit, says


class Touched(msgspec.Struct, frozen=True, kw_only=True):
    """ids: instances that may go down. at_once: at most how many at the same time."""

    ids: tuple[str, ...]
    at_once: int


NOTHING = Touched(ids=(), at_once=0)


def touched(command: Command, scale_set: ScaleSet, target: Target) -> Touched:
    """What `command` takes down on this set. `target`: where the command's model change wants the instances."""
    rule = TABLE[command.kind]
    if rule.touches == "ids":
        named = bool(command.ids) and "*" not in command.ids
        ids = command.ids if named else tuple(scale_set.instances)
        return Touched(ids=ids, at_once=len(ids))
    if command.kind is Kind.START_OS_UPGRADE:
        behind = tuple(
            name
            for name, one in scale_set.instances.items()
            if not one.protected and (target.image is None or runs(one.image, target.image) is not True)
        )
        policy = scale_set.model.rolling or RollingPolicy()
        return Touched(
            ids=behind, at_once=min(batch_limit(policy.max_batch_percent, len(scale_set.instances)), len(behind))
        )
    if rule.touches == "model" or command.kind is Kind.SET_MODE:
        mode = scale_set.model.mode if command.mode is None else command.mode
        if mode is UpgradeMode.MANUAL:
            return NOTHING
        stale = tuple(
            name
            for name, one in scale_set.instances.items()
            if not one.protected and _stale(one, command, scale_set.model, target)
        )
        if mode is UpgradeMode.AUTOMATIC:
            return Touched(ids=stale, at_once=len(stale))
        policy = scale_set.model.rolling or RollingPolicy()
        largest = batch_limit(policy.max_batch_percent, len(scale_set.instances))
        return Touched(ids=stale, at_once=min(largest, len(stale)))
    if (
        command.kind is Kind.SET_CAPACITY
        and command.capacity is not None
        and command.capacity < len(scale_set.instances)
    ):
        fewer = len(scale_set.instances) - command.capacity
        return Touched(ids=tuple(scale_set.instances), at_once=fewer)  # the platform chooses which
    return NOTHING


def _stale(instance: Instance, command: Command, model: Model, target: Target) -> bool:
    """Will the platform find this instance behind the model, once the command has taken effect?"""
    if command.kind is Kind.SET_MODE:
        return instance.latest_model is False
    current = says(model, command.patch, target) and instance.latest_model is not False and at_target(instance, target)
    return not current
