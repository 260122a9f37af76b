"""What a directory costs: latency of asking and registering with 1,000 relays registered, memory, first
circuit.

usage: python -m tests.bench.bench_operators [--relays 1000] [--rounds 300] [--json FILE]

One super peer as a process of its own; everything over HTTP on loopback, a connection a request, as relays
and clients do it. The relays are identities of this script, each with a signed record; all register from this
machine.
"""

import argparse
import http.client
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.support.helper_nodes import CONSENT, HelperNode, exit_settings
from tests.support.operators import Relay
from vigilnet.peer.address import PeerAddress
from vigilnet.peer.descriptor import PeerRecord
from vigilnet.routing.operators.wire import encode_registration, sign_registration

BARS_MS = {"ask": 10.0, "register": 50.0}  # p95 with 1,000 relays registered
FIRST_CIRCUIT_BAR_S = 2.0
NETWORK = "operators"


def percentile(values: list[float], percent: int) -> float:
    """The value that so many percent of all do not exceed."""
    return statistics.quantiles(values, n=100)[percent - 1]


def timed(node: HelperNode, path: str, body: bytes | None = None) -> tuple[float, bytes]:
    """Ask once; ms from connecting to the last octet, and the body."""
    start = time.perf_counter()
    connection = http.client.HTTPConnection(node.ready["status"], timeout=10)
    connection.request("GET" if body is None else "POST", path, body)
    answer = connection.getresponse()
    said = answer.read()
    connection.close()
    spent = (time.perf_counter() - start) * 1000
    assert answer.status == 200, said
    return spent, said


def resident_mb(node: HelperNode) -> float:
    """Memory of the node's process."""
    assert node.process is not None
    pages = Path(f"/proc/{node.process.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def make_relays(count: int) -> list[tuple[Relay, PeerRecord]]:
    """So many relays on loopback, with their records of now."""
    relays = []
    for number in range(count):
        relay = Relay(f"bench {number}", "127.0.0.1", NETWORK)
        address = PeerAddress.tcp("127.0.0.1", 1024 + number)
        country = ("DE", "FR", "US", "JP", "BR")[number % 5]
        relays.append((relay, relay.maker.record(int(time.time()), addresses=[address], country=country)))
    return relays


def registration(relay: Relay, record: PeerRecord) -> bytes:
    """The body that a relay posts now."""
    said = sign_registration(relay.maker.identity, record, time.time(), NETWORK)
    return json.dumps(encode_registration(said)).encode()


def measure(folder: Path, relays: int, rounds: int) -> dict[str, float]:
    """Measure all."""
    settings = exit_settings(1) | {"operators.ttl_s": "3600"}
    figures: dict[str, float] = {}
    with HelperNode(folder / "super", "super", ("--accept-exit-notice",), settings, CONSENT) as node:
        figures["memory, nobody registered, MB"] = resident_mb(node)
        made = make_relays(relays)
        first = [timed(node, "/api/relay/register", registration(*relay))[0] for relay in made]
        again, asked, country = [], [], []
        for number in range(rounds):
            again.append(timed(node, "/api/relay/register", registration(*made[number % relays]))[0])
            spent, body = timed(node, "/api/relays/by-country")
            asked.append(spent)
            country.append(timed(node, "/api/relays/by-country?country=DE")[0])
        for name, values in (
            ("register, new", first),
            ("register", again),
            ("ask", asked),
            ("ask, a country", country),
        ):
            figures[f"{name}, p50 ms"] = percentile(values, 50)
            figures[f"{name}, p95 ms"] = percentile(values, 95)
        figures["listing, kB"] = len(body) / 1000
        figures["memory, all registered, MB"] = resident_mb(node)
        assert sum(map(len, json.loads(body).values())) >= relays
    figures |= first_circuit(folder)
    return figures


def first_circuit(folder: Path) -> dict[str, float]:
    """From the start of a client's process to its first circuit, by a directory alone."""
    what = "first circuit by a directory, from the start of the process, s"
    with HelperNode(folder / "peer", "super", ("--accept-exit-notice",), exit_settings(1), CONSENT) as peer:
        started = time.perf_counter()
        arguments = ("--operators", peer.url)
        with HelperNode(folder / "client", "client", arguments, {"circuits.hops": "1"}) as client:
            client.wait_state("connected")
            return {what: time.perf_counter() - started}


def main() -> int:
    """Measure, print and judge."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--relays", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options.relays, options.rounds)
    for name, value in figures.items():
        print(f"{name:60} {value:8.2f}")
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    missed = [name for name, bar in BARS_MS.items() if figures[f"{name}, p95 ms"] > bar]
    if figures["first circuit by a directory, from the start of the process, s"] > FIRST_CIRCUIT_BAR_S:
        missed.append("first circuit")
    print(f"bars missed: {', '.join(missed) or 'none'}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
