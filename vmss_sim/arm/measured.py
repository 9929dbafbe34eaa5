"""What a rollout cost, whoever drove it: the same measures as `simulate`, from the world's own meter.

Rules this module decides:

1. The measured time begins with the first request that changed the scale set and was not refused. It ends at T, when every operation and
   rollout has ended and every instance that went out of service before that serves again; who is not coming back does not delay it.
2. Before T the figures are those so far, `complete` is false, and T is now. What never ends (it hangs) does not delay T, and is never complete.
3. Where the clock makes time other than the client's own by more than 5 % of the duration (`clock.py`, rule 7), there are no figures,
   and the report says why. A manual clock is in nobody's way: who moves it knows what he does.
4. What is left behind is known at the horizon, to which the last report runs on: fewer in service than required are the breach `left-broken`.
5. Measures are of the scenario's set, and where it is deleted and created again under its name of both, one after the other. Other sets that
   clients create have no required capacity, so nothing is said of them.
6. What will not change is not kept as it was: what was over by T, as things stand (T never falls), is left as for how long how many served,
   in each piece in which the required capacity is the same, inside and outside the horizon. Any measure that begins with the first request is
   what it was, and an emulator that lives long does not grow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from planner.metrics import (
    Measures,
    StepFunction,
    condensed,
    count_intervals,
    followed,
    from_intervals,
    left_broken,
    measure,
    published,
)
from vmss_sim.arm.clock import TOO_MUCH, BaseClock, distortion
from vmss_sim.arm.sets import ArmSet, Past
from vmss_sim.world.scale_set import World
from vmss_sim.world.vm import NEVER


class Yardstick(msgspec.Struct, frozen=True, kw_only=True):
    """What a scenario measures by. total: instances the set should have; bad: may the new image be bad? breaches: the names of the
    objectives that measures miss.
    """

    total: int
    required: StepFunction
    horizon_ms: int
    bad: bool
    breaches: Callable[[Measures], tuple[str, ...]]


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured. started_ms: None where nothing was changed. refused: why there are no figures."""

    started_ms: int | None
    ended_ms: int
    complete: bool
    measures: Measures | None
    breaches: tuple[str, ...] = ()
    refused: str = ""
    distortion: float = 0.0


def measured(one: ArmSet, yardstick: Yardstick, clock: BaseClock, started_ms: int | None) -> Measured:
    """Measure, as things stand. Changes nothing."""
    world = one.world
    if started_ms is None:
        return Measured(started_ms=None, ended_ms=world.now, complete=True, measures=None)
    complete, ended = end(one, started_ms)
    share = 0.0 if clock.kind == "manual" else distortion(clock.ledger.spent, ended - started_ms)
    if share > TOO_MUCH:
        return Measured(
            started_ms=started_ms,
            ended_ms=ended,
            complete=complete,
            measures=None,
            refused=_why(clock, share),
            distortion=share,
        )
    healthy, bad = _known(one)
    made = measure(
        healthy,
        total=yardstick.total,
        required=yardstick.required,
        started_ms=started_ms,
        ended_ms=ended,
        horizon_ms=yardstick.horizon_ms,
        bad=bad if yardstick.bad else None,
    )
    last = started_ms + yardstick.horizon_ms
    known = clock.now_ms() >= last
    left = left_broken(healthy, yardstick.required, ended, last) if known else ()
    return Measured(
        started_ms=started_ms,
        ended_ms=ended,
        complete=complete,
        measures=made,
        breaches=yardstick.breaches(made) + left,
        distortion=share,
    )


def _known(one: ArmSet) -> tuple[StepFunction, StepFunction]:
    """How many instances served, and ran the bad image, from the beginning to the end."""
    since = 0 if one.past is None else one.past.until_ms
    healthy, bad = from_intervals(one.ever, one.outages(), since), count_intervals(one.exposures(), since)
    return (healthy, bad) if one.past is None else (followed(one.past.healthy, healthy), followed(one.past.bad, bad))


def forget(one: ArmSet, yardstick: Yardstick, started_ms: int | None) -> None:
    """Rule 6."""
    until_ms = one.world.now if started_ms is None else end(one, started_ms)[1]
    if until_ms <= (0 if one.past is None else one.past.until_ms):
        return
    cuts = set(yardstick.required.times_ms) | (
        set() if started_ms is None else {started_ms, started_ms + yardstick.horizon_ms}
    )
    healthy, bad = (condensed(each, until_ms, cuts) for each in _known(one))
    one.forget(Past(until_ms=until_ms, healthy=healthy, bad=bad))


def end(one: ArmSet, started_ms: int) -> tuple[bool, int]:
    """Rule 1: has it ended, and when; else now."""
    world = one.world
    if _running(world):
        return False, world.now
    status = world.rolling_upgrade
    done = max(started_ms, one.ended_ms, 0 if status is None or status.ended_ms is None else status.ended_ms)
    back = [up for down, up in one.outages() if up is not None and down <= done]
    ended = max([done, *back, 0 if one.past is None else one.past.until_ms])
    return not world.running and ended <= world.now, min(ended, world.now)


def back_at(one: ArmSet) -> int | None:
    """When everything that will be back in service is, as things stand; None where operations still run, or all are."""
    world, now = one.world, one.world.now  # once: this is asked with every request
    coming = [vm.serves_from for vm in world.vms.values() if now < vm.serves_from < NEVER]
    return None if _running(world) else max(coming, default=None)


def _running(world: World) -> bool:
    return world.rollouts.running or any(not one.hangs for one in world.running.values())


def _why(clock: BaseClock, share: float) -> str:
    spent = clock.ledger.spent
    if clock.kind == "jump":
        what = f"{spent.uncounted_ms / 1000:.0f} s in which a client was at work, or waited without a word, were not counted"
        if spent.excess_ms:
            what += f", and sleeps ended {spent.excess_ms / 1000:.0f} s late"
        fix = "let sleeps be told (the `sleep` of the printed PATH), wait by polling, or take --clock real"
    else:
        what = f"clients waited without a word for {spent.undeclared_ms / 1000:.0f} s of virtual time"
        fix = "let sleeps be told (the `sleep` of the printed PATH), wait by polling, or take a lower --speed"
    much = "all of it" if share == float("inf") else f"{share:.0%} of the duration"
    return f"the clock distorts the measured time by {much}, more than {TOO_MUCH:.0%}: {what}; {fix}"


def document(found: Measured, one: ArmSet, clock: BaseClock, about: dict[str, Any]) -> dict[str, Any]:
    """As JSON; durations in seconds."""
    world, spent = one.world, clock.ledger.spent
    started = found.started_ms
    return {
        "schema": "vmss-sim/emulate/1",
        **about,
        "started_s": None if started is None else started / 1000,
        "ended_s": None if started is None else found.ended_ms / 1000,
        "complete": found.complete,
        "breaches": list(found.breaches),
        "metrics": None if found.measures is None else published(found.measures),
        "refused": found.refused or None,
        "instances": instances(world),
        "time": {
            "clock": clock.kind,
            "speed": clock.speed,
            "now_s": clock.now_ms() / 1000,
            **{
                f"{name.removesuffix('_ms')}_s": round(value / 1000, 3)
                for name, value in msgspec.structs.asdict(spent).items()
            },
            "distortion": None if found.distortion == float("inf") else round(found.distortion, 4),
        },
    }


def instances(world: World) -> dict[str, int]:
    """How the instances are."""
    all_of_them = [world.settled(vm) for vm in world.vms.values()]
    return {
        "total": len(all_of_them),
        "serving": sum(world.serving(vm) for vm in all_of_them),
        "latest_model": sum(world.is_latest(vm) for vm in all_of_them),
        "failed": sum(world.state(vm)[0] == "failed" for vm in all_of_them),
    }
