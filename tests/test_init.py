"""`init`: the text it writes is the scenario it gives, says what was missing and assumed, and takes any file as it comes."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.errors import InputError
from scenarios.build import read, setup
from scenarios.files import convert, load
from scenarios.init import Draft, Options, draft, parse_ready, parse_slo
from scenarios.schema import GuestTable, ObjectiveTable, Scenario
from vmss_sim.study.compare import compare, plans
from vmss_sim.study.recommend import recommend

SNAPSHOTS = Path(__file__).parent.parent / "scenarios" / "snapshots"
MODEL, INSTANCES, ZONAL = (SNAPSHOTS / name for name in ("web-model.json", "web-instances.json", "zonal-rolling.json"))
TARGET = "22.04.202606010"
GIVEN = Options(model=MODEL, instances=INSTANCES, target=TARGET)
ID = "/subscriptions/0/resourceGroups/g/providers/Microsoft.Compute/galleries/y/images/i/versions/2.0.0"


def changed(options: Options = GIVEN, **changes: Any) -> Options:
    return msgspec.structs.replace(options, **changes)


def written(made: Draft, file: Path) -> Scenario:
    """The text, as a file that is read."""
    file.write_text(made.text, encoding="utf-8")
    return load(file)


def edited(folder: Path, *, model: dict[str, Any] | None = None, instance: dict[str, Any] | None = None, drop: tuple[str, ...] = ()) -> Options:  # fmt: skip
    """The snapshot with keys of the model and of every instance replaced, and keys of every instance dropped."""
    described = json.loads(MODEL.read_text()) | (model or {})
    listed = [
        {key: value for key, value in (one | (instance or {})).items() if key not in drop}
        for one in json.loads(INSTANCES.read_text())
    ]
    paths = folder / "model.json", folder / "instances.json"
    for path, document in zip(paths, (described, listed), strict=True):
        path.write_text(json.dumps(document))
    return Options(model=paths[0], instances=paths[1], target=TARGET)


# -- a patch inside the VMs -------------------------------------------------------------------------------------------

SCRIPT = "#!/bin/sh\n# it's \"quoted\", \\back and ünïcode\necho '''patched''' > /etc/patched\n"


def test_a_script_is_the_change(tmp_path: Path) -> None:
    (tmp_path / "patch.sh").write_text(SCRIPT, encoding="utf-8")
    (tmp_path / "undo.sh").write_text("true")
    options = changed(target=None, run_command=tmp_path / "patch.sh", undo=tmp_path / "undo.sh")
    made = draft(options, tmp_path)
    assert made.scenario.change.guest == GuestTable(script=SCRIPT, undo="true")
    assert made.scenario.title.endswith(": a patch inside the VMs")
    assert written(made, tmp_path / "mine.toml").change == made.scenario.change


@pytest.mark.parametrize(
    ("data", "changes", "says"),
    [
        (b"true", {"target": TARGET}, "one change a rollout"),
        (b"  \n", {}, "the script is empty"),
        (b"\xff\xfe", {}, "the script is not text"),
        (None, {}, "patch.sh"),
        (b"true", {"run_command": None, "undo": Path("undo.sh")}, "an undo without what it takes back"),
    ],
)
def test_a_script_that_is_none_is_said_in_a_line(
    data: bytes | None, changes: dict[str, Any], says: str, tmp_path: Path
) -> None:
    if data is not None:
        (tmp_path / "patch.sh").write_bytes(data)
    options = changed(**({"target": None, "run_command": tmp_path / "patch.sh"} | changes))
    with pytest.raises(InputError, match=says):
        draft(options, tmp_path)


# -- the text is the scenario -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        GIVEN,
        changed(slo="healthy >= 80% and duration <= 2h, breach <= 5%", ready="45s/90s", starts_at="22:30", title="T"),
        changed(slo="healthy >= n-2", ready="60", max_duration="90m"),
        Options(model=ZONAL, target="24.04.202606020"),
        Options(model=ZONAL, target="Canonical:ubuntu-24_04-lts:minimal:24.04.202606020", ready="1.5"),
    ],
)
def test_the_text_loads_to_exactly_the_scenario(options: Options, tmp_path: Path) -> None:
    made = draft(options, tmp_path)
    assert written(made, tmp_path / "s.toml") == made.scenario
    assert read(tmp_path / "s.toml").total in (10, 12)


@given(
    title=st.text(max_size=30),
    slo=st.sampled_from([None, "healthy >= 8", "healthy >= 12.5%", "breach <= 0.015", "duration <= 1.5h"]),
    ready=st.sampled_from([None, "1m", "0", "10/10", "0.5s/2s"]),
    starts_at=st.sampled_from([None, "04:00", "2026-05-04T04:00"]),
)
def test_the_text_loads_whatever_is_asked_for(
    title: str, slo: str | None, ready: str | None, starts_at: str | None
) -> None:
    made = draft(changed(title=title, slo=slo, ready=ready, starts_at=starts_at), SNAPSHOTS)
    assert convert(tomllib.loads(made.text), Scenario, "text") == made.scenario


@given(name=st.text(min_size=1, max_size=40).filter(str.strip))
def test_no_name_breaks_out_of_a_comment(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    options = edited(folder, model={"name": name, "id": None}, drop=("id",))
    made = draft(options, folder)
    assert convert(tomllib.loads(made.text), Scenario, "text") == made.scenario
    assert setup(made.scenario, folder, "text").scale_set.model.name == name


def test_a_load_is_found_from_the_files_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "out" / "deep"
    folder.mkdir(parents=True)
    csv = tmp_path / "load.csv"
    csv.write_text("time,requests\n00:00,300\n08:00,1350\n")
    monkeypatch.chdir(tmp_path)
    made = draft(changed(load=Path("load.csv"), per_vm=150, time_zone="Europe/Berlin"), Path("out/deep"))
    assert made.scenario.load.curve == "../../load.csv"
    assert written(made, folder / "s.toml") == made.scenario
    told = {one.key: one.value for one in read(folder / "s.toml").assumptions}
    assert told["load.curve"] == "a curve from 2 to 9 VMs"
    assert told["load.time_zone"] == "Europe/Berlin"


def test_the_time_zone_of_a_load_is_a_guess_until_it_is_said(tmp_path: Path) -> None:
    csv = tmp_path / "load.csv"
    csv.write_text("00:00,3\n08:00,14\n")
    made = draft(changed(load=csv), tmp_path)
    assert ("time zone of the load", "UTC", "load.time_zone") in [
        (one.name, one.value, one.key) for one in made.assumed
    ]
    told = {one.key: one.value for one in setup(made.scenario, tmp_path, "s").assumptions}
    assert told["load.curve"] == "a curve from 3 to 14 VMs, above the 10 there are"


def test_every_commented_key_may_be_uncommented(tmp_path: Path) -> None:
    made = draft(GIVEN, tmp_path)
    lines = [re.sub(r"^# (?=\[|\w+ = )", "", line) for line in made.text.splitlines()]
    assert sum(line.startswith(("[", "title")) for line in lines) == 9
    text = "\n".join(lines)
    assert text.count("\n#") < made.text.count("\n#") - 15
    scenario = convert(tomllib.loads(text), Scenario, "uncommented")
    worked_out = setup(scenario, tmp_path, "uncommented")
    assert [one.label for one in worked_out.choices] == ["batch", "canary"]
    assert not worked_out.ready_is_default
    made_plans, refused = plans(worked_out)
    assert len(made_plans) == 3
    assert not refused


def test_the_defaults_in_the_comments_are_the_defaults(tmp_path: Path) -> None:
    """What a comment says stands in for a key is what does, except where it is an example."""
    made = draft(GIVEN, tmp_path)
    plain = setup(made.scenario, tmp_path, "s")
    for key in ("ready", "upgrade", "probe", "poll", "max_breach", "horizon"):
        line = re.search(rf"^# ({key} = .*)$", made.text, re.MULTILINE)
        assert line, key
        section = "objective" if key in ("max_breach", "horizon") else "timing"
        text = made.text.replace(f"# {line[1]}", line[1], 1)
        assert f"[{section}]" in text
        said = setup(convert(tomllib.loads(text), Scenario, "s"), tmp_path, "s")
        for field in ("world", "poll_ms", "max_breach", "horizon_ms"):
            assert getattr(said, field) == getattr(plain, field), (key, field)


# -- what was missing, and what was assumed ---------------------------------------------------------------------------


def test_a_full_snapshot_has_no_gaps_and_names_its_guesses(tmp_path: Path) -> None:
    made = draft(GIVEN, tmp_path)
    assert made.gaps == ()
    assert "# The files said all that is asked of them.\n" in made.text
    assert {one.key for one in made.assumed} >= {"timing.ready", "failures.upgrade", "load.required"}
    assert all(one.origin != "yours" for one in made.assumed)
    assert "#   - your application is ready: p95 90 s after its VM (guessed; timing.ready)" in made.text
    assert "YOUR APPLICATION" in made.text


def test_without_instance_view_domains_are_left_out_with_the_command(tmp_path: Path) -> None:
    options = edited(tmp_path, drop=("instanceView",))
    made = draft(options, tmp_path)
    command = "az vmss list-instances -g shop-prod -n web --expand instanceView -o json"
    assert {"no-instance-view", "no-update-domains", "no-power-state"} <= {gap.code for gap in made.gaps}
    assert f"#     {command}\n" in made.text
    assert f"#   per-ud: no update domain is known; `{command}` supplies it\n" in made.text
    worked_out = setup(made.scenario, tmp_path, "s")
    assert [one.label for one in worked_out.choices] == ["automatic", "one-by-one", "batch", "ramp"]
    assert [one.name for one in made.assumed if one.name == "in service"]
    result = compare(worked_out, replications=2, jobs=1)
    assert recommend(result).because.startswith("If your application is ready within 90 s")


def test_a_flexible_set_is_told_why_it_has_no_domains(tmp_path: Path) -> None:
    options = edited(tmp_path, model={"orchestrationMode": "Flexible"}, drop=("instanceView",))
    text = draft(options, tmp_path).text
    assert "#   per-ud: Azure shows no update domain for the VMs of a Flexible set\n" in text


def test_the_readiness_that_is_said_is_no_guess(tmp_path: Path) -> None:
    made = draft(changed(ready="45s/90s"), tmp_path)
    assert 'ready = {lognormal = {median = "45s",p95 = "90s"}}\n' in made.text
    assert "timing.ready" not in {one.key for one in made.assumed}
    assert not setup(made.scenario, tmp_path, "s").ready_is_default


def test_windows_has_its_own_guess(tmp_path: Path) -> None:
    document = json.loads(MODEL.read_text())
    document["virtualMachineProfile"]["storageProfile"]["osDisk"]["osType"] = "Windows"
    options = edited(tmp_path, model={"virtualMachineProfile": document["virtualMachineProfile"]})
    assert '# ready = { lognormal = { median = "90s", p95 = "240s" } }' in draft(options, tmp_path).text


# -- the target -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "change"),
    [
        (TARGET, {"version": TARGET}),
        (f" {TARGET} ", {"version": TARGET}),
        (f"Canonical:0001-com-ubuntu-server-jammy:22_04-lts:{TARGET}", {"version": TARGET}),
        (f"canonical:ubuntu-24_04-lts:server:{TARGET}", {"offer": "ubuntu-24_04-lts", "sku": "server", "version": TARGET}),
    ],
)  # fmt: skip
def test_a_target_is_a_version_or_a_whole_image(target: str, change: dict[str, str], tmp_path: Path) -> None:
    assert msgspec.to_builtins(draft(changed(target=target), tmp_path).scenario.change) == change


def test_a_target_of_another_kind_is_an_id_or_a_uri(tmp_path: Path) -> None:
    document = json.loads(MODEL.read_text())
    storage = document["virtualMachineProfile"]["storageProfile"]
    storage["imageReference"] = {"id": ID.replace("2.0.0", "1.0.0")}
    profile = document["virtualMachineProfile"]
    options = edited(tmp_path, model={"virtualMachineProfile": profile})
    assert draft(changed(options, target=ID), tmp_path).scenario.change.id == ID
    storage.pop("imageReference")
    storage["osDisk"]["image"] = {"uri": "https://a.blob.core.windows.net/v/1.vhd"}
    options = edited(tmp_path, model={"virtualMachineProfile": profile})
    uri = "https://a.blob.core.windows.net/v/2.vhd"
    assert draft(changed(options, target=uri), tmp_path).scenario.change.uri == uri


def test_without_a_target_stale_instances_are_brought_up_to_the_model(tmp_path: Path) -> None:
    made = draft(changed(edited(tmp_path, instance={"latestModelApplied": False}), target=None), tmp_path)
    assert made.scenario.change.current_model
    assert "current_model = true\n" in made.text
    assert written(made, tmp_path / "s.toml") == made.scenario


# -- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("healthy >= 80%", {"min_healthy": "80%"}),
        ("healthy>=8", {"min_healthy": 8}),
        ("Healthy >= 80 %", {"min_healthy": "80%"}),
        ("healthy ≥ n - 2", {"min_healthy": "n-2"}),
        ("duration <= 2h", {"max_duration": "2h"}),
        ("duration <= 90", {"max_duration": 90}),
        ("breach <= 5%", {"max_breach": 0.05}),
        ("breach <= 0.01", {"max_breach": 0.01}),
        (
            "healthy >= 80% and duration <= 1h30m AND breach ≤ 2.5 %",
            {"min_healthy": "80%", "max_duration": "1h30m", "max_breach": 0.025},
        ),
        ("duration <= 2h,healthy >= 8", {"min_healthy": 8, "max_duration": "2h"}),
    ],
)
def test_an_objective_in_words(text: str, table: dict[str, Any]) -> None:
    assert parse_slo(text, "--slo") == ObjectiveTable(**table)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not an objective; found ''; expected 'healthy >= 80%', 'duration <= 2h', 'breach <= 5%', joined by 'and' or ','"),
        ("be nice", "not an objective; found 'be nice'"),
        ("80%", "not an objective; found '80%'"),
        ("healthy 80%", "not an objective"),
        ("healthy >= 80% or duration <= 2h", "not an amount of instances; found '80% or duration <= 2h'"),
        ("healthy >= 80% and", "not an amount of instances; found '80% and'"),
        ("healthy >= 80%,", "not an objective; found"),
        ("helthy >= 80%", "unknown objective 'helthy'; found 'helthy >= 80%'"),
        ("helthy >= 80%", "did you mean 'healthy'?"),
        ("availability >= 99.9%", "unknown objective 'availability'"),
        ("healthy > 80%", "'healthy' is a minimum, written >=; found 'healthy > 80%'; expected such as 'healthy >= 80%'"),
        ("healthy <= 80%", "'healthy' is a minimum"),
        ("duration >= 2h", "'duration' is a maximum, written <="),
        ("healthy >= 101%", "percentage out of range; found '101%'; expected 0% to 100%"),
        ("healthy >= most", "not an amount of instances; found 'most'"),
        ("healthy >= -1", "not an amount of instances; found '-1'"),
        ("duration <= soon", "this is not a duration; found 'soon'"),
        ("duration <= -5m", "this is not a duration; found '-5m'"),
        ("breach <= 105%", "not a probability; found '105%'; expected 0% to 100%, or 0 to 1"),
        ("breach <= 5", "not a probability; found '5'"),
        ("breach <= nan", "not a probability; found 'nan'"),
        ("breach <= some", "not a probability; found 'some'"),
        ("healthy >= 8 and healthy >= 9", "'healthy' is given twice"),
    ],
)  # fmt: skip
def test_an_objective_nobody_understands(text: str, says: str) -> None:
    with pytest.raises(InputError) as error:
        parse_slo(text, "--slo")
    assert str(error.value).startswith("--slo: ")
    assert says in str(error.value)


@given(st.text(max_size=40) | st.text("healthy duration breach<>=%0123456789,and", max_size=40))
def test_any_objective_is_read_or_refused_in_words(text: str) -> None:
    try:
        parse_slo(text, "--slo")
    except InputError as error:
        assert str(error).startswith("--slo: ")


@pytest.mark.parametrize(
    ("text", "law"),
    [
        ("60s", "60s"),
        ("60", 60),
        ("0.5", 0.5),
        ("1h30m", "1h30m"),
        ("45s/90s", {"lognormal": {"median": "45s", "p95": "90s"}}),
        ("45 / 2m", {"lognormal": {"median": 45, "p95": "2m"}}),
    ],
)
def test_a_time_to_ready(text: str, law: Any) -> None:
    assert parse_ready(text, "--ready") == law


@pytest.mark.parametrize("text", ["", "soon", "90s/45s", "0/90s", "1/2/3", "-5", "45s/", "1e99", "nan"])
def test_a_time_to_ready_that_is_none(text: str) -> None:
    with pytest.raises(InputError, match=r"^--ready: "):
        parse_ready(text, "--ready")


# -- options that cannot be -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": None}, "--model: no model was given; found nothing; expected the file that `az vmss show "),
        ({"model": Path("no/such.json")}, "no/such.json: the file cannot be read: No such file or directory"),
        ({"model": INSTANCES, "instances": None}, "no scale-set model among the documents"),
        ({"instances": None}, "the scale set has no instances; found 0; expected at least 1; give the list that `az vmss list-instances"),
        ({"instances": MODEL}, "2 scale-set models"),
        ({"target": None}, "--target: what the set is upgraded to is not said"),
        ({"target": " "}, "--target: what the set is upgraded to is empty"),
        ({"target": "a:b:c"}, "--target: not an image; found 'a:b:c'"),
        ({"target": "latest"}, "`latest` cannot be confirmed on a VM nor rolled back"),
        ({"target": ID}, "the set does not run an image given by id"),
        ({"target": "1\udce9"}, "--target is not text"),
        ({"title": "1\udce9"}, "--title is not text"),
        ({"per_vm": 150.0}, "--per-vm: this belongs to a load; found 150.0; expected --load"),
        ({"time_zone": "UTC"}, "--time-zone: this belongs to a load"),
        ({"load": Path("no/such.csv")}, "such.csv: the file cannot be read"),
        ({"slo": "healthy >= 11"}, "objective.min_healthy: more than there are; found 11 of 10; expected at most 10"),
        ({"slo": "duration <= 1h", "max_duration": "2h"}, "--max-duration: the longest duration is given twice"),
        ({"max_duration": "soon"}, "--max-duration: this is not a duration; found 'soon'"),
        ({"starts_at": "tonight"}, "starts_at: not a date and time; found 'tonight'"),
        ({"ready": "soon"}, "--ready: this is not a duration"),
    ],
)  # fmt: skip
def test_options_that_cannot_be_are_refused_in_one_line(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        draft(changed(**changes), tmp_path)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
