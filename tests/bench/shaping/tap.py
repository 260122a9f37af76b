"""The WAN between visitors and sites, and the watcher on the path, at the visitors' end. A process.

Two tun interfaces, one in each namespace: delay and rate of each site's wire, drop-tail queues of 350 ms.
Each TCP connection to port 443 (browsers) or 8443 (links of ours) is written as one JSON file: TLS records
with their times and the first segments.
"""

import contextlib
import fcntl
import heapq
import json
import os
import select
import signal
import struct
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.shaping.sites import Site, from_json

VISITOR = "10.88.200.1"
PORTS = (443, 8443)
MAX_RECORDS, MAX_SEGMENTS = 6000, 150
QUEUE_S = 0.35


def open_tun(name: str, namespace: str, addresses: list[str], routes: list[str]) -> int:
    """Make a tun interface in a namespace; return its descriptor."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, 0x400454CA, struct.pack("16sH", name.encode(), 0x1001))

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True)

    ip("link", "set", name, "netns", namespace)
    for address in addresses:
        ip("-n", namespace, "addr", "add", f"{address}/32", "dev", name)
    ip("-n", namespace, "link", "set", name, "mtu", "1500", "txqueuelen", "4000", "up")
    for route in routes:
        ip("-n", namespace, "route", "add", route, "dev", name)
    return descriptor


@dataclass
class Half:
    """One direction of a connection."""

    next: int | None = None
    buffer: bytearray = field(default_factory=bytearray)
    has_ended: bool = False


@dataclass
class Flow:
    """One connection as the watcher sees it."""

    site: int
    port: int
    client_port: int
    began: float
    rtt: float | None = None
    last: float = 0.0
    records: list[tuple[float, int, int, int]] = field(default_factory=list)
    segments: list[tuple[float, int, int]] = field(default_factory=list)
    halves: tuple[Half, Half] = field(default_factory=lambda: (Half(), Half()))

    def take(self, payload: bytes, sequence: int, now: float, direction: int) -> None:
        """Note a segment and the records that it completes; what was seen before is skipped."""
        half = self.halves[direction < 0]
        self.last = now
        if len(self.segments) < MAX_SEGMENTS:
            self.segments.append((round(now - self.began, 5), direction, len(payload)))
        if half.next is None:
            return
        ahead = (sequence - half.next) & 0xFFFFFFFF
        if ahead > 0x80000000:
            payload = payload[0x100000000 - ahead :]
        elif ahead:
            return
        half.next = (half.next + len(payload)) & 0xFFFFFFFF
        buffer = half.buffer
        buffer += payload
        at = 0
        while len(buffer) - at >= 5:
            length = buffer[at + 3] << 8 | buffer[at + 4]
            if len(buffer) - at - 5 < length:
                break
            if len(self.records) < MAX_RECORDS:
                self.records.append((round(now - self.began, 5), direction, length, buffer[at]))
            at += 5 + length
        del buffer[:at]


class Watcher:
    """Follows connections."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._flows: dict[tuple[int, int, int], Flow] = {}

    def see(self, packet: bytes, now: float, *, is_up: bool) -> None:
        """Look at one IP packet."""
        if packet[9] != 6:
            return
        at = (packet[0] & 15) * 4
        source, target = struct.unpack_from(">HH", packet, at)
        port, client_port = (target, source) if is_up else (source, target)
        if port not in PORTS:
            return
        key = (packet[18] if is_up else packet[14], port, client_port)
        sequence, flags = int.from_bytes(packet[at + 4 : at + 8], "big"), packet[at + 13]
        if flags & 2 and is_up:
            self._flows[key] = Flow(*key, began=now)
        flow = self._flows.get(key)
        if flow is None:
            return
        direction = 1 if is_up else -1
        half = flow.halves[not is_up]
        if flags & 2:
            half.next = (sequence + 1) & 0xFFFFFFFF
            if not is_up:
                flow.rtt = round(now - flow.began, 5)
        payload = packet[at + (packet[at + 12] >> 4) * 4 :]
        if payload:
            flow.take(payload, sequence, now, direction)
        half.has_ended |= bool(flags & 1)
        if flags & 4 or all(end.has_ended for end in flow.halves):
            self._close(key)

    def _close(self, key: tuple[int, int, int]) -> None:
        flow = self._flows.pop(key)
        if len(flow.records) < 4:
            return
        facts: dict[str, object] = {
            "site": flow.site,
            "port": flow.port,
            "client_port": flow.client_port,
            "rtt": flow.rtt,
        }
        facts |= {"records": flow.records, "segments": flow.segments}
        name = f"{flow.port}-{flow.site}-{flow.client_port}-{int(flow.began * 1000) % 10**8}.json"
        (self._folder / name).write_text(json.dumps(facts))

    def close(self) -> None:
        """Write what is still open."""
        for key in list(self._flows):
            self._close(key)


class Wan:
    """Packets on their way.

    Args:
        visitors: descriptor of the interface at their end; servers: of the other.
        sites: by the third octet of their address.
        watcher: sees what passes at the visitors' end.
    """

    def __init__(self, visitors: int, servers: int, sites: dict[int, Site], watcher: Watcher) -> None:
        self._visitors, self._servers = visitors, servers
        self._sites = sites
        self._watcher = watcher
        self._under_way: list[tuple[float, int, bool, bytes]] = []
        self._busy: dict[tuple[int, bool], float] = {}
        self._order = 0
        self.is_over = False

    def run(self) -> None:
        """Forward until `is_over`."""
        poll = select.epoll()
        for descriptor in (self._visitors, self._servers):
            poll.register(descriptor, select.EPOLLIN)
        while not self.is_over:
            wait = max(0.0, self._under_way[0][0] - time.perf_counter()) if self._under_way else 0.2
            for descriptor, _ in poll.poll(wait if wait > 0.0004 else 0):
                self._take(descriptor)
            self._deliver()

    def _take(self, descriptor: int) -> None:
        """Read what waits; each packet gets its time of arrival, or is dropped."""
        is_up = descriptor == self._visitors
        for _ in range(64):
            try:
                packet = os.read(descriptor, 2048)
            except BlockingIOError:
                return
            site = self._sites.get(packet[18] if is_up else packet[14])
            if packet[0] >> 4 != 4 or site is None:
                continue
            now = time.perf_counter()
            if is_up:
                self._watcher.see(packet, now, is_up=True)
            starts = max(now, self._busy.get((site.number, is_up), 0.0))
            if starts - now > QUEUE_S:
                continue
            ends = self._busy[site.number, is_up] = starts + len(packet) / (site.up if is_up else site.down)
            self._order += 1
            heapq.heappush(self._under_way, (ends + site.delay_s, self._order, is_up, packet))

    def _deliver(self) -> None:
        """Hand over what has arrived."""
        now = time.perf_counter()
        while self._under_way and self._under_way[0][0] <= now:
            _, _, is_up, packet = heapq.heappop(self._under_way)
            if not is_up:
                self._watcher.see(packet, time.perf_counter(), is_up=False)
            with contextlib.suppress(OSError):
                os.write(self._servers if is_up else self._visitors, packet)


def main() -> None:
    """`tap FOLDER VISITORS SERVERS SITES`: two names of namespaces, the sites as JSON."""
    folder, visitors, servers, text = sys.argv[1:]
    sites = {site.number: site for site in from_json(text)}
    unique = str(os.getpid())[-6:]
    near = open_tun(f"vnv{unique}", visitors, [VISITOR], ["10.88.0.0/16"])
    far = open_tun(f"vns{unique}", servers, [site.address for site in sites.values()], [f"{VISITOR}/32"])
    print("ready", flush=True)
    os.nice(-10)  # a wire does not slow down because a browser is busy
    watcher = Watcher(Path(folder))
    wan = Wan(near, far, sites, watcher)
    signal.signal(signal.SIGTERM, lambda *_: setattr(wan, "is_over", True))
    wan.run()
    watcher.close()


if __name__ == "__main__":
    main()
