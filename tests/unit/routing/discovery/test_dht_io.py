"""A relay in the DHT: what it shows, what it believes, and what others can make it do."""

import asyncio
from collections.abc import Awaitable, Callable

from tests.support.memory_dht import MemoryDht, MemoryEngine
from tests.support.records import RecordMaker
from tests.support.virtual_loop import WALL_START, VirtualClock, VirtualLoop, run
from vigilnet.peer.descriptor import PeerRecord
from vigilnet.peer.sources import Source
from vigilnet.peer.view import PeerView
from vigilnet.routing.discovery.dht import RELAY_TAG, SHARDS, identity_key, keys_of, tag_key
from vigilnet.routing.discovery.dht_io import (
    EXPLORE_S,
    JOIN_S,
    MAX_GETS,
    MAX_JOIN_S,
    MAX_TRIED,
    DhtService,
)

NOW = int(WALL_START)


class Relay:
    """One relay, its table and its service."""

    def __init__(self, dht: MemoryDht, clock: VirtualClock, name: str = "own") -> None:
        self.maker = RecordMaker(name)
        self.own: PeerRecord | None = self.maker.record(NOW)
        self.view = PeerView(work_bits=0, own=self.maker.identity.public)
        self.engine: MemoryEngine = dht.engine()
        self.nodes: list[tuple[str, int]] = []
        self.offered: list[Source] = []

        def take(encoded: bytes, source: Source) -> PeerRecord | None:
            self.offered.append(source)
            return self.view.offer(encoded, source, clock.wall(), clock.now()).record

        self.service = DhtService(
            self.engine, take, lambda: self.nodes, lambda: self.own, clock, lambda size: b"\x80" * size, ""
        )


def scenario(test: Callable[[MemoryDht, Relay], Awaitable[None]]) -> None:
    loop = VirtualLoop()

    async def main() -> None:
        dht = MemoryDht()
        relay = Relay(dht, VirtualClock(loop))
        await test(dht, relay)
        await relay.service.close()
        assert relay.engine.is_closed
        assert relay.service._tasks.failures == []

    run(main(), loop)


def put(dht: MemoryDht, key: bytes, *values: bytes) -> None:
    """Somebody's values."""
    dht.values[key] += [(None, value) for value in values]


def test_its_record_is_under_all_its_keys_and_the_new_one_replaces_the_old() -> None:
    async def test(dht: MemoryDht, relay: Relay) -> None:
        relay.service.start()
        old = relay.own
        assert old is not None
        for key in keys_of(old):
            assert dht.under(key) == [old.encoded]
        relay.own = relay.maker.record(NOW + 10)
        relay.service.own_changed()
        for key in keys_of(relay.own):
            assert dht.under(key) == [relay.own.encoded]
        relay.own = None
        relay.service.own_changed()
        assert not any(dht.values.values())

    scenario(test)


def test_good_records_are_found_and_junk_of_others_is_left_out() -> None:
    async def test(dht: MemoryDht, relay: Relay) -> None:
        good = RecordMaker("good").record(NOW)
        key = identity_key(good.identity)
        forged = bytes([*good.encoded[:-1], good.encoded[-1] ^ 1])
        other = RecordMaker("other").record(NOW)
        expired = RecordMaker("good").record(NOW - 200_000)
        put(
            dht, key, b"junk", forged, other.encoded, expired.encoded, bytes(5000), good.encoded, good.encoded
        )
        assert await relay.service.find(key) == [good]
        assert relay.view.get(good.identity) == good
        assert len({source.key for source in relay.offered}) == 1
        assert {source.name for source in relay.offered} == {"dht"}

    scenario(test)


def test_each_get_is_a_source_of_its_own() -> None:
    async def test(dht: MemoryDht, relay: Relay) -> None:
        good = RecordMaker("good").record(NOW)
        for _ in range(2):
            put(dht, identity_key(good.identity), b"junk")
            await relay.service.find(identity_key(good.identity))
        assert len({source.key for source in relay.offered}) == 2

    scenario(test)


def test_it_answers_for_itself() -> None:
    async def test(dht: MemoryDht, relay: Relay) -> None:
        assert relay.own is not None
        assert await relay.service.find(identity_key(relay.own.identity)) == [relay.own]

    scenario(test)


def test_only_so_many_look_ups_run_at_once() -> None:
    async def test(dht: MemoryDht, relay: Relay) -> None:
        relay.engine.answer_s = 3.0
        good = RecordMaker("good").record(NOW)
        key = identity_key(good.identity)
        put(dht, key, good.encoded)
        async with asyncio.TaskGroup() as group:
            finds = [group.create_task(relay.service.find(key)) for _ in range(MAX_GETS + 3)]
        assert sum(find.result() == [] for find in finds) >= 3
        assert relay.service.lookups == MAX_GETS
        assert relay.service._gets == 0

    scenario(test)


def test_it_tries_to_join_now_and_then_until_it_has() -> None:
    async def test(dht: MemoryDht, relay: Relay) -> None:
        relay.service.start()
        await asyncio.sleep(3 * JOIN_S)
        assert relay.engine.tried == []
        relay.nodes = [("10.0.0.1", number) for number in range(1, 20)]
        await asyncio.sleep(JOIN_S + 0.1)
        assert relay.engine.tried == relay.nodes[:MAX_TRIED]
        await asyncio.sleep(3600)
        assert len(relay.engine.tried) <= MAX_TRIED * (3600 / MAX_JOIN_S + 10)
        for values in dht.values.values():
            values.clear()  # put when nobody heard it
        relay.engine.joined = True
        await asyncio.sleep(MAX_JOIN_S)
        assert relay.own is not None
        assert dht.under(identity_key(relay.own.identity)) == [relay.own.encoded]
        tried = len(relay.engine.tried)
        await asyncio.sleep(3600)
        assert len(relay.engine.tried) == tried

    scenario(test)


def test_it_looks_at_a_part_of_all_relays_now_and_then() -> None:
    async def test(dht: MemoryDht, relay: Relay) -> None:
        relay.service.start()
        lost = RecordMaker("lost").record(NOW)
        put(dht, tag_key(RELAY_TAG, 0x80 % SHARDS), lost.encoded)
        await asyncio.sleep(EXPLORE_S * 1.1)
        assert relay.service.lookups == 1
        assert relay.view.get(lost.identity) == lost

    scenario(test)
