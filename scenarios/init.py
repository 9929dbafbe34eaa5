"""A commented scenario from what people have: what `az` printed, a load, an objective.

Rules this module decides:

1. The text loads to exactly the scenario returned beside it; that is checked before it is given away.
2. An option that would change nothing (`--per-vm` without `--load`) is refused, never ignored.
3. The objective is a conjunction: `healthy >= 80% and duration <= 2h and breach <= 5%`. A minimum is `>=`, a maximum `<=`.

What stands in the text is decided in `commented.py`.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from planner.amount import amount
from planner.arm_json import Gap
from planner.errors import InputError, PlannerBug
from planner.explain import did_you_mean
from planner.model import ImageReference, ScaleSet
from scenarios.build import setup
from scenarios.commented import one_line, text_of
from scenarios.files import convert, read_bytes, read_snapshot
from scenarios.given import Assumption
from scenarios.schema import ChangeTable, GuestTable, LoadTable, ObjectiveTable, ScaleSetTable, Scenario, TimingTable
from scenarios.timing import parse_duration_ms


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line gives; each is one option (`--per-vm`).

    model, instances: files as `az … -o json` prints them. target: an image version, an image id ("/…"), a VHD uri, or
    publisher:offer:sku:version; None: the model as it is, where instances are stale. run_command, undo: files, scripts that patch
    the VMs inside, and take that back, instead of a target. load: CSV of time and value.
    per_vm: requests/s one VM serves. ready: a duration, or "median/p95". slo: see `parse_slo`.
    """

    model: Path | None = None
    instances: Path | None = None
    target: str | None = None
    run_command: Path | None = None
    undo: Path | None = None
    load: Path | None = None
    per_vm: float | None = None
    time_zone: str | None = None
    slo: str | None = None
    ready: str | None = None
    starts_at: str | None = None
    max_duration: str | None = None
    title: str | None = None


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A scenario, the commented text that loads to it, what the files did not say, and what was assumed for it."""

    scenario: Scenario
    text: str
    gaps: tuple[Gap, ...]
    assumed: tuple[Assumption, ...]


def draft(options: Options, relative_to: Path) -> Draft:
    """A scenario whose paths are relative to the folder `relative_to`. Raises InputError."""
    if options.model is None:
        raise InputError(
            "no model was given",
            "--model",
            "nothing",
            "the file that `az vmss show -g GROUP -n NAME -o json` prints",
            "--instances takes that of `az vmss list-instances -g GROUP -n NAME --expand instanceView -o json`",
        )
    paths = [path for path in (options.model, options.instances) if path is not None]
    fleet = read_snapshot(paths).scale_set
    change = _guest(options) or _change(options.target, fleet)
    names = [_relative(path, relative_to) for path in paths]
    scenario = Scenario(
        title=_encodable(options.title or "", "--title")
        or f"{one_line(fleet.model.name)}: {_change_in_words(change, fleet)}",
        starts_at=options.starts_at,
        scale_set=ScaleSetTable(from_=names[0] if len(names) == 1 else names),
        change=change,
        timing=TimingTable(ready=None if options.ready is None else parse_ready(options.ready, "--ready")),
        load=_load(options, relative_to),
        objective=_objective(options),
    )
    worked_out = setup(scenario, relative_to, "the options given")
    text = text_of(scenario, worked_out)
    if convert(tomllib.loads(text), Scenario, "init") != scenario:
        raise PlannerBug("the scenario written does not load as itself")
    assumed = tuple(one for one in worked_out.assumptions if one.origin != "yours")
    return Draft(scenario=scenario, text=text, gaps=worked_out.gaps, assumed=assumed)


# -- options ----------------------------------------------------------------------------------------------------------


def _relative(path: Path, folder: Path) -> str:
    """A path as the written file names it: relative to its folder, with forward slashes."""
    try:
        text = Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive
        text = path.absolute().as_posix()
    return _encodable(text, "the name of a file")


def _encodable(text: str, what: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{what} is not text", "", ascii(text), "UTF-8") from error
    return text


def _guest(options: Options) -> ChangeTable | None:
    """A patch inside the VMs; None where none is asked for. Raises InputError for what does not go together."""
    if options.run_command is None:
        if options.undo is not None:
            raise InputError(
                "an undo without what it takes back", "--undo", str(options.undo), "--run-command FILE", ""
            )
        return None
    if options.target is not None:
        raise InputError(
            "one change a rollout", "--run-command", f"--target {options.target} beside it", "one of them",
            "a script that patches the VMs inside leaves the model alone",
        )  # fmt: skip
    undo = None if options.undo is None else _script(options.undo, "--undo")
    return ChangeTable(guest=GuestTable(script=_script(options.run_command, "--run-command"), undo=undo))


def _script(path: Path, option: str) -> str:
    """A script's text. Raises InputError where it is none."""
    try:
        text = read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise InputError("the script is not text", f"{option} {path}", str(error), "UTF-8") from error
    if not text.strip():
        raise InputError("the script is empty", f"{option} {path}", "nothing to run", "a shell script")
    return text


def _change(target: str | None, fleet: ScaleSet) -> ChangeTable:
    if target is None:
        if any(one.latest_model is False for one in fleet.instances.values()):
            return ChangeTable(current_model=True)
        raise InputError(
            "what the set is upgraded to is not said, and no instance is behind the model",
            "--target",
            "nothing",
            "an image version such as 22.04.202606010, an image id, or a VHD uri; or --run-command FILE",
            "`az vm image list --all` lists versions",
        )
    text = _encodable(target.strip(), "--target")
    if not text:
        raise InputError("what the set is upgraded to is empty", "--target", repr(target), "an image version")
    if text.startswith("/"):
        return ChangeTable(id=text)
    if "://" in text:
        return ChangeTable(uri=text)
    parts = text.split(":")
    if len(parts) == 1:
        return ChangeTable(version=text)
    if len(parts) != 4 or not all(parts):
        raise InputError(
            "not an image", "--target", repr(target), "a version, publisher:offer:sku:version, an image id, or a uri"
        )
    now = fleet.model.image or ImageReference()
    given = dict(zip(("publisher", "offer", "sku"), parts, strict=False))
    other: dict[str, Any] = {
        name: value for name, value in given.items() if (getattr(now, name) or "").lower() != value.lower()
    }
    return ChangeTable(version=parts[3], **other)


def _change_in_words(change: ChangeTable, fleet: ScaleSet) -> str:
    if change.current_model:
        return "bring stale instances up to the model"
    if change.guest is not None:
        return "a patch inside the VMs"
    image = fleet.model.image
    now = "the present image" if image is None else image.version or str(image)
    to = change.version or change.id or change.uri or ""
    parts = [part for part in (change.publisher, change.offer, change.sku) if part]
    return f"{one_line(now)} to {one_line(' '.join([*parts, to]))}"


def _load(options: Options, folder: Path) -> LoadTable:
    if options.load is None:
        for name, value in (("--per-vm", options.per_vm), ("--time-zone", options.time_zone)):
            if value is not None:
                raise InputError("this belongs to a load", name, str(value), "--load with a CSV file of time and value")
        return LoadTable()
    return LoadTable(
        curve=_relative(options.load, folder),
        per_vm=options.per_vm,
        time_zone=None if options.time_zone is None else _encodable(options.time_zone, "--time-zone"),
    )


def _objective(options: Options) -> ObjectiveTable:
    table = ObjectiveTable() if options.slo is None else parse_slo(options.slo, "--slo")
    if options.max_duration is None:
        return table
    if table.max_duration is not None:
        raise InputError("the longest duration is given twice", "--max-duration", options.max_duration, "once")
    return msgspec.structs.replace(table, max_duration=_duration(options.max_duration, "--max-duration"))


def _duration(text: str, where: str) -> float | int | str:
    """A duration as given: a number of seconds, or text."""
    given = text.strip()
    value: float | int | str = given
    if re.fullmatch(r"\d{1,12}", given, re.ASCII):
        value = int(given)
    elif re.fullmatch(r"\d{1,12}\.\d{1,9}", given, re.ASCII):
        value = float(given)
    parse_duration_ms(value, where)
    return value


def parse_ready(text: str, where: str) -> Any:
    """Time until the application serves: a duration, or median/p95 of a lognormal. Raises InputError."""
    parts = text.split("/")
    if len(parts) == 1:
        return _duration(text, where)
    if len(parts) != 2:
        raise InputError("not a time", where, repr(text), '"60s", or "45s/90s" (median/p95)')
    median, p95 = (_duration(part, where) for part in parts)
    if not 0 < parse_duration_ms(median, where) <= parse_duration_ms(p95, where):
        raise InputError("the median comes first and is more than 0", where, repr(text), '"45s/90s" (median/p95)')
    return {"lognormal": {"median": median, "p95": p95}}


_TERM = re.compile(r"(?P<word>[A-Za-z_][\w-]*)\s*(?P<op><=|>=|≤|≥|==?|<|>)\s*(?P<value>.+)")
SLO = {
    "healthy": (">=", "min_healthy", "healthy >= 80%"),
    "duration": ("<=", "max_duration", "duration <= 2h"),
    "breach": ("<=", "max_breach", "breach <= 5%"),
}
"""A word of an objective: its operator, the key it stands for, and how it is written."""
_UNDERSTOOD = ", ".join(f"'{example}'" for _, _, example in SLO.values()) + ", joined by 'and' or ','"


def parse_slo(text: str, where: str) -> ObjectiveTable:
    """An objective in words (rule 3). Raises InputError naming what is understood."""
    found: dict[str, Any] = {}
    for part in re.split(r"\s*,\s*|\s+and\s+", text.strip(), flags=re.IGNORECASE):
        match = _TERM.fullmatch(part.strip())
        if match is None:
            raise InputError("not an objective", where, repr(part or text), _UNDERSTOOD)
        word = match["word"].lower()
        if word not in SLO:
            near = did_you_mean(word, SLO)
            raise InputError(f"unknown objective {match['word']!r}", where, repr(part), _UNDERSTOOD, near)
        op, key, example = SLO[word]
        if match["op"].replace("≤", "<=").replace("≥", ">=") != op:
            what = "a minimum" if op == ">=" else "a maximum"
            raise InputError(f"{word!r} is {what}, written {op}", where, repr(part), f"such as {example!r}")
        if key in found:
            raise InputError(f"{word!r} is given twice", where, repr(text), "once")
        found[key] = _slo_value(word, match["value"].strip(), where)
    return ObjectiveTable(**found)


def _slo_value(word: str, text: str, where: str) -> Any:
    if word == "healthy":
        given = amount(text, where)
        return int(given) if given.isdecimal() else given
    if word == "duration":
        return _duration(text, where)
    percent = text.endswith("%")
    try:
        share = float(text.rstrip("% ")) / (100 if percent else 1)
    except ValueError as error:
        raise InputError("not a probability", where, repr(text), "0% to 100%, or 0 to 1") from error
    if not 0 <= share <= 1:
        raise InputError("not a probability", where, repr(text), "0% to 100%, or 0 to 1")
    return share
