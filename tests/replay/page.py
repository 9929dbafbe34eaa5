"""The page docs/replay.md: `python -m tests.replay --doc > docs/replay.md`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.replay.accepted import ACCEPTED, LEFT_OUT
from tests.replay.durations import LEAST, RUNS, Share, report
from tests.replay.judging import Judged
from tests.replay.session import Replay

TOP = """# Replay against reality

Recorded sessions of Azure's own traffic are replayed against the world: it is put in the recorded starting state, given the recorded requests at the recorded times,
and everything that was read is compared. `python -m tests.replay` prints this for the recordings beside a checkout (they are no part of the project),
`python -m tests.replay FILE` for any file of that form; `tests/replay/handmade.jsonl` shows the form, and keeps the mapping tested everywhere.

* *In scope*: every session with a rolling upgrade, a cancel, a set in mode Rolling, a reimage, a manualupgrade or an error; all of its requests.
* *Compared*: status, code and words of every answer; how operations end, and with which code; the set's and the instances' provisioning states, power states,
  `latestModelApplied`; instances there; `rollingUpgrades/latest` (code, action, policy, error, progress); the length of `osUpgradeHistory`; whether the etag grew;
  which instance a scale-in takes.
* *Given*: how long operations on instances take (judged below), and failures from outside (a VM that did not boot, somebody else's conflicting request). How long
  rollouts take is the world's own affair: their ends must agree to 3 s (older recordings, known to a poll only: 40 s).
* What Azure did otherwise in other years is an option of the world, set by the recording's date (`tests/replay/start.py`, `era`).
"""

DURATIONS = f"""## Durations

Each recorded operation since 2021 is judged by the world in its situation, run {RUNS} times: does its duration lie within the central 90 % of the world's? *In the fit*: with
the timings that are shipped. *One draw a request*: likewise, as if all VMs of a request had the same luck. *Scripts left out*: with timings fitted to all other scripts; *years left out*: to all other years. A dash: fewer than {LEAST} operations
would be left to fit to. The same script, image and region was recorded over and over, so these are few independent looks.

Where the share is low:

* *restart, start, power-off* of sets of 5, and a little everywhere: the world draws for every VM by itself and waits for the slowest. Recorded sets of 5 take as long as one
  VM, so the VMs of one request seem to share their luck. The world is the more careful one: its large batches are slower than Azure's.
* *upgrade, an extension or a like change*, *redeploy*, *reimage*: what a script does decides how long it takes, and there are two to six scripts.
* *delete*: one script deletes one VM (2 s), the other two (40 s).
* *extension-rolling-upgrade*: on Linux nothing was to be upgraded, where the world upgrades; two VMs waited five times (see the exceptions).
"""


def _line(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def shares_by_operation(judged: Judged) -> Iterable[str]:
    """The first table."""
    yield _line("after", "agree", "of", "share", "compared")
    yield _line(*["---"] * 5)
    for kind in sorted({kind for kind, _ in judged.total}):
        rows = sorted((what, count) for (of, what), count in judged.total.items() if of == kind)
        total, agreeing = judged.of(kind)
        what = ", ".join(f"{what} {count}" for what, count in rows)
        yield _line(kind, agreeing, total, f"{agreeing / total:.1%}", what)


def exceptions() -> Iterable[str]:
    """The second table: one by one, with the reason."""
    yield _line("findings", "recording (pattern)", "what", "reason")
    yield _line(*["---"] * 4)
    for row in ACCEPTED:
        pattern = row.recording.replace("|", "\\|")
        what = f"{row.kind}: {row.what}".replace("\\(", "(").replace("\\)", ")").replace("|", "\\|")
        yield _line(row.count, f"`{pattern}`", what, row.reason)
    for left in LEFT_OUT:
        yield _line(left.count, f"`{left.recording}`", f"{left.kind}, not replayed", left.reason)


def _share(share: Share) -> str:
    return f"{share.inside / share.judged:.0%} ({share.judged})" if share.judged else "-"


def durations(runs: Iterable[Replay]) -> Iterable[str]:
    """The third table."""
    yield _line("operation", "OS", "scripts", "in the fit", "one draw a request", "scripts left out", "years left out")
    yield _line(*["---"] * 7)
    for name, system, fitted, *others in report(runs):
        if fitted.judged:
            yield _line(name, system, fitted.families, _share(fitted), *(_share(one) for one in others))


PAGE = Path(__file__).resolve().parents[2] / "docs" / "replay.md"


def agreement(runs: list[Replay], judged: Judged) -> str:
    """The part of the page that takes seconds."""
    agree = judged.agreeing.total()
    return "\n".join(
        (
            "## Agreement",
            "",
            f"{len(runs)} sessions, {judged.total.total()} comparisons, {agree} agree; the rest are the exceptions below.",
            "(start): before the first request.",
            "",
            *shares_by_operation(judged),
            "",
        )
    )


def excepted() -> str:
    """The part that needs no recordings."""
    return "\n".join(
        (
            "## Exceptions",
            "",
            "A test fails if one of them is not needed any more, or covers more than it says.",
            "",
            *exceptions(),
            "",
        )
    )


def page(runs: list[Replay], judged: Judged) -> str:
    """All of it."""
    return "\n".join((TOP, agreement(runs, judged), excepted(), DURATIONS, *durations(runs), ""))
