"""The control endpoint, `/_vmss-sim/`: what a test or an operator of the emulator may do that no client of Azure can.

Rules this module decides:

1. Every request carries the token that was printed at the start, in the header `X-Vmss-Sim-Token`; else 401, and nothing is said of what
   there is. The comparison takes equally long for every wrong token.
2. Durations are seconds. An answer is JSON, but for the trace and the snapshot, which are lines of JSON (`application/x-ndjson`).
3. Reading (`GET`) changes nothing, except at `--clock real --speed 1`, where time passes by itself.
4. What is wrong with a request is one sentence, in ARM's form of an error.

| request | body | answer |
|---|---|---|
| GET state | | time, clock, sets with their instances and what runs, faults |
| GET report | | the report, as `vmss-sim emulate --json` prints it in the end |
| GET trace | | every exchange since the beginning |
| POST advance | {"seconds"} | {"now_s"} |
| POST run-until-idle | {"limit_seconds"}, may be left out | {"now_s", "idle"} |
| POST sleep | {"seconds"}; and {"pid", "parent"} of who comes back; or {"ticket"} of who does | {"wall_seconds", "ticket"}: how long to sleep really; unless `ticket` is null, to come back with it then |
| POST faults | {"faults": [{...}]}, the tables of a scenario's `[[fault]]` | {"faults": how many} |
| POST reset | | {"now_s"} |
| GET snapshot | | the snapshot |
| POST restore | a snapshot | {"now_s", "stand_ins"}: how many texts (user data, scripts) read as what stands for them, since no snapshot holds them |
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from planner.errors import InputError
from vmss_sim.arm import measured
from vmss_sim.arm.emulator import Emulator
from vmss_sim.arm.http import Refused, Request, Response
from vmss_sim.arm.sleepers import Sleeper

PREFIX = "/_vmss-sim"
TOKEN = "x-vmss-sim-token"
LONGEST_S = 366 * 86_400


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A body that is a file on disk, as far as it goes now."""

    path: Path
    size: int


class Lines(msgspec.Struct, frozen=True, kw_only=True):
    """A body that is lines of JSON already."""

    data: bytes


class Control:
    """The control endpoint of an emulator."""

    def __init__(self, emulator: Emulator, token: str) -> None:
        self.emulator, self._token = emulator, token
        emulator.control = self.answer

    def answer(self, request: Request) -> Response | None:
        """The answer; None where the request is for somebody else."""
        path = request.path.rstrip("/").lower()
        if path != PREFIX and not path.startswith(f"{PREFIX}/"):
            return None
        try:
            if not hmac.compare_digest(request.headers.get(TOKEN, "").encode(), self._token.encode()):
                raise Refused(
                    401, "TokenNeeded", f"the header {TOKEN} does not hold the token that was printed at the start"
                )
            what = path.removeprefix(PREFIX).strip("/")
            handler = _TABLE.get((request.method, what))
            if handler is None:
                known = ", ".join(f"{method} {name}" for method, name in _TABLE)
                raise Refused(404, "NotFound", f"{request.method} {what or '/'} is not known here; {known} are")
            return handler(self.emulator, request)
        except Refused as refusal:
            return refusal.response()
        except InputError as error:
            return Refused(400, "InvalidInput", str(error)).response()


def _said(request: Request, *known: str) -> dict[str, Any]:
    """The body, of which only these keys are understood. Raises Refused."""
    if not request.body.strip():
        return {}
    try:
        found = msgspec.json.decode(request.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(400, "InvalidInput", f"the body is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise Refused(400, "InvalidInput", "the body is no JSON object")
    for key in found:
        if key not in known:
            raise Refused(400, "InvalidInput", f"{key[:60]}: unknown key; expected {', '.join(known)}", key)
    return found


def _seconds(said: dict[str, Any], key: str, default: float | None = None) -> float:
    value: Any = said.get(key, default)
    fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not fits or not 0 <= value <= LONGEST_S:
        raise Refused(400, "InvalidInput", f"{key}: found {value!r}; expected seconds, 0 to {LONGEST_S}", key)
    return float(value)


def _process(said: dict[str, Any], key: str) -> int | None:
    value: Any = said.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 31):
        raise Refused(400, "InvalidInput", f"{key}: found {value!r}; expected the number of a process, or null", key)
    return value


def _now(emulator: Emulator, **more: Any) -> Response:
    return Response(status=200, body={"now_s": emulator.clock.now_ms() / 1000, **more})


def _state(emulator: Emulator, _request: Request) -> Response:
    emulator.catch_up()
    site, clock = emulator.site, emulator.clock
    sets = [
        {
            "id": one.id,
            "mode": one.world.mode,
            "provisioning": one.provisioning,
            "instances": measured.instances(one.world),
            "running": [
                {"kind": work.kind, "started_s": work.started_at / 1000, "instances": list(work.ids)}
                for work in one.world.running.values()
            ],
            "rolling_upgrade": None if one.world.rolling_upgrade is None else one.world.rolling_upgrade.code,
            "faults": [msgspec.to_builtins(fault) for fault in one.world.faults],
        }
        for one in site.sets
    ]
    return _now(emulator, clock=clock.kind, speed=clock.speed, idle=not emulator.busy, sets=sets)


def _report(emulator: Emulator, _request: Request) -> Response:
    return Response(status=200, body=emulator.report())


def _trace(emulator: Emulator, _request: Request) -> Response:
    return Response(status=200, body=File(path=emulator.trace.path, size=emulator.trace.path.stat().st_size))


def _advance(emulator: Emulator, request: Request) -> Response:
    emulator.advance(round(_seconds(_said(request, "seconds"), "seconds") * 1000))
    return _now(emulator)


def _run_until_idle(emulator: Emulator, request: Request) -> Response:
    limit = _seconds(_said(request, "limit_seconds"), "limit_seconds", 7 * 86_400)
    return _now(emulator, idle=emulator.run_until_idle(round(limit * 1000)))


def _sleep(emulator: Emulator, request: Request) -> Response:
    said = _said(request, "seconds", "pid", "parent", "ticket")
    if "ticket" in said:
        told = emulator.back(str(said["ticket"]))
    else:
        sleeper = Sleeper(pid=_process(said, "pid"), parent=_process(said, "parent")) if "pid" in said else None
        told = emulator.sleep(_seconds(said, "seconds"), sleeper)
    return _now(emulator, wall_seconds=told.wall_s, ticket=told.ticket or None)


def _faults(emulator: Emulator, request: Request) -> Response:
    given = _said(request, "faults").get("faults")
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise Refused(400, "InvalidInput", "faults: expected a list of tables, as a scenario's [[fault]]", "faults")
    return _now(emulator, faults=len(emulator.set_faults(given)))


def _reset(emulator: Emulator, _request: Request) -> Response:
    emulator.reset()
    return _now(emulator)


def _snapshot(emulator: Emulator, _request: Request) -> Response:
    return Response(status=200, body=Lines(data=b"".join(emulator.snapshot())))


def _restore(emulator: Emulator, request: Request) -> Response:
    return _now(emulator, stand_ins=emulator.restore(request.body.splitlines()))


Handler = Callable[[Emulator, Request], Response]
_TABLE: dict[tuple[str, str], Handler] = {
    ("GET", "state"): _state,
    ("GET", "report"): _report,
    ("GET", "trace"): _trace,
    ("POST", "advance"): _advance,
    ("POST", "run-until-idle"): _run_until_idle,
    ("POST", "sleep"): _sleep,
    ("POST", "faults"): _faults,
    ("POST", "reset"): _reset,
    ("GET", "snapshot"): _snapshot,
    ("POST", "restore"): _restore,
}
