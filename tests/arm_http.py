"""Clients of the emulator for tests: `requests` straight to loopback, raw sockets for what no client would send, one set by name."""

from __future__ import annotations

import json
import socket
import ssl
from typing import Any
from urllib.parse import urlsplit

import requests

from vmss_sim.checks.emulated import Emulated

VERSION = "2024-07-01"


class Az:
    """One client that works by hand: it asks, follows operations, and looks at the scenario's set."""

    def __init__(self, azure: Emulated, url: str | None = None) -> None:
        self.azure, self.url = azure, url or azure.url
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = azure.ca
        self.session.headers["Authorization"] = "Bearer anything"

    def ask(
        self, method: str, path: str = "", body: Any = None, version: str = VERSION, **more: Any
    ) -> requests.Response:
        """path: an absolute URL, a path from the root, or one below the set."""
        if not path.startswith("http"):
            root = path if path.startswith("/") and not path.startswith("//") else f"{self.azure.id}/{path.lstrip('/')}"
            path = f"{self.url}{root.rstrip('/')}{'&' if '?' in path else '?'}api-version={version}"
        return self.session.request(method, path, json=body, timeout=30, **more)

    def follow(self, answer: requests.Response) -> dict[str, Any]:
        """Poll to the end, without waiting between."""
        for _ in range(10_000):
            found: dict[str, Any] = self.ask("GET", answer.headers["azure-asyncoperation"]).json()
            if found["status"] != "InProgress":
                return found
        raise AssertionError("it does not end")

    def do(self, method: str, path: str = "", body: Any = None) -> dict[str, Any]:
        """Ask and follow; the operation in the end."""
        answer = self.ask(method, path, body)
        assert answer.status_code < 300, answer.text
        return self.follow(answer)


def raw(url: str, data: bytes, *, ca: str | None = None, timeout_s: float = 10) -> bytes:
    """Send bytes, and read until the server closes."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=timeout_s) as plain:
        talk = plain
        if parts.scheme == "https":
            talk = ssl.create_default_context(cafile=ca).wrap_socket(plain, server_hostname=parts.hostname)
        with talk:
            talk.sendall(data)
            return _all_of(talk)


def _all_of(talk: socket.socket) -> bytes:
    parts = []
    try:
        while part := talk.recv(65_536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def code_of(answer: requests.Response) -> str:
    """The error code of an answer in ARM's form."""
    return str(json.loads(answer.text)["error"]["code"])
