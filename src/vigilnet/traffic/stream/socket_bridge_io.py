"""Pumps a TCP socket and a stream both ways, with back-pressure and half-close (hot path).

The same bridge serves a proxy connection at the client and the connection to the target at the
exit. Octets from the circuit are gathered over one turn of the event loop and written by one
system call; what the socket does not take is kept, bounded by the stream's credit.
"""

import asyncio
import errno
import socket
import struct
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from typing import Final

from vigilnet.base.system_io import send_parts
from vigilnet.traffic.stream.stream import Stream
from vigilnet.traffic.stream.wire import EndReason
from vigilnet.traffic.transport.resets_io import reset_watch

READ_SIZE: Final = 64 * 1024
MAX_BUFFERS: Final = 64  # of one sendmsg
_SMALL: Final = 4096  # octets; smaller pieces are copied, so that they do not pin their records
_JOINED: Final = 64 * 1024  # and joined up to this size, so that pieces of one octet cost no object each
LINGER_S: Final = 60.0  # a socket that takes nothing for so long after its stream ended is closed

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_RESET: Final = frozenset({errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN})


class SocketBridge:
    """One socket joined to one stream; a `StreamConsumer`."""

    __slots__ = (
        "__weakref__",
        "_fd",
        "_has_failed",
        "_is_closed",
        "_is_flushing",
        "_is_reading",
        "_is_writing",
        "_loop",
        "_on_closed",
        "_on_connected",
        "_out",
        "_reason",
        "_remote_eof",
        "_sent_eof",
        "_socket",
        "_stream",
        "_untaken",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        stream: Stream,
        on_closed: Callable[[EndReason], None] | None,
    ) -> None:
        self._loop = loop
        self._socket = sock
        self._fd = sock.fileno()
        self._stream = stream
        self._on_closed = on_closed
        self._out: deque[memoryview | bytearray] = deque()
        self._untaken = 0  # octets that waited when we last looked whether a lingering socket takes any
        self._is_reading = False
        self._is_writing = False
        self._is_flushing = False
        self._is_closed = False
        self._has_failed = False  # the socket; what it received before may still be read
        self._remote_eof = False  # the stream sends no more
        self._sent_eof = False  # the socket sends no more
        self._reason: EndReason | None = None

    def start(self) -> None:
        """Begin to pump."""
        self._stream.set_consumer(self)
        self._listen()

    def _listen(self) -> None:
        if not self._is_closed:
            self._resume()
            if not self._is_reading:
                self._loop.remove_reader(self._fd)  # of who had the socket before
            reset_watch(self._loop).watch(self._fd, self._in_error)

    def _in_error(self) -> None:
        """The socket was reset; the loop's reader may hear neither of that nor of what is left to read."""
        self._has_failed = True
        if self._is_reading:
            self._read()
        elif self._stream.closed is not None or self._stream.fin_queued:  # nothing is left to read
            self._broken(ConnectionResetError(errno.ECONNRESET, "reset"))
        # else there is no room: `writable` reads on

    def connected(self, address: str, ttl: int) -> None:
        """The exit reached the target; whoever opened the stream has told the application."""

    def data_received(self, data: memoryview) -> None:
        """Octets for the socket."""
        if self._is_closed:
            self._stream.consumed(len(data))
            return
        out = self._out
        if len(data) >= _SMALL:
            out.append(data)
        elif out and isinstance(last := out[-1], bytearray) and len(last) < _JOINED:
            last += data
        else:
            out.append(bytearray(data))
        if not self._is_flushing and not self._is_writing:
            self._is_flushing = True
            self._loop.call_soon(self._flush)

    def eof_received(self) -> None:
        """The other end of the stream sends no more: half-close the socket behind what waits."""
        self._remote_eof = True
        if not self._out:
            self._shutdown()

    def stream_closed(self, reason: EndReason) -> None:
        """The stream is over: write what waits, then close the socket."""
        self._reason = reason
        self._pause()
        if not self._out or reason is EndReason.RESET:
            self._close()
        else:
            self._linger()

    def _linger(self) -> None:
        """Close a socket that takes nothing more of what waits: no stream's credit bounds it any longer."""
        if self._is_closed:
            return
        untaken = sum(map(len, self._out))
        if untaken == self._untaken:
            self._reason = EndReason.RESET
            self._close()
            return
        self._untaken = untaken
        self._loop.call_later(LINGER_S, self._linger)

    def writable(self) -> None:
        """The stream has room again."""
        self._resume()
        self._read()

    def _resume(self) -> None:
        stream = self._stream
        if not self._is_reading and not self._is_closed and stream.closed is None and not stream.fin_queued:
            self._is_reading = True
            self._loop.add_reader(self._fd, self._read)

    def _pause(self) -> None:
        if self._is_reading:
            self._is_reading = False
            self._loop.remove_reader(self._fd)

    def _read(self) -> None:
        if not self._is_reading:
            return
        room = self._stream.room()
        if room <= 0:
            self._pause()
            return
        try:
            data = self._socket.recv(min(room, READ_SIZE))
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._broken(error)
            return
        if data:
            self._stream.write(data)
            if self._has_failed:
                self._loop.call_soon(self._read)
            return
        if self._has_failed:  # its error was taken by somebody else: this is no orderly end
            self._broken(ConnectionResetError(errno.ECONNRESET, "reset"))
            return
        self._pause()
        self._sent_eof = True
        self._stream.write_eof()

    def _flush(self) -> None:
        """Write what was gathered; keep what the socket does not take."""
        self._is_flushing = False
        if self._is_closed or not self._out:
            return
        try:
            taken = self._write_some()
        except OSError as error:
            self._broken(error)
            return
        if taken:
            self._stream.consumed(taken)
        if self._out:
            if not self._is_writing:
                self._is_writing = True
                self._loop.add_writer(self._fd, self._flush)
            return
        if self._is_writing:
            self._is_writing = False
            self._loop.remove_writer(self._fd)
        if self._reason is not None:
            self._close()
        elif self._remote_eof:
            self._shutdown()

    def _write_some(self) -> int:
        """Write until the socket takes no more; return how many octets it took."""
        out = self._out
        taken = 0
        try:
            while out:
                if len(out) == 1:
                    sent = self._socket.send(out[0])
                else:
                    sent = send_parts(self._socket, list(islice(out, MAX_BUFFERS)))
                taken += sent
                if not _drop_octets(out, sent):
                    break
        except (BlockingIOError, InterruptedError):
            pass
        return taken

    def _shutdown(self) -> None:
        if not self._is_closed:
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError as error:
                self._broken(error)

    def _broken(self, error: OSError) -> None:
        """The socket failed: end the stream behind what was read."""
        reason = EndReason.RESET if error.errno in _RESET else EndReason.CLOSING
        self._out.clear()
        stream = self._stream
        self._close()
        stream.close(reason, sends_first=True)

    def _close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._is_reading = False
        self._loop.remove_reader(self._fd)  # ours, or of who had the socket before
        if self._is_writing:
            self._is_writing = False
            self._loop.remove_writer(self._fd)
        self._out.clear()
        reason = self._reason if self._reason is not None else EndReason.RESET
        if reason is not EndReason.DONE:  # by RST: what was cut off must not look complete
            with suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        reset_watch(self._loop).forget(self._fd)
        self._socket.close()
        if self._on_closed is not None:
            self._on_closed(reason)


def _drop_octets(out: deque[memoryview | bytearray], count: int) -> bool:
    """Drop `count` octets from the front; return whether whole pieces went, so that more may go."""
    while out and count >= len(out[0]):
        count -= len(out.popleft())
    if count:
        out[0] = memoryview(out[0])[count:]
        return False
    return True


def bridge(
    loop: asyncio.AbstractEventLoop,
    sock: socket.socket,
    stream: Stream,
    early: bytes = b"",
    on_closed: Callable[[EndReason], None] | None = None,
) -> SocketBridge:
    """Join a connected non-blocking socket to a stream; the bridge owns both from now on.

    Args:
        loop: the event loop whose thread this is.
        sock: connected, non-blocking; TCP_NODELAY is the caller's business.
        stream: open or opening; octets may be sent at once.
        early: octets already read from the socket, sent first.
        on_closed: called once when both are closed, with the stream's end reason.

    Returns:
        The running bridge; nothing more needs to be done with it.
    """
    made = SocketBridge(loop, sock, stream, on_closed)
    if early:
        stream.write(early)
    made.start()
    return made
