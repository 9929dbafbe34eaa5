"""Errors, split by whose fault it is.

* `InputError`: the caller's input is wrong. What, where, found, expected, what to do; exit status 2.
* `PlannerBug`: we are wrong. `InvariantViolated` is the guard's refusal to send a command.
* `PlatformError`: Azure (or what stands in for it) failed or refused.

Every constructor passes all of its arguments to `super().__init__`, since SimPy and pickle rebuild an exception from
its `args`; the sentence is made in `__str__`.
"""

from __future__ import annotations


class RolloutError(Exception):
    """Base of every error this project raises on purpose."""


class InputError(RolloutError):
    """The caller's input is wrong.

    what: the thing that is wrong ("the batch size"); where: file and key, or the option; found: the value met;
    expected: what would have been right; fix: what to do next. Empty parts are left out of the sentence.
    """

    def __init__(self, what: str, where: str = "", found: str = "", expected: str = "", fix: str = "") -> None:
        super().__init__(what, where, found, expected, fix)
        self.what, self.where, self.found, self.expected, self.fix = what, where, found, expected, fix

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        if self.found:
            text += f"; found {self.found}"
        if self.expected:
            text += f"; expected {self.expected}"
        return f"{text}; {self.fix}" if self.fix else text


class PlannerBug(RolloutError):
    """Something this project promised does not hold; report it with the journal."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return f"{self.what} (a bug in vmss-sim: nothing was sent; please report it with the journal)"


class InvariantViolated(PlannerBug):
    """The guard refused a command. `violations`: one sentence each, with the invariant's name in front."""

    def __init__(self, violations: tuple[str, ...]) -> None:
        super().__init__("; ".join(violations))
        self.violations = violations
        self.args = (violations,)


class PlatformError(RolloutError):
    """The platform refused or failed outside of an operation's own result. `code` is the platform's error code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code, self.message = code, message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"
