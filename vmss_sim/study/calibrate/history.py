"""What a history says: one value an operation, whatever kind of file it stood in.

Rules this module decides:

1. Operations are named as timings are (`upgrade`, `power-off`, …). Other spellings are known by the table `NAMES`: Azure's
   own (`Microsoft.Compute/virtualMachineScaleSets/manualupgrade/action`), the portal's, or with a remark in brackets. What is
   in no table is counted and named as left out, never guessed.
2. A succeeded operation on k VMs is k VMs that did not fail. A failed one is one VM that failed: how many of the others did is
   not said, so they are not counted, and the rate errs on the careful side.
3. Only the durations of operations that succeeded are durations. One that was cancelled says nothing at all.
4. A *session* is what is not independent: a day of recording, or a file where there are no dates.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, Literal

import msgspec

from vmss_sim.world.recorded import RECORDED, System

READY: Final = "ready"
ROLLOUT: Final = "platform rollout"
"""A whole rollout of the platform: shown, never written, since its length depends on its batches."""

KNOWN: Final = frozenset({*RECORDED, READY, ROLLOUT})

_SPELLINGS = {
    "upgrade": "manualupgrade updateinstances upgradeinstances",
    "reimage": "",
    "reimage-all": "",
    "restart": "",
    "start": "",
    "power-off": "stop",
    "deallocate": "",
    "redeploy": "",
    "delete": "deleteinstances deleteonevm deleteaction",
    "run-command": "runcommands putvirtualmachinesidruncommandsx runcommandswrite",
    "update-model": "updatemodelmodemanual",
    "scale-out": "",
    "scale-in": "",
    "cancel-rolling-upgrade": "cancel rollingupgradescancel",
    "set-orchestration-service-state": "suspendrepairs resumerepairs",
    ROLLOUT: "osrollingupgrade extensionrollingupgrade",
}
_PROVIDER = "microsoft.compute/virtualmachinescalesets/"
_VM = "virtualmachines/"


def _squeezed(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.casefold())


NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {_squeezed(name): name for name in KNOWN}
    | {word: name for name, words in _SPELLINGS.items() for word in words.split()}
)
"""Rule 1: a name without case, blanks and signs, to the timing's name."""


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """One operation that ended.

    seconds: None where it did not succeed. ok, failed: VMs (rule 2). instances: how many VMs it was asked for, where known.
    """

    operation: str
    os: System
    seconds: float | None
    ok: int = 0
    failed: int = 0
    instances: int | None = None
    session: str | None = None


class History(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was read. kind: of what kind it is. left_out: what could not be used, with how often."""

    path: str
    kind: str
    observed: tuple[Observed, ...]
    left_out: Mapping[str, int]


def operation_name(text: str) -> str | None:
    """Rule 1: the timing's name, or None."""
    name = re.sub(r"\s*\([^()]*\)\s*$", "", text.strip().casefold())
    if name.startswith(_PROVIDER):
        name = name.removeprefix(_PROVIDER)
        if name == _VM + "delete":
            return "delete"  # one VM; without the `action`, the same word for a set deletes the set
        if name == "delete":
            return None
        name = name.removeprefix(_VM)
        if name != "delete/action":
            name = name.removesuffix("/action")
    return NAMES.get(_squeezed(name))


def moment(text: str) -> datetime | None:
    """A time as Azure writes it (seven digits, `Z` or an offset); without an offset it is UTC. None for anything else."""
    try:
        read = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def ended(
    operation: str,
    os: System,
    status: Literal["succeeded", "failed"],
    *,
    seconds: float,
    instances: int | None,
    session: str | None,
) -> Observed:
    """Rules 2 and 3."""
    succeeded = status == "succeeded"
    return Observed(
        operation=operation,
        os=os,
        seconds=seconds if succeeded else None,
        ok=(instances or 1) if succeeded else 0,
        failed=0 if succeeded else 1,
        instances=instances,
        session=session,
    )


def counted(reasons: Iterable[str]) -> dict[str, int]:
    """How often each reason came up, the commonest first."""
    return dict(Counter(reasons).most_common())
