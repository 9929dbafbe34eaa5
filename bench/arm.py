"""The emulator under load: how quickly it answers many clients that poll a large set, and whether memory stays flat.

    python -m bench.arm [--vms 1000] [--clients 50] [--seconds 10] [--operations 100000] [--json]

1. *Latency*: over HTTPS on loopback, clients that each keep a connection and ask without a pause, by turns for an operation that runs, the
   set, its instance view, one instance and the list of instances. p50 and p99 by kind, and requests a second. Clients run in a process of
   their own.
2. *Memory*: operations one after another through the endpoint without HTTP, under a jump clock; resident size after a tenth, and at the end.

A time never decides anything: the exit code is 0 unless a request fails.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vmss_sim.arm.http import Request
from vmss_sim.checks.emulated import emulated

SCENARIO = """
title = "A set to be polled"
scale_set = {{ instances = {vms}, upgrade_mode = "manual" }}
change = {{ version = "22.04.202606010" }}
timing = {{ ready = "60s" }}
"""
VERSION = "api-version=2024-07-01"


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        scenario = Path(folder) / "polled.toml"
        scenario.write_text(SCENARIO.format(vms=options.vms))
        found: dict[str, Any] = {"vms": options.vms, "clients": options.clients}
        if options.seconds:
            found["latency"] = _latency(scenario, options.clients, options.seconds)
        if options.operations:
            found["memory"] = _memory(scenario, options.operations)
    print(json.dumps(found, indent=2) if options.json else _told(found))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--vms", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--operations", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


# -- latency -----------------------------------------------------------------------------------------------------------


def _latency(scenario: Path, clients: int, seconds: float) -> dict[str, Any]:
    with emulated(scenario, clock="real") as azure:
        body = b'{"instanceIds": ["*"]}'
        started = azure.emulator.answer(
            Request(
                method="POST",
                path=f"{azure.id}/restart",
                query={"api-version": "2024-07-01"},
                headers={"authorization": "Bearer x"},
                body=body,
                base=azure.url,
            )
        )
        operation = started.headers["azure-asyncoperation"].removeprefix(azure.url)
        paths = {
            "operation": operation,
            "set": f"{azure.id}?{VERSION}",
            "instance view": f"{azure.id}/instanceView?{VERSION}",
            "instance": f"{azure.id}/virtualMachines/0?{VERSION}",
            "list": f"{azure.id}/virtualMachines?{VERSION}&$expand=instanceView",
        }
        port = int(azure.url.rpartition(":")[2])
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            times = pool.apply(_clients, (port, azure.ca, paths, clients, seconds))
    every = [one for found in times.values() for one in found]
    return {
        "requests_per_s": round(len(every) / seconds),
        **{name: _quantiles(found) for name, found in (("all", every), *times.items())},
    }


def _quantiles(times: list[float]) -> dict[str, float]:
    cut = statistics.quantiles(times, n=100)
    return {"n": len(times), "p50_ms": round(cut[49] * 1000, 1), "p99_ms": round(cut[98] * 1000, 1)}


def _clients(port: int, ca: str, paths: dict[str, str], clients: int, seconds: float) -> dict[str, list[float]]:
    return asyncio.run(_all_clients(port, ca, paths, clients, seconds))


async def _all_clients(
    port: int, ca: str, paths: dict[str, str], clients: int, seconds: float
) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in paths}
    context = ssl.create_default_context(cafile=ca)
    until = time.perf_counter() + seconds
    await asyncio.gather(*(_client(port, context, paths, number, until, times) for number in range(clients)))
    return times


async def _client(
    port: int, context: ssl.SSLContext, paths: dict[str, str], number: int, until: float, times: dict[str, list[float]]
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    turns = _turns(number)
    while time.perf_counter() < until:
        name = next(turns)
        began = time.perf_counter()
        writer.write(f"GET {paths[name]} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"{name}: {head[:200]!r}")
        size = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(size.partition(b":")[2]))
        times[name].append(time.perf_counter() - began)
    writer.close()


def _turns(number: int) -> Iterator[str]:
    """Mostly polls, as clients do; the list of all instances now and then."""
    weights = ("operation",) * 12 + ("set",) * 3 + ("instance view",) * 2 + ("instance",) * 2 + ("list",)
    at = number
    while True:
        yield weights[at % len(weights)]
        at += 1


# -- memory ------------------------------------------------------------------------------------------------------------


def _memory(scenario: Path, operations: int) -> dict[str, Any]:
    with emulated(scenario, poll_s=0) as azure:
        answer, sizes = azure.emulator.answer, {}
        headers = {"authorization": "Bearer x"}
        marks = {max(1, operations * part // 10) for part in (1, 5, 10)}
        began = time.perf_counter()
        for number in range(1, operations + 1):
            body = b'{"instanceIds": ["%d"]}' % (number % 1000 % azure.emulator.stage.yardstick.total)
            started = answer(
                Request(
                    method="POST",
                    path=f"{azure.id}/restart",
                    query={"api-version": "2024-07-01"},
                    headers=headers,
                    body=body,
                    base=azure.url,
                )
            )
            url = started.headers["azure-asyncoperation"].removeprefix(azure.url)
            polled = answer(
                Request(method="GET", path=url.partition("?")[0], query={"api-version": "2024-07-01"}, headers=headers)
            )
            if not isinstance(polled.body, dict) or polled.body["status"] == "InProgress":
                raise SystemExit(f"operation {number}: {polled}")
            if number in marks:
                sizes[number] = _resident_mib()
        took = time.perf_counter() - began
    return {"operations": operations, "resident_mib": sizes, "per_operation_ms": round(took / operations * 1000, 3)}


def _resident_mib() -> float:
    """What this process holds now; where the system does not say, the most it ever held."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(one for one in status.read_text().splitlines() if one.startswith("VmRSS:"))
        return round(int(line.split()[1]) / 1024, 1)
    import resource  # noqa: PLC0415  # not on every system

    return round(
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1 << 20), 1
    )


def _told(found: dict[str, Any]) -> str:
    lines = [f"{found['vms']} VMs, {found['clients']} clients"]
    if "latency" in found:
        lines.append(f"{found['latency']['requests_per_s']} requests/s")
        for name, row in found["latency"].items():
            if isinstance(row, dict):
                lines.append(
                    f"  {name:<14} n {row['n']:>6}  p50 {row['p50_ms']:>7.1f} ms  p99 {row['p99_ms']:>7.1f} ms"
                )
    if "memory" in found:
        sizes = ", ".join(f"{size} MiB after {number}" for number, size in found["memory"]["resident_mib"].items())
        lines.append(f"memory: {sizes}; {found['memory']['per_operation_ms']} ms an operation, without HTTP")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
