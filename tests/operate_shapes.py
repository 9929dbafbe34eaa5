"""The documented shapes of what the operator's commands print (`docs/operate-json.md`), to hold any output to."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

DOCS = Path(__file__).parent.parent / "docs"


@cache
def _validator(file: str, name: str) -> jsonschema.Draft202012Validator:
    whole = json.loads((DOCS / file).read_text())
    return jsonschema.Draft202012Validator({**whole, "$ref": f"#/$defs/{name}"})


def holds(name: str, document: Any, file: str = "operate.schema.json") -> Any:
    """The document, which has this shape. Raises ValidationError where it has not."""
    _validator(file, name).validate(document)
    return document
