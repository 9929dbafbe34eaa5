"""The machine as a state machine: Hypothesis plays operators, other people, the platform's faults, crashes and time, in any order.

What must hold after every step: the guard never refuses (the planner never even tries), at most one operation of ours is in flight,
the phase only moves by its table, and what serves never falls below the floor by our doing. In the end, when faults stop and
nobody asks for anything any more, the rollout comes to an end or to a question: safety while trouble lasts, liveness afterwards.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from backends.driver import Driver
from backends.journal import MemoryJournal
from backends.protocol import Wait
from backends.simulated import SimulatedBackend
from planner.model import RollingPolicy, UpgradeMode
from planner.phases import TRANSITIONS, Phase
from planner.rollout import Asked, Rollout
from planner.trace import Turn, replay
from tests.fleet import NEW, Case, Fleet, lives, others_act
from vmss_sim.world.faults import Fault

FLEETS = (
    Fleet(size=6),
    Fleet(size=5, sick=(1,), protected=(3,)),
    Fleet(size=4, zones=2, repairs=True),
    Fleet(size=3, ahead=(2,), older=(0,)),
    Fleet(size=5, mode=UpgradeMode.ROLLING, rolling=RollingPolicy(max_batch_percent=40, max_unhealthy_percent=100)),
)
SHAPES = (
    ("one-by-one", {}),
    ("per-ud", {}),
    ("batch", {"size": 2, "fit": True, "max_failed": 1}),
    ("batch", {"size": 2, "fit": True, "on_failure": "rollback-all"}),
    ("surge", {"size": 2, "fallback": "in-place"}),
    ("surge", {"size": 2, "on_failure": "rollback-all"}),
    ("platform-rolling", {"max_failed": 1}),
    ("platform-rolling", {"max_failed": "100%", "grace_ms": 600_000}),
)
AFTER = {(phase, after) for (phase, _), after in TRANSITIONS.items()}
VERDICTS = ("lose-reply", "lose-request", "refuse", "fail", "delay")


class Rolling(RuleBasedStateMachine):
    """A rollout of a small set with everything that can happen to it."""

    @initialize(
        fleet=st.sampled_from(FLEETS), shape=st.sampled_from(SHAPES), unlucky=st.sets(st.integers(0, 5), max_size=2)
    )
    def begin(self, fleet: Fleet, shape: tuple[str, dict[str, object]], unlucky: set[int]) -> None:
        self.case = Case(
            fleet=fleet,
            strategy=shape[0],
            parameters=dict(shape[1]),
            fails={one: (1,) for one in sorted(unlucky) if one < fleet.size},
        )
        self.plan = self.case.plan()
        self.world = self.case.world()
        self.journal = MemoryJournal()
        self.wait: Wait | None = Wait(until_ms=None)
        self.phases: list[Phase] = []
        self.start()

    def start(self) -> None:
        self.backend = SimulatedBackend(self.world, self.case.fleet.scale_set())
        self.driver = Driver(Rollout(self.plan), self.backend, self.journal)

    def turn(self) -> None:
        before = self.driver.state.phase
        self.wait = self.driver.turn()
        self.phases.append(before)
        if self.driver.state.phase is Phase.ENDED:
            self.wait = None

    @property
    def going(self) -> bool:
        return self.wait is not None

    @precondition(lambda self: self.going)
    @rule()
    def time_passes_as_asked(self) -> None:
        self.turn()
        if self.wait is not None:
            self.backend.wait(self.wait)

    @precondition(lambda self: self.going)
    @rule(seconds=st.integers(1, 900))
    def somebody_looks_in_between(self, seconds: int) -> None:
        self.turn()
        if self.wait is not None:
            self.world.run(self.world.now + seconds * 1000, stop_on_wake=False)

    @rule(asked=st.sampled_from(Asked), ids=st.lists(st.integers(0, 5), max_size=2, unique=True))
    def an_operator_asks(self, asked: Asked, ids: list[int]) -> None:
        names = tuple(str(one) for one in ids if one < self.case.fleet.size)
        self.journal.ask(asked, names if asked in (Asked.SKIP, Asked.RETRY) else ())

    @rule(verdict=st.sampled_from(VERDICTS), code=st.sampled_from(("Conflict", "TooManyRequests", "QuotaExceeded")))
    def the_next_request_meets_a_fault(self, verdict: str, code: str) -> None:
        number = self.world.requests + 1
        self.world.faults = (Fault(verdict=verdict, first=number, last=number, code=code, delay_ms=90_000),)

    @rule(name=st.integers(0, 5), protected=st.booleans())
    def somebody_sets_protection(self, name: int, protected: bool) -> None:
        others_act(str(name), protected=protected)(self.world)

    @rule(name=st.integers(0, 5))
    def somebody_restarts_an_instance(self, name: int) -> None:
        if str(name) in self.world.vms:
            self.world.submit(f"foreign-{self.world.requests}", "restart", (str(name),))

    @rule()
    def somebody_adds_an_instance(self) -> None:
        if len(self.world.vms) < 8:
            self.world.submit(f"foreign-{self.world.requests}", "set-capacity", capacity=len(self.world.vms) + 1)

    @rule()
    def somebody_changes_the_mode(self) -> None:
        self.world.submit(f"foreign-{self.world.requests}", "set-mode", mode="rolling")

    @rule(version=st.sampled_from(("6.6.6", NEW)))
    def somebody_changes_the_image(self, version: str) -> None:
        path = "properties.virtualMachineProfile.storageProfile.imageReference.version"
        if self.world.mode == "manual":
            self.world.submit(f"foreign-{self.world.requests}", "update-model", patch={path: version})

    @precondition(lambda self: self.going)
    @rule(seconds=st.integers(0, 600))
    def the_executor_dies_and_another_goes_on(self, seconds: int) -> None:
        self.world.run(self.world.now + seconds * 1000, stop_on_wake=False)
        self.start()

    @invariant()
    def one_operation_of_ours_at_a_time(self) -> None:
        if hasattr(self, "world"):
            running = [
                one
                for one in self.world.operations.values()
                if one.status == "running"
                and not one.name.startswith("foreign")
                and one.ends_at > self.world.now
                and one.kind != "cancel-rolling-upgrade"
            ]
            assert len(running) <= 1, [one.name for one in running]

    @invariant()
    def phases_move_by_the_table(self) -> None:
        if hasattr(self, "driver"):
            for earlier, later in zip(self.phases, self.phases[1:], strict=False):
                assert earlier is later or _reachable(earlier, later), (earlier, later)

    def teardown(self) -> None:
        """Trouble stops: it must come to an end, or to a question only a person can answer."""
        if not hasattr(self, "driver"):
            return
        self.world.faults = ()
        for _ in range(400):
            if self.driver.state.phase is Phase.ENDED or self.wait is None:
                break
            if self.driver.state.phase is Phase.PAUSED:
                self.journal.ask(Asked.RETRY if self.driver.state.question else Asked.RESUME)
            self.turn()
            if (
                self.wait is not None
                and not self.backend.wait(self.wait)
                and self.driver.state.phase is not Phase.PAUSED
            ):
                raise AssertionError(f"it hangs: {self.driver.state}")
        assert self.driver.state.phase is Phase.ENDED, self.driver.state
        turns = [record for record in self.journal.records() if isinstance(record, Turn)]
        for record, state in replay(Rollout(self.plan), turns):
            assert state == record.state, record.number


def _reachable(earlier: Phase, later: Phase) -> bool:
    """One step may take several moves."""
    seen, front = {earlier}, [earlier]
    while front:
        here = front.pop()
        for phase, after in AFTER:
            if phase is here and after not in seen:
                seen.add(after)
                front.append(after)
    return later in seen


def test_whatever_happens_in_whatever_order() -> None:
    usual = settings()
    examples = lives(200, check=800, soak=5_000)
    run_state_machine_as_test(
        Rolling,
        settings=settings(
            usual, max_examples=examples, stateful_step_count=25, suppress_health_check=list(HealthCheck)
        ),
    )
