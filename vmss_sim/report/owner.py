"""The line to change where the model is owned by infrastructure as code, so that its next run does not put the old model back.

Names: terraform's azurerm provider (`source_image_reference`, `source_image_id`), Bicep's `imageReference`.
"""

from __future__ import annotations

from collections.abc import Iterator

from planner.change import IMAGE, URI
from planner.errors import InputError
from planner.model import OperatingSystem
from planner.plan import Plan

OWNERS = ("terraform", "bicep", "none")
_PROFILE = "properties.virtualMachineProfile."


def check(owner: str | None) -> None:
    """Raises InputError for an owner that nobody knows."""
    if owner is not None and owner not in OWNERS:
        raise InputError("unknown choice", "--model-owner", repr(owner), ", ".join(OWNERS))


def lines(plan: Plan, owner: str) -> Iterator[str]:
    """What to change, before the next run of what owns the model."""
    patch = plan.resolved.patch
    if owner == "none" or not patch:
        return
    yield f"the model is owned by {owner}: change it there, too, before its next run puts the old one back"
    write = _terraform if owner == "terraform" else _bicep
    for path, value in patch.items():
        yield from write(plan, path, str(value) if isinstance(value, str) else repr(value))


def _terraform(plan: Plan, path: str, value: str) -> Iterator[str]:
    system = "windows" if plan.scale_set.os is OperatingSystem.WINDOWS else "linux"
    resource = f'resource "azurerm_{system}_virtual_machine_scale_set" (the one named "{plan.scale_set.name}")'
    field = path.removeprefix(f"{IMAGE}.")
    if path == IMAGE or field == "id":
        yield f'  {resource}: source_image_id = "{value}"'
    elif path.startswith(f"{IMAGE}."):
        yield f'  {resource}: source_image_reference {{ {field} = "{value}" }}'
    elif path == URI:
        yield f"  {resource}: azurerm knows no image by URI; what writes {path} today has to write {value}"
    else:
        yield f"  {resource}: what writes {path.removeprefix(_PROFILE)} has to write {value}"


def _bicep(plan: Plan, path: str, value: str) -> Iterator[str]:
    *parents, field = path.split(".")
    inside = "".join(f"{name}: {{ " for name in parents)
    text = value if value in ("True", "False") or value.lstrip("-").isdigit() else f"'{value}'"
    yield f"  resource '{plan.scale_set.name}': {inside}{field}: {text}{' }' * len(parents)}"
