"""Which strategy to use, and why: one sentence that can be checked against the table.

Rules this module decides:

1. A strategy is *feasible* when it misses the objective with a probability of at most `max_breach` and completes with at
   least 1 - `max_breach` (estimates over the replications). `automatic` and `today` may win like any other.
   A strategy that leaves instances on the old model (some domains, some ids only) is compared, but not recommended.
2. Among the feasible: least mean downtime, then least outage, then least bad exposure, then the shortest p95 duration.
   Never availability: averaged over a span it rewards slowness. What cannot be told apart (pair by pair) goes to the
   one asked for first.
3. The runner-up is compared pair by pair (same luck): where the criterion that separates them cannot tell them apart, the
   sentence says so.
4. None feasible: no name, and the sentence says what comes nearest and what it misses; with a bad image, who limits the
   damage. Nothing to do: no name either, and the sentence says so.
5. The time to healthy of the application is the guess that matters most: left at its default, the sentence begins with it.
"""

from __future__ import annotations

from typing import NamedTuple

from vmss_sim.study.compare import Result, Study
from vmss_sim.study.statistics import paired_difference
from vmss_sim.study.today import LABEL

CRITERIA = ("downtime_s", "outage_s", "bad_exposure_vm_s")


class Recommendation(NamedTuple):
    """A strategy's label or None, and the reason. nothing: there is nothing to do, so nobody is needed."""

    name: str | None
    because: str
    nothing: bool = False

    def document(self) -> dict[str, str | None]:
        """As published."""
        return {"name": self.name, "because": self.because}


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else float("inf")


def _p95(values: list[float]) -> float:
    from vmss_sim.study.statistics import quantile  # noqa: PLC0415  # keeps this module's imports light

    found = quantile(values, 0.95)
    return float("inf") if found is None else found


def _key(result: Result) -> tuple[float, ...]:
    return (
        *(round(_mean(result.values(name)), 6) for name in CRITERIA),
        _p95(result.values("duration_s")),
        len(result.plan.batches),
    )


def feasible(result: Result, max_breach: float) -> bool:
    """Rule 1."""
    completed, breached = result.completed().estimate or 0.0, result.breached().estimate
    return whole(result) and completed >= 1 - max_breach and breached is not None and breached <= max_breach


def whole(result: Result) -> bool:
    """Does the plan move every instance that is to be moved?"""
    plan = result.plan
    planned = sum(len(batch.take) for batch in plan.batches)
    return planned + len(plan.skipped) == len(plan.scale_set.instances)


def _ranked(study: Study) -> list[Result]:
    """Rules 1 and 2."""
    candidates = sorted((result for result in study.results if feasible(result, study.setup.max_breach)), key=_key)
    for result in [other for other in study.results if other in candidates]:
        if result is candidates[0] or _equal(result, candidates[0]):
            candidates.remove(result)
            return [result, *candidates]
    return candidates


def _equal(left: Result, right: Result) -> bool:
    return not any(
        paired_difference(left.values(name), right.values(name)).distinguishable for name in (*CRITERIA, "duration_s")
    )


def best(study: Study) -> str | None:
    """The label alone: what a sensitivity search asks again and again."""
    candidates = _ranked(study)
    return candidates[0].choice.label if candidates else None


def recommend(study: Study) -> Recommendation:
    """The recommendation."""
    setup = study.setup
    prefix = (
        f"if your application is ready within {setup.ready_p95_s:.0f} s of its VM (p95, a guess: say timing.ready), "
        if setup.ready_is_default
        else ""
    )
    if all(not result.plan.batches and len(result.plan.skipped) == setup.total for result in study.results):
        return Recommendation(
            None, "Nothing to do: every instance is at the target, protected, or being deleted.", nothing=True
        )
    assumed = next((one.value for one in setup.assumptions if one.name == "in service"), "")
    if assumed:
        prefix += f"if it is true that {assumed}, "
    candidates = _ranked(study)
    if not candidates:
        return Recommendation(None, _upper(prefix + _nobody(study)))
    first = candidates[0]
    text = f"use {first.choice.label}: {_what(study, first)}"
    worst = max(study.results, key=lambda result: _mean(result.values("outage_s")))
    if worst is not first and _mean(worst.values("outage_s")) > 0:
        text += f"; {worst.choice.label} would have nobody in service for {span(_mean(worst.values('outage_s')))}"
    if len(candidates) > 1:
        text += _against(first, candidates[1])
    return Recommendation(first.choice.label, _upper(prefix + text + "."))


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _what(study: Study, result: Result) -> str:
    total = study.setup.total
    low = min(result.values("min_healthy"))
    down = _mean(result.values("downtime_s"))
    short = f"downtime {span(down)} on average" if down > 0 else "no downtime"
    return (
        f"never fewer than {low:.0f} of {total} in service in {study.replications} runs, {short}, "
        f"{span(_mean(result.values('duration_s')))} (p95 {span(_p95(result.values('duration_s')))}), completes in {result.completed().estimate:.1%}"
    )


def _against(first: Result, second: Result) -> str:
    """Rule 3."""
    for name in (*CRITERIA, "duration_s"):
        difference = paired_difference(second.values(name), first.values(name))
        if difference.distinguishable:
            if name != "duration_s":
                return ""
            if (difference.mean or 0.0) < 0:
                return f"; {second.choice.label} is {span(-(difference.mean or 0.0))} shorter on average, but longer at p95"
            return f"; {second.choice.label} serves as well and takes {span(difference.mean or 0.0)} longer"
    return f"; {second.choice.label} cannot be told apart from it in these runs"


def _nobody(study: Study) -> str:
    """Rule 4."""
    if study.setup.world.failures.bad_share and (text := _damage(study)):
        return text
    tolerated = f"{study.setup.max_breach:.0%} of the runs may miss the objective"
    text = f"no strategy meets the objective ({tolerated})"
    refused = [one for one in study.refused if one.label in {choice.label for choice in study.setup.choices}]
    if refused:
        text += f"; {', '.join(one.label for one in refused)} cannot be planned: {refused[0].because}"
    ranked = sorted(
        study.results, key=lambda r: ((r.breached().estimate or 0.0) + 1 - (r.completed().estimate or 0.0), *_key(r))
    )
    near = next((result for result in ranked if result.choice.label != LABEL), ranked[0])
    comes = "comes nearest and " if (near.breached().estimate or 0.0) < 1 else ""
    return f"{text}; {near.choice.label} {comes}{_misses(study, near)}."


def _misses(study: Study, result: Result) -> str:
    if not whole(result):
        return "leaves instances on the old model"
    missed: dict[str, int] = {}
    for row in result.rows:
        for name in row.breaches:
            missed[name] = missed.get(name, 0) + 1
    parts = [f"misses {name} in {count} of {len(result.rows)} runs" for name, count in missed.items()]
    completed = result.completed().estimate or 0.0
    if completed < 1 - study.setup.max_breach:
        ends: dict[str, int] = {}
        for row in result.rows:
            if not row.completed:
                how = f"{row.ending}: {row.reason}" if row.reason else row.ending
                ends[how] = ends.get(how, 0) + 1
        most = max(ends, key=lambda how: ends[how])
        parts.append(f"completes in only {completed:.1%} (most often {most})")
    return " and ".join(parts) or "misses it"


def _damage(study: Study) -> str:
    """Nobody rolls out a bad image: what matters is how few run it, for how long, and what is left in service."""
    tried = [result for result in study.results if whole(result) and _mean(result.values("bad_exposure_vm_s")) > 0]
    if not tried:
        return ""
    held = [result for result in tried if (result.breached().estimate or 0.0) <= study.setup.max_breach] or tried
    least = min(held, key=lambda result: _mean(result.values("bad_exposure_vm_s")))
    most = max(tried, key=lambda result: _mean(result.values("bad_exposure_vm_s")))
    hours = [_mean(result.values("bad_exposure_vm_s")) / 3600 for result in (least, most)]
    against = f", against {hours[1]:.2f} VM-h with {most.choice.label}" if most is not least else ""
    ends = sorted({row.ending for row in least.rows})
    return (
        f"the image is bad, so no strategy completes often enough; {least.choice.label} limits the damage: {hours[0]:.2f} VM-h on the bad image{against}, "
        f"never fewer than {min(least.values('min_healthy')):.0f} of {study.setup.total} in service, and it ends by {' or '.join(ends)}."
    )


def span(seconds: float) -> str:
    """A duration for people: 45 s, 18 min, 2 h 05 min."""
    if seconds == float("inf"):
        return "for ever"
    if seconds < 100:
        return f"{seconds:.1f} s" if 0 < seconds < 10 else f"{seconds:.0f} s"
    minutes = seconds / 60
    if minutes < 100:
        return f"{minutes:.1f} min" if minutes < 10 else f"{minutes:.0f} min"
    return f"{int(minutes // 60)} h {int(minutes % 60):02d} min"
