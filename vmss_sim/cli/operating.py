"""What the commands that carry a rollout out, or ask something of one, have in common."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vmss_sim.cli import opened, options

if TYPE_CHECKING:
    from backends.executor import TurnReport
    from backends.lease import Held
    from backends.operate import Ended
    from backends.store import Entry, Store
    from planner.planfile import PlanFile
    from planner.rollout import Asked, State
    from vmss_sim.report.status_words import Status

StoreName = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="STORE",
        help="Where rollouts are kept: file:DIR or azblob://ACCOUNT/CONTAINER[/PREFIX]; $VMSS_SIM_STORE, else your state folder.",
        show_default=False,
    ),
]
Name = Annotated[
    str | None,
    typer.Argument(
        metavar="[ROLLOUT]",
        help="A rollout's id, a unique beginning of it, or its plan file; the newest by default.",
        show_default=False,
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Reason = Annotated[
    str | None, typer.Option("--reason", metavar="TEXT", help="Why; kept in the journal.", show_default=False)
]
RequireApprovals = Annotated[
    int, typer.Option("--require-approvals", min=0, metavar="N", help="Approvals by others than its author.")
]


@dataclass(frozen=True, kw_only=True)
class Running:
    """How an executor works, and whom it tells; a field is an option (`options.spread`)."""

    max_runtime: Annotated[
        str | None,
        typer.Option(
            "--max-runtime",
            metavar="TIME",
            help="Detach after so long (5h): what was sent goes on, and is adopted when somebody resumes.",
            show_default=False,
        ),
    ] = None
    stay: Annotated[
        bool, typer.Option("--stay", help="Stay while the rollout is paused, until somebody lets it go on.")
    ] = False
    log_format: Annotated[
        str | None,
        typer.Option(
            "--log-format",
            metavar="text|json",
            help="A log instead of the live view; json: one object a line.",
            show_default=False,
        ),
    ] = None
    hook: Annotated[
        list[str] | None,
        typer.Option(
            "--hook",
            metavar="COMMAND",
            help="Run at each event of rollout, batch and gate, with JSON on its standard input.",
            show_default=False,
        ),
    ] = None
    webhook: Annotated[
        list[str] | None,
        typer.Option(
            "--webhook", metavar="URL", help="Or POST it there.", envvar="VMSS_SIM_WEBHOOK", show_default=False
        ),
    ] = None

    def check(self) -> None:
        """Raises InputError for what it cannot do, before anything is opened."""
        from backends.hooks import check  # noqa: PLC0415  # heavy imports wait until a command runs

        check_format(self.log_format)
        seconds(self.max_runtime)
        check(self.hook or (), self.webhook or ())


def status_of(store: Store, entry: Entry) -> Status:
    """Everything that is told of a rollout."""
    from backends.operate import plan_of  # noqa: PLC0415  # heavy imports wait until a command runs
    from backends.store import as_option, now_ms  # noqa: PLC0415
    from backends.succession import left_before, since  # noqa: PLC0415
    from planner.standing import Beside, standing  # noqa: PLC0415
    from vmss_sim.report.status_words import Status  # noqa: PLC0415

    read = plan_of(store, entry)
    journal = store.journal(entry.id)
    last = journal.last_state()
    unheard = journal.requests(last.request if last is not None else 0)
    beside = Beside(journal.records())
    made = standing(read.plan, beside, unheard=unheard)
    return Status(
        entry=entry,
        plan=read.plan,
        forecast=read.forecast,
        standing=made,
        unread=beside.unread,
        last=beside.executor,
        let_go=beside.let_go,
        holder=store.holder(entry.scale_set),
        now_ms=now_ms(),
        store=as_option(store),
        left=left_before(store, entry, read.plan),
        since=since(store, entry),
    )


def user() -> str:
    """Who gives the command, by the name of the account."""
    import getpass  # noqa: PLC0415  # only where it is asked

    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user may have no name
        return ""


def say(text: str) -> None:
    """Something beside the results."""
    typer.echo(f"vmss-sim: {text}", err=True)


class Voice:
    """Where a backend's words go: beside the results, or into the view while there is one."""

    def __init__(self) -> None:
        self.says = say

    def __call__(self, text: str) -> None:
        """Say it."""
        self.says(text)


VOICE = Voice()


def refuse_unasked() -> None:
    """Raises InputError where nobody can be asked."""
    from planner.errors import InputError  # noqa: PLC0415  # heavy imports wait until a command runs

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise InputError("nobody can be asked here", "", "no terminal", "--yes, to say that you are sure")


def confirm(question: str, *, yes: bool) -> None:
    """Ask. Raises InputError where nobody can be asked, and exits with 2 where the answer is no, with 130 for Ctrl-C."""
    if yes:
        return
    refuse_unasked()
    try:
        answer, status = typer.confirm(question, default=False), 2
    except typer.Abort:  # Ctrl-C
        typer.echo()
        answer, status = False, 130
    if not answer:
        say("nothing was sent")
        raise typer.Exit(status)


def tell_moved(store: Store, entry: Entry, read: PlanFile, reach: options.Azure, log_format: str | None) -> Any:
    """To somebody who is going to be asked: what moved since the journal's last look. A set that cannot be looked at is said, and stands in the way
    of no question. Returns the backend, with which it goes on; None where another one is to be opened. Raises InputError where nobody can be asked.
    """
    from backends.bounded import within  # noqa: PLC0415  # heavy imports wait until a command runs
    from backends.driver import what_moved  # noqa: PLC0415
    from planner.errors import InputError, PlatformError  # noqa: PLC0415
    from planner.rollout import Rollout  # noqa: PLC0415
    from vmss_sim.report import console, plans  # noqa: PLC0415

    refuse_unasked()
    journal = store.journal(entry.id)
    state = journal.last_state()
    if state is None:
        return None
    reached = there(entry, reach)
    most_s = BY_PERSON_S if reached.credential == "device-code" else LOOK_S
    backend = open_world(read, reached, first_s=LOOK_S)
    try:
        seen = within(most_s, backend.observe)
    except (InputError, PlatformError, TimeoutError) as error:
        say(f"{entry.id}: what moved since the last look cannot be told: {error}")
        return None
    found = what_moved(Rollout(read.plan), state, journal, seen)
    if found is not None:
        plans.since(console.err() if log_format == "json" else console.out(), found, told("trace", store, entry))
    return backend


def carry_on(
    store: Store,
    entry: Entry,
    read: PlanFile,
    reach: options.Azure,
    running: Running,
    *,
    ask: Asked | None = None,
    reason: str = "",
    by: str = "",
    backend: Any = None,
    held: Held | None = None,
    recovered: State | None = None,
) -> int:
    """Be the executor until the rollout ends or rests; print how that came. Returns the exit status."""
    from backends.executor import Signals, Why  # noqa: PLC0415  # heavy imports wait until a command runs
    from backends.hooks import Hooks  # noqa: PLC0415
    from backends.operate import drive  # noqa: PLC0415
    from vmss_sim.report import console, live  # noqa: PLC0415
    from vmss_sim.report import status as report  # noqa: PLC0415

    running.check()
    if backend is None:
        backend = open_world(read, there(entry, reach))
    signals = Signals(terminal=sys.stdout.isatty() and sys.stdin.isatty())
    hooks = Hooks(
        running.hook or (),
        running.webhook or (),
        rollout=entry.id,
        status=lambda: report.document(status_of(store, entry)),
        says=say,
    )
    trace = told("trace", store, entry)
    view_of = live.view(read.plan, read.forecast, entry.id, running.log_format, console.out(), trace)
    with signals.after():
        with view_of as view:
            signals.says = hooks.says = VOICE.says = view.say

            def listen(turn: TurnReport) -> None:
                view.show(turn)
                hooks.listen(turn)

            ended = drive(
                store,
                entry,
                read.plan,
                backend,
                signals,
                listen=listen,
                says=view.say,
                held=held,
                recovered=recovered,
                max_runtime_s=seconds(running.max_runtime),
                stay=running.stay,
                ask=ask,
                reason=reason,
                by=by or user(),
            )
            signals.told(lambda: hooks.close(1.0 if ended.why is Why.DETACHED else 15.0))
            VOICE.says = say
        return _end(store, entry, ended)


def _end(store: Store, entry: Entry, ended: Ended) -> int:
    """Print how it came to its end. Returns the exit status, which a store that does not answer any more leaves as it is."""
    from backends.executor import Why  # noqa: PLC0415  # heavy imports wait until a command runs
    from planner.errors import InputError, PlatformError  # noqa: PLC0415

    state = ended.state
    if ended.error:
        say(f"{entry.id}: {ended.error}")
    if ended.exit_code == 2 and ended.error:
        say(f"{entry.id}: nothing was sent; {told('resume', store, entry)} tries again")
        return 2
    if ended.why is Why.ENDED:
        say(f"{entry.id} ended: {state.ending}{': ' + state.reason if state.reason else ''}")
        try:
            _left(status_of(store, entry))
        except (PlatformError, InputError) as error:
            say(f"{entry.id}: what is still changed cannot be told: {error}")
    elif ended.why is Why.RESTS:
        say(f"{entry.id} rests: {state.reason}")
    else:
        say(f"{entry.id}: detached; what was sent goes on, and is adopted by {told('resume', store, entry)}")
    if ended.exit_code:
        say(f"{told('status', store, entry)} tells where it stands and what can be done")
    return ended.exit_code


def _left(status: Status) -> None:
    """What is still changed, where the rollout changed something for its own time."""
    from vmss_sim.report.status_words import temporary_of  # noqa: PLC0415  # heavy imports wait until a command runs

    plan, now = status.plan, status.standing
    if now is not None and status.temporary:
        say(f"{status.entry.id}: still changed: {temporary_of(status)}; status has the commands that undo it")
    elif plan.suspend_repairs or plan.work_mode is not plan.scale_set.mode or plan.surge is not None:
        say(f"{status.entry.id}: what was changed for the time of the rollout is as before")


def there(entry: Entry, reach: options.Azure) -> options.Azure:
    """How this rollout is reached: as it was begun, where nothing else is said. Raises InputError for another place."""
    from backends.where import going_on  # noqa: PLC0415  # heavy imports wait until a command runs

    return options.Azure(**going_on(entry.id, entry.where, asdict(reach)))


def told(word: str, store: Store, entry: Entry) -> str:
    """A command about this rollout, to be copied."""
    from backends.store import as_option  # noqa: PLC0415  # heavy imports wait until a command runs

    return f"`vmss-sim {word} {entry.id}{as_option(store)}`"


FIRST_S, LOOK_S, BY_PERSON_S = 60.0, 20.0, 900.0
"""How long a first answer is waited for: where nothing is under way, where somebody waits to be asked, and where a person has to type a code."""


def open_world(read: PlanFile, reach: options.Azure, *, first_s: float | None = None) -> Any:
    """The backend, until the command ends; through the module, so that there is one place to choose it. first_s: so soon a host is given up that has
    not answered yet; a rollout that was begun is worth ten minutes.
    """
    from backends import connect  # noqa: PLC0415  # heavy imports wait until a command runs
    from backends.probes import Probed  # noqa: PLC0415

    made = connect.open_backend(read.plan, asdict(reach) | {"says": VOICE} | ({"first_s": first_s} if first_s else {}))
    return opened.until_the_end(made if read.plan.hooks is None else Probed(made, read.plan, read.plan.hooks))


def seconds(given: str | None) -> float | None:
    """A time as people give it. Raises InputError."""
    if given is None:
        return None
    from scenarios.timing import parse_duration_ms  # noqa: PLC0415  # heavy, and seldom needed

    return parse_duration_ms(given, "--max-runtime") / 1000


def check_format(given: str | None) -> None:
    """Raises InputError for a log format that there is none of."""
    from planner.errors import InputError  # noqa: PLC0415  # heavy imports wait until a command runs

    if given not in (None, "text", "json"):
        raise InputError("unknown choice", "--log-format", repr(given), "text or json")
