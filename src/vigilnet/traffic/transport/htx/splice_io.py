"""One connection joined to another, octet for octet, close for close (docs/spec/htx.md section 7).

FIN is passed on as FIN, with the other direction left open; RST as RST. Nothing here times out: the two ends
decide. What one end does not take makes us stop reading from the other.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Final

from vigilnet.traffic.transport.resets_io import reset_watch

HIGH_WATER: Final = 256 * 1024  # unsent for one end: then the other is not read
READ_SIZE: Final = 64 * 1024
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class End:
    """One socket of a pair; non-blocking.

    Args:
        sock: connected.
        loop: drives it.
        on_data: takes octets; on_eof: it will send no more; on_reset: it is broken (called once, last).
    """

    def __init__(
        self,
        sock: socket.socket,
        loop: asyncio.AbstractEventLoop,
        on_data: Callable[[bytes], None],
        on_eof: Callable[[], None],
        on_reset: Callable[[], None],
    ) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._fd = sock.fileno()
        self._loop = loop
        self._on_data = on_data
        self._on_eof = on_eof
        self._on_reset = on_reset
        self._unsent = bytearray()
        self._is_reading = False
        self._ends_when_sent = False
        self.on_room: Callable[[], None] = lambda: None
        self.has_ended = False  # it sends no more
        self.is_shut = False  # we send no more
        self.is_closed = False

    def watch(self) -> None:
        """Hear of resets from now on; what is urgent comes before."""
        if not self.is_closed:
            reset_watch(self._loop).watch(self._fd, self._in_error)

    @property
    def is_full(self) -> bool:
        """Whether more than the high-water mark waits to be sent."""
        return len(self._unsent) > HIGH_WATER

    def read(self, *, is_wanted: bool) -> None:
        """Start or stop reading."""
        is_wanted = is_wanted and not self.is_closed and not self.has_ended
        if is_wanted == self._is_reading:
            return
        self._is_reading = is_wanted
        if is_wanted:
            self._loop.add_reader(self._fd, self.receive)
        else:
            self._loop.remove_reader(self._fd)

    def receive(self) -> None:
        """Take what has come by now, and a FIN right behind it: a turn of the loop shows to a prober."""
        if not self.is_closed and self._receive() and self._is_reading:
            self._receive()

    def _receive(self) -> bool:
        """Read once; return whether octets came."""
        try:
            data = self._sock.recv(READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            self._broken()
            return False
        if data:
            self._on_data(data)
            return True
        self.has_ended = True
        self._is_reading = False
        self._loop.remove_reader(self._fd)
        self._on_eof()
        return False

    def _in_error(self) -> None:
        """A reset came: take what came before it, then pass it on."""
        while not self.is_closed and not self.has_ended and self._receive():
            pass
        self._broken()

    def write(self, data: bytes | bytearray) -> None:
        """Send `data` in order, at once as far as the system takes it."""
        if self.is_closed or self.is_shut or not data:
            return
        if self._unsent:
            self._unsent += data
            return
        sent = self._send(data)
        if sent is None:
            return
        if sent < len(data):
            self._unsent += data[sent:]
            self._loop.add_writer(self._fd, self._on_writable)

    def _send(self, data: bytes | bytearray) -> int | None:
        try:
            return self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self._loop.call_soon(self._broken)
            return None

    def _on_writable(self) -> None:
        sent = self._send(self._unsent)
        if sent is None:
            return
        was_full = self.is_full
        del self._unsent[:sent]
        if was_full and not self.is_full:
            self.on_room()
        if not self._unsent and not self.is_closed:
            self._loop.remove_writer(self._fd)
            if self._ends_when_sent:
                self._shut()

    def write_eof(self) -> None:
        """Pass on that no more comes, behind what waits."""
        if self._unsent:
            self._ends_when_sent = True
        else:
            self._shut()

    def _shut(self) -> None:
        if self.is_closed or self.is_shut:
            return
        self.is_shut = True
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._loop.call_soon(self._broken)
            return
        self.on_room()

    def _broken(self) -> None:
        if not self.is_closed:
            self.close()
            self._on_reset()

    def reset(self) -> None:
        """Close with RST."""
        if not self.is_closed:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.close()

    def close(self) -> None:
        """Close; the system sends what it has taken."""
        if self.is_closed:
            return
        self._detach()
        self._sock.close()

    def release(self) -> tuple[socket.socket, bytes]:
        """Give the socket away, with what waits to be sent."""
        self._detach()
        return self._sock, bytes(self._unsent)

    def _detach(self) -> None:
        self.is_closed = True
        self._is_reading = False
        reset_watch(self._loop).forget(self._fd)
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
