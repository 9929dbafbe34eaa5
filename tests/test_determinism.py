"""The same seed gives the same history, whatever the hash seed, the order of replications, or the number of processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from backends.journal import digest
from scenarios import build, files
from scenarios.choices import Choice
from vmss_sim.study.compare import compare
from vmss_sim.study.replicate import plan_for, run

ROOT = Path(__file__).parent.parent
CODE = """
import sys
from backends.journal import digest
from planner.planfile import encode
from scenarios import build, files
from vmss_sim.study.replicate import plan_for, run
for name in ("seed-article", "late-bad-image", "unhealthy-baseline", "zonal-rolling"):
    setup = build.read(files.find_scenario(name))
    for choice in setup.choices:
        plan = plan_for(setup, choice)
        print(name, choice.label, len(encode(plan)), *(digest(run(setup, plan, 7, one).journal) for one in (0, 1)))
"""


TROUBLE = """
from backends.journal import digest
from planner.plan import Rung
from planner.rollout import Asked
from tests.fleet import Act, Ask, Case, Fleet, fault
grown = Act(500, "set-capacity", (), {"capacity": 9})
for case in (
    Case(fleet=Fleet(size=3), acts=(grown,), timings="perfect"),
    Case(fleet=Fleet(size=6), strategy="batch", parameters={"size": 3}, fails={1: (1,), 4: (1,)}, timings="perfect",
         ladder=(Rung.REPLACE, Rung.QUARANTINE), more={"floor": 1}, mttf_s=3600),
    Case(fleet=Fleet(size=6), strategy="per-ud", faults=(fault("lose-reply", 2), fault("refuse", 4)), bad=(3,),
         bad_after_ms=20_000, parameters={"soak_ms": 60_000, "on_failure": "rollback-all"}, timings="perfect"),
    Case(fleet=Fleet(size=5, repairs=True), asks=(Ask(100_000, Asked.ROLLBACK),), acts=(grown,), timings="perfect"),
):
    print(digest(case.run().journal))
"""


def _digests(hash_seed: str, code: str = CODE) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
    )
    return ran.stdout


def test_the_history_does_not_depend_on_the_hash_seed() -> None:
    first = _digests("0")
    assert len(first.splitlines()) > 8
    assert first == _digests("1") == _digests("12345")


def test_nor_with_failures_faults_and_instances_that_appear_together() -> None:
    first = _digests("0", TROUBLE)
    assert len(set(first.split())) == 4
    assert first == _digests("1", TROUBLE) == _digests("2", TROUBLE)


def test_a_replication_does_not_depend_on_those_before_it() -> None:
    setup = build.read(files.find_scenario("seed-article"))
    plan = plan_for(setup, Choice(label="per-ud", name="per-ud", parameters={}))
    forward = [digest(run(setup, plan, 3, one).journal) for one in (0, 1, 2)]
    backward = [digest(run(setup, plan, 3, one).journal) for one in (2, 1, 0)]
    assert forward == backward[::-1]
    assert len(set(forward)) == 3


def test_the_number_of_processes_changes_nothing() -> None:
    setup = build.read(files.find_scenario("unhealthy-baseline"))
    one, two = (compare(setup, seed=5, replications=12, jobs=jobs) for jobs in (1, 2))
    assert [result.rows for result in one.results] == [result.rows for result in two.results]
    other = compare(setup, seed=6, replications=12, jobs=1)
    assert [result.rows for result in one.results] != [result.rows for result in other.results]
