"""What must come of a rollout, whoever carries it out: as the client was told, and by the world's own meter.

Rules this module decides:

1. Of a client's account: every instance is there, healthy, on the new image, and on the latest model; so is the model.
2. Of the report: complete, everything in service, never below the floor, no downtime, and not a VM-second lost beside what the upgrades
   themselves cost. The least in service is the floor itself: a domain did go, all of it, at once.
3. Durations are bounds in virtual time. How long the client's own work took decides nothing: under `jump` it is not counted.
"""

from __future__ import annotations

from typing import Any

from tests.clients.harness import NEW

OUT_S = 480 + 240 + 30
"""How long one VM is out of service: its upgrade, until the application serves, until that shows."""
PER_DOMAIN_S = (5 * OUT_S, 5 * (OUT_S + 60) + 60)
"""Five domains; each end of an operation, and each recovery, is seen up to 30 s late, and so is the model."""
PLATFORM_S = (5 * OUT_S, 60 + 5 * (OUT_S + 60 + 60) + 90)
"""Five batches and a first check, each of which ends with a tick of 60 s."""

Report = dict[str, Any]


def carried_out(seen: dict[str, Any], instances: int) -> None:
    """Rule 1."""
    assert seen["model"] in (NEW, "latest")
    assert seen["provisioning"] == "Succeeded"
    assert len(seen["instances"]) == instances
    wrong = {
        name: one for name, one in seen["instances"].items() if one != {"latest": True, "version": NEW, "healthy": True}
    }
    assert not wrong


def truth(report: Report, *, instances: int, floor: int, lost_s: float, between_s: tuple[float, float]) -> None:
    """Rules 2 and 3. lost_s: one VM's time out of service."""
    assert report["refused"] is None, report["refused"]
    assert report["complete"], report
    assert report["breaches"] == []
    everyone = {"total": instances, "serving": instances, "latest_model": instances, "failed": 0}
    assert report["instances"] == everyone
    metrics = report["metrics"]
    assert metrics["min_healthy"] == floor
    assert metrics["downtime_s"] == 0
    assert metrics["outage_s"] == 0
    assert metrics["capacity_lost_vm_s"] == instances * lost_s
    low, high = between_s
    assert low <= metrics["duration_s"] <= high, metrics
