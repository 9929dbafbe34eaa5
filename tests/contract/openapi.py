"""The same judgement without Node: answers against the schemas of the specification, by `jsonschema`.

Rules (as Microsoft's validator has them):

1. An object that the specification describes has no property that it does not describe, unless it says so. What `allOf` joins is one object.
2. A status that is not declared is a fault below 400; from there on it is the declared error.
3. Enumerations are compared as written; one that is modelled as a string is open. `x-nullable` allows null. Formats are not looked at.
4. Paths are compared without case. What no path matches is not described, and not judged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import jsonschema

from tests.contract.findings import OPENAPI, SPEC, Exchange, Finding, numbered

FILES = ("virtualMachineScaleSet", "virtualMachine", "virtualMachineImage", "runCommand", "computeRPCommon")
FOLDER = OPENAPI / "specification/compute/resource-manager/Microsoft.Compute/ComputeRP/stable" / SPEC
CODES = {
    "type": "INVALID_TYPE",
    "enum": "ENUM_MISMATCH",
    "additionalProperties": "OBJECT_ADDITIONAL_PROPERTIES",
    "required": "OBJECT_MISSING_REQUIRED_PROPERTY",
}
KEPT = ("type", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems")


class Operation(NamedTuple):
    """One operation: its path as a pattern, and for each status declared the name of the schema, or None for no body."""

    name: str
    method: str
    pattern: re.Pattern[str]
    fixed: int
    answers: dict[str, str | None]


class Specification:
    """The schemas of some files, translated when they are first needed."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self.folder = folder
        self._files: dict[Path, Any] = {}
        self._defined: dict[str, Any] = {}
        self.operations = [one for name in FILES for one in self._operations(folder / f"{name}.json")]

    def operation(self, method: str, path: str) -> Operation | None:
        """Which one this is: the match with the most fixed words."""
        found = [one for one in self.operations if one.method == method.lower() and one.pattern.fullmatch(path)]
        return max(found, key=lambda one: one.fixed, default=None)

    @cache  # noqa: B019 - one specification a process
    def validator(self, name: str) -> jsonschema.Draft202012Validator:
        """Judges bodies of a schema."""
        return jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": self._defined})

    def _read(self, file: Path) -> Any:
        known = self._files.get(file)
        if known is None:
            known = self._files[file] = json.loads(file.read_text())
        return known

    def _operations(self, file: Path) -> Iterator[Operation]:
        for path, methods in self._read(file)["paths"].items():
            parts = [part for part in path.split("/") if part]
            words = ["[^/]+" if part.startswith("{") else re.escape(part) for part in parts]
            pattern = re.compile("/" + "/".join(words) + "/?", re.I)
            fixed = sum(not part.startswith("{") for part in parts)
            for method, operation in methods.items():
                if method in ("get", "put", "post", "patch", "delete", "head"):
                    answers = {
                        status: self._define(answer["schema"], file) if "schema" in answer else None
                        for status, answer in operation["responses"].items()
                    }
                    yield Operation(operation["operationId"], method, pattern, fixed, answers)

    def _define(self, schema: Any, file: Path) -> str:
        """A name for a schema, and what it says under that name."""
        if "$ref" in schema:
            target, _, pointer = schema["$ref"].partition("#")
            where = (file.parent / target).resolve() if target else file
            name = f"{where.stem}.{where.parent.name}.{pointer.rpartition('/')[2]}"
            if name not in self._defined:
                self._defined[name] = {}  # a schema may name itself
                self._defined[name] = self._translate(self._follow(where, pointer), where)
            return name
        name = f"inline.{len(self._defined)}"
        self._defined[name] = {}
        self._defined[name] = self._translate(schema, file)
        return name

    def _follow(self, file: Path, pointer: str) -> Any:
        found = self._read(file)
        for step in pointer.strip("/").split("/"):
            found = found[unquote(step).replace("~1", "/").replace("~0", "~")]
        return found

    def _translate(self, schema: Any, file: Path) -> Any:
        """Rules 1 and 3."""
        if "$ref" in schema:
            return {"$ref": f"#/$defs/{self._define(schema, file)}"}
        properties, required, more = self._joined(schema, file)
        made: dict[str, Any] = {key: schema[key] for key in KEPT if key in schema}
        if schema.get("x-ms-enum", {}).get("modelAsString"):
            made.pop("enum", None)
        if properties or "allOf" in schema:
            made["type"] = "object"
            made["properties"] = properties
            made["additionalProperties"] = False if more is None else more
            if required:
                made["required"] = sorted(required)
        elif schema.get("type") == "object" and more is not None:
            made["additionalProperties"] = more
        if "items" in schema:
            made["items"] = self._translate(schema["items"], file)
        if schema.get("x-nullable") and "type" in made:
            made["type"] = [made["type"], "null"]
            made.pop("enum", None)
        return made

    def _joined(self, schema: Any, file: Path) -> tuple[dict[str, Any], set[str], Any]:
        """Properties, required ones and what else is allowed, of a schema and all it is joined from."""
        if "$ref" in schema:
            target, _, pointer = schema["$ref"].partition("#")
            where = (file.parent / target).resolve() if target else file
            return self._joined(self._follow(where, pointer), where)
        properties: dict[str, Any] = {}
        required: set[str] = set()
        more: Any = None
        for part in schema.get("allOf", ()):
            inner, needed, rest = self._joined(part, file)
            properties |= inner
            required |= needed
            more = rest if more is None else more
        for name, inner in schema.get("properties", {}).items():
            properties[name] = self._translate(inner, file)
        required |= set(schema.get("required", ()))
        said = schema.get("additionalProperties")
        if said is not None:
            more = said if isinstance(said, bool) else self._translate(said, file)
        return properties, required, more


@cache
def specification() -> Specification:
    """That of 2024-07-01."""
    return Specification()


def judge(exchanges: Sequence[Exchange]) -> tuple[list[Finding], dict[int, str]]:
    """What does not fit, and the lines that are not described."""
    known = specification()
    found: list[Finding] = []
    unknown: dict[int, str] = {}
    for line, one in numbered(exchanges):
        operation = known.operation(one.method, unquote(one.path))
        if operation is None:
            unknown[line] = "no such operation"
            continue
        found += [Finding(line, "openapi", *each, one) for each in _answer(known, operation, one)]
    return found, unknown


def _answer(known: Specification, operation: Operation, one: Exchange) -> Iterator[tuple[str, str, str]]:
    """(code, place, message) of what does not fit in one answer."""
    status = str(one.status)
    if status not in operation.answers and one.status < 400:
        declared = ", ".join(operation.answers)
        yield "INVALID_RESPONSE_CODE", "", f"{status} is not among {declared} of {operation.name}"
        return
    name = operation.answers.get(status, operation.answers.get("default"))
    if name is None:
        return
    if one.body is None:
        if one.status not in (201, 202):
            yield "INVALID_RESPONSE_BODY", "", f"{operation.name} answers with a body"
        return
    for error in known.validator(name).iter_errors(one.body):
        yield from _told(error)


def _told(error: jsonschema.ValidationError) -> Iterator[tuple[str, str, str]]:
    """An error in the other validator's words: an undescribed property is named, each apart."""
    place = "".join(f"/{step}" for step in error.absolute_path)
    code = CODES.get(str(error.validator), str(error.validator).upper())
    if code == "OBJECT_ADDITIONAL_PROPERTIES":
        described = error.schema.get("properties", {})
        for name in error.instance:
            if name not in described:
                yield code, f"{place}/{name}", f"{name} is not described"
    else:
        yield code, place, error.message[:300]
