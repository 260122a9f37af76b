"""Carriers in memory do what a test asks of them: cut, delay, change, lose, fill up, break."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.support.virtual_loop import VirtualLoop, run
from vigilnet.traffic.transport.carrier import Carrier
from vigilnet.traffic.transport.memory import CAPACITY, MemoryCarrier, MemoryHub, carrier_pair


class Keeper:
    """A CarrierUser that keeps what comes."""

    def __init__(self, room: int = 1 << 20) -> None:
        self.chunks: list[bytes] = []
        self.closed: list[OSError | None] = []
        self.writable = 0
        self._buffer = memoryview(bytearray(room))

    @property
    def received(self) -> bytes:
        return b"".join(self.chunks)

    def receive_buffer(self) -> memoryview:
        return self._buffer

    def octets_received(self, count: int) -> None:
        self.chunks.append(bytes(self._buffer[:count]))

    def carrier_writable(self) -> None:
        self.writable += 1

    def carrier_closed(self, error: OSError | None) -> None:
        self.closed.append(error)


Scenario = Callable[[VirtualLoop], Coroutine[Any, Any, None]]


def play(scenario: Scenario) -> None:
    loop = VirtualLoop()
    run(scenario(loop), loop)


def joined(loop: VirtualLoop, room: int = 1 << 20) -> tuple[MemoryCarrier, Keeper, MemoryCarrier, Keeper]:
    ours, theirs = carrier_pair(loop)
    here, there = Keeper(), Keeper(room)
    ours.start(here)
    theirs.start(there)
    return ours, here, theirs, there


def test_octets_arrive_in_chunks_of_the_size_asked_for() -> None:
    async def scenario(loop: VirtualLoop) -> None:
        ours, _, _, there = joined(loop, room=5)
        ours.outgoing.chunk = 7
        assert ours.write([b"0123456789", memoryview(b"abcdefgh")])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert there.chunks == [b"01234", b"56", b"789ab", b"cd", b"efgh"]
        assert ours.octets_sent == 18

    play(scenario)


def test_octets_arrive_late_and_in_order() -> None:
    async def scenario(loop: VirtualLoop) -> None:
        ours, _, _, there = joined(loop)
        ours.outgoing.delay_s = 0.5
        ours.write([b"one"])
        await asyncio.sleep(0.25)
        ours.write([b"two"])
        assert there.received == b""
        await asyncio.sleep(0.3)
        assert there.received == b"one"
        await asyncio.sleep(0.3)
        assert there.received == b"onetwo"

    play(scenario)


def test_many_octets_of_one_moment_keep_their_order() -> None:
    async def scenario(loop: VirtualLoop) -> None:
        ours, _, _, there = joined(loop)
        ours.outgoing.delay_s = 1.0
        ours.outgoing.chunk = 3
        ours.write([bytes(range(256))])
        ours.outgoing.delay_s = 0.5
        ours.write([b"end"])
        await asyncio.sleep(2)
        assert there.received == bytes(range(256)) + b"end"

    play(scenario)


def test_a_full_carrier_says_so_once_and_says_when_it_has_room() -> None:
    async def scenario(loop: VirtualLoop) -> None:
        ours, here, _, there = joined(loop)
        ours.outgoing.delay_s = 1.0
        assert ours.write([bytes(CAPACITY - 1)])
        assert not ours.write([b"x"])
        await asyncio.sleep(2)
        assert here.writable == 1
        assert len(there.received) == CAPACITY
        assert ours.write([b"x"])

    play(scenario)


def test_octets_are_changed_dropped_or_lost_on_request() -> None:
    async def scenario(loop: VirtualLoop) -> None:
        ours, _, _, there = joined(loop)
        ours.outgoing.tamper = bytes.swapcase
        ours.write([b"abc"])
        ours.outgoing.tamper = lambda _: b""
        ours.write([b"dropped"])
        ours.outgoing.tamper = None
        ours.outgoing.is_silent = True
        ours.write([b"lost"])
        ours.close()
        await asyncio.sleep(100)
        assert there.received == b"ABC"
        assert there.closed == []

    play(scenario)


def test_close_comes_after_what_was_written_and_once() -> None:
    async def scenario(loop: VirtualLoop) -> None:
        ours, here, theirs, there = joined(loop)
        ours.write([b"last words"])
        ours.close()
        ours.close()
        assert ours.write([b"too late"])
        await asyncio.sleep(0.01)
        assert there.received == b"last words"
        assert (here.closed, there.closed) == ([None], [None])
        theirs.close()
        await asyncio.sleep(0.01)
        assert (here.closed, there.closed) == ([None], [None])

    play(scenario)


def test_a_cut_is_an_error_at_both_ends() -> None:
    async def scenario(loop: VirtualLoop) -> None:
        ours, here, _, there = joined(loop)
        ours.write([b"under way"])
        ours.cut()
        await asyncio.sleep(0.01)
        assert there.received == b""
        assert isinstance(here.closed[0], ConnectionResetError)
        assert isinstance(there.closed[0], ConnectionResetError)

    play(scenario)


def test_octets_wait_for_a_user_that_starts_late() -> None:
    async def scenario(loop: VirtualLoop) -> None:
        ours, theirs = carrier_pair(loop)
        ours.write([b"early"])
        ours.close()
        await asyncio.sleep(0.01)
        there = Keeper()
        theirs.start(there)
        await asyncio.sleep(0.01)
        assert there.received == b"early"
        assert there.closed == [None]

    play(scenario)


def test_a_hub_joins_hosts_by_address_and_refuses_the_rest() -> None:
    async def scenario(loop: VirtualLoop) -> None:
        hub = MemoryHub(loop)
        accepted: list[Carrier] = []
        seen: list[tuple[MemoryCarrier, MemoryCarrier]] = []
        hub.on_pair = lambda ours, theirs: seen.append((ours, theirs))
        here, there = hub.transport("192.0.2.1"), hub.transport("192.0.2.2")
        listener = await there.listen("192.0.2.2", 0, accepted.append)
        with pytest.raises(OSError, match="in use"):
            await there.listen("192.0.2.2", listener.port, accepted.append)
        ours = await here.dial("192.0.2.2", listener.port)
        await asyncio.sleep(0)
        assert (ours.remote_host, accepted[0].remote_host) == ("192.0.2.2", "192.0.2.1")
        assert hub.pairs == seen
        hub.unreachable.add("192.0.2.2")
        with pytest.raises(ConnectionRefusedError):
            await here.dial("192.0.2.2", listener.port)
        hub.unreachable.clear()
        listener.close()
        listener.close()
        with pytest.raises(ConnectionRefusedError):
            await here.dial("192.0.2.2", listener.port)
        assert len(hub.dials) == 3

    play(scenario)
