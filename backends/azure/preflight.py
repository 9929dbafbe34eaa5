"""Before the first mutation: what would stop this plan half-way. Findings with stable codes; reads only.

Rules this module decides:

1. *Used* is every kind of command the plan may come to send (`kinds_of`): the way back, the ladder of failures and the end state included.
2. A permission is there when an entry of the caller's permissions names it (`*` stands for anything) and does not take it away again.
   *Deny assignments* (at the set or above: `atScope()`) go before that. One for everybody, with no exception, refuses for certain; of
   others it is not known whether they are of the caller: that would take its object id and its groups, which no token need tell.
3. ReadOnly locks forbid every write and action, CanNotDelete those that delete, wherever at the set or above they stand (`atScope()`: at or above,
   without which those below are listed, too; Get-AzResourceLock).
4. Target **and** every image the way back would boot are in the region. Of an id, a gallery's replication tells; what cannot be asked is said.
5. What cannot be found out is a warning, what is found wrong an error.
6. Flexible sets hide update domains, fault domains of their VMs and more: only strategies that need none of it (`FLEXIBLE`).
7. Images by URI are unmanaged disks, which Microsoft's clouds retired on 2026-03-31.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from backends.azure import quota
from backends.azure.client import Answer
from backends.azure.requests import READS, permission_needs, url_of
from planner.change import STAGES, Action
from planner.commands import Kind
from planner.lint import Code, Finding, Grade
from planner.model import Cloud, ImageReference, Orchestration, Provisioning, ScaleSet
from planner.plan import MovedBy, Plan, Rung

if TYPE_CHECKING:
    from backends.azure.backend import AzureBackend

_E, _W = Grade.ERROR, Grade.WARNING
_OURS = "azure-vmss.md"
CODES: dict[str, Code] = {
    "VS501": Code("another-set", _E, "The plan was made for another scale set, or another subscription.", "the plan"),
    "VS502": Code(
        "permission-missing", _E, "A command the plan may send would be refused, perhaps after others were carried out.",
        "Azure RBAC, permissions of the caller at the set",
    ),
    "VS503": Code("permissions-unknown", _W, "The caller's permissions could not be read.", "Azure RBAC"),
    "VS504": Code("locked", _E, "A management lock refuses what the plan sends.", "Azure Resource Manager, locks"),
    "VS505": Code("locks-unknown", _W, "Management locks could not be read.", "Azure Resource Manager, locks"),
    "VS506": Code(
        "image-missing", _E, "An image the rollout or its way back would boot is not there, or not in the set's region.",
        "virtualMachineImages; galleries, target regions",
    ),
    "VS507": Code("image-unchecked", _W, "Whether an image is in the region could not be found out.", "as VS506"),
    "VS508": Code(
        "quota-short", _E, "The region's cores, or those of the size's family, do not suffice for what a surge adds.", "usages of the region"
    ),
    "VS509": Code("quota-unknown", _W, "Whether the quota suffices could not be found out.", "usages of the region"),
    "VS510": Code("operation-running", _E, "Somebody else's operation is at work on the set.", "provisioning states"),
    "VS511": Code(
        "flexible-strategy", _E, "The strategy needs what Azure hides of a Flexible set's VMs.", "azure-compute-docs, orchestration modes"
    ),
    "VS512": Code(
        "unmanaged-retired", _E, "Images by URI are unmanaged disks, retired by Azure on 2026-03-31.", "azure-compute-docs, orchestration modes"
    ),
    "VS513": Code("set-failed", _W, "The set's last update failed: its model may not be what it shows.", "provisioning state"),
    "VS514": Code(
        "denied", _E, "A deny assignment for everybody refuses what the plan sends, whatever roles the caller has.", "Azure RBAC, deny assignments"
    ),
    "VS515": Code(
        "denials-unknown", _W, "Whether a deny assignment refuses the caller what the plan sends could not be found out.",
        "Azure RBAC, deny assignments",
    ),
}  # fmt: skip
"""The codes of this check, as those of lint (`planner/lint/codes.py`): stable, and never given again."""

FLEXIBLE = frozenset({"one-by-one", "batch", "ramp", "per-zone", "platform-rolling"})
_DELETES = frozenset({Kind.DELETE})
_KINDS = {
    Action.UPGRADE: Kind.UPGRADE,
    Action.REIMAGE: Kind.REIMAGE,
    Action.RESTART: Kind.RESTART,
    Action.RUN_COMMAND: Kind.RUN_COMMAND,
}
_RUNGS = {
    Rung.UPGRADE: (Kind.UPGRADE,),
    Rung.REIMAGE: (Kind.REIMAGE,),
    Rung.REPLACE: (Kind.DELETE, Kind.SET_CAPACITY),
    Rung.QUARANTINE: (),
}
EVERYBODY = "00000000-0000-0000-0000-000000000000"
"""The id of the principal that stands for all of them in a deny assignment (its type is SystemDefined)."""
_GALLERY_VERSION = "2026-03-03"


def preflight(backend: AzureBackend, plan: Plan) -> tuple[Finding, ...]:
    """All findings, in the order of their codes. Raises what reading raises where the set itself cannot be read."""
    check = _Check(backend, plan)
    return tuple(sorted(check.all(), key=lambda one: one.code))


def kinds_of(plan: Plan) -> frozenset[Kind]:
    """Rule 1."""
    kinds: set[Kind] = set()
    if plan.suspend_repairs:
        kinds |= {Kind.SUSPEND_REPAIRS, Kind.RESUME_REPAIRS}
    pins = plan.moved_by is MovedBy.PLATFORM and bool(plan.resolved.reverse)  # the model goes back in mode Manual
    if plan.scale_set.mode is not plan.work_mode or pins:
        kinds.add(Kind.SET_MODE)
    if plan.resolved.patch or plan.handed is not None:
        kinds.add(Kind.UPDATE_MODEL)
    if plan.handed is not None:
        kinds.add(Kind.CANCEL_ROLLING)
        if plan.handed.by == "os-upgrade":
            kinds.add(Kind.START_OS_UPGRADE)
    if plan.moved_by is MovedBy.PLANNER:
        kinds |= {_KINDS[stage] for stage in STAGES[plan.resolved.action]}
        kinds |= {kind for rung in plan.failures.ladder for kind in _RUNGS[rung]}
        if any(_boots_another(plan, one.image) for one in plan.scale_set.instances.values()):
            kinds.add(Kind.REIMAGE)  # the way back of an instance that ran another version than the model said
    if plan.surge is not None:
        kinds |= {Kind.SET_CAPACITY, Kind.DELETE}
    return frozenset(kinds)


def _boots_another(plan: Plan, image: ImageReference | None) -> bool:
    back = plan.resolved.back_image
    if image is None or back is None or plan.resolved.action in (Action.RESTART, Action.RUN_COMMAND):
        return False
    return (image.exact_version or image.version) != (back.exact_version or back.version)


def images_of(plan: Plan) -> tuple[ImageReference, ...]:
    """Rule 4: what may be booted, each once."""
    resolved = plan.resolved
    if resolved.action in (Action.RESTART, Action.RUN_COMMAND):
        return ()
    found = (
        resolved.target.image or resolved.model_image,
        resolved.back_image,
        *(one.image for one in plan.scale_set.instances.values()),
    )
    by_text = {str(one).lower(): one for one in found if one is not None}
    return tuple(by_text.values())


class _Check:
    def __init__(self, backend: AzureBackend, plan: Plan) -> None:
        self.backend, self.plan, self.scope = backend, plan, backend.scope
        self.kinds = kinds_of(plan)

    def all(self) -> Iterator[Finding]:
        plan = self.plan
        if plan.scale_set.id.lower().rstrip("/") != self.scope.id.lower():
            yield _finding(
                "VS501",
                f"the plan is for {plan.scale_set.id or 'a set without an id'}",
                self.scope.id,
                "make a plan for this set",
            )
            return
        found = self.backend.snapshot().scale_set
        yield from self._running(found)
        yield from self._fits(found)
        yield from self._permissions(found)
        yield from self._denials(found)
        yield from self._locks()
        for image in images_of(plan):
            yield from self._image(image, found.model.location)
        if plan.surge is not None:
            yield from self._quota(found)

    def _ask(self, name: str, api_version: str = "", **parts: str) -> Answer:
        return self.backend.client.ask(url_of(name, self.scope, api_version, **parts))

    def _running(self, found: ScaleSet) -> Iterator[Finding]:
        state, rollout = found.model.provisioning, found.rolling_upgrade
        if state in (Provisioning.UPDATING, Provisioning.CREATING, Provisioning.DELETING):
            yield _finding("VS510", f"the set is {state.value}", found.model.name, "wait until it has ended")
        elif state is Provisioning.FAILED:
            yield _finding(
                "VS513", "the set's provisioning state is failed", found.model.name, "look at its activity log"
            )
        if rollout is not None and rollout.open:
            yield _finding(
                "VS510", f"a rollout of the platform goes on ({rollout.code})", found.model.name,
                "wait for it, or `az vmss rolling-upgrade cancel`",
            )  # fmt: skip
        busy = (Provisioning.UPDATING, Provisioning.CREATING, Provisioning.DELETING)
        moving = [name for name, one in found.instances.items() if one.provisioning in busy]
        if moving:
            yield _finding(
                "VS510",
                f"{len(moving)} instances are being changed: {_some(moving)}",
                moving[0],
                "wait until they are not",
            )

    def _fits(self, found: ScaleSet) -> Iterator[Finding]:
        plan = self.plan
        if found.model.orchestration is Orchestration.FLEXIBLE and plan.strategy not in FLEXIBLE:
            yield _finding(
                "VS511", f"{plan.strategy} on a Flexible set, whose VMs show no update domains", plan.strategy,
                f"use one of {', '.join(sorted(FLEXIBLE))}",
            )  # fmt: skip
        if self.backend.client.cloud != Cloud.ENDPOINT and (
            found.model.unmanaged_disks or any(image.uri for image in images_of(plan))
        ):
            yield _finding("VS512", "the set boots an image by URI", found.model.name, "move it to managed disks first")

    def _permissions(self, found: ScaleSet) -> Iterator[Finding]:
        answer = self._ask("permissions")
        entries = _values(answer)
        if not entries:  # who may read the set has an entry at least: none says that they are not told
            yield _finding("VS503", f"permissions cannot be read: {_said(answer)}", self.scope.id, "")
            return
        for need in permission_needs(self.kinds, found.model):
            if not may(entries, need):
                yield _finding(
                    "VS502",
                    f"the caller lacks {need}",
                    need,
                    "have a role with it assigned at the set, such as Virtual Machine Contributor",
                )

    def _denials(self, found: ScaleSet) -> Iterator[Finding]:
        """Rule 2. A deny assignment's principals and exceptions are lists of `{id, type}`."""
        answers = self.backend.client.pages(url_of("denials", self.scope))
        if not all(
            one.ok and isinstance(one.body, dict) and isinstance(one.body.get("value"), list) for one in answers
        ):
            yield _finding("VS515", f"deny assignments cannot be read: {_said(answers[-1])}", self.scope.id, "")
            return
        needs = permission_needs(self.kinds, found.model)
        for one in (row for answer in answers for row in _values(answer)):
            facts = one.get("properties") or {}
            denied = [need for need in needs if may(facts.get("permissions") or (), need)]
            if not denied or (facts.get("doNotApplyToChildScopes") and not self._is_here(facts.get("scope"))):
                continue
            name = facts.get("denyAssignmentName") or one.get("name", "?")
            says = f"deny assignment {name} refuses {denied[0]}" + (
                f" and {len(denied) - 1} more" if denied[1:] else ""
            )
            principals = {str(each.get("id", "")).lower() for each in facts.get("principals") or ()}
            if EVERYBODY in principals and not facts.get("excludePrincipals"):
                yield _finding(
                    "VS514", f"{says} to everybody", str(one.get("id", "")), "have it lifted for the rollout"
                )
            else:
                of = "everybody with exceptions" if EVERYBODY in principals else "some"
                yield _finding(
                    "VS515", f"{says} to {of}; whether to the caller is not known", str(one.get("id", "")),
                    "`az rest` its principals, and see whether the caller or one of its groups is among them",
                )  # fmt: skip

    def _is_here(self, scope: Any) -> bool:
        return str(scope or "").rstrip("/").lower() == self.scope.id.lower()

    def _locks(self) -> Iterator[Finding]:
        answer = self._ask("locks")
        if not answer.ok or not isinstance(answer.body, dict) or not isinstance(answer.body.get("value"), list):
            yield _finding("VS505", f"locks cannot be read: {_said(answer)}", self.scope.id, "")
            return
        for lock in answer.body["value"]:
            level = str((lock.get("properties") or {}).get("level", "")).lower()
            if level == "readonly" or (level == "cannotdelete" and self.kinds & _DELETES):
                yield _finding(
                    "VS504",
                    f"lock {lock.get('name', '?')} ({level})",
                    str(lock.get("id", "")),
                    "have it lifted for the rollout",
                )

    def _image(self, image: ImageReference, location: str) -> Iterator[Finding]:
        subject = str(image)
        if image.uri:
            return
        if image.id:
            yield from self._image_by_id(image, image.id, location)
            return
        version = image.exact_version or image.version or ""
        if version.lower() in ("", "latest") or not (image.publisher and image.offer and image.sku):
            yield _finding("VS507", "no exact version to ask for", subject, "")
            return
        answer = self._ask(
            "image", location=location, publisher=image.publisher, offer=image.offer, sku=image.sku, version=version
        )
        if answer.status == 404:
            yield _finding(
                "VS506", f"{subject} is not in {location}", subject, "`az vm image list --all` shows what is"
            )
        elif not answer.ok:
            yield _finding("VS507", f"{subject} cannot be asked for: {_said(answer)}", subject, "")

    def _image_by_id(self, image: ImageReference, image_id: str, location: str) -> Iterator[Finding]:
        lower = image_id.lower()
        if not lower.startswith("/subscriptions/"):
            yield _finding("VS507", "an image of a shared or community gallery", image_id, "")
            return
        gallery = "/galleries/" in lower
        wanted = image_id.rstrip("/")
        if gallery and "/versions/" not in lower and image.exact_version:
            wanted = f"{wanted}/versions/{image.exact_version}"
        answer = self._ask("image-by-id", _GALLERY_VERSION if gallery else READS["image"].version, image=wanted)
        if answer.status == 404:
            yield _finding("VS506", "the image does not exist", wanted, "")
        elif not answer.ok or not isinstance(answer.body, dict):
            yield _finding("VS507", f"the image cannot be read: {_said(answer)}", wanted, "")
        elif not _is_in(answer.body, location, versioned="/versions/" in wanted.lower()):
            yield _finding("VS506", f"the image is not in {location}", wanted, "have it replicated to the region")

    def _quota(self, found: ScaleSet) -> Iterator[Finding]:
        surge, size, location = self.plan.surge, found.model.sku or "", found.model.location
        assert surge is not None  # asked only for a surge
        usages = self._ask("usages", location=location)
        pages = self.backend.client.pages(url_of("skus", self.scope, location=location))
        skus = (one for page in pages for one in _values(page))
        room = quota.judged(surge.add, size, spot=self._spot(), usages=_values(usages), skus=skus)
        unknown = room.unknown if usages.ok else _said(usages)
        if unknown:
            yield _finding(
                "VS509",
                f"{surge.add} VMs of size {size or '?'} are added; {unknown}",
                found.model.name,
                "`az vm list-usage`",
            )
        for short in room.short:
            yield _finding(
                "VS508", f"{short} in {location}", found.model.name, "have the quota raised, or use smaller batches"
            )

    def _spot(self) -> bool:
        look = self.backend.reader.last
        facts = (look.document.get("properties") or {}) if look is not None else {}
        return str((facts.get("virtualMachineProfile") or {}).get("priority", "")).lower() in ("spot", "low")


def may(permissions: Iterable[Any], need: str) -> bool:
    """Rule 2."""
    wanted = need.lower()

    def names(entry: Any, key: str) -> bool:
        return any(fnmatchcase(wanted, str(one).lower()) for one in entry.get(key) or ())

    return any(names(entry, "actions") and not names(entry, "notActions") for entry in permissions)


def _is_in(document: dict[str, Any], location: str, *, versioned: bool) -> bool:
    facts = document.get("properties") or {}
    if not versioned:
        return "/galleries/" in str(document.get("id", "")).lower() or _place(document.get("location")) == _place(
            location
        )
    regions = (facts.get("publishingProfile") or {}).get("targetRegions") or ()
    return _place(location) in {_place(one.get("name")) for one in regions}


def _place(name: Any) -> str:
    """`West Europe` and `westeurope` are one region."""
    return str(name or "").replace(" ", "").lower()


def _values(answer: Answer) -> list[dict[str, Any]]:
    found = answer.body.get("value") if isinstance(answer.body, dict) and answer.ok else None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _said(answer: Answer) -> str:
    code, message = answer.error
    return f"{answer.status or ''} {code} {message or answer.text}".strip()[:200]


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (" and more" if len(names) > 5 else "")


def _finding(code: str, text: str, subject: str, fix: str) -> Finding:
    return Finding(code=code, grade=CODES[code].grade, text=text, subject=subject, fix=fix)
