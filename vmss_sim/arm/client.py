"""A small client of the emulator's control endpoint, for tests and scripts. Standard library only.

    from vmss_sim.arm.client import Control

    token = Path(os.environ["VMSS_SIM_TOKEN_FILE"]).read_text()
    control = Control("https://localhost:8443", token, ca="…/ca.pem")
    control.advance(600)          # ten minutes later
    control.faults([{"verdict": "fail", "of": "upgrade", "first": 1}])
    control.run_until_idle()
    print(control.report()["metrics"]["min_healthy"])

Contract: one connection a request, straight to the address given: no proxy, no environment. Raises `ControlError` for a refusal, OSError
where nobody answers. Durations are seconds.
"""

from __future__ import annotations

import json
import os
import ssl
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

TIMEOUT_S = 60


class ControlError(Exception):
    """The control endpoint refused. status: of HTTP; code, message: why."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(status, code, message)
        self.status, self.code, self.message = status, code, message

    def __str__(self) -> str:
        return f"{self.status} {self.code}: {self.message}"


class Restored(NamedTuple):
    """now_s: the time it stands at. stand_ins: how many texts read as what stands for them, since no snapshot holds them."""

    now_s: float
    stand_ins: int


class Control:
    """A running emulator, by its control endpoint. url: its base; token: as printed at its start, or as read from its file; ca: its CA's certificate, for https."""

    def __init__(self, url: str, token: str, ca: str | Path | None = None, *, timeout_s: float = TIMEOUT_S) -> None:
        token = token.strip()
        if not (token.isascii() and token.isprintable()) or " " in token:
            raise ValueError("this is no control token: it has characters that no token has")  # and is not shown
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "localhost", parts.port
        self._tls = (
            ssl.create_default_context(cafile=None if ca is None else str(ca)) if parts.scheme == "https" else None
        )
        self._token, self._timeout_s = token, timeout_s

    def state(self) -> dict[str, Any]:
        """Time, and every set with its instances and what runs."""
        return self._json("GET", "state")

    def report(self) -> dict[str, Any]:
        """What the rollout cost so far: `metrics` as of `vmss-sim simulate --json`."""
        return self._json("GET", "report")

    def trace(self) -> Iterator[dict[str, Any]]:
        """Every exchange since the beginning; past 64 MiB, where no file was named for it, those that change something, without answers."""
        for line in self._bytes("GET", "trace").splitlines():
            yield json.loads(line)

    def advance(self, seconds: float) -> float:
        """Let virtual time pass; returns the present."""
        return float(self._json("POST", "advance", {"seconds": seconds})["now_s"])

    def run_until_idle(self, limit_seconds: float = 7 * 86_400) -> bool:
        """Let virtual time pass until nothing runs and everything that comes back serves. False: the limit came first."""
        return bool(self._json("POST", "run-until-idle", {"limit_seconds": limit_seconds})["idle"])

    def sleep(self, seconds: float) -> float:
        """Say that you are about to sleep; returns for how many seconds you have to, really. It may take a while before that: as long as
        somebody else works who is not to be passed.
        """
        told = self._json("POST", "sleep", {"seconds": seconds, "pid": os.getpid()})
        while told.get("ticket"):
            time.sleep(told["wall_seconds"])
            told = self._json("POST", "sleep", {"ticket": told["ticket"]})
        return float(told["wall_seconds"])

    def faults(self, tables: list[dict[str, Any]]) -> None:
        """From now on these faults, and no others: tables as of a scenario's `[[fault]]`, counted from now."""
        self._json("POST", "faults", {"faults": tables})

    def reset(self) -> None:
        """As at the start."""
        self._json("POST", "reset")

    def snapshot(self) -> bytes:
        """All that led here, as bytes: to be restored, or written to a file for `vmss-sim emulate --restore FILE`."""
        return self._bytes("GET", "snapshot")

    def restore(self, snapshot: bytes) -> Restored:
        """As it was when the snapshot was taken, but for the texts that no snapshot holds."""
        found = json.loads(self._bytes("POST", "restore", snapshot))
        return Restored(now_s=float(found["now_s"]), stand_ins=int(found["stand_ins"]))

    def _json(self, method: str, what: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        found = json.loads(self._bytes(method, what, None if body is None else json.dumps(body).encode()))
        assert isinstance(found, dict)
        return found

    def _bytes(self, method: str, what: str, body: bytes | None = None) -> bytes:
        made: HTTPConnection
        if self._tls is None:
            made = HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        else:
            made = HTTPSConnection(self._host, self._port, timeout=self._timeout_s, context=self._tls)
        try:
            made.request(method, f"/_vmss-sim/{what}", body, {"X-Vmss-Sim-Token": self._token})
            answer = made.getresponse()
            data = answer.read()
        finally:
            made.close()
        if answer.status >= 400:
            raise _refusal(answer, data)
        return data


def _refusal(answer: HTTPResponse, data: bytes) -> ControlError:
    try:
        error = json.loads(data)["error"]
        return ControlError(answer.status, error["code"], error["message"])
    except (ValueError, KeyError, TypeError):
        return ControlError(answer.status, answer.reason, data[:200].decode("utf-8", "replace"))
