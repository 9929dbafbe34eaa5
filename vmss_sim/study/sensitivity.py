"""Where would the verdict flip? For each guess: multiply it and look when another strategy is recommended.

1. Only guesses that have a scale are searched (time to ready, upgrade time, failure probability), each alone, with fewer
   replications than the study and the same luck.
2. Factors are tried outward from 1 in both directions (1/2, 2, 1/4, 4, 10, 50); the first that changes the recommended label
   is narrowed down by bisection in the logarithm, to about 10 %.
3. None means: not within these factors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from planner.strategies import STRATEGIES, Strategy
from scenarios.build import Setup
from scenarios.given import Assumption
from vmss_sim.study.compare import Progress, compare
from vmss_sim.study.recommend import best, span
from vmss_sim.world.timings import Constant, Empirical, Exponential, Lognormal, Mixture, Part, Shifted, Timing

FACTORS = (2.0, 0.5, 4.0, 0.25, 10.0, 50.0)
BISECTIONS = 3


def stretched(timing: Timing, factor: float) -> Timing:
    """A timing with every duration multiplied."""
    replace = msgspec.structs.replace
    match timing:
        case Constant():
            return replace(timing, seconds=timing.seconds * factor)
        case Exponential():
            return replace(timing, mean=timing.mean * factor, cap=None if timing.cap is None else timing.cap * factor)
        case Lognormal():
            return replace(
                timing, median=timing.median * factor, cap=None if timing.cap is None else timing.cap * factor
            )
        case Empirical():
            return replace(timing, seconds=tuple(one * factor for one in timing.seconds))
        case Shifted():
            return replace(timing, by=timing.by * factor, of=stretched(timing.of, factor))
        case Mixture():
            return replace(timing, parts=tuple(Part(part.weight, stretched(part.of, factor)) for part in timing.parts))


def scaled(setup: Setup, scale: str, factor: float) -> Setup:
    """The same scenario with one guess multiplied."""
    world, replace = setup.world, msgspec.structs.replace
    if scale == "failure":
        made = replace(world, failures=replace(world.failures, upgrade=min(1.0, world.failures.upgrade * factor)))
    elif scale == "ready":
        made = replace(world, timings=replace(world.timings, ready=stretched(world.timings.ready, factor)))
    else:
        operations = dict(world.timings.operations)
        operations[scale] = stretched(operations[scale], factor)
        made = replace(world, timings=replace(world.timings, operations=operations))
    return replace(setup, world=made)


def _value(setup: Setup, scale: str, factor: float) -> str:
    if scale == "failure":
        return f"{min(1.0, setup.world.failures.upgrade * factor):.2%}"
    if scale == "ready":
        return f"p95 {span(setup.ready_p95_s * factor)}"
    return f"mean {span(setup.world.timings.operations[scale].mean_s() * factor)}"


def worth(setup: Setup, replications: int) -> int:
    """How many replications a search is worth: enough to see a breach of one in 20, fewer on a large set."""
    return max(4, min(replications, 32, 6_400 // max(1, setup.total)))


def flips(
    setup: Setup,
    *,
    seed: int,
    replications: int,
    jobs: int = 0,
    progress: Progress | None = None,
    known: Mapping[str, Strategy] = STRATEGIES,
) -> dict[str, str | None]:
    """Per guess: the value from which on another strategy is recommended, or None."""
    guesses = [one for one in setup.assumptions if one.scale and one.origin == "guessed"]
    if not guesses:
        return {}
    usual = best(compare(setup, seed=seed, replications=replications, jobs=jobs, known=known))
    found: dict[str, str | None] = {}
    for index, guess in enumerate(guesses, 1):
        found[guess.name] = _search(setup, guess, usual, seed, replications, jobs, known)
        if progress is not None:
            progress(index, len(guesses))
    return found


def _search(
    setup: Setup,
    guess: Assumption,
    usual: str | None,
    seed: int,
    replications: int,
    jobs: int,
    known: Mapping[str, Strategy],
) -> str | None:
    def label(factor: float) -> str | None:
        return best(
            compare(scaled(setup, guess.scale, factor), seed=seed, replications=replications, jobs=jobs, known=known)
        )

    for factor in FACTORS:
        other = label(factor)
        if other == usual:
            continue
        near, far = 0.0, math.log(factor)
        for _ in range(BISECTIONS):
            middle = (near + far) / 2
            changed = label(math.exp(middle))
            if changed == usual:
                near = middle
            else:
                far, other = middle, changed
        return f"{_value(setup, guess.scale, math.exp(far))} (then {other or 'none'})"
    return None
