"""Commands, as one table: what each touches, whether it may be repeated, and how one sees that it was done.

`touches`: `ids` (the instances named), `model` (nothing, or everything stale on an Automatic set: see `effects.py`),
`set` (no instance). `idempotent`: sending it twice has the effect of sending it once. `evidence`: where a snapshot
shows that it was done; with `none`, an unknown outcome can only be answered by a person.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple

import msgspec

from planner.model import UpgradeMode


class Kind(str, Enum):
    """What is asked of the platform."""

    SET_MODE = "set-mode"
    SUSPEND_REPAIRS = "suspend-repairs"
    RESUME_REPAIRS = "resume-repairs"
    UPDATE_MODEL = "update-model"
    UPGRADE = "upgrade"
    REIMAGE = "reimage"
    RESTART = "restart"
    RUN_COMMAND = "run-command"
    DELETE = "delete"
    SET_CAPACITY = "set-capacity"
    START_OS_UPGRADE = "os-rolling-upgrade"
    CANCEL_ROLLING = "cancel-rolling-upgrade"


class Rule(NamedTuple):
    """One row of the table."""

    touches: str
    idempotent: bool
    evidence: str


TABLE: dict[Kind, Rule] = {
    Kind.SET_MODE: Rule("set", True, "mode"),
    Kind.SUSPEND_REPAIRS: Rule("set", True, "repairs"),
    Kind.RESUME_REPAIRS: Rule("set", True, "repairs"),
    Kind.UPDATE_MODEL: Rule("model", True, "model"),
    Kind.UPGRADE: Rule(
        "ids", True, "target"
    ),  # on a current instance manualupgrade does nothing (recordings: 0.1 to 14 s)
    Kind.REIMAGE: Rule("ids", False, "os-disk"),
    Kind.RESTART: Rule("ids", False, "none"),
    Kind.RUN_COMMAND: Rule("ids", True, "run-command"),  # a managed run-command of the same name is not run again
    Kind.DELETE: Rule("ids", True, "gone"),
    Kind.SET_CAPACITY: Rule("set", True, "capacity"),
    Kind.START_OS_UPGRADE: Rule("model", True, "rolling-upgrade"),  # a second one is refused while one is running
    Kind.CANCEL_ROLLING: Rule("set", True, "rolling-upgrade"),  # with nothing to cancel it is refused
}


class Command(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One mutation. `id` is counted in the rollout's state. `batch`: the batch it belongs to, None for the set itself.

    patch: wire path to value. exact_version: the version a reimage boots. script, name: a managed run-command.
    """

    id: str
    kind: Kind
    why: str
    ids: tuple[str, ...] = ()
    batch: int | None = None
    patch: dict[str, Any] = {}
    mode: UpgradeMode | None = None
    exact_version: str | None = None
    script: str | None = None
    name: str | None = None
    capacity: int | None = None


class Status(str, Enum):
    """How an operation ended. Unknown: it was sent and nobody answered. Unknown is not failed."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Outcome(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The end of a command. `refused`: the platform did not accept it (409, 429, 4xx), so it had no effect."""

    command: str
    status: Status
    code: str = ""
    message: str = ""
    refused: bool = False
    retry_after_ms: int | None = None
