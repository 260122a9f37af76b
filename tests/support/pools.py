"""A pool of circuits over an onion network in memory: what a client's proxies ask."""

from dataclasses import replace
from typing import Any

from tests.support.links import seeded_random
from tests.support.onion_network import OnionNetwork, OnionNode
from tests.support.targets import Reader
from vigilnet.peer.address import PeerAddress
from vigilnet.peer.descriptor import Capability, ExitSummary, OnionKey, PeerRecord
from vigilnet.routing.circuits.pool import Options
from vigilnet.routing.circuits.service import CircuitPool
from vigilnet.routing.paths.selection import Guards
from vigilnet.traffic.circuit.client import ClientCircuit, Hop
from vigilnet.traffic.stream.messages import Target
from vigilnet.traffic.stream.stream import Stream

ALL = Capability.RELAY | Capability.GUARD | Capability.EXIT


def record_of(
    node: OnionNode, ports: ExitSummary | None = None, capabilities: Capability = ALL
) -> PeerRecord:
    """The record by which a path is chosen; unsigned."""
    assert node.local is not None
    return PeerRecord(
        identity=node.identity,
        sequence=1,
        published=0,
        lifetime=600,
        onion_keys=(OnionKey(node.keys.public, 1),),
        addresses=(PeerAddress.tcp(node.host, 4001),),
        capabilities=capabilities,
        exit_summary=ports,
        preferred_suite=node.network.suite_of(node),
        encoded=node.local.record,
    )


class PoolNode:
    """A client's pool; serves `Relays`, and counts what is built."""

    def __init__(self, network: OnionNetwork, options: Options | None = None, **numbers: Any) -> None:  # noqa: ANN401 of Options
        self.network = network
        self.client = network.client
        self.known = [record_of(node) for node in network.relays]
        self.builds: list[float] = []
        self.pool = CircuitPool(
            self,
            self,
            options or replace(Options(), **numbers),
            network.clock,
            seeded_random("pool"),
            Guards(),
            is_private_network=True,
        )
        self.client.circuits.client.on_closed = self.pool.circuit_closed

    def relays(self) -> list[PeerRecord]:
        return self.known

    async def build(self, hops: list[Hop]) -> ClientCircuit:
        self.builds.append(self.network.loop.time())
        return await self.client.circuits.build(hops)

    async def open(
        self, isolation: str = "a", host: str = "echo.test", port: int = 80, early: bytes = b""
    ) -> Reader:
        """Open a stream and give it a reader."""
        stream = await self.pool.open_stream(Target(host, port), isolation, early)
        reader = Reader(stream)
        stream.set_consumer(reader)
        return reader

    def circuit_of(self, stream: Stream) -> ClientCircuit:
        """The circuit that carries a stream."""
        for entry in self.pool.pool.entries:
            if stream in entry.circuit.mux.streams.values():
                return entry.circuit
        raise AssertionError("no circuit carries this stream")

    def relay_of(self, hop: Hop) -> OnionNode:
        """The node that a hop is."""
        return next(node for node in self.network.relays if node.identity == hop.identity)

    async def close(self) -> None:
        await self.pool.close()
        assert not self.pool._tasks.failures
