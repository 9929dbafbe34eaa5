"""Sections 3, 4, 5 and 6: health and repairs, instance operations, Uniform and Flexible, throttling and limits."""

from __future__ import annotations

from typing import Final

from tests.azure_rules.rule import Rule

RULES: Final[tuple[Rule, ...]] = ()
