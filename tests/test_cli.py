"""The front door: what each command prints, its exit status, and that bad input is one line on stderr and status 2."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from tests.commands import vmss_sim

ROOT = Path(__file__).parent.parent
SNAPSHOTS = ROOT / "scenarios" / "snapshots"
MODEL, INSTANCES = str(SNAPSHOTS / "web-model.json"), str(SNAPSHOTS / "web-instances.json")
TARGET = "22.04.202606010"
SET = ("--model", MODEL, "--instances", INSTANCES, "--target", TARGET)
QUICK = ("-n", "6", "--jobs", "1", "--no-sensitivity")


def test_compare_prints_the_table_and_the_sentence() -> None:
    ran = vmss_sim("compare", "seed-article", *QUICK)
    assert ran.status == 0
    assert ran.err == ""
    for word in ("automatic", "per-ud", "one-by-one", "today", "this rests on"):
        assert word in ran.out
    assert "Use per-ud: never fewer than 8 of 10" in ran.out


def test_compare_json_is_the_published_schema_and_nothing_else() -> None:
    ran = vmss_sim("compare", "seed-article", "-n", "6", "--jobs", "1", "--json")
    assert ran.status == 0
    assert ran.err == ""
    document = json.loads(ran.out)
    jsonschema.validate(document, json.loads((ROOT / "docs" / "compare.schema.json").read_text()))
    assert [one["name"] for one in document["strategies"]][-1] == "today"
    assert {one["origin"] for one in document["assumptions"]} <= {"yours", "measured", "documented", "guessed"}
    front = set(document["pareto_front"])
    assert {"one-by-one", "per-ud"} <= front
    assert "ramp" not in front  # as gentle as per-ud, and slower
    told = vmss_sim("compare", "seed-article", *QUICK).out
    assert f"fewest in service and completing: {', '.join(document['pareto_front'])}" in " ".join(told.split())


def test_compare_takes_files_and_options_directly_and_says_what_it_guessed() -> None:
    ran = vmss_sim("compare", *SET, "--slo", "healthy >= 80%", *QUICK)
    assert ran.status == 0
    assert "If your application is ready within" in ran.out
    told = vmss_sim("compare", *SET, "--slo", "healthy >= 80%", "--ready", "60s/2m", *QUICK)
    assert "If your application is ready within" not in told.out


def test_compare_without_instance_view_skips_domains_and_names_the_az_command(tmp_path: Path) -> None:
    bare = json.loads(Path(INSTANCES).read_text())
    for one in bare:
        one.pop("instanceView", None)
    file = tmp_path / "bare.json"
    file.write_text(json.dumps(bare))
    ran = vmss_sim("compare", "--model", MODEL, "--instances", str(file), "--target", TARGET, *QUICK)
    text = " ".join(ran.out.split())
    assert "not compared: per-ud: no update domain is known" in text
    assert "az vmss list-instances" in text


def test_the_same_seed_gives_the_same_numbers_for_any_number_of_jobs() -> None:
    one = vmss_sim("compare", "two-vms", "-n", "20", "--jobs", "1", "--json", "--no-sensitivity")
    two = vmss_sim("compare", "two-vms", "-n", "20", "--jobs", "2", "--json", "--no-sensitivity")
    other = vmss_sim("compare", "two-vms", "-n", "20", "--jobs", "1", "--json", "--no-sensitivity", "--seed", "2")
    assert one.out == two.out
    assert one.out != other.out


def test_parameters_reach_the_plan() -> None:
    ran = vmss_sim(
        "compare", "seed-article", "-s", "batch", "-p", "batch.size=1", "-p", "batch.pause=2m", "--json", *QUICK
    )
    (batch, _today) = json.loads(ran.out)["strategies"]
    assert batch["parameters"]["size"] == 1
    assert batch["parameters"]["pause_ms"] == 120_000
    assert batch["batches"] == 10


def test_an_objective_nobody_meets_gives_status_1_and_no_name(tmp_path: Path) -> None:
    text = (
        (ROOT / "scenarios" / "bundled" / "seed-article.toml")
        .read_text()
        .replace('max_duration = "2h"', 'max_duration = "1m"')
    )
    file = tmp_path / "hopeless.toml"
    file.write_text(text)
    ran = vmss_sim("compare", str(file), "--json", *QUICK)
    assert ran.status == 1
    assert json.loads(ran.out)["recommendation"]["name"] is None


def test_simulate_tells_rules_and_shows_a_heatmap() -> None:
    ran = vmss_sim("simulate", "seed-article", "-s", "per-ud", "--seed", "7")
    assert ran.status == 0
    for word in (
        "admitted",
        "operation-ended",
        "batch-done",
        "UD 0",
        "UD 4",
        "finish after",
        "fewest in service 8 of 10",
    ):
        assert word in ran.out
    again = vmss_sim("simulate", "seed-article", "-s", "per-ud", "--seed", "7")
    assert again.out == ran.out


def test_simulate_json_and_trace(tmp_path: Path) -> None:
    trace = tmp_path / "run.jsonl"
    ran = vmss_sim("simulate", "seed-article", "-s", "automatic", "--json", "--trace", str(trace))
    document = json.loads(ran.out)
    assert document["metrics"]["min_healthy"] == 0
    assert document["metrics"]["outage_s"] > 0
    records = [json.loads(line) for line in trace.read_text().splitlines()]
    assert records[0]["record"] == "turn"
    assert any(one["record"] == "receipt" for one in records)


def test_plan_show_lint_round_trip(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    made = vmss_sim("plan", "seed-article", "-s", "per-ud", "-n", "5", "-o", str(file))
    assert made.status == 0, made.err
    assert "would" in made.out
    shown = vmss_sim("show", str(file))
    assert shown.status == 0
    assert "verified" in shown.out
    assert "Forecast" in shown.out
    assert vmss_sim("lint", str(file)).status == 0
    assert vmss_sim("plan", "seed-article", "-s", "per-ud", "-n", "5", "--detailed-exitcode").status == 4
    tampered = tmp_path / "tampered.json"
    tampered.write_text(file.read_text().replace('"strategy": "per-ud"', '"strategy": "per-xd"'))
    refused = vmss_sim("show", str(tampered))
    assert refused.status == 2
    assert "sha256" in refused.err


def test_plan_from_a_snapshot(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    ran = vmss_sim(
        "plan",
        MODEL,
        "--instances",
        INSTANCES,
        "--target",
        TARGET,
        "-s",
        "batch",
        "-p",
        "batch.size=2",
        "--no-forecast",
        "-o",
        str(file),
    )
    assert ran.status == 0, ran.err
    plan = json.loads(file.read_text())["plan"]
    assert [len(one["take"]) for one in plan["batches"]] == [2, 2, 2, 2, 2]
    assert plan["resolved"]["reverse"]


def test_a_plan_is_the_same_bytes_every_time(tmp_path: Path) -> None:
    one, two = tmp_path / "a.json", tmp_path / "b.json"
    for file in (one, two):
        assert vmss_sim("plan", "seed-article", "-s", "ramp", "-n", "5", "-o", str(file)).status == 0
    assert one.read_bytes() == two.read_bytes()


def test_lint_has_codes_grades_and_status() -> None:
    ran = vmss_sim("lint", str(SNAPSHOTS / "zonal-rolling.json"), "--json")
    findings = json.loads(ran.out)["findings"]
    assert findings
    assert all(one["code"] and one["grade"] in ("error", "warning") for one in findings)
    assert ran.status == int(any(one["grade"] == "error" for one in findings))
    assert vmss_sim("lint", str(SNAPSHOTS / "zonal-rolling.json"), "--strict").status == 1


def test_init_writes_a_scenario_that_compares(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    load = tmp_path / "load.csv"
    load.write_text("time,requests\n00:00,300\n08:00,900\n20:00,300\n")
    ran = vmss_sim(
        "init",
        *SET,
        "--load",
        str(load),
        "--per-vm",
        "150",
        "--time-zone",
        "Europe/Berlin",
        "--slo",
        "healthy >= 80%",
        "-o",
        str(file),
    )
    assert ran.status == 0
    assert ran.out == ""
    assert "assumed" in ran.err
    assert vmss_sim("compare", str(file), *QUICK).status == 0
    again = vmss_sim("init", *SET, "-o", str(file))
    assert again.status == 2
    assert "exists" in again.err


BAD = [
    (("compare", "no-such"), "no such file or bundled scenario"),
    (("compare", "seed-articl"), "did you mean the bundled scenario 'seed-article'?"),
    (("compare",), "nothing to work on"),
    (("compare", "seed-article", "-s", "per-du"), "did you mean 'per-ud'?"),
    (("compare", "seed-article", "-p", "batch.size=0"), "batch"),
    (("compare", "seed-article", "-p", "batch.sizes=2"), "did you mean 'size'?"),
    (("compare", "seed-article", "-p", "batch"), "NAME.param=value"),
    (("compare", "seed-article", "-p", "nobody.size=1"), "no such strategy is compared"),
    (("compare", "seed-article", "-p", "batch.pause=-1"), "range"),
    (("compare", "seed-article", "-n", "0"), "-n"),
    (("compare", "seed-article", "--seed", "-1"), "--seed"),
    (("compare", "seed-article", "--per-vm", "5", "--target", "1"), "--target, --per-vm: a scenario says this itself"),
    (("compare", *SET, "--slo", "be nice"), "slo"),
    (("simulate", "seed-article", "-s", "nope"), "unknown strategy"),
    (("plan", "seed-article", "-s", "per-zone"), "per-zone"),
    (("show", str(ROOT / "README.md")), "JSON"),
    (("lint", "/no/such/file.json"), "no such file"),
]


@pytest.mark.parametrize(("arguments", "says"), BAD, ids=[" ".join(one[0])[:60] for one in BAD])
def test_bad_input_is_one_line_and_status_2(arguments: tuple[str, ...], says: str) -> None:
    ran = vmss_sim(*arguments)
    assert ran.status == 2, ran
    assert ran.out == ""
    assert says.lower() in " ".join(ran.err.split()).lower()
    assert "Traceback" not in ran.err
    if ran.err.startswith("vmss-sim:"):
        assert len(ran.err.strip().splitlines()) == 1


def test_help_has_examples_everywhere() -> None:
    for command in ("compare", "simulate", "plan", "show", "lint", "init"):
        ran = vmss_sim(command, "--help")
        assert ran.status == 0
        assert "Example" in ran.out, command


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom vmss_sim.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'numpy', 'scipy', 'simpy', 'msgspec', 'azure', 'joblib', 'starlette'} & {name.split('.')[0] for name in sys.modules}\n"
        "print('HEAVY', sorted(heavy))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout.splitlines()[-1] == "HEAVY []"


def test_a_device_is_written_to_and_a_pipe_is_filled() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "vmss_sim", "plan", "two-vms", "-s", "batch", "--no-forecast", "-o", "/dev/stdout"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    assert '"sha256": "' in ran.stdout
