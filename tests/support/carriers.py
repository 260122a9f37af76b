"""Users of carriers for tests of transports, on real sockets."""

import asyncio
from collections.abc import Callable

from vigilnet.traffic.transport.carrier import Carrier


async def until(condition: Callable[[], bool]) -> None:
    """Wait until `condition()` is true: real sockets, nobody tells us."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def close_all(keepers: "list[Keeper]") -> None:
    """Close what is open, and wait until it is."""
    for keeper in keepers:
        if keeper.carrier is not None and not keeper.is_closed():
            keeper.carrier.close()
    await until(lambda: all(map(Keeper.is_closed, keepers)))


class Keeper:
    """A CarrierUser that keeps what comes."""

    def __init__(self, carrier: Carrier | None = None, buffer: int = 65_536) -> None:
        self.carrier = carrier
        self.received = bytearray()
        self.closed: list[OSError | None] = []
        self.writable = 0
        self._buffer = memoryview(bytearray(buffer))
        if carrier is not None:
            carrier.start(self)

    def is_closed(self) -> bool:
        return bool(self.closed)

    def receive_buffer(self) -> memoryview:
        return self._buffer

    def octets_received(self, count: int) -> None:
        assert 0 < count <= len(self._buffer)
        self.received += self._buffer[:count]

    def carrier_writable(self) -> None:
        self.writable += 1

    def carrier_closed(self, error: OSError | None) -> None:
        self.closed.append(error)

    async def wait_octets(self, count: int) -> bytes:
        """Wait for so many octets; take them."""
        await until(lambda: len(self.received) >= count or self.is_closed())
        taken = bytes(self.received[:count])
        del self.received[:count]
        return taken


class Echo(Keeper):
    """Sends back what comes."""

    def octets_received(self, count: int) -> None:
        assert self.carrier is not None
        self.carrier.write([bytes(self._buffer[:count])])
