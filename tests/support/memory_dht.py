"""A DHT in memory for tests of what stands above the engine: all its nodes share one table."""

import asyncio
from collections import defaultdict


class MemoryDht:
    """What every node of the network sees."""

    def __init__(self) -> None:
        self.values: dict[bytes, list[tuple[object, bytes]]] = defaultdict(list)

    def engine(self) -> "MemoryEngine":
        return MemoryEngine(self)

    def under(self, key: bytes) -> list[bytes]:
        return [value for _, value in self.values[key]]


class MemoryEngine:
    """One node; serves `DhtEngine`."""

    def __init__(self, dht: MemoryDht) -> None:
        self._dht = dht
        self.tried: list[tuple[str, int]] = []
        self.joined = False
        self.answer_s = 0.01
        self.is_closed = False

    def bootstrap(self, host: str, port: int) -> None:
        self.tried.append((host, port))

    async def is_joined(self) -> bool:
        return self.joined

    def put(self, key: bytes, value: bytes) -> None:
        self.withdraw(key)
        self._dht.values[key].append((self, value))

    def withdraw(self, key: bytes) -> None:
        self._dht.values[key] = [pair for pair in self._dht.values[key] if pair[0] is not self]

    async def get(self, key: bytes, at_most: int, timeout_s: float) -> list[bytes]:
        await asyncio.sleep(min(self.answer_s, timeout_s))
        return self._dht.under(key)[:at_most]

    async def close(self) -> None:
        self.is_closed = True
