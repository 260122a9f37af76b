"""`make bench`: what VigilNet costs over 1, 3 and 10 hops; `make bench-peers` runs Tor beside it.

Starts `vigilnet testnet` (separate processes on loopback), measures it with suite.py and writes the page, the
JSON and the plot to docs/benchmarks/. With --quick it takes a minute and writes to a temporary folder.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench import report, suite

PAGES = Path(__file__).parents[2] / "docs" / "benchmarks"


def machine() -> str:
    """What it ran on, in a few words."""
    model = "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line
        ]
        model = names[0] if names else model
    return f"{os.cpu_count()} cores of {model}, {platform.system()}, Python {platform.python_version()}"


def tor(*, quick: bool) -> Any:  # noqa: ANN401
    """Tor's figures from its script, which makes a namespace and a private network of its own."""
    command = [
        suite.PEERS / "bench_tor.sh",
        "--mb",
        "60" if quick else "200",
        *(["--quick"] if quick else []),
    ]
    done = subprocess.run(
        list(map(str, command)), stdout=subprocess.PIPE, text=True, check=False, timeout=400,
        env={**os.environ, "PYTHON": sys.executable},
    )  # fmt: skip
    lines = done.stdout.strip().splitlines()
    return json.loads(lines[-1]) if done.returncode == 0 and lines else None


def middle(figures: Sequence[float | None]) -> float | None:
    """The median of those that were measured."""
    measured = sorted(figure for figure in figures if figure)
    return measured[len(measured) // 2] if measured else None


def main() -> int:
    """Measure and write; 1 if a network did not come up."""
    parser = argparse.ArgumentParser(description="measure VigilNet on this machine")
    parser.add_argument("--hops", default="1,3,10", help="path lengths, separated by commas")
    parser.add_argument("--quick", action="store_true", help="a minute instead of ten; not for quoting")
    parser.add_argument("--peers", action="store_true", help="Tor in the same run (root, tor installed)")
    parser.add_argument("--out", type=Path, help="folder for the results")
    options = parser.parse_args()
    effort = suite.Effort.quick() if options.quick else suite.Effort()
    suite.peerlib.bounded(3000)
    work = Path(suite.peerlib.workdir("vigilnet"))
    pings = [suite.prototype_ping()]
    bulks: dict[str, list[float | None]] = {"down": [], "up": []}
    networks = {}
    for hops in map(int, options.hops.split(",")):
        print(f"bench: {hops} hops", file=sys.stderr, flush=True)
        networks[str(hops)] = suite.measure(hops, work, effort)
        pings.append(suite.prototype_ping())
        for direction, figures in bulks.items():
            figures.append(suite.prototype_bulk(direction))
    result = {
        "command": "make bench-peers" if options.peers else "make bench",
        "machine": machine(),
        "octets": effort.octets,
        "rounds": effort.rounds,
        "prototype_ping_ms": middle(pings),
        "prototype_bulk_cpu_s_per_gb": {direction: middle(figures) for direction, figures in bulks.items()},
        "networks": networks,
        "peers": {"tor": tor(quick=options.quick)} if options.peers else {},
    }
    folder = options.out or (Path(tempfile.mkdtemp(prefix="vigilnet-bench-")) if options.quick else PAGES)
    page = report.write(result, folder, "peers" if options.peers else "core")
    if folder == PAGES:
        report.put_into(PAGES.parents[1] / "README.md", result)
    print(page.read_text())
    print(f"bench: written to {folder}", file=sys.stderr)
    suite.peerlib.cleanup()
    return 0


if __name__ == "__main__":
    sys.exit(main())
