"""What is told: a table, and what is drawn beside it."""

from __future__ import annotations

import random
from functools import lru_cache
from typing import NamedTuple

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings

from planner.change import Action, CurrentModel, GuestPatch, PropertyChange, Refresh
from planner.model import UpgradeMode
from planner.plan import Rung
from planner.rollout import Asked
from tests.fleet import NEW, OS_PROFILE, SETTING, Case, Fleet, cases, plan_or_none

LICENSE = "properties.virtualMachineProfile.licenseType"
HELD = Fleet(size=3, mode=UpgradeMode.ROLLING, repairs=True)
FLEXIBLE = Fleet(size=4, update_domains=0, fault_domains=0, zones=2, repairs=True, flexible=True)
RESTS = Case(fleet=HELD, fails={1: (1,)}, parameters={"retries": 0, "on_failure": "pause"}, more={"floor": 1})
SET = PropertyChange(path=SETTING, value="new")
EMERGENCY = Asked.EMERGENCY.value
PATCH = GuestPatch(script="patch", undo="undo")


class Tale(NamedTuple):
    """A rollout, and what is said on the way: each word by an operator who comes after a death, or when it rests."""

    name: str
    case: Case
    words: tuple[str, ...] = ()
    grounds: tuple[str, ...] = ("loopback", "azure")
    rivals: bool = False

    @property
    def heard(self) -> tuple[str, ...]:
        """Its words, as the journal names them."""
        return tuple(EMERGENCY if one == "rollback --emergency" else one.split()[0] for one in self.words)

    @property
    def same(self) -> bool:
        """Does it come to the same end, killed or not? `judging.py` says what may keep it from that in one telling."""
        ill = bool(self.case.fleet.sick or self.case.fleet.unknown)
        # Out of service it costs nothing to go on with; meanwhile it may serve again, and the floor may need it (as in tests/test_resume.py).
        twice = ill and self.case.action is Action.UPGRADE_THEN_REIMAGE
        return set(self.words) <= {"pause", "release", "resume", "recover"} and not twice


SAYS = (
    Tale("paused and released", Case(fleet=HELD), ("pause", "release", "resume")),
    Tale("one fails, it rests, and is tried again", RESTS, ("retry 1",)),
    Tale("the way back is aborted", Case(fleet=HELD), ("rollback", "abort")),
    Tale("skipped", Case(fleet=Fleet(size=4, repairs=True)), ("skip 1",)),
    Tale("one fails, it rests, and is replaced", RESTS, ("replace 1",)),
    Tale(
        "rolled back in an emergency",
        Case(
            fleet=Fleet(size=6, update_domains=1),
            strategy="per-ud",
            more={"floor": 3, "rollback_floor": 5, "emergency_floor": 4},
        ),
        ("rollback --emergency",),
    ),
    Tale("released, then rolled back", Case(fleet=HELD), ("pause", "release", "rollback")),
    Tale("its journal is lost", Case(fleet=HELD), ("recover",)),
)
"""The first of the table, half of them on each ground: 60 kills are enough for every word."""
TABLE = (
    *SAYS,
    Tale("paused twice", Case(fleet=Fleet(size=4, repairs=True)), ("pause", "pause")),
    Tale("one by one, a retry", Case(fleet=HELD, fails={1: (1,)}, parameters={"retries": 1}, more={"floor": 1})),
    Tale(
        "batches of an automatic set, with soak",
        Case(
            fleet=Fleet(size=5, mode=UpgradeMode.AUTOMATIC, repairs=True),
            strategy="batch",
            parameters={"size": 2, "soak_ms": 45_000, "pause_ms": 30_000},
        ),
    ),
    Tale(
        "a ramp with a canary",
        Case(
            fleet=Fleet(size=6, zones=3, repairs=True),
            strategy="ramp",
            parameters={"canary": 1, "cap": 3, "soak_ms": 45_000},
            more={"floor": 3},
        ),
    ),
    Tale("update domains", Case(fleet=Fleet(size=6, repairs=True), strategy="per-ud")),
    Tale("zones", Case(fleet=Fleet(size=6, zones=3, mode=UpgradeMode.ROLLING), strategy="per-zone")),
    Tale("a surge", Case(fleet=Fleet(size=3, repairs=True), strategy="surge", parameters={"size": 2})),
    Tale("a surge that fails", Case(fleet=Fleet(size=2), strategy="surge", parameters={"size": 1}, fails={2: (1,)})),
    Tale("the platform rolls", Case(fleet=Fleet(size=3), strategy="platform-rolling")),
    Tale("all at once", Case(fleet=Fleet(size=2), strategy="automatic")),
    Tale("a reimage", Case(fleet=HELD, action=Action.REIMAGE)),
    Tale("a refresh", Case(fleet=Fleet(size=3, image="latest"), change=Refresh(exact_version=NEW))),
    Tale("upgrade, then reimage", Case(fleet=HELD, action=Action.UPGRADE_THEN_REIMAGE)),
    Tale("a guest patch", Case(fleet=Fleet(size=3), change=PATCH, strategy="batch", parameters={"size": 2})),
    Tale(
        "another property", Case(fleet=HELD, change=PropertyChange(path=LICENSE, value="RHEL_BYOS")), grounds=("azure",)
    ),
    Tale("what Terraform changed", Case(fleet=Fleet(size=3, model=NEW), change=CurrentModel())),
    Tale("approved batch by batch", Case(fleet=HELD, parameters={"approve": True})),
    Tale(
        "one stays sick, and is listed",
        Case(
            fleet=Fleet(size=4, repairs=True),
            fails={1: tuple(range(1, 9))},
            parameters={"retries": 0, "max_failed": 1},
            more={"floor": 2},
        ),
    ),
    Tale(
        "one stays sick, all go back",
        Case(fleet=HELD, fails={1: (1,)}, parameters={"retries": 0, "on_failure": "rollback-all"}, more={"floor": 1}),
    ),
    Tale(
        "one is reimaged",
        Case(fleet=Fleet(size=2), fails={0: (1,)}, ladder=(Rung.REIMAGE, Rung.QUARANTINE), more={"floor": 0}),
    ),
    Tale(
        "one is replaced",
        Case(fleet=Fleet(size=2), fails={0: (1,)}, ladder=(Rung.REPLACE, Rung.QUARANTINE), more={"floor": 0}),
    ),
    Tale(
        "restarts",
        Case(fleet=Fleet(size=3), change=PropertyChange(path=LICENSE, value="RHEL_BYOS"), action=Action.RESTART),
        grounds=("azure",),
    ),
    Tale("restarts", Case(fleet=Fleet(size=3), change=SET, action=Action.RESTART), grounds=("loopback",)),
    Tale("another property", Case(fleet=HELD, change=SET), grounds=("loopback",)),
    Tale("a flexible set", Case(fleet=FLEXIBLE, strategy="batch", parameters={"size": 2}), grounds=("azure",)),
    Tale("a flexible set is rolled back", Case(fleet=FLEXIBLE), ("rollback",), grounds=("azure",)),
    Tale("a flexible set is patched", Case(fleet=FLEXIBLE, change=PATCH), grounds=("azure",)),
    Tale("rolled back", Case(fleet=HELD), ("rollback",)),
    Tale("rolled back in batches", Case(fleet=Fleet(size=6), strategy="batch", parameters={"size": 2}), ("rollback",)),
    Tale("a reimage is rolled back", Case(fleet=HELD, action=Action.REIMAGE), ("rollback",)),
    Tale("a guest patch is undone", Case(fleet=Fleet(size=3), change=PATCH), ("rollback",)),
    Tale("a surge is rolled back", Case(fleet=Fleet(size=2), strategy="surge", parameters={"size": 1}), ("rollback",)),
    Tale("the platform's is rolled back", Case(fleet=HELD, strategy="platform-rolling"), ("rollback",)),
    Tale("aborted", Case(fleet=HELD), ("abort",)),
    Tale("a surge is aborted", Case(fleet=Fleet(size=2), strategy="surge", parameters={"size": 1}), ("abort",)),
    Tale("the platform's is aborted", Case(fleet=Fleet(size=3), strategy="platform-rolling"), ("abort",)),
    Tale("two at once", Case(fleet=HELD), grounds=("loopback",), rivals=True),
    Tale("one fails, and it rests", RESTS),
)
SAID = (
    (),
    (),
    ("rollback",),
    ("abort",),
    ("pause", "release"),
    ("pause",),
    ("skip 0",),
    ("retry 0",),
    ("replace 0",),
    ("rollback --emergency",),
    ("rollback", "abort"),
)


BATCH = 40


@lru_cache(maxsize=4)
def drawn(number: int) -> tuple[Case, ...]:
    """Cases from Hypothesis's generators, the same for the same number."""
    made: list[Case] = []

    @hypothesis.seed(number)
    @settings(
        max_examples=BATCH,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
        derandomize=False,
    )
    @given(cases(most=5, trouble=("fails",), source=Fleet.source))
    def draw(case: Case) -> None:
        if plan_or_none(case) is not None:
            made.append(case)

    draw()
    return tuple(made)


def told_over_arm(case: Case) -> bool:
    """Can it be told by ARM's requests? User and custom data are secrets, which Azure does not show; no gallery is emulated."""
    secret = isinstance(case.change, PropertyChange) and case.change.path in (SETTING, OS_PROFILE)
    return not secret and case.fleet.image != "id"


def here(ground: str) -> list[Tale]:
    """The table's on a ground, in the order in which they are told."""
    half = len(SAYS) // 2 if ground == "azure" else 0
    return [one for one in (*TABLE[half:], *TABLE[:half]) if ground in one.grounds]


def tale_of(ground: str, seed: int, number: int, luck: random.Random) -> Tale:
    """Tale so-and-so of a ground: by turns from the table, and drawn."""
    mine = here(ground)
    turn, of_table = divmod(number, 2)
    if of_table:
        return mine[turn % len(mine)]
    every = [one for one in drawn(seed * 1_000 + turn // BATCH) if ground == "loopback" or told_over_arm(one)]
    return Tale("drawn", every[turn % len(every)], luck.choice(SAID))
