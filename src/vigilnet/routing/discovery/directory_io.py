"""A relay gives records to clients: serves the streams that ask for them (discovery.md section 6)."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from vigilnet.base.clock import Clock
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.routing.discovery.directory import REQUEST_SIZE, Fetch
from vigilnet.routing.discovery.limits import Bucket
from vigilnet.routing.discovery.wire import Item, encode_frame, pack_items
from vigilnet.traffic.stream.stream import Stream
from vigilnet.traffic.stream.wire import EndReason

# Our choice.
MAX_SERVED: Final = 64  # at once
ANSWER_BURST: Final = 32.0
ANSWER_RATE: Final = 4.0  # a second: each may be some MB
SERVE_S: Final = 120.0


class DirectoryServer:
    """Answers requests for records.

    Args:
        choose: gives the items that answer a request.
        clock: time.
    """

    def __init__(self, choose: Callable[[Fetch], list[Item]], clock: Clock) -> None:
        self._choose = choose
        self._clock = clock
        self._bucket = Bucket(ANSWER_BURST, ANSWER_RATE, clock.now())
        self._served: set[_Answering] = set()
        self.answers = 0

    def begin(self, stream: Stream) -> None:
        """A client opened a stream for records."""
        if len(self._served) >= MAX_SERVED or not self._bucket.take(1, self._clock.now()):
            stream.close(EndReason.LIMIT)
            return
        answering = _Answering(stream, self)
        self._served.add(answering)
        stream.accept()
        stream.set_consumer(answering)

    def choose(self, octets: bytes) -> deque[bytes]:
        """Return the frames that answer a request; raises RemoteProtocolError if it is none."""
        frames = pack_items(self._choose(Fetch.decode(octets)))
        self.answers += 1
        return deque(map(encode_frame, frames))

    def ended(self, answering: "_Answering") -> None:
        """A stream is over."""
        self._served.discard(answering)

    def close(self) -> None:
        """End all streams."""
        for answering in list(self._served):
            answering.stream.close(EndReason.CLOSING)


class _Answering:
    """One stream: a request, then its answer; serves `StreamConsumer`."""

    def __init__(self, stream: Stream, server: DirectoryServer) -> None:
        self.stream = stream
        self._server = server
        self._request = bytearray()
        self._frames: deque[bytes] | None = None
        self._timer = asyncio.get_running_loop().call_later(SERVE_S, stream.close, EndReason.TIMEOUT)

    def connected(self, address: str, ttl: int) -> None:
        """Only a client hears this."""

    def data_received(self, data: memoryview) -> None:
        self.stream.consumed(len(data))
        self._request += data
        if len(self._request) > REQUEST_SIZE or self._frames is not None:
            self.stream.close(EndReason.REFUSED)
        elif len(self._request) == REQUEST_SIZE:
            try:
                self._frames = self._server.choose(bytes(self._request))
            except RemoteProtocolError:
                self.stream.close(EndReason.REFUSED)
                return
            self.writable()

    def eof_received(self) -> None:
        if self._frames is None:
            self.stream.close(EndReason.REFUSED)

    def writable(self) -> None:
        while self._frames and self.stream.room() > 0:
            self.stream.write(self._frames.popleft())
        if self._frames is not None and not self._frames:
            self.stream.write_eof()

    def stream_closed(self, reason: EndReason) -> None:
        self._timer.cancel()
        self._frames = None
        self._server.ended(self)
