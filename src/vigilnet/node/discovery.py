"""How this node finds peers: the sources of its options at work, joined to the peer table."""

from collections.abc import Callable

from vigilnet.base.clock import Clock
from vigilnet.node.directory_dialler import DirectoryDialler
from vigilnet.node.invites import Invites
from vigilnet.node.known_relays import KnownRelays
from vigilnet.node.lan import Lan
from vigilnet.node.options import Options
from vigilnet.node.own_record import OwnRecord
from vigilnet.peer.descriptor import Capability
from vigilnet.routing.circuits.service import CircuitPool
from vigilnet.routing.discovery.directory import Fetch, choose_items
from vigilnet.routing.discovery.directory_io import DirectoryServer
from vigilnet.routing.discovery.fetch_io import Fetcher
from vigilnet.routing.discovery.service import GossipService
from vigilnet.routing.discovery.wire import Item
from vigilnet.routing.paths.selection import Guards
from vigilnet.traffic.circuit.service import CircuitService
from vigilnet.traffic.link.service import LinkService

_ROLES = (Capability.RELAY, Capability.GUARD, Capability.EXIT, Capability.DIRECTORY)


class Discovery:
    """The sources of one node.

    Args:
        options: the node's settings.
        clock: time.
        known: the peer table.
        own: who we are; None on a client.
    """

    def __init__(self, options: Options, clock: Clock, known: KnownRelays, own: OwnRecord | None) -> None:
        self._options = options
        self._clock = clock
        self._known = known
        self._own = own
        self.invites = Invites(options, known, own)
        self._gossip: GossipService | None = None
        self._directory: DirectoryServer | None = None
        self._lan: Lan | None = None
        self._fetcher: Fetcher | None = None

    def load(self) -> None:
        """Take in what the settings name; raises ConfigurationError."""
        self._known.load_files()
        self._known.look()
        self.invites.load()

    def start_lan(self, random_bytes: Callable[[int], bytes]) -> None:
        """Begin to look around on the LAN, if the profile says so; relays show themselves there."""
        self._lan = Lan(self._options, self._clock, self._known, self._own, random_bytes)
        self._lan.start()

    def start_gossip(
        self, links: LinkService, circuits: CircuitService, random_bytes: Callable[[int], bytes]
    ) -> None:
        """Begin to gossip; relays only."""
        own, known = self._own, self._known

        def is_needed(identity: bytes) -> bool:
            link = links.get(identity)
            return link is not None and circuits.circuits_over(link) > 0

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

    def start_directory(self, circuits: CircuitService, random_bytes: Callable[[int], bytes]) -> None:
        """Begin to give records to clients; relays only."""
        own, view = self._own, self._known.view
        if own is None or circuits.relay is None:
            return

        def choose(request: Fetch) -> list[Item]:
            mine = self.invites.own_record()
            reached = (record for record in self._known.relays() if view.is_reached(record.identity))
            return choose_items(
                request,
                [*([mine] if mine is not None else []), *reached],
                view.revocations(),
                view.proofs(),
                random_bytes,
                has_prefix_limits=not self._options.link.allow_private_addresses,
            )

        directory = self._directory = DirectoryServer(choose, self._clock)
        circuits.relay.directory = directory.begin

    def start_fetching(
        self,
        circuits: CircuitService,
        guards: Guards,
        pool: CircuitPool,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """Begin to fetch records through circuits; clients only."""
        dialler = DirectoryDialler(
            circuits,
            self._known,
            guards,
            self._clock,
            random_bytes,
            hops=self._options.circuits.hops,
            is_private_network=self._options.link.allow_private_addresses,
        )
        fetcher = self._fetcher = Fetcher(
            dialler.open,
            self._known.view,
            lambda: pool.first_circuit_ms is not None,
            self._clock,
            random_bytes,
        )
        self._known.listeners.append(fetcher.peers_changed)
        fetcher.start()

    def own_changed(self) -> None:
        """We have issued a new record."""
        if self._lan is not None:
            self._lan.own_changed()
        if self._gossip is not None:
            self._gossip.peers_changed()

    async def close(self) -> None:
        """Stop what runs."""
        if self._lan is not None:
            await self._lan.close()
        if self._fetcher is not None:
            await self._fetcher.close()
        if self._directory is not None:
            self._directory.close()
        if self._gossip is not None:
            await self._gossip.close()
