"""Approvals: who said of a plan, by its digest, that it may be applied.

Rules this module decides:

1. An approval counts for one digest, from its time until it expires; the newest of an approver counts.
2. The author of a plan approves neither the plan nor a batch of its rollout.
3. One that counted when a rollout was begun counts until that rollout ends, also after it expired: the expiry says until when a
   rollout may be begun. What stands half way does not wait for a signature, and `resume`, which only goes on, counts nothing.
4. A plan that has expired begins nothing, so nobody approves it any more, unless a rollout of it in this store has not ended.
5. It is no signature: whoever may write to the store may write an approval. Guard the store as you guard the set.
"""

from __future__ import annotations

from backends.operate import has_ended, latest, refuse_expired
from backends.store import Approval, Store, now_ms
from planner.errors import InputError
from planner.planfile import PlanFile


def approve(store: Store, read: PlanFile, approver: str, *, lasts_ms: int, reason: str = "") -> Approval:
    """Approve a plan. Raises InputError where the approver is its author, or the plan has expired (rule 4)."""
    refuse_author(read, approver)
    met = latest(store, read)
    if met is None or has_ended(met[1]):
        refuse_expired(read)
    now = now_ms()
    made = Approval(plan_sha256=read.sha256, approver=approver, at_ms=now, expires_ms=now + lasts_ms, reason=reason)
    store.approve(made)
    return made


def refuse_author(read: PlanFile, approver: str) -> None:
    """Rule 2, for a plan and for a rollout's next batch. Raises InputError, also where nobody is named."""
    if not approver:
        raise InputError("nobody's name is known", "--by", "none", "who approves")
    if _same(approver, read.plan.author):
        raise InputError(
            "the author of a plan cannot approve it", "--by", approver, "somebody else", "have somebody else approve it"
        )


def valid(store: Store, read: PlanFile, begun_ms: int | None = None) -> tuple[Approval, ...]:
    """The approvals that count, one an approver: now, or when the rollout was begun that is gone on with (rule 3)."""
    given = store.approvals(read.sha256)
    counted = {
        name: one
        for at_ms in (begun_ms, now_ms())
        if at_ms is not None
        for name, one in _newest(given, at_ms).items()
        if at_ms < one.expires_ms and not _same(one.approver, read.plan.author)
    }
    return tuple(counted.values())


def _newest(given: tuple[Approval, ...], at_ms: int) -> dict[str, Approval]:
    """The last word of each approver at this time."""
    return {one.approver.strip().lower(): one for one in given if one.at_ms <= at_ms}


def check(store: Store, read: PlanFile, needed: int, begun_ms: int | None = None) -> None:
    """Raises InputError where fewer count than are needed. begun_ms: of the rollout that is gone on with."""
    found = valid(store, read, begun_ms)
    if len(found) >= needed:
        return
    names = ", ".join(one.approver for one in found) or "none"
    everybody = store.approvals(read.sha256)
    expired = (
        f"; {len(everybody) - len(found)} expired, were replaced or are the author's"
        if len(everybody) > len(found)
        else ""
    )
    raise InputError(
        "the plan is not approved by enough people",
        f"{store.name}: sha256 {read.sha256[:12]}",
        f"{len(found)} ({names}{expired})",
        f"{needed}, its author ({read.plan.author or 'not said'}) not counted",
        "`vmss-sim approve plan.json`; nothing was sent",
    )


def _same(left: str, right: str) -> bool:
    return bool(left.strip()) and left.strip().lower() == right.strip().lower()
