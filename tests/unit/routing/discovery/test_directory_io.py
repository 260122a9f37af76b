"""A directory at work: one request a stream, its answer at the reader's pace, no more than it can bear."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.support.directory_pair import DirectoryPair
from tests.support.targets import Reader
from tests.support.virtual_loop import VirtualClock, VirtualLoop, run
from vigilnet.routing.discovery.dht import Lookup
from vigilnet.routing.discovery.directory import AnswerReader, Fetch
from vigilnet.routing.discovery.directory_io import (
    ANSWER_BURST,
    MAX_OF_CIRCUIT,
    MAX_SERVED,
    SERVE_S,
    DirectoryServer,
)
from vigilnet.routing.discovery.wire import Item, ItemType
from vigilnet.traffic.stream.wire import EndReason

ITEMS = [Item(ItemType.RECORD, bytes([n % 256]) * 900) for n in range(1000)]


class Setting:
    def __init__(self, loop: VirtualLoop, items: list[Item]) -> None:
        self.asked: list[Fetch] = []

        def choose(request: Fetch) -> list[Item]:
            self.asked.append(request)
            return items

        self.server = DirectoryServer(choose, VirtualClock(loop))
        self.pair = DirectoryPair(self.server.begin)

    def another_circuit(self) -> None:
        """Ask by another one from now on."""
        self.pair = DirectoryPair(self.server.begin)

    def ask(self, octets: bytes, *, takes: bool = True, ends: bool = True) -> Reader:
        stream = self.pair.open()
        reader = Reader(stream, takes)
        stream.set_consumer(reader)
        stream.write(octets)
        if ends:
            stream.write_eof()
        return reader


def play(scenario: Callable[[Setting], Awaitable[None]], items: list[Item] | None = None) -> None:
    loop = VirtualLoop()

    async def main() -> None:
        await scenario(Setting(loop, ITEMS if items is None else items))

    run(main(), loop)


def test_an_answer_of_900_kb_arrives_whole_and_ends() -> None:
    async def scenario(net: Setting) -> None:
        reader = net.ask(Fetch(0, 7).encode())
        await asyncio.sleep(1)
        assert net.asked == [Fetch(0, 7)]
        assert list(AnswerReader().feed(bytes(reader.data))) == ITEMS
        assert reader.has_eof
        assert reader.ended is EndReason.DONE
        assert not net.server._served

    play(scenario)


def test_a_request_may_come_in_pieces() -> None:
    async def scenario(net: Setting) -> None:
        octets = Fetch().encode()
        reader = net.ask(octets[:4], ends=False)
        await asyncio.sleep(0.1)
        reader.stream.write(octets[4:])
        reader.stream.write_eof()
        await asyncio.sleep(0.1)
        assert reader.has_eof

    play(scenario, ITEMS[:3])


@pytest.mark.parametrize("octets", [b"hello", b"x" * 9, Fetch().encode() + b"x", b"", b"y" * 5000])
def test_what_is_no_request_ends_the_stream(octets: bytes) -> None:
    async def scenario(net: Setting) -> None:
        reader = net.ask(octets)
        await asyncio.sleep(0.1)
        assert reader.ended is EndReason.REFUSED
        assert not net.server._served

    play(scenario)


def test_an_empty_answer_ends_at_once() -> None:
    async def scenario(net: Setting) -> None:
        reader = net.ask(Fetch().encode())
        await asyncio.sleep(0.1)
        assert reader.has_eof
        assert not reader.data

    play(scenario, [])


def test_who_does_not_read_is_let_go_after_two_minutes() -> None:
    async def scenario(net: Setting) -> None:
        reader = net.ask(Fetch().encode(), takes=False)
        silent = net.ask(b"", ends=False)
        await asyncio.sleep(SERVE_S + 1)
        assert reader.ended is EndReason.TIMEOUT
        assert silent.ended is EndReason.TIMEOUT
        assert not net.server._served

    play(scenario)


def test_no_more_are_served_at_once_than_it_can_bear() -> None:
    async def scenario(net: Setting) -> None:
        readers = []
        for _ in range(MAX_SERVED + 10):
            net.another_circuit()
            readers.append(net.ask(b"", ends=False))
            await asyncio.sleep(1)
        assert sum(reader.ended is EndReason.LIMIT for reader in readers) == 10

    play(scenario)


def test_answers_are_limited_in_time() -> None:
    async def scenario(net: Setting) -> None:
        readers = []
        for _ in range(100):
            net.another_circuit()
            readers.append(net.ask(Fetch().encode()))
        await asyncio.sleep(0.1)
        assert sum(reader.has_eof for reader in readers) == ANSWER_BURST
        assert net.server.answers == ANSWER_BURST

    play(scenario, ITEMS[:2])


def test_one_circuit_asks_only_so_often_and_others_go_on() -> None:
    async def scenario(net: Setting) -> None:
        readers = []
        for _ in range(2):
            for _ in range(MAX_OF_CIRCUIT + 3):
                readers.append(net.ask(Fetch().encode()))
                await asyncio.sleep(10)
            net.another_circuit()
        said = [reader.has_eof for reader in readers]
        assert said == ([True] * MAX_OF_CIRCUIT + [False] * 3) * 2

    play(scenario, ITEMS[:2])


def test_closing_ends_what_is_under_way() -> None:
    async def scenario(net: Setting) -> None:
        reader = net.ask(b"", ends=False)
        await asyncio.sleep(0.1)
        net.server.close()
        await asyncio.sleep(0.1)
        assert reader.ended is EndReason.CLOSING

    play(scenario)


def test_a_relay_that_is_not_in_the_dht_refuses_to_look_up() -> None:
    async def scenario(net: Setting) -> None:
        reader = net.ask(Lookup(bytes(20)).encode())
        await asyncio.sleep(0.1)
        assert reader.ended is EndReason.REFUSED

    play(scenario)


def test_a_client_that_does_not_wait_for_the_dht_is_forgotten() -> None:
    async def scenario(net: Setting) -> None:
        async def look_up(key: bytes) -> list[Item]:
            await asyncio.sleep(3)
            return ITEMS[:1]

        net.server._look_up = look_up
        reader = net.ask(Lookup(bytes(20)).encode())
        await asyncio.sleep(1)
        reader.stream.close(EndReason.DONE)
        await asyncio.sleep(5)
        assert not net.server._served
        assert net.server._tasks.failures == []
        assert len(net.server._tasks) == 0
        reader = net.ask(Lookup(bytes(20)).encode())
        await asyncio.sleep(5)
        assert list(AnswerReader().feed(bytes(reader.data))) == ITEMS[:1]

    play(scenario)
