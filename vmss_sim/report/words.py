"""What the measures are called, for people."""

from __future__ import annotations

WORDS = {
    "min_healthy": "fewest in service",
    "availability": "availability over the horizon",
    "downtime_s": "downtime (below required)",
    "outage_s": "outage (nobody in service)",
    "capacity_lost_vm_s": "capacity lost, VM-seconds",
    "unserved_vm_s": "need not met, VM-seconds",
    "bad_exposure_vm_s": "on a bad image, VM-seconds",
    "duration_s": "duration",
    "duration_completed_s": "duration of completed runs",
}
