"""What hops cost on wires with delay and a rate, beside no hop at all (PRF-01, 02, 03, 05).

usage: sudo python -m tests.bench.bench_wan [--rounds 5] [--write]

Each host has a wire of its own, 5 ms each way and 20 Mbit/s: any two are 20 ms apart, there and back.
Rounds alternate between a plain TCP connection to the target and the same through the network.
"""

import argparse
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.netns import Lab, Wan
from tests.support.nodes import OCTETS_PORT, Network, start_network
from tests.support.octet_server import take

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks" / "wan.md"
WIRE = Wan(delay_s=0.005, rate_bps=20e6)
OCTETS = 10_000_000
ECHOES = 20
HOPS = (1, 3)

HEAD = """# Over wires with delay

    sudo python -m tests.bench.bench_wan --write

Asked for: at most 50 to 100 ms a hop, 150 ms for three; 80 to 120 Mbit/s over one hop, 40 to 80 over three;
and to say what three hops cost (10 to 30 % were claimed for others).

Client, relays, exit and target are hosts in namespaces of one machine with 2 cores, each behind a wire of
its own of 20 Mbit/s and 5 ms each way, so that any two are 20 ms apart, there and back. One stream of 10 MB
from the target, and one octet there and back on an open stream; medians of {rounds} rounds, by turns with a
plain TCP connection from the same client. CPU-s/GB is user and system time. The wires are a process of this
machine too, and cost more of it than our nodes do: what other work there is slows hops first (the machine's
load in this run: {load:.0f}), so these are upper bounds of what hops cost.

| | plain TCP | {names} |
|---|---|{lines}|
"""


@dataclass
class Way:
    """What was measured on one way to the target."""

    mbit_s: list[float] = field(default_factory=list)
    echo_ms: list[float] = field(default_factory=list)
    cpu_s: dict[str, float] = field(default_factory=dict)

    def measure(self, dial: Callable[[str], socket.socket]) -> None:
        """Take one round."""
        with dial("ECHO") as connection:
            times = []
            for _ in range(ECHOES):
                start = time.perf_counter()
                connection.sendall(b"k")
                assert connection.recv(1) == b"k"
                times.append((time.perf_counter() - start) * 1000)
        self.echo_ms.append(statistics.median(times))
        start = time.perf_counter()
        with dial(f"SEND {OCTETS}") as connection:
            assert take(connection)[0] == OCTETS
        self.mbit_s.append(OCTETS * 8e-6 / (time.perf_counter() - start))


def cpu_of(network: Network) -> dict[str, float]:
    """Seconds of processor time of each node so far."""
    tick = os.sysconf("SC_CLK_TCK")
    used = {}
    for name, node in network.nodes.items():
        fields = Path(f"/proc/{node.pid}/stat").read_text().rpartition(")")[2].split()
        used[name] = (int(fields[11]) + int(fields[12])) / tick
    return used


def plain(network: Network) -> Callable[[str], socket.socket]:
    """Connections without us."""

    def dial(words: str) -> socket.socket:
        with network.client.entered():
            connection = socket.create_connection((network.target.v4, OCTETS_PORT), 60)
        connection.sendall(words.encode() + b"\n")
        return connection

    return dial


def measure(folder: Path, rounds: int) -> dict[int, Way]:
    """Measure all ways; 0 hops are a plain connection."""
    ways = {0: Way(), **{hops: Way() for hops in HOPS}}
    with Lab() as lab:
        network = start_network(lab, folder, v6=False, wan=WIRE)
        for hops in HOPS:
            network.restart_user(circuits={"hops": hops})
            before = cpu_of(network)
            for _ in range(rounds):
                ways[0].measure(plain(network))
                ways[hops].measure(network.dial)
            ways[hops].cpu_s = {name: used - before[name] for name, used in cpu_of(network).items()}
    return ways


def page(ways: dict[int, Way], rounds: int) -> str:
    """The page of figures."""
    middle = {
        hops: (statistics.median(way.mbit_s), statistics.median(way.echo_ms)) for hops, way in ways.items()
    }
    gb = rounds * OCTETS / 1e9

    def row(name: str, value: Callable[[int], str]) -> str:
        return f"| {name} | {' | '.join(value(hops) for hops in ways)} |\n"

    rows = [
        row("one stream, Mbit/s", lambda hops: f"{middle[hops][0]:.1f}"),
        row("of the plain connection's", lambda hops: f"{100 * middle[hops][0] / middle[0][0]:.0f} %"),
        row("echo, ms", lambda hops: f"{middle[hops][1]:.1f}"),
        row("of it the wires', ms", lambda hops: f"{20 * (hops + 1)}"),
        row("more than the plain connection's, a hop", lambda hops: added(middle, hops)),
        row(
            "all our processes, CPU-s/GB",
            lambda hops: f"{sum(ways[hops].cpu_s.values()) / gb:.1f}" if hops else "-",
        ),
        row(
            "the dearest of them", lambda hops: f"{max(ways[hops].cpu_s.values()) / gb:.1f}" if hops else "-"
        ),
    ]
    names = " | ".join(f"{hops} hop{'s' * (hops > 1)}" for hops in HOPS)
    head = HEAD.format(
        load=os.getloadavg()[0], rounds=rounds, names=names, lines="|".join(["---"] * len(HOPS))
    )
    return head + "".join(rows)


def added(middle: dict[int, tuple[float, float]], hops: int) -> str:
    """What each hop adds to an echo, wires and all."""
    return f"{(middle[hops][1] - middle[0][1]) / hops:.1f} ms" if hops else "-"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="write the page")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = page(measure(Path(folder), options.rounds), options.rounds)
    print(text)
    if options.write:
        PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
