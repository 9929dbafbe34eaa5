"""What `simulate --json` and `scenarios --json` print has the documented shape (`docs/simulate-json.md`)."""

from __future__ import annotations

import json
import re

import jsonschema
import pytest

from tests.commands import vmss_sim
from tests.operate_shapes import DOCS, holds

FILE = "simulate.schema.json"


@pytest.mark.parametrize(
    ("scenario", "strategy"),
    [
        ("seed-article", "per-ud"),
        ("bad-image", "batch"),
        ("two-vms", "today"),
        ("two-vms", "surge"),
        ("from-snapshot", "platform-rolling"),
    ],
)
def test_a_run(scenario: str, strategy: str) -> None:
    ran = vmss_sim("simulate", scenario, "-s", strategy, "--json")
    made = holds("simulate", json.loads(ran.out), FILE)
    assert made["steps"]
    with pytest.raises(jsonschema.ValidationError):
        holds("simulate", made | {"unheard_of": 1}, FILE)


def test_the_list() -> None:
    made = holds("scenarios", json.loads(vmss_sim("scenarios", "--json").out), FILE)
    names = [one["name"] for one in made]
    assert len({*names}) == len(names) and "two-vms" in names


def test_every_key_stands_on_the_page() -> None:
    page = (DOCS / "simulate-json.md").read_text()
    told = set(re.findall(r"`([a-z_]+)(?:\[\])?`", page))
    shapes = json.loads((DOCS / FILE).read_text())["$defs"]
    run, row = shapes["simulate"]["properties"], shapes["scenarios"]["items"]["properties"]
    assert {*run, *run["metrics"]["properties"], *run["steps"]["items"]["properties"], *row} <= told
