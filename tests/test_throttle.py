"""Token buckets: the table, the arithmetic against a model written another way, and planted bugs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmss_sim.world import throttle
from vmss_sim.world.throttle import POLICIES, USES, Buckets, Granted, Policy, Throttled, headers

WORLD_KINDS = [
    "update-model",
    "set-mode",
    "set-capacity",
    "suspend-repairs",
    "resume-repairs",
    "upgrade",
    "reimage",
    "reimage-all",
    "restart",
    "start",
    "power-off",
    "deallocate",
    "redeploy",
    "delete",
    "run-command",
    "protect",
    "os-rolling-upgrade",
    "extension-rolling-upgrade",
    "cancel-rolling-upgrade",
    "approve-rolling-upgrade",
]

POLICY = "VMScaleSetActionsSubscriptionMaximum"
Log = list[tuple[int, int, Granted | Throttled]]


# -- The table ----------------------------------------------------------------------------------------------------------


def test_every_operation_of_the_world_is_paid_for_and_every_policy_is_used() -> None:
    assert set(WORLD_KINDS) <= set(USES)
    assert {use.policy for uses in USES.values() for use in uses} == set(POLICIES)


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_a_bucket_holds_three_minutes_of_refill_where_microsoft_documents_it_so(name: str) -> None:
    policy = POLICIES[name]
    if policy.source == "documented" and not name.startswith("arm-"):
        assert policy.size == 3 * policy.refill, "compute-throttling-limits.md: refill/max is 4/12, 125/375, ..."
    assert policy.name == name
    assert 0 < policy.refill <= policy.size


# The highest remaining value in recordings since 2023-11 is the size less one (poll buckets of 60 were seen as well).
RECORDED_HIGHEST = {
    "CreateVMScaleSetSubscriptionMaximum": 374,
    "CreateVMScaleSetResource": 11,
    "VMScaleSetActionsSubscriptionMaximum": 1499,
    "VMScaleSetActionsResource": 11,
    "DeleteVMScaleSetSubscriptionMaximum": 524,
    "DeleteVMScaleSetResource": 11,
    "GetVMScaleSetSubscriptionMaximum": 2399,
    "GetVMScaleSetResource": 35,
    "HighCostGetVMScaleSetSubscriptionMaximum": 1079,
    "HighCostGetVMScaleSetResource": 29,
    "GetVMScaleSetVMSubscriptionMaximum": 5999,
    "GetVMScaleSetVMResource": 35,
    "VMScaleSetVMActionsSubscriptionMaximum": 1999,
    "VMScaleSetVMActionsResource": 11,
    "DeleteVMScaleSetVMSubscriptionMaximum": 1999,
    "DeleteVMScaleSetVMResource": 11,
    "GetOperationSubscriptionMaximum": 14999,
    "VMScaleSetVMViewsSubscriptionMaximum": 29999,
}


@pytest.mark.parametrize("name", sorted(RECORDED_HIGHEST))
def test_sizes_are_the_recorded_ones(name: str) -> None:
    assert POLICIES[name].size == RECORDED_HIGHEST[name] + 1


def test_headers_read_like_the_recorded_ones() -> None:
    granted = Buckets().take("delete", 0, vms=2)
    assert isinstance(granted, Granted)
    lines = headers(granted)
    assert lines["x-ms-ratelimit-remaining-resource"] == (
        "Microsoft.Compute/VMScaleSetActionsSubscriptionMaximum;1499,"
        "Microsoft.Compute/VMScaleSetBatchedVMRequestsSubscriptionMaximum;5998"
    ), "azure-cli test_vmss_create_and_modify of 2024-08-26"
    assert lines["x-ms-ratelimit-remaining-subscription-writes"] == "199"
    assert lines["x-ms-ratelimit-remaining-subscription-global-writes"] == "2999"


def test_polls_of_two_operations_leave_what_was_recorded() -> None:
    # azure-cli test_vmss_create_and_modify of 2024-08-26: manualupgrade, then poweroff of 5 VMs.
    buckets = Buckets()
    seen = []
    for second, operation in ((0, "a"), (30, "a"), (60, "a"), (60, "a"), (63, "b"), (93, "b"), (123, "b"), (123, "b")):
        granted = buckets.take("get-operation", second * 1000, resource=operation)
        assert isinstance(granted, Granted)
        seen.append(dict(granted.remaining)["GetOperationResource"])
    assert seen == [44, 43, 44, 43, 44, 43, 44, 43]


# -- The arithmetic -----------------------------------------------------------------------------------------------------


def _naive(policy: Policy, asks: list[tuple[int, int]]) -> list[bool]:
    """The rule written the slow way: walk from refill to refill."""
    tokens, ticks_at, verdicts = policy.size, None, []
    for now_ms, need in asks:
        while ticks_at is not None and ticks_at <= now_ms:
            tokens += policy.refill
            ticks_at += policy.every_ms
            if tokens >= policy.size:
                tokens, ticks_at = policy.size, None
        verdicts.append(need <= tokens)
        if need <= tokens and need:
            if ticks_at is None:
                ticks_at = now_ms + policy.every_ms
            tokens -= need
    return verdicts


def _small(size: int, refill: int, every_ms: int) -> Policy:
    return Policy(name=POLICY, scope="subscription", size=size, refill=refill, every_ms=every_ms)


def _run(buckets: Buckets, asks: list[tuple[int, int]]) -> Log:
    # `per=vm` makes one policy take as many tokens as we like: use the batched one for all weights.
    return [(now_ms, need, buckets.take("restart", now_ms, vms=need)) for now_ms, need in asks]


def _complaints(policy: Policy, log: Log) -> list[str]:
    """What is wrong with a history of requests. The checker the planted bugs must trip."""
    found = []
    taken = [(now_ms, need) for now_ms, need, reply in log if isinstance(reply, Granted)]
    for first, (start_ms, _) in enumerate(taken):
        total = 0
        for end_ms, need in taken[first:]:
            total += need
            if total > policy.size + policy.refill * -(-(end_ms - start_ms) // policy.every_ms):
                found.append(f"{total} taken within {end_ms - start_ms} ms")
    expected = _naive(policy, [(now_ms, need) for now_ms, need, _ in log])
    for (now_ms, need, reply), granted in zip(log, expected, strict=True):
        if isinstance(reply, Granted) != granted:
            found.append(f"{need} at {now_ms}: {reply}")
        if isinstance(reply, Granted) and not 0 <= dict(reply.remaining)[policy.name] <= policy.size:
            found.append(f"{need} at {now_ms}: {reply} is not within the bucket")
    return found


@st.composite
def _cases(draw: st.DrawFn) -> tuple[Policy, list[tuple[int, int]]]:
    refill = draw(st.integers(1, 6))
    size = draw(st.integers(refill, 15))
    every_ms = draw(st.sampled_from((7, 10, 60)))
    gaps = draw(st.lists(st.integers(0, 3 * every_ms), min_size=1, max_size=30))
    needs = draw(st.lists(st.integers(0, size), min_size=len(gaps), max_size=len(gaps)))
    times = [sum(gaps[: index + 1]) for index in range(len(gaps))]
    return _batched(size, refill, every_ms), list(zip(times, needs, strict=True))


def _batched(size: int, refill: int, every_ms: int) -> Policy:
    return Policy(
        name="VMScaleSetBatchedVMRequestsSubscriptionMaximum",
        scope="subscription",
        size=size,
        refill=refill,
        every_ms=every_ms,
    )


@given(_cases())
def test_never_more_than_the_bucket_and_exactly_the_refill(case: tuple[Policy, list[tuple[int, int]]]) -> None:
    policy, asks = case
    assert not _complaints(policy, _run(Buckets({policy.name: policy}), asks))


@given(_cases())
def test_a_refusal_says_to_the_millisecond_when_it_will_be_granted(case: tuple[Policy, list[tuple[int, int]]]) -> None:
    policy, asks = case
    for index, (now_ms, need) in enumerate(asks):
        buckets = Buckets({policy.name: policy})
        reply = [reply for *_, reply in _run(buckets, asks[: index + 1])][-1]
        if isinstance(reply, Throttled):
            assert reply.retry_after_ms > 0
            assert reply.measured > reply.allowed, "more was asked than the period had"
            early = buckets.take("restart", now_ms + reply.retry_after_ms - 1, vms=need)
            assert isinstance(early, Throttled)
            assert isinstance(buckets.take("restart", now_ms + reply.retry_after_ms, vms=need), Granted)


class _Continuous(throttle._Bucket):
    """Planted: half the refill arrives after half the period."""

    def advance(self, now_ms: int) -> None:
        super().advance(now_ms)
        if now_ms - self.since_ms >= self.policy.every_ms // 2 and self.tokens < self.policy.size:
            self.tokens += 1


class _Overflowing(throttle._Bucket):
    """Planted: unused refill piles up."""

    def advance(self, now_ms: int) -> None:
        periods = (now_ms - self.since_ms) // self.policy.every_ms
        self.tokens += periods * self.policy.refill
        self.since_ms += periods * self.policy.every_ms


class _Late(throttle._Bucket):
    """Planted: the refill arrives a millisecond after the period."""

    def advance(self, now_ms: int) -> None:
        super().advance(max(self.since_ms, now_ms - 1))


def _pay_first(self: Buckets, kind: str, now_ms: int, vms: int = 1, resource: str = "") -> Granted | Throttled:
    """Planted: a refused request costs what is left."""
    reply = _TAKE(self, kind, now_ms, vms, resource)
    if isinstance(reply, Throttled):
        for bucket in self._buckets.values():
            bucket.tokens = 0
    return reply


_TAKE: Callable[..., Granted | Throttled] = Buckets.take
_ASKS = [(0, 4), (0, 8), (1, 1), (30, 2), (60, 5), (61, 4), (120, 4), (400, 12), (401, 3), (460, 4), (520, 1), (520, 3)]


@pytest.mark.parametrize("bug", [_Continuous, _Overflowing, _Late], ids=lambda bug: bug.__doc__)
def test_planted_buckets_are_noticed(bug: type[throttle._Bucket], monkeypatch: pytest.MonkeyPatch) -> None:
    policy = _batched(12, 4, 60)
    assert not _complaints(policy, _run(Buckets({policy.name: policy}), _ASKS))
    monkeypatch.setattr(throttle, "_Bucket", bug)
    assert _complaints(policy, _run(Buckets({policy.name: policy}), _ASKS))


def test_a_refusal_that_costs_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = _batched(12, 4, 60)
    monkeypatch.setattr(Buckets, "take", _pay_first)
    assert _complaints(policy, _run(Buckets({policy.name: policy}), _ASKS))


def test_all_or_nothing_over_several_policies() -> None:
    narrow = _small(1, 1, 60_000)
    wide = _batched(10, 5, 60_000)
    buckets = Buckets({narrow.name: narrow, wide.name: wide})
    assert isinstance(buckets.take("restart", 0, vms=2), Granted)
    refused = buckets.take("restart", 1, vms=2)
    assert refused == Throttled(59_999, narrow.name, 1, 2)
    again = buckets.take("restart", 60_000, vms=8)
    assert again == Granted(((narrow.name, 0), (wide.name, 2))), "the refused request took nothing from the wide bucket"


def test_the_default_policies_throttle_a_caller_who_polls_the_set_every_second() -> None:
    buckets = Buckets()
    verdicts = [buckets.take("get-set-view", second * 1000) for second in range(60)]
    assert [isinstance(verdict, Granted) for verdict in verdicts] == [True] * 30 + [False] * 30
    assert verdicts[30] == Throttled(30_000, "HighCostGetVMScaleSetResource", 30, 31)


def test_scopes_keep_resources_apart() -> None:
    buckets = Buckets()
    for number in range(12):
        assert isinstance(buckets.take("protect", 0, resource="0"), Granted), number
    assert isinstance(buckets.take("protect", 0, resource="0"), Throttled)
    assert isinstance(buckets.take("protect", 0, resource="1"), Granted)


def test_misuse_is_refused() -> None:
    buckets = Buckets()
    buckets.take("restart", 5)
    with pytest.raises(ValueError, match="time does not go back"):
        buckets.take("restart", 4)
    with pytest.raises(ValueError, match="can never pass"):
        buckets.take("restart", 6, vms=6_001)
    with pytest.raises(KeyError):
        buckets.take("dance", 7)
