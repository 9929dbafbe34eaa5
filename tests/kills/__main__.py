"""`python -m tests.kills [-n KILLS] [--seed N] [--ground loopback|azure] [--only GROUND/SEED/NUMBER]`: the crash test, with its progress told."""

from __future__ import annotations

import argparse
import sys

from tests.kills import KILLS, SEED
from tests.kills.grounds import GROUNDS
from tests.kills.run import once, run


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
        print(once(ground, int(seed), int(number), says=print))
        return 0
    failed = 0
    for ground in given.ground or GROUNDS:
        failed += run(ground, given.n, given.seed, says=print, keep_going=given.keep_going).failed
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
