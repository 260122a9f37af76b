"""How this node finds peers: the sources of its options, joined to the peer table."""

from collections.abc import Callable, Sequence
from pathlib import Path

from vigilnet.base.clock import Clock
from vigilnet.base.errors import ConfigurationError, ErrorKind, RemoteProtocolError, VigilnetError
from vigilnet.base.safelog import get_logger
from vigilnet.node.directory_dialler import DirectoryDialler
from vigilnet.node.known_relays import KnownRelays
from vigilnet.node.options import Options
from vigilnet.node.own_record import OwnRecord
from vigilnet.node.status import InviteStatus, WelcomeStatus
from vigilnet.peer.descriptor import PeerRecord, parse_record
from vigilnet.peer.identity import parse_peer_id, peer_id_text
from vigilnet.peer.sources import Source
from vigilnet.peer.view import Outcome
from vigilnet.routing.circuits.service import CircuitPool
from vigilnet.routing.discovery.directory import Fetch, choose_items
from vigilnet.routing.discovery.directory_io import DirectoryServer
from vigilnet.routing.discovery.fetch_io import Fetcher
from vigilnet.routing.discovery.invite import format_invite, parse_invite
from vigilnet.routing.discovery.service import GossipService
from vigilnet.routing.discovery.welcome import MAX_ENTRIES, MAX_LIST_SIZE, format_welcome, parse_welcome
from vigilnet.routing.discovery.wire import Item
from vigilnet.routing.paths.selection import Guards
from vigilnet.traffic.circuit.service import CircuitService
from vigilnet.traffic.link.service import LinkService

INVITE = Source("invite", is_limited=False)
WELCOME = Source("welcome list", is_limited=False)
_IN_ORDER = (Outcome.ACCEPTED, Outcome.KNOWN, Outcome.OWN, Outcome.STALE)

_log = get_logger(__name__)


class NoInviteError(VigilnetError):
    """There is nothing that could be put into an invite."""

    kind = ErrorKind.REFUSED


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
        self._gossip: GossipService | None = None
        self._directory: DirectoryServer | None = None
        self._fetcher: Fetcher | None = None

    def load(self) -> None:
        """Take in what the settings name.

        Raises:
            ConfigurationError: a file is missing or an entry is not what it should be. What is only old
                is told in the log: settings that were good yesterday do not keep a node from starting.
        """
        self._known.load_files()
        self._known.look()
        for number, text in enumerate(self._options.node.invites, 1):
            try:
                verdict = self._known.take(parse_invite(text), INVITE)
            except RemoteProtocolError as error:
                raise ConfigurationError(f"node.invites: number {number}: {error}") from error
            if verdict.is_fault:
                raise ConfigurationError(f"node.invites: number {number}: record is {verdict.reason}")
            if verdict.outcome not in _IN_ORDER:
                _log.warning("invite is not usable", number=number, reason=verdict.reason)
        signers = [_signer(text) for text in self._options.discovery.welcome_signers]
        for path in self._options.discovery.welcome_lists:
            self._load_welcome(path, signers)

    def _load_welcome(self, path: Path, signers: Sequence[bytes]) -> None:
        try:
            with path.open("rb") as file:
                content = file.read(MAX_LIST_SIZE + 1)
        except OSError as error:
            raise ConfigurationError(f"welcome list {path}: cannot be read: {error.strerror}") from error
        try:
            welcome = parse_welcome(content, self._options.node.network)
        except RemoteProtocolError as error:
            raise ConfigurationError(f"{path}: {error}") from error
        if signers and welcome.signer not in signers:
            raise ConfigurationError(
                f"welcome list {path}: not signed by one of discovery.welcome_signers; "
                "take another list, or allow its signer"
            )
        verdicts = [self._known.take(encoded, WELCOME) for encoded in welcome.records]
        unusable = [verdict.reason for verdict in verdicts if verdict.outcome not in _IN_ORDER]
        if unusable:
            _log.info(
                "welcome list is partly unusable",
                of=len(verdicts),
                unusable=len(unusable),
                reason=unusable[0],
            )

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
            mine = self._own_record()
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
        if self._gossip is not None:
            self._gossip.peers_changed()

    async def close(self) -> None:
        """Stop what runs."""
        if self._fetcher is not None:
            await self._fetcher.close()
        if self._directory is not None:
            self._directory.close()
        if self._gossip is not None:
            await self._gossip.close()

    def invite(self, peer_id: str = "") -> InviteStatus:
        """Return an invite to this relay, or to one that we know.

        Raises:
            NoInviteError: a client has no record of its own; or no current record of that peer is known.
        """
        record = self._own_record() if not peer_id else self._known.get(_identity(peer_id))
        if record is None:
            raise NoInviteError(
                f"invite: no current record of {peer_id} is known"
                if peer_id
                else "invite: a client has none of its own; name a relay that it knows"
            )
        return InviteStatus(format_invite(record.encoded), peer_id_text(record.identity), record.end)

    def add_invite(self, text: str) -> InviteStatus:
        """Take in an invite.

        Raises:
            RemoteProtocolError: not an invite, or its record is not usable; the text says why.
        """
        encoded = parse_invite(text)
        verdict = self._known.take(encoded, INVITE)
        if verdict.outcome not in (Outcome.ACCEPTED, Outcome.KNOWN):
            raise RemoteProtocolError(f"invite: record is {verdict.reason}")
        record = parse_record(encoded, self._options.node.network)
        return InviteStatus(
            format_invite(encoded), peer_id_text(record.identity), record.end, verdict.is_accepted
        )

    def welcome_list(self, count: int = MAX_ENTRIES) -> WelcomeStatus:
        """Return a welcome list of this relay and relays it knows, signed by it if it is one."""
        own = self._own_record()
        records = [*([own] if own is not None else []), *self._known.relays()][
            : max(0, min(count, MAX_ENTRIES))
        ]
        signer = self._own.ring.identity if self._own is not None else None
        text = format_welcome([record.encoded for record in records], signer, self._options.node.network)
        return WelcomeStatus(text, len(records), signer is not None)

    def _own_record(self) -> PeerRecord | None:
        if self._own is None or not self._own.record:
            return None
        return parse_record(self._own.record, self._options.node.network)


def _identity(peer_id: str) -> bytes:
    try:
        return parse_peer_id(peer_id)
    except RemoteProtocolError as error:
        raise NoInviteError(f"invite: {error}") from error


def _signer(text: str) -> bytes:
    try:
        return parse_peer_id(text)
    except RemoteProtocolError as error:
        raise ConfigurationError(f"discovery.welcome_signers: {error}") from error
