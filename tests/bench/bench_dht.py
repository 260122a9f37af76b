"""What look-ups in the DHT cost as it grows (DIS-01): `sudo python -m tests.bench.bench_dht [--write]`.

usage: sudo python -m tests.bench.bench_dht [--nodes 30,100,300,1000] [--write]

So many nodes of the library that relays run, in one process on loopback of a namespace of its own, each
joined through three others. Some publish a value under a key of their own; then nodes drawn by chance ask
for one of these. Datagrams are the namespace's, less what the same time costs without questions.
"""

import argparse
import math
import os
import random  # seeded
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Any

import opendht  # type: ignore[import-untyped]  # it has no types of its own

from tests.support.netns import Lab

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks" / "dht.md"
NETWORK, FIRST_PORT = 77, 20_000
PUBLISHED, ASKED, PATIENCE_S, IDLE_S = 30, 60, 20.0, 10.0

HEAD = """# Look-ups in the DHT as it grows

    sudo python -m tests.bench.bench_dht --write

So many nodes of OpenDHT, the library that relays run, in one process on one machine with 2 cores; each
joined through three others. {published} of them publish a value under a key of their own; {asked} times a
node drawn by chance asks for one of these keys. Datagrams are those of the whole network while it is asked,
less what the same time costs without questions, for each look-up: questions and answers of the search. The
library does not tell its hops; they are bounded by this cost.

| nodes | found | median s | slowest s | datagrams a look-up | of log2(nodes) | idle datagrams a node and s |
|---|---|---|---|---|---|---|
"""


def row(nodes: int, right: int, seconds: list[float], datagrams: float, idle: float) -> str:
    """One line of the page."""
    shown = (
        str(nodes), f"{right} of {len(seconds)}", f"{statistics.median(seconds):.2f}", f"{max(seconds):.2f}",
        f"{datagrams:.0f}", f"{datagrams / math.log2(nodes):.1f}", f"{idle:.2f}",
    )  # fmt: skip
    return f"| {' | '.join(shown)} |\n"


def datagrams_sent() -> int:
    """How many the namespace has sent so far."""
    lines = [line.split() for line in Path("/proc/thread-self/net/snmp").read_text().splitlines()]
    names, values = (line for line in lines if line[0] == "Udp:")
    return int(values[names.index("OutDatagrams")])


def started(nodes: int, rng: random.Random) -> list[Any]:
    """A network; returns once it is quiet."""
    runners: list[Any] = []
    for number in range(nodes):
        config = opendht.DhtConfig()
        config.setNetwork(NETWORK)
        runner = opendht.DhtRunner()
        runner.run(port=FIRST_PORT + number, ipv4="127.0.0.1", ipv6="", config=config)
        for other in rng.sample(range(number), min(3, number)):
            runner.bootstrap("127.0.0.1", str(FIRST_PORT + other))
        runners.append(runner)
        time.sleep(0.02)
    rate = math.inf
    give_up = time.monotonic() + 120
    while time.monotonic() < give_up:
        before = datagrams_sent()
        time.sleep(5)
        rate, last = (datagrams_sent() - before) / 5, rate
        if rate > 0.8 * last:
            break
    return runners


def get(runner: Any, key: Any) -> tuple[bytes, float]:  # noqa: ANN401 the library has no types
    """Ask; what came first, and how long it took until then."""
    values: list[bytes] = []
    is_over = threading.Event()

    def got(value: Any) -> bool:  # noqa: ANN401
        values.append(bytes(value.data))
        is_over.set()
        return False

    start = time.monotonic()
    runner.get(key, got, lambda *_: is_over.set())
    is_over.wait(PATIENCE_S)
    return (values[0] if values else b""), time.monotonic() - start


def measure(nodes: int, rng: random.Random) -> None:
    """Start a network, fill it, ask, print, and end the process."""
    runners = started(nodes, rng)
    keys = []
    for number, runner in enumerate(rng.sample(runners, min(PUBLISHED, nodes))):
        keys.append((opendht.InfoHash(os.urandom(20).hex().encode()), b"value %d" % number))
        runner.put(keys[-1][0], opendht.Value(keys[-1][1]))
    time.sleep(IDLE_S)
    before = datagrams_sent()
    time.sleep(IDLE_S)
    idle = (datagrams_sent() - before) / IDLE_S
    right, seconds, before, began = 0, [], datagrams_sent(), time.monotonic()
    for _ in range(ASKED):
        key, value = rng.choice(keys)
        came, took = get(rng.choice(runners), key)
        right += came == value
        seconds.append(took)
        time.sleep(0.1)
    cost = (datagrams_sent() - before - idle * (time.monotonic() - began)) / ASKED
    print(row(nodes, right, seconds, cost, idle / nodes), end="", flush=True)
    os._exit(0)  # at once: the library waits for its threads, which wait for Python


def main() -> int:
    """Measure all sizes, each in a process of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--nodes", default="30,100,300,1000")
    parser.add_argument("--write", action="store_true", help="write the page")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # in the namespace already
    options = parser.parse_args()
    if options.here:
        measure(int(options.nodes), random.Random(1))
    rows = []
    with Lab() as lab:
        host = lab.namespace("dht")
        host.run("ip", "link", "set", "up", "dev", "lo")
        for nodes in options.nodes.split(","):
            words = (sys.executable, "-m", "tests.bench.bench_dht", "--here", "--nodes", nodes)
            rows.append(host.run(*words, timeout=900).stdout)
            print(rows[-1], end="", flush=True)
    if options.write:
        PAGE.write_text(HEAD.format(published=PUBLISHED, asked=ASKED) + "".join(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
