"""The table of Azure's rules is true: its places and tests exist, its mutants apply, the page is what it prints.

That each test fails without its rule is `make mutants`.
"""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys

import msgspec
import pytest

from tests.azure_rules.catalogue import ALL, SECTIONS, default_of, doc
from tests.azure_rules.rule import ROOT, Rule
from tests.azure_rules.sources import SOURCES
from vmss_sim.world.config import Platform


@functools.cache
def names(path: str) -> frozenset[str]:
    """What a file defines: functions, classes, methods, fields and constants, dotted."""
    found: set[str] = set()

    def walk(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(prefix + node.name)
                walk(node.body if isinstance(node, ast.ClassDef) else [], f"{prefix}{node.name}.")
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found.add(prefix + node.target.id)
            elif isinstance(node, ast.Assign):
                found.update(prefix + one.id for one in node.targets if isinstance(one, ast.Name))

    walk(ast.parse((ROOT / path).read_text()).body, "")
    return frozenset(found)


def test_ids_are_unique_and_sections_known() -> None:
    ids = [rule.id for rule in ALL]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", one) for one in ids)
    assert {rule.section for rule in ALL} <= set(SECTIONS)


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.id)
def test_every_address_of_a_rule_exists(rule: Rule) -> None:
    if rule.status == "outside":
        assert rule.note, "an outside rule says why"
        assert not (rule.where or rule.test or rule.mutant)
        return
    assert rule.places
    assert rule.test
    assert rule.mutant is not None
    for place in rule.places:
        path, _, name = place.partition(":")
        assert name in names(path), place
    path, _, name = rule.test.partition("::")
    assert name.partition("[")[0].replace("::", ".") in names(path), rule.test
    assert (rule.status == "option") == bool(rule.options)
    for option in rule.options.split():
        default_of(option)


@pytest.mark.parametrize("rule", [one for one in ALL if one.mutant], ids=lambda rule: rule.id)
def test_every_mutant_applies(rule: Rule) -> None:
    assert rule.mutant is not None
    text = (ROOT / rule.mutated).read_text()
    found = text.count(rule.mutant.old)
    assert found == 1, f"the old text of {rule.id} occurs {found} times in {rule.mutated}"
    assert rule.mutant.old != rule.mutant.new
    compile(text.replace(rule.mutant.old, rule.mutant.new), rule.mutated, "exec")


def test_every_open_question_is_the_subject_of_a_rule() -> None:
    named = {option for rule in ALL for option in rule.options.split()}
    assert {f"Platform.{field.name}" for field in msgspec.structs.fields(Platform)} <= named


def test_cited_sources_are_known() -> None:
    cited = {
        name
        for rule in ALL
        for name in re.findall(r"\b(?:DOC|TSG)-[a-z-]+|\b(?:API|REC|ISSUE|INFER|SDK\d+)\b", rule.source)
    }
    for path in (ROOT / "vmss_sim" / "world").glob("*.py"):
        cited |= set(re.findall(r"\bDOC-[a-z]+", path.read_text()))
    assert cited - {"DOC-x"} <= set(SOURCES)
    assert all(rule.source for rule in ALL)


def test_the_page_is_what_the_table_prints() -> None:
    assert (ROOT / "docs" / "azure-rules.md").read_text() == doc(), (
        "python -m tests.azure_rules --doc > docs/azure-rules.md"
    )


def test_a_mutant_that_breaks_nothing_is_told_from_one_that_breaks_the_import() -> None:
    """The judge is judged: an edit of a comment survives, one that cannot be imported is invalid, a wrong rule is killed."""
    code = """
from tests.azure_rules.mutants import judge
from tests.azure_rules.rule import Mutant, Rule
from tests.azure_rules.catalogue import ALL
rule = next(one for one in ALL if one.id == "batch-minimum")
edits = [Mutant('\"\"\"Rule 1.\"\"\"', '\"\"\"Rule one.\"\"\"'), Mutant("return max(1, percent", "return nothing = max(1, percent")]
rules = [rule] + [Rule(id=str(n), section="1.3", text="", source="", where=rule.where, test=rule.test, mutant=edit) for n, edit in enumerate(edits)]
print("words:", *sorted(f"{one.rule.id}={one.word}" for one in judge(rules, 1)))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert "words: 0=survived 1=invalid batch-minimum=killed" in ran.stdout, ran.stdout + ran.stderr
