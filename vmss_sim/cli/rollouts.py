"""`status`, `history`, `trace`: look at a rollout, from anywhere. `pause`, `resume` and the others: ask something of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vmss_sim.cli import asking, operating, options

STATUS = """Where a rollout stands, why, and what can be done now, with the exact commands.

\b
Examples:
  vmss-sim status
  vmss-sim status web-1a2b3c4d --json
  vmss-sim status plan.json --store azblob://ACCOUNT/CONTAINER
  vmss-sim status --all
"""
HISTORY = """What happened, decision by decision, and a draft of a post-mortem.

\b
Examples:
  vmss-sim history web-1a2b3c4d
  vmss-sim history web-1a2b3c4d --format md -o post-mortem.md
"""
TRACE = """The journal itself, one JSON record a line.

\b
Example:
  vmss-sim trace web-1a2b3c4d -o journal.jsonl
"""
IDS = typer.Argument(metavar="INSTANCE...", help="Instance ids.")
ASKING = {
    "pause": (
        "Ask a rollout to rest after its current operation.",
        "vmss-sim pause web-1a2b3c4d --reason 'the shop is busy'",
    ),
    "resume": (
        "Let a rollout go on: here, where no executor is alive (after a crash, from another machine).",
        "vmss-sim resume web-1a2b3c4d --yes --max-runtime 5h",
    ),
    "abort": (
        "End a rollout, for good: nothing more is moved, what was moved stays, the model goes back and automatic repairs come back. "
        "The upgrade mode stays as the rollout set it: in mode Automatic or Rolling the platform would move what does not have the model. "
        "`status` then says what is still changed, with the command that undoes it, and how what was moved is taken back.",
        "vmss-sim abort web-1a2b3c4d",
    ),
    "rollback": (
        "Everything that was moved goes back. --emergency: down to the plan's emergency floor; needs --reason.",
        "vmss-sim rollback web-1a2b3c4d --emergency --reason 'the image loses orders'",
    ),
    "retry": (
        "Forget that these instances failed, and try them again.",
        "vmss-sim retry web-1a2b3c4d 7 9",
    ),
    "skip": (
        "Leave these instances as they are, and go on without them; needs --reason.",
        "vmss-sim skip web-1a2b3c4d 7 --reason 'its disk is full, ticket 1234'",
    ),
    "replace": (
        "Delete these instances and add as many; needs --reason.",
        "vmss-sim replace web-1a2b3c4d 7 --reason 'broken host'",
    ),
    "release": (
        "Undo what was changed for the time of a paused rollout (repairs, and the mode where nothing would move in it), and stay paused."
        " One whose executor is gone comes to rest first, after its current operation.",
        "vmss-sim release web-1a2b3c4d",
    ),
}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    _register_looking(app)
    _register_asking(app)
    _register_naming(app)


def _register_looking(app: typer.Typer) -> None:
    @app.command("status", help=STATUS)
    @options.spread
    def status(
        rollout: operating.Name = None,
        store: operating.StoreName = None,
        every: Annotated[bool, typer.Option("--all", help="One line a rollout.")] = False,
        as_json: Annotated[
            bool, typer.Option("--json", help="JSON on stdout and nothing else there (docs/operate-json.md).")
        ] = False,
        *,
        login: options.Login,
    ) -> None:
        import msgspec  # noqa: PLC0415  # heavy imports wait until a command runs

        from backends.store import find  # noqa: PLC0415
        from vmss_sim.report import console, status_words  # noqa: PLC0415
        from vmss_sim.report import status as report  # noqa: PLC0415

        if every:
            options.refuse_idle({"ROLLOUT": rollout}, f"--all and {rollout}", "one of them")
        kept = login.opened(store)
        if every:
            entries = kept.rollouts()
            if not entries and kept.absent:
                find(kept, None)  # it raises, as without --all: a store that is not there is not an empty one
            found = [operating.status_of(kept, one) for one in entries]
            if not found:
                operating.say(f"there is no rollout in {kept.name}")
            if as_json:
                typer.echo(msgspec.json.encode([report.document(one) for one in found]).decode())
            for one in () if as_json else found:
                typer.echo(f"{one.entry.id:<24} {status_words.state_of(one):<24} {status_words.why_of(one)}")
            return
        made = operating.status_of(kept, find(kept, rollout))
        if as_json:
            typer.echo(msgspec.json.encode(report.document(made)).decode())
        else:
            report.render(console.out(), made)

    @app.command("history", help=HISTORY)
    @options.spread
    def history(
        rollout: operating.Name = None,
        store: operating.StoreName = None,
        form: Annotated[str, typer.Option("--format", metavar="text|md|html", help="How it is written.")] = "text",
        output: Annotated[
            Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write it there.", show_default=False)
        ] = None,
        *,
        login: options.Login,
    ) -> None:
        from backends.store import find  # noqa: PLC0415  # heavy imports wait until a command runs
        from planner.errors import InputError  # noqa: PLC0415
        from vmss_sim.report import console, history  # noqa: PLC0415

        if form not in history.FORMATS:
            raise InputError("unknown choice", "--format", repr(form), ", ".join(history.FORMATS))
        kept = login.opened(store)
        entry = find(kept, rollout)
        text = history.FORMATS[form](operating.status_of(kept, entry), tuple(kept.journal(entry.id).records()))
        if output is not None:
            console.write_file(output, text.encode())
        else:
            typer.echo(text, nl=False)

    @app.command("trace", help=TRACE)
    @options.spread
    def trace(
        rollout: operating.Name = None,
        store: operating.StoreName = None,
        output: Annotated[
            Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write it there.", show_default=False)
        ] = None,
        *,
        login: options.Login,
    ) -> None:
        import msgspec  # noqa: PLC0415  # heavy imports wait until a command runs

        from backends.store import find  # noqa: PLC0415
        from vmss_sim.report import console  # noqa: PLC0415

        kept = login.opened(store)
        records = kept.journal(find(kept, rollout).id).records()
        if output is not None:
            console.write_file(output, b"".join(msgspec.json.encode(one) + b"\n" for one in records))
            return
        for one in records:
            typer.echo(msgspec.json.encode(one).decode())


def _register_asking(app: typer.Typer) -> None:
    """What is asked of the rollout as a whole."""

    @app.command("pause", help=_help("pause"))
    @options.spread
    def pause(
        rollout: operating.Name = None,
        store: operating.StoreName = None,
        reason: operating.Reason = None,
        *,
        login: options.Login,
    ) -> None:
        from planner.rollout import Asked  # noqa: PLC0415  # heavy imports wait until a command runs

        asking.ask(Asked.PAUSE, login.opened(store), rollout, reason or "")

    def add(name: str) -> None:
        @app.command(name, help=_help(name))
        @options.spread
        def asked(
            rollout: operating.Name = None,
            store: operating.StoreName = None,
            reason: operating.Reason = None,
            yes: operating.Yes = False,
            *,
            running: operating.Running,
            reach: options.Azure,
        ) -> None:
            from planner.rollout import Asked  # noqa: PLC0415  # heavy imports wait until a command runs

            asking.ask(
                Asked(name),
                reach.opened(store),
                rollout,
                reason or "",
                yes=yes,
                drives=True,
                reach=reach,
                running=running,
            )

    for name in ("resume", "abort", "release"):
        add(name)

    @app.command("rollback", help=_help("rollback"))
    @options.spread
    def rollback(
        rollout: operating.Name = None,
        store: operating.StoreName = None,
        emergency: Annotated[bool, typer.Option("--emergency", help="Down to the emergency floor.")] = False,
        reason: operating.Reason = None,
        yes: operating.Yes = False,
        *,
        running: operating.Running,
        reach: options.Azure,
    ) -> None:
        from planner.rollout import Asked  # noqa: PLC0415  # heavy imports wait until a command runs

        if emergency:
            _needs_reason(reason, "rollback --emergency")
        asked = Asked.EMERGENCY if emergency else Asked.ROLLBACK
        asking.ask(
            asked, reach.opened(store), rollout, reason or "", yes=yes, drives=True, reach=reach, running=running
        )


def _register_naming(app: typer.Typer) -> None:
    """What is asked about single instances."""

    def add(name: str) -> None:
        @app.command(name, help=_help(name))
        @options.spread
        def named(
            rollout: Annotated[str, typer.Argument(metavar="ROLLOUT", help="As for status.")],
            ids: Annotated[list[str], IDS],
            store: operating.StoreName = None,
            reason: operating.Reason = None,
            *,
            login: options.Login,
        ) -> None:
            from planner.rollout import Asked  # noqa: PLC0415  # heavy imports wait until a command runs

            if name != "retry":
                _needs_reason(reason, name)
            asking.ask(Asked(name), login.opened(store), rollout, reason or "", ids=tuple(ids))

    for name in ("retry", "skip", "replace"):
        add(name)


def _help(name: str) -> str:
    does, example = ASKING[name]
    return f"{does}\n\n\b\nExample:\n  {example}\n"


def _needs_reason(reason: str | None, name: str) -> None:
    from planner.errors import InputError  # noqa: PLC0415  # heavy imports wait until a command runs

    if not (reason or "").strip():
        raise InputError(f"{name} needs a reason", "--reason", "none", "why, in a sentence; it is kept in the journal")
