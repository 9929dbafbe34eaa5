"""The plan file: `{"sha256": …, "plan": {…}, "forecast": {…} | null, "forecast_sha256": …}`, for people and machines.

Rules this module decides:

1. `sha256` covers the bytes of `plan` as they stand in the file, from `{` to `}`: what was reviewed is what is applied.
   It finds edits and accidents; it is no signature, so a plan file stays untrusted input (`checks.py`).
2. `forecast_sha256` covers the plan's digest, a newline and the bytes of `forecast`: a forecast belongs to one plan, and
   forecasting again keeps the plan's bytes, digest and approval.
3. Everything is indented by two spaces, so that a diff shows what a review needs.
4. A file is refused, with what was found and expected, when it is not JSON, holds a key twice, is not the format this
   version writes, has an unknown key (the nearest known one is named) or a wrong type, or contradicts itself.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Annotated, Any, NoReturn

import msgspec

from planner.errors import InputError
from planner.explain import explain
from planner.plan import FORMAT, Plan
from planner.planfile.checks import check
from planner.planfile.describe import Section, describe

__all__ = [
    "Assumption",
    "Forecast",
    "PlanFile",
    "Proportion",
    "Section",
    "Summary",
    "decode",
    "describe",
    "encode",
    "with_forecast",
]

_BOM = b"\xef\xbb\xbf"


class _Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base: every field is written out."""


class Summary(_Value, frozen=True, kw_only=True):
    """`n` values: their mean with its 95 % interval (low, high), and quantiles, in their unit; None: no such finite number."""

    mean: float | None
    p05: float | None
    p50: float | None
    p95: float | None
    p99: float | None
    ci95: tuple[float, float] | None
    n: int


class Proportion(_Value, frozen=True, kw_only=True):
    """A share of `n` runs, 0..1, with its 95 % interval (low, high); None where n = 0."""

    estimate: float | None
    ci95: tuple[float, float] | None
    n: int


class Assumption(_Value, frozen=True, kw_only=True):
    """What a forecast rests on. origin: yours, measured, documented or guessed. flips_at: where the verdict would change."""

    name: str
    value: str
    origin: str
    flips_at: str = ""


class Forecast(_Value, frozen=True, kw_only=True):
    """What simulations of a plan said. metrics: name (unit last) to summary; completed, breached: shares of the runs. schedule: when the
    executor looked, as (until, every) from the start of a wait; empty: every `poll_ms`.
    """

    tool: str
    seed: int
    replications: Annotated[int, msgspec.Meta(ge=1)]
    poll_ms: Annotated[int, msgspec.Meta(ge=0)]
    scenario: str
    metrics: dict[str, Summary]
    completed: Proportion
    breached: Proportion
    assumptions: tuple[Assumption, ...]
    schedule: tuple[tuple[int, int], ...] = ()


class PlanFile(_Value, frozen=True, kw_only=True):
    """A plan file that was read and found consistent."""

    plan: Plan
    sha256: str
    forecast: Forecast | None


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The outer object; plan and forecast as the bytes that stand in the file."""

    sha256: str
    plan: msgspec.Raw
    forecast: msgspec.Raw = msgspec.Raw(b"null")
    forecast_sha256: str | None = None


class _Head(msgspec.Struct, frozen=True):
    """What is read of a plan before its format is known."""

    format: str
    tool: Any = ""


def encode(plan: Plan, forecast: Forecast | None = None) -> bytes:
    """The plan file. The same plan gives the same bytes."""
    return _file(_pretty(plan), forecast)


def with_forecast(data: bytes, forecast: Forecast | None, where: str = "the plan file") -> bytes:
    """The same plan file with another forecast (or none): the plan's bytes and digest stay. Raises InputError."""
    decode(data, where)
    return _file(bytes(msgspec.json.decode(data, type=_File).plan), forecast)


def decode(data: bytes, where: str, *, begun: bool = False) -> PlanFile:
    """Read a plan file. Raises InputError (rule 4); `where` names the file in its messages. begun: it is that of a rollout, which has to be looked
    at and ended even where nothing would be begun with it any more.
    """
    whole = _parse(data, where)
    try:
        file = msgspec.json.decode(data, type=_File)
    except msgspec.ValidationError as error:
        if isinstance(whole, dict) and "sha256" not in whole and "plan" in whole:
            raise InputError(
                "the plan file has no digest", f"{where}: sha256", "nothing", "64 hex digits", _AGAIN
            ) from error
        raise explain(error, _File, where, whole) from error
    stored = bytes(file.plan)
    found = sha256(stored).hexdigest()
    if found != file.sha256:
        _refuse_edited(stored, file.sha256, found, where)
    plan = _plan(stored, where)
    check(plan, where, begun=begun)
    return PlanFile(plan=plan, sha256=file.sha256, forecast=_forecast(file, where))


_AGAIN = "make the plan again with `vmss-sim plan`"


def _pretty(value: msgspec.Struct) -> bytes:
    """JSON as it stands inside the file: indented by two, and by two more for the object around it."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).replace(b"\n", b"\n  ")


def _file(plan: bytes, forecast: Forecast | None) -> bytes:
    digest = sha256(plan).hexdigest()
    told = b"null" if forecast is None else _pretty(forecast)
    second = "null" if forecast is None else f'"{_forecast_digest(digest, told)}"'
    return b'{\n  "sha256": "%b",\n  "plan": %b,\n  "forecast": %b,\n  "forecast_sha256": %b\n}\n' % (
        digest.encode(),
        plan,
        told,
        second.encode(),
    )


def _forecast_digest(plan_digest: str, told: bytes) -> str:
    return sha256(plan_digest.encode() + b"\n" + told).hexdigest()


def _parse(data: bytes, where: str) -> Any:
    """The file as plain JSON, in which no object holds a key twice."""
    if data.startswith(_BOM):
        raise InputError("not JSON", where, "a byte order mark", "UTF-8 without one", "save it without, or " + _AGAIN)
    try:
        whole = msgspec.json.decode(data)
        json.loads(data, object_pairs_hook=_once, parse_int=len, parse_float=len)
    except _TwiceError as error:
        raise InputError(
            "a key stands twice in one object", where, repr(error.args[0]), "every key once", _AGAIN
        ) from error
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InputError("not JSON", where, str(error), "a plan file", _AGAIN) from error
    return whole


class _TwiceError(Exception):
    """A key that stands twice. Carries the key."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        keys = [key for key, _ in pairs]
        raise _TwiceError(next(key for key in keys if keys.count(key) > 1))
    return made


def _refuse_edited(stored: bytes, expected: str, found: str, where: str) -> NoReturn:
    """Say whether the content was changed or only the layout."""
    what = "the plan was edited after it was made: its digest does not match"
    fix = f"take the file as it was vetted, or {_AGAIN} and have it vetted"
    try:
        same = sha256(_pretty(msgspec.json.decode(stored, type=Plan))).hexdigest() == expected
    except msgspec.DecodeError:
        same = False
    if same:
        what = "the plan was reformatted after it was made: its content is the same, its digest does not match"
        fix = "take the file as it was written"
        if b"\r\n" in stored:
            fix += " (its line ends were changed; in git, mark it `-text`)"
    raise InputError(what, f"{where}: sha256", f"sha256 {found}", f"sha256 {expected}", fix)


def _plan(stored: bytes, where: str) -> Plan:
    plain = msgspec.json.decode(stored)
    try:
        head = msgspec.json.decode(stored, type=_Head)
        if head.format != FORMAT:
            raise InputError(
                "this format of plans is not known",
                f"{where}: plan.format",
                f"{head.format!r}, written by {head.tool}" if head.tool else repr(head.format),
                repr(FORMAT),
                f"use the version that wrote it, or {_AGAIN}",
            )
        return msgspec.json.decode(stored, type=Plan)
    except msgspec.ValidationError as error:
        raise explain(error, Plan, where, plain, "plan") from error


def _forecast(file: _File, where: str) -> Forecast | None:
    told = bytes(file.forecast)
    if told == b"null":
        if file.forecast_sha256 is not None:
            raise InputError(
                "there is a digest and no forecast", f"{where}: forecast", "null", "a forecast", _FORECAST_AGAIN
            )
        return None
    expected = file.forecast_sha256
    found = _forecast_digest(file.sha256, told)
    if found != expected:
        raise InputError(
            "the forecast was edited, or belongs to another plan: its digest does not match",
            f"{where}: forecast_sha256",
            f"sha256 {found}",
            f"sha256 {expected}" if expected else "no digest",
            _FORECAST_AGAIN,
        )
    try:
        return msgspec.json.decode(told, type=Forecast)
    except msgspec.ValidationError as error:
        raise explain(error, Forecast, where, msgspec.json.decode(told), "forecast") from error


_FORECAST_AGAIN = "forecast again; the plan itself stays vetted"
