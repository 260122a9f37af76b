"""What a node does for others: it listens, tells its address, relays circuits and may be an exit."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Final

from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.base.safelog import get_logger
from vigilnet.base.version import program_version
from vigilnet.node.dht import open_engine
from vigilnet.node.endpoints import host_and_port, is_unspecified, join, listening
from vigilnet.node.ground import Ground
from vigilnet.node.introductions import RecordChanges, introduction_service
from vigilnet.node.modes import EXIT_NOTICE, check_consent
from vigilnet.node.own_record import OwnRecord
from vigilnet.node.reach import Reach
from vigilnet.peer.address import PeerAddress, TransportKind
from vigilnet.peer.descriptor import Capability, ExitSummary
from vigilnet.peer.identity import peer_id_text
from vigilnet.peer.records_io import RecordFolder
from vigilnet.routing.discovery.dht import DhtEngine
from vigilnet.routing.discovery.introduction_io import IntroductionService
from vigilnet.traffic.exit.service import ExitService

KEEP_S: Final = 60.0  # between two looks at our own keys and record

NO_ADDRESS: Final = (
    "others do not reach this relay yet: it has no public address of its own; set relay.advertise to the "
    "host:port by which they do, or relay.map_port to ask the router"
)

_log = get_logger(__name__)


class RelaySide:
    """A relay, listed or not, and an exit if the options say so.

    Args:
        ground: the rooms below.
        own: who we are.

    Attributes:
        listen: where it listens, as host:port.
        on_published: called when our record is another one.
    """

    def __init__(self, ground: Ground, own: OwnRecord) -> None:
        self._ground = ground
        self._options = ground.options
        self._own = own
        self.listen: list[str] = []
        self.on_published: Callable[[], None] = lambda: None
        self.engine: DhtEngine | None = None
        self.exit: ExitService | None = None
        self.introductions: IntroductionService | None = None
        self.reach: Final = Reach(ground.options, ground.clock)

    @property
    def _undo(self) -> AsyncExitStack:
        return self._ground.undo

    async def start(self) -> None:
        """Begin to listen, then to tell others where.

        Raises:
            ConfigurationError: a setting cannot be used.
            EnvironmentRefusedError: a port is taken, or the like.
        """
        options, own, transports = self._options, self._own, self._ground.transports
        links = self._ground.links
        await asyncio.to_thread(own.prepare)
        capabilities = Capability.RELAY
        if options.discovery.uses("gossip") or options.relay.is_unlisted:
            capabilities |= Capability.DIRECTORY
        summary = self._start_exit()
        if summary is not None:
            capabilities |= Capability.EXIT
        self._ground.circuits.enable_relay(own.identity, own, self._ground.known, self.exit)
        await self._start_origin()
        relay = options.relay
        plain = await self._listen_all(TransportKind.TCP, relay.listen, relay.advertise, "")
        hidden = await self._listen_all(TransportKind.HTX, relay.listen_htx, relay.advertise_htx, "_htx")
        htx = transports.htx
        if relay.listen_htx and not hidden:
            hidden = htx.advertised(host_and_port(self.listen[-1], "relay.listen_htx")[1])
        others = await transports.listen(links)
        self.listen += transports.listening
        reach = self.reach
        self._undo.push_async_callback(reach.close)
        bound = [host_and_port(text, "relay.listen") for text in self.listen[: len(relay.listen)]]
        if not plain and not relay.advertise:
            plain = await reach.endpoints(bound)
        if not relay.is_unlisted:
            capabilities |= self._start_engine(bound)
        software = f"vigilnet {program_version()}"[:24]

        def describe() -> None:
            plains = [PeerAddress.tcp(*at) for at in plain]
            dialled = [*(htx.address(*at) for at in hidden), *others, *plains]
            is_reachable = reach.is_reachable(address.host for address in dialled)
            vias = [] if is_reachable or self.introductions is None else self.introductions.addresses()
            offered = capabilities | (introduces if is_reachable else Capability(0))
            if is_reachable or not vias:  # with neither, it serves its LAN
                offered |= Capability.GUARD
            own.describe(
                [*dialled, *vias], offered, summary, software, relay.country, relay.suite, relay.family
            )

        def address_changed() -> None:
            plain[:] = reach.mapped_endpoints((plain or bound)[0][1]) or plain
            describe()

        hosts = [*(host for host, _ in (*hidden, *plain)), *(address.host for address in others)]
        introduces = self._start_introductions(describe, is_behind=not reach.is_reachable(hosts))
        if not hosts and self.introductions is None:
            _log.warning(NO_ADDRESS)
        describe()
        reach.on_changed = address_changed if plain or bound else reach.on_changed
        own.refresh()
        self._publish()
        self._ground.tasks.start("keep record", self._keep_record(describe))

    def _start_exit(self) -> ExitSummary | None:
        """Serve as an exit, if the settings say so; return what our record then tells of it."""
        options = self._options.exit
        if not options.enabled:
            return None
        check_consent(has_accepted=options.accept_notice, abuse_contact=options.abuse_contact)
        _log.warning(EXIT_NOTICE)
        exits = self.exit = ExitService(options, self._ground.clock)
        self._undo.push_async_callback(exits.close)
        ports = exits.policy.summary()
        return ExitSummary(ports.kind == 0, ports.ranges)

    def _start_introductions(self, describe: Callable[[], None], *, is_behind: bool) -> Capability:
        """Introduce others, and be introduced where nobody can dial us; return what our record offers."""
        options, ground, own = self._options, self._ground, self._own
        if not options.discovery.uses("gossip") or options.relay.is_unlisted:
            return Capability(0)

        def changed() -> None:
            describe()
            if own.refresh():
                self._publish()

        changes = RecordChanges(changed, ground.clock)
        self._undo.callback(changes.close)
        service = self.introductions = introduction_service(
            options, ground.links, ground.known, ground.transports.plain, ground.clock, ground.random_bytes,
            own=own.identity, is_behind=is_behind and options.relay.introduced, changed=changes.changed,
        )  # fmt: skip
        ground.known.listeners.append(service.relays_changed)
        self._undo.push_async_callback(service.close)
        return Capability.INTRODUCER

    def _start_engine(self, bound: list[tuple[str, int]]) -> Capability:
        """Join the DHT, if the settings say so; return what our record then offers more."""
        options = self._options
        if not options.discovery.uses("dht") or options.node.peers_folder is not None:
            return Capability(0)
        self.engine = open_engine(bound, options.node.network)
        if self.engine is None:
            if bound:
                self.reach.dht_problem = "The package is missing, or the UDP port of its number is taken."
            return Capability(0)
        self._undo.push_async_callback(self.engine.close)
        return Capability.DHT

    async def _start_origin(self) -> None:
        """Begin to look at the web server behind us, if there is one."""
        known, htx, tasks = self._ground.known, self._ground.transports.htx, self._ground.tasks
        view = known.view
        watch = await htx.watch_origin(
            lambda: (record for record in known.relays() if view.is_reached(record.identity))
        )
        if watch is not None:
            tasks.start("look at the origin", watch.run())
        if htx.site is not None:
            tasks.start("keep the site", htx.site.run())
        if htx.certificate is not None:
            tasks.start("keep the certificate", htx.certificate.run())

    async def _listen_all(
        self, transport: TransportKind, listen: Sequence[str], advertise: Sequence[str], suffix: str
    ) -> list[tuple[str, int]]:
        """Listen at all of `listen`; return where others reach us."""
        bound = [await self._listen_at(text, transport, f"relay.listen{suffix}") for text in listen]
        advertised = [host_and_port(text, f"relay.advertise{suffix}") for text in advertise] or bound
        return [(host, port) for host, port in advertised if not is_unspecified(host)]

    async def _listen_at(self, text: str, transport: TransportKind, key: str) -> tuple[str, int]:
        host, port = host_and_port(text, key, least_port=0)
        async with listening(key, text):
            listener = await self._ground.links.listen(host, port, transport)
        self.listen.append(join(host, listener.port))
        return host, listener.port

    def _publish(self) -> None:
        """Put our record where the others look for it."""
        own = self._own
        if not own.record:  # no address to tell yet
            return
        self.on_published()
        folder = self._options.node.peers_folder
        if folder is not None and not self._options.relay.is_unlisted:
            RecordFolder(folder).publish(peer_id_text(own.identity), own.record)

    async def _keep_record(self, describe: Callable[[], None]) -> None:
        """Rotate keys and issue records when they are due."""
        own, htx = self._own, self._ground.transports.htx
        while True:
            await asyncio.sleep(KEEP_S)
            try:
                if htx.keys is not None:
                    htx.keys.rotate()
                    describe()
                if own.refresh():
                    self._publish()
            except EnvironmentRefusedError as error:
                _log.warning("own record could not be renewed, trying again", reason=str(error))
