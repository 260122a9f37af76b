"""What a directory costs: latency of asking and registering with 1,000 relays registered, memory, junk, and
how soon a client has its first circuit.

usage: python -m tests.bench.bench_operators [--relays 1000] [--rounds 300] [--dry]

Writes its part of docs/benchmarks/discovery.json and of the page, unless `--dry`.

One super peer as a process of its own; everything over HTTP on loopback, a connection a request, as relays
and clients do it. The relays are identities of this script, each with a signed record; all register from this
machine.
"""

import argparse
import http.client
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.discovery_page import update
from tests.support.helper_nodes import CONSENT, HelperNode, exit_settings
from tests.support.operators import Relay
from tests.support.strangers import Junk, resident, rows
from vigilnet.peer.address import PeerAddress
from vigilnet.peer.descriptor import PeerRecord
from vigilnet.routing.operators.wire import encode_registration, sign_registration
from vigilnet.surface.control.client import ControlClient

BARS_MS = {"ask": 10.0, "register": 50.0}  # p95 with 1,000 relays registered
FIRST_CIRCUIT_BARS_S = {"directory": 2.0, "invite": 5.0, "cache": 5.0}
JUNK = 10_000
TRIES = 5
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
    return resident(node) / 1e6


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
    figures |= junk(folder)
    return figures | first_circuits(folder)


def junk(folder: Path) -> dict[str, float]:
    """What ten thousand registrations that are refused leave behind."""
    with HelperNode(folder / "junked", "super", ("--accept-exit-notice",), exit_settings(1), CONSENT) as node:
        sent = Junk(node)
        sent.send(1000)  # what a process needs anyhow is there before we measure
        before = resident_mb(node)
        codes = sent.send(JUNK)
        return {
            "junk, sent": codes.total(),
            "junk, refused by 400 or 403": codes[400] + codes[403],
            "junk, answered by 5xx": sum(count for code, count in codes.items() if code >= 500),
            "junk, relays remembered": rows(node),
            "junk, MB grown": resident_mb(node) - before,
        }


def first_circuits(folder: Path) -> dict[str, float]:
    """From the start of a client's process to its first circuit: by a directory, an invite, its last run."""
    with HelperNode(folder / "peer", "super", ("--accept-exit-notice",), exit_settings(1), CONSENT) as peer:
        with ControlClient(peer.folder) as control:
            invite = control.invite().uri
        took: dict[str, list[float]] = {"directory": [], "invite": [], "cache": []}
        for number in range(TRIES):
            used = folder / f"invited{number}"
            took["directory"].append(first_circuit(folder / f"asking{number}", "--operators", peer.url))
            took["invite"].append(first_circuit(used, "--invite", invite))
            took["cache"].append(first_circuit(used))
    return {
        f"first circuit by {way}, {name} s": value
        for way, tries in took.items()
        for name, value in (("median", statistics.median(tries)), ("longest", max(tries)))
    }


def first_circuit(folder: Path, *arguments: str) -> float:
    """Start a client; return seconds to its first circuit."""
    started = time.perf_counter()
    with HelperNode(folder, "client", arguments, {"circuits.hops": "1"}) as client:
        client.wait_state("connected")
        return time.perf_counter() - started


def main() -> int:
    """Measure, print and judge."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--relays", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--dry", action="store_true", help="write nothing down")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options.relays, options.rounds)
    for name, value in figures.items():
        print(f"{name:60} {value:8.2f}")
    if not options.dry:
        update("operators", {name: round(value, 2) for name, value in figures.items()})
    missed = [name for name, bar in BARS_MS.items() if figures[f"{name}, p95 ms"] > bar]
    missed += [
        f"first circuit by {way}"
        for way, bar in FIRST_CIRCUIT_BARS_S.items()
        if figures[f"first circuit by {way}, longest s"] > bar
    ]
    print(f"bars missed: {', '.join(missed) or 'none'}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
