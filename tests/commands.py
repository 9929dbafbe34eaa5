"""Run `vmss-sim` inside the test process: status, stdout, stderr."""

from __future__ import annotations

import contextlib
import io
from typing import NamedTuple

from vmss_sim.cli.main import main


class Ran(NamedTuple):
    status: int
    out: str
    err: str


def vmss_sim(*arguments: str) -> Ran:
    """One command. An exception that is not an exit is a failure of the test: no traceback may reach a user."""
    out, err = io.StringIO(), io.StringIO()
    status = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(list(arguments))
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else (0 if end.code is None else 1)
    return Ran(status, out.getvalue(), err.getvalue())
