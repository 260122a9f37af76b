"""All links of a node: one per neighbour, dialled when asked for, accepted when allowed.

Other rooms ask `connect` and set `on_link`; they get a `LinkPort` (see `ports`). Who we are comes in as
a `LocalNode` (None: an anonymous client), whom we know as a `RecordSource`.
"""

import asyncio
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from vigilnet.base.clock import Clock
from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError, VigilnetError
from vigilnet.base.safelog import get_logger
from vigilnet.base.tasks import TaskGroup
from vigilnet.crypto.aead import Suite
from vigilnet.crypto.noise import Pattern
from vigilnet.traffic.link.admission import Admission, Ticket, address_prefix
from vigilnet.traffic.link.dial_io import (
    DialAddress,
    LinkUnavailableError,
    dial_first,
    dial_order,
    is_private,
)
from vigilnet.traffic.link.handshake import Channel, HandshakeResult, Initiator, Responder
from vigilnet.traffic.link.link_io import Link, ReceiveBuffer
from vigilnet.traffic.link.machine import CloseReason, LinkMachine
from vigilnet.traffic.link.options import Options
from vigilnet.traffic.link.ports import LinkPort, RunReceiver
from vigilnet.traffic.link.wire import LinkSuite
from vigilnet.traffic.transport.carrier import Carrier, Listener, Transport

RELAY_BIT: Final = 1  # of a record's capabilities

# Our choice.
AT_ONCE_S: Final = 10.0  # two links of opposite direction this close were dialled at once
SHORT_LIFE_S: Final = 10.0  # a link that lives less counts as a failed dial
JUMP_S: Final = 4.0  # of a clock, beyond what a busy loop explains
UNUSED_S: Final = 10.0  # a replaced link that carried nothing
UNSPOKEN_S: Final = 600.0  # a replaced link on which we sent nothing for so long
MAX_BACK_OFFS: Final = 4096
CLOCKS_WANTED: Final = 3
MAX_CLOCKS: Final = 32

_log = get_logger(__name__)


class LinkRecord(Protocol):
    """What the link room needs of a peer record."""

    @property
    def identity(self) -> bytes:
        """Identity key, 32 octets."""
        ...

    @property
    def link_key(self) -> bytes:
        """Link key, 32 octets."""
        ...

    @property
    def addresses(self) -> tuple[DialAddress, ...]:
        """Where the relay listens."""
        ...

    @property
    def preferred_suite(self) -> Suite:
        """Which AEAD the relay wants."""
        ...

    @property
    def capabilities(self) -> int:
        """Bit 0: a relay."""
        ...


class RecordSource(Protocol):
    """Whom we know."""

    def get(self, identity: bytes) -> LinkRecord | None:
        """Return the current record of `identity`."""
        ...


class LocalNode(Protocol):
    """Who we are, on a node that has an identity."""

    @property
    def identity(self) -> bytes:
        """Our identity key, 32 octets."""
        ...

    @property
    def link_key(self) -> X25519PrivateKey:
        """Our link key of the present."""
        ...

    @property
    def record(self) -> bytes:
        """Our own encoded record, as we would publish it now."""
        ...


@dataclass(frozen=True)
class LinkStatus:
    """One link for the status; `peer` is None for an anonymous client."""

    peer: bytes | None
    is_initiator: bool
    age_s: float
    round_trip_s: float | None
    octets_sent: int
    octets_received: int
    updates: tuple[int, int]
    is_retired: bool


@dataclass
class _BackOff:
    failures: int = 0
    next_at: float = 0.0


@dataclass
class _Accepted:
    """What we note of a link that a neighbour opened."""

    ticket: Ticket
    prefix: bytes


class _Sink:
    """Takes runs when no circuit room is there."""

    def run_received(self, buffer: memoryview, at: int, cells: int) -> None:
        pass

    def batch_ended(self, now: float) -> None:
        pass

    def link_closed(self) -> None:
        pass


@dataclass
class _Tables:
    """Every link the service knows, by what it is at present."""

    neighbours: dict[bytes, Link] = field(default_factory=dict)  # the link to use
    others: set[Link] = field(default_factory=set)  # of anonymous clients, and replaced ones
    accepted: dict[Link, _Accepted] = field(default_factory=dict)  # opened by the other end, also unfinished
    opening: dict[Link, "asyncio.Future[None]"] = field(default_factory=dict)  # opened by us, unfinished


class LinkService:
    """All links of one node; make it inside the running loop.

    Args:
        options: the room's settings.
        clock: the time.
        transports: what we can dial and listen with, by transport number; earlier ones are preferred.
        records: whom we know.
        local: who we are; None for an anonymous client, which cannot listen.
        admit: checks the encoded record that an initiator shows (form, signature, times, work) and
            returns it decoded, or raises RemoteProtocolError.
        network: the private network's name.
        random_bytes: source of secrets.
    """

    def __init__(
        self,
        options: Options,
        clock: Clock,
        transports: Mapping[int, Transport],
        records: RecordSource,
        *,
        local: LocalNode | None,
        admit: Callable[[bytes], LinkRecord],
        network: str,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._options = options
        self._clock = clock
        self._transports = transports
        self._records = records
        self._local = local
        self._admit = admit
        self._network = network
        self._random_bytes = random_bytes
        self._buffer = ReceiveBuffer()
        self._tables = _Tables()
        self._listeners: list[Listener] = []
        self._dials: dict[bytes, asyncio.Task[Link]] = {}
        self._back_offs: dict[bytes, _BackOff] = {}
        self._client_keys: dict[bytes, X25519PrivateKey] = {}
        self._clocks: dict[bytes, float] = {}
        self._kept: set[bytes] = set()
        self._is_closed = False
        self._tasks = TaskGroup("links")
        self._loop = asyncio.get_running_loop()
        now = clock.now()
        self._admission = (
            Admission(options, local.identity, network, random_bytes, now) if local is not None else None
        )
        self._ticked_at = (now, clock.wall())
        self._tick_timer = self._loop.call_later(options.tick_s, self._tick)
        self.on_link: Callable[[LinkPort], RunReceiver] = lambda _: _Sink()
        self.on_gossip: Callable[[LinkPort, bytes], None] = lambda *_: None

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

    async def listen(self, host: str, port: int, transport: int = 1) -> Listener:
        """Accept links at `host`, an address; raises OSError if the port is taken."""
        if self._admission is None:
            raise LocalProtocolError("link service: an anonymous client does not listen")
        listener = await self._transports[transport].listen(host, port, self._accept)
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

    def new_session(self) -> None:
        """Take fresh link keys for all links dialled from now on (anonymous clients)."""
        self._client_keys.clear()

    def clock_offset_s(self) -> float | None:
        """What to add to our wall clock, by the median of at least three relays; None while unknown."""
        if len(self._clocks) < CLOCKS_WANTED:
            return None
        return statistics.median(self._clocks.values())

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
            )
            for link in self._all_links()
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
        back_off = self._back_offs.get(identity)
        wait = back_off.next_at - self._clock.now() if back_off else 0.0
        if back_off and wait > 0:
            raise LinkUnavailableError(f"link: {back_off.failures} failed dials, next one in {wait:.1f} s")

    def _failed(self, identity: bytes) -> None:
        """Wait before the next dial: doubling from `retry_first_s` to `retry_max_s`, half of it by chance."""
        back_off = self._back_offs.pop(identity, None) or _BackOff()
        while len(self._back_offs) >= MAX_BACK_OFFS:
            del self._back_offs[next(iter(self._back_offs))]
        self._back_offs[identity] = back_off
        options = self._options
        longest = min(options.retry_max_s, options.retry_first_s * 2.0 ** min(back_off.failures, 30))
        back_off.failures += 1
        back_off.next_at = self._clock.now() + longest * (0.5 + 0.5 * self._chance())

    def _chance(self) -> float:
        return int.from_bytes(self._random_bytes(4), "big") / 2**32

    async def _dial(self, identity: bytes) -> Link:
        try:
            return await self._try_addresses(identity)
        except (VigilnetError, OSError) as error:
            self._failed(identity)
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
            record.addresses, self._transports, allow_private=options.allow_private_addresses
        )
        if not addresses:
            raise LinkUnavailableError("link: the peer's record has no address that we can and may dial")
        while True:
            carrier, address = await dial_first(
                addresses,
                self._transports,
                self._tasks.start,
                stagger_s=options.stagger_s,
                timeout_s=options.handshake_timeout_s,
            )
            addresses.remove(address)
            try:
                return await self._open(record, carrier)
            except VigilnetError:
                if not addresses:
                    raise

    async def _open(self, record: LinkRecord, carrier: Carrier) -> Link:
        """Run our side of the handshake over `carrier`."""
        if is_private(carrier.remote_host) and not self._options.allow_private_addresses:
            carrier.close()
            raise LinkUnavailableError("link: the peer's name leads to a private address")
        link = Link(carrier, self, self._clock, self._options, self._buffer, is_initiator=True)
        opened: asyncio.Future[None] = self._loop.create_future()
        try:
            handshake = Initiator(
                self._suite_for(record),
                self._link_key_for(record.identity),
                b"" if self._local is None else self._local.record,
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
        if self._local is not None:
            return self._local.link_key
        key = self._client_keys.get(identity)
        if key is None:
            key = self._client_keys[identity] = X25519PrivateKey.generate()
        return key

    def _channel(self, carrier: Carrier) -> Channel:
        return Channel(carrier.kind, carrier.binding, self._network)

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
        self._tables.accepted[link] = _Accepted(ticket, address_prefix(carrier.remote_host))
        handshake = Responder(
            local.identity,
            local.link_key,
            channel=self._channel(carrier),
            admission=admission,
            ticket=ticket,
            admit=self._admit,
            wall_minus_now=self._clock.wall() - now,
            allow_classical=self._options.allow_classical,
        )
        link.start(self._machine(handshake, link, carrier))

    # --- what links tell -------------------------------------------------------------------------

    def opened(self, link: Link, result: HandshakeResult) -> RunReceiver:
        """A handshake is through."""
        now = self._clock.now()
        accepted = self._tables.accepted.get(link)
        if accepted is not None:
            self._check_accepted(accepted, result)
        if result.clock_ms is not None and link.peer is not None:
            self._note_clock(link.peer, result.clock_ms / 1000 - self._clock.wall())
        receiver = self.on_link(link)
        self._file(link, now)
        opened = self._tables.opening.get(link)
        if opened is not None and not opened.done():
            opened.set_result(None)
        return receiver

    def _check_accepted(self, accepted: _Accepted, result: HandshakeResult) -> None:
        if self._admission is not None:
            self._admission.leave(accepted.ticket)
        if result.peer is None:
            same = sum(
                self._tables.accepted[link].prefix == accepted.prefix
                for link in self._tables.others
                if link.peer is None and link in self._tables.accepted
            )
            if same >= self._options.max_client_links_per_prefix:
                raise RemoteProtocolError(f"link: already {same} clients of one address prefix")

    def _note_clock(self, relay: bytes, offset_s: float) -> None:
        self._clocks.pop(relay, None)
        while len(self._clocks) >= MAX_CLOCKS:
            del self._clocks[next(iter(self._clocks))]
        self._clocks[relay] = offset_s

    def _file(self, link: Link, now: float) -> None:
        """Decide which link to this neighbour is used from now on."""
        if link.peer is None:
            self._tables.others.add(link)
            return
        present = self._tables.neighbours.get(link.peer)
        loser = None if present is None else self._loser(present, link, now)
        if loser is not link:
            self._tables.neighbours[link.peer] = link
        if loser is not None:
            self._tables.others.add(loser)
            loser.retire(now)

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
        tables.others.discard(link)
        accepted = tables.accepted.pop(link, None)
        if accepted is not None and self._admission is not None:
            self._admission.leave(accepted.ticket)
        opened = tables.opening.pop(link, None)
        if opened is not None and not opened.done():
            opened.set_exception(error)
        if link.peer is not None and tables.neighbours.get(link.peer) is link:
            del tables.neighbours[link.peer]
            self._lost(link, link.peer)

    def _lost(self, link: Link, peer: bytes) -> None:
        if link.is_initiator and link.opened_at is not None:
            if self._clock.now() - link.opened_at < SHORT_LIFE_S:
                self._failed(peer)
            else:
                self._back_offs.pop(peer, None)
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
        if not link.is_initiator or link.peer is None or link.opened_at is None:
            return
        if now - link.opened_at < self._options.max_age_s:
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
