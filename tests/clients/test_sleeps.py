"""One script of az and fixed sleeps, at three clocks: the same rollout, in real time, sixty times as fast, and in jumps.

Contract: what is compared is virtual time without the client's own work, so that a loaded machine changes nothing. Own work is what passed
between the first and the last change beside the sleeps that the script names and whole poll intervals: a client that is late for a poll
does not wait, it is slow. Under `jump` the emulator itself refuses figures where the client was too slow for them; then, and only then,
it is run again.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.clients import figures
from tests.clients.az import Az
from tests.clients.harness import emulator, needs

pytestmark = needs("az")

POLL_S, PAUSE_S, OUT_S = 20, 50, 73  # a VM is out for 38 + 30 + 5 s
CLOCKS = {
    "real": ("--clock", "real", "--retry-after", str(POLL_S)),
    "sixty times": ("--clock", "real", "--speed", "60", "--retry-after", str(POLL_S)),
    "jump": ("--clock", "jump", "--poll", str(POLL_S)),
}
SHORT_MS = 100
"""A client waits at least as long as it was told, but for its timer's grain."""


def own_work_ms(lines: list[dict[str, Any]], sleeps: int) -> int:
    """The client's own work between the first change and the last one."""
    changes = [line for line in lines if line["method"] in ("PUT", "POST")]
    total = changes[-1]["at_ms"] - changes[0]["at_ms"]
    told: dict[str, int] = {}
    waited = 0
    for line in lines[lines.index(changes[0]) : lines.index(changes[-1])]:
        path = urlsplit(line["url"]).path
        url = line["headers"].get("azure-asyncoperation", "")
        if path in told:
            waited += (line["at_ms"] - told[path] + SHORT_MS) // (POLL_S * 1000) * POLL_S * 1000
            told[path] = line["at_ms"]
        elif url:
            told[urlsplit(url).path] = line["at_ms"]
    return int(total - waited - sleeps * PAUSE_S * 1000)


def rollout(clock: str, home: Path) -> tuple[dict[str, Any], float]:
    """The report of one run, and its duration without the client's own work."""
    home.mkdir()
    with emulator("short", home, *CLOCKS[clock]) as running:
        done = Az(running).script("per_domain.sh", PAUSE=str(PAUSE_S))
        assert done.status == 0, done.err
        lines = running.exchanges()
    report = running.final
    if report["metrics"] is None:
        return report, 0.0
    own_ms = own_work_ms(lines, sleeps=1)  # the sleep after the last domain comes after the last change
    assert own_ms >= -SHORT_MS, f"less time passed than the script slept and waited: {report['time']}"
    assert report["time"]["declared_s"] >= PAUSE_S, report["time"]
    return report, report["metrics"]["duration_s"] - own_ms / 1000


def undistorted(clock: str, home: Path) -> tuple[dict[str, Any], float]:
    """Rule of the contract: again, where the emulator says that the machine was too slow for figures."""
    for attempt in range(4):
        report, duration_s = rollout(clock, Path(f"{home}-{attempt}"))
        if report["refused"] is None:
            return report, duration_s
    pytest.fail(report["refused"])


def test_one_script_at_three_clocks(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(undistorted, "real", tmp_path / "real")
        runs = {clock: undistorted(clock, tmp_path / clock.replace(" ", "-")) for clock in ("sixty times", "jump")}
        runs["real"] = slow.result()
    # The model is seen to be there at the first poll, each domain's upgrade (38 s) at the second; the last one is out until it serves.
    expected_s = POLL_S + 2 * POLL_S + PAUSE_S + OUT_S
    for clock, (report, duration_s) in runs.items():
        figures.truth(report, instances=4, floor=2, lost_s=OUT_S, between_s=(0, 1e6))
        assert duration_s == pytest.approx(expected_s, rel=0.02), (clock, report["metrics"], report["time"])
    durations = [duration_s for _, duration_s in runs.values()]
    assert max(durations) <= 1.02 * min(durations), durations
    availability = {report["metrics"]["availability"] for report, _ in runs.values()}
    assert len(availability) == 1
