"""The change of a scenario: one kind, its values checked."""

from __future__ import annotations

import math
import reprlib
from typing import Any

from planner.change import (
    Action,
    Change,
    CurrentModel,
    GuestPatch,
    ImageChange,
    ImageIdChange,
    ImageUriChange,
    PropertyChange,
    Refresh,
    resolve,
)
from planner.errors import InputError
from planner.model import (
    ScaleSet,
)
from scenarios.given import enum_of
from scenarios.schema import (
    ChangeTable,
)

DEPTH = 50


def change_of(table: ChangeTable, fleet: ScaleSet, where: str) -> tuple[Change, Action | None]:
    """The change, worked out once against the set: one that cannot be done refuses the scenario, not each strategy."""
    change, action = _kind_of_change(table, f"{where}: change"), _action(table.action, f"{where}: change.action")
    try:
        resolve(change, fleet, action)
    except InputError as error:
        raise InputError(error.what, f"{where}: {error.where}", error.found, error.expected, error.fix) from error
    return change, action


def _kind_of_change(table: ChangeTable, where: str) -> Change:
    image = {
        name: getattr(table, name)
        for name in ("version", "sku", "offer", "publisher")
        if getattr(table, name) is not None
    }
    kinds: dict[str, Any] = {
        "an image": image,
        "id": table.id,
        "uri": table.uri,
        "set": table.set_,
        "guest": table.guest,
        "refresh": table.refresh,
        "current_model": table.current_model,
    }
    for name in ("version", "sku", "offer", "publisher", "id", "uri", "refresh"):
        if getattr(table, name) == "":
            raise InputError("nothing is named", f"{where}.{name}", "''", f"a {name}, or no such key")
    given = [name for name, value in kinds.items() if value]
    if len(given) != 1:
        raise InputError(
            "a change is of one kind",
            where,
            " and ".join(given) or "nothing",
            "version, sku, id, uri, set, guest, refresh or current_model",
        )
    if image:
        return ImageChange(**image)
    if table.id:
        return ImageIdChange(id=table.id)
    if table.uri:
        return ImageUriChange(uri=table.uri)
    if table.set_:
        if len(table.set_) != 1:
            raise InputError("one property at a time", f"{where}.set", ", ".join(table.set_), "one path")
        ((path, value),) = table.set_.items()
        _check_json(value, f"{where}.set")
        return PropertyChange(path=path, value=value)
    if table.guest:
        return GuestPatch(script=table.guest.script, undo=table.guest.undo)
    return Refresh(exact_version=table.refresh) if table.refresh else CurrentModel()


def _check_json(value: Any, where: str) -> None:
    """A property's value is JSON of usual depth."""
    level, depth = [value], 0
    while level:
        depth += 1
        for one in level:
            finite = not isinstance(one, float) or math.isfinite(one)
            if depth > DEPTH or not finite or not isinstance(one, str | int | float | list | dict | None):
                raise InputError(
                    "not a value of a model property", where, reprlib.repr(one), f"JSON, at most {DEPTH} levels deep"
                )
        level = [
            item
            for one in level
            if isinstance(one, list | dict)
            for item in (one.values() if isinstance(one, dict) else one)
        ]


def _action(text: str | None, where: str) -> Action | None:
    if text is None:
        return None
    chosen: Action = enum_of(Action, text, None, where)
    return chosen
