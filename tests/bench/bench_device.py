"""The whole device beside the SOCKS proxy (root):

    python -m tests.bench.bench_device [HOPS ...] [--interface] [--quick] [--page]

In namespaces on this machine; one network for all figures of a path length; --interface: as where there is
no nftables. Writes device.md and device.json of docs/benchmarks (with --quick it only prints), keeping what
earlier runs wrote of other path lengths and of the other capture:

    tcp       CPU-s/GB of all our processes and of the client alone, by iperf3, over SOCKS and over capture by
              turns; the difference of neighbours is what capture costs
    udp       datagrams of 1350 octets a second that arrive through the interface; the loss at half of that
    ping      milliseconds over the interface, by turns with an echo over SOCKS
    up        seconds from `up` to the first page
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench.device_bars import bars
from tests.bench.run import PAGES, machine
from tests.support import socks_shim
from tests.support.device import ProtectedDevice, start_device
from tests.support.netns import Lab
from tests.support.nodes import OCTETS_PORT, SOCKS_PORT, SUPPORT

MB = 1_000_000
SINK_PORT, SHIM_PORT, IPERF_PORT = 5002, 5301, 5201
SIZE = 1350
RATES = (15_000, 25_000, 35_000, 50_000)

Figures = dict[str, Any]


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Meter:
    """CPU time of our processes while something runs."""

    def __init__(self, device: ProtectedDevice) -> None:
        self._pids = {name: node.pid for name, node in device.network.nodes.items()}

    def __enter__(self) -> "Meter":
        self._before = {name: cpu_seconds(pid) for name, pid in self._pids.items()}
        return self

    def __exit__(self, *_: object) -> None:
        self.spent = {name: cpu_seconds(pid) - self._before[name] for name, pid in self._pids.items()}


def iperf(device: ProtectedDevice, octets: int, *, by_socks: bool, is_down: bool) -> dict[str, float]:
    """Move so much by iperf3; what it costs."""
    where = ("127.0.0.1", "-p", SHIM_PORT) if by_socks else (device.network.target.v4,)
    way = ("-R",) if is_down else ()
    with Meter(device) as meter:
        said = device.host.run("iperf3", "-J", "-n", octets, *way, "-c", *where, timeout=120).stdout
    answer = json.loads(said)
    if "sum_received" not in answer["end"]:
        raise RuntimeError(f"iperf3 {where} {way}: {answer.get('error')}")
    end = answer["end"]["sum_received"]
    moved = end["bytes"]
    return {
        "mb_per_s": end["bits_per_second"] / 8 / MB,
        "all": sum(meter.spent.values()) / moved * 1e9,
        "client": meter.spent["client"] / moved * 1e9,
    }


def tcp(device: ProtectedDevice, octets: int, rounds: int) -> Figures:
    """Pairs of runs, over SOCKS and over capture, in turns."""
    found: Figures = {}
    with device.network.shim("tcp", SHIM_PORT, IPERF_PORT):
        for way in ("down", "up"):
            is_down = way == "down"
            iperf(device, octets // 4, by_socks=False, is_down=is_down)  # the window grows
            pairs = [
                [iperf(device, octets, by_socks=by_socks, is_down=is_down) for by_socks in (True, False)]
                for _ in range(rounds)
            ]
            found[way] = {
                name: {
                    key: round(statistics.median(pair[at][key] for pair in pairs), 2) for key in pairs[0][0]
                }
                for at, name in enumerate(("socks", "capture"))
            }
            found[way]["ratio"] = round(statistics.median(p[1]["all"] / p[0]["all"] for p in pairs), 2)
            differences = sorted(p[1]["client"] - p[0]["client"] for p in pairs)
            found[way]["capture_alone"] = round(statistics.median(differences), 2)
            found[way]["capture_alone_least_and_most"] = [round(differences[0], 2), round(differences[-1], 2)]
    return found


def datagrams(
    device: ProtectedDevice, rate: int, seconds: float, sink: "subprocess.Popen[bytes]"
) -> tuple[int, int]:
    """Send at a rate; return (sent, arrived)."""
    words = (sys.executable, SUPPORT / "udp_load.py", "send", device.network.target.v4, SINK_PORT)
    said = json.loads(device.host.run(*words, rate, seconds, SIZE, 8, timeout=60).stdout)
    assert sink.stdout is not None
    return said["sent"], json.loads(sink.stdout.readline())["count"]


def udp(device: ProtectedDevice, seconds: float, rounds: int) -> Figures:
    """The most that arrives, and the loss at half of it."""
    words = (sys.executable, SUPPORT / "udp_load.py", "sink", SINK_PORT)
    sink = device.network.target.start(*words, stdout=subprocess.PIPE)
    datagrams(device, 500, 0.5, sink)  # opens the flow
    reached: dict[int, int] = {}
    for rate in RATES:
        _, arrived = datagrams(device, rate, seconds, sink)
        reached[rate] = round(arrived / seconds)
    best = max(reached.values())
    losses, costs = [], []
    for _ in range(rounds):
        with Meter(device) as meter:
            sent, arrived = datagrams(device, best // 2, seconds, sink)
        losses.append(round(1 - arrived / sent, 4))
        costs.append(sum(meter.spent.values()) / (arrived * SIZE) * 1e9)
    sink.kill()
    return {
        "arrived_per_s_by_sent_per_s": reached,
        "most_per_s": best,
        "losses_at_half": losses,
        "cpu_s_per_gb_at_half": round(statistics.median(costs), 2),
    }


def ping_ms(device: ProtectedDevice, count: int) -> list[float]:
    """Round trips of ICMP echoes through the interface."""
    words = ("ping", "-n", "-c", count, "-i", "0.02", device.network.target.v4)
    said = device.host.run(*words, timeout=60).stdout
    return [float(line.partition("time=")[2].split()[0]) for line in said.splitlines() if "time=" in line]


def echo_ms(device: ProtectedDevice, count: int) -> list[float]:
    """Round trips of one octet over SOCKS."""
    times = []
    with device.host.entered():
        sock, _ = socks_shim.ask(("127.0.0.1", SOCKS_PORT), 1, device.network.target.v4, OCTETS_PORT, None)
    with sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(b"ECHO\n")
        for _ in range(count):
            start = time.monotonic()
            sock.sendall(b"x")
            sock.recv(1)
            times.append((time.monotonic() - start) * 1000)
            time.sleep(0.02)
    return times


def echoes(device: ProtectedDevice, count: int) -> Figures:
    """Medians of both, measured in turns."""
    pings, beside = [], []
    for _ in range(5):
        beside += echo_ms(device, count // 5)
        pings += ping_ms(device, count // 5)
    ping, echo = statistics.median(pings), statistics.median(beside)
    return {"ping_ms": round(ping, 2), "socks_echo_ms": round(echo, 2), "added_ms": round(ping - echo, 2)}


def measure(hops: int, capture: str, *, quick: bool) -> Figures:
    """All figures of one path length."""
    octets, seconds, count, rounds = (40 * MB, 1.0, 20, 1) if quick else (200 * MB, 2.0, 300, 3)
    with tempfile.TemporaryDirectory() as folder, Lab() as lab:
        device = start_device(lab, Path(folder), tables={"client": {"circuits": {"hops": hops}}})
        device.capture = capture
        device.start_helper()
        start = time.monotonic()
        device.ask("up")
        device.network.curl(f"http://{device.network.target.v4}/page.txt")
        figures: Figures = {"up_to_first_page_s": round(time.monotonic() - start, 2)}
        figures["echo"] = echoes(device, count)
        figures["tcp"] = tcp(device, octets, rounds)
        figures["udp"] = udp(device, seconds, rounds)
        device.ask("down")
    return figures


def _title(key: str) -> str:
    """The name of a column: `3` or `3 interface`."""
    hops, _, capture = key.partition(" ")
    return f"{hops} hop{'s' * (hops != '1')}{', without nftables' if capture else ''}"


def page(result: Figures) -> str:
    """The figures as Markdown, with the bars beside them."""
    lengths: dict[str, Figures] = result["hops"]
    names = [_title(key) for key in lengths]
    about = (
        f"Written by `{result['command']}` on {result['machine']}. Five processes of ours, sender and "
        "receiver share the machine; CPU-s/GB is user and system seconds of our processes per 10^9 octets. "
        "TCP by iperf3, over SOCKS and over capture in turns, medians of pairs; datagrams of 1350 octets."
    )
    lines = ["# The whole device, measured", "", about, ""]
    lines += ["| | " + " | ".join(names) + " | bar |", "|---" * (len(names) + 2) + "|"]

    def row(name: str, bar: str, *path: str) -> None:
        cells = []
        for figures in lengths.values():
            value: Any = figures
            for key in path:
                value = value[key]
            cells.append(", ".join(map(str, value)) if isinstance(value, list) else str(value))
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {bar} |")

    row("`up` to the first page, s", "below 3", "up_to_first_page_s")
    for way in ("down", "up"):
        row(f"TCP {way} over SOCKS, CPU-s/GB", "", "tcp", way, "socks", "all")
        row(f"TCP {way} over capture, CPU-s/GB", "", "tcp", way, "capture", "all")
        row("capture to SOCKS", "at most 1.3", "tcp", way, "ratio")
        row("capture alone: the client's more, CPU-s/GB", "at most 1.0", "tcp", way, "capture_alone")
        row("the same, least and most of the pairs", "", "tcp", way, "capture_alone_least_and_most")
        row(f"TCP {way} over capture, MB/s", "", "tcp", way, "capture", "mb_per_s")
    row("datagrams that arrive, at most, a second", "25,000 (3 hops)", "udp", "most_per_s")
    row("lost at half of that, each run", "below 0.01", "udp", "losses_at_half")
    row("CPU-s/GB at half of that", "", "udp", "cpu_s_per_gb_at_half")
    row("ping over the interface, ms", "", "echo", "ping_ms")
    row("echo over SOCKS beside it, ms", "", "echo", "socks_echo_ms")
    row("ping adds, ms", "below 1", "echo", "added_ms")
    lines += ["", "Datagrams that arrived a second, by how many were sent:", ""]
    for name, figures in zip(names, lengths.values(), strict=True):
        reached = figures["udp"]["arrived_per_s_by_sent_per_s"].items()
        lines.append(f"- {name}: " + ", ".join(f"{arrived} of {sent}" for sent, arrived in reached))
    return "\n".join([*lines, *bars(lengths)]) + "\n"


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description="measure the whole device on this machine")
    parser.add_argument("hops", nargs="*", type=int, default=[1, 3])
    parser.add_argument("--interface", action="store_true", help="as where there is no nftables")
    parser.add_argument("--quick", action="store_true", help="a minute; prints, not for quoting")
    parser.add_argument("--page", action="store_true", help="measure nothing: write the page anew")
    options = parser.parse_args()
    kept = PAGES / "device.json"
    found: Figures = {}
    if kept.exists() and not options.quick:
        found = json.loads(kept.read_text())["hops"]
    for hops in () if options.page else options.hops:
        key = f"{hops} interface" if options.interface else str(hops)
        found[key] = measure(hops, "interface" if options.interface else "", quick=options.quick)
    result = {
        "command": "python -m tests.bench.bench_device",
        "machine": machine(),
        "hops": dict(sorted(found.items(), key=lambda item: (" " in item[0], int(item[0].split()[0])))),
    }
    if not options.quick:
        kept.write_text(json.dumps(result, indent=1) + "\n")
        (PAGES / "device.md").write_text(page(result))
    print(page(result))


if __name__ == "__main__":
    main()
