"""How things behave in a scenario: timings, failures, and what the service needs.

Required capacity: `[load]`, else `objective.min_healthy`, else 80 % (Azure's own default tolerates 20 % unhealthy).
"""

from __future__ import annotations

import math
import reprlib
from pathlib import Path
from typing import Any

from planner.amount import at_least
from planner.errors import InputError
from planner.metrics import StepFunction, constant
from scenarios import background, load_curve
from scenarios.given import Assumption, amount_of, count_of, probability, span_ms, tell, time_in_words
from scenarios.schema import (
    FailuresTable,
    Scenario,
)
from scenarios.timing import parse_duration_ms, parse_timing
from scenarios.timing_file import Book, FailureRow
from vmss_sim.world.config import Failures
from vmss_sim.world.timings import Constant, Exponential, Timing

UPGRADE_FAILURE = 0.005
MTTR_S = 1800.0
SPAN_MS = 3 * 86_400_000
RETRIES = 100
SLOW = (0.1, 100.0)
UTC = "UTC"


def timings(
    scenario: Scenario, os: str, where: str, assumed: list[Assumption], book: Book
) -> tuple[dict[str, Timing], Timing]:
    """The timings by operation, and that of the application. Raises InputError."""
    table = scenario.timing
    operations: dict[str, Timing] = {}
    for field in ("upgrade", "reimage", "restart", "run_command", "update_model"):
        name = field.replace("_", "-")
        given = getattr(table, field)
        operations[name] = parse_timing(given, f"{where}: timing.{field}", name, os, book.recorded)  # type: ignore[arg-type]  # a System
        row = book.recorded[name].get(os)  # type: ignore[call-overload]
        if field in ("upgrade", "update_model") or given != "recorded" or (row and row.origin == "yours"):
            origin = row.origin if given == "recorded" and row else "yours"
            mean = operations[name].mean_s()
            value = f"mean {mean:.0f} s" if mean >= 10 else f"mean {mean:.1f} s"
            value += f" ({row.note}, n={row.n})" if given == "recorded" and row else ""
            tell(
                assumed,
                f"{name} of one VM" if field != "update_model" else "model update",
                value,
                origin,
                f"timing.{field}",
                "upgrade" if field == "upgrade" and origin != "yours" else "",
            )
    for name, rows in book.recorded.items():
        operations.setdefault(name, rows[os].timing)  # type: ignore[index]
    for name in ("suspend-repairs", "resume-repairs"):
        operations[name] = operations["set-orchestration-service-state"]
    operations["set-capacity"] = Constant(seconds=1)
    if table.ready is None:
        usual = book.ready[os]  # type: ignore[index]
        ready = usual.timing
        tell(
            assumed,
            "your application is ready",
            f"p95 {ready.ppf_ms_scalar(0.95) / 1000:.0f} s after its VM"
            + (f" ({usual.note}, n={usual.n})" if usual.origin == "yours" else ""),
            usual.origin,
            "timing.ready",
            "ready" if usual.origin == "guessed" else "",
        )
    else:
        ready = parse_timing(table.ready, f"{where}: timing.ready", "ready", os)  # type: ignore[arg-type]
        tell(
            assumed,
            "your application is ready",
            f"p95 {ready.ppf_ms_scalar(0.95) / 1000:.0f} s after its VM",
            "yours",
            "timing.ready",
        )
    return operations, ready


def failures_of(table: FailuresTable, where: str, assumed: list[Assumption], seen: FailureRow | None) -> Failures:
    """What goes wrong. seen: how often upgrades failed in the history of a timing file. Raises InputError."""
    at = f"{where}: failures"
    given = table.upgrade
    if given is None and seen is not None:
        upgrade, guessed = seen.rate, False
        tell(
            assumed,
            "one VM's upgrade fails",
            f"{upgrade:.2%} ({seen.failed} of {seen.n} seen)",
            "yours",
            "failures.upgrade",
        )
    else:
        upgrade, guessed = probability(UPGRADE_FAILURE if given is None else given, f"{at}.upgrade"), given is None
        tell(
            assumed,
            "one VM's upgrade fails",
            f"{upgrade:.2%}",
            "guessed" if guessed else "yours",
            "failures.upgrade",
            "failure" if guessed else "",
        )
    for name, value, known in (
        ("becomes", table.becomes, ("dead", "old-image")),
        ("background_becomes", table.background_becomes, ("repaired", "old-image")),
        ("background_hits", table.background_hits, ("all", "upgraded")),
    ):
        if value not in known:
            raise InputError("unknown choice", f"{at}.{name}", repr(value), " or ".join(known))
    count_of(table.retries, 0, f"{at}.retries", 0, RETRIES)
    usual = None if table.background is None else background.preset(table.background, f"{at}.background")
    mttf: float | None = None if usual is None else usual.mttf_ms
    if table.mttf is not None:
        mttf = span_ms(table.mttf, f"{at}.mttf")
    if mttf is None:
        tell(assumed, "background failures", "none", "guessed", "failures.mttf")
    elif usual is not None and table.mttf is None:
        value = f"one serving VM in {time_in_words(mttf)} on average, as {table.background} ({usual.of})"
        tell(assumed, "background failures", value, "yours", "failures.background")
    else:
        tell(
            assumed,
            "background failures",
            f"one serving VM in {time_in_words(mttf)} on average",
            "yours",
            "failures.mttf",
        )
    bad = table.bad_image
    if bad is not None:
        shows = parse_duration_ms(bad.after, f"{at}.bad_image.after")
        tell(
            assumed,
            "the image is bad",
            f"for {probability(bad.share, f'{at}.bad_image.share'):.0%} of the instances, "
            + (f"which shows {time_in_words(shows)} after they serve" if shows else "which never become healthy"),
            "yours",
            "failures.bad_image",
        )
    return Failures(
        upgrade=upgrade,
        becomes=table.becomes,
        mttf_ms=mttf,
        mttr=_mttr(table.mttr, usual, f"{at}.mttr"),
        background_becomes=table.background_becomes,
        background_hits=table.background_hits,
        bad_share=probability(bad.share, f"{at}.bad_image.share") if bad else 0.0,
        bad_after_ms=parse_duration_ms(bad.after, f"{at}.bad_image.after") if bad else 0,
        slow=_factor(table.slow_image, f"{at}.slow_image"),
        ageing_ms=None if table.ageing is None else float(span_ms(table.ageing, f"{at}.ageing")),
    )


def _factor(value: float, where: str) -> float:
    if not (math.isfinite(value) and SLOW[0] <= value <= SLOW[1]):
        raise InputError("out of range", where, reprlib.repr(value), f"{SLOW[0]:g} to {SLOW[1]:g}")
    return value


def _mttr(given: Any, usual: background.Background | None, where: str) -> Timing:
    if given is not None:
        return parse_timing(given, where, "mttr", "unknown")
    return Constant(MTTR_S) if usual is None else Exponential(mean=usual.mttr_s)


def required_of(
    scenario: Scenario,
    folder: Path,
    where: str,
    total: int,
    min_healthy: str | None,
    horizon_ms: int,
    assumed: list[Assumption],
) -> tuple[StepFunction, str | None]:
    """Rule 4."""
    table = scenario.load
    at = f"{where}: load"
    if table.required is not None and table.curve is not None:
        raise InputError("the need is given once", at, "required and curve", "one of them")
    local = load_curve.zone(UTC if table.time_zone is None else table.time_zone, f"{at}.time_zone")
    starts_at = f"{where}: starts_at"
    if table.per_vm is not None:
        if table.curve is None:
            raise InputError("requests/s belong to a curve", f"{at}.per_vm", f"{table.per_vm:g}", "`curve` beside it")
        if not 0 < table.per_vm < math.inf:
            raise InputError("one VM serves more than nothing", f"{at}.per_vm", f"{table.per_vm:g}", "a number above 0")
    if table.curve is None:
        load_curve.start_of(scenario.starts_at, local, starts_at)
    else:
        if isinstance(table.curve, str):
            rows: load_curve.Rows = load_curve.read_csv(folder / table.curve)
            place = str(folder / table.curve)
        else:
            place = f"{at}.curve"
            rows = load_curve.checked(table.curve, place)
        start = load_curve.start_of(scenario.starts_at, local, starts_at, rows)
        need = load_curve.required(rows, table.per_vm, start, max(horizon_ms, SPAN_MS), place)
        least, most = min(need.values), max(need.values)
        if least > total:
            raise InputError("the load always needs more than there are", place, f"{least} VMs", f"at most {total}")
        tell(
            assumed,
            "the rollout starts",
            start.isoformat(timespec="minutes"),
            "yours" if scenario.starts_at else "guessed",
            "starts_at",
        )
        tell(
            assumed,
            "time zone of the load",
            local.key,
            "guessed" if table.time_zone is None else "yours",
            "load.time_zone",
        )
        tell(
            assumed,
            "required capacity",
            f"a curve from {least} to {most} VMs" + (f", above the {total} there are" if most > total else ""),
            "yours",
            "load.curve",
        )
        return need, None
    if table.required is not None:
        given, origin = amount_of(table.required, f"{at}.required"), "yours"
    elif min_healthy is not None:
        given, origin = min_healthy, "yours"
    else:
        given, origin = "80%", "guessed"
    need_now = at_least(given, total)
    if need_now > total:
        raise InputError("more than there are", f"{at}.required", f"{given} of {total}", f"at most {total}")
    tell(
        assumed,
        "required capacity",
        f"{given} = {need_now} of {total}" if given != str(need_now) else f"{need_now} of {total}",
        origin,
        "load.required",
    )
    return constant(need_now), given
