"""The unattended story: planned, approved, changed meanwhile, applied in a window, one VM stays sick, the agent is killed, another
machine looks, skips it and goes on.
"""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import msgspec
import pytest

from backends.approvals import valid
from backends.store.files import FileStore
from planner.plan import Window
from planner.planfile import decode, encode
from tests.commands import vmss_sim
from tests.fleet import NEW, Act, Case, Fleet, act
from tests.loopback import served, start

SIZE = 60
SICK = 12
"""Its slot: it stands in the fourth batch, and never comes to serve on the new image."""
CASE = Case(
    fleet=Fleet(size=SIZE, update_domains=5, zones=3, repairs=True),
    strategy="batch",
    parameters={"size": 6, "max_failed": 1, "retries": 0, "approve": False},
    more={"floor": "80%", "author": "ann", "title": "June image"},
    fails={SICK: tuple(range(1, 20))},
)
WINDOW = Window(days=("Thu",), start="01:00", end="06:00", time_zone="UTC")
"""The world's clock begins on Thursday, 1970-01-01T00:00Z."""


def test_the_unattended_story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = CASE.plan()
    order = [name for batch in plan.batches for name in batch.take]
    fourth = plan.batches[3].take
    sick = fourth[2]
    case = CASE.but(fails={int(sick): tuple(range(1, 20))})
    replaced = order[-1]
    plan = msgspec.structs.replace(case.plan(), windows=(WINDOW,), needs_ms=(240_000,) * len(plan.batches))
    saw = plan.scale_set
    before = msgspec.structs.replace(
        saw.instances[replaced], vm_id="the-vm-before"
    )  # under its id there is another one now
    pins = {**saw.instances, replaced: before}
    plan = msgspec.structs.replace(plan, scale_set=msgspec.structs.replace(saw, instances=pins))

    # Planned at 60 instances, approved by somebody else than its author.
    here, file = tmp_path / "agent", tmp_path / "plan.json"
    file.write_bytes(encode(plan))
    store = ("--store", f"file:{here}")
    assert vmss_sim("approve", str(file), "--by", "ann", *store).status == 2
    assert (
        vmss_sim("approve", str(file), "--by", "bob", "--expires", "72h", "--reason", "change 4711", *store).status == 0
    )

    world = case.world()
    world.plan = plan
    with served(world, case.fleet.scale_set()) as place:
        # Meanwhile one VM is replaced under its old id, and the set is scaled to 63.
        act(world, Act(0, "set-capacity", args={"capacity": 63}))
        world.run(300_000, stop_on_wake=False)

        # Applied in a window: before it opens nothing is sent, and the pipeline comes again.
        arguments = ("apply", str(file), "--yes", "--require-approvals", "1", *store)
        code, out, err = start(place.address, *arguments).ended()
        assert code == 3, err
        told = " ".join(out.split())
        assert f"absorb replaced: instance {replaced}" in told
        assert "note capacity: instance count: found 63, the plan saw 60" in told
        assert sum(f"absorb new: instance {name}" in told for name in ("60", "61", "62")) == 3
        assert not [one for one in world.log if one.ours]
        world.run(3_600_000, stop_on_wake=False)

        # The fourth batch has a VM that stays sick; the agent is killed while it is there.
        journal_of = FileStore(here)
        rollout = journal_of.rollouts()[-1].id
        kill = 1
        while not world.started(sick):
            code, _, err = start(place.address, *arguments, KILL_AT_WRITE=str(kill)).ended()
            assert code == -signal.SIGKILL, err
            kill += 4
        place.pass_time(20 * 60_000)

        # Another machine has the store, and looks.
        there = tmp_path / "elsewhere"
        shutil.copytree(here, there)
        shutil.rmtree(here)
        file.unlink()
        desk = ("--store", f"file:{there}")
        ran = vmss_sim("status", rollout, *desk)
        assert ran.status == 0
        assert all(len(line) <= 80 or line.startswith("  vmss-sim ") for line in ran.out.splitlines())
        seen = json.loads(vmss_sim("status", rollout, "--json", *desk).out)
        assert seen["executor"]["alive"] is False
        assert seen["above_floor"] is True
        assert seen["temporary_changes"] == ["automatic repairs are suspended"]
        assert f"vmss-sim resume {rollout} --store file:{there}" in [one["command"] for one in seen["choices"]]

        # It skips the sick one and goes on: to the end, in the same window.
        skipped = vmss_sim("skip", rollout, sick, "--reason", "its disk is full, ticket 99", *desk)
        assert skipped.status == 0, skipped
        code, _, err = start(place.address, "resume", rollout, "--yes", *desk).ended()
        assert code == 5, err
        seen = json.loads(vmss_sim("status", rollout, "--json", *desk).out)
        assert seen["instances"] == {
            "total": 63, "on_target": 62, "old": 0, "in_flight": 0, "failed": 0, "skipped": 1,
        }  # fmt: skip
        assert seen["skipped"] == [sick]
        assert seen["temporary_changes"] == []
        assert not world.repairs_suspended
        assert sum(vm.image is not None and vm.image.exact == NEW for vm in world.vms.values()) >= 62
        assert all(world.started(name) == 1 for name in order if name not in (sick, replaced)), "none twice"
        least = min(len(one.after) for one in world.log if one.ours)
        assert least >= seen["floor"] - 1, "the sick one aside"

        # The approval still counts, and the post-mortem says who and why.
        kept = FileStore(there)
        (approval,) = valid(kept, decode(kept.plan_file(rollout), ""))
        assert approval.approver == "bob"
        told = vmss_sim("history", rollout, "--format", "md", *desk).out
        for word in ("ticket 99", "skip", "appended", "fewest in service, as seen"):
            assert word in told, word
