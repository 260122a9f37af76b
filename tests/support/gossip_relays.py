"""Relays with real links and real gossip over a memory network, on one virtual loop; no circuits."""

from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.support.links import TCP, seeded_random
from tests.support.records import RecordMaker
from tests.support.virtual_loop import VirtualClock, VirtualLoop
from vigilnet.crypto.kdf import sha256
from vigilnet.node.known_relays import KnownRelays
from vigilnet.peer.address import PeerAddress
from vigilnet.peer.descriptor import PeerRecord, sign_record
from vigilnet.peer.view import PeerView
from vigilnet.routing.discovery.service import GossipService
from vigilnet.traffic.link.options import Options
from vigilnet.traffic.link.service import LinkService
from vigilnet.traffic.transport.memory import MemoryHub


class Relay:
    """One relay at `host`; serves `LocalNode` to its links."""

    def __init__(self, net: "GossipRelays", name: str, host: str) -> None:
        self.name, self.host = name, host
        self._net = net
        self.maker = RecordMaker(name)
        self.identity = self.maker.identity.public
        self.link_key = X25519PrivateKey.from_private_bytes(sha256(b"link", name.encode()))
        self.previous_link_key = None
        self.own = self.issue()
        self.view = PeerView(work_bits=0, own=self.identity)
        self.known = KnownRelays(self.view, net.clock, None, ())
        self.needed: set[bytes] = set()
        self.links = LinkService(
            Options(allow_private_addresses=net.is_private),
            net.clock,
            {TCP: net.hub.transport(host)},
            self.known,
            local=self,
            admit=self.known.admit,
            network="",
            random_bytes=seeded_random(f"links {name}"),
        )
        self.gossip = GossipService(
            self.links,
            self.view,
            self.known.relays,
            lambda: self.record,
            net.clock,
            seeded_random(f"gossip {name}"),
            neighbours=net.neighbours,
            is_needed=self.needed.__contains__,
            is_private_network=net.is_private,
        )
        self.links.on_gossip = self.gossip.frame_received
        self.known.listeners.append(self.gossip.peers_changed)

    @property
    def record(self) -> bytes:
        return self.own.encoded

    def issue(self) -> PeerRecord:
        """Sign a record of now."""
        wall = int(self._net.clock.wall())
        draft = replace(
            self.maker.record(wall),
            link_key=self.link_key.public_key().public_bytes_raw(),
            addresses=(PeerAddress.tcp(self.host, 4001),),
        )
        return sign_record(self.maker.identity, draft, nonce=bytes(8))

    async def start(self) -> None:
        await self.links.listen(self.host, 4001)
        self.gossip.start()

    async def stop(self) -> None:
        await self.gossip.close()
        await self.links.close()

    def knows(self, other: "Relay") -> bool:
        return self.known.get(other.identity) is not None

    def linked(self) -> set[bytes]:
        """The neighbours with an open link."""
        return {status.peer for status in self.links.snapshot() if status.peer is not None}


class GossipRelays:
    """All relays of one test."""

    def __init__(self, loop: VirtualLoop, *, neighbours: int = 3, is_private: bool = True) -> None:
        self.loop = loop
        self.clock = VirtualClock(loop)
        self.hub = MemoryHub(loop)
        self.neighbours = neighbours
        self.is_private = is_private
        self.all: list[Relay] = []

    async def relay(self, name: str, host: str, *friends: Relay) -> Relay:
        """Start a relay that knows the records of `friends`."""
        relay = Relay(self, name, host)
        for friend in friends:
            relay.known.offer_record(friend.record, "test")
        await relay.start()
        self.all.append(relay)
        return relay

    async def close(self) -> None:
        for relay in self.all:
            await relay.stop()
