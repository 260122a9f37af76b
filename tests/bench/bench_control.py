"""What the control API costs the data path: `python -m tests.bench.bench_control [--pairs N] [--write]`.

A testnet of processes on loopback carries one long download over three hops. Windows of half a second with
100 operations a second alternate with windows without any; the ratio of throughput is taken of each pair of
neighbours, so that it means something on a machine whose other work changes. In windows without any the
asker wakes as often and asks nothing: what a process costs the others by waking is not the API's. The
operations are those that the dashboard and the commands poll, in turn, sent by one session on the unix
socket. Prints one JSON object; --write puts it into docs/benchmarks/control.json.
"""

import argparse
import contextlib
import json
import os
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from tests.bench.suite import MB, Testnet, peerlib
from vigilnet.surface.control.client import ControlClient
from vigilnet.surface.control.socket_path import reachable, socket_of

OPERATIONS = ("status", "paths", "peers", "streams", "circuits", "traffic", "exits", "settings")
RATE = 100
WINDOW_S = 0.5
ROUNDS = 300
PAGE = Path(__file__).parents[2] / "docs" / "benchmarks" / "control.json"


def cpu_s(pid: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Asker:
    """A process that asks `RATE` operations a second while it is on; late ones are caught up with."""

    def __init__(self, folder: Path) -> None:
        words = [sys.executable, "-m", "tests.bench.bench_control", "--ask", str(folder)]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self._tell(b"?")

    def switch(self, *, on: bool) -> None:
        """Ask from now on, or no longer."""
        self._tell(b"1" if on else b"0")

    def done(self) -> int:
        """How many were answered so far."""
        return int(self._tell(b"?"))

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def _tell(self, word: bytes) -> bytes:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(word)
        return self._process.stdout.readline()


def ask(folder: Path) -> None:
    """Be the asker: as cheap as one can be, since its own work is not what is measured."""
    requests = [f'{{"v":1,"id":1,"method":"{name}"}}\n'.encode() for name in OPERATIONS]
    buffer, done, is_on, begun, woken = bytearray(1 << 20), 0, False, time.perf_counter(), 0
    with socket.socket(socket.AF_UNIX) as node:
        with reachable(socket_of(folder)) as name:
            node.connect(name)
        while True:
            wait = max(0.0, begun + woken / RATE - time.perf_counter())
            if select.select([0], [], [], wait)[0]:
                word = os.read(0, 1)
                if not word:
                    return
                if word in b"01":
                    is_on, begun, woken = word == b"1", time.perf_counter(), 0
                os.write(1, b"%d\n" % done)
                continue
            woken += 1
            if not is_on:
                continue
            node.sendall(requests[done % len(requests)])
            size = node.recv_into(buffer)
            while buffer[size - 1] != 10:
                size = node.recv_into(buffer)
            done += 1


def download(connection: Any, counted: list[int]) -> None:  # noqa: ANN401 peerlib has no types
    """Fetch without end; `counted` is what has come so far."""
    connection.sendall(f"D {1 << 50}\n".encode())
    buffer = bytearray(1 << 18)
    with contextlib.suppress(OSError):  # the sink is gone: it is over
        while received := connection.recv_into(buffer):
            counted[0] += received


def costs(folder: Path, pid: int) -> dict[str, float]:
    """Processor time of each operation in the node, ms."""
    found = {}
    with ControlClient(folder, 30.0) as control:
        for name in OPERATIONS:
            control.call(name)
            before = cpu_s(pid)
            for _ in range(ROUNDS):
                control.call(name)
            found[name] = round((cpu_s(pid) - before) / ROUNDS * 1000, 3)
    return found


def measure(pairs: int, folder: Path) -> dict[str, Any]:
    """Run everything; gives the figures."""
    with Testnet(3, 3, folder) as net:
        client, pid = Path(net.facts["dir"]) / "client", net.facts["pids"]["client"]
        alone = costs(client, pid)
        sink = peerlib.sink()
        connection = peerlib.dial(net.socks, ("127.0.0.1", sink.port))
        counted = [0]
        threading.Thread(target=download, args=(connection, counted), daemon=True).start()
        asker = Asker(client)
        time.sleep(3.0)
        rates: dict[bool, list[float]] = {False: [], True: []}
        used = {False: [0.0, 0.0], True: [0.0, 0.0]}  # processor seconds of the network, and MB
        begun = asker.done()
        for number in range(pairs):
            for on in (False, True) if number % 2 else (True, False):
                asker.switch(on=on)
                before, at, worked = counted[0], time.perf_counter(), sum(map(cpu_s, net.pids.values()))
                time.sleep(WINDOW_S)
                carried = (counted[0] - before) / MB
                rates[on].append(carried / (time.perf_counter() - at))
                used[on][0] += sum(map(cpu_s, net.pids.values())) - worked
                used[on][1] += carried
        asker.switch(on=False)
        asked = (asker.done() - begun) / pairs / WINDOW_S
        asker.close()
        peerlib.kill(sink)
    ratios = [more / less for more, less in zip(rates[True], rates[False], strict=True)]
    error = statistics.stdev(ratios) / len(ratios) ** 0.5
    return {
        "operations_a_second": round(asked, 1),
        "throughput_without_MBps": round(statistics.median(rates[False]), 1),
        "throughput_with_MBps": round(statistics.median(rates[True]), 1),
        "ratio_of_pairs_mean": round(statistics.mean(ratios), 4),
        "ratio_of_pairs_median": round(statistics.median(ratios), 4),
        "standard_error": round(error, 4),
        "pairs": pairs,
        "cpu_s_a_GB_without": round(without := used[False][0] / used[False][1] * 1000, 2),
        "cpu_s_a_GB_with": round(with_ := used[True][0] / used[True][1] * 1000, 2),
        "cpu_ratio": round(without / with_, 4),
        "cpu_ms_an_operation": alone,
        "bar": "at least 0.97",
    }


def main() -> int:
    """Measure, print, and write if told."""
    parser = argparse.ArgumentParser(description="the control API beside the data path")
    parser.add_argument("--pairs", type=int, default=120)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--ask", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask is not None:
        ask(options.ask)
        return 0
    with tempfile.TemporaryDirectory(prefix="vigilnet-bench-") as folder:
        figures = measure(options.pairs, Path(folder))
    text = json.dumps(figures, indent=1) + "\n"
    sys.stdout.write(text)
    if options.write:
        PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
