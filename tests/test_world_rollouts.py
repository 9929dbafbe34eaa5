"""Azure's own rollouts, rule by rule."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vmss_sim.world.rolling_policy import batch_size


@given(percent=st.integers(5, 100), total=st.integers(1, 1000))
def test_batch_size_is_the_percentage_of_all_instances_rounded_down_and_one_at_least(percent: int, total: int) -> None:
    size = batch_size(percent, total)
    assert size == 1 or size * 100 <= percent * total
    assert (size + 1) * 100 > percent * total
    assert size >= 1
