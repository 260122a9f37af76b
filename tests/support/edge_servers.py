"""Servers on loopback for the tests of proxies and exit."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from tests.support.ports import free_port

ACCEPTING_TURNS = 8  # of the loop, until a connection that came last has its writer


@asynccontextmanager
async def echo_server(host: str = "127.0.0.1") -> AsyncIterator[int]:
    """A TCP server that sends everything back and half-closes after the client did; yields its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while octets := await reader.read(65536):
                writer.write(octets)
                await writer.drain()
            writer.write_eof()
        except OSError:
            pass
        finally:
            writer.close()

    async with tcp_server(serve, host) as port:
        yield port


@asynccontextmanager
async def tcp_server(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    host: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[int]:
    """A TCP server on a free port; whatever is still open at the end is aborted.

    A socket that were left open would be blamed on whichever test runs when it is collected.
    """
    writers: list[asyncio.StreamWriter] = []

    async def track(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await serve(reader, writer)

    server = await asyncio.start_server(track, host, 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        for _ in range(ACCEPTING_TURNS):
            await asyncio.sleep(0)
        server.close()
        for writer in writers:
            if tls is None or not writer.transport.is_closing():  # asyncio's over TLS cannot be aborted then
                writer.transport.abort()
        for _ in range(ACCEPTING_TURNS):
            await asyncio.sleep(0)


@asynccontextmanager
async def http_server(host: str = "127.0.0.1") -> AsyncIterator[tuple[int, list[bytes]]]:
    """A keep-alive HTTP server that answers with what it was sent; yields its port and the heads it saw."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                heads.append(head)
                length = 0
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                if b"expect: 100-continue" in head.lower():
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                body = await reader.readexactly(length)
                answer = b"you sent " + body
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)
                if b"connection: close" in head.lower():
                    break
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async with tcp_server(serve, host) as port:
        yield port, heads


class _UdpEcho(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(data, addr)  # type: ignore[attr-defined]  # a DatagramTransport


@asynccontextmanager
async def udp_echo(host: str = "127.0.0.1") -> AsyncIterator[int]:
    """A UDP server that sends everything back; yields its port.

    Not one of the system's choice, which may be one of those that traceroute asks and the device tells apart.
    """
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        _UdpEcho, local_addr=(host, free_port())
    )
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


@dataclass
class FakeDns(asyncio.DatagramProtocol):
    """A DNS server that answers from a script.

    `answers` maps (name, type) to the record texts of each question in turn; the last one stays.
    A name of which no type is scripted does not exist; `is_silent` answers nothing at all.
    """

    answers: dict[tuple[str, str], list[list[str]]] = field(default_factory=dict)
    ttl: int = 1
    is_silent: bool = False
    rcode: dns.rcode.Rcode | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)
    port: int = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True), question.rdtype.name
        self.asked.append((name, kind))
        if self.is_silent:
            return
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if self.rcode is not None:
            response.set_rcode(self.rcode)
        elif (name, kind) in self.answers:
            script = self.answers[name, kind]
            texts = script.pop(0) if len(script) > 1 else script[0]
            if texts:
                response.answer.append(dns.rrset.from_text(question.name, self.ttl, "IN", kind, *texts))
        elif not any(known == name for known, _ in self.answers):
            response.set_rcode(dns.rcode.NXDOMAIN)
        self.transport.sendto(response.to_wire(max_size=65535), addr)  # type: ignore[attr-defined]  # a DatagramTransport


@asynccontextmanager
async def dns_server(**script: object) -> AsyncIterator[FakeDns]:
    """A `FakeDns` on a free port of 127.0.0.1."""
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: FakeDns(**script),  # type: ignore[arg-type]  # the dataclass checks nothing either
        local_addr=("127.0.0.1", 0),
    )
    try:
        yield server
    finally:
        transport.close()


@dataclass
class CountingListener:
    """Listens on many addresses and counts who connects."""

    port: int
    sockets: list[socket.socket]
    connections: int = 0

    def _accept(self, listener: socket.socket) -> None:
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return
        self.connections += 1


@asynccontextmanager
async def counting_listener(hosts: list[str]) -> AsyncIterator[CountingListener]:
    """Listen on one port of every address in `hosts` that this machine has."""
    loop = asyncio.get_running_loop()
    port = free_port()
    first = socket.create_server((hosts[0], port))
    listener = CountingListener(port, [first])
    for host in hosts[1:]:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            listener.sockets.append(socket.create_server((host, port), family=family))
        except OSError:
            continue
    for sock in listener.sockets:
        sock.setblocking(False)
        loop.add_reader(sock.fileno(), listener._accept, sock)
    try:
        yield listener
    finally:
        for sock in listener.sockets:
            loop.remove_reader(sock.fileno())
            sock.close()


@contextmanager
def dead_port(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A port that swallows connects: its backlog is full."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=0) as listener:
        port = listener.getsockname()[1]
        fillers = [socket.socket(family) for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex((host, port))
        try:
            yield port
        finally:
            for filler in fillers:
                filler.close()
