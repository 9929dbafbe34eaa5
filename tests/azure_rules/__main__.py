"""`python -m tests.azure_rules --doc | --mutants [-j N] [--only TEXT]`."""

from __future__ import annotations

import argparse
import sys


def main() -> int:
    """Print the page, or run the mutants."""
    parser = argparse.ArgumentParser(prog="python -m tests.azure_rules", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--doc", action="store_true", help="print docs/azure-rules.md")
    what.add_argument("--mutants", action="store_true", help="break every rule and demand that its test fails")
    parser.add_argument("-j", "--jobs", type=int, default=2, help="mutants at a time (2)")
    parser.add_argument("--only", default="", help="rules whose id contains this")
    given = parser.parse_args()
    if given.doc:
        from tests.azure_rules.catalogue import doc

        sys.stdout.write(doc())
        return 0
    from tests.azure_rules.mutants import main as mutants

    return mutants(given.jobs, given.only)


sys.exit(main())
