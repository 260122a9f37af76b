"""Between a browser and an origin: notes when TLS records pass, and how long they are; opens none of them."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from vigilnet.base.tasks import TaskGroup
from vigilnet.traffic.transport.htx.recordings import Seen

APPLICATION: Final = 23
HEAD: Final = 5
CHUNK: Final = 64 * 1024
MAX_RECORDS: Final = 1000
MIN_CERTIFICATE: Final = 300  # octets of the largest record before the client's Finished: no resumption
CONNECT_S: Final = 15.0


@dataclass(frozen=True)
class Wire:
    """A wire to pretend: seconds one way, octets a second towards the browser; zeros for none."""

    delay_s: float = 0.0
    rate: float = 0.0


@dataclass
class Passed:
    """One connection as it was seen."""

    rtt: float
    records: list[tuple[float, int, int, int]] = field(default_factory=list)  # time, way, length, type
    _partial: tuple[bytearray, bytearray] = field(default_factory=lambda: (bytearray(), bytearray()))

    def take(self, octets: bytes, way: int, now: float) -> None:
        """Note the records that these octets complete."""
        buffer = self._partial[way < 0]
        buffer += octets
        at = 0
        while len(buffer) - at >= HEAD:
            length = int.from_bytes(buffer[at + 3 : at + HEAD], "big")
            if len(buffer) - at - HEAD < length:
                break
            if len(self.records) < MAX_RECORDS:
                self.records.append((now, way, length, buffer[at]))
            at += HEAD + length
        del buffer[:at]

    def visit(self) -> list[Seen]:
        """Return what followed the client's Finished, its time being 0; empty for a resumed session."""
        finished = next(
            (at for at, (_, way, _, kind) in enumerate(self.records) if way > 0 and kind == APPLICATION), -1
        )
        before = [
            length for _, way, length, kind in self.records[:finished] if way < 0 and kind == APPLICATION
        ]
        if finished < 0 or max(before, default=0) < MIN_CERTIFICATE:
            return []
        start = self.records[finished][0]
        return [Seen(at - start, way, length) for at, way, length, _ in self.records[finished + 1 :]]


class RecordingProxy:
    """A listener on loopback before one origin.

    Args:
        origin: host and port.
        wire: gives the wire of each connection.
        passed: hears of each connection that has ended.
    """

    def __init__(
        self, origin: tuple[str, int], wire: Callable[[], Wire], passed: Callable[[Passed], None]
    ) -> None:
        self._origin = origin
        self._wire = wire
        self._passed = passed
        self._server: asyncio.Server | None = None
        self._tasks = TaskGroup("recording")
        self.port = 0

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=CHUNK)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop; connections under way are told of."""
        if self._server is not None:
            self._server.close()
        await self._tasks.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.start("connection", self._connection(reader, writer))

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = self._wire()
        now = asyncio.get_running_loop().time
        began = now()
        try:
            async with asyncio.timeout(CONNECT_S):
                far_reader, far_writer = await asyncio.open_connection(*self._origin, limit=CHUNK)
        except (OSError, TimeoutError):
            writer.close()
            return
        passed = Passed(rtt=now() - began + 2 * wire.delay_s)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_carry(reader, far_writer, Wire(wire.delay_s), passed, 1))
                tasks.create_task(_carry(far_reader, writer, wire, passed, -1))
        finally:
            for end in (writer, far_writer):
                end.close()
            self._passed(passed)


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wire: Wire, passed: Passed, way: int
) -> None:
    """Carry one direction; the browser's end is where records are noted."""
    loop = asyncio.get_running_loop()
    free_at = loop.time()
    with contextlib.suppress(OSError):
        while octets := await reader.read(CHUNK if not wire.rate else max(1500, int(wire.rate / 500))):
            if way > 0:
                passed.take(octets, way, loop.time())
            free_at = max(free_at, loop.time()) + (len(octets) / wire.rate if wire.rate else 0.0)
            loop.call_later(
                max(0.0, free_at + wire.delay_s - loop.time()),
                _deliver,
                writer,
                octets,
                passed,
                way,
                loop.time,
            )
            if (ahead := free_at - loop.time()) > 0:
                await asyncio.sleep(ahead)
        await asyncio.sleep(wire.delay_s + 0.005)
        writer.write_eof()


def _deliver(
    writer: asyncio.StreamWriter, octets: bytes, passed: Passed, way: int, now: Callable[[], float]
) -> None:
    if writer.is_closing():
        return
    if way < 0:
        passed.take(octets, way, now())
    writer.write(octets)
