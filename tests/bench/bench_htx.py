"""What HTX costs beside plain TCP links: `python -m tests.bench.bench_htx [--mb 200] [--rounds 3]`.

Two testnets of separate processes stand at once, one of each transport, 3 hops each; the same octets are
fetched through them by turns from a server on loopback. CPU is that of all nodes, from /proc.
Prints CPU-s/GB of each round and the ratio of the medians; also the time to each one's first circuit.
"""

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHUNK = bytes(1 << 18)
TICKS = os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def testnet(transport: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Run a testnet; give its facts."""
    command = [
        sys.executable,
        "-m",
        "vigilnet.surface.cli.main",
        "testnet",
        "--json",
        "--transport",
        transport,
    ]
    with subprocess.Popen(
        [*command, "--allow-private-targets", "--dir", str(folder)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()


def serve(server: socket.socket, octets: int) -> None:
    """Send so many octets to whoever connects."""
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection, contextlib.suppress(OSError):
            left = octets
            while left > 0:
                left -= connection.send(CHUNK[:left])


def fetch(socks: str, port: int) -> int:
    """Read all that the server sends, through a SOCKS5 proxy; return how much came."""
    host, _, socks_port = socks.rpartition(":")
    with socket.create_connection((host, int(socks_port)), 30) as sock:
        sock.sendall(b"\5\1\0")
        sock.recv(2)
        sock.sendall(b"\5\1\0\1" + socket.inet_aton("127.0.0.1") + port.to_bytes(2, "big"))
        reply = b""
        while len(reply) < 10:
            reply += sock.recv(10 - len(reply))
        buffer, total = bytearray(1 << 18), 0
        while count := sock.recv_into(buffer):
            total += count
        return total


def cpu_s(pids: dict[str, Any]) -> float:
    """User and system seconds of all nodes."""
    total = 0
    for pid in (pids["client"], *pids["relays"].values()):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="CPU of 3 hops over HTX against plain TCP")
    parser.add_argument("--mb", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    octets = options.mb * 1_000_000
    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, args=(server, octets), daemon=True).start()
    port = server.getsockname()[1]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        nets = {kind: stack.enter_context(testnet(kind, folder / kind)) for kind in ("tcp", "htx")}
        costs: dict[str, list[float]] = {kind: [] for kind in nets}
        for _ in range(options.rounds):
            for kind, facts in nets.items():
                before, started = cpu_s(facts["pids"]), time.perf_counter()
                if fetch(facts["socks"], port) != octets:
                    raise SystemExit(f"{kind}: not all octets came")
                took = time.perf_counter() - started
                costs[kind].append((cpu_s(facts["pids"]) - before) / octets * 1e9)
                print(f"{kind}: {costs[kind][-1]:.2f} CPU-s/GB, {octets / took / 1e6:.0f} MB/s", flush=True)
        medians = {kind: statistics.median(values) for kind, values in costs.items()}
        for kind, facts in nets.items():
            print(
                f"{kind}: median {medians[kind]:.2f} CPU-s/GB,",
                f"first circuit {facts['first_circuit_ms']:.0f} ms",
            )
        print(f"htx/tcp: {medians['htx'] / medians['tcp']:.2f}")
    server.close()


if __name__ == "__main__":
    main()
