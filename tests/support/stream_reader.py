"""A client's end of a stream that keeps what comes."""

import asyncio

from vigilnet.traffic.stream.stream import Stream
from vigilnet.traffic.stream.wire import EndReason


class Reader:
    """A client's end: gathers what comes."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.octets = b""
        self.reason: EndReason | None = None
        self._changed = asyncio.Event()
        stream.set_consumer(self)

    def connected(self, address: str, ttl: int) -> None:
        self.address = address

    def data_received(self, data: memoryview) -> None:
        self.octets += data
        self.stream.consumed(len(data))
        self._changed.set()

    def eof_received(self) -> None:
        self._changed.set()

    def stream_closed(self, reason: EndReason) -> None:
        self.reason = reason
        self._changed.set()

    def writable(self) -> None:
        pass

    async def wait_end(self) -> bytes:
        async with asyncio.timeout(30):
            while self.reason is None:
                self._changed.clear()
                await self._changed.wait()
        return self.octets

    async def wait_octets(self, count: int) -> bytes:
        async with asyncio.timeout(30):
            while len(self.octets) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.octets
