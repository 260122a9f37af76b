"""One running node: builds all rooms from options and plugs them together.

The only place that knows every room. Start order is bottom up (state, links, relay, circuits,
proxies), stop order the reverse; a start that fails undoes what it had started.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final

import platformdirs

from vigilnet.base.clock import Clock, SystemClock
from vigilnet.base.errors import EnvironmentRefusedError, LocalProtocolError
from vigilnet.base.safelog import get_logger
from vigilnet.base.store_io import Store
from vigilnet.base.tasks import TaskGroup
from vigilnet.base.version import program_version
from vigilnet.node import views
from vigilnet.node.dht import open_engine
from vigilnet.node.discovery import Discovery
from vigilnet.node.endpoints import host_and_port, is_unspecified, join, listening
from vigilnet.node.guards_state import load_guards, save_guards
from vigilnet.node.htx import NodeHtx
from vigilnet.node.introductions import RecordChanges, introduction_service
from vigilnet.node.known_relays import KnownRelays
from vigilnet.node.modes import EXIT_NOTICE, check_consent, mode_of
from vigilnet.node.operators import Operators
from vigilnet.node.options import Options, Phase
from vigilnet.node.own_exit import OwnExit
from vigilnet.node.own_record import OwnRecord
from vigilnet.node.peer_cache import keep_cache, load_cache, save_cache
from vigilnet.node.reach import Reach
from vigilnet.node.status import (
    CircuitStatus,
    ClientFacts,
    ExitStatus,
    ExitWork,
    HopStatus,
    InviteStatus,
    NodeState,
    NodeStatus,
    PathStatus,
    PeerStatus,
    StreamStatus,
    WelcomeStatus,
    WorkDone,
)
from vigilnet.node.transports import NodeTransports
from vigilnet.node.unlisted import HeldInvites
from vigilnet.node.unlisted_renewal import UnlistedRenewal
from vigilnet.node.views import Rooms
from vigilnet.peer.address import PeerAddress, TransportKind
from vigilnet.peer.descriptor import Capability, ExitSummary
from vigilnet.peer.identity import peer_id_text
from vigilnet.peer.records_io import RecordFolder
from vigilnet.peer.view import PeerView
from vigilnet.routing.circuits.pool import Options as CircuitsOptions
from vigilnet.routing.circuits.service import CircuitPool
from vigilnet.routing.discovery.dht import DhtEngine
from vigilnet.routing.discovery.introduction_io import IntroductionService
from vigilnet.routing.discovery.reachability import ReachFinding, judge
from vigilnet.routing.paths.selection import Guards
from vigilnet.traffic.circuit.client import CircuitClosedError, CircuitState, ClientCircuit
from vigilnet.traffic.circuit.service import CircuitService
from vigilnet.traffic.device.service import DeviceService
from vigilnet.traffic.exit.service import ExitService
from vigilnet.traffic.ingress.ports import Dialler
from vigilnet.traffic.ingress.service import IngressService
from vigilnet.traffic.link.dial_io import Nat64
from vigilnet.traffic.link.service import LinkService
from vigilnet.traffic.transport.local_address_io import preferred_addresses

LOOK_S: Final = 1.0  # between two looks at the folder of records
KEEP_S: Final = 60.0  # between two looks at our own keys and record

NO_ADDRESS: Final = (
    "others do not reach this relay yet: it has no public address of its own; set relay.advertise to the "
    "host:port by which they do, or relay.map_port to ask the router"
)

_log = get_logger(__name__)


class Node:
    """A client, relay or exit, as its options say.

    Args:
        options: all settings.
        clock: time.
        random_bytes: source of secrets.
        passphrase: of a sealed state folder.
    """

    def __init__(
        self,
        options: Options,
        clock: Clock | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
        passphrase: str | None = None,
    ) -> None:
        self.options = options
        self._clock: Clock = clock or SystemClock()
        self._random_bytes = random_bytes
        self._passphrase = passphrase
        self._started_at = self._clock.now()
        self._state = NodeState.STARTING
        self._undo = AsyncExitStack()
        self._tasks = TaskGroup("node")
        self._store: Store | None = None
        self._engine: DhtEngine | None = None
        self._reach: Reach | None = None
        self._own: OwnRecord | None = None
        self._introductions: IntroductionService | None = None
        self._transports: NodeTransports | None = None
        self._known: KnownRelays | None = None
        self._links: LinkService | None = None
        self._circuits: CircuitService | None = None
        self._pool: CircuitPool | None = None
        self._pools: list[CircuitPool] = []  # that one, and one for each exit that programs are bound to
        self._exit: ExitService | None = None
        self._ingress: IngressService | None = None
        self.device: DeviceService | None = None
        self.discovery: Discovery | None = None
        self.operators: Operators | None = None
        self._listen: list[str] = []

    @property
    def state_folder(self) -> Path:
        """Where this node keeps its state."""
        return self.options.node.state_folder or platformdirs.user_data_path("vigilnet", appauthor=False)

    async def start(self) -> None:
        """Start every room.

        Raises:
            ConfigurationError: a setting cannot be used.
            EnvironmentRefusedError: this machine refuses (second instance, port in use, no rights).
        """
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        options = self.options
        self._undo.push_async_callback(self._tasks.close)
        store = self._store = Store(self.state_folder)
        self._undo.callback(store.close)
        store.lock()
        store.unlock(self._passphrase)
        self._passphrase = None
        phase = options.node.phase
        if options.relay.enabled and phase is not Phase.DISCOVER:
            self._own = OwnRecord(
                store,
                self._clock,
                self._random_bytes,
                options.node.network,
                options.node.work_bits,
                options.node.key_file,
            )
        transports = self._transports = await asyncio.to_thread(
            NodeTransports, options, store, self.state_folder, self._clock, self._random_bytes
        )
        self._undo.push_async_callback(transports.close)
        known = self._known = self._open_records(store)
        passes_on = self._own is not None and not options.relay.is_unlisted
        held = self._held_invites(store, known, transports, passes_on=passes_on)
        links = self._links = LinkService(
            options.link,
            self._clock,
            transports.by_kind,
            known,
            local=self._own,
            admit=known.admit,
            network=options.node.network,
            random_bytes=self._random_bytes,
            can_dial=transports.can_dial,
            dials_as_client=options.relay.is_unlisted,
            local_addresses=preferred_addresses,
        )
        self._undo.push_async_callback(links.close)
        known.on_renewed = links.record_renewed
        links.is_on_lan = known.is_on_lan
        links.translate = Nat64(self._clock, preferred_addresses).address_for
        circuits = self._circuits = CircuitService(
            links, options.streams, self._clock, self._random_bytes, options.node.network
        )
        self._undo.push_async_callback(circuits.close)
        links.on_link = circuits.attach
        if self._own is not None:
            await self._start_relay(self._own, known, links, circuits, transports)
        discovery = self.discovery = Discovery(
            options, self._clock, known, self._own, transports.htx.given, held, self._introductions
        )
        discovery.load()
        self._undo.push_async_callback(discovery.close)
        if self._introductions is not None:
            self._introductions.start()
        self._start_sources(discovery, links, circuits, passes_on=passes_on)
        self._tasks.start("keep cache", keep_cache(store, known.view))
        if phase is Phase.FULL and (options.ingress.socks_enabled or options.ingress.http_enabled):
            pool = self._start_client(store, known, circuits)
            if held is not None:
                self._use_unlisted(pool, held, known, circuits)
            if not passes_on and options.node.peers_folder is None:
                discovery.start_fetching(circuits, pool.guards, pool.had_circuit, self._random_bytes)
            await self._start_device(pool)
        elif options.relay.is_unlisted and options.node.peers_folder is None:  # its clients ask it for relays
            discovery.start_fetching(circuits, load_guards(store), lambda: True, self._random_bytes)
        mode = options.node.mode or mode_of(is_relay=options.relay.enabled, is_exit=options.exit.enabled)
        operators = self.operators = Operators(
            options, mode, self._clock, self._random_bytes, known, self._own if passes_on else None
        )
        self._undo.push_async_callback(operators.close)
        operators.start(self.state_folder, self._pool, links)
        self._tasks.start("look", self._look())
        self._state = NodeState.CONNECTING if self._pool is not None else NodeState.SERVING

    @staticmethod
    def _held_invites(
        store: Store, known: KnownRelays, transports: NodeTransports, *, passes_on: bool
    ) -> HeldInvites | None:
        """Return our invites to unlisted relays; None on a node that would tell others of these relays."""
        held = HeldInvites(store, known.view)
        if passes_on:
            for identity in held.identities():
                known.view.forget(identity)  # from the cache of a time when it was a client
            return None
        transports.htx.secret_for = held.secret_for
        return held

    def _start_sources(
        self, discovery: Discovery, links: LinkService, circuits: CircuitService, *, passes_on: bool
    ) -> None:
        """Begin to hear of relays, and on a listed relay to be heard of."""
        if self.options.relay.is_unlisted:
            discovery.start_directory(circuits, self._random_bytes)
            return
        discovery.start_lan(self._random_bytes)
        if passes_on and self.options.discovery.uses("gossip"):
            discovery.start_gossip(links, circuits, self._random_bytes)
            if self._engine is not None:
                discovery.start_dht(self._engine, self._random_bytes)
            discovery.start_directory(circuits, self._random_bytes)

    def _use_unlisted(
        self, pool: CircuitPool, held: HeldInvites, known: KnownRelays, circuits: CircuitService
    ) -> None:
        """Go through the unlisted relays that we were invited to, and keep their records fresh."""
        pool.guards.entries = held.identities
        renewal = UnlistedRenewal(circuits, known, held.identities, self._clock)
        self._tasks.start("renew unlisted", renewal.run())

    def _open_records(self, store: Store) -> KnownRelays:
        settings = self.options.node
        own = self._own.identity if self._own is not None else None
        view = PeerView(settings.network, settings.work_bits, own)
        discovery = self.options.discovery
        cache_s = discovery.cache_s if discovery.uses("cache") else 0.0
        load_cache(store, view, self._clock.wall(), cache_s)
        self._undo.callback(save_cache, store, view)
        folder = RecordFolder(settings.peers_folder) if settings.peers_folder is not None else None
        return KnownRelays(view, self._clock, folder, settings.peer_files)

    async def _start_relay(
        self,
        own: OwnRecord,
        known: KnownRelays,
        links: LinkService,
        circuits: CircuitService,
        transports: NodeTransports,
    ) -> None:
        options = self.options
        await asyncio.to_thread(own.prepare)
        capabilities = Capability.RELAY
        if options.discovery.uses("gossip") or options.relay.is_unlisted:
            capabilities |= Capability.DIRECTORY
        summary = self._start_exit()
        if summary is not None:
            capabilities |= Capability.EXIT
        circuits.enable_relay(own.identity, own, known, self._exit)
        await self._start_origin(known, transports.htx)
        relay = options.relay
        at = len(self._listen)
        plain = await self._listen_all(links, TransportKind.TCP, relay.listen, relay.advertise, "")
        hidden = await self._listen_all(
            links, TransportKind.HTX, relay.listen_htx, relay.advertise_htx, "_htx"
        )
        htx = transports.htx
        if relay.listen_htx and not hidden:
            hidden = htx.advertised(host_and_port(self._listen[-1], "relay.listen_htx")[1])
        others = await transports.listen(links)
        self._listen += transports.listening
        reach = self._reach = Reach(options, self._clock)
        self._undo.push_async_callback(reach.close)
        bound = [host_and_port(text, "relay.listen") for text in self._listen[at : at + len(relay.listen)]]
        if not plain and not relay.advertise:
            plain = await reach.endpoints(bound)
        if not relay.is_unlisted:
            capabilities |= self._start_engine(bound, reach)
        software = f"vigilnet {program_version()}"[:24]

        def describe() -> None:
            plains = [PeerAddress.tcp(*at) for at in plain]
            dialled = [*(htx.address(*at) for at in hidden), *others, *plains]
            is_reachable = reach.is_reachable(address.host for address in dialled)
            vias = [] if is_reachable or self._introductions is None else self._introductions.addresses()
            offered = capabilities | (introduces if is_reachable else Capability(0))
            if is_reachable or not vias:  # with neither, it serves its LAN
                offered |= Capability.GUARD
            own.describe([*dialled, *vias], offered, summary, software, options.relay.country)

        def address_changed() -> None:
            plain[:] = reach.mapped_endpoints((plain or bound)[0][1]) or plain
            describe()

        hosts = [*(host for host, _ in (*hidden, *plain)), *(address.host for address in others)]
        introduces = self._start_introductions(
            own, known, links, transports, describe, is_behind=not reach.is_reachable(hosts)
        )
        if not hosts and self._introductions is None:
            _log.warning(NO_ADDRESS)
        describe()
        reach.on_changed = address_changed if plain or bound else reach.on_changed
        own.refresh()
        self._publish(own)
        self._tasks.start("keep record", self._keep_record(own, htx, describe))

    def _start_exit(self) -> ExitSummary | None:
        """Serve as an exit, if the settings say so; return what our record then tells of it."""
        options = self.options.exit
        if not options.enabled:
            return None
        check_consent(has_accepted=options.accept_notice, abuse_contact=options.abuse_contact)
        _log.warning(EXIT_NOTICE)
        exits = self._exit = ExitService(options, self._clock)
        self._undo.push_async_callback(exits.close)
        ports = exits.policy.summary()
        return ExitSummary(ports.kind == 0, ports.ranges)

    def _start_introductions(
        self,
        own: OwnRecord,
        known: KnownRelays,
        links: LinkService,
        transports: NodeTransports,
        describe: Callable[[], None],
        *,
        is_behind: bool,
    ) -> Capability:
        """Introduce others, and be introduced where nobody can dial us; return what our record offers."""
        options = self.options
        if not options.discovery.uses("gossip") or options.relay.is_unlisted:
            return Capability(0)

        def changed() -> None:
            describe()
            if own.refresh():
                self._publish(own)

        changes = RecordChanges(changed, self._clock)
        self._undo.callback(changes.close)
        service = self._introductions = introduction_service(
            options, links, known, transports.plain, self._clock, self._random_bytes,
            own=own.identity, is_behind=is_behind and options.relay.introduced, changed=changes.changed,
        )  # fmt: skip
        known.listeners.append(service.relays_changed)
        self._undo.push_async_callback(service.close)
        return Capability.INTRODUCER

    def _start_engine(self, bound: list[tuple[str, int]], reach: Reach) -> Capability:
        """Join the DHT, if the settings say so; return what our record then offers more."""
        options = self.options
        if not options.discovery.uses("dht") or options.node.peers_folder is not None:
            return Capability(0)
        self._engine = open_engine(bound, options.node.network)
        if self._engine is None:
            if bound:
                reach.dht_problem = "The package is missing, or the UDP port of its number is taken."
            return Capability(0)
        self._undo.push_async_callback(self._engine.close)
        return Capability.DHT

    async def _start_origin(self, known: KnownRelays, htx: NodeHtx) -> None:
        """Begin to look at the web server behind us, if there is one."""
        view = known.view
        watch = await htx.watch_origin(
            lambda: (record for record in known.relays() if view.is_reached(record.identity))
        )
        if watch is not None:
            self._tasks.start("look at the origin", watch.run())
        if htx.site is not None:
            self._tasks.start("keep the site", htx.site.run())
        if htx.certificate is not None:
            self._tasks.start("keep the certificate", htx.certificate.run())

    async def _listen_all(
        self,
        links: LinkService,
        transport: TransportKind,
        listen: Sequence[str],
        advertise: Sequence[str],
        suffix: str,
    ) -> list[tuple[str, int]]:
        """Listen at all of `listen`; return where others reach us."""
        bound = [await self._listen_at(links, text, transport, f"relay.listen{suffix}") for text in listen]
        advertised = [host_and_port(text, f"relay.advertise{suffix}") for text in advertise] or bound
        return [(host, port) for host, port in advertised if not is_unspecified(host)]

    async def _listen_at(
        self, links: LinkService, text: str, transport: TransportKind, key: str
    ) -> tuple[str, int]:
        host, port = host_and_port(text, key, least_port=0)
        async with listening(key, text):
            listener = await links.listen(host, port, transport)
        self._listen.append(join(host, listener.port))
        return host, listener.port

    def _start_client(self, store: Store, known: KnownRelays, circuits: CircuitService) -> CircuitPool:
        options = self.options
        guards = load_guards(store)
        self._tasks.start("keep guards", self._keep_guards(store, guards))
        pool = self._pool = CircuitPool(
            circuits,
            known,
            options.circuits,
            self._clock,
            self._random_bytes,
            guards,
            is_private_network=options.link.allow_private_addresses,
            is_vouched=known.is_vouched,
        )
        self._undo.push_async_callback(pool.close)
        self._pools = [pool]
        circuits.client.on_closed = self._circuit_closed
        known.listeners.append(pool.relays_changed)
        dialler: Dialler = pool
        if options.node.compat and self._exit is not None:
            own = OwnExit(pool, self._exit, lambda: bool(known.relays()), options.streams, self._clock)
            self._undo.callback(own.close)
            dialler = own
        ingress = self._ingress = IngressService(options.ingress, dialler)
        self._undo.push_async_callback(ingress.close)
        ingress.start()
        pool.start()
        return pool

    def _circuit_closed(self, circuit: ClientCircuit, error: CircuitClosedError) -> None:
        for pool in self._pools:
            pool.circuit_closed(circuit, error)

    def _pool_for_exit(self, exit_: str) -> CircuitPool:
        """Return a pool of its own for programs that are bound to one exit: a country or a peer id.

        Raises:
            ConfigurationError: neither.
        """
        if self._circuits is None or self._known is None or self._pool is None:
            raise LocalProtocolError("node: asked for a pool before it was started")
        country, peer = (exit_, "") if len(exit_) == 2 else ("", exit_)
        pool = CircuitPool(
            self._circuits,
            self._known,
            replace(self.options.circuits, build_ahead=1, exit_country=country, exit_peer=peer),
            self._clock,
            self._random_bytes,
            self._pool.guards,
            is_private_network=self.options.link.allow_private_addresses,
        )
        self._pools.append(pool)
        self._undo.push_async_callback(pool.close)
        self._known.listeners.append(pool.relays_changed)
        pool.start()
        return pool

    async def _start_device(self, pool: CircuitPool) -> None:
        ports = tuple(sorted({host_and_port(text, "relay.listen")[1] for text in self._listen}))
        device = self.device = DeviceService(
            self.options.device, pool, self._clock, ports, self._pool_for_exit
        )
        self._undo.push_async_callback(device.close)
        await device.start()

    def _publish(self, own: OwnRecord) -> None:
        """Put our record where the others look for it."""
        if not own.record:  # no address to tell yet
            return
        if self.discovery is not None:
            self.discovery.own_changed()
        folder = self.options.node.peers_folder
        if folder is not None and not self.options.relay.is_unlisted:
            RecordFolder(folder).publish(peer_id_text(own.identity), own.record)

    async def _keep_record(self, own: OwnRecord, htx: NodeHtx, describe: Callable[[], None]) -> None:
        """Rotate keys and issue records when they are due."""
        while True:
            await asyncio.sleep(KEEP_S)
            try:
                if htx.keys is not None:
                    htx.keys.rotate()
                    describe()
                if own.refresh():
                    self._publish(own)
            except EnvironmentRefusedError as error:
                _log.warning("own record could not be renewed, trying again", reason=str(error))

    async def _keep_guards(self, store: Store, guards: Guards) -> None:
        """Write our guards down whenever they changed, so that not even a crash makes us pick others."""
        saved = list(guards.kept), list(guards.left)
        while True:
            await asyncio.sleep(LOOK_S)
            if (list(guards.kept), list(guards.left)) != saved:
                saved = list(guards.kept), list(guards.left)
                save_guards(store, guards)

    async def _look(self) -> None:
        """Look at the folder of records again and again."""
        while self._known is not None:
            await asyncio.sleep(LOOK_S)
            self._known.look()

    async def stop(self) -> None:
        """Stop every room, top down; safe to call twice."""
        self._state = NodeState.STOPPING
        await self._undo.aclose()

    async def new_identity(self) -> int:
        """Let no circuit that exists take new streams; return how many those are."""
        if self._pool is None or self._links is None:
            return 0
        retired = len(list(self._pool.pool.entries))
        self._pool.new_identity()
        self._links.new_session()
        return retired

    def invite(self, peer_id: str) -> InviteStatus:
        """Return an invite to this relay (empty text), or to one that it knows."""
        return self._discovery_room().invites.invite(peer_id)

    def add_invite(self, uri: str) -> InviteStatus:
        """Take in an invite."""
        return self._discovery_room().invites.add_invite(uri)

    def welcome_list(self) -> WelcomeStatus:
        """Return a welcome list of the relays that we know."""
        return self._discovery_room().invites.welcome_list()

    def peers(self) -> list[PeerStatus]:
        """Return what is known of other relays, and how they are reached."""
        rooms = self._rooms()
        return views.peers(rooms) if rooms is not None else []

    def paths(self) -> list[PathStatus]:
        """Return our open paths."""
        rooms = self._rooms()
        return views.paths(rooms) if rooms is not None else []

    def exits(self, country: str = "", port: int = 0) -> list[ExitStatus]:
        """Return the known exits of a country that accept a port."""
        rooms = self._rooms()
        return views.exits(rooms, country, port) if rooms is not None else []

    def client_facts(self) -> ClientFacts | None:
        """Return where our client side stands; None if there is none."""
        rooms = self._rooms()
        return views.client_facts(rooms) if rooms is not None else None

    def carried(self) -> tuple[int, int]:
        """Return octets received and sent over links since the start."""
        return self._links.carried() if self._links is not None else (0, 0)

    def new_path(self, circuit_id: int) -> bool:
        """Let a circuit take no new streams; False: there is no such one."""
        circuit = self._circuit(circuit_id)
        if circuit is None or self._pool is None:
            return False
        self._pool.replace_circuit(circuit)
        return True

    def keep_path(self, circuit_id: int, *, is_kept: bool) -> bool:
        """Have the app of a circuit stay on it, or no longer; False: there is none of this number in use."""
        circuit = self._circuit(circuit_id)
        return (
            circuit is not None and self._pool is not None and self._pool.pool.keep(circuit, is_kept=is_kept)
        )

    def close_circuit(self, circuit_id: int) -> bool:
        """End a circuit with its streams; False: there is no such one."""
        circuit = self._circuit(circuit_id)
        if circuit is None:
            return False
        circuit.close()
        return True

    def choose_paths(self, options: CircuitsOptions) -> None:
        """Go on with other settings of circuits, at once."""
        self.options = replace(self.options, circuits=options)
        if self._pool is not None:
            self._pool.reconfigure(options)

    def _circuit(self, circuit_id: int) -> ClientCircuit | None:
        return next((ours for ours in self._our_circuits() if ours.circuit_id == circuit_id), None)

    def _rooms(self) -> Rooms | None:
        if self._known is None or self._links is None:
            return None
        return Rooms(self._clock, self._known, self._links, self._our_circuits(), self._pool)

    def reachability(self) -> list[ReachFinding]:
        """Return what is found about how this node is connected, for the doctor."""
        if self._known is None or self._links is None:
            return []
        reach = self._reach or Reach(self.options, self._clock)
        own = self._own.parsed if self._own is not None else None
        return judge(reach.facts(self._known, self._links, own, self._introductions))

    async def find_peer(self, peer_id: str) -> list[PeerStatus]:
        """Return one relay, looked for in the DHT if it is not known; nothing if it is not found."""
        await self._discovery_room().find(peer_id)
        return [peer for peer in self.peers() if peer.peer_id == peer_id]

    def _discovery_room(self) -> Discovery:
        if self.discovery is None:
            raise LocalProtocolError("node: asked before it was started")
        return self.discovery

    def status(self) -> NodeStatus:
        """Return a snapshot of the node."""
        ours = self._our_circuits()
        is_open = any(circuit.state is CircuitState.OPEN for circuit in ours)
        state = self._state
        if state is NodeState.CONNECTING and is_open:
            state = NodeState.CONNECTED
        return NodeStatus(
            version=program_version(),
            pid=os.getpid(),
            state=state,
            uptime_s=round(self._clock.now() - self._started_at, 3),
            network=self.options.node.network,
            phase=self.options.node.phase.name.lower(),
            roles=self._roles(),
            peer_id=peer_id_text(self._own.identity) if self._own is not None else "",
            socks=self._address_of("socks"),
            http_proxy=self._address_of("http"),
            listen=tuple(self._listen),
            peers=len(self._known.view) if self._known is not None else 0,
            links=len(self._links.snapshot()) if self._links is not None else 0,
            circuits=sum(circuit.state is CircuitState.OPEN for circuit in ours),
            relayed_circuits=self._relayed(),
            streams=sum(len(circuit.mux.streams) for circuit in ours),
            clock_offset_s=self._links.clock_offset_s() if self._links is not None else None,
            first_circuit_ms=self._pool.first_circuit_ms if self._pool is not None else None,
            origin=self._transports.htx.origin_state if self._transports is not None else "",
            intercepted=self._transports.htx.count_intercepted() if self._transports is not None else 0,
        )

    def work(self) -> WorkDone:
        """Return what the node did since it started."""
        pool, exits = self._pool, self._exit
        relay = self._circuits.relay if self._circuits is not None else None
        done = exits.snapshot() if exits is not None else None
        return WorkDone(
            built=pool.built if pool is not None else 0,
            failed=pool.failed if pool is not None else 0,
            last_error=pool.last_error if pool is not None else "",
            relayed_cells=0
            if relay is None
            else relay.ended_cells + sum(circuit.relayed_cells for circuit in relay.circuits),
            exit=None
            if done is None
            else ExitWork(done.accepted, done.refused, done.failed, done.octets, done.lost_datagrams),
        )

    def _address_of(self, proxy: str) -> str:
        """Return where a proxy listens as host:port; empty when it is off."""
        if self._ingress is None:
            return ""
        found = self._ingress.socks_address if proxy == "socks" else self._ingress.http_address
        return join(*found) if found is not None else ""

    def _roles(self) -> tuple[str, ...]:
        roles = [("client", self._pool), ("relay", self._own), ("exit", self._exit)]
        return tuple(name for name, room in roles if room is not None)

    def _relayed(self) -> int:
        relay = self._circuits.relay if self._circuits is not None else None
        return len(relay.circuits) if relay is not None else 0

    def _our_circuits(self) -> Sequence[ClientCircuit]:
        return self._circuits.client.circuits if self._circuits is not None else ()

    def circuits(self) -> list[CircuitStatus]:
        """Return snapshots of our own circuits."""
        now = self._clock.now()
        isolation = (
            {entry.circuit: entry.isolation for entry in self._pool.pool.entries} if self._pool else {}
        )
        return [
            CircuitStatus(
                id=circuit.circuit_id,
                state=circuit.state.value,
                hops=tuple(
                    HopStatus(peer_id_text(hop.identity), hop.suite.name.lower()) for hop in circuit.hops
                ),
                age_s=round(now - circuit.created_at, 3),
                streams=len(circuit.mux.streams),
                build_ms=round((circuit.opened_at - circuit.created_at) * 1000, 3)
                if circuit.opened_at
                else None,
                isolation=isolation.get(circuit) or "",
            )
            for circuit in self._our_circuits()
        ]

    def streams(self) -> list[StreamStatus]:
        """Return snapshots of our own streams; targets are for the node's own user alone."""
        now = self._clock.now()
        return [
            StreamStatus(
                id=stream.identifier,
                circuit=circuit.circuit_id,
                target=join(stream.target.host, stream.target.port) if stream.target else "",
                state="open" if stream.connected_to is not None else "opening",
                age_s=round(now - stream.created_at, 3),
                sent=stream.sent_octets,
                received=stream.received_octets,
            )
            for circuit in self._our_circuits()
            for stream in circuit.mux.streams.values()
        ]
