"""`docs/plan.schema.json`: the shape of a plan file, as the types say it. `python -m tests.plan_schema > docs/plan.schema.json`."""

from __future__ import annotations

from typing import Any

import msgspec

from planner.plan import Plan
from planner.planfile import Forecast


class File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A plan file."""

    sha256: str
    plan: Plan
    forecast: Forecast | None = None
    forecast_sha256: str | None = None


def schema() -> dict[str, Any]:
    """JSON Schema 2020-12; what is asked for stands under `$defs`."""
    _, parts = msgspec.json.schema_components((File,), ref_template="#/$defs/{name}")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A plan file", "$defs": parts}


def text() -> str:
    """The file: a line a type."""
    whole = schema()
    parts = [f"{_text(name)}: {_text(one)}" for name, one in sorted(whole.pop("$defs").items())]
    head = [f"{_text(name)}: {_text(one)}" for name, one in whole.items()]
    return "{\n" + ",\n".join([*head, '"$defs": {\n' + ",\n".join(parts) + "\n}"]) + "\n}\n"


def _text(value: Any) -> str:
    return msgspec.json.encode(value, order="sorted").decode()


if __name__ == "__main__":
    print(text(), end="")
