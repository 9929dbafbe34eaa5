"""Windows: no batch starts unless it ends, in 95 of 100 simulated runs, before the window does.

1. Judged before the set is touched at all, and before each batch; what has begun is carried on, and the way back waits for nothing.
2. A batch that was not forecast (appended since) is taken to need as long as the longest that was. A plan with windows and batches says what each
   needs, or nothing is begun with it (`planfile/checks.py`). Of what was begun with such a plan of an older version no further batch starts: it pauses, and
   ends by abort or rollback.
3. The time for which it is shut does not count for the rollout's deadline. Shut: the rollout pauses, and goes on by itself as soon as somebody executes it while the window is open; or it waits, as the plan says.
4. The reason names times, not spans: it stays true while nobody looks, and changes (a record, a note) only where another one holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.lint.wording import span
from planner.phases import Phase
from planner.plan import untimed

if TYPE_CHECKING:
    from planner.machine.turn import Turn
    from planner.rollout import Opening

REASON = "window: "
"""How the reason of a pause begins that a window ends."""


def needs_ms(t: Turn) -> int:
    """How long the next batch takes; before the first one, that one (rule 2)."""
    known = t.plan.needs_ms
    return known[t.batch] if t.batch < len(known) else max(known, default=0)


def why_shut(t: Turn) -> str:
    """Why the next batch may not start now, or ''."""
    window = t.observation.window
    if window is None:
        return ""
    if untimed(t.plan):
        return f"{REASON}its plan does not say what a batch needs of one, so none starts; abort or roll back, and plan again"
    if not window.open:
        when = "and does not open again" if window.until_ms is None else f"and opens {_when(window, window.until_ms)}"
        return f"{REASON}it is shut {f'by {window.frozen} ' if window.frozen else ''}{when}"
    needed = needs_ms(t)
    if window.until_ms is not None and t.now + needed > window.until_ms:
        return f"{REASON}batch {t.batch + 1} takes {span(needed)} (95 of 100), and it shuts {_when(window, window.until_ms)}"
    return ""


def _when(window: Opening, until_ms: int) -> str:
    return window.until or f"{span(until_ms)} after the start"


def shut(t: Turn) -> bool:
    """May the next batch not start now? Then the rollout pauses, or waits (rule 3)."""
    why = why_shut(t)
    if not why:
        if t.rested_ms is not None:  # the time for which it was shut is not the rollout's
            t.put(direction_ms=t.direction_ms + t.now - t.rested_ms, rested_ms=None, progress_ms=t.now)
        return False
    window = t.observation.window
    if t.rested_ms is None:
        t.put(rested_ms=t.now)
        t.note("window-shut", why)
    if t.plan.on_window_close == "pause" or untimed(t.plan):  # to wait is no use
        t.pause(why)
        return True
    t.wake = None if window is None else window.until_ms
    if t.wake is not None and t.wake <= t.now:
        t.wake = t.now + 1000
    return True


def reopened(t: Turn) -> bool:
    """Paused for a window that is open again: the rollout goes on by itself. Where it is not, the reason is the present one (rule 4)."""
    if t.phase is not Phase.PAUSED or t.question or not t.reason.startswith(REASON) or t.observation.window is None:
        return False
    why = why_shut(t)
    if why:
        if why != t.reason:
            t.put(reason=why)
            t.note("window-shut", why)
        return False
    t.resume()
    return True
