"""Files over HTTP/3: `python http3_server.py PORT CHAIN KEY FOLDER`, on both families, until killed.

By aioquic: qh3's server, which we have for links, does not answer the hello that Chromium cuts in pieces.
"""

import asyncio
import socket
import sys
from pathlib import Path

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import QuicServer
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ProtocolNegotiated, QuicEvent

FOLDER: list[Path] = []


class Http3(QuicConnectionProtocol):
    """One client."""

    http: H3Connection | None = None

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ProtocolNegotiated):
            self.http = H3Connection(self._quic)
        if self.http is not None:
            for said in self.http.handle_event(event):
                if isinstance(said, HeadersReceived):
                    self.answer(self.http, said)

    def answer(self, http: H3Connection, asked: HeadersReceived) -> None:
        path = dict(asked.headers)[b":path"].decode().lstrip("/")
        file = FOLDER[0] / path
        body = file.read_bytes() if path and file.is_file() else b""
        status = b"200" if body else b"404"
        kind = b"text/html" if path.endswith(".html") else b"application/octet-stream"
        headers = [(b":status", status), (b"content-type", kind), (b"content-length", b"%d" % len(body))]
        http.send_headers(asked.stream_id, headers)
        http.send_data(asked.stream_id, body, end_stream=True)
        self.transmit()


async def main() -> None:
    """Serve."""
    port, chain, key, folder = sys.argv[1:]
    FOLDER.append(Path(folder))
    settings = QuicConfiguration(is_client=False, alpn_protocols=["h3"])
    settings.load_cert_chain(Path(chain), Path(key))
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.setblocking(False)
    sock.bind(("::", int(port)))
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(
        lambda: QuicServer(configuration=settings, create_protocol=Http3), sock=sock
    )
    await loop.create_future()


if __name__ == "__main__":
    asyncio.run(main())
