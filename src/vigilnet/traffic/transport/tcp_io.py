"""Links over plain TCP: raw non-blocking sockets on the loop's readers and writers (hot path).

Neither streams nor protocols of asyncio: they cost 9.8 CPU-s/GB against 5.5. Works on uvloop and on
plain asyncio. Names are resolved, IPv4 and IPv6 are equal.
"""

import asyncio
import errno
import ipaddress
import socket
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from weakref import WeakSet

from vigilnet.base.safelog import get_logger
from vigilnet.base.system_io import own_port, send_parts
from vigilnet.traffic.transport.carrier import NO_PARAMS, Carrier, CarrierKind, CarrierUser
from vigilnet.traffic.transport.punch_io import punch, take_port
from vigilnet.traffic.transport.resets_io import reset_watch

UNSENT_OCTETS: Final = 128 * 1024  # in the kernel and not yet sent; what waits there cannot be overtaken
UNANSWERED_S: Final = 15  # sent and not acknowledged, then the kernel gives the connection up
LINGER_S: Final = 2.0  # for our last octets to go out and the other end's close to come in
ACCEPTS_PER_TURN: Final = 32
BACKLOG: Final = 512
ACCEPT_PAUSE_S: Final = 0.5  # when we have no file descriptor left
ADDRESS_CHECK_S: Final = 2.0
MAX_BUFFERS: Final = 64  # in one sendmsg
EASE_S: Final = 0.001
EASE_OCTETS: Final = 12_000  # a read of so many is part of a stream
READS_BEFORE_RESET: Final = 64  # a socket's buffer is emptied in fewer

_TCP_NOTSENT_LOWAT: Final = getattr(socket, "TCP_NOTSENT_LOWAT", 25 if sys.platform == "linux" else None)
_TCP_USER_TIMEOUT: Final = getattr(socket, "TCP_USER_TIMEOUT", None)
_OUT_OF_DESCRIPTORS: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_NO_BINDING: Final = bytes(32)

_log = get_logger(__name__)


def _tune(sock: socket.socket) -> None:
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option, value in ((_TCP_NOTSENT_LOWAT, UNSENT_OCTETS), (_TCP_USER_TIMEOUT, UNANSWERED_S * 1000)):
        if option is not None:
            try:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
            except OSError as error:  # an older kernel: works without
                _log.debug("tcp option not taken", error=error)


class TcpCarrier:
    """One TCP connection to a neighbour; serves `Carrier`.

    Args:
        sock: connected.
        loop: the running one.
        kind: what the link takes it for: a program on this machine may stand between us and the neighbour.
        remote_host: the neighbour's address where the socket's other end is such a program.
    """

    binding: Final = _NO_BINDING
    has_tls_records: Final = False

    def __init__(
        self,
        sock: socket.socket,
        loop: asyncio.AbstractEventLoop,
        kind: CarrierKind = CarrierKind.PLAIN,
        remote_host: str = "",
    ) -> None:
        self.kind: Final = kind
        self._sock = sock
        _tune(sock)
        self._fd = sock.fileno()
        self._loop = loop
        self._user: CarrierUser | None = None
        self._unsent: deque[memoryview] = deque()
        self._is_closing = False
        self._is_released = False
        self._is_broken = False
        self._is_eased = False
        self._pause: asyncio.TimerHandle | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._local_host = _host_of(sock.getsockname())
        self._remote_host = remote_host or _host_of(sock.getpeername())
        self._resets = reset_watch(loop)
        self._resets.watch(self._fd, self._in_error)

    def __del__(self) -> None:
        self._sock.close()  # the loop ended before our linger did

    @property
    def remote_host(self) -> str:
        """The neighbour's address as text; sensitive."""
        return self._remote_host

    @property
    def local_host(self) -> str:
        """Our own address on this connection, as text; sensitive."""
        return self._local_host

    @property
    def open_ends(self) -> tuple[tuple[str, int], tuple[str, int]] | None:
        """Our and the neighbour's host and port; None where a program stands between, or nothing is open."""
        if self.kind is not CarrierKind.PLAIN or self._is_released:
            return None
        ours, theirs = self._sock.getsockname(), self._sock.getpeername()
        return (_host_of(ours), int(ours[1])), (_host_of(theirs), int(theirs[1]))

    @property
    def is_released(self) -> bool:
        """Whether the socket is closed."""
        return self._is_released

    def start(self, user: CarrierUser) -> None:
        """Begin to deliver received octets to `user`."""
        self._user = user
        if not self._is_released:
            self._loop.add_reader(self._fd, self._on_readable)
        if self._is_broken:
            self._loop.call_soon(self._in_error)

    def _on_readable(self) -> None:
        user = self._user
        if user is None or self._is_closing:
            self._discard()
            return
        try:
            count = self._sock.recv_into(user.receive_buffer())
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._release(error)
            return
        if not count:
            self._release(None)
            return
        user.octets_received(count)
        if self._is_eased and count >= EASE_OCTETS:
            self._ease()

    def _ease(self) -> None:
        """Look away for a moment."""
        if self._pause is None and not self._is_closing and not self._is_released:
            self._loop.remove_reader(self._fd)
            self._pause = self._loop.call_later(EASE_S, self._read_on)

    def ease_reads(self) -> None:
        """Let octets gather for a moment behind each large read.

        A neighbour that sends each record by itself would wake us for each.
        """
        self._is_eased = True

    def _read_on(self) -> None:
        self._pause = None
        if not self._is_closing and not self._is_released:
            self._loop.add_reader(self._fd, self._on_readable)
            self._on_readable()

    def _in_error(self) -> None:
        """A reset came: deliver what came before it; reading then says so."""
        if self._user is None and not self._is_closing:
            self._is_broken = True  # told to the user once there is one
            return
        for _ in range(READS_BEFORE_RESET):
            if self._is_released:
                return
            self._on_readable()
        self._release(ConnectionResetError("reset by the neighbour"))

    def _discard(self) -> None:
        """Read on after our close, so that the kernel sends FIN and not RST over our last octets."""
        try:
            while self._sock.recv(65_536):
                pass
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            pass
        if not self._unsent:
            self._release(None)
        else:
            self._loop.remove_reader(self._fd)

    def write(self, parts: Sequence[memoryview | bytes]) -> bool:
        """Send `parts` in order; False when some had to be kept. An error is told by `carrier_closed`."""
        if self._is_closing or self._is_released:
            return True
        if self._unsent:
            self._unsent.extend(map(memoryview, parts))
            return False
        sent = self._send(parts)
        if sent == sum(map(len, parts)):
            return True
        for part in parts:
            if sent >= len(part):
                sent -= len(part)
            else:
                self._unsent.append(memoryview(part)[sent:])
                sent = 0
        self._loop.add_writer(self._fd, self._on_writable)
        return False

    def _send(self, parts: Sequence[memoryview | bytes]) -> int:
        try:
            if len(parts) == 1:
                return self._sock.send(parts[0])
            return send_parts(self._sock, parts[:MAX_BUFFERS])
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            self._loop.call_soon(self._release, error)  # the caller is in the middle of something
            return 0

    def _on_writable(self) -> None:
        unsent = self._unsent
        sent = self._send(list(unsent))
        while unsent and sent >= len(unsent[0]):
            sent -= len(unsent.popleft())
        if unsent:
            unsent[0] = unsent[0][sent:]
            return
        self._loop.remove_writer(self._fd)
        if self._is_closing:
            self._shut_down()
        elif self._user is not None:
            self._user.carrier_writable()

    def close(self) -> None:
        """Send what was written, then close; safe to call twice."""
        if self._is_closing or self._is_released:
            return
        self._is_closing = True
        self._linger = self._loop.call_later(LINGER_S, self._release, None)
        self._loop.add_reader(self._fd, self._on_readable)
        if not self._unsent:
            self._shut_down()

    def _shut_down(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._loop.call_soon(self._release, None)

    def fail(self, error: OSError) -> None:
        """Give the connection up at once: our own address is gone."""
        self._release(error)

    def _release(self, error: OSError | None) -> None:
        if self._is_released:
            return
        self._is_released = True
        self._resets.forget(self._fd)
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._sock.close()
        self._unsent.clear()
        if self._linger is not None:
            self._linger.cancel()
        user, self._user = self._user, None
        if user is not None:
            user.carrier_closed(error)


class TcpListener:
    """A listening socket; serves `Listener`."""

    def __init__(
        self,
        sock: socket.socket,
        loop: asyncio.AbstractEventLoop,
        accept: Callable[[TcpCarrier], None],
        kind: CarrierKind = CarrierKind.PLAIN,
    ) -> None:
        self._sock = sock
        self._kind = kind
        self._loop = loop
        self._accept = accept
        self._pause: asyncio.TimerHandle | None = None
        self.port: Final = int(sock.getsockname()[1])
        loop.add_reader(sock.fileno(), self._on_readable)

    def _on_readable(self) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                sock, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._rest(error)
                return
            try:
                carrier = TcpCarrier(sock, self._loop, self._kind)
            except OSError:  # gone already
                sock.close()
                continue
            self._accept(carrier)

    def _rest(self, error: OSError) -> None:
        """Stop accepting for a while, so that a lack of descriptors does not spin the loop."""
        if error.errno in _OUT_OF_DESCRIPTORS:
            _log.warning(
                "no file descriptor left for a new connection; raise the limit (ulimit -n)", error=error
            )
        self._loop.remove_reader(self._sock.fileno())
        self._pause = self._loop.call_later(ACCEPT_PAUSE_S, self._resume)

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._sock.fileno(), self._on_readable)

    def close(self) -> None:
        """Stop accepting; carriers already accepted live on."""
        if self._sock.fileno() < 0:
            return
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()


class TcpTransport:
    """Plain TCP, for LANs and tests; serves `Transport`.

    While it has carriers it looks every `ADDRESS_CHECK_S` whether their own addresses still are
    this machine's, and gives up those whose are not: the kernel would retry for a quarter of an hour.

    Args:
        kind: what links take its carriers for.
        owns_port: dial out of a port that no other program's connection has, so that `punch` may use it
            again; the kernel otherwise shares one among connections to different places.
    """

    def __init__(self, kind: CarrierKind = CarrierKind.PLAIN, *, owns_port: bool = False) -> None:
        self._kind = kind
        self._owns_port = owns_port
        self._carriers: WeakSet[TcpCarrier] = WeakSet()
        self._check: asyncio.TimerHandle | None = None

    async def dial(self, host: str, port: int, params: Mapping[int, object] = NO_PARAMS) -> Carrier:
        """Connect to an address or name; raises OSError when it cannot be reached."""
        del params
        loop = asyncio.get_running_loop()
        family, address = await _resolve(loop, host, port)
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            if self._owns_port:
                take_port(sock)
            await loop.sock_connect(sock, address)
            carrier = TcpCarrier(sock, loop, self._kind)
        except BaseException:
            sock.close()
            raise
        return self._kept(carrier)

    async def punch(self, local: tuple[str, int], remote: tuple[str, int], timeout_s: float) -> Carrier:
        """Connect to one who dials us at the same time, out of a dialled carrier's port; raises OSError."""
        sock = await punch(local, remote, timeout_s)
        try:
            return self._kept(TcpCarrier(sock, asyncio.get_running_loop(), self._kind))
        except BaseException:
            sock.close()
            raise

    async def listen(self, host: str, port: int, accept: Callable[[Carrier], None]) -> TcpListener:
        """Call `accept` for every connection to `host`, an address; raises OSError if the port is taken."""
        loop = asyncio.get_running_loop()
        family, address = await _resolve(loop, host, port)
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            own_port(sock)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(address)
            sock.listen(BACKLOG)
        except BaseException:
            sock.close()
            raise
        return TcpListener(sock, loop, lambda carrier: accept(self._kept(carrier)), self._kind)

    def _kept(self, carrier: TcpCarrier) -> TcpCarrier:
        self._carriers.add(carrier)
        if self._check is None:
            self._check = asyncio.get_running_loop().call_later(ADDRESS_CHECK_S, self._check_addresses)
        return carrier

    def _check_addresses(self) -> None:
        self._check = None
        gone: dict[str, bool] = {}
        for carrier in [carrier for carrier in self._carriers if not carrier.is_released]:
            host = carrier.local_host
            if host not in gone:
                gone[host] = _is_gone(host)
            if gone[host]:
                carrier.fail(OSError(errno.EADDRNOTAVAIL, "our address is gone"))
            else:
                self._kept(carrier)


async def _resolve(
    loop: asyncio.AbstractEventLoop, host: str, port: int
) -> tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except UnicodeError as error:  # a label that is too long, or empty
            raise OSError("not a host name") from error
        return found[0][0], found[0][4]  # type: ignore[return-value]  # AF_INET or AF_INET6 only
    if address.version == 4:
        return socket.AF_INET, (host, port)
    scope = host.partition("%")[2]
    return socket.AF_INET6, (str(address), port, 0, _scope_id(scope))


def _scope_id(scope: str) -> int:
    if not scope:
        return 0
    return int(scope) if scope.isdigit() else socket.if_nametoindex(scope)


def _host_of(name: tuple[str, int] | tuple[str, int, int, int]) -> str:
    return f"{name[0].partition('%')[0]}%{name[3]}" if len(name) == 4 and name[3] else str(name[0])


def _is_gone(host: str) -> bool:
    """Whether `host` is no longer an address of this machine; asks by binding, sends nothing."""
    address = ipaddress.ip_address(host.partition("%")[0])
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    scope = host.partition("%")[2]
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((str(address), 0) if address.version == 4 else (str(address), 0, 0, _scope_id(scope)))
    except OSError as error:
        return error.errno == errno.EADDRNOTAVAIL
    return False
