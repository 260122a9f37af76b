"""One connection of the HTTP proxy: moves octets between the socket, the machine and a stream.

A CONNECT hands the socket to a `Tunnel`. Absolute-form requests stay here: the machine watches
where each ends. What the socket does not take is kept, bounded by the stream's credit; the client
is read only while the machine and the stream have room.
"""

import asyncio
import contextlib
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Final

from vigilnet.base.errors import VigilnetError
from vigilnet.base.safelog import get_logger
from vigilnet.traffic.ingress.http_proxy import TUNNEL_OPEN, HttpProxyMachine, OpenRequest, failure_page
from vigilnet.traffic.ingress.ports import OnionUnavailableError
from vigilnet.traffic.ingress.tunnel_io import LastWords, Surroundings, Tunnel
from vigilnet.traffic.stream.messages import Target
from vigilnet.traffic.stream.stream import Stream, StreamEndedError
from vigilnet.traffic.stream.wire import EndReason

_READ: Final = 64 * 1024
_RESET: Final = struct.pack("ii", 1, 0)  # linger: close with a reset

_log = get_logger(__name__)


class HttpConnection:
    """One client of the HTTP proxy; a `StreamConsumer`.

    Args:
        around: see there.
        sock: non-blocking.
        on_idle: called with True when it waits for a request, with False when one is complete.
    """

    def __init__(
        self,
        around: Surroundings,
        sock: socket.socket,
        on_idle: Callable[["HttpConnection", bool], None],
    ) -> None:
        self._around = around
        self._loop = around.loop
        self._socket = sock
        self._on_idle = on_idle
        self._machine = HttpProxyMachine()
        self._stream: Stream | None = None
        self._task: asyncio.Task[None] | None = None
        self._out: deque[bytes | memoryview] = deque()
        self._uncredited = 0
        self._is_reading = False
        self._is_writing = False
        self._is_idle = True
        self._is_closed = False
        self._client_ended = False
        self._want_reading()

    def time_out(self) -> None:
        """The client took too long over a request, or sent none for too long."""
        self._machine.time_out()
        self._pump()

    def close(self) -> None:
        """Close without an answer."""
        self._finish()
        self._socket.close()
        self._around.on_closed()

    # ---- the client

    def _read(self) -> None:
        try:
            octets = self._socket.recv(_READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        if octets:
            self._machine.client_received(octets)
        else:
            self._client_ended = True
            self._machine.client_ended()
        self._pump()

    def _pump(self) -> None:
        """Bring everything where it belongs after the machine took something in."""
        if self._is_closed:
            return
        wanted = self._machine.take_open()
        if wanted is not None and wanted.is_tunnel:
            self._hand_over(wanted)
            return
        if wanted is not None or not self._machine.wants_origin:
            self._drop_stream()
        if wanted is not None:
            self._task = self._around.tasks.start("open a stream", self._open(wanted))
        if self._stream is not None:
            self._stream.write(self._machine.to_origin())
        self._out.extend(self._machine.to_client())
        self._flush()
        if not self._is_closed:
            self._tell_idle()
            self._want_reading()

    def _tell_idle(self) -> None:
        if self._machine.is_idle is not self._is_idle:
            self._is_idle = self._machine.is_idle
            self._on_idle(self, self._is_idle)

    def _want_reading(self) -> None:
        """Read from the client while the machine has use for it and the stream has room."""
        wants = not self._client_ended and self._machine.wants_client_data and not self._is_closed
        if wants and self._stream is not None and not self._stream.room():
            wants = False  # `writable` follows
        if wants and not self._is_reading:
            self._loop.add_reader(self._socket.fileno(), self._read)
        elif self._is_reading and not wants:
            self._loop.remove_reader(self._socket.fileno())
        self._is_reading = wants

    def _flush(self) -> None:
        """Write what waits for the client; then give the stream its credit back."""
        out = self._out
        try:
            while out:
                sent = self._socket.send(out[0])
                if sent < len(out[0]):
                    out[0] = memoryview(out[0])[sent:]
                    break
                out.popleft()
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self.close()
            return
        if out:
            if not self._is_writing:
                self._is_writing = True
                self._loop.add_writer(self._socket.fileno(), self._flush)
            return
        if self._is_writing:
            self._is_writing = False
            self._loop.remove_writer(self._socket.fileno())
        if self._uncredited and self._stream is not None:
            self._stream.consumed(self._uncredited)
        self._uncredited = 0
        if self._machine.is_over:
            self._end()

    # ---- the stream

    async def _open(self, wanted: OpenRequest) -> None:
        isolation = self._around.isolation(wanted.isolation, wanted.host)
        try:
            stream = await self._around.dialler.open_stream(Target(wanted.host, wanted.port), isolation)
        except (StreamEndedError, OnionUnavailableError) as error:
            self._machine.open_failed(error.reason)
        except VigilnetError as error:
            _log.debug("no stream", error=error)
            self._machine.open_failed(None)
        except asyncio.CancelledError:
            self._task = None
            if not self._is_closed:
                self.close()  # the service closes
            raise
        else:
            self._stream = stream
            self._machine.opened()
            stream.set_consumer(self)
        self._task = None
        self._pump()

    def connected(self, address: str, ttl: int) -> None:
        """The exit reached the site."""

    def data_received(self, data: memoryview) -> None:
        """Octets of the site."""
        self._uncredited += len(data)
        self._machine.origin_received(data)
        self._pump()

    def eof_received(self) -> None:
        """The site sends no more; nothing can follow for us."""
        self._drop_stream()
        self._machine.origin_ended(is_clean=True)
        self._pump()

    def stream_closed(self, reason: EndReason) -> None:
        """The stream is over."""
        if self._stream is not None:
            self._stream = None
            self._machine.origin_ended(is_clean=reason is EndReason.DONE)
            self._pump()

    def writable(self) -> None:
        """The stream has room again."""
        self._want_reading()

    def _drop_stream(self) -> None:
        stream, self._stream = self._stream, None
        self._uncredited = 0
        if stream is not None:
            # With octets still queued, an orderly close would wait for them, and what the old site still
            # says would come here meanwhile and be taken for the answer of the next one.
            stream.close(EndReason.RESET if stream.pending_octets else EndReason.DONE)

    # ---- the end

    def _hand_over(self, wanted: OpenRequest) -> None:
        """The client wants a tunnel: from now on the machine has nothing to say."""
        self._finish()
        target = Target(wanted.host, wanted.port)
        Tunnel(self._around, self._socket, target, wanted.isolation, wanted.early, TUNNEL_OPEN, failure_page)

    def _end(self) -> None:
        if self._machine.was_cut:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.close()
        else:
            self._finish()
            LastWords(self._around, self._socket, b"")

    def _finish(self) -> None:
        """Let go of everything but the socket itself."""
        self._is_closed = True
        if self._is_idle:
            self._on_idle(self, False)
        if self._is_reading:
            self._loop.remove_reader(self._socket.fileno())
        if self._is_writing:
            self._loop.remove_writer(self._socket.fileno())
        if self._task is not None:
            self._task.cancel()
        self._drop_stream()
        self._out.clear()
