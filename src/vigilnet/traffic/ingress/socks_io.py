"""One connection of the SOCKS proxy, up to its tunnel or association."""

import socket
from collections.abc import Callable
from typing import Final

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.ingress.associate_io import Association
from vigilnet.traffic.ingress.socks5 import (
    CONNECTED,
    Socks5Machine,
    SocksCommand,
    SocksRequest,
    encode_reply,
    reply_for_end,
)
from vigilnet.traffic.ingress.tunnel_io import LastWords, Surroundings, Tunnel
from vigilnet.traffic.stream.messages import Target
from vigilnet.traffic.stream.wire import EndReason

_READ: Final = 16 * 1024


def failure_reply(reason: EndReason | None) -> bytes:
    """Return the reply for a stream that could not be opened; None: there is no circuit."""
    return encode_reply(reply_for_end(reason))


class SocksConnection:
    """Reads one request; then the socket belongs to a `Tunnel` or an `Association`.

    Args:
        around: see there.
        sock: non-blocking.
        on_request: called once when the handshake is over, well or badly.
    """

    __slots__ = ("_around", "_is_over", "_machine", "_on_request", "_socket")

    def __init__(
        self, around: Surroundings, sock: socket.socket, on_request: Callable[["SocksConnection"], None]
    ) -> None:
        self._around = around
        self._socket = sock
        self._machine = Socks5Machine()
        self._on_request = on_request
        self._is_over = False

    def start(self) -> None:
        """Read the request: mostly its first octets are here already.

        The rest often is when we look again, which is cheaper than to be told: at once where the
        application has our processor in between, and a moment later where it has another.
        """
        came = self._read()
        if came and not self._is_over:
            self._read()
        if not self._is_over:
            self._around.loop.add_reader(self._socket.fileno(), self._read)
            if came:
                self._read()

    def time_out(self) -> None:
        """The application took too long."""
        self._end_handshake()
        self.close()

    def close(self) -> None:
        """Close without an answer."""
        self._is_over = True
        self._around.loop.remove_reader(self._socket.fileno())
        self._socket.close()
        self._around.on_closed()

    def _read(self) -> bool:
        """Take what came; return whether anything did."""
        try:
            octets = self._socket.recv(_READ)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            octets = b""
        if octets:
            self._take(octets)
        else:
            self.time_out()
        return True

    def _take(self, octets: bytes) -> None:
        try:
            request = self._machine.receive(octets)
        except RemoteProtocolError:
            self._end_handshake()
            LastWords(self._around, self._socket, self._machine.data_to_send())
            return
        answer = self._machine.data_to_send()
        try:
            if answer:
                self._socket.send(answer)
        except OSError:
            self.time_out()
            return
        if request is not None:
            self._end_handshake()
            self._serve(request)

    def _end_handshake(self) -> None:
        """Whoever takes the socket over puts a reader in the place of ours: cheaper than removing it."""
        self._is_over = True
        self._on_request(self)

    def _serve(self, request: SocksRequest) -> None:
        if request.command is SocksCommand.UDP_ASSOCIATE:
            Association(self._around, self._socket, request)
            return
        target = Target(request.host, request.port)
        Tunnel(self._around, self._socket, target, request.isolation, request.early, CONNECTED, failure_reply)
