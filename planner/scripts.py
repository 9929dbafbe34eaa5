"""Scripts in the VMs, as managed run-commands: what they are called, and what a VM's run-command says was carried out there last.

Rules this module decides:

1. A run-command is named by its script. Its undo is written under the same name, so that the content tells which of them ran last.
2. Azure runs one of the same name and content once. So one that failed is tried again with a comment at its end (in sh and PowerShell
   alike), which is looked through when contents are compared; one of which nobody knows what became of it stays as it is.
3. One whose content is not the script that it is named by is its undo. Where the content is not shown, the name counts.
"""

from __future__ import annotations

import re
from hashlib import sha256

PREFIX, UNDO = "vmss-sim-", "-undo"
_TRY = re.compile(r"\n# try \d+\n?\Z")


def name_of(script: str) -> str:
    """The run-command's name, by rule 1."""
    return f"{PREFIX}{sha256(script.encode()).hexdigest()[:12]}"


def undo_of(name: str) -> str:
    """What stands for the undo of a script where it is the evidence that was asked for."""
    return f"{name}{UNDO}"


def written_as(name: str) -> str:
    """The name of the resource: one for a script and its undo."""
    return name.removesuffix(UNDO)


def another_try(script: str, tries: int) -> str:
    """A script after so many that failed (rule 2)."""
    return f"{script}\n# try {tries + 1}\n" if tries else script


def ran_as(name: str, script: str | None) -> str:
    """What a run-command that succeeded is the evidence of: the script it is named by, or its undo (rule 3)."""
    if not name.startswith(PREFIX) or not script or name.endswith(UNDO):
        return name
    same = {  # whether or not the last line's end was kept
        name_of(each) for one in (script, _TRY.sub("", script)) for each in (one, one.rstrip(), one.rstrip() + "\n")
    }
    return name if name in same else undo_of(name)
