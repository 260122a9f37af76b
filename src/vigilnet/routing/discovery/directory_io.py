"""A relay gives records to clients: serves the streams that ask for them (discovery.md section 6)."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Final
from weakref import WeakKeyDictionary

from vigilnet.base.clock import Clock
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.base.tasks import TaskGroup
from vigilnet.routing.discovery.dht import Lookup
from vigilnet.routing.discovery.directory import Fetch, parse_request
from vigilnet.routing.discovery.limits import Bucket
from vigilnet.routing.discovery.wire import Item, encode_frame, pack_items
from vigilnet.traffic.stream.stream import Stream
from vigilnet.traffic.stream.wire import EndReason

# Our choice.
MAX_SERVED: Final = 64  # at once
ANSWER_BURST: Final = 32.0
ANSWER_RATE: Final = 4.0  # a second: each may be some MB
SERVE_S: Final = 120.0
MAX_OF_CIRCUIT: Final = 4  # a client's circuit asks once; more cost whoever wants them circuits


class DirectoryServer:
    """Answers requests for records.

    Args:
        choose: gives the items that answer a request.
        clock: time.
        look_up: gives what the DHT has under a key; None where we are not in it.
    """

    def __init__(
        self,
        choose: Callable[[Fetch], Iterable[Item]],
        clock: Clock,
        look_up: Callable[[bytes], Awaitable[list[Item]]] | None = None,
    ) -> None:
        self._choose = choose
        self._look_up = look_up
        self._tasks = TaskGroup("directory")
        self._clock = clock
        self._bucket = Bucket(ANSWER_BURST, ANSWER_RATE, clock.now())
        self._served: set[_Answering] = set()
        self._asked: WeakKeyDictionary[object, int] = WeakKeyDictionary()  # by circuit
        self.answers = 0

    def begin(self, stream: Stream) -> None:
        """A client opened a stream for records."""
        asked = self._asked.get(stream.circuit, 0)
        is_full = len(self._served) >= MAX_SERVED or asked >= MAX_OF_CIRCUIT
        if is_full or not self._bucket.take(1, self._clock.now()):
            stream.close(EndReason.LIMIT)
            return
        self._asked[stream.circuit] = asked + 1
        answering = _Answering(stream, self)
        self._served.add(answering)
        stream.accept()
        stream.set_consumer(answering)

    def answer(self, request: Fetch | Lookup, answering: "_Answering") -> None:
        """Answer a request, now or once the DHT has."""
        self.answers += 1
        if isinstance(request, Fetch):
            answering.answer(self._choose(request))
        elif self._look_up is None:
            answering.stream.close(EndReason.REFUSED)
        else:
            self._tasks.start("look up", self._answer_later(self._look_up, request.key, answering))

    async def _answer_later(
        self, look_up: Callable[[bytes], Awaitable[list[Item]]], key: bytes, answering: "_Answering"
    ) -> None:
        answering.answer(await look_up(key))

    def ended(self, answering: "_Answering") -> None:
        """A stream is over."""
        self._served.discard(answering)

    def close(self) -> None:
        """End all streams."""
        self._tasks.cancel()
        for answering in list(self._served):
            answering.stream.close(EndReason.CLOSING)


class _Answering:
    """One stream: a request, then its answer; serves `StreamConsumer`."""

    def __init__(self, stream: Stream, server: DirectoryServer) -> None:
        self.stream = stream
        self._server = server
        self._request = bytearray()
        self._frames: Iterator[bytes] | None = None
        self._has_asked = self._is_over = False
        self._timer = asyncio.get_running_loop().call_later(SERVE_S, stream.close, EndReason.TIMEOUT)

    def connected(self, address: str, ttl: int) -> None:
        """Only a client hears this."""

    def data_received(self, data: memoryview) -> None:
        self.stream.consumed(len(data))
        if self._has_asked:
            self.stream.close(EndReason.REFUSED)
            return
        self._request += data
        try:
            request = parse_request(bytes(self._request))
        except RemoteProtocolError:
            self.stream.close(EndReason.REFUSED)
            return
        if request is not None:
            self._has_asked = True
            self._server.answer(request, self)

    def answer(self, items: Iterable[Item]) -> None:
        """Send the answer as fast as the client takes it."""
        if not self._is_over:
            self._frames = map(encode_frame, pack_items(items))
            self.writable()

    def eof_received(self) -> None:
        if not self._has_asked:
            self.stream.close(EndReason.REFUSED)

    def writable(self) -> None:
        while self._frames is not None and self.stream.room() > 0:
            frame = next(self._frames, b"")
            if frame:
                self.stream.write(frame)
            else:
                self._frames = None
                self.stream.write_eof()

    def stream_closed(self, reason: EndReason) -> None:
        self._timer.cancel()
        self._frames = None
        self._is_over = True
        self._server.ended(self)
