"""One rule of the platform as a row, and one exact edit of the source that breaks it.

1. `where` and `test` are addresses that are checked: a file and a name in it; a pytest node id.
2. `mutant` is the smallest edit after which the rule does not hold any more. Its old text occurs exactly once in its file,
   so an edit of the source that moves the rule breaks the table, not silently the check.
3. `outside` rows say why the world leaves something out; they have neither a place nor a test.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import msgspec

ROOT: Final = Path(__file__).parents[2]

Status = Literal["modelled", "option", "outside"]


class Mutant(msgspec.Struct, frozen=True):
    """`old` becomes `new`, in `file` (where the rule lives, unless it says otherwise)."""

    old: str
    new: str
    file: str = ""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One row.

    id: unique, kebab-case. section: of the reference notes the sources were read for. source: short names of `SOURCES`,
    and clauses. where: `path:name`, several separated by blanks. options: fields of the configuration that decide it,
    `Class.field`, several separated by blanks. note: why, or what else the reader must know.
    """

    id: str
    section: str
    text: str
    source: str
    where: str = ""
    test: str = ""
    mutant: Mutant | None = None
    status: Status = "modelled"
    options: str = ""
    note: str = ""

    @property
    def places(self) -> tuple[str, ...]:
        """The addresses of `where`."""
        return tuple(self.where.split())

    @property
    def mutated(self) -> str:
        """The file that the mutant edits."""
        if self.mutant is None:
            return ""
        return self.mutant.file or self.places[0].partition(":")[0]


def of_wire(name: str, section: str, text: str, source: str, note: str = "") -> Rule:
    """A rule about the wire: the world has no wire."""
    why = note or "The world has no wire format; this belongs to the endpoint and to the readers of Azure's documents."
    return Rule(id=name, section=section, text=text, source=source, status="outside", note=why)
