"""SOCKS5's UDP ASSOCIATE at work (docs/spec/ingress.md section 2).

An association lives as long as the TCP connection that asked for it. It takes datagrams from the
application's address only, and gives it those that come back over the circuit. Names are resolved
by the exit, once for the life of their answer; datagrams wait for that, up to a limit.
"""

import socket
from collections import deque
from typing import Final

from vigilnet.base.errors import RemoteProtocolError, VigilnetError
from vigilnet.base.safelog import get_logger
from vigilnet.traffic.ingress.ports import OnionUnavailableError
from vigilnet.traffic.ingress.socks5 import SocksReply, SocksRequest, encode_reply, reply_for_end
from vigilnet.traffic.ingress.socks5_udp import Datagram, decode_datagram, encode_datagram
from vigilnet.traffic.ingress.tunnel_io import LastWords, Surroundings, has_ended
from vigilnet.traffic.stream.datagrams import DatagramFlow
from vigilnet.traffic.stream.messages import Resolve
from vigilnet.traffic.stream.stream import StreamEndedError
from vigilnet.traffic.stream.wire import EndReason

MAX_NAMES: Final = 256  # resolved at a time
MAX_WAITING: Final = 16  # datagrams for one name
READS_A_TURN: Final = 32
_READ: Final = 65_535
_TYPES: Final = (1, 28)  # A, then AAAA

_log = get_logger(__name__)


class Association:
    """One UDP association; owns its TCP connection. A `DatagramConsumer`."""

    def __init__(self, around: Surroundings, control: socket.socket, request: SocksRequest) -> None:
        self._around = around
        self._loop = around.loop
        self._control = control
        self._request = request
        self._socket: socket.socket | None = None
        self._flow: DatagramFlow | None = None
        self._client_host: str = control.getpeername()[0]
        self._client: tuple[str, int] | None = None
        self._names: dict[str, tuple[float, str]] = {}  # name to (expiry, address)
        self._waiting: dict[str, deque[Datagram]] = {}
        self._is_closed = False
        self.dropped = 0
        self._loop.add_reader(control.fileno(), self._read_control)
        self._task = around.tasks.start("open an association", self._open())

    async def _open(self) -> None:
        reply = SocksReply.GENERAL_FAILURE
        try:
            flow = await self._around.dialler.open_datagrams(self._request.isolation)
        except (StreamEndedError, OnionUnavailableError) as error:
            reply = reply_for_end(error.reason)
        except VigilnetError as error:
            _log.debug("no datagram flow", error=error)
        except BaseException:
            self._close()
            raise
        else:
            self._start(flow)
            return
        self._is_closed = True
        self._loop.remove_reader(self._control.fileno())
        LastWords(self._around, self._control, encode_reply(reply))

    def _start(self, flow: DatagramFlow) -> None:
        self._flow = flow
        host = self._control.getsockname()[0]
        if self._request.port:
            self._client = (self._client_host, self._request.port)
        try:
            self._socket = socket.socket(self._control.family, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
            self._socket.bind((host, 0))
            self._control.send(encode_reply(SocksReply.SUCCEEDED, host, self._socket.getsockname()[1]))
        except OSError:
            self._close()
            return
        self._loop.add_reader(self._socket.fileno(), self._read_datagrams)
        flow.set_consumer(self)

    def _read_control(self) -> None:
        """Nothing more may come on the TCP connection but its end, which ends the association."""
        if has_ended(self._control):
            self._close()

    def _close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._task.cancel()
        for sock in (self._control, self._socket):
            if sock is not None:
                self._loop.remove_reader(sock.fileno())
                sock.close()
        if self._flow is not None:
            self._flow.close()
        self._waiting.clear()
        self._around.on_closed()

    # ---- from the application

    def _read_datagrams(self) -> None:
        sock = self._socket
        for _ in range(READS_A_TURN):
            if sock is None or self._is_closed:
                return
            if self._flow is not None and not self._flow.has_room:  # what comes waits in the socket's buffer
                self._loop.remove_reader(sock.fileno())
                self._flow.call_at_room(self._read_on)
                return
            try:
                octets, sender = sock.recvfrom(_READ)
            except OSError:
                return
            if self._is_from_client((sender[0], sender[1])):
                self._take(octets)
            else:
                self.dropped += 1

    def _read_on(self) -> None:
        if self._socket is not None and not self._is_closed:
            self._loop.add_reader(self._socket.fileno(), self._read_datagrams)

    def _is_from_client(self, sender: tuple[str, int]) -> bool:
        if self._client is None and sender[0] == self._client_host:
            self._client = sender  # the first datagram tells the port that the request left open
        return sender == self._client

    def _take(self, octets: bytes) -> None:
        try:
            datagram = decode_datagram(octets)
        except RemoteProtocolError:
            self.dropped += 1
            return
        if ":" in datagram.host or datagram.host.rpartition(".")[2].isdigit():
            self._send(datagram.host, datagram)
            return
        kept = self._names.get(datagram.host)
        if kept is not None and kept[0] > self._loop.time():
            self._send(kept[1], datagram)
        else:
            self._wait_for_name(datagram)

    def _send(self, address: str, datagram: Datagram) -> None:
        if self._flow is not None and not self._flow.send(address, datagram.port, datagram.payload):
            self.dropped += 1

    def _wait_for_name(self, datagram: Datagram) -> None:
        waiting = self._waiting.get(datagram.host)
        if waiting is None:
            if len(self._waiting) >= MAX_NAMES:
                self.dropped += 1
                return
            waiting = self._waiting[datagram.host] = deque()
            self._around.tasks.start("resolve for an association", self._resolve(datagram.host))
        if len(waiting) >= MAX_WAITING:
            self.dropped += 1
            return
        waiting.append(datagram)

    async def _resolve(self, name: str) -> None:
        try:
            found = await self._look_up(name)
        except VigilnetError as error:
            _log.debug("name of a datagram not resolved", error=error)
            found = None
        waiting = self._waiting.pop(name, deque())
        if found is None:
            self.dropped += len(waiting)
            return
        address, ttl = found
        if len(self._names) >= MAX_NAMES:
            del self._names[next(iter(self._names))]
        self._names[name] = (self._loop.time() + ttl, address)
        for datagram in waiting:
            self._send(address, datagram)

    async def _look_up(self, name: str) -> tuple[str, int] | None:
        for kind in _TYPES:
            resolved = await self._around.dialler.resolve(Resolve(name, kind), self._request.isolation)
            for record in resolved.records:
                family = {4: socket.AF_INET, 16: socket.AF_INET6}.get(len(record.rdata))
                if record.type == kind and family is not None:
                    return socket.inet_ntop(family, record.rdata), record.ttl
        return None

    # ---- from the circuit (DatagramConsumer)

    def flow_connected(self) -> None:
        """The exit serves the flow; the application was told."""

    def datagram_received(self, host: str, port: int, payload: bytes) -> None:
        """A datagram came back."""
        if self._is_closed or self._client is None or self._socket is None:
            return
        try:
            self._socket.sendto(encode_datagram(host, port, payload), self._client)
        except OSError:
            self.dropped += 1

    def flow_closed(self, reason: EndReason) -> None:
        """The circuit or the exit is gone: so is the association."""
        self._close()
