"""The login of a store in Azure Blob Storage: one line, in time, by the credential and in the cloud that were said. No Azurite needed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from azure.core.exceptions import ClientAuthenticationError

from backends.azure.clouds import place
from backends.lease import Holder
from backends.store import HeldByAnother, Login, as_option, blob_login, open_store
from backends.store.blobs import CONNECTION, BlobStore
from planner.errors import InputError, PlatformError
from planner.planfile import encode
from planner.standing import standing
from tests.commands import vmss_sim
from tests.fleet import Case, Fleet
from vmss_sim.report.way_back import commands

STORE = "azblob://acc12345/rollouts"
EMPTY = {name: value for name, value in os.environ.items() if not name.startswith(("AZURE_", "MSI_", "IDENTITY_"))}
"""An environment in which nothing is set up."""


@pytest.fixture
def nothing_set_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ.keys() - EMPTY.keys():
        monkeypatch.delenv(name)
    monkeypatch.setenv("AZURE_CONFIG_DIR", str(tmp_path))


class Credential:
    """Gives what it was told to, once a call."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    def get_token(self, *_scopes: str, **_options: Any) -> Any:
        told = self.answers.pop(0)
        if isinstance(told, Exception):
            raise told
        return told() if callable(told) else told


def test_a_broken_login_is_one_line_by_the_front_door(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_bytes(encode(Case(fleet=Fleet(size=2)).plan()))
    command = [
        sys.executable,
        "-m",
        "vmss_sim",
        "apply",
        str(file),
        "--yes",
        "--store",
        STORE,
        "--credential",
        "environment",
    ]
    ran = subprocess.run(command, env=EMPTY, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 2
    (line,) = ran.stderr.splitlines()
    assert "no token for the store could be had" in line
    assert "found EnvironmentCredential authentication unavailable." in line
    assert "--credential" in line
    assert "role" not in line, "that would be of a store that answered"
    assert "nobody answered" not in line, "it was not given up: it was refused"


def test_nobody_who_answers_is_waited_for_so_long_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = threading.Event()
    try:
        with pytest.raises(InputError, match=r"nobody answered for 0 s \(asked: login\.example"):
            blob_login.Bounded(Credential(hangs.wait), "login.example", 0.05).get_token("scope")
    finally:
        hangs.set()


def test_a_person_who_types_a_code_has_as_long_as_it_is_good() -> None:
    where = place(cloud="public")
    assert blob_login.credential_for(where, Login(credential="device-code")).most_s == blob_login.BY_PERSON_S
    assert blob_login.credential_for(where, Login(credential="environment")).most_s == blob_login.MOST_S


def test_whatever_fails_is_told() -> None:
    with pytest.raises(InputError, match="no such device"):
        blob_login.Bounded(Credential(RuntimeError("no such device")), "login.example", 60).get_token("scope")


def test_a_token_that_is_renewed_late_is_the_sdk_s_matter() -> None:
    failure = ClientAuthenticationError("the network is down for a moment")
    made = blob_login.Bounded(Credential("first", failure, "second"), "login.example", 60)
    assert made.get_token("scope") == "first"
    with pytest.raises(ClientAuthenticationError, match="for a moment"):
        made.get_token("scope")
    assert made.get_token("scope") == "second"
    with pytest.raises(InputError, match="for a moment"):
        blob_login.Bounded(Credential(failure), "login.example", 60).get_token("scope")


@pytest.mark.usefixtures("nothing_set_up")
@pytest.mark.parametrize(
    ("given", "login", "variables", "host", "authority"),
    [
        ("acc", Login(), {}, "acc.blob.core.windows.net", "login.microsoftonline.com"),
        ("acc", Login(cloud="china"), {}, "acc.blob.core.chinacloudapi.cn", "login.chinacloudapi.cn"),
        (
            "acc",
            Login(),
            {"AZURE_CLOUD": "AzureUSGovernment"},
            "acc.blob.core.usgovcloudapi.net",
            "login.microsoftonline.us",
        ),
        (
            "acc.blob.core.chinacloudapi.cn",
            Login(),
            {"AZURE_CLOUD": "AzureUSGovernment"},
            "acc.blob.core.chinacloudapi.cn",
            "login.chinacloudapi.cn",
        ),
        ("blobs.example", Login(cloud="government"), {}, "blobs.example", "login.microsoftonline.us"),
    ],
)
def test_the_cloud_of_an_account(
    monkeypatch: pytest.MonkeyPatch,
    given: str,
    login: Login,
    variables: dict[str, str],
    host: str,
    authority: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found, where = blob_login.host_of(given, login)
    assert (found, where.authority) == (host, authority)


@pytest.mark.usefixtures("nothing_set_up")
def test_the_credential_that_was_said_is_the_one_that_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, dict[str, Any]]] = []

    def class_of(name: str) -> Callable[..., Credential]:
        def make(**options: Any) -> Credential:
            made.append((name, options))
            return Credential(ClientAuthenticationError("no"))

        return make

    for name in ("AzureCliCredential", "ManagedIdentityCredential"):
        monkeypatch.setattr(f"azure.identity.{name}", class_of(name))
    for login in (
        Login(credential="cli", tenant="t"),
        Login(credential="managed-identity", client_id="i", cloud="china"),
    ):
        with pytest.raises(InputError, match="no token for the store"):
            open_store(STORE, login).rollouts()
    assert made == [
        ("AzureCliCredential", {"tenant_id": "t"}),
        ("ManagedIdentityCredential", {"authority": "login.chinacloudapi.cn", "client_id": "i"}),
    ]
    with pytest.raises(InputError, match=r"unknown credential.*environment"):
        open_store(STORE, Login(credential="passport"))


def test_what_is_said_of_an_endpoint_of_ones_own_is_not_said_of_the_store() -> None:
    said = {"credential": "environment", "tenant": "t", "client_id": None, "cloud": None, "endpoint": None, "ca": None}
    assert Login.of(said) == Login(credential="environment", tenant="t")
    assert Login.of({**said, "endpoint": "https://localhost:8443"}) == Login()


def test_a_connection_string_needs_no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONNECTION, "DefaultEndpointsProtocol=https;AccountName=acc12345;AccountKey=bm9uZQ==;")
    assert isinstance(open_store(STORE, Login(credential="passport")), BlobStore)


COMMANDS = (
    ("status",), ("history", "web-1"), ("trace", "web-1"), ("approve", "web-1"), ("approve", "plan.json", "--list"), ("pause", "web-1"),
    ("resume", "web-1"), ("abort", "web-1"), ("release", "web-1"), ("rollback", "web-1"), ("retry", "web-1", "0"),
    ("skip", "web-1", "0", "--reason", "x"), ("replace", "web-1", "0", "--reason", "x"), ("recover", "plan.json"), ("apply", "plan.json"),
)  # fmt: skip
LOGIN = ("--credential", "environment", "--tenant", "a-tenant", "--client-id", "an-id", "--cloud", "government")


class Mute:
    """A store that answers nothing."""

    def __init__(self, name: str, login: Login) -> None:
        self.name, self.login, self.closed = name, login, 0

    def close(self) -> None:
        self.closed += 1

    def __getattr__(self, _: str) -> Any:
        raise InputError("seen", self.name, "")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_with_a_store_logs_in_to_it_as_it_is_told_and_closes_it(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nobody answers there; what counts is who would have asked."""
    made: list[Mute] = []

    def named(given: str, login: Login, _says: object) -> Mute:
        made.append(Mute(given, login))
        return made[-1]

    monkeypatch.setattr(BlobStore, "named", named)
    monkeypatch.chdir(tmp_path)
    Path("plan.json").write_bytes(encode(Case(fleet=Fleet(size=2)).plan()))
    ran = vmss_sim(*command, "--store", STORE, *LOGIN)
    assert (ran.status, "seen" in ran.err) == (2, True), ran.err
    expected = Login(credential="environment", tenant="a-tenant", client_id="an-id", cloud="government")
    assert [(one.name, one.login, one.closed) for one in made] == [(STORE, expected, 1)]


def test_a_command_that_is_printed_logs_in_as_the_one_that_prints_it() -> None:
    login = Login(credential="cli", tenant="a-tenant")
    store = open_store(STORE, login)
    assert as_option(store) == f" --store {STORE} --credential cli --tenant a-tenant"
    assert as_option(open_store(STORE)) == f" --store {STORE}"


def test_one_login_is_said_once_where_it_serves_set_and_store() -> None:
    plan = Case(fleet=Fleet(size=2)).plan()
    run = Case(fleet=Fleet(size=2)).run()
    now = standing(plan, run.journal.records())
    assert now is not None
    store = " --store azblob://a/b-c --credential cli --tenant t"
    assert commands(plan, now, "--credential cli", store)[-1] == (
        "vmss-sim apply back.json --credential cli --store azblob://a/b-c --tenant t"
    )


def test_who_is_just_taking_a_lease_is_named_a_moment_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lease is the service's, and who holds it is written right after it was granted: in between nobody is named."""
    store = open_store(STORE, Login())
    assert isinstance(store, BlobStore)
    holder = Holder(executor="ann@pc:1", host="pc", pid=1, rollout="web-1", fence=1, since_ms=0, beat_ms=0)
    seen = [SimpleNamespace(holder=None), SimpleNamespace(holder=None), SimpleNamespace(holder=holder)]
    monkeypatch.setattr(BlobStore, "_lent", lambda _self, _blob: seen.pop(0))
    monkeypatch.setattr("backends.store.blobs.time", SimpleNamespace(sleep=lambda _span: None))
    with pytest.raises(HeldByAnother, match="another executor works on this scale set: ann@pc:1"):
        store._held_by(store.blob("leases", "web.json"), ValueError("409"))
    seen = [SimpleNamespace(holder=None)] * 99
    with pytest.raises(PlatformError, match="somebody who did not say who"):
        store._held_by(store.blob("leases", "web.json"), ValueError("409"))
