"""`docs/lint.md`, rendered from the table of codes: `python -m planner.lint > docs/lint.md`."""

from __future__ import annotations

from planner.lint.codes import CODES, Grade

_HEAD = """\
# Lint

<!-- Rendered from planner/lint/codes.py by `python -m planner.lint`; a test holds the two equal. -->

What cannot work, or works otherwise than people think, found before anything runs.

* **error**: it cannot start or finish as things stand. A command that finds one exits with status 1.
* **warning**: it can, and somebody should know first.

A code is stable: its meaning and its grade never change, and it is never given again. Every text names percentages
together with the number of instances they stand for. A plan that moves instances itself is not judged by what only the
platform's own rollouts meet.
"""
_PARTS = {
    "1": "The set and its platform policy",
    "2": "The instances, and what the snapshot says of them",
    "3": "A plan",
    "4": "What keeps a plan from being made",
}


def page() -> str:
    """The whole page."""
    lines = [_HEAD]
    for part, title in _PARTS.items():
        codes = {code: row for code, row in CODES.items() if code[2] == part}
        lines += [f"## {title}", "", "| code | name | grade |", "|---|---|---|"]
        lines += [
            f"| [{code}](#{code.lower()}-{row.name}) | {row.name} | {_bold(row.grade)} |" for code, row in codes.items()
        ]
        lines.append("")
        for code, row in codes.items():
            lines += [f"### {code} {row.name}", "", f"*{row.grade.value.capitalize()}.* {row.why}", ""]
            lines += [f"Source: {row.source}.", ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _bold(grade: Grade) -> str:
    return f"**{grade.value}**" if grade is Grade.ERROR else grade.value
