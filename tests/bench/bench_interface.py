"""The tunnel's interface with and without the kernel's offloads, with one queue and with two (TUN-14).

usage: sudo python -m tests.bench.bench_interface [--write]

One interface in a namespace. Sockets of this process send datagrams of 1350 octets into it, as QUIC does: 40
to a system call. They are read and taken apart by the product's own code. Then as many are written to the
interface, for a socket that takes them. Nothing else of the daemon runs. With two queues each has a thread.
"""

import argparse
import fcntl
import os
import resource
import socket
import statistics
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.netns import Lab, ip
from vigilnet.traffic.device import packets

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks" / "interface.md"
TUNSETIFF, TUNSETOFFLOAD, TUNSETVNETHDRSZ = 0x400454CA, 0x400454D0, 0x400454D8
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR, IFF_MULTI_QUEUE = 1, 0x1000, 0x4000, 0x100
CHECKSUMS_AND_UDP = 0x01 | 0x20 | 0x40
UDP_SEGMENT, SO_RCVBUFFORCE = 103, 33
SIZE, SEGMENTS, FLOWS, BATCHES, ROUNDS = 1350, 40, 8, 120, 5
HERE, THERE, PORT = "10.99.0.1", "10.99.0.2", 9

HEAD = """# The tunnel's interface alone

    sudo python -m tests.bench.bench_interface --write

Datagrams of 1350 octets through an interface on one machine with 2 cores, medians of {rounds} rounds of
{mb:.0f} MB: sent by sockets (40 to a system call, 8 flows) and taken apart by the device's own code; and
written to the interface for a socket. CPU-s/GB is user and system time of both sides together, since the
kernel cuts and sums in the sender's. No circuit, link or other part of the daemon is in it.

| offloads | queues, a thread each | read: CPU-s/GB | MB/s | written: CPU-s/GB | MB/s |
|---|---|---|---|---|---|
"""
TAIL = """
So the offloads are on (`IFF_VNET_HDR`, `TUNSETOFFLOAD`), and datagrams of one flow are written many at
once: that saves nearly all of what the interface costs. A second queue with a thread of its own saves
nothing: threads of Python take turns, and the daemon has one thread for packets. What is left is small
beside the whole way through circuits ([device](device.md), "CPU-s/GB at half of that"), so
several queues are not used.
"""


def open_queue(flags: int, offloads: int) -> int:
    """One queue of the interface."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", b"bench0", flags))
    fcntl.ioctl(descriptor, TUNSETVNETHDRSZ, struct.pack("i", packets.VNET_SIZE))
    fcntl.ioctl(descriptor, TUNSETOFFLOAD, offloads)
    return descriptor


class Readers:
    """A thread for each queue, which takes apart whatever comes."""

    def __init__(self, queues: list[int]) -> None:
        self.octets = [0] * len(queues)
        self.target = 0
        self.is_there = threading.Event()
        for number, queue in enumerate(queues):
            threading.Thread(target=self._read, args=(number, queue), daemon=True).start()

    def wait(self, octets: int) -> None:
        """Wait until so many more octets of payload came."""
        self.is_there.clear()
        self.target += octets
        if sum(self.octets) < self.target and not self.is_there.wait(20):
            raise TimeoutError(f"{self.target - sum(self.octets)} octets were lost")

    def _read(self, number: int, queue: int) -> None:
        buffer = bytearray(70_000)
        while True:
            try:
                size = os.readv(queue, [buffer])
            except OSError:  # closed: the end of this measurement
                return
            packet = packets.parse(memoryview(buffer)[:size])
            if packet.protocol == packets.UDP:
                self.octets[number] += sum(map(len, packets.datagrams_of(packet)[2]))
                if sum(self.octets) >= self.target:
                    self.is_there.set()


def cost(work: Callable[[], None], octets: int) -> tuple[float, float]:
    """CPU-s/GB of this process, and MB/s."""
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    work()
    took, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu * 1e9 / octets, octets / took / 1e6


class Ends:
    """The sockets of programs at the interface."""

    def __init__(self) -> None:
        self.senders = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(FLOWS)]
        self.taker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.taker.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        self.taker.bind((HERE, PORT))
        for sender in self.senders:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
            sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, SIZE)
            sender.connect((THERE, PORT))

    def send(self, readers: Readers) -> None:
        """Send a round into the interface, batch by batch, and wait for each to be read."""
        burst = bytes(SIZE * SEGMENTS)
        for _ in range(BATCHES):
            for sender in self.senders:
                sender.send(burst)
            readers.wait(FLOWS * len(burst))

    def take(self, queue: int, groups: list[list[bytes]]) -> None:
        """Write a round to the interface, in groups as given, and take each datagram."""
        maker = packets.UdpMaker(socket.inet_aton(THERE), socket.inet_aton(HERE), PORT, PORT)
        for _ in range(BATCHES * FLOWS):
            for group in groups:
                os.writev(queue, maker.packet(group))
            for _ in range(SEGMENTS):
                self.taker.recv(2000)

    def close(self) -> None:
        """Close them."""
        for end in (*self.senders, self.taker):
            end.close()


def measure(queues: int, *, has_offloads: bool) -> list[tuple[float, float, float, float]]:
    """One row, each round of it."""
    flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | (IFF_MULTI_QUEUE if queues > 1 else 0)
    opened = [open_queue(flags, CHECKSUMS_AND_UDP if has_offloads else 0x01) for _ in range(queues)]
    ip("addr", "add", f"{HERE}/24", "dev", "bench0")
    ip("link", "set", "mtu", 1500, "txqueuelen", 5000, "up", "dev", "bench0")
    readers, ends = Readers(opened), Ends()
    many = [bytes(SIZE)] * SEGMENTS
    groups = [many] if has_offloads else [[one] for one in many]
    octets = SIZE * SEGMENTS * FLOWS * BATCHES
    ends.send(readers)
    found = [
        (
            *cost(lambda: ends.send(readers), octets),
            *cost(lambda: ends.take(opened[0], groups), octets),
        )
        for _ in range(ROUNDS)
    ]
    ends.close()
    ip("link", "delete", "bench0")
    for queue in opened:
        os.close(queue)
    return found


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="write the page")
    options = parser.parse_args()
    rows = []
    with Lab() as lab, lab.namespace("host").entered():
        for has_offloads, queues in ((True, 1), (True, 2), (False, 1), (False, 2)):
            found = measure(queues, has_offloads=has_offloads)
            values = [statistics.median(column) for column in zip(*found, strict=True)]
            shown = [f"{values[0]:.2f}", f"{values[1]:.0f}", f"{values[2]:.2f}", f"{values[3]:.0f}"]
            rows.append(f"| {'on' if has_offloads else 'off'} | {queues} | {' | '.join(shown)} |\n")
            print(rows[-1], end="", flush=True)
    if options.write:
        head = HEAD.format(rounds=ROUNDS, mb=SIZE * SEGMENTS * FLOWS * BATCHES / 1e6)
        PAGE.write_text(head + "".join(rows) + TAIL)
    return 0


if __name__ == "__main__":
    sys.exit(main())
