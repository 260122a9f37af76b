"""TCP on loopback, both families and both event loops."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from vigilnet.traffic.transport.carrier import Carrier
from vigilnet.traffic.transport.tcp_io import TcpTransport

Runner = Callable[[Coroutine[Any, Any, None]], None]
RUNNERS: list[Runner] = [asyncio.run]
if sys.platform != "win32":
    import uvloop

    RUNNERS.append(uvloop.run)


class Keeper:
    """A CarrierUser that keeps what comes."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.closed: list[OSError | None] = []
        self.writable = 0
        self._buffer = memoryview(bytearray(65_536))

    def receive_buffer(self) -> memoryview:
        return self._buffer

    def octets_received(self, count: int) -> None:
        self.received += self._buffer[:count]

    def carrier_writable(self) -> None:
        self.writable += 1

    def carrier_closed(self, error: OSError | None) -> None:
        self.closed.append(error)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  # real sockets: nobody tells us
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("runner", RUNNERS)
def test_octets_arrive_in_order_and_close_is_told_once(runner: Runner, host: str) -> None:
    async def scenario() -> None:
        transport = TcpTransport()
        accepted: list[Carrier] = []
        listener = await transport.listen(host, 0, accepted.append)
        ours = await transport.dial(host, listener.port)
        await until(lambda: bool(accepted))
        here, there = Keeper(), Keeper()
        ours.start(here)
        accepted[0].start(there)
        assert ours.remote_host == host
        parts = [bytes((n,)) * 50_000 for n in range(60)]
        waits = 0
        for part in parts:  # far more than the kernel takes unsent
            if not ours.write([part[:10], memoryview(part)[10:]]):
                waits += 1
        await until(lambda: len(there.received) == 3_000_000)
        assert bytes(there.received) == b"".join(parts)
        assert waits == 0 or here.writable >= 1
        accepted[0].write([b"bye"])
        accepted[0].close()
        accepted[0].close()
        await until(lambda: bool(here.closed))
        assert bytes(here.received) == b"bye"
        ours.close()
        await until(lambda: bool(there.closed))
        assert (here.closed, there.closed) == ([None], [None])
        listener.close()
        listener.close()

    runner(scenario())
