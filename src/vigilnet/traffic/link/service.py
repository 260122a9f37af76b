"""All links of a node: one per neighbour, dialled when asked for, accepted when allowed.

Other rooms ask `connect` and set `on_link`; they get a `LinkPort` (see `ports`). Who we are comes in as
a `LocalNode` (None: an anonymous client), whom we know as a `RecordSource`.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from vigilnet.base.clock import Clock
from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError, VigilnetError
from vigilnet.base.safelog import get_logger
from vigilnet.base.tasks import TaskGroup
from vigilnet.crypto.noise import Pattern
from vigilnet.traffic.link.admission import Admission, Ticket
from vigilnet.traffic.link.dial_io import (
    LinkUnavailableError,
    Translate,
    dial_first,
    dial_order,
    is_private,
    never_in_the_open,
)
from vigilnet.traffic.link.handshake import Channel, HandshakeResult, Initiator, Responder
from vigilnet.traffic.link.link_io import Link, ReceiveBuffer
from vigilnet.traffic.link.machine import CloseReason, LinkMachine
from vigilnet.traffic.link.neighbours import (
    RELAY_BIT,
    BackOffs,
    ClockOffsets,
    DialAddress,
    LinkRecord,
    LinkStatus,
    LocalNode,
    RecordSource,
)
from vigilnet.traffic.link.options import Options
from vigilnet.traffic.link.ports import LinkPort, RunReceiver
from vigilnet.traffic.link.wire import LinkSuite
from vigilnet.traffic.transport.carrier import Carrier, KemCarrier, Listener, Transport

# Our choice.
AT_ONCE_S: Final = 10.0  # two links of opposite direction this close were dialled at once
SHORT_LIFE_S: Final = 10.0  # a link that lives less counts as a failed dial
JUMP_S: Final = 4.0  # of a clock, beyond what a busy loop explains
MAX_CLIENT_KEYS: Final = 1024
MAX_RETIRED: Final = 2  # replaced links to one neighbour
UNUSED_S: Final = 10.0  # a replaced link that carried nothing
UNSPOKEN_S: Final = 600.0  # a replaced link on which we sent nothing for so long

_log = get_logger(__name__)


class _Sink:
    """Takes runs when no circuit room is there."""

    def run_received(self, buffer: memoryview, at: int, cells: int) -> None:
        pass

    def link_closed(self) -> None:
        pass


@dataclass
class Dials:
    """What became of dials since the start, for whoever asks how this node is connected."""

    worked: int = 0
    failed: int = 0
    was_dialled: bool = False  # by somebody outside of our own network


@dataclass
class _Tables:
    """Every link the service knows, by what it is at present."""

    neighbours: dict[bytes, Link] = field(default_factory=dict)  # the link to use
    others: set[Link] = field(default_factory=set)  # of anonymous clients, and replaced ones
    accepted: dict[Link, Ticket] = field(default_factory=dict)  # opened by the other end, also unfinished
    opening: dict[Link, "asyncio.Future[None]"] = field(default_factory=dict)  # opened by us, unfinished


class LinkService:
    """All links of one node; make it inside the running loop.

    Args:
        options: the room's settings.
        clock: the time.
        transports: what we can dial and listen with, by transport number; earlier ones are preferred.
        records: whom we know.
        local: who we are; None for an anonymous client, which cannot listen.
        admit: checks the encoded record that an initiator at an address shows (form, signature, times,
            work) and returns the record to use for it, or raises RemoteProtocolError.
        network: the private network's name.
        random_bytes: source of secrets.
        can_dial: whether an address is one for us, beside having a transport for it.
        dials_as_client: dial without showing who we are (an unlisted relay).
        local_addresses: what changes when we come into another network; looked at every tick.
    """

    def __init__(
        self,
        options: Options,
        clock: Clock,
        transports: Mapping[int, Transport],
        records: RecordSource,
        *,
        local: LocalNode | None,
        admit: Callable[[bytes, str], LinkRecord],
        network: str,
        random_bytes: Callable[[int], bytes],
        can_dial: Callable[[DialAddress], bool] = lambda _: True,
        dials_as_client: bool = False,
        local_addresses: Callable[[], object] = lambda: None,
    ) -> None:
        self._options = options
        self._can_dial = can_dial
        self._local_addresses = local_addresses
        self._addresses = local_addresses()
        self._clock = clock
        self._transports = transports
        self._records = records
        self._local = local
        self._shown = None if dials_as_client else local  # who we are to those whom we dial
        self._admit = admit
        self._network = network
        self._random_bytes = random_bytes
        self._buffer = ReceiveBuffer()
        self._tables = _Tables()
        self._listeners: list[Listener] = []
        self._dials: dict[bytes, asyncio.Task[Link]] = {}
        self._back_offs = BackOffs(options, random_bytes)
        self.dials = Dials()
        self._client_keys: dict[bytes, X25519PrivateKey] = {}
        self._clocks = ClockOffsets()
        self._clients: Counter[bytes] = Counter()  # open links of anonymous clients, by address prefix
        self._kept: set[bytes] = set()
        self._is_closed = False
        self._carried = (0, 0)  # octets in and out over links that are gone
        self._tasks = TaskGroup("links")
        self._loop = asyncio.get_running_loop()
        now = clock.now()
        self._admission = (
            Admission(options, local.identity, network, random_bytes, now) if local is not None else None
        )
        self._ticked_at = (now, clock.wall())
        self._tick_timer = self._loop.call_later(options.tick_s, self._tick)
        self.on_link: Callable[[LinkPort], RunReceiver] = lambda _: _Sink()
        self.on_gossip: Callable[[Link, bytes], None] = lambda *_: None
        self.on_neighbour: Callable[[bytes], None] = lambda _: None  # its link opened, changed or closed
        self.is_on_lan: Callable[[bytes], bool] = lambda _: False  # then private addresses may be dialled
        self.introduce: Callable[[bytes], Awaitable[None]] | None = (
            None  # has one dial us that we cannot dial
        )
        self.translate: Translate | None = None  # tells how else an IPv4 address is reached (NAT64)

    # --- what other rooms ask --------------------------------------------------------------------

    def get(self, identity: bytes) -> Link | None:
        """Return the open link to `identity`, if there is one."""
        return self._tables.neighbours.get(identity)

    async def connect(self, identity: bytes) -> Link:
        """Return the open link to `identity`; dial if there is none, or join a dial under way.

        Raises:
            LinkUnavailableError: unknown, unreachable, or failed so lately that we wait first.
        """
        link = self.get(identity)
        if link is not None:
            return link
        return await asyncio.shield(self._start_dial(identity))

    async def verify(self, identity: bytes) -> None:
        """Dial `identity` even if it has a link to us: its record's address leads to it if this returns.

        The new link takes the place of the one before, unless the other end dialled just now.

        Raises:
            LinkUnavailableError: as `connect`.
        """
        await asyncio.shield(self._start_dial(identity))

    async def listen(self, host: str, port: int, transport: int = 1) -> Listener:
        """Accept links at `host`, an address; raises OSError if the port is taken."""
        return await self.listen_by(lambda accept: self._transports[transport].listen(host, port, accept))

    async def listen_by(self, begin: Callable[[Callable[[Carrier], None]], Awaitable[Listener]]) -> Listener:
        """Accept links that `begin` is told to hand over, where a transport has another way to listen."""
        if self._admission is None:
            raise LocalProtocolError("link service: an anonymous client does not listen")
        listener = await begin(self._accept)
        self._listeners.append(listener)
        return listener

    def keep(self, identity: bytes) -> None:
        """Hold a link to `identity` open: dial again whenever it is lost, until `release`."""
        self._kept.add(identity)
        self._redial(identity)

    def release(self, identity: bytes) -> None:
        """Stop dialling `identity` by ourselves."""
        self._kept.discard(identity)

    def network_changed(self) -> None:
        """Our addresses or routes changed: probe every link at once, and forget failed dials."""
        self._back_offs.clear()
        for link in self._all_links():
            link.probe()
        for identity in self._kept:
            self._redial(identity)

    def record_renewed(self, identity: bytes) -> None:
        """A newer record is known: what failed at the old addresses delays no dial to the new ones."""
        self._back_offs.succeeded(identity)

    def new_session(self) -> None:
        """Take fresh link keys for all links dialled from now on (anonymous clients)."""
        self._client_keys.clear()

    def clock_offset_s(self) -> float | None:
        """What to add to our wall clock, by the median of at least three relays; None while unknown."""
        return self._clocks.median()

    @property
    def count(self) -> int:
        """How many links there are."""
        return len(self._tables.neighbours) + len(self._tables.others)

    def snapshot(self) -> tuple[LinkStatus, ...]:
        """Return what there is, for the status."""
        now = self._clock.now()
        return tuple(
            LinkStatus(
                link.peer,
                link.is_initiator,
                now - (link.opened_at or now),
                link.machine.round_trip_s,
                link.octets_sent,
                link.octets_received_total,
                link.machine.updates,
                link.retired_at is not None,
                link.dialled,
                *link.shaping_cost,
                link.shape,
            )
            for link in self._all_links()
        )

    def carried(self) -> tuple[int, int]:
        """Return octets received and sent over all links, also those that are gone."""
        received, sent = self._carried
        links = self._all_links()
        return (
            received + sum(link.octets_received_total for link in links),
            sent + sum(link.octets_sent for link in links),
        )

    async def close(self) -> None:
        """Close listeners, dials and links; safe to call twice."""
        self._is_closed = True
        self._tick_timer.cancel()
        for listener in self._listeners:
            listener.close()
        for link in [*self._tables.opening, *self._tables.accepted, *self._all_links()]:
            link.close(CloseReason.SHUTTING_DOWN)
        await self._tasks.close()

    def _all_links(self) -> list[Link]:
        return [*self._tables.neighbours.values(), *self._tables.others]

    # --- dialling --------------------------------------------------------------------------------

    def _start_dial(self, identity: bytes) -> "asyncio.Task[Link]":
        dial = self._dials.get(identity)
        if dial is None:
            self._check_back_off(identity)
            dial = self._tasks.start("dial", self._dial(identity))
            self._dials[identity] = dial
            dial.add_done_callback(lambda _: self._dials.pop(identity, None))
        return dial

    def _check_back_off(self, identity: bytes) -> None:
        wait = self._back_offs.wait_s(identity, self._clock.now())
        if wait > 0:
            failures = self._back_offs.failures(identity)
            raise LinkUnavailableError(f"link: {failures} failed dials, next one in {wait:.1f} s")

    async def _dial(self, identity: bytes) -> Link:
        try:
            return await self._try_addresses(identity)
        except (VigilnetError, OSError) as error:
            self._back_offs.failed(identity, self._clock.now())
            self.dials.failed += 1
            if isinstance(error, LinkUnavailableError | LocalProtocolError):
                raise
            raise LinkUnavailableError(f"link: {_reason(error)}") from error

    async def _try_addresses(self, identity: bytes) -> Link:
        record = self._records.get(identity)
        if record is None:
            raise LinkUnavailableError("link: no record of this peer is known")
        if self._local is not None and identity == self._local.identity:
            raise LinkUnavailableError("link: this peer is ourselves")
        options = self._options
        addresses = dial_order(
            filter(self._can_dial, record.addresses),
            self._transports,
            allow_private=self._may_dial_private(identity),
        )
        addresses = never_in_the_open(addresses)
        if not addresses and self.introduce is not None:
            return await self._have_dialled(identity, self.introduce)
        if not addresses:
            raise LinkUnavailableError("link: the peer's record has no address that we can and may dial")
        while True:
            carrier, address = await dial_first(
                addresses,
                self._transports,
                self._tasks.start,
                stagger_s=options.stagger_s,
                timeout_s=options.handshake_timeout_s,
                translate=self.translate,
            )
            addresses.remove(address)
            try:
                return await self._open(record, carrier, address)
            except VigilnetError:
                if not addresses:
                    raise

    async def _have_dialled(self, identity: bytes, introduce: Callable[[bytes], Awaitable[None]]) -> Link:
        await introduce(identity)
        link = self.get(identity)
        if link is None:
            raise LinkUnavailableError("link: lost as soon as it was open")
        return link

    def accept(self, carrier: Carrier) -> None:
        """Let a neighbour open a link over a connection that no listener brought."""
        self._accept(carrier)

    async def open_over(self, identity: bytes, carrier: Carrier, address: DialAddress) -> Link:
        """Open a link over a connection that was made without dialling; raises LinkUnavailableError."""
        record = self._records.get(identity)
        if record is None:
            carrier.close()
            raise LinkUnavailableError("link: no record of this peer is known")
        return await self._open(record, carrier, address)

    def _may_dial_private(self, identity: bytes) -> bool:
        return self._options.allow_private_addresses or self.is_on_lan(identity)

    async def _open(self, record: LinkRecord, carrier: Carrier, address: DialAddress) -> Link:
        """Run our side of the handshake over `carrier`."""
        if is_private(carrier.remote_host) and not self._may_dial_private(record.identity):
            carrier.close()
            raise LinkUnavailableError("link: the peer's name leads to a private address")
        link = Link(carrier, self, self._clock, self._options, self._buffer, is_initiator=True)
        link.dialled = address
        opened: asyncio.Future[None] = self._loop.create_future()
        try:
            handshake = Initiator(
                self._suite_for(record),
                self._link_key_for(record.identity),
                b"" if self._shown is None else self._shown.record,
                responder=record.identity,
                responder_key=record.link_key,
                channel=self._channel(carrier),
            )
            self._tables.opening[link] = opened
            link.is_relay = bool(record.capabilities & RELAY_BIT)
            link.start(self._machine(handshake, link, carrier))
            await opened
        except BaseException:
            link.close()
            raise
        finally:
            self._tables.opening.pop(link, None)
        return self.get(record.identity) or link

    def _suite_for(self, record: LinkRecord) -> LinkSuite:
        pattern = Pattern.XK if self._options.dial_classical else Pattern.XK_HFS
        return LinkSuite(pattern, record.preferred_suite)

    def _link_key_for(self, identity: bytes) -> X25519PrivateKey:
        if self._shown is not None:
            return self._shown.link_key
        key = self._client_keys.get(identity)
        if key is None:
            while len(self._client_keys) >= MAX_CLIENT_KEYS:
                del self._client_keys[next(iter(self._client_keys))]
            key = self._client_keys[identity] = X25519PrivateKey.generate()
        return key

    def _channel(self, carrier: Carrier) -> Channel:
        kem = carrier.take_kem() if isinstance(carrier, KemCarrier) else None
        return Channel(carrier.kind, carrier.binding, self._network, kem)

    def _machine(self, handshake: Initiator | Responder, link: Link, carrier: Carrier) -> LinkMachine:
        return LinkMachine(
            handshake,
            link,
            self._options,
            has_tls_records=carrier.has_tls_records,
            random_bytes=self._random_bytes,
            now=self._clock.now(),
        )

    # --- accepting -------------------------------------------------------------------------------

    def _accept(self, carrier: Carrier) -> None:
        admission, local = self._admission, self._local
        if admission is None or local is None or self._is_closed:
            carrier.close()
            return
        now = self._clock.now()
        link = Link(carrier, self, self._clock, self._options, self._buffer, is_initiator=False)
        refused = LinkUnavailableError("link: given up for newcomers, too many handshakes are under way")
        ticket = admission.enter(carrier.remote_host, now, lambda: link.fail(refused))
        if ticket is None:
            carrier.close()
            return
        self._tables.accepted[link] = ticket
        handshake = Responder(
            local.identity,
            local.link_key,
            channel=self._channel(carrier),
            admission=admission,
            ticket=ticket,
            admit=lambda encoded: self._admit(encoded, carrier.remote_host),
            wall_minus_now=self._clock.wall() - now,
            previous_key=local.previous_link_key,
            allow_classical=self._options.allow_classical,
        )
        link.start(self._machine(handshake, link, carrier))

    # --- what links tell -------------------------------------------------------------------------

    def opened(self, link: Link, result: HandshakeResult) -> RunReceiver:
        """A handshake is through."""
        now = self._clock.now()
        ticket = self._tables.accepted.get(link)
        if ticket is not None:
            self._check_accepted(ticket, result)
        if result.clock_ms is not None and link.peer is not None:
            self._clocks.note(link.peer, result.clock_ms / 1000 - self._clock.wall())
        if ticket is not None and result.record is not None:
            link.is_relay = bool(result.record.capabilities & RELAY_BIT)
        if link.is_initiator:  # not all links of a relay that came back yesterday at the same moment
            chance = int.from_bytes(self._random_bytes(2), "big") / 0xFFFF
            link.replace_at = now + self._options.max_age_s * (1.0 - 0.1 * chance)
            self.dials.worked += 1
        elif self._options.allow_private_addresses or not is_private(link.remote_host):
            self.dials.was_dialled = True
        receiver = self.on_link(link)
        self._file(link, now)
        opened = self._tables.opening.get(link)
        if opened is not None and not opened.done():
            opened.set_result(None)
        return receiver

    def _check_accepted(self, ticket: Ticket, result: HandshakeResult) -> None:
        if self._admission is not None:
            self._admission.leave(ticket)
        clients = self._clients[ticket.prefix]
        if result.peer is None and clients >= self._options.max_client_links_per_prefix:
            raise RemoteProtocolError(f"link: already {clients} clients of one address prefix")

    def _file(self, link: Link, now: float) -> None:
        """Decide which link to this neighbour is used from now on."""
        if link.peer is None:
            self._tables.others.add(link)
            self._clients[self._tables.accepted[link].prefix] += 1
            return
        present = self._tables.neighbours.get(link.peer)
        loser = None if present is None else self._loser(present, link, now)
        if loser is not link:
            self._tables.neighbours[link.peer] = link
            self.on_neighbour(link.peer)
        if loser is not None:
            self._tables.others.add(loser)
            loser.retire(now)
            self._close_oldest_retired(link.peer)

    def _close_oldest_retired(self, peer: bytes) -> None:
        """Bound what a neighbour that dials again and again can make us keep."""
        retired = [link for link in self._tables.others if link.peer == peer]
        if len(retired) > MAX_RETIRED:
            min(retired, key=lambda link: link.retired_at or 0.0).close()

    def _loser(self, present: Link, newcomer: Link, now: float) -> Link:
        """Return which of two links to one neighbour is replaced; both ends decide alike.

        Dialled at once by both: the one whose initiator has the smaller identity stays. Otherwise the
        newcomer stays, for then the other end (or we) had a reason to dial: it may have lost the old one.
        """
        at_once = present.opened_at is not None and now - present.opened_at < AT_ONCE_S
        if at_once and present.is_initiator != newcomer.is_initiator and self._local and newcomer.peer:
            ours_stays = self._local.identity < newcomer.peer
            return newcomer if newcomer.is_initiator != ours_stays else present
        present.probe()
        return present

    def gossip(self, link: Link, body: bytes) -> None:
        """Hand gossip on; only relays gossip."""
        if link.is_relay:
            self.on_gossip(link, body)

    def closed(self, link: Link, error: Exception) -> None:
        """A link is gone."""
        tables = self._tables
        received, sent = self._carried
        self._carried = (received + link.octets_received_total, sent + link.octets_sent)
        ticket = tables.accepted.pop(link, None)
        if ticket is not None and self._admission is not None:
            self._admission.leave(ticket)
            if link.peer is None and link in tables.others:
                self._clients[ticket.prefix] -= 1
                if not self._clients[ticket.prefix]:
                    del self._clients[ticket.prefix]
        tables.others.discard(link)
        opened = tables.opening.pop(link, None)
        if opened is not None and not opened.done():
            opened.set_exception(error)
        if link.peer is not None and tables.neighbours.get(link.peer) is link:
            del tables.neighbours[link.peer]
            self.on_neighbour(link.peer)
            self._lost(link, link.peer)

    def _lost(self, link: Link, peer: bytes) -> None:
        if link.is_initiator and link.opened_at is not None:
            now = self._clock.now()
            if now - link.opened_at < SHORT_LIFE_S:
                self._back_offs.failed(peer, now)
            else:
                self._back_offs.succeeded(peer)
        if peer in self._kept:
            self._redial(peer)

    # --- time ------------------------------------------------------------------------------------

    def _redial(self, identity: bytes) -> None:
        """Dial a kept neighbour unless there is a link, a dial, or a reason to wait."""
        if self._is_closed or identity in self._tables.neighbours:
            return
        try:
            self._start_dial(identity)
        except LinkUnavailableError:
            return  # the tick comes again

    def _tick(self) -> None:
        now, wall = self._clock.now(), self._clock.wall()
        self._tick_timer = self._loop.call_later(self._options.tick_s, self._tick)
        passed, wall_passed = now - self._ticked_at[0], wall - self._ticked_at[1]
        self._ticked_at = (now, wall)
        if passed - self._options.tick_s > JUMP_S or abs(wall_passed - passed) > JUMP_S:
            _log.info("the clock jumped: was the machine asleep? probing all links")
            self.network_changed()
        addresses = self._local_addresses()
        if addresses != self._addresses:
            self._addresses = addresses
            self.network_changed()
        for identity in self._kept:
            self._redial(identity)
        for link in list(self._tables.others):
            self._drain(link, now)
        for link in list(self._tables.neighbours.values()):
            self._replace_old(link, now)

    def _drain(self, link: Link, now: float) -> None:
        if link.retired_at is None:
            return
        spoke_at = link.machine.spoke_at
        unused = spoke_at < 0 and now - link.retired_at >= UNUSED_S
        if unused or now - max(spoke_at, link.retired_at) >= UNSPOKEN_S:
            link.close(CloseReason.IDLE)
        elif now - link.retired_at >= self._options.drain_s:
            link.close(CloseReason.DONE)

    def _replace_old(self, link: Link, now: float) -> None:
        """Dial a new link beside one that is too old; the old one is retired when the new one opens."""
        if link.peer is None or now < link.replace_at:
            return
        try:
            self._start_dial(link.peer)
        except LinkUnavailableError:
            return


def _reason(error: Exception) -> str:
    """Say why a dial failed, without an address."""
    if isinstance(error, VigilnetError):
        return str(error).removeprefix("link: ")
    if isinstance(error, TimeoutError):
        return "the peer's address does not answer"
    if isinstance(error, ConnectionRefusedError):
        return "the peer's address refuses connections: is it running?"
    return f"the peer cannot be reached ({type(error).__name__})"
