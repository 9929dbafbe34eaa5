"""What a world is made of: a VM with the timetable of its operation and its outages, an operation, a reply."""

from __future__ import annotations

from typing import Any

import msgspec

from vmss_sim.world.config import Image, Machine
from vmss_sim.world.operations import Does

NEVER = 1 << 62


class Effect(msgspec.Struct, frozen=True, gc=False):
    """What an operation on one VM leaves behind once it has ended: its row of the table, what the VM boots then, whose model
    and OS profile it has; error and dead (out of service until touched again) where it failed; the run-command's name.
    """

    row: Does
    image: Image | None
    content: int
    profile: int
    error: str | None
    dead: bool
    run_name: str | None


class Vm:
    """One VM: what it runs, its operation's timetable, and its outages (ground truth).

    slot, attempt: whose luck it has. generation: grows with whatever happens to it. disk, data, temp: grow when the OS
    disk is replaced, the data disks are reset, the temporary disk is lost. content: the model applied to it, profile:
    the OS profile it booted with. busy_until: when its operation ends; doing: its kind; hard: the operation takes it out of
    service. serves_from, down_seen: from when it serves; when that it does not was noticed. touched_ms: when its last
    operation ended or will end. prone_at: from when it may fail by itself.
    """

    __slots__ = (
        "attempt",
        "bad_since",
        "busy_until",
        "commands",
        "content",
        "data",
        "disk",
        "doing",
        "down_seen",
        "effect",
        "error",
        "first_image",
        "generation",
        "hard",
        "health",
        "id",
        "image",
        "machine",
        "outages",
        "power",
        "profile",
        "prone_at",
        "protected",
        "provisioning",
        "scale_in_protected",
        "serves_from",
        "slot",
        "temp",
        "touched_ms",
        "turns_bad_at",
        "vm_id",
    )

    def __init__(self, machine: Machine, slot: int, content: int) -> None:
        self.machine = machine
        self.id = machine.id
        self.vm_id = machine.vm_id
        self.slot = slot
        self.attempt = 0
        self.image = self.first_image = machine.image
        self.content = content
        self.profile = 0
        self.disk = self.data = self.temp = 0
        self.protected = machine.protected
        self.scale_in_protected = machine.scale_in_protected
        self.provisioning = machine.provisioning
        self.error: str | None = None
        self.power = machine.power
        self.health = machine.health
        self.busy_until = self.touched_ms = 0
        self.doing = ""
        self.effect: Effect | None = None
        self.hard = False
        self.commands: tuple[str, ...] = ()
        serves = (
            machine.power == "running"
            and machine.health in ("healthy", "absent")
            and (machine.provisioning != "failed" or machine.health == "healthy")
        )
        self.serves_from = 0 if serves else NEVER
        self.down_seen = 0
        self.outages: list[list[int]] = [] if serves else [[0, NEVER]]
        self.bad_since = self.turns_bad_at = NEVER
        self.prone_at = 0
        self.generation = 0


class Operation:
    """A long-running operation the platform accepted. hangs: it will never end. fails: it ends failed, whatever its VMs do.
    script: what the script of a run-command exits with, and says on stderr.
    """

    __slots__ = (
        "args",
        "code",
        "delay_ms",
        "ends_at",
        "fails",
        "hangs",
        "ids",
        "kind",
        "message",
        "name",
        "script",
        "started_at",
        "status",
    )

    def __init__(self, name: str, kind: str, ids: tuple[str, ...], args: dict[str, Any], started_at: int) -> None:
        self.name, self.kind, self.ids, self.args, self.started_at = name, kind, ids, args, started_at
        self.ends_at: int = NEVER
        self.status = "running"
        self.code = self.message = ""
        self.delay_ms = 0
        self.hangs = self.fails = False
        self.script: tuple[int, str] | None = None


class Reply:
    """What the platform answers to a request: `accepted` (with its operation), `refused`, or `silence`.

    status: HTTP's (0 where nobody answered). code, message: of the error.
    """

    __slots__ = ("code", "kind", "message", "operation", "retry_after_ms", "status")

    def __init__(
        self,
        kind: str,
        operation: Operation | None = None,
        code: str = "",
        retry_after_ms: int | None = None,
        status: int = 0,
        message: str = "",
    ) -> None:
        self.kind, self.operation, self.code, self.retry_after_ms = kind, operation, code, retry_after_ms
        self.status, self.message = status, message
