"""The proxies' listeners: SOCKS5 and HTTP on this machine, streams over circuits behind them.

Raw non-blocking sockets and callbacks: a stream costs some small objects and no task until it is
bridged. Nothing listens beyond this machine unless the options say so.
"""

import asyncio
import errno
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, Protocol

from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.base.safelog import get_logger
from vigilnet.base.system_io import accept, own_port
from vigilnet.base.tasks import TaskGroup
from vigilnet.traffic.ingress.http_io import HttpConnection
from vigilnet.traffic.ingress.options import Options
from vigilnet.traffic.ingress.ports import Dialler
from vigilnet.traffic.ingress.socks_io import SocksConnection
from vigilnet.traffic.ingress.tunnel_io import Surroundings, Tunnel

BACKLOG: Final = 4096
ACCEPTS_A_TURN: Final = 128
RUSH_S: Final = 0.003  # connections this close are taken many at a time
PAUSE_S: Final = 0.5  # after the system refused a socket
SWEEP_S: Final = 5.0

_log = get_logger(__name__)


class _Waiting(Protocol):
    """A connection that may take too long over its request."""

    def time_out(self) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Snapshot:
    """What the status shows of the proxies."""

    socks: tuple[str, int] | None
    http: tuple[str, int] | None
    connections: int
    accepted: int


class IngressService:
    """The proxies of one node.

    Args:
        options: where to listen, and limits.
        dialler: opens streams over circuits.
    """

    def __init__(self, options: Options, dialler: Dialler) -> None:
        self._options = options
        self._dialler = dialler
        self._tasks = TaskGroup("ingress")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listeners: list[_Listener] = []
        self._handshakes: dict[_Waiting, float] = {}  # oldest first
        self._sweeper: asyncio.TimerHandle | None = None
        self._opening: set[Tunnel] = set()
        self._connections = 0
        self._accepted = 0
        self.socks_address: tuple[str, int] | None = None
        self.http_address: tuple[str, int] | None = None

    def start(self) -> None:
        """Listen.

        Raises:
            EnvironmentRefusedError: an address cannot be had; names it and says what to do.
        """
        loop = self._loop = asyncio.get_running_loop()
        around = Surroundings(
            loop,
            self._dialler,
            self._tasks,
            self._options.isolate_destinations,
            self._connection_closed,
            self._opening,
        )
        options = self._options
        try:
            if options.socks_enabled:
                listener = self._listen(options.socks_host, options.socks_port, "SOCKS proxy", "socks_port")
                self.socks_address = listener.address
                listener.serve = lambda sock: self._serve_socks(
                    SocksConnection(around, sock, self._handshake_ended)
                )
            if options.http_enabled:
                listener = self._listen(options.http_host, options.http_port, "HTTP proxy", "http_port")
                self.http_address = listener.address
                listener.serve = lambda sock: self._handshake_began(
                    HttpConnection(around, sock, self._idle_changed)
                )
        except EnvironmentRefusedError:
            self._stop_listening()
            raise
        self._sweep_later(loop)

    def _listen(self, host: str, port: int, what: str, setting: str) -> "_Listener":
        if self._loop is None:
            raise RuntimeError("ingress: listen before start")
        listener = _Listener(self._loop, bind_listener(host, port, what, setting), self._may_accept)
        self._listeners.append(listener)
        listener.resume()
        return listener

    def _stop_listening(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()

    async def close(self) -> None:
        """Stop listening and drop what is not bridged yet; bridged streams end with their circuits."""
        self._stop_listening()
        if self._sweeper is not None:
            self._sweeper.cancel()
        waiting, self._handshakes = list(self._handshakes), {}
        for connection in waiting:
            connection.close()
        for tunnel in list(self._opening):
            tunnel.close()
        await self._tasks.close()

    def snapshot(self) -> Snapshot:
        """Return figures for the status."""
        return Snapshot(self.socks_address, self.http_address, self._connections, self._accepted)

    # ---- connections

    def _may_accept(self) -> bool:
        return self._connections < self._options.max_connections

    def _serve_socks(self, connection: SocksConnection) -> None:
        self._handshake_began(connection)
        connection.start()

    def _handshake_began(self, connection: _Waiting) -> None:
        self._connections += 1
        self._accepted += 1
        self._idle_changed(connection, is_idle=True)

    def _handshake_ended(self, connection: _Waiting) -> None:
        self._handshakes.pop(connection, None)

    def _idle_changed(self, connection: _Waiting, is_idle: bool) -> None:
        if is_idle and self._loop is not None:
            self._handshakes[connection] = self._loop.time()
        else:
            self._handshakes.pop(connection, None)

    def _connection_closed(self) -> None:
        was_full = not self._may_accept()
        self._connections -= 1
        if was_full:
            for listener in self._listeners:
                listener.resume()

    def _sweep(self) -> None:
        """Time out those that took too long over their requests; the oldest stand first."""
        if self._loop is None:
            return
        late = self._loop.time() - self._options.handshake_timeout_s
        for connection, since in list(self._handshakes.items()):
            if since > late:
                break
            connection.time_out()
        self._sweep_later(self._loop)

    def _sweep_later(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sweeper = loop.call_later(min(SWEEP_S, self._options.handshake_timeout_s), self._sweep)


class _Listener:
    """Accepts many connections at each turn, while there is room."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, may_accept: Callable[[], bool]
    ) -> None:
        self._loop = loop
        self._socket = sock
        self._may_accept = may_accept
        self._family = sock.family
        self._is_listening = False
        self._accepted_at = 0.0
        self._most = 1  # of the next turn
        self._retry: asyncio.TimerHandle | None = None
        self.serve: Callable[[socket.socket], None] = socket.socket.close
        host, port = sock.getsockname()[:2]
        self.address: tuple[str, int] = (host, port)

    def resume(self) -> None:
        """Accept from now on."""
        if not self._is_listening and self._socket.fileno() >= 0:
            self._is_listening = True
            self._loop.add_reader(self._socket.fileno(), self._accept)

    def close(self) -> None:
        """Stop listening."""
        self._pause()
        if self._retry is not None:
            self._retry.cancel()
        self._socket.close()

    def _pause(self) -> None:
        if self._is_listening:
            self._is_listening = False
            self._loop.remove_reader(self._socket.fileno())

    def _accept(self) -> None:
        """Take one; more in a turn only while they come turn after turn, for the last try of many fails."""
        now = self._loop.time()
        self._most = min(2 * self._most, ACCEPTS_A_TURN) if now - self._accepted_at < RUSH_S else 1
        self._accepted_at = now
        for _ in range(self._most):
            if not self._may_accept():
                _log.warning("as many proxy connections as the settings allow: see ingress.max_connections")
                self._pause()
                return
            try:
                sock = accept(self._socket, self._family)
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                _log.warning("cannot accept proxy connections, trying again", error=error)
                self._pause()
                self._retry = self._loop.call_later(PAUSE_S, self.resume)
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.serve(sock)


def bind_listener(host: str, port: int, what: str, setting: str) -> socket.socket:
    """Return a non-blocking listening socket.

    Args:
        host: an address of this machine.
        port: 0 for any free one.
        what: who listens, for the error.
        setting: which setting of `ingress` changes the port.

    Raises:
        EnvironmentRefusedError: the address cannot be had; names it and says what to do.
    """
    is_ipv6 = ip_address(host).version == 6
    shown = f"[{host}]:{port}" if is_ipv6 else f"{host}:{port}"
    sock = socket.socket(socket.AF_INET6 if is_ipv6 else socket.AF_INET, socket.SOCK_STREAM)
    try:
        own_port(sock)
        if is_ipv6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        advice = {
            errno.EADDRINUSE: _taken(setting),
            errno.EACCES: _taken(setting) if sys.platform == "win32" else _low(setting),
            errno.EADDRNOTAVAIL: "is no address of this machine",
        }.get(error.errno or 0, f"cannot be listened on ({error.strerror})")
        raise EnvironmentRefusedError(f"{what}: {shown} {advice}") from error
    sock.setblocking(False)
    return sock


def _taken(setting: str) -> str:
    return f"is in use by another program; stop that one or set ingress.{setting}"


def _low(setting: str) -> str:
    return f"needs more rights; set ingress.{setting} to a port above 1023"
