"""TCP connections that the kernel redirected here, joined to streams (docs/spec/device.md section 4).

The kernel has already accepted for the application when we hear of a connection, so an application sees a
failure as a reset right after the connect. What it sends at once travels with the request.
"""

import asyncio
import errno
import socket
import struct
import sys
from contextlib import suppress
from typing import Final, Protocol

from vigilnet.base.errors import EnvironmentRefusedError, VigilnetError
from vigilnet.base.safelog import get_logger
from vigilnet.base.tasks import TaskGroup
from vigilnet.traffic.device.settings import TUN_IPV4, TUN_IPV6
from vigilnet.traffic.device.translation import Translation
from vigilnet.traffic.stream.messages import Target
from vigilnet.traffic.stream.socket_bridge_io import bridge
from vigilnet.traffic.stream.stream import Stream

EVERY_HOST: Final = ("0.0.0.0", "::")  # noqa: S104  # redirected connections come to any of our addresses
TUNNEL_HOSTS: Final = (TUN_IPV4, TUN_IPV6)
BACKLOG: Final = 4096
ACCEPTS_A_TURN: Final = 128
PAUSE_S: Final = 0.5
_FREEBIND: Final = {socket.AF_INET: (socket.IPPROTO_IP, 15), socket.AF_INET6: (socket.IPPROTO_IPV6, 78)}
_SO_ORIGINAL_DST: Final = 80  # of both families
_IPV4: Final = struct.Struct("!2xH4s8x")
_IPV6: Final = struct.Struct("!2xH4x16s4x")
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)

_log = get_logger(__name__)


class StreamOpener(Protocol):
    """What capture needs of the pool of circuits."""

    async def open_stream(self, target: Target, isolation: str, early: bytes = b"") -> Stream:
        """Return a stream once the exit has reached `target`; raises VigilnetError."""
        ...


class TargetOf(Protocol):
    """Tells what stands for an address: the name that it was resolved from, if that is known."""

    def __call__(self, address: str, port: int) -> Target | None:
        """Return where a stream shall go; None: refuse."""
        ...


class TcpCapture:
    """Listens for redirected connections of both families.

    Args:
        opener: opens streams.
        target_of: see there.
        isolation: see `ingress.ports.Dialler`.
        max_connections: at a time.
        translation: knows where connections were meant to go, if no firewall led them here.
    """

    def __init__(
        self,
        opener: StreamOpener,
        target_of: TargetOf,
        isolation: str,
        max_connections: int,
        translation: Translation | None = None,
    ) -> None:
        self._translation = translation
        self._opener = opener
        self._target_of = target_of
        self._isolation = isolation
        self._most = max_connections
        self._tasks = TaskGroup("capture")
        self._loop = asyncio.get_running_loop()
        self._listeners: list[socket.socket] = []
        self._retry: asyncio.TimerHandle | None = None
        self._is_listening = False
        self.port = 0
        self.open = self.taken = self.failed = 0

    def start(self, port: int = 0) -> None:
        """Listen on every address: redirected connections of containers come to others than loopback.

        Raises:
            EnvironmentRefusedError: no port is free.
        """
        hosts = EVERY_HOST if self._translation is None else TUNNEL_HOSTS
        self._listeners, self.port = listen_pair(socket.SOCK_STREAM, port, hosts)
        self._resume()

    async def close(self) -> None:
        """Stop; bridged connections end with their streams."""
        self._pause()
        if self._retry is not None:
            self._retry.cancel()
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        await self._tasks.close()

    def _resume(self) -> None:
        if not self._is_listening:
            self._is_listening = True
            for listener in self._listeners:
                self._loop.add_reader(listener.fileno(), self._accept, listener)

    def _pause(self) -> None:
        if self._is_listening:
            self._is_listening = False
            for listener in self._listeners:
                self._loop.remove_reader(listener.fileno())

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPTS_A_TURN):
            if self.open >= self._most:
                self._pause()
                return
            try:
                sock, _ = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                _log.warning("cannot accept redirected connections, trying again", error=error)
                self._pause()
                self._retry = self._loop.call_later(PAUSE_S, self._resume)
                return
            self._take(sock)

    def _take(self, sock: socket.socket) -> None:
        number = 0
        if self._translation is None:
            wanted = original_destination(sock)
        else:
            wanted, number = self._translated(self._translation, sock)
        target = self._target_of(*wanted) if wanted is not None else None
        if target is None:
            self.failed += 1
            self._release(number)
            _reset(sock)
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.open += 1
        self.taken += 1
        self._tasks.start("open a stream", self._open(sock, target, number))

    @staticmethod
    def _translated(translation: Translation, sock: socket.socket) -> tuple[tuple[str, int] | None, int]:
        try:
            neighbour, number = sock.getpeername()[:2]
        except OSError:
            return None, 0
        wanted = translation.accept(neighbour, number)
        return wanted, number if wanted is not None else 0

    def _release(self, number: int) -> None:
        if self._translation is not None and number:
            self._translation.release(number)

    async def _open(self, sock: socket.socket, target: Target, number: int) -> None:
        early = b""
        with suppress(OSError):
            early = sock.recv(16 * 1024)
        try:
            stream = await self._opener.open_stream(target, self._isolation, early)
        except VigilnetError as error:
            _log.debug("no stream for a redirected connection", error=error)
            self.failed += 1
            self._closed(number)
            _reset(sock)
            return
        except BaseException:
            self._closed(number)
            _reset(sock)
            raise
        bridge(self._loop, sock, stream, on_closed=lambda _: self._closed(number))

    def _closed(self, number: int) -> None:
        self._release(number)
        was_full = self.open >= self._most
        self.open -= 1
        if was_full and self._listeners:
            self._resume()


def _reset(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    sock.close()


def original_destination(sock: socket.socket) -> tuple[str, int] | None:
    """Return where a redirected connection wanted to go; None if it was made to our own listener."""
    family = sock.family
    try:
        if family == socket.AF_INET6:
            port, packed = _IPV6.unpack(sock.getsockopt(socket.IPPROTO_IPV6, _SO_ORIGINAL_DST, _IPV6.size))
        else:
            port, packed = _IPV4.unpack(sock.getsockopt(socket.IPPROTO_IP, _SO_ORIGINAL_DST, _IPV4.size))
    except OSError:  # it was never redirected
        return None
    wanted = (socket.inet_ntop(family, packed), int(port))
    return None if wanted == sock.getsockname()[:2] else wanted


def listen_pair(
    kind: socket.SocketKind, port: int = 0, hosts: tuple[str, str] = EVERY_HOST
) -> tuple[list[socket.socket], int]:
    """Return sockets of both families (of one where the other is missing) on one port.

    Args:
        kind: stream or datagram.
        port: 0 for any.
        hosts: addresses of IPv4 and IPv6, which need not be there yet.

    Raises:
        EnvironmentRefusedError: no port is free in both.
    """
    for _ in range(16):
        first = _bound(socket.AF_INET, kind, hosts[0], port)
        number = int(first.getsockname()[1])
        try:
            return [first, _bound(socket.AF_INET6, kind, hosts[1], number)], number
        except OSError as error:
            if error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                return [first], number
            first.close()
            if port:
                break
    raise EnvironmentRefusedError("device: no port is free for redirected connections")


def _bound(family: socket.AddressFamily, kind: socket.SocketKind, host: str, port: int) -> socket.socket:
    sock = socket.socket(family, kind)
    try:
        if kind is socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        if host in TUNNEL_HOSTS and sys.platform == "linux":
            sock.setsockopt(*_FREEBIND[family], 1)
        sock.bind((host, port))
        if kind is socket.SOCK_STREAM:
            sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock
