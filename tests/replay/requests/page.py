"""The page docs/replay-requests.md: `python -m tests.replay --requests --doc > docs/replay-requests.md`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from tests.replay.requests.accepted import ACCEPTED
from tests.replay.requests.judging import Judged, Row
from tests.replay.requests.run import Run
from tests.replay.requests.years import YEARS

PAGE = Path(__file__).resolve().parents[3] / "docs" / "replay-requests.md"

TOP = """# Recorded requests against the ARM endpoint

Every request about scale sets in the recordings of Azure's own traffic (2015 to 2025) is sent to the endpoint, at its time, and the answers are compared.
`python -m tests.replay --requests` prints this for the recordings beside a checkout (they are no part of the project), `python -m tests.replay --requests FILE`
for any file of that form. [The other replay](replay.md) is against the world behind the endpoint, and compares what happens rather than how it is told.

* *Sent*: method, path, query and body as recorded, creations and deletions included. A set that a recording does not create is there from the first answer that
  shows it, with the document that it shows first; one that somebody else deleted is gone when an answer says so.
* *Compared*: the status; code and words of errors; whether there are `Azure-AsyncOperation`, `Location` and `ETag`; and the shape of bodies: the keys, recursively, with the
  JSON type of each value, the items of a list merged.
* *Mapped*: URLs of operations, links to next pages, ids of instances.
* *Given*: how long operations take, failures from outside, which instance a scale-in takes, what policies of the recorders' subscriptions add to requests. Azure's own rollouts
  take the time that the world gives them.
* *The service's year.* The endpoint behaves as the service did at the end of the recordings. What the service did not show yet, or showed no more, whatever the
  api-version, is no mismatch of the endpoint's; each is listed with its day.
"""


def line(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def share(some: int, of: int) -> str:
    """A percentage; 100 % only where it is all of them."""
    if not of:
        return "-"
    return "100%" if some == of else f"{min(some / of, 0.9999):.2%}"


def total(rows: Iterable[Row]) -> Row:
    """All rows as one."""
    return Row(*(sum(column) for column in zip(*rows, strict=True)))


def shares(judged: Judged) -> Iterable[str]:
    """The first table."""
    yield line(
        "request",
        "sent",
        "status",
        "errors",
        "shape as it is",
        "alike as it is",
        "but for the year",
        "but for exceptions",
    )
    yield line(*["---"] * 8)
    for kind, row in (*judged.rows.items(), ("all", total(judged.rows.values()))):
        yield line(
            kind,
            row.requests,
            share(row.status, row.requests),
            f"{row.codes} of {row.errors}" if row.errors else "",
            share(row.shape, row.requests),
            share(row.alike, row.requests),
            share(row.by_year, row.requests),
            share(row.excepted, row.requests),
        )


def plain(pattern: str) -> str:
    """A regular expression for a table's cell."""
    return f"`{pattern}`".replace("|", "\\|") if pattern != ".*" else "any"


def named(pattern: str) -> str:
    """A path's pattern as a path."""
    return "`" + re.sub(r"\\([.\[\]])", r"\1", pattern).replace("|", "\\|") + "`"


def years() -> Iterable[str]:
    """The second table."""
    yield line("differences", "property", "shown since", "shown until")
    yield line(*["---"] * 4)
    for row in YEARS:
        yield line(row.count, named(row.path), row.since, row.until)


def exceptions() -> Iterable[str]:
    """The third table: one by one, with the reason."""
    yield line("differences", "reason", "recording (pattern)", "request", "what")
    yield line(*["---"] * 5)
    for row in ACCEPTED:
        what = plain(row.what) if row.path == ".*" else f"{plain(row.what)}: {plain(row.path)}"
        yield line(row.count, row.reason, plain(row.recording), plain(row.kind), what)


def agreement(runs: list[Run], judged: Judged) -> str:
    """The part that takes seconds."""
    every = total(judged.rows.values())
    skipped = [f"* {count}: {reason}" for reason, count in judged.skipped.most_common()]
    return "\n".join(
        (
            "## Agreement",
            "",
            f"{len(runs)} recordings, {every.requests} requests. Equal as they are: {every.alike}; but for the service's year: {every.by_year}; "
            f"but for the exceptions below: {every.excepted}.",
            "Errors: recorded or ours; equal are those with the same code and the same words. Alike: status, error, headers and shape together.",
            "",
            *shares(judged),
            "",
            "Not sent:",
            "",
            *skipped,
            "",
        )
    )


def listed() -> str:
    """The part that needs no recordings."""
    head = "A test fails if one of them is not needed any more, or covers more than it says."
    return "\n".join(
        ("## The service's years", "", head, "", *years(), "", "## Exceptions", "", head, "", *exceptions(), "")
    )


def page(runs: list[Run], judged: Judged) -> str:
    """All of it."""
    return "\n".join((TOP, agreement(runs, judged), listed()))
