"""A pipe between a carrier and a program's connection, until either closes."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Final

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.base.tasks import TaskGroup
from vigilnet.traffic.link.pipe import Pipe, PipeState
from vigilnet.traffic.transport.carrier import Carrier

HANDSHAKE_S: Final = 15.0
LEAVE_S: Final = 15.0  # for a program to read what is left
CHUNK: Final = 64_000
BUFFER_SIZE: Final = 64 * 1024


class PipeEnd:
    """Serves `CarrierUser` to the carrier; `opened` and `join` are for who made it.

    Args:
        carrier: connected, not started.
        pipe: our end.
        now: monotonic seconds.
    """

    def __init__(self, carrier: Carrier, pipe: Pipe, now: Callable[[], float]) -> None:
        self._carrier = carrier
        self._pipe = pipe
        self._now = now
        self._buffer = memoryview(bytearray(BUFFER_SIZE))
        self._received: deque[bytes] = deque()
        self._news = asyncio.Event()  # octets, credit, room, or the end
        self._is_writable = True
        self._is_closed = False

    def receive_buffer(self) -> memoryview:
        """As `CarrierUser` says."""
        return self._buffer

    def octets_received(self, count: int) -> None:
        """As `CarrierUser` says."""
        try:
            self._received += self._pipe.receive(self._buffer[:count], self._now())
        except RemoteProtocolError:
            self._carrier.close()
            self._is_closed = True
        self._flush()
        self._news.set()

    def carrier_writable(self) -> None:
        """As `CarrierUser` says."""
        self._is_writable = True
        self._news.set()

    def carrier_closed(self, error: OSError | None) -> None:
        """As `CarrierUser` says."""
        del error
        self._is_closed = True
        self._news.set()

    def _flush(self) -> None:
        parts = self._pipe.data_to_send()
        if parts and not self._is_closed:
            self._is_writable = self._carrier.write(parts)

    async def _wait(self) -> None:
        await self._news.wait()
        self._news.clear()

    async def opened(self) -> None:
        """Run the handshake.

        Raises:
            OSError: it failed, or took too long; the carrier is closed.
        """
        self._carrier.start(self)
        self._flush()
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                while self._pipe.state is PipeState.HANDSHAKE and not self._is_closed:
                    await self._wait()
        except BaseException:
            self._carrier.close()
            raise
        if self._pipe.state is not PipeState.OPEN:
            self._carrier.close()
            raise ConnectionAbortedError("pipe: no handshake")

    async def join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry octets both ways until either end closes; closes both."""
        tasks = TaskGroup("pipe")
        up = tasks.start("up", self._carry_up(reader))
        down = tasks.start("down", self._carry_down(writer))
        try:
            await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._carrier.close()
            await tasks.close()
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(LEAVE_S):
                    await writer.wait_closed()
            writer.transport.abort()

    async def _carry_up(self, reader: asyncio.StreamReader) -> None:
        pipe = self._pipe
        while not self._is_closed:
            if not (pipe.credit and self._is_writable):
                await self._changed(lambda: bool(pipe.credit) and self._is_writable)
                continue
            data = await reader.read(min(CHUNK, pipe.credit))
            if not data:
                return
            pipe.send(data, self._now())
            self._flush()

    async def _carry_down(self, writer: asyncio.StreamWriter) -> None:
        while True:
            while self._received:
                piece = self._received.popleft()
                writer.write(piece)
                await writer.drain()
                self._pipe.taken(len(piece), self._now())
                self._flush()
            if self._is_closed:
                return
            await self._changed(lambda: bool(self._received))

    async def _changed(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition()` is true or the carrier is closed; two tasks may wait at once."""
        while not condition() and not self._is_closed:
            news = self._news
            await news.wait()
            if self._news is news:
                self._news = asyncio.Event()
