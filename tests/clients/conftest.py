"""Collected only where `make clients` says so: these tests install hundreds of megabytes and take minutes."""

from __future__ import annotations

import os

collect_ignore_glob = [] if os.environ.get("VMSS_SIM_CLIENTS") else ["test_*.py"]
