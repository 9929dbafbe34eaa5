"""What an emulator holds in memory does not depend on how long it has lived: counted by structure, after many requests of every kind.

What has to be kept is bounded by number or by virtual time; the bounds are small here, so that they are reached at once.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.held import held
from vmss_sim.arm.at_work import Machine
from vmss_sim.arm.http import Request, Response
from vmss_sim.arm.sleepers import Sleeper
from vmss_sim.checks.emulated import Emulated
from vmss_sim.world.draws import Draws

Make = Callable[..., Emulated]
BOUNDS = {
    "vmss_sim.arm.emulator.FORGETS_EVERY": 1,
    "vmss_sim.arm.operations.KEPT": 1,
    "vmss_sim.arm.endpoint.MOST_BUCKETS": 2,
    "vmss_sim.arm.shapes.REMEMBERED": 0,
    "vmss_sim.arm.clock.REMEMBERED": 1,
    "vmss_sim.arm.call.SPARE": -100,
    "vmss_sim.world.contents.KNOWN": 1,
    "vmss_sim.world.orchestrator.REMEMBERED": 2,
    "vmss_sim.world.scale_set.IMAGES": 1,
}
SCENARIO = """
title = "Lived in"
scale_set = {instances = 4, upgrade_mode = "manual", health = "extension"}
change = {version = "22.04.202606010"}
timing = {ready = "60s"}
failures = {bad_image = {share = 0.3}}
"""
HEALTH = {
    "name": "health",
    "properties": {
        "publisher": "Microsoft.ManagedServices",
        "type": "ApplicationHealthLinux",
        "typeHandlerVersion": "1.0",
        "settings": {"protocol": "http", "port": 80, "requestPath": "/"},
    },
}
FAULTS = (
    {"verdict": "fail", "of": "restart", "first": 1, "last": 1},
    {"verdict": "lose-reply", "of": "reimage", "first": 1, "last": 1},
    {"verdict": "refuse", "of": "upgrade", "first": 1, "last": 1},
    {"verdict": "time-out", "of": "reimage", "first": 2, "last": 2},
)


class Life:
    """Clients of every kind, each round others: names, ports and contents do not come again."""

    def __init__(self, azure: Emulated, waits: Callable[[Emulated], object], *, recreates: bool = False) -> None:
        self.azure, self.emulator, self.waits, self.recreates = azure, azure.emulator, waits, recreates
        self.emulator.site.versions_known = False  # any image version may be named
        self.rounds = self.clients = 0

    def ask(self, method: str, path: str = "", body: Any = None, *, version: str = "2024-07-01") -> Response:
        """path: below the set, or from the root."""
        return self.emulator.answer(
            Request(
                method=method,
                path=path.partition("?")[0] if path.startswith("/subscriptions") else self.azure.id + path,
                query={"api-version": version},
                headers={"authorization": "Bearer x"},
                body=b"" if body is None else json.dumps(body).encode(),
                base=self.azure.url,
                port=20_000 + self.clients,
            )
        )

    def do(self, method: str, path: str = "", body: Any = None, *, polls: int = 100) -> Response:
        """A client of its own asks, and polls so often, or until it has ended."""
        self.clients += 1
        made = self.ask(method, path, body)
        url = made.headers.get("azure-asyncoperation")
        for _ in range(polls if url else 0):
            poll = self.ask("GET", str(url).removeprefix(self.azure.url)).body
            if not isinstance(poll, dict) or poll.get("status") != "InProgress":
                break
            self.waits(self.azure)
        return made

    def round(self) -> None:
        """One of everything."""
        self.rounds += 1
        steps = (
            self._instances,
            self._model,
            self._capacity,
            self._sleepers,
            self._rollouts,
            self._commands,
            self._others,
        )
        for step in steps:
            step(self.rounds)
            self.waits(self.azure)
        self.emulator.report()

    def _instances(self, number: int) -> None:
        vm = self._any(number)
        named = {"instanceIds": [vm]}
        self.emulator.set_faults([FAULTS[number % len(FAULTS)]])
        for action in ("manualupgrade", "restart", "reimage", "redeploy", "poweroff", "start", "approveRollingUpgrade"):
            self.do("POST", f"/{action}", named)
        policy = {"protectFromScaleIn": number % 2 == 0}
        self.do("PUT", f"/virtualMachines/{vm}", {"location": "westeurope", "properties": {"protectionPolicy": policy}})
        self.do("POST", "/restart", named, polls=0)
        self.do("POST", "/restart", {"instanceIds": ["*"]}, polls=1)
        self.do("GET", f"/virtualMachines/none-{number}")

    def _model(self, number: int) -> None:
        data = {"virtualMachineProfile": {"osProfile": {"customData": f"x{number}"}}}
        version = f"1.0.{number}" if number % 2 else "latest"
        image = {"virtualMachineProfile": {"storageProfile": {"imageReference": {"version": version}}}}
        for properties in (data, {"upgradePolicy": {"mode": ("Manual", "Rolling")[number % 3 > 0]}}, image):
            self.do("PATCH", "", {"tags": {"round": str(number)}, "properties": properties})
        watched = {"virtualMachineProfile": {"extensionProfile": {"extensions": [HEALTH] if number % 4 < 2 else []}}}
        self.do("PATCH", "", {"properties": watched})
        repairs = {"automaticRepairsPolicy": {"enabled": number % 3 == 0, "gracePeriod": "PT10M"}}
        self.do("PATCH", "", {"properties": repairs})

    def _capacity(self, number: int) -> None:
        for capacity in (6, 4):
            self.do("PATCH", "", {"sku": {"capacity": capacity}})
        self.do("DELETE", f"/virtualMachines/{list(self.emulator.measured_set.world.vms)[-1]}")
        self.do("PATCH", "", {"sku": {"capacity": 4}})

    def _rollouts(self, number: int) -> None:
        self.do(
            "POST", "/osRollingUpgrade", polls=(0, 1, 100)[number // 2 % 3]
        )  # refused unless the version is `latest`
        self.do("POST", "/rollingUpgrades/cancel")
        self.do("POST", "/extensionRollingUpgrade")

    def _commands(self, number: int) -> None:
        at = f"/virtualMachines/{self._any(number)}"
        script = {"location": "westeurope", "properties": {"source": {"script": f"echo {number}"}}}
        extension = {"publisher": "p", "type": "t", "typeHandlerVersion": "1.0"}
        self.do("POST", f"{at}/runCommand", {"commandId": "RunShellScript"})
        for name in ("same", f"other-{number}"):
            self.do("PUT", f"{at}/runCommands/{name}", script)
        self.do("DELETE", f"{at}/runCommands/other-{number}")
        self.do("PUT", f"{at}/extensions/same", {"location": "westeurope", "properties": extension})

    def _others(self, number: int) -> None:
        group = self.azure.id.partition("/providers")[0]
        body = {**self.ask("GET").body, "sku": {"name": "Standard_D2s_v5", "capacity": 2}}
        beside = f"{group}/providers/Microsoft.Compute/virtualMachineScaleSets/set-{number}"
        net = f"{group}/providers/Microsoft.Network/virtualNetworks/net-{number}"
        other = f"{group.rpartition('/')[0]}/group-{number}"
        for path, said in ((beside, body), (net, {"location": "westeurope"}), (other, {"location": "westeurope"})):
            self.do("PUT", path, said)
            self.do("DELETE", path)
            self.do("DELETE", path)
        if self.recreates and number % 4 == 0:  # the measured set itself
            self.do("DELETE")
            self.do("PUT", "", body | {"sku": {"name": "Standard_D2s_v5", "capacity": 4}})

    def _sleepers(self, number: int) -> None:
        self.emulator.sleep(30)
        told = self.emulator.sleep(30, Sleeper(pid=10**7 + number))
        for _ in range(10 if told.ticket else 0):
            told = self.emulator.back(told.ticket)
        self.emulator.sleep(30, Sleeper(pid=2 * 10**7 + number))  # and is never seen again

    def _any(self, number: int) -> str:
        names = list(self.emulator.measured_set.world.vms) or ["0"]
        return names[number % len(names)]

    def most(self, rounds: int, before: int = 0) -> Counter[str]:
        """What was held at the end of so many rounds, the most of each; before: rounds that come before these."""
        found: Counter[str] = Counter()
        for number in range(before + rounds):
            self.round()
            self.emulator.advance(3 * 3_600_000)  # what is still to happen does
            if number >= before:
                found |= held(self.emulator, but=(Machine,))  # the processes of this machine come and go
        return found


WAITS: dict[str, Callable[[Emulated], object]] = {
    "jump": lambda azure: None,  # noqa: ARG005
    "manual": lambda azure: azure.emulator.advance(60_000),
    "real": lambda azure: azure.emulator.sleep(60),
}


def _luck(_self: Draws, purpose: str, slot: int, _attempt: int) -> float:
    return 0.1 if purpose == "bad" and slot % 4 == 1 else 0.5


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no luck: what comes again every few rounds is exactly the same."""
    for name, bound in BOUNDS.items():
        monkeypatch.setattr(name, bound)
    for name in ("later", "uniform"):
        monkeypatch.setattr(Draws, name, _luck)


def _life(make: Make, folder: Path, clock: str, *, trace: bool = False, recreates: bool = False) -> Life:
    file = folder / "lived.toml"
    file.write_text(SCENARIO)
    speed = {"speed": 6e9} if clock == "real" else {}  # told sleeps take no time
    azure = make(file, clock=clock, trace=folder / "trace" if trace else None, **speed)
    azure.emulator.clock.wall = (tick / 50 for tick in count()).__next__
    azure.emulator.reset()
    return Life(azure, WAITS[clock], recreates=recreates)


CASES: dict[str, dict[str, bool]] = {"jump": {}, "manual": {"trace": True, "recreates": True}, "real": {}}


@pytest.mark.parametrize("clock", CASES)
def test_what_is_held_does_not_grow_with_time(vmss_emulator: Make, tmp_path: Path, clock: str) -> None:
    one = _life(vmss_emulator, tmp_path, clock, **CASES[clock])
    before, after = one.most(12, before=24), one.most(12, before=24)
    assert not [f"{way}: {before[way]}, then {size}" for way, size in after.items() if size > before[way]]


PLANTED = {
    "vmss_sim.arm.operations.KEPT": ("site.operations._ended[]", "jump"),
    "vmss_sim.arm.emulator.FORGETS_EVERY": ("world.gone[].outages[]", "jump"),
    "vmss_sim.world.scale_set.IMAGES": ("world.gone[]", "jump"),
    "vmss_sim.arm.clock.REMEMBERED": ("clock._polling[]", "manual"),
}


@pytest.mark.parametrize("bound", PLANTED)
def test_a_bound_that_is_none_would_be_seen(
    vmss_emulator: Make, tmp_path: Path, bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    way, clock = PLANTED[bound]
    monkeypatch.setattr(bound, 10**9)
    one = _life(vmss_emulator, tmp_path, clock)
    before = one.most(2)
    after = one.most(4)
    assert any(size > before[name] for name, size in after.items() if name.endswith(way))
