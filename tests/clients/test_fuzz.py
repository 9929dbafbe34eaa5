"""Schemathesis asks whatever the specification of 2024-07-01 allows, and what it does not: no 5xx, no hang, no undeclared shape.

Contract: bounded in requests and in time (`LONGEST_S`); on a slow machine it asks less, and still enough (`test` says how much). The
specification's open enumerations (`modelAsString`: "values may be added") are taken for what they are: text.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.clients import install
from tests.clients.harness import GUARD, HERE, emulator, needs
from tests.contract.findings import ABSENT, OPENAPI

pytestmark = [needs("fuzz"), pytest.mark.skipif(not OPENAPI.exists(), reason=ABSENT)]

LONGEST_S = 120
SPECIFICATION = "specification/compute/resource-manager/Microsoft.Compute/ComputeRP/stable/2024-07-01"


def specification(home: Path) -> Path:
    """The specification, its open enumerations opened; returns the file of scale sets."""
    for source in OPENAPI.rglob("*.json"):
        if "examples" in source.parts:
            continue
        made = home / source.relative_to(OPENAPI)
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_text(json.dumps(_opened(json.loads(source.read_text()))))
    return home / SPECIFICATION / "virtualMachineScaleSet.json"


def _opened(node: Any) -> Any:
    if isinstance(node, list):
        return [_opened(one) for one in node]
    if not isinstance(node, dict):
        return node
    is_open = isinstance(node.get("x-ms-enum"), dict) and node["x-ms-enum"].get("modelAsString")
    return {key: _opened(value) for key, value in node.items() if not (key == "enum" and is_open)}


def command(specification: Path, url: str, *more: str, longest_s: int = LONGEST_S) -> list[str]:
    program = str(install.WHERE / "fuzz" / "bin" / "schemathesis")
    config = ["--no-color", "--config-file", str(HERE / "fuzz.toml")]
    return [program, *config, "run", str(specification), "--url", url, "--max-time", str(longest_s), *more]


def test_nothing_that_can_be_asked_breaks_it(tmp_path: Path) -> None:
    described = specification(tmp_path / "spec")
    with emulator("tour", tmp_path, traces=tmp_path) as running:
        done = running.run(command(described, running.url, "--tls-verify", running.said["VMSS_SIM_CA"]))
        lines = running.exchanges()
    assert done.status == 0, done.out
    assert not [line["url"] for line in lines if line["status"] >= 500]
    # Not vacuous: many requests, many of them carried out, and every kind of operation reached.
    assert len(lines) >= 200, done.out
    answered = Counter(line["method"] for line in lines if line["status"] < 300)
    assert answered["GET"] >= 20 and answered["POST"] >= 10 and answered["PUT"] >= 2, answered
    assert len({urlsplit(line["url"]).path.rpartition("/")[2].lower() for line in lines}) > 20


class _Wrong(BaseHTTPRequestHandler):
    """A server that answers everything with a shape that nothing declares."""

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        body = b'{"value": 5}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815  # names that the server looks for

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_an_undeclared_shape_is_noticed(tmp_path: Path) -> None:
    described = specification(tmp_path / "spec")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Wrong)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        only = ["--include-operation-id", "VirtualMachineScaleSets_List", "--max-failures", "1"]
        names = {"SUBSCRIPTION": "s", "GROUP": "g", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        done = subprocess.run(
            command(described, f"http://127.0.0.1:{server.server_port}", *only, longest_s=60),
            env={**GUARD, **names},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert done.returncode == 1
    assert "Response violates schema" in done.stdout
