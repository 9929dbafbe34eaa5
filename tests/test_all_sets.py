"""`lint --all` and `preview --all`: every set of a subscription or a group, a line each; over the emulator, and over a scripted ARM."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from requests.exceptions import ConnectionError, ConnectTimeout, ReadTimeout

from backends.azure import connect_fleet
from backends.azure.client import Answer
from backends.azure.fleet import Fleet, Taken
from backends.azure.polling import Budget
from planner.errors import InputError, PlannerBug, PlatformError
from tests.azure_arm import ARM, SET, SUB, Arm, ManualSleeper, Token, Told, error, instance_document, listening
from tests.commands import Ran, vmss_sim
from vmss_sim.checks.emulated import Emulated

DOCS = Path(__file__).parent.parent / "docs"
SCHEMA = json.loads((DOCS / "all.schema.json").read_text())
PREVIEW = json.loads((DOCS / "preview.schema.json").read_text())
SETS = f"/subscriptions/{SUB}/providers/Microsoft.Compute/virtualMachineScaleSets"
IN_GROUP = f"/subscriptions/{SUB}/resourceGroups/rg/providers/Microsoft.Compute/virtualMachineScaleSets"


def entry(name: str) -> dict[str, Any]:
    return {"id": f"{IN_GROUP}/{name}", "name": name, "location": "westeurope"}


class Many(Arm):
    """The set `web` under several names: every one has its documents."""

    def _document(self, call: Any) -> Told:
        name = call.path.removeprefix(IN_GROUP + "/").partition("/")[0]
        told = super()._document(call._replace(path=call.path.replace(f"/{name}", "/web", 1)))
        return Told(
            told.status, json.loads(json.dumps(told.body).replace("/web", f"/{name}").replace('"web"', f'"{name}"'))
        )


def fleet(group: str = "", clock: ManualSleeper | None = None, says: Callable[[str], None] | None = None) -> Fleet:
    return connect_fleet(
        SUB, group, credential=Token(), cloud="public", sleeper=clock or ManualSleeper(), says=says, patience_s=60
    )


def all_of(one: Fleet) -> list[Taken]:
    return list(one.each(one.listed()))


# -- who is there --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("group", "path"), [("", SETS), ("rg", IN_GROUP)])
def test_every_page_of_the_list_is_read(group: str, path: str) -> None:
    with listening(Many()) as arm:
        pages = [["a", "b"], ["c"], ["d"]]

        def page(call: Any) -> Told:
            at = int(call.query.get("$skiptoken", "0"))
            body: dict[str, Any] = {"value": [entry(name) for name in pages[at]]}
            if at + 1 < len(pages):
                body["nextLink"] = f"{ARM}{path}?api-version=2026-04-01&$skiptoken={at + 1}"
            return Told(body=body)

        arm.tell("GET", path, page)
        found = all_of(fleet(group))
        assert [one.scope.name for one in found] == ["a", "b", "c", "d"]
        assert [one.document["model"]["name"] for one in found if one.document] == ["a", "b", "c", "d"]
        assert {call.method for call in arm.calls} == {"GET"}


def test_an_empty_subscription_is_no_error() -> None:
    with listening(Many()) as arm:
        arm.tell("GET", SETS, Told(body={"value": []}))
        assert all_of(fleet()) == []


@pytest.mark.parametrize(
    ("told", "group", "words"),
    [
        (error(404, "SubscriptionNotFound", "no"), "", f"there is no subscription {SUB}.*SubscriptionNotFound no"),
        (error(404, "ResourceGroupNotFound", "no"), "rg", "there is no group rg.*az group list"),
        (error(403, "AuthorizationFailed", "no"), "", "scale sets may not be listed.*Reader"),
        (error(401, "InvalidAuthenticationTokenTenant", "no"), "", "the credential is not accepted.*--tenant"),
    ],
)
def test_a_list_that_is_not_given_ends_the_run(told: Told, group: str, words: str) -> None:
    with listening(Many()) as arm:
        arm.tell("GET", IN_GROUP if group else SETS, told)
        with pytest.raises(InputError, match=words):
            fleet(group).listed()


def test_a_list_that_azure_fails_to_give_on_its_second_page_is_no_short_list() -> None:
    with listening(Many()) as arm:
        first = Told(body={"value": [entry("a")], "nextLink": f"{ARM}{SETS}?$skiptoken=1"})
        arm.tell("GET", SETS, first, error(400, "Broken"))
        with pytest.raises(PlatformError, match="Broken"):
            fleet().listed()


# -- one after another ---------------------------------------------------------------------------------------------------


def test_a_set_that_cannot_be_read_is_told_and_the_next_one_is_read() -> None:
    with listening(Many()) as arm:
        arm.tell("GET", SETS, Told(body={"value": [entry(name) for name in "abcde"]}))
        arm.tell("GET", f"{IN_GROUP}/a", error(403, "AuthorizationFailed", "not you"))
        arm.tell("GET", f"{IN_GROUP}/b", error(404, "ResourceNotFound", "gone"))
        arm.tell("GET", f"{IN_GROUP}/c/virtualMachines", error(400, "Strange", "never seen"))
        arm.tell("GET", f"{IN_GROUP}/d", Told(body=[1]))
        a, b, c, d, e = all_of(fleet())
    assert (a.short, a.gone, a.document) == ("the scale set may not be read", False, None)
    assert "AuthorizationFailed not you" in a.why
    assert (b.short, b.gone) == ("gone since it was listed", True)
    assert "Strange" in c.short and "never seen" in c.why
    assert d.document is None and d.why
    assert e.document is not None and not e.why


@pytest.mark.parametrize("fault", [ConnectTimeout, ReadTimeout, ConnectionError])
def test_a_host_that_is_gone_is_not_tried_for_every_set(fault: type[Exception]) -> None:
    clock = ManualSleeper()
    with listening(Many()) as arm:
        arm.tell("GET", SETS, Told(body={"value": [entry(name) for name in "abc"]}))
        for name in "abc":
            arm.tell("GET", f"{IN_GROUP}/{name}", Told(error=fault("nobody")))
        one = fleet(clock=clock)
        listed = one.listed()
        begun = clock.now
        found = list(one.each(listed))
        tried = {call.path for call in arm.calls if call.path != SETS}
    assert [taken.document for taken in found] == [None] * 3
    assert all(taken.why and not taken.gone for taken in found)
    assert tried == {f"{IN_GROUP}/a"}
    assert clock.now - begun < 900_000


def test_a_429_is_waited_for() -> None:
    clock = ManualSleeper()
    with listening(Many()) as arm:
        arm.tell("GET", SETS, Told(body={"value": [entry("a")]}))
        whole = Told(body=arm.set)
        arm.tell("GET", f"{IN_GROUP}/a", error(429, "TooManyRequests", "slowly", Retry_After="37"), whole)
        (taken,) = all_of(fleet(clock=clock))
    assert taken.document is not None
    assert clock.slept == [37_000]


def _answer(policy: str, left: int) -> Answer:
    return Answer(status=200, headers={"x-ms-ratelimit-remaining-resource": f"Microsoft.Compute/{policy};{left}"})


@pytest.mark.parametrize(
    ("policy", "left", "waits"),
    [
        ("HighCostGetVMScaleSetSubscriptionMaximum", 300, False),
        ("HighCostGetVMScaleSetSubscriptionMaximum", 3, True),
        ("HighCostGetVMScaleSetResource", 0, False),
    ],
)
def test_between_two_sets_the_subscription_s_buckets_count_and_no_set_s_own(
    policy: str, left: int, waits: bool
) -> None:
    budget = Budget()
    budget.note("set-view", (_answer(policy, left),), 1_000)
    assert (budget.elsewhere_ms(1_000) > 1_000) is waits
    said: list[str] = []
    with listening(Many()) as arm:
        arm.tell("GET", SETS, Told(body={"value": [entry("a"), entry("b")]}))
        arm.headers = {"x-ms-ratelimit-remaining-resource": f"Microsoft.Compute/{policy};{left}"}
        clock = ManualSleeper()
        assert all(one.document for one in all_of(fleet(clock=clock, says=said.append)))
    assert bool(clock.slept) is waits
    assert bool(said) is waits and all("requests are nearly used up; waiting" in one for one in said)


# -- the commands --------------------------------------------------------------------------------------------------------


@contextmanager
def scripted(arm: Many, monkeypatch: pytest.MonkeyPatch) -> Iterator[Many]:
    """The commands reach this ARM."""
    with monkeypatch.context() as patched, listening(arm):
        patched.setattr(
            "backends.azure.connect_fleet",
            lambda subscription, group, **_: connect_fleet(
                subscription, group, credential=Token(), cloud="public", sleeper=ManualSleeper()
            ),
        )
        patched.setenv("AZURE_SUBSCRIPTION_ID", SUB)
        yield arm


def rows(ran: Ran) -> list[dict[str, Any]]:
    document = json.loads(ran.out)
    jsonschema.validate(document, SCHEMA)
    for one in document["sets"]:
        if one.get("preview") is not None:
            jsonschema.validate(one["preview"], PREVIEW)
    return list(document["sets"])


def test_a_line_each_and_the_worst_exit_status(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted(Many(6), monkeypatch) as arm:
        arm.tell("GET", SETS, Told(body={"value": [entry("fine"), entry("gone")]}))
        arm.tell("GET", f"{IN_GROUP}/gone", error(404, "ResourceNotFound"))
        lint, preview = vmss_sim("lint", "--all"), vmss_sim("preview", "--all", "-n", "2", "--jobs", "1")
        assert (lint.status, preview.status) == (0, 0), (lint, preview)
        for ran in (lint, preview):
            (line,) = (line for line in ran.out.splitlines() if line.split()[:1] == ["fine"])
            assert line.split()[1:4] == ["rg", "manual", "6"]
            (line,) = (line for line in ran.out.splitlines() if line.split()[:1] == ["gone"])
            assert "gone since it was listed" in line
            assert "2 sets" in ran.out and "1 not read" in ran.out
        strict = vmss_sim("lint", "--all", "--strict", "--json")
        assert strict.status == int(any(one["findings"] for one in rows(strict)))

        arm.set["properties"]["upgradePolicy"] = {
            "mode": "Rolling",
            "rollingUpgradePolicy": {"maxBatchInstancePercent": 500},
        }
        assert vmss_sim("lint", "--all").status == 1, "an error in one"
        assert "error" in vmss_sim("lint", "--all").out
        arm.tell("GET", f"{IN_GROUP}/gone", error(403, "AuthorizationFailed", "not you"))
        forbidden = vmss_sim("lint", "--all", "--json")
        assert forbidden.status == 2, "the worst of all"
        assert [one["name"] for one in rows(forbidden)] == ["fine", "gone"]
        assert "not you" in rows(forbidden)[1]["reason"]
        assert vmss_sim("preview", "--all", "-n", "1").status == 2


def test_what_is_said_of_one_is_what_lint_says_of_its_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted(Many(2, mode="Rolling"), monkeypatch) as arm:
        arm.instances["1"] = instance_document("1", health="unhealthy")
        arm.tell("GET", IN_GROUP, Told(body={"value": [entry("web")]}))
        (row,) = rows(vmss_sim("lint", "--all", "-g", "rg", "--json"))
        (seen,) = rows(vmss_sim("preview", "--all", "-g", "rg", "--json", "-n", "3", "--jobs", "1"))
        (taken,) = all_of(fleet("rg"))
    path = tmp_path / "snapshot.json"
    path.write_bytes(msgspec.json.encode(taken.document))
    alone = json.loads(vmss_sim("lint", str(path), "--json").out)["findings"]
    assert row["findings"] == [{key: value for key, value in one.items() if key != "subject_of"} for one in alone]
    assert row["scale_set"] == {
        "mode": "rolling",
        "orchestration": "uniform",
        "health_source": "extension",
        "instances": 2,
    }
    assert row["id"] == SET
    preview = json.loads(vmss_sim("preview", str(path), "--json", "-n", "3", "--jobs", "1").out)
    assert seen["preview"]["rollouts"] == preview["rollouts"]


def test_a_set_that_cannot_be_previewed_has_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted(Many(0), monkeypatch) as arm:
        arm.tell("GET", SETS, Told(body={"value": [entry("empty")]}))
        ran = vmss_sim("preview", "--all", "--json")
        (row,) = rows(ran)
        assert (ran.status, row["preview"]) == (2, None)
        assert "the scale set has no instances" in row["reason"]
        assert vmss_sim("lint", "--all").status == 1, "VS125"


def test_a_bug_of_ours_on_one_set_keeps_no_other_line_away(monkeypatch: pytest.MonkeyPatch) -> None:
    import planner.lint

    inner, met = planner.lint.lint_set, []

    def lint(*arguments: Any, **options: Any) -> Any:
        met.append(True)
        if len(met) == 1:
            raise PlannerBug("a table has no row")
        return inner(*arguments, **options)

    monkeypatch.setattr("planner.lint.lint_set", lint)
    with scripted(Many(0), monkeypatch) as arm:
        arm.tell("GET", SETS, Told(body={"value": [entry("a"), entry("b")]}))
        ran = vmss_sim("lint", "--all", "--json")
    one, other = rows(ran)
    assert ran.status == 2
    assert "a table has no row (a bug in vmss-sim" in one["reason"]
    assert not other.get("reason")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("lint",), "nothing to lint"),
        (("lint", "two-vms", "--all"), "said of a single set"),
        (("lint", "two-vms", "-g", "rg"), "--all beside it"),
        (("lint", "two-vms", "--cloud", "public"), "--all beside it"),
        (("lint", "--all", "--instances", "list.json"), "said of a single set"),
        (("preview", "two-vms", "--all"), "said of a single set"),
        (("preview", "--all", "--target", "1"), "--target"),
        (("preview", "two-vms", "--subscription", "x"), "--all beside it"),
    ],
)
def test_all_or_one(arguments: tuple[str, ...], words: str) -> None:
    ran = vmss_sim(*arguments)
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert words in ran.err


def test_over_the_emulator(
    vmss_emulator: Callable[..., Emulated], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Two sets of a scenario's group, one in another group, one of them Flexible; by the front door, with the SDK's own login."""
    azure = vmss_emulator("two-vms", clock="manual")
    for name, value in {
        "AZURE_TENANT_ID": azure.tenant, "AZURE_CLIENT_ID": "any", "AZURE_CLIENT_SECRET": "the-secret",
        "AZURE_CONFIG_DIR": str(tmp_path), **azure.environment,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    for group, name, flexible in ((azure.group, "second", False), ("other", "third", True)):
        create(azure, group, name, flexible=flexible)
    azure.control.run_until_idle()
    reach = ("--endpoint", azure.url, "--ca", azure.ca, "--credential", "environment")
    lint = vmss_sim("lint", "--all", *reach, "--json")
    assert lint.status in (0, 1), lint.err
    found = rows(lint)
    assert [(one["group"], one["name"]) for one in found] == [
        (azure.group, azure.name), (azure.group, "second"), ("other", "third"),
    ]  # fmt: skip
    assert [one["scale_set"]["orchestration"] for one in found] == ["uniform", "uniform", "flexible"]
    assert {one["scale_set"]["instances"] for one in found} == {2}
    preview = vmss_sim("preview", "--all", "-g", azure.group, *reach, "--json", "-n", "2", "--jobs", "1")
    assert [one["name"] for one in rows(preview)] == [azure.name, "second"]
    assert all(one["preview"]["rollouts"] for one in rows(preview))
    for ran in (lint, preview):
        assert "the-secret" not in ran.out + ran.err
    nowhere = vmss_sim("lint", "--all", "-g", "nowhere", *reach)
    assert (nowhere.status, nowhere.err.count("\n")) == (2, 1)
    assert "there is no group nowhere" in nowhere.err


def create(azure: Emulated, group: str, name: str, *, flexible: bool) -> None:
    """Another set, made as a client makes one."""
    from azure.mgmt.compute import ComputeManagementClient

    client: Any = ComputeManagementClient(azure.credential(), azure.subscription, **azure.client_options)
    sets = client.virtual_machine_scale_sets
    document = sets.get(azure.group, azure.name).as_dict()
    for key in ("id", "name", "type", "etag"):
        document.pop(key, None)
    if flexible:
        document["properties"] = {
            "orchestrationMode": "Flexible", "platformFaultDomainCount": 1,
            "virtualMachineProfile": document["properties"]["virtualMachineProfile"],
        }  # fmt: skip
    import requests

    made = requests.put(
        f"{azure.url}/subscriptions/{azure.subscription}/resourceGroups/{group}",
        params={"api-version": "2022-09-01"}, json={"location": "westeurope"}, headers={"Authorization": "Bearer any"},
        verify=azure.ca, timeout=30,
    )  # fmt: skip
    assert made.ok
    sets.begin_create_or_update(group, name, document, polling=False)
