"""Something that may never come back, waited for so long and no longer.

Contract: what it gives or raises is given or raised here. Where it takes too long `TimeoutError` is raised, and it is left to itself: its thread
ends with the process, and nothing of it may be used afterwards.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

Given = TypeVar("Given")


def within(most_s: float, does: Callable[[], Given]) -> Given:
    """Do it. Raises TimeoutError, and whatever it raises."""
    given: list[Given] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            given.append(does())
        except BaseException as error:  # whatever it is, whoever waits has to hear it
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)  # nobody waits for it at the end
    thread.start()
    thread.join(most_s)
    if raised:
        raise raised[0]
    if not given:
        raise TimeoutError(f"nobody answered for {most_s:.0f} s")
    return given[0]
