"""Real Azure traffic through the eyes of the backend: nothing recorded is misunderstood (`python -m tests.azure_recordings` prints the counts)."""

from __future__ import annotations

from collections import Counter

import pytest

from backends.azure.client import Answer
from tests.azure_recordings import RECORDINGS, answered, met


def test_every_recorded_exchange_is_understood() -> None:
    if not RECORDINGS.exists():
        pytest.skip(f"the recordings are not at {RECORDINGS}")
    found = list(met())
    assert [one for one in found if one.odd] == []
    became = Counter(one.became.partition(" ")[0] for one in found)
    # What there is to understand: a reader that skips everything would pass the line above.
    assert len(found) > 22_000
    assert (
        became["a"] > 2_500 and became["instances"] > 400 and became["succeeded"] > 3_000 and became["running"] > 11_000
    )
    assert became["failed"] == 10 and became["conflict"] > 75 and became["an"] > 2_900


def test_a_recorded_answer_is_an_answer() -> None:
    """The reader of recordings makes what the client makes, in all the forms that recorders use."""
    made = answered(
        {"status": 409, "headers": {"Retry-After": ["7"]}, "response_body": '{"error": {"code": "Conflict"}}'}
    )
    assert made == Answer(status=409, headers={"retry-after": "7"}, body={"error": {"code": "Conflict"}})
    assert made.error == ("Conflict", "") and made.retry_after_ms == 7_000
