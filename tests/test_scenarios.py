"""The bundled scenarios run and hold what they say; the schema's page is what the schema says."""

from __future__ import annotations

import inspect
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from planner.errors import InputError
from planner.strategies import STRATEGIES
from scenarios import expect, schema_doc
from scenarios.build import Setup, setup
from scenarios.expect import Claim, Quantity, parse_claim, unmet
from scenarios.files import BUNDLED, convert, load
from scenarios.schema import ExpectTable, Scenario
from vmss_sim.study import compare as study

ROOT = Path(__file__).parent.parent
FILES = sorted(BUNDLED.glob("*.toml"))
NAMES = [path.stem for path in FILES]


def made(scenario: Scenario) -> Setup:
    return setup(scenario, BUNDLED, "scenario")


def run(scenario: Scenario) -> tuple[study.Study, dict[str, Any]]:
    """The scenario's own replications, and the document that is published of them."""
    from vmss_sim.study.recommend import recommend

    told = scenario.expect or ExpectTable()
    result = study.compare(made(scenario), seed=told.seed, replications=told.replications, jobs=1)
    return result, study.document(result, recommend(result)._asdict(), {})


def document_of(rows: dict[str, dict[str, float]]) -> dict[str, Any]:
    """A small published document: by label, `metric.mean` or a probability."""
    return {
        "strategies": [
            {
                "name": label,
                "metrics": {name[:-5]: {"mean": value} for name, value in values.items() if name.endswith(".mean")},
                "probability": {name: {"estimate": value} for name, value in values.items() if "." not in name},
            }
            for label, values in rows.items()
        ],
        "refused": [{"name": "per-zone", "because": "no zone"}],
        "recommendation": {"name": "a", "because": ""},
    }


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_a_bundled_scenario_holds_what_it_expects(path: Path) -> None:
    scenario = load(path)
    assert scenario.expect is not None
    assert scenario.expect.holds
    _, document = run(scenario)
    assert unmet(scenario.expect, document) == ()


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_a_bundled_scenario_says_what_it_is_for(path: Path) -> None:
    scenario = load(path)
    assert scenario.title
    assert 40 < len(scenario.why) < 320
    assert not made(scenario).ready_is_default, "a bundled verdict does not begin with a guess"


def test_the_stories_that_must_be_told_are_bundled() -> None:
    assert set(NAMES) >= {
        "seed-article",
        "two-vms",
        "hundred-in-three-zones",
        "thousand",
        "bad-image",
        "late-bad-image",
        "unhealthy-baseline",
        "thresholds-cannot-be-met",
        "windows",
        "demand-curve",
        "from-snapshot",
        "zonal-rolling",
    }
    sizes = {path.stem: made(load(path)).total for path in FILES}
    assert (sizes["two-vms"], sizes["hundred-in-three-zones"], sizes["thousand"]) == (2, 100, 1000)


# -- a wrong expectation is told --------------------------------------------------------------------------------------


def test_every_planted_wrong_expectation_is_told() -> None:
    """The opposite of each line that holds does not hold: so none of them holds by not being looked at."""
    opposite = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}
    for path in FILES:
        scenario = load(path)
        told = scenario.expect
        assert told is not None
        if path.stem in ("thousand", "hundred-in-three-zones"):
            continue  # the same lines at other sizes
        _, document = run(scenario)
        claims = expect.claims(told, "expect")
        planted = [str(msgspec.structs.replace(claim, op=opposite[claim.op])) for claim in claims]
        found = unmet(msgspec.structs.replace(told, holds=planted), document)
        assert len(found) == len(planted), (path.stem, planted, found)


def test_a_wrong_recommendation_and_a_wrong_refusal_are_told() -> None:
    document = document_of({"a": {}})
    assert unmet(ExpectTable(recommend="a", refused=["per-zone"]), document) == ()
    assert unmet(ExpectTable(recommend=["b", "a"]), document) == ()
    assert unmet(ExpectTable(recommend="b"), document) == ("recommend: found a, expected b",)
    assert unmet(ExpectTable(recommend="none"), document) == ("recommend: found a, expected none",)
    assert unmet(ExpectTable(refused=["a"]), document) == ("refused: found per-zone, expected a",)
    document["recommendation"]["name"] = None
    assert unmet(ExpectTable(recommend="none"), document) == ()
    assert unmet(ExpectTable(recommend="a"), document) == ("recommend: found none, expected a",)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("a: outage_s.mean > 60", ""),
        ("a: outage_s.mean >= 61.5", ""),
        ("a: outage_s.mean == 61.5", ""),
        ("a: outage_s.mean < 61.5", "a: outage_s.mean < 61.5: found 61.5"),
        ("a: outage_s.mean > 1e2", "a: outage_s.mean > 100: found 61.5"),
        ("a: completed <= 0.9", ""),
        ("a: completed > b, c: completed", ""),
        ("a: completed < b, c: completed", "a: completed < b, c: completed: found 0.9 and 0.5"),
        ("d: completed > 0", "d: completed > 0: no d among a, b, c"),
        ("per-zone: completed > 0", "per-zone: completed > 0: per-zone was refused: no zone"),
        ("b, c: outage_s.mean > 0", "b, c: outage_s.mean > 0: there is no such number"),
    ],
)
def test_claims_are_judged(line: str, says: str) -> None:
    document = document_of(
        {"a": {"outage_s.mean": 61.5, "completed": 0.9}, "b, c": {"outage_s.mean": None, "completed": 0.5}}  # type: ignore[dict-item]
    )
    assert unmet(ExpectTable(holds=[line]), document) == ((says,) if says else ())


def test_claims_are_read() -> None:
    left = Quantity(label="ramp, 1: 2", metric="duration_s", stat="p95")
    assert parse_claim("ramp, 1: 2: duration_s.p95<=3", "w") == Claim(left=left, op="<=", value=3.0)
    right = Quantity(label="per-ud", metric="completed")
    assert parse_claim(" a:completed>per-ud:completed ", "w").value == right
    for line in ("a: duration_s.p95 <= 3", "a: completed > per-ud: completed"):
        assert str(parse_claim(line, "w")) == line


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("automatic is bad", "not a claim"),
        ("a: outage_s.mean", "not a claim"),
        ("a: outage.mean > 1", "unknown metric; found 'outage'"),
        ("a: outage_s.means > 1", "unknown statistic; found 'means'"),
        ("a: outage_s > 1", "a metric needs a statistic"),
        ("a: complete > 1", "did you mean 'completed'?"),
        ("a: completed > high", "a number or another quantity; found 'high'"),
        ("a: completed > nan", "a finite number; found 'nan'"),
        ("a: completed > b: compl", "unknown probability"),
    ],
)
def test_a_claim_that_is_not_understood_is_refused_when_the_scenario_is_read(line: str, says: str) -> None:
    scenario = load(BUNDLED / "two-vms.toml")
    with pytest.raises(InputError) as error:
        made(msgspec.structs.replace(scenario, expect=ExpectTable(holds=["a: completed > 0", line])))
    assert str(error.value).startswith("scenario: expect.holds[1]: ")
    assert says in str(error.value)


@pytest.mark.parametrize("table", [{"seed": -1}, {"replications": 0}])
def test_seed_and_replications_are_judged(table: dict[str, int]) -> None:
    with pytest.raises(InputError, match=f"expect.{next(iter(table))}: out of range"):
        made(msgspec.structs.replace(load(BUNDLED / "two-vms.toml"), expect=ExpectTable(**table)))  # type: ignore[arg-type]


def test_the_words_of_expectations_are_those_of_the_published_document() -> None:
    _, document = run(msgspec.structs.replace(load(BUNDLED / "two-vms.toml"), expect=ExpectTable(replications=1)))
    row = document["strategies"][0]
    assert set(row["metrics"]) == set(expect.METRICS)
    assert set(row["probability"]) == set(expect.PROBABILITIES)
    assert set(row["metrics"]["duration_s"]) - {"ci95"} == set(expect.STATS)


# -- what single scenarios show beyond their own lines ----------------------------------------------------------------


def test_the_same_rollout_is_harmless_at_night_and_downtime_at_noon() -> None:
    scenario = load(BUNDLED / "demand-curve.toml")
    _, night = run(scenario)
    _, noon = run(msgspec.structs.replace(scenario, starts_at="11:00"))
    assert night["recommendation"]["name"] == "batch of 40 %"
    assert noon["recommendation"]["name"] == "one-by-one"
    assert unmet(ExpectTable(holds=["batch of 40 %: downtime_s.mean > 300"]), noon) == ()


def test_the_floor_that_cannot_be_met_is_named_for_every_strategy_that_keeps_one() -> None:
    result, document = run(load(BUNDLED / "thresholds-cannot-be-met.toml"))
    reasons = {one["name"]: one["because"] for one in document["refused"]}
    for name in ("one-by-one", "per-ud", "per-fd", "batch", "ramp"):
        assert "the floor (90% = 4) leaves no instance of 4 to take" in reasons[name]
    assert [one.choice.label for one in result.results] == ["automatic", "today"]


def test_a_snapshot_is_taken_as_it_is_and_a_what_if_is_told() -> None:
    scenario = load(BUNDLED / "from-snapshot.toml")
    plain = made(scenario)
    assert {one.origin for one in plain.assumptions if one.key == "scale_set.from"} == {"yours"}
    assert plain.scale_set.model.mode.value == "manual"
    table = msgspec.structs.replace(scenario.scale_set, upgrade_mode="rolling", health="none")
    asked = made(msgspec.structs.replace(scenario, scale_set=table))
    told = {one.key: one.value for one in asked.assumptions}
    assert told["scale_set.upgrade_mode"] == "rolling, not manual"
    assert told["scale_set.health"] == "none, not extension"
    assert asked.world.mode == "rolling"


def test_what_a_bad_image_and_background_failures_are_is_told() -> None:
    scenario = load(BUNDLED / "late-bad-image.toml")
    failures = msgspec.structs.replace(scenario.failures, mttf="30d")
    told = {one.key: one.value for one in made(msgspec.structs.replace(scenario, failures=failures)).assumptions}
    assert told["failures.bad_image"] == "for 33% of the instances, which shows 10 min after they serve"
    assert told["failures.mttf"] == "one serving VM in 30 d on average"


# -- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_is_what_the_schema_says() -> None:
    page = (ROOT / "docs" / "scenario.md").read_text()
    assert page == schema_doc.render(), "python -m scenarios.schema_doc > docs/scenario.md"


def test_every_key_has_a_meaning_and_every_meaning_a_key() -> None:
    for _, kind in (("", Scenario), *schema_doc.TABLES):
        names = {field.encode_name for field in msgspec.structs.fields(kind)}
        _, told = schema_doc.meanings(kind.__doc__ or "", names)
        assert set(told) == names, kind
        listed = {line.split(":")[0] for line in inspect.cleandoc(kind.__doc__ or "").splitlines() if ": " in line}
        assert {name for name in listed if name.isidentifier()} <= names, kind


def test_a_key_without_a_meaning_is_a_fault() -> None:
    class Silent(msgspec.Struct):
        """A table.

        told: what it is.
        """

        told: int = 0
        untold: int = 0

    with pytest.raises(KeyError, match="untold"):
        schema_doc._table_of(Silent)


def test_the_page_names_every_strategy_and_its_parameters() -> None:
    page = (ROOT / "docs" / "scenario.md").read_text()
    for name, strategy in STRATEGIES.items():
        assert f"### {name}\n" in page
        for field in msgspec.structs.fields(strategy.parameters):
            assert f"| `{field.name.removesuffix('_ms')}` |" in page


def test_the_example_of_the_page_is_a_scenario_that_runs() -> None:
    scenario = convert(tomllib.loads(schema_doc.EXAMPLE), Scenario, "example")
    result = study.compare(made(scenario), replications=2, jobs=1)
    assert [one.choice.label for one in result.results] == ["per-zone", "carefully", "today"]
