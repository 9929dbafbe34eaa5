"""How many VMs a request is charged for: what it takes from the policies that count VMs, and what `x-ms-request-charge` says.

Rules (recordings of 2023-11 to 2025-02):

1. An action pays for each instance that it names, once; for all where it names none, or `*`. A request about one instance pays for one.
2. A write of the set pays for the instances that it moves by itself: none in mode Manual (66 of 66), one in mode Rolling (2 of 2), all in
   mode Automatic (4 of 4); and for those that another capacity adds or takes away (5 to 4: one). A creation pays for all.
3. What instances are not asked for (`FOR_NONE`) pays for none. Deleting the set pays for all.
4. A list pays for the instances on its page.
"""

from __future__ import annotations

from typing import Any

from vmss_sim.arm import lists
from vmss_sim.arm.call import Call, member
from vmss_sim.arm.http import Refused
from vmss_sim.world import admission

FOR_NONE = frozenset({"extension-rolling-upgrade", "suspend-repairs", "update-model"})
"""Kinds of POST (rule 3)."""
QUEUED = "Microsoft.Compute/VmssQueuedVMOperations;0"
"""Stands last in the header of what remains, of every request that changes something: 0 in all recordings since 2023-11."""


def vms(call: Call, method: str, uses: str) -> int:
    """How many VMs this request is charged for. uses: its kind for the throttles."""
    if "vm" in call.names:
        return 1
    one, body = call.found, _body(call)
    if one is None:
        return _capacity(body, 0) if method == "PUT" else 0
    total = len(one.world.vms)
    if method == "GET":
        return min(total, lists.PAGE)
    if uses == "set-capacity":
        return abs(_count(body, "capacity", total) - (0 if call.request.path.lower().endswith("out") else total))
    if method == "POST":
        return 0 if uses in FOR_NONE else _named(body, total)
    if uses == "delete-set":
        return total
    moved = {"automatic": total, "rolling": min(1, total)}.get(one.world.mode, 0)
    return max(moved, abs(_capacity(body, total) - total))


def _body(call: Call) -> dict[str, Any]:
    """Empty where it is none: the handler says so."""
    try:
        return call.body()
    except Refused:
        return {}


def _named(body: dict[str, Any], total: int) -> int:
    said = member(body, "instanceIds")
    if not isinstance(said, list) or not said or "*" in said:
        return total
    return min(len({str(each) for each in said}), total)


def _capacity(body: dict[str, Any], otherwise: int) -> int:
    size = member(body, "sku")
    return _count(size, "capacity", otherwise) if isinstance(size, dict) else otherwise


def _count(body: dict[str, Any], name: str, otherwise: int) -> int:
    """A number that a set can have; `otherwise` where none is said, or the handler refuses it."""
    said = str(member(body, name))
    return int(said) if said.isdecimal() and len(said) < 5 and int(said) <= admission.MOST else otherwise
