"""`plan` and `apply` on a Flexible set, from the front door to the last VM, over the emulator: what needs no domains that Azure hides is
carried out, everything else is refused with the reason, and nothing is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from backends.azure.preflight import FLEXIBLE
from planner.strategies import STRATEGIES
from tests.commands import Ran, vmss_sim
from vmss_sim.checks.emulated import Emulated

VERSION, FLOOR = "22.04.202606010", 3
SCENARIO = """
title = "Six of a Flexible set, in three zones"
why = "Azure shows no domains of its VMs."
[scale_set]
instances = 6
zones = 3
flexible = true
health = "extension"
[change]
version = "22.04.202606010"
[failures]
upgrade = 0.0
[load]
required = "50%"
"""


@pytest.fixture
def azure(vmss_emulator: Callable[..., Emulated], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Emulated:
    (tmp_path / "flexible.toml").write_text(SCENARIO)
    made = vmss_emulator(str(tmp_path / "flexible.toml"))
    for name, value in {
        **made.environment, "AZURE_TENANT_ID": made.tenant, "AZURE_CLIENT_ID": "any", "AZURE_CLIENT_SECRET": "any",
        "AZURE_CONFIG_DIR": str(tmp_path), "VMSS_SIM_STORE": f"file:{tmp_path}/store",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return made


def planned(azure: Emulated, strategy: str) -> tuple[Ran, tuple[str, ...]]:
    reach = ("--endpoint", azure.url, "--ca", azure.ca, "--credential", "environment")
    more = {"batch": ("-p", "batch.size=2"), "selected": ("-p", 'selected.ids=["0"]')}.get(strategy, ())
    which = ("--scale-set", azure.id, "--image-version", VERSION, "--slo", "healthy >= 50%")
    return vmss_sim("plan", *which, "-s", strategy, *more, *reach, "--no-forecast", "-o", "plan.json"), reach


@pytest.mark.parametrize("strategy", sorted(FLEXIBLE))
def test_what_needs_no_hidden_domains_is_carried_out(strategy: str, azure: Emulated) -> None:
    made, reach = planned(azure, strategy)
    assert made.status == 0, made
    ran = vmss_sim("apply", "plan.json", "--yes", *reach)
    assert ran.status == 0, (ran.out[-2000:], ran.err)
    world = azure.emulator.measured_set.world
    assert {vm.image.exact for vm in world.vms.values()} == {VERSION}
    assert [vm.attempt for vm in world.vms.values()] == [1] * 6, "each once"
    assert world.mode == "manual"
    report = azure.report()
    assert report["metrics"]["min_healthy"] >= FLOOR
    if strategy == "per-zone":
        assert report["metrics"]["min_healthy"] == 4, "a zone of two at a time"


@pytest.mark.parametrize("strategy", sorted(STRATEGIES.keys() - FLEXIBLE))
def test_what_needs_them_is_refused_with_the_reason(strategy: str, azure: Emulated) -> None:
    made, reach = planned(azure, strategy)
    said = made
    if made.status == 0:
        said = vmss_sim("apply", "plan.json", "--yes", *reach)
        assert f"VS511: {strategy} on a Flexible set, whose VMs show no update domains; use one of" in said.err
    else:
        assert "a Flexible set, of whose VMs Azure shows none" in made.err
        assert strategy in ("per-ud", "per-fd")
    assert (said.status, said.err.count("\n")) == (2, 1), said
    assert azure.emulator.measured_set.world.requests == 0, "nothing was sent"
