"""All links of a node: one per neighbour, dialled when asked for, accepted when allowed.

Other rooms ask `connect` and set `on_link`; they get a `LinkPort` (see `ports`). Who we are comes in as
a `LocalNode` (None: an anonymous client), whom we know as a `RecordSource`. What a node remembers of its
open links is in `table`, how it gets them in `dialler_io` and `acceptor_io`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from vigilnet.base.clock import Clock
from vigilnet.base.errors import LocalProtocolError
from vigilnet.base.safelog import get_logger
from vigilnet.traffic.link.acceptor_io import LinkAcceptor
from vigilnet.traffic.link.admission import Admission
from vigilnet.traffic.link.dial_io import is_private
from vigilnet.traffic.link.dialler_io import Dials, LinkDialler
from vigilnet.traffic.link.handshake import HandshakeResult
from vigilnet.traffic.link.link_io import Link
from vigilnet.traffic.link.machine import CloseReason
from vigilnet.traffic.link.neighbours import (
    ClockOffsets,
    DialAddress,
    LinkRecord,
    LinkStatus,
    LocalNode,
    RecordSource,
)
from vigilnet.traffic.link.opening_io import LinkOpener
from vigilnet.traffic.link.options import Options
from vigilnet.traffic.link.ports import LinkPort, RunReceiver
from vigilnet.traffic.link.table import LinkTable
from vigilnet.traffic.transport.carrier import Carrier, Listener, Transport

# Our choice.
JUMP_S: Final = 4.0  # of a clock, beyond what a busy loop explains

_log = get_logger(__name__)


class _Sink:
    """Takes runs when no circuit room is there."""

    def run_received(self, buffer: memoryview, at: int, cells: int) -> None:
        pass

    def link_closed(self) -> None:
        pass


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
        self._local_addresses = local_addresses
        self._addresses = local_addresses()
        self._clock = clock
        self._transports = transports
        self._random_bytes = random_bytes
        self._listeners: list[Listener] = []
        self._clocks = ClockOffsets()
        own_identity = local.identity if local is not None else None
        self._table: LinkTable[Link] = LinkTable(own_identity)
        opener = LinkOpener(self, options, clock, network, random_bytes)
        self.dialler: Final = LinkDialler(
            opener,
            options,
            clock,
            transports,
            records,
            random_bytes,
            local=local,
            shown=None if dials_as_client else local,
            can_dial=can_dial,
            link_to=self.get,
        )
        self._acceptor: LinkAcceptor | None = None
        now = clock.now()
        if local is not None:
            admission = Admission(options, local.identity, network, random_bytes, now)
            self._acceptor = LinkAcceptor(opener, options, clock, local, admit, admission)
        self._loop = opener.loop
        self._ticked_at = (now, clock.wall())
        self._tick_timer = self._loop.call_later(options.tick_s, self._tick)
        self.on_link: Callable[[LinkPort], RunReceiver] = lambda _: _Sink()
        self.on_gossip: Callable[[Link, bytes], None] = lambda *_: None
        self.on_neighbour: Callable[[bytes], None] = lambda _: None  # its link opened, changed or closed

    # --- what other rooms ask --------------------------------------------------------------------

    @property
    def dials(self) -> Dials:
        """What became of dials since the start."""
        return self.dialler.dials

    def get(self, identity: bytes) -> Link | None:
        """Return the open link to `identity`, if there is one."""
        return self._table.neighbours.get(identity)

    async def connect(self, identity: bytes) -> Link:
        """Return the open link to `identity`; dial if there is none, or join a dial under way.

        Raises:
            LinkUnavailableError: unknown, unreachable, or failed so lately that we wait first.
        """
        link = self.get(identity)
        if link is not None:
            return link
        return await asyncio.shield(self.dialler.dial(identity))

    async def verify(self, identity: bytes) -> None:
        """Dial `identity` even if it has a link to us: its record's address leads to it if this returns.

        The new link takes the place of the one before, unless the other end dialled just now.

        Raises:
            LinkUnavailableError: as `connect`.
        """
        await asyncio.shield(self.dialler.dial(identity))

    async def open_over(self, identity: bytes, carrier: Carrier, address: DialAddress) -> Link:
        """Open a link over a connection that was made without dialling; raises LinkUnavailableError."""
        return await self.dialler.open_over(identity, carrier, address)

    async def listen(self, host: str, port: int, transport: int = 1) -> Listener:
        """Accept links at `host`, an address; raises OSError if the port is taken."""
        return await self.listen_by(lambda accept: self._transports[transport].listen(host, port, accept))

    async def listen_by(self, begin: Callable[[Callable[[Carrier], None]], Awaitable[Listener]]) -> Listener:
        """Accept links that `begin` is told to hand over, where a transport has another way to listen."""
        if self._acceptor is None:
            raise LocalProtocolError("link service: an anonymous client does not listen")
        listener = await begin(self._acceptor.accept)
        self._listeners.append(listener)
        return listener

    def accept(self, carrier: Carrier) -> None:
        """Let a neighbour open a link over a connection that no listener brought."""
        if self._acceptor is None:
            carrier.close()
        else:
            self._acceptor.accept(carrier)

    def keep(self, identity: bytes) -> None:
        """Hold a link to `identity` open: dial again whenever it is lost, until `release`."""
        self.dialler.keep(identity)

    def release(self, identity: bytes) -> None:
        """Stop dialling `identity` by ourselves."""
        self.dialler.release(identity)

    def network_changed(self) -> None:
        """Our addresses or routes changed: probe every link at once, and forget failed dials."""
        self.dialler.forget_failures()
        for link in self._table.all():
            link.probe()
        self.dialler.redial_kept()

    def clock_offset_s(self) -> float | None:
        """What to add to our wall clock, by the median of at least three relays; None while unknown."""
        return self._clocks.median()

    @property
    def count(self) -> int:
        """How many links there are."""
        return len(self._table.neighbours) + len(self._table.others)

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
            for link in self._table.all()
        )

    def carried(self) -> tuple[int, int]:
        """Return octets received and sent over all links, also those that are gone."""
        return self._table.carried()

    async def close(self) -> None:
        """Close listeners, dials and links; safe to call twice."""
        self.dialler.is_closed = True
        unfinished = self.dialler.opening
        if self._acceptor is not None:
            self._acceptor.is_closed = True
            unfinished += self._acceptor.accepted
        self._tick_timer.cancel()
        for listener in self._listeners:
            listener.close()
        for link in [*unfinished, *self._table.all()]:
            link.close(CloseReason.SHUTTING_DOWN)
        await self.dialler.close()

    # --- what links tell -------------------------------------------------------------------------

    def opened(self, link: Link, result: HandshakeResult) -> RunReceiver:
        """A handshake is through."""
        now = self._clock.now()
        if self._acceptor is not None:
            self._acceptor.opened(link, result)
        if result.clock_ms is not None and link.peer is not None:
            self._clocks.note(link.peer, result.clock_ms / 1000 - self._clock.wall())
        if link.is_initiator:  # not all links of a relay that came back yesterday at the same moment
            chance = int.from_bytes(self._random_bytes(2), "big") / 0xFFFF
            link.replace_at = now + self._options.max_age_s * (1.0 - 0.1 * chance)
        elif self._options.allow_private_addresses or not is_private(link.remote_host):
            self.dials.was_dialled = True
        receiver = self.on_link(link)
        is_used = self._table.add(link, now)
        if link.peer is not None and is_used:
            self.on_neighbour(link.peer)
        elif link.peer is None and self._acceptor is not None:
            self._acceptor.client_joined(link)
        self.dialler.opened(link)
        return receiver

    def gossip(self, link: Link, body: bytes) -> None:
        """Hand gossip on; only relays gossip."""
        if link.is_relay:
            self.on_gossip(link, body)

    def closed(self, link: Link, error: Exception) -> None:
        """A link is gone."""
        if self._acceptor is not None:
            self._acceptor.closed(link, was_client=link.peer is None and link in self._table.others)
        was_used = self._table.remove(link)
        self.dialler.closed(link, error)
        if link.peer is not None and was_used:
            self.on_neighbour(link.peer)
            self.dialler.lost(link, link.peer)

    # --- time ------------------------------------------------------------------------------------

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
        self.dialler.redial_kept()
        self._table.drain(now, self._options.drain_s)
        for identity, link in list(self._table.neighbours.items()):
            if now >= link.replace_at:  # the old one is retired when the new one opens
                self.dialler.replace(identity)
