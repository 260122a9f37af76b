"""The device's own name server: whatever is asked on port 53 comes here (docs/spec/device.md section 8).

    local     the system's own servers are asked, as without us: they see every name
    overlay   the exit resolves
    custom    a server of the user's choice is asked by TCP through a circuit

The system's resolver files are not touched: questions are redirected by the kernel, whoever asks.
"""

import asyncio
import os
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from ipaddress import IPv6Network, ip_address
from pathlib import Path
from typing import Final, Protocol

from vigilnet.base.clock import Clock
from vigilnet.base.errors import RemoteProtocolError, VigilnetError
from vigilnet.base.safelog import get_logger
from vigilnet.base.tasks import TaskGroup
from vigilnet.traffic.device import dns
from vigilnet.traffic.device.capture_io import EVERY_HOST, TUNNEL_HOSTS, StreamOpener, listen_pair
from vigilnet.traffic.device.options import DnsMode
from vigilnet.traffic.link import nat64
from vigilnet.traffic.stream.messages import Resolve, Resolved, ResourceRecord, Target
from vigilnet.traffic.stream.stream import Stream
from vigilnet.traffic.stream.wire import EndReason

MAX_QUESTIONS: Final = 512  # at a time
MAX_CONNECTIONS: Final = 64
READS_A_TURN: Final = 64
OVERLAY_S: Final = 8.0  # then the application hears of the failure
LOCAL_S: Final = 2.0  # for one server
TCP_IDLE_S: Final = 20.0
NAME_LIFE_S: Final = 3600.0
PREFIX_LIFE_S: Final = 60.0  # then the system's servers are asked for their NAT64 again
_STUBS: Final = (Path("/run/systemd/resolve/resolv.conf"), Path("/run/NetworkManager/no-stub-resolv.conf"))
SYSTEM_FILE: Final = Path("/etc/resolv.conf")

# An answer must come from the address that the question was redirected to, or the kernel does not know it.
_IP_PKTINFO: Final = 8
_IPV6_RECVPKTINFO, _IPV6_PKTINFO = 49, 50
_ASK_WHERE: Final = {
    socket.AF_INET: (socket.IPPROTO_IP, _IP_PKTINFO),
    socket.AF_INET6: (socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO),
}
_Ancillary = list[tuple[int, int, bytes]]

_log = get_logger(__name__)


def _came_to(ancillary: _Ancillary) -> _Ancillary:
    """Turn what the kernel says of a datagram's target into the source of its answer."""
    for level, kind, content in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            return [(level, kind, bytes(4) + content[8:12] + bytes(4))]
        if (level, kind) == (socket.IPPROTO_IPV6, _IPV6_PKTINFO):
            return [(level, kind, content[:16] + bytes(4))]
    return []


class NameResolver(StreamOpener, Protocol):
    """What the name server needs of the pool of circuits."""

    async def resolve(self, request: Resolve, isolation: str) -> Resolved:
        """Return what the exit's resolver says; raises VigilnetError."""
        ...


def system_servers(file: Path = SYSTEM_FILE, stubs: Sequence[Path] = _STUBS) -> list[str]:
    """Return the servers that this machine asks in the end: behind a stub on loopback, those it asks."""
    found = _servers_in(file)
    if found and all(ip_address(server).is_loopback for server in found):
        for stub in stubs:
            behind = [server for server in _servers_in(stub) if not ip_address(server).is_loopback]
            if behind:
                return behind
    return found


def _servers_in(file: Path) -> list[str]:
    found: list[str] = []
    with suppress(OSError):
        for line in file.read_text(errors="replace").splitlines():
            words = line.split()
            if len(words) > 1 and words[0] == "nameserver":
                with suppress(ValueError):
                    found.append(str(ip_address(words[1])))
    return found


class NameServer:
    """Answers on one port, UDP and TCP, both families.

    Args:
        resolver: the way out.
        clock: for what is remembered.
        isolation: see `ingress.ports.Dialler`.
        on_learnt: told (name, addresses, TTL) of every answer with addresses.
        servers: the system's own, asked in local mode.
        is_direct: whether a name's addresses are reached around the tunnel: the system's servers tell them.
        is_carried: whether a packed address may be reached through the network: an exit, or who is asked
            through one, names no others. It could lead a program to this machine, or to the network around.
    """

    def __init__(
        self,
        resolver: NameResolver,
        clock: Clock,
        isolation: str,
        on_learnt: Callable[[str, list[str], int], Awaitable[None]],
        servers: Callable[[], list[str]] = system_servers,
        is_direct: Callable[[str], bool] = lambda name: False,
        is_carried: Callable[[bytes], bool] = lambda address: True,
    ) -> None:
        self._is_carried = is_carried
        self._is_direct = is_direct
        self._nat64: tuple[list[str], float, IPv6Network | None] = ([], 0.0, None)
        self._resolver = resolver
        self._clock = clock
        self._isolation = isolation
        self._on_learnt = on_learnt
        self._servers = servers
        self._loop = asyncio.get_running_loop()
        self._tasks = TaskGroup("device names")
        self._udp: list[socket.socket] = []
        self._tcp: list[socket.socket] = []
        self._connections = 0
        self.mode = DnsMode.LOCAL
        self._here: dict[str, float] = {}  # names that this network's own servers answer, until when
        self.custom: tuple[str, int] = ("", 53)
        self.memory = dns.NameMemory()
        self.port = 0
        self.asked = self.failed = 0

    def start(self, *, has_redirect: bool = True) -> None:
        """Listen; raises EnvironmentRefusedError.

        Args:
            has_redirect: whether the firewall leads questions here; else TCP alone is, at the tunnel.
        """
        self._tcp, self.port = listen_pair(
            socket.SOCK_STREAM, hosts=EVERY_HOST if has_redirect else TUNNEL_HOSTS
        )
        if has_redirect:
            self._udp, _ = listen_pair(socket.SOCK_DGRAM, self.port)
        for sock in self._udp:
            sock.setsockopt(*_ASK_WHERE[sock.family], 1)
            self._loop.add_reader(sock.fileno(), self._read, sock)
        for sock in self._tcp:
            self._loop.add_reader(sock.fileno(), self._accept, sock)

    async def close(self) -> None:
        """Stop; whoever waits for an answer gets none."""
        for sock in (*self._udp, *self._tcp):
            self._loop.remove_reader(sock.fileno())
            sock.close()
        self._udp, self._tcp = [], []
        await self._tasks.close()

    # ---- askers

    def _read(self, sock: socket.socket) -> None:
        if sys.platform == "win32":  # no redirect there, and so no datagram sockets
            return
        for _ in range(READS_A_TURN):
            try:
                octets, where, _, asker = sock.recvmsg(dns.MAX_QUESTION + 1, 128)
            except OSError:
                return
            came_to = _came_to(where)
            if len(self._tasks) >= MAX_QUESTIONS:
                self._send(sock, dns.refusal(octets, dns.SERVFAIL), came_to, asker)
            else:
                self._tasks.start("answer", self._answer_datagram(sock, octets, came_to, asker))

    async def _answer_datagram(
        self, sock: socket.socket, octets: bytes, came_to: _Ancillary, asker: tuple[str, int]
    ) -> None:
        self._send(sock, await self.answer(octets, is_tcp=False), came_to, asker)

    @staticmethod
    def _send(sock: socket.socket, octets: bytes, came_to: _Ancillary, asker: tuple[str, int]) -> None:
        if octets and sys.platform != "win32":
            with suppress(OSError):
                sock.sendmsg([octets], came_to, 0, asker)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            sock, _ = listener.accept()
            sock.setblocking(False)
            if self._connections >= MAX_CONNECTIONS:
                sock.close()
                return
            self._connections += 1
            self._tasks.start("answer by TCP", self._serve(sock))

    async def _serve(self, sock: socket.socket) -> None:
        try:
            async with asyncio.timeout(TCP_IDLE_S):
                while True:
                    (size,) = struct.unpack(">H", await self._receive(sock, 2))
                    answered = await self.answer(await self._receive(sock, size), is_tcp=True)
                    await self._loop.sock_sendall(sock, struct.pack(">H", len(answered)) + answered)
        except (OSError, EOFError, TimeoutError):
            pass
        finally:
            self._connections -= 1
            sock.close()

    async def _receive(self, sock: socket.socket, size: int) -> bytes:
        octets = b""
        while len(octets) < size:
            part = await self._loop.sock_recv(sock, size - len(octets))
            if not part:
                raise EOFError
            octets += part
        return octets

    # ---- answers

    async def answer(self, octets: bytes, *, is_tcp: bool) -> bytes:
        """Return the answer to one query; empty if it deserves none."""
        try:
            question = dns.Question.decode(octets)
        except RemoteProtocolError:
            return dns.refusal(octets, dns.FORMERR)
        self.asked += 1
        limit = dns.MAX_MESSAGE if is_tcp else question.max_udp
        here = dns.local_answer(question)
        if here is not None and (self.mode is not DnsMode.LOCAL or here[0] == dns.NOERROR):
            return dns.reply(question, *here, limit=limit)
        try:
            if self._is_answered_here(question.name):
                answered = await self._ask_system(octets, is_tcp=is_tcp)
            elif self.mode is DnsMode.OVERLAY:
                return await self._ask_exit(question, limit)
            elif self.mode is DnsMode.CUSTOM:
                answered = await self._ask_custom(octets)
                if not all(map(self._may_be_told, dns.answered_addresses(answered)[1])):
                    return dns.reply(question, dns.NOERROR, limit=limit)
            else:
                answered = await self._ask_system(octets, is_tcp=is_tcp)
                if question.kind == dns.AAAA and await self._is_of_nat64(question.name, answered):
                    return dns.reply(question, dns.NOERROR, limit=limit)
        except (VigilnetError, OSError, EOFError, TimeoutError) as error:
            _log.debug("name not resolved", error=error)
            self.failed += 1
            return dns.reply(question, dns.SERVFAIL, limit=limit)
        await self._learn(question.name, answered)
        if len(answered) > limit:
            return dns.reply(question, dns.NOERROR, cut=True, limit=limit)
        return answered

    def _is_answered_here(self, name: str) -> bool:
        """Whether the network's own servers are asked, whoever is asked for other names.

        Of what is reached around the tunnel no exit says where it is: by the address of a host of its own it
        would learn whose circuit that is.
        """
        return self._is_direct(name) or self._here.get(name, 0.0) > self._clock.now()

    def ask_here(self, name: str, seconds: float) -> None:
        """Have this network's own servers answer for one name for a time: a sign-in page's."""
        self._here = {known: until for known, until in self._here.items() if until > self._clock.now()}
        self._here[name.lower()] = self._clock.now() + seconds

    async def system_addresses(self, name: str) -> list[str]:
        """Return a name's addresses as this network's own servers tell them; none if they do not answer."""
        return await self._addresses(name, (dns.A, dns.AAAA))

    async def _addresses(self, name: str, kinds: Sequence[int]) -> list[str]:
        found: list[str] = []
        for kind in kinds:
            with suppress(OSError, EOFError, TimeoutError, RemoteProtocolError):
                answered = await self._ask_system(dns.query(os.urandom(2), name, kind), is_tcp=False)
                found += dns.answered_addresses(answered)[1]
        return found

    async def _is_of_nat64(self, name: str, answered: bytes) -> bool:
        """Whether an answer tells addresses that this network's NAT64 makes: no exit has that NAT64.

        Without them the application takes the IPv4 address, which the tunnel carries. RFC 7050.
        """
        try:
            _, found, _ = dns.answered_addresses(answered)
        except RemoteProtocolError:
            return False
        if not found or self._is_direct(name):
            return False
        servers, until, prefix = self._nat64
        if until <= self._clock.now() or servers != self._servers():
            servers = self._servers()
            prefix = nat64.find_prefix(await self._addresses(nat64.NAME, (dns.AAAA,)))
            self._nat64 = servers, self._clock.now() + PREFIX_LIFE_S, prefix
        return prefix is not None and any(ip_address(text) in prefix for text in found)

    async def _ask_exit(self, question: dns.Question, limit: int) -> bytes:
        async with asyncio.timeout(OVERLAY_S):
            resolved = await self._resolver.resolve(Resolve(question.name, question.kind), self._isolation)
        told: list[ResourceRecord] = []
        found: list[str] = []
        for record in resolved.records:
            if (record.type, len(record.rdata)) in ((dns.A, 4), (dns.AAAA, 16)):
                address = str(ip_address(record.rdata))
                if not self._may_be_told(address):
                    continue
                found.append(address)
            told.append(record)
        if found:
            # Longer than the answer's own life: applications keep addresses for longer, too.
            self.memory.learn(question.name, found, self._clock.now() + NAME_LIFE_S)
            await self._on_learnt(question.name, found, min(record.ttl for record in told))
        return dns.reply(question, resolved.rcode, tuple(told), cut=resolved.was_cut, limit=limit)

    def _may_be_told(self, address: str) -> bool:
        return self._is_carried(ip_address(address).packed)

    async def _learn(self, asked: str, answered: bytes) -> None:
        try:
            name, found, ttl = dns.answered_addresses(answered)
        except RemoteProtocolError:
            return
        if found and name == asked:  # else it would say that of a name that nobody asked for
            await self._on_learnt(name, found, ttl)

    async def _ask_custom(self, octets: bytes) -> bytes:
        host, port = self.custom
        async with asyncio.timeout(OVERLAY_S):
            question = struct.pack(">H", len(octets)) + octets
            stream = await self._resolver.open_stream(Target(host, port), self._isolation, question)
            collector = _Collector(self._loop)
            try:
                stream.set_consumer(collector.attach(stream))
                answered = await collector.answered
            finally:
                stream.close(EndReason.DONE)
        if answered[:2] != octets[:2]:
            raise EOFError
        return answered

    async def _ask_system(self, octets: bytes, *, is_tcp: bool) -> bytes:
        """Ask the system's servers in turn, under a number and from a port of our own."""
        number = os.urandom(2)
        error: Exception = OSError(0, "no name server is known here")
        for server in self._servers():
            try:
                async with asyncio.timeout(LOCAL_S):
                    ask = self._ask_by_tcp if is_tcp else self._ask_by_udp
                    return octets[:2] + (await ask(server, number + octets[2:]))[2:]
            except (OSError, EOFError, TimeoutError) as failure:
                error = failure
        raise error

    async def _ask_by_udp(self, server: str, octets: bytes) -> bytes:
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect((server, 53))
            sock.send(octets)
            while True:
                answered = await self._loop.sock_recv(sock, dns.MAX_MESSAGE)
                if answered[:2] == octets[:2] and len(answered) >= 12:
                    return answered

    async def _ask_by_tcp(self, server: str, octets: bytes) -> bytes:
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.setblocking(False)
            await self._loop.sock_connect(sock, (server, 53))
            await self._loop.sock_sendall(sock, struct.pack(">H", len(octets)) + octets)
            (size,) = struct.unpack(">H", await self._receive(sock, 2))
            answered = await self._receive(sock, size)
            if answered[:2] != octets[:2]:
                raise EOFError
            return answered


class _Collector:
    """Gathers one answer of DNS by TCP from a stream; a `StreamConsumer`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.answered: asyncio.Future[bytes] = loop.create_future()
        self._octets = b""
        self._stream: Stream | None = None

    def attach(self, stream: Stream) -> "_Collector":
        """Say whose octets they are."""
        self._stream = stream
        return self

    def connected(self, address: str, ttl: int) -> None:
        """The server was reached."""

    def data_received(self, data: memoryview) -> None:
        """A piece of the answer."""
        self._octets += data
        if self._stream is not None:
            self._stream.consumed(len(data))
        if len(self._octets) >= 2:
            (size,) = struct.unpack_from(">H", self._octets)
            if len(self._octets) >= 2 + size and not self.answered.done():
                self.answered.set_result(self._octets[2 : 2 + size])

    def eof_received(self) -> None:
        """The server sends no more."""
        self._fail()

    def stream_closed(self, reason: EndReason) -> None:
        """The stream is over."""
        self._fail()

    def writable(self) -> None:
        """There is nothing more to write."""

    def _fail(self) -> None:
        if not self.answered.done():
            self.answered.set_exception(EOFError())
