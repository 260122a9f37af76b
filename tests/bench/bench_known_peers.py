"""What nodes hold that know 200 relays (DIS-17).

usage: python -m tests.bench.bench_known_peers [--minutes 30] [--relays 200] [--write]

tests/support/known_peers.py says what runs. Needs little of the machine; other work beside it does no harm.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.support.known_peers import KnownPeers

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks" / "known-peers.md"
MOST_GROWTH_MB = 2.0
MOST_SOCKETS = 64
SAMPLES = 60

HEAD = """# Nodes that know 200 relays

    python -m tests.bench.bench_known_peers --write         # writes this page; half an hour

One super peer (directory, relay and exit), with {relays} relays that register with it each 30 s and answer
no dial; every tenth falls silent again and again, for longer than it is listed. A client that has them
all from the directory fetches a page each half second over one hop through the super peer. Memory and
descriptors are of the two processes, from `/proc`. Bars: nothing fails; memory flat (the last quarter's
median at most {growth} MB above the second's); at most {sockets} sockets each.

| minute | relays known | listed | links | super peer, MB | sockets | descriptors | client, MB | sockets |
|---|---|---|---|---|---|---|---|---|
"""


def page(found: KnownPeers, relays: int) -> str:
    """The page of figures."""
    step = max(1, len(found.samples) // 12)
    rows = []
    for each in found.samples[::step]:
        shown = (
            f"{each.minute:.0f}", each.known, each.listed, each.links, each.super_mb, each.super_sockets,
            each.super_files, each.client_mb, each.client_sockets,
        )  # fmt: skip
        rows.append(f"| {' | '.join(map(str, shown))} |\n")
    tail = (
        f"\n{found.pages} pages fetched, {found.failed} failed; {found.registrations} registrations, "
        f"{found.refused} refused; {found.complaints} errors in the logs; `status` took "
        f"{found.slowest_status_s * 1000:.0f} ms at most.\n"
        f"Memory, last quarter against the second: super peer {found.growth_mb('super_mb'):+.1f} MB, client "
        f"{found.growth_mb('client_mb'):+.1f} MB. Sockets at most: {found.most('super_sockets')} and "
        f"{found.most('client_sockets')}.\n"
    )
    head = HEAD.format(relays=relays, growth=MOST_GROWTH_MB, sockets=MOST_SOCKETS)
    return head + "".join(rows) + tail


def main() -> int:
    """Run, print and judge."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--relays", type=int, default=200)
    parser.add_argument("--write", action="store_true", help="write the page")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = KnownPeers.measure(Path(folder), options.relays, SAMPLES, 60 * options.minutes / SAMPLES)
    text = page(found, options.relays)
    print(text)
    if options.write:
        PAGE.write_text(text)
    is_held = (
        not (found.failed or found.refused or found.complaints)
        and max(found.growth_mb("super_mb"), found.growth_mb("client_mb")) <= MOST_GROWTH_MB
        and max(found.most("super_sockets"), found.most("client_sockets")) <= MOST_SOCKETS
    )
    print("bars held" if is_held else "bars missed")
    return 0 if is_held else 1


if __name__ == "__main__":
    sys.exit(main())
