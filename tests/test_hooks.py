"""Hooks tell others, in order, and never stop a rollout."""

from __future__ import annotations

import io
import json
import sys
import threading
import urllib.error
from collections.abc import Callable, Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from backends import hooks
from tests.fleet import Case, Fleet
from tests.test_apply import Desk, desk

__all__ = ["desk"]
CASE = Case(fleet=Fleet(size=2))
WRITES = "import os, sys; open(sys.argv[1], 'ab').write(os.environ['VMSS_SIM_EVENT'].encode() + b' ' + sys.stdin.buffer.read() + b'\\n')"


class Heard:
    """What was posted; answers: status codes, the last one for ever."""

    def __init__(self, *answers: int) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.answers = list(answers)
        heard = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                heard.bodies.append(json.loads(body))
                self.send_response(heard.answers.pop(0) if len(heard.answers) > 1 else heard.answers[0])
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/in/secret-token?key=hush"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def hears() -> Iterator[Callable[..., Heard]]:
    made: list[Heard] = []

    def make(*answers: int) -> Heard:
        made.append(Heard(*answers))
        return made[-1]

    yield make
    for one in made:
        one.server.shutdown()
        one.server.server_close()


def test_a_command_hears_rollout_batches_and_gates(desk: Callable[[Case], Desk], tmp_path: Path) -> None:
    here, file = desk(CASE), tmp_path / "heard"
    ran = here.run("apply", "--hook", f'{sys.executable} -c "{WRITES}" {file}')
    assert ran.status == 0, ran
    lines = [line.split(" ", 1) for line in file.read_text().splitlines()]
    assert [name for name, _ in lines] == [
        "rollout-begun", "batch-begun", "batch-done", "batch-begun", "batch-done", "rollout-ended",
    ]  # fmt: skip
    bodies = [json.loads(text) for _, text in lines]
    assert {one["rollout"] for one in bodies} == {here.rollout}
    assert bodies[1]["batch"] == 1
    assert bodies[1]["instances"] == ["0"]
    assert bodies[-1]["status"]["state"] == "finish"
    assert "status" not in bodies[1]


def test_a_webhook_hears_the_stop_with_the_status(desk: Callable[[Case], Desk], hears: Callable[..., Heard]) -> None:
    there = hears(503, 200)
    here = desk(CASE.but(parameters={"retries": 0}, fails={0: (1,)}, more={"floor": 1}))
    ran = here.run("apply", "--webhook", there.url)
    assert ran.status == 1, ran
    last = there.bodies[-1]
    assert last["event"] == "rollout-ended"
    assert last["status"]["failed"][0]["id"] == "0"
    assert "too-many-failed" in [one["event"] for one in there.bodies]
    assert [one["event"] for one in there.bodies[:2]] == ["rollout-begun"] * 2, "a second try"


@pytest.mark.parametrize(
    ("hook", "says"),
    [
        (("--hook", "no-such-program"), "hook no-such-program (rollout-begun): No such file"),
        (("--hook", f"{sys.executable} -c \"import sys; sys.exit('boom')\""), "exit status 1, boom"),
    ],
)
def test_a_hook_that_fails_is_told_and_the_rollout_goes_on(
    desk: Callable[[Case], Desk], hook: tuple[str, ...], says: str
) -> None:
    here = desk(CASE)
    ran = here.run("apply", *hook)
    assert ran.status == 0
    assert says in ran.out
    assert here.state.ending == "finish"


def test_a_secret_in_an_address_is_never_shown(desk: Callable[[Case], Desk], hears: Callable[..., Heard]) -> None:
    there = hears(500)
    here = desk(CASE)
    ran = here.run("apply", "--webhook", there.url)
    assert ran.status == 0
    assert "webhook http://127.0.0.1 (rollout-begun): HTTP 500" in ran.out
    assert "secret-token" not in ran.out + ran.err
    assert "hush" not in ran.out + ran.err
    kept = b"".join(path.read_bytes() for path in here.folder.rglob("*") if path.is_file())
    assert b"secret-token" not in kept


def test_an_answer_that_is_a_refusal_is_closed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[io.BytesIO] = []

    def refuses(*_: object, **__: object) -> None:
        answers.append(io.BytesIO(b"no"))
        raise urllib.error.HTTPError("http://127.0.0.1/", 403, "Forbidden", Message(), answers[-1])

    monkeypatch.setattr("urllib.request.urlopen", refuses)
    monkeypatch.setattr("time.sleep", lambda _: None)
    assert hooks._post("http://127.0.0.1/", "rollout-begun", b"{}") == "HTTP 403"
    assert [one.closed for one in answers] == [True, True]


def test_a_hook_that_hangs_is_given_up(desk: Callable[[Case], Desk], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "COMMAND_S", 0.3)
    here = desk(CASE)
    ran = here.run("apply", "--hook", f'{sys.executable} -c "import time; time.sleep(60)"')
    assert ran.status == 0
    assert "it did not end in 0 s" in ran.out


@pytest.mark.parametrize(
    ("hook", "says"),
    [
        (("--hook", "'open"), "--hook: not a command"),
        (("--hook", " "), "--hook: not a command"),
        (("--webhook", "ftp://host/secret"), "--webhook: not an address; found ftp"),
    ],
)
def test_what_cannot_be_a_hook_is_one_line(desk: Callable[[Case], Desk], hook: tuple[str, ...], says: str) -> None:
    here = desk(CASE)
    ran = here.run("apply", *hook)
    assert (ran.status, says in ran.err) == (2, True), ran
    assert (here.opened, here.store.rollouts()) == (0, ())
