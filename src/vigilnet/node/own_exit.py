"""A lone exit that serves its own applications: what qnet's super peer does, with `--compat` alone.

An exit that knows no relay cannot build a circuit. qnet's helper then lets its own applications out by
itself, and scripts rely on it. Those streams cross no hop and hide nothing: whoever runs an exit asks for it
by `--compat`. As soon as one relay is known, they take circuits like everybody's.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from vigilnet.base.clock import Clock
from vigilnet.base.safelog import get_logger
from vigilnet.base.tasks import TaskGroup
from vigilnet.traffic.cell import CELL_SIZE, RUN_AT
from vigilnet.traffic.exit.service import ExitService
from vigilnet.traffic.ingress.begun_io import BegunByTask
from vigilnet.traffic.ingress.ports import Dialler, Opening, StreamTold
from vigilnet.traffic.stream.datagrams import DatagramFlow
from vigilnet.traffic.stream.messages import Resolve, Resolved, Target
from vigilnet.traffic.stream.mux import StreamMux
from vigilnet.traffic.stream.outbox import MuxOptions
from vigilnet.traffic.stream.stream import Stream, StreamEndedError
from vigilnet.traffic.stream.wire import AREA_AT, AREA_SIZES, EndReason, split_area

OPEN_S: Final = 20.0
ROUNDS: Final = 64  # records each way before others on the event loop have their turn
TAG_SIZE: Final = 16

_log = get_logger(__name__)


class OwnExit:
    """Serves `ingress.ports.Dialler`: by circuits, or by our own exit while no relay is known.

    Args:
        circuits: the pool.
        exits: our exit.
        knows_relays: whether there is anybody to build circuits with.
        options: windows of the streams.
        clock: time.
    """

    def __init__(
        self,
        circuits: Dialler,
        exits: ExitService,
        knows_relays: Callable[[], bool],
        options: MuxOptions,
        clock: Clock,
    ) -> None:
        self._circuits = circuits
        self._exits = exits
        self._knows_relays = knows_relays
        self._options = options
        self._clock = clock
        self._wire: _Wire | None = None
        self._tasks = TaskGroup("own exit")

    async def open_stream(self, target: Target, isolation: str, early: bytes = b"") -> Stream:
        """Return a stream once the target is reached; see `Dialler`."""
        if self._knows_relays():
            return await self._circuits.open_stream(target, isolation, early)
        if self._wire is None or self._wire.is_broken:
            _log.warning("no relay known: this node's own applications leave by its own exit, without a hop")
            self._wire = _Wire(self._exits, self._options, self._clock)
        stream = self._wire.client.open_stream(target, early)
        reason = await _wait_open(stream)
        if reason is not None:
            raise StreamEndedError(reason)
        return stream

    def begin_stream(self, target: Target, isolation: str, early: bytes, told: StreamTold) -> Opening:
        """Open a stream; see `Dialler`."""
        if self._knows_relays():
            return self._circuits.begin_stream(target, isolation, early, told)
        return BegunByTask(self._tasks, self.open_stream(target, isolation, early), told)

    async def resolve(self, request: Resolve, isolation: str) -> Resolved:
        """Return what an exit's resolver says; through circuits alone."""
        return await self._circuits.resolve(request, isolation)

    async def open_datagrams(self, isolation: str) -> DatagramFlow:
        """Return a flow for UDP; through circuits alone."""
        return await self._circuits.open_datagrams(isolation)

    def close(self) -> None:
        """End what runs."""
        self._tasks.cancel()
        if self._wire is not None:
            self._wire.close()


async def _wait_open(stream: Stream) -> EndReason | None:
    """Wait until the exit answers; None means open."""
    answered: asyncio.Future[EndReason | None] = asyncio.get_running_loop().create_future()

    def on_answer(reason: EndReason | None) -> None:
        if not answered.done():
            answered.set_result(reason)

    stream.on_opened = on_answer
    try:
        async with asyncio.timeout(OPEN_S):
            reason = await answered
    except TimeoutError:
        reason = EndReason.TIMEOUT
    except asyncio.CancelledError:
        stream.close(EndReason.RESET)
        raise
    finally:
        stream.on_opened = None
    if reason is not None:
        stream.close(reason)
    return reason


class _Wire:
    """Two muxes whose records reach each other at once: a circuit without hops."""

    def __init__(self, exits: ExitService, options: MuxOptions, clock: Clock) -> None:
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._pumping: asyncio.Handle | None = None
        self.is_broken = False
        ends = _End(self), _End(self)
        self.client = StreamMux(ends[0], options, clock.now, acceptor=None, is_client=True)
        self.exit = StreamMux(ends[1], options, clock.now, acceptor=exits, is_client=False)
        self._ways = ((self.client, self.exit, ends[0]), (self.exit, self.client, ends[1]))

    def wake(self) -> None:
        """Move what waits, soon."""
        if self._pumping is None and not self.is_broken:
            self._pumping = self._loop.call_soon(self._pump)

    def wake_later(self, delay: float) -> None:
        """Move what waits after a moment."""
        self._loop.call_later(delay, self.wake)

    def _pump(self) -> None:
        self._pumping = None
        for _ in range(ROUNDS):
            if not sum([self._move(*way) for way in self._ways]):
                return
        self.wake()

    def _move(self, sender: StreamMux, receiver: StreamMux, end: "_End") -> bool:
        frame = None if self.is_broken else sender.pull(self._clock.now())
        if frame is None:
            return False
        cells = (len(frame) - RUN_AT) // CELL_SIZE
        area = frame[AREA_AT : AREA_AT + AREA_SIZES[cells]]
        receiver.receive(split_area(area), end.tag, cells, self._clock.now())
        return True

    def close(self) -> None:
        """End everything."""
        if not self.is_broken:
            self.is_broken = True
            self.client.close()
            self.exit.close()


class _End:
    """Serves `outbox.Carriage`."""

    def __init__(self, wire: _Wire) -> None:
        self._wire = wire
        self._sealed = 0

    @property
    def tag(self) -> bytes:
        """The tag of the record made last."""
        return self._sealed.to_bytes(TAG_SIZE)

    def new_record(self, cells: int) -> memoryview:
        """Return a zeroed record."""
        return memoryview(bytearray(RUN_AT + CELL_SIZE * cells))

    def seal(self, record: memoryview, cells: int) -> tuple[memoryview, bytes]:
        """Return the record as it is: it never leaves this process."""
        del cells
        self._sealed += 1
        return record, self.tag

    def wake(self) -> None:
        """Something is to be sent."""
        self._wire.wake()

    def wake_later(self, delay: float) -> None:
        """Look again later."""
        self._wire.wake_later(delay)

    def failed(self, error: Exception) -> None:
        """A bug: end all of it."""
        _log.failure("own exit failed, this is a bug: please report it", error)
        self._wire.close()
