"""Every recorded exchange about a scale set as the Azure backend would meet it: `python -m tests.azure_recordings` prints the counts.

What was read becomes model types (`planner.arm_json`), what was refused an outcome, what a poll said a result. Nothing may be left over.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from backends.azure.client import Answer
from backends.azure.clouds import Scope
from backends.azure.outcomes import outcome_of, row_of
from backends.azure.polling import Handle, done_at_once, ids_of, part_of, read_handle, remaining
from backends.azure.reading import Documents, _read, unreadable
from planner.arm_json import read_rolling_upgrade, read_run_commands, read_scale_set
from planner.errors import InputError, PlatformError
from tests.recorded_counts import RECORDINGS
from tests.replay import traffic

_SET = re.compile(r"/virtualmachinescalesets(?:/(?P<name>[^/?]+))?(?P<rest>/[^?]*)?$", re.I)
_SCOPE = Scope(subscription="s", group="g", name="n")
_VM = re.compile(r"/virtualmachines/[^/]+$")


class Met(NamedTuple):
    """One exchange, and what it became. kind: what was asked; became: what it means. odd: why it is not understood; empty: it is."""

    kind: str
    became: str
    odd: str
    where: str
    url: str


def met() -> Iterator[Met]:
    """All of them."""
    for recording in traffic.read(RECORDINGS):
        models: dict[str, Any] = {}
        operations: set[str] = set()
        name = f"{recording['source']} {recording['path'].rsplit('/', 1)[-1]}"
        for one in recording["exchanges"]:
            path = one["url"].partition("?")[0]
            match = _SET.search(path)
            answer = answered(one)
            if match is None:
                yield _poll(one, answer, name, operations)
            elif one["method"] == "GET":
                yield _read_one(one, match, answer, name, models)
            else:
                if not match["rest"] and match["name"] and answer.ok and isinstance(answer.body, dict):
                    models[match["name"].lower()] = answer.body
                found = _sent(one, match, answer, name)
                part = part_of(answer)
                if part is not None:
                    operations.add(_operation(part.url))
                yield found


def answered(exchange: dict[str, Any]) -> Answer:
    """The recorded answer as the client gives it."""
    headers = traffic.parsed(exchange["headers"]) or {}
    plain = {
        key.lower(): (value[0] if isinstance(value, list) else str(value)) for key, value in headers.items() if value
    }
    body = traffic.parsed(exchange["response_body"])
    return Answer(status=int(exchange["status"]), headers=plain, body=None if isinstance(body, str) else body)


def _operation(url: str) -> str:
    """The operation an address is about; recorders put their own names and versions into the rest."""
    return url.lower().partition("?")[0].rpartition("/")[2]


def _sent(one: dict[str, Any], match: re.Match[str], answer: Answer, name: str) -> Met:
    rest = _VM.sub("/virtualMachines/{id}", (match["rest"] or "").lower()) or "(set)"
    rest = re.sub(r"/virtualmachines/[^/]+/", "/virtualMachines/{id}/", rest)
    rest = re.sub(r"/(runcommands|extensions)/[^/]+", r"/\1/{name}", rest)
    kind = f"{one['method']} {rest}"
    outcome, row = outcome_of("c1", "send", answer), row_of("send", answer)
    odd = ""
    if answer.ok:
        part = part_of(answer)
        if part is not None:
            handle = Handle(parts=(part,), ids=ids_of(answer))
            odd = "" if read_handle(handle.text()) == handle else "its handle does not survive the journal"
            return Met(kind, f"an operation ({part.style})", odd, name, one["url"])
        return Met(
            kind, "done at once" if done_at_once(answer) else "accepted, no operation named", "", name, one["url"]
        )
    code = answer.error[0]
    if outcome is None or (code and outcome.code != code) or outcome.refused != (int(one["status"]) < 500):
        odd = f"{answer.status} {code} became {outcome}"
    return Met(kind, f"{row.name} {answer.status} {outcome.code if outcome else ''}", odd, name, one["url"])


def _poll(one: dict[str, Any], answer: Answer, name: str, operations: set[str]) -> Met:
    style = "location" if "monitor=true" in one["url"].lower() else "operation"
    row, outcome = row_of(style, answer), outcome_of("c1", style, answer)
    said = str(answer.body.get("status", "")) if isinstance(answer.body, dict) else ""
    odd = ""
    if style == "operation" and answer.ok:
        over = said.lower() in ("succeeded", "failed", "canceled")
        if (
            not said
            or over != (outcome is not None)
            or (outcome and outcome.status.value != said.lower().replace("canceled", "failed"))
        ):
            odd = f"{answer.status} {said} became {outcome}"
        if outcome is not None and outcome.status.value == "failed" and outcome.code != answer.error[0]:
            odd = f"its code {answer.error} became {outcome.code}"
    code = f" {outcome.code}" if outcome is not None and outcome.code else ""
    known = "" if _operation(one["url"]) in operations else " (its request is not recorded)"
    return Met(f"poll {style}{known}", f"{row.name}{code}", odd, name, one["url"])


def _read_one(one: dict[str, Any], match: re.Match[str], answer: Answer, name: str, models: dict[str, Any]) -> Met:
    rest = (match["rest"] or "").lower().rstrip("/")
    kind = "GET " + re.sub(
        r"/(virtualmachines|extensions|runcommands)/[^/]+",
        r"/\1/{id}",
        rest or ("(set)" if match["name"] else "(sets)"),
    )
    remaining(answer.headers)
    if not answer.ok:
        try:
            unreadable(answer, "it", _SCOPE)
        except (InputError, PlatformError) as error:
            return Met(kind, f"{answer.status} {answer.error[0]}: {type(error).__name__}", "", name, one["url"])
    try:
        return Met(kind, _understood(rest, match, answer, models), "", name, one["url"])
    except InputError as error:
        return Met(kind, f"refused: {error.what}", str(error), name, one["url"])


def _understood(rest: str, match: re.Match[str], answer: Answer, models: dict[str, Any]) -> str:
    set_name = (match["name"] or "").lower()
    if not rest and not set_name:
        for item in answer.body["value"]:
            models[item["name"].lower()] = item
            read_scale_set([("set", item)])
        return "models"
    if not rest:
        models[set_name] = answer.body
        read_scale_set([("set", answer.body)])
        return "a model"
    if rest == "/virtualmachines":
        items = answer.body["value"]
        model = _model_of(set_name, items, models)
        found = _read(Documents(cloud="public", model=model, pages=(answer.body,)), ())
        assert len(found.scale_set.instances) == len(items)
        return "instances"
    if rest == "/rollingupgrades/latest":
        return f"a rollout, {read_rolling_upgrade(answer.body, 'latest').code}"  # type: ignore[union-attr]
    if _VM.search(rest):
        read_scale_set([("set", _model_of(set_name, [answer.body], models)), ("list", {"value": [answer.body]})])
        return "an instance"
    if rest.endswith("/runcommands"):
        return f"{len(answer.body['value'])} run-commands, {len(read_run_commands(answer.body, 'list'))} succeeded"
    if rest == "/instanceview":
        model = models.get(set_name) or {"name": set_name, "type": "Microsoft.Compute/virtualMachineScaleSets"}
        _read(Documents(cloud="public", model=model, pages=(), view=answer.body), ())
        return "the set's view"
    return "not read by the backend"


def _model_of(set_name: str, items: list[Any], models: dict[str, Any]) -> dict[str, Any]:
    """The model seen last, under the id its instances name: recorders renamed groups in some places only."""
    model = models.get(set_name) or {"type": "Microsoft.Compute/virtualMachineScaleSets", "name": set_name}
    own = next((item["id"] for item in items if "/virtualmachinescalesets/" in item.get("id", "").lower()), None)
    return {**model, "id": re.sub("/virtualMachines/[^/]*$", "", own, flags=re.I), "name": None} if own else model


def main() -> int:
    """Print what became of what; 2 where the recordings are absent."""
    if not RECORDINGS.exists():
        print(f"no recordings at {RECORDINGS}")
        return 2
    found = list(met())
    for (kind, became), count in sorted(Counter((one.kind, one.became) for one in found).items()):
        print(f"{count:6}  {kind}: {became}")
    odd = [one for one in found if one.odd]
    print(f"{len(found)} exchanges, {len(odd)} not understood")
    for one in odd[:20]:
        print("  ", one.kind, one.odd, one.where)
    return int(bool(odd))


if __name__ == "__main__":
    sys.exit(main())
