"""What a command opened to reach Azure is closed when it ends, however it ends: told by the SDK's transports, whoever made them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import azure.identity
import pytest
import typer
from azure.core.pipeline.transport import RequestsTransport

from backends.azure.clouds import place
from backends.azure.connecting import CREDENTIALS, credential_of
from backends.probes import Probed
from backends.simulated import SimulatedBackend
from backends.store import Login, open_store
from planner.errors import InputError, PlatformError
from planner.plan import InstanceHook, InstanceHooks
from tests.commands import Ran, vmss_sim
from tests.fleet import Case, Fleet
from vmss_sim.checks.emulated import Emulated
from vmss_sim.cli import opened

VERSION = "22.04.202606010"


class Wires:
    """Every transport that sent something."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened: dict[int, RequestsTransport] = {}
        sends = RequestsTransport.send

        def send(wire: RequestsTransport, *arguments: Any, **options: Any) -> Any:
            self.opened[id(wire)] = wire
            return sends(wire, *arguments, **options)

        monkeypatch.setattr(RequestsTransport, "send", send)

    def left(self) -> list[RequestsTransport]:
        """Those that are open."""
        assert self.opened, "nothing was asked: the test shows nothing"
        return [one for one in self.opened.values() if one.session is not None]


@pytest.fixture
def wires(monkeypatch: pytest.MonkeyPatch) -> Wires:
    return Wires(monkeypatch)


@pytest.fixture
def run(
    vmss_emulator: Callable[..., Emulated], wires: Wires, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Ran]:
    """A command against an emulator; whoever is asked says no. Nothing of it is left open."""
    azure = vmss_emulator("two-vms", clock="jump")
    for name, value in {
        "AZURE_TENANT_ID": azure.tenant, "AZURE_CLIENT_ID": "any", "AZURE_CLIENT_SECRET": "any",
        "AZURE_SUBSCRIPTION_ID": azure.subscription, "AZURE_CONFIG_DIR": str(tmp_path), "VMSS_SIM_STORE": f"file:{tmp_path}/store",
        **azure.environment,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vmss_sim.cli.operating.refuse_unasked", lambda: None)
    monkeypatch.setattr("typer.confirm", lambda *_, **__: False)

    def command(*arguments: str, credential: str = "environment") -> Ran:
        wires.opened.clear()
        of_set = ("--scale-set", azure.id) if arguments[0] in ("snapshot", "plan") else ()
        reach = ("--endpoint", azure.url, "--ca", azure.ca, "--credential", credential)
        ran = vmss_sim(*arguments, *of_set, *reach)
        assert wires.left() == [], ran
        return ran

    return command


def test_nothing_is_left_open_whatever_a_command_comes_to(run: Callable[..., Ran]) -> None:
    assert run("snapshot", "-o", "set.json").status == 0
    assert run("lint", "--all").status in (0, 1)
    planned = ("plan", "--image-version", VERSION, "-s", "one-by-one", "--no-forecast", "-o", "plan.json")
    assert run(*planned).status == 0
    assert run("apply", "plan.json", credential="passport").status == 2
    said_no = run("apply", "plan.json")
    assert (said_no.status, "nothing was sent" in said_no.err) == (2, True), said_no
    assert run("recover", "plan.json").status == 2, "no, too"
    assert run("apply", "plan.json", "--yes", "--max-runtime", "0s").status == 3
    for asked in (("apply", "plan.json"), ("resume",), ("rollback",)):
        assert run(*asked).status == 2
    assert run("resume", "--yes").status == 0


def test_each_credential_that_can_be_said_can_be_closed() -> None:
    assert [
        name for name in CREDENTIALS.values() if not callable(getattr(getattr(azure.identity, name), "close", None))
    ] == []
    credential_of("default", place(cloud="public"), None, tenant="t", client_id=None).close()


def test_a_store_in_azure_closes_its_connections_and_its_login(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []

    class Credential:
        def __init__(self, **_: Any) -> None: ...

        def close(self) -> None:
            closed.append("credential")

    monkeypatch.setattr("azure.identity.EnvironmentCredential", Credential)
    store: Any = open_store("azblob://acc12345/rollouts", Login(credential="environment"))
    monkeypatch.setattr(store.container, "close", lambda: closed.append("container"))
    store.close()
    assert sorted(closed) == ["container", "credential"]


def test_what_is_opened_in_a_command_is_closed_the_last_first_also_where_it_fails() -> None:
    closed: list[str] = []

    class One:
        def __init__(self, name: str) -> None:
            self.name = name

        def close(self) -> None:
            closed.append(self.name)

    with pytest.raises(InputError), opened.command():
        opened.until_the_end(One("a"))
        with opened.command():
            opened.until_the_end(One("within"))
        assert closed == ["within"]
        assert opened.until_the_end(object()), "what cannot be closed is no matter"
        opened.until_the_end(One("b"))
        raise InputError("no", "")
    assert closed == ["within", "b", "a"]
    opened.until_the_end(One("of nobody"))
    assert closed == ["within", "b", "a"]


def test_what_cannot_be_closed_leaves_a_commands_end_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened, "CLOSE_S", 0.05)
    never, closed = Event(), list[str]()

    class One:
        def __init__(self, close: Callable[[], Any]) -> None:
            self.close = close

    def fails() -> None:
        raise PlatformError("ConnectionReset", "while closing")

    with pytest.raises(typer.Exit) as ended, opened.command():
        opened.until_the_end(One(lambda: closed.append("first")))
        opened.until_the_end(One(fails))
        opened.until_the_end(One(never.wait))
        raise typer.Exit(3)
    never.set()
    assert (ended.value.exit_code, closed) == (3, ["first"])


def test_hooks_of_instances_leave_no_threads_behind() -> None:
    case = Case(fleet=Fleet(size=2))
    hooks = InstanceHooks(health=InstanceHook(command=("true",), deadline_ms=10_000))
    made = Probed(SimulatedBackend(case.world(), case.fleet.scale_set()), case.plan(), hooks)
    made.observe()
    threads = list(made._pool._threads)
    made.close()
    for one in threads:
        one.join(60)
    assert threads and not any(one.is_alive() for one in threads)
