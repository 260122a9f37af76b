"""From an application's request to a bridged socket: what SOCKS CONNECT and HTTP CONNECT share.

While the exit dials, the application may send on: up to 64 KiB are kept for the stream. An end of
file in that time means that it gave up, unless it had sent something, which may be a whole request.
"""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from vigilnet.base.errors import VigilnetError
from vigilnet.base.safelog import get_logger
from vigilnet.base.tasks import TaskGroup
from vigilnet.traffic.ingress.ports import Dialler, OnionUnavailableError, Opening
from vigilnet.traffic.stream.messages import Target
from vigilnet.traffic.stream.socket_bridge_io import bridge
from vigilnet.traffic.stream.stream import Stream, StreamEndedError
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
    opening: set["Tunnel"] = field(default_factory=set)  # not bridged yet

    def isolation(self, key: str, host: str) -> str:
        """Return the key for a request to `host` under the application's own key."""
        return f"{key} {host.lower()}" if self.isolate_destinations else key


class Tunnel:
    """One stream on its way to be opened; owns the socket until it is bridged.

    Args:
        around: see there.
        sock: the application's, non-blocking; a reader that it has is replaced.
        target: where to.
        isolation: see `Dialler`.
        early: what the application sent already.
        success: what it is told once the target is reached.
        failure: what it is told otherwise, by reason; None means that there is no circuit.
    """

    __slots__ = (
        "_around",
        "_early",
        "_failure",
        "_has_early",
        "_is_reading",
        "_opening",
        "_socket",
        "_success",
    )

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
        self._is_reading = False
        around.opening.add(self)
        self._opening: Opening = around.dialler.begin_stream(
            target, around.isolation(isolation, target.host), early, self._opened
        )
        around.loop.call_soon(self._start_reading)  # behind the request, which is to leave first

    def close(self) -> None:
        """Give up: the application has gone, or the proxy closes."""
        self._opening.cancel()
        self._drop()

    def _opened(self, outcome: Stream | VigilnetError) -> None:
        """Tell the application, in the turn in which we hear of it; then join both."""
        if isinstance(outcome, VigilnetError):
            self._refused(outcome)
            return
        around = self._around
        try:
            self._socket.send(self._success)
        except OSError:
            outcome.close(EndReason.RESET)
            self._drop()
            return
        around.opening.discard(self)
        bridge(around.loop, self._socket, outcome, self._early, lambda _: around.on_closed())

    def _refused(self, error: VigilnetError) -> None:
        reason: EndReason | None = None
        if isinstance(error, StreamEndedError | OnionUnavailableError):
            reason = error.reason
        else:
            _log.debug("no stream", error=error)
        self._around.opening.discard(self)
        LastWords(self._around, self._socket, self._failure(reason))

    def _read(self) -> None:
        try:
            octets = self._socket.recv(_READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        self._early += octets
        if not octets:
            self._stop_reading()
            if not self._has_early and not self._early:
                self.close()
        elif len(self._early) >= MAX_EARLY:
            self._stop_reading()

    def _start_reading(self) -> None:
        if self in self._around.opening:
            self._is_reading = True
            self._around.loop.add_reader(self._socket.fileno(), self._read)

    def _stop_reading(self) -> None:
        if self._is_reading:
            self._is_reading = False
            self._around.loop.remove_reader(self._socket.fileno())

    def _drop(self) -> None:
        self._around.opening.discard(self)
        self._stop_reading()
        self._socket.close()
        self._around.on_closed()


def has_ended(sock: socket.socket) -> bool:
    """Throw away what an application still sends; return whether it has closed, or its connection broke."""
    try:
        return not sock.recv(MAX_EARLY)
    except (BlockingIOError, InterruptedError):
        return False
    except OSError:
        return True


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
        if has_ended(self._socket):
            self._close()

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._around.loop.remove_reader(self._socket.fileno())
        self._socket.close()
        self._around.on_closed()
