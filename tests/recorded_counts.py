"""What `planner.arm_json` makes of every recorded scale set and instance list: `python -m tests.recorded_counts`.

The recordings are public traffic (`../shared/recordings`, described in `../shared/reference/recordings.md`, A); each
document is read as `planner.arm_json` would get it, an instance list together with the model last seen in its recording.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from planner.arm_json import Reading, read_scale_set
from planner.errors import InputError

RECORDINGS = Path(__file__).resolve().parents[2] / "shared" / "recordings" / "arm-traffic.jsonl.gz"

_SCALE_SETS = re.compile(
    r"(?P<path>/subscriptions/.*/virtualMachineScaleSets(?:/(?P<name>[^/?]+))?)(?P<vms>/virtualMachines)?(?:\?(?P<query>.*))?$",
    re.I,
)


@dataclass(frozen=True)
class Recorded:
    """One recorded document: what it is, where it is from, its JSON, and for a list the model it belongs to."""

    kind: str
    source: str
    api_year: str
    document: Any
    model: Any = None
    page: int = 0  # of a paged list


@dataclass(frozen=True)
class Outcome:
    """What came of reading it: a reading, or the refusal."""

    recorded: Recorded
    reading: Reading | None
    refusal: InputError | None


def recorded_documents(path: Path = RECORDINGS) -> Iterator[Recorded]:
    """Yield every recorded scale set (alone, or an element of a list of sets) and every instance list."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            recording = json.loads(line)
            models: dict[str, Any] = {}
            pages: Counter[str] = Counter()
            for exchange in recording["exchanges"]:
                match = _SCALE_SETS.search(exchange["url"])
                if match is None or exchange["status"] not in (200, 201):
                    continue
                key, query = match["path"].lower(), match["query"] or ""
                year = (re.search(r"api-version=(\d{4})", query) or [""] * 2)[1]
                source = f"{recording['source']}:{recording['path']}"
                if match["vms"] and exchange["method"] == "GET":
                    document = json.loads(exchange["response_body"])
                    pages[key] = pages[key] + 1 if "skiptoken" in query else 0
                    yield Recorded(f"list {_variant(query)}", source, year, document, models.get(key), pages[key])
                elif match["name"] and not match["vms"] and exchange["method"] in ("GET", "PUT", "PATCH"):
                    models[key] = json.loads(exchange["response_body"])
                    yield Recorded(f"{exchange['method']} set", source, year, models[key])
                elif not match["name"] and exchange["method"] == "GET":
                    for element in json.loads(exchange["response_body"])["value"]:
                        models[element["id"].lower()] = element
                        yield Recorded("set in a list of sets", source, year, element)


def _variant(query: str) -> str:
    for part, name in (("select", "$select=instanceView"), ("filter", "$filter"), ("skiptoken", "$skiptoken")):
        if f"${part}" in query:
            return name
    return "plain"


def read(recorded: Recorded) -> Outcome:
    """Read one document, an instance list together with its model where one was seen."""
    documents = [("recorded", recorded.document)]
    if recorded.model is not None:
        documents.insert(0, ("recorded model", recorded.model))
    try:
        return Outcome(recorded, read_scale_set(documents), None)
    except InputError as refusal:
        return Outcome(recorded, None, refusal)


def mended(recorded: Recorded) -> Recorded | None:
    """Give a refused list a model it can be read with, or None where nothing in it names its set.

    Some recorders renamed the resource group in URLs and models but not in (upper-cased) instance ids: the model's id
    takes the instances' group. Where no model was recorded, a bare one stands in.
    """
    items = recorded.document["value"]
    if not recorded.kind.startswith("list") or not items:
        return None
    own_id = re.sub("/virtualMachines/[^/]*$", "", items[0]["id"], flags=re.I)
    if recorded.model is None:
        bare = {"id": own_id, "type": "Microsoft.Compute/virtualMachineScaleSets", "sku": {"capacity": len(items)}}
        return replace(recorded, model=bare)
    if recorded.model["name"].lower() != own_id.rpartition("/")[2].lower():
        return None
    return replace(recorded, model={**recorded.model, "id": own_id})


def joined_pages(documents: Iterator[Recorded]) -> Iterator[tuple[Recorded, list[Any]]]:
    """Yield each list that was answered in pages, with all of its pages in order."""
    waiting: Recorded | None = None
    pages: list[Any] = []
    for recorded in documents:
        if not recorded.kind.startswith("list"):
            continue
        if recorded.page == 0:
            waiting, pages = recorded, []
        pages.append(recorded.document)
        if recorded.page > 0 and not recorded.document.get("nextLink") and waiting is not None:
            yield replace(waiting, document=None), pages


def tables(outcomes: list[Outcome]) -> dict[str, Counter[str]]:
    """Count by kind and reason, by what the loaded sets are, and by what the loaded lists leave out."""
    by_kind: Counter[str] = Counter()
    sets: Counter[str] = Counter()
    gaps: Counter[str] = Counter()
    for outcome in outcomes:
        kind = outcome.recorded.kind
        if outcome.reading is None:
            by_kind[f"{kind} | refused | {outcome.refusal.what if outcome.refusal else '?'}"] += 1
            continue
        by_kind[f"{kind} | loaded"] += 1
        model = outcome.reading.scale_set.model
        codes = [gap.code for gap in outcome.reading.gaps]
        if kind.startswith("list"):
            gaps["(lists loaded)"] += 1
            gaps.update(codes)
            continue
        sets["(sets loaded)"] += 1
        sets[f"orchestration {model.orchestration.value}"] += 1
        sets[f"mode {model.mode.value}"] += 1
        sets[f"api-version {outcome.recorded.api_year}"] += 1
        sets[f"health source {model.health_source.value}"] += 1
        sets[f"os {model.os.value}"] += 1
        sets["zonal" if model.zones else "regional"] += 1
        sets.update("Service Fabric" for _ in range(model.service_fabric))
        sets.update(f"gap {code}" for code in codes)
    return {"documents": by_kind, "sets": sets, "gaps of instance lists": gaps}


def main() -> int:
    """Print the tables; 2 where the recordings are absent."""
    if not RECORDINGS.exists():
        print(f"no recordings at {RECORDINGS}")
        return 2
    for title, counts in tables([read(recorded) for recorded in recorded_documents()]).items():
        print(title)
        for name, count in sorted(counts.items()):
            print(f"{count:7}  {name}")
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
