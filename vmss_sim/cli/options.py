"""Options that several commands share, and the scenario they stand for."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vmss_sim.cli import logs, opened

if TYPE_CHECKING:
    from backends.store import Store
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
        "--image-version",
        metavar="VERSION",
        help="What to upgrade to: an image version, an image id (/subscriptions/…), or a VHD uri.",
        show_default=False,
    ),
]
RunCommand = Annotated[
    Path | None,
    typer.Option(
        "--run-command",
        metavar="FILE",
        help="Or a patch inside the VMs: this script, as a managed run-command. It stands in the plan: no secrets in it.",
        show_default=False,
    ),
]
Undo = Annotated[
    Path | None,
    typer.Option(
        "--undo",
        metavar="FILE",
        help="The script that takes --run-command's back; without it nothing can be rolled back.",
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
    run_command: RunCommand = None
    undo: Undo = None
    load: Load = None
    per_vm: PerVm = None
    time_zone: TimeZone = None
    slo: Slo = None
    ready: Ready = None

    @property
    def changes(self) -> bool:
        """Is it said what changes?"""
        return self.target is not None or self.run_command is not None or self.undo is not None


@dataclass(frozen=True, kw_only=True)
class Login:
    """How one logs in, at Azure or at a store there; a field is an option (`spread`)."""

    cloud: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="public, government or china; else as az and AZURE_* say.", show_default=False
        ),
    ] = None
    credential: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="default, environment, workload-identity, managed-identity, cli, developer-cli, powershell or device-code.",
            show_default=False,
        ),
    ] = None
    tenant: Annotated[str | None, typer.Option(metavar="ID", help="The subscription's tenant.", show_default=False)] = (
        None
    )
    client_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Of a managed or workload identity.", show_default=False)
    ] = None

    def opened(self, store: str | None) -> Store:
        """The store of this name, with this login where it needs one. Raises InputError."""
        from backends import store as stores  # noqa: PLC0415  # heavy imports wait until a command runs
        from vmss_sim.cli import operating  # noqa: PLC0415  # it needs this module's options

        return opened.until_the_end(stores.open_store(store, stores.Login.of(asdict(self)), operating.VOICE))


@dataclass(frozen=True, kw_only=True)
class Azure(Login):
    """How Azure is reached; a field is an option (`spread`)."""

    endpoint: Annotated[
        str | None,
        typer.Option(metavar="URL", help="A Resource Manager of your own (emulator, Azure Stack).", show_default=False),
    ] = None
    ca: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its certificate authority, PEM.", show_default=False)
    ] = None


@dataclass(frozen=True, kw_only=True)
class WhichSet:
    """Which scale set in Azure; a field is an option (`spread`)."""

    scale_set: Annotated[
        str | None, typer.Option(metavar="ID", help="The scale set, by its ARM id.", show_default=False)
    ] = None
    group: Annotated[
        str | None, typer.Option("-g", "--resource-group", metavar="GROUP", help="Or by group …", show_default=False)
    ] = None
    name: Annotated[
        str | None, typer.Option("-n", "--name", metavar="NAME", help="… and name.", show_default=False)
    ] = None
    subscription: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Its subscription, where not the default one.", show_default=False),
    ] = None

    def id(self) -> str:
        """The ARM id. Raises InputError where it is said neither way, or both."""
        from backends.azure.clouds import Scope, scope_of, subscription  # noqa: PLC0415
        from planner.errors import InputError  # noqa: PLC0415

        if self.scale_set is not None and not (self.group or self.name or self.subscription):
            return scope_of(self.scale_set).id
        if self.scale_set is None and self.group and self.name:
            return Scope(subscription=subscription(self.subscription), group=self.group, name=self.name).id
        raise InputError("the scale set is not said", "--scale-set", "", "--scale-set ID, or -g GROUP and -n NAME", "")


@dataclass(frozen=True, kw_only=True)
class PlannedSet(WhichSet):
    """The same, of a command whose `-n` says something else."""

    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="… and name.", show_default=False)] = None


@dataclass(frozen=True, kw_only=True)
class AllSets:
    """Every scale set of a subscription or of a group; a field is an option (`spread`)."""

    every: Annotated[
        bool, typer.Option("--all", help="Every scale set in Azure, of the subscription or of a group. Reads only.")
    ] = False
    group: Annotated[
        str | None,
        typer.Option("-g", "--resource-group", metavar="GROUP", help="With --all: only its sets.", show_default=False),
    ] = None
    subscription: Annotated[
        str | None,
        typer.Option(metavar="ID", help="With --all: where not the default one.", show_default=False),
    ] = None

    def check(self, azure: Azure, alone: dict[str, Any]) -> None:
        """Raises InputError where what is said is of all sets and of one. alone: options of a single one, by name, as given."""
        from planner.errors import InputError  # noqa: PLC0415

        of_all = {"--resource-group": self.group, "--subscription": self.subscription, **named(asdict(azure))}
        wrong = [name for name, value in (alone if self.every else of_all).items() if value not in (None, False)]
        if wrong and self.every:
            raise InputError("this is said of a single set", ", ".join(wrong), "--all", "one or the other")
        if wrong:
            raise InputError("this is said of sets in Azure", ", ".join(wrong), "no --all", "--all beside it")


def named(given: dict[str, Any]) -> dict[str, Any]:
    """What options were given, by their names on the command line."""
    return {f"--{name.replace('_', '-')}": value for name, value in given.items()}


Verbose = Annotated[
    int,
    typer.Option(
        "-v",
        "--verbose",
        count=True,
        help="What Azure's SDK logs, on stderr, without tokens; -vv: more. Also $VMSS_SIM_LOG=info|debug.",
        show_default=False,
    ),
]


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """The command as typer is to see it: a parameter that is one of this file's dataclasses stands for all of its fields. One that reaches
    Azure has `-v` beside them.
    """
    own = inspect.signature(command, eval_str=True).parameters.values()
    groups: dict[str, Any] = {one.name: one.annotation for one in own if is_dataclass(one.annotation)}
    fields = {name: inspect.signature(group, eval_str=True).parameters for name, group in groups.items()}
    seen = [field for one in own for field in (fields[one.name].values() if one.name in groups else (one,))]

    logs_in = any(issubclass(group, Login) for group in groups.values())
    if logs_in:
        seen.append(inspect.Parameter("verbose", inspect.Parameter.KEYWORD_ONLY, default=0, annotation=Verbose))

    @wraps(command)
    def run(**given: Any) -> None:
        if logs_in:
            logs.turn_on_as_asked(given.pop("verbose"))
        made = {name: group(**{field: given.pop(field) for field in fields[name]}) for name, group in groups.items()}
        with opened.command():
            command(**made, **given)

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
            loaded = files.load(path)  # what is neither is told as that, whatever else is said
            given = named({"model": model, **asdict(beside)})
            used = [name for name, value in given.items() if value is not None]
            if used:
                raise InputError(
                    "a scenario says this itself", ", ".join(used), scenario, "either a scenario, or files and options"
                )
            return loaded, path.parent, str(path)
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


def refuse_idle(given: dict[str, object], found: str, expected: str) -> None:
    """Raises InputError for options that were given and say nothing here: no option is ignored in silence."""
    from planner.errors import InputError  # noqa: PLC0415  # heavy imports wait until a command runs

    idle = [name for name, value in given.items() if value]
    if idle:
        raise InputError("this says nothing here", ", ".join(idle), found, expected)


def refuse_existing(output: Path | None, *, force: bool) -> None:
    """Raises InputError where a file would be replaced, or has no place to be, before anything is worked out."""
    from planner.errors import InputError  # noqa: PLC0415  # heavy imports wait until a command runs

    if output is None:
        return
    if output.is_dir() or not output.resolve().parent.is_dir():
        found = "a folder" if output.is_dir() else "No such file or directory"
        raise InputError("the file cannot be written", str(output), found, "a path in a folder that exists")
    if output.is_file() and not force:
        raise InputError("the file exists", str(output), "", "", "choose another name, or say --force")
