"""A pipe between a carrier and a program's connection, until either closes."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Final

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.base.tasks import TaskGroup
from vigilnet.traffic.link.pipe import DATA_COST, PART_COST, PLAN_COST, Pipe, PipeState
from vigilnet.traffic.transport.carrier import Carrier, RecordShaper, ShapedCarrier

HANDSHAKE_S: Final = 15.0
LEAVE_S: Final = 15.0  # for a program to read what is left
CHUNK: Final = 64_000
BUFFER_SIZE: Final = 64 * 1024
FULL_LENGTH: Final = 16_401
FULL_ROOM: Final = FULL_LENGTH - PART_COST - DATA_COST
MIN_PLAN_ROOM: Final = 32
RECORDS_PER_TURN: Final = 24


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
        self._shaped = carrier if isinstance(carrier, ShapedCarrier) and carrier.is_shaped() else None
        self._shaper: RecordShaper | None = None
        self._timer: asyncio.TimerHandle | None = None
        pipe.is_shaped = self._shaped is not None

    def receive_buffer(self) -> memoryview:
        """As `CarrierUser` says."""
        return self._buffer

    def octets_received(self, count: int) -> None:
        """As `CarrierUser` says."""
        try:
            self._received += self._pipe.receive(self._buffer[:count], self._now())
            self._tell_shaper()
            self._flush()  # it may take the shaper over, and tell it what came before
        except RemoteProtocolError:
            self._leave()
            self._is_closed = True
        self._news.set()

    def carrier_writable(self) -> None:
        """As `CarrierUser` says."""
        self._is_writable = True
        self._flush()
        self._news.set()

    def carrier_closed(self, error: OSError | None) -> None:
        """As `CarrierUser` says."""
        del error
        self._is_closed = True
        self._disarm()
        self._news.set()

    def _flush(self) -> None:
        parts = self._pipe.data_to_send()
        if parts and not self._is_closed:
            self._is_writable = self._carrier.write(parts)
        if self._shaped is not None and self._take_over() is not None:
            self._send_due()

    # --- where the carrier decides on sizes and times -------------------------------------------

    def _take_over(self) -> RecordShaper | None:
        """Return the shaper once it is ours, with what came before."""
        if self._shaper is None and self._shaped is not None and self._pipe.state is PipeState.OPEN:
            self._shaper = self._shaped.take_shaper()
            self._tell_shaper()
        return self._shaper

    def _tell_shaper(self) -> None:
        shaper, arrived = self._shaper, self._pipe.arrived
        if shaper is None:
            return
        shaper.other_waits = arrived.more
        if arrived.plan:
            plan = bytes(arrived.plan)
            arrived.plan.clear()
            shaper.plan_received(plan)
        if arrived.extra:
            shaper.extra_received(arrived.extra, self._now())
            arrived.extra = 0
        if arrived.planned:
            shaper.received(arrived.planned, self._now())
            arrived.planned = 0

    def _send_due(self) -> None:
        """Send the records that are due, each by itself."""
        self._disarm()
        shaper, now = self._shaper, self._now()
        if shaper is None or self._is_closed or not self._is_writable:
            return
        for _ in range(RECORDS_PER_TURN):
            if not (records := self._next_record(shaper, now)):
                self._arm(shaper.deadline(), now)
                self._news.set()
                return
            for record in records:
                self._is_writable = self._carrier.write((record,))
            if not self._is_writable:
                return
        self._arm(now, now)

    def _next_record(self, shaper: RecordShaper, now: float) -> list[memoryview]:
        waiting = self._pipe.waiting
        if waiting >= FULL_ROOM and shaper.may_stream(now):
            shaper.streamed(1, FULL_ROOM, now)
            return self._pipe.cut(FULL_LENGTH, b"", now, is_extra=True)
        length = shaper.next_record(now, min(waiting, FULL_ROOM))
        if not length:
            return []
        plan = b""
        if shaper.has_plan and length >= PART_COST + PLAN_COST + MIN_PLAN_ROOM:
            plan = shaper.take_plan(length - PART_COST - PLAN_COST)
        return self._pipe.cut(length, plan, now, is_extra=shaper.is_extra)

    def _arm(self, due: float | None, now: float) -> None:
        if due is not None:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, due - now), self._send_due)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

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
            if up.done() and not up.cancelled():
                await self._wait_sent()
        finally:
            self._leave()
            await tasks.close()
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(LEAVE_S):
                    await writer.wait_closed()
            writer.transport.abort()

    async def _wait_sent(self) -> None:
        """Wait until what the program said last has left."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                await self._changed(lambda: not self._pipe.waiting)

    def _leave(self) -> None:
        self._disarm()
        self._shaper = self._shaped = None
        self._carrier.close()

    async def _carry_up(self, reader: asyncio.StreamReader) -> None:
        pipe = self._pipe
        while not self._is_closed:
            if not (pipe.room > 0 and self._is_writable):
                await self._changed(lambda: pipe.room > 0 and self._is_writable)
                continue
            data = await reader.read(min(CHUNK, pipe.room))
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
