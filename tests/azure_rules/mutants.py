"""Break every rule and see whether its test notices.

1. The tree is copied once a worker; a mutant edits one file of a copy, and the file is put back afterwards. The tree itself is
   never touched.
2. Without a mutant every test passes. With it, its test *fails* (pytest's exit status 1). A mutant that cannot even be imported
   proves nothing: it is invalid. One that never ends is noticed by the clock.
3. A child is forked from a process that has imported what is slow to import, but nothing of this project; so it reads the copy.
"""

from __future__ import annotations

import compileall
import importlib
import os
import py_compile
import shutil
import sys
import tempfile
import time
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.azure_rules.rule import ROOT, Rule

LONGEST_S: Final = 90.0
"""What a mutated test may take before it counts as noticed."""
_LEFT_OUT: Final = shutil.ignore_patterns(
    ".git",
    ".venv*",
    "__pycache__",
    ".hypothesis",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".import_linter_cache",
)
_SLOW: Final = ("pytest", "hypothesis", "numpy", "scipy.special", "simpy", "msgspec")
_OURS: Final = ("vmss_sim", "planner", "backends", "scenarios", "tests")


class Verdict(NamedTuple):
    """What became of one mutant: killed, survived or invalid; output: pytest's words."""

    rule: Rule
    word: str
    seconds: float
    output: str


def main(jobs: int, only: str = "") -> int:
    """Run all mutants (those whose id contains `only`); prints one line each; exit status 0 where all were killed."""
    from tests.azure_rules.catalogue import ALL

    began = time.monotonic()
    verdicts = judge([rule for rule in ALL if rule.mutant is not None and only in rule.id], jobs)
    for word in ("survived", "invalid"):
        for one in verdicts:
            if one.word == word:
                print(f"\n--- {word}: {one.rule.id} ({one.rule.mutated})\n{one.output}")
    killed = sum(one.word == "killed" for one in verdicts)
    print(f"{killed} of {len(verdicts)} mutants killed in {time.monotonic() - began:.0f} s")
    return 0 if verdicts and killed == len(verdicts) else 1


def judge(rules: list[Rule], jobs: int) -> list[Verdict]:
    """What becomes of each rule's mutant; nothing, with the reason printed, where the tests do not pass without one."""
    for name in _SLOW:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copies = [_copy(Path(folder) / str(number)) for number in range(jobs)]
        tests = sorted({rule.test for rule in rules})
        status, output = _wait(_start(copies[0], tests), copies[0], 10 * LONGEST_S)
        if status != 0:
            print(output, "The tests do not pass without a mutant.", sep="\n")
            return []
        print(f"{len(tests)} tests pass without a mutant")
        return _run(rules, copies)


def _copy(target: Path) -> Path:
    shutil.copytree(ROOT, target, ignore=_LEFT_OUT)
    for room in _OURS:
        # By hash, not by time: an edit within the same second must be seen.
        compileall.compile_dir(target / room, quiet=1, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
    return target


def _run(rules: list[Rule], copies: list[Path]) -> list[Verdict]:
    """A small pool: as many mutants at a time as there are copies."""
    waiting, free = list(rules), list(copies)
    flying: list[tuple[Rule, Path, str, BaseProcess, float]] = []
    verdicts = []
    while waiting or flying:
        while waiting and free:
            rule, copy = waiting.pop(0), free.pop(0)
            before = _edit(copy, rule)
            flying.append((rule, copy, before, _start(copy, [rule.test]), time.monotonic()))
        for entry in list(flying):
            rule, copy, before, process, began = entry
            seconds = time.monotonic() - began
            if process.is_alive() and seconds < LONGEST_S:
                continue
            status, output = _wait(process, copy, 0.0)
            (copy / rule.mutated).write_text(before)
            flying.remove(entry)
            free.append(copy)
            word = {0: "survived", 1: "killed", None: "killed"}.get(status, "invalid")
            verdicts.append(Verdict(rule, word, seconds, output))
            print(f"{word:9}{seconds:6.1f} s  {rule.section:4} {rule.id}", flush=True)
        time.sleep(0.02)
    return verdicts


def _edit(copy: Path, rule: Rule) -> str:
    """Apply a mutant; returns the file as it was."""
    assert rule.mutant is not None
    path = copy / rule.mutated
    before = path.read_text()
    assert before.count(rule.mutant.old) == 1, (rule.id, "its old text must occur exactly once")
    path.write_text(before.replace(rule.mutant.old, rule.mutant.new))
    return before


def _start(copy: Path, tests: list[str]) -> BaseProcess:
    process = get_context("fork").Process(target=_child, args=(copy, tests))
    process.start()
    return process


def _wait(process: BaseProcess, copy: Path, seconds: float) -> tuple[int | None, str]:
    """Its exit status (None: it had to be ended) and what it said."""
    process.join(seconds or None if not process.is_alive() else seconds)
    if process.is_alive():
        process.kill()
        process.join()
        return None, "it did not end"
    output = copy / "output.txt"
    return process.exitcode, output.read_text(errors="replace") if output.exists() else ""


def _child(copy: Path, tests: list[str]) -> None:
    """In the fork: forget this project, and run the tests of the copy."""
    for name in [one for one in sys.modules if one.split(".")[0] in _OURS]:
        del sys.modules[name]
    out = os.open(copy / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.chdir(copy)
    here = str(ROOT)
    sys.path[:] = [str(copy), *(one for one in sys.path if one not in ("", here, str(copy)))]
    importlib.invalidate_caches()
    sys.dont_write_bytecode = True
    os.environ["HYPOTHESIS_PROFILE"] = "mutants"
    pytest: Any = importlib.import_module("pytest")
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    left_out = ("cacheprovider", "unraisableexception", "threadexception")  # each costs a tenth of a second
    options = [word for name in left_out for word in ("-p", f"no:{name}")]
    status = pytest.main(["-x", "-q", "--assert=plain", *options, *tests])
    world = sys.modules.get("vmss_sim.world")
    read = getattr(world, "__file__", None) or ""
    os._exit(int(status) if not read or read.startswith(str(copy)) else 99)
