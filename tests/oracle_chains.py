"""Exact Markov chains for the oracle tests: a rollout under background failures (O16), and what scipy makes of a chain.

Nothing here runs the stack; nothing of the stack is imported. `Rollout` is the chain of one rollout; `absorb` solves
any chain that ends, `steady` any that does not.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np
from scipy import sparse, stats
from scipy.sparse.linalg import splu

S = TypeVar("S", bound=Hashable)
Moves = Iterable[tuple[float, S | None]]
"""Rates out of a state; None: the chain ends."""


class Absorbed(NamedTuple):
    """E of each reward until the end, P(ever in a marked state), how many states there are."""

    expected: tuple[float, ...]
    ever: float
    states: int


def absorb(
    start: Mapping[S, float], moves: Callable[[S], Moves[S]], rewards: Callable[[S], Sequence[float]], marked: int
) -> Absorbed:
    """Solve an absorbing chain: -Q x = reward, and for a marked state (rewards(s)[marked] > 0) h = 1, elsewhere Q h = 0."""
    index: dict[S, int] = {}
    order: list[S] = []

    def number(state: S) -> int:
        if state not in index:
            index[state] = len(order)
            order.append(state)
        return index[state]

    for state in start:
        number(state)
    rows, columns, values = [], [], []
    for row, state in enumerate(order):  # grows while it is read
        for rate, following in moves(state):
            rows.append(row)
            columns.append(row)
            values.append(rate)
            if following is not None:
                rows.append(row)
                columns.append(number(following))
                values.append(-rate)
    size = len(order)
    leaving = sparse.csc_matrix((values, (rows, columns)), (size, size))
    reward = np.array([rewards(state) for state in order], dtype=float)
    first = np.zeros(size)
    for state, probability in start.items():
        first[index[state]] += probability
    expected = first @ splu(leaving).solve(reward)
    ever = np.ones(size)
    inside, outside = np.flatnonzero(reward[:, marked] > 0), np.flatnonzero(reward[:, marked] == 0)
    if len(outside):
        part = leaving[outside]
        ever[outside] = splu(part[:, outside].tocsc()).solve(-part[:, inside] @ np.ones(len(inside)))
    return Absorbed(tuple(float(one) for one in expected), float(first @ ever), size)


def steady(rates: Mapping[tuple[str, str], float]) -> dict[str, float]:
    """The steady distribution of a small chain from its rates: pi Q = 0, sum pi = 1."""
    names = sorted({name for pair in rates for name in pair})
    generator = np.zeros((len(names), len(names)))
    for (before, after), rate in rates.items():
        i, j = names.index(before), names.index(after)
        generator[i, j] += rate
        generator[i, i] -= rate
    system = np.vstack([generator.T, np.ones(len(names))])
    found = np.linalg.lstsq(system, np.append(np.zeros(len(names)), 1.0), rcond=None)[0]
    return dict(zip(names, found.tolist(), strict=True))


def birth_death(n: int, failing: float, repair: float, crews: int) -> list[float]:
    """Steady distribution of the number down: pi_{j+1} / pi_j = (n - j) failing / (min(j + 1, crews) repair)."""
    weights = [1.0]
    for j in range(n):
        weights.append(weights[-1] * (n - j) * failing / (min(j + 1, crews) * repair))
    return [weight / sum(weights) for weight in weights]


def sojourn(n: int, k: int, mttf: float, mttr: float) -> float:
    """Mean time below k of n once it has dropped below: h_j = (1 + (n - j) h_{j+1} / mttf) / (j / mttr), from j = n - k + 1
    down, each h_j the mean time from j down to j - 1.
    """
    h = 0.0
    for j in range(n, n - k, -1):
        h = (1 + (n - j) * h / mttf) * mttr / j
    return h


class State(NamedTuple):
    """What the future of a rollout depends on. Counts of VMs but for `batch`, the number of batches done.

    held_up, held_down: of this batch, stale, not sent yet. moving: in upgrade. fresh_up: upgraded in this batch, its
    command still running. fresh_down: upgraded in this batch, failed, and not seen to serve since. old_down: failed, of
    later batches. done_down: failed, upgraded and seen to serve.
    """

    batch: int
    held_up: int
    held_down: int
    moving: int
    fresh_up: int
    fresh_down: int
    old_down: int
    done_down: int


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """O16: n VMs in batches of b; each upgrade exponential of mean `upgrade`, failures of mean `mttf`, repairs of `mttr`.

    The chain, as the rollout machine and the world have it (derivation: tests/test_oracles_background.py):

    * A VM that serves fails at rate 1/mttf; a failed one is repaired at rate 1/mttr; one in upgrade does neither, and
      serves, upgraded, when its own operation ends, though the command runs on until the last of them has ended.
    * A command takes all of the batch that is down (free, and its repair is forgotten) and of those that are up at most
      (serving - floor). The next command of the batch waits for the end of this one.
    * A batch is over when every VM of it was seen to serve after its command (`waits`), and then not before at most
      `gate` of the upgraded are down.
    * The next batch's failed VMs are hypergeometric: b of those left, of which old_down are failed.

    Everything else is a mistake to be told from it. waits False: the chain as published, a batch is over with its last
    operation. composition: `sick-first`, `sick-last`. sick_cost: failed VMs use up the budget. old_fail, new_fail:
    which VMs fail at all.
    """

    n: int
    b: int
    upgrade: float
    mttf: float
    mttr: float
    level: int
    floor: int = 0
    gate: int = 1 << 30
    waits: bool = True
    composition: str = "hypergeometric"
    sick_cost: bool = False
    old_fail: bool = True
    new_fail: bool = True

    def but(self, **changes: object) -> Rollout:
        """The same chain with something else in it."""
        return replace(self, **changes)  # type: ignore[arg-type]

    def _old_left(self, batch: int) -> int:
        """How many VMs belong to later batches."""
        return max(0, self.n - (batch + 1) * self.b)

    def up(self, s: State) -> int:
        """How many VMs serve."""
        return self.n - s.held_down - s.moving - s.fresh_down - s.old_down - s.done_down

    def _begin(self, batch: int, old_down: int, done_down: int) -> dict[State | None, float]:
        """The next batch, or the end."""
        left = self.n - batch * self.b
        if left <= 0:
            return {None: 1.0}
        size = min(self.b, left)
        least, most = max(0, old_down - (left - size)), min(size, old_down)
        match self.composition:
            case "sick-first":
                weights = {most: 1.0}
            case "sick-last":
                weights = {least: 1.0}
            case _:
                weights = {j: float(stats.hypergeom.pmf(j, left, old_down, size)) for j in range(least, most + 1)}
        found: dict[State | None, float] = {}
        for j, weight in weights.items():
            begun = State(batch, size - j, j, 0, 0, 0, old_down - j, done_down)
            for state, probability in self._decide(begun).items():
                found[state] = found.get(state, 0.0) + weight * probability
        return found

    def _decide(self, s: State) -> dict[State | None, float]:
        """What follows at once while no command runs."""
        if s.held_up or s.held_down:
            budget = max(0, self.up(s) - self.floor)
            down = min(s.held_down, budget) if self.sick_cost else s.held_down
            go = min(s.held_up, budget - down if self.sick_cost else budget)
            if go + down:
                return {s._replace(held_up=s.held_up - go, held_down=s.held_down - down, moving=go + down): 1.0}
            return {s: 1.0}
        if not self.waits:
            s = s._replace(fresh_down=0, done_down=s.done_down + s.fresh_down)
        if s.fresh_down or s.done_down > self.gate:
            return {s: 1.0}
        return self._begin(s.batch + 1, s.old_down, s.done_down)

    def moves(self, s: State) -> Moves[State]:
        """Rates out of a state."""
        fail, repair, finish = 1 / self.mttf, 1 / self.mttr, 1 / self.upgrade
        old, new = fail * self.old_fail, fail * self.new_fail
        size = min(self.b, self.n - s.batch * self.b)
        done_up = s.batch * self.b + size - sum(s[1:6]) - s.done_down
        old_up = self._old_left(s.batch) - s.old_down
        change = s._replace
        steps = [
            (old * s.held_up, change(held_up=s.held_up - 1, held_down=s.held_down + 1)),
            (repair * s.held_down, change(held_up=s.held_up + 1, held_down=s.held_down - 1)),
            (old * old_up, change(old_down=s.old_down + 1)),
            (repair * s.old_down, change(old_down=s.old_down - 1)),
            (new * done_up, change(done_down=s.done_down + 1)),
            (repair * s.done_down, change(done_down=s.done_down - 1)),
        ]
        if s.moving:
            last = s.moving == 1
            steps += [
                (
                    finish * s.moving,  # the last one ends the command: what is up then is done
                    change(moving=s.moving - 1, fresh_up=0 if last else s.fresh_up + 1),
                ),
                (new * s.fresh_up, change(fresh_up=s.fresh_up - 1, fresh_down=s.fresh_down + 1)),
                (repair * s.fresh_down, change(fresh_up=s.fresh_up + 1, fresh_down=s.fresh_down - 1)),
            ]
        else:
            steps.append((repair * s.fresh_down, change(fresh_down=s.fresh_down - 1)))  # seen at once: done
        found: list[tuple[float, State | None]] = []
        for rate, following in steps:
            if not rate:
                continue
            if following.moving:
                found.append((rate, following))
            else:
                found += [(rate * probability, state) for state, probability in self._decide(following).items()]
        return found

    @cached_property
    def exact(self) -> Absorbed:
        """E[T], E[capacity lost], E[time below `level`], and P(ever below it)."""
        start = {state: weight for state, weight in self._begin(0, 0, 0).items() if state is not None}
        return absorb(start, self.moves, lambda s: (1.0, self.n - self.up(s), float(self.up(s) < self.level)), 2)

    def values(self) -> dict[str, float]:
        """The four figures by name."""
        duration, lost, below = self.exact.expected
        return {"duration": duration, "lost": lost, "below": below, "ever": self.exact.ever}
