"""Options that several commands share, and the scenario they stand for."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from scenarios.build import Setup
    from scenarios.schema import Scenario as Scenario_

Scenario = Annotated[
    str | None,
    typer.Argument(
        metavar="[SCENARIO]",
        help="A scenario file, or the name of a bundled scenario (`vmss-sim scenarios`).",
        show_default=False,
    ),
]
Strategies = Annotated[
    list[str] | None,
    typer.Option(
        "-s",
        "--strategy",
        metavar="NAME",
        help="A strategy, by name or by the scenario's label; may be given several times.",
        show_default=False,
    ),
]
Parameters = Annotated[
    list[str] | None,
    typer.Option(
        "-p",
        "--param",
        metavar="NAME.PARAM=VALUE",
        help="A strategy's parameter, such as batch.size=25% or per-ud.pause=2m.",
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of all randomness.")]
Jobs = Annotated[
    int,
    typer.Option(
        "--jobs", min=0, help="Processes; 0: as many as the work is worth. Changes the time, never the numbers."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout and nothing else there.")]
ModelFile = Annotated[
    Path | None,
    typer.Option("--model", metavar="FILE", help="The scale-set model: `az vmss show`, or GET.", show_default=False),
]
InstancesFile = Annotated[
    Path | None,
    typer.Option(
        "--instances",
        metavar="FILE",
        help="Its instances: `az vmss list-instances --expand instanceView`.",
        show_default=False,
    ),
]
Target = Annotated[
    str | None,
    typer.Option(
        "--target",
        metavar="VERSION",
        help="What to upgrade to: an image version, an image id (/subscriptions/…), or a VHD uri.",
        show_default=False,
    ),
]
Load = Annotated[
    Path | None,
    typer.Option(
        "--load",
        metavar="FILE",
        help="The need over time: CSV of time and value (VMs, or requests/s with --per-vm).",
        show_default=False,
    ),
]
PerVm = Annotated[
    float | None, typer.Option("--per-vm", metavar="N", help="Requests/s one VM serves.", show_default=False)
]
TimeZone = Annotated[
    str | None,
    typer.Option(
        "--time-zone", metavar="ZONE", help="IANA time zone of the load, such as Europe/Berlin.", show_default=False
    ),
]
Slo = Annotated[
    str | None,
    typer.Option(
        "--slo",
        metavar="TEXT",
        help="The objective: 'healthy >= 80%', 'duration <= 2h', 'breach <= 5%', joined by 'and'.",
        show_default=False,
    ),
]
Ready = Annotated[
    str | None,
    typer.Option(
        "--ready",
        metavar="TIME",
        help="Time until your application serves after its VM is up: '60s', or '45s/90s' (median/p95).",
        show_default=False,
    ),
]


Force = Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")]


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What is said of a scale set beside its model, by files and options; a field is an option (`spread`)."""

    instances: InstancesFile = None
    target: Target = None
    load: Load = None
    per_vm: PerVm = None
    time_zone: TimeZone = None
    slo: Slo = None
    ready: Ready = None


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """The command as typer is to see it: each field of `Beside` a parameter, where it has the parameter `beside`."""
    fields = inspect.signature(Beside, eval_str=True).parameters
    own = inspect.signature(command, eval_str=True).parameters.values()
    seen = [field for one in own for field in (fields.values() if one.annotation is Beside else (one,))]

    @wraps(command)
    def run(**given: Any) -> None:
        command(beside=Beside(**{name: given.pop(name) for name in fields}), **given)

    run.__signature__ = inspect.Signature([one.replace(kind=one.KEYWORD_ONLY) for one in seen])  # type: ignore[attr-defined]
    return run


def setup_from(scenario: str | None, model: Path | None, beside: Beside) -> Setup:
    """The scenario that a command line names, or describes by files, worked out. Raises InputError where it does neither or both."""
    from scenarios import build  # noqa: PLC0415  # heavy imports wait until a command runs

    return build.setup(*scenario_from(scenario, model, beside))


def scenario_from(scenario: str | None, model: Path | None, beside: Beside) -> tuple[Scenario_, Path, str]:
    """The scenario, the folder that its paths are relative to, and what to call it. Raises InputError."""
    from planner.errors import InputError  # noqa: PLC0415  # heavy imports wait until a command runs
    from scenarios import files  # noqa: PLC0415
    from scenarios.init import Options, draft  # noqa: PLC0415

    if scenario is not None:
        path = files.find_scenario(scenario)
        if not files.is_snapshot(path):
            given = {"model": model, **asdict(beside)}
            used = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]
            if used:
                raise InputError(
                    "a scenario says this itself", ", ".join(used), scenario, "either a scenario, or files and options"
                )
            return files.load(path), path.parent, str(path)
        if model is not None:
            raise InputError("the model is given twice", "--model", f"{scenario} and {model}", "one of them")
        model = path
    elif model is None:
        raise InputError(
            "nothing to work on",
            "",
            "neither a scenario nor --model",
            "a scenario file, a bundled scenario, or --model",
            "`vmss-sim scenarios` lists the bundled ones",
        )
    made = draft(Options(model=model, **asdict(beside)), Path.cwd())
    return made.scenario, Path.cwd(), str(model)


def refuse_existing(output: Path | None, *, force: bool) -> None:
    """Raises InputError where a file would be replaced, before anything is worked out."""
    from planner.errors import InputError  # noqa: PLC0415  # heavy imports wait until a command runs

    if output is not None and output.is_file() and not force:
        raise InputError("the file exists", str(output), "", "", "choose another name, or say --force")
