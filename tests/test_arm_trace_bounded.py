"""A trace that nobody asked for does not grow with every look; what a snapshot needs of it is there all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests

from vmss_sim.checks.emulated import Emulated, emulated

READ, CHANGE = ("GET", ""), ("POST", "/restart")


def ask(azure: Emulated, method: str, below: str) -> None:
    url = f"{azure.url}{azure.id}{below}?api-version=2024-07-01"
    ran = requests.request(method, url, headers={"Authorization": "Bearer x"}, verify=azure.ca, timeout=30)
    assert ran.ok, ran.text


def grown(azure: Emulated, *asked: tuple[str, str]) -> list[int]:
    """By how many bytes the trace grew with each."""
    path, sizes = azure.emulator.trace.path, []
    for method, below in asked:
        before = path.stat().st_size
        ask(azure, method, below)
        azure.control.run_until_idle()
        sizes.append(path.stat().st_size - before)
    return sizes


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmss_sim.arm.trace.MOST", 5_000)


@pytest.mark.usefixtures("small")
def test_past_its_bound_it_holds_what_a_snapshot_needs() -> None:
    with emulated("two-vms", clock="manual") as azure:
        assert all(size > 2_000 for size in grown(azure, READ, READ)), "answers and all"
        read, change = grown(azure, READ, CHANGE)
        assert (read, 0 < change < 2_000) == (0, True), (read, change)
        last: dict[str, Any] = list(azure.control.trace())[-1]
        assert (last["method"], last["status"], last["body"]) == ("POST", 202, None)
        lines = list(azure.emulator.snapshot())
        azure.control.reset()
        azure.emulator.restore(lines)
        assert next(iter(azure.emulator.snapshot())) == lines[0], "the same state again"


@pytest.mark.usefixtures("small")
def test_under_throttles_reads_take_tokens_and_belong_to_it() -> None:
    with emulated("two-vms", clock="manual", throttle=True) as azure:
        grown(azure, READ, READ)
        assert all(0 < size < 2_000 for size in grown(azure, READ, CHANGE)), "without their answers"


@pytest.mark.usefixtures("small")
def test_one_that_was_asked_for_holds_everything(tmp_path: Path) -> None:
    with emulated("two-vms", clock="manual", trace=tmp_path / "trace.jsonl") as azure:
        assert all(size > 2_000 for size in grown(azure, READ, READ, READ, READ))
