"""The pytest plug-in (entry point `vmss_sim`): the fixture `vmss_emulator`.

    def test_our_script_keeps_the_service_up(vmss_emulator):
        azure = vmss_emulator("seed-article")
        subprocess.run(["./upgrade.sh"], env=os.environ | azure.environment, check=True)
        assert azure.report()["metrics"]["min_healthy"] >= 8

Importing this costs next to nothing: everything else is imported when a test asks for the fixture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from vmss_sim.checks.emulated import Emulated


@pytest.fixture
def vmss_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Emulated]]:
    """Makes emulators, which end with the test: `vmss_emulator("seed-article", clock="manual")`; see `checks.emulated.emulated`."""
    from vmss_sim.checks.emulated import emulated  # noqa: PLC0415  # a plug-in of pytest has to be cheap to import

    folder = tmp_path_factory.getbasetemp() / "vmss-sim-ca"
    with ExitStack() as stack:

        def make(scenario: str = "two-vms", **options: Any) -> Emulated:
            return stack.enter_context(emulated(scenario, folder=folder, **options))

        yield make
