"""From what an operator says to Azure: clouds, endpoints, credentials, subscriptions; and the snapshot command."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from azure.core import AzureClouds
from azure.mgmt.core.tools import get_arm_endpoints
from msgspec.structs import replace

from backends.azure import connect
from backends.azure.client import why_no_token
from backends.azure.clouds import CLOUDS, Scope, place, scope_of, subscription
from backends.azure.connecting import CREDENTIALS
from backends.azure.reading import Documents
from backends.azure.snapshot import snapshot
from planner.arm_json import read_scale_set
from planner.errors import InputError, PlatformError
from planner.model import Cloud
from tests.azure_arm import (
    OPERATION,
    SECRET,
    SET,
    SUB,
    Arm,
    ManualSleeper,
    Token,
    Told,
    backend,
    error,
    instance_document,
    listening,
)
from vmss_sim.cli import logs, main

# -- no token ------------------------------------------------------------------------------------------------------------

ALL_FAIL = """DefaultAzureCredential failed to retrieve a token from the included credentials.
Attempted credentials:
\tEnvironmentCredential: EnvironmentCredential authentication unavailable. Environment variables are not fully configured.
Visit https://aka.ms/azsdk/python/identity/environmentcredential/troubleshoot to troubleshoot this issue.
\tManagedIdentityCredential: ManagedIdentityCredential authentication unavailable, no response from the IMDS endpoint.
\tAzureCliCredential: ERROR: AADSTS700082: The refresh token has expired due to inactivity. Trace ID: 12-34
Timestamp: 2026-01-01
To re-authenticate, please run: az login
\tAzurePowerShellCredential: PowerShell is not installed
To mitigate this issue, please refer to the troubleshooting guidelines here at https://aka.ms/azsdk/python/identity/defaultazurecredential/troubleshoot."""


def test_why_there_is_no_token_is_one_line_of_what_matters() -> None:
    assert why_no_token(ALL_FAIL) == (
        "AzureCliCredential: ERROR: AADSTS700082: The refresh token has expired due to inactivity.; "
        "not set up here: Environment, ManagedIdentity, AzurePowerShell"
    )
    assert why_no_token("Please run 'az login' to set up an account") == "Please run 'az login' to set up an account"
    long = why_no_token("word " * 100 + "https://aka.ms/x")
    assert (long.endswith(" …"), len(long) < 210) == (True, True)


def test_what_the_sdk_logs_by_itself_is_not_printed() -> None:
    script = (
        "import logging; from backends.azure import connect; "
        f"connect({SET!r}, credential='environment'); "
        "logging.getLogger('azure.identity._credentials.chained').warning('LOUD'); logging.getLogger('msal.x').warning('LOUD')"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stderr == ""


# -- nobody answers ------------------------------------------------------------------------------------------------------


def unreachable() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"https://127.0.0.1:{free.getsockname()[1]}"


def test_whom_it_waits_for_is_said_and_it_gives_up() -> None:
    said: list[str] = []
    at = unreachable()
    clock = ManualSleeper()
    place = connect(
        SET, endpoint=at, audience=at, authority=at, credential=Token(), sleeper=clock, says=said.append, patience_s=60
    )
    begun = clock.now_ms()
    with pytest.raises(PlatformError, match=r"cannot be reached for .* s: the connection is refused"):
        place.observe()
    host = at.removeprefix("https://")
    assert 20_000 < clock.now_ms() - begun <= 60_000
    assert said
    assert all(one.startswith(f"{host} cannot be reached for ") and one.endswith("; trying on") for one in said)


def test_without_patience_a_read_is_tried_for_minutes() -> None:
    at, clock = unreachable(), ManualSleeper()
    place = connect(SET, endpoint=at, audience=at, authority=at, credential=Token(), sleeper=clock)
    begun = clock.now_ms()
    with pytest.raises(PlatformError):
        place.observe()
    assert clock.now_ms() - begun > 300_000


def test_before_anybody_has_answered_it_gives_up_sooner() -> None:
    """As `apply` begins: a minute for the first answer, ten once there was one."""
    at, clock = unreachable(), ManualSleeper()
    place = connect(SET, endpoint=at, audience=at, authority=at, credential=Token(), sleeper=clock, first_s=60)
    begun = clock.now_ms()
    with pytest.raises(PlatformError, match=r"cannot be reached for .* s: the connection is refused"):
        place.observe()
    assert 20_000 < clock.now_ms() - begun <= 60_000
    with listening(Arm()) as arm:
        place = backend(clock := ManualSleeper(), first_s=60)
        place.observe()
        arm.tell("GET", "", Told(error=requests.exceptions.ConnectTimeout("nobody")))
        begun = clock.now_ms()
        with pytest.raises(PlatformError):
            place.observe()
        assert clock.now_ms() - begun > 300_000


# -- which Azure ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "cloud", "endpoint", "scope"),
    [
        ({"cloud": "public"}, "public", "https://management.azure.com", "https://management.azure.com/.default"),
        ({"cloud": "AzureUSGovernment"}, "government", "https://management.usgovcloudapi.net", "https://management.core.usgovcloudapi.net/.default"),
        ({"cloud": "china"}, "china", "https://management.chinacloudapi.cn", "https://management.chinacloudapi.cn/.default"),
        (
            {"endpoint": "https://arm.stack.example/", "audience": "https://arm.stack.example/x"},
            "endpoint",
            "https://arm.stack.example",
            "https://arm.stack.example/x/.default",
        ),
    ],
)  # fmt: skip
def test_a_request_goes_to_the_cloud_that_was_named(
    options: dict[str, Any], cloud: str, endpoint: str, scope: str
) -> None:
    token = Token()
    with listening(Arm()) as arm:
        place = connect(SET, credential=token, sleeper=ManualSleeper(), **options)
        place.observe()
        assert arm.calls[0].url.startswith(endpoint + "/subscriptions/")
        assert token.scopes == (scope,)
        assert place.client.cloud == snapshot(place.documents())["cloud"] == cloud


def test_a_custom_endpoint_says_itself_what_its_tokens_are_for() -> None:
    token = Token()
    with listening(Arm()) as arm:
        arm.tell(
            "GET",
            "/metadata/endpoints",
            Told(body={"authentication": {"loginEndpoint": "https://login.example/", "audiences": ["https://aud"]}}),
        )
        connect(SET, credential=token, sleeper=ManualSleeper(), endpoint="https://arm.example:8443").observe()
        assert arm.calls[0].query == {"api-version": "2022-09-01"}
        assert "authorization" not in arm.calls[0].headers
        assert token.scopes == ("https://aud/.default",)


@pytest.mark.parametrize(
    ("environment", "cloud"),
    [
        ({}, "public"),
        ({"AZURE_CLOUD": "AzureChinaCloud"}, "china"),
        ({"AZURE_SDK_CLOUD_CONF": "AZURE_US_GOVERNMENT"}, "government"),
        ({"AZURE_AUTHORITY_HOST": "https://login.microsoftonline.us/"}, "government"),
        ({"AZURE_AUTHORITY_HOST": "login.chinacloudapi.cn"}, "china"),
        ({"AZURE_AUTHORITY_HOST": "https://login.example/"}, "public"),
    ],
)
def test_the_environment_names_the_cloud(environment: dict[str, str], cloud: str, tmp_path: Path) -> None:
    found = place(environment={**environment, "AZURE_CONFIG_DIR": str(tmp_path)})
    assert found.cloud == CLOUDS[cloud]
    told = environment.get("AZURE_AUTHORITY_HOST")
    assert found.authority == (told or CLOUDS[cloud].authority)
    assert place(cloud="public", environment=environment).authority == "login.microsoftonline.com", "what is given wins"


def az_profile(folder: Path, environment: str = "AzureChinaCloud") -> dict[str, str]:
    listed = [
        {"id": "other", "isDefault": False, "environmentName": "AzureCloud"},
        {"id": SUB, "isDefault": True, "environmentName": environment, "user": {"name": "somebody"}},
    ]
    (folder / "azureProfile.json").write_text("\ufeff" + json.dumps({"subscriptions": listed}), encoding="utf-8")
    return {"AZURE_CONFIG_DIR": str(folder)}


def test_az_s_default_subscription_and_cloud(tmp_path: Path) -> None:
    environment = az_profile(tmp_path)
    assert subscription(None, environment) == SUB
    assert subscription(None, {**environment, "AZURE_SUBSCRIPTION_ID": "env"}) == "env"
    assert subscription("given", {**environment, "AZURE_SUBSCRIPTION_ID": "env"}) == "given"
    assert place(environment=environment).cloud == CLOUDS["china"]


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"subscriptions": 3}', '{"subscriptions": [3]}', '{"subscriptions": []}', "\x00"]
)
def test_a_profile_that_is_none_says_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / "azureProfile.json").write_text(text, encoding="utf-8")
    environment = {"AZURE_CONFIG_DIR": str(tmp_path)}
    assert place(environment=environment).cloud == CLOUDS["public"]
    with pytest.raises(InputError, match=r"no subscription is known.*az account set"):
        subscription(None, environment)


@pytest.mark.parametrize("name", CLOUDS)
@pytest.mark.parametrize("port", ["", ":443", ":443/"])
def test_a_cloud_may_be_said_by_its_address(name: str, port: str) -> None:
    """The rules of that cloud count then (its retired images, say), not those of an endpoint of one's own."""
    ends = get_arm_endpoints(AzureClouds[CLOUDS[name].azure_core])
    address = f"{ends['resource_manager'].rstrip('/')}{port}"
    assert place(endpoint=address, environment={}) == place(cloud=name, environment={})
    assert place(endpoint=address.replace("management.", "management-2."), environment={}).cloud is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cloud": "mars"}, "unknown cloud.*'mars'.*public, government, china"),
        ({"endpoint": "http://localhost:1"}, "HTTPS only"),
        ({"endpoint": "localhost"}, "HTTPS only"),
        ({"endpoint": "https://x", "cloud": "public"}, "one of them"),
        ({"ca": "/nowhere/ca.pem"}, "does not exist"),
        ({"credential": "password"}, "unknown credential.*default, environment"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(options: dict[str, Any], words: str) -> None:
    with listening(Arm()) as arm:
        arm.tell("GET", "/metadata/endpoints", Told(404))
        with pytest.raises(InputError, match=words):
            connect(SET, **options)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "web",
        f"{SET}/virtualMachines/0",
        SET.replace("virtualMachineScaleSets", "virtualMachines"),
        "https://portal.azure.com" + SET,
    ],
)
def test_an_id_of_something_else_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="not the ARM id of a scale set"):
        scope_of(text)


def test_an_id_is_read_without_case() -> None:
    assert scope_of(SET.upper() + "/") == Scope(subscription=SUB, group="RG", name="WEB")


@pytest.mark.parametrize("name", CREDENTIALS)
def test_every_credential_can_be_made(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in {
        "AZURE_CLIENT_ID": "c",
        "AZURE_TENANT_ID": "t",
        "AZURE_FEDERATED_TOKEN_FILE": "/nowhere",
    }.items():
        monkeypatch.setenv(variable, value)
    connect(SET, credential=name, cloud="government", tenant="other").close()
    connect(
        SET, credential=name, endpoint="https://x.example", authority="https://login.example", audience="https://x"
    ).close()


# -- the command ---------------------------------------------------------------------------------------------------------


def _login(arm: Arm) -> None:
    """What azure-identity asks before it has a token of a service principal."""
    base = "https://login.microsoftonline.com"
    endpoints = {
        "token_endpoint": f"{base}/t/oauth2/v2.0/token",
        "authorization_endpoint": f"{base}/t/authorize",
        "issuer": f"{base}/t/v2.0",
    }
    arm.tell("GET", "/t/v2.0/.well-known/openid-configuration", Told(body=endpoints))
    arm.tell(
        "GET",
        "/common/discovery/instance",
        Told(body={"tenant_discovery_endpoint": f"{base}/t/v2.0/.well-known/openid-configuration", "metadata": []}),
    )


@pytest.fixture
def principal(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in {
        "AZURE_CLIENT_ID": "c",
        "AZURE_TENANT_ID": "t",
        "AZURE_CLIENT_SECRET": "the-secret",
        "AZURE_SUBSCRIPTION_ID": SUB,
    }.items():
        monkeypatch.setenv(variable, value)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main.main(list(arguments))
    return int(caught.value.code or 0)


class Form(Arm):
    """Token requests are forms, not JSON."""

    def answer(self, request: Any) -> Any:
        if request.url.endswith("/oauth2/v2.0/token"):
            body = {"token_type": "Bearer", "expires_in": 3600, "ext_expires_in": 3600, "access_token": SECRET}
            return 200, {"Content-Type": "application/json"}, json.dumps(body)
        return super().answer(request)


@pytest.mark.usefixtures("principal")
def test_a_snapshot_is_what_the_other_commands_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With AZURE_CLIENT_ID, _TENANT_ID and _SECRET of a service principal; paged; the platform's rollout and repairs beside it."""
    out = tmp_path / "snapshot.json"
    with listening(Form(5, automaticRepairsPolicy={"enabled": True})) as arm:
        _login(arm)
        arm.page = 2
        arm.view = {"orchestrationServices": [{"serviceName": "AutomaticRepairs", "serviceState": "Suspended"}]}
        arm.latest = {
            "properties": {"runningStatus": {"code": "Completed"}, "progress": {"successfulInstanceCount": 5}}
        }
        assert (
            run("snapshot", "-g", "rg", "-n", "web", "--cloud", "public", "--credential", "environment", "-o", str(out))
            == 0
        )
        assert {call.method for call in arm.calls} == {"GET"}
    reading = read_scale_set([("snapshot", json.loads(out.read_text()))])
    assert len(reading.scale_set.instances) == 5
    assert reading.scale_set.model.repairs is not None and reading.scale_set.model.repairs.suspended
    assert reading.scale_set.rolling_upgrade is not None and reading.scale_set.rolling_upgrade.successful == 5
    written = capsys.readouterr()
    assert "web: 5 instances, uniform, mode manual" in written.err
    for text in (out.read_text(), written.out, written.err):
        assert SECRET not in text and "the-secret" not in text
    assert run("lint", str(out)) in (0, 1)
    assert run("snapshot", "--scale-set", SET, "-o", str(out)) == 2, "the file exists"
    assert "say --force" in capsys.readouterr().err


@pytest.mark.usefixtures("principal")
@pytest.mark.parametrize(
    ("told", "status", "words"),
    [
        (error(404, "ResourceNotFound", "was not found"), 2, "there is no such scale set"),
        (error(403, "AuthorizationFailed", "no authorization"), 2, "may not be read"),
        (error(400, "InvalidApiVersionParameter", "not a version"), 2, "InvalidApiVersionParameter"),
    ],
)  # fmt: skip
def test_a_snapshot_that_cannot_be_taken(
    told: Told, status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with listening(Form()) as arm:
        _login(arm)
        arm.tell("GET", "", told)
        assert run("snapshot", "--scale-set", SET, "--cloud", "public", "--credential", "environment") == status
    written = capsys.readouterr()
    assert words in written.err and written.err.count("\n") == 1 and not written.out


@pytest.mark.parametrize(
    "arguments", [(), ("-g", "rg"), ("-n", "web"), ("--scale-set", SET, "-g", "rg"), ("--scale-set", "web")]
)
def test_a_set_that_is_not_said(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("snapshot", *arguments) == 2
    assert "scale set" in capsys.readouterr().err


def test_a_snapshot_holds_nothing_that_may_be_secret() -> None:
    with listening(Arm()) as arm:
        profile = arm.set["properties"]["virtualMachineProfile"]
        profile["osProfile"] |= {"adminPassword": "p4ss", "customData": "c2VjcmV0", "secrets": ["p4ss"]}
        profile["userData"] = "p4ss"
        profile["extensionProfile"]["extensions"].append(
            {"name": "script", "properties": {"publisher": "Microsoft.Azure.Extensions", "type": "CustomScript",
             "settings": {"commandToExecute": "login --password p4ss"}, "protectedSettings": {"a": "p4ss"}}}
        )  # fmt: skip
        made = json.dumps(snapshot(backend().documents()))
    assert "p4ss" not in made and "c2VjcmV0" not in made
    assert "/health" in made, "what the health extension asks is kept"


def test_a_snapshot_reads_as_the_documents_do() -> None:
    pages = ({"value": [instance_document("0")]}, {"value": [instance_document("1")]})
    with listening(Arm(2)) as arm:
        whole = snapshot(Documents(cloud="china", model=arm.set, pages=pages))
        read = read_scale_set([("model", arm.set), *((str(i), page) for i, page in enumerate(pages))])
        model = replace(read.scale_set.model, cloud=Cloud.CHINA)
        assert read_scale_set([("all", whole)]) == replace(read, scale_set=replace(read.scale_set, model=model))


# -- what the SDK logs ---------------------------------------------------------------------------------------------------


@pytest.fixture
def quiet_again() -> Iterator[None]:
    yield
    logs.turn_off()


@pytest.mark.usefixtures("principal", "quiet_again")
@pytest.mark.parametrize("how", [("-v",), ("-vv",), ()])
def test_what_is_sent_and_answered_is_logged_and_no_token(
    how: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not how:
        monkeypatch.setenv(logs.VARIABLE, "DEBUG")
    with listening(Form(2)) as arm:
        _login(arm)
        arm.headers = {"x-ms-request-id": "for-support", "Azure-AsyncOperation": f"{OPERATION}1?s=signed-secret"}
        assert run("snapshot", "--scale-set", SET, "--cloud", "public", "--credential", "environment", *how) == 0
        assert any(SECRET in call.headers["authorization"] for call in arm.calls if "authorization" in call.headers)
    written = capsys.readouterr()
    json.loads(written.out)
    assert f"Request URL: 'https://management.azure.com{SET}?api-version=" in written.err
    assert "Response status: 200" in written.err and "for-support" in written.err
    assert "azure.identity" in written.err
    for secret in (SECRET, SECRET[:20], "the-secret", "signed-secret"):
        assert secret not in written.err + written.out


@pytest.mark.usefixtures("quiet_again")
def test_whatever_looks_like_a_token_is_taken_out(capsys: pytest.CaptureFixture[str]) -> None:
    """As if a version of the SDK logged one."""
    logs.turn_on(logging.INFO)
    logs.turn_on(logging.INFO)
    logger = logging.getLogger("azure.planted")
    for line in (
        f"got {SECRET}",
        "Authorization: Bearer abc.def/ghi+jk==",
        "client_secret=hunter2&x",
        "https://s/?se=1&sig=hunter2%3D",
    ):
        logger.info(line)
    err = capsys.readouterr().err
    assert (err.count("REDACTED"), err.count("\n")) == (4, 4)
    for secret in (SECRET[4:], "s3cr3t", "abc", "ghi", "hunter2"):
        assert secret not in err
    logs.turn_off()
    logger.info("nothing")
    assert capsys.readouterr().err == ""


def test_a_level_that_is_none_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(logs.VARIABLE, "loud")
    assert run("snapshot", "--scale-set", SET) == 2
    assert capsys.readouterr().err == "vmss-sim: VMSS_SIM_LOG: unknown choice; found 'loud'; expected info or debug\n"


# -- what is imported ----------------------------------------------------------------------------------------------------


def test_nothing_imports_the_sdk_until_azure_is_spoken_to() -> None:
    """`vmss-sim --help` answers at once, and `import backends.azure` costs nothing."""
    code = "import sys, backends.azure, vmss_sim.cli.main; sys.exit(any(m == 'azure.core' or m.startswith('azure.mgmt') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_only_the_azure_package_imports_the_sdk() -> None:
    """The import contract lists the other modules of `backends` by name; none may be left out."""
    root = Path(__file__).resolve().parents[1]
    found = [
        path.relative_to(root)
        for folder in ("planner", "backends", "scenarios", "vmss_sim")
        for path in (root / folder).rglob("*.py")
        if any(
            line.strip().startswith(("import azure", "from azure"))
            for line in path.read_text(encoding="utf-8").splitlines()
        )
    ]
    assert found
    storage = {
        Path(f"backends/store/{name}.py")
        for name in ("blobs", "blob_journal", "blob_login", "blob_service", "blob_waiting")
    }  # which is not Resource Manager
    assert all(path.parts[:2] == ("backends", "azure") or path in storage for path in found)
