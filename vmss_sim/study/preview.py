"""What Azure's own orchestrator would do with a set, by what is known now. The simulation is in `own.py`.

1. A rollout is foreseen for every way in which the platform itself starts one on this set: an update of the model in the
   set's present mode, and automatic OS upgrade where it is on. Batches, gates and health come from `planner.platform`.
2. An *outcome* is what is certain beforehand: refused, fails before it starts, cannot finish, nothing to do, touches
   nothing; else it can complete. The first three are errors.
3. What lint says of the platform's rollouts is repeated, never judged anew: both ask `planner.platform`.
4. What nobody said is not hidden: without a change the next image is assumed, so that every instance is behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import msgspec

from planner.change import Resolved, describe, resolve
from planner.lint import OF_THE_PLATFORM, Finding, Grade, lint_set
from planner.lint.facts import auto_os, follows_latest
from planner.lint.wording import names, share, span
from planner.model import Orchestration, RollingPolicy, ScaleSet, Service, UpgradeMode, id_key, runs, service
from planner.platform import (
    NO_HEALTH,
    ForecastBatch,
    Gate,
    at_once,
    batch_limit,
    forecast,
    gates,
    lacks_health,
    left_out,
    members,
    stopped_by,
    unhealthy,
)
from scenarios.build import Setup
from scenarios.given import Assumption
from vmss_sim.study import sentences
from vmss_sim.study.preview_surge import Surge, in_words, surge_of

PINNED = (
    "virtualMachineScaleSets with Automatic OS Upgrade enabled must use Platform or Gallery Image with version set to"
    " 'latest'."
)
CODES = OF_THE_PLATFORM | {
    "VS101", "VS102", "VS103", "VS110", "VS111", "VS112", "VS119", "VS123", "VS125", "VS208", "VS211",
}  # fmt: skip
Tells = tuple[tuple[str, tuple[str, ...]], ...]


class Outcome(str, Enum):
    """What is certain of a rollout beforehand (rule 2)."""

    CAN_COMPLETE = "can-complete"
    TOUCHES_NOTHING = "touches-nothing"
    NOTHING_TO_DO = "nothing-to-do"
    REFUSED = "refused"
    FAILS_BEFORE_START = "fails-before-start"
    CANNOT_FINISH = "cannot-finish"


ERRORS = frozenset({Outcome.REFUSED, Outcome.FAILS_BEFORE_START, Outcome.CANNOT_FINISH})
MODEL_UPDATE, AUTO_OS = "model-update", "automatic-os-upgrade"


class Foreseen(msgspec.Struct, frozen=True, kw_only=True):
    """One rollout of the platform's own.

    kind: MODEL_UPDATE or AUTO_OS. code: the platform's error where it fails. serving: how many serve while each batch is
    out, those before it back in service. For people: title, starts, says, and `tells` as (heading, sentences).
    """

    kind: str
    title: str
    starts: str
    outcome: Outcome
    says: str
    code: str = ""
    policy: RollingPolicy | None = None
    batches: tuple[ForecastBatch, ...] = ()
    serving: tuple[int, ...] = ()
    gates: tuple[Gate, ...] = ()
    surge: Surge | None = None
    tells: Tells = ()


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """Everything foreseen of one set. change: in words; change_assumed: nobody said one (rule 4)."""

    setup: Setup
    change: str
    change_assumed: bool
    count_in_flight: bool
    rollouts: tuple[Foreseen, ...]
    findings: tuple[Finding, ...]
    assumptions: tuple[Assumption, ...]

    @property
    def failing(self) -> bool:
        """Would anything fail, or not finish?"""
        return any(one.outcome in ERRORS for one in self.rollouts) or any(
            one.grade is Grade.ERROR for one in self.findings
        )


def foresee(
    setup: Setup,
    *,
    change_assumed: bool = False,
    count_in_flight: bool = False,
) -> Preview:
    """What the platform would do with the change of this scenario."""
    fleet = setup.scale_set
    change = None if change_assumed else resolve(setup.change, fleet, setup.action)
    count_in_flight = count_in_flight or setup.world.platform.count_in_flight
    case = _Case(setup=setup, change=change, count_in_flight=count_in_flight)
    rollouts = [_model_update(case)]
    if auto_os(fleet.model):
        rollouts.append(_auto_os(case))
    return Preview(
        setup=setup,
        change="the next image, since none was said: every instance is behind it"
        if change is None
        else describe(setup.change),
        change_assumed=change_assumed,
        count_in_flight=count_in_flight,
        rollouts=tuple(rollouts),
        findings=tuple(one for one in lint_set(setup.observed, setup.gaps) if one.code in CODES),
        assumptions=_assumptions(setup, rollouts, count_in_flight=count_in_flight),
    )


def _assumptions(setup: Setup, rollouts: Sequence[Foreseen], *, count_in_flight: bool) -> tuple[Assumption, ...]:
    """What the scenario assumes, without what concerns our own executor only, and what Azure leaves open."""
    made = [one for one in setup.assumptions if one.key not in ("timing.poll", "timing.give_up")]
    options = setup.world.platform
    if options.shrink_by_unhealthy:
        told = "they make a batch smaller: the batches shown are the largest"
        made.append(Assumption(name="unhealthy instances elsewhere", value=told, origin="yours", key="platform"))
    if any(one.gates for one in rollouts):
        for name, value, origin, key in (
            ("order of zones, domains and instances", "by number, what is not known last", "guessed", ""),
            ("a batch that is not a whole number", "rounded down, at least 1", "guessed", ""),
            (
                "a VM in flight counts as unhealthy",
                "yes" if count_in_flight else "no: 20 % of two VMs completes in recordings",
                "yours" if count_in_flight else "measured",
                "--count-in-flight",
            ),
            (
                "a batch waits for health",
                f"{span(options.health_wait_ms)} after a VM's operation (documented for automatic OS upgrade)",
                "documented" if all(one.kind == AUTO_OS for one in rollouts if one.gates) else "guessed",
                "",
            ),
            ("a batch ends", f"at a multiple of {span(options.tick_ms)}", "measured", ""),
        ):
            made.append(Assumption(name=name, value=value, origin=origin, key=key))
    return tuple(made)


class _Case(msgspec.Struct, frozen=True, kw_only=True):
    """What every way is asked about. change None: every instance is behind (rule 4)."""

    setup: Setup
    change: Resolved | None
    count_in_flight: bool

    @property
    def fleet(self) -> ScaleSet:
        return self.setup.scale_set


# -- the ways in which a rollout starts --------------------------------------------------------------------------------


def _model_update(case: _Case) -> Foreseen:
    fleet, mode = case.fleet, case.fleet.model.mode
    pinned = auto_os(fleet.model) and not follows_latest(
        fleet.model.image if case.change is None else case.change.model_image
    )
    made = Foreseen(
        kind=MODEL_UPDATE,
        title=f"An update of the model, in mode {mode.value.capitalize()}",
        starts=f"Starts at once with {sentences.ANYBODY}.",
        outcome=Outcome.CAN_COMPLETE,
        says="",
    )
    if pinned:
        return _refused(
            made, f"automatic OS upgrade is on, and the model names a fixed image: 400 BadRequest, `{PINNED}`"
        )
    if mode is UpgradeMode.MANUAL:
        return _manual(case, made)
    if mode is UpgradeMode.AUTOMATIC:
        return _automatic(case, made)
    lacks = lacks_health(fleet.model)
    if lacks:
        return _refused(made, f"{lacks}: 400 BadRequest, `{NO_HEALTH}`")
    policy = fleet.model.rolling or RollingPolicy()
    batches = forecast(fleet, case.change, policy)
    more = (("Any other update of the model", sentences.any_other_update()),)
    return _in_batches(case, made, policy, batches, more)


def _auto_os(case: _Case) -> Foreseen:
    model = case.fleet.model
    setting = model.auto_os
    assert setting is not None  # `foresee` asks only then
    made = Foreseen(
        kind=AUTO_OS,
        title="Automatic OS upgrade",
        starts="Starts when a newer image of the model's kind reaches the region (the first time up to 3 h after it is"
        " turned on), in any upgrade mode.",
        outcome=Outcome.CAN_COMPLETE,
        says="",
    )
    if model.mode is UpgradeMode.MANUAL and not case.setup.world.platform.manual_auto_os:
        never = "never starts: not in mode Manual (platform.manual_auto_os = false)"
        return msgspec.structs.replace(made, outcome=Outcome.TOUCHES_NOTHING, says=never)
    if not follows_latest(model.image):
        return _refused(made, f"the model does not say `latest` ({model.image}): 400 BadRequest, `{PINNED}`")
    lacks = lacks_health(model)
    if lacks:
        return _refused(made, f"automatic OS upgrade needs a health source, and there is {lacks}")
    policy = (model.rolling or RollingPolicy()) if setting.use_rolling_policy else RollingPolicy()
    if policy.max_surge and model.orchestration is Orchestration.FLEXIBLE:
        return _refused(made, "maxSurge with automatic OS upgrade is not supported on a Flexible set")
    there, touchable = _there_already(case), members(case.fleet, None)
    # Azure begins nothing where all boot the newest image; else those that do stay in their batches, and are passed over.
    nothing = all(one.id in there for one in touchable)
    batches = () if nothing else forecast(case.fleet, None, policy)
    passed = f"{share(len(there), len(case.fleet.instances))} boot it already: they are passed over within their batch."
    more = (
        ("What holds it back", _holds_back(setting.deferral, model.mode)),
        *((("Already there", (passed,)),) if there else ()),
    )
    return _in_batches(case, made, policy, batches, more)


def _there_already(case: _Case) -> tuple[str, ...]:
    """Which instances boot the image that is to come, as far as it was said."""
    image = None if case.change is None else case.change.target.image
    if image is None:
        return ()
    return tuple(name for name, one in case.fleet.instances.items() if runs(one.image, image))


def _holds_back(deferral: bool, mode: UpgradeMode) -> tuple[str, ...]:
    lines: tuple[str, ...] = (
        "Whether a maintenance configuration (scope OSImage) is assigned is not told by the set's own documents: where one"
        " is, it waits for its window.",
    )
    if mode is UpgradeMode.MANUAL:
        lines += ("The mode is Manual: the documents say that it works there, a reviewer of the API that it does not.",)
    if deferral:
        return (
            "osRollingUpgradeDeferral is on: each VM waits until somebody approves (`approveRollingUpgrade`).",
            *lines,
        )
    return ("Nobody is asked: osRollingUpgradeDeferral is off.", *lines)


def _refused(made: Foreseen, because: str) -> Foreseen:
    return msgspec.structs.replace(made, outcome=Outcome.REFUSED, code="BadRequest", says=f"is refused: {because}")


def _manual(case: _Case, made: Foreseen) -> Foreseen:
    fleet = case.fleet
    total = len(fleet.instances)
    behind = sum(len(batch.ids) for batch in at_once(fleet, case.change))
    return msgspec.structs.replace(
        made,
        starts="Nothing starts by itself.",
        outcome=Outcome.TOUCHES_NOTHING,
        says=f"touches no instance: {share(behind, total)} stay behind until somebody upgrades them",
        tells=(
            (
                "What happens then",
                (
                    "Instances change only when somebody calls manualupgrade (or reimage) with their ids; ids named"
                    " together go down together.",
                    "New instances boot the new model: a scale-out, autoscale, or a repair by replacement mixes the set.",
                ),
            ),
        ),
    )


def _automatic(case: _Case, made: Foreseen) -> Foreseen:
    fleet = case.fleet
    batches = at_once(fleet, case.change)
    if not batches:
        return _nothing(case, made)
    hit = len(batches[0].ids)
    return msgspec.structs.replace(
        made,
        says=f"upgrades {share(hit, len(fleet.instances))} at the same time, in no order",
        batches=batches,
        serving=_serving(fleet, batches),
        tells=(
            ("What stops it", ("Nothing: no batch, no gate, no order. A bad image reaches every one of them.",)),
            ("If one VM does not come back healthy", ("It stays as it is; the others go on.",)),
            (
                "If you cancel it",
                (
                    "There is nothing to cancel: rollingUpgrades/cancel answers 409 OperationNotAllowed (`There is no"
                    " ongoing Rolling Upgrade to cancel.`).",
                ),
            ),
            (
                "Any other update of the model",
                ("Takes everything that is behind then, at the same time.",),
            ),
            *_left_alone(case, made),
        ),
    )


def _in_batches(
    case: _Case, made: Foreseen, policy: RollingPolicy, batches: Sequence[ForecastBatch], more: Tells
) -> Foreseen:
    """A rollout by batches and gates: mode Rolling, or automatic OS upgrade."""
    fleet = case.fleet
    if not batches:
        return _nothing(case, msgspec.structs.replace(made, policy=policy))
    total, sick = len(fleet.instances), unhealthy(fleet)
    surge = surge_of(case.setup.world, batches) if policy.max_surge else None
    found = tuple(
        gate
        for gate in gates(
            fleet, batches, msgspec.structs.replace(policy, max_surge=False), count_in_flight=case.count_in_flight
        )
        if gate.rule != "in-flight" or surge is None or gate.batch in surge.in_place
    )
    stop = stopped_by(found)
    limit = batch_limit(policy.max_batch_percent, total)
    if stop is None:
        outcome = Outcome.CAN_COMPLETE
        says = f"can complete: {sentences.size_in_words(policy, batches, total, limit)}"
    elif stop.rule == "before-start":
        outcome, says = Outcome.FAILS_BEFORE_START, sentences.fails_before_start(sick, policy, total)
    else:
        outcome = Outcome.CANNOT_FINISH
        says = f"cannot finish: it stops itself while batch {stop.batch + 1} is out ({stop.code})"
    restored = made.kind == AUTO_OS and not (fleet.model.auto_os and fleet.model.auto_os.disable_rollback)
    return msgspec.structs.replace(
        made,
        outcome=outcome,
        says=says,
        code=stop.code if stop else "",
        policy=policy,
        batches=tuple(batches),
        serving=_serving(fleet, batches, surge.replaced(len(batches)) if surge else None),
        gates=found,
        surge=surge,
        tells=(
            ("What stops it", sentences.what_stops_it(found, policy, total, sick)),
            (
                "If one VM does not come back healthy",
                sentences.if_one_fails(
                    fleet,
                    batches,
                    found,
                    msgspec.structs.replace(policy, max_surge=surge is not None and not surge.in_place),
                    restored=restored,
                ),
            ),
            ("If you cancel it", sentences.if_cancelled(automatic=made.kind == AUTO_OS)),
            *more,
            *((("maxSurge", in_words(surge, batches)),) if surge else ()),
            *_left_alone(case, made),
        ),
    )


def _nothing(case: _Case, made: Foreseen) -> Foreseen:
    return msgspec.structs.replace(
        made,
        outcome=Outcome.NOTHING_TO_DO,
        says="has nothing to do: no instance that it may touch is behind",
        tells=_left_alone(case, made),
    )


# -- what is told of them ----------------------------------------------------------------------------------------------


LEFT_ALONE = {
    "protected": "protected from scale-set actions",
    "deleting": "going away",
    "skip": "skipped by their custom metrics",
    "metrics-healthy": "does not report Healthy, as custom metrics require",
    "only-behind": "not behind",
}
"""The rules of `planner.platform` that leave instances out, for people."""


def _left_alone(case: _Case, made: Foreseen) -> Tells:
    fleet = case.fleet
    change = None if made.kind == AUTO_OS else case.change
    rules = left_out(fleet, change, metrics=made.kind == AUTO_OS or fleet.model.mode is UpgradeMode.ROLLING)
    lines = []
    for rule, why in LEFT_ALONE.items():
        ids = sorted((name for name, by in rules.items() if by == rule), key=id_key)
        if ids:
            lines.append(f"{share(len(ids), len(fleet.instances))}, {why}: {names(ids)}.")
    return (("Left alone", tuple(lines)),) if lines else ()


def _serving(
    fleet: ScaleSet, batches: Sequence[ForecastBatch], replaced: Sequence[bool] | None = None
) -> tuple[int, ...]:
    """How many serve while each batch is out, where those before it came back. replaced: by maxSurge, so none is out."""
    source = fleet.model.health_source
    up = {name for name, one in fleet.instances.items() if service(one, source) is Service.IN}
    made = []
    for index, batch in enumerate(batches):
        made.append(len(up if replaced is not None and replaced[index] else up - set(batch.ids)))
        up |= set(batch.ids)
    return tuple(made)
