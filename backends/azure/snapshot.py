"""A snapshot file: the documents of one look, without what nobody needs and somebody might keep secret.

Left out: what is held back of every file (`planner.secret`). What is kept reads as Azure's own documents do (`planner.arm_json`).
"""

from __future__ import annotations

from typing import Any

import msgspec

from backends.azure.reading import Documents
from planner.arm_json import read_scale_set
from planner.secret import kept


def snapshot(documents: Documents) -> dict[str, Any]:
    """One document that holds which cloud it is, the model, every instance, the set's view, the platform's last rollout, and which scripts ran inside the VMs."""
    made: dict[str, Any] = {
        "cloud": documents.cloud,
        "model": kept(documents.model),
        "instances": [kept(item) for page in documents.pages for item in page.get("value") or ()],
    }
    if documents.view is not None:
        made["instanceView"] = kept(documents.view)
    if documents.latest is not None:
        made["rollingUpgrade"] = kept(documents.latest)
    made["gives"] = msgspec.to_builtins(
        read_scale_set([("it", documents.model)], api_version=documents.api_version).scale_set.model.gives
    )
    if documents.ran is not None:
        made["runCommands"] = documents.ran
    return made
