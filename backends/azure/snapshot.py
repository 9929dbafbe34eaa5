"""A snapshot file: the documents of one look, without what nobody needs and somebody might keep secret.

Left out: whatever Azure marks as protected or as user data, and the settings of every extension but the application health extension's
(people put passwords there). What is kept reads as Azure's own documents do (`planner.arm_json`).
"""

from __future__ import annotations

from typing import Any

from backends.azure.reading import Documents

_SECRET = frozenset(
    {"protectedsettings", "protectedsettingsfromkeyvault", "customdata", "userdata", "adminpassword", "secrets", "additionalunattendcontent",
     "keydata", "adminusername"}
)  # fmt: skip


def snapshot(documents: Documents) -> dict[str, Any]:
    """One document that holds the model, every instance, the set's view and the platform's last rollout."""
    made: dict[str, Any] = {
        "model": _kept(documents.model),
        "instances": [_kept(item) for page in documents.pages for item in page.get("value") or ()],
    }
    if documents.view is not None:
        made["instanceView"] = _kept(documents.view)
    if documents.latest is not None:
        made["rollingUpgrade"] = _kept(documents.latest)
    return made


def _kept(node: Any, *, health: bool = False) -> Any:
    if isinstance(node, list):
        return [_kept(item) for item in node]
    if not isinstance(node, dict):
        return node
    health = health or _is_health(node)
    return {
        key: _kept(value, health=health)
        for key, value in node.items()
        if key.lower() not in _SECRET and (key.lower() != "settings" or health)
    }


def _is_health(node: dict[str, Any]) -> bool:
    publisher, kind = str(node.get("publisher", "")).lower(), str(node.get("type", "")).lower()
    return publisher == "microsoft.managedservices" and kind.startswith("applicationhealth")
