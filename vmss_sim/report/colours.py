"""Which decisions stand out, wherever they are listed: rule to style."""

from __future__ import annotations

LOUD = {
    "stop": "bold red",
    "abort": "bold red",
    "drift": "bold red",
    "refused": "red",
    "quarantined": "red",
    "operation-failed": "red",
    "too-many-failed": "red",
    "gate-failed": "red",
    "deadline": "yellow",
    "gate-waits": "yellow",
    "floor-holds": "yellow",
    "roll-back": "bold yellow",
    "paused": "yellow",
    "ended": "bold",
    "release-failed": "red",
    "replace-refused": "yellow",
    "release-refused": "yellow",
}
