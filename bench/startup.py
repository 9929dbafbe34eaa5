"""How long `vmss-sim --help` takes, from start to exit: the median of several runs after one that is dropped.

    python -m bench.startup [--runs N]

The target is 0.4 s. An empty Python program is timed beside it, since that part is not ours. It is a measurement: the
exit code is 0 however long it takes, and 2 where there is no command to time.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

TARGET_S = 0.4


def median_s(command: list[str], runs: int) -> float:
    """Median wall time of a command that must succeed."""
    times = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.startup", description="Time `vmss-sim --help`.")
    parser.add_argument("--runs", type=int, default=10, help="that count; one more is dropped")
    given = parser.parse_args()
    script = Path(sysconfig.get_path("scripts")) / "vmss-sim"
    if not script.exists():
        print("vmss-sim is not installed in this environment: pip install -e .", file=sys.stderr)
        return 2
    try:
        ours = median_s([str(script), "--help"], given.runs)
    except subprocess.CalledProcessError as error:
        print(f"vmss-sim --help ended with exit code {error.returncode}: nothing to time yet", file=sys.stderr)
        return 2
    empty = median_s([sys.executable, "-c", ""], given.runs)
    verdict = "within" if ours <= TARGET_S else "above"
    print(f"vmss-sim --help: {ours:.3f} s (empty program {empty:.3f} s), {verdict} the target of {TARGET_S} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
