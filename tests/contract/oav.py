"""Microsoft's validator of live traffic, run by Node over a log.

Contract: installed by `make .clients/oav`; `ready` says why it cannot be run where it cannot.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.contract.findings import ABSENT, OPENAPI, SPEC, Exchange, Finding, numbered

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".clients" / "oav"
SCRIPT = Path(__file__).with_name("oav.mjs")
NOT_DESCRIBED = ("OPERATION_NOT_FOUND_IN_CACHE", "OPERATION_NOT_FOUND_IN_CACHE_WITH_VERB")


def ready() -> str:
    """Why it cannot be run; empty where it can."""
    if shutil.which("node") is None:
        return "Node is not installed"
    if not (HOME / ".installed").exists():
        return "oav is not installed (make .clients/oav)"
    return "" if OPENAPI.exists() else ABSENT


def judge(exchanges: Sequence[Exchange]) -> tuple[list[Finding], dict[int, str]]:
    """What does not fit, and why the validator did not judge some lines at all."""
    log = b"".join(msgspec.json.encode(one) + b"\n" for one in exchanges)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "findings.jsonl"
        command = ["node", str(SCRIPT), str(HOME), str(OPENAPI), SPEC, str(out)]
        ran = subprocess.run(command, input=log, capture_output=True, check=False, timeout=600)
        if ran.returncode:
            raise RuntimeError(f"oav failed: {ran.stderr.decode()[-2000:]}")
        told = {row["line"]: row for row in map(json.loads, out.read_text().splitlines())}
    found: list[Finding] = []
    unknown: dict[int, str] = {}
    for line, one in numbered(exchanges):
        row = told[line]
        if row["failed"]:
            unknown[line] = row["failed"]
        found += [Finding(line, "oav", each["code"], each["at"], each["message"], one) for each in row["errors"]]
    return found, unknown
