"""What a run-command is the evidence of: its name and its content tell."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from planner.arm_json import read_run_commands
from planner.scripts import another_try, name_of, ran_as, undo_of, written_as

SCRIPTS = st.text(min_size=1, max_size=60).filter(lambda text: bool(text.strip()))


@given(SCRIPTS, st.integers(0, 12), st.sampled_from(("", "\n")))
def test_a_script_is_known_again_however_often_it_was_tried(script: str, tries: int, end: str) -> None:
    content = another_try(script, tries)
    assert ran_as(name_of(script), content) == name_of(script)
    if not end:
        return
    script = script.rstrip() + end  # a service that keeps no end of the last line
    assert ran_as(name_of(script), script.rstrip()) == name_of(script)


@given(SCRIPTS, SCRIPTS, st.integers(0, 3))
def test_another_content_under_its_name_is_its_undo(script: str, undo: str, tries: int) -> None:
    if script.rstrip() == undo.rstrip():
        return
    name = name_of(script)
    assert ran_as(name, another_try(undo, tries)) == undo_of(name)
    assert written_as(undo_of(name)) == written_as(name) == name


def test_what_is_not_ours_or_shows_no_content_goes_by_its_name() -> None:
    assert ran_as("install", "apt install x") == "install"
    assert ran_as(name_of("a"), None) == name_of("a")
    one = {"properties": {"provisioningState": "Succeeded", "source": {"script": "b"}}, "name": name_of("a")}
    assert read_run_commands({"value": [one]}, "list") == (undo_of(name_of("a")),)
