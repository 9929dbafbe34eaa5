"""A scale set behind a local ARM endpoint, for a test: any Azure client of the same machine can talk to it.

    with emulated("seed-article") as azure:
        client = ComputeManagementClient(azure.credential(), azure.subscription, **azure.client_options)
        …
        assert azure.report()["metrics"]["min_healthy"] >= 8

Contract: everything it makes is gone when it is left; no file outside the folder given, no port but a free one of loopback.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from vmss_sim.arm.clock import BaseClock
    from vmss_sim.arm.session import Session


class Token(NamedTuple):
    """An access token as azure-core passes it."""

    token: str
    expires_on: int


class Credential:
    """A credential for azure-core clients: any token is accepted."""

    def get_token(self, *_scopes: str, **_options: Any) -> Token:
        """A token that is good for long."""
        return Token("vmss-sim", 1 << 40)


class Emulated:
    """A running emulator. url, http_url: its bases; ca: the certificate to trust; control: its control endpoint."""

    def __init__(self, session: Session) -> None:
        from vmss_sim.arm.client import Control  # noqa: PLC0415  # a plug-in of pytest has to be cheap to import

        emulator = session.emulator
        one = emulator.measured_set
        self.session, self.emulator = session, emulator
        self.url, self.http_url = session.url, session.http_url
        self.ca = str(session.ca)
        self.token, self.environment = session.token, session.variables
        self.path_first = str(session.path_first)
        self.subscription, self.group, self.name, self.id = one.subscription, one.group, one.name, one.id
        self.tenant = emulator.site.tenant
        self.control = Control(self.url, self.token, self.ca)

    def credential(self) -> Credential:
        """A credential for Azure's SDK for Python."""
        return Credential()

    @property
    def client_options(self) -> dict[str, Any]:
        """Keyword arguments of `ComputeManagementClient`."""
        return {"base_url": self.url, "credential_scopes": [f"{self.url}/.default"], "connection_verify": self.ca}

    def report(self) -> dict[str, Any]:
        """The report once everything has ended: the worlds run on until then."""
        return self.emulator.finish()


@contextmanager
def emulated(
    scenario: str | Path = "two-vms",
    *,
    clock: str = "jump",
    speed: float = 1,
    poll_s: float = 30,
    retry_after_s: int | None = None,
    seed: int = 1,
    throttle: bool = False,
    opaque_urls: bool = False,
    http: bool = False,
    folder: Path | None = None,
    trace: Path | None = None,
    any_version: bool = False,
) -> Iterator[Emulated]:
    """An emulator of a scenario, while the `with` lasts. scenario: a file, or the name of a bundled one; folder: of its CA, so that
    several emulators are trusted by one certificate. The rest is as of `vmss-sim emulate`. Raises InputError.
    """
    from planner.errors import InputError  # noqa: PLC0415  # a plug-in of pytest has to be cheap to import
    from scenarios import files, to_arm  # noqa: PLC0415
    from vmss_sim.arm.emulator import Emulator  # noqa: PLC0415
    from vmss_sim.arm.session import Session  # noqa: PLC0415
    from vmss_sim.arm.trace import Trace  # noqa: PLC0415
    from vmss_sim.study.replicate import breaches  # noqa: PLC0415

    path = files.find_scenario(str(scenario))
    stage = to_arm.stage(
        files.load(path), path.parent, str(path), seed=seed, breaches=breaches, any_version=any_version
    )
    clocks = _clocks()
    if clock not in clocks:
        raise InputError("no such clock", "clock", repr(clock), ", ".join(clocks))
    keeper = clocks[clock](speed=speed, poll_s=poll_s, retry_after_s=retry_after_s)
    with TemporaryDirectory(prefix="vmss-sim-") as own, closing(Trace(trace)) as kept:
        emulator = Emulator(stage, keeper, trace=kept, throttle=throttle, opaque_urls=opaque_urls)
        with Session(emulator, ca_dir=folder or Path(own), http=http) as session:
            yield Emulated(session)


def _clocks() -> dict[str, Callable[..., BaseClock]]:
    from vmss_sim.arm.clock import RealClock  # noqa: PLC0415  # as above
    from vmss_sim.arm.standing_clocks import JumpClock, ManualClock  # noqa: PLC0415  # as above

    return {
        "jump": lambda poll_s, **_: JumpClock(poll_s=poll_s),
        "real": lambda speed, retry_after_s, **_: RealClock(speed=speed, retry_after_s=retry_after_s),
        "manual": lambda retry_after_s, **_: ManualClock(retry_after_s=retry_after_s),
    }
