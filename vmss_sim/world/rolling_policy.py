"""Azure's own batches and thresholds: pure functions over what the platform knows of a set.

Rules (DOC-rolling, DOC-autoos, DOC-metrics, API; sources in docs/azure-rules.md):

1. *Batch size*: `maxBatchInstancePercent` of all instances, rounded down (no more than), one at least.
2. *Phases*: by PhaseOrderingNumber, ascending; instances without a number come last. All batches of a phase end before
   the next begins.
3. *Unhealthy first*, with `prioritizeUnhealthyInstances`: all unhealthy ones of a phase before any healthy one.
4. *Borders*: a batch never crosses an update domain, nor a zone unless `enableCrossZoneUpgrade`. Which zone or domain goes first
   is undocumented: in numeric order, what is not known last. So is the order inside: by instance id.
5. *Thresholds* are exceeded strictly: 20 % of 10 tolerates two.
6. With custom metrics only healthy instances take part (DOC-metrics).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from vmss_sim.world.config import RollingPolicy

Key = tuple[int, int, str]


class Member(NamedTuple):
    """An instance that is to be upgraded, as the platform sees it when the rollout starts."""

    id: str
    zone: str | None = None
    update_domain: int | None = None
    healthy: bool = True
    phase: int | None = None


def batch_size(percent: int, total: int) -> int:
    """Rule 1."""
    return max(1, percent * total // 100)


def exceeds(count: int, total: int, percent: int) -> bool:
    """Rule 5: is `count` of `total` more than `percent`?"""
    return count * 100 > percent * total


def azure_batches(members: Iterable[Member], total: int, policy: RollingPolicy) -> tuple[tuple[str, ...], ...]:
    """The batches in order, as ids. total: all instances of the set, also those left out."""
    size = batch_size(policy.max_batch_percent, total)
    groups: dict[tuple[Key, bool, Key, Key], list[Member]] = {}
    for one in members:
        late = not (policy.prioritize_unhealthy and not one.healthy)
        zone = (0, 0, "") if policy.cross_zone else _key(one.zone)
        groups.setdefault((_key(one.phase), late, zone, _key(one.update_domain)), []).append(one)
    return tuple(
        part for key in sorted(groups) for part in _cut(sorted(groups[key], key=lambda one: _key(one.id)), size)
    )


def _cut(members: Sequence[Member], size: int) -> list[tuple[str, ...]]:
    ids = [one.id for one in members]
    return [tuple(ids[start : start + size]) for start in range(0, len(ids), size)]


def _key(value: object) -> Key:
    """Numeric order, then text; what is not known last."""
    if value is None:
        return (2, 0, "")
    text = str(value)
    return (0, int(text), "") if text.isdecimal() else (1, 0, text)
