"""HTX as a transport: dials like a browser, listens like the origin (docs/spec/htx.md)."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol, TypeVar, cast

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.base.system_io import own_port
from vigilnet.traffic.transport.carrier import NO_PARAMS, Carrier, CarrierKind
from vigilnet.traffic.transport.htx.dial_io import (
    Browser,
    HtxAddress,
    StaleEchError,
    Visitor,
    open_carrier,
    read_params,
    visit,
)
from vigilnet.traffic.transport.htx.page import PageFetch
from vigilnet.traffic.transport.htx.relays_met import Advice, RelaysMet
from vigilnet.traffic.transport.htx.server_io import HtxListener, Origin, Relay
from vigilnet.traffic.transport.htx.tls13 import Handshake
from vigilnet.traffic.transport.tcp_io import BACKLOG, TcpCarrier, TcpTransport

_T = TypeVar("_T")


class Dialler(Protocol):
    """Opens TCP connections; what it returns is a `TcpCarrier`."""

    async def dial(self, host: str, port: int) -> Carrier:
        """Connect; raises OSError when that fails."""
        ...


class HtxTransport:
    """Links over HTX; serves `Transport`.

    Args:
        browser: how we dial.
        relay: how we listen; None on a node that does not.
        invite_for: returns the secret of our invite to the relay with this htx key, if we have one.
        tcp: dials; None: plain TCP.
    """

    def __init__(
        self,
        browser: Browser,
        relay: Relay | None = None,
        invite_for: Callable[[bytes], bytes | None] = lambda _: None,
        tcp: Dialler | None = None,
    ) -> None:
        self._browser = browser
        self.relay = relay
        self._invite_for = invite_for
        self._tcp: Dialler = tcp or TcpTransport()
        self.relays: Final = RelaysMet()
        self._listeners: list[HtxListener] = []

    async def dial(self, host: str, port: int, params: Mapping[int, object] = NO_PARAMS) -> Carrier:
        """Open a page at the relay's origin and switch; raises OSError when that fails."""
        try:
            address = read_params(params)
        except RemoteProtocolError as error:
            raise ConnectionAbortedError(str(error)) from error
        key = address.key.public_bytes_raw()
        visitor = Visitor(self._browser, (host, port, key), address, self.relays, self._invite_for(key))
        advice = self.relays.advice(visitor.place, self._browser.clock.now())
        if advice is Advice.WAIT:
            raise ConnectionRefusedError("htx: the relay did not know us, or somebody is in between; waiting")
        if advice is Advice.READ_CLOCK:
            await self._read_clock(visitor)
        return await self._through(open_carrier, visitor)

    async def _through(self, go: Callable[[TcpCarrier, Visitor], Awaitable[_T]], visitor: Visitor) -> _T:
        """Go there; once more, as browsers do, where the origin says that its ECH config has changed."""
        host, port, _ = visitor.place
        try:
            return await go(await self._connect(host, port), visitor)
        except StaleEchError as stale:
            return await go(await self._connect(host, port), stale.again)

    async def _connect(self, host: str, port: int) -> TcpCarrier:
        return cast("TcpCarrier", await self._tcp.dial(host, port))

    async def _read_clock(self, visitor: Visitor) -> None:
        """Look whether our clock is why the relay did not know us."""
        _, page = await self._through(visit, visitor)
        self.relays.clock_read(visitor.place, page.date, self._browser.clock.wall())

    async def look_at_origin(self, host: str, port: int, host_name: str) -> tuple[Handshake, PageFetch]:
        """Visit our own origin as a browser; raises OSError when that fails."""
        nobody = X25519PrivateKey.generate().public_key()
        address = HtxAddress(nobody, host_name, CarrierKind.HTX_OWN_SITE, None)
        visitor = Visitor(self._browser, (host, port, b""), address, self.relays)
        return await self._through(visit, visitor)

    async def listen(self, host: str, port: int, accept: Callable[[Carrier], None]) -> HtxListener:
        """Stand before the origin at `host`, an address; raises OSError if the port is taken."""
        if self.relay is None:
            raise LocalProtocolError("htx: listening without an origin")
        origin_host, origin_port = self.relay.origin
        found = await asyncio.get_running_loop().getaddrinfo(
            origin_host, origin_port, type=socket.SOCK_STREAM
        )
        origin = cast("Origin", (found[0][0], found[0][4]))
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            own_port(sock)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((host, port))
            sock.listen(BACKLOG)
            listener = HtxListener(sock, self.relay, origin, accept)
        except BaseException:
            sock.close()
            raise
        self._listeners.append(listener)
        return listener

    @property
    def origin_error(self) -> str:
        """Why the origin could not be reached the last time; empty when it could."""
        return next((listener.origin_error for listener in self._listeners if listener.origin_error), "")
