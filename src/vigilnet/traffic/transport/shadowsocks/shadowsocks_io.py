"""Shadowsocks as a transport (docs/spec/shadowsocks.md sections 4 and 5)."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, cast

from vigilnet.base.clock import Clock
from vigilnet.base.errors import ConfigurationError, LocalProtocolError, RemoteProtocolError
from vigilnet.traffic.transport.carrier import NO_PARAMS, Carrier, CarrierKind, CarrierUser, Listener
from vigilnet.traffic.transport.shadowsocks.methods import Secret, secret_from
from vigilnet.traffic.transport.shadowsocks.stream import ClientStream, SeenSalts, ServerStream, Target
from vigilnet.traffic.transport.tcp_io import TcpCarrier, TcpTransport

METHOD, PASSWORD, TARGET = 0, 1, 2  # params of an address
MAX_PASSWORD: Final = 128
SILENT_S: Final = 60.0  # a connection that has not shown the password is read, never answered, then closed
BUFFER_SIZE: Final = 64 * 1024
NO_CLIENTS: Final[Mapping[Target, "Dialler"]] = {}


@dataclass(frozen=True)
class Server:
    """What all connections of a relay's listener share."""

    secret: Secret
    clock: Clock
    random_bytes: Callable[[int], bytes]
    max_unproven: int


class Gate(Protocol):
    """What a relay's connection tells until its client has shown the password."""

    def proven(self, carrier: "ShadowsocksCarrier") -> None:
        """The client holds the password, and `carrier` is a link's from now on."""
        ...

    def gone(self, carrier: "ShadowsocksCarrier") -> None:
        """The connection ended before."""
        ...


class ShadowsocksCarrier:
    """One link's connection; serves `Carrier`, and `CarrierUser` to TCP.

    Args:
        tcp: the connection, not started.
        stream: the machine.
        clock: for the times in headers.
        gate: on a relay, hears once what became of the client.
    """

    kind: Final = CarrierKind.SHADOWSOCKS
    binding: Final = bytes(32)
    has_tls_records: Final = False

    def __init__(
        self,
        tcp: TcpCarrier,
        stream: ClientStream | ServerStream,
        clock: Clock,
        gate: Gate | None = None,
    ) -> None:
        self._tcp = tcp
        self._stream = stream
        self._clock = clock
        self._gate = gate
        self._user: CarrierUser | None = None
        self._early: list[bytes] = []
        self._buffer = memoryview(bytearray(BUFFER_SIZE))
        self._is_faulty = False
        self._is_closed = False
        self._closed_with: OSError | None = None

    @property
    def remote_host(self) -> str:
        """The neighbour's address as text; sensitive."""
        return self._tcp.remote_host

    def listen_in(self) -> None:
        """Begin to read before there is a user."""
        self._tcp.start(self)

    def start(self, user: CarrierUser) -> None:
        """Begin to deliver received octets to `user`."""
        self._user = user
        if self._is_closed:
            asyncio.get_running_loop().call_soon(self._tell_closed)
            return
        self._tcp.start(self)
        early, self._early = self._early, []
        self._deliver(early)

    def write(self, parts: Sequence[memoryview | bytes]) -> bool:
        """Send `parts` in order, sealed."""
        if self._is_closed:
            return True
        return self._tcp.write([self._stream.send(b"".join(parts), self._clock.wall())])

    def close(self) -> None:
        """Send what was written, then close; safe to call twice."""
        self._tcp.close()

    # --- CarrierUser ----------------------------------------------------------------------------

    def receive_buffer(self) -> memoryview:
        """Return where TCP may put octets."""
        return self._buffer

    def octets_received(self, count: int) -> None:
        """Open chunks. Who breaks the rules before the proof hears nothing; after it, the link ends."""
        if self._is_faulty:
            return
        try:
            pieces = self._stream.receive(self._buffer[:count], self._clock.wall())
        except RemoteProtocolError as error:
            self._is_faulty = True
            if self._gate is None:
                self._tcp.fail(ConnectionAbortedError(str(error)))
            return
        if self._user is None:
            self._early += pieces
        else:
            self._deliver(pieces)
        if self._gate is not None and self._is_proven:
            gate, self._gate = self._gate, None
            gate.proven(self)

    @property
    def _is_proven(self) -> bool:
        return isinstance(self._stream, ServerStream) and self._stream.target is not None

    def carrier_writable(self) -> None:
        """Hand on."""
        if self._user is not None:
            self._user.carrier_writable()

    def carrier_closed(self, error: OSError | None) -> None:
        """Hand on."""
        self._is_closed = True
        self._closed_with = error
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.gone(self)
        self._tell_closed()

    def _tell_closed(self) -> None:
        user, self._user = self._user, None
        if user is not None:
            user.carrier_closed(self._closed_with)

    def _deliver(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            at = 0
            while at < len(piece) and self._user is not None:
                buffer = self._user.receive_buffer()
                count = min(len(buffer), len(piece) - at)
                buffer[:count] = piece[at : at + count]
                at += count
                self._user.octets_received(count)


class ShadowsocksListener:
    """Our own server; serves `Listener`.

    Args:
        server: what its connections share.
        accept: takes the carrier of every client that holds the password.
    """

    def __init__(self, server: Server, accept: Callable[[Carrier], None]) -> None:
        self._server = server
        self._accept = accept
        self._salts = SeenSalts()
        self._unproven: dict[ShadowsocksCarrier, asyncio.TimerHandle] = {}
        self._loop = asyncio.get_running_loop()
        self._tcp: Listener | None = None

    @property
    def port(self) -> int:
        """The port really bound."""
        return self._tcp.port if self._tcp is not None else 0

    @property
    def unproven(self) -> int:
        """Connections that have not shown the password."""
        return len(self._unproven)

    async def open(self, transport: TcpTransport, host: str, port: int) -> None:
        """Begin to listen; raises OSError if the port is taken."""
        self._tcp = await transport.listen(host, port, self._take)

    def _take(self, tcp: Carrier) -> None:
        server = self._server
        if len(self._unproven) >= server.max_unproven:
            self._give_up(next(iter(self._unproven)))
        stream = ServerStream(server.secret, self._salts, server.random_bytes)
        carrier = ShadowsocksCarrier(cast("TcpCarrier", tcp), stream, server.clock, self)
        self._unproven[carrier] = self._loop.call_later(SILENT_S, self._give_up, carrier)
        carrier.listen_in()

    def proven(self, carrier: ShadowsocksCarrier) -> None:
        """Hand the carrier on as a link's."""
        if carrier in self._unproven:  # else given up already, and closing
            self.gone(carrier)
            self._accept(carrier)

    def gone(self, carrier: ShadowsocksCarrier) -> None:
        """Forget a connection that closed."""
        timer = self._unproven.pop(carrier, None)
        if timer is not None:
            timer.cancel()

    def _give_up(self, carrier: ShadowsocksCarrier) -> None:
        self.gone(carrier)
        carrier.close()

    def close(self) -> None:
        """Stop accepting; carriers already accepted live on."""
        if self._tcp is not None:
            self._tcp.close()
        unproven, self._unproven = self._unproven, {}
        for carrier, timer in unproven.items():
            timer.cancel()
            carrier.close()


class Dialler(Protocol):
    """Opens a connection to a target by way of another program's client."""

    async def dial(self, host: str, port: int) -> Carrier:
        """Connect; raises OSError when that fails."""
        ...


class ShadowsocksTransport:
    """Links over Shadowsocks; serves `Transport`.

    Args:
        clock: time.
        random_bytes: source of salts.
        server: how we listen; None on a node that does not.
        clients: other programs' clients on this machine, by host and port of the server that each one has.
    """

    def __init__(
        self,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        server: Server | None = None,
        clients: Mapping[Target, Dialler] = NO_CLIENTS,
    ) -> None:
        self._clock = clock
        self._random_bytes = random_bytes
        self._server = server
        self._clients = clients
        self._tcp = TcpTransport()

    async def dial(self, host: str, port: int, params: Mapping[int, object] = NO_PARAMS) -> Carrier:
        """Connect to the server at `host`; raises OSError when it cannot be reached."""
        try:
            secret, target = read_params(params, (host, port))
            stream = ClientStream(secret, target, self._random_bytes)
        except (RemoteProtocolError, ConfigurationError, LocalProtocolError) as error:
            raise ConnectionAbortedError(f"shadowsocks address: {error}") from error
        client = self._clients.get((host, port))
        if client is not None:
            return await client.dial(*target)
        tcp = cast("TcpCarrier", await self._tcp.dial(host, port))
        return ShadowsocksCarrier(tcp, stream, self._clock)

    async def listen(self, host: str, port: int, accept: Callable[[Carrier], None]) -> ShadowsocksListener:
        """Serve at `host`, an address; raises OSError if the port is taken."""
        if self._server is None:
            raise LocalProtocolError("shadowsocks: listening without a password")
        listener = ShadowsocksListener(self._server, accept)
        await listener.open(self._tcp, host, port)
        return listener

    async def listen_behind(self, host: str, port: int, accept: Callable[[Carrier], None]) -> Listener:
        """Take links, in the clear, from another program's server on this machine."""
        return await TcpTransport(CarrierKind.SHADOWSOCKS).listen(host, port, accept)


def read_params(params: Mapping[int, object], dialled: Target) -> tuple[Secret, Target]:
    """Read an address's parameters.

    Raises:
        RemoteProtocolError: one is missing or not of its form.
        ConfigurationError: an unknown method, or a password that does not fit it.
    """
    method, password = params.get(METHOD), params.get(PASSWORD)
    if not isinstance(method, str) or not isinstance(password, str) or len(password) > MAX_PASSWORD:
        raise RemoteProtocolError("no method or no password")
    target = params.get(TARGET)
    if target is None:
        return secret_from(method, password), dialled
    if not isinstance(target, Sequence) or len(target) != 2:
        raise RemoteProtocolError("target is no pair")
    host, port = target
    if not isinstance(host, str) or not isinstance(port, int) or not 0 < port < 65_536:
        raise RemoteProtocolError("target is no host and port")
    return secret_from(method, password), (host, port)
