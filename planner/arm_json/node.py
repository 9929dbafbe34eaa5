"""A value of a document and the way to it: rules 1 and 2 of `planner.arm_json`.

Every reading of a type or a word raises `InputError`, with its path, where it finds another.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Any, TypeVar, cast

from planner.errors import InputError

_E = TypeVar("_E", bound=Enum)

_MOMENT = re.compile(
    r"(?P<y>\d{4})-(?P<mo>\d\d)-(?P<d>\d\d)[T ](?P<h>\d\d):(?P<mi>\d\d):(?P<s>\d\d)(?:\.(?P<f>\d{1,9}))?"
    r"(?:Z|(?P<sign>[+-])(?P<oh>\d\d):?(?P<om>\d\d))?"
)
# ARM writes durations with XmlConvert: capitals, no weeks, months or years (azure-vmss.md 1.2, 3.3).
_DURATION = re.compile(
    r"P(?=.)(?:(?P<d>\d{1,6})D)?"
    r"(?:T(?=.)(?:(?P<h>\d{1,6})H)?(?:(?P<m>\d{1,6})M)?(?:(?P<s>\d{1,9})(?:\.(?P<f>\d{1,9}))?S)?)?",
    re.ASCII,
)
NAME_MAX = 256  # far above Azure's limits for ids and zones; keeps int() of a digit string in `model.id_key` bounded
AS_GIVEN = "give the document as ARM or az returned it"


class Node:
    """A value and its way from the document's root; a key that is absent or null gives an empty node."""

    __slots__ = ("_lower", "key", "parent", "value")

    def __init__(self, value: Any, key: str, parent: Node | None = None) -> None:
        self.value, self.key, self.parent = value, key, parent
        self._lower: dict[str, str] | None = None

    def __bool__(self) -> bool:
        return self.value is not None

    def where(self) -> str:
        """The document's name and the path in it."""
        steps, node = "", self
        while node.parent is not None:
            steps, node = node.key + steps, node.parent
        return f"{node.key or 'the document'}: ${steps}" if steps else node.key or "the document"

    def wrong(self, expected: str, fix: str = AS_GIVEN) -> InputError:
        """The error to raise: something else stands here."""
        what = self.key.removeprefix(".") if self.parent is not None else "the document"
        return InputError(f"{what} has the wrong type or value", self.where(), found_words(self.value), expected, fix)

    def get(self, key: str) -> Node:
        """What stands under a key, whatever its case."""
        if not isinstance(self.value, dict):
            raise self.wrong("an object")
        if key in self.value:
            return Node(self.value[key], f".{key}", self)
        if self._lower is None:
            self._lower = {str(name).lower(): name for name in self.value}
        name = self._lower.get(key.lower(), key)
        return Node(self.value.get(name), f".{name}", self)

    def has(self, key: str) -> bool:
        """Is this an object in which something stands under the key?"""
        return isinstance(self.value, dict) and bool(self.get(key))

    def object(self, key: str) -> Node:
        """An object; an empty one where there is none."""
        value, node = self.typed(key, dict, "an object"), self.get(key)
        return node if value is not None else Node({}, node.key, self)

    def items(self) -> list[Node]:
        """The items of an array."""
        if not isinstance(self.value, list):
            raise self.wrong("an array")
        return [Node(value, f"[{index}]", self) for index, value in enumerate(self.value)]

    def each(self, key: str, kind: type[Any], expected: str) -> list[Node]:
        """The items of an array under a key, all of one type; without nulls."""
        found = [item for item in self.get(key).items() if item] if self.has(key) else []
        for item in found:
            if type(item.value) is not kind:
                raise item.wrong(expected)
        return found

    def objects(self, key: str) -> list[Node]:
        """The objects of an array."""
        return self.each(key, dict, "an object")

    def typed(self, key: str, kind: type[Any], expected: str) -> Any:
        """A value of this very type; None where there is none."""
        node = self.get(key)
        if node and type(node.value) is not kind:
            raise node.wrong(expected)
        return node.value

    def text(self, key: str) -> str | None:
        """A text that is not empty."""
        return self.typed(key, str, "text") or None

    def integer(self, key: str) -> int | None:
        """A whole number."""
        return cast("int | None", self.typed(key, int, "a whole number"))

    def flag(self, key: str) -> bool | None:
        """True, false or not said."""
        return cast("bool | None", self.typed(key, bool, "true or false"))

    def texts(self, key: str) -> tuple[str, ...]:
        """The texts of an array that are not empty."""
        found = [item for item in self.each(key, str, "text") if item.value]
        for item in found:
            if len(item.value) > NAME_MAX:
                raise item.wrong(f"at most {NAME_MAX} characters")
        return tuple(item.value for item in found)

    def millis(self, key: str) -> int | None:
        """A duration, in ms."""
        text = self.text(key)
        if text is None:
            return None
        match = _DURATION.fullmatch(text)
        if match is None:
            raise self.get(key).wrong("an ISO 8601 duration such as PT5M", "write days, hours, minutes and seconds")
        days, hours, minutes, seconds = (int(match[part] or 0) for part in "dhms")
        whole = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
        return whole * 1000 + int(((match["f"] or "") + "000")[:3])

    def moment(self, key: str) -> int | None:
        """A time, in ms since 1970 (rule 10)."""
        text = self.text(key)
        if text is None:
            return None
        match = _MOMENT.fullmatch(text)
        if match is None:
            raise self.get(key).wrong("a time such as 2026-05-19T10:00:00.1234567+00:00")
        year, month, day, hour, minute, second = (int(match[part]) for part in ("y", "mo", "d", "h", "mi", "s"))
        # Days from 1970: years begin in March, so that the day that comes every fourth year is the last one.
        shifted = year - (month <= 2)
        of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
        days = shifted * 365 + shifted // 4 - shifted // 100 + shifted // 400 + of_year - 719_468
        offset = 0 if match["sign"] is None else (int(match["oh"]) * 60 + int(match["om"])) * int(match["sign"] + "1")
        whole = ((days * 24 + hour) * 60 + minute - offset) * 60 + second
        return whole * 1000 + int(((match["f"] or "") + "000")[:3])

    def closed(self, key: str, words: type[_E]) -> _E | None:
        """Rule 2, closed vocabulary."""
        text = self.text(key)
        known = [word for word in words if word.name != "UNKNOWN"]
        found = next((word for word in known if text and word.value == text.lower()), None)
        if text and found is None:
            raise self.get(key).wrong(" or ".join(str(word.value).capitalize() for word in known))
        return found

    def facts(self) -> Node:
        """Rule 1: where this resource keeps its properties."""
        return self.object("properties") if self.has("properties") else self


def open_word(words: type[_E], text: str | None) -> _E:
    """Rule 2, open vocabulary: every enum read this way has a member `unknown`."""
    return next((word for word in words if text and word.value == text.lower()), words("unknown"))


def found_words(value: Any) -> str:
    """What was found, in the words of a message."""
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:57] + "...")
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return "an object"
    return "an array" if isinstance(value, list) else f"the number {value!r:.40}"
