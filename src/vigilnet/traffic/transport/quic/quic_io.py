"""QUIC as a transport: one connection a link, one stream in it (docs/spec/quic.md). Needs the package qh3."""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

from qh3.asyncio.protocol import QuicConnectionProtocol
from qh3.asyncio.server import QuicServer
from qh3.quic.configuration import QuicConfiguration
from qh3.quic.connection import QuicConnection
from qh3.quic.events import ConnectionTerminated, QuicEvent, StreamDataReceived, StreamReset

from vigilnet.base.errors import LocalProtocolError
from vigilnet.crypto.kdf import is_equal, sha256
from vigilnet.traffic.transport.carrier import NO_PARAMS, Carrier, CarrierKind, CarrierUser
from vigilnet.traffic.transport.quic.certificate import Certificate
from vigilnet.traffic.transport.quic.tokens import RetryTokens

DIGEST, SERVER_NAME = 0, 1  # params of an address
ALPN: Final = "h3"
STREAM: Final = 0  # the first that a client opens in both directions
IDLE_S: Final = 120.0  # links ping after 30 s of silence
UNPROVEN_S: Final = 10.0  # for a client to finish the handshake and open its stream
RETRY_ABOVE: Final = 64  # unproven connections: newcomers must show that they hear us
MAX_UNPROVEN: Final = 1024
WINDOW: Final = 16 * 1024 * 1024
FULL: Final = 256 * 1024  # octets waiting to be sent: no more, please
ROOM: Final = 64 * 1024
LINGER_S: Final = 2.0


class QuicCarrier(QuicConnectionProtocol):
    """One connection; serves `Carrier`."""

    kind: Final = CarrierKind.QUIC
    has_tls_records: Final = False

    def __init__(
        self,
        quic: QuicConnection,
        *,
        digest: bytes,
        on_proven: Callable[["QuicCarrier"], None] | None = None,
        **_: object,
    ) -> None:
        super().__init__(quic)
        self._digest = digest
        self._on_proven = on_proven
        self._user: CarrierUser | None = None
        self._early: list[bytes] = []
        self._host = ""
        self._is_full = False
        self._is_ending = False  # FIN sent
        self._is_over = False  # nothing comes any more
        self._told = False
        self._has_left = False
        self._error: OSError | None = None
        self._linger: asyncio.TimerHandle | None = None
        self.owned: asyncio.BaseTransport | None = None  # a client's socket is its own

    @property
    def binding(self) -> bytes:
        """The digest of the relay's certificate, which whoever stands between cannot have the key of."""
        return self._digest

    @property
    def remote_host(self) -> str:
        """The neighbour's address as text; sensitive."""
        return self._host

    def check_certificate(self) -> None:
        """Compare the relay's certificate with the record's digest; raises ConnectionAbortedError."""
        shown = self._quic.get_peercert()
        if shown is None or not is_equal(sha256(shown.public_bytes()), self._digest):
            raise ConnectionAbortedError("quic: another certificate than the record's")

    def datagram_received(self, data: bytes | str, addr: Any) -> None:  # noqa: ANN401 as the base class
        """Take a datagram; what it acknowledges may make room."""
        if not self._host:
            self.know(str(addr[0]))
        super().datagram_received(data, addr)
        self._look_for_room()

    def know(self, host: str) -> None:
        """Remember whose connection this is."""
        self._host = host.removeprefix("::ffff:") if "." in host else host

    def quic_event_received(self, event: QuicEvent) -> None:
        """Hand on what came."""
        if isinstance(event, StreamDataReceived) and event.stream_id == STREAM:
            self._take(event.data)
            if event.end_stream:
                self._end(None)
        elif isinstance(event, StreamReset) and event.stream_id == STREAM:
            self._end(ConnectionResetError("reset by the neighbour"))
        elif isinstance(event, ConnectionTerminated):
            self._terminated(event)

    def _take(self, data: bytes) -> None:
        if self._user is None or self._early:
            self._early.append(data)
        else:
            self._deliver(data)
        on_proven, self._on_proven = self._on_proven, None
        if on_proven is not None:
            on_proven(self)

    def _deliver(self, data: bytes) -> None:
        at = 0
        while at < len(data) and self._user is not None and not self._is_ending:
            buffer = self._user.receive_buffer()
            count = min(len(buffer), len(data) - at)
            buffer[:count] = data[at : at + count]
            at += count
            self._user.octets_received(count)

    def start(self, user: CarrierUser) -> None:
        """Begin to deliver received octets to `user`."""
        self._user = user
        early, self._early = self._early, []
        for data in early:
            self._deliver(data)
        if self._is_over:
            self._loop.call_soon(self._tell)

    def write(self, parts: Sequence[memoryview | bytes]) -> bool:
        """Send `parts` in order; False when more than `FULL` octets wait."""
        if self._is_ending or self._is_over:
            return True
        self._quic.send_stream_data(STREAM, b"".join(parts))
        self._transmit_soon()
        if not self._is_full and self._quic.get_send_buffer_size() > FULL:
            self.transmit()
            self._is_full = self._quic.get_send_buffer_size() > FULL
        return not self._is_full

    def _look_for_room(self) -> None:
        if self._is_full and self._quic.get_send_buffer_size() <= ROOM:
            self._is_full = False
            if self._user is not None and not self._is_over:
                self._user.carrier_writable()

    def _handle_timer(self) -> None:
        super()._handle_timer()
        self._look_for_room()

    def close(self) -> None:
        """Send what was written, then close; safe to call twice."""
        if self._is_ending:
            return
        self._is_ending = True
        if self._is_over:
            self._leave()
            return
        self._quic.send_stream_data(STREAM, b"", end_stream=True)
        self._transmit_soon()
        self._linger = self._loop.call_later(LINGER_S, self._leave)

    def abandon(self) -> None:
        """Give the connection up at once."""
        self._is_ending = True
        self._leave()

    def _end(self, error: OSError | None) -> None:
        """The other end's last octets are in."""
        if self._is_over:
            return
        self._is_over, self._error = True, error
        if self._is_ending:
            self._leave()
        self._tell()

    def _leave(self) -> None:
        """Say that it is over, and wait for no answer: what comes then is for nobody."""
        if self._linger is not None:
            self._linger.cancel()
        if self._has_left:
            return
        self._has_left = True
        self._quic.close()
        self.transmit()
        if self._timer is not None:
            self._timer.cancel()
        if self.owned is not None:
            self.owned.close()
        self._connection_terminated_handler()
        self._is_over = True
        self._loop.call_soon(self._tell)  # also where the other end never answered our FIN

    def _terminated(self, event: ConnectionTerminated) -> None:
        if not self._is_over:
            reason = OSError(f"quic: ended with code {event.error_code}") if event.error_code else None
            self._is_over, self._error = True, reason
        self._leave()
        self._tell()

    def _tell(self) -> None:
        user = self._user
        if user is not None and not self._told:
            self._told = True
            user.carrier_closed(self._error)
            self._user = None
            self.close()


class _Server(QuicServer):
    """The listener's socket: asks newcomers to show that they hear us when there are many."""

    def __init__(self, listener: "QuicListener", configuration: QuicConfiguration) -> None:
        super().__init__(configuration=configuration, create_protocol=listener.make)
        self._listener = listener
        self._tokens = RetryTokens(os.urandom, asyncio.get_running_loop().time)

    def datagram_received(self, data: bytes | str, addr: Any) -> None:  # noqa: ANN401 as the base class
        unproven = self._listener.unproven
        self._retry = self._tokens if unproven > RETRY_ABOVE else None  # type: ignore[assignment]
        super().datagram_received(data, addr)

    def _connection_terminated(self, protocol: QuicConnectionProtocol) -> None:
        super()._connection_terminated(protocol)
        self._listener.ended()

    def _connection_id_retired(self, cid: bytes, protocol: QuicConnectionProtocol) -> None:
        self._protocols.pop(cid, None)


class QuicListener:
    """A UDP port; serves `Listener`.

    Args:
        certificate: ours.
        accept: takes the carrier of every client that opened its stream.
    """

    def __init__(self, certificate: Certificate, accept: Callable[[Carrier], None]) -> None:
        self._certificate = certificate
        self._accept = accept
        self._unproven: dict[QuicCarrier, asyncio.TimerHandle] = {}
        self._loop = asyncio.get_running_loop()
        self._server: _Server | None = None
        self._transport: asyncio.DatagramTransport | None = None
        self._is_closed = False
        self.port = 0

    @property
    def unproven(self) -> int:
        """Connections whose client has not opened its stream."""
        return len(self._unproven)

    async def open(self, host: str, port: int) -> None:
        """Bind; raises OSError if the port is taken."""
        configuration = _configuration(is_client=False)
        configuration.load_cert_chain(*self._certificate.as_pem())
        transport, server = await self._loop.create_datagram_endpoint(
            lambda: _Server(self, configuration), local_addr=(host, port)
        )
        self._transport, self._server = transport, server
        self.port = int(transport.get_extra_info("sockname")[1])

    def make(self, quic: QuicConnection, **_: object) -> QuicCarrier:
        """Make the carrier of a newcomer; the oldest unproven one makes room."""
        if len(self._unproven) >= MAX_UNPROVEN or self._is_closed:
            self._give_up(next(iter(self._unproven)))
        carrier = QuicCarrier(quic, digest=self._certificate.digest, on_proven=self._proven)
        self._unproven[carrier] = self._loop.call_later(UNPROVEN_S, self._give_up, carrier)
        return carrier

    def _proven(self, carrier: QuicCarrier) -> None:
        timer = self._unproven.pop(carrier, None)
        if timer is not None:
            timer.cancel()
            self._accept(carrier)

    def _give_up(self, carrier: QuicCarrier) -> None:
        timer = self._unproven.pop(carrier, None)
        if timer is not None:
            timer.cancel()
        carrier.abandon()

    def close(self) -> None:
        """Stop accepting; carriers already accepted live on, on this port, until the last has ended."""
        if self._is_closed or self._server is None:
            return
        self._is_closed = True
        for carrier in list(self._unproven):
            self._give_up(carrier)
        self.ended()

    def ended(self) -> None:
        """A connection ended: let go of the port with the last one."""
        server, transport = self._server, self._transport
        if not self._is_closed or server is None or transport is None:
            return
        if not server._protocols:  # noqa: SLF001 the base class has no other word for it
            transport.close()


class QuicTransport:
    """Links over QUIC; serves `Transport`.

    Args:
        certificate: ours; None on a node that does not listen.
    """

    def __init__(self, certificate: Certificate | None = None) -> None:
        self._certificate = certificate

    async def dial(self, host: str, port: int, params: Mapping[int, object] = NO_PARAMS) -> Carrier:
        """Connect; raises OSError when the relay cannot be reached, or shows another certificate."""
        digest, name = params.get(DIGEST), params.get(SERVER_NAME, "localhost")
        if not isinstance(digest, bytes) or len(digest) != 32 or not isinstance(name, str) or len(name) > 253:
            raise ConnectionAbortedError("quic address: no digest or no server name")
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        except UnicodeError as error:
            raise OSError("not a host name") from error
        family, address = found[0][0], cast("tuple[str, int]", found[0][4])
        configuration = _configuration(is_client=True)
        configuration.server_name = name
        configuration.verify_mode = ssl.CERT_NONE  # the digest is compared below
        transport, carrier = await loop.create_datagram_endpoint(
            lambda: QuicCarrier(QuicConnection(configuration=configuration), digest=digest),
            local_addr=("::" if family == socket.AF_INET6 else "0.0.0.0", 0),  # noqa: S104 for sending
            family=family,
        )
        carrier.owned = transport
        try:
            carrier.know(address[0])
            carrier.connect(address)
            await carrier.wait_connected()
            carrier.check_certificate()
        except BaseException:
            carrier.abandon()
            raise
        return carrier

    async def listen(self, host: str, port: int, accept: Callable[[Carrier], None]) -> QuicListener:
        """Serve at `host`, an address; raises OSError if the port is taken."""
        if self._certificate is None:
            raise LocalProtocolError("quic: listening without a certificate")
        listener = QuicListener(self._certificate, accept)
        await listener.open(host, port)
        return listener


def _configuration(*, is_client: bool) -> QuicConfiguration:
    return QuicConfiguration(
        alpn_protocols=[ALPN],
        is_client=is_client,
        idle_timeout=IDLE_S,
        max_data=WINDOW,
        max_stream_data=WINDOW,
    )
