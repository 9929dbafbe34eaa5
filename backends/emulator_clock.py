"""The emulator's clock, slept on: a rollout against `vmss-sim emulate` takes as long as it takes there, and seconds here.

Contract: each sleep is told to the emulator, which says how much of it really has to pass (none by the clocks `jump` and `manual`), and every
request says so: then nothing but these sleeps moves time, and what a rollout decides is the same by each of its clocks.
Time counts from the fixed date at which an emulated world begins, so that it reads like any backend's. Nothing of this is used unless
the environment that the emulator prints is there (`VMSS_SIM_URL`, `VMSS_SIM_TOKEN_FILE`) and names the endpoint that is spoken to.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from planner.errors import PlatformError
from vmss_sim.arm.client import Control, ControlError
from vmss_sim.arm.http import TOLD, WAITS

BEGINS_MS = 1_767_225_600_000
"""2026-01-01, where emulated worlds begin."""
LONGEST_MS = 86_400_000
_SECOND_MS = 1_000


class EmulatorSleeper:
    """See the module's contract. Raises PlatformError where the emulator does not answer any more.

    slice_ms: a second at first, then by how much of the last sleep really had to pass. Where none had to, nothing is to be waited for in between.
    """

    headers: Mapping[str, str] = {WAITS: TOLD}

    def __init__(self, control: Control) -> None:
        self._control = control
        self._now_ms = 0
        self.slice_ms = _SECOND_MS
        self.now_ms()

    def now_ms(self) -> int:
        """The present there. Asked each time: under the clock `jump` every request may have moved it by minutes."""
        try:
            told = self._control.advance(0)
        except (OSError, ControlError) as error:
            raise PlatformError("EmulatorGone", f"the emulator's clock does not answer: {error}") from error
        self._now_ms = max(self._now_ms, BEGINS_MS + round(told * 1000))
        return self._now_ms

    def sleep_ms(self, span_ms: int) -> None:
        """Tell it, and sleep what is left to be slept."""
        try:
            left = self._control.sleep(span_ms / 1000)
        except (OSError, ControlError) as error:
            raise PlatformError("EmulatorGone", f"the emulator's clock does not answer: {error}") from error
        if left > 0:
            time.sleep(left)
        self.slice_ms = max(_SECOND_MS, round(span_ms / left)) if left > 0 else LONGEST_MS


def sleeper_for(endpoint: str | None, environment: Mapping[str, str] = os.environ) -> EmulatorSleeper | None:
    """The clock of the emulator at this endpoint; None where it is none, or not the one that the environment names."""
    url, token_file = environment.get("VMSS_SIM_URL"), environment.get("VMSS_SIM_TOKEN_FILE")
    if not endpoint or not url or not token_file or url.rstrip("/").lower() != endpoint.rstrip("/").lower():
        return None
    try:
        token = Path(token_file).read_text(encoding="utf-8").strip()
    except OSError:
        return None  # it has ended; whoever speaks to it will say so
    return EmulatorSleeper(Control(url, token, environment.get("VMSS_SIM_CA")))
