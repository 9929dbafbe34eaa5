"""`python -m tests.kills [-n KILLS] [--seed N] [--ground loopback|azure] [--only GROUND/SEED/NUMBER]`: the crash test, with its progress told, and in
the end at which word of an operator, and in which phase, how many were killed.
"""

from __future__ import annotations

import argparse
import sys

from tests.kills import KILLS, SEED
from tests.kills.grounds import GROUNDS
from tests.kills.run import once, run, table
from tests.kills.telling import Hits


def main() -> int:
    asked = argparse.ArgumentParser(prog="python -m tests.kills", description=__doc__)
    asked.add_argument("-n", type=int, default=KILLS, help="kills on each ground (default: $VMSS_SIM_KILLS, or 60)")
    asked.add_argument("--seed", type=int, default=SEED, help="$VMSS_SIM_KILLS_SEED, or 1")
    asked.add_argument("--ground", choices=GROUNDS, action="append")
    asked.add_argument("--only", metavar="GROUND/SEED/NUMBER", help="this tale alone")
    asked.add_argument("--keep-going", action="store_true", help="tell of a tale that fails, and go on")
    given = asked.parse_args()
    if given.only:
        ground, seed, number = given.only.split("/")
        left = once(ground, int(seed), int(number), says=print)
        print(f"{left.hits} kills\n{table(left.kills)}")
        return 0
    failed, killed = 0, Hits()
    for ground in given.ground or GROUNDS:
        done = run(ground, given.n, given.seed, says=print, keep_going=given.keep_going)
        failed, killed = failed + done.failed, killed + done.killed
    print(table(killed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
