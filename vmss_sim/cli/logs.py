"""What the Azure SDK logs, on stderr, where somebody asks for it (`-v`, `VMSS_SIM_LOG`): requests, answers, credentials tried.

Contract: never a token. azure-core shows names of headers and of query parameters, and the values of harmless ones alone; bodies are in none of
it. Beside that, whatever looks like a token is taken out of every line here.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from typing import TextIO

VARIABLE = "VMSS_SIM_LOG"
LEVELS = {"info": logging.INFO, "debug": logging.DEBUG}
LOGGERS = ("azure",)
"""Those of azure-core, azure-mgmt and azure-identity. (That of msal tells of its cache, and helps nobody.)"""
_TOKEN = re.compile(r"(eyJ[\w-]{4,}|Bearer\s+\S+|(?<=secret[=:])\S+|(?<=sig=)[^&\s]+)[\w.~+/-]*", re.I)


class _Stderr(logging.StreamHandler[TextIO]):
    """To what stderr is when a line is written."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """Where it goes."""
        return sys.stderr


class _Scrubbed(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _TOKEN.sub("REDACTED", super().format(record)).replace("\n", "\n    ")


HANDLER = _Stderr()
HANDLER.setFormatter(_Scrubbed("%(asctime)s %(levelname)s %(name)s: %(message)s"))


def turn_on(level: int) -> None:
    """From now on."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.addHandler(HANDLER)
        logger.setLevel(level)


def turn_off() -> None:
    """As before."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.removeHandler(HANDLER)
        logger.setLevel(logging.NOTSET)


def turn_on_as_asked(verbose: int) -> None:
    """By `-v`, `-vv`, or else the variable's word; where neither says anything, not at all. Raises InputError."""
    from planner.errors import InputError  # noqa: PLC0415  # heavy imports wait until a command runs

    told = os.environ.get(VARIABLE, "").lower()
    if told and told not in LEVELS:
        raise InputError("unknown choice", VARIABLE, repr(told), " or ".join(LEVELS))
    if verbose:
        turn_on(logging.INFO if verbose == 1 else logging.DEBUG)
    elif told:
        turn_on(LEVELS[told])
