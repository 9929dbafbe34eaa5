"""What goes wrong before anything can be sent: one clear line each, exit status 2, and nothing sent. By the front door, over a scripted ARM."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from planner.build import Request, build
from planner.change import ImageChange
from planner.plan import Plan
from planner.planfile import decode, encode
from tests.azure_arm import NEW, SECRET, SET, SUB, Arm, Told, backend, error, listening
from tests.commands import Ran, vmss_sim
from tests.test_azure_connecting import Form, _login, az_profile, principal

__all__ = ["principal"]
REACH = ("--cloud", "public", "--credential", "environment")
OTHER = "11111111-0000-0000-0000-000000000000"
AADSTS = (
    "AADSTS7000222: The provided client secret keys for app 'c' are expired. Visit the Azure portal to create new keys."
)


class Login(Form):
    """An ARM whose login refuses, where `refuses` says so."""

    refuses = ""

    def answer(self, request: Any) -> Any:
        if self.refuses and request.url.endswith("/oauth2/v2.0/token"):
            body = {"error": "invalid_client", "error_description": self.refuses, "error_codes": [7000222]}
            return 401, {"Content-Type": "application/json"}, json.dumps(body)
        return super().answer(request)


def ready() -> Login:
    arm = Login(2)
    _login(arm)
    return arm


def plan_of(arm: Arm) -> Plan:
    with listening(arm):
        found = backend().snapshot().scale_set
    return build(Request(scale_set=found, change=ImageChange(version=NEW), strategy="one-by-one", author="ann"))


def refused(ran: Ran, words: str) -> None:
    assert (ran.status, ran.out) == (2, ""), ran
    assert ran.err.count("\n") == 1, ran.err
    assert ran.err.startswith("vmss-sim: ")
    assert words in ran.err
    assert "Traceback" not in ran.err
    for secret in (SECRET, "the-secret"):
        assert secret not in ran.err


def sent(arm: Arm) -> list[str]:
    return [f"{call.method} {call.path}" for call in arm.calls if call.method != "GET" and "login." not in call.url]


def _set_says(told: Told) -> Callable[[Login], None]:
    return lambda arm: arm.tell("GET", "", told)


def _no_tenant(arm: Login) -> None:
    body = {"error": "invalid_tenant", "error_description": "AADSTS90002: Tenant 't' not found."}
    arm.tell("GET", "/t/v2.0/.well-known/openid-configuration", Told(400, body))


def _refuses(arm: Login) -> None:
    arm.refuses = AADSTS


TROUBLES: tuple[tuple[str, Callable[[Login], None], str], ...] = (
    ("expired", _refuses, "no token could be had; found Authentication failed: AADSTS7000222: The provided client secret keys"),
    ("no-such-tenant", _no_tenant, "no token could be had; found Authentication failed: login.microsoftonline.com knows no tenant 't'; expected a login"),
    (
        "wrong-tenant",
        _set_says(error(401, "InvalidAuthenticationTokenTenant", "The access token is from the wrong issuer")),
        "the credential is not accepted; found InvalidAuthenticationTokenTenant The access token is from the wrong issuer; "
        "expected a token of its tenant; say --tenant",
    ),
    ("forbidden", _set_says(error(403, "AuthorizationFailed", "no authorization")), "may not be read; found AuthorizationFailed no authorization; expected the role Reader"),
    ("no-such-set", _set_says(error(404, "ResourceNotFound", "was not found")), "there is no such scale set; found ResourceNotFound"),
    ("no-such-group", _set_says(error(404, "ResourceGroupNotFound", "group 'rg'")), "there is no such scale set; found ResourceGroupNotFound group 'rg'"),
    (
        "another-subscription",
        _set_says(error(404, "SubscriptionNotFound", "The subscription could not be found.")),
        f"subscription {SUB}: there is no such subscription, or this login does not see it; found SubscriptionNotFound",
    ),
)  # fmt: skip


@pytest.mark.usefixtures("principal")
@pytest.mark.parametrize("command", ["snapshot", "apply"])
@pytest.mark.parametrize(("trouble", "words"), [row[1:] for row in TROUBLES], ids=[row[0] for row in TROUBLES])
def test_azure_does_not_let_it_in(command: str, trouble: Callable[[Login], None], words: str, tmp_path: Path) -> None:
    file, arm = tmp_path / "plan.json", ready()
    file.write_bytes(encode(plan_of(arm)))
    trouble(arm)
    out, store = tmp_path / "snapshot.json", tmp_path / "store"
    arguments = {
        "snapshot": ("-g", "rg", "-n", "web", "-o", str(out)),
        "apply": (str(file), "--yes", "--store", f"file:{store}"),
    }[command]
    with listening(arm):
        refused(vmss_sim(command, *arguments, *REACH), words)
    assert sent(arm) == []
    assert not out.exists() and not store.exists()


def test_nobody_is_logged_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    with listening(Arm()) as arm:
        refused(vmss_sim("snapshot", "--scale-set", SET, *REACH), "no token could be had")
        assert arm.calls == []


# -- plans ---------------------------------------------------------------------------------------------------------------


def _edited(data: bytes) -> bytes:
    return data.replace(NEW.encode(), b"22.04.209901010")


def _newer(data: bytes) -> bytes:
    return encode(msgspec.structs.replace(decode(data, "").plan, format="vmss-sim/plan/99", tool="vmss-sim 99.0"))


def _unknown(data: bytes) -> bytes:
    """Of this format, with something in it that this version does not know."""
    from hashlib import sha256

    whole = json.loads(data)
    plan = json.dumps({**whole["plan"], "teleports": True}).encode()
    return b'{"sha256": "%b", "plan": %b}' % (sha256(plan).hexdigest().encode(), plan)


@pytest.mark.usefixtures("principal")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_edited, "the plan was edited after it was made: its digest does not match"),
        (_newer, "this format of plans is not known; found 'vmss-sim/plan/99', written by vmss-sim 99.0"),
        (_unknown, "teleports"),
        (lambda data: data[: len(data) // 2], "not JSON"),
        (lambda _: b"", "not JSON"),
    ],
    ids=["edited", "newer", "unknown-key", "half", "empty"],
)
def test_a_plan_that_is_not_to_be_trusted(change: Callable[[bytes], bytes], words: str, tmp_path: Path) -> None:
    file, arm = tmp_path / "plan.json", ready()
    file.write_bytes(change(encode(plan_of(arm))))
    arm.calls.clear()
    with listening(arm):
        for command in (
            ("apply", str(file), "--yes", "--store", f"file:{tmp_path}/store", *REACH),
            ("show", str(file)),
        ):
            refused(vmss_sim(*command), words)
    assert arm.calls == [], "Azure was not even asked"


def test_a_service_fabric_cluster_gets_no_plan(tmp_path: Path) -> None:
    with listening(Arm()) as arm:
        profile = arm.set["properties"]["virtualMachineProfile"]["extensionProfile"]["extensions"]
        profile.append(
            {"name": "sf", "properties": {"publisher": "Microsoft.Azure.ServiceFabric", "type": "ServiceFabricNode"}}
        )
        from backends.azure.snapshot import snapshot

        file = tmp_path / "snapshot.json"
        file.write_bytes(msgspec.json.encode(snapshot(backend().documents())))
    out = tmp_path / "plan.json"
    ran = vmss_sim("plan", str(file), "--target", NEW, "-s", "one-by-one", "-o", str(out))
    refused(ran, "a Service Fabric cluster upgrades through Service Fabric, not by scale-set operations")
    assert not out.exists()


# -- which subscription --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("principal")
@pytest.mark.parametrize("said", ["option", "environment", "az", "az at home"])
def test_the_subscription_of_a_set_that_is_named(said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given wins over AZURE_SUBSCRIPTION_ID, that over az's default; az's folder is AZURE_CONFIG_DIR, or in HOME."""
    monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", OTHER)
    monkeypatch.setenv("AZURE_CONFIG_DIR", str(tmp_path))
    az_profile(tmp_path, "AzureCloud")
    more: tuple[str, ...] = ()
    if said == "option":
        more = ("--subscription", SUB)
    elif said == "environment":
        monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", SUB)
        monkeypatch.setenv("AZURE_CONFIG_DIR", str(tmp_path / "nothing"))
    else:
        monkeypatch.delenv("AZURE_SUBSCRIPTION_ID")
    if said == "az at home":
        (tmp_path / ".azure").mkdir()
        az_profile(tmp_path / ".azure", "AzureCloud")
        monkeypatch.delenv("AZURE_CONFIG_DIR")
        monkeypatch.setenv("HOME", str(tmp_path))
    arm = ready()
    with listening(arm):
        ran = vmss_sim("snapshot", "-g", "rg", "-n", "web", *more, *REACH)
    assert ran.status == 0, ran.err
    asked = {call.path.split("/")[2] for call in arm.calls if call.path.startswith("/subscriptions/")}
    assert asked == {SUB}


def test_no_subscription_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_SUBSCRIPTION_ID", raising=False)
    monkeypatch.setenv("AZURE_CONFIG_DIR", str(tmp_path))
    for command in (("snapshot", "-g", "rg", "-n", "web"), ("lint", "--all"), ("preview", "--all", "-g", "rg")):
        refused(vmss_sim(*command), "no subscription is known")
