"""What a process is forked from: everything that a command imports when it runs, imported once. Only a fork server imports this."""

from __future__ import annotations

import gc
from importlib import import_module

for name in (
    "azure.core.rest._requests_basic",
    "backends.hooks",
    "backends.operate",
    "backends.probes",
    "backends.store.files",
    "planner.machine.turn",
    "scenarios.files",
    "tests.loopback_process",
    "typer._adapters",
    "vmss_sim.report.live",
    "vmss_sim.report.plans",
    "vmss_sim.report.status",
):
    import_module(name)
gc.freeze()  # what is there stays; a child that looked at it would copy it, page by page
