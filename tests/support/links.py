"""Link services joined in memory: `Nodes` makes them, `LinkPair` is two of them with an open link.

Everything runs on one virtual loop; records are plain stand-ins that need no signature.
"""

import hashlib
import itertools
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.support.virtual_loop import VirtualClock, VirtualLoop, run
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.crypto.aead import Suite
from vigilnet.traffic.cell import CELL_SIZE, RUN_AT, Command, new_frame, pack_run_header
from vigilnet.traffic.link.link_io import Link
from vigilnet.traffic.link.options import Options
from vigilnet.traffic.link.ports import LinkPort
from vigilnet.traffic.link.service import LinkService
from vigilnet.traffic.transport.memory import MemoryCarrier, MemoryHub

TCP = 1
OPTIONS = Options(allow_private_addresses=True)


def seeded_random(seed: str) -> Callable[[int], bytes]:
    """Return a `random_bytes` whose octets follow from `seed`."""
    counter = itertools.count()

    def random_bytes(size: int) -> bytes:
        return hashlib.shake_256(f"{seed}/{next(counter)}".encode()).digest(size)

    return random_bytes


@dataclass(frozen=True)
class FakeAddress:
    transport: int
    host: str
    port: int
    params: Mapping[int, object] = field(default_factory=dict)


@dataclass(frozen=True)
class FakeRecord:
    """Stands for a peer record; its encoding is its identity and link key, unsigned."""

    identity: bytes
    link_key: bytes
    addresses: tuple[FakeAddress, ...] = ()
    preferred_suite: Suite = Suite.AES_256_GCM
    capabilities: int = 1

    @property
    def encoded(self) -> bytes:
        return self.identity + self.link_key

    @staticmethod
    def admit(encoded: bytes) -> "FakeRecord":
        if len(encoded) != 64:
            raise RemoteProtocolError("record: not one of ours")
        return FakeRecord(encoded[:32], encoded[32:])


@dataclass
class FakeLocal:
    """Stands for a key ring."""

    identity: bytes
    link_key: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate)
    previous_link_key: X25519PrivateKey | None = None

    @property
    def public(self) -> FakeRecord:
        return FakeRecord(self.identity, self.link_key.public_key().public_bytes_raw())

    @property
    def record(self) -> bytes:
        return self.public.encoded


class Gatherer:
    """A RunReceiver that keeps what it gets."""

    def __init__(self, port: LinkPort | None = None) -> None:
        self.port = port
        self.runs: list[bytes] = []
        self.is_closed = False

    def run_received(self, buffer: memoryview, at: int, cells: int) -> None:
        self.runs.append(bytes(buffer[at : at + CELL_SIZE * cells]))

    def link_closed(self) -> None:
        self.is_closed = True


class ListSource:
    """A RunSource that gives the frames put into it."""

    def __init__(self, *frames: memoryview) -> None:
        self.frames = list(frames)
        self.pulled = 0

    def pull(self, now: float) -> memoryview | None:
        if not self.frames:
            return None
        self.pulled += 1
        return self.frames.pop(0)


def make_frame(circuit: int = 1, cells: int = 1, command: int = Command.RELAY, fill: int = 0) -> memoryview:
    """Return a frame view whose run has a good header and a body of `fill` octets."""
    frame = new_frame(cells)
    frame[RUN_AT : RUN_AT + CELL_SIZE * cells] = bytes((fill,)) * (CELL_SIZE * cells)
    pack_run_header(frame, RUN_AT, circuit, command, cells)
    return frame


@dataclass
class Node:
    """One node of `Nodes`; `receivers` are those of its links, in order of opening."""

    service: LinkService
    identity: bytes | None
    host: str
    receivers: list[Gatherer] = field(default_factory=list)

    def receiver_for(self, port: LinkPort) -> Gatherer:
        receiver = Gatherer(port)
        self.receivers.append(receiver)
        return receiver


class Nodes:
    """A small network of link services over a memory hub."""

    def __init__(self, loop: VirtualLoop, options: Options = OPTIONS) -> None:
        self.loop = loop
        self.clock = VirtualClock(loop)
        self.hub = MemoryHub(loop)
        self.options = options
        self.records: dict[bytes, FakeRecord] = {}
        self.all: list[Node] = []
        self.local_addresses: object = None  # change it: all nodes came into another network

    async def relay(self, name: str, host: str, *, options: Options | None = None, port: int = 4001) -> Node:
        """Start a relay that listens at `host`; its identity begins with `name`."""
        local = FakeLocal(name.encode().ljust(32, b"."))
        node = self._node(local, host, options)
        await node.service.listen(host, port)
        self.records[local.identity] = replace(local.public, addresses=(FakeAddress(TCP, host, port),))
        return node

    def client(self, host: str, *, options: Options | None = None) -> Node:
        """Start an anonymous client."""
        return self._node(None, host, options)

    def _node(self, local: FakeLocal | None, host: str, options: Options | None) -> Node:
        service = LinkService(
            options or self.options,
            self.clock,
            {TCP: self.hub.transport(host)},
            self.records,
            local=local,
            admit=lambda encoded, host: FakeRecord.admit(encoded),
            network="",
            random_bytes=seeded_random(host),
            local_addresses=lambda: self.local_addresses,
        )
        node = Node(service, local.identity if local else None, host)
        service.on_link = node.receiver_for
        self.all.append(node)
        return node

    async def close(self) -> None:
        for node in self.all:
            await node.service.close()


@dataclass
class LinkPair:
    """A client and a relay with one open link: `client_link` and `relay_link` are its two ends."""

    nodes: Nodes
    client: Node
    relay: Node
    client_link: Link
    relay_link: LinkPort

    @classmethod
    async def open(cls, loop: VirtualLoop, options: Options = OPTIONS) -> "LinkPair":
        nodes = Nodes(loop, options)
        relay = await nodes.relay("relay", "192.0.2.2")
        client = nodes.client("198.51.100.1")
        assert relay.identity is not None
        link = await client.service.connect(relay.identity)
        while not relay.receivers:
            await _one_turn(loop)
        port = relay.receivers[0].port
        assert port is not None
        return cls(nodes, client, relay, link, port)

    @property
    def client_receiver(self) -> Gatherer:
        return self.client.receivers[-1]

    @property
    def relay_receiver(self) -> Gatherer:
        return self.relay.receivers[-1]

    async def close(self) -> None:
        await self.nodes.close()


async def _one_turn(loop: VirtualLoop) -> None:
    turned = loop.create_future()
    loop.call_soon(turned.set_result, None)
    await turned


Scenario = Callable[[Nodes], Coroutine[Any, Any, None]]


def play(scenario: Scenario) -> None:
    """Run `scenario` on a fresh network and close everything; no task may have failed unexpectedly."""
    loop = VirtualLoop()

    async def main() -> None:
        nodes = Nodes(loop)
        await scenario(nodes)
        await nodes.close()
        assert [node.service.dialler._tasks.failures for node in nodes.all] == [[] for _ in nodes.all]

    run(main(), loop)


def name(node: Node) -> bytes:
    assert node.identity is not None
    return node.identity


def half_open(nodes: Nodes, host: str) -> MemoryCarrier:
    """Connect to the relay and say half a hello."""
    carrier = nodes.hub.connect(host, "192.0.2.2", 4001)
    carrier.write([b"\x04\xe7\x01\x01\x02\x00\x00" + bytes(100)])
    return carrier
