"""Sections 1, 2, 7 and 8: upgrade policy modes, automatic OS upgrade, concurrency, kinds of OS change."""

from __future__ import annotations

from typing import Final

from tests.azure_rules.rule import Mutant, Rule

RULES: Final[tuple[Rule, ...]] = (
    Rule(
        id="batch-size",
        section="1.3",
        text="A batch holds at most `maxBatchInstancePercent` of all instances of the set, rounded down, and one at least.",
        source="DOC-rolling, DOC-autoos; the rounding is INFER",
        where="vmss_sim/world/rolling_policy.py:batch_size",
        test="tests/test_world_rollouts.py::test_batch_size_is_the_percentage_of_all_instances_rounded_down_and_one_at_least",
        mutant=Mutant("max(1, percent * total // 100)", "max(1, -(-percent * total // 100))"),
    ),
)
