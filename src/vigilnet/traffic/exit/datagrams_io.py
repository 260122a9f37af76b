"""UDP for others: one association of a client, with sockets of its own (docs/spec/exit.md section 7).

Every datagram's address is judged, not only the first. Answers come back only from ends that the
client wrote to, as behind a careful NAT. What exceeds the rate is dropped, as UDP may. While the circuit
has no room nothing is read: answers wait in the socket's buffer.
"""

import asyncio
import socket
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final

from vigilnet.base.clock import Clock
from vigilnet.traffic.exit.policy import ExitPolicy
from vigilnet.traffic.exit.segments_io import join_what_comes, lost_before, receive, send_all
from vigilnet.traffic.stream.datagrams import DatagramFlow
from vigilnet.traffic.stream.wire import EndReason

MAX_ENDS: Final = (
    1024  # far ends of one flow that may answer; the one not written to for longest is forgotten
)
READS_A_TURN: Final = 32
BUFFER_OCTETS: Final = 1 << 20  # asked for; a system may give less


class TokenBucket:
    """Lets `rate` octets a second through, and a second's worth at once."""

    __slots__ = ("_rate", "_tokens", "_updated")

    def __init__(self, rate: int, now: float) -> None:
        self._rate = rate
        self._tokens = float(rate)
        self._updated = now

    def take(self, octets: int, now: float) -> bool:
        """Whether `octets` may pass now."""
        self._tokens = min(self._rate, self._tokens + (now - self._updated) * self._rate)
        self._updated = now
        if self._tokens < octets:
            return False
        self._tokens -= octets
        return True


def _lost(error: OSError) -> None:
    """Full, unreachable or too long: UDP promises nothing."""


class ExitFlow:
    """One UDP association at the exit; a `DatagramConsumer`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        flow: DatagramFlow,
        policy: ExitPolicy,
        clock: Clock,
        rate: int,
        on_closed: Callable[["ExitFlow"], None],
    ) -> None:
        self._loop = loop
        self._flow = flow
        self._policy = policy
        self._clock = clock
        self._on_closed = on_closed
        self._sockets: dict[int, socket.socket] = {}  # by IP version
        self._ends: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._gathered: dict[tuple[str, int], list[bytes]] = {}  # to be sent at the end of this turn
        self.last_used = clock.now()
        self._outward = TokenBucket(rate, self.last_used)
        self._inward = TokenBucket(rate, self.last_used)
        self.sent = self.received = self.refused = 0
        self._lost = 0  # of sockets that are closed

    @property
    def lost(self) -> int:
        """Answers that found no room, neither here nor in the sockets' buffers."""
        return self._flow.dropped + self._lost + sum(map(lost_before, self._sockets.values()))

    def start(self) -> None:
        """Serve the client from now on."""
        self._flow.set_consumer(self)
        self._flow.accept()

    def close(self, reason: EndReason) -> None:
        """End the association."""
        self._flow.close(reason)

    def flow_connected(self) -> None:
        """Only clients hear this."""

    def flow_closed(self, reason: EndReason) -> None:
        """The association is over: close the sockets."""
        for sock in self._sockets.values():
            self._lost += lost_before(sock)
            self._loop.remove_reader(sock.fileno())
            sock.close()
        self._sockets.clear()
        self._gathered.clear()
        self._on_closed(self)

    def datagram_received(self, host: str, port: int, payload: bytes) -> None:
        """A datagram of the client's for (host, port)."""
        now = self._clock.now()
        if not self._may_send(host, port) or not self._outward.take(len(payload), now):
            self.refused += 1
            return
        self.last_used = now
        if not self._gathered:
            self._loop.call_soon(self._flush)
        self._gathered.setdefault((host, port), []).append(payload)

    def _flush(self) -> None:
        """Send what came in this turn."""
        gathered, self._gathered = self._gathered, {}
        for end, payloads in gathered.items():
            sock = self._socket_for(end[0])
            if sock is not None:
                send_all(sock, payloads, end, _lost)
                self.sent += sum(map(len, payloads))

    def _may_send(self, host: str, port: int) -> bool:
        end = (host, port)
        if end in self._ends:
            self._ends.move_to_end(end)
            return True
        if not self._policy.allows(ip_address(host), port):
            return False
        self._ends[end] = None
        if len(self._ends) > MAX_ENDS:
            self._ends.popitem(last=False)
        return True

    def _socket_for(self, host: str) -> socket.socket | None:
        version = 6 if ":" in host else 4
        sock = self._sockets.get(version)
        if sock is None:
            try:
                sock = socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET, socket.SOCK_DGRAM)
            except OSError:
                return None
            sock.setblocking(False)
            join_what_comes(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_OCTETS)
            self._sockets[version] = sock
            self._loop.add_reader(sock.fileno(), self._read, sock)
        return sock

    def _read(self, sock: socket.socket) -> None:
        now = self._clock.now()
        for _ in range(READS_A_TURN):
            if not self._flow.has_room:
                self._loop.remove_reader(sock.fileno())
                self._flow.call_at_room(self._read_on)
                return
            try:
                payloads, (host, port, *_) = receive(sock)
            except OSError:
                return  # nothing more, or an error that an earlier datagram caused
            end = (host.partition("%")[0], port)
            if end not in self._ends or not self._inward.take(sum(map(len, payloads)), now):
                self.refused += 1
                continue
            self.last_used = now
            for payload in payloads:
                if self._flow.send(*end, payload):
                    self.received += len(payload)

    def _read_on(self) -> None:
        for sock in self._sockets.values():
            self._loop.add_reader(sock.fileno(), self._read, sock)
