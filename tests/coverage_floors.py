"""Holds branch coverage to its floors: `make coverage` runs this after the tests.

The rooms where a missed branch costs somebody's safety have floors of their own; no list of exceptions.
"""

import sys
from io import StringIO

from coverage import Coverage

FLOORS = {
    "src/vigilnet/*": 90.0,
    "src/vigilnet/crypto/*": 95.0,
    "src/vigilnet/traffic/cell.py": 95.0,
    "src/vigilnet/traffic/link/*": 95.0,
    "src/vigilnet/traffic/circuit/*": 95.0,
    "src/vigilnet/traffic/stream/*": 95.0,
    "src/vigilnet/traffic/exit/policy.py": 95.0,
    "src/vigilnet/routing/operators/*": 95.0,
}


def main() -> int:
    """Print the report and one line per floor; 1 if any is not reached."""
    coverage = Coverage()
    coverage.load()
    coverage.report(file=sys.stdout)
    failed = 0
    for pattern, floor in FLOORS.items():
        reached = coverage.report(include=[pattern], file=StringIO())
        failed += reached < floor
        print(f"{'ok  ' if reached >= floor else 'FAIL'} {pattern}: {reached:.1f} %, at least {floor:.0f} %")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
