"""The documents are true: their commands run, their drawings and tables are what the code says, their map is the tree."""

from __future__ import annotations

import importlib
import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from planner.phases import mermaid
from tests.commands import vmss_sim

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()


def _commands() -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def test_every_command_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scenarios").symlink_to(ROOT / "scenarios")
    commands = _commands()
    assert len(commands) >= 10
    for line in commands:
        command, _, expected = line.partition("  # exit status ")
        name, *arguments = shlex.split(command)
        assert name == "vmss-sim"
        if arguments[0] in ("compare", "plan") and "-n" not in arguments:
            arguments += ["-n", "6"]
        ran = vmss_sim(*arguments)
        assert ran.status == int(expected or 0), (command, ran)


def test_the_phases_are_drawn_as_they_are() -> None:
    assert mermaid() in ARCHITECTURE


def test_the_picture_is_what_compare_prints() -> None:
    from vmss_sim.report.picture import draw

    assert (ROOT / "docs" / "compare.svg").read_text() == draw(), "python -m vmss_sim.report.picture docs/compare.svg"


def test_every_path_of_the_map_exists() -> None:
    paths = re.findall(r"`((?:planner|backends|scenarios|vmss_sim|bench|tests|docs)/[\w./-]*)`", ARCHITECTURE)
    later = {"vmss_sim/dashboard"}
    missing = [path for path in paths if path not in later and not (ROOT / path).exists()]
    assert not missing
    assert not [path for path in later if (ROOT / path).exists()], (
        "it exists now: take it out of `later`, and into the contracts"
    )


def test_every_module_of_a_room_is_under_its_map() -> None:
    named = re.findall(r"`((?:planner|backends|scenarios|vmss_sim|bench)/[\w./-]*)`", ARCHITECTURE)
    for room in ("planner", "backends", "scenarios", "vmss_sim", "bench"):
        for path in (ROOT / room).rglob("*.py"):
            name = path.relative_to(ROOT).as_posix()
            assert (
                any(name == one or (one.endswith("/") and name.startswith(one)) for one in named)
                or path.name == "__init__.py"
            ), name


def test_links_between_documents_hold() -> None:
    for document in [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / link).exists(), (document.name, link)


def _modules() -> list[str]:
    found = []
    for room in ("planner", "backends", "scenarios", "vmss_sim"):
        package = importlib.import_module(room)
        found += [room, *(one.name for one in pkgutil.walk_packages(package.__path__, f"{room}."))]
    return found


def test_every_module_can_be_imported_first() -> None:
    """In one process each, forked from a clean one, so that no import order hides a circle."""
    code = (
        "import os, sys, importlib, warnings\nwarnings.simplefilter('error')\n"
        "for name in sys.argv[1:]:\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        try:\n            importlib.import_module(name)\n            os._exit(0)\n"
        "        except BaseException as error:\n            print(name, repr(error), flush=True)\n            os._exit(1)\n"
        "    os.waitpid(child, 0)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, *_modules()], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert ran.stdout == ""


def test_no_private_traces() -> None:
    """No path of a machine and no package index in anything that is committed."""
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=False, cwd=ROOT)
    if listed.returncode:
        pytest.skip("not a git checkout")
    wrong = re.compile(r"/work/|/root/|index-url|https?://[^ ]*/simple(/|\"|$)")
    for name in listed.stdout.split():
        path = ROOT / name
        if (
            path.suffix in (".py", ".md", ".toml", ".json", ".svg", ".csv", "")
            and path.is_file()
            and path != Path(__file__)
        ):
            assert not wrong.search(path.read_text(errors="ignore")), name


def test_the_readme_says_truly_which_commands_send_anything() -> None:
    """Every command that can carry something out is named, and how the operator's page is found."""
    assert "(docs/operate.md)" in README
    (text,) = re.findall(r"What changes anything in Azure: (.*?)\n\n", README, re.DOTALL)
    changing, _, reading = text.partition("All of them")
    found = {
        path.stem: set(re.findall(r"reach: options\.Azure|azure: options\.Azure", path.read_text()))
        for path in (ROOT / "vmss_sim" / "cli").glob("*.py")
    }
    reaches = {name for name, how in found.items() if how} - {"operating", "asking", "everywhere"}
    assert reaches == {"apply", "recover", "rollouts", "snapshot", "lint", "preview", "plan"}, (
        "a command that reaches Azure is told of in the README"
    )
    assert set(re.findall(r"`(\w+)`", changing)) == {"apply", "recover", "resume", "abort", "rollback", "release"}
    assert "`snapshot`, `plan --scale-set`, `lint --all` and `preview --all` read from Azure" in reading
    assert "sends nothing to Azure" not in README
