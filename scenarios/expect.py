"""What a scenario expects of its own result: claims, read from text, judged on the published JSON document.

Rules this module decides:

1. A claim is `LABEL: QUANTITY OP RIGHT`. QUANTITY is `metric.stat` (`duration_s.p95`) or a probability (`completed`).
   OP is one of < <= > >= == !=. RIGHT is a number, or `LABEL: QUANTITY` of another strategy in the same runs.
2. Only the published document is read, so what a scenario pins is what people and pipelines see.
3. A claim about a strategy that was not compared, or a number that does not exist, does not hold.
4. `recommend = "none"` means that nothing is recommended.
"""

from __future__ import annotations

import math
import operator
import re
import reprlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from planner.errors import InputError
from planner.explain import did_you_mean
from scenarios.schema import ExpectTable

METRICS = (
    "min_healthy",
    "availability",
    "downtime_s",
    "outage_s",
    "capacity_lost_vm_s",
    "unserved_vm_s",
    "bad_exposure_vm_s",
    "duration_s",
    "duration_completed_s",
)
STATS = ("mean", "p05", "p50", "p95", "p99")
PROBABILITIES = ("completed", "breached", "rolled_back")
OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
NOBODY = "none"
_GRAMMAR = (
    'such as "automatic: outage_s.mean > 60", "per-ud: completed >= 0.99" or "a: duration_s.p95 < b: duration_s.p95"'
)
_QUANTITY = r"(?P<{0}label>\S.*?)\s*:\s*(?P<{0}name>[A-Za-z0-9_.]+)"
_CLAIM = re.compile(_QUANTITY.format("") + r"\s*(?P<op><=|>=|==|!=|<|>)\s*(?P<right>\S.*)")
_RIGHT = re.compile(_QUANTITY.format("") + r"\s*")


class Quantity(msgspec.Struct, frozen=True, kw_only=True):
    """A number of the result: of a strategy's label, a metric's statistic, or a probability where `stat` is empty."""

    label: str
    metric: str
    stat: str = ""

    def __str__(self) -> str:
        return f"{self.label}: {self.metric}{'.' if self.stat else ''}{self.stat}"


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `holds` (rule 1). `value`: a number, or the quantity it is compared with."""

    left: Quantity
    op: str
    value: float | Quantity

    def __str__(self) -> str:
        right = f"{self.value:g}" if isinstance(self.value, float) else str(self.value)
        return f"{self.left} {self.op} {right}"


def parse_claim(line: str, where: str) -> Claim:
    """One line of `holds`. Raises InputError naming the part that is not understood."""
    match = _CLAIM.fullmatch(line.strip())
    if match is None:
        raise InputError("not a claim", where, reprlib.repr(line), _GRAMMAR)
    right = match["right"].strip()
    return Claim(left=_quantity(match, where), op=match["op"], value=_right(right, where))


def _right(text: str, where: str) -> float | Quantity:
    other = _RIGHT.fullmatch(text)
    if other is not None:
        return _quantity(other, where)
    try:
        value = float(text)
    except ValueError as error:
        raise InputError("a claim compares with a number or another quantity", where, repr(text), _GRAMMAR) from error
    if not math.isfinite(value):
        raise InputError("a claim compares with a finite number", where, repr(text), _GRAMMAR)
    return value


def _quantity(match: re.Match[str], where: str) -> Quantity:
    name = match["name"]
    metric, dot, stat = name.partition(".")
    if not dot:
        if metric in METRICS:
            raise InputError("a metric needs a statistic", where, repr(name), " or ".join(f"{name}.{s}" for s in STATS))
        _known(metric, PROBABILITIES, "probability", where)
        return Quantity(label=match["label"], metric=metric)
    _known(metric, METRICS, "metric", where)
    _known(stat, STATS, "statistic", where)
    return Quantity(label=match["label"], metric=metric, stat=stat)


def _known(name: str, known: Collection[str], what: str, where: str) -> None:
    if name in known:
        return
    near = did_you_mean(name, (*METRICS, *STATS, *PROBABILITIES))
    raise InputError(f"unknown {what}", where, repr(name), ", ".join(known), near)


def claims(expect: ExpectTable, where: str) -> tuple[Claim, ...]:
    """All lines of `holds`. Raises InputError, also for a seed or a number of replications that cannot be run."""
    for name, least in (("seed", 0), ("replications", 1)):
        value = getattr(expect, name)
        if not least <= value < 2**63:
            raise InputError("out of range", f"{where}.{name}", reprlib.repr(value), f"{least} or more")
    return tuple(parse_claim(line, f"{where}.holds[{index}]") for index, line in enumerate(expect.holds))


def unmet(expect: ExpectTable, document: Mapping[str, Any]) -> tuple[str, ...]:
    """What does not hold in a published result, one sentence each; nothing where all holds."""
    found: list[str] = []
    named = document["recommendation"]["name"] or NOBODY
    wanted = [expect.recommend] if isinstance(expect.recommend, str) else expect.recommend
    if wanted is not None and named not in wanted:
        found.append(f"recommend: found {named}, expected {' or '.join(wanted)}")
    refused = {one["name"]: one["because"] for one in document["refused"]}
    for label in expect.refused:
        if label not in refused:
            found.append(f"refused: found {', '.join(refused) or 'none'}, expected {label}")
    for claim in claims(expect, "expect"):
        left = _value(claim.left, document)
        right = claim.value if isinstance(claim.value, float) else _value(claim.value, document)
        if isinstance(left, str) or isinstance(right, str):
            found.append(f"{claim}: {left if isinstance(left, str) else right}")
        elif not OPERATORS[claim.op](left, right):
            found.append(f"{claim}: found {left:g}{'' if isinstance(claim.value, float) else f' and {right:g}'}")
    return tuple(found)


def _value(quantity: Quantity, document: Mapping[str, Any]) -> float | str:
    """A number, or why there is none (rule 3)."""
    rows = {one["name"]: one for one in document["strategies"]}
    row = rows.get(quantity.label)
    if row is None:
        because = {one["name"]: one["because"] for one in document["refused"]}.get(quantity.label)
        return f"{quantity.label} was refused: {because}" if because else f"no {quantity.label} among {', '.join(rows)}"
    if quantity.stat:
        value = row["metrics"][quantity.metric][quantity.stat]
    else:
        value = row["probability"][quantity.metric]["estimate"]
    return "there is no such number" if value is None else float(value)
