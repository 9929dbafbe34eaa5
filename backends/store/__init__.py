"""Where the state of rollouts lives, so that another process or machine can look, ask and go on.

Rules this module decides:

1. A store is named by one word: `file:DIR` (a folder on a local disk), or `azblob://ACCOUNT/CONTAINER[/PREFIX]`. Not given:
   `$VMSS_SIM_STORE`, else `file:` the user's state folder.
2. A rollout is one execution of one plan. Its id is the set's name and the first 8 digits of the plan's digest, with a
   number from the second execution on; people may give a unique beginning of it, or the plan file.
3. A store holds, per rollout, the plan file as it was vetted, the journal and the operators' requests; per digest the
   approvals; per scale set the lease. Nothing in it is secret, and nobody who may not run rollouts may write to it.
"""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from backends.journal import Journal
from backends.lease import Held, Holder
from backends.where import Where
from planner.errors import InputError
from planner.plan import Plan
from planner.planfile import PlanFile, decode

VARIABLE = "VMSS_SIM_STORE"


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rollout in a store. scale_set: what the lease is for, the resource id (else the name) in lower case. where: None for
    one from before that was kept.
    """

    id: str
    scale_set: str
    name: str
    plan_sha256: str
    tool: str
    opened_ms: int
    where: Where | None = None


class Approval(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody approves a plan, by its digest, until a time (ms since 1970)."""

    plan_sha256: str
    approver: str
    at_ms: int
    expires_ms: int
    reason: str = ""


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """What a command line says of the login, as `--credential`, `--tenant`, `--client-id` and `--cloud`; for a store that needs one."""

    credential: str = ""
    tenant: str = ""
    client_id: str = ""
    cloud: str = ""

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Login:
        """Of a command's options. With an endpoint of one's own they are about that, and nothing is said of the store."""
        if options.get("endpoint"):
            return cls()
        return cls(**{name: options.get(name) or "" for name in cls.__struct_fields__})

    @property
    def options(self) -> str:
        """The same on a command line; nothing where nothing was said."""
        said = {name.replace("_", "-"): getattr(self, name) for name in self.__struct_fields__}
        return "".join(f" --{name} {shlex.quote(value)}" for name, value in said.items() if value)


class Store(Protocol):
    """What every store offers. `name` is how a person names it; login: what was said of the login, where it needs one."""

    name: str
    login: Login

    @property
    def absent(self) -> str:
        """Why nothing is here, where it is not for want of rollouts: there is no such folder, say. Else empty."""

    def rollouts(self) -> tuple[Entry, ...]:
        """All rollouts, the oldest first."""

    def create(self, entry: Entry, plan_file: bytes) -> None:
        """A new rollout. Raises InputError where the id is taken."""

    def plan_file(self, rollout: str) -> bytes:
        """The plan file as it was applied."""

    def journal(self, rollout: str, fence: int | None = None) -> Journal:
        """The rollout's journal: to read and to ask; with the lease's fence, also to write."""

    def take(self, entry: Entry) -> Held:
        """The lease of the rollout's scale set. Raises HeldByAnother."""

    def holder(self, scale_set: str) -> Holder | None:
        """Who holds a scale set's lease; None: nobody."""

    def approve(self, approval: Approval) -> None:
        """Keep an approval."""

    def approvals(self, plan_sha256: str) -> tuple[Approval, ...]:
        """The approvals of a plan, the oldest first."""

    def close(self) -> None:
        """Close its connections; nothing of it is used afterwards."""


class HeldByAnother(InputError):
    """The lease is somebody else's. `runs_out_ms`: how long until it would run out, if the holder is dead."""

    def __init__(self, holder: Holder, runs_out_ms: int, age_ms: int) -> None:
        super().__init__(
            f"another executor works on this scale set: {holder.executor}, rollout {holder.rollout}, "
            f"heard of {age_ms // 1000} s ago"
        )
        self.holder, self.runs_out_ms, self.age_ms = holder, runs_out_ms, age_ms
        self.args = (holder, runs_out_ms, age_ms)


def now_ms() -> int:
    """Wall clock, ms since 1970: for what people read and for leases, never for decisions of a rollout."""
    return time.time_ns() // 1_000_000


def open_store(text: str | None, login: Login | None = None, says: Callable[[str], None] | None = None) -> Store:
    """Rule 1. says: is told while a store elsewhere does not answer. Raises InputError for a name that is no store."""
    given = text or os.environ.get(VARIABLE) or ""
    if given.startswith("azblob://"):
        from backends.store.blobs import BlobStore  # noqa: PLC0415  # an extra, and its SDK is heavy

        return BlobStore.named(given, login or Login(), says)
    from backends.store.files import FileStore  # noqa: PLC0415  # it needs this module's values

    if given.startswith("file:"):
        rest = given.removeprefix("file:")
        rest = rest.removeprefix("//") if rest.startswith("///") else rest
        if rest:
            return FileStore(Path(rest).expanduser())
    elif not given:
        import platformdirs  # noqa: PLC0415  # only where nothing was said

        return FileStore(platformdirs.user_state_path("vmss-sim", appauthor=False))
    raise InputError(
        "not a store",
        "--store" if text else f"${VARIABLE}",
        repr(given),
        "file:DIR or azblob://ACCOUNT/CONTAINER[/PREFIX]",
    )


def lease_key(plan: Plan, where: Where | None = None) -> str:
    """What one executor at a time may work on: a set of this id at an endpoint of one's own is not the one in Azure."""
    at = f"@{where.endpoint}" if where is not None and where.endpoint else ""
    return f"{plan.scale_set.id or plan.scale_set.name}{at}".lower()


def as_option(store: Store) -> str:
    """What a command needs to find this store again, with the login that was said for it: no name where it is the default one."""
    import platformdirs  # noqa: PLC0415  # only where it is told

    default = os.environ.get(VARIABLE) or f"file:{platformdirs.user_state_path('vmss-sim', appauthor=False)}"
    return ("" if store.name == default else f" --store {shlex.quote(store.name)}") + store.login.options


def new_entry(store: Store, read: PlanFile, tool: str, where: Where | None = None) -> Entry:
    """Rule 2: the entry of a new rollout of this plan."""
    slug = re.sub(r"[^a-z0-9]+", "-", read.plan.scale_set.name.lower()).strip("-")[:40] or "set"
    base = f"{slug}-{read.sha256[:8]}"
    taken = {one.id for one in store.rollouts()}
    number = next(n for n in range(1, len(taken) + 2) if (base if n == 1 else f"{base}-{n}") not in taken)
    return Entry(
        id=base if number == 1 else f"{base}-{number}",
        scale_set=lease_key(read.plan, where),
        name=read.plan.scale_set.name,
        plan_sha256=read.sha256,
        tool=tool,
        opened_ms=now_ms(),
        where=where,
    )


def find(store: Store, given: str | None) -> Entry:
    """Rule 2: the rollout somebody means; nothing given: the newest. Raises InputError."""
    entries = store.rollouts()
    if not entries:
        raise InputError(
            "there is no rollout in the store",
            store.name,
            store.absent,
            "",
            "`vmss-sim apply plan.json` begins one, or say --store",
        )
    if given is None:
        return entries[-1]
    exact = [one for one in entries if one.id == given]
    if exact:
        return exact[0]
    if given.endswith(".json") and Path(given).is_file():
        digest = decode(Path(given).read_bytes(), given, begun=True).sha256
        of_plan = [one for one in entries if one.plan_sha256 == digest]
        if not of_plan:
            raise InputError("this plan was never applied", given, f"sha256 {digest}", f"a plan of {store.name}")
        return of_plan[-1]
    begins = [one for one in entries if one.id.startswith(given)]
    if len(begins) == 1:
        return begins[0]
    what = f"{len(begins)} rollouts begin like this" if begins else "no such rollout"
    raise InputError(what, store.name, repr(given), _some(begins or entries))


def _some(entries: Sequence[Entry]) -> str:
    listed = ", ".join(one.id for one in entries[-8:])
    return f"{listed}, …" if len(entries) > 8 else listed
