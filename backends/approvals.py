"""Approvals: who said of a plan, by its digest, that it may be applied.

Rules this module decides:

1. An approval counts for one digest, from its time until it expires; the newest of an approver counts.
2. The author of a plan does not approve it.
3. It is no signature: whoever may write to the store may write an approval. Guard the store as you guard the set.
"""

from __future__ import annotations

from backends.store import Approval, Store, now_ms
from planner.errors import InputError
from planner.planfile import PlanFile


def approve(store: Store, read: PlanFile, approver: str, *, lasts_ms: int, reason: str = "") -> Approval:
    """Approve a plan. Raises InputError where the approver is its author."""
    if _same(approver, read.plan.author):
        raise InputError(
            "the author of a plan cannot approve it", "--by", approver, "somebody else", "have somebody else approve it"
        )
    now = now_ms()
    made = Approval(plan_sha256=read.sha256, approver=approver, at_ms=now, expires_ms=now + lasts_ms, reason=reason)
    store.approve(made)
    return made


def valid(store: Store, read: PlanFile) -> tuple[Approval, ...]:
    """The approvals that count now, one an approver."""
    now = now_ms()
    newest: dict[str, Approval] = {}
    for one in store.approvals(read.sha256):
        newest[one.approver.strip().lower()] = one
    return tuple(
        one
        for one in newest.values()
        if one.at_ms <= now < one.expires_ms and not _same(one.approver, read.plan.author)
    )


def check(store: Store, read: PlanFile, needed: int) -> None:
    """Raises InputError where fewer count than are needed."""
    found = valid(store, read)
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
