"""A relay in the DHT: shows its record, finds others, looks up for clients (discovery.md section 9)."""

import asyncio
from collections.abc import Callable
from typing import Final

from vigilnet.base.clock import Clock
from vigilnet.base.safelog import get_logger
from vigilnet.base.tasks import TaskGroup
from vigilnet.peer.descriptor import MAX_RECORD_SIZE, PeerRecord
from vigilnet.peer.sources import Source
from vigilnet.routing.discovery.dht import (
    MAX_VALUES,
    RELAY_TAG,
    SHARDS,
    DhtEngine,
    keys_of,
    only_fitting,
    tag_key,
)

# Our choice.
GET_S: Final = 5.0
MAX_GETS: Final = 16  # at once
JOIN_S: Final = 1.0  # between two tries to join, doubles
MAX_JOIN_S: Final = 300.0
LOOK_S: Final = 300.0  # whether anybody still answers
MAX_TRIED: Final = 8  # nodes tried at once
EXPLORE_S: Final = 600.0  # between two looks at a shard, by chance half to one and a half times

_log = get_logger(__name__)


class DhtService:
    """One relay in the DHT; make it inside the running loop.

    Args:
        engine: the DHT.
        take: offers a record to the peer table; returns it if it is good and the one to use.
        nodes: gives host and UDP port of relays that are in the DHT, in an order drawn by chance.
        own: gives our own record.
        clock: time.
        random_bytes: chance.
        network: name of a private network.
    """

    def __init__(
        self,
        engine: DhtEngine,
        take: Callable[[bytes, Source], PeerRecord | None],
        nodes: Callable[[], list[tuple[str, int]]],
        own: Callable[[], PeerRecord | None],
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        network: str,
    ) -> None:
        self._engine = engine
        self._take = take
        self._nodes = nodes
        self._own = own
        self._clock = clock
        self._random_bytes = random_bytes
        self._network = network
        self._tasks = TaskGroup("dht")
        self._published: set[bytes] = set()
        self._gets = 0
        self.lookups = 0

    def start(self) -> None:
        """Join, and show our record."""
        self.own_changed()
        self._tasks.start("join", self._join())
        self._tasks.start("explore", self._explore())

    async def close(self) -> None:
        """Leave."""
        await self._tasks.close()
        await self._engine.close()

    def own_changed(self) -> None:
        """Our record is new: put it where it belongs, and nowhere else."""
        record = self._own()
        keys = set(keys_of(record, self._network)) if record is not None else set()
        for key in self._published - keys:
            self._engine.withdraw(key)
        if record is not None:
            for key in keys:
                self._engine.put(key, record.encoded)
        self._published = keys

    async def find(self, key: bytes) -> list[PeerRecord]:
        """Return good records under a key; none if too many look for something now."""
        if self._gets >= MAX_GETS:
            return []
        self._gets += 1
        self.lookups += 1
        try:
            values = await self._engine.get(key, MAX_VALUES, GET_S)
        finally:
            self._gets -= 1
        # One get is one source: who floods a key must not use up the checks of other sources.
        source = Source(f"dht {self.lookups}", name="dht")
        own = self._own()
        found = [own] if own is not None else []
        for value in dict.fromkeys(values):
            record = self._take(value, source) if len(value) <= MAX_RECORD_SIZE else None
            if record is not None:
                found.append(record)
        return only_fitting(found, key, self._network)

    async def _join(self) -> None:
        """Try relays that we know until one answers, and again whenever nobody does any more."""
        pause, was_joined = JOIN_S, False
        while True:
            is_joined = await self._engine.is_joined()
            if is_joined and not was_joined:
                self.own_changed()  # what was put before anybody heard it is put again only much later
            nodes = [] if is_joined else self._nodes()[:MAX_TRIED]
            for host, port in nodes:
                self._engine.bootstrap(host, port)
            pause = min(MAX_JOIN_S, 2 * pause) if nodes else JOIN_S
            was_joined = is_joined
            await asyncio.sleep(LOOK_S if is_joined else pause)

    async def _explore(self) -> None:
        """Look at a shard now and then: mends what gossip lost, as after a split of the network."""
        while True:
            chance = int.from_bytes(self._random_bytes(4), "big") / 2**32
            await asyncio.sleep(EXPLORE_S * (0.5 + chance))
            shard = self._random_bytes(1)[0] % SHARDS
            await self.find(tag_key(RELAY_TAG, shard, self._network))
