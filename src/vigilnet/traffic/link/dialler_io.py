"""Dialling neighbours: joined while under way, held back after failures, repeated for those to be kept."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from vigilnet.base.clock import Clock
from vigilnet.base.errors import LocalProtocolError, VigilnetError
from vigilnet.base.tasks import TaskGroup
from vigilnet.crypto.noise import Pattern
from vigilnet.traffic.link.dial_io import (
    LinkUnavailableError,
    Translate,
    dial_first,
    dial_order,
    is_private,
    never_in_the_open,
)
from vigilnet.traffic.link.handshake import Initiator
from vigilnet.traffic.link.link_io import Link
from vigilnet.traffic.link.neighbours import (
    RELAY_BIT,
    BackOffs,
    DialAddress,
    LinkRecord,
    LocalNode,
    RecordSource,
)
from vigilnet.traffic.link.opening_io import LinkOpener
from vigilnet.traffic.link.options import Options
from vigilnet.traffic.link.wire import LinkSuite
from vigilnet.traffic.transport.carrier import Carrier, Transport

# Our choice.
SHORT_LIFE_S: Final = 10.0  # a link that lives less counts as a failed dial
MAX_CLIENT_KEYS: Final = 1024


@dataclass
class Dials:
    """What became of dials since the start, for whoever asks how this node is connected."""

    worked: int = 0
    failed: int = 0
    was_dialled: bool = False  # by somebody outside of our own network


class LinkDialler:
    """Opens links to others.

    Args:
        opener: begins links.
        options, clock, transports, records, local, can_dial: as of `LinkService`.
        random_bytes: chance.
        shown: who we are to those whom we dial; None: an anonymous client.
        link_to: the open link to a neighbour.
    """

    def __init__(
        self,
        opener: LinkOpener,
        options: Options,
        clock: Clock,
        transports: Mapping[int, Transport],
        records: RecordSource,
        random_bytes: Callable[[int], bytes],
        *,
        local: LocalNode | None,
        shown: LocalNode | None,
        can_dial: Callable[[DialAddress], bool],
        link_to: Callable[[bytes], Link | None],
    ) -> None:
        self._opener = opener
        self._options = options
        self._clock = clock
        self._transports = transports
        self._records = records
        self._local = local
        self._shown = shown
        self._can_dial = can_dial
        self._link_to = link_to
        self._tasks = TaskGroup("links")
        self._under_way: dict[bytes, asyncio.Task[Link]] = {}
        self._opening: dict[Link, asyncio.Future[None]] = {}  # whose handshakes run
        self._back_offs = BackOffs(options, random_bytes)
        self._client_keys: dict[bytes, X25519PrivateKey] = {}
        self._kept: set[bytes] = set()
        self.is_closed = False  # set to dial no more
        self.dials = Dials()
        self.is_on_lan: Callable[[bytes], bool] = lambda _: False  # then private addresses may be dialled
        self.introduce: Callable[[bytes], Awaitable[None]] | None = (
            None  # has one dial us that we cannot dial
        )
        self.translate: Translate | None = None  # tells how else an IPv4 address is reached (NAT64)

    @property
    def opening(self) -> list[Link]:
        """The links whose handshakes run."""
        return list(self._opening)

    def dial(self, identity: bytes) -> "asyncio.Task[Link]":
        """Return the dial to `identity` that is under way, or begin one.

        Raises:
            LinkUnavailableError: it failed so lately that we wait first.
        """
        dial = self._under_way.get(identity)
        if dial is None:
            self._check_back_off(identity)
            dial = self._tasks.start("dial", self._dial(identity))
            self._under_way[identity] = dial
            dial.add_done_callback(lambda _: self._under_way.pop(identity, None))
        return dial

    async def open_over(self, identity: bytes, carrier: Carrier, address: DialAddress) -> Link:
        """Open a link over a connection that was made without dialling; raises LinkUnavailableError."""
        record = self._records.get(identity)
        if record is None:
            carrier.close()
            raise LinkUnavailableError("link: no record of this peer is known")
        return await self._open(record, carrier, address)

    def keep(self, identity: bytes) -> None:
        """Dial `identity` whenever there is no link to it, until `release`."""
        self._kept.add(identity)
        self._redial(identity)

    def release(self, identity: bytes) -> None:
        """Stop dialling `identity` by ourselves."""
        self._kept.discard(identity)

    def redial_kept(self) -> None:
        """Dial those to be kept that have no link."""
        for identity in self._kept:
            self._redial(identity)

    def replace(self, identity: bytes) -> None:
        """Dial a neighbour beside the link that it has, unless there is a reason to wait."""
        try:
            self.dial(identity)
        except LinkUnavailableError:
            return  # the tick comes again

    def forget_failures(self) -> None:
        """Our network changed: what failed before may work now."""
        self._back_offs.clear()

    def record_renewed(self, identity: bytes) -> None:
        """A newer record is known: what failed at the old addresses delays no dial to the new ones."""
        self._back_offs.succeeded(identity)

    def new_session(self) -> None:
        """Take fresh link keys for all links dialled from now on (anonymous clients)."""
        self._client_keys.clear()

    def opened(self, link: Link) -> None:
        """A handshake is through."""
        self.dials.worked += link.is_initiator
        opened = self._opening.get(link)
        if opened is not None and not opened.done():
            opened.set_result(None)

    def closed(self, link: Link, error: Exception) -> None:
        """A link is gone, whoever opened it."""
        opened = self._opening.pop(link, None)
        if opened is not None and not opened.done():
            opened.set_exception(error)

    def lost(self, link: Link, peer: bytes) -> None:
        """The link to use for a neighbour is gone."""
        if link.is_initiator and link.opened_at is not None:
            now = self._clock.now()
            if now - link.opened_at < SHORT_LIFE_S:
                self._back_offs.failed(peer, now)
            else:
                self._back_offs.succeeded(peer)
        if peer in self._kept:
            self._redial(peer)

    async def close(self) -> None:
        """End every dial."""
        await self._tasks.close()

    def _redial(self, identity: bytes) -> None:
        if not self.is_closed and self._link_to(identity) is None:
            self.replace(identity)

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
        link = self._link_to(identity)
        if link is None:
            raise LinkUnavailableError("link: lost as soon as it was open")
        return link

    def _may_dial_private(self, identity: bytes) -> bool:
        return self._options.allow_private_addresses or self.is_on_lan(identity)

    async def _open(self, record: LinkRecord, carrier: Carrier, address: DialAddress) -> Link:
        """Run our side of the handshake over `carrier`."""
        if is_private(carrier.remote_host) and not self._may_dial_private(record.identity):
            carrier.close()
            raise LinkUnavailableError("link: the peer's name leads to a private address")
        link = self._opener.new_link(carrier, is_initiator=True)
        link.dialled = address
        opened: asyncio.Future[None] = self._opener.loop.create_future()
        try:
            handshake = Initiator(
                self._suite_for(record),
                self._link_key_for(record.identity),
                b"" if self._shown is None else self._shown.record,
                responder=record.identity,
                responder_key=record.link_key,
                channel=self._opener.channel(carrier),
            )
            self._opening[link] = opened
            link.is_relay = bool(record.capabilities & RELAY_BIT)
            self._opener.start(link, handshake, carrier)
            await opened
        except BaseException:
            link.close()
            raise
        finally:
            self._opening.pop(link, None)
        return self._link_to(record.identity) or link

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


def _reason(error: Exception) -> str:
    """Say why a dial failed, without an address."""
    if isinstance(error, VigilnetError):
        return str(error).removeprefix("link: ")
    if isinstance(error, TimeoutError):
        return "the peer's address does not answer"
    if isinstance(error, ConnectionRefusedError):
        return "the peer's address refuses connections: is it running?"
    return f"the peer cannot be reached ({type(error).__name__})"
