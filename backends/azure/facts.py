"""What hooks of single instances are told beside ids: computer name and private address. Reads only.

Contract: what is not known is left out, never guessed. Addresses are those of the primary IP configuration of the primary interface. A Uniform
set's interfaces stand below the set; a Flexible set's are resources of the group, among those of other VMs: by the names of its VMs they are told apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

COMPUTER, ADDRESS = "computer_name", "address"


def of_instances(pages: Iterable[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Computer names by instance id (Flexible: by name), from the pages of a list."""
    made: dict[str, dict[str, str]] = {}
    for one in _items(pages):
        name = one.get("instanceId") or one.get("name")
        computer = ((one.get("properties") or {}).get("osProfile") or {}).get("computerName")
        if name:
            made[str(name)] = {COMPUTER: str(computer)} if computer else {}
    return made


def of_interfaces(pages: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Private addresses by instance id."""
    made: dict[str, str] = {}
    for one in _items(pages):
        facts = one.get("properties") or {}
        vm = str((facts.get("virtualMachine") or {}).get("id", "")).rstrip("/").rpartition("/")[2]
        if not vm or (facts.get("primary") is False):
            continue
        configurations = [each.get("properties") or {} for each in facts.get("ipConfigurations") or ()]
        for each in sorted(configurations, key=lambda one: not one.get("primary", False)):
            if each.get("privateIPAddress"):
                made.setdefault(vm, str(each["privateIPAddress"]))
                break
    return made


def _items(pages: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    return (one for page in pages for one in page.get("value") or () if isinstance(one, dict))
