"""From an application's request to a bridged socket: what SOCKS CONNECT and HTTP CONNECT share.

While the exit dials, the application may send on: up to 64 KiB are kept for the stream. An end of
file in that time means that it gave up, unless it had sent something, which may be a whole request.
"""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from vigilnet.base.errors import VigilnetError
from vigilnet.base.safelog import get_logger
from vigilnet.base.tasks import TaskGroup
from vigilnet.traffic.ingress.ports import Dialler, OnionUnavailableError
from vigilnet.traffic.stream.messages import Target
from vigilnet.traffic.stream.socket_bridge_io import bridge
from vigilnet.traffic.stream.stream import StreamEndedError
from vigilnet.traffic.stream.wire import EndReason

MAX_EARLY: Final = 64 * 1024
LINGER_S: Final = 2.0
_READ: Final = 16 * 1024

_log = get_logger(__name__)


@dataclass(frozen=True)
class Surroundings:
    """What each proxy connection works with."""

    loop: asyncio.AbstractEventLoop
    dialler: Dialler
    tasks: TaskGroup
    isolate_destinations: bool
    on_closed: Callable[[], None]  # a connection is gone for good

    def isolation(self, key: str, host: str) -> str:
        """Return the key for a request to `host` under the application's own key."""
        return f"{key} {host.lower()}" if self.isolate_destinations else key


class Tunnel:
    """One stream on its way to be opened; owns the socket until it is bridged.

    Args:
        around: see there.
        sock: the application's, non-blocking, without a reader.
        target: where to.
        isolation: see `Dialler`.
        early: what the application sent already.
        success: what it is told once the target is reached.
        failure: what it is told otherwise, by reason; None means that there is no circuit.
    """

    __slots__ = ("_around", "_early", "_failure", "_has_early", "_is_reading", "_socket", "_success", "_task")

    def __init__(
        self,
        around: Surroundings,
        sock: socket.socket,
        target: Target,
        isolation: str,
        early: bytes,
        success: bytes,
        failure: Callable[[EndReason | None], bytes],
    ) -> None:
        self._around = around
        self._socket = sock
        self._early = b""
        self._has_early = bool(early)
        self._success = success
        self._failure = failure
        self._is_reading = True
        around.loop.add_reader(sock.fileno(), self._read)
        self._task = around.tasks.start("open a stream", self._open(target, isolation, early))

    async def _open(self, target: Target, isolation: str, early: bytes) -> None:
        isolation = self._around.isolation(isolation, target.host)
        reason: EndReason | None = None
        try:
            stream = await self._around.dialler.open_stream(target, isolation, early)
        except (StreamEndedError, OnionUnavailableError) as error:
            reason = error.reason
        except VigilnetError as error:
            _log.debug("no stream", error=error)
        except BaseException:
            self._drop()
            raise
        else:
            try:
                self._socket.send(self._success)
            except OSError:
                stream.close(EndReason.RESET)
                self._drop()
                return
            on_closed = self._around.on_closed
            bridge(self._around.loop, self._socket, stream, self._early, lambda _: on_closed())
            return
        LastWords(self._around, self._socket, self._failure(reason))

    def _read(self) -> None:
        try:
            octets = self._socket.recv(_READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._task.cancel()
            return
        self._early += octets
        if not octets:
            self._stop_reading()
            if not self._has_early and not self._early:
                self._task.cancel()
        elif len(self._early) >= MAX_EARLY:
            self._stop_reading()

    def _stop_reading(self) -> None:
        if self._is_reading:
            self._is_reading = False
            self._around.loop.remove_reader(self._socket.fileno())

    def _drop(self) -> None:
        self._stop_reading()
        self._socket.close()
        self._around.on_closed()


class LastWords:
    """Sends an answer, then closes so that it arrives.

    Closing a socket that has unread octets resets the connection, and the answer may be lost: what
    the application still sends is read and thrown away until it closes, for up to 2 s.
    """

    __slots__ = ("_around", "_socket", "_timer")

    def __init__(self, around: Surroundings, sock: socket.socket, answer: bytes) -> None:
        self._around = around
        self._socket = sock
        self._timer: asyncio.TimerHandle | None = None
        try:
            if answer:
                sock.send(answer)  # at most some KiB: a fresh socket takes them
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            around.loop.remove_reader(sock.fileno())
            sock.close()
            around.on_closed()
            return
        around.loop.add_reader(sock.fileno(), self._discard)
        self._timer = around.loop.call_later(LINGER_S, self._close)

    def _discard(self) -> None:
        try:
            if self._socket.recv(MAX_EARLY):
                return
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            pass
        self._close()

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._around.loop.remove_reader(self._socket.fileno())
        self._socket.close()
        self._around.on_closed()
