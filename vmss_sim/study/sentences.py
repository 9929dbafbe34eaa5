"""What the gates of the platform's own rollout mean, in sentences that are understood at 3 a.m.

1. A percentage never stands without its absolute number, a batch never without its number as the table counts it, from 1.
2. Each sentence says what happens, then by which error code it shows. Nothing is softened to *may* where it is certain.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from planner.lint.wording import instances, names, percent, share, span
from planner.model import Orchestration, RollingPolicy, ScaleSet
from planner.platform import AFTER_BATCH, BEFORE_BATCH, BEFORE_START, ForecastBatch, Gate, after_failure, allowed

BORDERS = {
    "zone": "zones",
    "update-domain": "update domains",
    "unhealthy-first": "unhealthy ones first",
    "phases": "phases",
}
"""What cuts batches, by the rules of `planner.platform`."""
ANYBODY = "any update of the model, by whomever (`az vmss update`, Terraform, the portal)"


def batches_in_words(numbers: Sequence[int]) -> str:
    """`batch 3`, `batches 1 to 4`; numbers from 0, in a row."""
    first, last = numbers[0] + 1, numbers[-1] + 1
    return f"batch {first}" if first == last else f"batches {first} to {last}"


def what_stops_it(found: Sequence[Gate], policy: RollingPolicy, total: int, sick: Sequence[str]) -> tuple[str, ...]:
    """The two thresholds in absolute numbers, and where they tolerate nothing."""
    limit, of_upgraded = policy.max_unhealthy_percent, policy.max_unhealthy_upgraded_percent
    lines = [
        f"Before it starts and before every batch: more than {percent(limit, total)} unhealthy"
        f" (maxUnhealthyInstancePercent). Unhealthy now: {share(len(sick), total)}"
        + (f" ({names(sick)})" if sick else "")
        + f"; {_room(allowed(limit, total) - len(sick))}."
    ]
    in_flight = next((gate for gate in found if gate.rule == "in-flight" and gate.left < 0), None)
    if in_flight is not None:
        lines.append(
            f"VMs in flight counted as unhealthy: while batch {in_flight.batch + 1} is out, {share(in_flight.known, total)}"
            f" are unhealthy and {in_flight.allowed} may be. The rollout stops itself ({in_flight.code})."
        )
    after = [gate for gate in found if gate.rule == "after-batch"]
    for none, run in groupby(after, key=lambda gate: gate.allowed == 0):
        gates = list(run)
        where = batches_in_words([gate.batch for gate in gates])
        if none:
            lines.append(
                f"After {where} (up to {instances(gates[-1].of)} upgraded): zero tolerance, one upgraded VM not healthy in"
                f" time stops it (maxUnhealthyUpgradedInstancePercent, {of_upgraded} %)."
            )
        else:
            most = gates[-1].allowed
            later = f", later {most}" if most != gates[0].allowed else ""
            lines.append(
                f"After {where}: {gates[0].allowed} of the upgraded may be unhealthy{later} ({of_upgraded} %); one more"
                " stops it."
            )
    return tuple(lines)


def _room(left: int) -> str:
    if left < 0:
        return "too many already"
    return "zero tolerance, one more stops it" if left == 0 else f"{left} more may fail"


def if_one_fails(
    scale_set: ScaleSet,
    batches: Sequence[ForecastBatch],
    found: Sequence[Gate],
    policy: RollingPolicy,
    *,
    restored: bool,
) -> tuple[str, ...]:
    """Where one VM that is not healthy in time stops the rollout, and what is left. restored: it gets its old disk back."""
    lines = []
    for key, run in groupby(
        enumerate(after_failure(found, stays=not (restored or policy.max_surge))), key=lambda item: _kind(*item)
    ):
        group = list(run)
        where = batches_in_words([index for index, _ in group])
        if key == "":
            lines.append(f"In {where}: the rollout goes on without it.")
            continue
        if key == "now":
            done = [sum(len(batch.ids) for batch in batches[: index + 1]) for index, _ in group]
            told = f"{done[0]}" if done[0] == done[-1] else f"{done[0]} to {done[-1]}"
            whole = sum(len(batch.ids) for batch in batches)
            left = "" if done[-1] == whole else f": {told} of {whole} are upgraded or failed then, the rest stay behind"
            lines.append(f"In {where}: the rollout stops after that batch ({AFTER_BATCH}){left}.")
        else:
            lines.append(f"In {where}: the rollout stops before its next batch ({BEFORE_BATCH}).")
    lines.append(_remains(scale_set, policy, restored=restored))
    return tuple(lines)


def _kind(index: int, gate: Gate | None) -> str:
    if gate is None:
        return ""
    return "now" if (gate.rule, gate.batch) == ("after-batch", index) else "later"


def _remains(scale_set: ScaleSet, policy: RollingPolicy, *, restored: bool) -> str:
    if policy.max_surge:
        return "The old instance stays and serves on; the new ones that came up healthy before stay, the old ones are gone."
    if restored:
        return "The VM that failed gets its old OS disk back; those upgraded before stay on the new image."
    uniform = scale_set.model.orchestration is Orchestration.UNIFORM
    if policy.rollback_failed and uniform:
        return (
            "When the rollout stops, the failed VMs are rolled back to the old model"
            " (rollbackFailedInstancesOnPolicyBreach); those upgraded before stay on the new one."
        )
    why = "Flexible sets have no rollback" if policy.rollback_failed else "rollbackFailedInstancesOnPolicyBreach is off"
    return f"Nothing is rolled back ({why}): the failed VM stays out of service, those upgraded before stay on the new model."


def if_cancelled(*, automatic: bool) -> tuple[str, ...]:
    """What `rollingUpgrades/cancel` does, and that there is no way back in. automatic: an automatic OS upgrade."""
    return (
        "No further batch starts. The VMs in flight finish (recorded), and nobody waits for their health.",
        "Nothing is rolled back: what is upgraded stays upgraded, the set is mixed.",
        "There is no resume. When Azure tries again is not documented; `az vmss rolling-upgrade start` starts one by hand,"
        " which restores no OS disk."
        if automatic
        else "There is no resume: the next update of the model, also one that changes nothing, starts a new rollout over the"
        " instances still behind.",
    )


def any_other_update() -> tuple[str, ...]:
    """What a PUT or PATCH does to a set in mode Rolling."""
    return (
        f"{ANYBODY[0].upper()}{ANYBODY[1:]} starts a new rollout over what is still behind, also an update that changes"
        " nothing.",
        "While a rollout runs, Azure either refuses it (409) or goes on towards the new model: which is not documented.",
    )


def fails_before_start(sick: Sequence[str], policy: RollingPolicy, total: int) -> str:
    """The first gate does not hold now."""
    return (
        f"fails before it starts, with {BEFORE_START}: {share(len(sick), total)} are unhealthy ({names(sick)}), and"
        f" {percent(policy.max_unhealthy_percent, total)} are allowed. No instance is touched"
    )


def size_in_words(policy: RollingPolicy, batches: Sequence[ForecastBatch], total: int, limit: int) -> str:
    """How many batches of at most how many, what makes them smaller, and the pause between."""
    count, largest = len(batches), max(len(batch.ids) for batch in batches)
    cuts = {batch.cut for batch in batches}
    borders = " and ".join(word for rule, word in BORDERS.items() if rule in cuts)
    return (
        f"{count} {'batch' if count == 1 else 'batches'} of at most {share(limit, total)}"
        + (f", the largest of {largest}" if largest < limit else "")
        + (f", since {borders} cut them" if largest < limit and borders else "")
        + (f", {span(policy.pause_between_batches_ms)} between them" if policy.pause_between_batches_ms else "")
    )
