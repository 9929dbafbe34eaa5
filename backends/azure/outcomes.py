"""What an answer means for a command: ONE table, first match wins. Succeeded, failed, or unknown; and unknown is not failed.

Rules this module decides:

1. *Refused* (failed, no effect) needs an answer that says so, or proof that nothing was sent. A gateway's error, a time-out, a broken
   connection say nothing: the request may have been carried out. Unknown.
2. A failed operation is an HTTP 200 whose `status` says Failed. Words are compared without case, as ARM does.
3. While an operation is polled, only what its own document says ends it. Being refused, throttled or not answered there tells of the
   poll, not of the operation: it is asked again. An operation that is not there any more is unknown: the snapshot has to tell.
4. Code and message are the platform's own where it gave them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from backends.azure.client import NO_ANSWER, NO_TOKEN, NOT_SENT, Answer
from planner.commands import Outcome, Status

_SERVER = range(500, 600)
_TEXT_MAX = 600


class Row(NamedTuple):
    """One row. asked: what was asked: `send` (the request itself), `operation` (Azure-AsyncOperation), `location` (Location).

    statuses: HTTP; faults: why nobody answered; words: of `status` in an operation's document, lower case; None: any.
    status None: it is not over. refused: it had no effect. code: where the answer gives none.
    """

    name: str
    asked: Collection[str]
    statuses: Collection[int] = ()
    faults: Collection[str] = ()
    words: Collection[str] | None = None
    status: Status | None = None
    refused: bool = False
    code: str = ""
    why: str = ""


_SEND, _POLL, _OPERATION, _LOCATION = ("send",), ("operation", "location"), ("operation",), ("location",)
_FAILED, _UNKNOWN, _SUCCEEDED = Status.FAILED, Status.UNKNOWN, Status.SUCCEEDED

TABLE: tuple[Row, ...] = (
    # The request itself.
    Row("accepted", _SEND, range(200, 300), why="done, or an operation runs"),
    Row("not-sent", _SEND, (), (NOT_SENT,), None, _FAILED, True, "NotSent", "no connection was made"),
    Row("no-token", _SEND, (), (NO_TOKEN,), None, _FAILED, True, "NoToken", "no token, so nothing was sent"),
    Row("no-answer", _SEND, (), (NO_ANSWER,), None, _UNKNOWN, False, "NoAnswer", "reset, or timed out: it may have been done"),
    Row("token-expired", _SEND, (401,), (), None, _FAILED, True, "Unauthorized", "not let in; the next one gets a new token"),
    Row("forbidden", _SEND, (403,), (), None, _FAILED, True, "Forbidden", "not allowed"),
    Row("set-gone", _SEND, (404,), (), None, _FAILED, True, "NotFound", "the set, or what it names, is not there"),
    Row("request-timeout", _SEND, (408,), (), None, _UNKNOWN, False, "RequestTimeout", "the server gave up; how far it was is not known"),
    Row("conflict", _SEND, (409,), (), None, _FAILED, True, "Conflict", "another request is at work, or it is not allowed now"),
    Row("precondition", _SEND, (412,), (), None, _FAILED, True, "PreconditionFailed", "the set was changed since it was looked at"),
    Row("throttled", _SEND, (429,), (), None, _FAILED, True, "TooManyRequests", "not now; Retry-After says when"),
    Row("instance-gone", _SEND, range(400, 500), (), None, _FAILED, True, "BadRequest", "a vanished instance (400 InvalidParameter), a bad value"),
    Row("server-error", _SEND, _SERVER, (), None, _UNKNOWN, False, "ServerError", "it may have been done"),
    Row("strange-answer", _SEND, range(100, 400), (), None, _UNKNOWN, False, "UnexpectedStatus", "an answer ARM does not give"),
    # An operation that runs.
    Row("succeeded", _OPERATION, range(200, 300), (), ("succeeded",), _SUCCEEDED, why="the operation says so"),
    Row("failed", _OPERATION, range(200, 300), (), ("failed",), _FAILED, False, "OperationFailed", "HTTP 200, status Failed"),
    Row("canceled", _OPERATION, range(200, 300), (), ("canceled", "cancelled"), _FAILED, False, "OperationCanceled", "somebody ended it"),
    Row("running", _OPERATION, range(200, 300), why="any other word, or none that can be read"),
    Row("location-running", _LOCATION, (202,), why="ARM: 202 while it runs"),
    Row("location-done", _LOCATION, range(200, 300), (), None, _SUCCEEDED, why="ARM: its result"),
    Row("vanished", _POLL, (404, 410), (), None, _UNKNOWN, False, "OperationVanished", "the operation is not known any more"),
    Row("poll-refused", _POLL, (401, 403, 408, 425, 429), why="that tells of the poll; it is asked again"),
    Row("location-failed", _LOCATION, range(400, 500), (), None, _FAILED, False, "OperationFailed", "ARM: its result is an error"),
    Row("poll-strange", _OPERATION, range(300, 500), (), None, _UNKNOWN, False, "OperationUnreadable", "its address is not understood any more"),
    Row("poll-error", _POLL, range(100, 600), why="that tells of the poll; it is asked again"),
    Row("poll-silent", _POLL, (), (NOT_SENT, NO_TOKEN, NO_ANSWER), why="that tells of the poll; it is asked again"),
)  # fmt: skip
"""Every answer has a row (a test asks them all)."""


def row_of(asked: str, answer: Answer) -> Row:
    """The first row that fits."""
    word = _word(answer)
    for row in TABLE:
        if asked not in row.asked or (row.words is not None and word not in row.words):
            continue
        if answer.status in row.statuses if answer.status is not None else answer.fault in row.faults:
            return row
    raise LookupError(f"no row for {asked}: {answer.status} {answer.fault}")


def outcome_of(command: str, asked: str, answer: Answer) -> Outcome | None:
    """What the answer says of the command; None while it is not over."""
    row = row_of(asked, answer)
    if row.status is None:
        return None
    code, message = answer.error
    if row.status is _SUCCEEDED:
        code = message = ""
    return Outcome(
        command=command,
        status=row.status,
        code=code or ("" if row.status is _SUCCEEDED else row.code),
        message=(message or answer.text)[:_TEXT_MAX],
        refused=row.refused,
        retry_after_ms=answer.retry_after_ms if row.refused else None,
    )


def joined(command: str, outcomes: Collection[Outcome]) -> Outcome:
    """What the operations of one command come to (one an instance): unknown if any is, else failed if any did. Refused only where all
    were: what one of them did is an effect.
    """
    for status in (_UNKNOWN, _FAILED):
        found = [one for one in outcomes if one.status is status]
        if found:
            refused = all(one.refused for one in outcomes)
            first = found[0]
            return Outcome(
                command=command,
                status=status,
                code=first.code,
                message=first.message,
                refused=refused,
                retry_after_ms=max((one.retry_after_ms or 0 for one in found), default=0) or None if refused else None,
            )
    return Outcome(command=command, status=_SUCCEEDED)


def _word(answer: Answer) -> str:
    status = answer.body.get("status") if isinstance(answer.body, dict) else None
    return status.lower() if isinstance(status, str) else ""
