"""azure-mgmt-compute (both halves), @azure/arm-compute and azurerm of 2019: each carries a whole rollout to its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients import figures
from tests.clients.figures import OUT_S, PER_DOMAIN_S, PLATFORM_S
from tests.clients.harness import PROGRAMS, emulator, needs

DRIVERS = [pytest.param(script, marks=needs(client), id=script) for script, (client, _) in PROGRAMS.items()]
STARTS_ROLLOUTS = [one for one in DRIVERS if one.id != "seed_article.py"]


@pytest.mark.parametrize("script", DRIVERS)
def test_per_update_domain(script: str, tmp_path: Path) -> None:
    with emulator("per-domain", tmp_path) as running:
        seen = running.driver(script, "per-domain")
    figures.carried_out(seen, 10)
    assert seen["domains"] == 5
    assert seen.get("etag_guards", True), "a wrong etag was accepted"
    figures.truth(running.final, instances=10, floor=8, lost_s=OUT_S, between_s=PER_DOMAIN_S)


@pytest.mark.parametrize("script", STARTS_ROLLOUTS)
def test_the_platforms_own(script: str, tmp_path: Path) -> None:
    """By URLs of operations that are 4 kB of signature, as Azure's have been since 2023."""
    with emulator("platform", tmp_path, "--opaque-urls") as running:
        running.control.advance(5)  # a newer image is out
        seen = running.driver(script, "platform")
    figures.carried_out(seen, 10)
    assert (seen["code"], seen["successful"], seen["failed"], seen["pending"]) == ("Completed", 10, 0, 0)
    assert seen["cancel_refused"] == "OperationNotAllowed"
    assert seen["history"] == ["Completed"]
    figures.truth(running.final, instances=10, floor=8, lost_s=OUT_S, between_s=PLATFORM_S)


@needs("azurerm")
def test_the_platforms_own_by_a_model_update(tmp_path: Path) -> None:
    """azurerm starts no rolling upgrade; a change of the model of a set in mode Rolling does."""
    with emulator("pinned-rolling", tmp_path) as running:
        seen = running.driver("seed_article.py", "platform")
    figures.carried_out(seen, 10)
    assert (seen["code"], seen["successful"], seen["failed"], seen["pending"]) == ("Completed", 10, 0, 0)
    figures.truth(running.final, instances=10, floor=8, lost_s=OUT_S, between_s=PLATFORM_S)
