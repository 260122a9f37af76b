"""Flows to one host for a client: connected UDP, and ICMP echoes (docs/spec/exit.md section 7).

The host was resolved and judged before; the socket is connected to it, so nobody else's datagrams come
in and a refusal of the host's is heard. While the circuit has no room nothing is read.
"""

import asyncio
import errno
import socket
import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from vigilnet.base.clock import Clock
from vigilnet.peer.special_addresses import IpAddress
from vigilnet.traffic.exit.datagrams_io import BUFFER_OCTETS, TokenBucket
from vigilnet.traffic.exit.segments_io import join_what_comes, lost_before, receive, send_all
from vigilnet.traffic.stream.datagrams import DatagramFlow, EchoFlow
from vigilnet.traffic.stream.messages import Echo
from vigilnet.traffic.stream.wire import EndReason

READS_A_TURN: Final = 64
MAX_DATAGRAM: Final = 65_535
MAX_ECHOES: Final = 256  # requests of one flow that may still be answered
MAX_ECHO_PAYLOAD: Final = 8_192

_ECHO: Final = struct.Struct(">BBHHH")  # type, code, checksum, identifier, sequence
_REQUEST: Final = {4: 8, 6: 128}
_REPLY: Final = {4: 0, 6: 129}
_REASONS: Final = {errno.ECONNREFUSED: EndReason.REFUSED, errno.EHOSTUNREACH: EndReason.NO_ROUTE}


class BoundFlow:
    """One connected socket, and limits; what both kinds share."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        flow: DatagramFlow | EchoFlow,
        clock: Clock,
        rate: int,
        on_closed: Callable[["BoundFlow"], None],
    ) -> None:
        self._loop = loop
        self._flow = flow
        self._clock = clock
        self._on_closed = on_closed
        self._socket: socket.socket | None = None
        self.last_used = clock.now()
        self._outward = TokenBucket(rate, self.last_used)
        self._inward = TokenBucket(rate, self.last_used)
        self.sent = self.received = self.refused = 0
        self._lost = 0  # of a socket that is closed

    @property
    def lost(self) -> int:
        """Answers that found no room, neither here nor in the socket's buffer."""
        return self._flow.dropped + (lost_before(self._socket) if self._socket is not None else self._lost)

    def _connect(self, sock: socket.socket, address: IpAddress, port: int) -> None:
        self._socket = sock
        sock.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_OCTETS)
        sock.connect((str(address), port))
        self._loop.add_reader(sock.fileno(), self._read)

    def close(self, reason: EndReason) -> None:
        """End the flow."""
        self._flow.close(reason)

    def flow_connected(self) -> None:
        """Only clients hear this."""

    def flow_closed(self, reason: EndReason) -> None:
        """The flow is over: close the socket."""
        if self._socket is not None:
            self._lost = lost_before(self._socket)
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None
        self._on_closed(self)

    def _send(self, octets: bytes, size: int) -> None:
        now = self._clock.now()
        sock = self._socket
        if sock is None or not self._outward.take(size, now):
            self.refused += 1
            return
        self.last_used = now
        try:
            sock.send(octets)
        except OSError as error:
            self._failed(error)
            return
        self.sent += size

    def _failed(self, error: OSError) -> None:
        """The host refuses, by ICMP: the client may tell its application. All else is a datagram lost."""
        reason = _REASONS.get(error.errno or 0)
        if reason is not None:
            self._flow.close(reason)

    def _read(self) -> None:
        now = self._clock.now()
        for _ in range(READS_A_TURN):
            sock = self._socket
            if sock is None:
                return
            if not self._flow.has_room:
                self._loop.remove_reader(sock.fileno())
                self._flow.call_at_room(self._read_on)
                return
            try:
                came = self._receive(sock)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._failed(error)
                continue
            if not self._inward.take(sum(map(len, came)), now):
                self.refused += 1
                continue
            self.last_used = now
            for octets in came:
                self._came(octets)

    def _read_on(self) -> None:
        if self._socket is not None:
            self._loop.add_reader(self._socket.fileno(), self._read)

    def _receive(self, sock: socket.socket) -> list[bytes]:
        return [sock.recv(MAX_DATAGRAM)]

    def _came(self, octets: bytes) -> None:
        raise NotImplementedError


class BoundDatagrams(BoundFlow):
    """Connected UDP; a `DatagramConsumer`."""

    def start(self, flow: DatagramFlow, address: IpAddress, port: int) -> None:
        """Serve the client from now on; raises OSError."""
        family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        join_what_comes(sock)
        self._gathered: list[bytes] = []
        self._connect(sock, address, port)
        flow.set_consumer(self)
        flow.accept()
        self._datagrams = flow

    def datagram_received(self, host: str, port: int, payload: bytes) -> None:
        """A datagram of the client's: gathered over one turn of the loop."""
        if not self._gathered:
            self._loop.call_soon(self._flush)
        self._gathered.append(payload)

    def _flush(self) -> None:
        gathered, self._gathered = self._gathered, []
        sock, now = self._socket, self._clock.now()
        if sock is None:
            return
        allowed = [payload for payload in gathered if self._outward.take(len(payload), now)]
        self.refused += len(gathered) - len(allowed)
        self.last_used = now
        send_all(sock, allowed, None, self._failed)
        self.sent += sum(map(len, allowed))

    def _receive(self, sock: socket.socket) -> list[bytes]:
        return receive(sock)[0]

    def _came(self, octets: bytes) -> None:
        if self._datagrams.send("", 0, octets):
            self.received += len(octets)


class BoundEchoes(BoundFlow):
    """ICMP echoes to one host; an `EchoConsumer`.

    By an unprivileged ping socket where the system has them (net.ipv4.ping_group_range), else by a raw
    one, which needs CAP_NET_RAW. The client's own number never leaves: ours stands in its place.
    """

    def start(self, flow: EchoFlow, address: IpAddress) -> None:
        """Serve the client from now on; raises OSError where the system lets us send no echoes."""
        self._version = address.version
        self._asked: OrderedDict[int, int] = OrderedDict()  # sequence to the client's identifier
        self._identifier = id(self) >> 4 & 0xFFFF
        sock, self._is_raw = _ping_socket(address.version)
        self._connect(sock, address, 0)
        flow.set_consumer(self)
        flow.accept()
        self._echoes = flow

    def echo_received(self, echo: Echo) -> None:
        """A request of the client's."""
        if echo.is_reply or len(echo.payload) > MAX_ECHO_PAYLOAD:
            self.refused += 1
            return
        self._asked[echo.sequence] = echo.identifier
        self._asked.move_to_end(echo.sequence)
        if len(self._asked) > MAX_ECHOES:
            self._asked.popitem(last=False)
        kind = _REQUEST[self._version]
        message = _ECHO.pack(kind, 0, 0, self._identifier, echo.sequence) + echo.payload
        if self._is_raw and self._version == 4:  # elsewhere the kernel sums
            message = message[:2] + checksum(message).to_bytes(2, "big") + message[4:]
        self._send(message, len(echo.payload))

    def _came(self, octets: bytes) -> None:
        if self._is_raw and self._version == 4 and octets:
            octets = octets[(octets[0] & 15) * 4 :]
        if len(octets) < _ECHO.size:
            return
        kind, _, _, identifier, sequence = _ECHO.unpack_from(octets)
        if kind != _REPLY[self._version] or (self._is_raw and identifier != self._identifier):
            return
        asked = self._asked.pop(sequence, None)
        if asked is not None and self._echoes.send(Echo(True, asked, sequence, octets[_ECHO.size :])):
            self.received += len(octets)


def _ping_socket(version: int) -> tuple[socket.socket, bool]:
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    protocol = socket.IPPROTO_ICMPV6 if version == 6 else socket.IPPROTO_ICMP
    try:
        return socket.socket(family, socket.SOCK_DGRAM, protocol), False
    except PermissionError:
        return socket.socket(family, socket.SOCK_RAW, protocol), True


def checksum(octets: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    if len(octets) & 1:
        octets += b"\0"
    total: int = sum(struct.unpack(f">{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF
