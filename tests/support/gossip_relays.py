"""Relays with real links and real gossip over a memory network, on one virtual loop; no circuits."""

from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.support.links import TCP, seeded_random
from tests.support.records import RecordMaker
from tests.support.virtual_loop import VirtualClock, VirtualLoop
from vigilnet.crypto.kdf import sha256
from vigilnet.node.introductions import introduction_service, share_links
from vigilnet.node.known_relays import KnownRelays
from vigilnet.node.options import Options as NodeOptions
from vigilnet.peer.address import PeerAddress
from vigilnet.peer.descriptor import Capability, PeerRecord, sign_record
from vigilnet.peer.view import PeerView
from vigilnet.routing.discovery.introduction_io import IntroductionService
from vigilnet.routing.discovery.service import GossipService
from vigilnet.traffic.link.options import Options
from vigilnet.traffic.link.service import LinkService
from vigilnet.traffic.transport.memory import MemoryHub


class Relay:
    """One relay at `host`; serves `LocalNode` to its links."""

    def __init__(self, net: "GossipRelays", name: str, host: str, *, is_behind: bool = False) -> None:
        self.name, self.host = name, host
        self.is_behind = is_behind  # nobody can dial it
        self._net = net
        self.maker = RecordMaker(name)
        self.identity = self.maker.identity.public
        self.link_key = X25519PrivateKey.from_private_bytes(sha256(b"link", name.encode()))
        self.previous_link_key = None
        self._sequence = 0
        self.introductions: IntroductionService | None = None
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
            is_needed=self._needs,
            is_private_network=net.is_private,
        )
        self.links.on_gossip = self.gossip.frame_received
        self.introductions = introduction_service(
            replace(NodeOptions(), link=Options(allow_private_addresses=net.is_private)),
            self.links,
            self.known,
            None,
            net.clock,
            seeded_random(f"introductions {name}"),
            own=self.identity,
            is_behind=is_behind,
            changed=self.record_changed,
        )
        self.known.listeners.append(self.introductions.relays_changed)
        self.known.listeners.append(self.gossip.peers_changed)

    @property
    def record(self) -> bytes:
        return self.own.encoded

    def issue(self) -> PeerRecord:
        """Sign a record of now."""
        wall = int(self._net.clock.wall())
        dialled = () if self.is_behind else (PeerAddress.tcp(self.host, 4001),)
        vias = self.introductions.addresses() if self.introductions is not None else []
        self._sequence = max(self._sequence + 1, wall * 1000)
        draft = replace(
            self.maker.record(wall),
            sequence=self._sequence,
            link_key=self.link_key.public_key().public_bytes_raw(),
            addresses=(*dialled, *vias),
            capabilities=Capability.RELAY | (Capability(0) if self.is_behind else Capability.INTRODUCER),
        )
        return sign_record(self.maker.identity, draft, nonce=bytes(8))

    def record_changed(self) -> None:
        """Our introducers are others."""
        self.own = self.issue()
        self.gossip.peers_changed()

    def _needs(self, identity: bytes) -> bool:
        is_held = self.introductions is not None and self.introductions.needs(identity)
        return is_held or identity in self.needed

    async def start(self) -> None:
        if not self.is_behind:
            await self.links.listen(self.host, 4001)
        assert self.introductions is not None
        self.introductions.start()
        self.gossip.start()
        share_links(self.links, self.gossip, self.introductions)

    async def stop(self) -> None:
        if self.introductions is not None:
            await self.introductions.close()
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

    async def relay(self, name: str, host: str, *friends: Relay, is_behind: bool = False) -> Relay:
        """Start a relay that knows the records of `friends`."""
        relay = Relay(self, name, host, is_behind=is_behind)
        for friend in friends:
            relay.known.offer_record(friend.record, "test")
        await relay.start()
        self.all.append(relay)
        return relay

    async def close(self) -> None:
        for relay in self.all:
            await relay.stop()
