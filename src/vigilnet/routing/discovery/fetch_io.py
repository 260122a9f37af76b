"""A client learns of relays through circuits: asks one directory after the other (discovery.md section 6)."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from vigilnet.base.clock import Clock
from vigilnet.base.errors import ErrorKind, RemoteProtocolError, VigilnetError
from vigilnet.base.safelog import get_logger
from vigilnet.base.tasks import TaskGroup
from vigilnet.peer.offering import PAUSE_S, Course, Offering
from vigilnet.peer.sources import Source
from vigilnet.peer.view import Outcome, Verdict
from vigilnet.routing.discovery.directory import GRID_S, AnswerReader, Fetch
from vigilnet.routing.discovery.wire import Item, ItemType, decode_proof
from vigilnet.traffic.stream.stream import Stream
from vigilnet.traffic.stream.wire import EndReason

# Our choice.
FETCH_S: Final = 90.0  # for one answer
FIRST_WAIT_S: Final = 2.0  # after a failure, or while there are no paths; doubles
MAX_WAIT_S: Final = 3600.0
LEAST_AGAIN_S: Final = 3600.0  # between two fetches that worked: 1 to 3 h, by chance
SPREAD_AGAIN_S: Final = 7200.0
SETTLE_S: Final = 5.0  # from an answer to its effect: circuits can be built
LATER_S: Final = 0.25  # until more work is checked
MAX_PROOFS: Final = 256  # of one answer are looked at: each is two records to verify

_log = get_logger(__name__)


class FetchFailedError(VigilnetError):
    """A directory gave no answer, or a bad one; the text says why."""

    kind = ErrorKind.UNREACHABLE


class Table(Protocol):
    """What fetching needs of the peer table."""

    def offer(self, encoded: bytes, source: Source, wall: float, now: float) -> Verdict:
        """Judge a record."""
        ...

    def offer_proof(self, first: bytes, second: bytes, source: Source, wall: float, now: float) -> Verdict:
        """Judge a proof of equivocation."""
        ...


@dataclass(frozen=True)
class OpenDirectory:
    """A stream to a relay that gives records, and how to let its circuit go."""

    stream: Stream
    source: Source
    close: Callable[[], None]


class Fetcher:
    """Keeps a client's table fresh.

    Args:
        open_directory: builds a circuit to a relay of its choice; raises VigilnetError.
        table: the peer table.
        is_served: whether our circuits can be built from what we know.
        clock: time.
        random_bytes: chance.
    """

    def __init__(
        self,
        open_directory: Callable[[], Awaitable[OpenDirectory]],
        table: Table,
        is_served: Callable[[], bool],
        clock: Clock,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._open_directory = open_directory
        self._table = table
        self._is_served = is_served
        self._clock = clock
        self._random_bytes = random_bytes
        self._tasks = TaskGroup("fetch")
        self._wake = asyncio.Event()
        self._has_answer = False
        self.fetched = 0  # answers
        self.taken = 0  # records that were new
        self.last_error = ""

    def start(self) -> None:
        """Begin."""
        self._tasks.start("fetch", self._run())

    async def close(self) -> None:
        """Stop."""
        await self._tasks.close()

    def peers_changed(self) -> None:
        """A relay became known: if we wait for the first, wait no longer."""
        if not self._has_answer:
            self._wake.set()

    async def _run(self) -> None:
        since, tries = 0, 0
        while True:
            self._wake.clear()
            started = self._clock.wall()
            is_enough = False
            try:
                await self._fetch(Fetch(since))
                self._has_answer, self.last_error = True, ""
                since = max(0, int(started) // GRID_S * GRID_S - GRID_S)
                await asyncio.sleep(SETTLE_S)
                is_enough = self._is_served()
            except (VigilnetError, OSError) as error:
                self.last_error = str(error)
                _log.debug("no records from a directory", reason=str(error))
            if is_enough:
                tries, pause = 0, self._next_pause()
            else:
                pause = min(MAX_WAIT_S, FIRST_WAIT_S * 2.0 ** min(tries, 20))
                tries += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
                    tries = 0

    def _next_pause(self) -> float:
        return LEAST_AGAIN_S + int.from_bytes(self._random_bytes(4), "big") / 2**32 * SPREAD_AGAIN_S

    async def _fetch(self, request: Fetch) -> None:
        directory = await self._open_directory()
        items = await ask(directory, request.encode())
        await self._offer_all(items, directory.source)
        self.fetched += 1

    async def _offer_all(self, items: deque[Item], source: Source) -> None:
        """Offer what came, as fast as the table checks work.

        Raises:
            FetchFailedError: the directory gives what it cannot have checked.
        """
        offering, proofs = Offering(), 0
        while items:
            verdict = self._offer(items[0], source)
            course = offering.judged(verdict)
            if course is Course.LATER:
                await asyncio.sleep(LATER_S)
                continue
            proofs += items.popleft().type is ItemType.PROOF
            self.taken += verdict.is_accepted
            if course is Course.LEAVE:
                raise FetchFailedError("directory: gives records that are not good, or of no use")
            if course is Course.PAUSE:
                await asyncio.sleep(PAUSE_S)
            while proofs >= MAX_PROOFS and items and items[0].type is ItemType.PROOF:
                items.popleft()

    def _offer(self, item: Item, source: Source) -> Verdict:
        wall, now = self._clock.wall(), self._clock.now()
        if item.type is ItemType.RECORD:
            return self._table.offer(item.octets, source, wall, now)
        try:
            return self._table.offer_proof(*decode_proof(item.octets), source, wall, now)
        except RemoteProtocolError as error:
            return Verdict(Outcome.MALFORMED, str(error))


async def ask(directory: OpenDirectory, request: bytes) -> deque[Item]:
    """Return what a directory answers, and let its circuit go.

    Raises:
        FetchFailedError: no answer.
        RemoteProtocolError: a bad one.
    """
    reading = _Reading(directory.stream)
    try:
        directory.stream.set_consumer(reading)
        directory.stream.write(request)
        directory.stream.write_eof()
        async with asyncio.timeout(FETCH_S):
            await reading.wait_end()
    except TimeoutError:
        raise FetchFailedError("directory: does not answer in time") from None
    finally:
        directory.stream.close(EndReason.DONE)
        directory.close()
    return reading.items


class _Reading:
    """The client's end of one stream; serves `StreamConsumer`."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._reader = AnswerReader()
        self._end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.items: deque[Item] = deque()

    async def wait_end(self) -> None:
        """Wait for the answer's end; raises FetchFailedError or RemoteProtocolError."""
        await self._end

    def connected(self, address: str, ttl: int) -> None:
        """The relay serves records."""

    def data_received(self, data: memoryview) -> None:
        self._stream.consumed(len(data))
        try:
            self.items.extend(self._reader.feed(bytes(data)))
        except RemoteProtocolError as error:
            self._finish(error)
            self._stream.close(EndReason.RESET)

    def eof_received(self) -> None:
        cut = FetchFailedError("directory: the answer was cut")
        self._finish(None if self._reader.is_complete else cut)

    def writable(self) -> None:
        """The request always fits."""

    def stream_closed(self, reason: EndReason) -> None:
        self._finish(FetchFailedError(f"directory: refused ({reason.name.lower()})"))

    def _finish(self, error: VigilnetError | None) -> None:
        if self._end.done():
            return
        if error is None:
            self._end.set_result(None)
        else:
            self._end.set_exception(error)
