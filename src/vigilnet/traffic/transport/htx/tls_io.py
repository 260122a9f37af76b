"""A TLS connection to an origin over TCP: its handshake, and one page if that is all we came for."""

import asyncio

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.transport.htx.page import PageFetch
from vigilnet.traffic.transport.htx.tls13 import TlsClient, TlsState
from vigilnet.traffic.transport.tcp_io import TcpCarrier

BUFFER_SIZE = 64 * 1024


class TlsConnection:
    """Runs a `TlsClient` over a TCP carrier that nobody has started yet; serves `CarrierUser`.

    Args:
        tcp: the connection.
        tls: the handshake.
        holds_finished: whether our last flight waits for who takes it: a browser speaks right behind it.
    """

    def __init__(self, tcp: TcpCarrier, tls: TlsClient, *, holds_finished: bool = False) -> None:
        self._holds_finished = holds_finished
        self._held = b""
        self.tcp = tcp
        self.tls = tls
        self.late = bytearray()  # what came behind the handshake, before anybody looked at it
        self._page: PageFetch | None = None
        self._buffer = memoryview(bytearray(BUFFER_SIZE))
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._closed = asyncio.Event()

    async def wait_handshake(self) -> None:
        """Say hello and wait until the origin's handshake is through.

        Raises:
            RemoteProtocolError: the origin is not trusted, or broke the protocol; the alert is sent.
            OSError: it closed.
        """
        self.tcp.start(self)
        self._send()
        await self._done

    async def wait_page(self, page: PageFetch, timeout_s: float) -> None:
        """Ask for a page behind the handshake, wait for it (not longer than `timeout_s`), say goodbye, close.

        What goes wrong on the way ends the wait; `page` tells what came until then.
        """
        self._done = asyncio.get_running_loop().create_future()
        self._page = page
        try:
            late, self.late = bytes(self.late), bytearray()
            self.tls.send(page.data_to_send())
            self._take(late)
            self._send()
            async with asyncio.timeout(timeout_s):
                await self._done
        except (OSError, RemoteProtocolError):
            pass
        finally:
            self.leave()
            await self.wait_closed()

    async def wait_closed(self) -> None:
        """Wait until TCP is closed, once we have closed it: two seconds at most."""
        await self._closed.wait()

    def leave(self) -> None:
        """Go as a browser does."""
        self.tls.close()
        self._send()
        self.tcp.close()

    def take_held(self) -> bytes:
        """Return our last flight, where it was held, once."""
        held, self._held = self._held, b""
        return held

    def _send(self) -> None:
        data = self.take_held() + self.tls.data_to_send()
        if data:
            self.tcp.write([data])

    def _take(self, data: bytes) -> None:
        """Take octets of the origin; errors go to who waits."""
        try:
            self.tls.receive(data)
            if self._page is not None:
                self._page.receive(self.tls.data_received())
                if self.tls.state is TlsState.OPEN:
                    self.tls.send(self._page.data_to_send())
        except RemoteProtocolError as error:
            self._send()
            if not self._done.done():
                self._done.set_exception(error)
            return
        if self._holds_finished and self.tls.state is TlsState.OPEN and self._page is None:
            self._held += self.tls.data_to_send()
        else:
            self._send()
        is_over = self.tls.handshake is not None if self._page is None else self._page.is_done
        if (is_over or self.tls.state is TlsState.CLOSED) and not self._done.done():
            self._done.set_result(None)

    # --- CarrierUser ----------------------------------------------------------------------------

    def receive_buffer(self) -> memoryview:
        """Return where TCP may put octets."""
        return self._buffer

    def octets_received(self, count: int) -> None:
        """Hand octets to TLS while somebody waits, else keep them."""
        data = bytes(self._buffer[:count])
        if self._done.done():
            self.late += data
        else:
            self._take(data)

    def carrier_writable(self) -> None:
        """Nothing waits for this: little is sent."""

    def carrier_closed(self, error: OSError | None) -> None:
        """Tell who waits."""
        self._closed.set()
        if not self._done.done():
            self._done.set_exception(error or ConnectionResetError("htx: the origin closed"))
