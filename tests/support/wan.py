"""A wire with delay, loss and a rate: forwards Ethernet frames between two interfaces of this namespace.

Run by tests/support/netns.py. Frames pass whole, with the kernel's offload header before them, so that
super-packets stay super-packets and checksums may be left to the other end.
"""

import argparse
import random  # seeded
import select
import socket
import time
from collections import deque

ETH_P_ALL = 0x0003
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23
LARGEST = 10 + 14 + 65536 + 64


def open_interface(name: str) -> socket.socket:
    """A raw socket that sees what comes in on one interface, not what we send."""
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    raw.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    raw.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    raw.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20)
    raw.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 32 << 20)
    raw.bind((name, 0))
    raw.setblocking(False)
    return raw


class Direction:
    """Frames on their way from one interface to the other."""

    def __init__(
        self, source: socket.socket, sink: socket.socket, options: argparse.Namespace, seed: int
    ) -> None:
        self.source, self._sink, self._options = source, sink, options
        self._rng = random.Random(seed)
        self._queue: deque[tuple[float, bytes]] = deque()
        self._queued = 0
        self._line_free = 0.0

    def receive(self, now: float) -> None:
        """Take what waits at the source; each frame gets its time of arrival or is lost."""
        for _ in range(64):
            try:
                frame = self.source.recv(LARGEST)
            except BlockingIOError:
                return
            if self._rng.random() < self._options.loss or self._queued + len(frame) > self._options.queue:
                continue
            departs = now
            if self._options.rate:
                departs = self._line_free = max(now, self._line_free) + len(frame) * 8 / self._options.rate
            arrives = departs + self._options.delay + self._rng.random() * self._options.jitter
            if self._queue:  # a wire keeps the order
                arrives = max(arrives, self._queue[-1][0])
            self._queue.append((arrives, frame))
            self._queued += len(frame)

    def forward(self, now: float) -> None:
        """Send what has arrived."""
        while self._queue and self._queue[0][0] <= now:
            frame = self._queue.popleft()[1]
            self._queued -= len(frame)
            try:
                self._sink.send(frame)
            except OSError:  # the other end is down or full: lost, as on a wire
                continue

    def deadline(self) -> float:
        """When the next frame arrives."""
        return self._queue[0][0] if self._queue else float("inf")


def main() -> None:
    """Forward until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("left")
    parser.add_argument("right")
    for name in ("delay", "loss", "jitter", "rate"):
        parser.add_argument(f"--{name}", type=float, default=0.0)
    parser.add_argument("--queue", type=int, default=4_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    left, right = open_interface(options.left), open_interface(options.right)
    ways = (Direction(left, right, options, options.seed), Direction(right, left, options, options.seed + 1))
    print("ready", flush=True)  # noqa: T201  # netns.py waits for it
    while True:
        wait = min(way.deadline() for way in ways) - time.perf_counter()
        # Below 60 us a sleep overshoots more than it waits.
        timeout = None if wait == float("inf") else max(0.0, wait - 0.00006)
        readable = select.select([left, right], [], [], timeout)[0]
        now = time.perf_counter()
        for way in ways:
            if way.source in readable:
                way.receive(now)
            way.forward(now)


if __name__ == "__main__":
    main()
