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
from vigilnet.base.errors import LocalProtocolError
from vigilnet.base.safelog import get_logger
from vigilnet.base.store_io import Store
from vigilnet.base.tasks import TaskGroup
from vigilnet.base.version import program_version
from vigilnet.node import views
from vigilnet.node.client_side import ClientSide
from vigilnet.node.discovery import Discovery
from vigilnet.node.ground import Ground
from vigilnet.node.guards_state import load_guards
from vigilnet.node.known_relays import KnownRelays
from vigilnet.node.modes import mode_of
from vigilnet.node.operators import Operators
from vigilnet.node.options import Options, Phase
from vigilnet.node.own_record import OwnRecord
from vigilnet.node.peer_cache import keep_cache, load_cache, save_cache
from vigilnet.node.reach import Reach
from vigilnet.node.relay_side import RelaySide
from vigilnet.node.status import (
    CircuitStatus,
    ClientFacts,
    ExitStatus,
    ExitWork,
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
from vigilnet.peer.identity import peer_id_text
from vigilnet.peer.records_io import RecordFolder
from vigilnet.peer.view import PeerView
from vigilnet.routing.circuits.pool import Options as CircuitsOptions
from vigilnet.routing.circuits.service import CircuitPool
from vigilnet.routing.discovery.reachability import ReachFinding, judge
from vigilnet.traffic.circuit.client import CircuitState, ClientCircuit
from vigilnet.traffic.circuit.service import CircuitService
from vigilnet.traffic.device.service import DeviceService
from vigilnet.traffic.exit.service import ExitService
from vigilnet.traffic.link.dial_io import Nat64
from vigilnet.traffic.link.service import LinkService
from vigilnet.traffic.transport.local_address_io import preferred_addresses

LOOK_S: Final = 1.0  # between two looks at the folder of records

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
        self._own: OwnRecord | None = None
        self._transports: NodeTransports | None = None
        self._known: KnownRelays | None = None
        self._links: LinkService | None = None
        self._circuits: CircuitService | None = None
        self._relay: RelaySide | None = None
        self._client: ClientSide | None = None
        self.discovery: Discovery | None = None
        self.operators: Operators | None = None

    @property
    def device(self) -> DeviceService | None:
        """What takes the whole device's traffic; None before the start, and without a client's side."""
        return self._client.device if self._client is not None else None

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
        known.on_renewed = links.dialler.record_renewed
        links.dialler.is_on_lan = known.is_on_lan
        links.dialler.translate = Nat64(self._clock, preferred_addresses).address_for
        circuits = self._circuits = CircuitService(
            links, options.streams, self._clock, self._random_bytes, options.node.network
        )
        self._undo.push_async_callback(circuits.close)
        links.on_link = circuits.attach
        ground = Ground(
            options, self._clock, self._random_bytes, store, self._undo, self._tasks,
            transports, known, links, circuits,
        )  # fmt: skip
        if self._own is not None:
            self._relay = RelaySide(ground, self._own)
            await self._relay.start()
        introductions = self._relay.introductions if self._relay is not None else None
        discovery = self.discovery = Discovery(
            options, self._clock, known, self._own, transports.htx.given, held, introductions
        )
        discovery.load()
        self._undo.push_async_callback(discovery.close)
        if self._relay is not None:
            self._relay.on_published = discovery.own_changed
        if introductions is not None:
            introductions.start()
        self._start_sources(discovery, links, circuits, passes_on=passes_on)
        self._tasks.start("keep cache", keep_cache(store, known.view))
        if phase is Phase.FULL and (options.ingress.socks_enabled or options.ingress.http_enabled):
            client = self._client = ClientSide(ground, self._exit)
            client.start()
            pool = client.pool
            if held is not None:
                self._use_unlisted(pool, held, known, circuits)
            if not passes_on and options.node.peers_folder is None:
                discovery.start_fetching(circuits, pool.guards, pool.had_circuit, self._random_bytes)
            await client.start_device(self._listen)
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
            if self._relay is not None and self._relay.engine is not None:
                discovery.start_dht(self._relay.engine, self._random_bytes)
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
        return self._client.new_identity() if self._client is not None else 0

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
        if self._client is not None:
            self._client.choose_paths(options)

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
        reach = self._relay.reach if self._relay is not None else Reach(self.options, self._clock)
        introductions = self._relay.introductions if self._relay is not None else None
        own = self._own.parsed if self._own is not None else None
        return judge(reach.facts(self._known, self._links, own, introductions))

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
            socks=self._client.proxy("socks") if self._client is not None else "",
            http_proxy=self._client.proxy("http") if self._client is not None else "",
            listen=tuple(self._listen),
            peers=len(self._known.view) if self._known is not None else 0,
            links=self._links.count if self._links is not None else 0,
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

    @property
    def _pool(self) -> CircuitPool | None:
        return self._client.pool if self._client is not None else None

    @property
    def _exit(self) -> ExitService | None:
        return self._relay.exit if self._relay is not None else None

    @property
    def _listen(self) -> list[str]:
        return self._relay.listen if self._relay is not None else []

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
        rooms = self._rooms()
        return views.circuits(rooms) if rooms is not None else []

    def streams(self) -> list[StreamStatus]:
        """Return snapshots of our own streams; targets are for the node's own user alone."""
        rooms = self._rooms()
        return views.streams(rooms) if rooms is not None else []
