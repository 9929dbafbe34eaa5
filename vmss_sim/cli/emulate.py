"""`vmss-sim emulate`: a scale set behind a local ARM endpoint."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vmss_sim.cli import options

if TYPE_CHECKING:
    from scenarios.schema import Scenario
    from vmss_sim.arm.clock import BaseClock

HELP = """Serve a scale set on a local ARM endpoint, for az, the SDKs or your own scripts, and measure what they do to it.

It listens on loopback only, by HTTPS with a CA of its own, and prints what to paste for each client. Drive an upgrade as you do
today; Ctrl-C ends it with the report that `simulate` gives: fewest in service, downtime, outage, duration.

\b
Time (--clock):
  jump     stands still while a client works, and jumps when it polls an operation that runs: hours cost seconds
  real     as the wall, or --speed N times as fast while clients wait
  manual   only the control endpoint moves it (tests)

\b
Examples:
  vmss-sim emulate seed-article
  vmss-sim emulate show.json --instances list.json --clock real --speed 60
  vmss-sim emulate seed-article --port 8443 --faults faults.toml --trace run.jsonl --report report.json
  vmss-sim emulate seed-article --restore before.jsonl
  vmss-sim emulate seed-article --env env.sh & until [ -s env.sh ]; do sleep 1; done; . ./env.sh

\b
Exit status (on Ctrl-C or SIGTERM, or when the terminal is closed): 0 the report was printed, 1 the report has no figures since the clock distorts them,
2 bad input, or the port is in use.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("emulate", help=HELP)
    @options.spread
    def emulate(
        scenario: Annotated[
            str,
            typer.Argument(
                metavar="SCENARIO|SNAPSHOT",
                help="A scenario file, the name of a bundled scenario, or a scale set as Azure returns it.",
            ),
        ],
        port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port for HTTPS; 0: a free one.")] = 0,
        http: Annotated[bool, typer.Option("--http", help="Plain HTTP, too, on a port of its own.")] = False,
        clock: Annotated[str, typer.Option("--clock", metavar="jump|real|manual", help="See above.")] = "jump",
        speed: Annotated[
            float | None, typer.Option("--speed", help="Of --clock real: how many times as fast.", show_default=False)
        ] = None,
        poll: Annotated[
            float | None,
            typer.Option(
                "--poll",
                metavar="SECONDS",
                help="Of --clock jump: how often a client polls, in virtual time; 0: an operation's end is seen at once.  [30]",
                show_default=False,
            ),
        ] = None,
        retry_after: Annotated[
            int | None,
            typer.Option(
                "--retry-after",
                min=1,
                metavar="SECONDS",
                help="Of --clock real and manual: what answers say (at a higher speed divided by it). Azure says nothing.",
                show_default=False,
            ),
        ] = None,
        faults: Annotated[
            Path | None,
            typer.Option(
                "--faults", metavar="FILE", help="[[fault]] tables, instead of the scenario's.", show_default=False
            ),
        ] = None,
        seed: options.Seed = 1,
        throttle: Annotated[
            bool, typer.Option("--throttle/--no-throttle", help="Refuse as Azure's token buckets do.")
        ] = False,
        any_version: Annotated[
            bool,
            typer.Option("--any-version", help="Accept versions of the image that the scenario does not name."),
        ] = False,
        opaque_urls: Annotated[
            bool, typer.Option("--opaque-urls", help="Operation URLs of 4 kB, which must be used as they are.")
        ] = False,
        restore: Annotated[
            Path | None,
            typer.Option(
                "--restore", metavar="FILE", help="Begin where a snapshot of this was taken.", show_default=False
            ),
        ] = None,
        trace: Annotated[
            Path | None,
            typer.Option(
                "--trace", metavar="FILE", help="Write every exchange, one JSON line each.", show_default=False
            ),
        ] = None,
        report: Annotated[
            Path | None,
            typer.Option("--report", metavar="FILE", help="Write the report as JSON in the end.", show_default=False),
        ] = None,
        env: Annotated[
            Path | None,
            typer.Option(
                "--env", metavar="FILE", help="Write the environment for a shell once it answers.", show_default=False
            ),
        ] = None,
        ca_dir: Annotated[
            Path | None,
            typer.Option("--ca-dir", metavar="DIR", help="Where the CA is kept, or made.", show_default=False),
        ] = None,
        unsafe_bind: Annotated[
            str | None,
            typer.Option(
                "--unsafe-bind",
                metavar="ADDRESS",
                help="Listen there instead of on loopback. Whoever can reach it can use it.",
                show_default=False,
            ),
        ] = None,
        force: options.Force = False,
        quiet: Annotated[bool, typer.Option("--quiet", help="No line for each request.")] = False,
        as_json: options.Json = False,
        *,
        beside: options.Beside,
    ) -> None:
        import msgspec  # noqa: PLC0415  # heavy imports wait until a command runs

        from scenarios import files, surroundings, to_arm  # noqa: PLC0415
        from vmss_sim.arm.emulator import Emulator  # noqa: PLC0415
        from vmss_sim.arm.http import Refused  # noqa: PLC0415
        from vmss_sim.arm.session import Session  # noqa: PLC0415
        from vmss_sim.arm.trace import Trace  # noqa: PLC0415
        from vmss_sim.report import console, emulation  # noqa: PLC0415
        from vmss_sim.study.replicate import breaches  # noqa: PLC0415

        _apart({"--trace": trace, "--report": report, "--env": env})
        for path in (trace, report, env):
            options.refuse_existing(path, force=force)
        given = None
        if faults is not None:
            tables = files.read_toml(faults, "[[fault]] tables in TOML (docs/scenario.md)")
            given = surroundings.faults_of(tables, str(faults))
        found_scenario, open_target = _scenario(scenario, beside)
        made = to_arm.stage(
            *found_scenario,
            seed=seed,
            breaches=breaches,
            faults=given,
            any_version=any_version or open_target,
            target_known=not open_target,
        )
        keeper = _clock(clock, speed, poll, retry_after)
        said = console.err() if as_json else console.out()
        told = None if quiet else lambda *seen: emulation.line(console.err(), *seen)
        with ExitStack() as stack:
            asked = stack.enter_context(_asked_to_end())  # before anybody is told that it is there
            kept = stack.enter_context(closing(Trace(trace)))
            emulator = Emulator(made, keeper, trace=kept, throttle=throttle, opaque_urls=opaque_urls, progress=told)
            if restore is not None:
                try:
                    stand_ins = emulator.restore(files.read_bytes(restore).splitlines())
                except Refused as refusal:
                    raise _not_restored(restore, refusal.message) from refusal
                if stand_ins:
                    emulation.restored(console.err(), restore, stand_ins)
            session = stack.enter_context(
                Session(emulator, ca_dir=ca_dir, port=port, http=http, unsafe_bind=unsafe_bind)
            )
            if unsafe_bind is not None:
                console.err().print(f"listening on {unsafe_bind}: whoever can reach it can use it", style="bold red")
            emulation.opening(said, session)
            if env is not None:
                console.write_file(env, session.script().encode())
            while not asked.wait(0.5):  # woken now and then, so that a signal is seen on every platform
                pass
            session.server.stop()
            found = emulator.finish()
        if report is not None:
            console.write_file(report, msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
        if as_json:
            typer.echo(msgspec.json.encode(found).decode())
        else:
            emulation.report(said, found)
        raise typer.Exit(1 if found["refused"] else 0)


def _apart(named: dict[str, Path | None]) -> None:
    """Each file is written by one option. Raises InputError."""
    from planner.errors import InputError  # noqa: PLC0415  # heavy imports wait until a command runs

    seen: dict[Path, str] = {}
    for option, path in named.items():
        if path is not None and (path.is_file() or not path.exists()):
            first = seen.setdefault(path.resolve(), option)
            if first != option:
                raise InputError("two options write one file", option, str(path), f"another file than that of {first}")


def _scenario(name: str, beside: options.Beside) -> tuple[tuple[Scenario, Path, str], bool]:
    """The scenario; for a snapshot of which nobody says what it becomes, the next image, whatever that is: then, too, it is open."""
    from dataclasses import replace  # noqa: PLC0415  # heavy imports wait until a command runs

    from msgspec import structs  # noqa: PLC0415

    from scenarios import files  # noqa: PLC0415
    from vmss_sim.study.what_if import assumed_target  # noqa: PLC0415

    path = files.find_scenario(name)
    if beside.changes or not files.is_snapshot(path):
        return options.scenario_from(name, None, beside), False
    paths = [path, *([beside.instances] if beside.instances else [])]
    fleet = files.read_snapshot(paths).scale_set
    target = assumed_target(fleet)
    scenario, folder, where = options.scenario_from(name, None, replace(beside, target=target))
    if target is not None:
        scenario = structs.replace(scenario, title=fleet.model.name)  # without what nobody said
    return (scenario, folder, where), True


def _clock(kind: str, speed: float | None, poll: float | None, retry_after: int | None) -> BaseClock:
    """The clock that the options name. Raises InputError."""
    from planner.errors import InputError  # noqa: PLC0415  # heavy imports wait until a command runs
    from vmss_sim.arm.clock import NOMINAL_S, RealClock  # noqa: PLC0415
    from vmss_sim.arm.standing_clocks import JumpClock, ManualClock  # noqa: PLC0415

    belongs: dict[str, tuple[Any, tuple[str, ...]]] = {
        "--speed": (speed, ("real",)),
        "--poll": (poll, ("jump",)),
        "--retry-after": (retry_after, ("real", "manual")),
    }
    if kind not in ("jump", "real", "manual"):
        raise InputError("no such clock", "--clock", repr(kind), "jump, real or manual")
    for option, (value, kinds) in belongs.items():
        if value is not None and kind not in kinds:
            raise InputError(f"{option} says nothing with this clock", option, f"--clock {kind}", f"--clock {kinds[0]}")
    if speed is not None and not 1 <= speed <= 100_000:
        raise InputError("out of range", "--speed", f"{speed:g}", "1 to 100000")
    if poll is not None and not 0 <= poll <= 86_400:
        raise InputError("out of range", "--poll", f"{poll:g}", "0 to 86400 s")
    if kind == "manual":
        return ManualClock(retry_after_s=retry_after)
    if kind == "real":
        return RealClock(speed=speed or 1, retry_after_s=retry_after)
    return JumpClock(poll_s=NOMINAL_S if poll is None else poll)


def _not_restored(path: Path, why: str) -> Exception:
    from planner.errors import InputError  # noqa: PLC0415  # heavy imports wait until a command runs

    return InputError(f"the snapshot cannot be restored: {why}", str(path))


@contextmanager
def _asked_to_end() -> Iterator[Event]:
    """Set by Ctrl-C or SIGTERM, of which a second one breaks off what takes too long; and when the terminal is closed, which may be told twice."""
    asked = Event()
    breaks_off, ends = (signal.SIGINT, signal.SIGTERM), [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # not under nohup
        ends.append(signal.SIGHUP)

    def hear(*_: object) -> None:
        for one in breaks_off:
            signal.signal(one, before[one])
        asked.set()

    before = {one: signal.getsignal(one) for one in ends}  # all of them before the first is heard
    for one in ends:
        signal.signal(one, hear)
    try:
        yield asked
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
