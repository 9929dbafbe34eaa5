"""What is kept out of every file: values that Azure never shows again, and where people put passwords.

Rules this module decides:

1. A member is *held back* by its name (`NAMES`), in any case and at any depth. So are the settings of every extension but the application
   health extension's: people put passwords there.
2. A shared access signature is held back wherever it stands in text. The address of a certificate, or of a secret in a key vault, is no secret.
3. A snapshot leaves out what is held back (`kept`); of what an instance is given a digest stays (`arm_json/gives.py`), which tells that it is another. A change at, below, or above such a member is refused (`place_of`): its value would stand in the
   plan, the journal and the log, and as nobody sees the old one it could be neither confirmed nor put back.
"""

from __future__ import annotations

import re
from typing import Any

NAMES = frozenset(
    {"protectedsettings", "protectedsettingsfromkeyvault", "customdata", "userdata", "adminpassword", "secrets", "additionalunattendcontent",
     "keydata", "adminusername", "protectedparameters", "runaspassword"}
)  # fmt: skip
SETTINGS = "settings"
_SIGNATURE = re.compile(r"[?&]sig=[^&\s]", re.IGNORECASE)


def kept(node: Any, *, health: bool = False) -> Any:
    """A document of Azure's without what is held back."""
    if isinstance(node, list):
        return [kept(item) for item in node]
    if not isinstance(node, dict):
        return node
    health = health or is_health(node)
    return {key: kept(value, health=health) for key, value in node.items() if not held_back(key, health=health)}


def signed(text: str) -> bool:
    """Rule 2: does it hold a shared access signature?"""
    return _SIGNATURE.search(text) is not None


def place_of(path: str, value: Any) -> str:
    """Where a model path, with the value it is to get, holds something back; empty: nowhere."""
    names = path.split(".")
    for index, name in enumerate(names):
        if held_back(name, health=False):
            return ".".join(names[: index + 1])
    return _inside(path, value, health=False)


def _inside(place: str, node: Any, *, health: bool) -> str:
    if isinstance(node, str):
        return f"{place} (a shared access signature)" if signed(node) else ""
    if isinstance(node, list):
        found = (_inside(f"{place}[{index}]", item, health=False) for index, item in enumerate(node))
    elif isinstance(node, dict):
        health = health or is_health(node)
        found = (
            f"{place}.{key}" if held_back(str(key), health=health) else _inside(f"{place}.{key}", item, health=health)
            for key, item in node.items()
        )
    else:
        return ""
    return next((one for one in found if one), "")


def held_back(name: str, *, health: bool) -> bool:
    """Rule 1. health: is it the application health extension's?"""
    lower = name.lower()
    return lower in NAMES or (lower == SETTINGS and not health)


def is_health(node: dict[str, Any]) -> bool:
    """Are these the facts of the application health extension?"""
    # Lifted beside the resource's own `type`, az calls its type `typePropertiesType`.
    kinds = (str(node.get(key) or "").lower() for key in ("type", "typePropertiesType"))
    managed = str(node.get("publisher") or "").lower() == "microsoft.managedservices"
    return managed and any(kind.startswith("applicationhealth") for kind in kinds)
