"""Carry a rollout out under a lease: the driver's loop with a person, a clock and a signal beside it.

Rules this module decides:

1. Nothing is sent unless the lease is held: the journal refuses the intent, and `check` is asked before each command, and by a backend that can
   (`still`) right before each request of one: a script is one request an instance, and a token may be waited for.
2. A turn is taken at least every `look_ms`, so that what an operator asked, what the set shows and what `status` tells are
   never older; a turn that saw, decided and heard nothing is not written. One that decided nothing begins no waiting anew: polls become
   rarer as ever (`backends/schedule.py`), and Azure's token buckets are left to others.
3. It ends when the rollout has ended, when it rests (paused, and only a person can let it go on) unless told to stay, when
   it was told to detach, or when `max_runtime` is over. Detaching leaves everything as it is: what was sent goes on,
   and is adopted by the next executor.
4. That the set cannot be looked at is written down, with since when and why, and that it can again. A store that does not take that, or does
   not tell what was asked, breaks off neither look nor wait: the next turn's own record decides.
5. Detaching is heard at once while looking or waiting, which only read. While something is being sent or written it is
   heard right after, or, where that takes longer than `patience_s`, in the middle of it: as safe as being killed.
6. Once it has let go, its end is what it is: a signal ends only the telling of it (`Signals.after`).
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from functools import partial
from typing import Any

import msgspec

from backends.driver import Driver
from backends.journal import Journal
from backends.lease import Lease, LeaseLost
from backends.protocol import Backend, Seen, Wait
from backends.windows import opening, restricts
from planner.commands import Command
from planner.errors import InputError, PlannerBug, PlatformError
from planner.model import ScaleSet
from planner.phases import Phase
from planner.plan import Plan
from planner.rollout import Asked, OperatorRequest, Rollout, State
from planner.trace import Record, Unread

LOOK_MS = 20_000
ASKED_S = 3.0
"""How often the store is asked whether an operator asked for something, while a backend waits that can be told."""


class Detached(BaseException):
    """The executor is to let go now. Not an Exception: nobody may catch it on the way."""


class Why(str, Enum):
    """Why an executor came to its end."""

    ENDED = "ended"
    RESTS = "rests"
    DETACHED = "detached"
    MAX_RUNTIME = "max-runtime"


class TurnReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a listener is told after each turn: the records written in it, the set, and where the rollout stands."""

    now_ms: int
    scale_set: ScaleSet
    state: State
    records: tuple[Record, ...]


Listener = Callable[[TurnReport], None]


class Signals:
    """What the process was told from outside. `terminal`: a first Ctrl-C asks to pause, a second one detaches; without a
    terminal the first signal detaches.
    """

    def __init__(self, *, terminal: bool, patience_s: float = 3.0, says: Callable[[str], None] = lambda _text: None):
        self.terminal, self.patience_s, self.says = terminal, patience_s, says
        self.pause = self.detach = self.over = self.late = False
        self.reading = False

    def hear(self, number: int, _frame: object = None) -> None:
        """A signal's handler."""
        if number == signal.SIGINT and self.terminal and not self.pause:
            self.pause = True
            self.says(
                "pausing after the current operation; Ctrl-C again detaches at once and leaves everything as it is"
            )
            return
        first, self.detach = not self.detach, True
        if self.reading or number == getattr(signal, "SIGALRM", None):
            raise Detached
        if first and hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, self.patience_s)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Hear SIGINT and SIGTERM while this lasts."""
        numbers = [signal.SIGINT, signal.SIGTERM]
        numbers += [getattr(signal, name) for name in ("SIGALRM",) if hasattr(signal, name)]
        before = [(number, signal.signal(number, self.hear)) for number in numbers]
        try:
            yield
        finally:
            if hasattr(signal, "setitimer"):
                signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in before:
                signal.signal(number, handler)

    @contextmanager
    def after(self) -> Iterator[None]:
        """Around the executor's work and what is told of its end (rule 6). Until it is over a signal is what it was before."""
        before: dict[int, Any] = {
            one: signal.getsignal(one) or signal.SIG_DFL for one in (signal.SIGINT, signal.SIGTERM)
        }

        def hear(number: int, _frame: object) -> None:
            if not self.over:
                signal.signal(number, before[number])
                signal.raise_signal(number)
                return
            self.late = True
            if self.reading:
                raise Detached

        for number in before:
            signal.signal(number, hear)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def told(self, tells: Callable[[], None]) -> None:
        """Tell somebody of the end, unless a signal came since; one that comes meanwhile breaks that off."""
        self.reading = True
        try:
            if not self.late:
                tells()
        except Detached:
            return
        finally:
            self.reading = False


class _Leased:
    """A backend behind the lease (rule 1), whose reading may be broken off (rule 5)."""

    def __init__(self, backend: Backend, lease: Lease, signals: Signals) -> None:
        self._backend, self._lease, self._signals = backend, lease, signals
        self.failed: Exception | None = None
        """Why the set could not be looked at."""

    @contextmanager
    def _reads(self) -> Iterator[None]:
        self._signals.reading = True
        try:
            if self._signals.detach:
                raise Detached
            yield
        except (PlatformError, InputError) as error:
            self.failed = error
            raise
        finally:
            self._signals.reading = False

    def observe(self) -> Seen:
        """Look."""
        with self._reads():
            return self._backend.observe()

    def submit(self, command: Command) -> str:
        """Send, unless the lease may be lost."""
        self._lease.check()
        return self._backend.submit(command)

    def adopt(self, command: Command, handle: str) -> None:
        """Take over."""
        self._backend.adopt(command, handle)

    def wait(self, wait: Wait) -> bool:
        """Let time pass."""
        with self._reads():
            return self._backend.wait(wait)


class _Telling:
    """A journal that remembers what was written since it was last asked."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.new: list[Record] = []

    def write(self, record: Record) -> None:
        """Keep a record."""
        self._journal.write(record)
        self.new.append(record)

    @property
    def turns(self) -> int:
        """How many turns it holds."""
        return self._journal.turns

    def last_state(self) -> State | None:
        """The State of the last turn."""
        return self._journal.last_state()

    def receipt(self, command: str) -> str:
        """The handle of a command's last receipt."""
        return self._journal.receipt(command)

    def ask(self, asked: Asked, ids: tuple[str, ...] = (), reason: str = "", by: str = "") -> int:
        """Append an operator request."""
        return self._journal.ask(asked, ids, reason, by)

    def requests(self, after: int) -> tuple[OperatorRequest, ...]:
        """Operator requests with a higher id."""
        return self._journal.requests(after)

    def records(self) -> Iterator[Record]:
        """All records."""
        return self._journal.records()


def rests(state: State) -> bool:
    """Can only a person let it go on?"""
    if state.phase is not Phase.PAUSED or state.handed.cancel is not None or state.releasing:
        return False
    return state.ticket is None or bool(state.question)


class Executor:
    """One executor's work on one rollout. See the module's rules."""

    def __init__(
        self,
        plan: Plan,
        backend: Backend,
        journal: Journal,
        lease: Lease,
        signals: Signals,
        *,
        listen: Listener = lambda _told: None,
        look_ms: int = LOOK_MS,
        max_runtime_s: float | None = None,
        stay: bool = False,
        user: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal = _Telling(journal)
        self._backend = _Leased(backend, lease, signals)
        self._signals, self._lease, self._listen = signals, lease, listen
        self._look_ms, self._stay, self._clock = look_ms, stay, clock
        self._user = user
        self._until = None if max_runtime_s is None else clock() + max_runtime_s
        if hasattr(backend, "still"):  # it may take long between being told to send and sending
            backend.still = lease.check
        self._asked_s, self._told_pause = 0.0, False
        self._unread = False
        if hasattr(backend, "unreached"):  # whoever looks at the rollout meanwhile sees nothing but the journal
            backend.unreached = self._unreached
        if hasattr(backend, "asked"):  # a backend that can wait for long asks in between
            backend.asked = self._has_asked
        window = partial(opening, plan) if restricts(plan) else None
        self.driver = Driver(Rollout(plan), self._backend, self._journal, window)

    @property
    def state(self) -> State:
        """The last State."""
        return self.driver.state

    def run(self) -> Why:
        """Turn after turn, until one of rule 3's ends. Raises LeaseLost, InvariantViolated."""
        try:
            with self._signals.installed():
                return self._run()
        except Detached:
            return Why.DETACHED
        finally:
            self._signals.over = True

    def _run(self) -> Why:
        began_ms, waited = 0, None
        while True:
            self._lease.check()
            if self._signals.pause and not self._told_pause:
                self._journal.ask(Asked.PAUSE, reason="Ctrl-C in the executor's terminal", by=self._user)
                self._told_pause = True
            wait = self.driver.turn()
            self._tell()
            if wait is None:
                return Why.ENDED
            if rests(self.state) and not self._pending() and not self._stay:
                return Why.RESTS
            if self._until is not None and self._clock() >= self._until:
                return Why.MAX_RUNTIME
            if self._signals.detach:
                return Why.DETACHED
            latest = self.driver.now_ms + self._look_ms
            until = latest if wait.until_ms is None else min(wait.until_ms, latest)
            if waited != (self.state, wait.awaiting, wait.watch):
                began_ms, waited = self.driver.now_ms, (self.state, wait.awaiting, wait.watch)
            sliced = Wait(until_ms=until, awaiting=wait.awaiting, watch=wait.watch, began_ms=began_ms)
            if not self._backend.wait(sliced) and not self._stay:
                raise PlannerBug("nothing can happen any more, and the rollout waits")

    def _has_asked(self) -> bool:
        """Is there something to be heard before the wait is over?"""
        if self._signals.pause and not self._told_pause:
            return True
        now = self._clock()
        if now - self._asked_s < ASKED_S:
            return False
        self._asked_s = now
        try:
            return self._pending()
        except (PlatformError, InputError):  # rule 4
            return False

    def _unreached(self, host: str, why: str, for_ms: int) -> None:
        if bool(why) == self._unread:
            return
        try:
            self._journal.write(Unread(wall_ms=time.time_ns() // 1_000_000 - for_ms, why=why, host=host))
        except (LeaseLost, PlatformError, InputError):
            return  # rule 4; it is told again, and one that lost the lease is told so by the next turn
        self._unread = bool(why)

    def gave_up(self, error: Exception) -> None:
        """It ends with an error: where that is why the set could not be looked at, it is written down, unless it was."""
        if error is self._backend.failed:
            self._unreached("", str(error), 0)

    def _pending(self) -> bool:
        return bool(self._journal.requests(self.state.request))

    def _tell(self) -> None:
        records, self._journal.new = tuple(self._journal.new), []
        scale_set = self.driver.before
        if scale_set is not None:
            self._listen(TurnReport(now_ms=self.driver.now_ms, scale_set=scale_set, state=self.state, records=records))


def preflight(backend: Any, plan: Plan) -> tuple[Any, ...]:
    """What a backend finds before the first mutation (code, grade, text, fix); a world that has no preflight finds nothing."""
    asks = getattr(backend, "preflight", None)
    return () if asks is None else tuple(asks(plan))
