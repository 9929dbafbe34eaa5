"""The codes of lint, as one table: name, grade, why it matters, where that is known from. `docs/lint.md` is this table.

1. A code is stable: its meaning and grade never change, and it is never given again.
2. Two grades. *Error*: it cannot start or finish as things stand. *Warning*: it can, and somebody should know first.
3. 1xx: the set and its platform policy. 2xx: its instances, and what the snapshot says of them. 3xx: a plan.
   4xx: what keeps a plan from being made.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

import msgspec


class Grade(str, Enum):
    """How bad it is."""

    ERROR = "error"
    WARNING = "warning"


class Code(NamedTuple):
    """One row: a name for people, the grade, why it matters, and the source."""

    name: str
    grade: Grade
    why: str
    source: str


class Finding(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One finding. subject: what it is about (the set, an instance, a batch, an option). fix: what to do; '': nothing."""

    code: str
    grade: Grade
    text: str
    subject: str
    fix: str


def finding(code: str, text: str, subject: str, fix: str = "") -> Finding:
    """A finding, with the grade the table gives its code."""
    return Finding(code=code, grade=CODES[code].grade, text=text, subject=subject, fix=fix)


def exit_status(findings: Iterable[Finding], *, strict: bool = False) -> int:
    """1 where there is an error (`strict`: a warning counts too), else 0; of the one table of exit codes."""
    return int(any(strict or one.grade is Grade.ERROR for one in findings))


_E, _W = Grade.ERROR, Grade.WARNING
_POLICY = "azure-compute-docs, upgrade policy"
_ROLLING = "azure-compute-docs, rolling upgrades; azure-rest-api-specs, RollingUpgradePolicy"
_AUTO_OS = "azure-compute-docs, automatic OS image upgrade"
_HEALTH = "azure-compute-docs, application health extension"
_REPAIRS = "azure-compute-docs, automatic instance repairs"
_MODES = "azure-compute-docs, orchestration modes"
_SURGE = "azure-compute-docs, MaxSurge"
_PLAN = "the rules of plans (planner/plan.py, build.py, batching.py)"
_MACHINE = "the rules of rollouts (planner/rollout.py)"

CODES: dict[str, Code] = {
    # The set and its platform policy.
    "VS101": Code(
        "mode-automatic",
        _W,
        "In mode Automatic every update of the model, by whomever (`az vmss update`, Terraform, the portal), upgrades all"
        " instances at the same time and in no order. A plan that moves instances itself sets mode Manual first and puts"
        " Automatic back only when nothing is stale.",
        _POLICY,
    ),
    "VS102": Code(
        "mode-rolling",
        _W,
        "In mode Rolling every update of the model, by whomever, starts a rollout over everything that is not on the"
        " latest model; so does an update that changes nothing, after a rollout that was cancelled.",
        _ROLLING,
    ),
    "VS103": Code(
        "rolling-policy-range",
        _E,
        "The platform refuses a rolling policy whose maxBatchInstancePercent or maxUnhealthyInstancePercent is outside"
        " 5 to 100, or whose maxUnhealthyUpgradedInstancePercent is outside 0 to 100.",
        "azure-rest-api-specs, RollingUpgradePolicy; azure-mgmt-compute 34, validation of the model",
    ),
    "VS104": Code(
        "batch-over-unhealthy",
        _W,
        "A batch larger than the instances that may be unhealthy can stop the rollout by itself: while its VMs come back"
        " they may be seen as unhealthy. Azure Batch refuses this policy; whether scale sets do is not documented.",
        "azure-rest-api-specs, RollingUpgradePolicy of Azure Batch",
    ),
    "VS105": Code(
        "batch-rounds-up",
        _W,
        "A batch is at least one VM. On a small set that is a larger share than the policy says, and the rollout goes one"
        " by one.",
        _AUTO_OS,
    ),
    "VS106": Code(
        "unhealthy-before-start",
        _E,
        "Before it starts, and before every batch, the platform compares the unhealthy instances with"
        " maxUnhealthyInstancePercent. Above it (strictly) the rollout fails with"
        " MaxUnhealthyInstancePercentExceededBeforeRollingUpgrade. Unknown counts as unhealthy, Initializing is waited for.",
        _ROLLING,
    ),
    "VS107": Code(
        "zero-tolerance-policy",
        _W,
        "Where maxUnhealthyInstancePercent of the set is less than one VM, one VM that is not healthy in time stops the"
        " rollout. It is not impossible: 45 recorded rollouts with 20 % of 2 VMs completed. Raising the limit to 100 %"
        " hides a bad image instead.",
        "opencga #987, AzureTRE #1591; recordings 2017 to 2023",
    ),
    "VS108": Code(
        "zero-tolerance-upgraded",
        _W,
        "maxUnhealthyUpgradedInstancePercent is a share of the VMs upgraded *so far*, and is compared after each batch:"
        " in the first batches one VM is a large share, so one VM that is not healthy in time aborts the rollout.",
        _ROLLING,
    ),
    "VS109": Code(
        "rollout-without-health",
        _E,
        "Mode Rolling and automatic OS upgrade need a health source: a load balancer probe or the application health"
        " extension on a Uniform set, the extension on a Flexible one. The platform refuses the update otherwise:"
        " `Rolling Upgrade mode is not supported for this Virtual Machine Scale Set because a health probe was not"
        " provided.`",
        _ROLLING + "; recordings (400 BadRequest)",
    ),
    "VS110": Code(
        "auto-os-pinned",
        _E,
        "Automatic OS upgrade needs `latest`: a platform image with that version, or a gallery image without a version."
        " Against a pinned version, a managed image or a VHD the platform refuses updates of the model.",
        _AUTO_OS + "; terraform-provider-azurerm #8301 (400 BadRequest)",
    ),
    "VS111": Code(
        "auto-os-active",
        _W,
        "With automatic OS upgrade on, the platform starts a rollout of its own whenever a newer image reaches the region,"
        " also while another one is going on. Its updates are not in any plan.",
        _AUTO_OS,
    ),
    "VS112": Code(
        "auto-os-flexible",
        _W,
        "The orchestration-modes table says that Flexible sets have no automatic OS upgrade; the page of that feature does"
        " not exclude them, and sets that carry the setting are recorded. Do not count on it.",
        _MODES + "; recordings",
    ),
    "VS113": Code(
        "surge-flexible-auto-os",
        _E,
        "MaxSurge together with automatic OS upgrade is not supported on Flexible sets.",
        "azure-compute-docs, MaxSurge",
    ),
    "VS114": Code(
        "rollback-flexible",
        _W,
        "rollbackFailedInstancesOnPolicyBreach works on Uniform sets only: on a Flexible set failed instances stay as they"
        " are.",
        _ROLLING,
    ),
    "VS115": Code(
        "latest-in-model",
        _W,
        "`latest` is resolved when a VM is created or reimaged, and never again. A newer image does not flip"
        " latestModelApplied; a reimage before manualupgrade gives a new disk and leaves it false; scale-outs and repairs"
        " boot whatever is newest that day. Compare exactVersion.",
        "azure-cli #28008, vm-scale-sets #62, azure-docs #17992",
    ),
    "VS116": Code(
        "repairs-enabled",
        _W,
        "Automatic repairs act on instances that are unhealthy for longer than the grace period, at most 5 % of the set at"
        " a time: also on instances that an upgrade has just restarted. A plan that moves instances itself suspends them.",
        _REPAIRS,
    ),
    "VS117": Code(
        "autoscale-unknown",
        _W,
        "Autoscale settings are a resource of their own: the documents of a set do not say whether any are attached. A"
        " scale-in during a rollout takes instances that the floor counts on; a scale-out adds ones the plan has not seen.",
        "azure-monitor docs, autoscale settings",
    ),
    "VS118": Code(
        "overprovision",
        _W,
        "An overprovisioned set creates more VMs than asked for and deletes the surplus: while it scales out or replaces"
        " instances, ones that no plan has seen come and go.",
        "azure-compute-docs, design considerations",
    ),
    "VS119": Code(
        "unmanaged-disks",
        _E,
        "Azure retired unmanaged disks on 2026-03-31, in the public, the government and the China cloud: VMs with disks in"
        " storage accounts are stopped, and none can be started or created. At an endpoint of one's own (Azure Stack, the"
        " emulator) it is not said; which cloud a set is in stands in what `vmss-sim snapshot` wrote (`cloud`), and in no"
        " document of Azure's: of those it is said, to be careful.",
        _MODES,
    ),
    "VS120": Code(
        "ephemeral-os-disk",
        _W,
        "An ephemeral OS disk lives on the host: upgrade, reimage and a move to another host give the VM its initial state,"
        " and there is no old disk to go back to.",
        "azure-compute-docs, reimage a virtual machine",
    ),
    "VS121": Code(
        "single-instance",
        _W,
        "With one instance every upgrade that restarts it is an outage, whatever the strategy.",
        "arithmetic",
    ),
    "VS122": Code(
        "single-placement-group",
        _E,
        "A set with singlePlacementGroup has at most 100 instances. It can be set to false, never back to true.",
        "azure-compute-docs, placement groups",
    ),
    "VS123": Code(
        "set-not-settled",
        _W,
        "Another operation on the set is running, or the last one failed. Commands may meet 409 Conflict, and a failed set"
        " keeps its state until an operation succeeds.",
        "recordings (409 Conflict); vm-scale-sets #26",
    ),
    "VS124": Code(
        "service-fabric",
        _E,
        "A Service Fabric cluster upgrades through Service Fabric, which knows where replicas are; scale-set operations do"
        " not. It is refused here.",
        _POLICY,
    ),
    "VS125": Code("empty-set", _E, "There is nothing to upgrade, and nothing to take percentages of.", _PLAN),
    "VS126": Code(
        "flexible",
        _W,
        "The VMs of a Flexible set show neither update nor fault domain in their view, nor latestModelApplied; their ids"
        " are names; and manualupgrade is refused by some services (409 OperationNotAllowed, recorded twice).",
        _MODES + "; recordings",
    ),
    "VS131": Code(
        "tolerance-used-up",
        _W,
        "As many instances are unhealthy now as maxUnhealthyInstancePercent allows. The platform counts them before every"
        " batch, together with those that its own rollout breaks: one more stops it"
        " (MaxUnhealthyInstancePercentExceededInRollingUpgrade).",
        _ROLLING,
    ),
    "VS132": Code(
        "zones-unbalanced",
        _W,
        "Without enableCrossZoneUpgrade the platform goes zone by zone, and batches are a share of the whole set, not of the"
        " zone: in a small zone one batch is a large part of what serves there.",
        _ROLLING,
    ),
    "VS133": Code(
        "rollout-without-domains",
        _W,
        "The platform keeps a batch inside one update domain, and the snapshot does not tell the domains (a Flexible set has"
        " none): which instances go together is a guess.",
        _AUTO_OS,
    ),
    # The instances, and what the snapshot says of them.
    "VS201": Code(
        "no-health-source",
        _W,
        "Without an application health extension or a probe, *in service* means that a VM runs and was provisioned:"
        " running, not known healthy. A guest that boots and does not serve passes every gate.",
        _AUTO_OS,
    ),
    "VS202": Code(
        "health-not-reported",
        _W,
        "The model has a health source, and some running instances report nothing: they were not upgraded since it was"
        " added, or the extension is broken. They do not count as in service, and taking them costs budget.",
        _HEALTH,
    ),
    "VS203": Code(
        "out-of-service",
        _W,
        "Instances that are out of service before the rollout cost no budget and can go first, but leave less room above"
        " the floor for the others.",
        _MACHINE,
    ),
    "VS204": Code(
        "service-unknown",
        _W,
        "Whether these serve is not known (no instance view, a state in between). Unknown is neither: they do not count as"
        " in service, and they are never taken for free.",
        "the rules of the model (planner/model.py)",
    ),
    "VS205": Code(
        "failed-instances",
        _W,
        "The last operation on these instances failed. An upgrade often mends them, but what made them fail may still be"
        " there.",
        "vm-scale-sets #26, aks-engine #1860",
    ),
    "VS206": Code(
        "deleting-instances",
        _W,
        "These are going away: a plan leaves them out, and percentages still count them.",
        _PLAN,
    ),
    "VS207": Code(
        "busy-instances",
        _W,
        "Somebody else's operation on these is running; a rollout waits for it to end.",
        _MACHINE,
    ),
    "VS208": Code(
        "protected-instances",
        _W,
        "protectFromScaleSetActions keeps scale-set actions away: these instances stay as they are, in every rollout.",
        "azure-compute-docs, instance protection",
    ),
    "VS209": Code(
        "no-exact-image",
        _W,
        "What these booted is not told exactly, so they cannot be put back to exactly that.",
        "the rules of changes (planner/change.py)",
    ),
    "VS210": Code(
        "mixed-versions",
        _W,
        "The set runs more than one image already: a rollout ended half-way, or `latest` moved between scale-outs.",
        "azure-docs #17992",
    ),
    "VS211": Code(
        "list-incomplete",
        _E,
        "The instance list goes on, and the rest was not given: every percentage would be of the wrong number.",
        "the rules of the reader (planner/arm_json)",
    ),
    "VS212": Code(
        "not-told",
        _W,
        "The documents do not say something that a rollout is judged by.",
        "the rules of the reader (planner/arm_json)",
    ),
    # A plan.
    "VS301": Code(
        "total-outage",
        _W,
        "The platform upgrades everything at once: floor 0. Nothing holds it back, no gate stands between the first"
        " instance and the last, and a bad image reaches all of them.",
        _POLICY,
    ),
    "VS302": Code(
        "floor-zero",
        _W,
        "Commands may take the last instance that serves.",
        _MACHINE,
    ),
    "VS303": Code(
        "one-group",
        _E,
        "A strategy by domain needs at least two domains: with one, its only batch is the whole set. A zonal set often has"
        " one fault domain, a regional one no zones.",
        "azure-compute-docs, fault domains",
    ),
    "VS304": Code(
        "unknown-domains",
        _E,
        "Instances whose domain is not known are put together in a batch of their own, which may span every domain.",
        "the rules of the strategies (planner/strategies)",
    ),
    "VS305": Code(
        "no-budget",
        _E,
        "From a batch, at most *in service minus floor* instances that serve are taken. Where that is nothing, and no"
        " instance out of service stands in the batch to be mended first, the rollout waits until it is stopped.",
        _MACHINE,
    ),
    "VS306": Code(
        "split-batches",
        _W,
        "A group larger than the budget (n minus floor) was split in order: one domain is no longer one batch, and the"
        " rollout takes longer.",
        _PLAN,
    ),
    "VS307": Code(
        "held-back",
        _W,
        "Instances are out of service at the moment, so a batch cannot be taken whole: the machine takes what the floor"
        " allows, and the rest later.",
        _MACHINE,
    ),
    "VS308": Code(
        "zero-tolerance",
        _W,
        "max_failed 0: one instance that is not healthy in time ends the rollout, the last of a hundred as well as the"
        " first.",
        _MACHINE,
    ),
    "VS309": Code(
        "tolerance-unbounded",
        _W,
        "As many failures are tolerated as there are instances to move: only the floor stops a bad image.",
        "AzureTRE #1591",
    ),
    "VS310": Code(
        "tolerance-over-budget",
        _W,
        "Failed instances are out of service. When as many failed as the floor leaves room for, nothing more can be taken,"
        " and the rollout stalls before its tolerance is used up.",
        _MACHINE,
    ),
    "VS311": Code(
        "drop-below-tolerance",
        _W,
        "A failed instance that stays out of service is tolerated by max_failed and then counted by the gate `drop`: the"
        " smaller number wins.",
        _MACHINE,
    ),
    "VS312": Code(
        "nothing-to-do", _W, "The plan has no batches: it moves no instance, and at most updates the model.", _PLAN
    ),
    "VS313": Code(
        "floor-below-required",
        _W,
        "The floor is what commands may not cross; `required` is what the load needs. In between is downtime that the plan"
        " allows.",
        _PLAN,
    ),
    "VS314": Code(
        "floor-below-objective",
        _W,
        "The floor is lower than the objective, so the rollout may breach the objective without any failure.",
        _PLAN,
    ),
    "VS315": Code(
        "no-soak",
        _W,
        "With neither soak nor pause the next batch starts the moment the last one is healthy: what fails later (a leak, a"
        " cache, a cron job) is met when everything is upgraded.",
        "azure-cli #19778, aks-engine #3514",
    ),
    "VS316": Code(
        "rollback-floor-lower",
        _W,
        "On the way back fewer instances are kept in service than on the way forward.",
        _PLAN,
    ),
    "VS317": Code(
        "emergency-floor-zero",
        _W,
        "A rollback in an emergency may take every instance at once.",
        _PLAN,
    ),
    "VS318": Code("bad-window", _E, "A window that cannot be read never opens.", _PLAN),
    "VS319": Code(
        "window-too-short",
        _W,
        "What the plan waits on purpose (soak and pause) is longer than any of its windows: the set rests half-way, with two"
        " versions, until the next one opens.",
        "azure-docs #113861",
    ),
    "VS320": Code(
        "repairs-grace",
        _W,
        "Repairs stay on, and their grace period is shorter than the time the plan gives an instance to become healthy: the"
        " platform replaces what the rollout still waits for.",
        _REPAIRS,
    ),
    "VS321": Code(
        "pin-against-auto-os",
        _E,
        "The change, or its way back, writes an exact version into the model of a set with automatic OS upgrade, which takes"
        " `latest` only: the platform refuses the update.",
        _AUTO_OS + "; terraform-provider-azurerm #8301 (400 BadRequest)",
    ),
    "VS322": Code(
        "os-profile-not-applied",
        _E,
        "A change of the OS profile (password, custom data) reaches a VM only when it is reimaged. manualupgrade reports"
        " success and the guest stays as it is.",
        _POLICY,
    ),
    "VS323": Code(
        "os-profile-reimages",
        _W,
        "A change of the OS profile looks like a setting, and costs every VM its OS disk.",
        _POLICY,
    ),
    "VS324": Code("no-undo", _W, "A guest patch without an `undo` cannot be taken back.", _PLAN),
    "VS325": Code(
        "rollback-without-undo",
        _E,
        "The plan rolls back on failure, and there is no undo to roll back with: it would stop half-way instead.",
        _MACHINE,
    ),
    "VS326": Code(
        "rollback-not-exact",
        _W,
        "The plan does not hold the exact image of some instances it moves: they go back to the model's image.",
        _PLAN,
    ),
    "VS327": Code(
        "gates-without-health",
        _W,
        "There is no health source, so the gates of this plan see only that VMs run.",
        _MACHINE,
    ),
    "VS328": Code(
        "left-alone",
        _W,
        "Instances that are protected or being deleted stand in no batch. While any of them is stale, a mode that was"
        " changed for the rollout is not put back.",
        _PLAN,
    ),
    "VS329": Code(
        "partial",
        _W,
        "Some instances are neither at the target nor in a batch. The model says the target all the same, so scale-outs"
        " and repairs boot it, and a mode that was changed is not put back.",
        _PLAN,
    ),
    "VS330": Code(
        "deadline-too-short",
        _E,
        "Every wait is bounded. A deadline of nothing passes at once, and a rollout that waits on purpose for longer than"
        " its own deadline is stopped.",
        _MACHINE,
    ),
    "VS331": Code("gates-dry-run", _W, "Gates are judged and written down, and stop nothing.", _MACHINE),
    "VS332": Code(
        "current-model-latest",
        _W,
        "The model says `latest`, and this plan takes latestModelApplied for an answer: an instance that booted an older"
        " image counts as current.",
        "azure-cli #28008",
    ),
    "VS333": Code(
        "drift-weakened",
        _W,
        "The plan's drift table lets pass what is refused by default: the set may be another one than was vetted.",
        "the drift table (planner/drift.py)",
    ),
    "VS334": Code(
        "latest-stays-false",
        _W,
        "Only manualupgrade sets latestModelApplied: after a reimage or a restart alone it stays false, so the next rollout"
        " moves these instances again; also the platform's own, when mode Rolling or Automatic is put back.",
        "azure-cli #28008, vm-scale-sets #62",
    ),
    "VS335": Code(
        "surge-quota",
        _E,
        "A surge needs cores for the instances it adds, beside those of the set. The platform refuses the scale-out otherwise,"
        " and the plan's fall-back is to stop.",
        _SURGE + "; recordings (409 OperationNotAllowed, exceeding quota limits of Core)",
    ),
    "VS336": Code(
        "surge-addresses",
        _E,
        "Each instance that is added needs an address in the subnet, and the plan's fall-back is to stop.",
        _SURGE,
    ),
    "VS337": Code(
        "surge-instance-limit",
        _E,
        "A set holds at most 100 instances in a single placement group, 600 of a custom image that is in no gallery, 1000"
        " otherwise: what is added counts.",
        "azure-compute-docs, placement groups",
    ),
    "VS338": Code(
        "surge-falls-back",
        _W,
        "There is no room for what a surge adds, so its batches would be upgraded in place, within the floor that the plan"
        " gives that: fewer serve meanwhile.",
        _SURGE,
    ),
    "VS339": Code(
        "surge-quota-unknown",
        _W,
        "Whether there is room for what a surge adds cannot be worked out: quota, cores of the VM size and free addresses are"
        " not part of a set's own documents.",
        _SURGE,
    ),
    "VS340": Code(
        "surge-flexible-auto-os-on",
        _E,
        "A surge on a Flexible set with automatic OS upgrade: the platform does not support the two together, and its own"
        " rollout would meet instances that come and go.",
        _SURGE,
    ),
    "VS341": Code(
        "surge-scale-in-protected",
        _W,
        "protectFromScaleIn keeps an instance from a scale-in. A surge deletes by id, which it does not keep away.",
        "azure-compute-docs, instance protection",
    ),
    "VS342": Code(
        "surge-overprovision",
        _W,
        "With overprovisioning a scale-out creates up to 20 % more than asked for and deletes the surplus: quota and addresses"
        " for these are needed for a while, and which ones stay is the platform's choice.",
        "azure-compute-docs, placement groups",
    ),
    "VS343": Code(
        "surge-fought",
        _W,
        "Repairs replace instances that come up slowly, and autoscale counts what a surge adds: either changes the number of"
        " instances while the plan does.",
        _REPAIRS + "; azure-monitor docs, autoscale settings",
    ),
    "VS344": Code(
        "surge-no-way-back",
        _W,
        "The model stays as it is, so a new instance boots the target: what a surge replaced cannot be brought back by a"
        " rollback.",
        _PLAN,
    ),
    "VS345": Code(
        "floor-as-gate",
        _W,
        "The platform moves the instances by its own policy. The floor is checked when the rollout is handed over; afterwards"
        " fewer may serve until the grace is over and the rollout is cancelled. Cancelling takes nothing back: what was moved"
        " stays, and the model goes back in mode Manual, which stays, so that the platform moves nothing for it.",
        _ROLLING,
    ),
    # What keeps a plan from being made.
    "VS401": Code("unknown-strategy", _E, "There is no strategy of this name.", _PLAN),
    "VS402": Code("bad-parameter", _E, "The strategy does not take this parameter, or not this value.", _PLAN),
    "VS403": Code(
        "change-does-not-fit", _E, "The change, the action and the set do not fit together.", "planner/change.py"
    ),
    "VS404": Code("no-such-member", _E, "The plan names an instance or a domain that the set does not have.", _PLAN),
    "VS405": Code(
        "nothing-to-group-by",
        _E,
        "No instance's domain is known, so a strategy by domain has nothing to group by.",
        _PLAN,
    ),
    "VS406": Code("no-room", _E, "The floor leaves no instance to take.", _PLAN),
    "VS407": Code(
        "batch-over-budget",
        _E,
        "A batch is larger than n minus floor. It is split only where the strategy groups by domain, or `fit` is given.",
        _PLAN,
    ),
    "VS408": Code("bad-amount", _E, "An amount of instances is a count (8), a percentage (80%) or n-2.", _PLAN),
    "VS409": Code(
        "inconsistent-strategy",
        _E,
        "The strategy made a batch that is empty, or holds an instance twice, or one it was not given.",
        _PLAN,
    ),
    "VS410": Code("unknown-choice", _E, "A choice that is not one of the known ones would be ignored silently.", _PLAN),
    "VS499": Code("refused", _E, "The plan cannot be made, for a reason without a code of its own.", _PLAN),
}
