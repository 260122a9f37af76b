"""The whole device beside the SOCKS proxy: `python -m tests.bench.bench_device [HOPS] [--quick]` (root).

Prints one JSON object. In namespaces on this machine; one network for all figures:

    tcp       CPU-s/GB of all our processes, and of the client alone, over SOCKS and over capture
    udp       datagrams of 1350 octets a second that arrive through the interface, and the loss at half of
              that
    ping      milliseconds over the interface, beside an echo over SOCKS
    up        seconds from `up` to the first page
"""

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

from tests.support import socks_shim
from tests.support.device import ProtectedDevice, start_device
from tests.support.netns import Lab
from tests.support.nodes import OCTETS_PORT, SOCKS_PORT, SUPPORT

MB = 1_000_000
SINK_PORT = 5001
SIZE = 1350
RATES = (15_000, 25_000, 35_000, 50_000)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def connect(device: ProtectedDevice, port: int, *, by_socks: bool) -> socket.socket:
    """A connection to the target, by the proxy or as any program would."""
    address = device.network.target.v4
    with device.host.entered():
        if by_socks:
            sock, _ = socks_shim.ask(("127.0.0.1", SOCKS_PORT), 1, address, port, None)
            return sock
        return socket.create_connection((address, port), timeout=20)


def bulk(device: ProtectedDevice, octets: int, *, by_socks: bool) -> dict[str, float]:
    """Download so much; what it costs."""
    pids = {name: node.pid for name, node in device.network.nodes.items()}
    with connect(device, OCTETS_PORT, by_socks=by_socks) as sock:
        before = {name: cpu_seconds(pid) for name, pid in pids.items()}
        start = time.monotonic()
        sock.sendall(f"SEND {octets}\n".encode())
        buffer, got = bytearray(1 << 20), 0
        while got < octets:
            size = sock.recv_into(buffer)
            if not size:
                raise ConnectionError("cut short")
            got += size
        seconds = time.monotonic() - start
    spent = {name: cpu_seconds(pid) - before[name] for name, pid in pids.items()}
    return {
        "mb_per_s": round(octets / seconds / MB, 1),
        "cpu_s_per_gb": round(sum(spent.values()) / octets * 1e9, 2),
        "client_cpu_s_per_gb": round(spent["client"] / octets * 1e9, 2),
    }


def datagrams(
    device: ProtectedDevice, rate: int, seconds: float, sink: "subprocess.Popen[bytes]"
) -> tuple[int, int]:
    """Send at a rate; return (sent, arrived)."""
    words = (sys.executable, SUPPORT / "udp_load.py", "send", device.network.target.v4, SINK_PORT)
    said = json.loads(device.host.run(*words, rate, seconds, SIZE, 8, timeout=60).stdout)
    assert sink.stdout is not None
    return said["sent"], json.loads(sink.stdout.readline())["count"]


def udp(device: ProtectedDevice, seconds: float) -> dict[str, Any]:
    """The most that arrives, and the loss at half of it."""
    words = (sys.executable, SUPPORT / "udp_load.py", "sink", SINK_PORT)
    sink = device.network.target.start(*words, stdout=subprocess.PIPE)
    pids = [node.pid for node in device.network.nodes.values()]
    datagrams(device, 500, 0.5, sink)  # opens the flow
    reached: dict[int, int] = {}
    for rate in RATES:
        _, arrived = datagrams(device, rate, seconds, sink)
        reached[rate] = round(arrived / seconds)
    best = max(reached.values())
    before = sum(map(cpu_seconds, pids))
    sent, arrived = datagrams(device, best // 2, seconds, sink)
    spent = sum(map(cpu_seconds, pids)) - before
    return {
        "arrived_per_s_by_sent_per_s": reached,
        "most_per_s": best,
        "loss_at_half": round(1 - arrived / sent, 4),
        "cpu_s_per_gb_at_half": round(spent / (arrived * SIZE) * 1e9, 2),
    }


def ping_ms(device: ProtectedDevice, count: int) -> float:
    """Median round trip of ICMP echoes through the interface."""
    said = device.host.run(
        "ping", "-n", "-c", count, "-i", "0.02", device.network.target.v4, timeout=60
    ).stdout
    return statistics.median(
        float(line.partition("time=")[2].split()[0]) for line in said.splitlines() if "time=" in line
    )


def echo_ms(device: ProtectedDevice, count: int) -> float:
    """Median round trip of one octet over SOCKS."""
    times = []
    with connect(device, OCTETS_PORT, by_socks=True) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(b"ECHO\n")
        for _ in range(count):
            start = time.monotonic()
            sock.sendall(b"x")
            sock.recv(1)
            times.append((time.monotonic() - start) * 1000)
            time.sleep(0.02)
    return statistics.median(times)


def main() -> None:
    """Measure and print."""
    arguments = [word for word in sys.argv[1:] if word != "--quick"]
    is_quick = "--quick" in sys.argv
    hops = int(arguments[0]) if arguments else 3
    octets, seconds, count = (40 * MB, 1.0, 20) if is_quick else (400 * MB, 3.0, 200)
    with tempfile.TemporaryDirectory() as folder, Lab() as lab:
        device = start_device(lab, Path(folder), tables={"client": {"circuits": {"hops": hops}}})
        device.start_helper()
        start = time.monotonic()
        device.ask("up")
        device.network.curl(f"http://{device.network.target.v4}/page.txt")
        figures: dict[str, Any] = {"hops": hops, "up_to_first_page_s": round(time.monotonic() - start, 2)}
        rounds = 1 if is_quick else 3
        for name, by_socks in (("tcp_by_socks", True), ("tcp_by_capture", False)):
            taken = [bulk(device, octets, by_socks=by_socks) for _ in range(rounds)]
            figures[name] = min(taken, key=lambda one: one["cpu_s_per_gb"])
        figures["udp"] = udp(device, seconds)
        figures["ping_ms"] = round(ping_ms(device, count), 2)
        figures["socks_echo_ms"] = round(echo_ms(device, count), 2)
        device.ask("down")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
