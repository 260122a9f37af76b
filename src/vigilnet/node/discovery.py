"""How this node finds peers: the sources of its options at work, joined to the peer table."""

from collections.abc import Callable, Iterable

from vigilnet.base.clock import Clock
from vigilnet.base.errors import ErrorKind, VigilnetError
from vigilnet.node.dht import dht_service
from vigilnet.node.directory_dialler import DirectoryDialler
from vigilnet.node.introductions import share_links
from vigilnet.node.invites import Invites
from vigilnet.node.known_relays import KnownRelays, has_public_address
from vigilnet.node.lan import Lan
from vigilnet.node.options import Options
from vigilnet.node.own_record import OwnRecord
from vigilnet.node.unlisted import GivenInvites, HeldInvites
from vigilnet.peer.descriptor import Capability, PeerRecord
from vigilnet.peer.identity import parse_peer_id
from vigilnet.routing.discovery.dht import DhtEngine, identity_key
from vigilnet.routing.discovery.dht_io import DhtService
from vigilnet.routing.discovery.directory import Fetch, choose_items
from vigilnet.routing.discovery.directory_io import DirectoryServer
from vigilnet.routing.discovery.fetch_io import Fetcher
from vigilnet.routing.discovery.find_io import PeerFinder
from vigilnet.routing.discovery.introduction_io import IntroductionService
from vigilnet.routing.discovery.service import GossipService
from vigilnet.routing.discovery.wire import Item, ItemType
from vigilnet.routing.paths.selection import Guards
from vigilnet.traffic.circuit.service import CircuitService
from vigilnet.traffic.link.service import LinkService


class NoDhtError(VigilnetError):
    """There is nothing to look in."""

    kind = ErrorKind.REFUSED


class Discovery:
    """The sources of one node.

    Args:
        options: the node's settings.
        clock: time.
        known: the peer table.
        own: who we are; None on a client.
        given: see `Invites`.
        held: see `Invites`.
        introductions: those of a listed relay.
    """

    def __init__(
        self,
        options: Options,
        clock: Clock,
        known: KnownRelays,
        own: OwnRecord | None,
        given: GivenInvites | None = None,
        held: HeldInvites | None = None,
        introductions: IntroductionService | None = None,
    ) -> None:
        self._is_unlisted = given is not None
        self._options = options
        self._clock = clock
        self._known = known
        self._own = own
        self.invites = Invites(options, known, own, given, held)
        self._gossip: GossipService | None = None
        self._introductions = introductions
        self._directory: DirectoryServer | None = None
        self._lan: Lan | None = None
        self._fetcher: Fetcher | None = None
        self._dht: DhtService | None = None
        self._finder: PeerFinder | None = None

    def load(self) -> None:
        """Take in what the settings name; raises ConfigurationError."""
        self._known.load_files()
        self._known.look()
        self.invites.load()

    def start_lan(self, random_bytes: Callable[[int], bytes]) -> None:
        """Begin to look around on the LAN, if the profile says so; relays show themselves there."""
        self._lan = Lan(self._options, self._clock, self._known, self._own, random_bytes)
        self._lan.start()

    async def find(self, peer_id: str) -> PeerRecord | None:
        """Look for a relay by its id: in the table, then in the DHT (a client by circuits).

        Raises:
            RemoteProtocolError: not a peer id.
            VigilnetError: nobody could be asked.
        """
        identity = parse_peer_id(peer_id)
        record = self._known.get(identity)
        if record is not None:
            return record
        if self._dht is not None:
            found = await self._dht.find(identity_key(identity, self._options.node.network))
            record = found[0] if found else None
        elif self._finder is not None:
            record = await self._finder.find(identity)
        else:
            raise NoDhtError("peer: not known, and this node has no DHT to look in (discovery.sources)")
        return record

    def start_gossip(
        self, links: LinkService, circuits: CircuitService, random_bytes: Callable[[int], bytes]
    ) -> None:
        """Begin to gossip; relays only."""
        own, known = self._own, self._known

        introductions = self._introductions

        def is_needed(identity: bytes) -> bool:
            link = links.get(identity)
            holds_us = introductions is not None and introductions.needs(identity)
            return holds_us or (link is not None and circuits.circuits_over(link) > 0)

        gossip = self._gossip = GossipService(
            links,
            known.view,
            lambda: [record for record in known.relays() if own is None or record.identity != own.identity],
            lambda: own.record if own is not None else b"",
            self._clock,
            random_bytes,
            neighbours=self._options.discovery.neighbours,
            is_needed=is_needed,
            is_private_network=self._options.link.allow_private_addresses,
        )
        links.on_gossip = gossip.frame_received
        known.listeners.append(gossip.peers_changed)
        gossip.start()
        if introductions is not None:
            share_links(links, gossip, introductions)

    def start_dht(self, engine: DhtEngine, random_bytes: Callable[[int], bytes]) -> None:
        """Join the DHT; relays only."""
        if self._own is not None:
            self._dht = dht_service(engine, self._known, self._own, self._options, self._clock, random_bytes)
            self._dht.start()

    async def _look_up(self, key: bytes) -> list[Item]:
        found = await self._dht.find(key) if self._dht is not None else []
        return [Item(ItemType.RECORD, record.encoded) for record in found]

    def start_directory(self, circuits: CircuitService, random_bytes: Callable[[int], bytes]) -> None:
        """Begin to give records to clients; relays only."""
        own, view = self._own, self._known.view
        if own is None or circuits.relay is None:
            return

        is_private = self._options.link.allow_private_addresses

        def choose(request: Fetch) -> Iterable[Item]:
            mine = self.invites.own_record()
            if self._is_unlisted and request.at_most == 1 and mine is not None:
                return [Item(ItemType.RECORD, mine.encoded)]
            # Who is unlisted dials nobody to see whether he is there.
            relays = [r for r in self._known.relays() if is_private or has_public_address(r)]
            reached = [r for r in relays if self._is_unlisted or view.is_reached(r.identity)]
            return choose_items(
                request,
                [*([mine] if mine is not None else []), *reached],
                view.revocations(),
                view.proofs(),
                random_bytes,
                has_prefix_limits=not self._options.link.allow_private_addresses,
            )

        directory = self._directory = DirectoryServer(
            choose, self._clock, self._look_up if self._dht is not None else None
        )
        circuits.relay.directory = directory.begin

    def start_fetching(
        self,
        circuits: CircuitService,
        guards: Guards,
        is_served: Callable[[], bool],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """Begin to fetch records and to look for relays, through circuits; not for relays that gossip."""
        dialler = DirectoryDialler(
            circuits,
            self._known,
            guards,
            self._clock,
            random_bytes,
            hops=self._options.circuits.hops,
            is_private_network=self._options.link.allow_private_addresses,
        )
        if self._options.discovery.uses("dht"):
            self._finder = PeerFinder(
                lambda: dialler.open(Capability.DHT),
                self._known.view,
                self._usable,
                self._clock,
                self._options.node.network,
            )
        if self._options.discovery.uses("circuits"):
            fetcher = self._fetcher = Fetcher(
                dialler.open,
                self._known.view,
                is_served,
                self._clock,
                random_bytes,
            )
            self._known.listeners.append(fetcher.peers_changed)
            fetcher.start()

    def _usable(self, identity: bytes) -> PeerRecord | None:
        """Return a relay's record if a client may use it for any hop."""
        record = self._known.get(identity)
        may = record is not None and (
            self._options.link.allow_private_addresses or self._known.is_vouched(record)
        )
        return record if may else None

    def own_changed(self) -> None:
        """We have issued a new record."""
        if self._dht is not None:
            self._dht.own_changed()
        if self._lan is not None:
            self._lan.own_changed()
        if self._gossip is not None:
            self._gossip.peers_changed()

    async def close(self) -> None:
        """Stop what runs."""
        if self._lan is not None:
            await self._lan.close()
        if self._dht is not None:
            await self._dht.close()
        if self._fetcher is not None:
            await self._fetcher.close()
        if self._directory is not None:
            self._directory.close()
        if self._gossip is not None:
            await self._gossip.close()
